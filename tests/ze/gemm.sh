#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Products on the test driver, each held to its bound. $1: a backend that makes SPIR-V.
set -eu

. "$(dirname "$0")/skip.sh"
while read -r problem; do
	# the second emitter, as in CMakeLists.txt: what blocks and formats there are, once
	case $1-$problem in
	spirv-llvm-*block=64* | spirv-llvm-*g64* | spirv-llvm-*dim=256:64* | spirv-llvm-*dim=96:33*)
		[ -n "${KVJIT_LONG:-}" ] || continue
		;;
	esac
	echo "gemm $problem"
	"$KVJIT" check "gemm $problem" --target xe-pvc --backend "$1" --seeds 2 \
		--sched "m_tile=8 n_tile=32"
done <<'END'
acts=e4m3/g128 weights=e4m3/g128 block=128 dim=256:64 out=f32
acts=e4m3/g128 weights=e4m3/g128 block=64 packed dim=256:72 out=f16
acts=e4m3/g64 weights=e4m3/g64 packed dim=192:40 out=bf16
acts=mxfp8 weights=mxfp8 packed dim=128:48 out=bf16
acts=mxfp8 weights=mxfp8 dim=96:33 out=f32
acts=e4m3/g128 weights=e4m3/g128 block=128 in=bf16 packed dim=256:48 out=bf16
acts=mxfp8 weights=mxfp4 packed dim=128:48 out=bf16
END
