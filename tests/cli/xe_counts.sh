#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# xe_counts.sh -- decode kernels for Ponte Vecchio through Intel's own compiler: products and block
# loads are the instructions they should be, as many as a tile of 64 keys has, nothing is called,
# nothing spills, and the loop is no longer than docs/xpu.md says (a tenth more is allowed: other
# compilers schedule otherwise).
set -eu
tmp=${KVJIT_TMP:-/tmp}/xe_counts.$$
trap 'rm -f "$tmp"' EXIT

is() { # NAME WANT: the count is that
	got=$(sed -n "s/^$1 *\([0-9]*\) .*/\1/p" "$tmp")
	[ "$got" = "$2" ] || { echo "$problem: $1 is $got, not $2"; exit 1; }
}

check() { # QUERY FORMAT DIM DPAS BLOCKS MOST
	problem="attn q=$1 kv=$2 heads=32:8 dim=$3 page=64 causal kv_tile=64"
	if ! KVJIT_CACHE_DIR=off "$KVJIT" compile "$problem" --target xe-pvc --emit counts >"$tmp" 2>&1; then
		if grep -q -e "without Intel's offline compiler" -e "no backend" -e "can't be loaded" "$tmp"; then
			echo "SKIPPED: $(head -n 1 "$tmp")"
			exit 77
		fi
		cat "$tmp"
		exit 1
	fi
	is calls 0
	is spill 0
	is loop_dpas "$4"
	is loop_block_loads "$5"
	got=$(sed -n 's/^loop_instructions *\([0-9]*\) .*/\1/p' "$tmp")
	[ "$got" -le $(($6 * 11 / 10)) ] || { echo "$problem: $got instructions, not $6"; exit 1; }
}

check f16 f16 64 32 32 590
check f16 f16 128 64 64 933
check bf16 e4m3/tensor 128 64 32 3147
check bf16 e5m2/tensor 128 64 32 1479
check bf16 int8/token-head 128 32 34 998
