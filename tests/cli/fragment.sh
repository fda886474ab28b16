#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fragment.sh -- attention on GPUs' rows: pass fragment takes these programs, and each pass leaves
# what they compute, on made-up arguments, within what 8-bit products move.
set -eu
opt=$(dirname "$KVJIT")/kvjit-opt
upto=expand,fold_scales,arith,skip_blocks,hoist,cse,dce,fragment

check() { # ROW LEVEL PROBLEM: the level that fragment leaves it at
	row=$1
	level=$2
	shift 2
	"$opt" --target="$row" --passes=$upto - >"$tmp" <<-END
		attn $*
	END
	grep -q "level=$level " "$tmp" || { echo "fragment leaves it at another level: $*"; exit 1; }
	echo "attn $*" | "$opt" --target="$row" --passes=all --check=text,ref --tol=0.1 - >"$tmp" ||
		{ echo "$row: $*"; exit 1; }
}

tmp=${KVJIT_TMP:-/tmp}/fragment.$$
trap 'rm -f "$tmp"' EXIT
check xe-pvc V q=f16 kv=f16 heads=8:2 dim=64 page=64 causal
check xe-bmg V q=bf16 kv=bf16 heads=8:1 dim=128 page=64 causal kv_tile=32
check xe-pvc V q=bf16 kv=e4m3/tensor heads=4:4 dim=64 page=64 causal
check xe-lnl V q=f16 kv=e5m2/head heads=8:2 dim=64 page=128 causal split=0
check xe-pvc V q=bf16 kv=e4m3/token-head heads=8:2 dim=64 page=64 window=40 softcap=30 split=0
check xe-pvc V q=f16 kv=int8/token-head heads=8:2 dim=64 page=64 causal alibi
check xe-pvc V q=f16 kv=f16 heads=6:2 dim=80 page=16 causal q_tile=4 sink lse
check xe-pvc V q=bf16 kv=e4m3/tensor heads=4:1 dim=64 page=64 causal q_tile=4 kv_tile=32
check xe-pvc V q=f16 kv=int8/token-head heads=8:2 dim=64 page=64 causal q_tile=2 rescale=lazy
check xe-dg2 V q=f16 kv=f16 heads=8:2 dim=64 page=64 causal
check xe-dg2 V q=bf16 kv=bf16 heads=8:1 dim=128 page=64 causal kv_tile=32
check xe-dg2 V q=bf16 kv=e4m3/token-head heads=8:2 dim=64 page=64 window=40 softcap=30 split=0
check xe-dg2 V q=f16 kv=e5m2/head heads=8:2 dim=96 page=128 causal split=0
check xe-dg2 V q=f16 kv=int8/token-head heads=8:2 dim=64 page=64 causal alibi
check xe-dg2 V q=f16 kv=int8/token-head heads=8:2 dim=64 page=64 causal q_tile=2 rescale=lazy
check xe-dg2 V q=f16 kv=f16 heads=6:2 dim=80 page=16 causal q_tile=4 sink lse
check xe-dg2 V q=f32 kv=f16 heads=4:2 dim=64 page=16 causal
check xe-lp V q=f32 kv=f16 heads=4:2 dim=64 page=16 causal
check xe-pvc V q=f16 kv=f16/nhd heads=8:2 dim=64 page=64 causal kv_tile=32
check xe-pvc V q=bf16 kv=e4m3/token-head/inline heads=8:2 dim=64 page=32 causal
check xe-bmg V q=bf16 kv=int8/token-head/hnd heads=8:2 dim=64 page=64 causal kv_tile=32
check xe-dg2 T q=bf16 kv=e4m3/token-head/nhd heads=8:2 dim=64 page=32 causal
# what it doesn't take: keys that are no multiple of 16, groups of 32 columns without blocks
"$opt" --target=xe-pvc --passes=$upto - >"$tmp" <<-END
	attn q=bf16 kv=int8/g32/inline heads=4:2 dim=64 page=32 causal
END
grep -q "level=T " "$tmp" || { echo "words of half a run are taken"; exit 1; }
check xe-pvc T q=f16 kv=f16 heads=4:2 dim=64 page=8 causal kv_tile=8
# a scale a group; made-up ones are too large for what pass arith does, so they are compared after it
for kv in int8/g32 e4m3/g32 mxfp8; do
	echo "attn q=bf16 kv=$kv heads=4:2 dim=64 page=32 causal split=0" |
		"$opt" --target=xe-pvc --passes=expand,fold_scales,arith - |
		"$opt" --target=xe-pvc --passes=all --check=text,ref --tol=0.1 - >"$tmp" ||
		{ echo "$kv after arith"; exit 1; }
	grep -q "xe.dpas" "$tmp" || { echo "$kv: no products on the engine"; exit 1; }
done
# as many rows as keys: an iota numbers both
check xe-pvc V q=f16 kv=f16 heads=16:4 dim=64 page=64 causal q_tile=4 kv_tile=16
# pieces, which are no result of attention's and so can't be compared before they are loops
echo "attn q=bf16 kv=int8/token-head heads=4:1 dim=256 page=64 causal split=64" |
	"$opt" --target=xe-pvc --passes=expand,fold_scales,arith - |
	"$opt" --target=xe-pvc --passes=all --check=text,ref --tol=0.1 - >"$tmp" ||
	{ echo "pieces of a sequence"; exit 1; }
grep -q "xe.dpas" "$tmp" && grep -q "= 0 to 256 step 64" "$tmp" || { echo "no cut join"; exit 1; }
