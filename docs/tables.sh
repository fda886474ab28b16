#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs/tables.sh ops|operands|attrs|elems|knobs|fields|reasons|env: a .def table as the documents quote it.
set -eu
cd "$(dirname "$0")/../ir"
case $1 in
ops) # name, levels, attributes, flags, meaning
	sed -nE 's/^OP\( *([a-z0-9_]+), *([ATV|]+), *"[^"]*", *"([^"]*)", *([A-Z|]+), *"([^"]*)".*/\1;\2;\3;\4;\5/p' ops.def |
		awk -F';' -v OFS=';' '{ gsub("_", ".", $1); gsub("[|]", "", $2); gsub("[|]", "", $4); d = $5
			for (i = 6; i <= NF; i++) d = d ";" $i
			printf "%-12s %-3s %-15s %-4s  %s\n", $1, $2, $3, $4, d }' ;;
operands) # of ops with named operands
	sed -nE 's/^OP\( *([a-z0-9_]+), *A, *"([^"]*:[^"]*)".*/\1: \2/p' ops.def |
		sed -E 's/^([a-z]+)_/\1./; s/:[sb]([ ?])/\1/g; s/:[sb]$//' | fold -s -w 96 ;;
attrs)
	sed -nE 's/^(ATTR|WORDS)\( *([a-z]+), *[A-Z_]+, *(-?[0-9]+, *)?["(]([^")]*)[")], *"([^"]*)".*/\2\t\4\t\5/p' attrs.def |
		awk -F'\t' '{ printf "%-7s %-14s  %s\n", $1, $2, $3 }' ;;
elems)
	sed -nE 's/^ELEM\( *([a-z0-9]+), *([0-9]+), *([A-Z]), *([0-9]+), *([0-9]+), *(-?[0-9]+).*/\1 \2 \3 \4 \5 \6/p' elems.def |
		awk '{ printf "%-9s %2d bits  kind %s  exponent %2d  mantissa %2d  bias %4d\n", $1, $2, $3, $4, $5, $6 }' ;;
knobs) # name, last level at which it can be given, values, meaning
	sed -nE 's/^(KNOB|WORDS)\( *([a-z_0-9]+), *[0-9]+, *([ATV]), *["(]([^")]*)[")], *"[^"]*", *"([^"]*)".*/\2\t\3\t\4\t\5/p' knobs.def |
		awk -F'\t' '{ printf "%-9s %s  %-25s  %s\n", $1, $2, $3, $4 }' ;;
fields) # of problem strings: name, the kinds that have it, values, meaning
	sed -nE 's/^FIELD\( *([a-z0-9_]+), *([A-Z|]+), *([A-Z]+), *[a-z0-9_]+, *[A-Z0|]+, *([0-9 <]+), *([0-9 <]+), *([0-9]+), *"([^"]*)", *"([^"]*)".*/\1\t\2\t\3\t\4\t\5\t\6\t\7\t\8/p' problem.def |
		awk -F'\t' 'function number(s, x) { return split(s, x, " *<< *") > 1 ? x[1] * 2 ^ x[2] : s + 0 }
			{ gsub("[|]", "", $2)
			v = $7
			if ($3 == "NUM") v = number($4) ".." number($5) ($6 > 1 ? " in steps of " $6 : "")
			if ($3 == "PAIR") v = "N[:N]"
			if ($3 == "REAL") v = "a positive number"
			if ($3 == "FORMAT") v = "a format"
			if ($3 == "FLAG") v = "(no value)"
			if ($3 == "CHOICE") v = "(no value) or " $7
			if ($3 == "EXPR") v = "\"an expression\""
			if ($3 == "WITH") v = "NAME:ELEM,..."
			if ($3 == "TARGET") v = "a target"
			printf "%-8s %-8s %-26s  %s\n", $1, $2, v, $8 }' ;;
reasons) # name, sentence: why a place or an entry isn't used
	sed -nE 's/^REASON\( *([a-z_]+), *([01]), *"([^"]*)".*/\1;\3/p' ../tune/reason.def |
		awk -F';' '{ d = $2; for (i = 3; i <= NF; i++) d = d ";" $i; printf "%-14s %s\n", $1, d }' ;;
env) # variable, values, meaning
	sed -nE 's/^ENVVAR\( *([A-Z_]+), *"([^"]*)", *"([^"]*)".*/\1\t\2\t\3/p' ../jit/env.def |
		awk -F'\t' '{ printf "KVJIT_%-11s %-42s  %s\n", $1, $2, $3 }' ;;
*)
	echo "tables.sh: ops, operands, attrs, elems, knobs, fields, reasons or env" >&2
	exit 2 ;;
esac
