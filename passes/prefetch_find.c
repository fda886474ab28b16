/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch_find.c -- the loops whose lines can be touched before they are needed.
 *
 * One whose addresses go through a table: the processor can't know them. And one that reads a
 * run: each iteration goes on in one buffer and makes few products of a line, so that memory is
 * what it waits for. Runs count only where no loop walks a table.
 */
#include "prefetch.h"

#include "analysis.h"

enum {
	LINE = 64,
	RUN = 8 * LINE, /* less an iteration isn't worth a look                          */
	AHEAD = 8192,   /* bytes of a run that are on their way                          */
	BUSY = 80,      /* products a line: more take longer than it takes to come       */
	MANY = 1 << 30
};

kir_ref prefetch_buffer(const kir_func *f, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(f, n, &buf, &first, &count, &upto);
	return buf;
}

static bool from_param(const kir_func *f, kir_ref b)
{
	return f->node[kir_root(f, b)].op == KIR_OP_param;
}

/* A vector from memory, or the rows of a tile register. */
bool prefetch_is_stream(const kir_func *f, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, count;

	if (f->node[n].op != KIR_OP_vload && f->node[n].op != KIR_OP_amx_load)
		return false;
	kir_access(f, n, &buf, &first, &count, &upto);
	return from_param(f, buf);
}

/* Iterations of a loop, or of one inside; MANY: not known. */
static int64_t trips(const kir_func *f, kir_ref loop)
{
	int64_t n = loop_trips(f, loop);

	return n == KIR_DYN ? MANY : n;
}

/* Adds what nodes [n, end), run `times` times, read of each buffer. A line that is read twice
 * counts twice. */
static void count_bytes(const ahead *a, kir_ref n, kir_ref end, int64_t times)
{
	for (; n < end; n++) {
		const kir_type *t = kir_type_of(a->in, n);
		kir_ref buf, upto;
		unsigned first, count;
		int64_t size;

		if (a->in->node[n].op == KIR_OP_for) {
			int64_t inner = trips(a->in, n) * times;
			kir_ref after = kir_region_end(a->in, n);

			count_bytes(a, n + 1, after, inner < MANY ? inner : MANY);
			n = after - 1;
			continue;
		}
		bool tile = a->in->node[n].op == KIR_OP_amx_load;

		if (!prefetch_is_stream(a->in, n))
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

		if (!prefetch_is_stream(a->in, n))
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
bool prefetch_walks_table(ahead *a, kir_ref n)
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

/* Vectors of products that nodes [n, end), run `times` times, make. */
static int64_t count_products(const kir_func *f, kir_ref n, kir_ref end, int64_t times)
{
	int64_t sum = 0;

	for (; n < end; n++) {
		kir_op op = (kir_op)f->node[n].op;

		if (op == KIR_OP_for) {
			int64_t inner = trips(f, n) * times;
			kir_ref after = kir_region_end(f, n);

			sum += count_products(f, n + 1, after, inner < MANY ? inner : MANY);
			n = after - 1;
		} else if (op == KIR_OP_dp || op == KIR_OP_x86_dpbusd ||
		           op == KIR_OP_x86_dpbf16 ||
		           (op == KIR_OP_fma && kir_type_of(f, n)->rank)) {
			sum += times;
		}
	}
	return sum;
}

/* Whether the loop's variable is in the address of each vector read from buf, and nothing is
 * read to find it: behind the loop's end there may be nothing. */
static bool all_move(ahead *a, kir_ref loop, kir_ref end, kir_ref buf)
{
	const kir_func *f = a->in;

	find_slice(a, loop, end);
	for (kir_ref n = loop; n < end; n++) {
		a->varies[n] = n == loop + 1;
		for (unsigned i = 0; a->slice[n] && n > loop + 1 && i < f->node[n].nsrc; i++)
			a->varies[n] |= kir_src(f, n, i) > loop && a->varies[kir_src(f, n, i)];
		if (a->slice[n] && kir_ops[f->node[n].op].flags & KIR_READS)
			return false;
		if (!prefetch_is_stream(f, n) || prefetch_buffer(f, n) != buf)
			continue;
		kir_ref at, upto;
		unsigned first, count;
		bool moves = false;

		kir_access(f, n, &at, &first, &count, &upto);
		for (unsigned i = 0; i < count; i++)
			moves |= kir_src(f, n, first + i) > loop &&
			         a->varies[kir_src(f, n, first + i)];
		if (!moves)
			return false;
	}
	return true;
}

/* Whether most of what the loop reads for its products is a run: each iteration goes on in one
 * buffer, through no table, and makes few products a line. Sets what is touched. */
bool prefetch_run(ahead *a, kir_ref loop)
{
	const kir_func *f = a->in;
	kir_ref end = kir_region_end(f, loop), most = 0;

	if (kir_for_par(f, loop) || trips(f, loop) < 2 || f->target->lanes)
		return false;
	for (kir_ref n = 0; n < end; n++)
		a->bytes[n] = 0;
	count_bytes(a, loop + 1, end, 1);
	for (kir_ref n = 1; n < end; n++)
		if (a->bytes[n] > a->bytes[most] && a->bytes[n] < MANY)
			most = n;
	if (!most || a->bytes[most] < RUN)
		return false;
	int64_t lines = a->bytes[most] / LINE, made = count_products(f, loop + 1, end, 1);

	if (!made || made > lines * BUSY || !all_move(a, loop, end, most))
		return false;
	a->distance = a->asked * ((AHEAD + a->bytes[most] - 1) / a->bytes[most]);
	a->run = most;
	return true;
}
