#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kills.sh -- kvjit tune, killed at random moments and started again on the same cache: every trial
# that was told is there, the next run opens the cache without a word, and repeats at most one
# trial (the fastest so far, which nothing wins without a race in its own process).
#
#     KVJIT=build/kvjit KVJIT_KILLS=200 sh tests/cli/kills.sh      # 5 minutes
set -u
[ -e "${KVJIT_BACKEND_DIR:-$(dirname "$KVJIT")}/libkvjit-x86.so" ] || {
	echo "SKIPPED: the backend x86 isn't built here, and cc takes a second a trial"
	exit 77
}
kills=${KVJIT_KILLS:-5}
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
problem="attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=512"

fail() {
	echo "kill $n: $1"
	tail -n 3 "$tmp/run.jsonl" "$tmp/run.err"
	exit 1
}

# trials FIELD: schedule and state of each complete line of a trial on stdin
trials() {
	sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*\"state\":\"\\([^\"]*\\)\".*/\\2 \\1/p"
}

# What the cache has and what was told, after a run that ended somehow.
compare() {
	# a line that was cut isn't told; the default is measured by every run, first
	grep '"event":"trial".*}$' "$tmp/run.jsonl" | trials sched >"$tmp/run"
	sed 1d "$tmp/run" | sort >"$tmp/new"
	repeated=$(sort -u "$tmp/told" | comm -12 - "$tmp/new" | wc -l)
	[ "$repeated" -le 1 ] || fail "$repeated trials were repeated"
	again=$((again + repeated))
	[ -s "$tmp/run.err" ] && fail "the run says something"
	cat "$tmp/run" >>"$tmp/told"
	if [ -s "$tmp/told" ]; then
		"$KVJIT" cache ls --trials --json --cache "$tmp/c$folder" 2>"$tmp/run.err" |
			sed 's/},{/}\n{/g' | trials schedule | sort -u >"$tmp/kept"
		[ -s "$tmp/run.err" ] && fail "listing the cache says something"
		lost=$(sort -u "$tmp/told" | comm -23 - "$tmp/kept" | wc -l)
		[ "$lost" = 0 ] || fail "$lost trials were told and are lost"
	fi
	ls "$tmp/c$folder" 2>/dev/null | grep damaged && fail "the cache was damaged"
}

n=0 again=0 folder=0 finished=0 all=0
: >"$tmp/told"
while [ $n -lt "$kills" ]; do
	# the process that is killed may not have come to empty them: they would be told twice
	: >"$tmp/run.jsonl"
	: >"$tmp/run.err"
	"$KVJIT" tune --warm --budget 20 --json --cache "$tmp/c$folder" $problem \
		>"$tmp/run.jsonl" 2>"$tmp/run.err" &
	pid=$!
	# after 0 to 3 trials of its own, and up to 0.4 s more: in any step of the next one
	set -- $(od -An -N3 -tu1 /dev/urandom)
	waited=0
	until [ "$(grep -c '"event":"trial"' "$tmp/run.jsonl")" -ge $(($1 % 4)) ] || [ $waited = 3000 ]; do
		kill -0 $pid 2>/dev/null || break
		sleep 0.02
		waited=$((waited + 1))
	done
	sleep "0.$(printf %03d $((($2 * 256 + $3) % 400)))"
	kill -9 $pid 2>/dev/null || finished=$((finished + 1))
	wait $pid 2>/dev/null
	n=$((n + 1))
	compare
	# a run that ended has told its result, and there is nothing more to kill here
	if grep -q '"event":"result"' "$tmp/run.jsonl"; then
		all=$((all + $(sort -u "$tmp/told" | wc -l)))
		folder=$((folder + 1))
		: >"$tmp/told"
	fi
done
# what is left can be finished
"$KVJIT" tune --warm --budget 2 --json --cache "$tmp/c$folder" $problem \
	>"$tmp/run.jsonl" 2>"$tmp/run.err" || fail "the last run failed"
compare
grep -q '"event":"result"' "$tmp/run.jsonl" || fail "the last run has no result"
all=$((all + $(sort -u "$tmp/told" | wc -l)))
echo "ok: $n kills ($finished after the end) in $((folder + 1)) caches," \
	"$all trials told, none lost, $again repeated"
