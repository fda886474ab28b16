/* SPDX-License-Identifier: Apache-2.0 */
/* report.c -- see report.h.
 *
 * For each place: the best over the trials, heat maps of the knobs that matter most, where each
 * candidate lies under the roofline, and how noisy the measurements were. On top of all a table
 * of winners against defaults. Whatever a drawing shows can be read as text too: every mark has
 * a <title>.
 */
#include "report.h"
#include "report_draw.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- schedules as values ------------------------------------------------------------------- */

enum { MAX_VALUES = 16, WORD = 24 };

/* The value of knob k in "kv_tile=64 qk=bf16", "" if it isn't there. */
static void value_of(const char *sched, const char *knob, char out[WORD])
{
	size_t n = strlen(knob);
	out[0] = 0;
	for (const char *p = sched; *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, knob, n) != 0 || p[n] != '=')
			continue;
		size_t len = strcspn(p + n + 1, " ");
		snprintf(out, WORD, "%.*s", (int)(len < WORD ? len : WORD - 1), p + n + 1);
		return;
	}
}

/* A knob that took more than one value. */
typedef struct axis {
	const char *name;
	unsigned n;
	char value[MAX_VALUES][WORD];
	double weight; /* how much the best time follows from it */
} axis;

static int axis_index(const axis *a, const char *value)
{
	for (unsigned i = 0; i < a->n; i++)
		if (!strcmp(a->value[i], value))
			return (int)i;
	return -1;
}

static bool measured(const kt_trial *t)
{
	return (t->state == KT_IS_ok || t->state == KT_IS_slow) && t->ratio > 0;
}

static double log_best(const report_place *p, const axis *a, unsigned value)
{
	double best = INFINITY;
	for (unsigned i = 0; i < p->ntrial; i++) {
		char word[WORD];
		value_of(p->trial[i].sched, a->name, word);
		if (measured(&p->trial[i]) && !strcmp(word, a->value[value]))
			best = fmin(best, log(p->trial[i].ratio));
	}
	return best;
}

/* Numbers by size, words by the alphabet. */
static int by_value(const void *a, const void *b)
{
	char *end_a, *end_b;
	double x = strtod(a, &end_a), y = strtod(b, &end_b);
	if (end_a != (const char *)a && end_b != (const char *)b && x != y)
		return x < y ? -1 : 1;
	return strcmp(a, b);
}

static int by_weight(const void *a, const void *b)
{
	const axis *x = a, *y = b;
	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Knobs that vary among the measured trials, those that matter most first. */
static unsigned find_axes(const report_place *p, axis *out)
{
	unsigned n = 0;
	for (unsigned k = 0; k < kir_nknobs; k++) {
		axis *a = &out[n];
		memset(a, 0, sizeof *a);
		a->name = kir_knobs[k].name;
		for (unsigned i = 0; i < p->ntrial; i++) {
			char word[WORD];
			value_of(p->trial[i].sched, a->name, word);
			if (measured(&p->trial[i]) && a->n < MAX_VALUES && word[0] &&
			    axis_index(a, word) < 0)
				memcpy(a->value[a->n++], word, WORD);
		}
		if (a->n < 2)
			continue;
		qsort(a->value, a->n, WORD, by_value);
		double lo = INFINITY, hi = -INFINITY;
		for (unsigned v = 0; v < a->n; v++) {
			double x = log_best(p, a, v);
			lo = fmin(lo, x);
			hi = fmax(hi, x);
		}
		a->weight = hi - lo;
		n++;
	}
	qsort(out, n, sizeof *out, by_weight);
	return n;
}

/* -- drawings ------------------------------------------------------------------------------ */

/* Ratio to the default of each trial, and the best so far as a line. */
static void draw_progress(const report_place *p, draw *d)
{
	double most = 1.2, least = 1, best = 1;
	for (unsigned i = 0; i < p->ntrial; i++)
		if (measured(&p->trial[i])) {
			most = fmax(most, fmin(p->trial[i].ratio, 3));
			least = fmin(least, p->trial[i].ratio);
		}
	draw_begin(d, "Best over the trials", 0, fmax(p->ntrial, 2), fmax(0, least - 0.1),
	           most + 0.05);
	draw_axes(d, "trial", "time / default");
	draw_level(d, 1, "default");
	for (unsigned i = 0; i < p->ntrial; i++) {
		const kt_trial *t = &p->trial[i];
		char text[400];
		snprintf(text, sizeof text, "trial %u, %s, ratio %.3f: %s", i + 1,
		         kt_state_names[t->state], t->ratio, t->sched);
		if (measured(t))
			draw_dot(d, i + 0.5, fmin(t->ratio, 3),
			         t->state == KT_IS_ok ? "ok" : "slow", text);
		else
			draw_tick(d, i + 0.5, t->state == KT_IS_same ? "same" : "bad", text);
		if (t->state != KT_IS_ok || !(t->ratio < best))
			continue;
		draw_line(d, i + 0.5, best, i + 0.5, t->ratio, "best");
		best = t->ratio;
		unsigned next = i + 1;
		while (next < p->ntrial &&
		       !(p->trial[next].state == KT_IS_ok && p->trial[next].ratio < best))
			next++;
		draw_line(d, i + 0.5, best, next < p->ntrial ? next + 0.5 : next, best, "best");
	}
	draw_end(d);
}

/* The least ratio for each pair of values of two knobs. */
static void draw_heat(const report_place *p, const axis *x, const axis *y, draw *d)
{
	char name[80];
	double least = INFINITY, most = 0;
	double cell[MAX_VALUES][MAX_VALUES];
	for (unsigned i = 0; i < MAX_VALUES * MAX_VALUES; i++)
		cell[i / MAX_VALUES][i % MAX_VALUES] = NAN;
	for (unsigned i = 0; i < p->ntrial; i++) {
		const kt_trial *t = &p->trial[i];
		char a[WORD], b[WORD];
		value_of(t->sched, x->name, a);
		value_of(t->sched, y->name, b);
		int u = axis_index(x, a), v = axis_index(y, b);
		if (!measured(t) || u < 0 || v < 0)
			continue;
		cell[v][u] = fmin(isnan(cell[v][u]) ? INFINITY : cell[v][u], t->ratio);
		least = fmin(least, t->ratio);
		most = fmax(most, cell[v][u]);
	}
	snprintf(name, sizeof name, "%s by %s", y->name, x->name);
	draw_grid_begin(d, name, x->name, y->name, x->n, y->n);
	for (unsigned u = 0; u < x->n; u++)
		draw_grid_label(d, u, x->value[u], true);
	for (unsigned v = 0; v < y->n; v++) {
		draw_grid_label(d, v, y->value[v], false);
		for (unsigned u = 0; u < x->n; u++)
			draw_cell(d, u, v, cell[v][u], least, fmin(most, 3 * least));
	}
	draw_end(d);
}

/* All candidates do the same work on the same bytes, so they stand one above the other at the
 * problem's intensity; the dots are spread a little to be told apart. */
static void draw_roofline(const report_place *p, draw *d)
{
	double at = p->flops / p->bytes, knee = p->peak / p->stream;
	double lo = fmin(at, knee) / 4, hi = fmax(at, knee) * 4, top = p->peak * 2,
	       bottom = fmin(lo * p->stream, p->peak / 10);
	for (unsigned i = 0; i < p->ntrial; i++)
		if (measured(&p->trial[i]) && p->trial[i].median > 0)
			bottom = fmin(bottom, p->flops / p->trial[i].median / 2);
	draw_begin(d, "Roofline", log10(lo), log10(hi), log10(bottom), log10(top));
	draw_log_axes(d, "operations a byte of cache", "operations a second");
	draw_line(d, log10(lo), log10(lo * p->stream), log10(knee), log10(p->peak), "roof");
	draw_line(d, log10(knee), log10(p->peak), log10(hi), log10(p->peak), "roof");
	for (unsigned i = 0; i < p->ntrial; i++) {
		const kt_trial *t = &p->trial[i];
		char text[400];
		if (!measured(t) || !(t->median > 0))
			continue;
		double rate = p->flops / t->median, roof = fmin(p->peak, at * p->stream);
		snprintf(text, sizeof text, "%.1f GFLOP/s, %.1f GB/s, %.2f of the roof: %s",
		         1e-9 * rate, 1e-9 * p->bytes / t->median, rate / roof, t->sched);
		draw_dot(d, log10(at) + 0.04 * ((double)(i * 37 % 17) / 8 - 1), log10(rate),
		         t->state == KT_IS_ok ? "ok" : "slow", text);
	}
	draw_end(d);
}

static void draw_noise(const report_place *p, draw *d)
{
	double most = 1;
	for (unsigned i = 0; i < p->ntrial; i++)
		if (measured(&p->trial[i]))
			most = fmax(most, 50 * (p->trial[i].ratio_hi - p->trial[i].ratio_lo) /
			                      p->trial[i].ratio);
	draw_begin(d, "Noise", 0, fmax(p->ntrial, 2), 0, fmin(most * 1.1, 50));
	draw_axes(d, "trial", "half interval, %");
	draw_level(d, 1, "1 %");
	for (unsigned i = 0; i < p->ntrial; i++) {
		const kt_trial *t = &p->trial[i];
		char text[200];
		if (!measured(t))
			continue;
		double half = 50 * (t->ratio_hi - t->ratio_lo) / t->ratio;
		snprintf(text, sizeof text,
		         "trial %u: %.2f %% from %lld pairs, %.1f %% of time stolen, %lld "
		         "migrations",
		         i + 1, half, (long long)t->n, 100 * t->steal,
		         (long long)t->migrations);
		draw_dot(d, i + 0.5, fmin(half, 50),
		         t->steal > 0.01 || t->migrations ? "bad" : "ok", text);
	}
	draw_end(d);
}

/* -- text ---------------------------------------------------------------------------------- */

/* The knobs in which the winner differs from the default. */
static void print_difference(const report_place *p, draw *d)
{
	bool any = false;
	for (unsigned k = 0; k < kir_nknobs; k++) {
		char a[WORD], b[WORD];
		value_of(p->fallback, kir_knobs[k].name, a);
		value_of(p->chosen, kir_knobs[k].name, b);
		if (!strcmp(a, b))
			continue;
		draw_text(d, "%s<code>%s=%s</code> (was %s)", any ? ", " : "",
		          kir_knobs[k].name, b, a);
		any = true;
	}
	if (!any)
		draw_text(d, "the default");
}

static void print_winners(const report_place *place, unsigned n, draw *d)
{
	draw_text(d, "<table><thead><tr><th>problem</th><th>on</th><th class=num>default, ms"
	             "</th><th class=num>chosen, ms</th><th class=num>time / default</th>"
	             "<th>95 %% interval</th><th>chosen</th></tr></thead>\n<tbody>\n");
	for (unsigned i = 0; i < n; i++) {
		const report_place *p = &place[i];
		draw_text(d, "<tr><td><a href=\"#p%u\"><code>", i);
		draw_escaped(d, p->problem);
		draw_text(d,
		          "</code></a></td><td>%s, %d thread%s, %s</td><td class=num>%.4g</td>",
		          p->target, p->threads, p->threads > 1 ? "s" : "",
		          kt_policy_names[p->policy], 1e3 * p->default_seconds);
		draw_text(d,
		          "<td class=num>%.4g</td><td class=num>%.3f</td><td>%.3f to %.3f</td>"
		          "<td>",
		          1e3 * p->default_seconds * p->ratio, p->ratio, p->ratio_lo,
		          p->ratio_hi);
		print_difference(p, d);
		draw_text(d, "</td></tr>\n");
	}
	draw_text(d, "</tbody></table>\n");
}

static void print_states(const report_place *p, draw *d)
{
	unsigned count[KT_NSTATE] = { 0 };
	for (unsigned i = 0; i < p->ntrial; i++)
		count[p->trial[i].state]++;
	draw_text(d, "<p>%u trials:", p->ntrial);
	for (unsigned s = 0; s < KT_NSTATE; s++)
		if (count[s])
			draw_text(d, " %u %s,", count[s], kt_state_names[s]);
	draw_text(d, " on <code>");
	draw_escaped(d, p->machine);
	draw_text(d, "</code>. Default: <code>");
	draw_escaped(d, p->fallback);
	draw_text(d, "</code></p>\n");
}

static void print_place(const report_place *p, unsigned number, draw *d)
{
	axis axes[kir_nknobs];
	unsigned n = find_axes(p, axes);
	draw_text(d, "<section id=p%u><h2>", number);
	draw_escaped(d, p->problem);
	draw_text(d, "</h2>\n");
	print_states(p, d);
	draw_text(d, "<div class=drawings>\n");
	draw_progress(p, d);
	if (p->stream > 0 && p->peak > 0 && p->flops > 0)
		draw_roofline(p, d);
	draw_noise(p, d);
	if (n > 1)
		draw_heat(p, &axes[0], &axes[1], d);
	if (n > 2)
		draw_heat(p, &axes[0], &axes[2], d);
	if (n > 3)
		draw_heat(p, &axes[2], &axes[3], d);
	draw_text(d, "</div></section>\n");
}

bool report_write(const char *path, const report_place *place, unsigned n, char *why,
                  size_t len)
{
	draw d = { 0 };
	draw_page_begin(&d, "kvjit: schedules chosen by measuring");
	print_winners(place, n, &d);
	for (unsigned i = 0; i < n; i++)
		print_place(&place[i], i, &d);
	draw_page_end(&d);
	FILE *f = fopen(path, "w");
	bool ok = f && fwrite(d.out.text, 1, d.out.len, f) == d.out.len;
	if (f && fclose(f) != 0)
		ok = false;
	if (!ok)
		snprintf(why, len, "%s can't be written: %s", path, strerror(errno));
	free(d.out.text);
	return ok;
}
