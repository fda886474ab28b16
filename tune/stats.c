/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c -- see stats.h.
 *
 * Intervals are order statistics: of n values, the k-th smallest and the k-th largest hold
 * the median between them unless fewer than k of n fair coins fell one way, whatever the
 * noise looks like. Nothing here assumes a normal distribution; times on a shared machine
 * have none.
 */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double middle(const double *sorted, unsigned n)
{
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

enum { EXACT = 1000 }; /* coins that are counted; powers of a half underflow at 1,074 */

/* The largest k with P(fewer than k heads of n) <= tail; 0: not even one. */
static unsigned rank_of(unsigned n, double tail)
{
	double p = pow(0.5, n), sum = 0;
	unsigned k = 0;

	if (n > EXACT) /* as far from the middle, in standard deviations */
		return (unsigned)(n / 2.0 -
		                  (EXACT / 2 - rank_of(EXACT, tail)) * sqrt((double)n / EXACT));
	while (k < n / 2 && sum + p <= tail) {
		sum += p;
		p = p * (double)(n - k) / (double)(k + 1);
		k++;
	}
	return k;
}

/* Sorted values: the interval at a level; unbounded when there are too few. */
static void interval(const double *sorted, unsigned n, double level, double *lo, double *hi)
{
	unsigned k = rank_of(n, (1 - level) / 2);

	*lo = k ? sorted[k - 1] : 0;
	*hi = k ? sorted[n - k] : INFINITY;
}

kt_spread kt_spread_of(double *samples, unsigned n)
{
	kt_spread s = { 0 };

	if (!n)
		return s;
	qsort(samples, n, sizeof(*samples), by_value);
	s.median = middle(samples, n);
	s.min = samples[0];
	interval(samples, n, 0.95, &s.lo, &s.hi);
	if (isinf(s.hi)) { /* too few for an interval: all there is */
		s.lo = samples[0];
		s.hi = samples[n - 1];
	}
	return s;
}

/* -- ratios -------------------------------------------------------------------------------- */

enum { BLOCKS = 12, FEW = 3 * BLOCKS };
static const double long_call = 300e-6, disturbed = 0.03;

/* Calls of a millisecond are often interrupted; then the median moves with the neighbours and
 * the minimum doesn't. Both must be so: the minimum of short calls is a tail of its own. */
static kt_estimator estimator_of(const kt_pairs *p)
{
	double a[KT_MAX_PAIRS];

	if (p->n < FEW)
		return KT_PAIRED;
	memcpy(a, p->b, p->n * sizeof(*a));
	qsort(a, p->n, sizeof(*a), by_value);
	return middle(a, p->n) > long_call && middle(a, p->n) > (1 + disturbed) * a[0]
	           ? KT_MINIMUM
	           : KT_PAIRED;
}

/* Ratios of minima over blocks of consecutive pairs: each block is a small experiment. */
static unsigned block_ratios(const kt_pairs *p, double *out)
{
	unsigned per = p->n / BLOCKS, n = 0;

	for (unsigned i = 0; n < BLOCKS; i += per, n++) {
		unsigned end = n == BLOCKS - 1 ? p->n : i + per;
		double a = INFINITY, b = INFINITY;

		for (unsigned k = i; k < end; k++) {
			a = p->a[k] < a ? p->a[k] : a;
			b = p->b[k] < b ? p->b[k] : b;
		}
		out[n] = a / b;
	}
	return n;
}

kt_ratio kt_ratio_of(const kt_pairs *p, double level)
{
	kt_ratio r = { 1, 0, INFINITY, KT_PAIRED, p->n };
	double x[KT_MAX_PAIRS];
	unsigned n = p->n;

	if (!n)
		return r;
	r.by = estimator_of(p);
	if (r.by == KT_MINIMUM)
		n = block_ratios(p, x);
	else
		for (unsigned i = 0; i < n; i++)
			x[i] = p->a[i] / p->b[i];
	qsort(x, n, sizeof(*x), by_value);
	r.ratio = middle(x, n);
	interval(x, n, level, &r.lo, &r.hi);
	return r;
}

/* -- deciding -------------------------------------------------------------------------------
 * Looking again and again finds a difference in noise, if one looks often enough. A race is
 * looked at after 10, 20, 40, 80, 160 pairs; `better` and `worse` are each wrong once in 1,000
 * at a look, so that five of them call two equal candidates different in less than 1 %, and
 * more than `tie` apart, which `better` asks for besides, less often still.
 *
 * `equal` claims nothing, so it may come early: as soon as the interval of 95 % has no room
 * for a candidate that is better by more than `tie`, further pairs are a waste. */

static bool is_rung(unsigned n)
{
	while (n > 10 && n % 2 == 0)
		n /= 2;
	return n == 10;
}

/* Far off: a few calls are enough to see that, unless they are those that were interrupted,
 * which happens to every fifth call of a millisecond and takes several: even the fastest must
 * be far from the usual, and the fewer there are, the farther. */
static bool is_far_off(const kt_pairs *p)
{
	double least = INFINITY, b[KT_MAX_PAIRS];

	if (p->n < 3)
		return false;
	for (unsigned i = 0; i < p->n; i++)
		least = p->a[i] < least ? p->a[i] : least;
	memcpy(b, p->b, p->n * sizeof(*b));
	qsort(b, p->n, sizeof(*b), by_value);
	return least > (p->n < 5 ? 4 : 2) * middle(b, p->n);
}

kt_verdict kt_decide(const kt_pairs *p, const kt_rule *r, kt_ratio *out)
{
	bool last = p->n >= r->most;

	*out = kt_ratio_of(p, 0.998);
	if (p->n < r->least)
		return KT_MORE;
	if (is_far_off(p))
		return KT_WORSE;
	if (!last && !is_rung(p->n))
		return KT_MORE;
	if (out->lo > 1)
		return KT_WORSE;
	if (out->hi < 1 && out->ratio < 1 - r->tie)
		return KT_BETTER;
	return last || kt_ratio_of(p, 0.95).lo > 1 - r->tie ? KT_EQUAL : KT_MORE;
}

/* -- several processes --------------------------------------------------------------------- */

/* By how much one process's ratio may be off, beyond its own interval. Measured with
 * bench/tune/repeat.py places: 0.06 to 0.4 % (one standard deviation) between children and
 * between processes. */
static const double elsewhere = 0.02;

/* From where on one process's word is enough: a disturbance that lasts as long as a race was
 * seen to move it by 8 %. That a candidate is slower by less is of no use to anyone. */
static const double alone = 1.1;

/* Student's t for two sides of 2.5 %, by degrees of freedom from 2 on. */
static const double student[KT_MAX_RACES - 2] = { 4.303, 3.182, 2.776, 2.571, 2.447, 2.365 };

void kt_races_add(kt_races *r, const kt_pairs *p)
{
	if (!p->n || r->n == KT_MAX_RACES)
		return;
	r->ratio[r->n++] = kt_ratio_of(p, 0.95).ratio;
	for (unsigned i = 0; i < p->n && r->all.n < KT_MAX_PAIRS; i++) {
		r->all.a[r->all.n] = p->a[i];
		r->all.b[r->all.n++] = p->b[i];
	}
}

static void hold(kt_ratio *r, double lo, double hi)
{
	r->lo = lo < r->lo ? lo : r->lo;
	r->hi = hi > r->hi ? hi : r->hi;
}

kt_ratio kt_races_ratio(const kt_races *r, double level)
{
	kt_ratio out = kt_ratio_of(&r->all, level);
	double x[KT_MAX_RACES], mean = 0, square = 0, half;

	if (!r->n)
		return out;
	memcpy(x, r->ratio, sizeof(x));
	qsort(x, r->n, sizeof(*x), by_value);
	out.ratio = middle(x, r->n);
	hold(&out, out.ratio, out.ratio);
	if (r->n == 1) {
		out.lo /= 1 + elsewhere;
		out.hi *= 1 + elsewhere;
	} else if (r->n == 2) {
		hold(&out, x[0], x[1]);
	} else {
		for (unsigned i = 0; i < r->n; i++)
			mean += log(x[i]) / r->n;
		for (unsigned i = 0; i < r->n; i++)
			square += (log(x[i]) - mean) * (log(x[i]) - mean);
		half = student[r->n - 3] * sqrt(square / (r->n - 1) / r->n);
		hold(&out, exp(mean - half), exp(mean + half));
	}
	return out;
}

kt_verdict kt_races_decide(const kt_races *r, const kt_rule *rule, kt_ratio *out)
{
	*out = kt_races_ratio(r, 0.998);
	if (out->lo > (r->n == 1 ? alone : 1))
		return KT_WORSE;
	if (out->ratio >= 1 - rule->tie)
		return KT_EQUAL;
	if (r->n < KT_WITNESSES)
		return KT_MORE;
	return out->hi < 1 ? KT_BETTER : KT_EQUAL;
}
