#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clients.sh -- each program of examples/clients checks what it computes, and docs/clients.md names it.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_python.sh"
for program in "$KVJIT_SOURCE_DIR"/examples/clients/*.py; do
	name=$(basename "$program")
	[ "$name" = host.py ] && continue
	out=$(python3 "$program") || { echo "$name: $out"; exit 1; }
	echo "$out" | grep -qE ': (ok|SKIPPED)' || { echo "$name says: $out"; exit 1; }
	grep -q "clients/$name" "$KVJIT_SOURCE_DIR/docs/clients.md" ||
		{ echo "docs/clients.md doesn't name $name"; exit 1; }
done
# what the programs check fails when the library computes something else
spoiled=$(sed 's/vd=one(V_SCALE)/vd=one(V_SCALE * 1.1)/' "$KVJIT_SOURCE_DIR/examples/clients/fp8_descales.py" |
	PYTHONPATH="$KVJIT_SOURCE_DIR/examples/clients" python3 -) && { echo "not noticed: $spoiled"; exit 1; }
echo "$spoiled" | grep -q 'fp8_descales: wrong'
