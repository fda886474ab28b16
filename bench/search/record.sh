#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# record.sh FOLDER [NAME...] -- records the spaces of spaces.txt, all or those named, each into
# FOLDER/NAME.jsonl. What is there already and complete is passed over. KVJIT: the command,
# build/kvjit; SECONDS_EACH: the longest that one may take, 600.
set -eu
[ $# -ge 1 ] || { sed -n '3,5s/^# //p' "$0"; exit 2; }
folder=$1
shift
kvjit=${KVJIT:-build/kvjit}
here=$(dirname "$0")
mkdir -p "$folder"
last=$(($(nproc) - 1))
grep -v '^#' "$here/spaces.txt" | while read -r name problem; do
	case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
	[ -s "$folder/$name.jsonl" ] && continue
	cache=$(mktemp -d)
	start=$(date +%s)
	taskset -c "$last" "$kvjit" tune --effort exhaustive --budget "${SECONDS_EACH:-600}" \
		--cache "$cache" --record "$folder/$name.part" $problem >"$cache/out" 2>&1 || {
		cat "$cache/out"
		rm -rf "$cache"
		exit 1
	}
	rm -rf "$cache"
	mv "$folder/$name.part" "$folder/$name.jsonl"
	echo "$name: $(($(wc -l <"$folder/$name.jsonl") - 1)) candidates, $(($(date +%s) - start)) s"
done
