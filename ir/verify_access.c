/* SPDX-License-Identifier: Apache-2.0 */
/* verify_access.c -- memory: loads and stores, locals, views, the operands of level-A ops. */
#include "verify.h"
#include "format.h"

#include <string.h>

static bool allowed(const kir_func *f, kir_ref buffer, kir_dir dir)
{
	kir_ref root = kir_root(f, buffer);
	return f->node[root].op != KIR_OP_param ||
	       (f->param[f->node[root].attr[0]].dir & dir) == dir;
}

static bool check_allowed(kir_checker *c, kir_ref n, kir_ref buffer, kir_dir dir)
{
	return allowed(c->f, buffer, dir) ||
	       kir_complain(c, n, "%s may not be %s", kir_value_text(c, buffer),
	                    dir == KIR_IN    ? "read, it is out"
	                    : dir == KIR_OUT ? "written, it is in"
	                                     : "anything but inout");
}

/* -- access -- */

static bool check_indices(kir_checker *c, kir_ref n, unsigned first, unsigned count)
{
	const kir_func *f = c->f;
	const kir_type *t = kir_type_of(f, n);
	bool gather = f->node[n].op == KIR_OP_gather;
	for (unsigned k = first; k < first + count; k++) {
		kir_ref i = kir_src(f, n, k);
		const kir_type *it = kir_type_of(f, i);
		kir_type shape = *t;
		shape.elem = it->elem;
		if (!it->rank && it->elem == KIR_s64)
			continue;
		if (gather && kir_is_int((kir_elem)it->elem) &&
		    (!it->rank || f->node[i].type == kir_type_intern(f->module, &shape)))
			continue;
		return kir_complain(c, n, "its index %s is %s, not %s", kir_value_text(c, i),
		                    kir_type_text(c, f->node[i].type),
		                    gather ? "a scalar or of the result's shape" : "an s64");
	}
	return true;
}

/* A tile's dimensions are the last ones of the buffer, and no larger. Rows past the end are
 * fine where upto cuts them off. */
static bool check_tile(kir_checker *c, kir_ref n, kir_ref value, kir_ref buf, bool upto)
{
	const kir_type *t = kir_type_of(c->f, value), *b = kir_type_of(c->f, buf);
	if (t->rank > b->rank)
		return kir_complain(c, n, "%s has %u dimensions, the tile %u",
		                    kir_value_text(c, buf), b->rank, t->rank);
	for (unsigned i = 0; i < t->rank; i++) {
		unsigned k = b->rank - t->rank + i;
		if (b->dim[k] >= 0 && t->dim[i] > b->dim[k] && !(upto && !i))
			return kir_complain(c, n,
			                    "%s has %lld elements along dimension %u, the "
			                    "tile %lld",
			                    kir_value_text(c, buf), (long long)b->dim[k], k,
			                    (long long)t->dim[i]);
	}
	return true;
}

static bool check_shape(kir_checker *c, kir_ref n, kir_ref value, kir_ref buf, unsigned nindex,
                        bool upto)
{
	kir_op op = (kir_op)c->f->node[n].op;
	const kir_type *t = kir_type_of(c->f, value), *b = kir_type_of(c->f, buf);
	if (t->elem != b->elem)
		return kir_complain(c, n, "%s holds %s, the value is %s",
		                    kir_value_text(c, buf), kir_elems[b->elem].name,
		                    kir_type_text(c, c->f->node[value].type));
	if (op == KIR_OP_gather)
		return nindex == b->rank ||
		       kir_complain(c, n, "it needs %u indices, not %u", b->rank, nindex);
	if (op == KIR_OP_vload || op == KIR_OP_vstore || op == KIR_OP_xe_load2d)
		return t->rank == 1 || kir_complain(c, n, "it moves a vector, not %s",
		                                    kir_type_text(c, c->f->node[value].type));
	if (!t->rank && nindex != b->rank)
		return kir_complain(c, n, "a scalar needs %u indices, not %u", b->rank, nindex);
	if (!t->rank && upto)
		return kir_complain(c, n, "a scalar has no upto");
	if (t->rank && c->f->level == KIR_V)
		return kir_complain(c, n, "it moves scalars at level V; use v%s",
		                    kir_ops[op].name);
	return check_tile(c, n, value, buf, upto);
}

bool kir_check_access(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	kir_ref buf, upto, value = n;
	unsigned first, nindex;
	kir_access(c->f, n, &buf, &first, &nindex, &upto);
	if (nindex > kir_type_of(c->f, buf)->rank)
		return kir_complain(c, n, "it has more indices than its buffer has dimensions");
	if (!check_indices(c, n, first, nindex) ||
	    (x->op == KIR_OP_xe_load2d && !kir_check_xe(c, n)))
		return false;
	if (x->op == KIR_OP_prefetch)
		return true;
	if (kir_is_amx((kir_op)x->op))
		return check_allowed(c, n, buf, x->op == KIR_OP_amx_load ? KIR_IN : KIR_OUT);
	if (x->op == KIR_OP_store || x->op == KIR_OP_vstore)
		value = kir_src(c->f, n, 0);
	return check_shape(c, n, value, buf, nindex, upto != 0) &&
	       check_allowed(c, n, buf, value == n ? KIR_IN : KIR_OUT);
}

/* -- locals and views -- */

bool kir_check_local(kir_checker *c, kir_ref n)
{
	int64_t bytes = kir_type_span(kir_type_of(c->f, n));
	if (bytes < 0)
		return kir_complain(c, n, "its extents must be static");
	c->local_bytes += bytes > KIR_LOCAL_BYTES ? KIR_LOCAL_BYTES + 1 : bytes;
	if (c->local_bytes > KIR_LOCAL_BYTES)
		return kir_complain(c, n, "locals that live at once take more than %lld bytes",
		                    (long long)KIR_LOCAL_BYTES);
	return true;
}

bool kir_check_view(kir_checker *c, kir_ref n)
{
	const kir_func *f = c->f;
	kir_ref root = kir_root(f, n);
	int64_t end = kir_type_span(kir_type_of(f, n)), offset = 0, sum;
	for (kir_ref v = n; v != root; v = kir_src(f, v, 0)) {
		if (__builtin_add_overflow(offset, kir_attr_of(f, v, KIR_ATTR_offset), &sum))
			return kir_complain(c, n, "its offset is too large");
		offset = sum;
	}
	if (f->node[root].op == KIR_OP_local) {
		int64_t bytes = kir_type_span(kir_type_of(f, root));
		if (end < 0 || end > bytes || offset > bytes - end)
			return kir_complain(c, n, "it reaches past the end of %s",
			                    kir_value_text(c, root));
		return true;
	}
	if (f->node[root].op != KIR_OP_param)
		return true;
	unsigned want = kir_type_nstride(kir_type_of(f, n));
	unsigned have = f->param[f->node[root].attr[0]].nstride;
	return want <= have || kir_complain(c, n, "%s has %u run-time strides, $%u is not one",
	                                    kir_value_text(c, root), have, want - 1);
}

/* -- level A -- */

/* Named operands: element (VOID: any), dimensions, and what is done with the memory. */
static const struct {
	uint8_t op;
	const char *name;
	kir_elem elem;
	unsigned lo, hi;
	kir_dir dir;
} operands[] = {
	{ KIR_OP_attention, "q", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_attention, "out", KIR_VOID, 3, 3, KIR_OUT },
	{ KIR_OP_attention, "k", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_attention, "v", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_attention, "r", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_attention, "table", KIR_s32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "index", KIR_s32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "limit", KIR_s64, 0, 0, 0 },
	{ KIR_OP_attention, "lens", KIR_s32, 1, 1, KIR_IN },
	{ KIR_OP_attention, "starts", KIR_s32, 1, 1, KIR_IN },
	{ KIR_OP_attention, "scale", KIR_f32, 0, 0, 0 },
	{ KIR_OP_attention, "lse", KIR_f32, 2, 2, KIR_OUT },
	{ KIR_OP_attention, "sink", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_attention, "ks", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_attention, "vs", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_attention, "rs", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_attention, "qd", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "kd", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "vd", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "kmean", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "ksign", KIR_s8, 1, 1, KIR_IN },
	{ KIR_OP_attention, "vsign", KIR_s8, 1, 1, KIR_IN },
	{ KIR_OP_attention, "work", KIR_s32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "nwork", KIR_s64, 0, 0, 0 },
	{ KIR_OP_attention, "join", KIR_s32, 2, 2, KIR_IN },
	{ KIR_OP_attention, "njoin", KIR_s64, 0, 0, 0 },
	{ KIR_OP_attention, "part", KIR_f32, 2, 2, KIR_INOUT },
	{ KIR_OP_cache_write, "key", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_cache_write, "value", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_cache_write, "rest", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_cache_write, "slots", KIR_s64, 1, 1, KIR_IN },
	{ KIR_OP_cache_write, "k", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_cache_write, "v", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_cache_write, "r", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_cache_write, "ks", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_cache_write, "vs", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_cache_write, "rs", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_cache_write, "kd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_cache_write, "vd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_cache_write, "kmean", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_cache_write, "ksign", KIR_s8, 1, 1, KIR_IN },
	{ KIR_OP_cache_write, "vsign", KIR_s8, 1, 1, KIR_IN },
	{ KIR_OP_cache_write, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_transcode, "from_k", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_transcode, "from_v", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_transcode, "from_r", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_transcode, "from_ks", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_transcode, "from_vs", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_transcode, "from_rs", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_transcode, "from_kd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "from_vd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "k", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_transcode, "v", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_transcode, "r", KIR_VOID, 4, 4, KIR_OUT },
	{ KIR_OP_transcode, "ks", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_transcode, "vs", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_transcode, "rs", KIR_VOID, 3, 4, KIR_OUT },
	{ KIR_OP_transcode, "kd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "vd", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "from_slots", KIR_s64, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "slots", KIR_s64, 1, 1, KIR_IN },
	{ KIR_OP_transcode, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_quantize, "x", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_quantize, "q", KIR_VOID, 3, 3, KIR_OUT },
	{ KIR_OP_quantize, "s", KIR_VOID, 2, 3, KIR_OUT },
	{ KIR_OP_quantize, "d", KIR_f32, 1, 1, KIR_IN },
	{ KIR_OP_quantize, "mean", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_quantize, "sign", KIR_s8, 1, 1, KIR_IN },
	{ KIR_OP_quantize, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_gemm, "a", KIR_VOID, 2, 2, KIR_IN },
	{ KIR_OP_gemm, "as", KIR_VOID, 2, 2, KIR_IN },
	{ KIR_OP_gemm, "w", KIR_VOID, 2, 2, KIR_IN },
	{ KIR_OP_gemm, "ws", KIR_VOID, 2, 2, KIR_IN },
	{ KIR_OP_gemm, "c", KIR_VOID, 2, 2, KIR_OUT },
	{ KIR_OP_gemm, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_relayout, "x", KIR_VOID, 2, 2, KIR_IN },
	{ KIR_OP_relayout, "y", KIR_VOID, 2, 2, KIR_OUT },
	{ KIR_OP_index_topk, "q", KIR_VOID, 3, 3, KIR_IN },
	{ KIR_OP_index_topk, "w", KIR_f32, 2, 2, KIR_IN },
	{ KIR_OP_index_topk, "k", KIR_VOID, 4, 4, KIR_IN },
	{ KIR_OP_index_topk, "ks", KIR_VOID, 3, 4, KIR_IN },
	{ KIR_OP_index_topk, "table", KIR_s32, 2, 2, KIR_IN },
	{ KIR_OP_index_topk, "seqs", KIR_s32, 1, 1, KIR_IN },
	{ KIR_OP_index_topk, "lens", KIR_s32, 1, 1, KIR_IN },
	{ KIR_OP_index_topk, "out", KIR_s32, 2, 2, KIR_OUT },
	{ KIR_OP_index_topk, "logits", KIR_f32, 2, 2, KIR_INOUT },
	{ KIR_OP_index_topk, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_index_topk, "pages", KIR_s64, 0, 0, 0 },
	{ KIR_OP_index_topk, "width", KIR_s64, 0, 0, 0 },
	{ KIR_OP_merge, "out", KIR_VOID, 3, 3, KIR_OUT },
	{ KIR_OP_merge, "lse", KIR_f32, 2, 2, KIR_OUT },
	{ KIR_OP_merge, "parts", KIR_f32, 4, 4, KIR_IN },
	{ KIR_OP_merge, "lses", KIR_f32, 3, 3, KIR_IN },
	{ KIR_OP_merge, "n", KIR_s64, 0, 0, 0 },
	{ KIR_OP_merge, "p", KIR_s64, 0, 0, 0 },
	{ KIR_OP_merge, "sink", KIR_f32, 1, 1, KIR_IN },
};

/* Extents that are one number, wherever both are known: passes make tiles of the one and access
 * the other with them. */
static const struct {
	kir_op op;
	const char *a;
	unsigned at;
	const char *b;
	unsigned bt;
	const char *what;
} agree[] = {
	{ KIR_OP_attention, "out", 1, "q", 1, "heads" },
	{ KIR_OP_attention, "lse", 1, "q", 1, "heads" },
	{ KIR_OP_attention, "sink", 0, "q", 1, "heads" },
	{ KIR_OP_attention, "v", 1, "k", 1, "heads" },
	{ KIR_OP_attention, "r", 1, "k", 1, "heads" },
	{ KIR_OP_attention, "ks", 1, "k", 1, "heads" },
	{ KIR_OP_attention, "vs", 1, "k", 1, "heads" },
	{ KIR_OP_attention, "rs", 1, "k", 1, "heads" },
	{ KIR_OP_attention, "v", 2, "k", 2, "tokens a page" },
	{ KIR_OP_attention, "r", 2, "k", 2, "tokens a page" },
	{ KIR_OP_attention, "vs", 2, "k", 2, "tokens a page" },
	{ KIR_OP_attention, "rs", 2, "k", 2, "tokens a page" },
	{ KIR_OP_cache_write, "k", 1, "key", 1, "heads" },
	{ KIR_OP_cache_write, "v", 1, "value", 1, "heads" },
	{ KIR_OP_cache_write, "r", 1, "rest", 1, "heads" },
	{ KIR_OP_cache_write, "ks", 1, "key", 1, "heads" },
	{ KIR_OP_cache_write, "vs", 1, "value", 1, "heads" },
	{ KIR_OP_cache_write, "rs", 1, "rest", 1, "heads" },
	{ KIR_OP_cache_write, "kd", 0, "key", 1, "heads" },
	{ KIR_OP_cache_write, "vd", 0, "value", 1, "heads" },
	{ KIR_OP_cache_write, "v", 2, "k", 2, "tokens a page" },
	{ KIR_OP_cache_write, "r", 2, "k", 2, "tokens a page" },
	{ KIR_OP_cache_write, "ks", 2, "k", 2, "tokens a page" },
	{ KIR_OP_cache_write, "vs", 2, "k", 2, "tokens a page" },
	{ KIR_OP_cache_write, "rs", 2, "k", 2, "tokens a page" },
	{ KIR_OP_quantize, "q", 1, "x", 1, "heads" },
	{ KIR_OP_quantize, "d", 0, "x", 1, "heads" },
	{ KIR_OP_index_topk, "w", 1, "q", 1, "heads" },
	{ KIR_OP_index_topk, "ks", 2, "k", 2, "tokens a page" },
	{ KIR_OP_merge, "parts", 2, "out", 1, "heads" },
	{ KIR_OP_merge, "lses", 2, "out", 1, "heads" },
	{ KIR_OP_merge, "lse", 1, "out", 1, "heads" },
	{ KIR_OP_merge, "sink", 0, "out", 1, "heads" },
	{ KIR_OP_merge, "parts", 3, "out", 2, "elements a head" },
};

static bool check_agree(kir_checker *c, kir_ref n)
{
	for (unsigned i = 0; i < sizeof agree / sizeof *agree; i++) {
		if (c->f->node[n].op != agree[i].op)
			continue;
		kir_ref a = kir_operand(c->f, n, agree[i].a);
		kir_ref b = kir_operand(c->f, n, agree[i].b);
		int64_t x = a ? kir_type_of(c->f, a)->dim[agree[i].at] : 0;
		int64_t y = b ? kir_type_of(c->f, b)->dim[agree[i].bt] : 0;

		if (x > 0 && y > 0 && x != y)
			return kir_complain(c, n, "%s has %lld %s, %s %lld", agree[i].a,
			                    (long long)x, agree[i].what, agree[i].b,
			                    (long long)y);
	}
	return true;
}

/* Rows as wide as a plan makes them: nobody checks that again. */
static bool check_rows(kir_checker *c, kir_ref n, const char *name, int64_t width)
{
	kir_ref x = kir_operand(c->f, n, name);

	return !x || kir_type_of(c->f, x)->dim[1] == width ||
	       kir_complain(c, n, "%s=%s has rows of %lld elements, not %lld", name,
	                    kir_value_text(c, x), (long long)kir_type_of(c->f, x)->dim[1],
	                    (long long)width);
}

static bool check_plan_rows(kir_checker *c, kir_ref n)
{
	int64_t dim_v = kir_type_of(c->f, kir_operand(c->f, n, "out"))->dim[2];

	return check_rows(c, n, "work", KIR_ITEM) && check_rows(c, n, "join", KIR_ITEM) &&
	       check_rows(c, n, "part", dim_v + KIR_PART_HEAD);
}

/* Heads and their sizes are known, and query heads share KV heads evenly: all that is made of
 * an attention divides by these. */
static bool check_heads(kir_checker *c, kir_ref n)
{
	static const char *const names[] = { "q", "out", "k", "v", "r" };
	const kir_type *q = kir_type_of(c->f, kir_operand(c->f, n, "q"));
	const kir_type *k = kir_type_of(c->f, kir_operand(c->f, n, "k"));

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		kir_ref x = kir_operand(c->f, n, names[i]);
		const kir_type *t = kir_type_of(c->f, x);

		for (unsigned d = 1; x && d < t->rank; d++)
			if (t->dim[d] <= 0)
				return kir_complain(
				    c, n,
				    "%s=%s: only its first extent may be known at run time",
				    names[i], kir_value_text(c, x));
	}
	return q->dim[1] % k->dim[1] == 0 ||
	       kir_complain(c, n, "%lld query heads are no multiple of %lld KV heads",
	                    (long long)q->dim[1], (long long)k->dim[1]);
}

bool kir_check_wanted(kir_checker *c, kir_ref n, const char *name, bool wanted, const char *why)
{
	if (wanted == (kir_operand(c->f, n, name) != 0))
		return true;
	return kir_complain(c, n, "%s= %s: %s", name, wanted ? "is missing" : "has no use",
	                    why);
}

/* Keys come from a table of pages or from an index list for each query. */
static bool check_lists(kir_checker *c, kir_ref n)
{
	bool index = kir_operand(c->f, n, "index") != 0;

	return kir_check_wanted(c, n, "table", !index,
	                        index ? "index lists name the keys"
	                              : "no index= names the keys") &&
	       kir_check_wanted(c, n, "limit", index, "entries of index= are held against it");
}

/* Signs of the blocks that the format rotates, one for each element of one. */
static bool check_signs(kir_checker *c, kir_ref n, const kir_format *fmt)
{
	static const char *const names[2][2] = { { "ksign", "k" }, { "vsign", "v" } };

	for (int i = 0; i < 2; i++) {
		const kir_side *s = &fmt->side[i];
		kir_ref x = kir_operand(c->f, n, names[i][0]);
		kir_ref codes = kir_operand(c->f, n, names[i][1]);

		if (!kir_check_wanted(c, n, names[i][0], s->signs,
		                      s->signs ? "the format rotates with signs"
		                               : "the format has no signs"))
			return false;
		int64_t block =
		    codes
		        ? kir_side_block(s, kir_type_of(c->f, codes)->dim[3] * kir_side_per(s))
		        : 0;

		if (x && kir_type_of(c->f, x)->dim[0] != block)
			return kir_complain(c, n, "%s= must have %lld elements, as a block has",
			                    names[i][0], (long long)block);
	}
	return true;
}

/* A mean for each head, where rows are stored less one. */
static bool check_mean(kir_checker *c, kir_ref n, const kir_side *s, const char *name,
                       int64_t heads, int64_t dim)
{
	kir_ref x = kir_operand(c->f, n, name);
	const kir_type *t = kir_type_of(c->f, x);

	if (!kir_check_wanted(c, n, name, s->mean,
	                      s->mean ? "the format stores keys less a mean"
	                              : "the format stores whole keys"))
		return false;
	return !x || (t->dim[0] == heads && t->dim[1] == dim) ||
	       kir_complain(c, n, "%s=%s must have %lld rows, one a head, of %lld elements",
	                    name, kir_value_text(c, x), (long long)heads, (long long)dim);
}

/* A quantizer knows side K alone. */
static bool check_quantize(kir_checker *c, kir_ref n)
{
	int64_t k = kir_attr_of(c->f, n, KIR_ATTR_format);
	const kir_type *x = kir_type_of(c->f, kir_operand(c->f, n, "x"));

	if (k < 0 || k >= c->f->module->nformat)
		return kir_complain(c, n, "it needs format=, a declared format");
	const kir_side *s = &c->f->module->format[k]->side[0];

	if (s->group && (x->dim[2] <= 0 || x->dim[2] % s->group))
		return kir_complain(c, n, "x: rows of %lld elements aren't whole groups of %d",
		                    (long long)x->dim[2], (int)s->group);
	return check_mean(c, n, s, "mean", x->dim[1], x->dim[2]) &&
	       kir_check_quantize(c, n, c->f->module->format[k]);
}

bool kir_check_token_scales(kir_checker *c, kir_ref n, const kir_side *s, const char *codes,
                            const char *scales)
{
	const kir_type *k = kir_type_of(c->f, kir_operand(c->f, n, codes));
	kir_ref x = kir_operand(c->f, n, scales);
	const kir_type *t = kir_type_of(c->f, x);

	if (x && t->elem == s->scale_elem && t->rank == 4 && t->dim[1] == k->dim[1] &&
	    t->dim[2] * s->tokens == k->dim[2] && t->dim[3] == k->dim[3] * kir_side_per(s))
		return true;
	return kir_complain(c, n,
	                    "%s=%s isn't a scale of %s for each element of each head and %d "
	                    "tokens of %s",
	                    scales, x ? kir_value_text(c, x) : "nothing",
	                    kir_elems[s->scale_elem].name, s->tokens, codes);
}

/* Formats whose keys share scales along tokens: attention over pages reads them, transcode
 * writes them. */
static bool check_token_groups(kir_checker *c, kir_ref n)
{
	const kir_func *f = c->f;
	int64_t at = kir_attr_of(f, n, KIR_ATTR_format);
	const kir_format *fmt =
	    at >= 0 && at < f->module->nformat ? f->module->format[at] : NULL;

	if (!fmt || !kir_format_tokens(fmt) || f->node[n].op == KIR_OP_transcode)
		return true;
	if (f->node[n].op != KIR_OP_attention)
		return kir_complain(c, n,
		                    "scales of format %s are of %d tokens together: only "
		                    "transcode writes them",
		                    fmt->name, kir_format_tokens(fmt));
	if (kir_operand(f, n, "index"))
		return kir_complain(c, n,
		                    "scales of format %s are of %d tokens together, which "
		                    "index lists take apart: table= is needed",
		                    fmt->name, kir_format_tokens(fmt));
	return kir_check_token_scales(c, n, &fmt->side[0], "k", "ks");
}

/* What a format without shared values and keys in parts calls for, and one with them. */
static bool check_parts(kir_checker *c, kir_ref n)
{
	const kir_func *f = c->f;
	int64_t k = kir_attr_of(f, n, KIR_ATTR_format);
	bool write = f->node[n].op == KIR_OP_cache_write;

	if (k < 0 || k >= f->module->nformat)
		return !write || kir_complain(c, n, "it needs format=, a declared format");
	const kir_format *fmt = f->module->format[k];
	const char *values = fmt->shared ? "the format's values are shared with the keys"
	                                 : "the format stores values";
	const char *rest =
	    fmt->rest ? "the format's keys have a rest" : "the format's keys are one part";

	if (!write && !check_lists(c, n))
		return false;
	const kir_type *codes = kir_type_of(f, kir_operand(f, n, "k"));

	if (!check_mean(c, n, &fmt->side[0], "kmean", codes->dim[1],
	                codes->dim[3] * kir_side_per(&fmt->side[0])) ||
	    !check_signs(c, n, fmt))
		return false;
	return kir_check_wanted(c, n, "v", !fmt->shared, values) &&
	       kir_check_wanted(c, n, "r", fmt->rest > 0, rest) &&
	       (!write || (kir_check_wanted(c, n, "value", !fmt->shared, values) &&
	                   kir_check_wanted(c, n, "rest", fmt->rest > 0, rest) &&
	                   kir_check_cache_write(c, n, fmt)));
}

static const kir_format *format_of(const kir_checker *c, kir_ref n)
{
	int64_t at = kir_attr_of(c->f, n, KIR_ATTR_format);

	return at >= 0 && at < c->f->module->nformat ? c->f->module->format[at] : NULL;
}

/* An indexer's keys are as long as its queries, and have whole groups where each has a scale.
 */
static bool check_keys(kir_checker *c, kir_ref n)
{
	const kir_format *fmt = format_of(c, n);
	const kir_type *k = kir_type_of(c->f, kir_operand(c->f, n, "k"));
	int64_t keys = k->dim[3] * (fmt ? kir_side_per(&fmt->side[0]) : 1);
	kir_ref ks = kir_operand(c->f, n, "ks");
	int64_t dim = kir_type_of(c->f, kir_operand(c->f, n, "q"))->dim[2];
	const kir_type *t = kir_type_of(c->f, ks);

	if (keys > 0 && dim > 0 && keys != dim)
		return kir_complain(c, n, "keys have %lld elements, q %lld", (long long)keys,
		                    (long long)dim);
	if (!ks || t->rank == 3 || (t->dim[3] > 0 && dim > 0 && dim % t->dim[3] == 0))
		return true;
	return kir_complain(c, n, "ks=%s: %lld scales a key don't divide its %lld elements",
	                    kir_value_text(c, ks), (long long)t->dim[3], (long long)dim);
}

static bool check_sizes(kir_checker *c, kir_ref n)
{
	switch (c->f->node[n].op) {
	case KIR_OP_attention:
		return check_heads(c, n) && check_plan_rows(c, n) &&
		       kir_check_attention(c, n, format_of(c, n));
	case KIR_OP_quantize: return check_quantize(c, n);
	case KIR_OP_index_topk: return check_keys(c, n);
	case KIR_OP_gemm: return kir_check_gemm(c, n);
	case KIR_OP_relayout: return kir_check_relayout(c, n);
	case KIR_OP_transcode: return kir_check_transcode(c, n);
	default: return true;
	}
}

bool kir_check_named(kir_checker *c, kir_ref n)
{
	const kir_func *f = c->f;
	for (unsigned i = 0; i < sizeof operands / sizeof *operands; i++) {
		kir_ref x =
		    f->node[n].op == operands[i].op ? kir_operand(f, n, operands[i].name) : 0;
		const kir_type *t = kir_type_of(f, x);
		if (!x)
			continue;
		if (operands[i].elem && t->elem != operands[i].elem)
			return kir_complain(c, n, "%s=%s is of %s, not %s", operands[i].name,
			                    kir_value_text(c, x), kir_elems[t->elem].name,
			                    kir_elems[operands[i].elem].name);
		if (t->elem == KIR_i1 && /* nothing is converted to it */
		    (f->node[n].op == KIR_OP_attention || f->node[n].op == KIR_OP_merge))
			return kir_complain(c, n, "%s=%s is of i1, which is no number",
			                    operands[i].name, kir_value_text(c, x));
		if (t->rank < operands[i].lo || t->rank > operands[i].hi)
			return kir_complain(c, n, "%s=%s has %u dimensions, not %u",
			                    operands[i].name, kir_value_text(c, x), t->rank,
			                    operands[i].lo);
		if (t->buffer && !check_allowed(c, n, x, operands[i].dir))
			return false;
	}
	if ((f->node[n].op == KIR_OP_attention || f->node[n].op == KIR_OP_cache_write) &&
	    !check_parts(c, n))
		return false;
	return check_token_groups(c, n) && check_sizes(c, n) && check_agree(c, n);
}
