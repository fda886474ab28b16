/* SPDX-License-Identifier: Apache-2.0 */
/* support_count.h -- how many of many. What a sanitizer looks for is found in the first ones;
 * what more of them show is shown in the build without one. KVJIT_LONG=1 runs all there too. */
#ifndef KVJIT_TESTS_SUPPORT_COUNT_H
#define KVJIT_TESTS_SUPPORT_COUNT_H

#include <stdlib.h>

static inline unsigned support_count(unsigned all, unsigned sanitized)
{
#if defined(__SANITIZE_ADDRESS__)
	return getenv("KVJIT_LONG") ? all : sanitized;
#else
	(void)sanitized;
	return all;
#endif
}

#endif
