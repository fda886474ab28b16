#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tile_programs.sh -- random programs over tiles through all passes, each compared with what the
# interpreter makes of it. KVJIT_PROGRAMS says how many, KVJIT_FUZZ_SEED where to begin.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_python.sh"
python3 "$KVJIT_SOURCE_DIR/tests/python/tile_programs.py" "$(dirname "$KVJIT")/kvjit-opt" \
	"${KVJIT_PROGRAMS:-250}" "${KVJIT_FUZZ_SEED:-1}"
