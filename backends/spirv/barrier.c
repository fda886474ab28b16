/* SPDX-License-Identifier: Apache-2.0 */
/* barrier.c -- where the lanes of a sub-group have to see each other's stores.
 *
 * A lane's own accesses happen in order; those of two lanes need a barrier between them when
 * both touch an element and one writes it:
 *
 *     vstore %x, %tile[%i]         lane i writes element i
 *     vload %tile[%i] : f32<16>    lane i reads element i: nothing
 *     load %tile[3] : f32          all lanes read what lane 3 wrote: a barrier
 *     vstore %y, %tile[%i]         after others have read it: a barrier
 *
 * So for each piece of memory it is kept how it was accessed since the last barrier: by its
 * `way`, which says what lane touches what element. Accesses of one way, each lane its own
 * elements, don't meet; nor do those where every lane does the same. A barrier ends everything.
 * Locals that share a slot (ir/slots.c) never live at once, but lanes may still be at the
 * earlier one: where a local is made it is as if its slot's others had been accessed in an
 * unknown way. Rows of a parameter that are a run-time stride apart are taken for one and the
 * same or disjoint. A par loop's iterations are work-groups of their own, so that memory is as
 * nobody left it where one begins. At another loop's start all is true that may hold before it
 * or at its end: found by going round until nothing is added. A branch adds up what its two
 * sides leave.
 */
#include "spirv.h"

#include <stdlib.h>
#include <string.h>

/* How lanes share out what they access. */
enum {
	ALL = 1, /* each lane all of it, and stores the same                             */
	BLOCKS =
	    2,     /* from a multiple of 2^way-2 bytes for each lane on, a block each: + log2 */
	MIXED = 63 /* more than one way, or one that isn't known                          */
};

/* Of a buffer's memory, since the last barrier. 0: no access. */
typedef struct use {
	uint8_t read, written;
} use;

typedef struct walk {
	const kll *l;
	bool *mark;
	unsigned nuse;
	unsigned *index; /* by node: of the memory it is, for parameters and locals */
	const kir_slots *slots;
	kir_ref *next; /* by node: the next local of its slot, the last one's is the first */
} walk;

static uint8_t join(uint8_t a, uint8_t b)
{
	return !a || a == b ? b : !b ? a : MIXED;
}

static bool is_access(kir_op op, bool *store)
{
	*store = op == KIR_OP_store || op == KIR_OP_vstore;
	return *store || op == KIR_OP_load || op == KIR_OP_vload || op == KIR_OP_gather;
}

static uint8_t way_of(const kll *l, kir_ref n, bool store)
{
	kir_ref value = store ? kir_src(l->f, n, 0) : n;
	unsigned own = kll_own(l, value), log = 0;
	unsigned block = (own ? own : 1) * kir_elem_bytes(kll_elem(l, value));

	if (!kll_lanes(l, value))
		return ALL;
	if (l->f->node[n].op == KIR_OP_gather)
		return MIXED;
	while (1u << log < block)
		log++;
	/* blocks of one size fall together only if they begin at multiples of all of them */
	if ((uint64_t)1 << kll_zeros(l, n) < (uint64_t)block * l->o->spread ||
	    1u << log != block)
		return MIXED;
	return (uint8_t)(BLOCKS + log);
}

static void access_memory(walk *w, kir_ref n, bool store, use *state)
{
	kir_ref buf, upto;
	unsigned first, nindex;
	uint8_t way = way_of(w->l, n, store);

	kir_access(w->l->f, n, &buf, &first, &nindex, &upto);
	use *u = &state[w->index[kir_root(w->l->f, buf)]];
	uint8_t before = store ? join(u->read, u->written) : u->written;

	if (w->mark[n] || (before && (way == MIXED || before != way))) {
		w->mark[n] = true;
		memset(state, 0, w->nuse * sizeof *state);
	}
	if (store)
		u->written = join(u->written, way);
	else
		u->read = join(u->read, way);
}

/* Local n takes the memory of others. */
static void take_over(walk *w, kir_ref n, use *state)
{
	use *u = &state[w->index[n]];

	for (kir_ref o = w->next[n]; o != n; o = w->next[o]) {
		const use *past = &state[w->index[o]];

		u->read = past->read ? MIXED : u->read;
		u->written = past->written ? MIXED : u->written;
	}
}

/* Adds b to a; whether a has grown. */
static bool add(use *a, const use *b, unsigned n)
{
	bool grown = false;

	for (unsigned i = 0; i < n; i++) {
		use sum = { join(a[i].read, b[i].read), join(a[i].written, b[i].written) };

		grown |= sum.read != a[i].read || sum.written != a[i].written;
		a[i] = sum;
	}
	return grown;
}

static kir_ref region(walk *w, kir_ref n, use *state);

static use *copy(const walk *w, const use *state)
{
	use *s = malloc((w->nuse + 1) * sizeof *s);

	if (s)
		memcpy(s, state, w->nuse * sizeof *s);
	return s;
}

/* 0: out of memory. */
static kir_ref loop(walk *w, kir_ref n, use *state)
{
	kir_ref begin = n + 1, end = 0;
	bool par = kir_for_par(w->l->f, n);
	use *s = copy(w, state);

	while (w->l->f->node[begin].op == KIR_OP_arg)
		begin++;
	if (s && par)
		end = region(w, begin, s);
	for (bool more = s && !par; more;) {
		memcpy(s, state, w->nuse * sizeof *s);
		end = region(w, begin, s);
		more = end && add(state, s, w->nuse);
	}
	free(s);
	return end;
}

static kir_ref branch(walk *w, kir_ref n, use *state)
{
	use *s = copy(w, state);
	kir_ref other = s ? region(w, n + 1, s) : 0;
	kir_ref end = other ? region(w, other + 1, state) : 0;

	if (end)
		add(state, s, w->nuse);
	free(s);
	return end;
}

/* To the yield or ret of the region that n is in, which it returns; 0: out of memory. */
static kir_ref region(walk *w, kir_ref n, use *state)
{
	const kir_func *f = w->l->f;
	bool store;

	while (n && f->node[n].op != KIR_OP_yield && f->node[n].op != KIR_OP_ret) {
		kir_op op = (kir_op)f->node[n].op;

		if (op == KIR_OP_for)
			n = loop(w, n, state);
		else if (op == KIR_OP_if)
			n = branch(w, n, state);
		else if (op == KIR_OP_local)
			take_over(w, n, state);
		else if (is_access(op, &store))
			access_memory(w, n, store, state);
		n += n != 0;
	}
	return n;
}

/* Numbers memory, and makes a ring of each slot's locals. */
static bool number(walk *w, const kir_func *f)
{
	kir_ref *last = calloc(w->slots->n + 1u, sizeof *last);
	bool ok = last != NULL;

	for (kir_ref n = 1; ok && n < f->nnode; n++) {
		if (f->node[n].op == KIR_OP_local || f->node[n].op == KIR_OP_param)
			w->index[n] = w->nuse++;
		if (f->node[n].op == KIR_OP_local) {
			kir_ref *l = &last[w->slots->of[n]];

			w->next[n] = *l ? w->next[*l] : n;
			if (*l)
				w->next[*l] = n;
			*l = n;
		}
	}
	free(last);
	return ok;
}

bool kspv_find_barriers(const kir_func *f, const kir_slots *slots, bool *marks)
{
	kll_options o = { .spread = f->target->lanes };
	kll l = { .f = f, .o = &o };
	walk w = { .l = &l,
		   .mark = marks,
		   .slots = slots,
		   .index = calloc(f->nnode, sizeof *w.index),
		   .next = calloc(f->nnode, sizeof *w.next) };
	use *state = NULL;
	bool ok = false;

	if (w.index && w.next && number(&w, f))
		state = calloc(w.nuse + 1, sizeof *state);
	if (state)
		ok = region(&w, 1, state) != 0;
	free(state);
	free(w.index);
	free(w.next);
	return ok;
}
