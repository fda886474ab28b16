/* SPDX-License-Identifier: Apache-2.0 */
/* interp.c -- runs a function node by node, regions recursively.
 *
 * A new op needs a case in step() and, in the file for its kind, what it does.
 */
#include "interp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* "load %x of %k: sentence" */
bool kref_fail(kref_state *r, kir_ref n, const char *fmt, ...)
{
	const kir_node *x = &r->f->node[n];
	const char *value = n ? x->name : NULL, *buffer = NULL;
	char msg[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	if (!n) {
		kir_error(r->why, 0, 0, "@%s: %s", r->f->name, msg);
		return false;
	}
	if (r->slot[n].buf)
		buffer = r->f->node[r->slot[n].buf].name;
	kir_error(r->why, (int)x->line, 0, "%s%s%s%s%s: %s", kir_ops[x->op].name,
	          value ? " %" : "", value ? value : "", buffer ? " of %" : "",
	          buffer ? buffer : "", msg);
	return false;
}

static void copy(kref_slot *to, const void *from)
{
	if (to->count == 1)
		memcpy(to->p, from, 8);
	else
		memcpy(to->p, from, (size_t)to->count * 8);
}

/* Hands the values a yield names to the nodes that follow `to`. When one of them is itself
 * among those nodes (a loop that swaps two carried values), all are set aside first. */
static void hand_over(kref_state *r, kir_ref yield, kir_ref to)
{
	unsigned count = r->f->node[yield].nsrc;
	bool clash = false;
	double *aside = r->scratch[0];

	for (unsigned k = 0; k < count; k++) {
		kir_ref s = kir_src(r->f, yield, k);
		clash |= s >= to && s < to + k;
	}
	for (unsigned k = 0; k < count && clash; k++) {
		const kref_slot *s = kref_in(r, yield, k);
		memcpy(aside, s->p, (size_t)s->count * 8);
		aside += s->count;
	}
	aside = r->scratch[0];
	for (unsigned k = 0; k < count; k++) {
		copy(&r->slot[to + k], clash ? aside : kref_in(r, yield, k)->f);
		aside += r->slot[to + k].count;
	}
}

static bool run_for(kref_state *r, kir_ref n, kir_ref *next)
{
	unsigned carried = (unsigned)r->f->node[n].nsrc - 2;
	kir_ref first = n + 2, yield = r->slot[n].yield[0];
	int64_t lo = kref_in(r, n, 0)->i[0], hi = kref_in(r, n, 1)->i[0];
	int64_t by = kir_for_step(r->f, n);
	uint64_t trips;

	if (by <= 0)
		return kref_fail(r, n, "the step is %" PRId64 ", must be positive", by);
	trips = kir_for_trips(lo, hi, by);
	if (trips > ((uint64_t)INT64_MAX - (uint64_t)lo) / (uint64_t)by)
		return kref_fail(r, n,
		                 "from %" PRId64 " to %" PRId64 " step %" PRId64
		                 ": its variable would pass the largest s64",
		                 lo, hi, by);
	for (unsigned k = 0; k < carried; k++)
		copy(&r->slot[first + k], kref_in(r, n, 2 + k)->p);
	for (int64_t i = lo; i < hi; i += by) {
		if (kir_for_par(r->f, n))
			kref_amx_forget(r);
		r->slot[n + 1].i[0] = i;
		if (!kref_exec(r, first + carried))
			return false;
		hand_over(r, yield, first);
	}
	for (unsigned k = 0; k < carried; k++)
		copy(&r->slot[yield + 1 + k], r->slot[first + k].p);
	*next = yield + 1 + carried;
	return true;
}

static bool run_if(kref_state *r, kir_ref n, kir_ref *next)
{
	const kref_slot *s = &r->slot[n];
	bool taken = kref_in(r, n, 0)->i[0] != 0;

	if (!kref_exec(r, taken ? n + 1 : s->yield[0] + 1))
		return false;
	hand_over(r, s->yield[!taken], s->yield[1] + 1);
	*next = s->yield[1] + 1 + r->f->node[s->yield[1]].nsrc;
	return true;
}

/* One op without regions; regions are kref_exec's. */
static bool plain_op(kref_state *r, kir_ref n)
{
	kir_op op = (kir_op)r->f->node[n].op;

	if (kir_is_amx(op))
		return kref_amx(r, n);
	switch (op) {
	case KIR_OP_param:
	case KIR_OP_arg:
	case KIR_OP_res:
	case KIR_OP_const:
	case KIR_OP_prefetch: return true;
	case KIR_OP_load:
	case KIR_OP_store:
	case KIR_OP_vload:
	case KIR_OP_vstore:
	case KIR_OP_gather:
	case KIR_OP_view:
	case KIR_OP_local: return kref_access(r, n);
	case KIR_OP_splat:
	case KIR_OP_spread:
	case KIR_OP_iota:
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax:
	case KIR_OP_reshape:
	case KIR_OP_slice:
	case KIR_OP_concat:
	case KIR_OP_dequant:
	case KIR_OP_hadamard:
	case KIR_OP_unpack:
	case KIR_OP_pack:
	case KIR_OP_dot: return kref_tile(r, n);
	case KIR_OP_bitcast:
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
	case KIR_OP_half_lo:
	case KIR_OP_half_hi:
	case KIR_OP_join:
	case KIR_OP_dp:
	case KIR_OP_x86_dpbusd:
	case KIR_OP_x86_dpbf16:
	case KIR_OP_x86_lut:
	case KIR_OP_x86_lut_lo:
	case KIR_OP_x86_lut_hi: return kref_vector(r, n);
	case KIR_OP_xe_dpas:
	case KIR_OP_xe_load2d:
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max:
	case KIR_OP_xe_repeat:
	case KIR_OP_xe_pack:
	case KIR_OP_xe_zip:
	case KIR_OP_xe_part: return kref_xe(r, n);
	case KIR_OP_cache_write: return kref_cache_write(r, n);
	case KIR_OP_quantize: return kref_quantize(r, n);
	case KIR_OP_gemm: return kref_gemm(r, n);
	case KIR_OP_transcode: return kref_transcode(r, n);
	case KIR_OP_relayout: return kref_relayout(r, n);
	case KIR_OP_merge: return kref_merge(r, n);
	case KIR_OP_index_topk: return kref_index(r, n);
	default: return kref_each(r, n);
	}
}

bool kref_exec(kref_state *r, kir_ref n)
{
	for (;;) {
		r->stats.ops++;
		switch (r->f->node[n].op) {
		case KIR_OP_yield:
		case KIR_OP_ret: return true;
		case KIR_OP_for:
			if (!run_for(r, n, &n))
				return false;
			break;
		case KIR_OP_if:
			if (!run_if(r, n, &n))
				return false;
			break;
		case KIR_OP_attention:
			if (!kref_attention(r, n))
				return false;
			n = r->slot[n].yield[1] + 1;
			break;
		default:
			if (!plain_op(r, n))
				return false;
			n++;
		}
	}
}

bool kref_run(const kir_func *f, const kref_arg *arg, kref_mode mode, kref_stats *stats,
              kir_diag *why)
{
	kref_state r = { .f = f, .arg = arg, .mode = mode, .why = why };
	bool ok = kref_setup(&r) && kref_exec(&r, 1);

	if (stats)
		*stats = r.stats;
	kref_release(&r);
	return ok;
}
