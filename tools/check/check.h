/* SPDX-License-Identifier: Apache-2.0 */
/* check.h -- kvjit check PROBLEM: what its files share. */
#ifndef KVJIT_TOOL_CHECK_H
#define KVJIT_TOOL_CHECK_H

#include "attn.h"
#include "machine.h"

/* What came of one machine, over all seeds. */
typedef struct check_result {
	bool failed;
	char text[500];  /* the first failure */
	char bound[110]; /* which bound was used */
	double worst;    /* largest err/bound */
	uint64_t compared;
} check_result;

typedef struct check {
	const char *text, *sched;
	kvjit *ref; /* the interpreter, at level A */
	const machine *machine;
	unsigned nmachine;
	check_result *result; /* one a machine */
	attn a;               /* the problem; data of the seed at hand */
	int scale_sign; /* of attention's scale: every third seed's is -1, so that the largest
	                 * product is the smallest score */
	uint64_t rng;
	/* called after each machine's attention with its results bound, before they are
	 * compared, or NULL */
	void (*seen)(const struct check *c, unsigned machine);
	void *ctx;
} check;

/* Data from the seed and a run on every machine that hasn't failed; opens c->a and closes it.
 * False and a sentence in why when the check itself can't be made. */
bool check_seed(check *c, uint64_t seed, char *why, size_t len);
/* The same of a problem of each kind; false and a sentence in why when the check itself can't
 * be made. */
bool check_attn(check *c, uint64_t seed, char *why, size_t len);
bool check_write(check *c, uint64_t seed, char *why, size_t len);
bool check_transcode(check *c, char *why, size_t len);
/* The problem on what is bound, by the interpreter and every machine: outputs must have the
 * same bytes. */
bool check_bytes(check *c, char *why, size_t len);
/* Rows [tokens, heads, dim] of element e, with `more` heads between the tokens; some of zeros,
 * of tiny and huge values, with NaN and infinities. At least 9 tokens. */
bind_arg *check_rows(check *c, kir_elem e, const char *name, int64_t tokens, int64_t heads,
                     int64_t dim, int64_t more);
bool check_index(check *c);
bool check_merge(check *c, uint64_t seed, char *why, size_t len);
bool check_gemm(check *c, char *why, size_t len);
bool check_pack(check *c, char *why, size_t len);

void check_fail(check_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Counts one value; fails when it isn't within the bound. Infinities must be equal. */
void check_value(check_result *r, const char *what, int64_t i, double got, double want,
                 double limit);
/* Compiles for a machine, or NULL after check_fail. */
kvjit_kernel *check_compile(const check *c, unsigned i);

/* -- random data: the same on every machine --------------------------------------------- */

double check_uniform(check *c);                      /* [0, 1)           */
double check_normal(check *c);                       /* N(0, 1)          */
int64_t check_int(check *c, int64_t lo, int64_t hi); /* lo..hi inclusive */
/* n elements of normal values times sigma. */
/* 1 and -1, for each element of the blocks that a head of dim elements is rotated in; nothing
 * without such signs. */
void check_signs(check *c, bind *b, const char *name, const kir_side *s, int64_t dim);
void check_fill(check *c, kir_elem e, void *data, int64_t n, double sigma);
/* Means of keys, for each head, if the side is stored less one: as large as the keys are. */
void check_mean(check *c, bind *b, const char *name, const kir_side *s, int64_t heads,
                int64_t dim);

#endif
