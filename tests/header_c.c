/* SPDX-License-Identifier: Apache-2.0 */
/* header_c.c -- kvjit.h compiles alone as C11, in one or two inclusions. */
#include "kvjit.h"
#include "kvjit.h"

kvjit_status header_c(kvjit **kv);

kvjit_status header_c(kvjit **kv)
{
	kvjit_options o = { .size = sizeof(o) };

	return kvjit_open(&o, kv);
}
