#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench.sh -- the JSON line has what docs/performance.md reads, and a forced target shows.
set -eu
tmp=${KVJIT_TMP:-/tmp}/bench.$$
trap 'rm -f "$tmp"' EXIT

KVJIT_TARGET=avx2 "$KVJIT" bench attn q=bf16 kv=int8/token-head heads=4:2 dim=64 page=16 causal \
	batch=2 ctx=256 --seconds 0 --json >"$tmp"
for field in problem schedule threads ms ms_min ms_ci gb_s gflop_s stream_gb_s stream_share \
	peak_share vs_bf16 compile_ms call_us; do
	grep -q "\"$field\":" "$tmp" || { echo "no $field in:"; cat "$tmp"; exit 1; }
done
grep -q '"target":"avx2"' "$tmp"
"$KVJIT" bench write in=bf16 kv=e4m3 heads=2 dim=64 page=16 ctx=512 --seconds 0 --json |
	grep -q '"memcpy_share":'
"$KVJIT" bench quant in=bf16 to=int8/token-head heads=2 dim=64 --seconds 0 --vs none |
	grep -q "share of memcpy's rate"
"$KVJIT" bench attn q=bf16 kv=bf16 heads=4:2 dim=64 page=16 ctx=64 --q-len 16 --threads 2 \
	--seconds 0 --vs none | grep -q '2 threads'

# Keys that no query may see aren't read, and aren't counted: 64 tokens of 128 bytes each, not 4096.
"$KVJIT" bench "attn q=bf16 kv=bf16 heads=2:1 dim=32 page=16 causal window=64 ctx=4096" --json \
	--seconds 0.05 --vs none | grep -q '"bytes":8192,'

# Indexers, transcodes and a second cache: bytes are those of a sequence's keys once, of the
# tokens that are read, of both caches.
"$KVJIT" bench "index kv=index_e4m3 heads=4 dim=128 page=64 topk=32 batch=2 ctx=256 qlen=3" --json \
	--seconds 0 --vs none >"$tmp"
grep -q '"bytes":67584,' "$tmp"
grep -q '"stream_share":' "$tmp"
"$KVJIT" bench "transcode from=e4m3/head/hnd to=int8/token-head heads=2 dim=32 page=16:32 ctx=100" \
	--json --seconds 0 >"$tmp"
grep -q '"bytes":12800,' "$tmp"
grep -q '"memcpy_share":' "$tmp"
"$KVJIT" bench "attn q=bf16 kv=int4/g32 kv2=bf16 page2=32 heads=4:2 dim=32 page=16 causal ctx=512 batch=2" \
	--json --cold --seconds 0 >"$tmp"
grep -q '"bytes":120832,' "$tmp"
grep -q '"vs_bf16":' "$tmp"
# keys of one format, values of another: each cache has both sides, of which one is read
"$KVJIT" bench "attn q=bf16 k=e4m3 v=bf16 heads=4:2 dim=32 page=16 causal ctx=512 batch=2" --json --seconds 0 \
	--vs none | grep -q '"bytes":196608,'
"$KVJIT" bench "attn q=bf16 kv=fp8_ds_mla kv2=mla_bf16 heads=16:1 dim=576:512 page=64 sparse=40 sparse2=12 ctx=512" \
	--json --seconds 0 --vs none | grep -q '"bytes":40064,'

# A merge reads eight parts of each row, and their sums.
"$KVJIT" bench "merge out=bf16 heads=4 dim=32 batch=3 qlen=2 lse" --json --cold --seconds 0 >"$tmp"
grep -q '"bytes":25344,' "$tmp"
grep -q '"stream_share":' "$tmp"
if "$KVJIT" bench "pack weights=int8/token-head dim=64:64" 2>"$tmp"; then exit 1; fi
grep -q 'all problems but pack' "$tmp"

# Keys with scales of groups of tokens are written by a transcode; parts of groups are refused.
"$KVJIT" bench "attn q=bf16 kv=int8/c32 heads=4:2 dim=32 page=64 causal ctx=512 batch=2" --json \
	--seconds 0 --vs none | grep -q '"bytes":147456,'
"$KVJIT" bench "transcode from=bf16 to=int8/c32 heads=2 dim=32 page=16:64 ctx=128" --json \
	--seconds 0 | grep -q '"bytes":32768,'
if "$KVJIT" bench "transcode from=bf16 to=int8/c32 heads=2 dim=32 page=16:64 ctx=100" \
	--seconds 0 >/dev/null 2>"$tmp"; then exit 1; fi
grep -q "100 tokens aren't whole groups of the 32" "$tmp"
