#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packed_layouts.py -- the same cache and weights in the order that AVX-512 or AMX reads.

Engines repack keys for VNNI or tiles inside their kernels, or keep a layout for each processor in
their writers. Here the layout is a word of the format: native for vectors, amx for tile registers.
A cache that lies in another order is moved once, page by page, and weights are packed at load time.
"""
from host import *

HEADS, KV_HEADS, DIM, TOKENS = 8, 2, 64, 75
THEIR_PAGE, PAGE, PAGES = 16, 64, 2
K, N, ROWS = 256, 128, 3


def cache(kv):
    # bf16, tokens before heads, as another engine left it
    key, value = (rows(noise(TOKENS * KV_HEADS * DIM, s), TOKENS, KV_HEADS, DIM) for s in (1, 2))
    shape = (8, THEIR_PAGE, KV_HEADS, 2 * DIM)
    theirs = octets("uint8", *shape), octets("uint8", *shape)
    write = kv.compile(f"write in=bf16 kv=bf16/nhd heads={KV_HEADS} dim={DIM} page={THEIR_PAGE}")
    write(key=key, value=value, slots=s64(range(TOKENS)), k_cache=theirs[0], v_cache=theirs[1],
          n=TOKENS)

    q = rows(noise(HEADS * DIM, 3), 1, HEADS, DIM)
    lens, starts, table = s32([TOKENS]), s32([0, 1]), s32([0, 1], 1, 2)
    keys, values = of_bf16(key.values), of_bf16(value.values)
    want = []
    for h in range(HEADS):
        at = [(t * KV_HEADS + h // (HEADS // KV_HEADS)) * DIM for t in range(TOKENS)]
        row = of_bf16(q.values)[h * DIM:(h + 1) * DIM]
        scores = [DIM ** -0.5 * sum(a * b for a, b in zip(row, keys[i:i + DIM])) for i in at]
        want += softmax_rows(scores, [values[i:i + DIM] for i in at])

    for layout in ("native", "amx"):
        for elem in ("int8", "e4m3", "bf16"):
            form = f"bf16/none/{layout}" if elem == "bf16" else f"{elem}/token-head/{layout}"
            move = kv.compile(f"transcode from=bf16/nhd to={form} heads={KV_HEADS} dim={DIM} "
                              f"page={THEIR_PAGE}:{PAGE}")
            ours = move.zeros("cache", PAGES)
            move(from_k_cache=theirs[0], from_v_cache=theirs[1], cache=ours,
                 from_slots=s64(range(TOKENS)), slots=s64(range(TOKENS)), n=TOKENS)
            attn = kv.compile(f"attn q=bf16 kv={form} heads={HEADS}:{KV_HEADS} dim={DIM} "
                              f"page={PAGE} causal")
            out = rows([0.0] * (HEADS * DIM), 1, HEADS, DIM)
            attn(attn.plan(lens, starts, table, PAGES), q=q, cache=ours, table=table, lens=lens,
                 starts=starts, scale=DIM ** -0.5, out=out)
            # what 8 bits with a scale a row cost; bf16 only rounds the outputs and the weights
            verdict(form, worst(of_bf16(out.values), want),
                    {"bf16": 0.003, "int8": 0.01, "e4m3": 0.03}[elem])


def weights(kv):
    # int8 with a scale a row and a channel: exact sums, so packed and unpacked agree in every bit
    formats = "acts=int8/token-head weights=int8/token-head"
    octet = lambda seed, n: array.array("b", [int(v * 127) for v in noise(n, seed)])
    a, w = Tensor("int8", octet(4, ROWS * K), (ROWS, K)), Tensor("int8", octet(5, N * K), (N, K))
    args = {"a": a, "as": f32([0.01] * ROWS, ROWS, 1), "ws": f32([0.02] * N, N, 1), "n": ROWS}
    plain, packed = (f32([0.0] * (ROWS * N), ROWS, N) for _ in range(2))
    kv.compile(f"gemm {formats} dim={K}:{N} out=f32")(w=w, c=plain, **args)

    pack = kv.compile(f"pack weights=int8/token-head dim={K}:{N}")
    lies = Tensor("int8", array.array("b", bytes(N * K)), (N // 64, K // 4, 64, 4))
    pack(x=w, y=lies)
    kv.compile(f"gemm {formats} dim={K}:{N} out=f32 packed")(w=lies, c=packed, **args)

    for i in range(0, ROWS * N, 7):
        total = sum(x * y for x, y in zip(a.values[i // N * K:][:K], w.values[i % N * K:][:K]))
        assert abs(plain.values[i] - total * 0.01 * 0.02) <= abs(total) * 1e-9 + 1e-6
    verdict("packed weights", worst(plain.values, packed.values), 0)


if __name__ == "__main__":
    context = Context()
    cache(context)
    weights(context)
