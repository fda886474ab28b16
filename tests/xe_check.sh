# SPDX-License-Identifier: Apache-2.0
# xe_check.sh -- what the scripts cli/xe_counts*.sh share: a kernel through Intel's compiler, and
# what must be counted in it.
set -eu
tmp=${KVJIT_TMP:-/tmp}/xe_check.$$
trap 'rm -f "$tmp"' EXIT
target=xe-pvc
keys=64 # of a tile

is() { # NAME WANT: the count is that
	got=$(sed -n "s/^$1 *\([0-9]*\) .*/\1/p" "$tmp")
	[ "$got" = "$2" ] || { echo "$problem: $1 is $got, not $2"; exit 1; }
}

counted() { # PROBLEM DPAS BLOCKS MOST SPILL
	problem=$1
	if ! KVJIT_CACHE_DIR=off "$KVJIT" compile "$problem" --target "$target" --emit counts >"$tmp" 2>&1; then
		if grep -q -e "without Intel's offline compiler" -e "no backend" -e "can't be loaded" "$tmp"; then
			echo "SKIPPED: $(head -n 1 "$tmp")"
			exit 77
		fi
		cat "$tmp"
		exit 1
	fi
	is calls 0
	is loop_dpas "$2"
	is loop_block_loads "$3"
	got=$(sed -n 's/^spill *\([0-9]*\) .*/\1/p' "$tmp")
	[ "$got" -le "$5" ] || { echo "$problem: $got bytes spilled, not $5"; exit 1; }
	got=$(sed -n 's/^loop_shortest *\([0-9]*\) .*/\1/p' "$tmp")
	[ "$got" -le $(($4 * 11 / 10)) ] || { echo "$problem: $got instructions, not $4"; exit 1; }
}

long() { # COMMAND...: if it has been asked for
	[ -z "${KVJIT_LONG:-}" ] || "$@"
}

check() { # QUERY FORMAT DIM Q_TILE DPAS BLOCKS MOST SPILL
	problem="attn q=$1 kv=$2 heads=32:8 dim=$3 page=64 causal kv_tile=$keys q_tile=$4"
	[ "$4" != 1 ] || problem=${problem% q_tile*}
	counted "$problem" "$5" "$6" "$7" "$8"
}
