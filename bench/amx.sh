#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# amx.sh -- what is to be measured of tiles, in one command: the peak, the table's rows, and what each
# trick gives (docs/backend-amx.md). Where there are no tiles: the rows that have no part in them,
# shortened.
#
#     bench/amx.sh [BUILD]       BUILD: build directory, default build
#     PEER="command"             another engine beside it (bench/peers/README.md), with tiles only
set -eu
build=${1:-build}
here=$(dirname "$0")
[ -x "$build/kvjit" ] || { echo "amx.sh: no $build/kvjit; build first, or name the build directory" >&2; exit 2; }
if "$build/kvjit" info | grep -q '^tiles *AMX$'; then
	"$build/kvjit-bench-tiles"
	exec python3 "$here/peers/alternate.py" --kvjit "$build/kvjit" ${PEER:+--peer "$PEER"} --ablation
fi
"$build/kvjit" info | grep '^tiles'
exec python3 "$here/peers/alternate.py" --kvjit "$build/kvjit" --vectors --ablation --rounds 3 \
	--seconds 0.3 l2-e4m3 l2-int8 decode-e4m3 decode-int8 prefill2k-bf16 chunk-bf16
