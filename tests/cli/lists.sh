#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lists.sh -- the lists of examples/: every line is a problem that compiles, and the five commands
# of docs/tuning.md "A list for a model", on sizes that take no time, from tuning to a hit in a
# signed pack that says which schedule was measured.
set -eu
umask 077
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
unset KVJIT_CACHE_PATH KVJIT_PINS
export OMP_NUM_THREADS=1 KVJIT_CACHE_DIR="$tmp/user" KVJIT_TRUSTED="$tmp/trusted"

# every line of every list; what has no schedule to choose is told and isn't a failure
for list in "$KVJIT_SOURCE_DIR"/examples/*.problems; do
	"$KVJIT" tune --list "$list" --effort model --json --cache "$tmp/model" \
		>"$tmp/out" 2>"$tmp/err" || { cat "$tmp/err"; exit 1; }
	results=$(grep -c '"event":"result"' "$tmp/out")
	over=$(grep -c 'there is nothing to tune: .*; passed over' "$tmp/err" || :)
	lines=$(grep -v '^#' "$list" | grep -c .)
	[ $((results + over)) = "$lines" ] ||
		{ echo "$list: $results results and $over passed over of $lines"; exit 1; }
	[ "$(wc -l <"$tmp/err")" = "$over" ] || { cat "$tmp/err"; exit 1; }
done
# a line that is no problem is a failure, and the others still have their results
{ echo "attn q=bf16 kv=int5 heads=2 dim=16 page=16"; cat "$KVJIT_SOURCE_DIR/examples/llama-8b.problems"; } \
	>"$tmp/wrong"
status=0
"$KVJIT" tune --list "$tmp/wrong" --effort model --cache "$tmp/wrong.c" >"$tmp/out" 2>"$tmp/err" || status=$?
[ $status = 1 ] && grep -q "kv=int5.*: .*kv" "$tmp/err" && grep -q "heads=32:8" "$tmp/out"

if ! "$KVJIT" info | grep -q '^runs .*avx2'; then
	echo "SKIPPED: kernels for avx2, of which the pack is made, don't run here"
	exit 77
fi
sed 's/heads=32:8/heads=4:1/; s/heads=8/heads=1/; s/batch=32/batch=4/; s/ctx=[0-9]*/ctx=128/
	s/qlen=512/qlen=16/' "$KVJIT_SOURCE_DIR/examples/llama-8b.problems" >"$tmp/list"
"$KVJIT" tune --list "$tmp/list" --budget 0.3 --threads 1 --warm --target avx2 \
	--report "$tmp/report.html" >"$tmp/out"
"$KVJIT" cache gains >"$tmp/gains"
grep -q '^[0-9]* schedules: .* 0 slower' "$tmp/gains"
grep -q 'tuned / default\|time / default' "$tmp/report.html"
"$KVJIT" cache pack -o "$tmp/llama.kvpack" --name llama-8b --version 1 --list "$tmp/list" \
	--targets avx2 >"$tmp/out"
"$KVJIT" cache keygen -o "$tmp/release" | tail -n 1 >"$tmp/trusted"
"$KVJIT" cache sign "$tmp/llama.kvpack" --key "$tmp/release.key" >"$tmp/out"
"$KVJIT" cache verify "$tmp/llama.kvpack" | grep -q 'signed by a trusted key'

# elsewhere: without a cache, the pack has code and schedule of each line
rm -rf "$tmp/user"
export KVJIT_CACHE_DIR=off KVJIT_CACHE_PATH="$tmp/llama.kvpack"
grep -v '^#' "$tmp/list" | grep . | while read -r problem; do
	"$KVJIT" cache why $problem --target avx2 >"$tmp/why"
	grep -q '^  chosen by: trial' "$tmp/why" && grep -q '^answer: hit' "$tmp/why" ||
		{ cat "$tmp/why"; exit 1; }
done
# what an engine compiles names no sizes: the schedules of all are there for its plans
"$KVJIT" cache why attn q=bf16 kv=e4m3 heads=4:1 dim=128 page=128 causal --target avx2 >"$tmp/why"
grep -q '^  chosen by: .* tuned for sizes' "$tmp/why" && grep -q '^answer: hit' "$tmp/why" ||
	{ cat "$tmp/why"; exit 1; }
