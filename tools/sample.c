/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c -- arguments for any function; see sample.h. */
#include "sample.h"
#include "random.h"

#include "../ir/format.h"
#include "../passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NSEQ = 6, MAX_PAGES = 4, NPAGES = NSEQ * MAX_PAGES + 3, ITEM = 8, PARTS = 3 };

typedef struct batch {
	uint64_t state;
	int64_t page, kv_heads, heads, q_tile, split;
	int32_t lens[NSEQ], starts[NSEQ + 1], table[NSEQ][MAX_PAGES];
	int64_t tokens; /* query rows                          */
	int64_t nwork, njoin, nslots;
	int32_t *work, *join;
	bool planned; /* the function is attention           */
} batch;

static int64_t below(batch *b, int64_t n)
{
	return n > 0 ? (int64_t)(random_bits(&b->state) % (uint64_t)n) : 0;
}

/* In (-2, 2), denser in the middle. */
static double number(batch *b)
{
	double x = (double)(random_bits(&b->state) >> 11) * 0x1p-53,
	       y = (double)(random_bits(&b->state) >> 11) * 0x1p-53;

	return 2 * (x + y) - 2;
}

/* -- sizes ------------------------------------------------------------------------ */

static int param_of(const kir_func *f, const char *name)
{
	for (unsigned i = 0; i < f->nparam; i++)
		if (!strcmp(f->param[i].name, name))
			return (int)i;
	return -1;
}

static const kir_type *param_type(const kir_func *f, const char *name)
{
	int i = param_of(f, name);

	return i < 0 ? NULL : kir_type_at(f->module, f->param[i].type);
}

static bool is_pages(const kir_type *t)
{
	return t->buffer && t->rank == 4 && t->dim[0] == KIR_DYN && t->dim[1] > 0 &&
	       t->dim[2] > 0;
}

/* Parameter a buffer is memory of, -1 if it is a local's; offset: of the view, in bytes. */
static int memory_of(const kir_func *f, kir_ref b, int64_t *offset)
{
	*offset = 0;
	for (; kir_at(f, b)->op == KIR_OP_view; b = kir_src(f, b, 0))
		*offset += kir_attr_of(f, b, KIR_ATTR_offset);
	return kir_at(f, b)->op == KIR_OP_param ? (int)kir_at(f, b)->attr[0] : -1;
}

static bool is_buffer(const kir_func *f, kir_ref n)
{
	kir_op op = (kir_op)kir_at(f, n)->op;

	return (op == KIR_OP_param || op == KIR_OP_view) && kir_type_of(f, n)->buffer;
}

/* A view of the scales of pages: of bytes, one for each head and token. */
static bool is_scales(const kir_type *memory, const kir_type *t)
{
	return memory->elem == KIR_u8 && t->rank == 3 && t->dim[0] == KIR_DYN &&
	       t->dim[1] > 0 && t->dim[2] > 0;
}

/* A view that is called what problems call stored scales, at every level; of a second cache
 * with a 2 behind it. */
static bool is_named_scale(const kir_func *f, kir_ref view)
{
	static const char *const names[] = { "ks", "vs", "rs" };
	const char *name = kir_at(f, view)->name;

	for (unsigned k = 0; name && k < sizeof names / sizeof names[0]; k++)
		if (!strncmp(name, names[k], 2) && (!name[2] || !strcmp(name + 2, "2")))
			return true;
	return false;
}

/* Parameters with pages in them: those that views or the level-A ops call so. */
static bool is_cache(const kir_func *f, unsigned i)
{
	static const char *const names[] = { "k", "v", "ks", "vs" };
	const kir_type *t = kir_type_at(f->module, f->param[i].type);
	int64_t offset;

	if (!t->buffer || t->dim[0] != KIR_DYN)
		return false;
	for (unsigned k = 0; k < sizeof names / sizeof names[0]; k++)
		if (!strcmp(f->param[i].name, names[k]))
			return true;
	for (kir_ref n = 1; n < f->nnode; n++)
		if (kir_at(f, n)->op == KIR_OP_view &&
		    (is_pages(kir_type_of(f, n)) || is_scales(t, kir_type_of(f, n))) &&
		    memory_of(f, n, &offset) == (int)i)
			return true;
	return false;
}

/* Heads and tokens stand in this order in views, whatever the order in the parameter they are
 * of; only where nothing has a view are the parameters themselves what the ops call pages. */
static void read_sizes(const kir_func *f, batch *b)
{
	const kir_type *out = param_type(f, "out"), *q = param_type(f, "q");
	bool viewed = false;

	b->page = 16;
	b->kv_heads = 1;
	for (kir_ref n = f->nnode; n-- > 1;) {
		bool view = kir_at(f, n)->op == KIR_OP_view;

		if (!is_buffer(f, n) || !is_pages(kir_type_of(f, n)) || (viewed && !view))
			continue;
		viewed |= view;
		b->kv_heads = kir_type_of(f, n)->dim[1];
		b->page = kir_type_of(f, n)->dim[2];
	}
	out = out && out->rank == 3 ? out : q;
	b->heads = out && out->rank == 3 ? out->dim[1] : b->kv_heads;
	if (out && out->rank == 3 && b->heads % b->kv_heads == 0) /* in items' terms */
		b->kv_heads =
		    b->heads / kpass_head_tile(f->target, b->heads / b->kv_heads, out->dim[2]);
	b->q_tile = f->sched.q_tile > 0 ? f->sched.q_tile : 1;
	b->split = param_of(f, "part") >= 0 ? f->sched.split : 0;
	b->planned = param_of(f, "work") >= 0;
}

/* -- the batch --------------------------------------------------------------------- */

static void make_batch(batch *b)
{
	int32_t pages[NPAGES];

	for (int i = 0; i < NPAGES; i++)
		pages[i] = i;
	for (int i = NPAGES - 1; i > 0; i--) {
		int64_t j = below(b, i + 1);
		int32_t t = pages[i];
		pages[i] = pages[j];
		pages[j] = t;
	}
	for (int s = 0; s < NSEQ; s++) {
		int64_t most = s == 2   ? b->page
		               : s == 3 ? MAX_PAGES * b->page
		                        : 2 * b->page + 3;
		int64_t len = s == 0 ? 0 : s == 1 ? 1 : 1 + below(b, most), nq = below(b, 5);

		if (len > 300)
			len = 300 - below(b, 20);
		if (nq > len)
			nq = len;
		b->lens[s] = (int32_t)len;
		b->starts[s + 1] = b->starts[s] + (int32_t)(s && !nq && len ? 1 : nq);
		for (int i = 0; i < MAX_PAGES; i++)
			b->table[s][i] = pages[s * MAX_PAGES + i];
	}
	b->tokens = b->starts[NSEQ];
}

static void put_item(int32_t *at, const int32_t item[ITEM])
{
	memcpy(at, item, ITEM * sizeof *at);
}

/* Items of one tile of queries, as jit/plan.c documents them. */
static void plan_tile(batch *b, int32_t s, int32_t head, int32_t first, int32_t nq)
{
	int32_t len = b->lens[s], row = b->starts[s] + first;
	int64_t pieces = b->split > 0 && len > b->split ? (len + b->split - 1) / b->split : 1;

	if (pieces > 1)
		put_item(
		    b->join + ITEM * b->njoin++,
		    (int32_t[ITEM]){ row, head, (int32_t)b->nslots, (int32_t)pieces, nq, s });
	for (int64_t i = 0; i < pieces; i++) {
		int64_t end = pieces > 1 && (i + 1) * b->split < len ? (i + 1) * b->split : len;
		put_item(b->work + ITEM * b->nwork++,
		         (int32_t[ITEM]){ s, head, first, (int32_t)(i * b->split), (int32_t)end,
		                          pieces > 1 ? (int32_t)b->nslots++ : -1, nq, row });
	}
}

static bool make_plan(batch *b)
{
	int64_t pieces = b->split > 0 ? MAX_PAGES * b->page / b->split + 2 : 1;
	int64_t most = (b->tokens + NSEQ) * b->kv_heads * pieces;

	b->work = calloc((size_t)most, ITEM * sizeof *b->work);
	b->join = calloc((size_t)most, ITEM * sizeof *b->join);
	for (int32_t s = 0; b->work && b->join && s < NSEQ; s++) {
		int32_t nq = b->starts[s + 1] - b->starts[s];
		for (int32_t h = 0; h < b->kv_heads; h++)
			for (int32_t q = 0; q < nq; q += (int32_t)b->q_tile)
				plan_tile(b, s, h, q,
				          nq - q < b->q_tile ? nq - q : (int32_t)b->q_tile);
	}
	return b->work && b->join;
}

/* -- extents and strides ------------------------------------------------------------ */

/* What a parameter is called without the 2 of a second cache, which gets the same lengths,
 * tables and work as the first. */
static const char *plain_name(const kir_func *f, unsigned i, char out[64])
{
	size_t n = strlen(f->param[i].name);
	bool second = n > 1 && f->param[i].name[n - 1] == '2' && param_of(f, "work2") >= 0;

	snprintf(out, 64, "%.*s", (int)(n - second), f->param[i].name);
	return out;
}

/* An indexer's arguments: each query has a row of its own that says which sequence it is of and
 * how many of its keys it sees. */
static bool is_index(const kir_func *f)
{
	return param_of(f, "seqs") >= 0;
}

/* Length of a `?` first dimension. */
static int64_t rows_of(const kir_func *f, const batch *b, unsigned i)
{
	char buf[64];
	const char *name = plain_name(f, i, buf);
	struct {
		const char *name;
		int64_t n;
	} known[] = {
		{ "table", NSEQ },
		{ "lens", is_index(f) ? b->tokens : NSEQ },
		{ "seqs", b->tokens },
		{ "starts", NSEQ + 1 },
		{ "work", b->nwork + 1 },
		{ "join", b->njoin + 1 },
		{ "part", (b->nslots + 1) * b->q_tile * (b->heads / b->kv_heads) },
		{ "both", b->tokens },
		{ "both_lse", b->tokens },
		{ "parts", PARTS },
		{ "lses", PARTS },
	};

	for (unsigned k = 0; k < sizeof known / sizeof known[0]; k++)
		if (!strcmp(name, known[k].name))
			return known[k].n;
	if (is_cache(f, i))
		return NPAGES;
	return b->tokens > MAX_PAGES * b->page ? b->tokens : MAX_PAGES * b->page;
}

static int64_t extent(const kir_func *f, const batch *b, unsigned i, const kir_type *t,
                      unsigned axis)
{
	if (t->dim[axis] != KIR_DYN)
		return t->dim[axis];
	char buf[64];

	if (!strcmp(plain_name(f, i, buf), "table") && axis == 1)
		return MAX_PAGES;
	if (axis && (!strcmp(f->param[i].name, "parts") || !strcmp(f->param[i].name, "lses")))
		return b->tokens;
	return rows_of(f, b, i);
}

/* The largest value a term of an address takes. */
static int64_t reach(const kir_piece *p, int64_t n, int64_t stride)
{
	int64_t most = (n - 1) / (p->div > 1 ? p->div : 1);

	if (p->mod > 0 && most >= p->mod)
		most = p->mod - 1;
	return most * stride;
}

/* Bytes from the base that type t reaches, run-time strides from `known` on included. */
static int64_t span(const kir_func *f, const batch *b, unsigned i, const kir_type *t,
                    const int64_t *stride, unsigned known)
{
	int64_t bytes = kir_elem_bytes((kir_elem)t->elem);

	for (unsigned p = 0; p < t->npieces; p++) {
		const kir_piece *x = &t->piece[p];
		if (!x->dyn && !(x->axis == 0 && t->dim[0] == KIR_DYN && known))
			bytes += reach(x, extent(f, b, i, t, x->axis), x->stride);
		else if (x->dyn && (unsigned)x->stride >= known)
			bytes += reach(x, extent(f, b, i, t, x->axis), stride[x->stride]);
	}
	return bytes;
}

/* Of parameter i under all its types. */
static int64_t span_all(const kir_func *f, const batch *b, unsigned i, const int64_t *stride,
                        unsigned known)
{
	int64_t most = 0, offset;

	for (kir_ref n = 1; n < f->nnode; n++) {
		int64_t bytes;
		if (!is_buffer(f, n) || memory_of(f, n, &offset) != (int)i)
			continue;
		bytes = offset + span(f, b, i, kir_type_of(f, n), stride, known);
		most = bytes > most ? bytes : most;
	}
	return most;
}

/* Innermost first: each stride steps over what lies inside of it. */
static void make_strides(const kir_func *f, const batch *b, unsigned i, int64_t *stride)
{
	for (unsigned k = f->param[i].nstride; k-- > 0;)
		stride[k] = (span_all(f, b, i, stride, k + 1) + 3) / 4 * 4;
}

/* -- contents ----------------------------------------------------------------------- */

static void set(kir_elem e, unsigned char *p, double x)
{
	uint64_t code = kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);

	memcpy(p, &code, kir_elem_bytes(e));
}

static double get(kir_elem e, const unsigned char *p)
{
	uint64_t code = 0;

	memcpy(&code, p, kir_elem_bytes(e));
	return kir_decode(e, code);
}

static int64_t place(const kir_type *t, const int64_t *stride, const int64_t *idx)
{
	int64_t at = 0;

	for (unsigned p = 0; p < t->npieces; p++) {
		const kir_piece *x = &t->piece[p];
		int64_t q = idx[x->axis] / (x->div > 1 ? x->div : 1);
		at += (x->mod > 0 ? q % x->mod : q) * (x->dyn ? stride[x->stride] : x->stride);
	}
	return at;
}

/* Whether sequences use this token of this page. */
static bool in_use(const batch *b, int64_t page, int64_t token)
{
	for (int s = 0; s < NSEQ; s++)
		for (int i = 0; i < MAX_PAGES; i++)
			if (b->table[s][i] == page && i * b->page + token < b->lens[s])
				return true;
	return false;
}

static double element(batch *b, kir_elem e)
{
	if (e == KIR_e8m0)
		return ldexp(1, (int)below(b, 5) - 4);
	if (kir_is_float(e))
		return number(b);
	return e == KIR_i1 ? (double)below(b, 2)
	                   : floor(number(b) * 50) + (kir_is_signed(e) ? 0 : 100);
}

/* A stored scale, above 0 as writers make them: integer weights take no other. */
static double scale_of(kir_elem e, double x)
{
	return e == KIR_e8m0 ? x : fabs(x) / 64 + 0.01;
}

/* Random elements of what n says of parameter i's memory; of pages, where tokens are in use. */
static void fill_type(const kir_func *f, batch *b, unsigned i, kir_ref view,
                      unsigned char *base, const int64_t *stride)
{
	const kir_type *t = kir_type_of(f, view);
	bool pages = is_cache(f, i);
	bool scale = pages && ((t->elem == KIR_f32 && t->rank == 3) || is_named_scale(f, view));
	int64_t idx[KIR_RANK] = { 0 }, n[KIR_RANK];
	unsigned a = 0;

	for (unsigned k = 0; k < t->rank; k++)
		n[k] = extent(f, b, i, t, k);
	for (;;) {
		double x = element(b, (kir_elem)t->elem);
		if (!pages || t->rank < 3 || in_use(b, idx[0], idx[2]))
			set((kir_elem)t->elem, base + place(t, stride, idx),
			    scale ? scale_of((kir_elem)t->elem, x) : x);
		for (a = t->rank; a-- > 0 && ++idx[a] >= n[a];)
			idx[a] = 0;
		if (a == UINT32_MAX)
			return;
	}
}

/* Last views first: the first ones are as the formats are declared, and have the last word
 * where later ones name the same bytes. */
static void fill_param(const kir_func *f, batch *b, unsigned i, kref_arg *arg)
{
	int64_t offset;
	bool codes = kir_type_at(f->module, f->param[i].type)->elem == KIR_u8 && is_cache(f, i);

	memset(arg->base, f->param[i].dir == KIR_OUT ? 0xa5 : 0xff, (size_t)arg->bytes);
	if (f->param[i].dir == KIR_OUT)
		return;
	for (kir_ref n = f->nnode; n-- > 1;) {
		const kir_type *t = kir_type_of(f, n);
		if (!is_buffer(f, n) || memory_of(f, n, &offset) != (int)i)
			continue;
		if (kir_at(f, n)->op == KIR_OP_view ? !is_cache(f, i) || t->rank < 3 : codes)
			continue;
		fill_type(f, b, i, n, (unsigned char *)arg->base + offset, arg->stride);
	}
}

static void put_ints(const kir_type *t, const kref_arg *arg, const int32_t *x, int64_t rows,
                     int64_t cols)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++) {
			int64_t idx[KIR_RANK] = { r, c };
			set((kir_elem)t->elem,
			    (unsigned char *)arg->base + place(t, arg->stride, idx),
			    x[r * cols + c]);
		}
}

/* Distinct slots, a skipped one, and one that a later token takes again. */
static void put_slots(batch *b, const kir_type *t, const kref_arg *arg, int64_t rows)
{
	int64_t all = NPAGES * b->page;

	for (int64_t i = 0; i < rows; i++) {
		int64_t idx[KIR_RANK] = { i }, slot = (i * 7 + 3) % all;
		if (i == 1)
			slot = -1;
		if (i == 4)
			slot = 3;
		set((kir_elem)t->elem, (unsigned char *)arg->base + place(t, arg->stride, idx),
		    (double)slot);
	}
}

/* For each query its sequence, or the keys it sees: up to its own place. */
static void put_rows(const batch *b, const kir_type *t, const kref_arg *arg, bool seqs)
{
	for (int s = 0; s < NSEQ; s++)
		for (int32_t r = b->starts[s]; r < b->starts[s + 1]; r++) {
			int64_t idx[KIR_RANK] = { r };

			set((kir_elem)t->elem,
			    (unsigned char *)arg->base + place(t, arg->stride, idx),
			    seqs ? s : b->lens[s] - (b->starts[s + 1] - 1 - r));
		}
}

static void fill_known(const kir_func *f, batch *b, unsigned i, const kref_arg *arg)
{
	char buf[64];
	const char *name = plain_name(f, i, buf);
	const kir_type *t = kir_type_at(f->module, f->param[i].type);

	if (is_index(f) && (!strcmp(name, "seqs") || !strcmp(name, "lens")))
		put_rows(b, t, arg, *name == 's');
	else if (!strcmp(name, "lens"))
		put_ints(t, arg, b->lens, NSEQ, 1);
	else if (!strcmp(name, "starts"))
		put_ints(t, arg, b->starts, NSEQ + 1, 1);
	else if (!strcmp(name, "table"))
		put_ints(t, arg, &b->table[0][0], NSEQ, MAX_PAGES);
	else if (!strcmp(name, "work"))
		put_ints(t, arg, b->work, b->nwork, ITEM);
	else if (!strcmp(name, "join"))
		put_ints(t, arg, b->join, b->njoin, ITEM);
	else if (!strcmp(name, "slots"))
		put_slots(b, t, arg, rows_of(f, b, i));
}

static void fill_scalar(const kir_func *f, batch *b, unsigned i, kref_arg *arg)
{
	char buf[64];
	const char *name = plain_name(f, i, buf);

	arg->f = 0.25 + 0.0625 * (double)below(b, 8);
	if (!strcmp(name, "nwork"))
		arg->i = b->nwork;
	else if (!strcmp(name, "njoin"))
		arg->i = b->njoin;
	else if (!strcmp(name, "n") || !strcmp(name, "rows"))
		arg->i = b->tokens;
	else if (!strcmp(name, "p"))
		arg->i = PARTS;
	else if (is_index(f) && !strcmp(name, "pages"))
		arg->i = NPAGES;
	else if (is_index(f) && !strcmp(name, "width"))
		arg->i = MAX_PAGES * b->page;
	else
		arg->i = 1 + below(b, 8);
}

static bool fill_all(const kir_func *f, batch *b, sample *s)
{
	for (unsigned i = 0; i < f->nparam; i++) {
		kref_arg *arg = &s->arg[i];
		if (!kir_type_at(f->module, f->param[i].type)->buffer) {
			fill_scalar(f, b, i, arg);
			continue;
		}
		make_strides(f, b, i, arg->stride);
		arg->bytes = s->size[i] = span_all(f, b, i, arg->stride, 0);
		arg->base = aligned_alloc(64, (size_t)(arg->bytes + 127) / 64 * 64);
		if (!arg->base)
			return false;
		fill_param(f, b, i, arg);
		fill_known(f, b, i, arg);
	}
	return true;
}

/* -- life -------------------------------------------------------------------------- */

static sample *blank(unsigned n)
{
	sample *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->n = n;
	s->arg = calloc(n + 1, sizeof *s->arg);
	s->size = calloc(n + 1, sizeof *s->size);
	if (s->arg && s->size)
		return s;
	sample_free(s);
	return NULL;
}

static bool check_params(const kir_func *f, kir_diag *why)
{
	for (unsigned i = 0; i < f->nparam; i++)
		if (f->param[i].nstride > 4) {
			kir_error(why, 0, 0,
			          "parameter %%%s has %u run-time strides; there are at most 4",
			          f->param[i].name, f->param[i].nstride);
			return false;
		}
	return true;
}

sample *sample_new(const kir_func *f, uint64_t seed, kir_diag *why)
{
	batch b = { .state = seed };
	sample *s;

	if (!check_params(f, why))
		return NULL;
	read_sizes(f, &b);
	make_batch(&b);
	s = blank(f->nparam);
	if (!s || !make_plan(&b) || !fill_all(f, &b, s)) {
		kir_error(why, 0, 0, "no memory for sample arguments");
		sample_free(s);
		s = NULL;
	}
	free(b.work);
	free(b.join);
	return s;
}

sample *sample_copy(const sample *from)
{
	sample *s = blank(from->n);

	for (unsigned i = 0; s && i < s->n; i++) {
		s->arg[i] = from->arg[i];
		s->size[i] = from->size[i];
		if (!s->arg[i].base)
			continue;
		s->arg[i].base = aligned_alloc(64, (size_t)(s->size[i] + 127) / 64 * 64);
		if (!s->arg[i].base) {
			sample_free(s);
			return NULL;
		}
		memcpy(s->arg[i].base, from->arg[i].base, (size_t)s->size[i]);
	}
	return s;
}

void sample_free(sample *s)
{
	if (!s)
		return;
	for (unsigned i = 0; s->arg && i < s->n; i++)
		free(s->arg[i].base);
	free(s->arg);
	free(s->size);
	free(s);
}

/* -- comparing --------------------------------------------------------------------- */

static bool same_floats(const kir_param *p, kir_elem e, const sample *a, const sample *b,
                        unsigned i, double tol, kir_diag *why)
{
	const unsigned char *x = a->arg[i].base, *y = b->arg[i].base;
	int64_t size = kir_elem_bytes(e), n = a->size[i] / size;
	double most = 0;

	for (int64_t k = 0; k < n; k++) {
		double v = fabs(get(e, x + k * size));
		if (isfinite(v) &&
		    memcmp(x + k * size, "\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5", (size_t)size) != 0)
			most = v > most ? v : most;
	}
	for (int64_t k = 0; k < n; k++) {
		double v = get(e, x + k * size), w = get(e, y + k * size);
		if (v == w || (isnan(v) && isnan(w)) ||
		    fabs(v - w) <= tol * (fabs(v) + most / 16))
			continue;
		kir_error(why, 0, 0, "%%%s: element %lld of its memory is %.9g, was %.9g",
		          p->name, (long long)k, w, v);
		return false;
	}
	return true;
}

bool sample_same(const kir_func *f, const sample *a, const sample *b, double tol, kir_diag *why)
{
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_type *t = kir_type_at(f->module, f->param[i].type);
		const unsigned char *x = a->arg[i].base, *y = b->arg[i].base;

		if (!t->buffer || f->param[i].dir == KIR_IN)
			continue;
		if (kir_is_float((kir_elem)t->elem) && kir_elem_bytes((kir_elem)t->elem) > 1) {
			if (!same_floats(&f->param[i], (kir_elem)t->elem, a, b, i, tol, why))
				return false;
			continue;
		}
		for (int64_t k = 0; k < a->size[i]; k++)
			if (x[k] != y[k]) {
				kir_error(why, 0, 0, "%%%s: byte %lld is %d, was %d",
				          f->param[i].name, (long long)k, y[k], x[k]);
				return false;
			}
	}
	return true;
}
