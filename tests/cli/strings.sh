#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# strings.sh -- problem strings of the documents: those of docs/problems.md about masks and scores
# are compared with the interpreter, those of docs/clients.md and README.md are ones that parse.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_check.sh"
docs=$KVJIT_SOURCE_DIR/docs
backend=x86
"$KVJIT" info | grep "^backend  x86" | grep -q "can't be" && backend=c

sed -n '/^## Masks and scores/,$s/^    \(attn .*\)/\1/p' "$docs/problems.md" >"$tmp/masks"
[ "$(wc -l <"$tmp/masks")" -ge 7 ] || { echo "docs/problems.md: the masks are gone"; exit 1; }
while read -r line; do
	echo "$line" >"$tmp/problem"
	right "$tmp/problem" --backend "$backend" --target generic
done <"$tmp/masks"

# format lines stand before the problems that use them
grep -hoE '(attn|write|quant|gemm|pack|transcode|index|format ue8m0 v1) [a-z{][^|]*$' "$docs/clients.md" |
	grep -E '=|format' >"$tmp/clients"
grep -hE '^    (attn|write|gemm) ' "$KVJIT_SOURCE_DIR/README.md" | sed 's/^ *//' >>"$tmp/clients"
[ "$(wc -l <"$tmp/clients")" -ge 14 ] || { cat "$tmp/clients"; exit 1; }
format=
while read -r line; do
	case $line in
	format*) format=$line ;;
	*)
		printf '%s\n%s\n' "$format" "$line" >"$tmp/problem"
		"$(dirname "$KVJIT")/kvjit-opt" "$tmp/problem" >"$tmp/out" 2>&1 || { cat "$tmp/problem" "$tmp/out"; exit 1; }
		;;
	esac
done <"$tmp/clients"
