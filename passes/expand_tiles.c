/* SPDX-License-Identifier: Apache-2.0 */
/* expand_tiles.c -- how large attention's tiles are where nobody chose. */
#include "passes.h"

enum { WIDEST = 256 /* sums of values that registers hold a row of */ };

/* Engines of 8 lanes belong to half the registers, and loads there are a message for each word
 * of 8 keys: more than 32 keys, or 8 rows of 64 elements, were spilled. */
static bool is_narrow(const kir_target *t)
{
	return t->lanes == 8;
}

int64_t kpass_gpu_rows(const kir_target *t, int64_t dim_k, int64_t dim_v)
{
	int64_t half = (int64_t)t->vector_regs * t->vector_bits / 8;
	int64_t fit = half / (dim_k * 2 + dim_v * 4), most = is_narrow(t) ? 4 : 8;

	return fit < most ? fit : most;
}

/* All of a group, if the sums of their values take 32 KiB at most, and an eighth of a GPU's
 * local memory, else the most that divide them and do. Locals hold them up to four times: as
 * they grow, normalised, as a piece's result and where pieces are joined. On a matrix engine's
 * device they are registers: no more than stay there, but for sums so wide that nothing does.
 */
int64_t kpass_head_tile(const kir_target *t, int64_t group, int64_t dim_v)
{
	int64_t most = t->slm_bytes ? t->slm_bytes / 8 : 32 * 1024, n = group,
	        rows = t->features & KIR_HAS_xmx ? kpass_gpu_rows(t, dim_v, dim_v) : 0;

	while (n > 1 &&
	       (n * dim_v * 4 > most || group % n || (dim_v <= WIDEST && rows && n > rows)))
		n--;
	return n;
}

int64_t kpass_default_kv_tile(const kir_target *target, int64_t run, int64_t dim_k,
                              int64_t dim_v, int64_t q_tile)
{
	int64_t most = 128 * 1024 / ((dim_k + dim_v) * 4), top = q_tile <= 1 ? 128 : 64;

	if (is_narrow(target))
		top = 32;
	most = most > top ? top : most;
	for (int64_t by = 16; by >= 8; by -= 8)
		for (int64_t t = most / by * by; t >= by; t -= by)
			if (run % t == 0)
				return t;
	return run % 8 ? 1 : 8;
}
