/* SPDX-License-Identifier: Apache-2.0 */
/* support_store.h -- what the tests of stores share: opening one in the group's folder
 * (begin_packs), entries that follow from a number, children that run as somebody else, and a
 * kernel that is compiled through a cache.
 *
 * Names begin with ks_, as every test program is linked with this. */
#ifndef KVJIT_TESTS_SUPPORT_STORE_H
#define KVJIT_TESTS_SUPPORT_STORE_H

#include "support_pack.h"
#include "../tune/store_priv.h"

#include <stdio.h>
#include <stdlib.h>

enum { KS_NOBODY = 65534, KS_SIZE = 700 };

/* Of this name in the group's folder; pk_said has the lines since then. */
kt_store *ks_open(const char *name, kt_mode mode);
kt_reason ks_put(kt_store *s, unsigned i, size_t size);
/* Entry i, which must be there; freed with kt_code_free. */
kt_code ks_get(kt_store *s, unsigned i);
/* How many of the first n are there; 1000 more for each that isn't as it was put. */
unsigned ks_intact(kt_store *s, unsigned n, size_t size);
/* A sound store of n entries of KS_SIZE, with nothing left in its journal. */
void ks_make(const char *name, unsigned n);
const char *ks_db(const char *name); /* NAME/kvjit.db; valid for four calls */
/* Runs SQL on its file as somebody else would. */
void ks_sql(const char *name, const char *text);
/* How many files of the folder were set aside, journals not counted; last: NULL, or gets the
 * name of one. */
unsigned ks_aside(const char *name, char *last, size_t len);
unsigned ks_lines(void); /* of pk_said */

/* fn in a child, which must end with 0, as when it returns; 77 skips the test. */
void ks_run(void (*fn)(void));
/* In a child: an assertion of cmocka would go on with the next test there. */
#define MUST(x)                                                                      \
	do {                                                                         \
		if (!(x)) {                                                          \
			fprintf(stderr, "line %d: %s; %s\n", __LINE__, #x, pk_said); \
			_exit(1);                                                    \
		}                                                                    \
	} while (0)

/* Compiles a small kernel through a cache in the folder within 5 s; NULL, or what went wrong.
 */
const char *ks_not_compiled(const char *name);

#endif
