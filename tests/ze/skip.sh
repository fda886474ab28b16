#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# For other scripts to read: the test is skipped where the test driver or backend $1 isn't there.
"$KVJIT" info | grep -q '^device   0: .*target xe-pvc' || {
	echo "SKIPPED: $("$KVJIT" info | grep '^device ')"
	exit 77
}
if "$KVJIT" info | grep "^backend  $1: " | grep -q "can't be"; then
	echo "SKIPPED: no backend $1"
	exit 77
fi
