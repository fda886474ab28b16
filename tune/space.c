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
	const char *kind; /* as in column `tries`; NULL: no op that knobs shape */
	kir_elem elem[2]; /* of keys, values; of a product's rows, weights */
	int64_t page, run, group, kv_heads; /* run: tokens that a tile of keys divides */
	bool prefill;
	bool rows; /* of index lists, which knob widen brings in two ways */
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

/* -- what makes sense ---------------------------------------------------------------------- */

/* Chunks of keys are for tile registers: vectors take longer with them. So is what runs beside
 * their products. */
static bool has_blocks(const maker *m)
{
	return m->f->target && m->f->target->features & KIR_HAS_amx_tile &&
	       !(m->p && m->p->sparse);
}

/* The least exact arithmetic is that of auto (passes/arith.c): integers for s8 codes where the
 * target multiplies them, in two digits for queries that no 16 bits hold. Codes and queries
 * that came from 16 bits lose nothing in bf16 scores; weights do, unless auto would have
 * rounded them to 8 bits. */
static bool exact_enough(const maker *m, bool scores, const char *word, size_t n)
{
	kir_elem e = m->elem[scores ? 0 : 1];
	bool query_exact = m->p && m->p->q != KIR_f32 && m->p->q != KIR_f16;
	bool ints = e == KIR_s8 && m->f->target && m->f->target->features & KIR_HAS_vnni;

	/* a prefill in tile registers: two digits are twice the products, f32 is for vectors;
	 * one digit is auto, unless the default chose bf16 for values */
	if (has_blocks(m) && m->f->sched.tiles != KIR_tiles_off && m->prefill && query_exact)
		return n == 4 && ints &&
		       (!memcmp(word, "bf16", 4) ||
		        (!scores && !memcmp(word, "int8", 4) && m->f->sched.pv == KIR_pv_bf16));
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

/* Of a product, when hints say it. */
static int64_t rows_of(const kir_problem *p)
{
	return p->batch || p->qlen ? (p->batch ? p->batch : 1) * (p->qlen ? p->qlen : 1)
	                           : INT64_MAX;
}

/* Rows and weights that products take as bf16, on targets that are fast at it. */
static bool has_chunks(const maker *m)
{
	unsigned has = m->f->target ? m->f->target->features : 0;

	return (has & KIR_HAS_amx_bf16 || (has & KIR_HAS_bf16 && !(has & KIR_HAS_fp16))) &&
	       !(kir_is_int(m->elem[0]) && kir_is_int(m->elem[1]));
}

static bool makes_sense(const maker *m, const char *knob, const char *word, size_t n)
{
	long x = strtol(word, NULL, 10);

	if (!strcmp(knob, "kv_tile"))
		return x <= m->run && m->run % x == 0;
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
		return m->f->target && m->f->target->features & KIR_HAS_amx_tile &&
		       /* what auto is where it isn't off */
		       (n < 2 || strncmp(word, "on", n) || m->f->sched.tiles == KIR_tiles_off);
	if (!strcmp(knob, "turn")) /* what the pass asks for that a problem knows */
		return m->f->target && !m->f->target->lanes &&
		       m->group * (m->prefill ? 2 : 1) % (m->f->target->vector_bits / 32) == 0;
	if (!strcmp(knob, "q_block") || !strcmp(knob, "kv_chunk"))
		return has_blocks(m) && (*word != '0' || !strcmp(knob, "q_block"));
	if (!strcmp(knob, "widen") && m->rows) /* what auto isn't (passes/expand_tiles.c) */
		return n == (m->group <= 16 ? 3 : 2);
	if (!strcmp(knob, "widen")) /* auto is on where blocks are tried */
		return has_blocks(m) && m->prefill && n == 3 &&
		       (is_small_float(m->elem[0]) || is_small_float(m->elem[1]));
	if (!strcmp(knob, "pipeline"))
		return has_blocks(m);
	if (!strcmp(knob, "rescale") && m->f->target && m->f->target->lanes)
		/* what auto isn't there: no second one */
		return *word == (m->f->target->features & KIR_HAS_xmx ? 'a' : 'l');
	if (!strcmp(knob, "decode"))
		return is_small_float(m->elem[0]) || is_small_float(m->elem[1]);
	if (!strcmp(knob, "m_tile"))
		return !m->p || x <= rows_of(m->p);
	if (!strcmp(knob, "m_chunk"))
		return has_chunks(m) && (!m->p || x <= rows_of(m->p));
	if (!strcmp(knob, "n_chunk"))
		return has_chunks(m) && (!m->p || x <= m->p->dim_v);
	if (!strcmp(knob, "n_tile")) /* columns of a block share a scale */
		return !m->p ||
		       (x <= m->p->dim_v && (m->p->block <= 1 || m->p->block % x == 0));
	return true;
}

/* Whether a word is among the n characters of kinds with '|' between. */
static bool is_kind(const char *kinds, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (const char *k = kinds; k < kinds + n; k += strcspn(k, "| ") + 1)
		if (strcspn(k, "| ") == len && !memcmp(k, word, len))
			return true;
	return false;
}

/* A knob's column `tries`, if it is for this kind of program. */
static const char *tries_of(const maker *m, unsigned knob)
{
	const char *t = kir_knobs[knob].tries, *values = strchr(t, ' ');
	size_t n = values ? (size_t)(values - t) : 0;

	return values && (is_kind(t, n, m->kind) || (m->prefill && is_kind(t, n, "prefill")))
	           ? values + 1
	           : "";
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

/* -- the product --------------------------------------------------------------------------- */

static double product(const kt_space *s)
{
	double n = 1;

	for (unsigned i = 0; i < s->nknob; i++)
		n *= s->nvalue[i];
	return n;
}

/* What no pass needs to be asked about. */
static bool is_possible(const kt_space *s, const kir_sched *x)
{
	if (x->prefetch == KIR_prefetch_off && x->hint)
		return false;
	if (x->q_block < 2 && (x->kv_chunk || (x->widen && !s->rows)))
		return false;
	if (x->kv_chunk && x->kv_tile && x->kv_chunk % x->kv_tile)
		return false;
	if (!x->m_chunk && x->n_chunk)
		return false;
	/* what is widened once for many rows is neither fused nor touched ahead, and how it is
	 * widened weighs little */
	if (x->m_chunk && (x->fuse || x->prefetch || x->decode))
		return false;
	if ((x->m_chunk && x->m_tile && x->m_chunk % x->m_tile) ||
	    (x->n_chunk && x->n_tile && x->n_chunk % x->n_tile))
		return false;
	return !x->split || !x->kv_tile || x->split % x->kv_tile == 0;
}

/* Calls each for every schedule that is possible, the default first; false: it stopped. */
static bool walk(const kt_space *s, const kir_sched *first,
                 bool each(void *to, const kir_sched *x), void *to)
{
	unsigned at[kir_nknobs] = { 0 };

	for (bool is_first = true;; is_first = false) {
		kir_sched x = *first;
		unsigned k = 0;

		for (unsigned i = 0; i < s->nknob; i++)
			*kir_sched_knob(&x, s->knob[i]) = s->value[i][at[i]];
		if ((is_first || is_possible(s, &x)) && !each(to, &x))
			return false;
		while (k < s->nknob && ++at[k] == s->nvalue[k])
			at[k++] = 0;
		if (k == s->nknob)
			return true;
	}
}

static bool count_most(void *to, const kir_sched *x)
{
	(void)x;
	return ++*(unsigned *)to <= MOST;
}

static bool count_all(void *to, const kir_sched *x)
{
	(void)x;
	++*(unsigned *)to;
	return true;
}

/* Whether there are more than MOST possible ones. */
static bool too_many(const kt_space *s, const kir_sched *first)
{
	unsigned n = 0;

	return product(s) > MOST && !walk(s, first, count_most, &n);
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

static void limit(kt_space *s, const kir_sched *first)
{
	static const char *const spare[] = { "hint", "cols",     "unroll",   "rows",
		                             "fuse", "tiles",    "pipeline", "pv",
		                             "qk",   "kv_chunk", "split" };

	for (unsigned i = 0; too_many(s, first) && i < sizeof(spare) / sizeof(spare[0]); i++)
		for (unsigned k = 0; k < s->nknob; k++)
			if (s->knob[k] == knob_of(spare[i])) {
				drop(s, k);
				break;
			}
}

static bool add_one(void *to, const kir_sched *x)
{
	kt_space *s = to;

	s->at[s->n++] = *x;
	return true;
}

static bool fill(kt_space *s, const kir_sched *first)
{
	unsigned n = 0;

	walk(s, first, count_all, &n);
	s->at = malloc((n + 1) * sizeof(*s->at));
	return s->at && walk(s, first, add_one, s);
}

static void look_at_cache(maker *m, kir_ref n)
{
	int64_t i = kir_attr_of(m->f, n, KIR_ATTR_format);
	const kir_type *k = kir_type_of(m->f, kir_operand(m->f, n, "k")), *out;

	for (int side = 0; side < 2 && i >= 0 && i < (int64_t)m->f->module->nformat; side++)
		m->elem[side] = m->f->module->format[i]->side[side].elem;
	if (m->f->node[n].op == KIR_OP_cache_write)
		return;
	m->page = m->run = k->dim[2];
	m->kv_heads = k->dim[1];
	if (m->f->node[n].op != KIR_OP_attention)
		return;
	m->run = kir_key_run(m->f, n);
	m->rows = m->s->rows = m->f->target && m->f->target->features & KIR_HAS_amx_tile &&
	                       kir_operand(m->f, n, "index") && !kir_operand(m->f, n, "v") &&
	                       (m->elem[0] == KIR_bf16 || is_small_float(m->elem[0]));
	out = kir_type_of(m->f, kir_operand(m->f, n, "out"));
	m->group = k->dim[1] > 0 ? out->dim[1] / k->dim[1] : 1;
}

static void look(maker *m)
{
	for (kir_ref n = 1; n < m->f->nnode && !m->kind; n++)
		switch (m->f->node[n].op) {
		case KIR_OP_attention:
		case KIR_OP_cache_write:
		case KIR_OP_index_topk:
			m->kind = m->f->node[n].op == KIR_OP_attention     ? "attn"
			          : m->f->node[n].op == KIR_OP_cache_write ? "write"
			                                                   : "index";
			look_at_cache(m, n);
			break;
		case KIR_OP_gemm:
			m->kind = "gemm";
			m->elem[0] = kir_type_of(m->f, kir_operand(m->f, n, "a"))->elem;
			m->elem[1] = kir_type_of(m->f, kir_operand(m->f, n, "w"))->elem;
			break;
		default: break;
		}
}

bool kt_space_make(const kir_func *f, const bool *given, const kir_problem *p, kt_space *out,
                   kir_diag *d)
{
	maker m = { .f = f, .p = p, .page = 16, .run = 16, .group = 1, .s = out };

	memset(out, 0, sizeof(*out));
	look(&m);
	if (f->level != KIR_A || !m.kind) {
		kir_error(
		    d, 0, 0,
		    "there is nothing to tune: schedules vary for attn, write, gemm and index "
		    "problems, and their IR at level A");
		out->nothing = true;
		return false;
	}
	m.prefill = !strcmp(m.kind, "attn") && p && p->qlen > 1;
	for (unsigned i = 0; i < kir_nknobs; i++)
		add_knob(&m, i, given);
	limit(out, &f->sched);
	if (!fill(out, &f->sched)) {
		kir_error(d, 0, 0, "out of memory");
		return false;
	}
	if (out->n > 1)
		return true;
	kir_error(d, 0, 0, "there is nothing to tune: every knob was given");
	kt_space_free(out);
	out->nothing = true;
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
