#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# drift.sh -- kvjit tune --check: what was just tuned holds; a record that claims a gain which
# isn't there is to be tuned again; one of faster calls is the machine's; other machines' are
# counted; wrong command lines.
set -u
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
mkdir -m 700 "$tmp/a" "$tmp/c"
unset KVJIT_CACHE_PATH KVJIT_PINS
problem="attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=512"

# check CODE DIR FINDING: the one schedule of DIR is found so
check() {
	"$KVJIT" tune --check --budget 8 --json --cache "$tmp/$2" >"$tmp/$2.out" 2>"$tmp/$2.err"
	got=$?
	[ $got = "$1" ] || fail "$2: exit code $got, not $1"
	grep -q "\"event\":\"check\".*\"finding\":\"$3\"" "$tmp/$2.out" || fail "$2: isn't $3"
}

"$KVJIT" tune --check --cache "$tmp/a" >"$tmp/none.out" 2>"$tmp/none.err" && fail "an empty cache holds"
grep -q "no schedule that was measured: run kvjit tune" "$tmp/none.err" || fail "an empty cache"
for wrong in "--threads 2" "--list x" "--again" "attn"; do
	"$KVJIT" tune --check $wrong --cache "$tmp/a" >/dev/null 2>"$tmp/wrong.err"
	[ $? = 2 ] || fail "--check $wrong is taken"
done

# What records say is made up, so that it doesn't hang on what this machine does meanwhile: of the
# default, whose ratio to itself is 1, at calls of a second or of a picosecond.
"$KVJIT" tune $problem --warm --budget 1 --cache "$tmp/c" >"$tmp/tune.out" 2>"$tmp/tune.err" || fail "tune"
"$KVJIT" cache export --cache "$tmp/c" -o "$tmp/found.txt" || fail "export"
default=$("$KVJIT" compile "$problem" --emit schedule | head -n 1) || fail "the default's schedule"
# record DIR SECONDS RATIO [SED]: a cache with one record
record() {
	mkdir -m 700 "$tmp/$1"
	sed "s/ :: [^#]*# / :: $default # /; s/ median=.* hi=[^ ]* ratio=/ median=$2 lo=$2 hi=$2 ratio=/
		s/ ratio=.* n=/ ratio=$3 ratio_lo=$3 ratio_hi=$3 n=/; ${4-}" "$tmp/found.txt" >"$tmp/$1.txt"
	"$KVJIT" cache import "$tmp/$1.txt" --cache "$tmp/$1" >"$tmp/$1.import" 2>&1 ||
		fail "import of $1: $(cat "$tmp/$1.import")"
}
record holds 1 1
check 0 holds holds
record gone 1 0.1
check 1 gone retune
grep -q 'it gains less than it did: tune with --again' "$tmp/gone.out" || fail "gone: why"
record slow 1e-12 1
check 1 slow machine
grep -q 'so does the default: frequency, memory or other load' "$tmp/slow.out" || fail "slow: why"
record old 1 0.1 's/ codegen=[0-9]*/ codegen=1/'
check 1 old retune
grep -q 'measured with another code generator' "$tmp/old.out" || fail "old: why"
record elsewhere 1 0.1 's/ key=......../ key=00000000/'
"$KVJIT" tune --check --cache "$tmp/elsewhere" >"$tmp/elsewhere.out" 2>&1 || fail "elsewhere"
grep -q '^1 schedules: 0 hold, .* 1 of other machines' "$tmp/elsewhere.out" || fail "elsewhere: its line"
record short 1 1
"$KVJIT" tune --check --budget 0.1 --cache "$tmp/short" >"$tmp/short.out" 2>&1 && fail "no time, and it holds"
echo ok
