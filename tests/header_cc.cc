/* SPDX-License-Identifier: Apache-2.0 */
/* header_cc.cc -- kvjit.h compiles alone as C++. */
#include "kvjit.h"
#include "kvjit.h"

kvjit_status header_cc(kvjit **kv)
{
	kvjit_options o = {};

	o.size = sizeof(o);
	return kvjit_open(&o, kv);
}
