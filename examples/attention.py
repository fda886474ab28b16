#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attention.py -- the program of attention.c from Python: prints `attention: ok`.

It needs python/kvjit.py, from this clone or installed, and nothing else: arrays are of the
array module, where an engine has torch's or numpy's.
"""
import array
import os
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import kvjit

SEQUENCES, HEADS, KV_HEADS, DIM, PAGE, PAGES, COLUMNS = 2, 8, 2, 64, 16, 12, 9


def bf16(values):
    bits = struct.unpack(f"{len(values)}I", struct.pack(f"{len(values)}f", *values))
    return array.array("H", [(x + 0x8000) >> 16 for x in bits])


def f32(codes):
    return struct.unpack(f"{len(codes)}f", struct.pack(f"{len(codes)}I", *[x << 16 for x in codes]))


def shaped(values, *shape):
    return memoryview(values).cast("B").cast(values.typecode, shape)


def value_of(head, d):
    return (-1 if head % 2 else 1) * (0.25 + 0.75 * d / DIM)


def main():
    kv = kvjit.Context()

    # a cache of PAGES pages: any key, and as value the same number for all tokens
    n = PAGES * PAGE
    keys = bf16([(i % 61 - 30) / 30 for i in range(n * KV_HEADS * DIM)])
    values = bf16([value_of(h, d) for h in range(KV_HEADS) for d in range(DIM)] * n)
    write = kv.compile(f"write in=bf16 kv=int8/token-head heads={KV_HEADS} dim={DIM} page={PAGE}")
    cache = write.zeros("cache", PAGES)
    write(key=shaped(keys, n, KV_HEADS, DIM), value=shaped(values, n, KV_HEADS, DIM),
          slots=array.array("q", range(n)), cache=cache, n=n)

    # two sequences of 5 and 130 tokens, one of each new
    lens, starts = array.array("i", [5, 130]), array.array("i", [0, 1, 2])
    table = shaped(array.array("i", [2] + [0] * 8 + [0, 1, 3, 4, 5, 6, 7, 8, 9]), SEQUENCES, COLUMNS)
    attn = kv.compile("attn q=bf16 kv=int8/token-head "
                      f"heads={HEADS}:{KV_HEADS} dim={DIM} page={PAGE} causal")
    plan = attn.plan(lens, starts, table, npages=PAGES)
    q = bf16([(i % 37 - 18) / 18 for i in range(SEQUENCES * HEADS * DIM)])
    out = array.array("H", [0] * len(q))
    attn(plan, q=shaped(q, SEQUENCES, HEADS, DIM), cache=cache, table=table, lens=lens,
         starts=starts, scale=DIM ** -0.5, out=shaped(out, SEQUENCES, HEADS, DIM))

    worst = max(abs(x - value_of(i // DIM % HEADS // (HEADS // KV_HEADS), i % DIM))
                for i, x in enumerate(f32(out)))
    print(f"attention: {'ok' if worst < 0.02 else 'wrong'}, largest error {worst:g}")
    return worst >= 0.02


sys.exit(main())
