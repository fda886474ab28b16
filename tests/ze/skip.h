/* SPDX-License-Identifier: Apache-2.0 */
/* skip.h -- what tests on the driver of this folder say where its OpenCL runtime isn't. */
#ifndef KVJIT_TESTS_ZE_SKIP_H
#define KVJIT_TESTS_ZE_SKIP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* False, and a sentence that names the folder: return 77 then, which ctest counts as skipped.
 */
static inline bool ze_has_runtime(void)
{
	const char *vendors = getenv("OCL_ICD_VENDORS");
	char icd[512];

	snprintf(icd, sizeof(icd), "%s/intel.icd", vendors ? vendors : "");
	if (!access(icd, R_OK))
		return true;
	printf("SKIPPED: no OpenCL runtime for CPUs at %s; tests/ze/setup.sh installs it\n",
	       icd);
	return false;
}

#endif
