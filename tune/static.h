/* SPDX-License-Identifier: Apache-2.0 */
/* static.h -- what a kernel costs on a GPU that isn't here, from numbers counted in its machine
 * code. It ranks schedules of one program for one device; it is no time, and a measurement
 * decides where there is one.
 */
#ifndef KVJIT_TUNE_STATIC_H
#define KVJIT_TUNE_STATIC_H

#include <stdint.h>

/* Of a trip through the hottest loop, save the first four. */
typedef struct kt_static {
	uint32_t registers; /* a thread has: with twice as many half the threads run */
	uint32_t spill;     /* bytes of spilled registers, or of arrays in memory    */
	uint32_t calls;     /* of functions: nobody defines them                     */
	uint32_t issue;     /* cycles an instruction of all lanes takes to issue     */
	uint32_t instructions, sends, dpas;
	double elements; /* of keys and values that a trip handles                */
} kt_static;

/* Cycles an element; INFINITY for code with spills, calls, or no loop. */
double kt_static_cost(const kt_static *k);

/* Orders n candidates by cost, cheapest first; equal ones as they came. order has room for n.
 */
void kt_static_rank(const double *cost, unsigned n, unsigned *order);

#endif
