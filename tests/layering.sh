#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Who may include whom, read from the #include lines. A folder that knows too much breaks
# what the project promises: passes without LLVM, a library without tools, an IR alone.
set -eu
cd "${1:-$(dirname "$0")/..}"
bad=0

# check FOLDER REGEX: every quoted #include of FOLDER, as a path from the root, must match.
check() {
	for file in $(find "$1" -name '*.[ch]' -o -name '*.cc' -o -name '*.def'); do
		here=$(dirname "$file")
		sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$file" | while read -r name; do
			path=$(realpath -m --relative-to=. "$here/$name")
			[ -e "$path" ] || path=$name
			echo "$path" | grep -Eq "^($2)" || echo "$file includes $path"
		done
	done
}

found=$(
	check ir 'ir/'
	check passes 'ir/|passes/'
	for backend in backends/*/; do
		check "${backend%/}" "ir/|backends/(backend|device|isa|native|spirv_flags)\.|backends/llvm/|$backend"
	done
	check tune 'ir/|tune/|backends/isa\.'
	check jit 'ir/|passes/|tune/|backends/(backend|device|isa)\.|backends/ref/|jit/|include/|kvjit\.h$'
	check include 'include/'
	# LLVM is known to the backends that use it and to nobody else.
	grep -rnE '#[ \t]*include[ \t]*<llvm' ir passes tune jit include tools backends/ref backends/c \
		2>/dev/null || true
	# Level Zero is known to its runtime.
	grep -rnE '#[ \t]*include[ \t]*<level_zero' ir passes tune jit include tools backends/ref backends/c \
		backends/llvm backends/x86 2>/dev/null || true
	# No backend but x86 and the lowering it shares may be named in the passes.
	grep -rnE 'LLVM[A-Z][a-z]+' passes --include='*.[ch]' 2>/dev/null | grep -v '^\S*:\s*\*' || true
)
if [ -n "$found" ]; then
	echo "$found"
	bad=1
fi

# Each source says under which licence it may be used.
for file in $(find ir passes tune backends jit tools include examples tests \
	-name '*.[ch]' -o -name '*.cc' -o -name '*.def' -o -name '*.sh'); do
	head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || {
		echo "$file: no SPDX line"
		bad=1
	}
done

# Each pass says by files what it does and what it leaves alone.
for pass in $(sed -n 's/^PASS( *\([a-z0-9_]*\).*/\1/p' passes/passes.def); do
	ls tests/passes/"$pass"/*.kvt >/dev/null 2>&1 || {
		echo "pass $pass has no file tests: write tests/passes/$pass/NAME.kvt (docs/testing.md)"
		bad=1
	}
done
exit $bad
