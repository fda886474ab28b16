#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh -- libkvjit exports what kvjit.h declares and links no LLVM; installed, it is
# found by pkg-config and by CMake, and its backends by itself.
set -eu
build=$(dirname "$KVJIT")
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
mkdir -p "$tmp/host"
unset KVJIT_BACKEND_DIR

if readelf -d "$build/libkvjit.so" | grep NEEDED | grep -q LLVM; then
	echo "libkvjit.so links LLVM"
	exit 1
fi
sed -n 's/^KVJIT_API.*[ *]\(kvjit_[a-z_]*\)(.*/\1/p' "$KVJIT_SOURCE_DIR/include/kvjit.h" |
	sort >"$tmp/declared"
nm -D --defined-only "$build/libkvjit.so" | sed -n 's/.* T \([a-z_]*\).*/\1/p' | sort >"$tmp/exported"
diff "$tmp/declared" "$tmp/exported"

# the command, the library's file and what pkg-config says are of one version
"$KVJIT" --version | grep -q "^kvjit $(sed -n 's/^project(kvjit VERSION \([^ ]*\).*/\1/p' \
	"$KVJIT_SOURCE_DIR/CMakeLists.txt"), interface [0-9]*$"

cmake --install "$build" --prefix "$tmp/prefix" >/dev/null
lib=$(dirname "$(find "$tmp/prefix" -name libkvjit.so)")
cat >"$tmp/host/host.c" <<'END'
#include <kvjit.h>
#include <stdio.h>

int main(void)
{
	kvjit_kernel *k = NULL;
	kvjit *kv = NULL;

	if (kvjit_open(NULL, &kv) != KVJIT_OK ||
	    kvjit_compile(kv, "merge out=f32 heads=4 dim=64", NULL, &k) != KVJIT_OK) {
		printf("%s%s\n", kvjit_open_error(), kvjit_error(kv));
		return 1;
	}
	printf("%s\n", kvjit_kernel_target(k));
	kvjit_release(k);
	kvjit_close(kv);
	return 0;
}
END
if command -v pkg-config >/dev/null; then
	flags=$(PKG_CONFIG_PATH="$lib/pkgconfig" pkg-config --cflags --libs kvjit)
	# shellcheck disable=SC2086
	cc -Wl,-rpath,"$lib" "$tmp/host/host.c" $flags -o "$tmp/by_pkg_config"
	"$tmp/by_pkg_config"
fi
if command -v python3 >/dev/null; then
	(unset LIBKVJIT && cd / && PYTHONPATH="$tmp/prefix/share/kvjit/python" python3 -c "
import kvjit
print(kvjit.Context().compile('merge out=f32 heads=4 dim=64').target)
assert kvjit._lib._name.startswith('$tmp'), kvjit._lib._name")
fi
cat >"$tmp/host/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(host C)
find_package(kvjit 0.1 REQUIRED)
add_executable(host host.c)
target_link_libraries(host PRIVATE kvjit::kvjit)
END
cmake -S "$tmp/host" -B "$tmp/build" -DCMAKE_PREFIX_PATH="$tmp/prefix" >/dev/null
cmake --build "$tmp/build" >/dev/null
"$tmp/build/host"
"$tmp/prefix/bin/kvjit" info >/dev/null
