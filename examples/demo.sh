#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sets everything up, builds, and shows a quantized KV cache written and read back inside
# attention on real activations: its error, then its speed beside bf16. The README's first
# command. As root or with sudo; a second run only runs the demo.
set -eu
cd "$(dirname "$0")/.."
tests/setup.sh
if [ ! -f build/build.ninja ]; then
	mkdir -p build
	cmake -S . -B build -G Ninja >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
fi
ninja -C build --quiet kvjit kvjit-x86 kvjit-tool kvjit-demo

build/kvjit-demo tests/golden/real
echo
echo "Speed: one core, decode from DRAM (2 GiB of cache in all, a page of 128 tokens)"
echo
for kv in int8/token-head e4m3; do
	build/kvjit bench --cold --seconds 3 "attn q=bf16 kv=$kv heads=32:8 dim=128 page=128" \
		causal batch=8 ctx=8192
	echo
done
