# SPDX-License-Identifier: Apache-2.0
"""tile_programs.py -- random programs over tiles: all passes, the interpreter before and after each.

    tile_programs.py KVJIT-OPT COUNT [SEED]

Loops that carry tiles and vectors, ifs that hand them on, locals that are read and written whole
or in halves, products that add to what was there. Where a tile of level V lies in memory is what
passes/vectorize.c and vec_place.c decide, and what a wrong decision overwrites, these programs
read later. Each is of a seed; one that fails is printed, with the command that runs it again.
"""
import random
import subprocess
import sys

TYPES = {"whole": "f32<8x16>", "half": "f32<4x16>", "rows8": "f32<8>", "rows4": "f32<4>"}
ROWS = {"whole": "rows8", "half": "rows4"}  # a vector along the rows of a tile
TARGETS = ("generic", "avx2", "avx512", "avx512-bf16", "amx")
LOCALS = ("%c0", "%c1")
DEPTH = 3  # loops and ifs in each other


class Program:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = []
        self.names = 0
        target = self.random.choice(TARGETS)
        self.put(0, f"func @f(%x: in f32[8,8,16], %k: in f32[16,16], %out: out f32[15,8,16], "
                    f"%n: s64, %m: s64) level=T target={target} {{")
        self.put(1, "for %w = 0 to 1 par {")
        self.put(2, "%b = load %k[0,0] : f32<16x16>")
        known = {kind: [] for kind in TYPES}
        for i, local in enumerate(LOCALS):
            self.put(2, f"{local} = local : f32[8,16]")
            self.put(2, f"%x{i} = load %x[{i},0,0] : f32<8x16>")
            self.put(2, f"store %x{i}, {local}[0,0]")
            self.put(2, f"%y{i} = load {local}[4,0] : f32<4x16>")
            known["half"].append(f"%y{i}")
            known["whole"].append(f"%x{i}")
        for i in range(15):
            self.put(2, f"store %x0, %out[{i},0,0]")
        known = self.some(known, 2, 0, self.random.randrange(6, 16))
        last = known["whole"][-2:] + known["half"][-3:]
        for i, local in enumerate(LOCALS):
            self.put(2, f"%end{i} = load {local}[0,0] : f32<8x16>")
        for i, value in enumerate(last + ["%end0", "%end1"]):
            self.put(2, f"store {value}, %out[{i},0,0]")
        self.put(2, "yield")
        self.put(1, "}")
        self.put(1, "ret")
        self.put(0, "}")

    def put(self, depth, line):
        self.lines.append("  " * depth + line)

    def name(self):
        self.names += 1
        return f"%v{self.names}"

    def some(self, known, depth, nested, count):
        """Statements of a region; what is known at its end."""
        known = {kind: list(values) for kind, values in known.items()}
        for _ in range(count):
            if nested < DEPTH and self.random.random() < 0.18:
                self.random.choice((self.loop, self.branch))(known, depth, nested)
            else:
                self.op(known, depth)
        return known

    def op(self, known, depth):
        pick, kind = self.random.choice, self.random.choice(("whole", "half", "half"))
        a, b, row = pick(known[kind]), pick(known[kind]), 0 if kind == "whole" else pick((0, 4))
        rows, of = ROWS[kind], kind
        along = pick(known[rows]) if known[rows] else None
        which = self.random.randrange(11)
        if which == 0:
            self.put(depth, f"store {a}, {pick(LOCALS)}[{row},0]")
            return
        if which == 1:
            self.put(depth, f"store {a}, %out[{self.random.randrange(8, 15)},{row},0]")
            return
        text = {2: f"load {pick(LOCALS)}[{row},0]", 3: f"load %x[{self.random.randrange(8)},{row},0]",
                4: f"dot {a}, %b" + pick(("", f", {b}", f", {b}")), 5: f"mul {a}, 0.5",
                6: f"{pick(('add', 'sub', 'max', 'min'))} {a}, {b}"}.get(which)
        tail = ""
        if which == 7:
            text, tail, of = f"{pick(('reduce.max', 'reduce.add'))} {a}", " {axis=1}", rows
        elif which == 8 and along:
            text, tail = f"{pick(('sub', 'max', 'add'))} {a}, {along}", " {axis=0}"
        elif which == 9:
            a, of = pick(known["whole"]), "half"
            text, tail = f"slice {a}", pick((" {axis=0}", " {axis=0, start=4}"))
        elif which == 10:
            a, b, of = pick(known["half"]), pick(known["half"]), "whole"
            text, tail = f"concat {a}, {b}", " {axis=0}"
        if text:
            known[of].append(self.name())
            self.put(depth, f"{known[of][-1]} = {text} : {TYPES[of]}{tail}")

    def results(self, known, kinds):
        """Names for results, known from now on and likely to be read."""
        names = [self.name() for _ in kinds]
        for kind, name in zip(kinds, names):
            known[kind] += [name, name]
        return ", ".join(names) + " = " if names else ""

    def hand_on(self, known, kinds, depth):
        values = [self.random.choice(known[kind][-4:]) for kind in kinds]
        self.put(depth, "yield " + ", ".join(values) if values else "yield")

    def kinds(self, known, most):
        kinds = [self.random.choice(tuple(TYPES)) for _ in range(self.random.randrange(most + 1))]
        return [kind for kind in kinds if known[kind]]

    def loop(self, known, depth, nested):
        kinds, inner = self.kinds(known, 3), {kind: list(v) for kind, v in known.items()}
        carried = []
        for kind in kinds:
            carried.append((self.name(), self.random.choice(known[kind])))
            inner[kind] += [carried[-1][0]] * 3
        carry = ", ".join(f"{a} = {b}" for a, b in carried)
        trips = self.random.choice(("0", "1", "2", "3", "%n"))
        before = len(self.lines)
        self.put(depth, "")
        inner = self.some(inner, depth + 1, nested + 1, self.random.randrange(2, 7))
        self.hand_on(inner, kinds, depth + 1)
        self.put(depth, "}")
        self.lines[before] = ("  " * depth + self.results(known, kinds) +
                              f"for {self.name()} = 0 to {trips} " +
                              (f"carry({carry}) {{" if carry else "{"))

    def branch(self, known, depth, nested):
        kinds, cond = self.kinds(known, 2), self.name()
        self.put(depth, f"{cond} = gt {self.random.choice(('%n', '%m'))}, "
                        f"{self.random.randrange(4)} : i1")
        before = len(self.lines)
        self.put(depth, "")
        for end in ("} else {", "}"):
            half = self.some(known, depth + 1, nested + 1, self.random.randrange(5))
            self.hand_on(half, kinds, depth + 1)
            self.put(depth, end)
        self.lines[before] = "  " * depth + self.results(known, kinds) + f"if {cond} {{"


def main():
    opt, count = sys.argv[1], int(sys.argv[2])
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    for seed in range(first, first + count):
        text = "\n".join(Program(seed).lines) + "\n"
        ran = subprocess.run([opt, "--passes=all", "--check=ref,text,verify", "--tol=1e-3",
                              f"--seed={seed % 7 + 1}", "-"], input=text, capture_output=True,
                             text=True, timeout=60, check=False)
        if ran.returncode:
            sys.exit(f"{text}\n{ran.stderr}\ntile_programs.py {opt} 1 {seed}: status {ran.returncode}")
    print(f"{count} programs from seed {first} on")


main()
