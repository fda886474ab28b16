#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tune_amx.sh -- schedules of target amx are tuned, recorded and searched again, on the
# processor's tiles or the emulator's: then its times mean nothing, but each trial has a state,
# nothing crashes, and what is taken was checked. bench/search/record.sh does the same for its
# list, and without tiles says what it leaves out.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
record=$KVJIT_SOURCE_DIR/bench/search/record.sh
export SPACES="$tmp/spaces" SECONDS_EACH=10
cat >"$SPACES" <<END
amx-gemm gemm acts=bf16 weights=bf16 dim=64:32 batch=16 unroll=0 fuse=auto rows=0
amx-attn attn q=bf16 kv=bf16 heads=2:1 dim=32 page=32 causal batch=1 ctx=32 qlen=16 qk=auto pv=auto hint=auto unroll=0 prefetch=auto fuse=auto rescale=auto rows=0 cols=0 q_block=0 kv_chunk=0 kv_tile=32
write write in=bf16 kv=int8 heads=1 dim=64 page=64 batch=1 ctx=64 parts=0
END

# without tiles
if ! "$KVJIT" info | grep -q '^tiles *AMX'; then
	sh "$record" "$tmp/none" >"$tmp/out" 2>&1
	test "$(ls "$tmp/none")" = write.jsonl
	sh "$record" "$tmp/none" amx-gemm >"$tmp/out" 2>&1
	grep -q "amx-gemm needs tiles" "$tmp/out"
	[ -n "${KVJIT_EMULATOR:-}" ] || { echo "SKIPPED: no tiles, and no emulator of them"; exit 77; }
	export LD_PRELOAD="$KVJIT_EMULATOR"
	"$KVJIT" info | grep -q '^target *amx' ||
		{ echo "SKIPPED: the emulator has no processor with bf16 under it"; exit 77; }
fi

sh "$record" "$tmp/all" amx-gemm amx-attn >"$tmp/out" || { cat "$tmp/out"; exit 1; }
for name in amx-gemm amx-attn; do
	space=$tmp/all/$name.jsonl
	head -n 1 "$space" | grep -q '"target":"amx"'
	# the default, one other that was measured, and no state of a kernel that went wrong
	test "$(grep -c '"state":"\(ok\|slow\)"' "$space")" -ge 2
	if grep -E '"state":"(crashed|outside|unsteady|wrong|memory)"' "$space"; then exit 1; fi
	# times are data for a search, whatever made them
	"$(dirname "$KVJIT")/kvjit-replay" "$space" >"$tmp/replay"
	grep -q '"candidates":' "$tmp/replay"
done
head -n 1 "$tmp/all/amx-attn.jsonl" | grep -q '"tiles":'
