#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# For the scripts in cli/ to read, after set -eu: what check and compile must say of a problem, and
# cli_tmp.sh.
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
PATH=$KVJIT_SOURCE_DIR/tests/quick_cc:$PATH # as for most tests of the C backend

right() { # a problem, and options of kvjit check
	"$KVJIT" check "$@" --seeds 1 >"$tmp/out" || { cat "$tmp/out"; exit 1; }
	tail -n 1 "$tmp/out" | grep -q '^[1-9][0-9]* passed, 0 failed$'
}
wrong() { # what kvjit compile says, then a problem
	want=$1
	shift
	! "$KVJIT" compile "$@" >"$tmp/out" 2>&1 || { echo "accepted: $*"; exit 1; }
	grep -q -- "$want" "$tmp/out" || { cat "$tmp/out"; exit 1; }
}
