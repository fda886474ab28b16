/* SPDX-License-Identifier: Apache-2.0 */
/* text.c -- see text.h. */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- printing ---------------------------------------------------------------------------- */

/* On one line, as records have it: formats before a problem have ';' between statements. */
static void add_line(kir_text *out, const char *text)
{
	bool blank = true;

	for (; *text; text++) {
		bool space = isspace((unsigned char)*text);

		if (!space || !blank)
			kir_text_add(out, "%c", space ? ' ' : *text);
		blank = space;
	}
}

static void add_real(kir_text *out, const char *name, double x)
{
	char digits[KIR_FLOAT_TEXT];

	kir_float_digits(digits, 'g', 9, x);
	kir_text_add(out, " %s=%s", name, digits);
}

void kt_text_schedule(const kt_schedule *r, bool pin, kir_text *out)
{
	char key[KT_HEX];

	add_line(out, r->problem);
	kir_text_add(out, " :: ");
	add_line(out, r->sched);
	if (!pin) {
		kt_key_hex(&r->where.machine, key);
		kir_text_add(
		    out, " # target=%s threads=%d policy=%s batch=%d ctx=%d qlen=%d source=%s",
		    r->target, r->where.threads, kt_policy_names[r->where.policy],
		    r->where.bucket.batch, r->where.bucket.ctx, r->where.bucket.qlen,
		    kt_source_names[r->source]);
		add_real(out, "median", r->median);
		add_real(out, "lo", r->lo);
		add_real(out, "hi", r->hi);
		add_real(out, "ratio", r->ratio);
		add_real(out, "ratio_lo", r->ratio_lo);
		add_real(out, "ratio_hi", r->ratio_hi);
		kir_text_add(out,
		             " n=%lld when=%lld codegen=%d key=%s machine=", (long long)r->n,
		             (long long)r->when, r->codegen, key);
		add_line(out, r->machine);
	}
	kir_text_add(out, "\n");
}

/* -- reading ------------------------------------------------------------------------------ */

typedef struct reader {
	kir_diag *d;
	unsigned line;
	kt_schedule *at;
	unsigned n, cap;
	bool ok;
} reader;

static bool complain(reader *r, const char *what, const char *word)
{
	kir_error(r->d, r->line, 0, "%s%.60s", what, word);
	return r->ok = false;
}

static char *trimmed(const char *text, size_t n)
{
	while (n && isspace((unsigned char)*text))
		text++, n--;
	while (n && isspace((unsigned char)text[n - 1]))
		n--;
	return strndup(text, n);
}

/* The place of needle in text outside of quotes; NULL: it isn't there. */
static const char *find(const char *text, const char *end, const char *needle)
{
	size_t n = strlen(needle);
	bool quoted = false;

	for (; text + n <= end; text++) {
		if (*text == '"')
			quoted = !quoted;
		if (!quoted && !memcmp(text, needle, n))
			return text;
	}
	return NULL;
}

static bool read_name(const char *value, const char *const *names, unsigned n, int *out)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(names[i], value)) {
			*out = (int)i;
			return true;
		}
	return false;
}

static bool read_integer(const char *value, int64_t lo, int64_t hi, int64_t *out)
{
	long long x;
	char *end;

	errno = 0; /* else a number that doesn't fit is the largest that does */
	x = strtoll(value, &end, 10);
	*out = x;
	return !errno && *value && !*end && x >= lo && x <= hi;
}

static bool read_int(const char *value, int lo, int hi, int *out)
{
	int64_t x;
	bool ok = read_integer(value, lo, hi, &x);

	*out = (int)x;
	return ok;
}

/* A number as C writes it, whatever the host's locale is. What isn't finite no record has, and
 * no pack could keep. */
static bool read_real(const char *value, double *out)
{
	return kir_read_float(value, strlen(value), out) && isfinite(*out) && *out >= 0;
}

/* What stands after #, by name. */
static bool set_field(kt_schedule *r, const char *name, const char *value, bool *known)
{
	int index = 0;
	bool ok;

	*known = true;
	if (!strcmp(name, "target"))
		return free(r->target), (r->target = strdup(value));
	if (!strcmp(name, "threads"))
		return read_int(value, 1, 65536, &r->where.threads);
	if (!strcmp(name, "policy")) {
		ok = read_name(value, kt_policy_names, 2, &index);
		r->where.policy = (kt_policy)index;
		return ok;
	}
	if (!strcmp(name, "source")) {
		ok = read_name(value, kt_source_names, 4, &index);
		r->source = (kt_source)index;
		return ok;
	}
	if (!strcmp(name, "batch"))
		return read_int(value, KT_ANY, KT_NBATCH - 1, &r->where.bucket.batch);
	if (!strcmp(name, "ctx"))
		return read_int(value, KT_ANY, KT_NCTX - 1, &r->where.bucket.ctx);
	if (!strcmp(name, "qlen"))
		return read_int(value, KT_ANY, KT_NQLEN - 1, &r->where.bucket.qlen);
	if (!strcmp(name, "median"))
		return read_real(value, &r->median);
	if (!strcmp(name, "lo"))
		return read_real(value, &r->lo);
	if (!strcmp(name, "hi"))
		return read_real(value, &r->hi);
	if (!strcmp(name, "ratio"))
		return read_real(value, &r->ratio);
	if (!strcmp(name, "ratio_lo"))
		return read_real(value, &r->ratio_lo);
	if (!strcmp(name, "ratio_hi"))
		return read_real(value, &r->ratio_hi);
	if (!strcmp(name, "n"))
		return read_integer(value, 0, INT64_MAX, &r->n);
	if (!strcmp(name, "when"))
		return read_integer(value, 0, INT64_MAX, &r->when);
	if (!strcmp(name, "codegen"))
		return read_int(value, 0, INT32_MAX, &r->codegen);
	if (!strcmp(name, "key"))
		return kt_key_parse(value, &r->where.machine);
	return *known = false;
}

static bool read_measurement(reader *r, const char *text, kt_schedule *out)
{
	char *copy = strdup(text), *p = copy;
	bool known = true;

	for (; r->ok && copy && *(p += strspn(p, " \t")); p += strlen(p) + 1) {
		size_t n;
		char *value;

		if (!strncmp(p, "machine=", 8)) { /* to the end of the line */
			free(out->machine);
			out->machine = strdup(p + 8);
			break;
		}
		n = strcspn(p, " \t");
		bool last = !p[n];
		p[n] = 0;
		value = strchr(p, '=');
		if (value)
			*value++ = 0;
		if (!value || !set_field(out, p, value, &known))
			complain(r,
			         known && value
			             ? "this value isn't one of its field: "
			             : "after # stand target, threads, policy, batch, ctx, "
			               "qlen, source, median, lo, hi, ratio, ratio_lo, "
			               "ratio_hi, n, when, codegen, key and machine, not ",
			         known && value ? value : p);
		if (value)
			p = value;
		if (last)
			break;
	}
	free(copy);
	return r->ok;
}

static bool read_line(reader *r, const char *text, const char *end)
{
	const char *sep = find(text, end, "::"), *hash;
	kt_schedule *out, *more;
	char *rest;

	if (!sep)
		return complain(r, "a line is PROBLEM :: SCHEDULE", "");
	hash = find(sep + 2, end, "#");
	if (r->n == r->cap) {
		more = realloc(r->at, (r->cap = r->cap * 2 + 16) * sizeof(*r->at));
		if (!more)
			return complain(r, "out of memory", "");
		r->at = more;
	}
	out = &r->at[r->n++];
	memset(out, 0, sizeof(*out));
	out->source = KT_BY_hand;
	out->where.bucket = (kt_bucket){ KT_ANY, KT_ANY, KT_ANY };
	out->problem = trimmed(text, (size_t)(sep - text));
	out->sched = trimmed(sep + 2, (size_t)((hash ? hash : end) - sep - 2));
	out->target = strdup("");
	out->machine = strdup("");
	if (!out->problem || !out->sched || !out->target || !out->machine)
		return complain(r, "out of memory", "");
	if (!*out->problem || !*out->sched)
		return complain(r,
		                *out->problem ? "there is no schedule after ::"
		                              : "there is no problem before ::",
		                "");
	if (!hash)
		return true;
	rest = trimmed(hash + 1, (size_t)(end - hash - 1));
	if (!rest || !read_measurement(r, rest, out))
		r->ok = false;
	free(rest);
	return r->ok;
}

bool kt_text_read(const char *text, size_t len, kt_schedule **out, unsigned *n, kir_diag *d)
{
	reader r = { .d = d, .ok = true };
	const char *end = text + len;

	if (memchr(text, 0, len))
		complain(&r, "the file has a zero byte", "");
	while (r.ok && text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		const char *stop = eol ? eol : end, *first = text;

		r.line++;
		while (first < stop && isspace((unsigned char)*first))
			first++;
		if (first < stop && *first != '#')
			read_line(&r, first, stop);
		text = stop + 1;
	}
	*out = r.ok ? r.at : NULL;
	*n = r.ok ? r.n : 0;
	if (r.ok)
		return true;
	for (unsigned i = 0; i < r.n; i++)
		kt_schedule_free(&r.at[i]);
	free(r.at);
	return false;
}
