/* SPDX-License-Identifier: Apache-2.0 */
/* newer.c -- the newer spelling of matrix products and block loads, as instructions of two
 * SPIR-V extensions. The CPU runtime knows neither, so each becomes a call of the function of
 * xe.cl of that name:
 *
 *     %r = OpSubgroupMatrixMultiplyAccumulateINTEL %v8float %k %a %b %c Operands
 *
 * turns into
 *
 *     OpDecorate %f LinkageAttributes "_Z45__spirv_Subgroup..." Import
 *     %f = OpFunction %v8float None %type   (its parameters, OpFunctionEnd)
 *     %r = OpFunctionCall %v8float %f %k %a %b %c %operands
 *
 * with one function for each instruction, which is simple and harmless. Capabilities and names
 * of the extensions go. A module without them is left as it is.
 */
#include "zecl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OP_EXTENSION = 10,
	OP_CAPABILITY = 17,
	OP_TYPE_VOID = 19,
	OP_TYPE_INT = 21,
	OP_TYPE_FLOAT = 22,
	OP_TYPE_VECTOR = 23,
	OP_TYPE_FUNCTION = 33,
	OP_CONSTANT = 43,
	OP_FUNCTION = 54,
	OP_FUNCTION_PARAMETER = 55,
	OP_FUNCTION_END = 56,
	OP_FUNCTION_CALL = 57,
	OP_DECORATE = 71,
	OP_LAST_TYPE = 39,
	LINKAGE_ATTRIBUTES = 41,
	LINKAGE_IMPORT = 1,
	CAPABILITY_LINKAGE = 5,
	CAPABILITY_FIRST = 6228, /* of the two extensions; the last is that of products */
	CAPABILITY_PRODUCT = 6236,
	OP_LOAD = 6231,
	OP_LOAD_TRANSFORM = 6232,
	OP_LOAD_TRANSPOSE = 6233,
	OP_PRODUCT = 6237,
	MAX_OPERANDS = 10,
};

struct words {
	uint32_t *at;
	size_t n, room;
};

struct rewriting {
	const struct zecl_spirv *in;
	struct words calls;                         /* functions with the calls in them */
	struct words decorations, types, functions; /* what is new, by its section      */
	uint32_t *type_of, *type_op,
	    *type_arg; /* by id: type; of a type its opcode and count */
	uint32_t bound, void_id, int_id;
};

static void add(struct words *w, uint32_t word)
{
	if (w->n == w->room) {
		w->room = w->room * 2 + 256;
		w->at = realloc(w->at, w->room * sizeof(*w->at));
		if (!w->at)
			abort();
	}
	w->at[w->n++] = word;
}

static void add_all(struct words *w, const uint32_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(w, from[i]);
}

static void op(struct words *w, uint32_t code, uint32_t length)
{
	add(w, length << 16 | code);
}

static bool is_newer(uint32_t code)
{
	return code == OP_PRODUCT || (code >= OP_LOAD && code <= OP_LOAD_TRANSPOSE);
}

/* Types, and the types of values. Every instruction with a result of a type has it first, and
 * types come before all of them. */
static void learn(struct rewriting *r, const uint32_t *word, uint32_t code, uint32_t length)
{
	if (code >= OP_TYPE_VOID && code <= OP_LAST_TYPE && length > 1 && word[1] < r->bound) {
		r->type_op[word[1]] = code;
		r->type_arg[word[1]] = length > 3 ? word[3] : 1;
		if (code == OP_TYPE_VECTOR && length == 4 && word[2] < r->bound)
			r->type_op[word[1]] = r->type_op[word[2]];
		if (code == OP_TYPE_INT || code == OP_TYPE_FLOAT)
			r->type_arg[word[1]] = 1;
		if (code == OP_TYPE_VOID)
			r->void_id = word[1];
		if (code == OP_TYPE_INT && length == 4 && word[2] == 32)
			r->int_id = word[1];
	} else if (length > 2 && word[1] < r->bound && r->type_op[word[1]] &&
	           word[2] < r->bound && !r->type_op[word[2]] && !r->type_of[word[2]])
		r->type_of[word[2]] = word[1];
}

/* As OpenCL C mangles it: a type that was there before is S and its number. */
static void name_of(const struct rewriting *r, uint32_t code, uint32_t result, char *name,
                    size_t size)
{
	static const char *const loads[] = { "32__spirv_Subgroup2DBlockLoadINTEL",
		                             "41__spirv_Subgroup2DBlockLoadTransformINTEL",
		                             "41__spirv_Subgroup2DBlockLoadTransposeINTEL" };
	uint32_t rows = r->type_arg[result];
	bool real = r->type_op[result] == OP_TYPE_FLOAT;

	if (code != OP_PRODUCT)
		snprintf(name, size, "_Z%siiiiPU3AS1KviiiDv2_iPv", loads[code - OP_LOAD]);
	else if (rows == 8 && !real)
		snprintf(name, size,
		         "_Z45__spirv_SubgroupMatrixMultiplyAccumulateINTELiDv8_sDv8_iS0_i");
	else
		snprintf(
		    name, size,
		    "_Z45__spirv_SubgroupMatrixMultiplyAccumulateINTELiDv%u_sDv8_iDv%u_%ci",
		    rows, rows, real ? 'f' : 'i');
}

static void add_text(struct words *w, const char *text)
{
	uint32_t word;

	for (size_t length = strlen(text) + 1; length;) {
		size_t n = length < 4 ? length : 4;

		word = 0;
		memcpy(&word, text, n);
		add(w, word);
		text += n;
		length -= n;
	}
}

/* Among n words, the function type of this result and these parameters; 0: there is none. */
static uint32_t find_type(const uint32_t *words, size_t n, uint32_t result, const uint32_t *of,
                          uint32_t nof)
{
	for (size_t at = 0; at < n && words[at] >> 16; at += words[at] >> 16)
		if (words[at] == ((3 + nof) << 16 | OP_TYPE_FUNCTION) &&
		    words[at + 2] == result && !memcmp(words + at + 3, of, nof * sizeof(*of)))
			return words[at + 1];
	return 0;
}

/* No type may be there twice. */
static uint32_t function_type(struct rewriting *r, uint32_t result, const uint32_t *of,
                              uint32_t n)
{
	uint32_t type = find_type(r->in->words + 5, r->in->nwords - 5, result, of, n);

	if (!type)
		type = find_type(r->types.at, r->types.n, result, of, n);
	if (type)
		return type;
	type = r->bound++;
	op(&r->types, OP_TYPE_FUNCTION, 3 + n);
	add(&r->types, type);
	add(&r->types, result);
	add_all(&r->types, of, n);
	return type;
}

static void call(struct rewriting *r, const uint32_t *word, uint32_t code, uint32_t length)
{
	bool product = code == OP_PRODUCT;
	uint32_t first = product ? 3 : 1, n = length - first, operands[MAX_OPERANDS];
	uint32_t result = product ? word[1] : r->void_id;
	uint32_t id = product ? word[2] : r->bound++, f = r->bound++, of[MAX_OPERANDS];
	char name[120];

	memcpy(operands, word + first, n * sizeof(*operands));
	if (product) { /* its last operand is bits, not an id */
		uint32_t bits = n == 5 ? operands[4] : 0;

		n = 5;
		operands[4] = r->bound++;
		op(&r->types, OP_CONSTANT, 4);
		add(&r->types, r->int_id);
		add(&r->types, operands[4]);
		add(&r->types, bits);
	}
	for (uint32_t i = 0; i < n; i++)
		of[i] = product && i == 4 ? r->int_id : r->type_of[operands[i]];
	op(&r->functions, OP_FUNCTION, 5);
	add(&r->functions, result);
	add(&r->functions, f);
	add(&r->functions, 0);
	add(&r->functions, function_type(r, result, of, n));
	op(&r->calls, OP_FUNCTION_CALL, 4 + n);
	add(&r->calls, result);
	add(&r->calls, id);
	add(&r->calls, f);
	for (uint32_t i = 0; i < n; i++) {
		op(&r->functions, OP_FUNCTION_PARAMETER, 3);
		add(&r->functions, of[i]);
		add(&r->functions, r->bound++);
		add(&r->calls, operands[i]);
	}
	op(&r->functions, OP_FUNCTION_END, 1);
	name_of(r, code, result, name, sizeof(name));
	op(&r->decorations, OP_DECORATE, (uint32_t)(4 + strlen(name) / 4 + 1));
	add(&r->decorations, f);
	add(&r->decorations, LINKAGE_ATTRIBUTES);
	add_text(&r->decorations, name);
	add(&r->decorations, LINKAGE_IMPORT);
}

static bool goes(const uint32_t *word, uint32_t code)
{
	if (code == OP_CAPABILITY)
		return word[1] >= CAPABILITY_FIRST && word[1] <= CAPABILITY_PRODUCT;
	return code == OP_EXTENSION &&
	       (!strcmp((const char *)(word + 1), "SPV_INTEL_2d_block_io") ||
	        !strcmp((const char *)(word + 1),
	                "SPV_INTEL_subgroup_matrix_multiply_accumulate"));
}

/* The module up to its functions, with what is new in the places the rules want. */
static void head(struct rewriting *r, struct words *out, size_t functions)
{
	bool decorated = false, linkage = false;

	add_all(out, r->in->words, 5);
	out->at[3] = r->bound;
	for (size_t at = 5; at < functions; at += r->in->words[at] >> 16) {
		const uint32_t *word = r->in->words + at;
		uint32_t code = word[0] & 0xffff, length = word[0] >> 16;

		if (!linkage) {
			op(out, OP_CAPABILITY, 2);
			add(out, CAPABILITY_LINKAGE);
			linkage = true;
		}
		if (!decorated && code >= OP_TYPE_VOID && code <= OP_LAST_TYPE) {
			add_all(out, r->decorations.at, r->decorations.n);
			decorated = true;
		}
		if (!goes(word, code) &&
		    !(code == OP_CAPABILITY && word[1] == CAPABILITY_LINKAGE))
			add_all(out, word, length);
	}
	add_all(out, r->types.at, r->types.n);
	add_all(out, r->functions.at, r->functions.n);
}

/* Whether the operands are ids whose types are known. */
static bool usable(const struct rewriting *r, const uint32_t *word, uint32_t code,
                   uint32_t length)
{
	uint32_t first = code == OP_PRODUCT ? 3 : 1;
	uint32_t last = code == OP_PRODUCT ? first + 4 : length;

	if (length <= first || length - first > MAX_OPERANDS || length < last || !r->int_id ||
	    !r->void_id)
		return false;
	for (uint32_t i = first; i < last; i++)
		if (word[i] >= r->bound || !r->type_of[word[i]])
			return false;
	return true;
}

bool zecl_newer(const struct zecl_spirv *in, struct zecl_spirv *out)
{
	struct rewriting r = { .in = in, .bound = in->words[3] };
	size_t functions = 0;
	uint32_t bound = r.bound;
	struct words w = { NULL, 0, 0 };
	bool found = false, ok = bound && bound < 1u << 22;

	for (size_t at = 5; at < in->nwords; at += in->words[at] >> 16)
		found |= is_newer(in->words[at] & 0xffff);
	if (!found || !ok)
		return false;
	r.type_of = calloc(bound, sizeof(uint32_t));
	r.type_op = calloc(bound, sizeof(uint32_t));
	r.type_arg = calloc(bound, sizeof(uint32_t));
	for (size_t at = 5; ok && at < in->nwords; at += in->words[at] >> 16) {
		const uint32_t *word = in->words + at;
		uint32_t code = word[0] & 0xffff, length = word[0] >> 16, keep = r.bound;

		r.bound = bound; /* ids of the module only */
		learn(&r, word, code, length);
		ok = !is_newer(code) || usable(&r, word, code, length);
		r.bound = keep;
		if (code == OP_FUNCTION && !functions)
			functions = at;
		if (ok && functions && is_newer(code))
			call(&r, word, code, length);
		else if (functions)
			add_all(&r.calls, word, length);
	}
	if (ok && functions) {
		head(&r, &w, functions);
		add_all(&w, r.calls.at, r.calls.n);
		out->words = w.at;
		out->nwords = w.n;
	}
	free(r.calls.at);
	free(r.decorations.at);
	free(r.types.at);
	free(r.functions.at);
	free(r.type_of);
	free(r.type_op);
	free(r.type_arg);
	return ok && functions;
}
