#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gemm.sh -- kvjit's block-scaled product, its bf16 product and oneDNN's, taking turns on one
# processor. Needs libdnnl-dev; nothing else here does.
#
#     bench/peers/gemm.sh [ROWS [N [K [CPU]]]]        KVJIT: the command, default build/kvjit
#
# Prints, for each round, the least milliseconds of a call of each: what a busy machine disturbs
# least. Weights are warm where they fit, packed before the clock starts.
set -eu
cd "$(dirname "$0")/../.."
rows=${1:-512} n=${2:-4096} k=${3:-4096} cpu=${4:-1} kvjit=${KVJIT:-build/kvjit}
peer=$(mktemp)
trap 'rm -f "$peer"' EXIT
${CC:-cc} -std=c11 -O2 -D_GNU_SOURCE -o "$peer" bench/peers/onednn.c -ldnnl
export OMP_NUM_THREADS=1

# least milliseconds of a problem
least() {
	taskset -c "$cpu" "$kvjit" bench "$@" --vs none --seconds 1 --json |
		sed 's/.*"ms_min":\([0-9.]*\).*/\1/'
}

printf '%10s %10s %10s   ms a call\n' e4m3 bf16 oneDNN
for round in 1 2 3 4 5; do
	a=$(least gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed "dim=$k:$n" "qlen=$rows")
	b=$(least gemm acts=bf16 weights=bf16 packed "dim=$k:$n" "qlen=$rows")
	c=$(taskset -c "$cpu" "$peer" "$rows" "$n" "$k" 1 | cut -d' ' -f1)
	printf '%10.2f %10.2f %10.2f\n' "$a" "$b" "$c"
done
