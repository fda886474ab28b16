#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what kvjit is built with from the machine's own apt sources (Debian 12 has LLVM 22 in
# its security updates), and returns at once when it is there. What only the SPIR-V backend and the
# tests of Intel GPUs need comes second: where that can't be had, these are left out and say why.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
packages="llvm-22-dev llvm-22-tools clang-22 libclang-rt-22-dev libcmocka-dev libffi-dev
libcjson-dev libsqlite3-dev libsodium-dev libze-dev libze1 minisign sqlite3 slurm-wlm munge chromium
ninja-build cmake pkg-config gcc g++"
gpu_packages="llvm-15-dev libllvmspirvlib-15-dev libze-dev libze1 intel-opencl-icd libigc-tools
ocl-icd-libopencl1 ocl-icd-opencl-dev spirv-tools python3-venv"

# missing_of PACKAGES: those that aren't installed
missing_of() {
	for package in $1; do
		state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
		[ "$state" = "install ok installed" ] || printf ' %s' "$package"
	done
}
missing=$(missing_of "$packages")
gpu_missing=$(missing_of "$gpu_packages")
[ -n "$missing$gpu_missing" ] || exec sh "$here/ze/setup.sh"

root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "setup.sh: these packages are missing and need root to install:$missing$gpu_missing" >&2
		exit 1
	}
	root=sudo
fi
echo "installing:$missing$gpu_missing"
export DEBIAN_FRONTEND=noninteractive
$root apt-get -qq update
# shellcheck disable=SC2086
[ -z "$missing" ] || $root apt-get -qq -y install --no-install-recommends $missing >/dev/null
# shellcheck disable=SC2086
[ -z "$gpu_missing" ] ||
	$root apt-get -qq -y install --no-install-recommends $gpu_missing >/dev/null ||
	echo "setup.sh: tests of Intel GPUs will be skipped, these can't be had:$gpu_missing" >&2
exec sh "$here/ze/setup.sh"
