/* SPDX-License-Identifier: Apache-2.0 */
/* manager.c -- runs the passes of passes.def, one after the other.
 *
 * Around each pass: a new empty function, the pass, the verifier, and on request a round
 * trip through text, prints before and after, and the caller's comparison. A pass that
 * leaves the function as it was costs nothing further.
 */
#include "passes.h"

#include <stdlib.h>
#include <string.h>

enum { LEVEL_A = KIR_A, LEVEL_T = KIR_T, LEVEL_V = KIR_V };
enum { KIND_LOWER = 1, KIND_OPT = 0 };

const kpass_info kpass_table[] = {
#define PASS(name, kind, from, to, doc) \
	{ #name, doc, kpass_##name, LEVEL_##from, LEVEL_##to, KIND_##kind },
#include "passes.def"
};
const unsigned kpass_count = sizeof kpass_table / sizeof kpass_table[0];

/* Takes the next word of a comma-separated list; false at its end. */
static bool next_word(const char **list, const char **word, size_t *len)
{
	const char *s = *list;

	while (*s == ',' || *s == ' ')
		s++;
	if (!*s)
		return false;
	*word = s;
	*len = strcspn(s, ", ");
	*list = s + *len;
	return true;
}

static const kpass_info *find_pass(const char *word, size_t len)
{
	for (unsigned i = 0; i < kpass_count; i++)
		if (strlen(kpass_table[i].name) == len &&
		    !memcmp(kpass_table[i].name, word, len))
			return &kpass_table[i];
	return NULL;
}

static void unknown_pass(const char *field, const char *word, size_t len, kir_diag *why)
{
	char all[240] = "";

	for (unsigned i = 0; i < kpass_count; i++) {
		strncat(all, i ? ", " : "", sizeof all - strlen(all) - 1);
		strncat(all, kpass_table[i].name, sizeof all - strlen(all) - 1);
	}
	kir_error(why, 0, 0, "%s: no pass '%.*s'; there are %s", field,
	          (int)(len < 20 ? len : 20), word, all);
}

/* Whether pass p stands in list; every word of it must be a pass, checked by check_list. */
static bool listed(const char *list, const kpass_info *p)
{
	const char *word;
	size_t len;

	while (list && next_word(&list, &word, &len))
		if (find_pass(word, len) == p)
			return true;
	return false;
}

static bool check_list(const char *field, const char *list, bool optional, kir_diag *why)
{
	const char *word;
	size_t len;

	while (list && next_word(&list, &word, &len)) {
		const kpass_info *p = find_pass(word, len);
		if (!p) {
			unknown_pass(field, word, len, why);
			return false;
		}
		if (optional && p->lower) {
			kir_error(why, 0, 0,
			          "%s: pass %s lowers the function and can't be left out",
			          field, p->name);
			return false;
		}
	}
	return true;
}

/* Whether `print` asks for this place ("before" or "after") of this pass. */
static bool wants_print(const kpass_options *o, const char *place, const kpass_info *p)
{
	const char *list = o->print, *word;
	size_t len, n = strlen(place), m = strlen(p->name);

	if (!list || !o->emit)
		return false;
	while (next_word(&list, &word, &len)) {
		if (len <= n + 1 || memcmp(word, place, n) != 0 || word[n] != ':')
			continue;
		if ((len == n + 2 && word[n + 1] == '*') ||
		    (len == n + 1 + m && !memcmp(word + n + 1, p->name, m)))
			return true;
	}
	return false;
}

static void print_at(const kpass_options *o, const char *place, const kpass_info *p,
                     const kir_func *f)
{
	kir_text t = { 0 };

	kir_text_add(&t, "; %s %s: kvjit-opt --passes=%s FILE\n", place, p->name, p->name);
	kir_print(f, &t);
	o->emit(t.text, o->ctx);
	free(t.text);
}

/* Puts `text` into f's module as a function of its own, beside those the module lists. */
static kir_func *parse_beside(kir_module *m, const kir_text *text, kir_diag *why)
{
	kir_func **func = m->func, *parsed = NULL;
	unsigned nfunc = m->nfunc, cap = m->func_cap;

	m->func = NULL;
	m->nfunc = m->func_cap = 0;
	if (kir_parse_into(m, text->text, text->len, why) && m->nfunc == 1)
		parsed = m->func[0];
	m->func = func;
	m->nfunc = nfunc;
	m->func_cap = cap;
	return parsed;
}

/* The function is what its text says: print, parse, print again, go on with the parsed. */
static kir_func *round_trip(kir_func *f, const kpass_info *p, kir_diag *why)
{
	kir_text a = { 0 }, b = { 0 };
	kir_diag d = { 0 };
	kir_func *g;

	kir_print(f, &a);
	g = parse_beside(f->module, &a, &d);
	if (g)
		kir_print(g, &b);
	if (!g)
		kir_error(why, 0, 0, "pass %s made text that doesn't parse: %d:%d: %s", p->name,
		          d.n ? d.at[0].line : 0, d.n ? d.at[0].col : 0,
		          d.n ? d.at[0].msg : "not one function");
	else if (strcmp(a.text, b.text) != 0) {
		kir_error(why, 0, 0, "pass %s made a function whose text changes when parsed",
		          p->name);
		g = NULL;
	}
	free(a.text);
	free(b.text);
	return g;
}

/* A message of a pass, with the pass's name before it. */
static void forward(const kpass_info *p, const char *what, const kir_diag *d, kir_diag *why)
{
	unsigned n = d->n < KIR_DIAG_MAX ? d->n : KIR_DIAG_MAX;

	if (!n)
		kir_error(why, 0, 0, "pass %s%s: no reason given", p->name, what);
	for (unsigned i = 0; i < n; i++)
		kir_error(why, d->at[i].line, d->at[i].col, "pass %s%s: %.180s", p->name, what,
		          d->at[i].msg);
}

/* The module lists one function of a name: the newest. */
static void replace_func(kir_module *m, const kir_func *old, kir_func *now)
{
	for (unsigned i = 0; i < m->nfunc; i++)
		if (m->func[i] == old)
			m->func[i] = now;
}

static kir_func *run_one(kir_func *f, const kpass_info *p, const kpass_options *o,
                         kir_diag *why)
{
	kir_diag d = { 0 };
	unsigned nfunc = f->module->nfunc;
	kir_func *out = kir_func_like(f, (kir_level)p->to);
	kpass_result r;

	f->module->nfunc = nfunc;
	if (wants_print(o, "before", p))
		print_at(o, "before", p, f);
	r = p->run(f, out, &d);
	f->module->nfunc = nfunc;
	if (r == KPASS_REJECT) {
		forward(p, "", &d, why);
		return NULL;
	}
	if (r == KPASS_CHANGED) {
		if (!kir_verify(out, &d)) {
			forward(p, " made invalid IR", &d, why);
			return NULL;
		}
		if (o->check_text) {
			const kir_func *made = out;

			if (!(out = round_trip(out, p, why)))
				return NULL;
			memcpy(out->chosen, made->chosen, sizeof out->chosen);
		}
		if (o->compare && !o->compare(f, out, o->ctx, &d)) {
			forward(p, " changed the result", &d, why);
			return NULL;
		}
		replace_func(f->module, f, out);
	} else {
		memcpy(f->chosen, out->chosen, sizeof f->chosen);
		out = f;
	}
	if (wants_print(o, "after", p))
		print_at(o, "after", p, out);
	return out;
}

static kir_func *step(kir_func *f, const kpass_info *p, const kpass_options *o, kir_diag *why)
{
	if (p->from != f->level || listed(o->skip, p))
		return f;
	return run_one(f, p, o, why);
}

/* A pass that is named runs: one that reads another level would look as if it had been checked.
 * What brings f there is the last pass from each level between. */
static bool fits(const kir_func *f, const kpass_info *p, kir_diag *why)
{
	unsigned level = f->level;
	char first[80] = "";

	if (p->from == level)
		return true;
	while (level < p->from) {
		const kpass_info *down = NULL;

		for (unsigned i = 0; i < kpass_count; i++)
			if (kpass_table[i].from == level && kpass_table[i].to > level)
				down = &kpass_table[i];
		if (!down)
			break;
		strncat(first, *first ? ",...," : "", sizeof first - strlen(first) - 1);
		strncat(first, down->name, sizeof first - strlen(first) - 1);
		level = down->to;
	}
	kir_error(why, 0, 0, "pass %s reads level %c, @%.60s is at level %c%s%s%s", p->name,
	          "?AT?V"[p->from], f -> name, "?AT?V"[f->level],
	          *first ? "; run " : " already", first, *first ? " first" : "");
	return false;
}

kir_func *kpass_run(kir_func *f, const kpass_options *o, kir_diag *why)
{
	static const kpass_options plain = { 0 };
	const char *list, *word;
	size_t len;

	o = o ? o : &plain;
	if (!check_list("passes", o->list, false, why) ||
	    !check_list("skip", o->skip, true, why))
		return NULL;
	if (!o->list) {
		for (unsigned i = 0; f && i < kpass_count; i++) {
			if (o->stop_level && f->level >= o->stop_level)
				break;
			f = step(f, &kpass_table[i], o, why);
		}
		return f;
	}
	for (list = o->list; f && next_word(&list, &word, &len);) {
		if (o->stop_level && f->level >= o->stop_level)
			break;
		const kpass_info *p = find_pass(word, len);

		if (!listed(o->skip, p))
			f = fits(f, p, why) ? run_one(f, p, o, why) : NULL;
	}
	return f;
}
