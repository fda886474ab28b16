/* SPDX-License-Identifier: Apache-2.0 */
/* slots.c -- which locals share memory: a GPU has little of it, a CPU's nearest cache holds
 * little.
 *
 *     %a = local : f32[512]       slot 0     A local lives from where it is made to the last op
 *     vstore %x, %a[%i]                      that touches it; an op with regions counts as a
 *     %y = vload %a[%i]                      whole if the local was made outside it. Locals
 *     %b = local : f32[256]       slot 0     that never live at once share a slot, which is as
 *     vstore %y, %b[%i]                      large as the largest of them.
 *
 * The large ones choose first: a slot's size is then that of its first local, and small ones go
 * where they fit. What is in a local when it is made is anything (docs/IR.md), so nothing is
 * kept from one to the next; but whoever else still reads the earlier one has to be waited for
 * (backends/spirv/barrier.c).
 */
#include "kir.h"

#include <stdlib.h>
#include <string.h>

typedef struct life {
	kir_ref local, end; /* the last node at which it lives */
	uint64_t bytes;
} life;

static uint64_t bytes_of(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);
	uint64_t bytes = kir_elem_bytes((kir_elem)t->elem);

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *k = &t->piece[i];
		int64_t div = k->div ? k->div : 1, steps = (t->dim[k->axis] + div - 1) / div;

		if (k->mod && steps > k->mod)
			steps = k->mod;
		bytes += (uint64_t)((steps - 1) * k->stride);
	}
	return bytes;
}

static int by_size(const void *a, const void *b)
{
	const life *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return (x->local > y->local) - (x->local < y->local);
}

/* Where locals are made and last touched. `of` gives a local's and its views' index. */
typedef struct walk {
	const kir_func *f;
	life *life;
	unsigned nlife, nopen;
	unsigned *of, *depth; /* by node, index + 1; by index, regions open where it was made */
	kir_ref *open;        /* first node behind each op whose regions this node is in */
} walk;

static void touch(walk *w, kir_ref n, kir_ref s)
{
	unsigned i = w->of[s];
	life *x = i ? &w->life[i - 1] : NULL;

	if (!x)
		return;
	if (w->f->node[n].op == KIR_OP_view)
		w->of[n] = i;
	x->end = w->depth[i - 1] == w->nopen ? n : w->open[w->depth[i - 1]] - 1;
}

/* Ends of regions are asked for once an op: finding one walks through all of it. */
static void find_lives(walk *w)
{
	const kir_func *f = w->f;

	for (kir_ref n = 1; n < f->nnode; n++) {
		while (w->nopen && n >= w->open[w->nopen - 1])
			w->nopen--;
		for (unsigned i = 0; i < f->node[n].nsrc; i++)
			touch(w, n, kir_src(f, n, i));
		if (f->node[n].op == KIR_OP_local) {
			w->life[w->nlife] = (life){ n, n, bytes_of(f, n) };
			w->depth[w->nlife] = w->nopen;
			w->of[n] = ++w->nlife;
		}
		if (f->node[n].op == KIR_OP_for || f->node[n].op == KIR_OP_if)
			w->open[w->nopen++] = kir_region_end(f, n);
	}
}

static bool meet(const life *a, const life *b)
{
	return a->local <= b->end && b->local <= a->end;
}

/* A slot that none of whose locals lives when this one does; the first `done` have theirs. */
static unsigned free_slot(const walk *w, unsigned done, const kir_slots *s)
{
	unsigned k = 0;

	for (unsigned i = 0; i < done && k < s->n;)
		if (s->of[w->life[i].local] == k && meet(&w->life[i], &w->life[done]))
			k++, i = 0;
		else
			i++;
	return k;
}

bool kir_find_slots(const kir_func *f, kir_slots *s)
{
	size_t n = f->nnode;
	walk w = { .f = f,
		   .life = calloc(n, sizeof *w.life),
		   .of = calloc(n, sizeof *w.of),
		   .depth = calloc(n, sizeof *w.depth),
		   .open = calloc(n, sizeof *w.open) };
	bool ok;

	*s =
	    (kir_slots){ .of = calloc(n, sizeof *s->of), .bytes = calloc(n, sizeof *s->bytes) };
	ok = w.life && w.of && w.depth && w.open && s->of && s->bytes;
	if (ok) {
		find_lives(&w);
		qsort(w.life, w.nlife, sizeof *w.life, by_size);
		for (unsigned i = 0; i < w.nlife; i++) {
			unsigned k = free_slot(&w, i, s);

			if (k == s->n) {
				s->bytes[s->n++] = w.life[i].bytes;
				s->total += (w.life[i].bytes + 63) & ~(uint64_t)63;
			}
			s->of[w.life[i].local] = k;
		}
	}
	free(w.life);
	free(w.of);
	free(w.depth);
	free(w.open);
	return ok;
}

void kir_drop_slots(kir_slots *s)
{
	free(s->of);
	free(s->bytes);
	*s = (kir_slots){ 0 };
}
