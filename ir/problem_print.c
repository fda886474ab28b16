/* SPDX-License-Identifier: Apache-2.0 */
/* problem_print.c -- a problem as text, by the table of problem.def: what its reader takes for
 * the same problem, fields in the table's order, those that have their default left out.
 */
#include "internal.h"
#include "problem_fields.h"
#include "format_priv.h"

#include <string.h>

/* A pair that the kind doesn't need may be missing: its numbers are 0 then. */
static void print_pair(const field *f, const int64_t *x, bool two, kir_text *out)
{
	if (!x[0])
		return;
	kir_text_add(out, " %s=%lld", f->name, (long long)x[0]);
	if (two && x[1] != x[0])
		kir_text_add(out, ":%lld", (long long)x[1]);
}

static void print_format(const kir_problem *p, int i, kir_text *out)
{
	bool one = p->k_format && p->v_format && !strcmp(p->k_format, p->v_format);
	bool either = i == F_k || i == F_v, both = i == F_kv;
	const char *name = *(const char *const *)field_of(p, &kir_fields[i]);

	if (name && (one ? !either : !both))
		kir_text_add(out, " %s=%s", kir_fields[i].name, name);
}

static void print_with(const kir_problem *p, kir_text *out)
{
	for (unsigned i = 0; i < p->nwith; i++)
		kir_text_add(out, "%s%s:%s", i ? "," : " with=", p->with[i].name,
		             p->with[i].bits ? "bit" : kir_elems[p->with[i].elem].name);
}

static void print_field(const kir_problem *p, int i, kir_text *out)
{
	const field *f = &kir_fields[i];
	const void *x = field_of(p, f);

	switch (f->type) {
	case ELEM:
		if (*(const kir_elem *)x != (i == F_out ? problem_default_out(p) : KIR_VOID))
			kir_text_add(out, " %s=%s", f->name,
			             kir_elems[*(const kir_elem *)x].name);
		break;
	case FORMAT: print_format(p, i, out); break;
	case PAIR: print_pair(f, x, f->two & 1u << p->kind, out); break;
	case NUM:
		if (*(const int64_t *)x)
			kir_text_add(out, " %s=%lld", f->name, (long long)*(const int64_t *)x);
		break;
	case REAL:
		if (*(const double *)x > 0) {
			kir_text_add(out, " %s=", f->name);
			format_print_number(*(const double *)x, out);
		}
		break;
	case FLAG:
		if (*(const bool *)x)
			kir_text_add(out, " %s", f->name);
		break;
	case CHOICE: {
		int c = *(const int *)x;
		size_t n = 0;
		const char *s = kir_word_at(f->words, c - 2, &n);

		if (c)
			kir_text_add(out, " %s%s%.*s", f->name, c > 1 ? "=" : "",
			             c > 1 ? (int)n : 0, c > 1 ? s : "");
		break;
	}
	case WORD: {
		size_t n = 0;
		const char *s = kir_word_at(f->words, *(const int *)x, &n);

		if (*(const int *)x)
			kir_text_add(out, " %s=%.*s", f->name, (int)n, s);
		break;
	}
	case EXPR:
		if (*(const char *const *)x)
			kir_text_add(out, " %s=\"%s\"", f->name, *(const char *const *)x);
		break;
	case WITH: print_with(p, out); break;
	default:
		if (p->target)
			kir_text_add(out, " %s=%s", f->name, p->target);
	}
}

void kir_problem_print(const kir_problem *p, kir_text *out)
{
	kir_sched s = p->sched;

	kir_text_add(out, "%s", kir_kinds[p->kind]);
	for (int i = 0; i < NFIELDS; i++)
		if (kir_fields[i].kinds & 1u << p->kind)
			print_field(p, i, out);
	for (unsigned k = 0; k < kir_nknobs; k++) {
		size_t n;
		long lo, hi;
		int x = *kir_sched_knob(&s, k);

		if (!p->has_knob[k])
			continue;
		const char *w = kir_word_at(kir_knobs[k].values, x, &n);

		if (kir_knob_range(k, &lo, &hi))
			kir_text_add(out, " %s=%d", kir_knobs[k].name, x);
		else
			kir_text_add(out, " %s=%.*s", kir_knobs[k].name, (int)n, w);
	}
}
