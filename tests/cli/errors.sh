#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# errors.sh -- a wrong command line, program or file: a sentence and an exit code, no crash.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
good="attn q=bf16 kv=bf16 heads=2 dim=16 page=16"

refuse 2 usage
refuse 2 "no subcommand 'frob'" frob
refuse 2 "unknown option --frob" info --frob
refuse 2 "operand is missing" compile --emit ir
refuse 2 "needs a value" check "$good" --seeds
refuse 2 "number from 1" check "$good" --seeds none
refuse 2 "not both" bench "$good" --cold --warm
for s in inf nan soon -1 ''; do
	refuse 2 "--seconds takes seconds, from 0 to 1000000" bench "$good" --seconds="$s"
done
refuse 1 "is a directory" compile "$tmp/"
refuse 1 "there is no file nosuchfile" compile nosuchfile
refuse 1 "attn needs" compile attn # no file, but a problem's first word
printf '%s\0 causal' "$good" >"$tmp/nul.problem"
refuse 1 "is no text: byte 42 is 0" compile "$tmp/nul.problem"
# a full disk, and no output at all: what is lost is told
if [ -w /dev/full ]; then
	for command in info "compile $good --emit ir" "explain $good" --help; do
		status=0
		"$KVJIT" $command >/dev/full 2>"$tmp/err" || status=$?
		[ $status = 1 ] && grep -q "the output can't be written" "$tmp/err" ||
			{ echo "kvjit $command >/dev/full: exit code $status"; exit 1; }
	done
fi
status=0
"$KVJIT" info >&- 2>"$tmp/err" || status=$?
[ $status = 1 ] && grep -q "the output can't be written" "$tmp/err"
for command in info explain compile run check bench tune cache; do
	"$KVJIT" $command --help | grep -q "kvjit $command " || { echo "$command --help"; exit 1; }
done
for command in ls show why stats gains gc verify merge export import pin unpin pack sign keygen; do
	"$KVJIT" cache $command --help | grep -q "kvjit cache $command " ||
		{ echo "cache $command --help"; exit 1; }
done
"$KVJIT" cache --help | grep -q "kvjit cache keygen "
# a complaint names the same options as --help
for command in info explain compile run check bench tune "cache ls" "cache pack"; do
	"$KVJIT" $command --help | sed -n 's/^  *kvjit /usage: kvjit /p' >"$tmp/usage"
	status=0
	"$KVJIT" $command --frob >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status = 2 ] && grep -qxF "$(cat "$tmp/usage")" "$tmp/err" ||
		{ echo "$command --help and a wrong option name other options"; exit 1; }
done
refuse 2 "bf16 or none" bench "$good" --vs stream
refuse 1 "heads" compile "attn q=bf16 kv=bf16 heads=none dim=16 page=16"
refuse 1 "format" compile "attn q=bf16 kv=int5 heads=2 dim=16 page=16"
refuse 1 "avx1024" compile "$good" --target avx1024
refuse 1 "backend" compile "$good" --backend frob
refuse 1 "no bogus" compile "$good" --emit bogus
refuse 1 "knob" compile "$good" --sched "frob=1"
refuse 1 "frob" check "attn q=bf16 kv=bf16 heads=2 dim=16 page=16 frob=1"
refuse 1 "manifest.json can't be read" check --golden "$tmp"
echo '{}' >"$tmp/manifest.json"
refuse 1 "isn't a manifest" check --golden "$tmp"
echo 'not numpy' >"$tmp/q.npy"
refuse 1 "doesn't begin like a .npy file" run "$good" --in q="$tmp/q.npy"
refuse 1 "name of a parameter" run "$good" --in frob="$tmp/q.npy"
refuse 1 "name of an output" run "$good" --out q="$tmp/q.npy"
refuse 1 "isn't given" run "$good"
# a variable with a value it doesn't take: the message names both
for bad in "PERF is 'yes'; it takes 1" "SPIRV is 'yes'; it takes translator or llvm" \
	"CACHE_MB is 'yes'; it takes 1 to 1048576" "CHECK has no 'yes'; it takes verify, text, ref" \
	"PRINT has no 'yes'; it takes before:PASS"; do
	(export "KVJIT_${bad%% *}=yes" && refuse 1 "KVJIT_$bad" compile "$good")
done
export KVJIT_BACKEND_DIR="$tmp"
refuse 1 "can't be loaded" compile "$good"
