/* SPDX-License-Identifier: Apache-2.0 */
/* too_large.c -- programs whose tiles take more memory than a function may have. */
#include "passes.h"

#include <stdio.h>

void kpass_too_large(const kir_sched *s, int64_t bytes, int64_t most, kir_diag *why)
{
	char knobs[160];

	if (s->q_block > 1)
		snprintf(knobs, sizeof knobs,
		         "q_block (now %d), kv_chunk (now %d), q_tile (now %d) and kv_tile "
		         "(now %d) size them",
		         s->q_block, s->kv_chunk, s->q_tile, s->kv_tile);
	else if (s->m_chunk)
		snprintf(knobs, sizeof knobs,
		         "m_chunk (now %d), n_chunk (now %d), m_tile (now %d) and n_tile "
		         "(now %d) size them",
		         s->m_chunk, s->n_chunk, s->m_tile, s->n_tile);
	else
		snprintf(knobs, sizeof knobs,
		         "q_tile (now %d) and kv_tile (now %d) size them, m_tile (now %d) and "
		         "n_tile (now %d) those of a product",
		         s->q_tile, s->kv_tile, s->m_tile, s->n_tile);
	kir_error(why, 0, 0, "tiles take %lld bytes of local memory, more than %lld: knobs %s",
	          (long long)bytes, (long long)most, knobs);
}

/* Of a local, whose extents are known and whose elements lie together. */
static int64_t bytes_of(const kir_type *t)
{
	const int64_t cap = (int64_t)1 << 40; /* sums stay numbers */
	int64_t bytes = kir_elem_bytes((kir_elem)t->elem);

	for (unsigned i = 0; i < t->rank; i++)
		if (__builtin_mul_overflow(bytes, t->dim[i], &bytes) || bytes > cap)
			return cap;
	return bytes;
}

int64_t kpass_local_bytes(const kir_func *f, kir_ref from, kir_ref to)
{
	int64_t own = 0, most = 0, all;

	for (kir_ref n = from; n < to; n++) {
		kir_op op = (kir_op)f->node[n].op;

		all = own;
		if (op == KIR_OP_local)
			own = all = own + bytes_of(kir_type_of(f, n));
		if (op == KIR_OP_for || op == KIR_OP_if) {
			kir_ref end = kir_region_end(f, n);

			all += kpass_local_bytes(f, n + 1, end);
			n = end - 1;
		}
		most = all > most ? all : most;
	}
	return most;
}
