#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# xe_counts.sh -- kernels for Ponte Vecchio through Intel's own compiler, decode of 4 rows and
# prefill of 8: products and block loads are the instructions they should be, as many as a tile of
# 64 keys has, nothing is called, and the loop is no longer than it was (a tenth more is allowed:
# other compilers schedule otherwise). The last column is the bytes that may be spilled: 0 but for
#
#   8 rows, D=256   results and query alone are 160 (int8) to 192 of 256 registers
set -eu
tmp=${KVJIT_TMP:-/tmp}/xe_counts.$$
trap 'rm -f "$tmp"' EXIT

is() { # NAME WANT: the count is that
	got=$(sed -n "s/^$1 *\([0-9]*\) .*/\1/p" "$tmp")
	[ "$got" = "$2" ] || { echo "$problem: $1 is $got, not $2"; exit 1; }
}

check() { # QUERY FORMAT DIM Q_TILE DPAS BLOCKS MOST SPILL
	problem="attn q=$1 kv=$2 heads=32:8 dim=$3 page=64 causal kv_tile=64 q_tile=$4"
	[ "$4" != 1 ] || problem=${problem% q_tile*}
	if ! KVJIT_CACHE_DIR=off "$KVJIT" compile "$problem" --target xe-pvc --emit counts >"$tmp" 2>&1; then
		if grep -q -e "without Intel's offline compiler" -e "no backend" -e "can't be loaded" "$tmp"; then
			echo "SKIPPED: $(head -n 1 "$tmp")"
			exit 77
		fi
		cat "$tmp"
		exit 1
	fi
	is calls 0
	is loop_dpas "$5"
	is loop_block_loads "$6"
	got=$(sed -n 's/^spill *\([0-9]*\) .*/\1/p' "$tmp")
	[ "$got" -le "$8" ] || { echo "$problem: $got bytes spilled, not $8"; exit 1; }
	got=$(sed -n 's/^loop_instructions *\([0-9]*\) .*/\1/p' "$tmp")
	[ "$got" -le $(($7 * 11 / 10)) ] || { echo "$problem: $got instructions, not $7"; exit 1; }
}

check f16 f16 64 1 32 32 503 0
check f16 f16 64 2 32 32 684 0
check f16 f16 128 1 64 64 833 0
check f16 f16 128 2 64 64 1046 0
check f16 f16 256 1 128 128 1497 0
check f16 f16 256 2 128 128 2180 16384
check bf16 bf16 128 1 64 64 833 0
check bf16 e5m2/tensor 64 1 32 16 783 0
check bf16 e5m2/tensor 64 2 32 16 959 0
check bf16 e5m2/tensor 128 1 64 32 1375 0
check bf16 e5m2/tensor 128 2 64 32 1588 0
check bf16 e5m2/tensor 256 1 128 64 2569 0
check bf16 e5m2/tensor 256 2 128 64 3175 8192
check bf16 e4m3/tensor 64 1 32 16 1633 0
check bf16 e4m3/tensor 64 2 32 16 1823 0
check bf16 e4m3/tensor 128 1 64 32 3042 0
check bf16 e4m3/tensor 128 2 64 32 3251 0
check bf16 e4m3/tensor 256 1 128 64 5813 0
check bf16 e4m3/tensor 256 2 128 64 6245 8192
check bf16 int8/token-head 64 1 20 18 539 0
check bf16 int8/token-head 64 2 20 18 870 0
check bf16 int8/token-head 128 1 36 34 735 0
check bf16 int8/token-head 128 2 36 34 1108 0
check bf16 int8/token-head 256 1 68 66 1114 0
check bf16 int8/token-head 256 2 68 66 2179 16384
