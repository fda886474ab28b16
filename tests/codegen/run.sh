#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What generated code is made of. Each .kvt here is a problem behind comments:
#
#     ; target T             what it is compiled for; left out where this machine doesn't run it
#                            (amx: nor KVJIT_EMULATOR)
#     ; STAGE  PATTERN       some line of that text (vector, asm, ...) matches the pattern
#     ; never STAGE  PATTERN no line does
#
# Patterns are grep's; two blanks stand before them. KVJIT is the kvjit command.
set -u
dir=$(dirname "$0")
tmp=${KVJIT_TMP:-/tmp}/codegen.$$
mkdir -p "$tmp"
trap 'rm -rf "$tmp"' EXIT
bad=0
ran=0

fail() {
	echo "FAIL $1: $2"
	bad=1
}

# stage FILE TARGET STAGE: compiles once, leaves the text in $tmp/STAGE.
stage() {
	[ -f "$tmp/$3" ] && return 0
	LD_PRELOAD="${KVJIT_EMULATOR:-}" "$KVJIT" compile "$1" --backend x86 --target "$2" --emit "$3" -o "$tmp/$3" \
		2>"$tmp/error" || fail "$1" "$(cat "$tmp/error")"
}

runs=$(LD_PRELOAD="${KVJIT_EMULATOR:-}" "$KVJIT" info | sed -n 's/^runs *//p')
[ -n "$runs" ] || fail "$KVJIT info" "it doesn't say what runs here"

for file in "$dir"/*.kvt; do
	rm -f "$tmp"/*
	target=$(sed -n 's/^; target //p' "$file")
	case ", $runs," in
	*", $target,"*) ;;
	*)
		echo "$file is for $target: left out"
		continue
		;;
	esac
	grep -E '^; (never )?[a-z]+  ' "$file" >"$tmp/checks"
	while IFS= read -r line; do
		rule=${line%%  *}
		rule=${rule#; }
		pattern=${line#*  }
		name=${rule#never }
		stage "$file" "$target" "$name"
		if [ "$rule" = "$name" ]; then
			grep -q -e "$pattern" "$tmp/$name" ||
				fail "$file" "no line of the $name text matches '$pattern'"
		elif grep -q -e "$pattern" "$tmp/$name"; then
			fail "$file" "the $name text has '$(grep -m 1 -e "$pattern" "$tmp/$name")'"
		fi
		ran=$((ran + 1))
	done <"$tmp/checks"
done

# The library itself knows no LLVM: only the backend, loaded when it is asked for, does.
lib=${KVJIT_BACKEND_DIR:-$(dirname "$KVJIT")}/libkvjit.so
if command -v readelf >/dev/null; then
	readelf -d "$lib" >"$tmp/needs" || fail "$lib" "readelf can't read it"
	grep -qi llvm "$tmp/needs" && fail "$lib" "it is linked with LLVM"
fi
echo "$ran patterns"
[ $ran -gt 0 ] || bad=1
exit $bad
