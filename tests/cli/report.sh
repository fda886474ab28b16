#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The report of a tuning run, drawn by a real browser: one file that needs nothing else, with a
# page that isn't empty.
set -u
command -v chromium >/dev/null || {
	echo "SKIPPED: chromium isn't installed"
	exit 77
}
command -v python3 >/dev/null || {
	echo "SKIPPED: python3, which looks at the picture, isn't installed"
	exit 77
}
. "$KVJIT_SOURCE_DIR/tests/cli_tmp.sh"
mkdir -m 700 "$tmp/c"
cat >"$tmp/list" <<'END'
attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
attn q=bf16 kv=e4m3 heads=4:1 dim=64 page=64 causal batch=1 ctx=1024
END
"$KVJIT" tune --warm --list "$tmp/list" --budget "${BUDGET:-3}" --cache "$tmp/c" \
	--report "$tmp/report.html" >"$tmp/out" || exit 1
# nothing from elsewhere
if grep -Ei '<script|<link|src=|@import|url\(' "$tmp/report.html"; then
	echo "the page needs other files"
	exit 1
fi
grep -q 'kv=int8/token-head' "$tmp/report.html" && grep -q 'kv=e4m3' "$tmp/report.html" || {
	echo "a problem is missing"
	exit 1
}
timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
	--user-data-dir="$tmp/profile" --window-size=1200,2600 \
	--screenshot="$tmp/report.png" "file://$tmp/report.html" >"$tmp/chromium" 2>&1
[ -s "$tmp/report.png" ] || {
	tail -n 5 "$tmp/chromium"
	echo "chromium drew nothing"
	exit 1
}
# Decoded without a library: how many colours there are, and how far down the page anything is.
python3 - "$tmp/report.png" <<'END'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
at, packed = 8, b""
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    if kind == b"IHDR":
        width, height, depth, colour = struct.unpack(">IIBB", body[:10])
    packed += body if kind == b"IDAT" else b""
    at += size + 12
assert depth == 8 and colour in (2, 6), "a PNG that this test can't read"
raw, step = zlib.decompress(packed), {2: 3, 6: 4}[colour]
pitch = width * step + 1
# a row that isn't one colour has bytes that its filter doesn't make zero
rows = [y for y in range(height) if any(raw[y * pitch + 1 + step:(y + 1) * pitch])]
assert width == 1200 and len(rows) > 400, f"only {len(rows)} rows of the page show anything"
assert rows[-1] > 800, "the page ends early"
print(f"ok: {len(rows)} of {height} rows show something")
END
