/* SPDX-License-Identifier: Apache-2.0 */
/* run.c -- kvjit run: a program on arrays from files.
 *
 *     kvjit run PROGRAM --in q=q.npy --in cache=c.npy --set scale=0.088 --out out=o.npy
 *
 * NAME is a parameter of the kernel. Elements that NumPy doesn't have travel as unsigned
 * integers of their width. An output whose first extent is open has as many rows as `q` or,
 * without one, as the first input; a scalar `n` that isn't set is that number too. A parameter
 * that is both, like a cache written in place, begins as the --in array or as zeros.
 */
#include "tool.h"
#include "check/bind.h"
#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_FILES = 32 };

typedef struct run {
	kvjit *kv;
	kvjit_kernel *k;
	bind b;
	int nout;
	struct {
		char name[BIND_NAME];
		const char *path;
	} out[RUN_FILES];
	int64_t rows; /* of q or of the first input; -1: no input yet */
	char why[400];
} run;

static bool fail(run *r, const char *fmt, const char *name)
{
	snprintf(r->why, sizeof r->why, fmt, name);
	return false;
}

/* "NAME=VALUE" cut at the sign; NULL if there is none or the name is too long. */
static const char *cut(const char *s, char name[BIND_NAME])
{
	const char *eq = strchr(s, '=');
	if (!eq || eq == s || eq - s >= BIND_NAME)
		return NULL;
	memcpy(name, s, (size_t)(eq - s));
	name[eq - s] = '\0';
	return eq + 1;
}

static const kvjit_param *param_of(const kvjit_kernel *k, const char *name)
{
	for (int i = 0; i < kvjit_nparam(k); i++)
		if (strcmp(kvjit_param_at(k, i)->name, name) == 0)
			return kvjit_param_at(k, i);
	return NULL;
}

/* NumPy's letter for a parameter's elements; other unsigned arrays of the width do too. */
static const char *npy_dtype(kvjit_dtype t)
{
	switch (t) {
	case KVJIT_S8: return "i1";
	case KVJIT_S32: return "i4";
	case KVJIT_S64: return "i8";
	case KVJIT_F32: return "f4";
	case KVJIT_F16: return "f2";
	case KVJIT_BF16: return "u2";
	default: return "u1";
	}
}

static bool load(run *r, const char *spec)
{
	char name[BIND_NAME];
	const char *path = cut(spec, name);
	const kvjit_param *p = path ? param_of(r->k, name) : NULL;
	npy a;
	if (!p || p->planned)
		return fail(r, "--in %s: it must be NAME=FILE with the name of a parameter",
		            spec);
	if (!npy_load(path, &a, r->why, sizeof r->why))
		return false;
	const char *want = npy_dtype(p->dtype);
	bool ok = strcmp(a.dtype, want) == 0 || (a.dtype[0] == 'u' && a.dtype[1] == want[1]);
	if (ok) {
		bind_arg *x = bind_tensor(&r->b, name, p->dtype, a.rank, a.shape);
		memcpy(x->data, a.data, a.bytes);
		if (a.rank && (r->rows < 0 || strcmp(name, "q") == 0))
			r->rows = a.shape[0];
	} else {
		snprintf(r->why, sizeof r->why,
		         "--in %s: its dtype is %s; the parameter takes %s", name, a.dtype,
		         want);
	}
	npy_free(&a);
	return ok;
}

static bool set(run *r, const char *spec)
{
	char name[BIND_NAME], *end = NULL;
	const char *value = cut(spec, name);
	double x = value ? strtod(value, &end) : 0;
	if (!value || end == value || *end)
		return fail(r, "--set %s: it must be NAME=NUMBER", spec);
	bind_scalar(&r->b, name, (int64_t)x, x);
	return true;
}

static bool want(run *r, const char *spec)
{
	const char *path = r->nout < RUN_FILES ? cut(spec, r->out[r->nout].name) : NULL;
	const kvjit_param *p = path ? param_of(r->k, r->out[r->nout].name) : NULL;
	if (!p || !(p->role & KVJIT_OUTPUT))
		return fail(r, "--out %s: it must be NAME=FILE with the name of an output",
		            spec);
	r->out[r->nout++].path = path;
	return true;
}

/* Outputs that no --in gave, and the scalar n. */
static bool complete(run *r)
{
	for (int i = 0; i < kvjit_nparam(r->k); i++) {
		const kvjit_param *p = kvjit_param_at(r->k, i);
		if (p->planned || bind_find(&r->b, p->name))
			continue;
		if (strcmp(p->name, "n") == 0 && p->rank == 0 && r->rows >= 0) {
			bind_scalar(&r->b, "n", r->rows, 0);
			continue;
		}
		if (p->rank == 0)
			return fail(r, "scalar '%s' isn't given: --set NAME=NUMBER", p->name);
		if (!(p->role & KVJIT_OUTPUT))
			return fail(r, "input '%s' isn't given: --in NAME=FILE.npy", p->name);
		int64_t shape[6];
		memcpy(shape, p->shape, sizeof shape);
		if (shape[0] < 0)
			shape[0] = r->rows;
		for (int d = 0; d < p->rank; d++)
			if (shape[d] < 0)
				return fail(r, "the shape of '%s' isn't known: give it by --in",
				            p->name);
		bind_tensor(&r->b, p->name, p->dtype, p->rank, shape);
	}
	return true;
}

/* The least pages of a cache's tensors; those of a second cache have names that end in 2. What
 * scores and masks read may be bytes too, but nobody knows how long its rows are. */
static int64_t pages_of(const run *r, bool second)
{
	int64_t n = -1;
	bool two = param_of(r->k, "work2") != NULL;
	for (unsigned i = 0; i < r->b.n; i++) {
		const bind_arg *x = &r->b.at[i];
		bool marked = two && x->name[strlen(x->name) - 1] == '2';
		const kvjit_param *p = param_of(r->k, x->name);
		if (!p || p->rank < 2 || p->shape[1] < 0)
			continue;
		if (x->dtype == KVJIT_U8 && x->rank && marked == second &&
		    (n < 0 || x->shape[0] < n))
			n = x->shape[0];
	}
	return n < 0 ? 0 : n;
}

/* The batch of a kernel with a plan comes from its own inputs. */
static bool make_plan(run *r, kvjit_plan **plan)
{
	const bind_arg *lens = bind_find(&r->b, "lens"), *starts = bind_find(&r->b, "starts");
	const bind_arg *table = bind_find(&r->b, "table"), *lens2 = bind_find(&r->b, "lens2");
	const bind_arg *table2 = bind_find(&r->b, "table2");
	bool listed = param_of(r->k, "index") != NULL, two = param_of(r->k, "work2") != NULL;
	if (!param_of(r->k, "work"))
		return true;
	if (!lens || !starts || (!listed && (!table || table->rank != 2)) ||
	    starts->shape[0] != lens->shape[0] + 1)
		return fail(r, "%s needs arrays lens [n], starts [n + 1] and table [n, pages]",
		            "this kernel");
	if (two && (!lens2 || lens2->shape[0] != lens->shape[0] ||
	            (!listed && (!table2 || table2->rank != 2))))
		return fail(r, "%s needs arrays lens2 [n] and table2 [n, pages]",
		            "this kernel's second cache");
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = lens->shape[0],
		              .seq_lens = lens->data,
		              .query_starts = starts->data,
		              .npages = pages_of(r, false),
		              .npages2 = pages_of(r, true) };
	if (!listed) {
		batch.block_table = table->data;
		batch.table_stride = table->shape[1];
	}
	if (two)
		batch.seq_lens2 = lens2->data;
	if (two && !listed) {
		batch.block_table2 = table2->data;
		batch.table_stride2 = table2->shape[1];
	}
	if (kvjit_plan_new(r->k, &batch, plan) == KVJIT_OK)
		return true;
	snprintf(r->why, sizeof r->why, "%s", kvjit_kernel_error(r->k));
	return false;
}

static bool save(run *r)
{
	for (int i = 0; i < r->nout; i++) {
		const bind_arg *x = bind_find(&r->b, r->out[i].name);
		npy a = { .rank = x->rank, .data = x->data, .bytes = bind_item(x->dtype) };
		snprintf(a.dtype, sizeof a.dtype, "%s", npy_dtype(x->dtype));
		memcpy(a.shape, x->shape, sizeof a.shape);
		for (int d = 0; d < a.rank; d++)
			a.bytes *= (size_t)a.shape[d];
		if (!npy_save(r->out[i].path, &a, r->why, sizeof r->why))
			return false;
	}
	return true;
}

static bool run_all(run *r, args *a)
{
	const char *s;
	while ((s = args_value(a, "--in")))
		if (!load(r, s))
			return false;
	while ((s = args_value(a, "--set")))
		if (!set(r, s))
			return false;
	while ((s = args_value(a, "--out")))
		if (!want(r, s))
			return false;
	kvjit_plan *plan = NULL;
	bool ok = complete(r) && make_plan(r, &plan) &&
	          bind_call(&r->b, r->kv, r->k, plan, r->why, sizeof r->why) == KVJIT_OK &&
	          save(r);
	kvjit_plan_free(plan);
	return ok;
}

/* The program's words end at the first option. */
static char *program(args *a)
{
	int n = 0;
	while (n < a->argc && strncmp(a->argv[n], "--", 2) != 0)
		n++;
	args words = { .argc = n, .argv = a->argv };
	char *text = n ? tool_program(&words) : NULL;
	a->argc -= n;
	a->argv += n;
	return text;
}

int tool_run(args *a)
{
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	const char *sched = args_value(a, "--sched");
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };
	run r = { .rows = -1 };
	char *text = program(a);
	int status = TOOL_FAILED;

	if (!text) {
		args_end(a, 1, 1);
		return TOOL_USAGE;
	}
	r.kv = tool_open(target, backend);
	if (r.kv && kvjit_compile(r.kv, text, &o, &r.k) != KVJIT_OK)
		fprintf(stderr, "kvjit: %s\n", kvjit_error(r.kv));
	if (r.k && !run_all(&r, a))
		fprintf(stderr, "kvjit: %s\n", r.why);
	else if (r.k)
		status = args_end(a, 0, 0) ? TOOL_OK : TOOL_USAGE;
	bind_free(&r.b);
	kvjit_release(r.k);
	kvjit_close(r.kv);
	free(text);
	return status;
}
