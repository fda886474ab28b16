#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# For the scripts in cli/ to read that run programs in Python: skips them without it, and says which
# library and backend they take.
command -v python3 >/dev/null || { echo "SKIPPED: no python3"; exit 77; }
if "$KVJIT" info | grep "^backend  x86" | grep -q "can't be"; then
	export KVJIT_BACKEND=c
fi
LIBKVJIT=$(dirname "$KVJIT")/libkvjit.so
export LIBKVJIT PYTHONDONTWRITEBYTECODE=1
