#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What kvjit tune says when it is asked again.

    repeat.py aa    [--count 1000] [--kvjit build/kvjit]
    repeat.py pairs [--count 100]  [--kvjit build/kvjit]
    repeat.py pairs --seeds       the same, in two orders
    repeat.py places [--count 12]  [--kvjit build/kvjit]
    repeat.py replay [--count 10]  [--noise 0.003] [--trials 16] SPACE.jsonl...

aa: whole tunes in which every candidate is the default (kvjit tune --aa). Counts those that call
two equal programs more than 1 % apart, in a trial or as their result.

pairs: two tunes of one problem that know nothing of each other: a cache for each. Counts those
that pick the same schedule, or two whose intervals beside the default meet. A user's tunes have
one seed, so these have; with --seeds each takes candidates that are predicted alike in an order
of its own.

places: for a few fixed pairs of schedules, how far the ratio of one process lies from that of
another (count processes, 4 children each): beside the interval that a child has from its own
pairs, the standard deviation between children and between processes.

replay: pairs on recorded spaces (bench/search) and with today's model, where each process is off by --noise:
thousands of tunes in a minute, and none depends on what else the machine does.

The first two go through a few small problems by turns and pin to the last processor. With --json the
last line is an object. --rest S waits between tunes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

# In aa few candidates, the default and one to three more: knobs that are written don't vary.
FIXED = "kv_tile=64 qk=auto pv=auto rows=0 cols=0 unroll=0 fuse=auto hint=auto"
AA = [
    f"attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=256 q_tile=1 split=0 {FIXED}",
    f"attn q=bf16 kv=bf16 heads=8:2 dim=128 page=128 causal batch=1 ctx=256 q_tile=1 split=0 {FIXED}",
    "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128 ctx=256 parts=4",
    "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=256:256 batch=32 rows=0 cols=0 "
    "unroll=0 fuse=auto decode=auto n_tile=64",
]
PAIRS = [
    "attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=512 qk=auto pv=auto",
    "attn q=bf16 kv=e4m3 heads=8:2 dim=128 page=128 causal batch=1 ctx=512 qk=auto pv=auto",
    "attn q=bf16 kv=bf16 heads=8:2 dim=128 page=128 causal batch=1 ctx=128 qlen=32 qk=auto pv=auto",
    "write in=bf16 kv=e4m3 heads=8 dim=128 page=128 batch=1 ctx=256",
]


PLACES = [
    ("int8 decode", PAIRS[0].split(" qk=")[0], "kv_tile=64 q_tile=1", "kv_tile=32 q_tile=1"),
    ("int8 with itself", PAIRS[0].split(" qk=")[0], "kv_tile=64 q_tile=1", "kv_tile=64 q_tile=1"),
    ("e4m3 decode", PAIRS[1].split(" qk=")[0], "kv_tile=64 q_tile=1", "kv_tile=128 q_tile=1"),
    ("bf16 prefill", PAIRS[2].split(" qk=")[0], "q_tile=8", "q_tile=16"),
    ("write", PAIRS[3], "parts=1", "parts=4"),
]


def tune(a, problem, *options):
    """The JSON lines of a tune: its trials, and its result."""
    command = ["taskset", "-c", str(os.cpu_count() - 1), a.kvjit, "tune", "--warm", "--json"]
    env = dict(os.environ, KVJIT_CACHE_DIR="off")
    env.pop("KVJIT_PINS", None)
    p = subprocess.run(command + list(options) + [problem], capture_output=True, text=True, env=env)
    if p.returncode:
        sys.exit(f"kvjit tune failed: {p.stderr.strip()}")
    lines = [json.loads(line) for line in p.stdout.splitlines()]
    time.sleep(a.rest)
    return lines[:-1], lines[-1]


def wilson(k, n):
    """95 % for the share behind k of n."""
    z, p = 1.96, k / n
    m = (p + z * z / (2 * n)) / (1 + z * z / n)
    d = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0, m - d), min(1, m + d)


def aa(a):
    apart, won, races, seen = 0, 0, 0, []
    for i in range(a.count):
        trials, result = tune(a, AA[i % len(AA)], "--aa", "--budget", str(a.budget or 2))
        rivals = trials[1:]
        called = any(t["state"] == "slow" and t["ratio"] > 1.01 for t in rivals)
        called |= any(t["best"] < 0.99 for t in rivals) or result["ratio"] < 0.99
        races += len(rivals)
        seen += [t["ratio"] for t in rivals if t["ratio"] > 0]
        apart += called
        won += result["ratio"] < 0.99
        if called and not a.json:
            print(f"tune {i}: {[(t['state'], round(t['ratio'], 4)) for t in rivals]}", flush=True)
    seen.sort()
    return {
        "tunes": a.count,
        "races": races,
        "called over 1 % apart": apart,
        "share": apart / a.count,
        "interval": wilson(apart, a.count),
        "of these as the result": won,
        "ratios, 5 % 50 % 95 %": [round(seen[int(q * (len(seen) - 1))], 4) for q in (0.05, 0.5, 0.95)]
        if seen
        else [],
    }


def bounds(result):
    """Of the pick's time beside the default's; the default itself is 1."""
    return (result["lo"], result["hi"]) if result["sched"] != result["default"] else (1, 1)


def pairs(a):
    same, equal, gaps = 0, 0, []
    for i in range(a.count):
        results = []
        for seed in (2 * i + 1, 2 * i + 2):
            with tempfile.TemporaryDirectory() as cache:
                options = ["--cache", cache, "--seed", str(seed if a.seeds else 0), "--effort", "quick"]
                results.append(tune(a, PAIRS[i % len(PAIRS)], *options, "--budget", str(a.budget or 8))[1])
        x, y = results
        (xlo, xhi), (ylo, yhi) = bounds(x), bounds(y)
        is_same = x["sched"] == y["sched"]
        meets = xlo <= yhi and ylo <= xhi
        same += is_same
        equal += is_same or meets
        gaps.append(abs(math.log(x["ratio"] / y["ratio"])))
        if not (is_same or meets) and not a.json:
            one, two = f"{x['ratio']:.4f} ({xlo:.4f} {xhi:.4f})", f"{y['ratio']:.4f} ({ylo:.4f} {yhi:.4f})"
            print(f"pair {i}: {one} {two}", flush=True)
    gaps.sort()
    return {
        "pairs": a.count,
        "same pick": same,
        "same or equal within the interval": equal,
        "share": equal / a.count,
        "interval": wilson(equal, a.count),
        "picks within 1 %, the tuner's tie": sum(g <= 0.01 for g in gaps),
        "gap of the picks, median, worst": [round(gaps[len(gaps) // 2], 4), round(gaps[-1], 4)],
    }


def places(a):
    command = ["taskset", "-c", str(os.cpu_count() - 1), os.path.join(os.path.dirname(a.kvjit), "kvjit-bench-place")]
    out = {}
    for name, problem, one, two in PLACES:
        races = []
        for _ in range(a.count):
            p = subprocess.run(command + ["4", "60", problem, one, two], capture_output=True, text=True)
            if p.returncode:
                sys.exit(p.stderr.strip())
            races.append(json.loads(p.stdout))
        ratios = [[r[0] for r in process] for process in races]
        inside = statistics.mean(statistics.variance(r) for r in ratios)
        between = statistics.variance(map(statistics.mean, ratios)) - inside / 4 if a.count > 1 else 0
        flat = sum(ratios, [])
        out[name] = {
            "ratio": round(statistics.mean(flat), 4),
            "least": min(flat),
            "most": max(flat),
            "width of an interval": round(statistics.median(hi - lo for p in races for _, lo, hi in p), 4),
            "between children": round(math.sqrt(inside), 4),
            "between processes": round(math.sqrt(max(0, between)), 4),
        }
    return out


def replay(a):
    tool = os.path.join(os.path.dirname(a.kvjit), "kvjit-replay")
    same, equal, tunes, ratios, spaces = 0, 0, 0, [], {}
    for path in a.space:
        runs = []
        for draw in range(1, 2 * a.count + 1):
            seed = str(draw if a.seeds else 0)
            command = [tool, "--model", "--noise", str(a.noise), path, str(a.trials), seed, str(draw)]
            p = subprocess.run(command, capture_output=True, text=True)
            if p.returncode:
                sys.exit(p.stderr.strip())
            runs.append(json.loads(p.stdout))
        alike = [x["pick"] == y["pick"] for x, y in zip(runs[::2], runs[1::2])]
        meets = [x["lo"] <= y["hi"] and y["lo"] <= x["hi"] for x, y in zip(runs[::2], runs[1::2])]
        good = sum(s or m for s, m in zip(alike, meets))
        same, equal, tunes = same + sum(alike), equal + good, tunes + len(alike)
        ratios += [x["ratio"] * x["default"] for x in runs]
        spaces[os.path.basename(path)] = f"{good} of {len(alike)}"
    return {
        "pairs": tunes,
        "same pick": same,
        "same or equal within the interval": equal,
        "share": equal / tunes,
        "interval": wilson(equal, tunes),
        "pick / best of the space, geometric mean": round(statistics.geometric_mean(ratios), 4),
        "spaces": spaces,
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("aa", "pairs", "places", "replay"))
    p.add_argument("space", nargs="*", help="of replay: what kvjit tune --record wrote")
    p.add_argument("--count", type=int, help="1000 tunes, 100 pairs, 12 processes, 10 pairs a space")
    p.add_argument("--seeds", action="store_true", help="of pairs and replay: an order for each tune")
    p.add_argument("--noise", type=float, default=0.003, help="of replay: of a process")
    p.add_argument("--trials", type=int, default=16, help="of replay")
    p.add_argument("--budget", type=float, help="seconds a tune: 2, 8")
    p.add_argument("--kvjit", default="build/kvjit")
    p.add_argument("--rest", type=float, default=0, help="seconds between tunes")
    p.add_argument("--json", action="store_true")
    a = p.parse_intermixed_args()
    if bool(a.space) != (a.what == "replay"):
        p.error("replay takes recorded spaces, and nothing else does")
    a.count = a.count or {"aa": 1000, "pairs": 100, "places": 12, "replay": 10}[a.what]
    start = time.time()
    out = {"aa": aa, "pairs": pairs, "places": places, "replay": replay}[a.what](a)
    out["seconds"] = round(time.time() - start, 1)
    if a.json:
        print(json.dumps(out))
    else:
        for name, x in out.items():
            print(f"{name}: {x}")


if __name__ == "__main__":
    main()
