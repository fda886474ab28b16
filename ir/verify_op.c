/* SPDX-License-Identifier: Apache-2.0 */
/* verify_op.c -- which types each op takes and gives.
 *
 * Elementwise ops share one rule for shapes and a class of elements each; the others have a
 * function of their own.
 */
#include "exp2.h"
#include "verify.h"

#include <string.h>

typedef const kir_type type;

static type *type_at(const kir_checker *c, kir_ref n, unsigned k)
{
	return kir_type_of(c->f, kir_src(c->f, n, k));
}

static kir_type_id type_id(const kir_checker *c, kir_ref n, unsigned k)
{
	return c->f->node[kir_src(c->f, n, k)].type;
}

/* What arithmetic is done on: narrow floats are only stored, moved and converted. */
static bool wide_float(kir_elem e)
{
	return kir_elems[e].kind == 'F' && kir_elems[e].bits >= 16;
}

static bool number(kir_elem e)
{
	return wide_float(e) || kir_is_int(e);
}

static bool same_dims(type *a, type *b)
{
	if (a->rank != b->rank)
		return false;
	for (unsigned i = 0; i < a->rank; i++)
		if (a->dim[i] != b->dim[i])
			return false;
	return true;
}

static bool wrong_result(kir_checker *c, kir_ref n, const char *must)
{
	return kir_complain(c, n, "its type is %s; it must be %s",
	                    kir_type_text(c, c->f->node[n].type), must);
}

static bool wrong_operand(kir_checker *c, kir_ref n, unsigned k, const char *must)
{
	kir_ref src = kir_src(c->f, n, k);
	return kir_complain(c, n, "operand %u, %s, is %s; it must be %s", k + 1,
	                    kir_value_text(c, src), kir_type_text(c, c->f->node[src].type),
	                    must);
}

/* Operand k must have this element type. */
static bool has_elem(kir_checker *c, kir_ref n, unsigned k, kir_elem e)
{
	return type_at(c, n, k)->elem == e || wrong_operand(c, n, k, kir_elems[e].name);
}

/* The axis an op works along, -1 when it names none where it must; a vector has but one. */
static int axis_of(const kir_checker *c, kir_ref n, unsigned rank)
{
	int64_t axis = kir_attr_of(c->f, n, KIR_ATTR_axis);
	if (axis < 0 && rank == 1)
		return 0;
	return axis < (int64_t)rank ? (int)axis : -1;
}

static bool no_axis(kir_checker *c, kir_ref n, unsigned rank)
{
	return kir_complain(c, n, "it needs an axis below %u", rank);
}

/* -- elementwise -- */

static bool each_shape(kir_checker *c, kir_ref n, unsigned k)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, k);
	int64_t axis = kir_attr_of(c->f, n, KIR_ATTR_axis);
	if (!o->rank || same_dims(t, o))
		return true;
	if (axis >= 0 && axis < t->rank && o->rank == 1 && o->dim[0] == t->dim[axis])
		return true;
	if (axis >= 0 && axis < t->rank)
		return kir_complain(
		    c, n,
		    "operand %u, %s, is %s; it must have the result's shape, be a "
		    "scalar or have %lld elements",
		    k + 1, kir_value_text(c, kir_src(c->f, n, k)),
		    kir_type_text(c, c->f->node[kir_src(c->f, n, k)].type),
		    (long long)t->dim[axis]);
	return wrong_operand(c, n, k, "a scalar or of the result's shape");
}

static const char *elem_rule(kir_op op, kir_elem e)
{
	switch (op) {
	case KIR_OP_add:
	case KIR_OP_sub:
	case KIR_OP_mul:
	case KIR_OP_min:
	case KIR_OP_max: return number(e) ? NULL : "of integers, f16, bf16, f32 or f64";
	case KIR_OP_fdiv:
	case KIR_OP_mod:
	case KIR_OP_shl:
	case KIR_OP_shr: return kir_is_int(e) ? NULL : "of integers";
	case KIR_OP_and:
	case KIR_OP_or:
	case KIR_OP_xor: return kir_is_int(e) || e == KIR_i1 ? NULL : "of integers or i1";
	case KIR_OP_neg:
	case KIR_OP_abs:
		return wide_float(e) || kir_is_signed(e)
		           ? NULL
		           : "of signed integers, f16, bf16, f32 or f64";
	case KIR_OP_select: return NULL;
	default: return wide_float(e) ? NULL : "of f16, bf16, f32 or f64";
	}
}

static bool check_compare(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	kir_op op = (kir_op)c->f->node[n].op;
	kir_elem e = (kir_elem)type_at(c, n, 0)->elem;
	if (t->elem != KIR_i1)
		return wrong_result(c, n, "of i1");
	if (!number(e) && !(e == KIR_i1 && (op == KIR_OP_eq || op == KIR_OP_ne)))
		return wrong_operand(c, n, 0, "of integers, f16, bf16, f32 or f64");
	return each_shape(c, n, 0) && has_elem(c, n, 1, e) && each_shape(c, n, 1);
}

static bool check_convert(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	if (t->elem == KIR_i1)
		return wrong_result(c, n, "of another element; a comparison gives i1");
	if (kir_attr_of(c->f, n, KIR_ATTR_sub) != KIR_SUB_keep &&
	    (t->elem != KIR_bf16 || type_at(c, n, 0)->elem != KIR_f32))
		return kir_complain(c, n, "sub=zero is for f32 that becomes bf16 only");
	return each_shape(c, n, 0);
}

/* Codes that are integers once they are shifted. */
static bool check_fixed(kir_checker *c, kir_ref n)
{
	int64_t shift = kir_attr_of(c->f, n, KIR_ATTR_shift);
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);

	if (!kir_is_int((kir_elem)t->elem))
		return wrong_result(c, n, "of integers");
	if (o->elem != t->elem &&
	    !(kir_is_float((kir_elem)o->elem) && kir_elems[o->elem].bits <= 8))
		return wrong_operand(c, n, 0,
		                     "of the result's element or floats of at most 8 bits");
	if (shift < 0 || shift >= kir_elems[t->elem].bits)
		return kir_complain(c, n, "shift=%lld must be 0 to %d", (long long)shift,
		                    kir_elems[t->elem].bits - 1);
	return each_shape(c, n, 0);
}

static bool check_each(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	type *t = kir_type_of(c->f, n);
	kir_op op = (kir_op)x->op;
	const char *must = elem_rule(op, (kir_elem)t->elem);
	if (must)
		return wrong_result(c, n, must);
	if (kir_attr_of(c->f, n, KIR_ATTR_axis) >= (t->rank ? t->rank : 1))
		return no_axis(c, n, t->rank);
	for (unsigned k = 0; k < x->nsrc; k++) {
		kir_elem e = op == KIR_OP_select && !k ? KIR_i1 : (kir_elem)t->elem;
		if (!has_elem(c, n, k, e) || !each_shape(c, n, k))
			return false;
	}
	return true;
}

static bool check_exp2(kir_checker *c, kir_ref n)
{
	int64_t degree = kir_attr_of(c->f, n, KIR_ATTR_degree);

	if (degree && !kir_exp2_of(degree))
		return kir_complain(c, n, "degree=%lld must be 3, 4 or, for the full one, 0",
		                    (long long)degree);
	if (degree && kir_type_of(c->f, n)->elem != KIR_f32)
		return kir_complain(c, n, "degree=%lld is for f32 only", (long long)degree);
	return check_each(c, n);
}

/* -- moving elements -- */

static int64_t bytes_of(type *t)
{
	return kir_type_count(t) * kir_elem_bytes((kir_elem)t->elem);
}

static bool check_bitcast(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	bool leading = t->rank == o->rank || (t->rank <= 1 && o->rank <= 1);
	for (unsigned i = 0; leading && t->rank == o->rank && i + 1 < t->rank; i++)
		leading = t->dim[i] == o->dim[i];
	if (t->elem == KIR_i1 || o->elem == KIR_i1 || !leading || bytes_of(t) != bytes_of(o))
		return wrong_operand(c, n, 0, "of as many bits as the result");
	return true;
}

static bool check_splat(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	return has_elem(c, n, 0, (kir_elem)t->elem) &&
	       (t->rank || wrong_result(c, n, "a vector or a tile"));
}

static bool check_iota(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	if (!number((kir_elem)t->elem) || !t->rank)
		return wrong_result(c, n, "a vector or a tile of numbers");
	return axis_of(c, n, t->rank) >= 0 || no_axis(c, n, t->rank);
}

static bool check_reduce(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	int axis = axis_of(c, n, o->rank);
	if (!o->rank || !number((kir_elem)o->elem))
		return wrong_operand(c, n, 0, "a vector or a tile of numbers");
	if (axis < 0)
		return no_axis(c, n, o->rank);
	kir_type want = { .elem = o->elem, .rank = (uint8_t)(o->rank - 1) };
	for (unsigned i = 0, k = 0; i < o->rank; i++)
		if (i != (unsigned)axis)
			want.dim[k++] = o->dim[i];
	if (t->elem == want.elem && same_dims(t, &want))
		return true;
	return wrong_result(c, n, kir_type_text(c, kir_type_intern(c->f->module, &want)));
}

static bool check_reshape(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	if (t->elem == o->elem && kir_type_count(t) == kir_type_count(o))
		return true;
	return wrong_operand(c, n, 0, "of as many elements as the result, and the same");
}

/* Whether a and b agree but along axis. */
static bool same_but(type *a, type *b, int axis)
{
	if (a->rank != b->rank || a->elem != b->elem)
		return false;
	for (unsigned i = 0; i < a->rank; i++)
		if (i != (unsigned)axis && a->dim[i] != b->dim[i])
			return false;
	return true;
}

static bool check_slice(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	int axis = axis_of(c, n, t->rank);
	int64_t start = kir_attr_of(c->f, n, KIR_ATTR_start);
	if (axis < 0)
		return no_axis(c, n, t->rank);
	if (!same_but(t, o, axis))
		return wrong_operand(c, n, 0, "like the result but along axis");
	if (start > o->dim[axis] || t->dim[axis] > o->dim[axis] - start)
		return kir_complain(
		    c, n, "it takes %lld elements from %lld, operand %s has %lld",
		    (long long)t->dim[axis], (long long)start,
		    kir_value_text(c, kir_src(c->f, n, 0)), (long long)o->dim[axis]);
	return true;
}

static bool check_concat(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *a = type_at(c, n, 0), *b = type_at(c, n, 1);
	int axis = axis_of(c, n, t->rank);
	if (axis < 0)
		return no_axis(c, n, t->rank);
	for (unsigned k = 0; k < 2; k++)
		if (!same_but(t, type_at(c, n, k), axis))
			return wrong_operand(c, n, k, "like the result but along axis");
	if (t->dim[axis] != a->dim[axis] + b->dim[axis])
		return kir_complain(c, n,
		                    "its operands have %lld and %lld elements along axis %d, "
		                    "it has %lld",
		                    (long long)a->dim[axis], (long long)b->dim[axis], axis,
		                    (long long)t->dim[axis]);
	return true;
}

static bool check_spread(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	int axis = axis_of(c, n, t->rank);
	if (axis < 0)
		return no_axis(c, n, t->rank);
	if (o->rank == 1 && o->elem == t->elem && o->dim[0] == t->dim[axis])
		return true;
	return wrong_operand(c, n, 0, "a vector as long as the result's axis");
}

/* -- two codes a byte -- */

/* What 4 bits can be: a 4-bit float, or an integer of 8 bits in that range. */
static bool nibble_elem(kir_elem e)
{
	return e == KIR_s8 || e == KIR_u8 || (kir_is_float(e) && kir_elems[e].bits == 4);
}

/* Whether codes are what is in bytes; half: codes for each byte one, not two. */
static bool check_nibbles(kir_checker *c, kir_ref n, type *codes, type *bytes, bool half)
{
	kir_type want = *bytes;
	int64_t run = kir_attr_of(c->f, n, KIR_ATTR_run);
	int64_t last = bytes->rank ? bytes->dim[bytes->rank - 1] : 0;

	if (!bytes->rank || bytes->elem != KIR_u8 || !nibble_elem((kir_elem)codes->elem))
		return kir_complain(c, n, "it is between tiles of u8 and of s8, u8 or e2m1");
	want.dim[want.rank - 1] = half ? last : 2 * last;
	if (!same_dims(codes, &want))
		return kir_complain(c, n, "its codes have %lld columns for %lld bytes",
		                    (long long)(codes->rank ? codes->dim[codes->rank - 1] : 0),
		                    (long long)last);
	if (run < 1 || run > 32 || (run & (run - 1)) || (!half && last % run))
		return kir_complain(c, n,
		                    "run=%lld must be a power of two up to 32 that divides "
		                    "the %lld bytes of a row",
		                    (long long)run, (long long)last);
	return true;
}

static bool check_unpack(kir_checker *c, kir_ref n)
{
	return check_nibbles(c, n, kir_type_of(c->f, n), type_at(c, n, 0),
	                     kir_attr_of(c->f, n, KIR_ATTR_half) != 0);
}

static bool check_pack(kir_checker *c, kir_ref n)
{
	return check_nibbles(c, n, type_at(c, n, 0), kir_type_of(c->f, n), false);
}

/* -- products -- */

static bool check_dequant(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n), *q = type_at(c, n, 0), *d = type_at(c, n, 1);
	int64_t group = kir_attr_of(c->f, n, KIR_ATTR_group);
	int64_t axis = kir_attr_of(c->f, n, KIR_ATTR_axis);
	if (t->elem != KIR_f32)
		return wrong_result(c, n, "of f32");
	if (q->elem == KIR_i1 || !same_dims(t, q))
		return wrong_operand(c, n, 0, "numbers of the result's shape");
	if (d->elem != KIR_f32)
		return wrong_operand(c, n, 1, "of f32");
	if (c->f->node[n].nsrc == 3 &&
	    (type_at(c, n, 2)->elem != d->elem || !same_dims(type_at(c, n, 2), d)))
		return wrong_operand(c, n, 2, "of the scales' type");
	if (!d->rank)
		return true;
	if (group) {
		kir_type want = *t;
		if (t->rank)
			want.dim[t->rank - 1] = (t->dim[t->rank - 1] + group - 1) / group;
		return same_dims(d, &want) ||
		       wrong_operand(c, n, 1, "one scale a row and group");
	}
	if (axis < 0 || axis >= t->rank)
		return no_axis(c, n, t->rank);
	return (d->rank == 1 && d->dim[0] == t->dim[axis]) ||
	       wrong_operand(c, n, 1, "a scalar or one scale an index along axis");
}

static bool check_hadamard(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	int64_t block = kir_attr_of(c->f, n, KIR_ATTR_group);
	int64_t cols = t->rank ? t->dim[t->rank - 1] : 0;

	if (t->elem != KIR_f32 || !t->rank)
		return wrong_result(c, n, "a tile of f32");
	if (type_id(c, n, 0) != c->f->node[n].type)
		return wrong_operand(c, n, 0, "of the result's type");
	if (block >= 4 && block <= 4096 && !(block & (block - 1)) && cols % block == 0)
		return true;
	return kir_complain(c, n,
	                    "group=%lld must be a power of two from 4 to 4096 that divides "
	                    "the %lld columns",
	                    (long long)block, (long long)cols);
}

static bool check_dot(kir_checker *c, kir_ref n)
{
	type *a = type_at(c, n, 0), *b = type_at(c, n, 1);
	int64_t which = kir_attr_of(c->f, n, KIR_ATTR_trans);
	bool left = which == 2, trans = which == 1;
	bool ints = kir_is_int((kir_elem)a->elem) && kir_is_int((kir_elem)b->elem);
	for (unsigned k = 0; k < 2; k++)
		if (type_at(c, n, k)->rank != 2 || type_at(c, n, k)->elem == KIR_i1)
			return wrong_operand(c, n, k, "a tile of numbers with two dimensions");
	if (a->dim[!left] != b->dim[trans])
		return kir_complain(
		    c, n, "it contracts %lld elements of %s with %lld of %s",
		    (long long)a->dim[!left], kir_value_text(c, kir_src(c->f, n, 0)),
		    (long long)b->dim[trans], kir_value_text(c, kir_src(c->f, n, 1)));
	kir_type_id want =
	    kir_tile(c->f->module, ints ? KIR_s32 : KIR_f32, a->dim[left], b->dim[!trans]);
	if (c->f->node[n].type != want)
		return wrong_result(c, n, kir_type_text(c, want));
	if (c->f->node[n].nsrc == 3 && type_id(c, n, 2) != want)
		return wrong_operand(c, n, 2, kir_type_text(c, want));
	return true;
}

/* -- level V -- */

static bool lanes(type *t, kir_elem e, int64_t n)
{
	return t->rank == 1 && t->elem == e && t->dim[0] == n;
}

/* zip, unzip, half and join: the operands have num/den as many lanes as the result. */
static bool check_lanes(kir_checker *c, kir_ref n, int64_t num, int64_t den)
{
	type *t = kir_type_of(c->f, n);
	int64_t want = t->rank == 1 ? t->dim[0] * num / den : 0;
	if (t->rank != 1 || t->dim[0] * num % den)
		return wrong_result(c, n, "a vector with an even number of lanes");
	for (unsigned k = 0; k < c->f->node[n].nsrc; k++)
		if (!lanes(type_at(c, n, k), (kir_elem)t->elem, want)) {
			kir_type_id id = kir_vector(c->f->module, (kir_elem)t->elem, want);
			return wrong_operand(c, n, k, kir_type_text(c, id));
		}
	return true;
}

static bool check_zip(kir_checker *c, kir_ref n)
{
	type *t = kir_type_of(c->f, n);
	if (t->rank != 1 || t->dim[0] % 2)
		return wrong_result(c, n, "a vector with an even number of lanes");
	int64_t within = kir_attr_of(c->f, n, KIR_ATTR_within);

	if (within && (within < 2 || within % 2 || t->dim[0] % within))
		return wrong_result(c, n, "as many times `within` lanes, an even number");
	return check_lanes(c, n, 1, 1);
}

/* acc, a and b with k times the lanes; VOID elements: any numbers that go together. */
static bool check_dp(kir_checker *c, kir_ref n, kir_elem acc, kir_elem a, kir_elem b, int64_t k)
{
	type *t = kir_type_of(c->f, n), *x = type_at(c, n, 1), *y = type_at(c, n, 2);
	if (t->rank != 1 || t->elem != acc)
		return wrong_result(c, n,
		                    acc == KIR_s32 ? "a vector of s32" : "a vector of f32");
	if (type_id(c, n, 0) != c->f->node[n].type)
		return wrong_operand(c, n, 0, "of the result's type");
	if (x->rank != 1 || (k ? x->dim[0] != t->dim[0] * k : x->dim[0] % t->dim[0]) ||
	    x->elem != a)
		return wrong_operand(c, n, 1,
		                     k == 4   ? "u8, four lanes for each of the result"
		                     : k == 2 ? "bf16, two lanes for each of the result"
		                              : "a multiple of the result's lanes");
	if (!lanes(y, b, x->dim[0]))
		return wrong_operand(c, n, 2,
		                     k == 4   ? "s8, four lanes for each of the result"
		                     : k == 2 ? "bf16, two lanes for each of the result"
		                              : "of as many lanes of the same kind");
	return true;
}

static bool check_any_dp(kir_checker *c, kir_ref n)
{
	kir_elem a = (kir_elem)type_at(c, n, 1)->elem, b = (kir_elem)type_at(c, n, 2)->elem;
	if (!number(a))
		return wrong_operand(c, n, 1, "of integers, f16, bf16, f32 or f64");
	return check_dp(c, n, kir_is_int(a) ? KIR_s32 : KIR_f32, a,
	                kir_is_int(a) && kir_is_int(b) ? b : a, 0);
}

static bool needs(kir_checker *c, kir_ref n, unsigned feature, const char *name)
{
	return (c->f->target->features & feature) ||
	       kir_complain(c, n, "target %s has no %s", c->f->target->name, name);
}

/* parts: of which it takes one. */
static bool check_lut(kir_checker *c, kir_ref n, int64_t parts)
{
	type *t = kir_type_of(c->f, n), *o = type_at(c, n, 0);
	if (t->rank != 1 || t->elem != KIR_bf16 || (parts > 1 && t->dim[0] % 8))
		return wrong_result(
		    c, n, parts > 1 ? "a vector of bf16, lanes in eights" : "a vector of bf16");
	if (o->rank != 1 || o->dim[0] != t->dim[0] * parts ||
	    !kir_is_float((kir_elem)o->elem) || kir_elems[o->elem].bits > 8)
		return wrong_operand(
		    c, n, 0,
		    parts > 1 ? "floats of at most 8 bits in twice the lanes of the result"
		              : "floats of at most 8 bits in as many lanes as the result");
	return true;
}

bool kir_check_op(kir_checker *c, kir_ref n)
{
	kir_op op = (kir_op)c->f->node[n].op;
	switch (op) {
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge:
	case KIR_OP_eq:
	case KIR_OP_ne: return check_compare(c, n);
	case KIR_OP_convert: return check_convert(c, n);
	case KIR_OP_fixed: return check_fixed(c, n);
	case KIR_OP_exp2: return check_exp2(c, n);
	case KIR_OP_bitcast: return check_bitcast(c, n);
	case KIR_OP_splat: return check_splat(c, n);
	case KIR_OP_iota: return check_iota(c, n);
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax: return check_reduce(c, n);
	case KIR_OP_reshape: return check_reshape(c, n);
	case KIR_OP_slice: return check_slice(c, n);
	case KIR_OP_concat: return check_concat(c, n);
	case KIR_OP_spread: return check_spread(c, n);
	case KIR_OP_dequant: return check_dequant(c, n);
	case KIR_OP_hadamard: return check_hadamard(c, n);
	case KIR_OP_unpack: return check_unpack(c, n);
	case KIR_OP_pack: return check_pack(c, n);
	case KIR_OP_dot: return check_dot(c, n);
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi: return check_zip(c, n);
	case KIR_OP_half_lo:
	case KIR_OP_half_hi: return check_lanes(c, n, 2, 1);
	case KIR_OP_join: return check_lanes(c, n, 1, 2);
	case KIR_OP_dp: return check_any_dp(c, n);
	case KIR_OP_x86_dpbusd:
		return needs(c, n, KIR_HAS_vnni, "vnni") &&
		       check_dp(c, n, KIR_s32, KIR_u8, KIR_s8, 4);
	case KIR_OP_x86_dpbf16:
		return needs(c, n, KIR_HAS_bf16, "bf16") &&
		       check_dp(c, n, KIR_f32, KIR_bf16, KIR_bf16, 2);
	case KIR_OP_x86_lut: return needs(c, n, KIR_HAS_vbmi, "vbmi") && check_lut(c, n, 1);
	case KIR_OP_x86_lut_lo:
	case KIR_OP_x86_lut_hi: return needs(c, n, KIR_HAS_vbmi, "vbmi") && check_lut(c, n, 2);
	case KIR_OP_xe_dpas:
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max:
	case KIR_OP_xe_repeat:
	case KIR_OP_xe_pack:
	case KIR_OP_xe_zip:
	case KIR_OP_xe_part: return kir_check_xe(c, n);
	case KIR_OP_if: return has_elem(c, n, 0, KIR_i1);
	case KIR_OP_view: return kir_check_view(c, n);
	case KIR_OP_local: return kir_check_local(c, n);
	default: break;
	}
	if (kir_is_amx(op))
		return kir_check_amx(c, n);
	if (kir_is_access(op))
		return kir_check_access(c, n);
	if (kir_ops[op].flags & KIR_NAMED)
		return kir_check_named(c, n);
	return !(kir_ops[op].flags & KIR_EACH) || check_each(c, n);
}
