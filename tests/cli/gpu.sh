#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gpu.sh -- code for GPUs that aren't there: SPIR-V, native code, its counts, and why there are
# none.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
problem="attn q=f16 kv=int8/token-head heads=4:2 dim=64 page=64 causal"

# what no GPU has
if "$KVJIT" compile "$problem" --emit counts 2>"$tmp/why"; then
	exit 1
fi
grep -q 'is no GPU' "$tmp/why"
[ -e "${KVJIT_BACKEND_DIR:?}/libkvjit-spirv.so" ] || {
	echo "SKIPPED: the backend spirv isn't built here"
	exit 77
}

for backend in spirv spirv-llvm; do
	[ -e "$KVJIT_BACKEND_DIR/libkvjit-$backend.so" ] || continue
	"$KVJIT" compile "$problem" --target xe-pvc --backend $backend --emit spirv -o "$tmp/spirv"
	test "$(od -An -tx4 -N4 "$tmp/spirv" | tr -d ' ')" = 07230203
done
# the target may stand in the text, and with it in a file; a knob that is asked for shows
"$KVJIT" compile "$problem target=xe-pvc" --emit vector -o "$tmp/vector"
grep -q 'target=xe-pvc' "$tmp/vector"
"$KVJIT" compile "$tmp/vector" --emit spirv -o "$tmp/spirv2"
test "$(od -An -tx4 -N4 "$tmp/spirv2" | tr -d ' ')" = 07230203
"$KVJIT" compile "$problem" --target xe-pvc --sched kv_tile=64 | grep -q 'kv_tile=64'
# IR that names none takes the one that is asked for
sed 's/ target=[a-z0-9-]*//' "$tmp/vector" >"$tmp/bare"
"$KVJIT" compile "$tmp/bare" --target xe-pvc --emit vector | diff - "$tmp/vector"

"$KVJIT" compile "$problem" --target xe-pvc --emit counts -o "$tmp/counts" 2>"$tmp/why" || {
	grep -q "without Intel's" "$tmp/why" || { cat "$tmp/why"; exit 1; }
	echo "SKIPPED: $(cat "$tmp/why")"
	exit 77
}
for count in registers spill slm instructions sends dpas block_loads calls loop_instructions; do
	grep -q "^$count  *[0-9][0-9]*  " "$tmp/counts"
done
grep -q '^calls  *0 ' "$tmp/counts"
grep -q '^lanes  *16 ' "$tmp/counts"
"$KVJIT" compile "$problem" --target xe-pvc --emit native -o "$tmp/native"
test "$(head -c 4 "$tmp/native" | tail -c 3)" = ELF
"$KVJIT" compile "$problem" --target xe-pvc --emit native-asm | grep -q 'send'
# explained with the device or without it
"$KVJIT" explain "$problem" --target xe-dg2 >"$tmp/explained" 2>"$tmp/why" || true
grep -q '^offline, for xe-dg2:' "$tmp/explained"
grep -q '^instructions  *[0-9]' "$tmp/explained"
# schedules by their code alone: cheapest first, and the default among them
"$KVJIT" tune "attn q=f16 kv=f16 heads=4:2 dim=64 page=64 causal q_tile=1 split=0" \
	--target xe-pvc --budget 3 >"$tmp/ranked" 2>"$tmp/why" || { cat "$tmp/why"; exit 1; }
grep -q '^for xe-pvc, by its code alone: [0-9]* of [0-9]* schedules tried' "$tmp/ranked"
grep -q 'cycles an element.*kv_tile=' "$tmp/ranked"
sed -n 's/^ *\([0-9.]*\) cycles.*/\1/p' "$tmp/ranked" >"$tmp/cycles"
sort -n "$tmp/cycles" | cmp - "$tmp/cycles"

# native code beside SPIR-V in the user's cache and in packs, which are the same bytes each time
refuse() {
	word=$1
	shift
	if "$@" >"$tmp/out" 2>&1; then
		echo "$*: no failure"
		exit 1
	fi
	grep -q -- "$word" "$tmp/out" || { cat "$tmp/out"; exit 1; }
}
export KVJIT_CACHE_DIR="$tmp/cache"
"$KVJIT" compile "$problem" --target xe-pvc >"$tmp/out"
"$KVJIT" cache why "$problem" --target xe-pvc >"$tmp/why"
grep -q '^answer: hit' "$tmp/why"
grep -q '^native: none' "$tmp/why"
"$KVJIT" compile "$problem" --target xe-pvc --native >"$tmp/out"
"$KVJIT" cache ls --code >"$tmp/ls"
grep -q 'xe-pvc .* native ' "$tmp/ls"
grep -q 'xe-pvc .* spirv  ' "$tmp/ls"
"$KVJIT" cache why "$problem" --target xe-pvc | grep -q '^native: [0-9]* bytes for xe-pvc in cache'
"$KVJIT" cache verify | grep -q '2 pieces of code, 1 of them a GPU'
"$KVJIT" cache show "$problem" | grep -q '^bytes_are *native'
refuse "needs a GPU" "$KVJIT" compile "$problem" --native
refuse "ocloc can't compile this" "$KVJIT" compile "$problem" --target xe-bmg --native
refuse "no native code is kept\|switched off" env KVJIT_CACHE_DIR=off \
	"$KVJIT" compile "$problem" --target xe-pvc --native
echo "$problem" >"$tmp/list"
for n in one two; do
	"$KVJIT" cache pack -o "$tmp/$n.kvpack" --name gpu --version 1 --list "$tmp/list" \
		--targets xe-pvc,xe-dg2 --native >"$tmp/out"
	grep -q ' 4 pieces of code' "$tmp/out"
done
cmp "$tmp/one.kvpack" "$tmp/two.kvpack"
"$KVJIT" cache verify "$tmp/one.kvpack" 2>"$tmp/err" | grep -q '4 pieces of code, 2 of them a GPU'
refuse "needs a GPU among --targets" "$KVJIT" cache pack -o "$tmp/no.kvpack" --name gpu \
	--version 1 --list "$tmp/list" --targets generic --native
refuse "ocloc can't compile this" "$KVJIT" cache pack -o "$tmp/no.kvpack" --name gpu \
	--version 1 --list "$tmp/list" --targets xe-lnl --native
test ! -e "$tmp/no.kvpack"
