/* SPDX-License-Identifier: Apache-2.0 */
/* call.c -- an array of typed arguments into the entry's registers.
 *
 * Everything is checked before anything runs; a failure names the parameter and what it
 * takes. Nothing here allocates or locks: cells and pointers are arrays on the stack, the
 * libffi signature was made with the kernel. (The interpreter, interpret.c, and devices,
 * launch.c, do both.)
 */
#include "frame.h"
#include "refuse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *dtype_name(kvjit_dtype d)
{
	return (unsigned)d < KVJIT_NDTYPE ? kir_elems[kvjit_dtype_elem[d]].name : "unknown";
}

/* "bf16[?,32,128]" or "s64": what parameter p takes. */
static const char *takes(const kvjit_param *p, char *buf, size_t len)
{
	size_t at =
	    (size_t)snprintf(buf, len, "%s%s", dtype_name(p->dtype), p->rank ? "[" : "");

	for (int i = 0; i < p->rank && at < len; i++) {
		const char *sep = i + 1 < p->rank ? "," : "]";

		at += (size_t)(p->shape[i] < 0 ? snprintf(buf + at, len - at, "?%s", sep)
		                               : snprintf(buf + at, len - at, "%ld%s",
		                                          (long)p->shape[i], sep));
	}
	return buf;
}

/* -- which argument is which ------------------------------------------------------ */

/* The parameter that argument i is for; it is at guess, if the caller keeps the order. */
static int find_param(const kvjit_kernel *k, const char *name, int guess)
{
	if (!name || (guess < k->nparam && !strcmp(k->param[guess].name, name)))
		return guess;
	for (int j = 0; j < k->nparam; j++)
		if (!strcmp(k->param[j].name, name))
			return j;
	return -1;
}

static kvjit_status match(kvjit_frame *f, const kvjit_arg *args, int nargs)
{
	const kvjit_kernel *k = f->k;
	char what[100];
	int guess = 0;

	if (nargs < 0)
		return BAD("nargs is %d; it must be 0 or more", nargs);
	if (nargs && !args)
		return BAD("args is NULL; it must hold %d arguments", nargs);
	for (int i = 0; i < nargs; i++) {
		int j;

		while (guess < k->nparam && k->param[guess].planned)
			guess++;
		j = find_param(k, args[i].name, guess);
		guess++;
		if (j < 0)
			return kvjit_no_such(k, args[i].name);
		if (j >= k->nparam)
			return BAD("%d arguments are given; the kernel takes %d", nargs,
			           k->ngiven);
		if (k->param[j].planned)
			return BAD("argument '%s' comes from the plan; don't give it",
			           k->param[j].name);
		if (f->arg[j])
			return BAD("argument '%s' is given twice", k->param[j].name);
		f->arg[j] = &args[i];
	}
	for (int j = 0; j < k->nparam; j++)
		if (!f->arg[j] && !k->param[j].planned)
			return BAD("argument '%s' is missing; it takes %s", k->param[j].name,
			           takes(&k->param[j], what, sizeof(what)));
	return KVJIT_OK;
}

/* -- one argument ------------------------------------------------------------------ */

static kvjit_status fill_scalar(kvjit_frame *f, int i)
{
	const kvjit_kernel *k = f->k;
	const kvjit_param *p = &k->param[i];
	const kvjit_arg *a = f->arg[i];
	kvjit_cell *c = &f->cell[k->slot[i].cell];

	if (a->data || a->rank)
		return BAD("argument '%s' is a scalar %s: give it in %s, without data or rank",
		           p->name, dtype_name(p->dtype), p->dtype == KVJIT_F32 ? "f" : "i");
	if (p->dtype == KVJIT_F32 ? a->i && a->f == 0 : a->f != 0 && !a->i)
		return BAD("argument '%s' is 0 in %s and %s has something else: a scalar %s is "
		           "given in %s",
		           p->name, p->dtype == KVJIT_F32 ? "f" : "i",
		           p->dtype == KVJIT_F32 ? "i" : "f", dtype_name(p->dtype),
		           p->dtype == KVJIT_F32 ? "f" : "i");
	if (p->dtype == KVJIT_F32) {
		c->f = (float)a->f;
		/* What a plan goes with multiplies all scores by it. */
		if (k->planned && !isfinite(c->f))
			return BAD("argument '%s' is %g; it must be a finite f32", p->name,
			           a->f);
	} else if (p->dtype == KVJIT_S64) {
		c->i = a->i;
	} else {
		if (a->i < INT32_MIN || a->i > INT32_MAX)
			return BAD("argument '%s' is %ld; it is an s32", p->name, (long)a->i);
		c->w = (int32_t)a->i;
	}
	return KVJIT_OK;
}

/* The least extent 0 a tensor needs, -1 if that isn't known. */
static int64_t rows_needed(const kvjit_frame *f, int i)
{
	const kvjit_plan *p = f->plan;

	switch (f->k->slot[i].rows) {
	case KVJIT_ROWS_queries: return p ? p->nrows : -1;
	case KVJIT_ROWS_table:
	case KVJIT_ROWS_lens:
	case KVJIT_ROWS_seqs: return p ? p->nseq : -1;
	case KVJIT_ROWS_starts: return !p ? -1 : p->nseq ? p->nseq + 1 : 0;
	case KVJIT_ROWS_pages:
		return p && p->list[f->k->slot[i].cache].npages
		           ? p->list[f->k->slot[i].cache].npages
		           : -1;
	case KVJIT_ROWS_iterations: return f->count;
	case KVJIT_ROWS_parts: return f->parts;
	default: return kvjit_elements_read(f, i, 0);
	}
}

/* The least extent d > 0 that doesn't follow from the type, -1 if there is none. */
static int64_t columns_needed(const kvjit_frame *f, int i, int d)
{
	switch (d == 1 ? f->k->slot[i].rows : KVJIT_ROWS_any) {
	case KVJIT_ROWS_table:
		return f->plan ? f->plan->list[f->k->slot[i].cache].seq_pages : -1;
	case KVJIT_ROWS_parts:
	case KVJIT_ROWS_across: return f->count;
	default: return kvjit_elements_read(f, i, d);
	}
}

/* One row for all: extent 0 is 1 and its stride 0. */
static bool one_row(const kvjit_frame *f, int i)
{
	const kvjit_arg *a = f->arg[i];

	for (int s = 0; s < a->nstride && s < f->k->param[i].nstride; s++)
		if (f->k->slot[i].axis[s] == 0)
			return a->shape[0] == 1 && a->stride[s] == 0;
	return false;
}

static kvjit_status check_shape(const kvjit_frame *f, int i)
{
	const kvjit_kernel *k = f->k;
	const kvjit_param *p = &k->param[i];
	const kvjit_arg *a = f->arg[i];
	int64_t rows = rows_needed(f, i), columns;
	char what[100];

	if (a->dtype != p->dtype)
		return BAD("argument '%s' is %s; it must be %s", p->name, dtype_name(a->dtype),
		           takes(p, what, sizeof(what)));
	if (!a->rank)
		return KVJIT_OK;
	if (a->rank != p->rank)
		return BAD("argument '%s' has rank %d; it must be %s", p->name, a->rank,
		           takes(p, what, sizeof(what)));
	for (int d = 0; d < p->rank; d++) {
		if (a->shape[d] < 0)
			return BAD("argument '%s': extent %d is %ld; it must be 0 or more",
			           p->name, d, (long)a->shape[d]);
		if (p->shape[d] >= 0 && a->shape[d] != p->shape[d])
			return BAD("argument '%s': extent %d is %ld; it must be %ld, of %s",
			           p->name, d, (long)a->shape[d], (long)p->shape[d],
			           takes(p, what, sizeof(what)));
	}
	for (int d = 1; d < p->rank; d++)
		if (a->shape[d] < (columns = columns_needed(f, i, d)))
			return BAD("argument '%s': extent %d is %ld; this call needs %ld",
			           p->name, d, (long)a->shape[d], (long)columns);
	if (a->shape[0] < rows && !one_row(f, i))
		return BAD("argument '%s': extent 0 is %ld; this call needs %ld", p->name,
		           (long)a->shape[0], (long)rows);
	return KVJIT_OK;
}

/* Rows of entries that kernels look others up by: what a host wouldn't overlap or turn round,
 * and a wrong stride is where it reads pages that it never named. */
static kvjit_status check_list_rows(const kvjit_frame *f, int i, int s, int64_t x)
{
	const kvjit_kernel *k = f->k;
	const kvjit_param *p = &k->param[i];
	const kvjit_arg *a = f->arg[i];
	int rows = k->slot[i].rows;
	int64_t n, columns;

	if (p->dtype != KVJIT_S32 || p->rank != 2 || (p->role & KVJIT_OUTPUT) ||
	    (rows != KVJIT_ROWS_table && rows != KVJIT_ROWS_queries))
		return KVJIT_OK;
	if (x < 0)
		return BAD("argument '%s': stride %d is %ld; rows of a list lie behind each "
		           "other, or at one place: it must be 0 or more",
		           p->name, s, (long)x);
	n = a->rank ? a->shape[0] : rows_needed(f, i);
	columns = a->rank           ? a->shape[1]
	          : p->shape[1] < 0 ? columns_needed(f, i, 1)
	                            : p->shape[1];
	if (n > 1 && x > 0 && x < columns)
		return BAD("argument '%s': stride %d is %ld; rows of %ld entries would overlap",
		           p->name, s, (long)x, (long)columns);
	return KVJIT_OK;
}

/* Whether what stated extents and strides span is more than memory. */
static bool beyond_memory(const kvjit_frame *f, int i)
{
	const kvjit_slot *slot = &f->k->slot[i];
	const kvjit_arg *a = f->arg[i];
	int64_t inner = slot->bytes, outer = 0, span;
	unsigned strided = 0;

	for (int s = 0; s < f->k->param[i].nstride; s++) {
		int64_t n = a->shape[slot->axis[s]], x = f->cell[slot->cell + 1 + s].i;

		strided |= 1u << slot->axis[s];
		if (x == INT64_MIN ||
		    __builtin_mul_overflow(n > 0 ? n - 1 : 0, x < 0 ? -x : x, &span) ||
		    __builtin_add_overflow(outer, span, &outer))
			return true;
	}
	for (int d = 0; d < a->rank; d++)
		if (!(strided >> d & 1) && __builtin_mul_overflow(inner, a->shape[d], &inner))
			return true;
	return __builtin_add_overflow(inner, outer, &span);
}

/* A default that depends on extents known only now. */
static kvjit_status follow(const kvjit_frame *f, int i, int s, int64_t *out)
{
	const kvjit_kernel *k = f->k;
	const kvjit_arg *a = f->arg[i];
	const kvjit_param *p = &k->param[i];
	int64_t n = 1;

	if (!a->rank)
		return BAD("argument '%s' needs stride %d, or rank and shape, which it follows "
		           "from",
		           p->name, s);
	for (int d = k->slot[i].axis[s] + 1; d < p->rank; d++)
		if (__builtin_mul_overflow(n, a->shape[d], &n))
			return BAD("argument '%s': its extents are too large", p->name);
	*out = n;
	return KVJIT_OK;
}

/* Of what the bytes of argument i and its run-time strides must be multiples. A device reads
 * whole blocks of a cache: one whose records have a multiple of 64 bytes lies as its format
 * says, at multiples of 64 (docs/backend-spirv.md). So do packed weights: an input of bytes
 * without run-time strides, in words for each of 16 k rows.
 */
static int grain(const kvjit_kernel *k, int i)
{
	const kvjit_param *p = &k->param[i];
	int bytes = k->slot[i].bytes;

	if (!k->device || bytes > 1)
		return bytes;
	if (!p->nstride) {
		bool packed = p->rank > 1 && p->shape[p->rank - 1] == 4 &&
		              p->shape[p->rank - 2] % 16 == 0;

		return packed && !(p->role & KVJIT_OUTPUT) ? 64 : k->slot[i].grain;
	}
	return k->slot[i].grain;
}

/* Elements behind axis that lie where the type says, without run-time strides. */
static int64_t contiguous(const kvjit_param *p, int axis)
{
	return p->rank - 1 > axis && p->shape[p->rank - 1] > 0 ? p->shape[p->rank - 1] : 1;
}

/* Of a single row hosts state any stride, so how many there are must be known: stated, from the
 * type or from the plan. */
static int64_t rows_along(const kvjit_frame *f, int i, int axis)
{
	const kvjit_param *p = &f->k->param[i];
	const kvjit_arg *a = f->arg[i];

	return a->rank ? a->shape[axis] : axis ? p->shape[axis] : rows_needed(f, i);
}

/* Whether elements of a row are a run-time stride apart. */
static bool scattered(const kvjit_param *p, const kvjit_slot *slot)
{
	bool last = false;

	for (int t = 0; t < p->nstride; t++)
		last |= slot->axis[t] == p->rank - 1;
	return last;
}

/* Whether rows that are written x apart overlap. */
static bool overlaps(const kvjit_frame *f, int i, int s, int64_t x)
{
	const kvjit_param *p = &f->k->param[i];
	const kvjit_slot *slot = &f->k->slot[i];
	int64_t row = contiguous(p, slot->axis[s]);

	return (p->role & KVJIT_OUTPUT) && !scattered(p, slot) &&
	       rows_along(f, i, slot->axis[s]) > 1 && x < row && x > -row;
}

/* Whether what is written along one axis lies among what is along another: of axes by their
 * strides, each must step over all that the smaller ones span. */
static bool interleaved(const kvjit_frame *f, int i)
{
	const kvjit_param *p = &f->k->param[i];
	const kvjit_slot *slot = &f->k->slot[i];
	const kvjit_arg *a = f->arg[i];
	int64_t span = contiguous(p, 0), past = 0, more;

	if (!(p->role & KVJIT_OUTPUT) || scattered(p, slot))
		return false;
	for (int done = 0; done < p->nstride; done++) {
		int64_t least = INT64_MAX, rows = 1;

		for (int s = 0; s < p->nstride; s++) {
			int64_t x = a->stride[s];
			int64_t n = rows_along(f, i, slot->axis[s]);

			x = x < -INT64_MAX ? INT64_MAX : x < 0 ? -x : x;
			if (n <= 1 || x < past || (x == past && past) || x > least)
				continue;
			if (x == least) /* two axes, one place */
				return true;
			least = x;
			rows = n;
		}
		if (least == INT64_MAX)
			return false;
		if (least < span)
			return true;
		if (__builtin_mul_overflow(rows - 1, least, &more) ||
		    __builtin_add_overflow(span, more, &span))
			return false; /* beyond_memory says so */
		past = least;
	}
	return false;
}

static kvjit_status fill_strides(kvjit_frame *f, int i)
{
	const kvjit_kernel *k = f->k;
	const kvjit_param *p = &k->param[i];
	const kvjit_slot *slot = &k->slot[i];
	const kvjit_arg *a = f->arg[i];
	kvjit_cell *c = &f->cell[slot->cell + 1];

	if (a->nstride != 0 && a->nstride != p->nstride)
		return BAD(
		    "argument '%s' has %d strides; it takes %d, or none for the defaults",
		    p->name, a->nstride, p->nstride);
	for (int s = 0; s < p->nstride; s++) {
		int64_t x = a->nstride ? a->stride[s] : p->stride[s];

		if (!a->nstride && x < 0) {
			kvjit_status st = follow(f, i, s, &x);

			if (st != KVJIT_OK)
				return st;
		}
		if (a->nstride && x == 0 && (p->role & KVJIT_OUTPUT) &&
		    p->shape[slot->axis[s]] != 1)
			return BAD("argument '%s': stride %d is 0; what is written must not "
			           "overlap",
			           p->name, s);
		if (a->nstride) {
			kvjit_status st = check_list_rows(f, i, s, x);

			if (st != KVJIT_OK)
				return st;
		}
		if (a->nstride && overlaps(f, i, s, x))
			return BAD("argument '%s': stride %d is %ld; what is written must not "
			           "overlap, and %ld elements lie together",
			           p->name, s, (long)x, (long)contiguous(p, slot->axis[s]));
		if (__builtin_mul_overflow(x, (int64_t)slot->bytes, &c[s].i))
			return BAD("argument '%s': stride %d is %ld; that is more than memory",
			           p->name, s, (long)x);
		if (c[s].i % grain(k, i))
			return BAD("argument '%s': stride %d is %ld; on a device it must be a "
			           "multiple of %d",
			           p->name, s, (long)x, grain(k, i));
		if (slot->buffer && c[s].i % slot->unit && rows_along(f, i, slot->axis[s]) > 1)
			return BAD("argument '%s': stride %d is %ld bytes; what lies in it "
			           "has elements of %d bytes: it must be a multiple of them",
			           p->name, s, (long)x, slot->unit);
		if (k->device && slot->pitch >> s & 1 &&
		    (c[s].i < KIR_PITCH_MIN || c[s].i > KIR_PITCH_MAX))
			return BAD("argument '%s': stride %d is %ld; rows that a device reads "
			           "are %d to %d bytes apart",
			           p->name, s, (long)x, KIR_PITCH_MIN, KIR_PITCH_MAX);
	}
	return KVJIT_OK;
}

/* Whether argument i has an element that this call may touch, so far as anybody knows. */
static bool holds_something(const kvjit_frame *f, int i)
{
	const kvjit_arg *a = f->arg[i];

	for (int d = 0; d < a->rank; d++)
		if (a->shape[d] == 0)
			return false;
	return rows_needed(f, i) != 0;
}

static kvjit_status fill_tensor(kvjit_frame *f, int i)
{
	const kvjit_kernel *k = f->k;
	const kvjit_param *p = &k->param[i];
	const kvjit_arg *a = f->arg[i];
	kvjit_status s = check_shape(f, i);

	if (s != KVJIT_OK)
		return s;
	if (!a->data && holds_something(f, i))
		return BAD("argument '%s': data is NULL%s", p->name,
		           a->rank ? "" : "; one without elements says so in rank and shape");
	if ((uintptr_t)a->data % k->slot[i].bytes)
		return BAD("argument '%s': data is %p; it must be aligned to %d bytes, its %s",
		           p->name, a->data, k->slot[i].bytes, dtype_name(p->dtype));
	if ((uintptr_t)a->data % k->slot[i].unit)
		return BAD("argument '%s': data is %p; what lies in it has elements of %d "
		           "bytes: it must be aligned to them",
		           p->name, a->data, k->slot[i].unit);
	if ((uintptr_t)a->data % grain(k, i))
		return BAD(
		    "argument '%s': data is %p; on a device it must be aligned to %d bytes",
		    p->name, a->data, grain(k, i));
	f->cell[k->slot[i].cell].p = a->data;
	s = fill_strides(f, i);
	if (s == KVJIT_OK && a->nstride > 1 && interleaved(f, i))
		return BAD("argument '%s': rows along one of its strides lie among those along "
		           "another; what is written must not overlap",
		           p->name);
	if (s == KVJIT_OK && a->rank && beyond_memory(f, i))
		return BAD("argument '%s': its extents and strides span more than memory",
		           p->name);
	return s;
}

static void fill_planned(kvjit_frame *f, int i)
{
	const kvjit_slot *s = &f->k->slot[i];
	const kvjit_plan *p = f->plan;
	const kvjit_lists *l = &p->list[s->cache];
	kvjit_cell *c = &f->cell[s->cell];
	int32_t *lists = p->device ? p->there : p->memory;
	int64_t n = 0;

	switch (s->planned) {
	case KVJIT_PLAN_work: c->p = lists + (l->work - (int32_t *)p->memory); return;
	case KVJIT_PLAN_join: c->p = lists + (l->join - (int32_t *)p->memory); return;
	case KVJIT_PLAN_part: c->p = f->scratch ? (char *)f->scratch + l->part : NULL; return;
	case KVJIT_PLAN_both: c->p = (char *)f->scratch + p->both; return;
	case KVJIT_PLAN_both_lse: c->p = (char *)f->scratch + p->both_lse; return;
	case KVJIT_PLAN_nwork: n = l->nwork; break;
	case KVJIT_PLAN_njoin: n = l->njoin; break;
	case KVJIT_PLAN_limit: n = f->pages[s->cache] * f->k->shape.page[s->cache]; break;
	default: n = p->nrows; break;
	}
	if (s->elem == KIR_s32)
		c->w = (int32_t)n;
	else
		c->i = n;
}

/* -- all of them -------------------------------------------------------------------- */

/* A plan's items hold the keys that queries of its own kernel see: k's must see no others. */
static kvjit_status check_sight(const kvjit_kernel *k, const kvjit_sight *plan)
{
	const kvjit_sight *mine = &k->shape.sight;
	bool ahead = mine->ahead > plan->ahead;

	if (ahead || mine->back > plan->back)
		return BAD("the plan is of a kernel whose queries see at most %ld keys %s "
		           "their own%s, and this kernel's see more: make one for it",
		           (long)(ahead ? plan->ahead : plan->back),
		           ahead ? "behind" : "before",
		           ahead && !plan->ahead ? " (it is causal)" : "");
	if (plan->chunk && (!mine->chunk || plan->chunk % mine->chunk))
		return BAD("the plan is of a kernel whose queries see their own chunk of %ld "
		           "keys, and this kernel's see others: make one for it",
		           (long)plan->chunk);
	return KVJIT_OK;
}

static kvjit_status check_plan(kvjit_frame *f, void *scratch)
{
	const kvjit_kernel *k = f->k;
	const kvjit_shape *a = &k->shape;
	const kvjit_shape *b;
	kvjit_status s;

	if (!k->planned) {
		return f->plan ? BAD("this kernel takes no plan: it has no parameter 'work'")
		               : KVJIT_OK;
	}
	if (!f->plan)
		return BAD("plan is NULL; this kernel needs one (kvjit_plan_new)");
	b = &f->plan->shape;
	if (a->heads != b->heads || a->kv_heads != b->kv_heads ||
	    memcmp(a->page, b->page, sizeof(a->page)) != 0 || a->dim_v != b->dim_v ||
	    a->q_tile != b->q_tile || a->split != b->split || a->ncache != b->ncache ||
	    memcmp(a->sparse, b->sparse, sizeof(a->sparse)) != 0)
		return BAD(
		    "the plan is another kernel's: heads=%ld:%ld dim=%ld page=%ld q_tile=%ld "
		    "split=%ld, this one has %ld:%ld, %ld, %ld, %ld, %ld",
		    (long)b->heads, (long)b->kv_heads, (long)b->dim_v, (long)b->page[0],
		    (long)b->q_tile, (long)b->split, (long)a->heads, (long)a->kv_heads,
		    (long)a->dim_v, (long)a->page[0], (long)a->q_tile, (long)a->split);
	s = check_sight(k, &b->sight);
	if (s != KVJIT_OK)
		return s;
	if (k->device != f->plan->device)
		return BAD("the plan is of another device than the kernel, or of another "
		           "context's");
	f->scratch = scratch ? scratch : f->plan->scratch;
	if ((uintptr_t)f->scratch % 64)
		return BAD("scratch is %p; it must be aligned to 64 bytes", f->scratch);
	return KVJIT_OK;
}

/* Scalars first: they bound the extents of tensors. */
static kvjit_status fill_scalars(kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;

	for (int i = 0; i < k->nparam; i++) {
		kvjit_status s = KVJIT_OK;
		const char *name = k->param[i].name;

		if (k->slot[i].buffer || k->param[i].planned)
			continue;
		s = fill_scalar(f, i);
		if (s != KVJIT_OK)
			return s;
		if (k->planned || k->param[i].dtype == KVJIT_F32)
			continue;
		if (f->arg[i]->i < 0 && (!strcmp(name, "n") || !strcmp(name, "p")))
			return BAD("argument '%s' is %ld; it must be 0 or more", name,
			           (long)f->arg[i]->i);
		if (!strcmp(name, "n"))
			f->count = f->arg[i]->i;
		if (!strcmp(name, "p"))
			f->parts = f->arg[i]->i;
	}
	return KVJIT_OK;
}

/* Entries of index lists are rows of every tensor of their cache. */
static kvjit_status count_pages(kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;

	for (int c = 0; c < 2; c++)
		f->pages[c] = INT64_MAX / (k->shape.page[c] > 0 ? k->shape.page[c] : 1);
	for (int i = 0; k->shape.sparse[0] && i < k->nparam; i++) {
		int64_t *pages = &f->pages[k->slot[i].cache];

		if (k->slot[i].rows != KVJIT_ROWS_pages)
			continue;
		if (!f->arg[i]->rank)
			return BAD("argument '%s' needs rank and shape: entries of index lists "
			           "are held against its pages",
			           k->param[i].name);
		if (f->arg[i]->shape[0] < *pages)
			*pages = f->arg[i]->shape[0];
	}
	return KVJIT_OK;
}

/* What is written shares no memory with another argument. Tensors may lie among each other's
 * rows, so only where both begin is it certain that they do. */
static kvjit_status check_shared(const kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;

	for (int i = 0; i < k->nparam; i++) {
		if (k->param[i].planned || !(k->param[i].role & KVJIT_OUTPUT) ||
		    !k->slot[i].buffer || !f->arg[i]->data || !holds_something(f, i))
			continue;
		for (int j = 0; j < k->nparam; j++)
			if (j != i && !k->param[j].planned && k->slot[j].buffer &&
			    f->arg[j]->data == f->arg[i]->data && holds_something(f, j))
				return BAD("argument '%s' is written and lies where '%s' does",
				           k->param[i].name, k->param[j].name);
	}
	return KVJIT_OK;
}

static kvjit_status fill(kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;
	kvjit_status s = fill_scalars(f);

	if (s == KVJIT_OK && k->planned)
		s = count_pages(f);
	for (int i = 0; i < k->nparam && s == KVJIT_OK; i++) {
		if (k->param[i].planned)
			fill_planned(f, i);
		else if (k->slot[i].buffer)
			s = fill_tensor(f, i);
	}
	return s == KVJIT_OK ? check_shared(f) : s;
}

kvjit_status kvjit_frame_fill(kvjit_frame *f, const kvjit_arg *args, int nargs, void *scratch)
{
	kvjit_status s;

	f->scratch = NULL;
	f->count = f->parts = -1;
	memset(f->arg, 0, (size_t)f->k->nparam * sizeof(f->arg[0]));
	s = check_plan(f, scratch);
	if (s == KVJIT_OK)
		s = match(f, args, nargs);
	if (s == KVJIT_OK)
		s = fill(f);
	if (s == KVJIT_OK)
		s = kvjit_check_lists(f);
	return s;
}
