#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bounds.sh -- the error bounds see mistakes: attention made wrong in a known way is rejected in
# every golden case, in each arithmetic. A bound so wide that a result of zeros passes would
# make the golden tests worthless.
set -eu
golden=$KVJIT_SOURCE_DIR/tests/golden
out=${KVJIT_TMP:-/tmp}/bounds.$$
near=$out.near
trap 'rm -f "$out" "$out.all" "$near"' EXIT

grep -q avx512_bf16 /proc/cpuinfo || { echo "SKIPPED: no AVX512-BF16"; exit 77; }

# spoil HOW KNOBS PART-OF-NAME: cases that pass nonetheless, into $out
spoil() {
	"$KVJIT" check --golden "$golden" --backend x86 --target avx512-bf16 --only "$3" \
		--sched "$2" --verbose --spoil "$1" >"$out.all" && return 1
	# rejected by comparing, not for another reason
	if grep '^FAIL' "$out.all" | grep -v ': error .*, bound ' | grep -v ' is .*inf, not ' |
		grep -v ', not -inf'; then
		return 1
	fi
	sed -n 's/^ok \([^ ]*\) .*/\1/p' "$out.all" >"$out"
	grep -q '^[0-9]* passed, [1-9][0-9]* failed' "$out.all"
}
for how in zero gain window scale; do
	spoil $how "qk=int8x2 pv=int8x2" attn_int8
	[ ! -s "$out" ] || { echo "$how, two digits: passes"; cat "$out"; exit 1; }
	spoil $how "qk=auto pv=auto" attn
	want=
	# no scales, and scales that are 1
	[ $how != scale ] || want="attn_bf16_decode attn_fp8_unit_small "
	[ "$(tr '\n' ' ' <"$out")" = "$want" ] || { echo "$how: passes"; cat "$out"; exit 1; }
done

# No bound is wider than what it is derived from: the worst of eight draws comes near it. Of sums
# in f32 alone it is far, as none of them rounds to one side throughout.
while read -r least knobs to; do
	"$KVJIT" check "attn q=bf16 kv=int8/token-head heads=4:2 dim=32 page=16 causal lse out=$to" \
		--backend x86 --target avx512-bf16 --seeds 8 --sched "qk=$knobs pv=$knobs" >"$near"
	sed -n 's/^x86.* worst error \([0-9.]*\) of it;.*/\1/p' "$near" |
		awk -v least="$least" '{ ok = $1 >= least && $1 <= 1 } END { exit !ok }' ||
		{ echo "$knobs, $to: worst error less than $least of the bound"; exit 1; }
done <<'END'
0.7 f32 bf16
0.01 f32 f32
0.4 bf16 f32
0.4 int8 f32
0.25 int8x2 f32
END

# K and V of different formats, whose tensors are told apart
"$KVJIT" check "attn q=bf16 k=int8/token-head v=e4m3/head/split heads=4:2 dim=32 page=16 causal" \
	--seeds 1 --backend x86 --target avx512-bf16 | tail -n 1 | grep -q '^[1-9][0-9]* passed, 0 failed$'

# An expression is bounded as the field that says the same: its weights are known from the program.
line() {
	"$KVJIT" check "attn q=bf16 kv=int8/token-head heads=4:2 dim=32 page=16 $1" --seeds 2 \
		--backend x86 --target avx512-bf16 | sed 1q
}
for pair in 'causal window=20|causal mask="q - k < 20"' 'chunk=24|mask="q // 24 == k // 24"'; do
	field=$(line "${pair%|*}")
	expression=$(line "${pair#*|}")
	echo "$field" | grep -q ' ok .*bound of qk=int8 pv=int8'
	[ "$field" = "$expression" ] || { echo "$field"; echo "$expression"; exit 1; }
done
