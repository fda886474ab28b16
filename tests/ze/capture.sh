#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Intel's real driver on a machine without a GPU: in capture mode it offers a device, builds
# modules with the real compiler and records command lists to a file instead of running them.
# Every call must succeed, without the validation layer and with it, which must report nothing.
#
#     capture.sh pvc|dg2    the product to be; $WALK is tests/ze/walk.c
set -eu
product=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
skip() {
	echo "SKIPPED: $1"
	exit 77
}
ldconfig -p 2>/dev/null | grep -q libze_intel_gpu.so.1 ||
	skip "no libze_intel_gpu.so.1 (Debian: intel-opencl-icd)"
[ -e "${KVJIT_BACKEND_DIR:?}/libkvjit-spirv.so" ] || skip "the backend spirv isn't built here"

unset ZE_ENABLE_ALT_DRIVERS
export NEOReadDebugKeys=1 SetCommandStreamReceiver=1 ProductFamilyOverride="$product"
export HardwareInfoOverride=1x4x8 KVJIT_CACHE_DIR=off
cd "$tmp" # the recording goes to the current folder

set -- "quant in=bf16 to=int8/token-head heads=2 dim=64" \
	"quant in=f32 to=e4m3/token-head heads=2 dim=48"
for kv in f16 e4m3/head int8/token-head; do
	set -- "$@" "attn q=f16 kv=$kv heads=4:2 dim=64 page=16 causal"
done
"$WALK" "xe-$product" "$@"
ZE_ENABLE_VALIDATION_LAYER=1 ZE_ENABLE_PARAMETER_VALIDATION=1 \
	"$WALK" "xe-$product" "$@" >"$tmp/out" 2>"$tmp/said" || { cat "$tmp/out" "$tmp/said"; exit 1; }
if [ -s "$tmp/said" ]; then
	echo "the validation layer says:"
	cat "$tmp/said"
	exit 1
fi
