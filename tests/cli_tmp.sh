#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# For the scripts in cli/ to read, after set: a folder of the test's own, $tmp, which goes with it
# (KVJIT_KEEP=1 keeps it), and failures that show what was said.
tmp=$(mktemp -d "${KVJIT_TMP:-/tmp}/$(basename "$0" .sh).XXXXXX")
[ -n "${KVJIT_KEEP:-}" ] || trap 'rm -rf "$tmp"' EXIT

fail() { # what is wrong
	echo "$1"
	tail -n 5 "$tmp"/*.out "$tmp"/*.err "$tmp"/*.txt "$tmp"/*.jsonl 2>/dev/null
	exit 1
}

# refuse CODE TEXT ARGS...: of kvjit, or of its subcommand $of, that exit code, and a sentence with
# that text on stderr
of=
refuse() {
	code=$1 text=$2
	shift 2
	status=0
	"$KVJIT" $of "$@" >"$tmp/refuse.out" 2>"$tmp/refuse.err" || status=$?
	[ $status = "$code" ] || fail "kvjit $of $*: exit code $status, not $code with '$text'"
	grep -q -- "$text" "$tmp/refuse.err" || fail "kvjit $of $*: doesn't say '$text'"
}
