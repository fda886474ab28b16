#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compile.sh -- every stage is printed, and what is printed can be compiled again.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
problem="attn q=bf16 kv=int8/token-head heads=4:2 dim=64 page=16 causal"

for stage in ir tile vector llvm asm c obj schedule resolved; do
	"$KVJIT" compile "$problem" --emit $stage -o "$tmp/$stage"
	test -s "$tmp/$stage"
done
grep -q 'attention q=' "$tmp/ir"
grep -q 'level=T' "$tmp/tile"
grep -q 'level=V' "$tmp/vector"
grep -q 'kv_tile=' "$tmp/schedule"
# what passes made of open knobs, in a comment: the whole is a schedule, and gives the same code
grep -q '^; resolved: .*hint=' "$tmp/schedule"
"$KVJIT" explain "$problem" | grep -q "^resolved: $(cat "$tmp/resolved")$"
"$KVJIT" compile "$problem" --sched "$(cat "$tmp/schedule")" --emit vector | diff - "$tmp/vector"
test "$(head -c 4 "$tmp/obj" | tail -c 3)" = ELF
# the problem may also stand as words, and the text of a stage is a program
"$KVJIT" compile $problem --emit ir | diff - "$tmp/ir"
"$KVJIT" compile "$tmp/ir" --emit ir | diff - "$tmp/ir"
for stage in tile vector; do
	"$KVJIT" compile "$tmp/$stage" --emit asm | grep -q ret
done
# code that came from a cache, which loads no backend, has its object all the same
for i in 1 2; do
	KVJIT_CACHE_DIR="$tmp/cache" "$KVJIT" compile "$problem" --emit obj -o "$tmp/obj$i"
	cmp "$tmp/obj" "$tmp/obj$i"
done
# the same text compiled twice is the same text
"$KVJIT" compile "$problem" --emit vector | diff - "$tmp/vector"
# a target and a knob that are asked for show
"$KVJIT" compile "$problem" --emit tile --target avx2 | grep -q 'target=avx2'
"$KVJIT" compile "$problem" --sched "qk=f32 kv_tile=16" | grep -q 'qk=f32'
# few rows that meet integers leave tile registers, unless somebody asks for them
tiles() {
	LD_PRELOAD=${KVJIT_EMULATOR:-} "$KVJIT" compile \
		"attn q=bf16 heads=32:8 dim=128 page=128 causal $1" --target amx --emit schedule |
		grep -o ' tiles=[a-z]*'
}
if LD_PRELOAD=${KVJIT_EMULATOR:-} "$KVJIT" info | grep -q '^target *amx'; then
	for few in kv=int4/g32 kv=nvfp4 kv=uint4 kv=int8/token-head "kv=int8/token-head qlen=2" \
		"kv=int4/g32 qk=int8"; do
		test "$(tiles "$few")" = " tiles=off"
	done
	for many in kv=e4m3 kv=mxfp8 "kv=int8/token-head qlen=4" "kv=int4/g32 qk=int8x2" \
		"kv=int4/g32 pv=bf16" "kv=int4/g32 q_tile=4" kv=int4_per_token_head; do
		test "$(tiles "$many")" = " tiles=auto"
	done
	test "$(tiles "kv=int4/g32 tiles=on")" = " tiles=on"
else
	echo "left out: knob tiles, as there are none, nor an emulator with bf16 under it"
fi
# comments and blank lines stand anywhere, further fields after a file, values with blanks too
printf '# mine\n\nformat m v1 {\n elem s8\n scale f32 token-head amax/127 floor 1e-6\n' >"$tmp/mine"
printf ' tensor cache [h t] { k[d] v[d] ks vs }\n}\n# it\nattn q=bf16 kv=m heads=4:2\n' >>"$tmp/mine"
"$KVJIT" compile "$tmp/mine" dim=64 page=16 mask="k <= q" | grep -q 'kv_tile='
# a file that isn't there is not a problem
if "$KVJIT" compile "$tmp/nothing" 2>"$tmp/why"; then
	exit 1
fi
grep -q "there is no file" "$tmp/why"
if "$KVJIT" bench $problem batch=1073741824 ctx=1073741824 2>"$tmp/why"; then
	exit 1
fi
grep -q "this machine has" "$tmp/why"
