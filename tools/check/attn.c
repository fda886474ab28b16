/* SPDX-License-Identifier: Apache-2.0 */
/* attn.c -- see attn.h. */
#include "attn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the problem ----------------------------------------------------------------------- */

/* Strides of a tensor follow from its own extents: outer dimensions hold whole inner ones. */
static int add_tensor(kir_layout *l, const kir_func *f, kir_ref param)
{
	const kir_type *t = kir_type_of(f, param);
	const char *name = f->param[f->node[param].attr[0]].name;
	for (unsigned i = 0; i < l->ntensor; i++)
		if (strcmp(l->tensor[i].name, name) == 0)
			return (int)i;
	if (l->ntensor == KIR_MAX_TENSORS)
		return -1;
	int at = (int)l->ntensor++;
	l->tensor[at].name = name;
	for (unsigned i = 0; i < t->npieces; i++) {
		int64_t inner = 1;
		for (unsigned d = t->piece[i].axis + 1u; d < t->rank; d++)
			inner *= t->dim[d];
		if (t->piece[i].axis == 0)
			l->tensor[at].page_bytes = inner;
		if (t->piece[i].dyn)
			l->tensor[at].stride[t->piece[i].stride] = inner;
	}
	return at;
}

/* Where the streams lie, read from the views of the program itself: K and V may be of
 * different formats, in tensors of their own. */
static bool read_layout(attn *a, const kir_func *f, kir_ref n)
{
	static const char *const names[KIR_NSTREAM] = { "k", "v", "r", "ks", "vs", "rs" };
	a->format = a->m->format[kir_attr_of(f, n, KIR_ATTR_format)];
	for (int s = 0; s < KIR_NSTREAM; s++) {
		kir_ref view = kir_operand(f, n, names[s]), base = view;
		a->layout.stream[s].tensor = -1;
		if (!view)
			continue;
		if (f->node[view].op == KIR_OP_view) {
			a->layout.stream[s].offset = kir_attr_of(f, view, KIR_ATTR_offset);
			base = kir_src(f, view, 0);
		}
		if (f->node[base].op != KIR_OP_param)
			return false;
		a->layout.stream[s].type = *kir_type_of(f, view);
		a->layout.stream[s].tensor = add_tensor(&a->layout, f, base);
		if (a->layout.stream[s].tensor < 0)
			return false;
	}
	return true;
}

static bool is_cached(kir_op op)
{
	return op == KIR_OP_attention || op == KIR_OP_cache_write || op == KIR_OP_index_topk;
}

/* What the op at n reads or writes, and what its score and mask say. */
static bool read_op(attn *a, const kir_func *f, kir_ref n)
{
	if (!read_layout(a, f, n))
		return false;
	if (f->node[n].op == KIR_OP_attention)
		a->probe = probe_new(f, n);
	return true;
}

static bool read_second(attn *a, const kir_func *f, kir_ref n)
{
	attn *b = a->second = calloc(1, sizeof *b);
	if (!b)
		return false;
	b->m = a->m;
	b->first = a;
	b->p = a->p;
	b->p.k_format = b->p.v_format = a->p.format2;
	b->p.format2 = NULL;
	b->p.page = a->p.page2;
	b->p.sparse = a->p.sparse2;
	b->shape = a->shape;
	b->shape.page = a->p.page2;
	return read_op(b, f, n);
}

bool attn_open(attn *a, const char *text, char *why, size_t len)
{
	kir_diag d = { 0 };
	memset(a, 0, sizeof *a);
	a->m = kir_module_new();
	if (kir_problem_parse(a->m, text, strlen(text), &a->p, &d)) {
		a->shape = (kir_shape){ a->p.kv_heads, a->p.dim_k, a->p.dim_v, a->p.page };
		if (a->p.kind == KIR_INDEX)
			a->shape.kv_heads = 1;
		else if (a->p.kind != KIR_ATTN && a->p.kind != KIR_WRITE)
			return true;
		const kir_func *f =
		    kir_problem_expand(a->m, &a->p, kir_target_find("generic"), &d);
		bool found = false;
		for (kir_ref n = 1; f && n < f->nnode; n++) {
			if (!is_cached(f->node[n].op))
				continue;
			if (found ? read_second(a, f, n) : read_op(a, f, n))
				found = true;
			if (found && (a->second || !a->p.format2))
				return true;
		}
		if (f)
			kir_error(&d, 0, 0, "the program's cache isn't made of parameters");
	}
	kir_diag_text(&d, why, len);
	return false;
}

void attn_close(attn *a)
{
	if (a->second)
		probe_free(a->second->probe);
	free(a->second);
	bind_free(&a->b);
	probe_free(a->probe);
	kir_module_free(a->m);
	memset(a, 0, sizeof *a);
}

kir_problem attn_writer(const kir_problem *p)
{
	return (kir_problem){ .kind = KIR_WRITE,
		              .q = KIR_f32,
		              .k_format = p->k_format,
		              .v_format = p->kind != KIR_TRANSCODE ? p->v_format
		                          : p->from_v              ? p->from_v
		                                                   : p->k_format,
		              .heads = p->kv_heads,
		              .kv_heads = p->kv_heads,
		              .dim_k = p->dim_k,
		              .dim_v = p->dim_v,
		              .page = p->page,
		              .page_to = p->page,
		              .sched = kir_sched_default() };
}

char *attn_text(const attn *a, const kir_problem *p)
{
	kir_text t = { 0 };
	/* a declaration whose name is also a built-in one is the same format again */
	const char *name[KIR_PROBLEM_FORMATS];
	unsigned n = kir_problem_formats(p, name);
	for (unsigned i = 0; i < n; i++) {
		const kir_format *f = kir_format_find(a->m, name[i]);
		if (f)
			kir_format_print(f, &t);
	}
	kir_problem_print(p, &t);
	return t.text;
}

#define ROWS "rows_of_f32"

/* The rows of w as a cache of f32, in pages like those of p. */
static void bind_rows(const kir_problem *p, bind *w)
{
	const bind_arg *in[2] = { bind_find(w, "key"), bind_find(w, "value") };
	int64_t tokens = in[0]->shape[0], heads = p->kv_heads, page = p->page;
	size_t bytes[2] = { (size_t)p->dim_k * 4, (size_t)p->dim_v * 4 };
	const char *row[2] = { in[0]->data, in[1]->data };
	int64_t shape[4] = { (tokens + page - 1) / page, heads, page,
		             (int64_t)(bytes[0] + bytes[1]) };
	char *out = bind_tensor(w, "from_rows", KVJIT_U8, 4, shape)->data;
	int64_t *slots = bind_tensor(w, "from_slots", KVJIT_S64, 1, &tokens)->data;

	for (int64_t t = 0; t < tokens; t++)
		slots[t] = t;
	for (int64_t t = 0; t < tokens; t++)
		for (int64_t h = 0; h < heads; h++) {
			char *to = out + ((t / page * heads + h) * page + t % page) * shape[3];

			memcpy(to, row[0], bytes[0]);
			memcpy(to + bytes[0], row[1], bytes[1]);
			row[0] += bytes[0];
			row[1] += bytes[1];
		}
}

char *attn_write_text(const attn *a, const kir_problem *of, bind *w)
{
	const kir_format *f = kir_format_find(a->m, of->k_format);
	kir_problem p = attn_writer(of);
	kir_text t = { 0 };

	if (!f || !kir_format_tokens(f))
		return attn_text(a, &p);
	p.kind = KIR_TRANSCODE;
	p.q = KIR_VOID;
	p.to_v = strcmp(p.k_format, p.v_format) != 0 ? p.v_format : NULL;
	p.v_format = p.k_format;
	p.k_format = ROWS;
	bind_rows(&p, w);
	kir_text_add(&t, "format " ROWS " v1 {\nelem f32\nscale none\n"
	                 "tensor rows [h t] { k[d] v[d] }\n}\n");
	char *rest = attn_text(a, &p);

	kir_text_add(&t, "%s", rest);
	free(rest);
	return t.text;
}

/* -- arguments --------------------------------------------------------------------------- */

static bind *arguments(const attn *a)
{
	return (bind *)(a->first ? &a->first->b : &a->b);
}

static const char *own_name(const attn *a, const char *name, char out[BIND_NAME])
{
	snprintf(out, BIND_NAME, "%.*s%s", BIND_NAME - 2, name, a->first ? "2" : "");
	return out;
}

bind_arg *attn_arg(const attn *a, const char *name)
{
	char own[BIND_NAME];
	bind_arg *x = bind_find(arguments(a), own_name(a, name, own));
	return x ? x : bind_find(arguments(a), name);
}

bind_arg *attn_tensor(attn *a, const char *name, kvjit_dtype t, int rank, const int64_t *shape)
{
	char own[BIND_NAME];
	return bind_tensor(arguments(a), own_name(a, name, own), t, rank, shape);
}

/* -- the cache --------------------------------------------------------------------------- */

/* The rule of codes that lie two a byte, else NULL. */
static const kir_side *packed(const attn *a, kir_stream s)
{
	const kir_side *side = &a->format->side[s == KIR_S_v || s == KIR_S_vs];

	return s <= KIR_S_v && side->bits == 4 ? side : NULL;
}

kir_elem attn_elem(const attn *a, kir_stream s)
{
	if (packed(a, s))
		return packed(a, s)->elem;
	return (kir_elem)a->layout.stream[s].type.elem;
}

static unsigned char *at(const attn *a, kir_stream s, int64_t page, int64_t h, int64_t t,
                         int64_t i)
{
	int tensor = a->layout.stream[s].tensor;
	const bind_arg *b = bind_find(arguments(a), a->layout.tensor[tensor].name);
	int64_t index[4] = { page, h, t, i };
	return (unsigned char *)b->data + place_of(&a->layout, s, index);
}

uint64_t attn_code(const attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i)
{
	const kir_side *two = packed(a, s);
	uint64_t code = 0;
	bool high;
	if (two) {
		i = kir_side_byte(two, i, &high);
		unsigned byte = *at(a, s, page, h, t, i);
		return kir_side_code(two, high ? byte >> 4 : byte);
	}
	memcpy(&code, at(a, s, page, h, t, i), kir_elem_bytes(attn_elem(a, s)));
	return code;
}

void attn_set(attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i,
              uint64_t code)
{
	const kir_side *two = packed(a, s);
	bool high;
	if (two) {
		i = kir_side_byte(two, i, &high);
		unsigned char *byte = at(a, s, page, h, t, i);
		*byte = (unsigned char)(high ? (*byte & 15) | (code & 15) << 4
		                             : (*byte & 0xf0) | (code & 15));
		return;
	}
	memcpy(at(a, s, page, h, t, i), &code, kir_elem_bytes(attn_elem(a, s)));
}

double attn_value(const attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i)
{
	return kir_decode(attn_elem(a, s), attn_code(a, s, page, h, t, i));
}

/* Which of K, V and R element *d of a key (side 0) or value lies in; *d becomes that part's. */
static int part_of(const attn *a, int side, int64_t *d)
{
	int64_t first = a->shape.dim_k - a->format->rest;
	if (side && !a->format->shared)
		return 1;
	if (*d < first)
		return 0;
	*d -= first;
	return 2;
}

/* With the zero point in it, where the format has some; 1 where none is stored. */
static double stored_scale(const attn *a, int part, int64_t page, int64_t h, int64_t t,
                           int64_t d)
{
	kir_stream s = (kir_stream)(KIR_S_ks + part);
	const kir_side *k = &a->format->side[part];
	if (a->layout.stream[s].tensor < 0)
		return 1;
	if (k->tokens)
		return attn_value(a, s, page, h, t / k->tokens, d);
	return attn_value(a, s, page, h, t, k->gran == KIR_GRAN_group ? d / k->group : 0);
}

double attn_parts(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d,
                  double *scale, double *zero)
{
	int part = part_of(a, side, &d);

	*scale =
	    kir_side_split(&a->format->side[part], stored_scale(a, part, page, h, t, d), zero);
	return attn_value(a, (kir_stream)(KIR_S_k + part), page, h, t, d) - *zero;
}

double attn_element(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d)
{
	int64_t i = d;
	int part = part_of(a, side, &i);
	double zero = 0;
	if (a->format->side[part].range)
		kir_side_split(&a->format->side[part], stored_scale(a, part, page, h, t, i),
		               &zero);
	return attn_value(a, (kir_stream)(KIR_S_k + part), page, h, t, i) - zero;
}

double attn_scale(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d)
{
	int part = part_of(a, side, &d);
	double zero;
	return kir_side_split(&a->format->side[part], stored_scale(a, part, page, h, t, d),
	                      &zero);
}

double attn_zero(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d)
{
	int part = part_of(a, side, &d);
	double zero;
	kir_side_split(&a->format->side[part], stored_scale(a, part, page, h, t, d), &zero);
	return zero;
}

/* NaN where the element has one, else all ones. */
static void poison(attn *a, kir_stream s)
{
	const kir_type *t = &a->layout.stream[s].type;
	kir_elem e = attn_elem(a, s);
	bool nan = kir_is_float(e) && kir_elems[e].kind != 'P';
	int64_t last = t->rank == 4 ? t->dim[3] : 1;
	if (!nan)
		return;
	uint64_t code = kir_encode(e, NAN, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
	for (int64_t p = 0; p < a->npages; p++)
		for (int64_t h = 0; h < a->shape.kv_heads; h++)
			for (int64_t k = 0; k < t->dim[2]; k++)
				for (int64_t i = 0; i < last; i++)
					attn_set(a, s, p, h, k, i, code);
}

void attn_cache(attn *a, int64_t npages)
{
	a->npages = npages;
	for (unsigned i = 0; i < a->layout.ntensor; i++) {
		int64_t shape[2] = { npages, a->layout.tensor[i].page_bytes };
		bind_arg *x =
		    bind_tensor(arguments(a), a->layout.tensor[i].name, KVJIT_U8, 2, shape);
		memset(x->data, 0xff, x->bytes);
	}
	for (int s = 0; s < KIR_NSTREAM; s++)
		if (a->layout.stream[s].tensor >= 0)
			poison(a, (kir_stream)s);
}

/* -- the batch --------------------------------------------------------------------------- */

static void copied(attn *a, const char *name, int rank, int64_t n, int64_t m,
                   const int32_t *data)
{
	int64_t shape[2] = { n, m };
	bind_arg *x = attn_tensor(a, name, KVJIT_S32, rank, shape);
	memcpy(x->data, data, (size_t)(n * m) * sizeof *data);
}

void attn_batch(attn *a, int64_t nseq, const int32_t *lens, const int32_t *starts,
                const int32_t *table, int64_t max_pages, int64_t npages)
{
	a->nseq = nseq;
	a->rows = starts[nseq];
	a->max_pages = max_pages;
	copied(a, "lens", 1, nseq, 1, lens);
	if (!a->first)
		copied(a, "starts", 1, nseq + 1, 1, starts);
	if (table)
		copied(a, "table", 2, nseq, max_pages, table);
	attn_cache(a, npages);
}

void attn_outputs(attn *a, const kvjit_kernel *k)
{
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		bool out = strcmp(p->name, "out") == 0;
		if (!out && strcmp(p->name, "lse") != 0)
			continue;
		int64_t shape[3] = { a->rows, a->p.heads, a->p.dim_v };
		bind_arg *x = bind_tensor(&a->b, p->name, p->dtype, out ? 3 : 2, shape);
		memset(x->data, 0xff, x->bytes);
	}
}

bool attn_call(const attn *a, kvjit *kv, const kvjit_kernel *k, char *why, size_t len)
{
	bind *b = (bind *)&a->b;
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = a->nseq,
		              .seq_lens = bind_find(b, "lens")->data,
		              .query_starts = bind_find(b, "starts")->data,
		              .table_stride = a->max_pages,
		              .npages = a->npages };
	if (bind_find(b, "table"))
		batch.block_table = bind_find(b, "table")->data;
	if (a->second) {
		batch.seq_lens2 = bind_find(b, "lens2")->data;
		batch.table_stride2 = a->second->max_pages;
		batch.npages2 = a->second->npages;
		if (bind_find(b, "table2"))
			batch.block_table2 = bind_find(b, "table2")->data;
	}
	kvjit_plan *plan = NULL;
	if (kvjit_plan_new(k, &batch, &plan) != KVJIT_OK) {
		snprintf(why, len, "plan: %s", kvjit_kernel_error(k));
		return false;
	}
	bool ok = bind_call(b, kv, k, plan, why, len) == KVJIT_OK;
	kvjit_plan_free(plan);
	return ok;
}

static kir_elem elem_of(kvjit_dtype t)
{
	return t == KVJIT_F16 ? KIR_f16 : t == KVJIT_BF16 ? KIR_bf16 : KIR_f32;
}

void attn_results(const attn *a, const kvjit_kernel *k, double **out, double **lse)
{
	int64_t pairs = a->rows * a->p.heads, n = pairs * a->p.dim_v;
	const bind_arg *o = bind_find((bind *)&a->b, "out"),
	               *l = bind_find((bind *)&a->b, "lse");
	bool has_lse = false;
	for (int i = 0; i < kvjit_nparam(k); i++)
		has_lse |= strcmp(kvjit_param_at(k, i)->name, "lse") == 0;
	*out = calloc((size_t)n + 1, sizeof(double));
	*lse = calloc((size_t)pairs + 1, sizeof(double));
	for (int64_t i = 0; i < n; i++)
		(*out)[i] = elem_get(elem_of(o->dtype), o->data, i);
	for (int64_t i = 0; i < pairs; i++)
		(*lse)[i] = has_lse ? elem_get(KIR_f32, l->data, i) : NAN;
}

int64_t attn_seq(const attn *a, int64_t row)
{
	const int32_t *starts = attn_arg(a, "starts")->data;
	int64_t s = 0;
	while (starts[s + 1] <= row)
		s++;
	return s;
}

bind_arg *attn_own(const attn *a, const char *name)
{
	char own[BIND_NAME];
	return bind_find(arguments(a), own_name(a, name, own));
}

double attn_given(const attn *a, const char *name, int64_t seq, int64_t h)
{
	const bind_arg *b = *name == 'q' ? attn_arg(a, name) : attn_own(a, name);
	if (!b)
		return 1;
	int64_t rows = b->nstride ? b->stride[0] : b->shape[1];
	int64_t cols = b->nstride > 1 ? b->stride[1] : 1;
	return ((const float *)b->data)[seq * rows + h * cols];
}
