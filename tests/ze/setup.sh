#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the OpenCL runtime for CPUs on which the driver of this folder runs kernels: Intel's,
# from Python packages, in an environment of its own outside the tree. It is 300 MB, under
# Intel's licence, and downloaded once. Where it can't be had, the tests that need it say so and
# are skipped; that is no error here.
#
#   setup.sh           installs if it isn't there
#   setup.sh --where   prints the folder, for OCL_ICD_VENDORS DIR/vendors
set -eu
dir=${KVJIT_INTEL_RT:-${XDG_CACHE_HOME:-$HOME/.cache}/kvjit-tests/intel-rt}
[ "${1:-}" != --where ] || { echo "$dir"; exit 0; }
[ ! -e "$dir/vendors/intel.icd" ] || exit 0

give_up() {
	echo "ze/setup.sh: $1; tests on Intel's CPU runtime will be skipped" >&2
	rm -rf "$dir.new"
	exit 0
}
[ "$(uname -m)" = x86_64 ] || give_up "the runtime is for x86-64 only"
echo "installing: intel-opencl-rt, in $dir"
mkdir -p "$(dirname "$dir")"
rm -rf "$dir.new"
python3 -m venv "$dir.new" || give_up "python3 -m venv doesn't work"
# The second is needed and not named by the first: without it there are no platforms, silently.
"$dir.new/bin/pip" --disable-pip-version-check --quiet --timeout 20 --retries 1 install \
	intel-opencl-rt==2026.2.0 intel-cmplr-lib-rt==2026.2.0 ||
	give_up "the packages intel-opencl-rt and intel-cmplr-lib-rt can't be had"
library=$(find "$dir.new" -name libintelocl.so | head -n 1)
[ -n "$library" ] || give_up "the packages hold no libintelocl.so"
mkdir "$dir.new/vendors"
echo "$dir/${library#"$dir.new"/}" >"$dir.new/vendors/intel.icd"
rm -rf "$dir"
mv "$dir.new" "$dir"
