/* SPDX-License-Identifier: Apache-2.0 */
/* golden.c -- kvjit check --golden DIR: every case of DIR/manifest.json on every machine.
 *
 * One line a failure (--verbose: a line a case and machine), then what was skipped and why.
 * --spoil makes attention wrong in a known way: every case it applies to must then fail, which
 * shows that the bounds are worth something (tests/cli/bounds.sh). Last comes
 * `N passed, N failed, N skipped`, counting a case once for each machine. An op, a format
 * or a feature that isn't in the tables here fails: nothing is ignored.
 */
#include "golden.h"
#include "../check/first.h"
#include "../tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct op {
	const char *name;
	golden_op run;
} ops[] = {
	{ "fp_decode", golden_fp_decode },
	{ "fp_encode", golden_fp_encode },
	{ "bf16_round", golden_bf16_round },
	{ "quant_per_token_head", golden_quant_token_head },
	{ "quant_static_fp8", golden_quant_static },
	{ "ue8m0_ceil", golden_pow2_ceil },
	{ "quant_per_token_group", golden_quant_group },
	{ "w8a8_block_scaled_mm", golden_gemm },
	{ "cache_write_per_token_head", golden_write_token_head },
	{ "cache_write_static_fp8", golden_write_static },
	{ "quant_mx_nvfp4", golden_quant_mx },
	{ "cache_write_nvfp4", golden_write_nvfp4 },
	{ "paged_attention", golden_attention },
	{ "quant_mla_records", golden_mla_records },
	{ "sparse_mla_attention", golden_sparse_mla },
	{ "quant_rotated", golden_quant_rotated },
};
#define NOPS (sizeof ops / sizeof *ops)

/* What of an op's cases kvjit doesn't do yet: skipped beside the rest, which is run. */
static const struct skip {
	const char *op, *what, *why;
} skips[] = {
	{ "quant_rotated", "tq_key and tq_value", "codebooks aren't built yet" },
};
#define NSKIPS (sizeof skips / sizeof *skips)

/* -- reading a case ---------------------------------------------------------------- */

double golden_number(const cJSON *object, const char *key, double dflt)
{
	const cJSON *x = cJSON_GetObjectItemCaseSensitive(object, key);
	return cJSON_IsNumber(x) ? x->valuedouble : dflt;
}

const char *golden_word(const cJSON *object, const char *key)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
	return s ? s : "";
}

int64_t golden_item(const cJSON *object, const char *key, int i)
{
	const cJSON *a = cJSON_GetObjectItemCaseSensitive(object, key);
	const cJSON *x = cJSON_GetArrayItem(a, i);
	return cJSON_IsNumber(x) ? (int64_t)x->valuedouble : 0;
}

static kir_elem elem_of(const char *dtype)
{
	static const struct {
		const char *tag;
		kir_elem elem;
	} tags[] = { { "u8", KIR_u8 },   { "i8", KIR_s8 },    { "i32", KIR_s32 },
		     { "i64", KIR_s64 }, { "f32", KIR_f32 },  { "f64", KIR_f64 },
		     { "f16", KIR_f16 }, { "bf16", KIR_bf16 } };
	for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
		if (strcmp(dtype, tags[i].tag) == 0)
			return tags[i].elem;
	return KIR_VOID;
}

bool golden_get(const golden_case *c, const char *name, golden_array *out)
{
	const cJSON *a;
	memset(out, 0, sizeof *out);
	cJSON_ArrayForEach(a, c->arrays)
	{
		if (strcmp(golden_word(a, "name"), name) != 0)
			continue;
		const cJSON *shape = cJSON_GetObjectItemCaseSensitive(a, "shape");
		out->rank = cJSON_GetArraySize(shape);
		out->elem = elem_of(golden_word(a, "dtype"));
		if (out->elem == KIR_VOID || out->rank > 6)
			return false;
		snprintf(out->dtype, sizeof out->dtype, "%s", golden_word(a, "dtype"));
		out->count = 1;
		for (int i = 0; i < out->rank; i++) {
			out->shape[i] = golden_item(a, "shape", i);
			if (out->shape[i] < 0 ||
			    __builtin_mul_overflow(out->count, out->shape[i], &out->count))
				return false;
		}
		double offset = golden_number(a, "offset", -1);
		double bytes = (double)out->count * kir_elem_bytes(out->elem);
		if (offset < 0 || offset + bytes > (double)c->bytes)
			return false;
		out->data = c->data + (size_t)offset;
		return true;
	}
	return false;
}

/* -- helpers of the ops ---------------------------------------------------------------- */

bool golden_fail(golden_result *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	first_keep(&r->failed, r->text, sizeof r->text, fmt, ap);
	va_end(ap);
	return false;
}

bool golden_same(golden_result *r, const char *what, const void *got, const void *want,
                 size_t bytes, size_t item)
{
	const unsigned char *a = got, *b = want;
	size_t wrong = 0, first = 0;
	for (size_t i = 0; i < bytes; i++)
		if (a[i] != b[i] && wrong++ == 0)
			first = i;
	r->checked += (unsigned)(bytes / item);
	if (wrong == 0 || (double)wrong <= r->fraction * (double)bytes)
		return true;
	return golden_fail(
	    r, "%s: %zu of %zu bytes differ, first in element %zu: 0x%02x, not 0x%02x", what,
	    wrong, bytes, first / item, a[first], b[first]);
}

kvjit_kernel *golden_compile(const machine *m, const golden_case *c, const char *text,
                             golden_result *r)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = c->sched };
	kvjit_kernel *k = NULL;
	kvjit_status s = kvjit_compile(m->kv, text, &o, &k);
	if (s == KVJIT_OK)
		return k;
	golden_fail(r, "compile: %s: %s", kvjit_status_name(s), kvjit_error(m->kv));
	return NULL;
}

bool golden_call(const machine *m, const golden_case *c, const char *text, const bind *b,
                 golden_result *r)
{
	char why[300];
	kvjit_kernel *k = golden_compile(m, c, text, r);
	if (!k)
		return false;
	if (bind_call(b, m->kv, k, NULL, why, sizeof why) != KVJIT_OK)
		golden_fail(r, "call: %s", why);
	kvjit_release(k);
	return !r->failed;
}

bool golden_bind(const golden_case *c, const char *array, bind *b, const char *name,
                 golden_result *r)
{
	golden_array a;
	if (!golden_get(c, array, &a))
		return golden_fail(r, "array '%s' is missing or outside its file", array);
	bind_arg *x = bind_tensor(b, name, bind_dtype(a.elem), a.rank, a.shape);
	memcpy(x->data, a.data, (size_t)a.count * kir_elem_bytes(a.elem));
	return true;
}

/* -- running ------------------------------------------------------------------------ */

typedef struct run {
	const char *dir, *sched, *only, *spoil;
	bool verbose;
	machine machine[MACHINE_MAX];
	unsigned nmachine;
	unsigned passed, failed, skipped;
	unsigned skip_count[NSKIPS];
	double worst; /* over all attention cases */
	char worst_case[128];
} run;

static const struct skip *skip_of(const golden_case *c)
{
	for (size_t i = 0; i < NSKIPS; i++)
		if (strcmp(skips[i].op, c->op) == 0)
			return &skips[i];
	return NULL;
}

static void tell(run *r, const golden_case *c, const machine *m, const golden_result *g)
{
	if (g->failed)
		r->failed++;
	else
		r->passed++;
	if (g->failed || r->verbose)
		printf("%s %s %s/%s: %s\n", g->failed ? "FAIL" : "ok", c->name, m->backend,
		       m->target, g->text);
	if (g->worst > r->worst) {
		r->worst = g->worst;
		snprintf(r->worst_case, sizeof r->worst_case, "%.60s on %s/%.40s", c->name,
		         m->backend, m->target);
	}
	fflush(stdout);
}

static void run_case(run *r, const golden_case *c, const char *broken)
{
	const struct skip *skip = skip_of(c);
	if (skip) {
		r->skipped += r->nmachine;
		r->skip_count[skip - skips]++;
	}
	golden_op fn = NULL;
	for (size_t i = 0; i < NOPS; i++)
		if (strcmp(ops[i].name, c->op) == 0)
			fn = ops[i].run;
	for (unsigned i = 0; i < r->nmachine; i++) {
		golden_result g = { .fraction = c->fraction };
		if (broken)
			golden_fail(&g, "%s", broken);
		else if (!fn)
			golden_fail(&g, "unknown op '%s'", c->op);
		else
			fn(c, &r->machine[i], &g);
		if (!g.failed && g.checked == 0)
			golden_fail(&g, "nothing was compared");
		tell(r, c, &r->machine[i], &g);
	}
}

static void load_case(run *r, const cJSON *json)
{
	golden_case c = { .name = golden_word(json, "name"),
		          .op = golden_word(json, "op"),
		          .params = cJSON_GetObjectItemCaseSensitive(json, "params"),
		          .arrays = cJSON_GetObjectItemCaseSensitive(json, "arrays"),
		          .sched = r->sched,
		          .spoil = r->spoil };
	const cJSON *tolerance = cJSON_GetObjectItemCaseSensitive(json, "tolerance");
	if (strcmp(golden_word(tolerance, "kind"), "bytes_max_fraction") == 0)
		c.fraction = golden_number(tolerance, "fraction", 0);
	if (r->only && !strstr(c.name, r->only))
		return;
	char path[4096];
	const char *broken = NULL;
	snprintf(path, sizeof path, "%s/%s", r->dir, golden_word(json, "file"));
	char *data = tool_read(path, &c.bytes);
	c.data = data;
	if (!data)
		broken = "its file can't be read";
	else if ((double)c.bytes < golden_number(json, "bytes", 0))
		broken = "its file is shorter than the manifest says";
	run_case(r, &c, broken);
	free(data);
}

static void summary(const run *r)
{
	for (size_t i = 0; i < NSKIPS; i++)
		if (r->skip_count[i])
			printf("skipped: %s of %u %s: %s\n", skips[i].what, r->skip_count[i],
			       skips[i].op, skips[i].why);
	if (r->worst > 0)
		printf("worst error / bound: %.3f (%s)\n", r->worst, r->worst_case);
	printf("%u passed, %u failed, %u skipped\n", r->passed, r->failed, r->skipped);
}

int tool_golden(const char *dir, args *a)
{
	run r = { .dir = dir };
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	r.sched = args_value(a, "--sched");
	r.only = args_value(a, "--only");
	r.spoil = args_value(a, "--spoil");
	r.verbose = args_flag(a, "--verbose");
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;

	char path[4096];
	snprintf(path, sizeof path, "%s/manifest.json", dir);
	char *text = tool_read(path, NULL);
	cJSON *json = text ? cJSON_Parse(text) : NULL;
	const cJSON *cases = cJSON_GetObjectItemCaseSensitive(json, "cases"), *one;
	int status = TOOL_FAILED;
	if (!cJSON_IsArray(cases))
		fprintf(stderr, "kvjit: %s %s\n", path,
		        text ? "isn't a manifest: it has no list of cases" : "can't be read");
	else if ((r.nmachine = machine_open(target, backend, r.machine)) > 0) {
		cJSON_ArrayForEach(one, cases) load_case(&r, one);
		summary(&r);
		machine_close(r.machine, r.nmachine);
		status = r.failed || !(r.passed + r.skipped) ? TOOL_FAILED : TOOL_OK;
	}
	cJSON_Delete(json);
	free(text);
	return status;
}
