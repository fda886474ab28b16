#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kvjit-bench-tiles: its programs verify, and where there are tiles it measures them.
set -eu
. "${0%/*}/../cli_tmp.sh"
bin=$(dirname "$KVJIT")

"$bin/kvjit-bench-tiles" --ir >"$tmp/ir.txt" || fail "no programs"
"$bin/kvjit-opt" --passes= --check=verify,text "$tmp/ir.txt" >"$tmp/opt.out" 2>"$tmp/opt.err" ||
	fail "kvjit-opt refuses the programs"
for op in dpbf16ps dpbssd; do # two programs of four products each
	[ "$(grep -c "amx.$op" "$tmp/opt.out")" = 8 ] || fail "not eight amx.$op"
done
status=0
"$bin/kvjit-bench-tiles" --loads >"$tmp/flag.out" 2>"$tmp/flag.err" || status=$?
[ $status = 2 ] || fail "an unknown flag ends with $status, not 2"

if "$KVJIT" info | grep -q '^tiles *AMX$'; then
	"$bin/kvjit-bench-tiles" >"$tmp/rate.out" 2>"$tmp/rate.err" || fail "no rates"
	grep -q '"bf16_gflop_s":[1-9]' "$tmp/rate.out" || fail "no rate of bf16"
	grep -q '"int8_random_loads":[1-9]' "$tmp/rate.out" || fail "no rate of int8"
fi
