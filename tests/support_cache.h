/* SPDX-License-Identifier: Apache-2.0 */
/* support_cache.h -- what the tests of libkvjit's caches share: a folder for each test, a
 * context with a cache in it, and what that context told its log. */
#ifndef KVJIT_TESTS_SUPPORT_CACHE_H
#define KVJIT_TESTS_SUPPORT_CACHE_H

#include "support_api.h"
#include "../jit/cache.h"

extern char ct_folder[300];
int ct_make_folder(void **state);
int ct_drop_folder(void **state);
#define CT_TEST(f) cmocka_unit_test_setup_teardown(f, ct_make_folder, ct_drop_folder)

extern char ct_said[8000]; /* since the last ct_open */
/* One thread; log to ct_said. Fails the test with the library's sentence. */
kvjit *ct_open(const char *cache, const char *path, const char *pins);
kvjit_kernel *ct_get(kvjit *kv, const char *text, unsigned flags);
bool ct_from_cache(const kvjit_kernel *k);
void ct_put(const char *path, const char *text);

/* Where x86 isn't built (sanitizers) kernels come from the C backend, a second each. Only x86
 * code is decoded, and so kept. */
bool ct_x86_is_built(void);
#define NEEDS_X86()             \
	if (!ct_x86_is_built()) \
	skip()

#endif
