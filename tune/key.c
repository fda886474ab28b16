/* SPDX-License-Identifier: Apache-2.0 */
/* key.c -- see key.h. */
#include "key.h"
#include "../backends/isa.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* -- fields ----------------------------------------------------------------------------- */

/* A field is its name, a zero, eight bytes of length (little-endian) and its bytes. */
typedef struct keyer {
	crypto_generichash_state state;
} keyer;

static void add_bytes(keyer *k, const char *name, const void *bytes, size_t n)
{
	uint8_t len[8];

	for (unsigned i = 0; i < 8; i++)
		len[i] = (uint8_t)((uint64_t)n >> 8 * i);
	crypto_generichash_update(&k->state, (const uint8_t *)name, strlen(name) + 1);
	crypto_generichash_update(&k->state, len, sizeof(len));
	crypto_generichash_update(&k->state, bytes, n);
}

static void add_text(keyer *k, const char *name, const char *text)
{
	add_bytes(k, name, text, strlen(text));
}

static void add_number(keyer *k, const char *name, uint64_t x)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(x >> 8 * i);
	add_bytes(k, name, bytes, sizeof(bytes));
}

static void begin(keyer *k, const char *purpose)
{
	crypto_generichash_init(&k->state, NULL, 0, sizeof(kt_key));
	add_text(k, "kvjit", purpose);
}

static void end(keyer *k, kt_key *out)
{
	crypto_generichash_final(&k->state, out->b, sizeof(out->b));
}

/* -- plain ------------------------------------------------------------------------------- */

void kt_hash(const void *bytes, size_t n, kt_key *out)
{
	crypto_generichash(out->b, sizeof(out->b), bytes, n, NULL, 0);
}

bool kt_key_equal(const kt_key *a, const kt_key *b)
{
	return !memcmp(a->b, b->b, sizeof(a->b));
}

void kt_key_hex(const kt_key *k, char out[KT_HEX])
{
	sodium_bin2hex(out, KT_HEX, k->b, sizeof(k->b));
}

bool kt_key_parse(const char *hex, kt_key *out)
{
	kt_key k;
	size_t n;

	if (strlen(hex) != KT_HEX - 1 ||
	    sodium_hex2bin(k.b, sizeof(k.b), hex, KT_HEX - 1, NULL, &n, NULL) ||
	    n != sizeof(k.b))
		return false;
	*out = k;
	return true;
}

/* -- programs ----------------------------------------------------------------------------- */

/* The function as text without what a schedule, a target or a hint may change; then the formats
 * it names. A format's own name is in the function's text already. */
static void add_program(keyer *k, const kir_func *f)
{
	kir_func bare = *f;
	kir_text text = { 0 };

	bare.sched = kir_sched_default();
	bare.target = &kir_targets[0];
	kir_print(&bare, &text);
	add_bytes(k, "function", text.text, text.len);
	free(text.text);
	for (kir_ref n = 1; f->level == KIR_A && n < f->nnode; n++) {
		int64_t format = kir_attr_of(f, n, KIR_ATTR_format);
		kir_text t = { 0 };

		if ((f->node[n].op != KIR_OP_attention &&
		     f->node[n].op != KIR_OP_cache_write) ||
		    format < 0 || format >= (int64_t)f->module->nformat)
			continue;
		kir_format_print(f->module->format[format], &t);
		add_bytes(k, "format", t.text, t.len);
		free(t.text);
	}
}

void kt_program_key(const kir_func *f, kt_key *out)
{
	keyer k;

	begin(&k, "program");
	add_program(&k, f);
	end(&k, out);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The words of a list as a set. */
static void add_words(keyer *k, const char *name, const char *list)
{
	enum { MAX_WORDS = 64 };
	char *copy = list ? strdup(list) : NULL, *word[MAX_WORDS], *rest = copy;
	size_t n = 0;

	for (char *w; rest && n < MAX_WORDS && (w = strsep(&rest, ", "));)
		if (*w)
			word[n++] = w;
	qsort(word, n, sizeof(*word), by_name);
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(word[i - 1], word[i]) != 0)
			add_text(k, name, word[i]);
	free(copy);
}

void kt_code_key(const kt_code_of *c, kt_key *out)
{
	kir_sched s = c->f->sched;
	kir_text target = { 0 };
	keyer k;

	begin(&k, "code");
	add_program(&k, c->f);
	kir_target_print(c->f->target, &target);
	add_bytes(&k, "target", target.text, target.len);
	add_number(&k, "features", c->f->target->features);
	add_number(&k, "vector bits", c->f->target->vector_bits);
	add_number(&k, "vector registers", c->f->target->vector_regs);
	free(target.text);
	for (unsigned i = 0; i < kir_nknobs; i++)
		add_number(&k, kir_knobs[i].name, (uint64_t)(int64_t)*kir_sched_knob(&s, i));
	add_text(&k, "backend", c->backend);
	add_words(&k, "skip", c->skip);
	add_number(&k, "codegen", (uint64_t)(int64_t)c->codegen);
	end(&k, out);
}

/* -- machines ----------------------------------------------------------------------------- */

void kt_machine_text(const kir_target *host, uint64_t isa, int processors, kir_text *out)
{
	char names[600];

	kbe_isa_text(isa, names, sizeof(names));
	for (char *p = names; *p; p++)
		if (*p == ' ')
			*p = ',';
	kir_text_add(out, "%s l1=%u l2=%u processors=%d isa=%s", host->name,
	             host->l1_bytes / 1024, host->l2_bytes / 1024, processors, names);
}

void kt_machine_key(const kir_target *host, uint64_t isa, int processors, kt_key *out)
{
	kir_text text = { 0 };
	keyer k;

	kt_machine_text(host, isa, processors, &text);
	begin(&k, "machine");
	add_bytes(&k, "text", text.text, text.len);
	end(&k, out);
	free(text.text);
}

/* -- buckets ------------------------------------------------------------------------------ */

static int log2_class(int64_t x, int most)
{
	int c = x < 1 ? 0 : 63 - __builtin_clzll((uint64_t)x);

	return c < most ? c : most;
}

kt_bucket kt_bucket_of(int64_t batch, int64_t ctx, int64_t qlen)
{
	kt_bucket b = { KT_ANY, KT_ANY, 0 };

	if (batch > 0)
		b.batch = log2_class(batch, KT_NBATCH - 1);
	if (ctx > 0)
		b.ctx = log2_class(ctx / 256, KT_NCTX - 1);
	b.qlen = qlen <= 1 ? 0 : qlen < 16 ? 1 : 2;
	return b;
}

static int apart(int a, int b)
{
	return a == b ? 0 : a == KT_ANY || b == KT_ANY ? 1 : abs(a - b);
}

int kt_bucket_distance(kt_bucket a, kt_bucket b)
{
	return apart(a.batch, b.batch) + apart(a.ctx, b.ctx) + (a.qlen == b.qlen ? 0 : 100);
}
