/* SPDX-License-Identifier: Apache-2.0 */
/* describe.c -- from a function's parameters to what callers see and calls need: types,
 * default strides, phases and the libffi signature of backends/backend.h. Made once, in
 * kvjit_compile, so that a call only reads.
 */
#include "jit.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

const uint8_t kvjit_dtype_elem[KVJIT_NDTYPE] = {
	[KVJIT_U8] = KIR_u8,
	[KVJIT_S8] = KIR_s8,
	[KVJIT_S32] = KIR_s32,
	[KVJIT_S64] = KIR_s64,
	[KVJIT_F32] = KIR_f32,
	[KVJIT_F16] = KIR_f16,
	[KVJIT_BF16] = KIR_bf16,
	[KVJIT_E4M3FN] = KIR_e4m3fn,
	[KVJIT_E5M2] = KIR_e5m2,
	[KVJIT_E4M3FNUZ] = KIR_e4m3fnuz,
	[KVJIT_E5M2FNUZ] = KIR_e5m2fnuz,
	[KVJIT_E8M0] = KIR_e8m0,
};

static bool dtype_of(kir_elem e, kvjit_dtype *out)
{
	for (int i = 0; i < KVJIT_NDTYPE; i++) {
		if (kvjit_dtype_elem[i] != e)
			continue;
		*out = (kvjit_dtype)i;
		return true;
	}
	return false;
}

/* The parameters that kvjit_plan fills in and those whose first extent a plan or a scalar
 * gives, by the names that problems and attention's operands use. */
static const struct {
	const char *name;
	uint8_t planned, rows;
} meanings[] = {
	{ "work", KVJIT_PLAN_work, KVJIT_ROWS_any },
	{ "join", KVJIT_PLAN_join, KVJIT_ROWS_any },
	{ "part", KVJIT_PLAN_part, KVJIT_ROWS_any },
	{ "nwork", KVJIT_PLAN_nwork, KVJIT_ROWS_any },
	{ "njoin", KVJIT_PLAN_njoin, KVJIT_ROWS_any },
	{ "limit", KVJIT_PLAN_limit, KVJIT_ROWS_any },
	{ "both", KVJIT_PLAN_both, KVJIT_ROWS_any },
	{ "both_lse", KVJIT_PLAN_both_lse, KVJIT_ROWS_any },
	{ "rows", KVJIT_PLAN_rows, KVJIT_ROWS_any },
	{ "q", KVJIT_PLAN_none, KVJIT_ROWS_queries },
	{ "index", KVJIT_PLAN_none, KVJIT_ROWS_queries },
	{ "out", KVJIT_PLAN_none, KVJIT_ROWS_queries },
	{ "lse", KVJIT_PLAN_none, KVJIT_ROWS_queries },
	{ "table", KVJIT_PLAN_none, KVJIT_ROWS_table },
	{ "lens", KVJIT_PLAN_none, KVJIT_ROWS_lens },
	{ "starts", KVJIT_PLAN_none, KVJIT_ROWS_starts },
	{ "qd", KVJIT_PLAN_none, KVJIT_ROWS_seqs },
	{ "kd", KVJIT_PLAN_none, KVJIT_ROWS_seqs },
	{ "vd", KVJIT_PLAN_none, KVJIT_ROWS_seqs },
	{ "causal_seq", KVJIT_PLAN_none, KVJIT_ROWS_seqs },
};

static bool has_param(const kir_func *f, const char *name)
{
	for (unsigned i = 0; i < f->nparam; i++)
		if (!strcmp(f->param[i].name, name))
			return true;
	return false;
}

/* Copies the name without the 2 that marks what is a second cache's; whether there was one. */
static bool plain_name(const kir_func *f, const char *name, char *out, size_t len)
{
	size_t n = strlen(name);
	bool second = has_param(f, "work2") && n > 1 && name[n - 1] == '2';

	if (has_param(f, KVJIT_FROM "slots") &&
	    !strncmp(name, KVJIT_FROM, strlen(KVJIT_FROM))) {
		snprintf(out, len, "%s", name + strlen(KVJIT_FROM));
		return true;
	}
	snprintf(out, len, "%.*s", (int)(n - second), name);
	return second;
}

static void classify(const kir_func *f, unsigned i, kvjit_slot *s)
{
	const kir_type *t = kir_type_at(f->module, f->param[i].type);
	char name[100];
	bool plan = has_param(f, "work"), dyn = t->buffer && t->rank && t->dim[0] == KIR_DYN;
	bool two = has_param(f, "work2");

	s->cache = plain_name(f, f->param[i].name, name, sizeof(name));
	for (unsigned j = 0; plan && j < sizeof(meanings) / sizeof(meanings[0]); j++) {
		if (strcmp(name, meanings[j].name) != 0)
			continue;
		/* operands of with= may have these names */
		if ((!strcmp(name, "index") && t->rank != 2) ||
		    (!strcmp(name, "limit") && t->buffer) ||
		    (!two && meanings[j].planned >= KVJIT_PLAN_both))
			continue;
		s->planned = meanings[j].planned;
		s->rows = dyn ? meanings[j].rows : KVJIT_ROWS_any;
		return;
	}
	if (plan && dyn && t->elem == KIR_u8)
		s->rows = KVJIT_ROWS_pages;
	else if (!plan && dyn && (!strcmp(name, "parts") || !strcmp(name, "lses")))
		s->rows = KVJIT_ROWS_parts;
	else if (!plan && t->buffer && t->rank == 2 && !dyn && t->dim[1] == KIR_DYN)
		s->rows = KVJIT_ROWS_across;
	else if (!plan && dyn && t->elem != KIR_u8 &&
	         strcmp(name, "table") != 0) /* by sequence */
		s->rows = KVJIT_ROWS_iterations;
}

/* The axis whose address is the k-th run-time stride; the first one if several pieces are. */
static int stride_axis(const kir_type *t, unsigned k)
{
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].dyn && t->piece[i].stride == (int64_t)k)
			return t->piece[i].axis;
	return -1;
}

static int64_t contiguous(const kir_type *t, int axis)
{
	int64_t n = 1;

	for (unsigned j = (unsigned)axis + 1; j < t->rank; j++) {
		if (t->dim[j] == KIR_DYN)
			return -1;
		n *= t->dim[j];
	}
	return n;
}

/* A page may be longer than what its type's extents say. Only a tensor of the same record
 * counts: K and V may come from formats of their own. */
static void layout_strides(const kir_layout *layout, const char *name, const kir_param *in,
                           const kir_type *t, kvjit_param *p)
{
	for (unsigned i = 0; i < layout->ntensor; i++) {
		unsigned n = layout->tensor[i].nstride;

		if (!strcmp(layout->tensor[i].name, name) && n && n == in->nstride &&
		    t->elem == KIR_u8 && t->dim[t->rank - 1] == layout->tensor[i].stride[n - 1])
			memcpy(p->stride, layout->tensor[i].stride, sizeof(p->stride));
	}
}

static bool describe_buffer(const kir_func *f, const kir_param *in, const kir_layout *layout,
                            kvjit_param *p, kvjit_slot *s, kir_diag *d)
{
	const kir_type *t = kir_type_at(f->module, in->type);
	char name[100];

	p->rank = t->rank;
	p->role = (kvjit_role)in->dir;
	p->nstride = (int)in->nstride;
	s->bytes = (uint8_t)kir_elem_bytes((kir_elem)t->elem);
	s->grain = (uint8_t)kir_grain(t);
	s->unit = s->bytes;
	if (in->nstride > 4) {
		kir_error(d, 0, 0, "parameter %%%s has %u run-time strides; a call takes 4",
		          in->name, in->nstride);
		return false;
	}
	for (unsigned j = 0; j < t->rank; j++)
		p->shape[j] = t->dim[j];
	for (unsigned k = 0; k < in->nstride; k++) {
		int axis = stride_axis(t, k);

		if (axis < 0) {
			kir_error(d, 0, 0, "parameter %%%s: no term of its address uses $%u",
			          in->name, k);
			return false;
		}
		s->axis[k] = (uint8_t)axis;
		p->stride[k] = contiguous(t, axis);
	}
	plain_name(f, in->name, name, sizeof(name));
	if (layout)
		layout_strides(layout, name, in, t, p);
	return true;
}

static bool describe_param(kvjit_kernel *k, const kir_func *f, unsigned i,
                           const kir_layout layout[2], const bool known[2], kir_diag *d)
{
	const kir_param *in = &f->param[i];
	const kir_type *t = kir_type_at(f->module, in->type);
	kvjit_param *p = &k->param[i];
	kvjit_slot *s = &k->slot[i];

	if (!dtype_of((kir_elem)t->elem, &p->dtype) ||
	    (!t->buffer && t->elem != KIR_s32 && t->elem != KIR_s64 && t->elem != KIR_f32)) {
		kir_error(d, 0, 0, "parameter %%%s is %s, which a call can't hand over",
		          in->name, kir_elems[t->elem].name);
		return false;
	}
	p->name = in->name;
	p->role = KVJIT_INPUT;
	s->elem = t->elem;
	s->cell = (uint8_t)k->ncell;
	classify(f, i, s);
	p->planned = s->planned != KVJIT_PLAN_none;
	k->planned |= p->planned;
	k->ngiven += !p->planned;
	s->buffer = t->buffer;
	if (t->buffer) {
		if (!describe_buffer(f, in, known[s->cache] ? &layout[s->cache] : NULL, p, s,
		                     d))
			return false;
		k->types[k->ncell++] = &ffi_type_pointer;
		for (unsigned j = 0; j < in->nstride; j++)
			k->types[k->ncell++] = &ffi_type_sint64;
	} else {
		k->types[k->ncell++] = t->elem == KIR_s32   ? &ffi_type_sint32
		                       : t->elem == KIR_s64 ? &ffi_type_sint64
		                                            : &ffi_type_float;
	}
	return true;
}

static bool add_phase(kvjit_kernel *k, const kir_func *f, kir_ref loop, kir_diag *d)
{
	kvjit_phase *p = &k->phase[k->nphase];
	kir_ref hi = kir_src(f, loop, 1);

	if (k->nphase == KVJIT_MAX_PHASES) {
		kir_error(d, 0, 0, "@%s has more than %d top-level loops", f->name,
		          KVJIT_MAX_PHASES);
		return false;
	}
	p->param = kir_param_index(f, hi);
	if (p->param < 0 && !kir_is_const(f, hi, &p->n)) {
		kir_error(d, 0, 0,
		          "@%s: the bound of a top-level loop must be a parameter or a literal",
		          f->name);
		return false;
	}
	k->nphase++;
	return true;
}

static bool find_phases(kvjit_kernel *k, const kir_func *f, kir_diag *d)
{
	for (kir_ref n = 1; n < f->nnode; n = kir_region_end(f, n))
		if (f->node[n].op == KIR_OP_for && kir_for_par(f, n) && !add_phase(k, f, n, d))
			return false;
	return true;
}

/* Tokens that a transcode takes together: those that share scales where they go, and, if scales
 * are moved as they are, where they come from. */
static void find_groups(kvjit_kernel *k, const kir_func *ir, kir_ref n, int list)
{
	const kir_format *from = ir->module->format[kir_attr_of(ir, n, KIR_ATTR_from)];
	const kir_format *to = ir->module->format[kir_attr_of(ir, n, KIR_ATTR_format)];

	k->slots[list].group = kir_format_tokens(to);
	k->slots[list].whole = !list || kir_side_moves(&from->side[0], &to->side[0]);
}

/* Which parameters hold slots of a cache, so that calls can check them. */
static void find_slots(kvjit_kernel *k, const kir_func *ir)
{
	static const char *const names[2][2] = { { "slots", "k" }, { "from_slots", "from_k" } };
	kir_ref n = kvjit_find_op(ir, KIR_OP_cache_write);
	int lists = n ? 1 : 2;

	n = n ? n : kvjit_find_op(ir, KIR_OP_transcode);
	for (int l = 0; n && l < lists; l++) {
		kir_ref slots = kir_operand(ir, n, names[l][0]);

		for (unsigned i = 0; i < ir->nparam; i++) {
			if (ir->param[i].node != slots || ir->param[i].nstride)
				continue;
			k->slots[l].param = (int)i;
			k->slots[l].page =
			    kir_type_of(ir, kir_operand(ir, n, names[l][1]))->dim[2];
			if (lists > 1)
				find_groups(k, ir, n, l);
		}
	}
}

/* An indexer's parameters, if the kernel is one whose operands are all parameters. */
static void find_indexer(kvjit_kernel *k, const kir_func *ir)
{
	kvjit_indexer *x = &k->indexer;
	struct {
		const char *name;
		int *param;
	} all[] = { { "table", &x->table },   { "seqs", &x->seqs },   { "lens", &x->lens },
		    { "logits", &x->logits }, { "pages", &x->pages }, { "width", &x->width } };
	kir_ref n = kvjit_find_op(ir, KIR_OP_index_topk);
	unsigned found = 0;

	for (unsigned i = 0; n && i < ir->nparam; i++) {
		for (unsigned j = 0; j < sizeof(all) / sizeof(all[0]); j++)
			if (ir->param[i].node == kir_operand(ir, n, all[j].name)) {
				*all[j].param = (int)i;
				found |= 1u << j;
			}
		if (k->param[i].dtype == KVJIT_U8 && k->slot[i].buffer) {
			x->cache = (int)i;
			found |= 1u << 6;
		}
	}
	if (found == 127)
		x->page = kir_type_of(ir, kir_operand(ir, n, "k"))->dim[2];
}

/* The formats of what the kernel reads, so that plans can hold a cache's against them. */
static void find_formats(kvjit_kernel *k, const kir_func *ir)
{
	for (int c = 0; c < 2; c++) {
		kir_ref n = kvjit_find_attention(ir, c);
		int64_t format = n ? kir_attr_of(ir, n, KIR_ATTR_format) : -1;

		if (format < 0 || format >= (int64_t)ir->module->nformat)
			continue;
		k->format[c] = kir_format_hash(ir->module->format[format]);
		k->format_name[c] = ir->module->format[format]->name;
	}
}

static bool describe_params(kvjit_kernel *k, const kir_func *f, const kir_func *ir, kir_diag *d)
{
	kir_layout layout[2];
	bool known[2];

	for (int c = 0; c < 2; c++)
		known[c] = kvjit_layout_of(ir, c, &layout[c]);

	k->nparam = (int)f->nparam;
	k->param = calloc(f->nparam + 1, sizeof(*k->param));
	if (!k->param) {
		kir_error(d, 0, 0, "out of memory");
		return false;
	}
	for (unsigned i = 0; i < f->nparam; i++)
		if (!describe_param(k, f, i, layout, known, d))
			return false;
	for (int i = 0; i < 3; i++)
		k->types[k->ncell++] = &ffi_type_sint64;
	return true;
}

/* The type that a plan's parameter must have: rank 0 of numbers. */
static kvjit_param planned_type(const kvjit_shape *s, int planned)
{
	kvjit_param p = { .dtype = KVJIT_S32, .rank = 2, .shape = { -1, KIR_ITEM } };

	switch (planned) {
	case KVJIT_PLAN_work:
	case KVJIT_PLAN_join: return p;
	case KVJIT_PLAN_part: p.shape[1] = s->dim_v + KIR_PART_HEAD; break;
	case KVJIT_PLAN_both: p.rank = 4; p.shape[3] = s->dim_v; /* fall through */
	case KVJIT_PLAN_both_lse:
		p.rank = p.rank == 4 ? 4 : 3;
		p.shape[1] = 2;
		p.shape[2] = s->heads;
		break;
	default: p.rank = 0; return p;
	}
	p.dtype = KVJIT_F32;
	return p;
}

static bool same_type(const kvjit_param *p, const kvjit_param *want)
{
	return p->dtype == want->dtype && p->rank == want->rank && !p->nstride &&
	       !memcmp(p->shape, want->shape, (size_t)p->rank * sizeof(*p->shape));
}

/* Kernels read what a plan fills in as a plan makes it, whoever wrote the loops. */
static bool check_planned(const kvjit_kernel *k, kir_diag *d)
{
	for (int i = 0; i < k->nparam; i++) {
		const kvjit_param *p = &k->param[i];
		kvjit_param want = planned_type(&k->shape, k->slot[i].planned);
		char shape[80] = "?";

		if (!k->slot[i].planned ||
		    (want.rank ? same_type(p, &want)
		               : !k->slot[i].buffer && p->dtype != KVJIT_F32))
			continue;
		for (int a = 1; a < want.rank; a++)
			snprintf(shape + strlen(shape), sizeof(shape) - strlen(shape), ",%lld",
			         (long long)want.shape[a]);
		if (want.rank)
			kir_error(d, 0, 0,
			          "parameter %%%s comes from the plan: it must be %s[%s]",
			          p->name, want.dtype == KVJIT_F32 ? "f32" : "s32", shape);
		else
			kir_error(d, 0, 0, "parameter %%%s comes from the plan: it must be s64",
			          p->name);
		return false;
	}
	return true;
}

/* Which strides of caches are the distance of rows that a device may read as blocks. */
static void find_pitches(kvjit_kernel *k, const kir_func *ir)
{
	for (kir_ref n = 1; n < ir->nnode; n++) {
		int i = kir_param_index(ir, kir_root(ir, n)), s;

		if (ir->node[n].op != KIR_OP_view ||
		    (s = kir_row_stride(kir_type_of(ir, n))) < 0)
			continue;
		if (i >= 0 && ir->param[i].dir == KIR_IN && k->slot[i].grain == KIR_PITCH_MIN)
			k->slot[i].pitch |= (uint8_t)(1u << s);
	}
}

/* Whether view n has each element at a multiple of `bytes`, if the strides of calls are one. */
static bool at_multiples(const kir_func *f, kir_ref n, int64_t bytes)
{
	const kir_type *t = kir_type_of(f, n);

	for (unsigned i = 0; i < t->npieces; i++)
		if (!t->piece[i].dyn && t->piece[i].stride % bytes)
			return false;
	for (; f->node[n].op == KIR_OP_view; n = kir_src(f, n, 0))
		if (kir_attr_of(f, n, KIR_ATTR_offset) % bytes)
			return false;
	return true;
}

/* What is read of a tensor of bytes may be longer than bytes. Formats may pack it, so that it
 * lies anywhere; where they don't, strides that would are a host's mistake. */
static void find_units(kvjit_kernel *k, const kir_func *ir)
{
	for (unsigned i = 0; i < ir->nparam; i++) {
		kvjit_slot *s = &k->slot[i];
		kir_ref root = ir->param[i].node;

		for (kir_ref n = 1; n < ir->nnode; n++) {
			unsigned bytes = kir_elem_bytes((kir_elem)kir_type_of(ir, n)->elem);

			if (ir->node[n].op == KIR_OP_view && kir_root(ir, n) == root &&
			    bytes > s->unit && at_multiples(ir, n, bytes))
				s->unit = (uint8_t)bytes;
		}
		for (int j = 0; j < k->param[i].nstride; j++)
			while (k->param[i].stride[j] > 0 &&
			       k->param[i].stride[j] * s->bytes % s->unit)
				s->unit /= 2;
	}
}

bool kvjit_describe(kvjit_kernel *k, const kir_func *f, const kir_func *ir, kir_diag *d)
{
	if (f->nparam > KVJIT_MAX_PARAMS) {
		kir_error(d, 0, 0, "@%s has %u parameters; a call takes at most %d", f->name,
		          f->nparam, KVJIT_MAX_PARAMS);
		return false;
	}
	if (!describe_params(k, f, ir, d) ||
	    (f->level != KIR_A && !k->nphase && !find_phases(k, f, d)))
		return false;
	if (ffi_prep_cif(&k->cif, FFI_DEFAULT_ABI, k->ncell, &ffi_type_void, k->types) !=
	    FFI_OK) {
		kir_error(d, 0, 0, "libffi refuses the signature of @%s", f->name);
		return false;
	}
	find_slots(k, ir);
	find_indexer(k, ir);
	kvjit_find_operands(k, ir);
	find_formats(k, ir);
	find_pitches(k, ir);
	find_units(k, ir);
	if (k->planned && !kvjit_shape_of(ir, &k->shape)) {
		kir_error(d, 0, 0,
		          "@%s has a parameter %%work, but neither an attention nor a "
		          "view of pages [?, KV heads, tokens, dim] and a parameter %%out "
		          "[?, heads, dim], so no plan can be made for it",
		          f->name);
		return false;
	}
	return !k->planned || check_planned(k, d);
}
