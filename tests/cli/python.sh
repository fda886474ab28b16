#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# python.sh -- the example for hosts in Python runs: its structs are those of kvjit.h.
set -eu
command -v python3 >/dev/null || { echo "SKIPPED: no python3"; exit 77; }
if "$KVJIT" info | grep "^backend  x86" | grep -q "can't be"; then
	export KVJIT_BACKEND=c
fi
python3 "$KVJIT_SOURCE_DIR/examples/attention.py" "$(dirname "$KVJIT")/libkvjit.so" |
	grep '^attention: ok, '
