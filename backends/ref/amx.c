/* SPDX-License-Identifier: Apache-2.0 */
/* amx.c -- tile registers: 16 rows of 64 bytes, of which a function names the part it uses.
 *
 * What the processor does, bit by bit, in both modes of the interpreter: a tile is bytes, not
 * numbers. A product of bf16 keeps two f32 sums for each element, of the even and of the odd
 * elements of the contraction, from 0 and in ascending order, each step one rounding to
 * nearest even; then adds both, and that to the accumulator. Subnormals are 0 going in and
 * coming out, whatever MXCSR says. Integer products are exact modulo 2^32.
 *
 * A tile that no op of this iteration has written is not read: what another iteration left
 * there depends on how the iterations were shared out.
 */
#include "interp.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct kref_tile_reg {
	kir_amx shape;
	bool written;
	unsigned char row[KIR_AMX_ROWS][KIR_AMX_BYTES];
} kref_tile_reg;

struct kref_tiles {
	kref_tile_reg reg[KIR_AMX_TILES];
};

static kref_tile_reg *reg_of(kref_state *r, kir_ref n, unsigned attr)
{
	return &r->tiles->reg[r->f->node[n].attr[attr]];
}

static bool declare(kref_state *r, kir_ref n)
{
	const kir_node *x = &r->f->node[n];

	if (!r->tiles)
		r->tiles = calloc(1, sizeof *r->tiles);
	if (!r->tiles)
		return kref_fail(r, n, "out of memory");
	reg_of(r, n, 0)->shape = (kir_amx){ x->attr[1], x->attr[2] };
	return true;
}

void kref_amx_forget(kref_state *r)
{
	for (unsigned t = 0; r->tiles && t < KIR_AMX_TILES; t++)
		r->tiles->reg[t].written = false;
}

static bool readable(kref_state *r, kir_ref n, unsigned attr)
{
	return reg_of(r, n, attr)->written ||
	       kref_fail(r, n, "reads tile %d, which nothing in this iteration has written",
	                 (int)r->f->node[n].attr[attr]);
}

static bool move(kref_state *r, kir_ref n, bool store)
{
	kref_tile_reg *t = reg_of(r, n, 0);
	int64_t pitch = r->f->node[n].attr[1];
	unsigned char *p;

	for (int64_t k = 0; k < t->shape.rows; k++) {
		if (!kref_bytes(r, n, k * pitch, t->shape.bytes, store, &p))
			return false;
		if (store)
			memcpy(p, t->row[k], (size_t)t->shape.bytes);
		else
			memcpy(t->row[k], p, (size_t)t->shape.bytes);
	}
	t->written = true;
	return true;
}

/* -- products ------------------------------------------------------------------------------ */

static float flushed(float x)
{
	return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

static float bf16_at(const unsigned char *p)
{
	uint32_t bits = (uint32_t)p[1] << 24 | (uint32_t)p[0] << 16;
	float x;

	memcpy(&x, &bits, 4);
	return flushed(x);
}

static float dot_bf16(const unsigned char *a, const kref_tile_reg *b, int64_t col, float acc)
{
	float sum[2] = { 0, 0 };

	for (int64_t k = 0; k < b->shape.rows; k++)
		for (unsigned i = 0; i < 2; i++)
			sum[i] = flushed(fmaf(bf16_at(a + 4 * k + 2 * i),
			                      bf16_at(b->row[k] + 4 * col + 2 * i), sum[i]));
	return flushed(flushed(acc) + flushed(sum[0] + sum[1]));
}

static uint32_t dot_bytes(const unsigned char *a, bool signed_a, const kref_tile_reg *b,
                          bool signed_b, int64_t col, uint32_t acc)
{
	for (int64_t k = 0; k < b->shape.rows; k++)
		for (unsigned i = 0; i < 4; i++) {
			int x = a[4 * k + i], y = b->row[k][4 * col + i];

			x = signed_a ? (int8_t)x : x;
			y = signed_b ? (int8_t)y : y;
			acc += (uint32_t)(x * y);
		}
	return acc;
}

static bool product(kref_state *r, kir_ref n)
{
	kref_tile_reg *c = reg_of(r, n, 0);
	const kref_tile_reg *a = reg_of(r, n, 1), *b = reg_of(r, n, 2);
	kir_op op = (kir_op)r->f->node[n].op;
	bool signed_a = op == KIR_OP_amx_dpbssd || op == KIR_OP_amx_dpbsud;
	bool signed_b = op == KIR_OP_amx_dpbssd || op == KIR_OP_amx_dpbusd;

	for (unsigned k = 0; k < 3; k++)
		if (!readable(r, n, k))
			return false;
	for (int64_t i = 0; i < c->shape.rows; i++)
		for (int64_t j = 0; j < c->shape.bytes / 4; j++) {
			unsigned char *at = c->row[i] + 4 * j;
			uint32_t x;
			float s;

			if (op == KIR_OP_amx_dpbf16ps) {
				memcpy(&s, at, 4);
				s = dot_bf16(a->row[i], b, j, s);
				memcpy(at, &s, 4);
			} else {
				memcpy(&x, at, 4);
				x = dot_bytes(a->row[i], signed_a, b, signed_b, j, x);
				memcpy(at, &x, 4);
			}
		}
	return true;
}

bool kref_amx(kref_state *r, kir_ref n)
{
	switch (r->f->node[n].op) {
	case KIR_OP_amx_tile: return declare(r, n);
	case KIR_OP_amx_zero:
		memset(reg_of(r, n, 0)->row, 0, sizeof reg_of(r, n, 0)->row);
		reg_of(r, n, 0)->written = true;
		return true;
	case KIR_OP_amx_load: return move(r, n, false);
	case KIR_OP_amx_store: return readable(r, n, 0) && move(r, n, true);
	default: return product(r, n);
	}
}
