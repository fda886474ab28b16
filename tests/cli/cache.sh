#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cache.sh -- what a cache holds is shown, checked, joined, and taken out and in as text.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
of=cache
unset KVJIT_CACHE_PATH KVJIT_PINS KVJIT_TRUSTED
export KVJIT_CACHE_DIR="$tmp/user"
problem="attn q=bf16 kv=int8/token-head heads=4:2 dim=64 page=16 causal"

# looking at a cache makes none
refuse 1 "there is no cache in" ls
refuse 1 "there is no cache in" verify "$tmp/nothing"
test ! -e "$tmp/user"
KVJIT_CACHE_DIR=off refuse 1 "is switched off" stats
refuse 2 usage
refuse 2 "no subcommand 'cache frob'" frob
refuse 2 "unknown option --frob" ls --frob
refuse 2 "number from 1" gc --cap-mb 0
refuse 2 "takes knobs" pin "$problem"

# what was compiled is there, by its key and by its problem
"$KVJIT" cache why "$problem" | grep -q '^answer: miss'
"$KVJIT" compile "$problem" >"$tmp/out"
"$KVJIT" cache why "$problem" | grep -q '^answer: hit'
"$KVJIT" cache ls --code >"$tmp/ls"
test "$(wc -l <"$tmp/ls")" = 1
key=$(awk '{ print $2 }' "$tmp/ls")
"$KVJIT" cache show "$key" >"$tmp/show"
grep -q "^problem *$problem\$" "$tmp/show"
"$KVJIT" cache show $problem | diff - "$tmp/show"
"$KVJIT" cache ls --json | grep -q "\"key\":\"$key"
"$KVJIT" cache stats | grep -q '^code  *1$'
"$KVJIT" cache stats --json | grep -q '"code":1,'
"$KVJIT" cache verify | grep -q '1 pieces of code, all sound'
refuse 1 "has no entry for" show 0000000000
refuse 1 "4 to 64 hex digits" show frob

# text: what goes in comes out, and goes in and comes out again
key0=0000000000000000000000000000000000000000000000000000000000000001
cat >"$tmp/a.txt" <<END
# two machines' measurements, one choice by hand
$problem batch=8 ctx=8192 :: kv_tile=32 qk=bf16 # target=avx2 threads=4 policy=cold batch=3 ctx=5 qlen=0 source=trial median=0.00123 lo=0.0012 hi=0.00125 ratio=0.8 ratio_lo=0.79 ratio_hi=0.81 n=40 when=1790000000 codegen=1 key=$key0 machine=avx2 l1=32

$problem batch=1 ctx=256 :: kv_tile=16
END
sed 's/kv_tile=32 qk=bf16/kv_tile=64/; s/n=40/n=50/' "$tmp/a.txt" >"$tmp/b.txt"
"$KVJIT" cache import "$tmp/a.txt" --cache "$tmp/a" | grep -q '2 schedules'
"$KVJIT" cache export --text --cache "$tmp/a" -o "$tmp/a1.txt"
test "$(wc -l <"$tmp/a1.txt")" = 2
grep -q 'ratio_hi=0.81 n=40 when=1790000000' "$tmp/a1.txt"
sort -c "$tmp/a1.txt" 2>/dev/null || LC_ALL=C sort -c "$tmp/a1.txt"
"$KVJIT" cache import "$tmp/a1.txt" --cache "$tmp/a2" >"$tmp/out"
"$KVJIT" cache export --cache "$tmp/a2" | diff - "$tmp/a1.txt"
test "$("$KVJIT" cache ls --schedules --cache "$tmp/a" | wc -l)" = 2

# what tuning gave: choices by hand were never measured; a slower one fails the command
"$KVJIT" cache gains --cache "$tmp/a" >"$tmp/gains"
grep -q '1.5375 *1.2300  0.800 (0.790 to 0.810)  avx2 *4 threads  cold  8/8192/1 ' "$tmp/gains"
grep -q ' :: kv_tile=32 qk=bf16' "$tmp/gains"
grep -q '^1 schedules: 0.800 .*; 1 faster beyond the interval, 0 as fast, 0 slower' "$tmp/gains"
"$KVJIT" cache gains --json --cache "$tmp/a" | grep -q '"ratio":0.8,.*"geomean":0.8,"faster":1,"slower":0'
refuse 1 "no schedule that was measured" gains
refuse 1 "there is no cache in" gains --cache "$tmp/none"
refuse 2 "unknown option --frob" gains --frob
sed 's/ratio=0.8 ratio_lo=0.79 ratio_hi=0.81/ratio=1.05 ratio_lo=1.02 ratio_hi=1.08/' \
	"$tmp/a.txt" >"$tmp/slower.txt"
"$KVJIT" cache import "$tmp/slower.txt" --cache "$tmp/slower" >"$tmp/out"
if "$KVJIT" cache gains --cache "$tmp/slower" >"$tmp/gains"; then exit 1; fi
grep -q '0 faster beyond the interval, 0 as fast, 1 slower' "$tmp/gains"

# all or nothing: a bad line has its number, and what stood there stays
bad() {
	{ cat "$tmp/b.txt"; echo "$2"; } >"$tmp/bad.txt"
	refuse 1 "bad.txt:5.*$1" import "$tmp/bad.txt" --cache "$tmp/a"
	"$KVJIT" cache export --cache "$tmp/a" | diff - "$tmp/a1.txt"
	refuse 1 "bad.txt:5.*$1" import "$tmp/bad.txt" --cache "$tmp/none"
	test ! -e "$tmp/none"
}
bad "PROBLEM :: SCHEDULE" "$problem"
bad "heads" "attn q=bf16 kv=bf16 heads=none dim=16 page=16 :: kv_tile=16"
bad "knob" "$problem :: frob=1"
bad "kv_tile" "$problem :: kv_tile=9999"
bad "after # stand" "$problem :: kv_tile=16 # frob=1"
bad "isn't one of its field" "$problem :: kv_tile=16 # policy=hot"
bad "target takes one of generic, avx2" "$problem :: kv_tile=16 # target=avx9"
bad "has target= and threads=" "$problem :: kv_tile=16 # key=$key0"
refuse 1 "there is no file" import "$tmp/nothing"

# joining: any order, any number of times; of two measurements the one with more samples
"$KVJIT" cache import "$tmp/b.txt" --cache "$tmp/b" >"$tmp/out"
"$KVJIT" cache import "$tmp/a.txt" --cache "$tmp/b" >"$tmp/out"
"$KVJIT" cache export --cache "$tmp/b" | grep -q 'kv_tile=64.* n=50 '
"$KVJIT" cache merge --cache "$tmp/ab" "$tmp/a" "$tmp/b" "$tmp/user" | grep -q '3 of 3'
"$KVJIT" cache merge --cache "$tmp/ba" "$tmp/user" "$tmp/b" "$tmp/b" "$tmp/a" >"$tmp/out"
"$KVJIT" cache merge --cache "$tmp/ba" "$tmp/ab" "$tmp/ba.copy" >"$tmp/out" 2>&1 && exit 1
grep -q '1 of 2' "$tmp/out"
"$KVJIT" cache export --cache "$tmp/ab" >"$tmp/ab.txt"
"$KVJIT" cache export --cache "$tmp/ba" | diff - "$tmp/ab.txt"
test "$(wc -l <"$tmp/ab.txt")" = 2
grep -q 'kv_tile=64.* n=50 ' "$tmp/ab.txt"
"$KVJIT" cache ls --code --cache "$tmp/ab" | grep -q "$key"
# without its journal as well: others read it immutable
mkdir "$tmp/ro"
cp "$tmp/ab/kvjit.db" "$tmp/ro"
chmod 700 "$tmp/ro"
chmod 600 "$tmp/ro/kvjit.db"
"$KVJIT" cache export --cache "$tmp/ro" | diff - "$tmp/ab.txt"
KVJIT_CACHE_DIR=off KVJIT_CACHE_PATH="$tmp/ro" "$KVJIT" cache why "$problem" >"$tmp/why"
grep -q '^answer: hit' "$tmp/why"
# what was tuned with another number of threads is no answer, but told
OMP_NUM_THREADS=7 "$KVJIT" cache why "$problem" --target avx2 --cache "$tmp/ab" >"$tmp/why"
grep -q 'none was tuned for target avx2 with 7 threads' "$tmp/why"
grep -q 'some with another number of threads: [1-9]' "$tmp/why"

# pins: in the cache, as a file, and undone
"$KVJIT" cache pin $problem --sched "kv_tile=32 qk=f32"
"$KVJIT" cache why "$problem" | grep -q 'chosen by: pin'
"$KVJIT" cache export --pins -o "$tmp/pins"
grep -qx "$problem :: kv_tile=32 qk=f32" "$tmp/pins"
"$KVJIT" cache unpin "$problem"
refuse 1 "no such entry" unpin "$problem"
"$KVJIT" cache why "$problem" | grep -q 'chosen by: default'
KVJIT_PINS="$tmp/pins" "$KVJIT" cache why "$problem" | grep -q 'chosen by: pin'
"$KVJIT" cache import --pins "$tmp/pins" --cache "$tmp/p" | grep -q '1 pins'
"$KVJIT" cache export --pins --cache "$tmp/p" | diff - "$tmp/pins"
# a cache's schedules as pins: a line for each size, without measurements
"$KVJIT" cache export --pins --target avx2 --cache "$tmp/ab" >"$tmp/pins"
test "$(cat "$tmp/pins")" = "$problem batch=8 ctx=8192 :: kv_tile=64"
refuse 1 "--target takes" export --target avx9
refuse 1 "knob" pin "$problem" --sched frob=1

# a format of one's own is cached, and stands before its problem on the line
printf 'format m v1 {\n elem s8\n scale f32 token-head amax/127 floor 1e-6\n' >"$tmp/mine"
printf ' tensor cache [h t] { k[d] v[d] ks vs }\n}\nattn q=bf16 kv=m heads=4:2 dim=64 page=16\n' >>"$tmp/mine"
"$KVJIT" cache pin "$tmp/mine" --sched qk=f32
"$KVJIT" cache why "$tmp/mine" | grep -q 'chosen by: pin'
"$KVJIT" cache export --pins >"$tmp/out" 2>"$tmp/err"
test ! -s "$tmp/err"
grep -q '^format m v1 { elem s8; scale .*; tensor .* } attn q=bf16 kv=m .* :: .*qk=f32' "$tmp/out"
"$KVJIT" cache import --pins "$tmp/out" --cache "$tmp/own" | grep -q '1 pins'
"$KVJIT" cache export --pins --cache "$tmp/own" | diff - "$tmp/out"
KVJIT_PINS="$tmp/out" KVJIT_CACHE_DIR=off "$KVJIT" cache why "$tmp/mine" | grep -q 'chosen by: pin'
"$KVJIT" tune "$tmp/mine" --effort model --cache "$tmp/own" >"$tmp/tuned"
"$KVJIT" cache export --cache "$tmp/own" >"$tmp/out"
grep -q '^format m v1 {.* kv=m .* :: .*source=model' "$tmp/out"
"$KVJIT" compile "$tmp/mine" --emit ir >"$tmp/ir"
refuse 1 "not for IR" pin "$tmp/ir" --sched qk=f32
"$KVJIT" compile "$tmp/mine" >"$tmp/out"
"$KVJIT" cache why "$tmp/mine" | grep -q '^answer: hit'

# gc keeps what fits; a damaged file is told
"$KVJIT" cache gc | grep -q '0 entries beyond the cap'
export KVJIT_CACHE_MB=many
refuse 1 "KVJIT_CACHE_MB is 'many'; it takes 1 to 1048576" gc
"$KVJIT" cache gc --cap-mb 1 >"$tmp/out"
unset KVJIT_CACHE_MB
cp "$tmp/ro/kvjit.db" "$tmp/ro/bad.db"
dd if=/dev/zero of="$tmp/ro/bad.db" bs=1 seek=100 count=3000 conv=notrunc 2>/dev/null
status=0
"$KVJIT" cache verify "$tmp/ro/bad.db" >"$tmp/out" 2>&1 || status=$?
grep -q damaged "$tmp/out"
