#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tuner's search beside random search and Kernel Tuner's strategies, on recorded spaces.

    compare.py [--replay build/kvjit-replay] [--seeds 20] [--share 0.05] [--only random] [--limit 10] [--model] FILE...

FILE: what `kvjit tune --effort exhaustive --record FILE` wrote. All see the same recorded
times and get the same number of trials. A trial is a program that was measured: a twin of one
that was tried, or a schedule that a pass refuses, is free for everyone, as both are known
after a compile. A strategy has --limit seconds of a processor a space, for all seeds; those it
doesn't come to are left out, and of one whose first seed takes longer counts what it evaluated by
then. It runs in a process of its own: nothing it does, or that is done to stop it, reaches the
next. Prints a table and, with --json, one line of JSON.
"""

import argparse
import contextlib
import importlib
import json
import logging
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings

STRATEGIES = (
    "random_sample genetic_algorithm diff_evo simulated_annealing dual_annealing pso greedy_ils "
    "mls firefly_algorithm hybrid_vndx adaptive_tabu_greywolf bayes_opt"
).split()


class Space:
    """A recorded space: what each candidate costs, and which program it is."""

    def __init__(self, path):
        with open(path) as f:
            lines = [json.loads(line) for line in f if line.strip()]
        self.path, self.head = path, lines[0]
        self.knobs = self.head["knobs"]
        self.row = {r["candidate"]: r for r in lines[1:]}
        for r in self.row.values():
            if r["state"] == "same" and "same_as" not in r:
                sys.exit(f"{path}: a line doesn't say whose program it has; an older kvjit wrote it")
        product = math.prod(len(v) for v in self.knobs.values())
        self.complete = len(self.row) >= 0.8 * product
        self.time = {c: r["ratio"] for c, r in self.row.items() if self.measured(c)}
        self.best = min(self.time.values())

    def measured(self, c):
        return self.row[c]["state"] in ("ok", "slow") and self.row[c]["ratio"] > 0

    def program(self, c):
        return self.row[c].get("same_as", c) if self.row[c]["state"] == "same" else c

    def trials(self, share):
        return max(2, int(len(self.row) * share + 0.5))

    def found(self, order, trials):
        """The best of the first `trials` programs of an order; the default is the first."""
        seen = {0}
        for c in order:
            p = self.program(c)
            if len(seen) == trials:
                break
            if self.row[p]["state"] != "illegal":
                seen.add(p)
        return min(self.time[p] for p in seen if p in self.time) / self.best

    def after_twins(self, trials):
        """Evaluations that come to so many programs: what a strategy is told its budget is."""
        programs = len({self.program(c) for c in self.row if self.row[c]["state"] != "illegal"})
        return min(len(self.row), math.ceil(trials * len(self.row) / programs))


def values(space):
    """The knobs' values of each candidate, from its schedule's text, as positions."""
    out, words = {}, {k: [] for k in space.knobs}
    for c, r in sorted(space.row.items()):
        sched = dict(w.split("=") for w in r["sched"].split())
        for k in space.knobs:
            if sched[k] not in words[k]:
                words[k].append(sched[k])
        out[c] = tuple(sched[k] for k in space.knobs)
    # numbers in order, so that a neighbour is one
    for k, w in words.items():
        w.sort(key=lambda x: (0, int(x)) if x.isdigit() else (1, x))
    return {c: tuple(words[k].index(v) for k, v in zip(space.knobs, t)) for c, t in out.items()}


def load_library():
    """What strategies import, before the first is timed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a pool of threads doesn't outlive a fork
    importlib.import_module("kernel_tuner.interface")
    for name in ("pandas", "sklearn.gaussian_process"):  # bayes_opt's, imported on its first run
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


class Library:
    """Kernel Tuner in its simulation mode; what it evaluates is noted in order."""

    def __init__(self, space, folder):
        self.space, self.folder = space, folder
        at = values(space)
        self.candidate = {",".join(map(str, v)): c for c, v in at.items()}
        self.legal = set(at.values())
        self.names = list(space.knobs)
        self.params = {k: sorted({v[i] for v in at.values()}) for i, k in enumerate(self.names)}
        cache = {}
        for c, v in at.items():
            p = space.program(c)
            time = 1000 * space.time[p] if p in space.time else "CompilationFailedConfig"
            cache[",".join(map(str, v))] = dict(
                zip(self.names, v), time=time, compile_time=1, verification_time=1, benchmark_time=1
            )
        self.cache = os.path.join(folder, "cache.json")
        with open(self.cache, "w") as f:
            json.dump(
                {
                    "device_name": "recorded",
                    "kernel_name": "kernel",
                    "problem_size": 1,
                    "tune_params_keys": self.names,
                    "tune_params": self.params,
                    "objective": "time",
                    "cache": cache,
                },
                f,
            )

    def run(self, strategy, n, trials, notes):
        """In the child: every evaluation a line of `notes`, `end` after a seed's last."""
        import kernel_tuner
        import numpy
        from kernel_tuner.runners.simulation import SimulationRunner

        plain = SimulationRunner.run

        def noted(runner, elements, options, *more):
            elements = list(elements)
            notes.writelines(",".join(map(str, e)) + "\n" for e in elements)
            notes.flush()
            return plain(runner, elements, options, *more)

        def allowed(p):
            return tuple(p[k] for k in self.names) in self.legal

        SimulationRunner.run = noted
        for seed in range(n):
            random.seed(seed)
            numpy.random.seed(seed)
            try:
                kernel_tuner.tune_kernel(
                    "kernel",
                    "void kernel(void) {}",
                    1,
                    [],
                    self.params,
                    lang="C",
                    restrictions=allowed,
                    strategy=strategy,
                    strategy_options={"max_fevals": self.space.after_twins(trials)},
                    cache=self.cache,
                    simulation_mode=True,
                    quiet=True,
                    seed=seed,
                )
            except Exception as e:  # told in the end; what it evaluated counts, or the default
                notes.write(f"failed {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}\n")
            notes.write("end\n")
            notes.flush()

    def child(self, strategy, n, trials, limit, path):
        """Ends without a return: what a strategy leaves behind is nobody's business."""
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            with open(path, "w") as notes:
                self.run(strategy, n, trials, notes)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def seeds(self, strategy, n, trials, limit):
        """What was found with as many seeds as there is time for, and what went wrong."""
        path, failed = os.path.join(self.folder, strategy), None
        open(path, "w").close()
        pid = os.fork()
        if not pid:
            self.child(strategy, n, trials, limit, path)
        _, status = os.waitpid(pid, 0)
        out, order = [], []
        with open(path) as f:
            for line in f.read().splitlines():
                if line == "end":
                    out.append(self.space.found(order, trials))
                    order = []
                elif line.startswith("failed "):
                    failed = line[len("failed ") :]
                elif line in self.candidate:
                    order.append(self.candidate[line])
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            failed = f"had time for {len(out)} of {n} seeds of a space, {limit} s"
        elif status or len(out) < n:
            failed = f"its process ended after {len(out)} of {n} seeds, status {status:#x}"
        return out or [self.space.found(order, trials)], failed


def replay(a, space, trials, seed):
    command = [a.replay] + (["--model"] if a.model else []) + [space.path, str(trials), str(seed)]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr.strip())
    return json.loads(out.stdout)


def random_search(space, seed, trials):
    order = list(space.row)
    random.Random(seed).shuffle(order)
    return space.found(order, trials)


def mean(x):
    return math.exp(sum(map(math.log, x)) / len(x))


def compare(space, a, table, failed):
    trials = space.trials(a.share)
    ours = replay(a, space, trials, 0)
    row = {
        "default": [ours["default"]],
        "model alone": [ours["model"]],
        "kvjit": [ours["search"]],
        "kvjit, other seeds": [replay(a, space, trials, s + 1)["search"] for s in range(a.seeds)],
        "random": [random_search(space, s, trials) for s in range(a.seeds)],
    }
    if "random" not in a.only:
        with tempfile.TemporaryDirectory() as folder:
            library = Library(space, folder)
            for s in a.only or STRATEGIES:
                row[s], why = library.seeds(s, a.seeds, trials, a.limit)
                if why:
                    failed.setdefault(s, []).append(why)
    for name, times in row.items():
        table.setdefault(name, []).append(mean(times))
    print(
        f"{os.path.basename(space.path)}: {len(space.row)} candidates, {ours['programs']} "
        f"programs, {trials} trials: model {ours['model']:.4f}, kvjit {ours['search']:.4f}, "
        f"random {mean(row['random']):.4f}   {space.head['problem'][:60]}",
        flush=True,
    )


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--replay", default="build/kvjit-replay")
    p.add_argument("--seeds", type=int, default=20)
    p.add_argument("--share", type=float, default=0.05)
    p.add_argument("--only", action="append", default=[], help="a strategy; random: no library")
    p.add_argument("--limit", type=int, default=10, help="seconds a strategy has for a space")
    p.add_argument("--model", action="store_true", help="today's tune/model.c, not the recorded one")
    p.add_argument("--json", action="store_true")
    p.add_argument("file", nargs="+")
    a = p.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    table, failed, n = {}, {}, 0
    if "random" not in a.only:
        load_library()
    for path in a.file:
        space = Space(path)
        if not space.complete:
            print(f"{os.path.basename(path)}: not complete, left out")
            continue
        compare(space, a, table, failed)
        n += 1
    if not n:
        sys.exit("no complete space")
    print(f"\ntime of what was found / of the best, {n} spaces, {a.seeds} seeds")
    print(f"{'':24}{'geometric mean':>16}{'worst space':>14}")
    for name, x in sorted(table.items(), key=lambda r: mean(r[1])):
        print(f"{name:24}{mean(x):16.4f}{max(x):14.4f}")
    for name, why in failed.items():
        print(f"{name}: on {len(why)} spaces; the last: {why[-1]}")
    if a.json:
        print(json.dumps({name: mean(x) for name, x in table.items()}))


if __name__ == "__main__":
    main()
