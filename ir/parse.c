/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c -- modules, function headers and the names in scope.
 *
 * A function is built while it is read. If anything is wrong the functions of this text are
 * taken off the module's list again; nothing else refers to them.
 */
#include "parse.h"
#include "format_priv.h"

#include <stdlib.h>
#include <string.h>

/* -- names -- */

static uint32_t hash_of(const char *s, size_t len)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

const kir_symbol *kir_lookup(const kir_parser *p, const char *name, size_t len)
{
	uint32_t h = hash_of(name, len);
	for (uint32_t i = p->bucket[h % KIR_BUCKETS]; i; i = p->symbol[i].next) {
		const kir_symbol *s = &p->symbol[i];
		if (s->hash == h && s->len == len && !memcmp(s->name, name, len))
			return s;
	}
	return NULL;
}

bool kir_define(kir_parser *p, const char *name, size_t len, kir_ref ref, const kir_lex *where)
{
	const kir_symbol *old = kir_lookup(p, name, len);
	if (old)
		return kir_fail(p, where, "%%%.*s is already defined in line %d", (int)len,
		                name, old->line);
	if (p->nsymbol >= p->symbol_cap) {
		p->symbol_cap = p->symbol_cap ? p->symbol_cap * 2 : 64;
		p->symbol = realloc(p->symbol, p->symbol_cap * sizeof *p->symbol);
		if (!p->symbol)
			abort();
	}
	uint32_t h = hash_of(name, len);
	p->symbol[p->nsymbol] = (kir_symbol){ .name = name,
		                              .len = (uint32_t)len,
		                              .hash = h,
		                              .next = p->bucket[h % KIR_BUCKETS],
		                              .line = where->line,
		                              .ref = ref };
	p->bucket[h % KIR_BUCKETS] = p->nsymbol++;
	return true;
}

void kir_scope_end(kir_parser *p, unsigned nsymbol)
{
	while (p->nsymbol > nsymbol) {
		const kir_symbol *s = &p->symbol[--p->nsymbol];
		p->bucket[s->hash % KIR_BUCKETS] = s->next;
	}
}

/* -- headers -- */

static bool param(kir_parser *p)
{
	const char *name;
	kir_dir dir = 0;
	kir_type_id type;
	kir_lex_space(p);
	kir_lex where = p->lex;
	size_t len = kir_lex_name(p, '%', &name);
	if (!len)
		return false;
	if (kir_is_number(name, len))
		return kir_fail(p, &where, "a parameter's name is more than a number");
	if (!kir_lex_want(p, ':'))
		return false;
	if (kir_lex_keyword(p, "in"))
		dir = KIR_IN;
	else if (kir_lex_keyword(p, "out"))
		dir = KIR_OUT;
	else if (kir_lex_keyword(p, "inout"))
		dir = KIR_INOUT;
	kir_lex_blank(p);
	kir_lex at = p->lex;
	if (!kir_parse_type(p, &type))
		return false;
	if (p->m->type[type].buffer != (dir != 0))
		return kir_fail(p, &at, "%s",
		                dir ? "only buffers are in, out or inout"
		                    : "a buffer parameter is in, out or inout");
	if (p->f->nnode > KIR_MAX_NODES / 2)
		return kir_fail(p, &where, "there are too many parameters");
	kir_ref n = kir_add_param(p->f, kir_strdup(p->m, name, len), type, dir);
	p->f->node[n].line = (uint32_t)where.line;
	return kir_define(p, name, len, n, &where);
}

static bool params(kir_parser *p)
{
	if (!kir_lex_want(p, '('))
		return false;
	kir_lex_space(p);
	if (kir_lex_take(p, ')'))
		return true;
	do {
		if (!param(p))
			return false;
		kir_lex_space(p);
	} while (kir_lex_take(p, ','));
	return kir_lex_want(p, ')');
}

static bool level(kir_parser *p)
{
	const char *word;
	kir_lex_blank(p);
	kir_lex where = p->lex;
	size_t len = kir_lex_word(p, &word);
	const char *at = len == 1 ? strchr("ATV", *word) : NULL;
	if (!at)
		return kir_fail(p, &where, "level is A, T or V");
	p->f->level = *at == 'A' ? KIR_A : *at == 'T' ? KIR_T : KIR_V;
	return true;
}

static bool target(kir_parser *p)
{
	kir_lex_blank(p);
	kir_lex where = p->lex;
	while (p->lex.at < p->lex.end && !strchr(" \t\r\n;{", *p->lex.at))
		p->lex.at++;
	size_t len = (size_t)(p->lex.at - where.at);
	const kir_target *t = kir_target_parse(p->m, where.at, len);
	if (!t)
		return kir_fail(p, &where, "unknown target '%.*s'", len > 60 ? 60 : (int)len,
		                where.at);
	p->f->target = t;
	return true;
}

static const char *knob_name(unsigned i)
{
	return kir_knobs[i].name;
}

static bool knob(kir_parser *p)
{
	const char *word;
	char buf[64];
	long lo, hi;
	int64_t x;
	unsigned k = 0;
	kir_lex_space(p);
	kir_lex where = p->lex;
	size_t len = kir_lex_word(p, &word);
	while (k < kir_nknobs &&
	       (strlen(kir_knobs[k].name) != len || memcmp(kir_knobs[k].name, word, len)))
		k++;
	if (k == kir_nknobs)
		return kir_fail(p, &where, "unknown knob '%.*s'%s", len > 40 ? 40 : (int)len,
		                word, kir_closest(word, len, knob_name, kir_nknobs, buf));
	if (!kir_lex_want(p, '='))
		return false;
	kir_lex_blank(p);
	where = p->lex;
	if (kir_knob_range(k, &lo, &hi)) {
		if (!kir_lex_int(p, &x))
			return false;
		if (x < lo || x > hi)
			return kir_fail(p, &where, "%s is a number from %ld to %ld",
			                kir_knobs[k].name, lo, hi);
	} else {
		len = kir_lex_word(p, &word);
		x = kir_word_index(kir_knobs[k].values, word, len);
		if (x < 0)
			return kir_fail(p, &where, "%s is one of %s", kir_knobs[k].name,
			                kir_knobs[k].values);
	}
	*kir_sched_knob(&p->f->sched, k) = (int)x;
	return true;
}

static bool sched(kir_parser *p)
{
	if (!kir_lex_want(p, '('))
		return false;
	if (kir_lex_take(p, ')'))
		return true;
	do
		if (!knob(p))
			return false;
	while (kir_lex_take(p, ','));
	return kir_lex_want(p, ')');
}

static bool properties(kir_parser *p)
{
	bool has_level = false;
	for (;;) {
		kir_lex_space(p);
		kir_lex where = p->lex;
		if (kir_lex_keyword(p, "level")) {
			has_level = true;
			if (!kir_lex_want(p, '=') || !level(p))
				return false;
		} else if (kir_lex_keyword(p, "target")) {
			if (!kir_lex_want(p, '=') || !target(p))
				return false;
		} else if (kir_lex_keyword(p, "sched")) {
			if (!sched(p))
				return false;
		} else if (!has_level) {
			return kir_fail(p, &where,
			                "a function says level=A, level=T or level=V");
		} else {
			return kir_lex_want(p, '{');
		}
	}
}

static bool func_name(kir_parser *p, unsigned first)
{
	kir_lex_blank(p);
	kir_lex where = p->lex;
	const char *name;
	size_t len = kir_lex_name(p, '@', &name);
	if (!len)
		return false;
	p->f = kir_func_new(p->m, kir_strdup(p->m, name, len), KIR_T);
	for (unsigned i = first; i + 1 < p->m->nfunc; i++)
		if (!strcmp(p->m->func[i]->name, p->f->name))
			return kir_fail(p, &where, "@%s is already defined in this text",
			                p->f->name);
	return true;
}

static bool func(kir_parser *p, unsigned first)
{
	kir_scope_end(p, 1);
	p->depth = 0;
	return func_name(p, first) && params(p) && properties(p) && kir_parse_body(p);
}

/* -- modules -- */

/* `format NAME v1 { ... }` from the word on: handed over whole. Between its statements stands
 * ';', which begins a comment everywhere else; its comments begin with '#'. */
static bool format(kir_parser *p, const kir_lex *start)
{
	unsigned depth = 0;
	bool comment = false;
	for (;;) {
		if (p->lex.at == p->lex.end)
			return kir_fail(p, start, "the format's closing brace is missing");
		char c = *p->lex.at++;
		if (c == '\n') {
			p->lex.line_start = p->lex.at;
			p->lex.line++;
		}
		comment = c == '#' || (comment && c != '\n');
		depth += c == '{' && !comment;
		if (c == '}' && !comment && depth-- <= 1)
			break;
	}
	kir_diag why = { 0 };
	if (kir_format_parse_body(p->m, start->at, (size_t)(p->lex.at - start->at), start->line,
	                          p->d ? p->d : &why))
		return true;
	p->failed = true;
	return false;
}

static void skip_to_declaration(kir_parser *p)
{
	while (p->lex.at < p->lex.end) {
		if (kir_lex_line_end(p))
			kir_lex_space(p);
		kir_lex before = p->lex;
		bool found = before.at == before.line_start &&
		             (kir_lex_keyword(p, "func") || kir_lex_keyword(p, "format"));
		p->lex = before;
		if (found)
			return;
		if (p->lex.at < p->lex.end)
			p->lex.at++;
	}
}

static void declarations(kir_parser *p, unsigned first)
{
	for (kir_lex_space(p); p->lex.at < p->lex.end && !p->stop; kir_lex_space(p)) {
		kir_lex start = p->lex;
		if (*p->lex.at == '#') { /* formats and problems have such comments */
			while (p->lex.at < p->lex.end && *p->lex.at != '\n')
				p->lex.at++;
			continue;
		}
		bool good = kir_lex_keyword(p, "func")     ? func(p, first)
		            : kir_lex_keyword(p, "format") ? format(p, &start)
		                                           : kir_fail(p, &start,
		                                                      "'func' or 'format' is "
		                                                      "expected here");
		if (!good && !p->stop)
			skip_to_declaration(p);
	}
}

bool kir_parse_into(kir_module *m, const char *text, size_t len, kir_diag *diag)
{
	if (len > KIR_MAX_TEXT) {
		kir_error(diag, 1, 1, "the text is longer than %zu bytes", KIR_MAX_TEXT);
		return false;
	}
	kir_parser *p = calloc(1, sizeof *p);
	if (!p)
		abort();
	unsigned nfunc = m->nfunc;
	p->m = m;
	p->d = diag;
	p->nsymbol = 1;
	p->lex = (kir_lex){ .at = text, .end = text + len, .line_start = text, .line = 1 };
	declarations(p, nfunc);
	bool good = !p->failed;
	if (!good)
		m->nfunc = nfunc;
	free(p->symbol);
	free(p);
	return good;
}

kir_module *kir_parse(const char *text, size_t len, kir_diag *diag)
{
	kir_module *m = kir_module_new();
	if (kir_parse_into(m, text, len, diag))
		return m;
	kir_module_free(m);
	return NULL;
}
