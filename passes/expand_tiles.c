/* SPDX-License-Identifier: Apache-2.0 */
/* expand_tiles.c -- how large attention's tiles are where nobody chose. */
#include "passes.h"

enum {
	WIDEST = 256,  /* sums of values that registers hold a row of */
	TWO_TILES = 32 /* rows of them */
};

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

	bool tiles = t->features & KIR_HAS_amx_tile;

	while (n > 1 && (n * dim_v * 4 > most * (tiles && n <= TWO_TILES ? 2 : 1) ||
	                 group % n || (dim_v <= WIDEST && rows && n > rows)))
		n--;
	return n;
}

bool kpass_has_tiles(const kir_func *f)
{
	return f->target->features & KIR_HAS_amx_tile && f->sched.tiles != KIR_tiles_off;
}

/* In tile registers sums are read and written once a tile of keys: of 128 that is once for 16
 * products of a block of sums, of 64 for 8. Vectors keep them over more rows. */
int64_t kpass_default_kv_tile(const kir_func *f, int64_t run, int64_t dim_k, int64_t dim_v,
                              int64_t q_tile)
{
	bool longer = q_tile <= 1 || kpass_has_tiles(f);
	int64_t most = 128 * 1024 / ((dim_k + dim_v) * 4), top = longer ? 128 : 64;

	if (is_narrow(f->target))
		top = 32;
	most = most > top ? top : most;
	for (int64_t by = 16; by >= 8; by -= 8)
		for (int64_t t = most / by * by; t >= by; t -= by)
			if (run % t == 0)
				return t;
	return run % 8 ? 1 : 8;
}

bool kpass_fast_bf16(const kir_func *f)
{
	unsigned has = f->target->features;

	return (has & KIR_HAS_amx_bf16 && f->sched.tiles != KIR_tiles_off) ||
	       (has & KIR_HAS_bf16 && !(has & KIR_HAS_fp16));
}

/* -- the order of attention's loops -------------------------------------------------------- */

enum {
	SERVED = 512, /* rows that a byte of each element of a key and value serves */
	BLOCKS = 32,  /* of a call, so that no core waits for work                  */
	FEW = 8       /* tiles that a block has before their number counts          */
};

/* Cache sizes of the target as its row has them: a text gives the same kernel on every machine
 * that runs its target. */
static int64_t second_level(const kir_target *t)
{
	const kir_target *row = kir_target_find(t->name);

	return row ? row->l2_bytes : t->l2_bytes;
}

/* Bytes of L2 that one head's blocks can be in. Pages lie one after the other in large pages of
 * the system, so that all blocks of a head have places modulo a way of L2 that differ by what
 * the page's stride and the way have in common: with 8 heads of 64 KiB each lie in the same
 * half of the sets, whatever the pages. */
static int64_t reachable(const kir_target *t, const kpass_order *o)
{
	return kir_cache_room(second_level(t), o->block, o->block * o->heads);
}

/* What of a head's keys and values L2 doesn't hold comes from L3, at some 8 bytes a cycle of a
 * core, for each block of rows. An element of 2 bytes takes a quarter of a cycle then, and its
 * products with 1024 rows 2 at the tiles' peak: an eighth, which runs beside them. Half the
 * bytes need half the rows; but widening has its own price for each block. Sums of the rows
 * take a quarter of L2, their queries an eighth.
 *
 * Each visit of a chunk by a tile of queries costs some two tiles of keys more than those of
 * the chunk. Where L2 nearly holds a head's keys and values there are no chunks: measured, 2048
 * and 3072 keys of 128 bf16 with 2 MiB of L2 take 0.93 of the time, 4096 as long, 8192 1.5. */
int64_t kpass_default_q_block(const kir_target *t, const kpass_order *o)
{
	int64_t rows = SERVED * o->bytes / (o->dim_k + o->dim_v), n;
	int64_t fit = second_level(t) / 4 / (o->dim_v * 4);

	if (!o->wide && o->ctx && o->ctx * o->bytes <= second_level(t) / 4 * 3)
		return 0;
	rows = rows < SERVED ? SERVED : rows;
	n = (rows < fit ? rows : fit) / o->rows;
	n = n > o->tiles ? o->tiles : n;
	while (n > FEW && (o->tiles + n - 1) / n * o->lists < BLOCKS)
		n /= 2;
	return n < 2 ? 0 : n;
}

/* Whether the rows of attention n's cache serve as keys and values and are bf16, or codes that
 * bf16 holds. */
static bool are_bf16(const kir_func *f, kir_ref n)
{
	static const char *const names[] = { "k", "r" };

	for (unsigned i = 0; i < 2; i++) {
		kir_ref x = kir_operand(f, n, names[i]);
		kir_elem e = x ? (kir_elem)kir_type_of(f, x)->elem : KIR_bf16;

		if (!kir_is_float(e) || e == KIR_e8m0 ||
		    (e != KIR_bf16 && kir_elems[e].bits != 8))
			return false;
	}
	return !kir_operand(f, n, "v");
}

bool kpass_shares_rows(const kir_func *f, kir_ref n)
{
	return are_bf16(f, n) && !kir_operand(f, n, "ks") && !kir_operand(f, n, "rs") &&
	       !kir_operand(f, n, "index") && !f->target->lanes;
}

bool kpass_takes_strips(const kir_func *f, kir_ref n, int64_t rows)
{
	int knob = f->sched.widen;

	return are_bf16(f, n) && kir_operand(f, n, "index") && kpass_has_tiles(f) &&
	       (knob == KIR_widen_on || (!knob && rows <= KIR_AMX_ROWS));
}

int64_t kpass_default_kv_chunk(const kir_target *t, const kpass_order *o, int64_t kv_tile)
{
	int64_t most = second_level(t) / (o->wide ? 8 : 2), room = reachable(t, o), keys;

	keys = (o->wide || most < room ? most : room) / o->bytes;
	return keys < kv_tile ? kv_tile : keys / kv_tile * kv_tile;
}
