#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# repeat.sh -- tunes of equal candidates, and two tunes of one problem, a few times, with nothing
# else of the suite beside them. Two pairs can't tell how often two tunes agree, and a machine's
# neighbours decide between candidates 3 % apart: what is asked here is that no pick is far from
# the other. How often they agree is the long run's, bench/tune/README.md.
set -eu
[ -e "${KVJIT_BACKEND_DIR:-$(dirname "$KVJIT")}/libkvjit-x86.so" ] || {
	echo "SKIPPED: the backend x86 isn't built here, and cc takes a second a trial"
	exit 77
}
command -v python3 >/dev/null && command -v taskset >/dev/null || {
	echo "SKIPPED: there is no python3 or no taskset here"
	exit 77
}
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
repeat=$KVJIT_SOURCE_DIR/bench/tune/repeat.py

python3 "$repeat" aa --kvjit "$KVJIT" --count 4 --budget 6 --json >"$tmp/aa"
python3 "$repeat" pairs --kvjit "$KVJIT" --count 2 --budget 6 --json >"$tmp/pairs"
python3 - "$tmp/aa" "$tmp/pairs" <<'END'
import json, sys
aa, pairs = (json.loads(open(f).read()) for f in sys.argv[1:])
assert aa["tunes"] == 4 and aa["races"] >= 4, aa
assert aa["called over 1 % apart"] <= 1, aa
assert all(0.5 < r < 2 for r in aa["ratios, 5 % 50 % 95 %"]), aa
assert pairs["pairs"] == 2 and pairs["gap of the picks, median, worst"][1] < 0.10, pairs
END
[ ! -x "$(dirname "$KVJIT")/kvjit-bench-place" ] ||
	python3 "$repeat" places --kvjit "$KVJIT" --count 1 --json | grep -q '"between children"'
# and on a recorded space: without noise two tunes are one
"$KVJIT" tune --warm --effort exhaustive --budget 3 --cache "$tmp/r" --record "$tmp/space.jsonl" \
	write in=bf16 kv=int8/token-head heads=2 dim=64 page=64 ctx=64 >/dev/null
[ ! -x "$(dirname "$KVJIT")/kvjit-replay" ] || {
	for noise in 0 0.003; do
		python3 "$repeat" replay --kvjit "$KVJIT" --count 2 --noise $noise --json \
			"$tmp/space.jsonl" >"$tmp/replay$noise" || exit 1
	done
	grep -q '"same pick": 2,' "$tmp/replay0"
	grep -q '"pairs": 2,' "$tmp/replay0.003"
}
# nothing of it is kept, whatever the user's cache is
KVJIT_CACHE_DIR=$tmp/c "$KVJIT" tune --aa --warm --budget 1 \
	write in=bf16 kv=int8/token-head heads=2 dim=64 page=64 ctx=64 >"$tmp/out"
grep -q 'of its own time' "$tmp/out"
[ ! -e "$tmp/c" ]
