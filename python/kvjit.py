# SPDX-License-Identifier: Apache-2.0
"""kvjit -- quantized attention kernels, compiled for this machine. kvjit.h through ctypes.

    import kvjit

    kv = kvjit.Context()
    attn = kv.compile("attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal")
    cache = attn.zeros("cache", npages)
    plan = attn.plan(lens, starts, table, npages=npages)           # each step
    attn(plan, q=q, cache=cache, table=table, lens=lens, starts=starts,
         scale=128 ** -0.5, out=out)                               # each layer

Arguments go by the names that `attn.params` lists; scalars are numbers. A tensor is anything
that says where it lies: torch's, numpy's, a buffer (array.array, memoryview), or a
`kvjit.Tensor` made of an address. Nothing is copied or converted, shapes and strides are the
tensor's own and are checked. Unsigned integers stand for the bits of any element of their size:
uint16 for bf16 where numpy has none, uint8 for float8. Calls leave the interpreter's lock while
they run. What goes wrong is a `kvjit.Error` with the library's sentence.

The library is what LIBKVJIT names, else build/libkvjit.so of the clone this file lies in, else the
one that was installed with it, under sys.prefix or where the system has it.
"""
import array
import collections
import ctypes as c
import math
import operator
import os
import re
import sys

__all__ = ["Context", "Error", "Kernel", "Memory", "Param", "Plan", "Tensor", "alloc", "block_slots",
           "host_openmp"]

# kvjit_dtype and kvjit_status, in their order; tests/python compares them with kvjit.h
DTYPES = ("uint8", "int8", "int32", "int64", "float32", "float16", "bfloat16", "float8_e4m3fn",
          "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
SIZES = dict(zip(DTYPES, (1, 1, 4, 8, 4, 2, 2, 1, 1, 1, 1, 1)), uint16=2, uint32=4, uint64=8, bool=1)
BITS = ("uint8", "uint16", "uint32", "uint64", "bool")  # stand for any element of their size
STATUS = ("OK", "BAD_PROBLEM", "UNSUPPORTED", "BAD_ARGUMENT", "NO_BACKEND", "NO_MEMORY",
          "INTERNAL", "DEVICE_LOST", "PENDING")
FRESH, FOREIGN, UNTUNED, LATER = 1, 2, 4, 8
LETTERS = {"B": "uint8", "b": "int8", "?": "bool", "H": "uint16", "I": "uint32", "i": "int32",
           "f": "float32", "q": "int64", "l": "int64", "Q": "uint64", "L": "uint64", "e": "float16"}
LOG = c.CFUNCTYPE(None, c.c_char_p, c.c_void_p)

# -- the structs of kvjit.h, field by field -----------------------------------------------------


class Options(c.Structure):
    _fields_ = [("size", c.c_size_t), ("target", c.c_char_p), ("backend", c.c_char_p),
                ("parallel", c.c_void_p), ("executor", c.c_void_p), ("log", LOG),
                ("log_ctx", c.c_void_p), ("cache", c.c_char_p), ("cache_path", c.c_char_p),
                ("pins", c.c_char_p), ("threads", c.c_int), ("device", c.c_char_p),
                ("device_context", c.c_void_p), ("device_handle", c.c_void_p)]


class CompileOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("sched", c.c_char_p), ("flags", c.c_uint)]


class ParamStruct(c.Structure):
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


class Keys(c.Structure):
    _fields_ = [("size", c.c_size_t), ("program", c.c_char * 65), ("machine", c.c_char * 65),
                ("code", c.c_char * 65), ("sched", c.c_char * 400), ("threads", c.c_int)]


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.join(here, "..", "build", "libkvjit.so")]
    places += [os.path.join(prefix, lib, "libkvjit.so.0")  # share/kvjit/python, and sys.prefix
               for prefix in (os.path.join(here, "..", "..", ".."), sys.prefix)
               for lib in ("lib", "lib64", "lib/x86_64-linux-gnu")]
    path = os.environ.get("LIBKVJIT") or next(filter(os.path.exists, places), "libkvjit.so.0")
    try:
        lib = c.CDLL(path)
    except OSError as why:
        raise ImportError(f"{why}; build or install libkvjit, or set LIBKVJIT to its path") from None
    for name in ("kvjit_error", "kvjit_open_error", "kvjit_kernel_error", "kvjit_kernel_target",
                 "kvjit_kernel_problem", "kvjit_kernel_origin", "kvjit_device_name"):
        getattr(lib, name).restype = c.c_char_p
    for name in ("kvjit_alloc", "kvjit_info", "kvjit_kernel_text"):
        getattr(lib, name).restype = c.c_void_p
    lib.kvjit_param_at.restype = c.POINTER(ParamStruct)
    lib.kvjit_plan_scratch.restype = c.c_size_t
    lib.kvjit_block_slots.restype = c.c_int64
    return lib


_lib = _load()
_free = c.CDLL(None).free
_free.argtypes = [c.c_void_p]


def host_openmp():
    """The path of an OpenMP runtime that another library of this process uses and kvjit doesn't, as
    torch's wheels bring one: for Context's `openmp`. None if there is no such."""
    own, others = c.cast(_lib.GOMP_parallel, c.c_void_p).value, []
    with open("/proc/self/maps") as maps:
        for words in (line.split(maxsplit=5) for line in maps):
            path = words[5].strip() if len(words) > 5 else ""
            if re.match(r"lib(gomp|iomp5|omp)\b", os.path.basename(path)) and path not in others:
                others.append(path)
            begin, end = (int(x, 16) for x in words[0].split("-"))
            if begin <= own < end:
                mine = path
    return next((path for path in others if path != mine), None)


class Error(Exception):
    """`status` is the name in kvjit.h without KVJIT_, the text the library's sentence."""

    def __init__(self, status, sentence):
        self.status = STATUS[status] if isinstance(status, int) else status
        super().__init__(f"{self.status}: {sentence}")


def _bad(sentence):
    return Error("BAD_ARGUMENT", sentence)


def _text(text, what):
    if not isinstance(text, str):
        raise _bad(f"{what}: a str is wanted, not {type(text).__name__}")
    if "\0" in text:  # C would see what stands in front of it
        raise _bad(f"{what}: it holds a NUL, as character {text.index(chr(0)) + 1}")
    return text.encode(errors="surrogateescape")  # what os.fsdecode made of a path


def _said(sentence):
    """A sentence may quote a text and end inside one of its characters."""
    return sentence.decode(errors="replace")


def _bytes(text, what):
    return None if text is None else _text(text, what)


def _path(path, what):
    return _bytes(os.fspath(path) if hasattr(path, "__fspath__") else path, what)


def _fits(n, what, low=-1 << 63, high=(1 << 63) - 1):
    """n, an integer that the library's type holds: ctypes would drop its upper bits."""
    try:
        i = operator.index(n)
    except TypeError:
        raise _bad(f"{what}: an integer is wanted, not {type(n).__name__}") from None
    if not low <= i <= high:
        raise _bad(f"{what} is {n}; it must be {low} to {high}")
    return i


def _float(x, what):
    try:
        return float(x)
    except (TypeError, OverflowError) as why:  # an array, an integer beyond all floats
        raise _bad(f"{what}: {why}") from None


def _owned(pointer):
    """Text that the library handed out, as a str; None of NULL."""
    if not pointer:
        return None
    text = _said(c.string_at(pointer))
    _free(pointer)
    return text


# -- tensors ------------------------------------------------------------------------------------


def _dense(shape):
    strides, step = [], 1
    for extent in shape[::-1]:
        strides.append(step)
        step *= extent or 1
    return tuple(strides[::-1])


class Tensor:
    """Memory at `address`: dtype a name of DTYPES or uint16, shape in elements, strides in
    elements, of the first extents or of all (the rest is dense). `owner` is kept alive as long
    as this is."""

    __slots__ = ("address", "dtype", "shape", "strides", "writable", "place", "owner")

    def __init__(self, address, dtype, shape, strides=None, writable=True, place="cpu", owner=None):
        address = _fits(address, "an address", 0, (1 << 64) - 1)
        self.address, self.dtype, self.shape = address, dtype, tuple(shape)
        given = tuple(strides or ())
        if min(self.shape, default=0) < 0:
            raise _bad(f"extents are 0 or more, not {self.shape}")
        for n in self.shape + given:
            if type(n) is not int or not -1 << 63 <= n < 1 << 63:
                _fits(n, "an extent or stride")
        dense = _dense(self.shape)
        if dtype not in SIZES:
            raise _bad(f"dtype {dtype!r} is not one of {', '.join(SIZES)}")
        if len(self.shape) > 6:
            raise _bad(f"{len(self.shape)} extents; a tensor has 6 at most")
        if len(given) > len(dense):
            raise _bad(f"{len(given)} strides of {len(dense)} extents")
        # where there is one element the step to the next means nothing
        self.strides = tuple([d if n <= 1 else s
                              for s, d, n in zip(given + dense[len(given):], dense, self.shape)])
        self.writable, self.place, self.owner = writable, place, owner

    @property
    def __array_interface__(self):
        """What numpy.asarray looks at; elements that numpy lacks are unsigned integers there."""
        size = SIZES[self.dtype]
        kind = {"int": "i", "float": "f"}.get(self.dtype.rstrip("0123456789"), "u")
        return {"version": 3, "shape": self.shape, "typestr": f"<{kind}{size}",
                "data": (self.address, not self.writable),
                "strides": tuple(s * size for s in self.strides)}

    @classmethod
    def of(cls, x):
        """Where x lies, None if it doesn't say."""
        if isinstance(x, Tensor):
            return x
        if hasattr(x, "data_ptr") and hasattr(x, "stride"):  # torch
            return cls(x.data_ptr(), _name(x.dtype), x.shape, x.stride(), True,
                       str(x.device).partition(":")[0], x)
        about = getattr(x, "__array_interface__", None)  # numpy
        if about is not None:
            dtype = _name(x.dtype)
            size = SIZES.get(dtype)
            steps = about.get("strides")
            if size and steps and any(s % size for s in steps):
                raise _bad(f"strides of {steps} bytes are no whole elements of {dtype}")
            return cls(about["data"][0], dtype, about["shape"],
                       [s // size for s in steps] if size and steps else None,
                       not about["data"][1], "cpu", x)
        return _of_buffer(x)


def _name(dtype):
    return str(dtype).rpartition(".")[2]


def _of_buffer(x):
    try:
        view = memoryview(x)
    except TypeError:
        return None
    letter = view.format[-1:]
    order = view.format[:1] in (">", "!") and view.itemsize > 1  # big-endian
    if order or letter not in LETTERS or SIZES[LETTERS[letter]] != view.itemsize or not view.c_contiguous:
        raise _bad(f"a buffer of format {view.format!r}; contiguous ones of {''.join(LETTERS)} do")
    if view.readonly:  # ctypes gives the address of a writable buffer only
        raise _bad("a read-only buffer; hand over a bytearray, an array, or a Tensor")
    at = c.addressof(c.c_char.from_buffer(view)) if view.nbytes else 0
    return Tensor(at, LETTERS[letter], view.shape, owner=view)


class Memory:
    """Zeroed bytes of kvjit_alloc, on huge pages where there are any. `buffer` is what
    numpy.frombuffer and torch.frombuffer take; freed when nobody holds it any more."""

    def __init__(self, nbytes):
        self.nbytes = _fits(nbytes, "nbytes", 0)
        self.address = _lib.kvjit_alloc(c.c_size_t(self.nbytes))
        if not self.address:
            raise Error("NO_MEMORY", f"no {nbytes} bytes")

    def __del__(self):
        if getattr(self, "address", None):
            _lib.kvjit_free(c.c_void_p(self.address), c.c_size_t(self.nbytes))

    @property
    def buffer(self):
        view = (c.c_uint8 * self.nbytes).from_address(self.address)
        view.owner = self
        return view

    def tensor(self, shape, dtype="uint8"):
        """The bytes from the first on, as a tensor."""
        n = SIZES[dtype]
        for extent in shape:
            n *= extent
        if n > self.nbytes:
            raise _bad(f"a {dtype} tensor of {tuple(shape)} takes {n} bytes, there are {self.nbytes}")
        return Tensor(self.address, dtype, shape, owner=self)


def alloc(nbytes):
    """Memory for a cache pool."""
    return Memory(nbytes)


def block_slots(blocks, page, tokens):
    """Slots (array of int64) of the first `tokens` tokens of a sequence with these pages."""
    pages = array.array("i", (_fits(b, "a block", -1 << 31, (1 << 31) - 1) for b in blocks))
    slots = array.array("q", bytes(8 * _fits(tokens, "tokens", 0, 1 << 40)))
    n = _lib.kvjit_block_slots(c.c_void_p(pages.buffer_info()[0]), c.c_int64(len(pages)),
                               c.c_int64(_fits(page, "page")), c.c_int64(tokens),
                               c.c_void_p(slots.buffer_info()[0]))
    return slots[:n]


# -- kernels ------------------------------------------------------------------------------------

Param = collections.namedtuple("Param", "name dtype role shape nstride stride planned")
ROLES = (None, "in", "out", "inout")


def _extents(shape):
    return "[" + ",".join("?" if n < 0 else str(n) for n in shape) + "]"


class Plan:
    """The work list of a step. `scratch` is how many bytes a call needs."""

    def __init__(self):
        self.handle = c.c_void_p()

    def __del__(self):
        _lib.kvjit_plan_free(self.handle)

    @property
    def scratch(self):
        return _lib.kvjit_plan_scratch(self.handle)


def _int32(name, x, rank):
    """A batch's array, in the host's memory: the plan reads it now."""
    t = Tensor.of(x)
    if t is None or t.dtype != "int32" or len(t.shape) != rank or t.place != "cpu":
        got = type(x).__name__ if t is None else f"{t.dtype} of {t.shape} on {t.place}"
        raise _bad(f"{name}: int32 with {rank} extents in the host's memory is wanted, not {got}")
    if t.strides[-1] != 1:
        raise _bad(f"{name}: its last extent must be dense")
    return t


def _look(x):
    """All that is asked of a tensor but where it lies, and where; None if that isn't cheap."""
    if isinstance(x, Tensor):
        return (x.dtype, x.shape, x.strides, x.writable, x.place), x.address
    if hasattr(x, "data_ptr") and hasattr(x, "stride"):
        return (x.dtype, x.shape, x.stride(), x.device), x.data_ptr()
    about = getattr(x, "__array_interface__", None)
    if about is None:
        return None
    return (x.dtype, about["shape"], about.get("strides"), about["data"][1]), about["data"][0]


class _Call:
    """The arguments of a call as the library takes them, and what they were made of: the next call
    with the same names changes what is different. Keeps no tensor alive."""

    __slots__ = ("kernel", "args", "seen")

    def __init__(self, kernel, given):
        self.kernel = kernel
        self.args = (Arg * len(given))(*(kernel._arg(name, x) for name, x in given.items()))
        self.seen = [[arg, kernel.params[name], (_look(x) or [None])[0]]
                     for arg, (name, x) in zip(self.args, given.items())]

    def take(self, given):
        """The same names in the same order, of the next call."""
        for i, x in enumerate(given.values()):
            arg, p, last = seen = self.seen[i]
            look = _look(x) if p.shape else None
            if look and look[0] == last:
                arg.data = look[1]
            elif type(x) is float and p.dtype == "float32" and not p.shape:
                arg.f = x
            else:
                self.args[i] = self.kernel._arg(p.name, x)
                seen[2] = look and look[0]


class Kernel:
    """What Context.compile gives. Call it with the plan and the arguments by name; lives on
    when its context is closed."""

    def __init__(self, handle, device):
        self.handle, self.device, self._last = handle, device, {}
        at = (_lib.kvjit_param_at(handle, i).contents for i in range(_lib.kvjit_nparam(handle)))
        self.params = {p.name.decode(): Param(p.name.decode(), DTYPES[p.dtype], ROLES[p.role],
                                              tuple(p.shape[:p.rank]), p.nstride,
                                              tuple(p.stride[:p.nstride]), bool(p.planned))
                       for p in at}

    def __del__(self):
        _lib.kvjit_release(self.handle)

    target = property(lambda self: _lib.kvjit_kernel_target(self.handle).decode())
    problem = property(lambda self: _lib.kvjit_kernel_problem(self.handle).decode())
    origin = property(lambda self: _lib.kvjit_kernel_origin(self.handle).decode())

    def text(self, stage):
        """The kernel at a stage: ir, tile, vector, llvm, asm, c, schedule; None: it has none."""
        return _owned(_lib.kvjit_kernel_text(self.handle, _text(stage, "stage")))

    def _check(self, status):
        if status:
            raise Error(status, _said(_lib.kvjit_kernel_error(self.handle)))

    def zeros(self, name, n):
        """The tensor that argument `name` takes, densely packed, in zeroed Memory of its own; n for
        the extent that the kernel leaves open: pages of a cache, rows, sequences."""
        arg, nbytes = Arg(), c.c_size_t()
        self._check(_lib.kvjit_arg_of(self.handle, _text(name, "name"), c.c_int64(_fits(n, "n")),
                                      c.byref(arg), c.byref(nbytes)))
        memory, p = Memory(max(nbytes.value, 1)), self.params[name]
        strides = p.stride if min(p.stride, default=0) >= 0 else None
        return Tensor(memory.address, p.dtype, arg.shape[:arg.rank], strides, owner=memory)

    def plan(self, seq_lens, query_starts, block_table=None, npages=0, format=0, seq_lens2=None,
             block_table2=None, npages2=0, format2=0, reuse=None):
        """The work list for a batch: int32 arrays as kvjit_batch has them; block_table None is
        unchecked. `reuse` is an old plan of this kernel, whose memory is taken again."""
        if not isinstance(reuse, (Plan, type(None))):
            raise _bad(f"reuse: a Plan is wanted, not {type(reuse).__name__}")
        plan = reuse or Plan()
        lens, starts = _int32("seq_lens", seq_lens, 1), _int32("query_starts", query_starts, 1)
        if len(starts.shape) and starts.shape[0] != lens.shape[0] + 1:
            raise _bad(f"query_starts has {starts.shape[0]} entries, seq_lens {lens.shape[0]}: "
                       "one more is wanted")
        batch = Batch(c.sizeof(Batch), lens.shape[0], lens.address, starts.address)
        batch.npages, batch.npages2 = _fits(npages, "npages"), _fits(npages2, "npages2")
        batch.format = _fits(format, "format", 0, (1 << 64) - 1)
        batch.format2 = _fits(format2, "format2", 0, (1 << 64) - 1)
        kept = [lens, starts]
        for n, table in (("", block_table), ("2", block_table2)):
            if table is None:
                continue
            t = _int32("block_table" + n, table, 2)
            if t.shape[0] != lens.shape[0]:
                raise _bad(f"block_table{n} has {t.shape[0]} rows for {lens.shape[0]} sequences")
            setattr(batch, "block_table" + n, t.address)
            setattr(batch, "table_stride" + n, t.strides[0])
            kept.append(t)
        if seq_lens2 is not None:
            lens2 = _int32("seq_lens2", seq_lens2, 1)
            if lens2.shape != lens.shape:
                raise _bad(f"seq_lens2 has {lens2.shape[0]} entries, seq_lens {lens.shape[0]}")
            batch.seq_lens2 = lens2.address
            kept.append(lens2)
        self._check(_lib.kvjit_plan_new(self.handle, c.byref(batch), c.byref(plan.handle)))
        return plan

    def _tensor(self, p, x):
        t = Tensor.of(x)
        if t is None:
            raise _bad(f"{p.name}: a tensor of {p.dtype} is wanted, {_extents(p.shape)}, "
                       f"not {type(x).__name__}")
        same = t.dtype == p.dtype or (SIZES[t.dtype] == SIZES[p.dtype] and
                                      (t.dtype in BITS or p.dtype in BITS))
        if not same:
            raise _bad(f"{p.name}: {p.dtype} is wanted, not {t.dtype}")
        if not t.writable and p.role != "in":
            raise _bad(f"{p.name}: it is written, and the array is read-only")
        if t.place != "cpu" and not self.device:
            raise _bad(f"{p.name}: it lies on {t.place}, the kernel runs on {self.target}")
        if len(t.shape) != len(p.shape):
            raise _bad(f"{p.name}: {len(p.shape)} extents are wanted, {_extents(p.shape)}, "
                       f"not {len(t.shape)}")
        if t.strides[p.nstride:] != _dense(t.shape)[p.nstride:]:
            raise _bad(f"{p.name}: all but its first {p.nstride} extents must be dense; "
                       f"its strides are {t.strides}")
        rank = len(t.shape)
        return Arg(p.name.encode(), t.address, DTYPES.index(p.dtype), rank, t.shape, p.nstride,
                   t.strides[:p.nstride])

    def _arg(self, name, x):
        p = self.params.get(name)
        if p is None or p.planned:
            raise _bad(f"{name}: the kernel has no such argument; it takes "
                       f"{', '.join(q.name for q in self.params.values() if not q.planned)}")
        if p.shape:
            return self._tensor(p, x)
        real = p.dtype == "float32"
        if not hasattr(x, "__index__") and not (real and hasattr(x, "__float__")):
            raise _bad(f"{name}: a{' number' if real else 'n integer'} is wanted, "
                       f"not {type(x).__name__}")
        return Arg(name.encode(), f=_float(x, name)) if real else Arg(name.encode(), i=_fits(x, name))

    def _room(self, plan, scratch):
        """The two handles of a call that aren't arguments, checked."""
        if plan is not None and not isinstance(plan, Plan):
            raise _bad(f"plan: a Plan is wanted, not {type(plan).__name__}")
        if scratch is None:
            return plan and plan.handle, None
        at = Tensor.of(scratch)
        if at is None:
            raise _bad(f"scratch: a tensor is wanted, not {type(scratch).__name__}")
        if not at.writable or at.strides != _dense(at.shape):
            raise _bad("scratch: it is written, and must be dense")
        if at.place != "cpu" and not self.device:
            raise _bad(f"scratch: it lies on {at.place}, the kernel runs on {self.target}")
        if plan and SIZES[at.dtype] * math.prod(at.shape) < plan.scratch:
            raise _bad(f"scratch: {plan.scratch} bytes are wanted")
        return plan and plan.handle, c.c_void_p(at.address)

    def bind(self, plan=None, scratch=None, **given):
        """A function without arguments that makes this call, as often as wanted: what the tensors
        are is looked at here, once. It keeps them and the plan alive; a plan made anew with
        `reuse` is the same plan. `scratch`: a tensor of plan.scratch bytes, 64-aligned, for calls
        with one plan at the same time."""
        work, room = self._room(plan, scratch)
        args = _Call(self, given).args
        kept = plan, scratch, given

        def call(run=_lib.kvjit_call, kept=kept):
            self._check(run(self.handle, work, args, len(args), room))

        return call

    def __call__(self, plan=None, scratch=None, **given):
        """Runs it, and waits. The first call, and one whose tensors have other shapes, looks at
        them as bind does; the next with the same names cost a tenth of that."""
        names = tuple(given)
        call = self._last.pop(names, None)  # no other thread's, while it is used
        if call is None:
            call = _Call(self, given)
        else:
            call.take(given)
        work, room = self._room(plan, scratch)
        self._check(_lib.kvjit_call(self.handle, work, call.args, len(names), room))
        self._last[names] = call


def _threads_of(openmp):
    """options.parallel and options.executor."""
    if openmp is None:
        return None, None
    try:
        run = c.CDLL(os.fspath(openmp)).GOMP_parallel
    except (OSError, AttributeError, TypeError) as why:
        raise Error("NO_BACKEND", f"openmp: {why}") from None
    return (c.cast(_lib.kvjit_parallel_gomp, c.c_void_p), c.cast(run, c.c_void_p))


class Context:
    """kvjit_open. Names that are None are the environment's or the defaults (kvjit.h). `log` is
    called with lines that end in a newline: sys.stderr.write will do. `openmp`: the path of an
    OpenMP runtime whose threads run kernels, as host_openmp gives it; None: kvjit's own."""

    handle = None  # what __del__ closes where __init__ was called with a wrong keyword

    def __init__(self, target=None, backend=None, cache=None, cache_path=None, pins=None,
                 threads=0, device=None, log=None, openmp=None):
        self.handle = c.c_void_p()
        self._log = LOG(lambda line, _: log(_said(line))) if log else LOG()
        options = Options(c.sizeof(Options), _bytes(target, "target"), _bytes(backend, "backend"),
                          *_threads_of(openmp), self._log, None, _path(cache, "cache"),
                          _path(cache_path, "cache_path"), _path(pins, "pins"),
                          _fits(threads, "threads", -1 << 31, (1 << 31) - 1),
                          _bytes(device, "device"))
        status = _lib.kvjit_open(c.byref(options), c.byref(self.handle))
        if status:
            raise Error(status, _said(_lib.kvjit_open_error()))

    def close(self):
        _lib.kvjit_close(self.handle)
        self.handle = c.c_void_p()

    __del__ = close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _check(self, status):
        if status:
            raise Error(status, _said(_lib.kvjit_error(self.handle)))

    def _asked(self, function, text, *options):
        out = c.c_void_p()
        self._check(function(self.handle, _text(text, "text"), *options, c.byref(out)))
        return _owned(out.value)

    def compile(self, text, sched=None, flags=0):
        """A problem string, format declarations and one, or IR. `sched`: knobs that override the
        text's; `flags` of FRESH, FOREIGN, UNTUNED, LATER. With LATER it is None while the library's
        own threads compile."""
        handle = c.c_void_p()
        options = CompileOptions(c.sizeof(CompileOptions), _bytes(sched, "sched"),
                                 _fits(flags, "flags", 0, (1 << 32) - 1))
        status = _lib.kvjit_compile(self.handle, _text(text, "text"), c.byref(options), c.byref(handle))
        if status == STATUS.index("PENDING"):
            return None
        self._check(status)
        return Kernel(handle, self.device_name is not None)

    @property
    def device_name(self):
        name = _lib.kvjit_device_name(self.handle)
        return name and name.decode()

    def info(self):
        """What this machine is, which backends load and why not."""
        text = _owned(_lib.kvjit_info(self.handle))
        if text is None:
            raise _bad(_said(_lib.kvjit_error(self.handle)))
        return text

    def explain(self, text):
        """Whether this machine runs the problem, why not, and what would be run."""
        return self._asked(_lib.kvjit_explain, text)

    def why(self, text):
        """Whether compile would find the kernel and its schedule in a cache, and why not."""
        return self._asked(_lib.kvjit_why, text, None)

    def keys(self, text, sched=None):
        """The names that caches know the kernel by: a dict of kvjit_keys' fields."""
        keys = Keys(c.sizeof(Keys))
        options = CompileOptions(c.sizeof(CompileOptions), _bytes(sched, "sched"))
        self._check(_lib.kvjit_keys_of(self.handle, _text(text, "text"), c.byref(options), c.byref(keys)))
        return {name: x.decode() if isinstance(x, bytes) else x
                for name, x in ((f[0], getattr(keys, f[0])) for f in Keys._fields_[1:])}

    def page_bytes(self, format, kv_heads, dim, page, dim_v=None):
        """Bytes of one page of all heads, K, V and scales."""
        out = c.c_int64()
        sizes = (c.c_int64(_fits(n, what)) for n, what in
                 ((kv_heads, "kv_heads"), (dim, "dim"), (dim if dim_v is None else dim_v, "dim_v"),
                  (page, "page")))
        self._check(_lib.kvjit_page_bytes(self.handle, _text(format, "format"), *sizes, c.byref(out)))
        return out.value

    def format_hash(self, format):
        """A number for all that a format says: kept beside a cache that is stored or moved."""
        out = c.c_uint64()
        self._check(_lib.kvjit_format_hash(self.handle, _text(format, "format"), c.byref(out)))
        return out.value
