/* SPDX-License-Identifier: Apache-2.0 */
/* support_pack.h -- what the tests of packs share: a folder, a key that is trusted, records
 * that follow from a number, and a small signed pack of two schedules and two codes.
 *
 * Names begin with pk_, as every test program is linked with this. */
#ifndef KVJIT_TESTS_SUPPORT_PACK_H
#define KVJIT_TESTS_SUPPORT_PACK_H

#include "../tune/pack.h"
#include "../tune/pack_entry.h"

enum { NOW = 1800000000, NSCHED = 2, NCODE = 2, CODE_BYTES = 64 };

extern kt_public pk_pub;
extern kt_secret pk_sec;
extern kt_trust *pk_trust; /* of pk_pub, and nothing else */
/* What is in the small pack. */
extern kt_schedule pk_schedules[NSCHED];
extern kt_code pk_codes[NCODE];
extern uint8_t pk_code_bytes[NCODE][CODE_BYTES];
/* What pk_keep got: lines of the log since the last pk_open_pack. */
extern char pk_said[3000];
void pk_keep(const char *line, void *ctx);

/* Set-up and tear-down of a group. */
int begin_packs(void **state);
int end_packs(void **state);

/* Path in the group's folder; valid for four calls. */
const char *pk_in_folder(const char *name);
void pk_put_file(const char *name, const void *bytes, size_t n);
void pk_put_text(const char *name, const char *text);
uint8_t *pk_get_file(const char *name, size_t *n); /* free() it */
/* A trust file of pk_pub and these lines. */
kt_trust *pk_trust_of(const char *lines);

/* Strings are literals, nothing is to be freed; bytes are filled in. */
kt_key pk_key_of(const char *what, unsigned i);
kt_schedule pk_make_schedule(unsigned i);
kt_code pk_make_code(unsigned i, uint8_t *bytes, size_t n);
kt_pack_input pk_small_input(void);

void pk_write_pack(const char *name, const kt_pack_input *in);
void pk_sign_pack(const char *name);
void pk_small_pack(const char *name); /* both */
kt_pack *pk_open_pack(const char *name);
/* How many of the small pack's entries are there; fails if one isn't as it was written. */
unsigned pk_intact(kt_pack *p);

void pk_assert_has(const char *sentence, const char *words);
void pk_assert_reason(kt_reason got, kt_reason want);
/* Of the small pack schedules are there, code isn't, for the reason, which the log gives with
 * the words. */
void pk_assert_schedules_only(kt_pack *p, kt_reason why, const char *words);
/* Nothing is there. */
void pk_assert_nothing(kt_pack *p, kt_reason why);
void pk_assert_same_schedule(const kt_schedule *a, const kt_schedule *b);
void pk_assert_same_code(const kt_code *a, const kt_code *b);

#endif
