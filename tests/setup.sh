#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what kvjit is built with from the machine's own apt sources (Debian 12 has LLVM 22 in
# its security updates), and returns at once when it is there.
set -eu
packages="llvm-22-dev llvm-22-tools clang-22 libclang-rt-22-dev libcmocka-dev libffi-dev
libcjson-dev libsqlite3-dev libsodium-dev minisign sqlite3 slurm-wlm munge chromium
ninja-build cmake pkg-config gcc g++"
missing=
for package in $packages; do
	state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
	[ "$state" = "install ok installed" ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "setup.sh: these packages are missing and need root to install:$missing" >&2
		exit 1
	}
	root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$root apt-get -qq update
# shellcheck disable=SC2086
$root apt-get -qq -y install --no-install-recommends $missing >/dev/null
