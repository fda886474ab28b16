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

/* The declared format that a node names with attribute a; NULL: none. */
static const kir_format *format_of(const kir_func *f, kir_ref n, kir_attr a)
{
	int64_t format = -1;

	if (kir_attrs[a].kind == KIR_FORMAT &&
	    strstr(kir_ops[f->node[n].op].attr, kir_attrs[a].name))
		format = kir_attr_of(f, n, a);
	return format >= 0 && format < (int64_t)f->module->nformat ? f->module->format[format]
	                                                           : NULL;
}

/* The formats that a node names, as text. */
static void add_formats(keyer *k, const kir_func *f, kir_ref n, kir_text *text)
{
	for (int a = 0; a < KIR_NATTR; a++) {
		const kir_format *format = format_of(f, n, (kir_attr)a);

		if (!format)
			continue;
		text->len = 0;
		kir_format_print(format, text);
		add_bytes(k, "format", text->text, text->len);
	}
}

/* The function as text, without what a schedule or a target changes: a problem's hints are in
 * neither, and its expansion doesn't read them. What the text says of a format is the name
 * alone, so the formats follow in the order they are used. */
void kt_program_key(const kir_func *f, kt_key *out)
{
	kir_func bare = *f;
	kir_text text = { 0 };
	keyer k;

	bare.sched = kir_sched_default();
	bare.target = &kir_targets[0];
	kir_print(&bare, &text);
	begin(&k, "program");
	add_bytes(&k, "function", text.text, text.len);
	for (kir_ref n = 1; n < f->nnode; n++)
		add_formats(&k, f, n, &text);
	free(text.text);
	end(&k, out);
}

/* -- code ---------------------------------------------------------------------------------- */

static int compare(const char *a, size_t na, const char *b, size_t nb)
{
	int c = memcmp(a, b, na < nb ? na : nb);

	return c ? c : na < nb ? -1 : na > nb;
}

/* The first word of the list behind `after` in the order of bytes; 0: none is left. */
static size_t next_word(const char *list, const char *after, size_t nafter, const char **out)
{
	size_t best = 0;

	for (size_t n; *(list += strspn(list, ", ")); list += n) {
		n = strcspn(list, ", ");
		if (compare(list, n, after, nafter) > 0 &&
		    (!best || compare(list, n, *out, best) < 0)) {
			*out = list;
			best = n;
		}
	}
	return best;
}

/* The words of a list as a set: neither order nor repeats matter. */
static void add_words(keyer *k, const char *name, const char *list)
{
	const char *word = "";

	for (size_t n = 0; list && (n = next_word(list, word, n, &word));)
		add_bytes(k, name, word, n);
}

void kt_code_key_of(const kt_key *program, const kt_code_of *c, kt_key *out)
{
	const kir_target *t = c->f->target;
	kir_sched s = c->f->sched;
	kir_text target = { 0 };
	keyer k;

	begin(&k, "code");
	add_bytes(&k, "program", program->b, sizeof(program->b));
	kir_target_print(t, &target);
	add_bytes(&k, "target", target.text, target.len);
	free(target.text);
	add_number(&k, "features", t->features);
	add_number(&k, "vector bits", t->vector_bits);
	add_number(&k, "vector registers", t->vector_regs);
	if (t->lanes) { /* keys of CPU code are as they were before there were GPUs */
		add_number(&k, "lanes", t->lanes);
		add_number(&k, "slm", t->slm_bytes);
	}
	for (unsigned i = 0; i < kir_nknobs; i++)
		add_number(&k, kir_knobs[i].name, (uint64_t)(int64_t)*kir_sched_knob(&s, i));
	add_text(&k, "backend", c->backend);
	add_words(&k, "skip", c->skip);
	add_number(&k, "codegen", (uint64_t)(int64_t)c->codegen);
	end(&k, out);
}

void kt_native_key(const kt_key *code, const char *device, kt_key *out)
{
	keyer k;

	begin(&k, "native");
	add_bytes(&k, "code", code->b, sizeof(code->b));
	add_text(&k, "device", device);
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
