#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# long.sh COMMAND... -- runs it if KVJIT_LONG is set. For tests of what another test shows in less time.
[ -n "${KVJIT_LONG:-}" ] || {
	echo "SKIPPED: it takes minutes; KVJIT_LONG=1 runs it"
	exit 77
}
exec "$@"
