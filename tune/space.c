/* SPDX-License-Identifier: Apache-2.0 */
/* space.c -- see space.h.
 *
 * The product of what each knob's row in ir/knobs.def says is worth trying, less what this
 * program's sizes and target rule out. When it would be too many, the knobs that matter least
 * keep their default, the last ones of `spare` first.
 */
#include "space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 20000, BUSY = 64 };

typedef struct maker {
	const kir_func *f;
	const kir_problem *p;
	const kir_format *format;
	int64_t page, group, kv_heads;
	bool attn, prefill;
	kt_space *s;
} maker;

static unsigned knob_of(const char *name)
{
	unsigned i = 0;

	while (i < kir_nknobs && strcmp(kir_knobs[i].name, name) != 0)
		i++;
	return i;
}

static bool is_number(const kir_knob_info *k)
{
	return k->values[0] >= '0' && k->values[0] <= '9';
}

/* -- what makes sense ------------------------------------------------------------------------
 */

static kir_elem elem_of(const maker *m, int side)
{
	return m->format ? m->format->side[side].elem : KIR_VOID;
}

/* The least exact arithmetic is that of auto (passes/arith.c): integers for s8 codes where the
 * target multiplies them, in two digits for queries that no 16 bits hold. Codes and queries
 * that came from 16 bits lose nothing in bf16 scores; weights do, unless auto would have
 * rounded them to 8 bits. */
static bool exact_enough(const maker *m, bool scores, const char *word, size_t n)
{
	kir_elem e = elem_of(m, scores ? 0 : 1);
	bool query_exact = m->p && m->p->q != KIR_f32 && m->p->q != KIR_f16;
	bool ints = e == KIR_s8 && m->f->target && m->f->target->features & KIR_HAS_vnni;

	if (n >= 4 && !memcmp(word, "int8", 4))
		return ints && (n > 4 || query_exact);
	if (n == 4 && !memcmp(word, "bf16", 4))
		return query_exact && (scores ? e != KIR_f16 && e != KIR_f32 : ints);
	return true;
}

/* Sequences and heads enough for every core without pieces, as for the default. */
static bool is_busy(const maker *m)
{
	return m->p && m->p->batch * m->kv_heads >= BUSY;
}

static bool is_small_float(kir_elem e)
{
	return kir_is_float(e) && kir_elems[e].bits == 8;
}

static bool makes_sense(const maker *m, const char *knob, const char *word, size_t n)
{
	long x = strtol(word, NULL, 10);

	if (!strcmp(knob, "kv_tile"))
		return x <= m->page && m->page % x == 0;
	if (!strcmp(knob, "q_tile"))
		return x * m->group <= 64;
	if (!strcmp(knob, "split"))
		return !m->prefill && !is_busy(m) && x % m->page == 0 &&
		       (!m->p || !m->p->ctx || x < m->p->ctx);
	if (!strcmp(knob, "qk"))
		return exact_enough(m, true, word, n);
	if (!strcmp(knob, "pv"))
		return exact_enough(m, false, word, n);
	if (!strcmp(knob, "tiles") || !strcmp(knob, "stream"))
		return m->f->target && m->f->target->features & KIR_HAS_amx_tile;
	if (!strcmp(knob, "decode"))
		return is_small_float(elem_of(m, 0)) || is_small_float(elem_of(m, 1));
	return true;
}

/* A knob's column `tries`, if it is for this kind of program. */
static const char *tries_of(const maker *m, unsigned knob)
{
	const char *t = kir_knobs[knob].tries, *values = strchr(t, ' ');
	size_t n = values ? (size_t)(values - t) : 0;
	const char *kind = m->attn ? "attn" : "write";

	if (!values)
		return "";
	if (n == strlen(kind) && !memcmp(t, kind, n))
		return values + 1;
	return m->prefill && n == 7 && !memcmp(t, "prefill", 7) ? values + 1 : "";
}

static void add_value(kt_space *s, int value)
{
	unsigned k = s->nknob;

	for (unsigned i = 0; i < s->nvalue[k]; i++)
		if (s->value[k][i] == value)
			return;
	if (s->nvalue[k] < 16)
		s->value[k][s->nvalue[k]++] = value;
}

/* The default first; a knob with one value doesn't vary. */
static void add_knob(maker *m, unsigned knob, const bool *given)
{
	const kir_knob_info *k = &kir_knobs[knob];
	kir_sched sched = m->f->sched;
	kt_space *s = m->s;

	s->nvalue[s->nknob] = 0;
	s->knob[s->nknob] = knob;
	add_value(s, *kir_sched_knob(&sched, knob));
	for (const char *t = given && given[knob] ? "" : tries_of(m, knob); *t;) {
		size_t n = strcspn(t, ",");

		if (makes_sense(m, k->name, t, n))
			add_value(s, is_number(k) ? (int)strtol(t, NULL, 10)
			                          : kir_knob_word(k, t, n));
		t += n + (t[n] == ',');
	}
	if (s->nvalue[s->nknob] > 1)
		s->nknob++;
}

/* -- the product ------------------------------------------------------------------------------
 */

static double product(const kt_space *s)
{
	double n = 1;

	for (unsigned i = 0; i < s->nknob; i++)
		n *= s->nvalue[i];
	return n;
}

/* Knob k keeps its default: it doesn't vary any more. */
static void drop(kt_space *s, unsigned k)
{
	s->nknob--;
	for (; k < s->nknob; k++) {
		s->knob[k] = s->knob[k + 1];
		s->nvalue[k] = s->nvalue[k + 1];
		memcpy(s->value[k], s->value[k + 1], sizeof(s->value[k]));
	}
}

static void limit(kt_space *s)
{
	static const char *const spare[] = { "hint", "cols",  "unroll", "rows", "fuse",
		                             "pv",   "tiles", "qk",     "split" };

	for (unsigned i = 0; product(s) > MOST && i < sizeof(spare) / sizeof(spare[0]); i++)
		for (unsigned k = 0; k < s->nknob; k++)
			if (s->knob[k] == knob_of(spare[i])) {
				drop(s, k);
				break;
			}
}

/* What no pass needs to be asked about. */
static bool is_possible(const kir_sched *x)
{
	int off = kir_knob_word(&kir_knobs[knob_of("prefetch")], "off", 3);

	if (x->prefetch == off && x->hint)
		return false;
	return !x->split || !x->kv_tile || x->split % x->kv_tile == 0;
}

static bool fill(kt_space *s, const kir_sched *first)
{
	unsigned at[32] = { 0 };

	s->at = malloc((size_t)product(s) * sizeof(*s->at) + sizeof(*s->at));
	if (!s->at)
		return false;
	for (;;) {
		kir_sched x = *first;
		unsigned k = 0;

		for (unsigned i = 0; i < s->nknob; i++)
			*kir_sched_knob(&x, s->knob[i]) = s->value[i][at[i]];
		if (!s->n || is_possible(&x))
			s->at[s->n++] = x;
		while (k < s->nknob && ++at[k] == s->nvalue[k])
			at[k++] = 0;
		if (k == s->nknob)
			return true;
	}
}

static void look(maker *m)
{
	for (kir_ref n = 1; n < m->f->nnode; n++) {
		kir_op op = m->f->node[n].op;
		const kir_type *k, *out;
		int64_t i;

		if (op != KIR_OP_attention && op != KIR_OP_cache_write)
			continue;
		m->attn = op == KIR_OP_attention;
		i = kir_attr_of(m->f, n, KIR_ATTR_format);
		if (i >= 0 && i < (int64_t)m->f->module->nformat)
			m->format = m->f->module->format[i];
		if (!m->attn)
			return;
		k = kir_type_of(m->f, kir_operand(m->f, n, "k"));
		out = kir_type_of(m->f, kir_operand(m->f, n, "out"));
		m->page = k->dim[2];
		m->kv_heads = k->dim[1];
		m->group = k->dim[1] > 0 ? out->dim[1] / k->dim[1] : 1;
		return;
	}
}

bool kt_space_make(const kir_func *f, const bool *given, const kir_problem *p, kt_space *out,
                   kir_diag *d)
{
	maker m = { .f = f, .p = p, .page = 16, .group = 1, .s = out };

	memset(out, 0, sizeof(*out));
	look(&m);
	m.prefill = m.attn && p && p->qlen > 1;
	if (f->level != KIR_A || !m.format) {
		kir_error(
		    d, 0, 0,
		    "there is nothing to tune: schedules vary for attn and write problems, "
		    "and their IR at level A");
		return false;
	}
	for (unsigned i = 0; i < kir_nknobs; i++)
		add_knob(&m, i, given);
	limit(out);
	if (!fill(out, &f->sched)) {
		kir_error(d, 0, 0, "out of memory");
		return false;
	}
	if (out->n > 1)
		return true;
	kir_error(d, 0, 0, "there is nothing to tune: every knob was given");
	kt_space_free(out);
	return false;
}

void kt_space_free(kt_space *s)
{
	free(s->at);
	memset(s, 0, sizeof(*s));
}

int kt_space_find(const kt_space *s, const kir_sched *x)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!memcmp(&s->at[i], x, sizeof(*x)))
			return (int)i;
	return -1;
}
