/* SPDX-License-Identifier: Apache-2.0 */
/* static.c -- see static.h.
 *
 * A thread's trip takes the longest of three things that go on at once: its instructions issue
 * one after the other, its products pass the matrix engine in 8 steps each, and what it loads
 * arrives after a while, in which the other threads of the engine work. 8 threads share an
 * engine, 4 if each has 256 registers. The latency is that of device memory on these GPUs, some
 * 500 cycles; it is a guess, and the same for all candidates.
 */
#include "static.h"

#include <math.h>

static const double latency = 500, steps = 8;

double kt_static_cost(const kt_static *k)
{
	double threads = k->registers > 128 ? 4 : 8;
	double issue = (double)(k->instructions - k->dpas) * k->issue + k->dpas;
	double cycles = fmax(issue, steps * k->dpas);

	if (k->spill || k->calls || !k->instructions || !(k->elements > 0))
		return INFINITY;
	if (k->sends)
		cycles = fmax(cycles, latency / threads);
	return cycles / k->elements;
}

void kt_static_rank(const double *cost, unsigned n, unsigned *order)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at && cost[order[at - 1]] > cost[i]; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}
