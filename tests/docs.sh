#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The documentation says what the sources say.
#
#   tests/docs.sh          checks, with the programs beside $KVJIT or in build/
#   tests/docs.sh --bless [DOCUMENT...]
#                          writes the outputs into them (all), once they are right
#
# - A fenced block whose first line is `$ COMMAND` holds that command's output. Those of
#   kvjit-opt, and of what needs no build, are checked here; those of kvjit itself depend on the
#   machine and are only written by --bless.
# - docs/IR.md names every op, attribute and element of the tables.
# - Each test that docs/testing.md names as a goal's proof is there, and it names each program.
# - The README's kernel is the one in examples/attention.c.
# - Every link to a file or a heading leads to one, and every source that is named is there.
set -eu
cd "$(dirname "$0")/.."
PATH="${KVJIT:+$(dirname "$KVJIT"):}$PWD/build:$PATH"
export PATH
command -v kvjit-opt >/dev/null || {
	echo "docs.sh: no kvjit-opt in build/ or beside \$KVJIT" >&2
	exit 1
}
bless=0
if [ "${1:-}" = --bless ]; then
	bless=1
	shift
fi
[ $# -gt 0 ] || set -- README.md docs/*.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

wrong() {
	echo "$*"
	bad=1
}

# A document with its blocks filled in anew. Blocks of machine-dependent commands are copied.
fill() {
	awk -v bless="$bless" '
		/^```/ { inside = !inside; fresh = inside; ours = 0; print; next }
		fresh && /^\$ / {
			fresh = 0
			print
			command = substr($0, 3)
			if (!bless && command ~ /(^|[ (|])kvjit(-demo)? /)
				next
			ours = 1
			command = "{ " command "; } 2>&1"
			while ((command | getline line) > 0)
				print line
			close(command)
			next
		}
		{ fresh = 0 }
		!ours { print }
	' "$1"
}

# places DOCUMENT: its headings, as links name them
places() {
	awk '/^```/ { inside = !inside } !inside && /^#+ / {
		sub(/^#+ /, ""); gsub(/\]\([^)]*\)/, ""); gsub(/[^A-Za-z0-9_ -]/, ""); gsub(/ /, "-")
		print tolower($0) }' "$1"
}

for doc; do
	[ -e "$doc" ] || { wrong "$doc is missing"; continue; }
	fill "$doc" >"$tmp/new"
	if [ "$bless" = 1 ]; then
		cmp -s "$doc" "$tmp/new" || cp "$tmp/new" "$doc"
		continue
	fi
	# numbers of unnamed values shift with every change of a pass
	for file in "$doc" "$tmp/new"; do
		sed 's/%[0-9][0-9]*/%_/g' "$file" >"$tmp/$(basename "$file").plain"
	done
	if ! diff -u "$tmp/$(basename "$doc").plain" "$tmp/new.plain" >"$tmp/diff"; then
		cat "$tmp/diff"
		wrong "$doc: outputs have changed; read them, then tests/docs.sh --bless"
	fi
	# [text](path) and [text](path#place), from the document's folder
	grep -o '](\([^)#:]*\)' "$doc" | sed 's/^](//' | while read -r link; do
		[ -e "$(dirname "$doc")/$link" ] || echo "$doc: no file $link"
	done >"$tmp/links"
	grep -oE '\]\([^):]*#[^)]+' "$doc" | sed 's/^](//' | while IFS='#' read -r file place; do
		to=$(dirname "$doc")/$file
		[ -n "$file" ] || to=$doc
		[ ! -e "$to" ] || places "$to" | grep -qxF -- "$place" ||
			echo "$doc: $file has no heading #$place"
	done >>"$tmp/links"
	grep -oE '\<(ir|passes|backends|tune|jit|tools|bench|tests|examples|python)/[a-z0-9_/]+\.(c|h|cc|def|sh|py|kvt)\>' "$doc" |
		sort -u | while read -r path; do
		[ -e "$path" ] || echo "$doc: no file $path"
	done >>"$tmp/links"
	[ ! -s "$tmp/links" ] || wrong "$(cat "$tmp/links")"
done

# names FILE MACRO: the first column of a .def table, as the text form spells it
names() {
	sed -n "s/^$2( *\([a-z0-9_]*\).*/\1/p" "$1" | tr _ .
}
for name in $(names ir/ops.def OP) $(names ir/attrs.def '[A-Z]*') $(names ir/elems.def ELEM); do
	grep -q "^$name " docs/IR.md ||
		wrong "docs/IR.md doesn't list $name: tests/docs.sh --bless docs/IR.md does"
done

# Tests that the table of goals names: programs, their functions, scripts.
sed -n '/^## Caches and tuning/,/^## When/s/`\([a-z0-9_.]*\)`/\n@\1\n/gp' docs/testing.md | sed -n 's/^@//p' |
	sort -u | while read -r name; do
	case $name in
	cli.*) [ -e "tests/cli/${name#cli.}.sh" ] ;;
	test_*) [ -e "tests/$name.c" ] || grep -q "$name" tests/test_*.c ;;
	*_*) grep -q "[( ]$name[,)]" tests/test_*.c ;;
	esac || echo "docs/testing.md names no test: $name"
done >"$tmp/tests"
[ ! -s "$tmp/tests" ] || wrong "$(cat "$tmp/tests")"

for name in $(basename -s .c tests/test_*.c); do
	grep -q "\`$name\`" docs/testing.md ||
		wrong "docs/testing.md doesn't list $name: it needs a row under Kinds"
done

# Lines of the example between its two comments, without what both indent differently.
kernel() {
	sed -n '/README: a kernel in twelve lines/,/end of the twelve lines/p' \
		examples/attention.c | sed '1d;$d;s/^[ \t]*//'
}
kernel | while read -r line; do
	grep -qsF -- "$line" README.md || echo "README.md lacks: $line"
done >"$tmp/kernel"
[ ! -s "$tmp/kernel" ] || wrong "$(cat "$tmp/kernel")"
[ "$(kernel | wc -l)" = 12 ] || wrong "examples/attention.c: the kernel isn't twelve lines"
exit $bad
