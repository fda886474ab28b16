#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# record.sh -- KVJIT_RECORD and kvjit tune --from: a record of real calls is tuned, the dearest
# problem first, within one budget; records are put together; wrong ones are refused by line.
set -u
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
of=tune
mkdir -m 700 "$tmp/c"
unset KVJIT_CACHE_PATH KVJIT_PINS
attn="attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=512"
write="write in=bf16 kv=int8/token-head heads=1 dim=64 page=64"

# what a process called, written at its end
KVJIT_RECORD="$tmp/calls.%p.txt" "$KVJIT" bench "$attn" --seconds 0.2 --vs none --threads 1 \
	>"$tmp/bench.out" 2>&1 || fail "bench"
cat "$tmp"/calls.*.txt >"$tmp/calls.txt"
grep -q '^# kvjit tune --from' "$tmp/calls.txt" || fail "a record without its first line"
grep -q "^attn .*batch=1 ctx=512 :: calls=[1-9][0-9]* us=[0-9.]*$" "$tmp/calls.txt" ||
	fail "no line of what was called"
KVJIT_RECORD=/nowhere/x "$KVJIT" info >"$tmp/info.out" 2>"$tmp/info.err" &&
	fail "a file that can't be written is taken"
grep -q "KVJIT_RECORD is '/nowhere/x'" "$tmp/info.err" || fail "it isn't said"

# wrong records
refuse 1 "there is no record" --from "$tmp/none" --cache "$tmp/c"
: >"$tmp/empty.txt"
refuse 1 "has no calls" --from "$tmp/empty.txt" --cache "$tmp/c"
for line in "$attn" "$attn :: calls=1" "$attn :: calls=0 us=5" "$attn :: calls=2 us=-1" \
	"$attn :: calls=nan us=1" "$attn :: calls=2 us=1 more"; do
	printf '# c\n%s :: calls=3 us=4\n%s\n' "$write" "$line" >"$tmp/wrong.txt"
	refuse 1 "wrong.txt, line 3: a record has" --from "$tmp/wrong.txt" --cache "$tmp/c"
done
refuse 2 "excludes --list and --aa" --from "$tmp/calls.txt" --list "$tmp/calls.txt"
refuse 2 "excludes --list and --aa" --from "$tmp/calls.txt" --aa
refuse 2 "--shard divides a list" --from "$tmp/calls.txt" --shard 0/2
refuse 2 "" --from "$tmp/calls.txt" "$attn"

# what is dearest comes first, lines of one problem are one, and the total is a mean by time: the
# model's picks are not measured, so nothing is said to be gained
cat >"$tmp/two.txt" <<END
$write :: calls=10 us=100
$attn :: calls=10 us=600
$attn :: calls=5 us=300
END
"$KVJIT" tune --from "$tmp/two.txt" --effort model --json --cache "$tmp/c" >"$tmp/two.out" 2>"$tmp/two.err" ||
	fail "tune --from"
sed -n '1p' "$tmp/two.out" | grep -q '"problem":"attn' || fail "the dearest isn't first"
sed -n '2p' "$tmp/two.out" | grep -q '"problem":"write' || fail "the second problem"
tail -n 1 "$tmp/two.out" | grep -q \
	'"event":"total","ratio":1.000000,"lo":1.000000,"hi":1.000000,"problems":2,"tuned":2,"share":1.0' ||
	fail "the total"

# measured, within one budget
grep '^attn' "$tmp/calls.txt" >"$tmp/attn.txt"
start=$(date +%s)
"$KVJIT" tune --from "$tmp/attn.txt" --budget 3 --warm --cache "$tmp/c" --again >"$tmp/tuned.out" \
	2>"$tmp/tuned.err" || fail "tune --from, measured"
[ $(($(date +%s) - start)) -le 60 ] || fail "the budget"
tail -n 1 "$tmp/tuned.out" | grep -q \
	'^all recorded calls: [01]\.[0-9]* of their time (.* to .*); 1 of 1 problems were tuned, 100.0 %' ||
	fail "the total, as text"
# a budget that ends before the list does
printf '%s :: calls=1 us=900\n%s :: calls=1 us=1\n' "$attn" "$write" >"$tmp/short.txt"
"$KVJIT" tune --from "$tmp/short.txt" --budget 0.2 --warm --cache "$tmp/c" --again >"$tmp/short.out" \
	2>"$tmp/short.err" || fail "tune --from, too short"
grep -q 'write .*: not tuned, the budget is used up' "$tmp/short.err" || fail "what wasn't tuned"
tail -n 1 "$tmp/short.out" | grep -q '1 of 2 problems were tuned, 99.9 %' || fail "its share"
# a list as well
"$KVJIT" tune --list "$tmp/two.txt" --effort model --cache "$tmp/c" >"$tmp/list.out" 2>&1 ||
	fail "tune --list of a record"
echo ok
