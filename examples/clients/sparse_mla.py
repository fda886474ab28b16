#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sparse_mla.py -- the 656-byte record of fp8_ds_mla, written and read over index lists.

concat_and_cache_mla and flash_mla_sparse: 512 e4m3, four f32 scales that are powers of two, 64
bf16. One KV head; values are the first 512 elements of the keys. What the engine's indexer chose
comes as slots, -1 where a query has fewer keys.
"""
import array

from host import *

HEADS, LATENT, ROPE, PAGE, PAGES, TOKENS, TOPK, RECORD = 16, 512, 64, 64, 2, 70, 32, 656
DIM = LATENT + ROPE


def key_of(record):
    scales = [of_f32(record[LATENT + 4 * g:LATENT + 4 * g + 4]) for g in range(4)]
    rest = array.array("H", bytes(record[LATENT + 16:]))
    return [of_e4m3(x) * scales[i // 128] for i, x in enumerate(record[:LATENT])] + list(of_bf16(rest))


def main(kv):
    assert kv.page_bytes("fp8_ds_mla", 1, DIM, PAGE, LATENT) == PAGE * RECORD
    cache = octets("uint8", PAGES, PAGE, RECORD)
    latent = rows(noise(TOKENS * LATENT, 1, 4), TOKENS, 1, LATENT)
    rope = rows(noise(TOKENS * ROPE, 2), TOKENS, 1, ROPE)
    write = kv.compile(f"write in=bf16 kv=fp8_ds_mla heads=1 dim={DIM}:{LATENT} page={PAGE}")
    write(key=latent, rest=rope, kv_cache=cache, slots=s64(range(TOKENS)), n=TOKENS)

    record = lambda slot: cache.values[slot * RECORD:(slot + 1) * RECORD]
    for t in (0, 64, TOKENS - 1):
        row = of_bf16(latent.values)[t * LATENT:(t + 1) * LATENT]
        for g in range(4):
            s, amax = of_f32(record(t)[LATENT + 4 * g:][:4]), max(map(abs, row[g * 128:][:128]))
            assert s >= amax / 448 > s / 2
        assert worst(key_of(record(t))[:LATENT], row) <= max(map(abs, row)) / 16
        assert bytes(record(t)[-2 * ROPE:]) == rope.values[t * ROPE:(t + 1) * ROPE].tobytes()

    # two queries of one sequence, 20 keys each; what is past them isn't looked at
    count = 20
    chosen = [[(i * 37 + 11 * r) % TOKENS for i in range(count)] for r in range(2)]
    chosen[1][3] = -1  # no key
    index = s32([x for r in chosen for x in r + [-1] * (TOPK - count)], 2, TOPK)
    lens, starts = s32([count]), s32([0, 2])
    attn = kv.compile(f"attn q=bf16 kv=fp8_ds_mla heads={HEADS}:1 dim={DIM}:{LATENT} page={PAGE} "
                      f"sparse={TOPK}")
    q, scale = rows(noise(2 * HEADS * DIM, 3), 2, HEADS, DIM), 192 ** -0.5
    out = rows([0.0] * (2 * HEADS * LATENT), 2, HEADS, LATENT)
    attn(attn.plan(lens, starts), q=q, kv_cache=cache, index=index, lens=lens, starts=starts,
         scale=scale, out=out)

    got, error = of_bf16(out.values), 0
    for r in range(2):
        keys = [key_of(record(slot)) for slot in chosen[r] if slot >= 0]
        for h in (0, 7, HEADS - 1):
            at = r * HEADS + h
            row = of_bf16(q.values)[at * DIM:(at + 1) * DIM]
            scores = [scale * sum(a * b for a, b in zip(row, k)) for k in keys]
            want = softmax_rows(scores, [k[:LATENT] for k in keys])
            error = max(error, worst(got[at * LATENT:(at + 1) * LATENT], want))
    verdict("sparse_mla", error, 0.02)


if __name__ == "__main__":
    main(Context())
