#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# packs.sh -- a pack is made alike twice, signed so that minisign agrees, and refused when
# anything about it is wrong.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
umask 077
mkdir -p "$tmp/one" "$tmp/two"
unset KVJIT_CACHE_PATH KVJIT_PINS
export KVJIT_CACHE_DIR="$tmp/user" KVJIT_TRUSTED="$tmp/trusted"
problem="attn q=bf16 kv=int8/token-head heads=4:2 dim=64 page=16 causal"
write="write in=bf16 kv=int8/token-head heads=2 dim=64 page=16"
printf '# mine\n%s\n\n%s\n' "$problem" "$write" >"$tmp/list"
cat >"$tmp/tuned.txt" <<END
$problem :: qk=f32 # target=avx2 threads=4 policy=cold batch=-1 ctx=-1 qlen=0 source=trial median=0.001 n=40 when=1790000000 codegen=1 key=0000000000000000000000000000000000000000000000000000000000000001 machine=avx2 l1=32
END
: >"$tmp/trusted"

pack() {
	"$KVJIT" cache pack --name demo --targets avx2,avx512-bf16 "$@"
}

# refuse WORD COMMAND...: exits with 1 and says WORD.
refuse() {
	word=$1 status=0
	shift
	"$@" >"$tmp/out" 2>&1 || status=$?
	if [ "$status" != 1 ] || ! grep -q -- "$word" "$tmp/out"; then
		echo "$*: exit code $status, not 1 with '$word':"
		cat "$tmp/out"
		exit 1
	fi
}

# usage FIELD COMMAND...: exits with 2.
usage() {
	word=$1 status=0
	shift
	"$KVJIT" cache pack "$@" >"$tmp/out" 2>&1 || status=$?
	[ "$status" = 2 ] && grep -q -- "$word" "$tmp/out"
}
usage "-o takes" --name demo --version 1
usage "--name takes" -o "$tmp/x.kvpack" --version 1 --name "A B"
usage "--version takes" -o "$tmp/x.kvpack" --name demo
usage "--expires takes" -o "$tmp/x.kvpack" --name demo --version 1 --expires 2027-02-30
refuse "--targets takes up to 16 of generic, avx2" "$KVJIT" cache pack -o "$tmp/x.kvpack" --name demo --version 1 --targets avx9
refuse "there is no cache" "$KVJIT" cache pack -o "$tmp/x.kvpack" --name demo --version 1
echo "attn q=bf16 kv=int5 heads=2 dim=16 page=16" >"$tmp/wrong"
refuse "problem 'attn q=bf16 kv=int5" pack -o "$tmp/x.kvpack" --version 1 --list "$tmp/wrong"
test ! -e "$tmp/x.kvpack"

# the same inputs, the same bytes
"$KVJIT" cache import "$tmp/tuned.txt" >"$tmp/out"
mkdir "$tmp/work"
TMPDIR="$tmp/work" pack -o "$tmp/one/a.kvpack" --version 2 --list "$tmp/list" | grep -q '1 schedules, 5 pieces'
rmdir "$tmp/work" # nothing is left of making it
pack -o "$tmp/two/b.kvpack" --version 2 --list "$tmp/list" >"$tmp/out"
cmp "$tmp/one/a.kvpack" "$tmp/two/b.kvpack"
a=$tmp/one/a.kvpack

# without a signature: sound, but schedules only
use() {
	KVJIT_CACHE_DIR=off KVJIT_CACHE_PATH="$1" "$KVJIT" cache why "$problem" --target avx2
}
refuse "isn't signed by a trusted key" "$KVJIT" cache verify "$a"
grep -q 'version 2, 1 schedules, 5 pieces of code, all sound' "$tmp/out"
if "$KVJIT" cache why "$problem" --target avx2 >"$tmp/out" 2>&1; then
	use "$a" >"$tmp/why" 2>/dev/null
	grep -q '^answer: miss' "$tmp/why"
	grep -q "^pack .*isn't signed" "$tmp/why"
	avx2=1
else
	avx2=0 # another kind of machine
fi

# hash of the default code of a problem for avx2, as a cache of our own has it
hash_of() {
	KVJIT_CACHE_DIR="$tmp/own" "$KVJIT" compile "$1" --target avx2 --emit ir >/dev/null
	"$KVJIT" cache show "$1" --cache "$tmp/own" | awk '$1 == "hash" { print $2 }'
}

# signed; trusted only once the administrator says so
"$KVJIT" cache keygen -o "$tmp/mine" >"$tmp/keygen"
test "$(stat -c %a "$tmp/mine.key")" = 600
refuse "can't be written" "$KVJIT" cache keygen -o "$tmp/mine"
"$KVJIT" cache sign "$a" --key "$tmp/mine.key" | grep -q 'a.kvpack.minisig'
refuse "signed by a key that isn't trusted" "$KVJIT" cache verify "$a"
tail -1 "$tmp/keygen" >"$tmp/trusted"
"$KVJIT" cache verify "$a" | grep -q 'signed by a trusted key'
[ $avx2 = 0 ] || use "$a" | grep -q '^answer: hit'
"$KVJIT" cache sign "$tmp/two/b.kvpack" --key "$tmp/mine.key" >"$tmp/out"
cmp "$a.minisig" "$tmp/two/b.kvpack.minisig"
refuse "there is no key file" "$KVJIT" cache sign "$a" --key "$tmp/nothing"

# a flipped bit anywhere is refused, and so is a cut
size=$(stat -c %s "$a")
for at in 8 60 200 $((size / 2)) $((size - 1)); do
	cp "$a" "$tmp/two/c.kvpack"
	cp "$a.minisig" "$tmp/two/c.kvpack.minisig"
	byte=$(od -An -tu1 -j "$at" -N1 "$a" | tr -d ' ')
	printf "\\$(printf %o $((byte ^ 4)))" |
		dd of="$tmp/two/c.kvpack" bs=1 seek="$at" conv=notrunc 2>/dev/null
	refuse kvjit: "$KVJIT" cache verify "$tmp/two/c.kvpack"
	refuse kvjit: "$KVJIT" cache sign "$tmp/two/c.kvpack" --key "$tmp/mine.key"
done
head -c $((size - 1)) "$a" >"$tmp/two/c.kvpack"
refuse kvjit: "$KVJIT" cache verify "$tmp/two/c.kvpack"

# rolled back, revoked, expired
pack -o "$tmp/new.kvpack" --version 3 --list "$tmp/list" >"$tmp/out"
"$KVJIT" cache sign "$tmp/new.kvpack" --key "$tmp/mine.key" >"$tmp/out"
if [ $avx2 = 1 ]; then
	seen() {
		KVJIT_CACHE_DIR="$tmp/seen" KVJIT_CACHE_PATH="$1" "$KVJIT" cache why "$problem" --target avx2 2>/dev/null
	}
	seen "$a" | grep -q '^answer: hit'
	seen "$tmp/new.kvpack" | grep -q '^answer: hit'
	seen "$a" | grep -q '^pack .*older than'
fi
# everything that a cache holds, formats of one's own as well
printf 'format m v1 {\n elem s8\n scale f32 token-head amax/127 floor 1e-6\n' >"$tmp/mine"
printf ' tensor cache [h t] { k[d] v[d] ks vs }\n}\nattn q=bf16 kv=m heads=4:2 dim=64 page=16\n' >>"$tmp/mine"
KVJIT_CACHE_DIR="$tmp/every" "$KVJIT" compile "$tmp/mine" >"$tmp/out"
KVJIT_CACHE_DIR="$tmp/every" "$KVJIT" compile "$write" >"$tmp/out"
pack -o "$tmp/every.kvpack" --version 1 --cache "$tmp/every" >"$tmp/out" 2>"$tmp/err"
grep -q '0 schedules, 4 pieces' "$tmp/out"
test ! -s "$tmp/err"
echo "minimum demo 3" >>"$tmp/trusted"
refuse "older than" "$KVJIT" cache verify "$a"
sed -i '/minimum/d' "$tmp/trusted"
if [ $avx2 = 1 ]; then
	rm -rf "$tmp/user"
	KVJIT_CACHE_PATH="$a" "$KVJIT" cache why "$problem" --target avx2 >"$tmp/why"
	grep -q '^answer: hit' "$tmp/why"
	echo "revoke $(hash_of "$problem")" >>"$tmp/trusted"
	use "$a" 2>/dev/null | grep -q '^answer: miss'
	sed -i '/revoke/d' "$tmp/trusted"
fi
pack -o "$tmp/old.kvpack" --version 9 --expires 2026-01-02 --list "$tmp/list" >"$tmp/out"
"$KVJIT" cache sign "$tmp/old.kvpack" --key "$tmp/mine.key" >"$tmp/out"
refuse "has expired" "$KVJIT" cache verify "$tmp/old.kvpack"
chmod 666 "$tmp/trusted"
refuse "isn't trusted" "$KVJIT" cache verify "$a"
chmod 600 "$tmp/trusted"

# minisign: it verifies ours, we verify its
if ! command -v minisign >/dev/null; then
	echo "minisign isn't installed: its half of the test is left out"
	exit 0
fi
minisign -Vqm "$a" -p "$tmp/mine.pub"
minisign -GW -p "$tmp/its.pub" -s "$tmp/its.key" >"$tmp/out" 2>&1
cp "$tmp/one/a.kvpack" "$tmp/two/d.kvpack"
minisign -Sm "$tmp/two/d.kvpack" -s "$tmp/its.key" >"$tmp/out" 2>&1
refuse "isn't trusted" "$KVJIT" cache verify "$tmp/two/d.kvpack"
echo "key $(tail -1 "$tmp/its.pub") its" >>"$tmp/trusted"
"$KVJIT" cache verify "$tmp/two/d.kvpack" | grep -q 'signed by a trusted key'
# its signature with our comment is one of the entries as well
comment=$(sed -n 's/^trusted comment: //p' "$a.minisig")
minisign -Sm "$tmp/two/d.kvpack" -s "$tmp/its.key" -t "$comment" >"$tmp/out" 2>&1
"$KVJIT" cache verify "$tmp/two/d.kvpack" | grep -q 'signed by a trusted key'
minisign -Sm "$tmp/two/d.kvpack" -s "$tmp/its.key" -t "$(echo "$comment" | tr 0-4 5-9)" >"$tmp/out" 2>&1
refuse kvjit: "$KVJIT" cache verify "$tmp/two/d.kvpack"
# and we sign with its key, with and without a password
"$KVJIT" cache sign "$tmp/two/d.kvpack" --key "$tmp/its.key" >"$tmp/out"
minisign -Vqm "$tmp/two/d.kvpack" -p "$tmp/its.pub"
