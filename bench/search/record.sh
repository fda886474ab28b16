#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# record.sh FOLDER [NAME...] -- records the spaces of spaces.txt, all or those named, each into
# FOLDER/NAME.jsonl. What is there already and complete is passed over. KVJIT: the command,
# build/kvjit; SECONDS_EACH: the longest that one may take, 600; SPACES: another list.
# Those of tiles (amx-*) are recorded for target amx where the processor has tiles, and there
# the others for avx512-bf16, so that they are the same spaces everywhere. Where tiles are
# emulated, amx-* are recorded if they are named: their states are true, their times aren't.
set -eu
[ $# -ge 1 ] || { sed -n '3,8s/^# //p' "$0"; exit 2; }
folder=$1
shift
kvjit=${KVJIT:-build/kvjit}
spaces=${SPACES:-$(dirname "$0")/spaces.txt}
mkdir -p "$folder"
last=$(($(nproc) - 1))
tiles=$("$kvjit" info | sed -n 's/^tiles *\([A-Za-z]*\).*/\1/p')

# target NAME: what it is recorded for, empty for this machine's; false: it isn't
target() {
	case "$1 $tiles" in
	"amx-"*" AMX") echo amx ;;
	"amx-"*" emulated") [ -n "$names" ] && echo amx ;;
	"amx-"*) [ -z "$names" ] || echo "record.sh: $1 needs tiles, which this machine lacks" >&2; return 1 ;;
	*" AMX") echo avx512-bf16 ;;
	esac
}

names=$*
grep -v '^#' "$spaces" | while read -r name problem; do
	case " $names " in "  " | *" $name "*) ;; *) continue ;; esac
	[ -s "$folder/$name.jsonl" ] && continue
	target=$(target "$name") || continue
	cache=$(mktemp -d)
	start=$(date +%s)
	taskset -c "$last" "$kvjit" tune --effort exhaustive --budget "${SECONDS_EACH:-600}" \
		${target:+--target "$target"} --cache "$cache" --record "$folder/$name.part" \
		$problem >"$cache/out" 2>&1 || {
		cat "$cache/out"
		rm -rf "$cache"
		exit 1
	}
	rm -rf "$cache"
	mv "$folder/$name.part" "$folder/$name.jsonl"
	echo "$name: $(($(wc -l <"$folder/$name.jsonl") - 1)) candidates, $(($(date +%s) - start)) s"
done
