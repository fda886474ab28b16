/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c -- the cache lines of a coming iteration are touched while this one computes.
 *
 *     for %j = %a to %b step 64 {            for %j = %a to %b step 64 {
 *       %p = load %table[%s, ...%j]            %j2 = %j + 64, or %j in the last iteration
 *       for %i = 0 to 16 {                     %p2 = load %table[%s, ...%j2]
 *         %x = vload %k[%p,%h,%i]       =>     %p = load %table[%s, ...%j]
 *                                              for %i = 0 to 16 {
 *                                                prefetch %k[%p2,%h,%i]
 *                                                %x = vload %k[%p,%h,%i]
 *
 * The processor's own prefetcher follows a page; where the next one lies only the block table
 * knows. So the pass looks for loops in which the address of vector loads goes through a
 * table, computes that address once more for knob `prefetch` iterations on, and touches
 * there what the inner loops read here: each line once, spread over the products. Decode from
 * DRAM reads 1.2 to 3 times as fast with it on Zen 5.
 *
 * Knob hint is the level fetched into. auto: L1 where what an iteration reads is at most NEAR,
 * else L2. On Zen 5 (48 KiB of L1) that is the same or up to 15 % faster from DRAM in all but
 * one of 72 cases, and the same from L2 (docs/experiments.md); more than NEAR wasn't
 * measured. Processors with tile registers take L2: on one decode of 8-bit floats got 0.79 of
 * the streaming rate so, with L1 0.68, with vectors 0.71 and 0.57.
 *
 * auto: one iteration ahead for functions with knob q_tile at most 1 (decode: every line is
 * read once), off for others, and off where tile registers load NEAR or more an iteration from
 * where it lies: so long a run the processor follows by itself (0.91 of the streaming rate
 * without, 0.89 with), and from L2 asking for each line cost 15 %.
 *
 * Requires level V. Keeps everything; table entries are only read where the loop would.
 */
#include "emit.h"

enum { NEAR = 64 * 1024, MANY = 1 << 30 };

typedef struct ahead {
	const kir_func *in;
	kir_func *out;
	kir_ref *map, *next; /* in -> out: of this iteration, of the coming one; 0: the same */
	bool *slice;         /* nodes that the address of some vload is computed from        */
	int64_t distance;    /* iterations                                                   */
	int64_t *bytes;      /* by buffer: what an iteration reads of it                     */
	int hint;            /* of this loop                                                 */
} ahead;

static bool from_param(const kir_func *f, kir_ref b)
{
	return f->node[kir_root(f, b)].op == KIR_OP_param;
}

/* A vector from memory, or the rows of a tile register. */
static bool is_stream(const kir_func *f, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, count;

	if (f->node[n].op != KIR_OP_vload && f->node[n].op != KIR_OP_amx_load)
		return false;
	kir_access(f, n, &buf, &first, &count, &upto);
	return from_param(f, buf);
}

/* Iterations of a loop inside the one that is looked at; MANY: not known. */
static int64_t trips(const kir_func *f, kir_ref loop)
{
	int64_t lo, hi, step = kir_for_step(f, loop);

	if (!kir_is_const(f, kir_src(f, loop, 0), &lo) ||
	    !kir_is_const(f, kir_src(f, loop, 1), &hi))
		return MANY;
	return hi > lo ? (hi - lo + step - 1) / step : 0;
}

/* Adds what nodes [n, end), run `times` times, read of each buffer; only what tile registers
 * load if `tiles`. A line that is read twice counts twice. */
static void count_bytes(const ahead *a, kir_ref n, kir_ref end, int64_t times, bool tiles)
{
	for (; n < end; n++) {
		const kir_type *t = kir_type_of(a->in, n);
		kir_ref buf, upto;
		unsigned first, count;
		int64_t size;

		if (a->in->node[n].op == KIR_OP_for) {
			int64_t inner = trips(a->in, n) * times;
			kir_ref after = kir_region_end(a->in, n);

			count_bytes(a, n + 1, after, inner < MANY ? inner : MANY, tiles);
			n = after - 1;
			continue;
		}
		bool tile = a->in->node[n].op == KIR_OP_amx_load;

		if (!is_stream(a->in, n) || (tiles && !tile))
			continue;
		kir_access(a->in, n, &buf, &first, &count, &upto);
		if (tile)
			size = kir_amx_shape(a->in, kir_attr_of(a->in, n, KIR_ATTR_tile)).rows *
			       64;
		else
			size = t->dim[0] * kir_elem_bytes((kir_elem)t->elem);
		a->bytes[buf] += size * times;
	}
}

/* What an iteration of the loop reads, at most: of a buffer no more than the columns of as many
 * rows as the loop goes on by, or as a page has. */
static int64_t bytes_read(const ahead *a, kir_ref loop, kir_ref end, bool tiles)
{
	int64_t sum = 0, step = kir_for_step(a->in, loop);

	for (kir_ref n = 1; n < end; n++)
		a->bytes[n] = 0;
	count_bytes(a, loop + 1, end, 1, tiles);
	for (kir_ref n = 1; n < end; n++) {
		const kir_type *t = a->bytes[n] ? kir_type_of(a->in, n) : NULL;
		int64_t rows, most;

		if (!t)
			continue;
		rows = t->rank >= 2 ? t->dim[t->rank - 2] : 0;
		if (step > 1 && step < rows)
			rows = step;
		most = rows > 0 ? rows * t->dim[t->rank - 1] * kir_elem_bytes((kir_elem)t->elem)
		                : 0;
		sum += most > 0 && most < a->bytes[n] ? most : a->bytes[n];
	}
	return sum;
}

/* 0: L1, 1: L2. The caches of sub-groups know better. */
static int level(const ahead *a, kir_ref loop, kir_ref end)
{
	if (a->in->sched.hint)
		return a->in->sched.hint - 1;
	if (a->in->target->lanes || a->in->target->features & KIR_HAS_amx_tile)
		return 1;
	return bytes_read(a, loop, end, false) <= NEAR ? 0 : 1;
}

/* Whether the processor's own prefetcher is enough, if nobody chose. */
static bool runs_alone(const ahead *a, kir_ref loop)
{
	return !a->in->sched.prefetch &&
	       bytes_read(a, loop, kir_region_end(a->in, loop), true) >= NEAR;
}

static void mark(ahead *a, kir_ref loop, kir_ref n)
{
	const kir_node *d = &a->in->node[n];

	if (n <= loop || a->slice[n] || kir_type_of(a->in, n)->buffer)
		return;
	a->slice[n] = true;
	if (d->op == KIR_OP_arg || d->op == KIR_OP_res)
		return;
	for (unsigned i = 0; i < d->nsrc; i++)
		mark(a, loop, kir_src(a->in, n, i));
}

/* Marks what addresses are computed from inside the loop; whether one goes through a load. */
static bool find_slice(ahead *a, kir_ref loop, kir_ref end)
{
	bool table = false;

	for (kir_ref n = loop; n < end; n++)
		a->slice[n] = false;
	for (kir_ref n = loop + 1; n < end; n++) {
		kir_ref buf, upto;
		unsigned first, count;

		if (!is_stream(a->in, n))
			continue;
		kir_access(a->in, n, &buf, &first, &count, &upto);
		for (unsigned i = 0; i < count; i++)
			mark(a, loop, kir_src(a->in, n, first + i));
	}
	for (kir_ref n = loop + 1; n < end; n++)
		if (a->slice[n] && a->in->node[n].op == KIR_OP_load &&
		    from_param(a->in, kir_src(a->in, n, 0)))
			table = true;
	return table;
}

/* Whether this loop's own addresses go through a table: not only those of loops around it. Its
 * slice is found again after those of the loops inside, once: finding one walks through all of
 * the loop, and an unrolled product has dozens of loops inside. */
static bool walks_table(ahead *a, kir_ref n)
{
	kir_ref end = kir_region_end(a->in, n);

	if (kir_for_par(a->in, n) || !find_slice(a, n, end))
		return false;
	for (kir_ref k = n + 1; k < end; k++)
		if (a->in->node[k].op == KIR_OP_for &&
		    find_slice(a, k, kir_region_end(a->in, k)))
			return false;
	return find_slice(a, n, end);
}

/* The loop variable `distance` iterations on, or as it is where the loop ends before. */
static kir_ref next_index(ahead *a, kir_ref loop)
{
	kir_func *f = a->out;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref j = a->map[loop + 1], hi = a->map[kir_src(a->in, loop, 1)];
	kir_ref on =
	    e2(f, KIR_OP_add, s64, j, s64c(f, kir_for_step(a->in, loop) * a->distance));

	return e3(f, KIR_OP_select, s64,
	          e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), on, hi), on, j);
}

static kir_ref coming(const ahead *a, kir_ref n)
{
	return a->next[n] ? a->next[n] : a->map[n];
}

/* Node n again, for the coming iteration, if it depends on it. */
static void advance(ahead *a, kir_ref n)
{
	const kir_node *d = &a->in->node[n];
	kir_ref src[KIR_MAX_SRC];
	bool moves = false;

	for (unsigned i = 0; i < d->nsrc; i++) {
		src[i] = coming(a, kir_src(a->in, n, i));
		moves |= a->next[kir_src(a->in, n, i)] != 0;
	}
	if (moves)
		a->next[n] = kir_emit(a->out, (kir_op)d->op, d->type, src, d->nsrc, d->attr);
}

static void touch(ahead *a, kir_ref n)
{
	kir_ref buf, upto, src[KIR_RANK + 1];
	unsigned first, count;
	bool moves = false;

	kir_access(a->in, n, &buf, &first, &count, &upto);
	src[0] = a->map[buf];
	for (unsigned i = 0; i < count; i++) {
		src[1 + i] = coming(a, kir_src(a->in, n, first + i));
		moves |= a->next[kir_src(a->in, n, first + i)] != 0;
	}
	if (!moves)
		return;
	bool tile = a->in->node[n].op == KIR_OP_amx_load;
	int64_t rows =
	    tile ? kir_amx_shape(a->in, kir_attr_of(a->in, n, KIR_ATTR_tile)).rows : 1;
	int64_t pitch = tile ? kir_attr_of(a->in, n, KIR_ATTR_pitch) : 0;

	for (int64_t r = 0; r < rows; r++)
		kir_emit(a->out, KIR_OP_prefetch, KIR_NO_TYPE, src, 1 + count,
		         (int64_t[KIR_MAX_ATTRS]){ a->hint, r * pitch });
}

/* Copies the loop; returns its end. */
static kir_ref copy_loop(ahead *a, kir_ref loop)
{
	kir_ref end = kir_region_end(a->in, loop), n = loop + 1;

	a->hint = level(a, loop, end);
	kir_chose(a->out, KIR_KNOB_hint, a->hint + 1);
	kir_chose(a->out, KIR_KNOB_prefetch, a->distance + 1);
	kir_copy(a->out, a->in, loop, a->map);
	for (; a->in->node[n].op == KIR_OP_arg; n++)
		kir_copy(a->out, a->in, n, a->map);
	a->next[loop + 1] = next_index(a, loop);
	for (; n < end; n++) {
		kir_op op = (kir_op)a->in->node[n].op;

		if (is_stream(a->in, n))
			touch(a, n);
		kir_copy(a->out, a->in, n, a->map);
		if (a->slice[n] && op != KIR_OP_arg && op != KIR_OP_res && op != KIR_OP_const)
			advance(a, n);
	}
	return end;
}

kpass_result kpass_prefetch(const kir_func *in, kir_func *out, kir_diag *why)
{
	ahead a = { .in = in, .out = out, .map = kir_map_new(out, in) };
	int knob = in->sched.prefetch;
	kpass_result result = KPASS_SAME;

	(void)why;
	a.distance = knob ? knob - 1 : (in->sched.q_tile <= 1 ? 1 : 0);
	a.next = kir_alloc(out->module, in->nnode * sizeof *a.next);
	a.slice = kir_alloc(out->module, in->nnode * sizeof *a.slice);
	a.bytes = kir_alloc(out->module, in->nnode * sizeof *a.bytes);
	for (kir_ref n = 1; n < in->nnode; n++)
		if (in->node[n].op == KIR_OP_prefetch)
			return KPASS_SAME; /* somebody has already said what to touch */
	if (!a.distance) {
		kir_chose(out, KIR_KNOB_prefetch, KIR_prefetch_off);
		return KPASS_SAME;
	}
	for (kir_ref n = 1; n < in->nnode;) {
		bool walks = in->node[n].op == KIR_OP_for && walks_table(&a, n);

		if (walks && !runs_alone(&a, n)) {
			n = copy_loop(&a, n);
			result = KPASS_CHANGED;
			continue;
		}
		if (walks)
			kir_chose(out, KIR_KNOB_prefetch, KIR_prefetch_off);
		if (in->node[n].op != KIR_OP_param)
			kir_copy(out, in, n, a.map);
		n++;
	}
	return result;
}
