#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh -- check passes what is right, on every backend and target, and says so in both
# forms; golden cases with an unknown op, fmt or feature, or a wrong byte, fail.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"

"$KVJIT" check "attn q=bf16 kv=int8/token-head heads=4:2 dim=32 page=16 causal lse" --seeds 1 \
	>"$tmp/out" || { cat "$tmp/out"; exit 1; }
tail -n 1 "$tmp/out" | grep -q '^[1-9][0-9]* passed, 0 failed$'
for backend in ref c x86; do grep -q "^$backend/" "$tmp/out"; done

# right PROBLEM OPTION...: every target passes, into $tmp/out
right() {
	"$KVJIT" check "$@" --seeds 1 --backend x86 >"$tmp/out" || { cat "$tmp/out"; exit 1; }
}
right "write in=bf16 kv=e4m3/head heads=2 dim=32 page=16" --json
grep -q '"ok":true' "$tmp/out"
for problem in "index kv=index_e4m3 heads=4 dim=64 page=16 topk=32" \
	"transcode from=e4m3/head/hnd to=int8/token-head heads=2 dim=32 page=16:32" \
	"transcode from=bf16 to=uint4/c32 heads=2 dim=32 page=16:64" \
	"transcode from=int8/c16 to=int8/c16/amx heads=2 dim=32 page=32:64" \
	"transcode from=int4/g32 to=int8/c16 heads=2 dim=64 page=16:32" \
	"transcode from=e4m3/head to=uint4/c32 heads=2 dim=32 page=16:64" \
	"attn q=bf16 k=int8/c32 v=int4/g32 heads=4:2 dim=32 page=32" \
	"attn q=bf16 kv=int4/c16 kv2=bf16 page2=16 heads=4:2 dim=32 page=32 causal sink"; do
	right "$problem"
done

# products whose codes lie two a byte, and rows that integers would round: within the bound of f32
for problem in "gemm acts=mxfp8 weights=mxfp4 dim=128:70 out=f32" \
	"gemm in=bf16 acts=mxfp4 weights=mxfp4/inline dim=96:70 packed" \
	"gemm acts=int4/g32 weights=int8/g64 dim=192:33" \
	"gemm acts=bf16 weights=int8/g64 dim=128:70 out=f32" \
	"pack weights=mxfp4 dim=72:70"; do
	right "$problem"
done

# two caches: each judged by its own products
for problem in "attn q=bf16 kv=int8/token-head kv2=bf16 page2=32 heads=4:2 dim=32 page=16 causal sink lse" \
	"attn q=bf16 kv=fp8_ds_mla kv2=mla_bf16 heads=16:1 dim=576:512 page=16 sparse=20 sparse2=9"; do
	right "$problem" --json
	grep -q '"bound of qk=[a-z0-9]* pv=[a-z0-9]* and qk=' "$tmp/out"
done

# a golden folder of one case, then the same with something changed
golden=$KVJIT_SOURCE_DIR/tests/golden
case=$tmp/case
mkdir -p "$case"
cp "$golden/attn_e5m2.bin" "$golden/codec_decode_e5m2.bin" "$case"
cut_case() {
	awk -v want="\"name\": \"$1\"" '
		/^  \{/ { text = ""; keep = 0 }
		{ text = text $0 "\n"; if (index($0, want)) keep = 1 }
		/^  \}/ { if (keep) { sub(/,\n$/, "\n", text); printf "%s", text } }' \
		"$golden/manifest.json"
}
manifest() {
	{ echo '{"format": "kvjit-golden-1", "cases": ['; cat; echo ']}'; } >"$case/manifest.json"
}
last() { "$KVJIT" check --golden "$case" --backend ref | tail -n 1; }

cut_case attn_e5m2 | manifest
test "$(last)" = "1 passed, 0 failed, 0 skipped"
cut_case attn_e5m2 | sed 's/"features": {}/"features": {"tree": true}/' | manifest
test "$(last)" = "0 passed, 1 failed, 0 skipped"
cut_case attn_e5m2 | sed 's/e5m2_tensor/e6m1_tensor/' | manifest
test "$(last)" = "0 passed, 1 failed, 0 skipped"
cut_case attn_e5m2 | sed 's/"op": "paged_attention"/"op": "paged_tension"/' | manifest
test "$(last)" = "0 passed, 1 failed, 0 skipped"
cut_case attn_e5m2 | sed 's/"features": {}/"features": {"window": 3}/' | manifest
test "$(last)" = "0 passed, 1 failed, 0 skipped"
cut_case attn_e5m2 | sed 's/"op": "paged_attention"/"op": "quant_rotated"/' | manifest
test "$(last)" = "0 passed, 1 failed, 1 skipped"
cut_case codec_decode_e5m2 | manifest
test "$(last)" = "1 passed, 0 failed, 0 skipped"
printf '\001' | dd of="$case/codec_decode_e5m2.bin" bs=1 seek=300 conv=notrunc 2>/dev/null
test "$(last)" = "0 passed, 1 failed, 0 skipped"

# KVJIT_PERF=1: kernels have their problem as a name in perf's map of the process
KVJIT_PERF=1 "$KVJIT" check "attn q=bf16 kv=bf16 heads=2 dim=16 page=16" --seeds 1 >"$tmp/out" &
pid=$!
wait $pid
grep -q '^[0-9a-f]* [0-9a-f]* kvjit:attn q=bf16 kv=bf16 heads=2 dim=16 page=16$' "/tmp/perf-$pid.map"
rm -f "/tmp/perf-$pid.map"
