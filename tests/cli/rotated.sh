#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rotated.sh -- rows rotated in blocks and codes with zero points: writers byte for byte, NaN and
# infinities included, attention within its bound, on every backend; sentences for what can't be.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_check.sh"

for backend in c x86; do
	"$KVJIT" info | grep -q "^backend  $backend" || continue
	on="--backend $backend --target generic"
	right "write in=f32 kv=int4_per_token_head heads=2 dim=96 page=16" $on
	right "write in=bf16 kv=e4m3/token-head/rotated heads=3 dim=64:48 page=24" $on
	right "quant in=f16 to=int8/g32/rotated heads=2 dim=96" $on
	right "attn q=bf16 kv=int4_per_token_head heads=8:2 dim=96 page=16 causal lse split=16" $on
	right "attn q=f16 out=f32 kv=bf16/rotated heads=3:1 dim=64 page=16 sparse=33 lse" $on
	right "attn q=f32 out=f32 k=uint4/g32 v=int8/rotated heads=4:2 dim=64:288 page=16 split=16" $on
done

wrong 'k is rotated in blocks of 64, of which a head of 96' "format x v1 { elem bf16; scale none
rotate hadamard 64; tensor c [h t] { k[d] v[d] }
}
attn kv=x heads=2 dim=96 page=16"
wrong 'made of blocks that the format rotates' "format x v1 { elem bf16; scale none
rotate hadamard 64
}
quant to=x heads=2 dim=96"
wrong 'no format is called' "attn kv=uint4/tensor heads=2 dim=64 page=16"
wrong 'no zero points, mean or rotation' "gemm acts=uint4/rotated weights=int8/token-head dim=64:64"
wrong 'no zero points, and stored scales or none' "format x v1 { elem u4
scale f32 token-head range/15 floor 1e-06; values shared; tensor c { k[t d] ks[t] }
}
index kv=x heads=4 dim=64 page=16 topk=8"
wrong 'rotated keys are moved as they are or not at all' "transcode from=int8/token-head/rotated to=int8/token-head heads=2 dim=64 page=16"
