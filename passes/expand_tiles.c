/* SPDX-License-Identifier: Apache-2.0 */
/* expand_tiles.c -- how large attention's tiles are where nobody chose. */
#include "passes.h"

/* Query heads of a KV head that are handled together: all, if the sums of their values take 32
 * KiB at most, else the most that divide them and do. Locals hold them up to four times: as
 * they grow, normalised, as a piece's result and where pieces are joined. */
int64_t kpass_head_tile(int64_t group, int64_t dim_v)
{
	int64_t n = group;

	while (n > 1 && (n * dim_v * 4 > 32 * 1024 || group % n))
		n--;
	return n;
}

int64_t kpass_default_kv_tile(int64_t run, int64_t dim_k, int64_t dim_v, int64_t q_tile)
{
	int64_t most = 128 * 1024 / ((dim_k + dim_v) * 4), top = q_tile <= 1 ? 128 : 64;

	most = most > top ? top : most;
	for (int64_t by = 16; by >= 8; by -= 8)
		for (int64_t t = most / by * by; t >= by; t -= by)
			if (run % t == 0)
				return t;
	return run % 8 ? 1 : 8;
}
