/* SPDX-License-Identifier: Apache-2.0 */
/* verify_amx.c -- the rules of tile registers.
 *
 * What the processor answers with a fault, or with a shape of its own, is refused here: a tile
 * without a shape, factors that don't fit, one register in two places of a product.
 */
#include "verify.h"

/* Rows and bytes are what a register can hold. */
static bool amx_sized(const kir_amx *s)
{
	return s->rows >= 1 && s->rows <= KIR_AMX_ROWS && s->bytes >= 4 &&
	       s->bytes <= KIR_AMX_BYTES && s->bytes % 4 == 0;
}

static bool amx_declaration(kir_checker *c, kir_ref n, int64_t t, const kir_amx *s)
{
	const kir_node *x = &c->f->node[n];

	if (x->attr[1] < 1 || x->attr[1] > KIR_AMX_ROWS)
		return kir_complain(c, n, "a tile has 1 to %d rows, not %lld", KIR_AMX_ROWS,
		                    (long long)x->attr[1]);
	if (x->attr[2] < 4 || x->attr[2] > KIR_AMX_BYTES || x->attr[2] % 4)
		return kir_complain(c, n, "a tile's row has 4 to %d bytes, in fours, not %lld",
		                    KIR_AMX_BYTES, (long long)x->attr[2]);
	for (kir_ref k = 1; k < n; k++)
		if (c->f->node[k].op == KIR_OP_amx_tile && c->f->node[k].attr[0] == t)
			return kir_complain(
			    c, n, "tile %lld has %lld rows of %lld bytes already", (long long)t,
			    (long long)s->rows, (long long)s->bytes);
	return true;
}

/* Tile t, which the node's attribute `name` gives, is declared. */
static bool amx_declared(kir_checker *c, kir_ref n, const char *name, int64_t t, kir_amx *s)
{
	if (t < 0 || t >= KIR_AMX_TILES)
		return kir_complain(c, n, "%s must be a tile from 0 to %d", name,
		                    KIR_AMX_TILES - 1);
	*s = kir_amx_shape(c->f, t);
	if (!s->rows)
		return kir_complain(c, n, "%s=%lld is declared by no amx.tile at the top", name,
		                    (long long)t);
	/* its declaration has been complained about, and its sizes aren't numbers to count with
	 */
	return amx_sized(s);
}

static bool amx_memory(kir_checker *c, kir_ref n, const kir_amx *s)
{
	const kir_node *x = &c->f->node[n];

	if (x->attr[1] < s->bytes)
		return kir_complain(c, n, "pitch=%lld is less than the %lld bytes of a row",
		                    (long long)x->attr[1], (long long)s->bytes);
	if (x->op == KIR_OP_amx_load && x->attr[2] != KIR_HINT_t0 && x->attr[2] != KIR_HINT_t1)
		return kir_complain(c, n, "a tile is loaded with hint=t0 or hint=t1");
	return kir_check_access(c, n);
}

static bool amx_product(kir_checker *c, kir_ref n, const kir_amx *acc)
{
	const kir_node *x = &c->f->node[n];
	kir_amx a, b;

	if (!amx_declared(c, n, "a", x->attr[1], &a) ||
	    !amx_declared(c, n, "b", x->attr[2], &b))
		return false;
	if (x->attr[0] == x->attr[1] || x->attr[0] == x->attr[2] || x->attr[1] == x->attr[2])
		return kir_complain(c, n, "its three tiles must differ");
	if (a.rows != acc->rows || b.bytes != acc->bytes || a.bytes != b.rows * 4)
		return kir_complain(
		    c, n,
		    "tiles of %lldx%lld, %lldx%lld and %lldx%lld bytes: the sum needs the rows "
		    "of a and the bytes of b, and a four bytes for each row of b",
		    (long long)acc->rows, (long long)acc->bytes, (long long)a.rows,
		    (long long)a.bytes, (long long)b.rows, (long long)b.bytes);
	return true;
}

bool kir_check_amx(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	unsigned need = x->op == KIR_OP_amx_dpbf16ps ? KIR_HAS_amx_bf16
	                : x->op >= KIR_OP_amx_dpbssd && x->op <= KIR_OP_amx_dpbuud
	                    ? KIR_HAS_amx_int8
	                    : 0;
	kir_amx s;

	need |= KIR_HAS_amx_tile;
	if (need & ~c->f->target->features)
		return kir_complain(c, n, "target %s has no %s", c->f->target->name,
		                    !(c->f->target->features & KIR_HAS_amx_tile) ? "amx_tile"
		                    : need & KIR_HAS_amx_bf16                    ? "amx_bf16"
		                                                                 : "amx_int8");
	if (x->op == KIR_OP_amx_tile && (x->attr[0] < 0 || x->attr[0] >= KIR_AMX_TILES))
		return kir_complain(c, n, "tile must be a tile from 0 to %d",
		                    KIR_AMX_TILES - 1);
	if (x->op != KIR_OP_amx_tile && !amx_declared(c, n, "tile", x->attr[0], &s))
		return false;
	switch (x->op) {
	case KIR_OP_amx_tile:
		s = kir_amx_shape(c->f, x->attr[0]);
		return amx_declaration(c, n, x->attr[0], &s);
	case KIR_OP_amx_load:
	case KIR_OP_amx_store: return amx_memory(c, n, &s);
	case KIR_OP_amx_zero: return true;
	default: return amx_product(c, n, &s);
	}
}
