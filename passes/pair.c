/* SPDX-License-Identifier: Apache-2.0 */
/* pair.c -- vectors that are narrowed to bf16 and stored side by side go together.
 *
 *     %v = convert %a : bf16<16>            %c = join %a, %b : f32<32>
 *     vstore %v, %p[%i]                     %w = convert %c : bf16<32>
 *     ...                             =>    vstore %w, %p[%i]
 *     %w = convert %b : bf16<16>
 *     vstore %w, %p[add %i, 16]
 *
 * AVX512-BF16 narrows two registers in four micro-operations and one in three
 * (vcvtne2ps2bf16, vcvtneps2bf16; sapphirerapids in llvm-mca), and a store goes. Beside tiles
 * both of its ports are what weights wait for.
 *
 * The first store moves down to the second, in one region and over nothing that touches its
 * memory but stores of the same index with another literal added. Only where subnormals may
 * count as 0, which is what these instructions do. Requires level V; stands behind clean, which
 * has written indices as a value and a literal. Costs no registers that the second vector
 * didn't need already, but for the first, which lives on until then.
 */
#include "analysis.h"
#include "emit.h"

enum { MOST = 16 /* stores that wait for their other half */ };

/* A store of what a conversion narrows. */
typedef struct half {
	kir_ref store;
	kir_ref base; /* its last index is base + at; 0: at */
	int64_t at, lanes;
} half;

typedef struct pair {
	const kir_func *in;
	kir_ref *other; /* of the second store of a pair: the first        */
	bool *low;      /* of the second store: the first is the lower one */
	unsigned *uses;
	half wait[MOST];
	unsigned nwait;
} pair;

/* The last index of store n as a value and a literal. */
static half half_of(const kir_func *f, kir_ref n)
{
	half h = { .store = n, .base = kir_src(f, n, f->node[n].nsrc - 1u) };

	h.lanes = kir_type_of(f, kir_src(f, n, 0))->dim[0];
	if (kir_is_const(f, h.base, &h.at)) {
		h.base = 0;
	} else if (f->node[h.base].op == KIR_OP_add &&
	           kir_is_const(f, kir_src(f, h.base, 1), &h.at)) {
		h.base = kir_src(f, h.base, 0);
	}
	return h;
}

/* Whether n stores a register of f32 that was narrowed for it alone. */
static bool is_half(const pair *p, kir_ref n)
{
	const kir_func *f = p->in;
	kir_ref c = kir_src(f, n, 0), x = kir_src(f, c, 0);

	return f->node[n].op == KIR_OP_vstore && !kir_attr_of(f, n, KIR_ATTR_hint) &&
	       f->node[n].nsrc == 2 + kir_type_of(f, kir_src(f, n, 1))->rank &&
	       f->node[c].op == KIR_OP_convert && p->uses[c] == 1 &&
	       kir_type_of(f, c)->elem == KIR_bf16 && kir_type_of(f, x)->elem == KIR_f32 &&
	       kir_type_of(f, x)->rank == 1 &&
	       kir_type_of(f, x)->dim[0] * 32 == f->target->vector_bits &&
	       kir_attr_of(f, c, KIR_ATTR_sub) == KIR_SUB_zero &&
	       kir_attr_of(f, c, KIR_ATTR_round) == KIR_ROUND_even &&
	       kir_attr_of(f, c, KIR_ATTR_nan) == KIR_NAN_keep;
}

/* Whether a and b are of one row of one buffer. */
static bool same_row(const kir_func *f, const half *a, const half *b)
{
	if (a->base != b->base || f->node[a->store].nsrc != f->node[b->store].nsrc)
		return false;
	for (unsigned i = 1; i + 1 < f->node[a->store].nsrc; i++)
		if (kir_src(f, a->store, i) != kir_src(f, b->store, i))
			return false;
	return true;
}

/* Stores that node n may not be moved over wait no longer; h: n as a half, or NULL. */
static void forget(pair *p, kir_ref n, const half *h)
{
	const kir_func *f = p->in;
	bool writes;
	kir_ref memory = touched(f, n, &writes);
	unsigned kept = 0;

	for (unsigned i = 0; i < p->nwait; i++) {
		const half *w = &p->wait[i];
		bool apart = h && same_row(f, w, h) &&
		             (w->at + w->lanes <= h->at || h->at + h->lanes <= w->at);

		if (apart || touched(f, w->store, &writes) != memory)
			p->wait[kept++] = *w;
	}
	p->nwait = kept;
}

/* Looks for the half that h completes; without one, h waits for its own. */
static bool match(pair *p, const half *h)
{
	for (unsigned i = 0; i < p->nwait; i++) {
		half w = p->wait[i];

		if (!same_row(p->in, &w, h) || w.lanes != h->lanes ||
		    (w.at + w.lanes != h->at && h->at + h->lanes != w.at))
			continue;
		p->other[h->store] = w.store;
		p->low[h->store] = w.at < h->at;
		p->wait[i] = p->wait[--p->nwait];
		return true;
	}
	if (p->nwait < MOST)
		p->wait[p->nwait++] = *h;
	return false;
}

static bool find(pair *p)
{
	const kir_func *f = p->in;
	bool found = false;

	for (kir_ref n = 1; n < f->nnode; n++) {
		unsigned flags = kir_ops[f->node[n].op].flags;

		if (flags & (KIR_REGION | KIR_REGION2 | KIR_ENDS)) {
			p->nwait = 0;
		} else if (is_half(p, n)) {
			half h = half_of(f, n);

			forget(p, n, &h);
			found |= match(p, &h);
		} else {
			forget(p, n, NULL);
		}
	}
	return found;
}

/* The pair whose second store is n, the first being gone. */
static void emit(const pair *p, kir_ref n, kir_func *out, const kir_ref *map)
{
	const kir_func *in = p->in;
	kir_ref lo = p->low[n] ? p->other[n] : n, hi = p->low[n] ? n : p->other[n];
	kir_ref c = kir_src(in, lo, 0), src[KIR_MAX_SRC];
	const kir_type *t = kir_type_of(in, c);
	kir_ref x = e2(out, KIR_OP_join, kir_vector(out->module, KIR_f32, 2 * t->dim[0]),
	               map[kir_src(in, c, 0)], map[kir_src(in, kir_src(in, hi, 0), 0)]);

	for (unsigned i = 1; i < in->node[lo].nsrc; i++)
		src[i] = map[kir_src(in, lo, i)];
	src[0] = kir_emit(out, KIR_OP_convert, kir_vector(out->module, KIR_bf16, 2 * t->dim[0]),
	                  &x, 1, in->node[c].attr);
	kir_emit(out, KIR_OP_vstore, in->node[lo].type, src, in->node[lo].nsrc,
	         in->node[lo].attr);
}

/* Marks what goes: first stores, conversions, and the upper one's index if nothing else has it.
 */
static void mark(pair *p, bool *gone)
{
	const kir_func *f = p->in;

	for (kir_ref n = 1; n < f->nnode; n++) {
		kir_ref hi, index;

		if (!p->other[n])
			continue;
		hi = p->low[n] ? n : p->other[n];
		index = kir_src(f, hi, f->node[hi].nsrc - 1u);
		gone[p->other[n]] = true;
		gone[kir_src(f, n, 0)] = gone[kir_src(f, p->other[n], 0)] = true;
		gone[index] = !--p->uses[index] && f->node[index].op == KIR_OP_add;
	}
}

kpass_result kpass_pair(const kir_func *in, kir_func *out, kir_diag *why)
{
	pair p = { .in = in };
	kir_ref *map = kir_map_new(out, in);
	bool *gone = kir_alloc(out->module, in->nnode * sizeof *gone);

	(void)why;
	p.other = kir_alloc(out->module, in->nnode * sizeof *p.other);
	p.low = kir_alloc(out->module, in->nnode * sizeof *p.low);
	p.uses = kir_count_uses(in);
	if (~in->target->features & (KIR_HAS_avx512 | KIR_HAS_bf16) || !find(&p))
		return KPASS_SAME;
	mark(&p, gone);
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (p.other[n])
			emit(&p, n, out, map);
		else if (!gone[n] && in->node[n].op != KIR_OP_param)
			kir_copy(out, in, n, map);
	}
	return KPASS_CHANGED;
}
