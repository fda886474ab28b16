#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# places.sh -- all passes leave what a program computes, on arguments that kvjit-opt makes up,
# wherever a format puts heads and tokens. Places with tokens outside of heads once made the sizes up
# wrongly and wrote past the memory of the arguments (tools/sample.c); under ASan that is seen.
set -eu
opt=$(dirname "$KVJIT")/kvjit-opt
tmp=${KVJIT_TMP:-/tmp}/places.$$
trap 'rm -f "$tmp"' EXIT

for place in native inline split nhd hnd x; do
	for program in "attn q=bf16 kv=e4m3/token-head/$place heads=4:2 causal" \
		"write in=bf16 kv=int8/token-head/$place heads=2"; do
		echo "$program dim=64 page=16 target=avx512-bf16" |
			"$opt" --passes=all --check=text,ref --tol=0.1 - >"$tmp" 2>&1 ||
			{ cat "$tmp"; exit 1; }
		grep -q 'level=V' "$tmp"
	done
done
