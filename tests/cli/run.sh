#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh -- arrays in, arrays out: rows are quantized and read back.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"

# npy FILE DTYPE SHAPE: the header of a .npy file; its data is standard input.
npy() {
	{
		printf '\223NUMPY\001\000\166\000'
		printf "%-117s\n" "{'descr': '$2', 'fortran_order': False, 'shape': $3, }"
		cat
	} >"$1"
}

# two rows of one head of 16: 1.0 in f32 is 00 00 80 3f; the second row is zeros
{
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do printf '\000\000\200\077'; done
	head -c 64 /dev/zero
} | npy "$tmp/x.npy" '<f4' '(2, 1, 16)'
for backend in ref c x86; do
	"$KVJIT" run quant in=f32 to=int8/token-head heads=1 dim=16 --backend $backend \
		--in x="$tmp/x.npy" --out q="$tmp/q.npy" --out s="$tmp/s.npy"
	# codes: sixteen 127, sixteen 0; 128 bytes of header before them
	test "$(tail -c +129 "$tmp/q.npy" | od -An -v -tu1 | tr -d ' \n')" = \
		"$(for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do printf 127; done)0000000000000000"
	# scales: 1/127 and the floor, 1e-6
	tail -c +129 "$tmp/s.npy" | od -An -v -tf4 | awk '
		{ ok = ($1 > 0.00787 && $1 < 0.00788 && $2 > 0.99e-6 && $2 < 1.01e-6) }
		END { exit !ok }'
done

# an attention call of one query on one key gives that key's value
printf '\001\000\000\000' | npy "$tmp/one.npy" '<i4' '(1,)'
printf '\000\000\000\000\001\000\000\000' | npy "$tmp/starts.npy" '<i4' '(2,)'
printf '\000\000\000\000' | npy "$tmp/table.npy" '<i4' '(1, 1)'
head -c 8 /dev/zero | npy "$tmp/slots.npy" '<i8' '(1,)'
{ for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do printf '\000\000\100\077'; done; } |
	npy "$tmp/v.npy" '<f4' '(1, 1, 16)'
size=$("$KVJIT" compile write in=f32 kv=bf16/inline heads=1 dim=16 page=16 --emit ir |
	sed -n 's/.*%cache: [a-z]* u8\[?,\([0-9,]*\).*/\1/p')
test "$size" = 1,16,64
head -c 1024 /dev/zero | npy "$tmp/cache.npy" '|u1' '(1, 1, 16, 64)'
"$KVJIT" run write in=f32 kv=bf16/inline heads=1 dim=16 page=16 --in key="$tmp/v.npy" \
	--in value="$tmp/v.npy" --in slots="$tmp/slots.npy" --in cache="$tmp/cache.npy" \
	--out cache="$tmp/written.npy"
"$KVJIT" run attn q=f32 out=f32 kv=bf16/inline heads=1 dim=16 page=16 --in q="$tmp/v.npy" \
	--in cache="$tmp/written.npy" --in table="$tmp/table.npy" --in lens="$tmp/one.npy" \
	--in starts="$tmp/starts.npy" --set scale=0.25 --out out="$tmp/out.npy"
test "$(tail -c 64 "$tmp/out.npy" | od -An -v -tx1)" = "$(tail -c 64 "$tmp/v.npy" | od -An -v -tx1)"
