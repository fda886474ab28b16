#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvjit and a peer by turns; prints medians and the ratio of each turn's pair. See README.md."""
import argparse
import json
import shlex
import statistics
import subprocess
import sys

# name: format of the problem (in place `amx` with tiles, else in the default's), the peer's --kv (None:
# it has no such cache), batch, context, new tokens
ROWS = {
    "decode-bf16": ("bf16", "auto", 8, 8192, 1),
    "decode-e4m3": ("e4m3/tensor", "fp8_e4m3", 8, 8192, 1),
    "decode-int8": ("int8/token-head", None, 8, 8192, 1),
    "long-bf16": ("bf16", "auto", 1, 32768, 1),
    "long-e4m3": ("e4m3/tensor", "fp8_e4m3", 1, 32768, 1),
    "long-int8": ("int8/token-head", None, 1, 32768, 1),
    "l2-e4m3": ("e4m3/tensor", "fp8_e4m3", 1, 1024, 1),
    "l2-int8": ("int8/token-head", None, 1, 1024, 1),
    "prefill-bf16": ("bf16", "auto", 1, 8192, 8192),
    "prefill-e4m3": ("e4m3/tensor", "fp8_e4m3", 1, 8192, 8192),
    "prefill-int8": ("int8/token-head", None, 1, 8192, 8192),
    "prefill2k-bf16": ("bf16", "auto", 1, 2048, 2048),
    "chunk-bf16": ("bf16", "auto", 1, 8704, 512),
    "chunk-e4m3": ("e4m3/tensor", "fp8_e4m3", 1, 8704, 512),
}
# What each trick gives: the row, and knobs that take it away or, where the default is without, add it.
ABLATION = [
    ("decode-int8", "tiles=off"), ("decode-int8", "stream=off"), ("decode-int8", "prefetch=off"),
    ("decode-int8", "qk=int8 pv=int8"), ("decode-int8", "pv=bf16"), ("decode-e4m3", "tiles=off"),
    ("decode-e4m3", "hint=t0"), ("decode-bf16", "prefetch=one"), ("decode-e4m3", "prefetch=off"),
    ("prefill-bf16", "tiles=off"), ("prefill-bf16", "stream=off"), ("prefill-bf16", "stream=all"),
    ("prefill-bf16", "rows=16"), ("prefill-bf16", "cols=1"), ("prefill-bf16", "kv_tile=64"),
    ("prefill-int8", "pv=int8"), ("prefill-int8", "qk=bf16"),
    ("prefill2k-bf16", "rescale=always"), ("chunk-bf16", "rescale=always"), ("chunk-e4m3", "rescale=always"),
    # the loop order: tiles of queries that share a chunk of keys, its length, and what is widened in it
    ("prefill-e4m3", "q_block=1"), ("prefill-e4m3", "widen=off"), ("prefill-e4m3", "q_block=8"),
    ("prefill-e4m3", "q_block=32"), ("prefill-e4m3", "kv_chunk=256"), ("prefill-e4m3", "kv_chunk=1024"),
    ("prefill-e4m3", "q_tile=16 q_block=8"), ("prefill-e4m3", "stream=off"), ("chunk-e4m3", "q_block=1"),
    ("prefill-bf16", "q_block=1"), ("prefill-bf16", "q_block=8"), ("prefill-bf16", "q_block=16"),
    ("prefill-bf16", "kv_chunk=512"), ("prefill-bf16", "kv_chunk=2048"), ("prefill-bf16", "q_tile=4"),
    ("prefill-bf16", "q_tile=16"), ("prefill2k-bf16", "q_block=8 kv_chunk=2048"),
    ("chunk-bf16", "q_block=1"), ("chunk-bf16", "q_block=32"), ("prefill-int8", "q_block=1"),
    # products of the next tile of keys beside the softmax of this one
    ("prefill-bf16", "pipeline=on"), ("prefill2k-bf16", "pipeline=on"), ("prefill-e4m3", "pipeline=on"),
    ("prefill-int8", "pipeline=on"), ("chunk-bf16", "pipeline=on"),
]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"alternate: {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def placed(kv, a):
    if a.vectors:
        return kv
    return f"{kv}/amx" if "/" in kv else f"{kv}/none/amx"


def ours(a, row, sched="", fmt=None):
    kv, _, batch, ctx, q = ROWS[row]
    kv = placed(fmt or kv, a)
    problem = (f"attn q=bf16 kv={kv} heads=32:8 dim=128 page=128 causal "
               f"batch={batch} ctx={ctx} qlen={q}")
    cold = "--warm" if row.startswith("l2") or q > 1 else "--cold"
    command = [a.kvjit, "bench", problem, "--threads", str(a.threads), cold, "--vs", "none",
               "--seconds", str(a.seconds), "--q-len", str(q), "--json"]
    return run(command + (["--sched", sched] if sched else []))


def peers(a, row):
    _, kv, batch, ctx, q = ROWS[row]
    return run(shlex.split(a.peer) + ["--kv", kv, "--batch", str(batch), "--ctx", str(ctx), "--q", str(q),
                                      "--heads", "32", "--kv-heads", "8", "--dim", "128", "--page", "128",
                                      "--threads", str(a.threads), "--seconds", str(a.seconds)])


def alternate(a, name, first, second):
    pairs = [(first()["ms"], second()["ms"]) for _ in range(a.rounds)]
    ratios = sorted(x / y for x, y in pairs)
    x, y = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"{name:44} {x:10.3f} ms  {y:10.3f} ms  ratio {statistics.median(ratios):.3f} "
          f"({ratios[0]:.3f} to {ratios[-1]:.3f})", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--kvjit", default="build/kvjit")
    p.add_argument("--peer", help="command of the other engine")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--ablation", action="store_true")
    p.add_argument("--vectors", action="store_true", 
                   help="without AMX too: what tiles have no part in, caches in their default place")
    p.add_argument("rows", nargs="*", help=", ".join(ROWS))
    a = p.parse_args()
    unknown = [r for r in a.rows if r not in ROWS]
    if unknown:
        p.error(f"no row is called {unknown[0]}; rows are {', '.join(ROWS)}")
    info = subprocess.run([a.kvjit, "info"], capture_output=True, text=True).stdout
    tiles = [line.split(None, 1)[1] for line in info.splitlines() if line.startswith("tiles")]
    if tiles != ["AMX"] and not a.vectors:
        sys.exit(f"alternate: this machine's tiles: {tiles[0] if tiles else 'unknown'}; nothing to measure")
    for row in a.rows or ROWS:
        if a.peer and ROWS[row][1]:
            alternate(a, f"{row} / peer", lambda: ours(a, row), lambda: peers(a, row))
        if not ROWS[row][0].startswith("bf16"):
            alternate(a, f"{row} / own bf16", lambda: ours(a, row),
                      lambda: ours(a, row, fmt="bf16"))
    for row, knobs in ABLATION if a.ablation else []:
        if tiles != ["AMX"] and (knobs.startswith(("tiles", "stream")) or (a.rows and row not in a.rows)):
            continue
        alternate(a, f"{row} default / {knobs}", lambda: ours(a, row), lambda: ours(a, row, knobs))


if __name__ == "__main__":
    main()
