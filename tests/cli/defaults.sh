#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# defaults.sh -- what default schedules say for shapes that measurements named
# (docs/experiments.md): a fact of the schedule, not of the machine, so each is asked of a target.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"

# says TARGET FIELD PROBLEM WORDS...: what `explain` prints behind `schedule:` or `resolved:`
says() {
	target=$1 field=$2 problem=$3
	shift 3
	"$KVJIT" explain --target "$target" "$problem" >"$tmp/said.out" 2>&1 ||
		fail "$problem on $target: not explained"
	grep "^$field:" "$tmp/said.out" >"$tmp/line" || fail "$problem on $target: no line $field"
	for word; do
		grep -q -e " $word\( \|\$\)" "$tmp/line" ||
			fail "$problem on $target: no $word in $(cat "$tmp/line")"
	done
}

a="attn q=bf16 dim=128 page=128 causal"

# the queries of speculative decoding are one tile, long sequences cut
says avx512-bf16 schedule "$a kv=bf16 heads=32:8 batch=1 ctx=8192 qlen=4" q_tile=4 split=2048
says avx512-bf16 schedule "$a kv=bf16 heads=32:8 batch=1 ctx=8192 qlen=4 prefetch=off" prefetch=off
says avx512-bf16 schedule "$a kv=bf16 heads=32:8 batch=1 ctx=8192 qlen=512" split=0

# vectors touch lines ahead for any number of queries, tiles for one tile of them
says avx512-bf16 resolved "$a kv=bf16 heads=32:8 batch=1 ctx=8192 qlen=512" prefetch=both

# codes with scales of groups: tiles of 8 rows, whatever the group; a few queries' lists are cut
says avx512-bf16 schedule "$a kv=int4/g32 heads=32:8 ctx=4096 qlen=512" q_tile=2 kv_tile=128
says avx512-vnni schedule "$a kv=nvfp4 heads=16:16 ctx=4096 qlen=512" q_tile=8 kv_tile=128
says avx512-bf16 schedule "$a kv=int8/g32 heads=128:8 ctx=4096 qlen=512" q_tile=1 kv_tile=128
says avx512-bf16 schedule "$a kv=int4/g32 heads=32:8 batch=1 ctx=8192 qlen=4" q_tile=2 split=2048
says avx512-bf16 schedule "$a kv=int8/token-head heads=32:8 ctx=4096 qlen=512" q_tile=16 kv_tile=64
says avx2 schedule "$a kv=int4/g32 heads=32:8 ctx=4096 qlen=512" q_tile=8

# half a line of 8-bit floats is decoded in the product once
says avx512-bf16 resolved "$a kv=mxfp8 heads=64:8 batch=8 ctx=4096" fuse=on rows=8
says avx512-bf16 resolved "$a kv=mxfp8 heads=128:8 batch=8 ctx=4096" fuse=on/off

# groups of more than four heads decode in the product; values of 8-bit floats by four rows, in
# whole lines of columns before what is left of a head
says avx512-bf16 resolved "$a kv=int8/token-head heads=64:8 batch=8 ctx=4096" fuse=on rows=8
says avx512-bf16 resolved "$a kv=e4m3 heads=64:8 batch=8 ctx=4096" fuse=on rows=8/4
says avx512-bf16 resolved "attn q=bf16 kv=e4m3 heads=32:8 dim=96 page=128 causal" cols=4/2
says avx512-bf16 resolved "attn q=bf16 kv=e4m3 heads=16:16 dim=192 page=128 causal" cols=4/8
says avx512-bf16 resolved "$a kv=bf16 heads=128:8 batch=8 ctx=4096" fuse=on
says avx512-bf16 resolved "$a kv=e4m3 heads=32:8 batch=1 ctx=1024 qlen=1024" fuse=off
says avx512 resolved "$a kv=e4m3 heads=128:8 batch=8 ctx=4096" fuse=off

# a prefill in tiles takes values of bytes as bf16, a decode doesn't
if ! "$KVJIT" info | grep -q '^tiles *AMX' && [ -n "${KVJIT_EMULATOR:-}" ]; then
	export LD_PRELOAD="$KVJIT_EMULATOR"
fi
if "$KVJIT" info | grep -q '^target *amx'; then
	p="$a kv=int8/token-head/amx heads=32:8 batch=1 ctx=8192"
	says amx schedule "$p qlen=8192" q_block=16 pv=bf16
	says amx schedule "$p qlen=8192 pv=int8" q_block=16 pv=int8
	says amx schedule "$p" pv=auto
	says amx schedule "$a kv=bf16/amx heads=32:8 batch=1 ctx=8192 qlen=4" prefetch=one split=2048
	says amx resolved "$a kv=bf16/amx heads=32:8 batch=1 ctx=8192 qlen=512" prefetch=off
	says amx schedule \
		"attn q=f16 dim=128 page=128 causal kv=int8/token-head/amx heads=32:8 ctx=8192 qlen=8192" pv=auto
fi
