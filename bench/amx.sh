#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# amx.sh -- what is to be measured of tiles, in one command: the peak, the table's rows, what each
# trick gives (docs/backend-amx.md), what tuning gives, and the search on recorded spaces. Where there
# are no tiles: the rows that have no part in them, shortened.
#
#     bench/amx.sh [BUILD]       BUILD: build directory, default build
#     PEER="command"             another engine beside it (bench/peers/README.md), with tiles only
#     OUT=FOLDER                 caches, report and spaces, default amx; what is there isn't done again
#     BUDGET=SECONDS             of each problem that is tuned, default 60
set -eu
build=${1:-build}
here=$(dirname "$0")
[ -x "$build/kvjit" ] || { echo "amx.sh: no $build/kvjit; build first, or name the build directory" >&2; exit 2; }
if "$build/kvjit" info | grep -q '^tiles *AMX$'; then
	"$build/kvjit-bench-tiles"
	python3 "$here/peers/alternate.py" --kvjit "$build/kvjit" ${PEER:+--peer "$PEER"} --ablation
	out=${OUT:-amx}
	mkdir -p "$out"
	# the spaces' problems with every knob free; then the table of gains
	sed -n 's/^amx-[a-z0-9-]* *//p' "$here/search/spaces.txt" |
		sed 's/ \(qk\|pv\|hint\|unroll\|fuse\|prefetch\|decode\|stream\|rescale\|rows\|cols\)=[a-z0-9]*//g' >"$out/problems"
	taskset -c "$(($(nproc) - 1))" "$build/kvjit" tune --list "$out/problems" --budget "${BUDGET:-60}" \
		--cache "$out/cache" --report "$out/report.html"
	"$build/kvjit" cache gains --cache "$out/cache"
	# spaces with tiles and without, each to its end: two hours
	KVJIT="$build/kvjit" sh "$here/search/record.sh" "$out/spaces"
	for space in "$out"/spaces/*.jsonl; do
		"$build/kvjit-replay" "$space" && "$build/kvjit-replay" --model "$space"
	done
	exit
fi
"$build/kvjit" info | grep '^tiles'
exec python3 "$here/peers/alternate.py" --kvjit "$build/kvjit" --vectors --ablation --rounds 3 \
	--seconds 0.3 l2-e4m3 l2-int8 decode-e4m3 decode-int8 prefill2k-bf16 chunk-bf16
