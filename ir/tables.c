/* SPDX-License-Identifier: Apache-2.0 */
/* tables.c -- the .def tables as arrays, and looking things up in them.
 *
 * Everything here is constant data or a search in it. The one-letter macros stand for the
 * letters of a table's columns and are gone at the end of the array they serve.
 */
#include "kir.h"
#include "internal.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

const kir_elem_info kir_elems[KIR_NELEM] = {
	[KIR_VOID] = { "void", 0, 0, 0, 0, 0 },
#define ELEM(name, bits, kind, exp, man, bias) \
	[KIR_##name] = { #name, bits, #kind[0], exp, man, bias },
#include "elems.def"
};

const kir_attr_info kir_attrs[KIR_NATTR] = {
#define ATTR(name, kind, dflt, words, doc) \
	[KIR_ATTR_##name] = { #name, KIR_##kind, dflt, words, doc },
#include "attrs.def"
};

/* A mnemonic is its row's name with '.' for '_', which the preprocessor can't replace inside
 * a token: DOT_name holds the spelling of each such name, behind a comma that makes
 * SECOND take it instead of the name. tests/test_ir.c finds one that is missing. */
#define DOT_reduce_add         , "reduce.add"
#define DOT_reduce_max         , "reduce.max"
#define DOT_reduce_min         , "reduce.min"
#define DOT_reduce_amax        , "reduce.amax"
#define DOT_zip_lo             , "zip.lo"
#define DOT_zip_hi             , "zip.hi"
#define DOT_unzip_lo           , "unzip.lo"
#define DOT_unzip_hi           , "unzip.hi"
#define DOT_half_lo            , "half.lo"
#define DOT_half_hi            , "half.hi"
#define DOT_x86_dpbusd         , "x86.dpbusd"
#define DOT_x86_dpbf16         , "x86.dpbf16"
#define DOT_x86_lut            , "x86.lut"
#define DOT_x86_lut_lo         , "x86.lut.lo"
#define DOT_x86_lut_hi         , "x86.lut.hi"
#define DOT_xe_dpas            , "xe.dpas"
#define DOT_xe_load2d          , "xe.load2d"
#define DOT_xe_reduce_add      , "xe.reduce.add"
#define DOT_xe_reduce_max      , "xe.reduce.max"
#define DOT_xe_repeat          , "xe.repeat"
#define DOT_xe_pack            , "xe.pack"
#define DOT_xe_zip             , "xe.zip"
#define DOT_xe_part            , "xe.part"
#define DOT_amx_tile           , "amx.tile"
#define DOT_amx_zero           , "amx.zero"
#define DOT_amx_load           , "amx.load"
#define DOT_amx_store          , "amx.store"
#define DOT_amx_dpbf16ps       , "amx.dpbf16ps"
#define DOT_amx_dpbssd         , "amx.dpbssd"
#define DOT_amx_dpbsud         , "amx.dpbsud"
#define DOT_amx_dpbusd         , "amx.dpbusd"
#define DOT_amx_dpbuud         , "amx.dpbuud"
#define DOT_cache_write        , "cache.write"
#define DOT_index_topk         , "index.topk"
#define SECOND(a, b, ...)      b
#define MNEMONIC(probe, plain) SECOND(probe, plain, 0)

/* Two passes over the table: the letter T means a level in one column, a flag in another. */
const kir_op_info kir_ops[KIR_NOP] = {
	[KIR_NONE].name = "none",
	[KIR_NONE].src = "",
	[KIR_NONE].attr = "",
	[KIR_NONE].doc = "",
#define A KIR_A
#define T KIR_T
#define V KIR_V
#define OP(mnemonic, lvl, sources, attrs, flag, text)                        \
	[KIR_OP_##mnemonic].name = MNEMONIC(DOT_##mnemonic, #mnemonic),      \
	[KIR_OP_##mnemonic].src = sources, [KIR_OP_##mnemonic].attr = attrs, \
	[KIR_OP_##mnemonic].doc = text, [KIR_OP_##mnemonic].level = lvl,
#include "ops.def"
#undef A
#undef T
#undef V
#define P                                             KIR_PURE
#define L                                             KIR_READS
#define S                                             KIR_WRITES
#define C                                             KIR_COMMUTES
#define R                                             KIR_REGION
#define M                                             KIR_REGION2
#define E                                             KIR_ENDS
#define T                                             KIR_TYPED
#define N                                             KIR_NAMED
#define W                                             KIR_EACH
#define OP(mnemonic, lvl, sources, attrs, flag, text) [KIR_OP_##mnemonic].flags = flag,
#include "ops.def"
#undef P
#undef L
#undef S
#undef C
#undef R
#undef M
#undef E
#undef T
#undef N
#undef W
};

const kir_knob_info kir_knobs[kir_nknobs] = {
#define KNOB(name, dflt, last, values, tries, doc) \
	{ #name, dflt, KIR_##last, values, tries, doc },
#include "knobs.def"
};

static const size_t knob_offset[] = {
#define KNOB(name, dflt, last, values, tries, doc) offsetof(kir_sched, name),
#include "knobs.def"
};

const kir_target kir_targets[] = {
#define TARGET(name, features, vbits, nregs, l1, l2) \
	{ name, features, vbits, nregs, (l1)*1024, (l2)*1024, 0, 0 },
#define GPU(name, features, vbits, nregs, l1, l2, lanes, slm) \
	{ name, features, vbits, nregs, (l1)*1024, (l2)*1024, lanes, (slm)*1024 },
#include "targets.def"
};
const unsigned kir_ntargets = sizeof kir_targets / sizeof *kir_targets;

static const struct {
	const char *name;
	unsigned bit;
} features[] = {
#define FEATURE(name, bit, doc) { #name, 1u << (bit) },
#include "targets.def"
};

/* -- ops -- */

kir_op kir_op_find(const char *name, size_t len)
{
	for (int op = KIR_NONE + 1; op < KIR_NOP; op++)
		if (strlen(kir_ops[op].name) == len && !memcmp(kir_ops[op].name, name, len))
			return (kir_op)op;
	return KIR_NONE;
}

/* Columns src and attr of a row, taken apart. They are asked for several times for each node of
 * each function: reading the text then was a tenth of what a compile takes. */
static struct row {
	kir_slot slot[KIR_MAX_ROW];
	kir_attr attr[KIR_MAX_ATTRS];
	unsigned nslot, nattr;
} rows[KIR_NOP];

static unsigned split_sources(const char *s, kir_slot slot[KIR_MAX_ROW])
{
	unsigned n = 0;
	for (;;) {
		s += strspn(s, " ");
		size_t len = strcspn(s, " ");
		if (!len)
			return n;
		assert(n < KIR_MAX_ROW);
		const char *colon = memchr(s, ':', len);
		const char *letter = colon ? colon + 1 : s;
		slot[n].name = s;
		slot[n].len = colon ? (unsigned)(colon - s) : 0;
		slot[n].letter = *letter;
		slot[n].optional = s[len - 1] == '?' || s[len - 1] == '+';
		slot[n].many = s[len - 1] == '+';
		n++;
		s += len;
	}
}

static unsigned split_attrs(const char *s, kir_attr attr[KIR_MAX_ATTRS])
{
	unsigned n = 0;
	for (size_t len; s += strspn(s, " "), len = strcspn(s, " "), len; s += len) {
		assert(n < KIR_MAX_ATTRS);
		for (int a = 0; a < KIR_NATTR; a++)
			if (strlen(kir_attrs[a].name) == len &&
			    !memcmp(kir_attrs[a].name, s, len))
				attr[n] = (kir_attr)a;
		n++;
	}
	return n;
}

static void split_rows(void)
{
	for (int op = 0; op < KIR_NOP; op++) {
		rows[op].nslot = split_sources(kir_ops[op].src, rows[op].slot);
		rows[op].nattr = split_attrs(kir_ops[op].attr, rows[op].attr);
	}
}

static const struct row *row_of(kir_op op)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, split_rows);
	return &rows[op];
}

unsigned kir_row(kir_op op, kir_slot slot[KIR_MAX_ROW])
{
	const struct row *r = row_of(op);

	memcpy(slot, r->slot, r->nslot * sizeof(*slot));
	return r->nslot;
}

unsigned kir_row_attrs(kir_op op, kir_attr attr[KIR_MAX_ATTRS])
{
	const struct row *r = row_of(op);

	memcpy(attr, r->attr, r->nattr * sizeof(*attr));
	return r->nattr;
}

int kir_operand_index(kir_op op, const char *name)
{
	const struct row *r = row_of(op);
	size_t len = strlen(name);
	for (unsigned i = 0; i < r->nslot; i++)
		if (r->slot[i].len == len && !memcmp(r->slot[i].name, name, len))
			return (int)i;
	return -1;
}

/* -- words -- */

int kir_word_index(const char *words, const char *word, size_t len)
{
	for (int i = 0; len && *words; i++) {
		size_t n = strcspn(words, ",");
		if (n == len && !memcmp(words, word, len))
			return i;
		words += n;
		words += *words == ',';
	}
	return -1;
}

const char *kir_word_at(const char *words, int64_t i, size_t *len)
{
	*len = 0;
	for (int64_t at = 0; *words; at++) {
		size_t n = strcspn(words, ",");
		if (at == i) {
			*len = n;
			return words;
		}
		words += n;
		words += *words == ',';
	}
	return words;
}

/* -- schedule -- */

const char *kir_level_name(kir_level l)
{
	return l == KIR_A ? "A" : l == KIR_T ? "T" : "V";
}

int *kir_sched_knob(kir_sched *s, unsigned knob)
{
	assert(knob < kir_nknobs);
	return (int *)(void *)((char *)s + knob_offset[knob]);
}

kir_sched kir_sched_default(void)
{
	return (kir_sched){
#define KNOB(name, dflt, last, values, tries, doc) .name = dflt,
#include "knobs.def"
	};
}

bool kir_knob_range(unsigned knob, long *lo, long *hi)
{
	const char *s = kir_knobs[knob].values;
	char *end;
	*lo = strtol(s, &end, 10);
	if (end == s || *end != ':')
		return false;
	*hi = strtol(end + 1, NULL, 10);
	return true;
}

/* -- targets -- */

const kir_target *kir_target_find(const char *name)
{
	for (unsigned i = 0; i < kir_ntargets; i++)
		if (!strcmp(kir_targets[i].name, name))
			return &kir_targets[i];
	return NULL;
}

int64_t kir_cache_room(int64_t cache, int64_t block, int64_t stride)
{
	enum { WAYS = 16 };
	int64_t common = cache / WAYS;

	while (stride) {
		int64_t rest = common % stride;

		common = stride;
		stride = rest;
	}
	return block < common ? cache / common * block : cache;
}

const char *kir_target_names(char *list, size_t len)
{
	size_t used = 0;

	*list = 0;
	for (unsigned i = 0; i < kir_ntargets && used < len; i++)
		used += (size_t)snprintf(list + used, len - used, "%s%s", i ? ", " : "",
		                         kir_targets[i].name);
	return list;
}

/* The row whose name begins this one, the longest such. Names of rows contain '-' too. */
static const kir_target *target_prefix(const char *text, size_t len)
{
	const kir_target *best = NULL;
	size_t most = 0;
	for (unsigned i = 0; i < kir_ntargets; i++) {
		size_t n = strlen(kir_targets[i].name);
		if (n <= len && n > most && !memcmp(kir_targets[i].name, text, n) &&
		    (n == len || text[n] == '-' || text[n] == '+')) {
			best = &kir_targets[i];
			most = n;
		}
	}
	return best;
}

static const kir_target *base_of(const kir_target *t)
{
	const kir_target *row = target_prefix(t->name, strlen(t->name));
	return row ? row : &kir_targets[0];
}

void kir_target_print(const kir_target *t, kir_text *out)
{
	const kir_target *row = base_of(t);
	kir_text_add(out, "%s", row->name);
	for (size_t i = 0; i < sizeof features / sizeof *features; i++)
		if ((row->features ^ t->features) & features[i].bit)
			kir_text_add(out, "%c%s", t->features & features[i].bit ? '+' : '-',
			             features[i].name);
}

const kir_target *kir_target_parse(kir_module *m, const char *text, size_t len)
{
	const kir_target *row = target_prefix(text, len);
	if (!row)
		return NULL;
	size_t at = strlen(row->name);
	unsigned has = row->features;
	while (at < len) {
		bool add = text[at++] == '+';
		size_t n = 0, i;
		while (at + n < len && text[at + n] != '+' && text[at + n] != '-')
			n++;
		for (i = 0; i < sizeof features / sizeof *features; i++)
			if (strlen(features[i].name) == n &&
			    !memcmp(features[i].name, text + at, n))
				break;
		if (i == sizeof features / sizeof *features)
			return NULL;
		has = add ? has | features[i].bit : has & ~features[i].bit;
		at += n;
	}
	if (has == row->features)
		return row;
	kir_target *t = kir_alloc(m, sizeof *t);
	*t = *row;
	t->features = has;
	kir_text name = { 0 };
	kir_target_print(t, &name);
	t->name = kir_strdup(m, name.text, name.len);
	free(name.text);
	return t;
}
