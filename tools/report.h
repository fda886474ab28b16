/* SPDX-License-Identifier: Apache-2.0 */
/* report.h -- what a tuning run found, as one HTML page that needs nothing else: no script, no
 * network, drawings in SVG.
 */
#ifndef KVJIT_TOOL_REPORT_H
#define KVJIT_TOOL_REPORT_H

#include "../tune/record.h"

/* One tuned place. */
typedef struct report_place {
	const char *problem, *target, *machine; /* texts; machine: kt_machine_text       */
	int threads;
	kt_policy policy;
	double bytes, flops;  /* of one call                                           */
	double stream, peak;  /* bytes and flops a second that the machine reached at the
	                       * time; 0: not measured                                 */
	const char *fallback; /* the default schedule                                  */
	const char *chosen;   /* the winner; the same text when nothing beat it        */
	double ratio, ratio_lo, ratio_hi; /* time of the winner / of the default          */
	double default_seconds; /* a call with the default schedule                      */
	const kt_trial *trial;  /* in the order they were made                           */
	unsigned ntrial;
} report_place;

/* Writes the page, replacing the file. False and a sentence in why. */
bool report_write(const char *path, const report_place *place, unsigned n, char *why,
                  size_t len);

#endif
