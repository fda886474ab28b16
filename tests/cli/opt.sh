#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# opt.sh -- kvjit-opt refuses what it doesn't understand: an option that was taken for another, and
# a pass that was named but didn't run, both said that all was well.
set -eu
opt=$(dirname "$KVJIT")/kvjit-opt
tmp=${KVJIT_TMP:-/tmp}/opt.$$
trap 'rm -f "$tmp"' EXIT
good="attn q=bf16 kv=bf16 heads=2 dim=16 page=16"

# refuse CODE WORDS OPTION...: kvjit-opt with these options exits with CODE and says WORDS.
refuse() {
	code=$1 words=$2
	shift 2
	status=0
	echo "$good" | "$opt" "$@" - >"$tmp" 2>&1 || status=$?
	if [ "$status" != "$code" ] || ! grep -qF -e "$words" "$tmp"; then
		echo "kvjit-opt $*: exit code $status, not $code with '$words':"
		cat "$tmp"
		exit 1
	fi
}

for tol in x -5 nan inf 1x ''; do
	refuse 2 "--tol takes a finite number from 0 on, not '$tol'" "--tol=$tol"
done
for seed in x -1 2x ''; do
	refuse 2 "--seed takes an integer, not '$seed'" "--seed=$seed"
done
refuse 2 "--check takes verify, text, ref, not 'foo'" --passes=expand --check=text,foo
for place in after:foo foo:expand expand after after: ':*'; do
	refuse 2 "--print takes before:PASS and after:PASS" --passes=expand --print="$place"
done
"$opt" --help | grep -q "^usage: kvjit-opt"
refuse 2 "unknown option '--frob'" --frob
refuse 2 "a second file '-'" x
refuse 1 "no target 'avx9'; there are generic, avx2" --target=avx9
# all of them: the list was cut where it had grown beyond a buffer
knobs=$(sed -n 's/^[A-Z]*( *\([a-z_0-9]*\),.*/\1/p' "$KVJIT_SOURCE_DIR/ir/knobs.def" | sed ':a;N;$!ba;s/\n/, /g')
refuse 1 "no knob 'frob'; there are $knobs" --sched=frob=1
refuse 1 "$knobs" --sched=a_word_that_is_longer_than_what_is_shown_of_it=1
refuse 1 "knob kv_tile takes" --sched=kv_tile=-1
refuse 1 "knob qk takes auto,f32" --sched=qk=int3
printf 'func @f(%%n: s64) level=V {\n  ret\n}\n' >"$tmp"
for knob in kv_tile=16 qk=f32; do
	"$opt" --sched=$knob "$tmp" >"$tmp.err" 2>&1 && exit 1
	grep -q "knob ${knob%=*} can't be given for a function at level V" "$tmp.err"
done
rm "$tmp.err"
"$opt" --sched=hint=t0 "$tmp" | grep -q hint=t0
status=0
"$opt" --passes=expand 2>"$tmp" || status=$?
[ "$status" = 2 ] && grep -q "a file is missing" "$tmp"
refuse 1 "pass select reads level V, @attn is at level A; run expand,...,vectorize first" \
	--passes=select --check=text,ref
refuse 1 "pass expand reads level A, @attn is at level T already" --passes=expand,expand

echo "$good" | "$opt" --passes=expand,cse --check=verify,text,ref --tol=0 --seed=0x10 \
	--print='before:cse,after:*' - >"$tmp"
[ "$(grep -c '^; ' "$tmp")" = 3 ]

# An indexer's lists are of its queries: made up by sequence, they were read behind their end.
for seed in 1 2 3; do
	echo "index kv=index_e4m3 heads=4 dim=64 page=64 topk=32 ctx=256" |
		"$opt" --passes=all --check=ref --seed=$seed - >"$tmp" 2>&1 || {
		head -n 1 "$tmp"
		exit 1
	}
done

# Made-up scales of groups, of any element and in any order, are above 0 as those of tokens are:
# integer weights take no others, and pass arith was told to have changed the result.
for kv in int8/g32 int4/g32/inline nvfp4 mxfp8 int8/c32 "bf16 kv2=int8/g32"; do
	echo "attn q=bf16 kv=$kv heads=4:2 dim=64 page=32 causal target=avx512-bf16" |
		"$opt" --passes=expand,fold_scales,arith --check=ref --tol=0.1 - >"$tmp" 2>&1 || {
		echo "kv=$kv: $(head -n 1 "$tmp")"
		exit 1
	}
done
