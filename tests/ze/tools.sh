#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The commands on a device, which is the test driver: run gives the bytes that the processor's code
# gives, check holds it to its bound, bench reads the device's clock, tune measures on it, and a second process takes the
# SPIR-V from the cache. $1: a backend that makes SPIR-V.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset KVJIT_CACHE_DIR
export XDG_CACHE_HOME="$tmp/cache"
quant="quant in=f32 to=e4m3/token-head heads=2 dim=48"
attn="attn q=bf16 kv=int8/token-head heads=2:1 dim=32 page=16 causal"

. "$(dirname "$0")/skip.sh"

# 16 rows of [2, 48] floats
{
	printf '\223NUMPY\001\000\166\000'
	printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 2, 48), }"
	head -c 6144 "$KVJIT"
} >"$tmp/x.npy"
for where in "--backend c" "--backend $1 --target xe"; do
	# shellcheck disable=SC2086
	"$KVJIT" run $quant --in x="$tmp/x.npy" --out q="$tmp/q.npy" --out s="$tmp/s.npy" $where
	cat "$tmp/q.npy" "$tmp/s.npy" >"$tmp/$(echo "$where" | tr -dc a-z)"
done
cmp "$tmp"/backend*

"$KVJIT" check $attn --target xe-pvc --backend "$1" --seeds 1 | tee "$tmp/check"
grep -q "^$1/xe-pvc *ok" "$tmp/check"
# its batches have one new token beside many: with these two schedules a call is two launches
few="attn q=bf16 kv=bf16 heads=4:4 dim=32 page=16 causal"
{
	echo "$few batch=4 ctx=512 qlen=64 :: q_tile=16 kv_tile=16"
	echo "$few batch=4 ctx=512 qlen=1 :: q_tile=1 kv_tile=16"
} >"$tmp/pins"
KVJIT_PINS="$tmp/pins" "$KVJIT" check $few --target xe-pvc --backend "$1" --seeds 1 | grep -q "^$1/xe-pvc *ok"
"$KVJIT" explain $attn --target xe-pvc --backend "$1" >"$tmp/explain"
grep -q '^device: Intel' "$tmp/explain"
grep -q 'sub-groups of 16' "$tmp/explain"
"$KVJIT" bench $quant ctx=64 --target xe-pvc --backend "$1" --seconds 0.1 >"$tmp/bench"
grep -q 'on Intel.*by its clock' "$tmp/bench"
grep -q 'this kernel' "$tmp/bench"
"$KVJIT" cache ls --json | grep -q '"xe-pvc"'

# what a device compiled is found by its key where none is asked, another schedule is told knob by knob
KVJIT_BACKEND="$1" "$KVJIT" cache why $attn --target xe-pvc >"$tmp/why"
grep -q '^answer: hit' "$tmp/why"
grep -q '^native: none' "$tmp/why"
KVJIT_BACKEND="$1" "$KVJIT" cache why $attn --target xe-pvc --sched "split=512" >"$tmp/why"
grep -q '^answer: miss' "$tmp/why"
grep -q 'knob: stored split=[0-9]*, wanted split=512' "$tmp/why"

# trials run on the device, in processes of their own, and by its clock; what wins is taken
write="write kv=int8/token-head heads=2 dim=32 page=16"
export KVJIT_BACKEND="$1"
"$KVJIT" tune $write ctx=64 --target xe-pvc --warm --budget 4 --json >"$tmp/tune"
grep '"event":"trial"' "$tmp/tune" | grep -q '"state":"ok".*"ratio":1,'
grep '"event":"result"' "$tmp/tune" | grep -q '"target":"xe-pvc".*"known":false'
"$KVJIT" tune $write ctx=64 --target xe-pvc --warm --budget 4 --json | grep -q '"known":true'
"$KVJIT" cache ls | grep -q '^schedule .* xe-pvc .* trial '
# a device that is lost costs the trial: the reason is told, and the tuner goes on to its end
ZECL_FAULT=launch:3 "$KVJIT" tune write kv=int8/token-head heads=3 dim=32 page=16 --target xe-pvc --warm --budget 4 \
	>"$tmp/out" 2>"$tmp/lost" && {
	echo "a device that is lost was measured"
	exit 1
}
grep -q "couldn't be measured: .*DEVICE_LOST" "$tmp/lost"
echo "run, check, explain, bench and tune on $1"
