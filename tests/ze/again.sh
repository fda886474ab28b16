#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# again.sh COMMAND... -- runs it, and once more if Intel's compiler for processors, on which the test
# driver runs modules, died in itself. Its pass ReduceCrossBarrierValuesPass keeps a reference into a
# hash table that grows and reads what was freed (seen in gdb with MALLOC_PERTURB_=85): mostly that
# still holds what it did, now and then the heap is spoilt. Its own words tell it from what dies
# elsewhere, which isn't run again, as a wrong result isn't.
out=$(mktemp "${KVJIT_TMP:-/tmp}/again.XXXXXX") || exit 1
trap 'rm -f "$out"' EXIT
"$@" >"$out" 2>&1
code=$?
cat "$out"
[ $code -ge 128 ] && grep -q 'PLEASE submit a bug report to https://software.intel.com' "$out" || exit $code
echo "again.sh: the runtime's compiler died (exit code $code); once more"
"$@"
