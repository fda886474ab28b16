/* SPDX-License-Identifier: Apache-2.0 */
/* pins.c -- choices that aren't to be made anew: the pin file, and pins of the user's cache.
 *
 * A pin file is the text form of schedules (tune/text.h). Processes that must choose alike
 * compare its digest, which kvjit_info prints.
 */
#include "cache.h"
#include "../tune/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pin is some 200 bytes; what is longer than this isn't a list of pins, and may have no end.
 */
#define MOST_BYTES ((size_t)16 << 20)

static char *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t cap = 0, n = 0;

	*len = 0;
	for (;;) {
		char *more =
		    f && n + 1 >= cap ? realloc(text, cap = cap ? cap * 2 : 65536) : text;
		size_t got;

		if (!f || !more)
			break;
		text = more;
		got = fread(text + n, 1, cap - n - 1, f);
		n += got;
		if (!got || n > MOST_BYTES)
			break;
	}
	if (!f || ferror(f) || n > MOST_BYTES) {
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	if (text)
		text[n] = 0;
	*len = n;
	return text;
}

/* Program and bucket of a line's problem. False and a message when it is none, or the schedule
 * isn't one. */
static bool resolve(const kt_schedule *line, kt_pin *out, kir_diag *d)
{
	kir_module *m = kir_module_new();
	kir_sched sched = kir_sched_default();
	bool given[kir_nknobs] = { 0 }, ok = false;
	kir_problem p;
	kir_func *f;

	if (kir_problem_parse(m, line->problem, strlen(line->problem), &p, d) &&
	    (f = kir_problem_expand(m, &p, &kir_targets[0], d)) &&
	    kir_sched_parse(&sched, given, line->sched, d)) {
		kt_program_key(f, &out->program);
		out->bucket = (kt_bucket){ KT_ANY, KT_ANY, KT_ANY };
		if (p.batch || p.ctx || p.qlen > 1)
			out->bucket = kt_bucket_of(p.batch, p.ctx, p.qlen);
		ok = true;
	}
	kir_module_free(m);
	return ok;
}

static void add_pin(struct kvjit_places *p, kt_schedule *line, unsigned i)
{
	kir_diag d = { 0 };
	char text[700], detail[900];
	kt_pin pin = { 0 };

	if (!resolve(line, &pin, &d)) {
		snprintf(detail, sizeof(detail), "pin %u, %.120s: %s", i + 1, line->problem,
		         kir_diag_text(&d, text, sizeof(text)));
		kt_say(&p->log, KT_WHY_bad_pin, p->pin_path, detail);
		return;
	}
	pin.problem = line->problem;
	pin.sched = line->sched;
	line->problem = line->sched = NULL;
	p->pins.at[p->pins.n++] = pin;
}

/* Whatever order the file has them in: which of two pins of one program and size is taken, and
 * the digest, don't depend on it. */
static int by_program(const void *a, const void *b)
{
	const kt_pin *x = a, *y = b;
	int c = memcmp(&x->program, &y->program, sizeof(x->program));

	if (!c)
		c = memcmp(&x->bucket, &y->bucket, sizeof(x->bucket));
	return c ? c : strcmp(x->sched, y->sched);
}

static void digest(kvjit_pins *pins)
{
	kir_text all = { 0 };
	kt_key key;

	for (unsigned i = 0; i < pins->n; i++) {
		char hex[KT_HEX];

		kt_key_hex(&pins->at[i].program, hex);
		kir_text_add(&all, "%s %d %d %d %s\n", hex, pins->at[i].bucket.batch,
		             pins->at[i].bucket.ctx, pins->at[i].bucket.qlen,
		             pins->at[i].sched);
	}
	kt_hash(all.text ? all.text : "", all.len, &key);
	kt_key_hex(&key, pins->digest);
	free(all.text);
}

void kvjit_read_pins(struct kvjit_places *p)
{
	kt_schedule *line = NULL;
	kir_diag d = { 0 };
	unsigned n = 0;
	char text[700];
	size_t len;
	char *file;

	if (!p->pin_path)
		return;
	file = read_file(p->pin_path, &len);
	if (!file) {
		kt_say(&p->log, KT_WHY_unreadable, p->pin_path, NULL);
		digest(&p->pins);
		return;
	}
	if (!kt_text_read(file, len, &line, &n, &d))
		kt_say(&p->log, KT_WHY_bad_pin, p->pin_path,
		       kir_diag_text(&d, text, sizeof(text)));
	p->pins.at = calloc(n + 1, sizeof(*p->pins.at));
	for (unsigned i = 0; i < n; i++) {
		if (p->pins.at)
			add_pin(p, &line[i], i);
		kt_schedule_free(&line[i]);
	}
	free(line);
	free(file);
	if (p->pins.n)
		qsort(p->pins.at, p->pins.n, sizeof(*p->pins.at), by_program);
	digest(&p->pins);
}

void kvjit_pins_free(kvjit_pins *p)
{
	for (unsigned i = 0; i < p->n; i++)
		kt_pin_free(&p->at[i]);
	free(p->at);
	*p = (kvjit_pins){ 0 };
}

static bool copy_pin(const kt_pin *from, kt_pin *to)
{
	*to = *from;
	to->problem = strdup(from->problem);
	to->sched = strdup(from->sched);
	if (to->problem && to->sched)
		return true;
	kt_pin_free(to);
	return false;
}

unsigned kvjit_find_pins(kvjit *kv, const kt_key *program, kt_pin **out)
{
	struct kvjit_places *p = kvjit_places_of(kv);
	unsigned n = 0;

	*out = NULL;
	for (unsigned i = 0; i < p->pins.n; i++) {
		if (!kt_key_equal(&p->pins.at[i].program, program))
			continue;
		if (!*out && !(*out = calloc(p->pins.n, sizeof(**out))))
			return 0;
		n += copy_pin(&p->pins.at[i], &(*out)[n]);
	}
	if (!n && p->user) {
		free(*out);
		*out = NULL;
		n = kt_pins_of(p->user, program, out);
	}
	return n;
}
