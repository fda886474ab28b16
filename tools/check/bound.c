/* SPDX-License-Identifier: Apache-2.0 */
/* bound.c -- error bounds derived from the arithmetic a kernel uses.
 *
 * First order, with u32 = 2^-24 and u16 = 2^-8 (bf16 has 8 significant bits: half a unit in the
 * last place of x in [1, 2) is 2^-8, relative to x >= 1), gamma = (D + 4) u32, S keys:
 *
 *   score   |ds| <= (gamma + 4 u32) sum|scale q k| + dq
 *   output  |do| <= (expm1(2 ds) + u_p + (S + 8) u32 + 2^-19) (1 + u_p) sum w|v|
 *                   + dw + u_out |o|
 *   lse     |dl| <= 2 (D + 8) u32 sum|scale q k| + dq + (S + 16) u32 + 4 u32 |lse|
 *
 * u_p = u16 where weights are rounded to bf16 (pv=bf16), else 0. qk=bf16 with a query that
 * isn't exact in bf16 moves an element by u16 of itself: dq = u16 sum|scale q k|.
 *
 * exp2 by a polynomial of degree 3 or 4 (knob exp; e in ir/exp2.def): weights are off by e of
 * themselves, and so is their sum: 2 e more in u_p, e in the log-sum-exp. bf16 rounds by at
 * most u16 / (1 + u16), which leaves u16^2 - u16^3 of u16: degree 4's 2 e (1 + u16), 2^-17.3,
 * is below that, so u_p stays.
 *
 * f16 (engines of sub-groups): u_p = 2^-11 where weights are rounded to f16. Weights there are
 * at most 1, or x_j at most 1 of a tile's largest value scale: below 2^-14 they lose at most
 * 2^-25, an output sum_j 2^-25 vs |code_jd| with vs the largest. A query row is scaled by a
 * power of two to below 2: an element loses at most 2^-25 a.
 *
 * Integer products are exact; what is rounded to integers is known, so dw is not the worst
 * case over all data but the sum of what this row's numbers can lose:
 *
 * qk=int8: a query row becomes n a / L, n integer, a its largest magnitude; L = 127 in one
 * digit, 32512 in two. Each element's rounding error e_d follows from the query (where q L / a
 * is within f32 of a tie, either sign of half a step). Score j moves by
 *     dq_j = |scale ks_j sum_d e_d code_jd|,
 * its weight w_j by a factor between exp(-(dq_j + z)) and exp(dq_j + z) where
 * z = log(sum_k w_k exp(dq_k)) bounds the normalisation, an output by
 *     sum_j w_j |v_jd| expm1(dq_j + z).
 *
 * pv=int8: weights times the V scale, x_j = w_j vs_j, of one row and key tile become n m / L, m
 * the tile's largest; L = 255 in one digit, 65535 in two. Every tile is scaled by its own m,
 * and rescaling and the final division multiply all of a tile alike: with w normalised, m is
 * the largest x_j of the tile as it counts in the end. An element moves by at most m / 2L, and
 * by at most x_j if it goes to 0, so an output by sum over tiles of sum_j min(x_j, m / 2L)
 * |code_jd|. x_j here is the kernel's: at most exp(dq_j + z) above the exact one. The tie of a
 * product in f32 adds L u32 of a step, the sum with 1024 that engines of sub-groups narrow to
 * f16 (frag_deal.c) half its unit, 2^-14.
 *
 * The weights come from the exact scores, computed here: what the program's own score and mask
 * make of q . k is asked of the interpreter (probe.h). A score that isn't q . k itself moves by
 * the larger of |f(s + dq) - f(s)| and |f(s - dq) - f(s)|, which then is its dq: the most there
 * is where f rises or falls between the two.
 *
 * Zero points: products are of codes c and of zero points z, whose difference is what the terms
 * above are of. Sums of f32 then round by what c + z is more, scores by
 *     (gamma + 4 u32) |scale ks| sum_d |q_d| (c + z - |c - z|),
 * outputs by (S + 8) u32 sum_j w_j vs_j (c + z - |c - z|). A query that bf16 rounds is rounded
 * in the product with c alone: dq = u16 |scale ks| sum |q| c.
 *
 * Rotation: the query is rotated as the kernel does, in b elements' blocks, which rounds by
 * log2(b) u32 of the block's sum |q|, a score so by log2(b) u32 sum |q| sum |scale k|. Outputs
 * are rotated back: each takes the mean of its block's terms, and log2(b) u32 of that of sum
 * w|v|.
 *
 * Keys less a mean: a score has one more term, scale q . mean, of the query before it is
 * rotated or rounded, and is the sum of both: sum|scale q k| becomes that and sum|scale q
 * mean|, but not where it stands for what a rounded query loses.
 *
 * u32 terms of the query's scaling (two multiplications) are in the 4 u32 of the score.
 */
#include "bound.h"

#include "../../ir/exp2.h"
#include "../../passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define U32 0x1p-24
#define U16 0x1p-8

static const char *const arith_names[] = { "f32", "f16", "bf16", "int8", "int8x2" };

double bound_unit(kir_elem e)
{
	return e == KIR_bf16 ? U16 : e == KIR_f16 ? 0x1p-11 : U32;
}

/* -- which arithmetic -------------------------------------------------------------------- */

/* Pass arith stacks the digits of both halves as rows of one product, so two digits show as
 * twice the rows of the scores (or of the output tile) they become. */
static bound_arith dot_arith(const kir_func *f, kir_ref n, int64_t rows)
{
	const kir_type *x = kir_type_of(f, kir_src(f, n, 0));
	if (x->elem == KIR_bf16)
		return ARITH_bf16;
	if (x->elem == KIR_f16)
		return ARITH_f16;
	if (x->elem == KIR_s8 || x->elem == KIR_u8)
		return x->dim[0] >= 2 * rows ? ARITH_int8x2 : ARITH_int8;
	return ARITH_f32;
}

/* The loop over the second cache's work, which follows all of the first's; else the end. */
static kir_ref second_work(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		for (unsigned i = 0; f->node[n].op == KIR_OP_for && i < f->node[n].nsrc; i++) {
			const kir_node *x = &f->node[kir_src(f, n, i)];
			if (x->op == KIR_OP_param &&
			    strcmp(f->param[x->attr[0]].name, "nwork2") == 0)
				return n;
		}
	return f->nnode;
}

/* Rows of a tile before its products were split into digits: those of the output's carry; of an
 * indexer, which has none, the query's heads. */
static void scan(const kir_func *f, kir_ref from, kir_ref to, int64_t rows, bound_profile *out,
                 int *degree)
{
	for (kir_ref n = from; n < to; n++)
		if (f->node[n].op == KIR_OP_exp2 && kir_type_of(f, n)->rank == 2) {
			const kir_exp2 *p = kir_exp2_of(kir_attr_of(f, n, KIR_ATTR_degree));

			rows = kir_type_of(f, n)->dim[0];
			if (p && p->error > out->e) {
				out->e = p->error;
				*degree = p->degree;
			}
		}
	for (kir_ref n = from; n < to; n++) {
		if (f->node[n].op != KIR_OP_dot)
			continue;
		bool qk = kir_attr_of(f, n, KIR_ATTR_trans) != 0;
		bound_arith a = dot_arith(f, n, rows);
		bound_arith *at = qk ? &out->qk : &out->pv;
		*at = a > *at ? a : *at;
		if (!qk)
			out->kv_tile = (int)kir_type_of(f, kir_src(f, n, 0))->dim[1];
	}
}

/* Of a product's rows only who asked for digits knows how many there are. */
static int64_t rows_of(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_index_topk)
			return kir_type_of(f, kir_operand(f, n, "q"))->dim[1];
		else if (f->node[n].op == KIR_OP_gemm)
			return f->sched.qk == KIR_ARITH_int8x2 ? 1 : 1 << 30;
	return 1 << 30;
}

bool bound_profile_of(const kvjit_kernel *k, const char *backend, bool second,
                      bound_profile *out, char *why, size_t len)
{
	*out = (bound_profile){ .name = "qk=f32 pv=f32" };
	if (strcmp(backend, "ref") == 0)
		return true;
	char *text = kvjit_kernel_text(k, "ir");
	kir_diag d = { 0 };
	int degree = 0;
	kir_module *m = text ? kir_parse(text, strlen(text), &d) : NULL;
	kpass_options o = { .list = "expand,fold_scales,arith,short_exp" };
	kir_func *whole = m && m->nfunc ? m->func[m->nfunc - 1] : NULL;
	int64_t rows = whole ? rows_of(whole) : 0;
	kir_func *f = whole ? kpass_run(whole, &o, &d) : NULL;
	if (f) {
		kir_ref border = second_work(f);
		scan(f, second ? border : 1, second ? f->nnode : border, rows, out, &degree);
		out->asked = whole->sched.qk >= KIR_ARITH_int8;
		out->engine = f->target->lanes != 0;
	}
	if (!f)
		kir_diag_text(&d, why, len);
	snprintf(out->name, sizeof out->name, "qk=%s pv=%s%s", arith_names[out->qk],
	         arith_names[out->pv],
	         degree == 3   ? " exp=cubic"
	         : degree == 4 ? " exp=quartic"
	                       : "");
	kir_module_free(m);
	free(text);
	return f != NULL;
}

/* -- terms ------------------------------------------------------------------------------- */

static int digits(bound_arith a, int one, int two)
{
	return a == ARITH_int8 ? one : two;
}

double bound_query(const bound_profile *p, kir_elem stored, double x, double amax)
{
	bool exact = stored != KIR_f32 && stored != KIR_f16;

	if (p->qk >= ARITH_int8)
		return amax * (0.5 / digits(p->qk, 127, 32512) + 8 * U32);
	return p->qk == ARITH_bf16 && !exact             ? fabs(x) * U16
	       : p->qk == ARITH_f16 && stored != KIR_f16 ? fabs(x) * 0x1p-11
	                                                 : 0;
}

static double bound_scalar(const attn *a, const char *name)
{
	const bind_arg *b = attn_arg(a, name);
	return b ? b->f : 1;
}

/* The query's largest element, and whether all are exact in bf16. */
static double query_amax(const double *q, int64_t dim, bool *exact)
{
	double most = 0;
	*exact = true;
	for (int64_t d = 0; d < dim; d++) {
		most = fmax(most, fabs(q[d]));
		*exact &= kir_decode(KIR_bf16, kir_encode(KIR_bf16, q[d], 0, 0, 0)) == q[d];
	}
	return most;
}

/* One query row and head: what its keys are compared with. A score is factor * q . k + mean. */
typedef struct row {
	const attn *a;
	const bound_profile *p;
	int64_t seq, head, h, len, pos;
	const int32_t *table, *index; /* index: this row's list, NULL: keys by table */
	double factor, amax, qsum;    /* qsum: of |q|, before it is rotated */
	double mean, mean_sum;        /* of q . mean, times what scales it, and of |q mean| */
	double lse;                   /* of the exact scores, once they are weighed */
	double q[BOUND_DIM];
	double e[BOUND_DIM];    /* rounding error of each element      */
	double ties[BOUND_DIM]; /* a step where its sign isn't known   */
	double *w, *dq;         /* of each key: weight, error of score */
} row;

static int64_t slot_of(const row *r, int64_t j, int64_t *token)
{
	*token = j % r->a->shape.page;
	if (r->index) {
		*token = r->index[j] % r->a->shape.page;
		return r->index[j] / r->a->shape.page;
	}
	return r->table[r->seq * r->a->max_pages + j / r->a->shape.page];
}

static void round_query(row *r)
{
	double top = digits(r->p->qk, 127, 32512), step = r->amax / top;
	memset(r->e, 0, sizeof r->e);
	memset(r->ties, 0, sizeof r->ties);
	for (int64_t d = 0; d < r->a->shape.dim_k && r->amax > 0; d++) {
		double x = r->q[d] / step, n = nearbyint(x);
		r->e[d] = n * step - r->q[d];
		if (fabs(fabs(x - n) - 0.5) < 8 * U32 * top)
			r->ties[d] = step;
	}
}

/* The block that side (0 keys, 1 values) is rotated in, 0 if it isn't. */
static int64_t block_of(const attn *a, int side)
{
	return kir_side_block(&a->format->side[side], side ? a->shape.dim_v : a->shape.dim_k);
}

static double sign_of(const attn *a, int side, int64_t d)
{
	const bind_arg *s = attn_own(a, side ? "vsign" : "ksign");
	return s ? ((const int8_t *)s->data)[d % block_of(a, side)] : 1;
}

/* x in blocks times Sylvester's matrix. */
static void hadamard(double *x, int64_t dim, int64_t block)
{
	for (int64_t h = 1; h < block; h *= 2)
		for (int64_t i = 0; i < dim; i++)
			if (!(i & h)) {
				double p = x[i], m = x[i + h];
				x[i] = p + m;
				x[i + h] = p - m;
			}
}

/* The query as the kernel multiplies it; the block's size goes to the factor of scores. */
static void rotate_query(row *r)
{
	int64_t block = block_of(r->a, 0);
	r->qsum = 0;
	for (int64_t d = 0; block && d < r->a->shape.dim_k; d++) {
		r->qsum += fabs(r->q[d]);
		r->q[d] *= sign_of(r->a, 0, d);
	}
	if (!block)
		return;
	hadamard(r->q, r->a->shape.dim_k, block);
	r->factor /= (double)block;
}

/* What the mean of the keys adds to every score, for the query as it was handed over. */
static void mean_terms(row *r)
{
	const bind_arg *m = attn_own(r->a, "kmean");
	double factor = bound_scalar(r->a, "scale") * attn_given(r->a, "qd", r->seq, r->h);
	int64_t dim = r->a->shape.dim_k;
	r->mean = r->mean_sum = 0;
	for (int64_t d = 0; m && d < dim; d++) {
		double x = factor * r->q[d] * (double)((const float *)m->data)[r->h * dim + d];
		r->mean += x;
		r->mean_sum += fabs(x);
	}
}

/* Each element's term becomes the mean of its block's. */
static void rotate_terms(const attn *a, double *x)
{
	int64_t block = block_of(a, 1);
	for (int64_t d = 0; block && d < a->shape.dim_v; d += block) {
		double sum = 0;
		for (int64_t i = d; i < d + block; i++)
			sum += x[i];
		for (int64_t i = d; i < d + block; i++)
			x[i] = sum / (double)block;
	}
}

static void open_row(row *r, const attn *a, const bound_profile *p, int64_t at, int64_t head,
                     bool *exact)
{
	r->table = r->index = NULL;
	r->a = a;
	r->p = p;
	r->seq = attn_seq(a, at);
	r->head = head;
	r->h = head / (a->p.heads / a->p.kv_heads);
	r->len = ((const int32_t *)attn_arg(a, "lens")->data)[r->seq];
	r->pos = r->len - ((const int32_t *)attn_arg(a, "starts")->data)[r->seq + 1] + at;
	if (a->p.sparse)
		r->index = (const int32_t *)attn_arg(a, "index")->data + at * a->p.sparse;
	else
		r->table = attn_arg(a, "table")->data;
	r->factor = bound_scalar(a, "scale") * attn_given(a, "kd", r->seq, r->h) *
	            attn_given(a, "qd", r->seq, r->h);
	for (int64_t d = 0; d < a->shape.dim_k; d++)
		r->q[d] = elem_get(a->p.q, attn_arg(a, "q")->data,
		                   (at * a->p.heads + head) * a->shape.dim_k + d);
	mean_terms(r);
	rotate_query(r);
	r->amax = query_amax(r->q, a->shape.dim_k, exact);
	if (p->qk >= ARITH_int8)
		round_query(r);
}

/* -- exact scores ------------------------------------------------------------------------ */

/* Whether entry j of the row's index list is a key; of keys by table all are. */
static bool listed(const row *r, int64_t j)
{
	int64_t slots = r->a->npages * r->a->shape.page;
	return !r->index || (r->index[j] >= 0 && r->index[j] < slots);
}

static double row_float(const row *r, const char *name)
{
	return (double)((const float *)attn_arg(r->a, name)->data)[r->head];
}

/* s[j] + step dq[j] of all keys becomes what the program's score and mask make of it. False,
 * and the row can't be judged, if the interpreter stops. */
static bool ask(const row *r, const double *s, double step, double *out)
{
	float *x = calloc((size_t)r->len + 1, sizeof *x);
	char why[400] = "no memory";
	for (int64_t j = 0; x && j < r->len; j++)
		x[j] = (float)(s[j] + step * r->dq[j]);
	bool ok = x && r->a->probe &&
	          probe_scores(r->a->probe, r->a->first ? &r->a->first->b : &r->a->b, r->seq,
	                       r->head, r->pos, r->len, x, why, sizeof why);
	if (!ok)
		fprintf(stderr, "kvjit: the score of row %lld isn't known: %s\n",
		        (long long)r->pos, why);
	for (int64_t j = 0; ok && j < r->len; j++)
		out[j] = listed(r, j) ? (double)x[j] : -INFINITY;
	free(x);
	return ok;
}

/* r->w, q . k of all keys, becomes their scores, and r->dq how far rounding moves those. */
static bool ask_all(row *r)
{
	double *up = calloc((size_t)r->len + 1, 2 * sizeof *up), *down = up + r->len;
	bool ok = up && ask(r, r->w, 1, up) && ask(r, r->w, -1, down) && ask(r, r->w, 0, r->w);
	for (int64_t j = 0; ok && j < r->len; j++)
		r->dq[j] = isinf(r->w[j]) || r->dq[j] == 0
		               ? 0
		               : fmax(fabs(up[j] - r->w[j]), fabs(down[j] - r->w[j]));
	free(up);
	return ok;
}

/* Where keys have a scale for each element, it is the query times those that is rounded to
 * integers, for every group of tokens anew, and zero points are met by it unrounded. */
static double moved_by_columns(const row *r, int64_t page, int64_t token)
{
	double top = digits(r->p->qk, 127, 32512), amax = 0, moved = 0, ties = 0;
	double x[BOUND_DIM];

	for (int64_t d = 0; d < r->a->shape.dim_k; d++) {
		x[d] = r->q[d] * attn_scale(r->a, 0, page, r->h, token, d);
		amax = fmax(amax, fabs(x[d]));
	}
	for (int64_t d = 0; d < r->a->shape.dim_k && amax > 0; d++) {
		double step = amax / top, n = nearbyint(x[d] / step);
		double code = attn_element(r->a, 0, page, r->h, token, d) +
		              attn_zero(r->a, 0, page, r->h, token, d);

		moved += (n * step - x[d]) * code * r->factor;
		if (fabs(fabs(x[d] / step - n) - 0.5) < 8 * U32 * top)
			ties += step * fabs(code * r->factor);
	}
	return fabs(moved) + ties;
}

/* Sums over key j: the score, |scale q k|, |scale k|, and what rounding moves the score by. */
typedef struct key_sums {
	double score, qk, codes, dq;
	double raw,
	    more; /* of codes with zero points: |scale q c|, and that and |scale q z| less qk */
} key_sums;

static key_sums sum_key(const row *r, int64_t j)
{
	key_sums k = { 0 };
	int64_t token, page = slot_of(r, j, &token);
	double moved = 0, ties = 0;
	for (int64_t d = 0; d < r->a->shape.dim_k; d++) {
		double scale, z;
		double element = attn_parts(r->a, 0, page, r->h, token, d, &scale, &z);
		double x = r->factor * element * scale;
		k.score += r->q[d] * x;
		k.qk += fabs(r->q[d] * x);
		k.codes += fabs(x);
		if (r->a->format->side[0].range) {
			double s = r->q[d] * r->factor * scale;
			double c = element + z;
			k.raw += fabs(s) * c;
			k.more += fabs(s) * (c + z) - fabs(r->q[d] * x);
		}
		if (r->p->qk >= ARITH_int8) {
			moved += r->e[d] * x;
			ties += r->ties[d] * fabs(x);
		}
	}
	k.dq = fabs(moved) + ties;
	if (r->p->qk >= ARITH_int8 && kir_format_tokens(r->a->format))
		k.dq = moved_by_columns(r, page, token);
	return k;
}

/* Scores in r->w become weights; log of what the errors of scores may do to their sum. */
static double weigh(row *r)
{
	double most = -INFINITY, sum = 0, moved = 0;
	r->lse = -INFINITY;
	for (int64_t j = 0; j < r->len; j++)
		most = fmax(most, r->w[j]);
	if (isinf(most)) {
		memset(r->w, 0, (size_t)r->len * sizeof *r->w);
		return 0;
	}
	/* of two caches it is the merge's */
	bool sinks = r->a->p.sink && !attn_is_part(r->a);
	double sink = sinks ? row_float(r, "sink") : -INFINITY;
	most = fmax(most, sink);
	sum = exp(sink - most);
	for (int64_t j = 0; j < r->len; j++)
		sum += r->w[j] = exp(r->w[j] - most);
	r->lse = most + log(sum);
	for (int64_t j = 0; j < r->len; j++) {
		r->w[j] /= sum;
		moved += r->w[j] * expm1(r->dq[j]);
	}
	return log1p(moved);
}

/* -- what integers lose ------------------------------------------------------------------ */

/* dw of the keys of one tile, j0 to j1, for the elements d0 to d1 that share scales. */
static void group_terms(const row *r, int64_t j0, int64_t j1, int64_t d0, int64_t d1, double z,
                        double *dw)
{
	const attn *a = r->a;
	double top = digits(r->p->pv, 255, 65535), m = 0, half = 0;
	double vd = fabs(attn_given(a, attn_value_scale(a), r->seq, r->h));
	int64_t token, page;
	for (int64_t j = j0; r->p->pv >= ARITH_int8 && j < j1; j++) {
		page = slot_of(r, j, &token);
		if (r->w[j] > 0)
			m = fmax(m, r->w[j] * exp(r->dq[j] + z) *
			                attn_scale(a, 1, page, r->h, token, d0));
	}
	if (r->p->pv >= ARITH_int8)
		half = m * (0.5 + (r->p->engine ? 0x1p-14 : 0) + 4 * U32 * top) / top;
	for (int64_t j = j0; j < j1; j++) {
		page = slot_of(r, j, &token);
		double grow = expm1(r->dq[j] + z);
		for (int64_t d = d0; r->w[j] > 0 && d < d1; d++) {
			double scale, zero;
			double code =
			    vd * fabs(attn_parts(a, 1, page, r->h, token, d, &scale, &zero));
			double x = r->w[j] * scale;

			dw[d] += code * (x * grow + fmin(x * (1 + grow), half));
		}
	}
}

static void tile_terms(const row *r, int64_t j0, int64_t j1, double z, double *dw)
{
	int64_t dim = r->a->shape.dim_v,
	        group = r->a->format->side[!r->a->format->shared].group;
	for (int64_t d = 0, n = group ? group : dim; d < dim; d += n)
		group_terms(r, j0, j1, d, d + n < dim ? d + n : dim, z, dw);
}

/* What weights lose that are subnormal in f16; vs is the largest value scale. */
static void f16_terms(const row *r, double vs, double *dw)
{
	const attn *a = r->a;
	double vd = fabs(attn_given(a, "vd", r->seq, r->h));

	for (int64_t j = 0; j < r->len; j++) {
		int64_t token, page = slot_of(r, j, &token);

		for (int64_t d = 0; d < a->shape.dim_v; d++)
			dw[d] += 0x1p-25 * vs * vd *
			         fabs(attn_value(a, KIR_S_v, page, r->h, token, d));
	}
}

/* What sums with codes and with zero points of values round by, more than with differences. */
static void zero_terms(const row *r, double *dw)
{
	const attn *a = r->a;
	for (int64_t j = 0; j < r->len; j++) {
		int64_t token, page = slot_of(r, j, &token);
		for (int64_t d = 0; r->w[j] > 0 && d < a->shape.dim_v; d++) {
			double scale, z;
			double v = attn_parts(a, 1, page, r->h, token, d, &scale, &z);

			dw[d] += ((double)r->len + 8) * U32 * r->w[j] * scale *
			         (v + 2 * z - fabs(v));
		}
	}
}

bound_terms bound_terms_of(const attn *a, const bound_profile *p, int64_t at, int64_t head)
{
	row r;
	bool exact;
	double qk = 0, codes = 0, vs = 0, raw = 0, more = 0;
	bool zeros = a->format->side[1].range;
	bound_terms t = { 0 };

	open_row(&r, a, p, at, head, &exact);
	t.len = (double)r.len;
	r.w = calloc((size_t)r.len + 1, 2 * sizeof *r.w);
	r.dq = r.w + r.len;
	for (int64_t j = 0; j < r.len; j++) {
		if (!listed(&r, j))
			continue; /* no key: nothing lies there */
		int64_t token, page = slot_of(&r, j, &token);
		key_sums k = sum_key(&r, j);
		t.sabs = fmax(t.sabs, k.qk + r.mean_sum);
		qk = fmax(qk, k.qk);
		codes = fmax(codes, k.codes);
		raw = fmax(raw, k.raw);
		more = fmax(more, k.more);
		for (int64_t d = 0; d < a->shape.dim_v; d++)
			vs = fmax(vs, attn_scale(a, 1, page, r.h, token, d));
		r.w[j] = k.score + r.mean;
		r.dq[j] = k.dq;
	}
	if (!ask_all(&r))
		t.ds = NAN; /* nothing is within that */
	for (int64_t j = 0; j < r.len; j++)
		t.dl = fmax(t.dl, r.dq[j]);
	t.dl += p->e;
	if (p->qk >= ARITH_int8 || p->pv >= ARITH_int8 || zeros) {
		double z = weigh(&r);
		if (zeros)
			zero_terms(&r, t.dw);
		int64_t tile = p->pv >= ARITH_int8 ? p->kv_tile : r.len;
		for (int64_t j = 0; j < r.len; j += tile)
			tile_terms(&r, j, j + tile < r.len ? j + tile : r.len, z, t.dw);
	}
	if (p->qk == ARITH_bf16 && (!exact || kir_format_tokens(a->format)))
		t.ds = fmax(qk, raw) * U16;
	if (p->qk == ARITH_f16)
		t.ds = codes * r.amax * 0x1p-25;
	if (p->pv == ARITH_f16)
		f16_terms(&r, vs, t.dw);
	t.ds += ((double)a->shape.dim_k + 8) * U32 * more;
	if (block_of(a, 0))
		t.ds += log2((double)block_of(a, 0)) * U32 * r.qsum * codes;
	rotate_terms(a, t.dw);
	free(r.w);
	return t;
}

double bound_abs_out(const attn *a, int64_t at, int64_t head, double *out)
{
	static const bound_profile exact = { 0 };
	bool any;
	row r;

	open_row(&r, a, &exact, at, head, &any);
	r.w = calloc((size_t)r.len + 1, 2 * sizeof *r.w);
	r.dq = r.w + r.len;
	for (int64_t j = 0; j < r.len; j++)
		r.w[j] = listed(&r, j) ? sum_key(&r, j).score + r.mean : 0;
	bool known = ask(&r, r.w, 0, r.w);
	weigh(&r);
	double vd = fabs(attn_given(a, attn_value_scale(a), r.seq, r.h));
	memset(out, 0, (size_t)a->shape.dim_v * sizeof *out);
	for (int64_t j = 0; j < r.len; j++)
		for (int64_t d = 0; r.w[j] > 0 && d < a->shape.dim_v; d++) {
			int64_t token, page = slot_of(&r, j, &token);
			out[d] += r.w[j] * vd *
			          fabs(attn_element(a, 1, page, r.h, token, d) *
			               attn_scale(a, 1, page, r.h, token, d));
		}
	rotate_terms(a, out);
	for (int64_t d = 0; !known && d < a->shape.dim_v; d++)
		out[d] = NAN;
	free(r.w);
	return r.lse;
}

/* -- bounds ------------------------------------------------------------------------------ */

/* A softcap's tanh is approximated to a few units of its result. */
static double score_error(const attn *a, const bound_terms *t, double extra)
{
	double d = (double)a->shape.dim_k;
	return (d + 8) * U32 * t->sabs + t->ds + 4 * U32 * extra + 8 * U32 * a->p.softcap;
}

double bound_weight(const bound_profile *p)
{
	double narrowed = U16 / (1 + U16) + 2 * p->e;

	switch (p->pv) {
	case ARITH_bf16: return fmax(U16, narrowed);
	case ARITH_f16: return 0x1p-11 + 2 * p->e;
	default: return 2 * p->e;
	}
}

double bound_out(const attn *a, const bound_profile *p, const bound_terms *t, int64_t d,
                 double abs_out, double out, double extra, kir_elem stored)
{
	double up = bound_weight(p);
	double weights =
	    expm1(2 * score_error(a, t, extra)) + up + (t->len + 8) * U32 + 0x1p-19;
	if (block_of(a, 1))
		weights += log2((double)block_of(a, 1)) * U32;
	double tiny = stored == KIR_f16 ? 0x1p-25 : 0x1p-120;
	return weights * (1 + up) * abs_out + (1 + weights) * t->dw[d] +
	       bound_unit(stored) * fabs(out) + tiny;
}

double bound_lse(const attn *a, const bound_terms *t, double lse, double extra)
{
	return score_error(a, t, extra) + t->dl + ((double)a->shape.dim_k + 8) * U32 * t->sabs +
	       (t->len + 16) * U32 + 4 * U32 * fabs(lse) + 0x1p-20;
}
