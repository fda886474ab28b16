/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h -- shared by verify.c (structure: scopes, regions, levels, operand kinds) and
 * verify_op.c, verify_access.c, verify_xe.c (the rules of each op).
 */
#ifndef KVJIT_KIR_VERIFY_H
#define KVJIT_KIR_VERIFY_H

#include "internal.h"
#include "format.h"

#define KIR_TYPE_TEXTS 4

typedef struct kir_checker {
	const kir_func *f;
	kir_diag *d;
	bool bad;
	bool named; /* names are made on the first message                     */
	kir_names names;
	kir_text type_text[KIR_TYPE_TEXTS];
	unsigned next_text;
	int64_t local_bytes; /* of the locals that live at this place             */
} kir_checker;

/* Adds "%x = add: sentence" at n's line. False. */
bool kir_complain(kir_checker *c, kir_ref n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The type as text; good until KIR_TYPE_TEXTS further calls. */
const char *kir_type_text(kir_checker *c, kir_type_id t);
/* "%x" or a literal's "3". Good as long as kir_type_text's result. */
const char *kir_value_text(kir_checker *c, kir_ref n);

/* Types and attributes of node n, whose operands are there and of the kinds of its row. */
bool kir_check_op(kir_checker *c, kir_ref n);
/* verify_xe.c: ops of a sub-group; of a load, what is known of its block. */
bool kir_check_xe(kir_checker *c, kir_ref n);
bool kir_check_access(kir_checker *c, kir_ref n);
bool kir_check_local(kir_checker *c, kir_ref n);
bool kir_check_view(kir_checker *c, kir_ref n);
bool kir_check_amx(kir_checker *c, kir_ref n);
bool kir_check_named(kir_checker *c, kir_ref n);
bool kir_check_gemm(kir_checker *c, kir_ref n);
bool kir_check_relayout(kir_checker *c, kir_ref n);
/* verify_transcode.c */
bool kir_check_transcode(kir_checker *c, kir_ref n);
/* A side's scales, if they are there, lie beside its codes; both names begin with `prefix`. */
bool kir_check_scales(kir_checker *c, kir_ref n, const kir_format *f, const char *prefix,
                      int side);
/* verify_rows.c: codes and scales against rows and the format. Of an attention every extent is
 * known but the first ones, and f may be NULL. */
bool kir_check_cache_write(kir_checker *c, kir_ref n, const kir_format *f);
bool kir_check_quantize(kir_checker *c, kir_ref n, const kir_format *f);
bool kir_check_attention(kir_checker *c, kir_ref n, const kir_format *f);
/* Scales of groups of tokens beside the codes. */
bool kir_check_token_scales(kir_checker *c, kir_ref n, const kir_side *s, const char *codes,
                            const char *scales);
/* An operand that the format calls for, or has no use for. */
bool kir_check_wanted(kir_checker *c, kir_ref n, const char *name, bool wanted,
                      const char *why);

#endif
