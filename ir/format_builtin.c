/* SPDX-License-Identifier: Apache-2.0 */
/* format_builtin.c -- names for the usual formats.
 *
 * A name is taken apart into words, each word is looked up in a table, and the words compose
 * the text of a declaration, which is then parsed like anybody's. Nothing here knows what the
 * text means. A format is declared under its canonical name: defaults left out, words in order,
 * a host's name replaced by what it stands for.
 */
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An element, the divisor of its scale rule (formats.md A1: 224 on fnuz, though it reaches 240)
 * and the rounding of its writers. */
static const struct elem_word {
	const char *word, *also, *elem, *divisor, *round;
	unsigned bits;
} elems[] = {
	{ "bf16", NULL, "bf16", NULL, "even", 16 },
	{ "f16", NULL, "f16", NULL, "even", 16 },
	{ "int8", "s8", "s8", "127", "away", 8 },
	{ "e4m3", "e4m3fn", "e4m3fn", "448", "even", 8 },
	{ "e5m2", NULL, "e5m2", "57344", "even", 8 },
	{ "e4m3fnuz", NULL, "e4m3fnuz", "224", "even", 8 },
	{ "e5m2fnuz", NULL, "e5m2fnuz", "57344", "even", 8 },
	{ "int4", "s4", "s4", "7", "away", 4 },
	{ "uint4", "u4", "u4", "15", "away", 4 },
	{ "e2m1", NULL, "e2m1", "6", "even", 4 },
};

/* Elements with the scales that a standard gives them: a group, the scale's element, and for
 * each rule its text; the first is the default. */
enum { RULES = 4 };
static const char *const rule_words[] = { "ceil", "ocp", "near", "4over6", NULL };
static const struct block {
	const char *word, *elem, *scale;
	int group, rule;             /* the default                         */
	const char *text[RULES + 1]; /* by rule_words; then without any rule */
} blocks[] = {
	{ "mxfp8",
	  "e4m3",
	  "e8m0",
	  32,
	  0,
	  { "amax/448 pow2", "amax/256 pow2-down", NULL, NULL, NULL } },
	{ "mxfp4",
	  "e2m1",
	  "e8m0",
	  32,
	  1,
	  { "amax/6 pow2", "amax/4 pow2-down", "amax/4 pow2-near", NULL, NULL } },
	{ "nvfp4",
	  "e2m1",
	  "e4m3fn",
	  16,
	  RULES,
	  { NULL, NULL, NULL, "amax/6 or 4 global", "amax/6 global" } },
};

/* Values of 4 bits whose keys have scales by element have theirs by groups of so many. */
enum { TOKENS_GROUP = 32 };

/* GRAN_TOKENS: keys by element and group of tokens, values by token. */
enum { GRAN_NONE, GRAN_TENSOR, GRAN_HEAD, GRAN_TOKEN_HEAD, GRAN_GROUP, GRAN_TOKENS };
static const char *const grans[] = { "none", "tensor", "head", "token-head", NULL };

enum {
	PLACE_NATIVE,
	PLACE_INLINE,
	PLACE_SPLIT,
	PLACE_NHD,
	PLACE_HND,
	PLACE_X,
	PLACE_AMX,
	PLACE_PAGE
};
static const char *const places[] = { "native", "inline", "split", "nhd", "hnd",
	                              "x",      "amx",    "page",  NULL };

static const char *const applies[] = { "div", "rcp", NULL };
static const char *const rounds[] = { "even", "away", "zero", NULL };

/* What hosts call formats: the format their paged cache of that name has. Words may follow, as
 * a host's layout is an option of its own; a place among them is taken instead of the name's.
 */
static const struct host_name {
	const char *name, *means;
	int place;
} host_names[] = {
	{ "auto", "bf16", PLACE_NATIVE },
	{ "bfloat16", "bf16", PLACE_NATIVE },
	{ "float16", "f16", PLACE_NATIVE },
	{ "fp8", "e4m3", PLACE_NATIVE },
	{ "fp8_e4m3", "e4m3", PLACE_NATIVE },
	{ "fp8_e5m2", "e5m2", PLACE_NATIVE },
	{ "int8_per_token_head", "int8/token-head", PLACE_INLINE },
	{ "fp8_per_token_head", "e4m3/token-head", PLACE_INLINE },
	{ "int4_per_token_head", "uint4/token-head/rotated", PLACE_INLINE },
};

/* Records that the words don't compose: one KV head, keys in parts, values that are the first
 * elements of the keys. One name, one scale contract: a record that engines write under one
 * rule and read under another is two formats here. */
static const struct whole {
	const char *name, *text;
} wholes[] = {
	/* rows of concat_and_cache_mla */
	{ "mla_bf16", "format mla_bf16 v1 {\nelem bf16\nscale none\nrest 64\nvalues shared\n"
	              "tensor kv_cache [t] { k[d] r[d] }\n}" },
	{ "mla_f16", "format mla_f16 v1 {\nelem f16\nscale none\nrest 64\nvalues shared\n"
	             "tensor kv_cache [t] { k[d] r[d] }\n}" },
	{ "mla_e4m3", "format mla_e4m3 v1 {\nelem e4m3fn\nscale f32 tensor given\nrest 64\n"
	              "values shared\ntensor kv_cache [t] { k[d] r[d] }\n}" },
	/* 656 bytes, scales of powers of two, and of any f32 */
	{ "fp8_ds_mla", "format fp8_ds_mla v2 {\nelem e4m3fn\nscale f32 group 128 amax/448 "
	                "floor 0.0001 pow2\n"
	                "keys 576\nrest 64\nr.elem bf16\nr.scale none\nvalues shared\n"
	                "tensor kv_cache [t] { k[d] ks[g] r[d] }\n}" },
	{ "fp8_ds_mla_f32", "format fp8_ds_mla_f32 v1 {\nelem e4m3fn\n"
	                    "scale f32 group 128 amax/448 floor 1.1754943508222875e-38\n"
	                    "keys 576\nrest 64\nr.elem bf16\nr.scale none\nvalues shared\n"
	                    "tensor kv_cache [t] { k[d] ks[g] r[d] }\n}" },
	/* 584 bytes: scales at the page's end; the floor is that of amax, or that of the scale
	 */
	{ "mla_584", "format mla_584 v1 {\nelem e4m3fn\n"
	             "scale e8m0 group 64 amax/448 floor 2.2321429e-07 pow2\n"
	             "keys 512\nrest 64\nr.elem bf16\nr.scale none\nvalues shared\n"
	             "tensor kv_cache { [t] { k[d] r[d] } [t] { ks[g] pad 1 } align 576 }\n}" },
	{ "mla_584_floor",
	  "format mla_584_floor v1 {\nelem e4m3fn\n"
	  "scale e8m0 group 64 amax/448 floor 0.0001 pow2\n"
	  "keys 512\nrest 64\nr.elem bf16\nr.scale none\nvalues shared\n"
	  "tensor kv_cache { [t] { k[d] r[d] } [t] { ks[g] pad 1 } align 576 }\n}" },
	/* 528 bytes: MXFP8 with scales rounded up, the rest quantized as well */
	{ "mla_528", "format mla_528 v1 {\nelem e4m3fn\nscale e8m0 group 32 amax/448 "
	             "floor 2.2321429e-07 pow2\n"
	             "keys 512\nvalues shared\ntensor kv_cache [t] { k[d] ks[g] }\n}" },
	/* 352 bytes: e2m1 with an e4m3 scale for 16, e4m3 as it is; scale g is byte 8 (g % 4) +
	   g / 4 */
	{ "mla_352",
	  "format mla_352 v1 {\nelem e2m1\nscale e4m3fn group 16 amax/6 floor 0.001953125\n"
	  "apply reciprocal\nkeys 576\nrest 64\nr.elem e4m3fn\nr.scale none\n"
	  "values shared\ntensor kv_cache [t] { k[d] r[d] ks[g%4 g/4] }\n}" },
	/* keys of an indexer: codes of a page, then its scales */
	{ "index_e4m3", "format index_e4m3 v1 {\nelem e4m3fn\n"
	                "scale f32 token-head amax/448 floor 2.2321429e-07 pow2\n"
	                "values shared\ntensor k_cache { k[t d] ks[t] }\n}" },
	{ "index_e4m3_f32", "format index_e4m3_f32 v1 {\nelem e4m3fn\n"
	                    "scale f32 token-head amax/448 floor 2.2321429e-07\n"
	                    "values shared\ntensor k_cache { k[t d] ks[t] }\n}" },
	{ "index_mxfp8", "format index_mxfp8 v1 {\nelem e4m3fn\n"
	                 "scale e8m0 group 32 amax/448 floor 2.2321429e-07 pow2\n"
	                 "values shared\ntensor k_cache { k[t d] ks[t g] }\n}" },
	{ "index_mxfp8_row", "format index_mxfp8_row v1 {\nelem e4m3fn\n"
	                     "scale e8m0 group 32 amax/448 floor 2.2321429e-07 pow2 row\n"
	                     "values shared\ntensor k_cache { k[t d] ks[t g] }\n}" },
	/* the least amax, 6 * 2^-126, makes the scale 2^-126 */
	{ "index_mxfp4", "format index_mxfp4 v1 {\nelem e2m1\n"
	                 "scale e8m0 group 32 amax/6 eps 7.052966e-38 pow2\n"
	                 "values shared\ntensor k_cache { k[t d] ks[t g] }\n}" },
};

typedef struct spec {
	const struct elem_word *elem;
	const struct block *block; /* or NULL */
	int gran, place, apply, round, group, rule;
	bool nan_max, centered, rotated;
	const char *word; /* where reading ended, and what is wrong there, if that is known */
	const char *wrong;
} spec;

static int find(const char *const *words, const char *s, size_t n)
{
	for (int i = 0; words[i]; i++)
		if (strlen(words[i]) == n && !memcmp(words[i], s, n))
			return i;
	return -1;
}

static bool read_elem(spec *f, const char *s, size_t n)
{
	for (size_t i = 0; i < sizeof(elems) / sizeof(elems[0]); i++) {
		const char *const words[] = { elems[i].word, elems[i].also, NULL };

		if (find(words, s, n) >= 0)
			f->elem = &elems[i];
	}
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]) && !f->elem; i++) {
		if (n != strlen(blocks[i].word) || memcmp(s, blocks[i].word, n))
			continue;
		read_elem(f, blocks[i].elem, strlen(blocks[i].elem));
		f->block = &blocks[i];
		f->gran = GRAN_GROUP;
		f->group = blocks[i].group;
	}
	return f->elem != NULL;
}

/* gN, N a multiple of 8; cN, N a multiple of 16. */
static bool read_group(spec *f, const char *s, size_t n)
{
	int group = 0;

	if (n < 2 || n > 5 || (*s != 'g' && *s != 'c'))
		return false;
	for (size_t i = 1; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		group = group * 10 + (s[i] - '0');
	}
	if (*s == 'g' ? group < 8 || group > 4096 || group % 8
	              : group < 16 || group > 256 || group % 16) {
		f->wrong = *s == 'g' ? "N of gN is a multiple of 8 from 8 to 4096"
		                     : "N of cN is a multiple of 16 from 16 to 256";
		return false;
	}
	f->gran = *s == 'g' ? GRAN_GROUP : GRAN_TOKENS;
	f->group = group;
	return true;
}

/* One of the words after the element; each kind at most once. */
static bool read_word(spec *f, const char *s, size_t n)
{
	int gran = find(grans, s, n), place = find(places, s, n), apply = find(applies, s, n);
	int round = find(rounds, s, n), rule = find(rule_words, s, n);

	if (f->gran < 0 && read_group(f, s, n))
		return true;
	if (gran >= 0 && f->gran < 0)
		f->gran = gran;
	else if (place >= 0 && f->place < 0)
		f->place = place;
	else if (apply >= 0 && f->apply < 0)
		f->apply = apply;
	else if (round >= 0 && f->round < 0)
		f->round = round;
	else if (rule >= 0 && f->rule < 0 && f->block && f->block->text[rule])
		f->rule = rule;
	else if (n == 7 && !memcmp(s, "nan-max", n) && !f->nan_max)
		f->nan_max = true;
	else if (n == 8 && !memcmp(s, "centered", n) && !f->centered)
		f->centered = true;
	else if (n == 7 && !memcmp(s, "rotated", n) && !f->rotated)
		f->rotated = true;
	else
		return false;
	return true;
}

static bool stored(const spec *f)
{
	return f->gran >= GRAN_TOKEN_HEAD;
}

static int default_gran(const spec *f)
{
	return f->elem->bits == 16  ? GRAN_NONE
	       : f->elem->bits == 4 ? GRAN_TOKEN_HEAD
	                            : GRAN_TENSOR;
}

/* Scales handed over with 8-bit floats are divided by, as CUDA's writers do. */
static int default_apply(const spec *f)
{
	bool fp8 = strcmp(f->elem->elem, "s8") != 0;

	return f->gran == GRAN_NONE || (fp8 && !stored(f)) ? 0 : 1;
}

/* Words that don't go together; NULL: they do. */
static const char *contradiction(const spec *f)
{
	if (f->elem->bits == 16 && f->gran != GRAN_NONE)
		return "16-bit elements are stored without a scale";
	if (f->elem->bits != 16 && f->gran == GRAN_NONE)
		return "elements of 4 and 8 bits have a scale";
	if (f->gran == GRAN_TOKENS && f->place != PLACE_NATIVE && f->place != PLACE_AMX)
		return "cN goes with the places native and amx";
	if (f->gran == GRAN_TOKENS && (f->rotated || f->centered))
		return "cN goes neither with rotated nor with centered";
	if (f->elem->elem[0] == 'u' && !stored(f))
		return "zero points lie in stored scales: token-head, gN or cN";
	return NULL;
}

/* Words with '/' between them, the first an element unless there is one already. */
static bool read_words(spec *f, const char *s)
{
	for (;;) {
		size_t n = strcspn(s, "/");

		f->word = s;
		if (!(f->elem ? read_word(f, s, n) : read_elem(f, s, n)))
			return false;
		if (!s[n])
			return true;
		s += n + 1;
	}
}

/* The host's name that `name` begins with, NULL if none; *rest: the words behind it, or NULL.
 */
static const struct host_name *find_host(const char *name, const char **rest)
{
	size_t n = strcspn(name, "/");

	*rest = name[n] ? name + n + 1 : NULL;
	for (size_t i = 0; i < sizeof(host_names) / sizeof(host_names[0]); i++)
		if (strlen(host_names[i].name) == n && !memcmp(host_names[i].name, name, n))
			return &host_names[i];
	return NULL;
}

static bool read_spec(spec *f, const char *name)
{
	const char *rest;
	const struct host_name *host = find_host(name, &rest);

	*f = (spec){ .gran = -1, .place = -1, .apply = -1, .round = -1, .rule = -1 };
	if (!read_words(f, host ? host->means : name) || (host && rest && !read_words(f, rest)))
		return false;
	if (f->gran < 0)
		f->gran = default_gran(f);
	if (f->place < 0)
		f->place = host ? host->place : PLACE_NATIVE;
	if (f->place == PLACE_NHD)
		f->place = PLACE_SPLIT; /* two names of one thing */
	if (f->apply < 0)
		f->apply = default_apply(f);
	if (f->round < 0)
		f->round = find(rounds, f->elem->round, strlen(f->elem->round));
	if (f->rule < 0 && f->block)
		f->rule = f->block->rule;
	f->wrong = contradiction(f);
	return !f->wrong;
}

static void add_name(const spec *f, kir_text *t)
{
	kir_text_add(t, "%s", f->block ? f->block->word : f->elem->word);
	if (f->block && f->rule != f->block->rule)
		kir_text_add(t, "/%s", rule_words[f->rule]);
	if (f->gran == GRAN_GROUP && !f->block)
		kir_text_add(t, "/g%d", f->group);
	else if (f->gran == GRAN_TOKENS)
		kir_text_add(t, "/c%d", f->group);
	else if (f->gran != GRAN_GROUP &&
	         (f->gran != default_gran(f) || f->place != PLACE_NATIVE))
		kir_text_add(t, "/%s", grans[f->gran]);
	if (f->place != PLACE_NATIVE)
		kir_text_add(t, "/%s", places[f->place]);
	if (f->apply != default_apply(f))
		kir_text_add(t, "/%s", applies[f->apply]);
	if (strcmp(rounds[f->round], f->elem->round) != 0)
		kir_text_add(t, "/%s", rounds[f->round]);
	if (f->nan_max)
		kir_text_add(t, "/nan-max");
	if (f->centered)
		kir_text_add(t, "/centered");
	if (f->rotated)
		kir_text_add(t, "/rotated");
}

static void add_scale(const spec *f, kir_text *t)
{
	/* a group of 32 codes of 4 bits is 16 bytes: 4 for its scale would be many */
	bool zero = f->elem->elem[0] == 'u'; /* unsigned codes: with a zero point in an f32 */
	bool small = f->elem->bits == 4 && f->gran >= GRAN_GROUP && !zero;
	const char *of = zero ? "range" : "amax";
	const char *elem = f->block ? f->block->scale : small ? "bf16" : "f32";

	if (f->gran == GRAN_TOKENS) {
		kir_text_add(t, "k.scale %s tokens %d %s/%s floor 1e-06\nv.scale %s ", elem,
		             f->group, of, f->elem->divisor, elem);
		if (f->elem->bits == 4)
			kir_text_add(t, "group %d", TOKENS_GROUP);
		else
			kir_text_add(t, "token-head");
		kir_text_add(t, " %s/%s floor 1e-06\n", of, f->elem->divisor);
		return;
	}
	kir_text_add(t, "scale ");
	switch (f->gran) {
	case GRAN_NONE: kir_text_add(t, "none\n"); break;
	case GRAN_TENSOR:
	case GRAN_HEAD: kir_text_add(t, "%s %s given\n", elem, grans[f->gran]); break;
	case GRAN_TOKEN_HEAD:
		kir_text_add(t, "%s token-head %s/%s floor 1e-06\n", elem, of,
		             f->elem->divisor);
		break;
	default:
		kir_text_add(t, "%s group %d ", elem, f->group);
		if (f->block)
			kir_text_add(t, "%s\n", f->block->text[f->rule]);
		else
			kir_text_add(t, "%s/%s floor 1e-06\n", of, f->elem->divisor);
	}
}

/* K and V in tensors of their own, scales in two more. */
static void add_split(const spec *f, const char *axes, const char *k, const char *v,
                      kir_text *t)
{
	const char *g = f->gran == GRAN_GROUP ? "[g]" : "";
	bool ht = *axes == 'h';

	kir_text_add(t, "tensor k_cache [%s] { k[%s] }\ntensor v_cache [%s] { v[%s] }\n", axes,
	             k, axes, v);
	if (!stored(f))
		return;
	kir_text_add(t, "tensor k_scale_cache [%s] { ks%s }\n", ht ? "h t" : "t h", g);
	kir_text_add(t, "tensor v_scale_cache [%s] { vs%s }\n", ht ? "h t" : "t h", g);
}

/* Stored scales behind the codes of a head; those of a group side by side. */
static void add_scales(const spec *f, kir_text *t)
{
	const char *g = f->gran == GRAN_GROUP ? "g " : "";

	if (f->gran == GRAN_TOKENS)
		kir_text_add(t, " ks[g d] vs[%st]", f->elem->bits == 4 ? "g " : "");
	else if (stored(f))
		kir_text_add(t, " ks[%st] vs[%st]", g, g);
}

/* Keys of 16 tokens and values of 16 dimensions as products of tiles take them: 4 bytes of the
 * contraction side by side. Codes of 4 bits become two lines of such: low bits, high bits, each
 * at once (packs as in native). 8-bit floats, which become two of those 4 bytes each, in the
 * order in which their low and high bytes unpack (passes/vec_layout.c). */
static void add_amx(const spec *f, kir_text *t)
{
	if (f->elem->bits == 16)
		kir_text_add(t, "tensor cache [h] { k[t/16 d/2 t%%16 d%%2] "
		                "v[d/16 t/2 d%%16 t%%2]");
	else if (f->elem->bits == 4)
		kir_text_add(t, "k.pack 4\nv.pack 16\n"
		                "tensor cache [h] { k[t/16 d/4 t%%16 d%%4] "
		                "v[d/16 t/4 d%%16 t%%4]");
	else if (!strcmp(f->elem->elem, "s8"))
		kir_text_add(t, "tensor cache [h] { k[t/16 d/4 t%%16 d%%4] "
		                "v[d/16 t/4 d%%16 t%%4]");
	else
		kir_text_add(t, "tensor cache [h] { k[t/16 d/4 t/4%%4 d/2%%2 t%%4 d%%2] "
		                "v[d/16 t/4 d/4%%4 t/2%%2 d%%4 t%%2]");
	add_scales(f, t);
	kir_text_add(t, " align 64 }\n");
}

static void add_tensors(const spec *f, kir_text *t)
{
	const char *g = f->gran == GRAN_GROUP ? "g " : "";
	int pair = f->elem->bits == 16 ? 2 : 4; /* elements a dot product step takes  */
	int chunk = f->elem->bits == 16 ? 8 : 16;
	char k[40];

	switch (f->place) {
	case PLACE_NATIVE:
		if (f->elem->bits == 4)
			kir_text_add(t, "k.pack 4\nv.pack 16\n");
		kir_text_add(t, "tensor cache [h] { k[t/64 d/%d t%%64 d%%%d] v[%s]", pair, pair,
		             f->elem->bits == 4 ? "t/4 d t%4" : "t d");
		add_scales(f, t);
		kir_text_add(t, " align 64 }\n");
		break;
	case PLACE_INLINE:
		g = f->gran == GRAN_GROUP ? "[g]" : "";
		if (stored(f))
			kir_text_add(t, "tensor cache [h t] { k[d] ks%s v[d] vs%s }\n", g, g);
		else
			kir_text_add(t, "tensor cache [h t] { k[d] v[d] }\n");
		break;
	case PLACE_PAGE:
		kir_text_add(t, "tensor cache { k[h t d]%s v[h t d]%s }\n",
		             !stored(f) ? ""
		             : *g       ? " ks[h t g]"
		                        : " ks[h t]",
		             !stored(f) ? ""
		             : *g       ? " vs[h t/4 g t%4]"
		                        : " vs[h t]");
		break;
	case PLACE_HND: add_split(f, "h t", "d", "d", t); break;
	case PLACE_X:
		snprintf(k, sizeof(k), "d/%d t d%%%d", chunk, chunk);
		add_split(f, "h", k, "d t", t);
		break;
	case PLACE_AMX: add_amx(f, t); break;
	default: add_split(f, "t h", "d", "d", t);
	}
}

static const kir_format *declare(kir_module *m, const spec *f, const char *name, kir_diag *d)
{
	kir_text t = { 0 };
	bool ok;

	kir_text_add(&t, "format %s v1 {\nelem %s\n", name, f->elem->elem);
	add_scale(f, &t);
	if (f->centered)
		kir_text_add(&t, "k.mean given\n");
	if (f->rotated)
		kir_text_add(&t, "rotate hadamard signs\n");
	kir_text_add(&t, "apply %s\nround %s\nnan %s\n", f->apply ? "reciprocal" : "divide",
	             rounds[f->round], f->nan_max ? "max" : "keep");
	add_tensors(f, &t);
	kir_text_add(&t, "}");
	ok = kir_format_parse_body(m, t.text, t.len, 0, d);
	free(t.text);
	return ok ? kir_format_find(m, name) : NULL;
}

static void refuse(const spec *f, const char *name, kir_diag *d)
{
	kir_text hosts = { 0 }, records = { 0 };
	char wrong[120] = "";

	if (f->wrong)
		snprintf(wrong, sizeof(wrong), " (%s)", f->wrong);
	else if (f->elem)
		snprintf(wrong, sizeof(wrong),
		         " ('%.*s' is none of the words below, or the second of its kind)",
		         (int)(strcspn(f->word, "/") < 40 ? strcspn(f->word, "/") : 40),
		         f->word);
	for (size_t i = 0; i < sizeof(host_names) / sizeof(host_names[0]); i++)
		kir_text_add(&hosts, "%s%s", i ? ", " : "", host_names[i].name);
	for (size_t i = 0; i < sizeof(wholes) / sizeof(wholes[0]); i++)
		kir_text_add(&records, "%s%s", i ? ", " : "", wholes[i].name);
	kir_error(d, 0, 0, "no format is called '%.80s'%s; declare it, or write one of these",
	          name, wrong);
	kir_error(
	    d, 0, 0,
	    "ELEM[/none|tensor|head|token-head|gN|cN][/native|inline|split|nhd|hnd|x|amx|page]"
	    "[/div|rcp][/even|away|zero][/nan-max][/centered][/rotated]");
	kir_error(d, 0, 0,
	          "ELEM: bf16 f16 int8 e4m3 e5m2 e4m3fnuz e5m2fnuz int4 uint4 e2m1 "
	          "mxfp8[/ceil|ocp] mxfp4[/ceil|ocp|near] nvfp4[/4over6]");
	kir_error(d, 0, 0, "a host's name, words as above behind it: %s", hosts.text);
	kir_error(d, 0, 0, "a record for one KV head: %s", records.text);
	free(hosts.text);
	free(records.text);
}

static const kir_format *parse_whole(kir_module *m, const struct whole *w, kir_diag *d)
{
	return kir_format_parse_body(m, w->text, strlen(w->text), 0, d)
	           ? kir_format_find(m, w->name)
	           : NULL;
}

const kir_format *kir_format_get(kir_module *m, const char *name, kir_diag *d)
{
	const kir_format *f = kir_format_find(m, name);
	kir_text canonical = { 0 };
	spec s;

	if (f)
		return f;
	for (size_t i = 0; i < sizeof(wholes) / sizeof(wholes[0]); i++)
		if (!strcmp(wholes[i].name, name))
			return parse_whole(m, &wholes[i], d);
	if (!read_spec(&s, name)) {
		refuse(&s, name, d);
		return NULL;
	}
	add_name(&s, &canonical);
	f = kir_format_find(m, canonical.text);
	if (!f)
		f = declare(m, &s, canonical.text, d);
	free(canonical.text);
	return f;
}
