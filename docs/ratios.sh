#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kvjit check --golden DIR --verbose | docs/ratios.sh: the worst ratios of each arithmetic.
grep '^ok attn_' | sed -E 's/^ok ([a-z0-9_]+) .*error ([0-9.]+) of .*, (qk=[a-z0-9]+ pv=[a-z0-9]+)[a-z= ]*\); ([0-9.]+) with.*/\3 \2 \4 \1/' |
	awk '{ k = $1 " " $2; n[k]++; if ($3 > a[k]) a[k] = $3; if ($4 > b[k]) { b[k] = $4; at[k] = $5 } }
	END { for (k in n) printf "%-18s %3d runs  worst %.3f (%.3f, %s)\n", k, n[k], a[k], b[k], at[k] }' | sort
