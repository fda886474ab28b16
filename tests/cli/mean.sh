#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mean.sh -- keys stored less a mean: writers byte for byte, NaN and infinities included, attention
# within its bound, on every backend; bench, transcodes; sentences for what can't be.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_check.sh"

# C costs a run of the compiler for each program: two of them will do.
for backend in c x86; do
	"$KVJIT" info | grep -q "^backend  $backend" || continue
	on="--backend $backend --target generic"
	right "write in=bf16 kv=e4m3/token-head/centered/rotated heads=3 dim=64:48 page=24" $on
	right "attn q=bf16 kv=int8/token-head/centered heads=8:2 dim=96 page=16 causal lse split=16" $on
	[ $backend = x86 ] || continue
	right "write in=f32 kv=uint4/g32/centered heads=2 dim=96 page=16" $on
	right "write in=f16 k=bf16/centered v=int8/token-head heads=2 dim=64 page=16" $on
	right "quant in=bf16 to=e4m3/g128/centered heads=2 dim=5248" $on
	right "attn q=f16 out=f32 kv=e4m3/head/centered/rotated heads=3:1 dim=64 page=16 sparse=33 lse qscale" $on
	right "attn q=f32 out=f32 k=nvfp4/centered v=int8/token-head heads=4:2 dim=64 page=16 sink softcap=5 q_tile=4" $on
	right "attn q=f32 out=f32 kv=int4/g32/centered kv2=bf16/centered heads=4:2 dim=64 page=16 causal lse" $on
	right "transcode from=bf16/centered to=int8/token-head/centered heads=2 dim=64 page=16:8" $on
	right "transcode from=int8/token-head/centered/rotated to=int8/token-head/inline/centered/rotated heads=2 dim=64 page=16" $on
	"$KVJIT" bench "attn q=bf16 kv=int8/token-head/centered heads=4:2 dim=64 page=16 ctx=64" \
		$on --seconds 0.05 --warm >"$tmp/out" || { cat "$tmp/out"; exit 1; }
done

wrong 'values are stored whole, only keys less a mean: write k.mean given' "format x v1 { elem bf16
scale none; mean given; tensor c [h t] { k[d] v[d] }
}
attn kv=x heads=2 dim=64 page=16"
wrong 'mean must be none or given' "format x v1 { elem bf16
scale none; k.mean stored; tensor c [h t] { k[d] v[d] }
}
attn kv=x heads=2 dim=64 page=16"
wrong 'mean is about keys in one part and values that are stored' "format x v1 { elem bf16
scale none; k.mean given; values shared; tensor c [t] { k[d] }
}
attn kv=x heads=2:1 dim=64 page=16"
wrong 'no zero points, mean or rotation' \
	"gemm acts=int8/token-head/centered weights=int8/token-head dim=64:64"
wrong 'bf16/centered stores keys less a mean, bf16 whole ones; both formats must do the same' \
	"transcode from=bf16/centered to=bf16 heads=2 dim=64 page=16"
wrong 'no format is called' "attn kv=bf16/centered/centered heads=2 dim=64 page=16"
