#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""per_token_head.py -- a cache with a scale for each token and head beside its codes.

kv_cache_dtype=int8_per_token_head, fp8_per_token_head: a slot is K codes, f32, V codes, f32. The
writer is reshape_and_cache, the reader paged attention; key and value are slices of one fused
row, the cache has tokens before heads, and both are taken as they lie, by strides.
"""
import array

from host import *

HEADS, KV_HEADS, DIM, PAGE, PAGES, TOKENS = 8, 2, 64, 16, 4, 37
SLOT = 2 * (DIM + 4)


def scale_and_codes(slot, name):
    codes = slot[:DIM]
    if name == "int8":
        codes = [x - 256 if x > 127 else x for x in codes]
    else:
        codes = [of_e4m3(x) for x in codes]
    s = of_f32(slot[DIM:DIM + 4])
    return [x * s for x in codes]


def run(kv, name):
    form = f"{name}_per_token_head"
    size = kv.page_bytes(form, KV_HEADS, DIM, PAGE)
    assert size == PAGE * KV_HEADS * SLOT
    cache = Tensor("uint8", array.array("B", bytes(PAGES * size)),
                   (PAGES, KV_HEADS, PAGE, SLOT), (size, SLOT, KV_HEADS * SLOT))

    # one row holds q, k and v of a token; key and value begin inside it
    width = (HEADS + 2 * KV_HEADS) * DIM
    qkv = bf16(noise(TOKENS * width, 7))

    def part(first, heads):
        t = Tensor("bfloat16", qkv, (TOKENS, heads, DIM), (width, DIM))
        t.address += 2 * first * DIM
        return t

    blocks = [2, 0, 3]  # of the sequence
    slots = s64([blocks[t // PAGE] * PAGE + t % PAGE for t in range(TOKENS)])
    write = kv.compile(f"write in=bf16 kv={form} heads={KV_HEADS} dim={DIM} page={PAGE}")
    write(key=part(HEADS, KV_HEADS), value=part(HEADS + KV_HEADS, KV_HEADS), slots=slots,
          cache=cache, n=TOKENS)

    # the bytes: scale is amax / largest code, and within half a step of every value
    x = of_bf16(qkv)
    read = {}
    for t in range(TOKENS):
        for h in range(KV_HEADS):
            at = blocks[t // PAGE] * size + (t % PAGE * KV_HEADS + h) * SLOT
            slot = cache.values[at:at + SLOT]
            read[t, h] = scale_and_codes(slot[:DIM + 4], name), scale_and_codes(slot[DIM + 4:], name)
            row = x[t * width + (HEADS + h) * DIM:][:DIM]
            step = max(map(abs, row)) * (1 / 254 if name == "int8" else 1 / 16)
            assert worst(read[t, h][0], row) <= step * 1.001

    # prefill: every token is a query
    attn = kv.compile(f"attn q=bf16 kv={form} heads={HEADS}:{KV_HEADS} dim={DIM} page={PAGE} causal")
    lens, starts, table = s32([TOKENS]), s32([0, TOKENS]), s32(blocks, 1, 3)
    out = rows([0.0] * (TOKENS * HEADS * DIM), TOKENS, HEADS, DIM)
    attn(attn.plan(lens, starts, table, PAGES), q=part(0, HEADS), cache=cache, table=table,
         lens=lens, starts=starts, scale=DIM ** -0.5, out=out)
    got, error = of_bf16(out.values), 0
    for t in (0, 17, TOKENS - 1):
        for h in range(HEADS):
            q = x[t * width + h * DIM:][:DIM]
            seen = [read[j, h // (HEADS // KV_HEADS)] for j in range(t + 1)]
            scores = [DIM ** -0.5 * sum(a * b for a, b in zip(q, k)) for k, _ in seen]
            want = softmax_rows(scores, [v for _, v in seen])
            error = max(error, worst(got[(t * HEADS + h) * DIM:][:DIM], want))
    verdict(form, error, 0.01)


if __name__ == "__main__":
    context = Context()
    run(context, "int8")
    run(context, "fp8")
