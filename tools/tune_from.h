/* SPDX-License-Identifier: Apache-2.0 */
/* tune_from.h -- kvjit tune --from: a record of calls (KVJIT_RECORD), and what tuning it gives.
 */
#ifndef KVJIT_TOOL_TUNE_FROM_H
#define KVJIT_TOOL_TUNE_FROM_H

#include <stdbool.h>

/* A problem and its share of the recorded time. */
typedef struct from_line {
	char *problem;
	double calls, us;
	double ratio, lo, hi; /* of its time after tuning to before; 1 until that is known */
	bool tuned;
} from_line;

typedef struct from_record {
	from_line *at; /* by falling us, each problem once */
	unsigned n;
} from_record;

/* False after telling what is wrong, with the line's number. Free either way. */
bool from_read(const char *path, from_record *out);
void from_free(from_record *r);
/* Seconds for line i when `left` are left for it and all after it: its share of their time, and
 * at least 5, if there are as many. */
double from_share(const from_record *r, unsigned i, double left);
/* What all recorded calls take now, over what they took. */
void from_print(const from_record *r, bool json);

#endif
