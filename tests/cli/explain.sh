#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# explain.sh -- whether a problem runs here, and the sentence when it doesn't.
set -eu
problem="attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal"

"$KVJIT" explain "$problem" | grep -q '^supported: yes'
"$KVJIT" explain "$problem" | grep -q '^target: '
# tiles: AMX, or why there are none
"$KVJIT" explain "$problem" | grep -Eq '^tiles: (AMX|emulated|none: )'
"$KVJIT" info | grep -Eq '^tiles +(AMX|emulated|none: )'
if "$KVJIT" info | grep -q '^tiles *none'; then
	"$KVJIT" explain --target amx "$problem" 2>/tmp/explain.$$ && exit 1
	grep -q "target 'amx' needs amx_tile, .*it runs .*; tiles: none: " /tmp/explain.$$
fi
"$KVJIT" explain "$problem q_tile=64" >/tmp/explain.$$ && exit 1
grep -q '^why: .*q_tile' /tmp/explain.$$
rm -f /tmp/explain.$$
"$KVJIT" explain "attn q=bf16 kv=no_such heads=8 dim=64 page=16" 2>&1 | grep -q "no format is called 'no_such'"
