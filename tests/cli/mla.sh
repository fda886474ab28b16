#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mla.sh -- records of one KV head: writers byte for byte on every backend, NaN, infinities and
# strided inputs included.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_check.sh"

for backend in c x86; do
	"$KVJIT" info | grep -q "^backend  $backend" || continue
	right "write in=f16 kv=mla_e4m3 heads=1 dim=576:512 page=16" --backend $backend --target generic
	right "write in=bf16 kv=fp8_ds_mla heads=1 dim=576:512 page=64" --backend $backend --target generic
	right "write in=bf16 kv=mla_352 heads=1 dim=576:512 page=16" --backend $backend --target generic
	right "write in=f32 kv=mla_584 heads=1 dim=512 page=8" --backend $backend --target generic
done

# attention: parts of the keys as values, heads in tiles, pieces joined, index lists with entries
# that are none, unwritten slots that hold NaN; one target each, those this machine has
attn() {
	target=$1
	shift
	"$KVJIT" info | grep -q "^runs .*$target" || return 0
	right "attn $*" --backend x86 --target "$target"
}
"$KVJIT" info | grep -q "^backend  x86" || exit 0
attn avx512 q=bf16 kv=mla_bf16 heads=8:1 dim=576:512 page=16 causal lse
attn avx512-bf16 q=bf16 kv=fp8_ds_mla heads=32:1 dim=576:512 page=16 causal lse split=16
attn generic q=f16 kv=mla_e4m3 heads=3:1 dim=576:512 page=32 sparse=33 sink lse
attn avx512 q=e4m3 qscale out=f32 kv=mla_584 heads=32:1 dim=512 page=16 sparse=100 sink split=16
attn avx2 q=s8 qscale out=bf16 kv=fp8_ds_mla_f32 heads=1:1 dim=576:512 page=16 sparse=1
attn avx512-bf16 q=bf16 kv=mla_528 heads=4:1 dim=512 page=16 sparse=40
attn avx512 q=bf16 kv=mla_352 heads=4:1 dim=576:512 page=16 sparse=40 lse
# groups of 16, whose queries don't fit local memory as turned scores want them
attn avx512-bf16 q=bf16 kv=mla_352 heads=16:1 dim=576:512 page=16 sparse=40
attn avx512-vnni q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16 sparse=77 split=32 lse

# the bench knows records and index lists
"$KVJIT" bench write in=bf16 kv=fp8_ds_mla heads=1 dim=576:512 page=16 ctx=64 --seconds 0 --json | grep -q '"ms"'
"$KVJIT" bench attn kv=mla_584 heads=2:1 dim=512 page=16 sparse=32 ctx=64 --seconds 0 --json | grep -q '"block_share"'
"$KVJIT" bench transcode from=mla_bf16 to=fp8_ds_mla dim=576:512 page=64 ctx=64 --seconds 0 --json | grep -q '"ms"'

# indexers, keys of 4 bits with their groups' scales too; records into others
right "index kv=index_mxfp4 heads=4 dim=64 page=16 topk=8" --backend x86 --target generic
right "index kv=index_mxfp8 heads=4 dim=64 page=16 topk=8" --backend x86 --target generic
right "transcode from=fp8_ds_mla to=mla_bf16 dim=576:512 page=16:64" --backend x86 --target generic
