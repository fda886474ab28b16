#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attention.py -- the program of attention.c from Python, through ctypes.

    attention.py [LIBKVJIT.SO]      prints `attention: ok`

Without the argument it takes build/libkvjit.so of this clone if there is one, else what is installed.

The classes are the structs of kvjit.h, field by field. Data are pointers: of an array.array as
here, `array.ctypes.data` of numpy's, `tensor.data_ptr()` of torch's. The host keeps them alive
until the call is over.
"""
import array
import ctypes as c
import os
import struct
import sys

S32, S64, F32, BF16, U8 = 2, 3, 4, 6, 0  # kvjit_dtype
SEQUENCES, HEADS, KV_HEADS, DIM, PAGE, PAGES, COLUMNS = 2, 8, 2, 64, 16, 12, 9


class Arg(c.Structure):
    _fields_ = [("name", c.c_char_p), ("data", c.c_void_p), ("dtype", c.c_int),
                ("rank", c.c_int), ("shape", c.c_int64 * 6), ("nstride", c.c_int),
                ("stride", c.c_int64 * 4), ("i", c.c_int64), ("f", c.c_double)]


class Batch(c.Structure):
    _fields_ = [("size", c.c_size_t), ("nseq", c.c_int64), ("seq_lens", c.c_void_p),
                ("query_starts", c.c_void_p), ("block_table", c.c_void_p),
                ("table_stride", c.c_int64), ("npages", c.c_int64), ("format", c.c_uint64),
                ("seq_lens2", c.c_void_p), ("block_table2", c.c_void_p),
                ("table_stride2", c.c_int64), ("npages2", c.c_int64), ("format2", c.c_uint64)]


def load():
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "libkvjit.so")
    path = sys.argv[1] if len(sys.argv) > 1 else built if os.path.exists(built) else "libkvjit.so.0"
    try:
        return c.CDLL(path)
    except OSError as why:
        sys.exit(f"attention.py: {why}\nBuild the library (README.md), or give its path: "
                 "attention.py BUILD/libkvjit.so")


lib = load()
lib.kvjit_alloc.restype = c.c_void_p
for function in ("kvjit_error", "kvjit_open_error", "kvjit_kernel_error", "kvjit_status_name"):
    getattr(lib, function).restype = c.c_char_p


def check(status, sentence, of=None):
    if status:
        text = sentence(of) if of else sentence()
        raise RuntimeError(f"{lib.kvjit_status_name(status).decode()}: {text.decode()}")


def address(values):
    return values.buffer_info()[0]


def tensor(name, dtype, values, shape):
    """An argument whose shape is stated, so that a mistake is found before the kernel runs."""
    data = values if isinstance(values, int) else address(values)
    return Arg(name, data, dtype, len(shape), (c.c_int64 * 6)(*shape))


def compile_(kv, text):
    kernel = c.c_void_p()
    check(lib.kvjit_compile(kv, text.encode(), None, c.byref(kernel)), lib.kvjit_error, kv)
    return kernel


def call(kernel, plan, args):
    check(lib.kvjit_call(kernel, plan, (Arg * len(args))(*args), len(args), None),
          lib.kvjit_kernel_error, kernel)


def bf16(values):
    bits = struct.unpack(f"{len(values)}I", struct.pack(f"{len(values)}f", *values))
    return array.array("H", [(x + 0x8000) >> 16 for x in bits])


def f32(codes):
    return struct.unpack(f"{len(codes)}f", struct.pack(f"{len(codes)}I", *[x << 16 for x in codes]))


def value_of(head, d):
    return (-1 if head % 2 else 1) * (0.25 + 0.75 * d / DIM)


def main():
    kv, plan, size = c.c_void_p(), c.c_void_p(), c.c_int64()
    check(lib.kvjit_open(None, c.byref(kv)), lib.kvjit_open_error)

    # a cache of PAGES pages: any key, and as value the same number for all tokens
    count = c.c_int64
    check(lib.kvjit_page_bytes(kv, b"int8/token-head", count(KV_HEADS), count(DIM), count(DIM),
                               count(PAGE), c.byref(size)), lib.kvjit_error, kv)
    pool = c.c_void_p(lib.kvjit_alloc(c.c_size_t(PAGES * size.value)))
    cache = tensor(b"cache", U8, pool.value, (PAGES, KV_HEADS, size.value // KV_HEADS))
    n = PAGES * PAGE
    keys = bf16([(i % 61 - 30) / 30 for i in range(n * KV_HEADS * DIM)])
    values = bf16([value_of(h, d) for h in range(KV_HEADS) for d in range(DIM)] * n)
    slots = array.array("q", range(n))
    write = compile_(kv, f"write in=bf16 kv=int8/token-head heads={KV_HEADS} dim={DIM} page={PAGE}")
    call(write, None, [tensor(b"key", BF16, keys, (n, KV_HEADS, DIM)),
                       tensor(b"value", BF16, values, (n, KV_HEADS, DIM)),
                       tensor(b"slots", S64, slots, (n,)), cache, Arg(b"n", i=n)])

    # two sequences of 5 and 130 tokens, one of each new
    lens, starts = array.array("i", [5, 130]), array.array("i", [0, 1, 2])
    table = array.array("i", [2] + [0] * 8 + [0, 1, 3, 4, 5, 6, 7, 8, 9])
    attn = compile_(kv, "attn q=bf16 kv=int8/token-head "
                        f"heads={HEADS}:{KV_HEADS} dim={DIM} page={PAGE} causal")
    batch = Batch(c.sizeof(Batch), SEQUENCES, address(lens), address(starts), address(table),
                  COLUMNS, PAGES)
    check(lib.kvjit_plan_new(attn, c.byref(batch), c.byref(plan)), lib.kvjit_kernel_error, attn)
    shape = (SEQUENCES, HEADS, DIM)
    q = bf16([(i % 37 - 18) / 18 for i in range(SEQUENCES * HEADS * DIM)])
    out = array.array("H", [0] * len(q))
    call(attn, plan, [tensor(b"q", BF16, q, shape), cache,
                      tensor(b"table", S32, table, (SEQUENCES, COLUMNS)),
                      tensor(b"lens", S32, lens, (SEQUENCES,)),
                      tensor(b"starts", S32, starts, (SEQUENCES + 1,)),
                      Arg(b"scale", f=DIM ** -0.5), tensor(b"out", BF16, out, shape)])

    worst = max(abs(x - value_of(i // DIM % HEADS // (HEADS // KV_HEADS), i % DIM))
                for i, x in enumerate(f32(out)))
    lib.kvjit_plan_free(plan)
    lib.kvjit_release(attn)
    lib.kvjit_release(write)
    lib.kvjit_free(pool, c.c_size_t(PAGES * size.value))
    lib.kvjit_close(kv)
    print(f"attention: {'ok' if worst < 0.02 else 'wrong'}, largest error {worst:g}")
    return worst >= 0.02


sys.exit(main())
