/* SPDX-License-Identifier: Apache-2.0 */
/* problem.c -- problem strings: read by the table of problem.def; problem_print.c prints them.
 *
 * Reading a field is one function for each type of field; what a field may be and what is said
 * when it isn't comes from its row. Formats are resolved while parsing, so that the problem
 * holds canonical names and prints the same whatever name the caller used.
 */
#include "internal.h"
#include "problem_fields.h"
#include "problem_priv.h"
#include "format_priv.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	A = 1 << KIR_ATTN,
	W = 1 << KIR_WRITE,
	Q = 1 << KIR_QUANT,
	M = 1 << KIR_MERGE,
	G = 1 << KIR_GEMM,
	P = 1 << KIR_PACK,
	I = 1 << KIR_INDEX,
	T = 1 << KIR_TRANSCODE
};

/* clang-format off */
const field kir_fields[NFIELDS] = {
#define FIELD(name, kinds, type, member, two, lo, hi, step, words, doc) \
	{ #name, kinds, type, two, offsetof(kir_problem, member), lo, hi, step, words, doc },
#include "problem.def"
};

/* Bounds of a field for some kinds, in place of its row's. */
static const struct {
	uint8_t field, kinds;
	int64_t lo, hi, step;
} ranges[] = {
#define FIELD(name, kinds, type, member, two, lo, hi, step, words, doc)
#define RANGE(field, kinds, lo, hi, step) { F_##field, kinds, lo, hi, step },
#include "problem.def"
};
/* clang-format on */

const char *const kir_kinds[KIR_NKIND] = { "attn", "write", "quant", "merge",
	                                   "gemm", "pack",  "index", "transcode" };

/* One NAME or NAME=VALUE of the text. */
typedef struct word {
	const char *name, *value; /* value NULL: none                             */
	size_t nname, nvalue;
	int line, col, value_col;
} word;

typedef struct parser {
	kir_module *m;
	kir_diag *d;
	kir_problem *p;
	const char *at, *end, *line_start;
	int line, kind_line, kind_col;
	word seen[NFIELDS], knob_seen[kir_nknobs];
} parser;

#define FAIL(p, w, ...)     (kir_error((p)->d, (w)->line, (w)->col, __VA_ARGS__), false)
#define FAIL_VAL(p, w, ...) (kir_error((p)->d, (w)->line, (w)->value_col, __VA_ARGS__), false)
#define SHOWN(n)            ((int)((n) > 60 ? 60 : (n)))

/* -- words -------------------------------------------------------------------------- */

static void skip_blanks(parser *p)
{
	for (; p->at < p->end; p->at++) {
		if (*p->at == '#' || *p->at == ';')
			while (p->at + 1 < p->end && p->at[1] != '\n')
				p->at++;
		else if (*p->at == '\n') {
			p->line++;
			p->line_start = p->at + 1;
		} else if (!isspace((unsigned char)*p->at))
			return;
	}
}

/* The next word; false at the end of the text, or with a message. */
static bool next_word(parser *p, word *w)
{
	skip_blanks(p);
	if (p->at == p->end)
		return false;
	*w = (word){ .name = p->at, .line = p->line, .col = (int)(p->at - p->line_start) + 1 };
	while (p->at < p->end && !isspace((unsigned char)*p->at) && *p->at != '=')
		p->at++;
	w->nname = (size_t)(p->at - w->name);
	if (p->at == p->end || *p->at != '=')
		return true;
	bool quoted = ++p->at < p->end && *p->at == '"';

	p->at += quoted;
	w->value = p->at;
	w->value_col = (int)(p->at - p->line_start) + 1;
	while (p->at < p->end && *p->at != '\n' &&
	       (quoted ? *p->at != '"' : !isspace((unsigned char)*p->at)))
		p->at++;
	w->nvalue = (size_t)(p->at - w->value);
	if (quoted && (p->at == p->end || *p->at != '"'))
		return FAIL(p, w, "%.*s=\": the closing quote is missing", SHOWN(w->nname),
		            w->name);
	p->at += quoted;
	return true;
}

static bool equals(const char *name, const char *s, size_t n)
{
	return strlen(name) == n && !memcmp(name, s, n);
}

/* -- unknown names -------------------------------------------------------------------- */

/* Edits from one name to another; names past 23 characters are cut. */
static int distance(const char *a, const char *b, size_t nb)
{
	int row[24];
	size_t na = strlen(a);

	nb = nb > 23 ? 23 : nb;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (int)j;
	for (size_t i = 1; i <= na; i++) {
		int diagonal = row[0];

		row[0] = (int)i;
		for (size_t j = 1; j <= nb; j++) {
			int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[nb];
}

static const char *name_of(const kir_problem *p, unsigned i)
{
	if (i >= NFIELDS)
		return i - NFIELDS < kir_nknobs ? kir_knobs[i - NFIELDS].name : NULL;
	return kir_fields[i].kinds & 1u << p->kind ? kir_fields[i].name : "";
}

/* Once in a text: all names the kind takes, as many messages as they need. */
static bool list_fields(const parser *p, const word *w)
{
	char list[200] = "";
	const char *name;

	for (unsigned i = 0; i < p->d->n && i < KIR_DIAG_MAX; i++)
		if (!strncmp(p->d->at[i].msg, "fields: ", 8))
			return false;
	for (unsigned i = 0; (name = name_of(p->p, i)); i++) {
		size_t used = strlen(list);

		if (used + strlen(name) + 2 > sizeof(list)) {
			kir_error(p->d, w->line, w->col, "fields: %s", list);
			used = 0;
		}
		if (*name)
			snprintf(list + used, sizeof(list) - used, "%s%s", used ? " " : "",
			         name);
	}
	return FAIL(p, w, "fields: %s", list);
}

static bool unknown(const parser *p, const word *w)
{
	const char *name, *near = "";
	int best = 1000;

	if (!w->nname)
		return FAIL(p, w,
		            "a value stands without a field's name: write NAME=VALUE, "
		            "without blanks around '='");
	for (int i = 0; i < KIR_NKIND && !w->value; i++)
		if (equals(kir_kinds[i], w->name, w->nname))
			return FAIL(p, w, "'%s' begins another problem; a text holds one",
			            kir_kinds[i]);
	for (int i = 0; i < NFIELDS; i++)
		if (equals(kir_fields[i].name, w->name, w->nname)) {
			kir_error(p->d, w->line, w->col, "%s has no field %s: %s",
			          kir_kinds[p->p->kind], kir_fields[i].name, kir_fields[i].doc);
			return list_fields(p, w);
		}
	for (unsigned i = 0; (name = name_of(p->p, i)); i++) {
		int n = *name ? distance(name, w->name, w->nname) : 1000;

		if (n < best) {
			best = n;
			near = name;
		}
	}
	kir_error(p->d, w->line, w->col, "%s has no field '%.*s'%s%s", kir_kinds[p->p->kind],
	          SHOWN(w->nname), w->name, best <= 2 ? "; the nearest is " : "",
	          best <= 2 ? near : "");
	return list_fields(p, w);
}

/* -- values ------------------------------------------------------------------------- */

static bool read_number(const char *s, size_t n, int64_t *out)
{
	*out = 0;
	if (!n || n > 15)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*out = *out * 10 + (s[i] - '0');
	}
	return true;
}

/* f with the bounds it has for the problem's kind. */
static field bounds_of(const parser *p, const field *f)
{
	field b = *f;

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (f != &kir_fields[ranges[i].field] || !(ranges[i].kinds & 1u << p->p->kind))
			continue;
		b.lo = ranges[i].lo;
		b.hi = ranges[i].hi;
		b.step = ranges[i].step;
	}
	return b;
}

static bool in_range(const parser *p, const field *f, int64_t x)
{
	field b = bounds_of(p, f);

	return x >= b.lo && x <= b.hi && x % b.step == 0;
}

/* "a multiple of 16 from 16 to 576" */
static const char *range_text(const field *f, char *out, size_t len)
{
	char step[40] = "a number";

	if (f->step > 1)
		snprintf(step, sizeof(step), "a multiple of %d", (int)f->step);
	snprintf(out, len, "%s from %lld to %lld", step, (long long)f->lo, (long long)f->hi);
	return out;
}

static bool wrong_number(const parser *p, const field *f, const word *w)
{
	char range[100];
	field b = bounds_of(p, f);

	return FAIL_VAL(p, w, "%s=%.*s: %s must be %s", f->name, SHOWN(w->nvalue), w->value,
	                f->name, range_text(&b, range, sizeof(range)));
}

bool kir_problem_shape(const kir_shape *s, kir_diag *d)
{
	const struct {
		const field *f;
		const char *what;
		int64_t x;
	} all[] = { { &kir_fields[F_heads], "kv_heads", s->kv_heads },
		    { &kir_fields[F_dim], "dim_k", s->dim_k },
		    { &kir_fields[F_dim], "dim_v", s->dim_v },
		    { &kir_fields[F_page], "page", s->page } };
	char range[100];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const field *f = all[i].f;

		if (all[i].x >= f->lo && all[i].x <= f->hi && all[i].x % f->step == 0)
			continue;
		kir_error(d, 0, 0, "%s is %lld; it must be %s", all[i].what,
		          (long long)all[i].x, range_text(f, range, sizeof(range)));
		return false;
	}
	return true;
}

static bool read_num(parser *p, const field *f, const word *w)
{
	int64_t *x = field_of(p->p, f);

	return (read_number(w->value, w->nvalue, x) && in_range(p, f, *x)) ||
	       wrong_number(p, f, w);
}

static bool read_pair(parser *p, const field *f, const word *w)
{
	int64_t *x = field_of(p->p, f);
	const char *colon = memchr(w->value, ':', w->nvalue);
	size_t n = colon ? (size_t)(colon - w->value) : w->nvalue;

	if (!colon && f->two & 1u << p->p->kind && memchr(w->value, '/', w->nvalue))
		return FAIL_VAL(p, w, "%s=%.*s: two numbers have ':' between them", f->name,
		                SHOWN(w->nvalue), w->value);
	if (!read_number(w->value, n, &x[0]) || !in_range(p, f, x[0]))
		return wrong_number(p, f, w);
	x[1] = x[0];
	if (!colon)
		return true;
	if (!(f->two & 1u << p->p->kind))
		return FAIL_VAL(p, w, "%s=%.*s: %s takes one number of %s", f->name,
		                SHOWN(w->nvalue), w->value, kir_kinds[p->p->kind], f->name);
	if (memchr(colon + 1, ':', w->nvalue - n - 1))
		return FAIL_VAL(p, w, "%s=%.*s: %s takes one number or two, not more", f->name,
		                SHOWN(w->nvalue), w->value, f->name);
	if (!read_number(colon + 1, w->nvalue - n - 1, &x[1]) || !in_range(p, f, x[1]))
		return wrong_number(p, f, w);
	return true;
}

/* Elements have the names formats give them, too. */
static bool read_elem_word(const char *words, const char *s, size_t n, kir_elem *out)
{
	if (equals("e4m3", s, n) || equals("int8", s, n)) {
		s = *s == 'e' ? "e4m3fn" : "s8";
		n = strlen(s);
	}
	if (n == 0 || kir_word_index(words, s, n) < 0)
		return false;
	for (int e = 1; e < KIR_NELEM; e++)
		if (equals(kir_elems[e].name, s, n))
			*out = (kir_elem)e;
	if (equals("bit", s, n))
		*out = KIR_u8;
	return true;
}

static bool read_format(parser *p, const field *f, const word *w)
{
	const char *name = kir_strdup(p->m, w->value, w->nvalue);
	unsigned first = p->d->n;
	const kir_format *format = kir_format_get(p->m, name, p->d);

	for (unsigned i = first; i < p->d->n && i < KIR_DIAG_MAX; i++) {
		p->d->at[i].line = w->line;
		p->d->at[i].col = w->value_col;
	}
	if (!format)
		return false;
	*(const char **)field_of(p->p, f) = format->name;
	if (f == &kir_fields[F_weights] && p->p->kind == KIR_PACK)
		p->p->k_format = format->name;
	if (f == &kir_fields[F_kv] || (f == &kir_fields[F_to] && p->p->kind == KIR_QUANT))
		p->p->k_format = p->p->v_format = format->name;
	return true;
}

static bool read_real(parser *p, const field *f, const word *w)
{
	double x;

	if (w->nvalue >= 40 || !kir_read_float(w->value, w->nvalue, &x) || !(x > 0) ||
	    !isnormal((float)x))
		return FAIL_VAL(p, w, "%s=%.*s: %s must be a positive number", f->name,
		                SHOWN(w->nvalue), w->value, f->name);
	*(double *)field_of(p->p, f) = x;
	return true;
}

static bool read_choice(parser *p, const field *f, const word *w)
{
	int i = w->value ? kir_word_index(f->words, w->value, w->nvalue) : -1;

	if (w->value && (i < 0 || !w->nvalue))
		return FAIL_VAL(p, w, "%s=%.*s: write %s or %s=%s", f->name, SHOWN(w->nvalue),
		                w->value, f->name, f->name, f->words);
	*(int *)field_of(p->p, f) = w->value ? 2 + i : 1;
	return true;
}

static bool read_word(parser *p, const field *f, const word *w)
{
	int i = kir_word_index(f->words, w->value, w->nvalue);

	if (i < 0)
		return FAIL_VAL(p, w, "%s=%.*s: %s must be one of %s", f->name,
		                SHOWN(w->nvalue), w->value, f->name, f->words);
	*(int *)field_of(p->p, f) = i;
	return true;
}

static bool identifier(const char *s, size_t n)
{
	if (n == 0 || n > 40 || isdigit((unsigned char)*s))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_')
			return false;
	return true;
}

/* name:elem[,name:elem...] */
static bool read_with(parser *p, const field *f, const word *w)
{
	const char *s = w->value, *end = s + w->nvalue;
	kir_problem *o = p->p;

	for (;;) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *stop = comma ? comma : end,
		           *colon = memchr(s, ':', (size_t)(stop - s));
		kir_elem e = KIR_VOID;

		if (!colon || !identifier(s, (size_t)(colon - s)) ||
		    !read_elem_word(f->words, colon + 1, (size_t)(stop - colon - 1), &e))
			return FAIL_VAL(p, w, "with=%.*s: write NAME:ELEM,..., ELEM one of %s",
			                SHOWN(w->nvalue), w->value, f->words);
		if (o->nwith == KIR_MAX_WITH)
			return FAIL_VAL(p, w, "with: at most %d operands", KIR_MAX_WITH);
		const char *name = kir_strdup(p->m, s, (size_t)(colon - s));

		if (expr_reserved(name))
			return FAIL_VAL(
			    p, w, "with: the name %s has a meaning in expressions already",
			    name);
		for (unsigned i = 0; i < o->nwith; i++)
			if (!strcmp(o->with[i].name, name))
				return FAIL_VAL(p, w, "with: two operands are called %s", name);
		o->with[o->nwith].name = name;
		o->with[o->nwith].elem = e;
		o->with[o->nwith].bits = equals("bit", colon + 1, (size_t)(stop - colon - 1));
		o->with[o->nwith++].rank = 1;
		if (!comma)
			return true;
		s = comma + 1;
	}
}

static bool read_target(parser *p, const word *w)
{
	char list[200];
	const char *name = kir_strdup(p->m, w->value, w->nvalue);

	if (kir_target_find(name)) {
		p->p->target = name;
		return true;
	}
	return FAIL_VAL(p, w, "target=%.40s: target must be one of %s", name,
	                kir_target_names(list, sizeof(list)));
}

static bool read_value(parser *p, const field *f, const word *w)
{
	if (f->type == FLAG || f->type == CHOICE) {
		if (f->type == CHOICE)
			return read_choice(p, f, w);
		if (w->value)
			return FAIL_VAL(p, w, "%s takes no value: %s", f->name, f->doc);
		*(bool *)field_of(p->p, f) = true;
		return true;
	}
	if (!w->value || !w->nvalue)
		return FAIL(p, w, "%s needs a value: %s=..., %s", f->name, f->name, f->doc);
	switch (f->type) {
	case ELEM:
		return read_elem_word(f->words, w->value, w->nvalue, field_of(p->p, f)) ||
		       FAIL_VAL(p, w, "%s=%.*s: %s must be one of %s", f->name,
		                SHOWN(w->nvalue), w->value, f->name, f->words);
	case FORMAT: return read_format(p, f, w);
	case PAIR: return read_pair(p, f, w);
	case NUM: return read_num(p, f, w);
	case REAL: return read_real(p, f, w);
	case WORD: return read_word(p, f, w);
	case WITH: return read_with(p, f, w);
	case TARGET: return read_target(p, w);
	default:
		*(const char **)field_of(p->p, f) = kir_strdup(p->m, w->value, w->nvalue);
		return true;
	}
}

static bool read_knob(parser *p, unsigned k, const word *w)
{
	const kir_knob_info *info = &kir_knobs[k];
	int64_t x = -1;
	long lo, hi;

	if (!w->value || !w->nvalue)
		return FAIL(p, w, "%s needs a value: %s=..., %s", info->name, info->name,
		            info->doc);
	if (!kir_knob_range(k, &lo, &hi)) {
		x = kir_word_index(info->values, w->value, w->nvalue);
		if (x < 0)
			return FAIL_VAL(p, w, "%s=%.*s: %s must be one of %s", info->name,
			                SHOWN(w->nvalue), w->value, info->name, info->values);
	} else if (!read_number(w->value, w->nvalue, &x) || x < lo || x > hi) {
		return FAIL_VAL(p, w, "%s=%.*s: %s must be a number from %ld to %ld",
		                info->name, SHOWN(w->nvalue), w->value, info->name, lo, hi);
	}
	*kir_sched_knob(&p->p->sched, k) = (int)x;
	p->p->has_knob[k] = true;
	return true;
}

static bool once(parser *p, word *seen, const word *w)
{
	if (seen->name)
		return FAIL(p, w, "%.*s is given twice", SHOWN(w->nname), w->name);
	*seen = *w;
	return true;
}

static bool read_field(parser *p, const word *w)
{
	for (int i = 0; i < NFIELDS; i++)
		if (equals(kir_fields[i].name, w->name, w->nname) &&
		    kir_fields[i].kinds & 1u << p->p->kind)
			return once(p, &p->seen[i], w) && read_value(p, &kir_fields[i], w);
	for (unsigned k = 0; k < kir_nknobs; k++)
		if (equals(kir_knobs[k].name, w->name, w->nname))
			return once(p, &p->knob_seen[k], w) && read_knob(p, k, w);
	return unknown(p, w);
}

/* -- the whole ------------------------------------------------------------------------ */

static bool need(const parser *p, int i)
{
	if (p->seen[i].name)
		return true;
	const char *doc = kir_fields[i].doc; /* behind ';' it is of transcodes */
	size_t n = p->p->kind == KIR_TRANSCODE ? strlen(doc) : strcspn(doc, ";");

	kir_error(p->d, p->kind_line, p->kind_col, "%s needs %s=..., %.*s",
	          kir_kinds[p->p->kind], kir_fields[i].name, (int)n, doc);
	return false;
}

static bool check_formats(const parser *p)
{
	const word *k = &p->seen[F_k], *v = &p->seen[F_v];

	if (p->seen[F_kv].name && (k->name || v->name))
		return FAIL(p, k->name ? k : v, "kv= names both formats; k= and v= exclude it");
	if (!k->name != !v->name)
		return FAIL(p, k->name ? k : v, "%s= goes with %s=", k->name ? "k" : "v",
		            k->name ? "v" : "k");
	return k->name || need(p, F_kv);
}

kir_elem problem_default_out(const kir_problem *p)
{
	bool wide = p->q != KIR_VOID && kir_elems[p->q].bits >= 16;

	return wide ? p->q : KIR_bf16;
}

/* What check_expr has for a name that isn't there before it is used. */
static kir_ref stand_in(void *ctx, expr_lazy which)
{
	return ((const kir_ref *)ctx)[which];
}

/* Builds an expression into a module of its own, for its messages; counts the indices of
 * operands. */
static bool check_expr(parser *p, int i, const char *text, kir_elem type, unsigned *rank)
{
	static const char *const names[] = { "b", "h", "q", "k", "s" };
	const word *w = &p->seen[i];
	kir_module *m = kir_module_new();
	kir_func *f = kir_func_new(m, "check", KIR_A);
	expr_env env = { .f = f,
		         .field = kir_fields[i].name,
		         .line = w->line,
		         .col = w->value_col,
		         .d = p->d };
	kir_ref later[EXPR_NLAZY];
	int64_t any = KIR_DYN;
	bool ok;

	env.lazy = stand_in;
	env.ctx = later;
	for (int k = 0; k < EXPR_NLAZY; k++)
		later[k] = kir_add_param(f, expr_lazy_names[k], kir_scalar(m, KIR_s64), KIR_IN);
	for (int k = 0; k < (type == KIR_f32 ? 5 : 4); k++) {
		env.name[env.nname].name = names[k];
		env.name[env.nname++].ref = kir_add_param(
		    f, names[k], kir_scalar(m, k < 4 ? KIR_s64 : KIR_f32), KIR_IN);
	}
	for (unsigned k = 0; k < p->p->nwith; k++) {
		env.name[env.nname].name = p->p->with[k].name;
		env.name[env.nname].bits = p->p->with[k].bits;
		env.name[env.nname].rank = &rank[k];
		env.name[env.nname++].ref = kir_add_param(
		    f, p->p->with[k].name, kir_buffer(m, p->p->with[k].elem, 1, &any), KIR_IN);
	}
	ok = expr_build(&env, text, type) != 0;
	kir_module_free(m);
	return ok;
}

/* What says who sees whom by position has no meaning beside index lists. */
static bool check_sparse(const parser *p)
{
	static const int fields_by_place[] = { F_causal, F_window, F_chunk,
		                               F_alibi,  F_mask,   F_score };

	if (!p->p->sparse)
		return true;
	for (size_t i = 0; i < sizeof(fields_by_place) / sizeof(*fields_by_place); i++) {
		const word *w = &p->seen[fields_by_place[i]];

		if (w->name)
			return FAIL(p, w,
			            "sparse= and %s exclude each other: index lists name "
			            "slots, not positions",
			            kir_fields[fields_by_place[i]].name);
	}
	return true;
}

/* A second cache's keys are named in the way the first's are. */
static bool check_second(parser *p)
{
	kir_problem *o = p->p;
	const word *page = &p->seen[F_page2], *sparse = &p->seen[F_sparse2];
	const word *w = page->name ? page : sparse;

	if (!o->format2 && w->name)
		return FAIL(p, w,
		            "%.*s= is of a second cache: it goes with kv2=", SHOWN(w->nname),
		            w->name);
	if (!o->format2)
		return true;
	if (!o->sparse != !o->sparse2)
		return FAIL(p, &p->seen[F_kv2],
		            "kv2= needs sparse= and sparse2=, or neither: both caches' keys "
		            "are named by index lists, or both by tables");
	if (!o->page2)
		o->page2 = o->page;
	return true;
}

static bool check_all(parser *p)
{
	unsigned rank[KIR_MAX_WITH] = { 0 };
	kir_problem *o = p->p;
	bool ok = true;

	if (o->kind == KIR_ATTN || o->kind == KIR_WRITE)
		ok = check_formats(p) & need(p, F_page);
	else if (o->kind == KIR_QUANT)
		ok = need(p, F_to);
	else if (o->kind == KIR_GEMM || o->kind == KIR_PACK)
		ok = need(p, F_weights) & (o->kind == KIR_PACK || need(p, F_acts));
	else if (o->kind == KIR_TRANSCODE)
		ok = need(p, F_from) & need(p, F_to) & need(p, F_page);
	if (ok && o->from_v && !strcmp(o->from_v, o->k_format))
		o->from_v = NULL;
	if (ok && o->to_v && !strcmp(o->to_v, o->v_format))
		o->to_v = NULL;
	o->fused = o->kind == KIR_GEMM && o->q != KIR_VOID;
	if (o->kind != KIR_ATTN && o->kind != KIR_WRITE && o->kind != KIR_MERGE &&
	    !p->seen[F_heads].name)
		o->heads = o->kv_heads = 1;
	else
		ok = ok & need(p, F_heads);
	ok = ok & need(p, F_dim);
	if (ok && o->heads % o->kv_heads)
		ok = FAIL_VAL(
		    p, &p->seen[F_heads],
		    "heads=%lld:%lld: the query heads must be a multiple of the KV heads",
		    (long long)o->heads, (long long)o->kv_heads);
	if (p->seen[F_window].name && p->seen[F_chunk].name)
		ok = FAIL(p, &p->seen[F_chunk], "window and chunk exclude each other");
	ok = check_sparse(p) && check_second(p) && ok;
	if (o->nwith && !o->score && !o->mask)
		ok = FAIL(p, &p->seen[F_with],
		          "with= needs a score= or mask= that reads the operands");
	if (ok && o->score)
		ok = check_expr(p, F_score, o->score, KIR_f32, rank);
	if (ok && o->mask)
		ok = check_expr(p, F_mask, o->mask, KIR_i1, rank);
	for (unsigned i = 0; i < o->nwith; i++)
		o->with[i].rank = rank[i] ? rank[i] : 1;
	if (o->kind == KIR_INDEX)
		ok = ok & need(p, F_kv) & need(p, F_page) & need(p, F_topk);
	if (!p->seen[F_out].name && kir_fields[F_out].kinds & 1u << o->kind)
		o->out = problem_default_out(o);
	return ok;
}

static bool read_kind(parser *p)
{
	word w = { .line = p->line, .col = 1 };
	bool any = next_word(p, &w);

	p->kind_line = w.line;
	p->kind_col = w.col;
	for (int i = 0; any && i < KIR_NKIND; i++) {
		if (!equals(kir_kinds[i], w.name, w.nname) || w.value)
			continue;
		p->p->kind = (kir_kind)i;
		return true;
	}
	/* A declaration that ended would have been read. */
	if (any && equals("format", w.name, w.nname))
		return FAIL(p, &w,
		            "this declaration of a format has no '}' at its end, or no problem "
		            "behind it");
	return FAIL(p, &w,
	            "a problem begins with attn, write, quant, merge, gemm, pack, index or "
	            "transcode, not '%.*s'",
	            SHOWN(w.nname), w.nname ? w.name : "");
}

/* What stands before the problem: everything up to the last brace. */
static bool read_formats(parser *p, const char *text, size_t len)
{
	size_t n = len;
	unsigned funcs = p->m->nfunc;

	while (n && text[n - 1] != '}')
		n--;
	p->at = p->line_start = text;
	p->end = text + len;
	p->line = 1;
	if (!n)
		return true;
	if (!kir_parse_into(p->m, text, n, p->d))
		return false;
	if (p->m->nfunc != funcs) {
		kir_error(p->d, 1, 1, "only formats may stand before a problem, no functions");
		return false;
	}
	for (; p->at < text + n; p->at++)
		if (*p->at == '\n') {
			p->line++;
			p->line_start = p->at + 1;
		}
	return true;
}

bool kir_problem_parse(kir_module *m, const char *text, size_t len, kir_problem *out,
                       kir_diag *d)
{
	kir_problem o = { .sched = kir_sched_default() };
	parser p = { .m = m, .d = d, .p = &o };
	unsigned errors = d->n;
	bool ok = true;
	word w;

	if (!read_formats(&p, text, len) || !read_kind(&p))
		return false;
	if (o.kind < KIR_MERGE || o.kind == KIR_INDEX)
		o.q = KIR_bf16;
	while (next_word(&p, &w))
		ok = read_field(&p, &w) && ok;
	ok = ok && d->n == errors && check_all(&p);
	if (ok)
		*out = o;
	return ok;
}
