/* SPDX-License-Identifier: Apache-2.0 */
/* support_locale.h -- a host whose locale has a decimal comma. */
#ifndef KVJIT_TEST_SUPPORT_LOCALE_H
#define KVJIT_TEST_SUPPORT_LOCALE_H

#include <stdbool.h>

/* The system's, else one made in the folder from its source; false: there is none here. True:
 * printf writes 0,5. */
bool support_comma(const char *folder);
void support_no_comma(void); /* as a program begins */

#endif
