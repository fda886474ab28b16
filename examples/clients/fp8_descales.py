#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fp8_descales.py -- an fp8 cache whose scales are the layer's: k_scale and v_scale, q_scale too.

kv_cache_dtype=fp8_e4m3 with one number a tensor. Engines expand it to [sequences, KV heads] by
strides of 0, which is taken as it is; with a scale for each head (e4m3/head) only the strides
change. The cache is K and V apart, tokens before heads.
"""
from host import *

HEADS, KV_HEADS, DIM, PAGE, PAGES, TOKENS, SEQS = 8, 2, 64, 16, 4, 21, 1
K_SCALE, V_SCALE, Q_SCALE = 0.5, 0.0625, 0.25


def main(kv):
    page_shape = (PAGES, PAGE, KV_HEADS, DIM)
    k_cache, v_cache = octets("uint8", *page_shape), octets("uint8", *page_shape)
    key, value = noise(TOKENS * KV_HEADS * DIM, 1, 100), noise(TOKENS * KV_HEADS * DIM, 2, 8)
    blocks = [3, 1]
    write = kv.compile(f"write in=bf16 kv=e4m3/nhd heads={KV_HEADS} dim={DIM} page={PAGE}")
    write(key=rows(key, TOKENS, KV_HEADS, DIM), value=rows(value, TOKENS, KV_HEADS, DIM),
          slots=s64([blocks[t // PAGE] * PAGE + t % PAGE for t in range(TOKENS)]),
          k_cache=k_cache, v_cache=v_cache, n=TOKENS,
          kd=f32([K_SCALE] * KV_HEADS), vd=f32([V_SCALE] * KV_HEADS))

    def cached(cache, t, h, scale):
        at = ((blocks[t // PAGE] * PAGE + t % PAGE) * KV_HEADS + h) * DIM
        return [of_e4m3(x) * scale for x in cache.values[at:at + DIM]]

    for t in (0, 20):  # an e4m3 has 3 bits behind the point
        row = key[t * KV_HEADS * DIM:][:DIM]
        for a, b in zip(cached(k_cache, t, 0, K_SCALE), row):
            assert abs(a - b) <= abs(b) / 16 + K_SCALE * 2.0 ** -10

    # queries in fp8 too: what quantizes them is the same rule, with the scale handed over
    q = noise(HEADS * DIM, 3, 4)
    codes = octets("float8_e4m3fn", SEQS, HEADS, DIM)
    quant = kv.compile(f"quant in=bf16 to=e4m3 heads={HEADS} dim={DIM}")
    quant(x=rows(q, SEQS, HEADS, DIM), q=codes, d=f32([Q_SCALE] * HEADS), n=SEQS)

    attn = kv.compile(f"attn q=e4m3fn kv=e4m3/nhd heads={HEADS}:{KV_HEADS} dim={DIM} page={PAGE} "
                      "causal qscale out=bf16")
    lens, starts, table = s32([TOKENS]), s32([0, 1]), s32(blocks, 1, 2)
    out = rows([0.0] * (HEADS * DIM), SEQS, HEADS, DIM)
    one = lambda x: f32([x], SEQS, KV_HEADS, strides=(0, 0))  # expand(), without a copy
    attn(attn.plan(lens, starts, table, PAGES), q=codes, k_cache=k_cache, v_cache=v_cache,
         qd=one(Q_SCALE), kd=one(K_SCALE), vd=one(V_SCALE), table=table, lens=lens, starts=starts,
         scale=DIM ** -0.5, out=out)

    got, error = of_bf16(out.values), 0
    for h in range(HEADS):
        row = [of_e4m3(x) * Q_SCALE for x in codes.values[h * DIM:(h + 1) * DIM]]
        of = h // (HEADS // KV_HEADS)
        keys = [cached(k_cache, t, of, K_SCALE) for t in range(TOKENS)]
        scores = [DIM ** -0.5 * sum(a * b for a, b in zip(row, k)) for k in keys]
        want = softmax_rows(scores, [cached(v_cache, t, of, V_SCALE) for t in range(TOKENS)])
        error = max(error, worst(got[h * DIM:(h + 1) * DIM], want))
    verdict("fp8_descales", error, 0.001)


if __name__ == "__main__":
    main(Context())
