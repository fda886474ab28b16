#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# python.sh -- python/kvjit.py: its structs are those of kvjit.h, what it takes and refuses, and the
# example for hosts in Python.
set -eu
command -v python3 >/dev/null || { echo "SKIPPED: no python3"; exit 77; }
if "$KVJIT" info | grep "^backend  x86" | grep -q "can't be"; then
	export KVJIT_BACKEND=c
fi
LIBKVJIT=$(dirname "$KVJIT")/libkvjit.so
export LIBKVJIT PYTHONDONTWRITEBYTECODE=1
python3 "$KVJIT_SOURCE_DIR/tests/python/test_kvjit.py"
python3 "$KVJIT_SOURCE_DIR/examples/attention.py" | grep '^attention: ok, '
