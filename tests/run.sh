#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sets everything up and runs all tests: the README's second command.
#
#   tests/run.sh            everything, in build/ and build/san/
#   tests/run.sh -R golden  arguments go to ctest; then only the plain build is tested
set -eu
cd "$(dirname "$0")/.."
tests/setup.sh
jobs=$(nproc)

cmake -S . -B build -G Ninja >build.log 2>&1 || { cat build.log; exit 1; }
mv build.log build/configure.log
ninja -C build -j "$jobs" --quiet

if [ $# -gt 0 ]; then
	exec ctest --test-dir build --output-on-failure -j "$jobs" "$@"
fi

# Host code under ASan and UBSan, and the parser's fuzzer. Without the x86 backend: LLVM
# isn't instrumented. The interpreter and backends/c stand in for it.
cmake -S . -B build/san -G Ninja -DKVJIT_X86=OFF -DKVJIT_SPIRV=OFF -DKVJIT_FUZZ=ON \
	-DKVJIT_SANITIZE=address,undefined >build/san.log 2>&1 || { cat build/san.log; exit 1; }
ninja -C build/san -j "$jobs" --quiet

status=0
ctest --test-dir build --output-on-failure -j "$jobs" || status=1
echo
echo "The same host code under ASan and UBSan, and the parser's fuzzer:"
ctest --test-dir build/san --output-on-failure -j "$jobs" || status=1
exit $status
