/* SPDX-License-Identifier: Apache-2.0 */
/* golden.h -- running stored cases: what the files of `kvjit check --golden` share.
 *
 * A case is one op on stored arrays with the results it must give. It runs once on each
 * machine: a backend and a target.
 */
#ifndef KVJIT_TOOL_GOLDEN_H
#define KVJIT_TOOL_GOLDEN_H

#include "../check/bind.h"
#include "../check/machine.h"

#include <cjson/cJSON.h>

typedef struct golden_case {
	const char *name, *op;
	const cJSON *params, *arrays;
	const char *data; /* of its .bin */
	size_t bytes;
	const char *sched; /* --sched, or NULL */
	const char *spoil; /* --spoil, or NULL */
	double fraction;   /* of an output's bytes, may differ: rotated writers alone */
} golden_case;

typedef struct golden_array {
	const void *data;
	char dtype[8];
	kir_elem elem;
	int rank;
	int64_t shape[6], count;
} golden_array;

/* What came of a case on a machine. */
typedef struct golden_result {
	bool failed;
	double fraction;  /* the case's */
	char text[400];   /* why it failed, or what was compared */
	double worst;     /* largest err/bound, 0 for exact ones */
	unsigned checked; /* elements compared: a case that compares nothing fails */
} golden_result;

/* False when the case has no such array, or the array isn't inside its file. */
bool golden_get(const golden_case *c, const char *name, golden_array *out);
/* Numbers and words of params; dflt if the key is missing. */
double golden_number(const cJSON *object, const char *key, double dflt);
const char *golden_word(const cJSON *object, const char *key);
int64_t golden_item(const cJSON *object, const char *key, int i); /* of an array; 0 */

/* Adds to the result that it failed; false, so that callers can return it. */
bool golden_fail(golden_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Compares bytes and names the first that differs. */
bool golden_same(golden_result *r, const char *what, const void *got, const void *want,
                 size_t bytes, size_t item);
/* Compiles on the machine; NULL after golden_fail. */
kvjit_kernel *golden_compile(const machine *m, const golden_case *c, const char *text,
                             golden_result *r);
/* Compiles text, calls it with b and releases it. */
bool golden_call(const machine *m, const golden_case *c, const char *text, const bind *b,
                 golden_result *r);
/* An input of the case as an argument under that name, copied between guard pages. */
bool golden_bind(const golden_case *c, const char *array, bind *b, const char *name,
                 golden_result *r);

typedef bool (*golden_op)(const golden_case *c, const machine *m, golden_result *r);

bool golden_quant_rotated(const golden_case *c, const machine *m, golden_result *r);
bool golden_fp_decode(const golden_case *c, const machine *m, golden_result *r);
bool golden_fp_encode(const golden_case *c, const machine *m, golden_result *r);
bool golden_bf16_round(const golden_case *c, const machine *m, golden_result *r);
bool golden_quant_token_head(const golden_case *c, const machine *m, golden_result *r);
bool golden_quant_static(const golden_case *c, const machine *m, golden_result *r);
bool golden_pow2_ceil(const golden_case *c, const machine *m, golden_result *r);
bool golden_quant_group(const golden_case *c, const machine *m, golden_result *r);
bool golden_gemm(const golden_case *c, const machine *m, golden_result *r);
bool golden_write_token_head(const golden_case *c, const machine *m, golden_result *r);
bool golden_write_static(const golden_case *c, const machine *m, golden_result *r);
/* golden_mx.c */
bool golden_quant_mx(const golden_case *c, const machine *m, golden_result *r);
bool golden_write_nvfp4(const golden_case *c, const machine *m, golden_result *r);
bool golden_attention(const golden_case *c, const machine *m, golden_result *r);
bool golden_sparse_mla(const golden_case *c, const machine *m, golden_result *r);
bool golden_mla_records(const golden_case *c, const machine *m, golden_result *r);

#endif
