/* SPDX-License-Identifier: Apache-2.0 */
/* format.h -- declared cache formats: what is stored, how it got its scale, where it lies.
 *
 *     format int8_per_token_head v1 {
 *       elem s8
 *       scale f32 token-head amax/127 floor 1e-06
 *       apply reciprocal
 *       round away
 *       tensor cache [h t] { k[d] ks v[d] vs }
 *     }
 *
 * From one declaration come the writer, the reader, the oracle and the page size. Nothing
 * else in kvjit knows a format by name; the built-in names are texts, composed by
 * format_builtin.c. docs/formats.md is the grammar with examples.
 */
#ifndef KVJIT_KIR_FORMAT_H
#define KVJIT_KIR_FORMAT_H

#include "kir.h"

/* What shares one scale. */
typedef enum kir_gran {
	KIR_GRAN_none,       /* codes are values                                  */
	KIR_GRAN_tensor,     /* one for all; handed over, never stored            */
	KIR_GRAN_head,       /* one for each KV head; handed over, never stored   */
	KIR_GRAN_token_head, /* one for each token and KV head; computed, stored  */
	KIR_GRAN_group,      /* the same, for each `group` elements of the head   */
	KIR_GRAN_tokens      /* one for each element of the head, of `tokens` tokens */
} kir_gran;

typedef enum kir_scale_rule {
	KIR_RULE_given,     /* the caller's (tensor, head)                          */
	KIR_RULE_amax,      /* max(max(amax, eps) / divisor, floor)                 */
	KIR_RULE_pow2,      /* the power of two at or above that                    */
	KIR_RULE_pow2_down, /* the one at or below it (OCP MX)                      */
	KIR_RULE_pow2_near  /* below it, or above from 1.75 times that on           */
} kir_scale_rule;

/* One side: K, V, or R, the rest of a key in a format whose keys have two parts. */
typedef struct kir_side {
	kir_elem elem;       /* of a code's value; s4 is s8, u4 is u8 with bits 4        */
	unsigned bits;       /* of a code: kir_elems' or 4                             */
	int pack;            /* bits 4: a byte holds elements i and i + pack of 2 pack */
	kir_elem scale_elem; /* KIR_VOID with KIR_GRAN_none                       */
	kir_gran gran;
	int group;  /* KIR_GRAN_group: elements that share a scale               */
	int tokens; /* KIR_GRAN_tokens: tokens whose elements share scales       */
	kir_scale_rule rule;
	double divisor, eps, floor; /* eps, floor: 0 is none                      */
	double other;    /* a second divisor, taken where codes err less with it; 0: none */
	bool inverse;    /* amax * fl(1/divisor) instead of amax / divisor        */
	bool row;        /* amax is that of a whole row: its groups' scales agree */
	bool global;     /* stored scales are times one that is handed over       */
	bool range;      /* of max - min, not amax: codes have a zero point       */
	bool reciprocal; /* x * fl(1/s) instead of x / s                          */
	bool mean;       /* K: rows are stored less a mean that is handed over       */
	int rotate;      /* 0: no; ROTATE_WHOLE, or elements of a block     */
	bool signs;      /* elements are times signs first, which are handed over    */
	int round;       /* KIR_ROUND_*                                           */
	int nan;         /* KIR_NAN_*                                             */
} kir_side;

/* A tensor's contents: a leaf names a stream and the pieces that index it, innermost last;
 * a group repeats its items along its axes. */
typedef enum kir_stream {
	KIR_S_k,
	KIR_S_v,
	KIR_S_r,
	KIR_S_ks, /* scales, in the order of the codes */
	KIR_S_vs,
	KIR_S_rs,
	KIR_NSTREAM
} kir_stream;

enum { KIR_SIDES = 3 }; /* K, V, R */

/* kir_side.rotate: the largest power of two that divides the head. */
enum { KIR_ROTATE_WHOLE = -1 };

/* Elements of the blocks that a head of dim elements is rotated in; 0: it isn't. */
static inline int64_t kir_side_block(const kir_side *s, int64_t dim)
{
	return s->rotate == KIR_ROTATE_WHOLE ? dim & -dim : s->rotate;
}

/* Whether a side's scale is handed over with each call. */
static inline bool kir_side_given(const kir_side *s)
{
	return s->gran != KIR_GRAN_none && (s->rule == KIR_RULE_given || s->global);
}

typedef struct kir_format {
	const char *name;
	int version;
	kir_side side[KIR_SIDES]; /* 0 K, 1 V, 2 R                      */
	int keys;         /* elements of a key, where the format is for one size; 0: any     */
	int rest;         /* elements at a key's end that are part R; 0: keys are one part */
	bool shared;      /* values are the first elements of the keys: no v is stored      */
	unsigned ntensor; /* buffers the caller hands over      */
	struct kir_format_tensor *tensor; /* private to format.c                */
} kir_format;

/* The sizes that make a declaration concrete. */
typedef struct kir_shape {
	int64_t kv_heads, dim_k, dim_v, page; /* page: tokens a page              */
} kir_shape;

#define KIR_MAX_TENSORS 4

/* Where everything lies, in bytes. Streams that aren't stored have tensor -1. */
typedef struct kir_layout {
	unsigned ntensor;
	struct {
		const char *name;   /* parameter name                              */
		int64_t page_bytes; /* default of stride 0                         */
		unsigned nstride;   /* run-time strides: page, then the tensor's axes*/
		int64_t stride[4];  /* their defaults, in bytes                    */
		char axis[4];       /* 'p', then 'h' or 't'                        */
	} tensor[KIR_MAX_TENSORS];
	struct {
		int tensor;
		int64_t offset;
		/* codes: [p,h,t,d], of 4 bits bytes [p,h,t,d/2]; scales: [p,h,t],
		 * [p,h,t,g], or of groups of tokens [p,h,g,d] */
		kir_type type;
	} stream[KIR_NSTREAM];
} kir_layout;

/* Parses one `format NAME vN { ... }` that begins at line `line` of what the user wrote, and
 * declares it in m. The same declaration twice is fine, a different one isn't. */
bool kir_format_parse_body(kir_module *m, const char *text, size_t len, int line, kir_diag *d);
const kir_format *kir_format_find(const kir_module *m, const char *name);
/* Declares a built-in name in m if it isn't declared yet and the name is one:
 *   ELEM[/GRAN[/PLACE]][/VARIANT...]   e4m3/head, int8/token-head/inline, e5m2/tensor/hnd/div
 * and the names hosts use (fp8_e4m3, int8_per_token_head, bfloat16, ...). NULL and a message
 * that lists what is accepted otherwise. */
const kir_format *kir_format_get(kir_module *m, const char *name, kir_diag *d);
void kir_format_print(const kir_format *f, kir_text *out);
/* Of the canonical print without the name's aliases: part of every kernel's key. */
uint64_t kir_format_hash(const kir_format *f);
/* False and a message naming the field when the declaration doesn't fit the shape (a group
 * that doesn't divide the head, say). */
bool kir_format_layout(const kir_format *f, const kir_shape *s, kir_layout *out, kir_diag *d);

/* -- one element, exactly (elem.c) --------------------------------------------- */

/* The value of a code; NaN and infinities as the element has them. */
double kir_decode(kir_elem e, uint64_t code);
/* Rounds x to the element. round, nan, over: KIR_ROUND_*, KIR_NAN_*, KIR_OVER_*. With
 * KIR_ROUND_away, integers follow formats.md A1: f32(x + copysign(.5, x)) truncated.
 * Finite-only elements without NaN take NaN as their maximum; integers take it as 0. */
uint64_t kir_encode(kir_elem e, double x, int round, int nan, int over);
double kir_elem_max(kir_elem e); /* largest finite value */
/* The power of two at or above x, exactly (KIR_RULE_pow2; formats.md, fact 8): 2^-127, the
 * smallest e8m0, for x <= 0. */
double kir_pow2_ceil(double x);
/* The same for every rule of powers of two. */
double kir_pow2_by(kir_scale_rule rule, double x);
/* The largest scale that a rule may give: finite as it is stored, with pow2 a power of two. */
double kir_scale_most(const kir_side *s);
/* Whether a row of elements `from` may have a scale beyond that; a conversion that saturates
 * does the rest by itself. */
bool kir_scale_overflows(const kir_side *s, kir_elem from);
/* What is added to the bits of a positive f32 before the mantissa is cut off, to that end. */
uint32_t kir_pow2_carry(kir_scale_rule rule);
/* A stored scale of a side with zero points (kir_side.range): the code of 0 is in its lowest
 * bits, as many as a code has, and no part of the scale. */
static inline uint32_t kir_side_zero_mask(const kir_side *s)
{
	return s->range ? (UINT32_C(1) << s->bits) - 1 : 0;
}
/* Takes the stored scale x apart, and puts both together; without zero points it is itself. */
double kir_side_split(const kir_side *s, double x, double *zero);
double kir_side_join(const kir_side *s, double scale, double zero);
/* Whether a side's scales lie in the cache. */
static inline bool format_stored(const kir_side *s)
{
	return s->gran >= KIR_GRAN_token_head;
}
/* Tokens of a cache of format f that can only be written together: those that share scales.
 * 0: each by itself. */
static inline int kir_format_tokens(const kir_format *f)
{
	return f->side[0].tokens;
}
/* Tokens of attention op n that a tile of keys divides: those that share scales, or a page. */
int64_t kir_key_run(const kir_func *f, kir_ref n);
/* Scales that lie beside a row of dim codes. */
static inline int64_t kir_side_scales(const kir_side *s, int64_t dim)
{
	return s->gran == KIR_GRAN_tokens ? dim : s->group ? dim / s->group : 1;
}

/* Whether what side a stored means the same as side b's: it can be moved as it is. How a scale
 * was found is of no account, save that a side of powers of two must hold such. */
static inline bool kir_side_moves(const kir_side *a, const kir_side *b)
{
	return a->elem == b->elem && a->bits == b->bits && a->gran == b->gran &&
	       a->rotate == b->rotate && a->signs == b->signs && a->mean == b->mean &&
	       (a->gran == KIR_GRAN_none ||
	        (a->scale_elem == b->scale_elem && a->group == b->group &&
	         a->tokens == b->tokens && a->global == b->global && a->range == b->range &&
	         (b->rule < KIR_RULE_pow2 || a->rule >= KIR_RULE_pow2)));
}
/* Whether side s can be transcoded: rotated rows are moved or not at all, and what is stored
 * less a mean stays so. */
static inline bool kir_side_transcodes(const kir_format *a, const kir_format *b, int s)
{
	return (!a->side[s].rotate && !b->side[s].rotate &&
	        a->side[s].mean == b->side[s].mean) ||
	       kir_side_moves(&a->side[s], &b->side[s]);
}
/* Whether a transcoding from a to b needs the scales that are handed over for side s of the one
 * (to 0) or the other. */
static inline bool kir_side_wants(const kir_format *a, const kir_format *b, int s, int to)
{
	const kir_side *side = &(to ? b : a)->side[s];
	bool stored = s == 0 || (s == 1 ? !a->shared : a->rest > 0);

	return stored && !kir_side_moves(&a->side[s], &b->side[s]) && kir_side_given(side);
}
/* Elements of a side that a row of stored bytes holds for each of its items: 2 or 1. */
static inline int64_t kir_side_per(const kir_side *s)
{
	return s->bits == 4 ? 2 : 1;
}
/* Side K of the format that an op's attribute names, if its codes lie two a byte; else NULL. */
const kir_side *kir_packed_side(const kir_func *f, kir_ref n, kir_attr attr);
/* Where code k of a row lies: its byte, and whether in the high bits of it. */
static inline int64_t kir_side_byte(const kir_side *s, int64_t k, bool *high)
{
	*high = k / s->pack & 1;
	return k / (2 * s->pack) * s->pack + k % s->pack;
}
/* The 4 bits as a code of s->elem. */
static inline uint64_t kir_side_code(const kir_side *s, unsigned bits)
{
	return s->elem == KIR_s8 ? ((bits & 15) ^ 8) - (uint64_t)8 : bits & 15;
}
/* The largest and smallest a code of integers may be. */
static inline int64_t kir_side_max(const kir_side *s)
{
	return (INT64_C(1) << (s->bits - (s->elem == KIR_s8))) - 1;
}

#endif
