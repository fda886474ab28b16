# SPDX-License-Identifier: Apache-2.0
"""host.py -- what the programs beside it share: kvjit.h through ctypes, and numbers as bytes.

An engine has torch or numpy in place of the array module: `data` is then tensor.data_ptr(), and
strides are the tensor's own. Values are checked here in plain Python, so that nothing but the
library is needed.
"""
import array
import ctypes as c
import os
import struct
import sys

U8, S8, S32, S64, F32, F16, BF16, E4M3, E8M0 = 0, 1, 2, 3, 4, 5, 6, 7, 11  # kvjit_dtype
FOREIGN, UNSUPPORTED = 2, 2


class Options(c.Structure):
    _fields_ = [("size", c.c_size_t), ("target", c.c_char_p), ("backend", c.c_char_p),
                ("parallel", c.c_void_p), ("executor", c.c_void_p), ("log", c.c_void_p),
                ("log_ctx", c.c_void_p), ("cache", c.c_char_p), ("cache_path", c.c_char_p),
                ("pins", c.c_char_p), ("threads", c.c_int), ("device", c.c_char_p),
                ("device_context", c.c_void_p), ("device_handle", c.c_void_p)]


class CompileOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("sched", c.c_char_p), ("flags", c.c_uint)]


class Param(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_int), ("role", c.c_int), ("rank", c.c_int),
                ("shape", c.c_int64 * 6), ("nstride", c.c_int), ("stride", c.c_int64 * 4),
                ("planned", c.c_int)]


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


class Error(Exception):
    def __init__(self, status, sentence):
        self.status = status
        super().__init__(f"{lib.kvjit_status_name(status).decode()}: {sentence.decode()}")


def load():
    here = os.path.dirname(os.path.abspath(__file__))
    built = os.path.join(here, "..", "..", "build", "libkvjit.so")
    path = os.environ.get("LIBKVJIT") or (built if os.path.exists(built) else "libkvjit.so.0")
    try:
        return c.CDLL(path)
    except OSError as why:
        sys.exit(f"{why}\nBuild the library (README.md), or set LIBKVJIT to its path")


lib = load()
lib.kvjit_param_at.restype = c.POINTER(Param)
for function in ("kvjit_error", "kvjit_open_error", "kvjit_kernel_error", "kvjit_status_name"):
    getattr(lib, function).restype = c.c_char_p


class Tensor:
    """Typed memory, its extents and, where they aren't the defaults, strides."""

    def __init__(self, dtype, values, shape, strides=()):
        self.dtype, self.values, self.shape, self.strides = dtype, values, shape, strides

    def arg(self, name):
        data = self.values.buffer_info()[0]
        return Arg(name, data, self.dtype, len(self.shape), (c.c_int64 * 6)(*self.shape),
                   len(self.strides), (c.c_int64 * 4)(*self.strides))


class Kernel:
    def __init__(self, kv, text, flags=0):
        self.handle = c.c_void_p()
        options = CompileOptions(c.sizeof(CompileOptions), None, flags)
        kv.check(lib.kvjit_compile(kv.handle, text.encode(), c.byref(options),
                                   c.byref(self.handle)))
        self.params = {}
        for i in range(lib.kvjit_nparam(self.handle)):
            p = lib.kvjit_param_at(self.handle, i).contents
            self.params[p.name.decode()] = p

    def check(self, status):
        if status:
            raise Error(status, lib.kvjit_kernel_error(self.handle))

    def plan(self, lens, starts, table=None, npages=0):
        """Of the step's sequences: int32 arrays, as the engine has them."""
        plan, at = c.c_void_p(), lambda t: t.values.buffer_info()[0]
        batch = Batch(c.sizeof(Batch), lens.shape[0], at(lens), at(starts),
                      at(table) if table else None, table.shape[1] if table else 0, npages)
        self.check(lib.kvjit_plan_new(self.handle, c.byref(batch), c.byref(plan)))
        return plan

    def __call__(self, plan=None, **given):
        args = []
        for name, x in given.items():
            if isinstance(x, Tensor):
                args.append(x.arg(name.encode()))
            elif name in self.params and self.params[name].dtype == F32:
                args.append(Arg(name.encode(), f=x))
            else:
                args.append(Arg(name.encode(), i=x))
        self.check(lib.kvjit_call(self.handle, plan, (Arg * len(args))(*args), len(args), None))


class Context:
    def __init__(self, target=None, backend=None):
        self.handle = c.c_void_p()
        name = lambda s: s.encode() if s else None
        options = Options(c.sizeof(Options), name(target), name(backend))
        status = lib.kvjit_open(c.byref(options), c.byref(self.handle))
        if status:
            raise Error(status, lib.kvjit_open_error())

    def check(self, status):
        if status:
            raise Error(status, lib.kvjit_error(self.handle))

    def compile(self, text, flags=0):
        return Kernel(self, text, flags)

    def page_bytes(self, form, heads, dim_k, dim_v, page):
        size, n = c.c_int64(), c.c_int64
        self.check(lib.kvjit_page_bytes(self.handle, form.encode(), n(heads), n(dim_k),
                                        n(dim_v), n(page), c.byref(size)))
        return size.value


# -- numbers ----------------------------------------------------------------------------------


def bf16(values):
    """Rounded to nearest, even."""
    bits = struct.unpack(f"{len(values)}I", struct.pack(f"{len(values)}f", *values))
    return array.array("H", [(x + 0x7FFF + (x >> 16 & 1)) >> 16 for x in bits])


def of_bf16(codes):
    return struct.unpack(f"{len(codes)}f", struct.pack(f"{len(codes)}I", *[x << 16 for x in codes]))


def of_e4m3(code):
    sign, e, m = -1.0 if code & 128 else 1.0, code >> 3 & 15, code & 7
    if e == 15 and m == 7:
        return float("nan")
    return sign * (m / 8 * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))


def of_f32(octets):
    return struct.unpack("f", bytes(octets))[0]


def s32(values, *shape):
    return Tensor(S32, array.array("i", values), shape or (len(values),))


def s64(values):
    return Tensor(S64, array.array("q", values), (len(values),))


def f32(values, *shape, strides=()):
    return Tensor(F32, array.array("f", values), shape or (len(values),), strides)


def rows(values, *shape, strides=()):
    return Tensor(BF16, bf16(values), shape, strides)


def octets(dtype, *shape):
    n = 1
    for extent in shape:
        n *= extent
    return Tensor(dtype, array.array("B", bytes(n)), shape)


def noise(n, seed, amplitude=1.0):
    """Any numbers, the same in every run, that bf16 holds exactly."""
    out = []
    for _ in range(n):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(amplitude * ((seed >> 16 & 255) - 128) / 128)
    return out


def softmax_rows(scores, values):
    """sum of softmax(scores) * values, in double."""
    from math import exp
    top = max(scores)
    w = [exp(s - top) for s in scores]
    return [sum(a * v[d] for a, v in zip(w, values)) / sum(w) for d in range(len(values[0]))]


def worst(got, want):
    return max(abs(a - b) for a, b in zip(got, want))


def verdict(name, error, bound):
    print(f"{name}: {'ok' if error <= bound else 'wrong'}, largest error {error:.2g}, at most {bound}")
    if not error <= bound:
        sys.exit(1)
