/* SPDX-License-Identifier: Apache-2.0 */
/* address.c -- where an access points, and how many elements it may touch.
 *
 * An index is kept as a variable part plus a literal as long as the pieces of the buffer allow,
 * so that accesses which differ by literals share one pointer and the rest becomes the
 * displacement of the instruction. What makes that possible is how many low bits of the
 * variable part are known to be zero: a loop that steps by 16 through a buffer packed by 16
 * needs no division at all. Indices aren't negative.
 *
 * With option `hoist` what an index from outside the innermost loop adds to the address is
 * computed where that index is, outer indices first:
 *
 *     for %t { for %h {                     for %t { p = x + %t * $0
 *       for %c step 16 {             =>       for %h { q = p + %h * $1
 *         vload %x[%t,%h,%c] } } }              for %c step 16 { load q + %c } } }
 *
 * Nothing else moves it there: LLVM's own motion isn't run (docs/backend-x86.md). Address
 * arithmetic can't fault, so it may be done where the access isn't reached.
 */
#include "lower.h"

#include <llvm/Config/llvm-config.h>

typedef struct part {
	LLVMValueRef var; /* s64; NULL: 0                                     */
	int64_t add;
	unsigned zeros; /* low bits of var known to be zero                  */
} part;

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Node n as an index; of a vector, its given lane. */
static part part_of(kll *l, kir_ref n, unsigned lane)
{
	kir_ref x = kir_src(l->f, n, 0), y = kir_src(l->f, n, 1);
	bool wide = kll_elem(l, n) == KIR_s64;
	part p = { NULL, 0, KIR_ZEROS_MAX };

	if (kir_is_const(l->f, n, &p.add))
		return p;
	if (l->f->node[n].op == KIR_OP_add && wide) {
		int64_t lit;

		if (kir_is_const(l->f, y, &lit)) {
			p = part_of(l, x, lane);
			p.add += lit;
			return p;
		}
		if (kir_is_const(l->f, x, &lit)) {
			p = part_of(l, y, lane);
			p.add += lit;
			return p;
		}
	}
	p.var = l->val[n];
	if (kll_width(p.var))
		p.var =
		    LLVMBuildExtractElement(l->b, p.var, LLVMConstInt(l->i32, lane, false), "");
	if (!wide)
		p.var = kir_is_signed(kll_elem(l, n)) ? LLVMBuildSExt(l->b, p.var, l->i64, "")
		                                      : LLVMBuildZExt(l->b, p.var, l->i64, "");
	p.zeros = kir_zeros(l->f, n);
	return p;
}

static LLVMValueRef plus(kll *l, LLVMValueRef x, int64_t add)
{
	if (!add)
		return x;
	return LLVMBuildAdd(l->b, x, LLVMConstInt(l->i64, (uint64_t)add, true), "");
}

static bool is_pow2(int64_t x)
{
	return x > 0 && !(x & (x - 1));
}

static part divide(kll *l, part p, int64_t d)
{
	int64_t grain = (int64_t)1 << p.zeros;
	LLVMValueRef by = LLVMConstInt(l->i64, (uint64_t)d, false);

	if (!p.var || grain % d == 0) {
		p.add = kir_floor_div(p.add, d);
		if (p.var) {
			p.var = LLVMBuildLShr(l->b, p.var,
			                      LLVMConstInt(l->i64, kir_zeros_of(d), false), "");
#if LLVM_VERSION_MAJOR >= 18
			if (LLVMIsABinaryOperator(p.var)) /* its bits go where zeros were */
				LLVMSetExact(p.var, true);
#endif
			p.zeros -= kir_zeros_of(d);
		}
		return p;
	}
	if (d % grain == 0) /* what is below the grain can't change the quotient */
		p.add -= kir_floor_mod(p.add, grain);
	p.var = plus(l, p.var, p.add);
	p.var = is_pow2(d) ? LLVMBuildLShr(l->b, p.var,
	                                   LLVMConstInt(l->i64, kir_zeros_of(d), false), "")
	                   : LLVMBuildUDiv(l->b, p.var, by, "");
	return (part){ p.var, 0, 0 };
}

static part modulo(kll *l, part p, int64_t m)
{
	int64_t grain = (int64_t)1 << p.zeros, low = 0;

	if (!p.var || grain % m == 0) {
		p.add = kir_floor_mod(p.add, m);
		p.var = NULL;
		return p;
	}
	if (m % grain == 0) /* the part below the grain passes through */
		low = kir_floor_mod(p.add, grain);
	else
		p.zeros = 0;
	p.var = plus(l, p.var, p.add - low);
	p.var =
	    is_pow2(m)
	        ? LLVMBuildAnd(l->b, p.var, LLVMConstInt(l->i64, (uint64_t)m - 1, false), "")
	        : LLVMBuildURem(l->b, p.var, LLVMConstInt(l->i64, (uint64_t)m, false), "");
	p.add = low;
	return p;
}

/* The node whose value the index n is, but for literals added to it. */
static kir_ref index_node(const kll *l, kir_ref n)
{
	while (l->f->node[n].op == KIR_OP_add && kll_elem(l, n) == KIR_s64) {
		kir_ref x = kir_src(l->f, n, 0), y = kir_src(l->f, n, 1);
		int64_t literal;

		if (kir_is_const(l->f, y, &literal))
			n = x;
		else if (kir_is_const(l->f, x, &literal))
			n = y;
		else
			break;
	}
	return n;
}

/* Where the builder goes to have what it builds right after node n. *last: the instruction
 * after which something was put before, for a node that was there no later than n; it isn't
 * gone back behind. */
static void go_to(kll *l, kir_ref n, kll_place *last)
{
	kll_place p = l->made[n];
	LLVMValueRef next =
	    p.last ? LLVMGetNextInstruction(p.last) : LLVMGetFirstInstruction(p.block);

	/* a parameter is there before the locals, which begin the entry block */
	for (; next && (LLVMIsAPHINode(next) || LLVMIsAAllocaInst(next));
	     next = LLVMGetNextInstruction(next))
		p.last = next;
	if (p.block == last->block && p.last == last->last)
		return;
	*last = p;
	if (next)
		LLVMPositionBuilderBefore(l->b, next);
	else
		LLVMPositionBuilderAtEnd(l->b, p.block);
}

/* Piece i of the buffer's address, less the literals, which go to *offset; NULL: it has no
 * other part. */
static LLVMValueRef term(kll *l, kir_ref n, const kir_piece *k, int root, kir_ref index,
                         unsigned lane, int64_t *offset)
{
	part p = part_of(l, index, lane);
	LLVMValueRef stride = LLVMConstInt(l->i64, (uint64_t)k->stride, true);

	if (k->div > 1)
		p = divide(l, p, k->div);
	if (k->mod > 0)
		p = modulo(l, p, k->mod);
	if (k->dyn) {
		if (root < 0)
			return kll_fail(l, n, "a local buffer has no run-time strides");
		stride = LLVMGetParam(l->fn, l->arg[root] + 1 + (unsigned)k->stride);
		p.var =
		    p.var ? plus(l, p.var, p.add) : LLVMConstInt(l->i64, (uint64_t)p.add, true);
		p.add = 0;
	}
	*offset += p.add * k->stride;
	return p.var ? LLVMBuildMul(l->b, p.var, stride, "") : NULL;
}

static LLVMValueRef step_on(kll *l, LLVMValueRef at, LLVMValueRef by)
{
	return by ? LLVMBuildGEP2(l->b, l->i8, at, &by, 1, "") : at;
}

/* Whether index i of t makes code that its node can't be ahead of: a literal is only multiplied
 * by what is known at run time. */
static bool makes_code(const kll *l, const kir_type *t, kir_ref index, unsigned i)
{
	bool code = l->f->node[index].op != KIR_OP_const;

	for (unsigned p = 0; p < t->npieces; p++)
		code |= t->piece[p].axis == i && t->piece[p].dyn;
	return code;
}

/* What buf is a view of that is there before each index from outside the innermost loop;
 * *offset bytes on. */
static kir_ref before_indices(const kll *l, kir_ref n, kir_ref buf, unsigned first,
                              unsigned nindex, int64_t *offset)
{
	const kir_type *t = kir_type_of(l->f, buf);
	kir_ref least = l->loop;

	for (unsigned i = 0; i < nindex; i++) {
		kir_ref x = index_node(l, kir_src(l->f, n, first + i));

		if (x < least && makes_code(l, t, x, i))
			least = x;
	}
	for (;
	     l->o->hoist && least < l->loop && buf > least && l->f->node[buf].op == KIR_OP_view;
	     buf = kir_src(l->f, buf, 0))
		*offset += kir_attr_of(l->f, buf, KIR_ATTR_offset);
	return buf;
}

/* Of the indexed element; of a gather, of its given lane. */
static LLVMValueRef address(kll *l, kir_ref n, kir_ref buf, unsigned first, unsigned nindex,
                            unsigned lane)
{
	const kir_type *t = kir_type_of(l->f, buf);
	int root = kir_param_index(l->f, kir_root(l->f, buf));
	LLVMBasicBlockRef here = LLVMGetInsertBlock(l->b);
	kll_place last = { NULL, NULL };
	int64_t offset = 0;
	LLVMValueRef var = NULL, at = l->val[before_indices(l, n, buf, first, nindex, &offset)];
	kir_ref after = 0;

	/* nodes from outside the innermost loop, in their order */
	while (l->o->hoist && !l->failed) {
		kir_ref outer = l->loop, index, found = 0;

		for (unsigned i = 0; i < nindex; i++) {
			index = index_node(l, kir_src(l->f, n, first + i));
			if (index > after && index < outer && !kll_width(l->val[index]))
				found = outer = index;
		}
		if (!found)
			break;
		after = found;
		go_to(l, found, &last);
		for (unsigned i = 0; i < t->npieces; i++) {
			const kir_piece *k = &t->piece[i];

			if (k->axis >= nindex)
				continue;
			index = kir_src(l->f, n, first + k->axis);
			if (index_node(l, index) == found)
				at = step_on(l, at, term(l, n, k, root, index, lane, &offset));
		}
	}
	LLVMPositionBuilderAtEnd(l->b, here);
	for (unsigned i = 0; i < t->npieces && !l->failed; i++) {
		const kir_piece *k = &t->piece[i];
		LLVMValueRef more;

		if (k->axis >= nindex)
			continue;
		kir_ref index = kir_src(l->f, n, first + k->axis), of = index_node(l, index);

		if (l->o->hoist && of <= after && !kll_width(l->val[of]))
			continue;
		more = term(l, n, k, root, index, lane, &offset);
		var = var && more ? LLVMBuildAdd(l->b, var, more, "") : more ? more : var;
	}
	at = step_on(l, at, var);
	return step_on(l, at, offset ? LLVMConstInt(l->i64, (uint64_t)offset, true) : NULL);
}

LLVMValueRef kll_address(kll *l, kir_ref n, unsigned element)
{
	kir_ref buf, upto;
	unsigned first, nindex;

	kir_access(l->f, n, &buf, &first, &nindex, &upto);
	return address(l, n, buf, first, nindex, element);
}

/* Low bits of i / div % mod that are zero, if z of i are; KIR_ZEROS_MAX: it is 0. */
static unsigned piece_zeros(const kir_piece *k, unsigned z)
{
	bool whole = k->mod > 0 && !(k->mod & (k->mod - 1)); /* a power of two */

	if (k->div > 1)
		z = !(k->div & (k->div - 1)) && z >= kir_zeros_of(k->div)
		        ? z - kir_zeros_of(k->div)
		        : 0;
	if (k->mod <= 0)
		return z;
	if (whole && z >= kir_zeros_of(k->mod))
		return KIR_ZEROS_MAX;
	return smaller(z, kir_zeros_of(k->mod));
}

/* Low bits of the distance of the indexed element from the start of buf that are zero. */
static unsigned zeros_in(const kll *l, kir_ref n, kir_ref buf, unsigned first, unsigned nindex)
{
	const kir_type *t = kir_type_of(l->f, buf);
	unsigned zeros = KIR_ZEROS_MAX;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *k = &t->piece[i];
		unsigned step = k->dyn ? KIR_ZEROS_MAX : kir_zeros_of(k->stride);

		int64_t lit;

		if (k->axis >= nindex)
			continue;
		if (kir_is_const(l->f, kir_src(l->f, n, first + k->axis), &lit) && !lit)
			continue;
		step += piece_zeros(k, kir_zeros(l->f, kir_src(l->f, n, first + k->axis)));
		zeros = smaller(zeros, step);
	}
	return zeros;
}

unsigned kll_zeros(const kll *l, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, nindex, zeros;

	kir_access(l->f, n, &buf, &first, &nindex, &upto);
	zeros = zeros_in(l, n, buf, first, nindex);
	for (; l->f->node[buf].op == KIR_OP_view; buf = kir_src(l->f, buf, 0))
		zeros = smaller(zeros, kir_zeros_of(kir_attr_of(l->f, buf, KIR_ATTR_offset)));
	return zeros;
}

static LLVMValueRef value_of(kll *l, part p)
{
	return p.var ? plus(l, p.var, p.add) : LLVMConstInt(l->i64, (uint64_t)p.add, true);
}

LLVMValueRef kll_count(kll *l, kir_ref n)
{
	const kir_func *f = l->f;
	bool whole_op = f->node[n].op == KIR_OP_load || f->node[n].op == KIR_OP_store;
	kir_ref buf, upto;
	unsigned first, nindex;
	LLVMValueRef count;

	kir_access(f, n, &buf, &first, &nindex, &upto);
	if (!upto)
		return NULL;
	count = value_of(l, part_of(l, upto, 0));
	if (!whole_op || nindex != kir_type_of(f, buf)->rank)
		return count;
	/* load and store count rows from the buffer's start, vload from the index */
	return LLVMBuildSub(l->b, count,
	                    value_of(l, part_of(l, kir_src(f, n, first + nindex - 1), 0)), "");
}
