#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# again.sh COMMAND... -- runs it, and once more if Intel's compiler for processors, on which the test
# driver runs modules, died in itself. Its pass ReduceCrossBarrierValuesPass keeps a reference into a
# hash table that grows and reads what was freed (seen in gdb with MALLOC_PERTURB_=85): mostly that
# still holds what it did, now and then the heap is spoilt. Its own words tell it from what dies
# elsewhere, which isn't run again, as a wrong result isn't.
#
# ZECL_QUICK: without the passes in which that compiler spends most of its time on long kernels (one
# of a megabyte took it 112 seconds and takes it 14). What is left out only makes code faster: the
# kernel, its products and block loads, its barriers and what they share are the same. Tests of
# short kernels run with all passes, with KVJIT_LONG=1 all tests do.
if [ -n "${ZECL_QUICK:-}" ] && [ -z "${KVJIT_LONG:-}" ]; then
	CL_CONFIG_LLVM_OPTIONS="-opt-disable=licm,gvn,loop-unroll,loop-unroll-full -opt-bisect-verbose=false"
	export CL_CONFIG_LLVM_OPTIONS
fi
out=$(mktemp "${KVJIT_TMP:-/tmp}/again.XXXXXX") || exit 1
trap 'rm -f "$out"' EXIT
"$@" >"$out" 2>&1
code=$?
cat "$out"
[ $code -ge 128 ] && grep -q 'PLEASE submit a bug report to https://software.intel.com' "$out" || exit $code
echo "again.sh: the runtime's compiler died (exit code $code); once more"
"$@"
