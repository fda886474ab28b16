/* SPDX-License-Identifier: Apache-2.0 */
/* support_patience.h -- time limits of tests of the tuner, for machines that do other things.
 */
#ifndef KVJIT_TEST_SUPPORT_PATIENCE_H
#define KVJIT_TEST_SUPPORT_PATIENCE_H

/* A limit that honest trials of this problem keep on this machine now: `least`, or several
 * times what compiling, racing and checking the default take. A limit for hanging candidates
 * that is shorter than that finds the innocent guilty. Asks once in a process. */
double support_patience(const char *problem, double least);

#endif
