#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mla.sh -- records of one KV head: writers byte for byte on every backend, NaN, infinities and
# strided inputs included.
set -eu
tmp=${KVJIT_TMP:-/tmp}/mla.$$
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"

right() {
	"$KVJIT" check "$@" --seeds 1 >"$tmp/out" || { cat "$tmp/out"; exit 1; }
	tail -n 1 "$tmp/out" | grep -q '^[1-9][0-9]* passed, 0 failed$'
}

for target in avx512 generic; do
	right "write in=bf16 kv=mla_bf16 heads=1 dim=576:512 page=64 target=$target"
	right "write in=f16 kv=mla_e4m3 heads=1 dim=576:512 page=16 target=$target"
	right "write in=bf16 kv=fp8_ds_mla heads=1 dim=576:512 page=64 target=$target"
	right "write in=f32 kv=fp8_ds_mla_f32 heads=1 dim=576:512 page=8 target=$target"
	right "write in=bf16 kv=mla_584 heads=1 dim=512 page=16 target=$target"
	right "write in=bf16 kv=mla_528 heads=1 dim=512 page=32 target=$target"
	right "write in=bf16 kv=index_e4m3 heads=1 dim=128 page=64 target=$target"
done
