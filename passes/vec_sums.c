/* SPDX-License-Identifier: Apache-2.0 */
/* vec_sums.c -- a sum over groups of products, each times its scales, in registers.
 *
 *     %a = dot %q0, %k0 {trans=1}                  for %c = 0 to 128 step 32 {
 *     %b = mul (convert %a), %d0 {axis=1}            %s = for %g = 0 to 8 carry(0) {
 *     %e = dot %q1, %k1 {trans=1}             =>       products of group %g's words
 *     %h = fma (convert %e), %d1, %b {axis=1}          yield convert * %d[%g] + sum
 *     ... of 8 groups                                }
 *                                                    store %s }
 *
 * fold_scales.c writes scores like that where a head has scales by group. Lowered one by one,
 * each group's products go through memory, the sum does too, and the code is as long as there
 * are groups. Here a block of keys has its sums in registers for all groups, and the code is
 * that of one.
 *
 * Takes sums of four groups or more whose keys are read where they lie, in product order, and
 * whose queries are columns of one tile; as many rows as leave registers for both sums. Scales
 * are brought into one local before, a row a group. Knobs rows, cols and fuse hold as in
 * vec_dot.c. Rounds as what it replaces does.
 */
#include "vectorize.h"

#include "analysis.h"

enum {
	SUM_GROUPS = 64, /* as fold_scales.c has */
	SUM_LEAST = 4,
	SUM_BODY = 128 /* products written out, at most */
};

struct vec_sum {
	unsigned groups;
	kir_ref dot[SUM_GROUPS], scale[SUM_GROUPS];
	kir_ref row_scale; /* the products' rows are multiplied by it first; 0: by nothing */
	bool convert;      /* products are integers                                        */
	vec_factor b;      /* of the first group                                           */
	vec_layout layout;
};

typedef struct vec_sum vec_sum_of;

/* -- finding them -------------------------------------------------------------------------- */

static bool along(const vec *v, kir_ref n, int64_t axis)
{
	return kir_attr_of(v->in, n, KIR_ATTR_axis) == axis &&
	       kir_type_of(v->in, n)->rank == 2 &&
	       kir_type_of(v->in, kir_src(v->in, n, 1))->rank == 1;
}

static bool once(const vec *v, kir_ref n)
{
	return v->nuse[n] == 1;
}

/* The product under x, through its rows' scale and a conversion; 0: none, or unlike the
 * others of s. */
static kir_ref product_under(const vec *v, vec_sum_of *s, kir_ref x)
{
	const kir_func *in = v->in;
	kir_ref rows = 0;

	if (in->node[x].op == KIR_OP_mul && along(v, x, 0) && once(v, x)) {
		rows = kir_src(in, x, 1);
		x = kir_src(in, x, 0);
	}
	bool convert = is_plain_convert(in, x) && once(v, x);

	if (convert)
		x = kir_src(in, x, 0);
	if (in->node[x].op != KIR_OP_dot || !once(v, x) || v->tiling[x] ||
	    kir_attr_of(in, x, KIR_ATTR_trans) != 1)
		return 0;
	if (!s->groups) {
		s->row_scale = rows;
		s->convert = convert;
	}
	return s->row_scale == rows && s->convert == convert ? x : 0;
}

/* The sum that ends at n, its last group first. */
static bool collect(const vec *v, kir_ref n, vec_sum_of *s)
{
	const kir_func *in = v->in;
	kir_op op;

	do {
		op = (kir_op)in->node[n].op;
		if ((op != KIR_OP_fma && op != KIR_OP_mul) || !along(v, n, 1) ||
		    s->groups == SUM_GROUPS || (s->groups && !once(v, n)))
			return false;
		kir_ref dot = product_under(v, s, kir_src(in, n, 0));

		if (!dot)
			return false;
		s->dot[s->groups] = dot;
		s->scale[s->groups++] = kir_src(in, n, 1);
		n = op == KIR_OP_fma ? kir_src(in, n, 2) : 0;
	} while (op == KIR_OP_fma);
	for (unsigned i = 0; i < s->groups / 2; i++) {
		kir_ref d = s->dot[i], c = s->scale[i];
		unsigned k = s->groups - 1 - i;

		s->dot[i] = s->dot[k];
		s->scale[i] = s->scale[k];
		s->dot[k] = d;
		s->scale[k] = c;
	}
	return s->groups >= SUM_LEAST;
}

/* Whether operands a and b are one value. */
static bool same(const kir_func *in, kir_ref a, kir_ref b)
{
	int64_t x, y;

	return a == b || (kir_is_const(in, a, &x) && kir_is_const(in, b, &y) && x == y &&
	                  in->node[a].type == in->node[b].type);
}

/* Whether factor b is a with `step` added to its last index. */
static bool goes_on(const kir_func *in, kir_ref a, kir_ref b, int64_t step)
{
	for (;; a = kir_src(in, a, 0), b = kir_src(in, b, 0)) {
		const kir_node *x = &in->node[a], *y = &in->node[b];
		bool load = x->op == KIR_OP_load;

		if (x->op != y->op || x->type != y->type || x->nsrc != y->nsrc)
			return false;
		for (unsigned i = 0; i < KIR_MAX_ATTRS; i++)
			if (x->attr[i] != y->attr[i])
				return false;
		for (unsigned i = 1; i < x->nsrc - (unsigned)load; i++)
			if (!same(in, kir_src(in, a, i), kir_src(in, b, i)))
				return false;
		if (!load)
			continue;
		int64_t p, q;

		return same(in, kir_src(in, a, 0), kir_src(in, b, 0)) &&
		       kir_is_const(in, kir_src(in, a, x->nsrc - 1u), &p) &&
		       kir_is_const(in, kir_src(in, b, y->nsrc - 1u), &q) && q - p == step;
	}
}

/* Whether the groups' factors are columns of the same two tiles, one after the other. */
static bool is_row_of_groups(const vec *v, const vec_sum_of *s)
{
	const kir_func *in = v->in;
	kir_ref first = s->dot[0], q = kir_src(in, first, 0);
	int64_t depth = s->b.depth, start = kir_attr_of(in, q, KIR_ATTR_start);

	if (in->node[q].op != KIR_OP_slice || kir_attr_of(in, q, KIR_ATTR_axis) != 1)
		return false;
	for (unsigned g = 0; g < s->groups; g++) {
		kir_ref dot = s->dot[g], x = kir_src(in, dot, 0);

		if (in->node[x].op != KIR_OP_slice || in->node[x].type != in->node[q].type ||
		    kir_src(in, x, 0) != kir_src(in, q, 0) ||
		    kir_attr_of(in, x, KIR_ATTR_axis) != 1 ||
		    kir_attr_of(in, x, KIR_ATTR_start) != start + g * depth ||
		    !v->deferred[kir_src(in, dot, 1)] ||
		    !goes_on(in, kir_src(in, first, 1), kir_src(in, dot, 1),
		             g * (s->b.unpack ? depth / 2 : depth)))
			return false;
		kir_ref acc = kir_src(in, dot, 2);

		if (!acc != !kir_src(in, first, 2) || (acc && !v->deferred[acc]))
			return false;
	}
	return true;
}

/* Rows and vectors of columns of a block; cols 0: too many rows. */
static void block_of(const vec *v, const vec_sum_of *s, int64_t *rows, int64_t *lanes,
                     int64_t *cols)
{
	const kir_type *t = kir_type_of(v->in, s->dot[0]);
	int64_t side = vec_side_by_side(&s->b, &s->layout);
	int64_t room = v->in->target->vector_regs >= 32 ? 8 : 4;

	*rows = t->dim[0];
	*lanes = vec_chunk(t->dim[1], side < v->lanes ? side : v->lanes);
	*cols = room / *rows;
	if (v->in->sched.cols && v->in->sched.cols < *cols)
		*cols = v->in->sched.cols;
	while (*cols > 1 && t->dim[1] / *lanes % *cols)
		--*cols;
	if (t->dim[1] % *lanes || (v->in->sched.rows && v->in->sched.rows < *rows))
		*cols = 0;
}

/* Words of the contraction that one read gives. */
static int64_t ratio_of(const vec_sum_of *s)
{
	return s->layout.unit / s->b.unit * (s->b.unpack ? 2 : 1);
}

/* Whether the keys are read where they lie, and a block's code isn't long. */
static bool fits(vec *v, vec_sum_of *s)
{
	kir_ref dot = s->dot[0], k = kir_src(v->in, dot, 1);
	int64_t unit = 4 / kir_elem_bytes((kir_elem)kir_type_of(v->in, k)->elem);
	int64_t depth = kir_type_of(v->in, kir_src(v->in, dot, 0))->dim[1], rows, lanes, cols;

	if (!v->deferred[k] || unit < 1 || depth % unit || v->in->sched.fuse == KIR_fuse_off ||
	    !vec_factor_of(v, dot, &s->b) || s->b.local || vec_upto_of(v, &s->b) ||
	    !vec_find_layout(v, &s->b, &s->layout) || s->layout.pairs ||
	    (s->b.unpack && !vec_nibbles_fit(v, &s->b, &s->layout)))
		return false;
	block_of(v, s, &rows, &lanes, &cols);
	int64_t words = depth / unit;

	return cols > 0 && words % ratio_of(s) == 0 && words * rows * cols <= SUM_BODY &&
	       ratio_of(s) * cols <= SUM_GROUPS;
}

/* Between the first product and the end there must be no other region, and nobody who writes
 * what products read. */
static bool may_wait(const vec *v, const vec_sum_of *s, kir_ref end)
{
	for (kir_ref n = s->dot[0]; n < end; n++)
		if (kir_regions(v->in, n) || kir_ops[v->in->node[n].op].flags & KIR_ENDS)
			return false;
	for (unsigned g = 0; g < s->groups; g++) {
		kir_ref x = kir_src(v->in, s->dot[g], 1);

		while (v->in->node[x].op != KIR_OP_load)
			x = kir_src(v->in, x, 0);
		if (s->dot[g] < s->dot[0] || vec_changes(v->in, x, end))
			return false;
	}
	return true;
}

/* Everything of the sum but its end is left out, and its operands live on until there. */
static void take(vec *v, const vec_sum_of *s, kir_ref end)
{
	for (kir_ref n = end;;) {
		kir_ref x = kir_src(v->in, n, 0);

		for (; v->in->node[x].op != KIR_OP_dot; x = kir_src(v->in, x, 0))
			v->deferred[x] = true;
		v->deferred[x] = true;
		if (v->in->node[n].op != KIR_OP_fma)
			break;
		n = kir_src(v->in, n, 2);
		v->deferred[n] = true;
	}
	vec_read_later(v, s->row_scale, end);
	for (unsigned g = 0; g < s->groups; g++) {
		kir_ref acc = kir_src(v->in, s->dot[g], 2);

		vec_read_later(v, kir_src(v->in, s->dot[g], 0), end);
		vec_read_later(v, acc ? kir_src(v->in, acc, 0) : 0, end);
		vec_read_later(v, s->scale[g], end);
	}
}

void vec_sums_plan(vec *v)
{
	if (v->in->target->lanes)
		return;
	for (kir_ref n = v->in->nnode; n-- > 1;) {
		if (v->in->node[n].op != KIR_OP_fma || v->deferred[n])
			continue;
		vec_sum_of found = { 0 }, *s;

		if (!collect(v, n, &found) || !fits(v, &found) ||
		    !is_row_of_groups(v, &found) || !may_wait(v, &found, n))
			continue;
		s = kir_alloc(v->f->module, sizeof *s);
		*s = found;
		v->sum[n] = s;
		take(v, s, n);
	}
}

/* -- lowering ------------------------------------------------------------------------------ */

/* One a group, a row each: columns of f32 scales, or what products start at. */
static vec_tile gather(vec *v, const kir_ref *x, unsigned groups)
{
	const kir_type *t = kir_type_of(v->in, x[0]);
	vec_tile all = vec_local(v, (kir_elem)t->elem, groups, t->dim[0]);

	for (unsigned g = 0; g < groups; g++)
		if (v->in_group[x[g]] && v->nuse[x[g]] == 1)
			v->want[x[g]] = vec_part(&all, g, 1, 0, all.cols);
	vec_flush(v);
	for (unsigned g = 0; g < groups; g++) {
		vec_tile part = vec_part(&all, g, 1, 0, all.cols);

		vec_copy(v, &part, vec_value(v, x[g]));
	}
	return all;
}

/* What a sum reads while it is emitted. */
typedef struct sum_run {
	const vec_sum_of *s;
	vec_packed p;
	vec_left left;
	vec_tile scales, starts, row_scale; /* buf 0: none */
	int64_t rows, cols, lanes, words;
} sum_run;

static kir_ref splat(vec *v, kir_elem e, int64_t lanes, kir_ref x)
{
	return e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, lanes), x);
}

/* Products of group g for the columns from c. */
static void products(vec *v, const sum_run *r, vec_ix g, vec_ix c, kir_ref *acc)
{
	kir_elem e = (kir_elem)kir_type_of(v->in, r->s->dot[0])->elem;
	kir_ref b[SUM_GROUPS], none = zero_of(v->f, e);
	vec_ix word = vec_mul(v, g, r->words);

	for (int64_t i = 0; i < r->rows; i++)
		for (int64_t j = 0; j < r->cols; j++)
			acc[i * r->cols + j] =
			    splat(v, e, r->lanes,
			          r->starts.buf ? vec_read1(v, &r->starts, g, ix(i)) : none);
	for (int64_t w = 0; w < r->words; w += r->p.ratio) {
		vec_factor_read(
		    v, &r->s->b, &r->p,
		    &(vec_read_at){ vec_add(v, word, ix(w)), c, r->cols, r->lanes, NULL }, b);
		for (int64_t k = 0; k < r->p.ratio * r->rows; k++) {
			int64_t at = k / r->rows, i = k % r->rows;
			kir_ref x = vec_left_word(v, &r->left, ix(i),
			                          vec_add(v, word, ix(w + at)), r->lanes);

			for (int64_t j = 0; j < r->cols; j++) {
				kir_ref *a = &acc[i * r->cols + j];

				*a = e3(v->f, KIR_OP_dp, v->f->node[*a].type, *a, x,
				        b[at * r->cols + j]);
			}
		}
	}
}

/* The sums of a block of columns from c, each row's and vector's. */
static void block(vec *v, const sum_run *r, vec_ix c, kir_ref *sum)
{
	kir_type_id t = kir_vector(v->f->module, KIR_f32, r->lanes);
	unsigned n = (unsigned)(r->rows * r->cols);
	kir_ref acc[KIR_MAX_SRC], by[KIR_MAX_SRC] = { 0 };

	for (int64_t i = 0; i < r->rows && r->row_scale.buf; i++)
		by[i] = splat(v, KIR_f32, r->lanes, vec_read1(v, &r->row_scale, ix(0), ix(i)));
	for (unsigned i = 0; i < n; i++)
		sum[i] = splat(v, KIR_f32, r->lanes, f32c(v->f, 0));
	kir_ref l = kir_for(v->f, s64c(v->f, 0), s64c(v->f, r->s->groups), 1, false, sum, n);
	vec_ix g = { l + 1, 0 };

	products(v, r, g, c, acc);
	for (unsigned i = 0; i < n; i++) {
		kir_ref x = r->s->convert ? e1(v->f, KIR_OP_convert, t, acc[i]) : acc[i];
		vec_ix at = vec_add(v, c, ix((int64_t)i % r->cols * r->lanes));

		if (r->row_scale.buf)
			x = e2(v->f, KIR_OP_mul, t, x, by[i / r->cols]);
		sum[i] = e3(v->f, KIR_OP_fma, t, x, vec_read(v, &r->scales, g, at, r->lanes),
		            l + 2 + i);
	}
	kir_ref res = kir_for_end(v->f, l, sum, n);

	for (unsigned i = 0; i < n; i++)
		sum[i] = res + i;
}

void vec_sum(vec *v, kir_ref n)
{
	vec_sum_of *s = v->sum[n];
	kir_ref start[SUM_GROUPS], first = s->dot[0], acc[KIR_MAX_SRC];
	sum_run r = { .s = s, .words = s->b.depth / s->b.unit };

	r.scales = gather(v, s->scale, s->groups);
	if (kir_src(v->in, first, 2)) {
		for (unsigned g = 0; g < s->groups; g++)
			start[g] = kir_src(v->in, kir_src(v->in, s->dot[g], 2), 0);
		r.starts = gather(v, start, s->groups);
	}
	if (s->row_scale)
		r.row_scale = *vec_value(v, s->row_scale);
	r.p = vec_pack(v, &s->b, true);
	vec_tile q = *vec_value(v, kir_src(v->in, first, 0));
	q.cols *= s->groups; /* columns of one tile, one after the other */
	r.left = r.p.even_odd ? vec_left_even_odd(v, &q) : vec_left_words(v, &q, s->b.unit);
	block_of(v, s, &r.rows, &r.lanes, &r.cols);
	vec_tile out = vec_home(v, n);
	vec_loop lc = vec_loop_begin(v, s->b.cols, r.cols * r.lanes);

	block(v, &r, lc.i, acc);
	for (int64_t i = 0; i < r.rows * r.cols; i++)
		vec_write(v, &out, ix(i / r.cols), vec_add(v, lc.i, ix(i % r.cols * r.lanes)),
		          acc[i]);
	vec_loop_end(v, &lc);
	v->val[n] = out;
}
