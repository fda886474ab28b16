/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- addresses, and every op that goes through one.
 *
 * An address is a sum of one term for each axis, so what a tile touches is known from one
 * list of byte offsets for each of its dimensions: the smallest and largest of the lists
 * add up to the first and last byte, and one comparison checks a whole tile exactly.
 * Every access passes through kref_touch(), which is where out-of-range reads, NULL
 * arguments and reads of uninitialised locals are refused.
 */
#include "interp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Byte offsets of indices from ... from + n - 1 along an axis. */
static void axis_offsets(const kref_mem *m, unsigned axis, int64_t from, int64_t n,
                         int64_t *off)
{
	memset(off, 0, (size_t)n * sizeof *off);
	for (unsigned p = 0; p < m->type->npieces; p++) {
		const kir_piece *t = &m->type->piece[p];
		int64_t stride = t->dyn ? m->stride[t->stride] : t->stride;

		if (t->axis != axis)
			continue;
		if (t->div <= 1 && !t->mod) {
			for (int64_t k = 0; k < n; k++)
				off[k] += (from + k) * stride;
			continue;
		}
		for (int64_t k = 0; k < n; k++) {
			int64_t q = (from + k) / (t->div > 1 ? t->div : 1);

			off[k] += (t->mod ? q % t->mod : q) * stride;
		}
	}
}

int64_t kref_extent(kref_state *r, const kref_mem *m)
{
	int64_t bytes = kir_elem_bytes(m->type->elem);

	for (unsigned a = 0; a < m->type->rank; a++) {
		int64_t max = 0;

		axis_offsets(m, a, 0, m->type->dim[a], r->off[0]);
		for (int64_t k = 0; k < m->type->dim[a]; k++)
			max = r->off[0][k] > max ? r->off[0][k] : max;
		bytes += max;
	}
	return bytes;
}

static const char *indices(const kref_mem *m, const int64_t *idx, char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned a = 0; a < m->type->rank && at < len; a++)
		at += (size_t)snprintf(buf + at, len - at, "%s%" PRId64, a ? "," : "", idx[a]);
	return buf;
}

/* Above any index that means something, and small enough that no address overflows. */
#define MAX_INDEX ((int64_t)1 << 36)

static bool check_index(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                        unsigned axis, int64_t count)
{
	int64_t dim = m->type->dim[axis], last;
	bool sane = idx[axis] > -MAX_INDEX && idx[axis] < MAX_INDEX;
	char buf[128];

	last = sane ? idx[axis] + count - 1 : idx[axis];
	if (sane && idx[axis] >= 0 && (dim < 0 || last < dim))
		return true;
	if (dim < 0)
		return kref_fail(r, n,
		                 "index [%s]: %" PRId64 " of dimension %u is out of range",
		                 indices(m, idx, buf, sizeof buf), idx[axis], axis);
	return kref_fail(r, n,
	                 "index [%s]: %" PRId64 " to %" PRId64
	                 " of dimension %u, which has 0 to "
	                 "%" PRId64,
	                 indices(m, idx, buf, sizeof buf), idx[axis], last, axis, dim - 1);
}

static bool initialised(const kref_window *w, unsigned d, int64_t at)
{
	unsigned size = kir_elem_bytes(w->elem);

	if (d == w->rank) {
		for (unsigned b = 0; b < size; b++)
			if (!w->init[at + b])
				return false;
		return true;
	}
	for (int64_t k = 0; k < w->dim[d]; k++)
		if (!initialised(w, d + 1, at + w->off[d][k]))
			return false;
	return true;
}

static void mark(const kref_window *w, unsigned d, int64_t at)
{
	if (d == w->rank) {
		memset(w->init + at, 1, kir_elem_bytes(w->elem));
		return;
	}
	for (int64_t k = 0; k < w->dim[d]; k++)
		mark(w, d + 1, at + w->off[d][k]);
}

static bool check_range(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                        int64_t lo, int64_t hi)
{
	char buf[128];

	if (!m->base)
		return kref_fail(r, n, "its buffer's argument is NULL");
	if (m->bytes && (lo < 0 || hi > m->bytes))
		return kref_fail(r, n,
		                 "index [%s]: bytes %" PRId64 " to %" PRId64
		                 " of an argument of %" PRId64 " bytes",
		                 indices(m, idx, buf, sizeof buf), lo, hi - 1, m->bytes);
	return true;
}

static int64_t lead_offset(const kref_mem *m, const int64_t *idx, unsigned lead)
{
	int64_t at = m->offset, off;

	for (unsigned a = 0; a < lead; a++) {
		axis_offsets(m, a, idx[a], 1, &off);
		at += off;
	}
	return at;
}

/* The end of every access: the window's bytes exist and, when read, were written. */
static bool admit(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx, int64_t at,
                  int64_t lo, int64_t hi, bool store, kref_window *w)
{
	int64_t count = 1;
	char buf[128];

	if (!check_range(r, n, m, idx, lo, hi))
		return false;
	w->p = m->base + at;
	w->init = m->init ? m->init + at : NULL;
	for (unsigned d = 0; d < w->rank; d++)
		count *= w->dim[d];
	if (!m->init)
		r->stats.bytes += (uint64_t)count * kir_elem_bytes(w->elem);
	else if (store)
		mark(w, 0, 0);
	else if (!initialised(w, 0, 0))
		return kref_fail(r, n,
		                 "index [%s]: reads local memory that nothing has written",
		                 indices(m, idx, buf, sizeof buf));
	return true;
}

bool kref_touch(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx, unsigned lead,
                const int64_t *dim, unsigned rank, bool store, kref_window *w)
{
	int64_t at, lo, hi;

	for (unsigned a = 0; a < lead + rank; a++)
		if (!check_index(r, n, m, idx, a, a < lead ? 1 : dim[a - lead]))
			return false;
	at = lo = hi = lead_offset(m, idx, lead);
	w->elem = m->type->elem;
	w->rank = rank;
	for (unsigned d = 0; d < rank; d++) {
		int64_t min, max;

		w->dim[d] = dim[d];
		w->off[d] = r->off[d];
		axis_offsets(m, lead + d, idx[lead + d], dim[d], w->off[d]);
		min = max = w->off[d][0];
		for (int64_t k = 1; k < dim[d]; k++) {
			min = w->off[d][k] < min ? w->off[d][k] : min;
			max = w->off[d][k] > max ? w->off[d][k] : max;
		}
		lo += min;
		hi += max;
	}
	return admit(r, n, m, idx, at, lo, hi + kir_elem_bytes(w->elem), store, w);
}

/* Moves a window, row by row of its last dimension, to or from a value whose dimensions are
 * `full`; returns how far it got in the value. */
static int64_t move(kref_state *r, const kref_window *w, const int64_t *full, unsigned d,
                    int64_t at, kref_slot *v, int64_t pos, bool store)
{
	static const int64_t none[1] = { 0 };

	if (d + 1 < w->rank) {
		int64_t below = 1;

		for (unsigned k = d + 1; k < w->rank; k++)
			below *= full[k];
		for (int64_t k = 0; k < w->dim[d]; k++)
			move(r, w, full, d + 1, at + w->off[d][k], v, pos + k * below, store);
		return pos;
	}
	const int64_t *off = w->rank ? w->off[d] : none;
	int64_t count = w->rank ? w->dim[d] : 1;
	double *f = v->flt ? v->f + pos : NULL;
	int64_t *i = v->flt ? NULL : v->i + pos;

	if (store)
		kref_encode(w->elem, w->p + at, off, count, f, i);
	else
		kref_decode(r, w->elem, w->p + at, off, count, f, i);
	return pos;
}

static bool load_store(kref_state *r, kir_ref n, bool store)
{
	kref_slot *s = &r->slot[n], *v = store ? &r->slot[kir_src(r->f, n, 0)] : s;
	const kref_mem *m = r->slot[s->buf].mem;
	unsigned rank = v->type->rank, lead;
	int64_t idx[KIR_RANK] = { 0 }, dim[KIR_RANK];
	kref_window w;

	if (rank > m->type->rank)
		return kref_fail(r, n, "a tile of rank %u in a buffer of rank %u", rank,
		                 m->type->rank);
	if (v->elem != m->type->elem)
		return kref_fail(r, n, "the buffer's element is %s, the value's %s",
		                 kir_elems[m->type->elem].name, kir_elems[v->elem].name);
	lead = m->type->rank - rank;
	for (unsigned k = 0; k < s->nindex; k++)
		idx[k] = kref_in(r, n, s->first + k)->i[0];
	memcpy(dim, v->type->dim, sizeof dim);
	if (s->upto && rank) {
		int64_t live = r->slot[s->upto].i[0] - idx[lead];

		if (live < dim[0]) {
			dim[0] = live > 0 ? live : 0;
			if (!store) /* all bits zero is 0.0 as well */
				memset(s->p, 0, (size_t)s->count * 8);
			if (!dim[0])
				return true;
		}
	}
	if (!kref_touch(r, n, m, idx, lead, dim, rank, store, &w))
		return false;
	move(r, &w, v->type->dim, 0, 0, v, 0, store);
	return true;
}

/* Lanes follow each other in memory, whatever the pieces say about the next index. */
static bool vload_vstore(kref_state *r, kir_ref n, bool store)
{
	kref_slot *s = &r->slot[n], *v = store ? &r->slot[kir_src(r->f, n, 0)] : s;
	const kref_mem *m = r->slot[s->buf].mem;
	int64_t idx[KIR_RANK] = { 0 }, count = v->count, size = kir_elem_bytes(v->elem), at;
	kref_window w = { .elem = v->elem, .rank = 1 };

	for (unsigned k = 0; k < s->nindex; k++)
		idx[k] = kref_in(r, n, s->first + k)->i[0];
	if (s->upto) {
		int64_t live = r->slot[s->upto].i[0];

		count = live < count ? live : count;
		if (!store && count < v->count)
			memset(s->p, 0, (size_t)s->count * 8);
		if (count <= 0)
			return true;
	}
	for (unsigned a = 0; a < m->type->rank; a++)
		if (!check_index(r, n, m, idx, a, 1))
			return false;
	at = lead_offset(m, idx, m->type->rank);
	w.dim[0] = count;
	w.off[0] = r->off[0];
	for (int64_t k = 0; k < count; k++)
		w.off[0][k] = k * size;
	if (!admit(r, n, m, idx, at, at, at + count * size, store, &w))
		return false;
	move(r, &w, w.dim, 0, 0, v, 0, store);
	return true;
}

bool kref_bytes(kref_state *r, kir_ref n, int64_t skip, int64_t bytes, bool store,
                unsigned char **p)
{
	const kref_slot *s = &r->slot[n];
	const kref_mem *m = r->slot[s->buf].mem;
	int64_t idx[KIR_RANK] = { 0 }, at;
	char buf[128];

	for (unsigned k = 0; k < s->nindex; k++)
		idx[k] = kref_in(r, n, s->first + k)->i[0];
	for (unsigned a = 0; a < m->type->rank; a++)
		if (!check_index(r, n, m, idx, a, 1))
			return false;
	at = lead_offset(m, idx, m->type->rank) + skip;
	if (!check_range(r, n, m, idx, at, at + bytes))
		return false;
	*p = m->base + at;
	if (!m->init)
		r->stats.bytes += (uint64_t)bytes;
	else if (store)
		memset(m->init + at, 1, (size_t)bytes);
	else if (memchr(m->init + at, 0, (size_t)bytes))
		return kref_fail(r, n,
		                 "index [%s]: reads local memory that nothing has written",
		                 indices(m, idx, buf, sizeof buf));
	return true;
}

static bool gather(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_mem *m = r->slot[s->buf].mem;
	int64_t idx[KIR_RANK] = { 0 };
	kref_window w;

	for (int64_t k = 0; k < s->count; k++) {
		for (unsigned a = 0; a < s->nindex; a++) {
			const kref_slot *x = kref_in(r, n, s->first + a);
			idx[a] = x->i[x->count == 1 ? 0 : k];
		}
		if (!kref_touch(r, n, m, idx, m->type->rank, NULL, 0, false, &w))
			return false;
		move(r, &w, NULL, 0, 0, s, k, false);
	}
	return true;
}

static bool view(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kir_type *type = s->mem->type;

	*s->mem = *kref_in(r, n, 0)->mem;
	s->mem->type = type;
	s->mem->owned = NULL;
	s->mem->offset += kir_attr_of(r->f, n, KIR_ATTR_offset);
	return true;
}

unsigned char *kref_span(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                         int64_t from, int64_t bytes)
{
	kir_elem e = (kir_elem)m->type->elem;
	int64_t size = kir_elem_bytes(e), at;
	kref_window w = { .elem = e, .rank = 1 };

	for (unsigned a = 0; a < m->type->rank; a++)
		if (!check_index(r, n, m, idx, a, 1))
			return NULL;
	at = lead_offset(m, idx, m->type->rank) + from;
	w.dim[0] = bytes / size;
	w.off[0] = r->off[0];
	for (int64_t k = 0; k < w.dim[0]; k++)
		w.off[0][k] = k * size;
	return admit(r, n, m, idx, at, at, at + bytes, false, &w) ? w.p : NULL;
}

bool kref_access(kref_state *r, kir_ref n)
{
	switch (r->f->node[n].op) {
	case KIR_OP_load: return load_store(r, n, false);
	case KIR_OP_store: return load_store(r, n, true);
	case KIR_OP_vload: return vload_vstore(r, n, false);
	case KIR_OP_vstore: return vload_vstore(r, n, true);
	case KIR_OP_gather: return gather(r, n);
	case KIR_OP_view: return view(r, n);
	default: /* local: what an earlier iteration wrote is gone */
		memset(r->slot[n].mem->init, 0, (size_t)r->slot[n].mem->bytes);
		return true;
	}
}

/* -- rows for the level-A ops ------------------------------------------------------- */

bool kref_get_row(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t count, double *out)
{
	int64_t full[KIR_RANK] = { 0 }, value;
	unsigned rank = m->type->rank - nidx;
	kref_window w;

	memcpy(full, idx, nidx * sizeof *idx);
	if (!kref_touch(r, n, m, full, nidx, &count, rank, false, &w))
		return false;
	const int64_t zero = 0, *off = rank ? w.off[0] : &zero;

	if (kir_is_float(w.elem)) {
		kref_decode(r, w.elem, w.p, off, count, out, NULL);
		return true;
	}
	for (int64_t k = 0; k < count; k++) {
		kref_decode(r, w.elem, w.p, off + k, 1, NULL, &value);
		out[k] = (double)value;
	}
	return true;
}

bool kref_put_row(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t count, const double *in)
{
	int64_t full[KIR_RANK] = { 0 };
	unsigned rank = m->type->rank - nidx;
	kref_window w;

	memcpy(full, idx, nidx * sizeof *idx);
	if (!kref_touch(r, n, m, full, nidx, &count, rank, true, &w))
		return false;
	for (int64_t k = 0; k < count; k++) {
		const int64_t zero = 0, *off = rank ? &w.off[0][k] : &zero;
		int64_t value = kir_is_float(w.elem) ? 0 : (int64_t)in[k];

		kref_encode(w.elem, w.p, off, 1, &in[k], &value);
	}
	return true;
}

bool kref_get_codes(kref_state *r, kir_ref n, const kir_side *packed, const kref_mem *m,
                    const int64_t *idx, unsigned nidx, int64_t count, double *out)
{
	if (!packed)
		return kref_get_row(r, n, m, idx, nidx, count, out);
	double *byte = out + count / 2; /* the second half, which is overwritten last */

	if (!kref_get_row(r, n, m, idx, nidx, count / 2, byte))
		return false;
	unsigned char *copy = malloc((size_t)count);

	if (!copy)
		return kref_fail(r, n, "out of memory");
	for (int64_t k = 0; k < count / 2; k++)
		copy[k] = (unsigned char)byte[k];
	for (int64_t k = 0; k < count; k++) {
		bool high;
		unsigned bits = copy[kir_side_byte(packed, k, &high)];

		bits = high ? bits >> 4 : bits;
		out[k] = kir_decode(packed->elem, kir_side_code(packed, bits));
	}
	free(copy);
	return true;
}

bool kref_put_codes(kref_state *r, kir_ref n, const kir_side *packed, const kref_mem *m,
                    const int64_t *idx, unsigned nidx, int64_t count, const double *in)
{
	double *byte;
	bool ok;

	if (!packed)
		return kref_put_row(r, n, m, idx, nidx, count, in);
	byte = calloc((size_t)count, sizeof *byte);
	if (!byte)
		return kref_fail(r, n, "out of memory");
	for (int64_t k = 0; k < count; k++) {
		bool high;
		int64_t b = kir_side_byte(packed, k, &high);
		uint64_t code =
		    kir_encode(packed->elem, in[k], KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);

		byte[b] += (double)(code & 15) * (high ? 16 : 1);
	}
	ok = kref_put_row(r, n, m, idx, nidx, count / 2, byte);
	free(byte);
	return ok;
}

bool kref_get_int(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t *out)
{
	static const int64_t zero = 0;
	kref_window w;

	if (!kref_touch(r, n, m, idx, nidx, NULL, 0, false, &w))
		return false;
	kref_decode(r, w.elem, w.p, &zero, 1, NULL, out);
	return true;
}
