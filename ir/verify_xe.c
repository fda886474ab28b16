/* SPDX-License-Identifier: Apache-2.0 */
/* verify_xe.c -- ops of a sub-group: vectors that lie in its lanes in equal parts.
 *
 * With L lanes and k = elements / L, element i is component i % k of lane i / k.
 */
#include "verify.h"

#include <stdio.h>

typedef const kir_type type;

static type *type_at(const kir_checker *c, kir_ref n, unsigned k)
{
	return kir_type_of(c->f, kir_src(c->f, n, k));
}

/* Components a lane of the sub-group has of this vector; 0 where it has no whole number. */
static int64_t parts(const kir_checker *c, type *t)
{
	int64_t lanes = c->f->target->lanes;

	return t->rank == 1 && t->dim[0] % lanes == 0 ? t->dim[0] / lanes : 0;
}

static bool wrong(kir_checker *c, kir_ref n, unsigned k, const char *must)
{
	kir_ref src = kir_src(c->f, n, k);

	return kir_complain(c, n, "operand %u, %s, is %s; it must be %s", k + 1,
	                    kir_value_text(c, src), kir_type_text(c, c->f->node[src].type),
	                    must);
}

static bool wrong_result(kir_checker *c, kir_ref n, const char *must)
{
	return kir_complain(c, n, "its type is %s; it must be %s",
	                    kir_type_text(c, c->f->node[n].type), must);
}

static bool spread_out(kir_checker *c, kir_ref n, type *t)
{
	return parts(c, t) || kir_complain(c, n, "%s doesn't fill the %u lanes of a sub-group",
	                                   kir_type_text(c, kir_type_intern(c->f->module, t)),
	                                   c->f->target->lanes);
}

/* acc and result: rows a lane; b: as deep as 32 bytes hold of its element, f32 as the lanes are
 * many; a: for each row the lane's share of the depth. */
static bool check_dpas(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *a = type_at(c, n, 1), *b = type_at(c, n, 2);
	kir_elem ae = (kir_elem)a->elem, be = (kir_elem)b->elem;
	bool bytes = (ae == KIR_s8 || ae == KIR_u8) && (be == KIR_s8 || be == KIR_u8);
	bool floats = ae == be && (ae == KIR_f16 || ae == KIR_bf16 || ae == KIR_f32);
	int64_t rows = parts(c, t), lanes = c->f->target->lanes;
	int64_t depth = ae == KIR_f32 ? lanes : bytes ? 32 : 16;
	char must[64];

	if (!bytes && !floats)
		return wrong(c, n, 2,
		             "of f16, bf16 or f32 like operand 2, or both of s8 or u8");
	if (t->elem != (bytes ? KIR_s32 : KIR_f32))
		return wrong_result(c, n, bytes ? "of s32" : "of f32");
	if (rows != 1 && rows != 2 && rows != 4 && rows != 8)
		return wrong_result(c, n, "of 1, 2, 4 or 8 rows a lane");
	if (c->f->node[kir_src(c->f, n, 0)].type != c->f->node[n].type)
		return wrong(c, n, 0, "of the result's type");
	if (parts(c, a) * lanes != depth * rows) {
		snprintf(must, sizeof must, "%lld elements a row and lane",
		         (long long)(depth / lanes));
		return wrong(c, n, 1, must);
	}
	snprintf(must, sizeof must, "%lld elements a lane", (long long)depth);
	return parts(c, b) == depth || wrong(c, n, 2, must);
}

static bool check_load2d(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	int64_t k = parts(c, t), unit = kir_attr_of(c->f, n, KIR_ATTR_unit);
	int64_t pitch = kir_attr_of(c->f, n, KIR_ATTR_pitch);

	if (!spread_out(c, n, t))
		return false;
	if (unit < 1 || k % unit || (unit > 1 && kir_attr_of(c->f, n, KIR_ATTR_trans)))
		return kir_complain(c, n,
		                    "unit=%lld must divide the %lld elements of a lane, "
		                    "and be 1 with trans",
		                    (long long)unit, (long long)k);
	return pitch >= 1 ||
	       (!pitch && kir_row_stride(kir_type_of(c->f, kir_src(c->f, n, 0))) >= 0) ||
	       kir_complain(c, n,
	                    "pitch=%lld must be at least 1, or 0 where the buffer's rows are a "
	                    "run-time stride apart",
	                    (long long)pitch);
}

static bool check_structure(kir_checker *c, kir_ref n)
{
	kir_op op = (kir_op)c->f->node[n].op;
	type *t = kir_type_of(c->f, n);
	int64_t k = parts(c, t), from = 0, start = kir_attr_of(c->f, n, KIR_ATTR_start);
	int64_t every = kir_attr_of(c->f, n, KIR_ATTR_every);

	if (!spread_out(c, n, t))
		return false;
	for (unsigned i = 0; i < c->f->node[n].nsrc; i++) {
		type *o = type_at(c, n, i);

		if (!spread_out(c, n, o))
			return false;
		if (o->elem != t->elem)
			return wrong(c, n, i, "of the result's element");
		from += parts(c, o);
	}
	if (op == KIR_OP_xe_repeat && k % from)
		return wrong_result(c, n, "a multiple of the operand's lanes");
	if ((op == KIR_OP_xe_pack || op == KIR_OP_xe_zip) && k != from)
		return wrong_result(c, n, "of as many lanes as both operands");
	if (op == KIR_OP_xe_zip &&
	    c->f->node[kir_src(c->f, n, 0)].type != c->f->node[kir_src(c->f, n, 1)].type)
		return wrong(c, n, 1, "of operand 1's type");
	if (op != KIR_OP_xe_part)
		return true;
	if (every < 1)
		return kir_complain(c, n, "every=%lld must be at least 1", (long long)every);
	return (start >= 0 && start + (k - 1) * every < from) ||
	       kir_complain(c, n, "it takes components %lld to %lld of %lld", (long long)start,
	                    (long long)(start + (k - 1) * every), (long long)from);
}

static bool check_reduce(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);

	if (c->f->node[kir_src(c->f, n, 0)].type != c->f->node[n].type)
		return wrong(c, n, 0, "of the result's type");
	if (t->elem != KIR_f32 && t->elem != KIR_s32)
		return wrong_result(c, n, "of f32 or s32");
	return spread_out(c, n, t);
}

bool kir_check_xe(kir_checker *c, kir_ref n)
{
	if (!(c->f->target->features & KIR_HAS_xe) || !c->f->target->lanes)
		return kir_complain(c, n, "target %s has no xe", c->f->target->name);
	switch (c->f->node[n].op) {
	case KIR_OP_xe_dpas: return check_dpas(c, n);
	case KIR_OP_xe_load2d: return check_load2d(c, n);
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max: return check_reduce(c, n);
	default: return check_structure(c, n);
	}
}
