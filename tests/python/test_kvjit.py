# SPDX-License-Identifier: Apache-2.0
"""test_kvjit.py -- python/kvjit.py: what it takes for a tensor, what it refuses, and that its
structs and numbers are kvjit.h's. Needs LIBKVJIT, and CC for the header.

torch and numpy are stood in for by classes with their attributes; where numpy is installed it is
tried too.
"""
import array
import gc
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import weakref

ROOT = os.environ["KVJIT_SOURCE_DIR"]
sys.path.insert(0, os.path.join(ROOT, "python"))
import ctypes

import kvjit

HEADER = open(os.path.join(ROOT, "include", "kvjit.h")).read()
PROBLEM = "attn q=bf16 kv=bf16 heads=4:2 dim=32 page=16 causal"


class Torch:
    """A tensor of torch: what it says of itself."""

    def __init__(self, values, dtype, shape, stride, device="cpu"):
        self.values, self.dtype, self.shape, self.device = values, f"torch.{dtype}", shape, device
        self.steps = stride

    def data_ptr(self):
        return self.values.buffer_info()[0]

    def stride(self):
        return self.steps


class Numpy:
    """An array of numpy: strides in bytes, None where it is dense."""

    def __init__(self, values, dtype, shape, strides=None, readonly=False):
        self.dtype = dtype
        self.values = values
        self.__array_interface__ = {"data": (values.buffer_info()[0], readonly), "shape": shape,
                                    "strides": strides}


def zeros(letter, n):
    return array.array(letter, [0]) * n


class Header(unittest.TestCase):
    def test_structs_lie_as_the_header_has_them(self):
        pairs = {"kvjit_options": kvjit.Options, "kvjit_compile_options": kvjit.CompileOptions,
                 "kvjit_param": kvjit.ParamStruct, "kvjit_arg": kvjit.Arg,
                 "kvjit_batch": kvjit.Batch, "kvjit_keys": kvjit.Keys}
        lines, want = [], []
        for name, struct in pairs.items():
            lines.append(f'printf("%zu\\n", sizeof({name}));')
            want.append(ctypes.sizeof(struct))
            for field, *_ in struct._fields_:
                lines.append(f'printf("%zu\\n", offsetof({name}, {field}));')
                want.append(getattr(struct, field).offset)
        with tempfile.TemporaryDirectory() as d:
            source, program = os.path.join(d, "a.c"), os.path.join(d, "a")
            with open(source, "w") as f:
                f.write('#include <stdio.h>\n#include <kvjit.h>\nint main(void)\n{\n' +
                        "\n".join(lines) + "\nreturn 0;\n}\n")
            subprocess.run([os.environ.get("CC", "cc"), "-I", os.path.join(ROOT, "include"), source,
                            "-o", program], check=True)
            out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        self.assertEqual([int(x) for x in out.split()], want)

    def test_names_are_in_the_order_of_the_header(self):
        def members(name):
            body = re.search(r"typedef enum " + name + r" \{(.*?)\}", HEADER, re.S)[1]
            return re.findall(r"KVJIT_(\w+)", re.sub(r"/\*.*?\*/", "", body, flags=re.S))

        self.assertEqual(tuple(members("kvjit_status")), kvjit.STATUS)
        self.assertEqual(members("kvjit_dtype"),
                         ["U8", "S8", "S32", "S64", "F32", "F16", "BF16", "E4M3FN", "E5M2",
                          "E4M3FNUZ", "E5M2FNUZ", "E8M0"])
        self.assertEqual(len(kvjit.DTYPES), 12)
        for name in ("FRESH", "FOREIGN", "UNTUNED", "LATER"):
            self.assertIn(f"KVJIT_{name} = {getattr(kvjit, name)}", HEADER)


class Tensors(unittest.TestCase):
    def test_buffers(self):
        t = kvjit.Tensor.of(array.array("f", [1, 2, 3]))
        self.assertEqual((t.dtype, t.shape, t.strides), ("float32", (3,), (1,)))
        t = kvjit.Tensor.of(memoryview(bytearray(24)).cast("i", (2, 3)))
        self.assertEqual((t.dtype, t.shape, t.strides), ("int32", (2, 3), (3, 1)))
        self.assertIsNone(kvjit.Tensor.of(3))
        for wrong, word in ((b"read only", "read-only"), (array.array("d", [1]), "format"),
                            (memoryview(bytearray(8))[::2], "contiguous"),
                            ((ctypes.c_float.__ctype_be__ * 4)(), "'>f'")):
            with self.assertRaisesRegex(kvjit.Error, word):
                kvjit.Tensor.of(wrong)

    def test_torch_and_numpy(self):
        values = zeros("H", 24)
        t = kvjit.Tensor.of(Torch(values, "bfloat16", (2, 3), (12, 4)))
        self.assertEqual((t.dtype, t.strides, t.place), ("bfloat16", (12, 4), "cpu"))
        n = kvjit.Tensor.of(Numpy(values, "uint16", (2, 3), (24, 8)))
        self.assertEqual((n.dtype, n.strides, n.address), ("uint16", (12, 4), t.address))
        with self.assertRaisesRegex(kvjit.Error, "no whole elements"):
            kvjit.Tensor.of(Numpy(values, "uint16", (2, 3), (25, 8)))
        with self.assertRaisesRegex(kvjit.Error, "float64"):
            kvjit.Tensor.of(Numpy(values, "float64", (2,)))

    def test_what_no_tensor_can_be(self):
        for wrong, word in ((("here", "float32", (1,)), "an address: an integer is wanted, not str"),
                            ((64, "float32", (2, -1)), "extents are 0 or more"),
                            ((64, "float99", (1,)), "'float99' is not one of")):
            with self.assertRaisesRegex(kvjit.Error, word):
                kvjit.Tensor(*wrong)

    def test_a_single_element_has_any_stride(self):
        t = kvjit.Tensor(64, "float32", (1, 4), (999, 1))
        self.assertEqual(t.strides, (4, 1))

    def test_the_rest_of_the_strides_is_dense(self):
        self.assertEqual(kvjit.Tensor(64, "float32", (2, 3, 4), (100,)).strides, (100, 4, 1))
        with self.assertRaisesRegex(kvjit.Error, "3 strides of 2 extents"):
            kvjit.Tensor(64, "float32", (2, 3), (1, 2, 3))

    def test_memory_lives_as_long_as_a_view(self):
        view = kvjit.alloc(4096).buffer
        gc.collect()
        self.assertEqual(bytes(view), bytes(4096))
        with self.assertRaisesRegex(kvjit.Error, "takes 4100 bytes, there are 4096"):
            kvjit.alloc(4096).tensor((1025,), "float32")

    def test_block_slots(self):
        self.assertEqual(list(kvjit.block_slots([2, -1, 0], 2, 5)), [4, 5, -1, -1, 0])
        self.assertEqual(list(kvjit.block_slots([1], 2, 9)), [2, 3])


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kv = kvjit.Context(cache="off")
        cls.attn = cls.kv.compile(PROBLEM)
        size = cls.kv.page_bytes("bf16", 2, 32, 16)
        cls.cache = kvjit.alloc(2 * size).tensor((2, 2, size // 2))
        n = 20
        keys = zeros("H", n * 64)
        values = array.array("H", [0x3F80 + d for d in range(32)] * 2 * n)  # 1 and up
        write = cls.kv.compile("write in=bf16 kv=bf16 heads=2 dim=32 page=16")
        write(key=Numpy(keys, "uint16", (n, 2, 32)), value=Numpy(values, "uint16", (n, 2, 32)),
              slots=array.array("q", range(n)), cache=cls.cache, n=n)
        cls.lens, cls.starts = array.array("i", [20]), array.array("i", [0, 1])
        cls.table = memoryview(bytearray(8)).cast("i", (1, 2))
        cls.table[0, 1] = 1
        cls.plan = cls.attn.plan(cls.lens, cls.starts, cls.table, npages=2)

    def args(self, **other):
        args = dict(q=Torch(zeros("H", 128), "bfloat16", (1, 4, 32), (128, 32, 1)),
                    cache=self.cache, table=self.table, lens=self.lens, starts=self.starts, scale=1,
                    out=Numpy(zeros("H", 128), "bfloat16", (1, 4, 32)))
        args.update(other)
        return args

    def test_the_mean_of_equal_values(self):
        args = self.args()
        self.attn(self.plan, **args)
        self.assertEqual(list(args["out"].values), [0x3F80 + d for d in range(32)] * 4)
        self.assertEqual(self.attn.target, self.kv.compile(PROBLEM).target)
        self.assertIn("dim=32", self.attn.problem)
        self.assertIn("func", self.attn.text("ir"))
        self.assertIsNone(self.attn.text("no such stage"))

    def test_a_bound_call_keeps_what_it_needs(self):
        out = zeros("H", 128)
        call = self.attn.bind(self.attn.plan(self.lens, self.starts, self.table, npages=2),
                              **self.args(out=Numpy(out, "uint16", (1, 4, 32))))
        gc.collect()
        for _ in range(2):
            call()
            self.assertEqual(out[5], 0x3F85)
            out[5] = 0

    def test_strides_are_the_tensors(self):
        wide = array.array("H", [0xFFFF]) * 512
        self.attn(self.plan, **self.args(out=Torch(wide, "bfloat16", (1, 4, 32), (512, 128, 1))))
        for h in range(4):
            self.assertEqual(list(wide[h * 128:h * 128 + 32]), [0x3F80 + d for d in range(32)])
            self.assertEqual(set(wide[h * 128 + 32:h * 128 + 128]), {0xFFFF})

    def test_the_next_call_takes_its_own_tensors(self):
        wide = ("bfloat16", (1, 4, 32), (512, 128, 1))
        outs = [Torch(zeros("H", 512), *wide), Torch(zeros("H", 512), *wide),
                Numpy(zeros("H", 128), "bfloat16", (1, 4, 32)),
                Numpy(zeros("H", 128), "uint16", (1, 4, 32)),
                self.attn.zeros("out", 1), self.attn.zeros("out", 1),
                memoryview(zeros("H", 128)).cast("B").cast("H", (1, 4, 32)),
                Torch(zeros("H", 512), *wide)]
        for out in outs:
            self.attn(self.plan, **self.args(out=out))
            got = kvjit.Tensor.of(out)
            row = (ctypes.c_uint16 * 32).from_address(got.address + 2 * got.strides[1])
            self.assertEqual(list(row), [0x3F80 + d for d in range(32)])
        before = weakref.ref(outs[0])
        del outs, out, got
        gc.collect()
        self.assertIsNone(before())  # nothing keeps it

    def test_the_next_call_takes_its_own_numbers(self):
        write = self.kv.compile("write in=bf16 kv=bf16 heads=2 dim=32 page=16")
        cache = write.zeros("cache", 1)
        rows = Numpy(array.array("H", [0x3F80]) * 128, "uint16", (2, 2, 32))
        for n, written in ((1, 1), (0, 1), (2, 2)):
            write(key=rows, value=rows, slots=array.array("q", [0, 1]), cache=cache, n=n)
            codes = (ctypes.c_uint16 * (math.prod(cache.shape) // 2)).from_address(cache.address)
            self.assertEqual(sum(x == 0x3F80 for x in codes), written * 128)
        for n, word in ((-1, "0 or more"), (1 << 64, "n is"), (1.5, "n: an integer is wanted")):
            with self.assertRaisesRegex(kvjit.Error, word):
                write(key=rows, value=rows, slots=array.array("q", [0, 1]), cache=cache, n=n)
        for scale, word in ((math.inf, "finite"), ("1", "scale: a number is wanted")):
            self.attn(self.plan, **self.args())
            with self.assertRaisesRegex(kvjit.Error, word):
                self.attn(self.plan, **self.args(scale=scale))

    def test_threads_share_a_kernel(self):
        args = [self.args() for _ in range(4)]
        room = [array.array("B", bytes(self.plan.scratch + 64)) for _ in args]
        at = [kvjit.Tensor(-(-r.buffer_info()[0] // 64) * 64, "uint8", (self.plan.scratch,), owner=r)
              for r in room]
        threads = [threading.Thread(target=self.attn, args=(self.plan, s), kwargs=a)
                   for s, a in zip(at, args)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for a in args:
            self.assertEqual(a["out"].values[5], 0x3F85)

    def test_refused(self):
        q = zeros("H", 128)
        shape, dense = (1, 4, 32), (128, 32, 1)
        for other, word in (
                (dict(q=3), r"q: a tensor of bfloat16 is wanted, \[\?,4,32\], not int"),
                (dict(q=Torch(q, "float16", shape, dense)), "q: bfloat16 is wanted, not float16"),
                (dict(q=Torch(q, "bfloat16", (4, 32), (32, 1))),
                 r"q: 3 extents are wanted, \[\?,4,32\], not 2"),
                (dict(q=Torch(q, "bfloat16", shape, (128, 1, 4))), "must be dense"),
                (dict(q=Torch(q, "bfloat16", shape, dense, "cuda:0")), "lies on cuda"),
                (dict(q=Torch(q, "bfloat16", (1, 3, 32), (96, 32, 1))), "q"),  # the library's
                (dict(out=Numpy(q, "bfloat16", shape, readonly=True)), "out: it is written"),
                (dict(window=3), "window: the kernel has no such argument; it takes q, "),
                (dict(work=self.table), "work: the kernel has no such argument")):
            self.attn(self.plan, **self.args())  # the last call was right
            with self.assertRaisesRegex(kvjit.Error, word) as caught:
                self.attn(self.plan, **self.args(**other))
            self.assertEqual(caught.exception.status, "BAD_ARGUMENT")
        args = self.args()
        del args["lens"]
        with self.assertRaisesRegex(kvjit.Error, "lens"):
            self.attn(self.plan, **args)
        with self.assertRaisesRegex(kvjit.Error, "plan"):
            self.attn(None, **self.args())
        with self.assertRaisesRegex(kvjit.Error, "plan: a Plan is wanted, not str"):
            self.attn("plan", **self.args())
        with self.assertRaisesRegex(kvjit.Error, "scratch is 0x41; it must be aligned"):
            self.attn(self.plan, scratch=kvjit.Tensor(65, "uint8", (1,)), **self.args())
        # what is no tensor isn't left aside for the plan's own
        with self.assertRaisesRegex(kvjit.Error, "scratch: a tensor is wanted, not int"):
            self.attn(self.plan, scratch=5, **self.args())
        room = kvjit.alloc(2 << 20)  # as many bytes, but not those behind the address
        for strides, writable in (((0,), True), ((-1,), True), ((1,), False)):
            with self.assertRaisesRegex(kvjit.Error, "scratch: it is written, and must be dense"):
                self.attn(self.plan, **self.args(), scratch=kvjit.Tensor(
                    room.address + (1 << 20), "uint8", (1 << 20,), strides, writable))
        with self.assertRaisesRegex(kvjit.Error, "scratch: it lies on cuda"):
            self.attn(self.plan, scratch=Torch(q, "uint8", (1 << 20,), (1,), "cuda:0"), **self.args())
        both = Numpy(q, "uint16", shape)
        with self.assertRaisesRegex(kvjit.Error, "'out' is written and lies where 'q' does"):
            self.attn(self.plan, **self.args(q=both, out=both))

    def test_refused_batches(self):
        lens, starts, table = self.lens, self.starts, self.table
        for args, word in (
                ((3, starts, table), "seq_lens: int32"),
                ((array.array("q", [20]), starts, table), "seq_lens: int32"),
                ((lens, lens, table), "query_starts has 1 entries"),
                ((lens, starts, lens), "block_table: int32 with 2 extents"),
                ((lens, starts, memoryview(bytearray(16)).cast("i", (2, 2))), "has 2 rows for 1"),
                ((lens, array.array("i", [1, 0]), table), "query_starts")):
            with self.assertRaisesRegex(kvjit.Error, word):
                self.attn.plan(*args, npages=2)
        with self.assertRaisesRegex(kvjit.Error, "seq_lens2"):
            self.attn.plan(lens, starts, table, npages=2, seq_lens2=array.array("i", [1, 2]))
        self.table[0, 1] = 7
        try:
            with self.assertRaisesRegex(kvjit.Error, "7"):
                self.attn.plan(lens, starts, table, npages=2)
        finally:
            self.table[0, 1] = 1

    def test_asking(self):
        self.assertIn("supported: yes", self.kv.explain(PROBLEM))
        self.assertIn("machine", self.kv.info())
        self.assertTrue(self.kv.why(PROBLEM))
        self.assertEqual(len(self.kv.keys(PROBLEM)["code"]), 64)
        self.assertNotEqual(self.kv.keys(PROBLEM)["code"],
                            self.kv.keys(PROBLEM, sched="kv_tile=16 split=64")["code"])
        self.assertNotEqual(self.kv.format_hash("fp8_ds_mla"), self.kv.format_hash("fp8_ds_mla_f32"))
        for ask in (self.kv.compile, self.kv.explain, self.kv.why, self.kv.keys):
            with self.assertRaisesRegex(kvjit.Error, "BAD_PROBLEM: .*heads=3:2"):
                ask("attn q=bf16 kv=bf16 heads=3:2 dim=32 page=16")
            for wrong in (None, b"attn q=bf16", 3):
                with self.assertRaisesRegex(kvjit.Error, "BAD_ARGUMENT: text: a str is wanted, not "):
                    ask(wrong)
        with self.assertRaisesRegex(kvjit.Error, "BAD_ARGUMENT: sched: a str is wanted, not bytes"):
            self.kv.compile(PROBLEM, sched=b"split=64")
        with self.assertRaisesRegex(kvjit.Error, "no-such-row"):
            kvjit.Context(target="no-such-row")
        with self.assertRaises(TypeError):
            kvjit.Context(targe="avx2")  # and nothing is said of a handle that was never made

    def test_scalars_are_numbers(self):
        plan = self.attn.plan(self.lens, self.starts, self.table, npages=2)
        for wrong in ("0.1", None, [0.1]):
            with self.assertRaisesRegex(kvjit.Error, "scale: a number is wanted, not "):
                self.attn(plan, **{**self.args(), "scale": wrong})

        with self.assertRaisesRegex(kvjit.Error, "scale: .*too large"):
            self.attn(plan, **{**self.args(), "scale": 10**400})

    def test_texts_that_c_cannot_hold(self):
        with self.assertRaisesRegex(kvjit.Error, "text: it holds a NUL, as character 5"):
            self.kv.compile("attn\0" + PROBLEM[4:])
        # sentences quote so many bytes, the last of which may begin a character
        for shift in range(3):
            with self.assertRaisesRegex(kvjit.Error, "UNSUPPORTED: no target 'a*\u20ac"):
                kvjit.Context(target="a" * shift + "\u20ac" * 100)
        kv = kvjit.Context(cache="off")
        kv.close()
        with self.assertRaisesRegex(kvjit.Error, "kvjit_info: kv is NULL"):
            kv.info()

    def test_integers_that_the_library_cannot_hold(self):
        # ctypes keeps the low bits: 2**64 + 2 pages would be 2
        def plan(**k):
            return self.attn.plan(self.lens, self.starts, self.table, **k)

        for what, call in (
                ("npages", lambda: plan(npages=2**64 + 2)),
                ("format", lambda: plan(npages=2, format=-1)),
                ("kv_heads", lambda: self.kv.page_bytes("bf16", 2**64 + 2, 32, 16)),
                ("an extent", lambda: kvjit.Tensor(0, "uint8", (2**64 + 1,))),
                ("tokens", lambda: kvjit.block_slots([0], 16, -1)),
                ("a block", lambda: kvjit.block_slots([2**31], 16, 1)),
                ("nbytes", lambda: kvjit.alloc(2**64 + 64)),
                ("an address", lambda: kvjit.Tensor(2**64 + 64, "uint8", (1,))),
                ("flags", lambda: self.kv.compile(PROBLEM, flags=2**32)),
                ("threads", lambda: kvjit.Context(threads=2**32 + 1))):
            with self.assertRaisesRegex(kvjit.Error, f"{what}.* is -?[0-9]+; it must be "):
                call()
        with self.assertRaisesRegex(kvjit.Error, "npages: an integer is wanted, not float"):
            plan(npages=2.0)
        with self.assertRaisesRegex(kvjit.Error, "seq_lens: int32 .* is wanted, not list"):
            self.attn.plan([5], self.starts, self.table, npages=2)
        with self.assertRaisesRegex(kvjit.Error, "reuse: a Plan is wanted, not int"):
            plan(npages=2, reuse=5)

    def test_paths(self):
        with tempfile.TemporaryDirectory() as folder:
            with kvjit.Context(cache=pathlib.Path(folder)):
                pass
            undecodable = os.fsdecode(os.fsencode(folder) + b"/\xff/")
            with kvjit.Context(cache=undecodable) as kv:
                kv.compile(PROBLEM)
            self.assertTrue(os.path.exists(undecodable))
            with self.assertRaisesRegex(kvjit.Error, "target: a str is wanted, not PosixPath"):
                kvjit.Context(target=pathlib.Path(folder))

    def test_a_log_and_a_kernel_that_outlives_its_context(self):
        lines = []
        with kvjit.Context(cache="/proc/no/such/folder", log=lines.append) as kv:
            attn = kv.compile(PROBLEM)
        self.assertTrue(lines)
        args = self.args()
        attn(attn.plan(self.lens, self.starts, self.table, npages=2), **args)
        self.assertEqual(args["out"].values[5], 0x3F85)

    def test_the_threads_of_another_openmp(self):
        lines = open("/proc/self/maps").read().split("\n")
        ours = next(x.split()[-1] for x in lines if re.search(r"/libgomp[^/]*$", x))
        self.assertIsNone(kvjit.host_openmp())
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "libgomp-0123abcd.so.1")  # as a wheel has it
            with open(ours, "rb") as f, open(path, "wb") as g:
                g.write(f.read().replace(b"libgomp.so.1", b"libgomp-so-1"))
            ctypes.CDLL(path).omp_set_num_threads(4)
            self.assertEqual(kvjit.host_openmp(), path)
            kv = kvjit.Context(cache="off", openmp=kvjit.host_openmp())
        quant = kv.compile("quant in=f32 to=e4m3/g128 dim=128")
        args = {name: quant.zeros(name, 64) for name in "xqs"}
        threads = len(os.listdir("/proc/self/task"))
        quant(n=64, **args)
        self.assertEqual(len(os.listdir("/proc/self/task")), threads + 3)
        for wrong, words in (("/no/such/libgomp.so", "openmp: .*no/such"),
                             ("libc.so.6", "openmp: .*GOMP_parallel")):
            with self.assertRaisesRegex(kvjit.Error, words):
                kvjit.Context(openmp=wrong)

    def test_later(self):
        text = "attn q=bf16 kv=bf16 heads=4:2 dim=48 page=16 causal"
        self.assertIsNone(self.kv.compile(text, flags=kvjit.LATER))
        self.assertIn("dim=48", self.kv.compile(text).problem)  # waits
        self.assertIn("dim=48", self.kv.compile(text, flags=kvjit.LATER).problem)

    def test_plans_are_used_again(self):
        plan = self.attn.plan(self.lens, self.starts, self.table, npages=2)
        self.assertIs(self.attn.plan(self.lens, self.starts, self.table, npages=2, reuse=plan), plan)
        args = self.args()
        self.attn(plan, **args)
        self.assertEqual(args["out"].values[5], 0x3F85)

    def test_zeros(self):
        cache = self.attn.zeros("cache", 3)
        size = self.kv.page_bytes("bf16", 2, 32, 16)
        self.assertEqual((cache.shape, cache.strides[0]), ((3, 2, size // 2), size))
        self.assertEqual(bytes(cache.owner.buffer), bytes(3 * size))
        self.assertEqual(self.attn.zeros("q", 0).shape, (0, 4, 32))
        for name, n, words in (("kache", 1, "no parameter 'kache'; there are q, cache"),
                               ("table", 1, "2 extents that are open"), ("cache", -1, "n is -1")):
            with self.assertRaisesRegex(kvjit.Error, words):
                self.attn.zeros(name, n)
        # a kernel's own tensors, from the writer to the output
        write = self.kv.compile("write in=bf16 kv=bf16 heads=2 dim=32 page=16")
        key, value, slots = write.zeros("key", 20), write.zeros("value", 20), write.zeros("slots", 20)
        ctypes.memset(value.address, 0x3F, value.owner.nbytes)  # 0.747
        (ctypes.c_int64 * 20).from_address(slots.address)[:] = range(20)
        write(key=key, value=value, slots=slots, cache=cache, n=20)
        out = self.attn.zeros("out", 1)
        self.attn(self.plan, **self.args(cache=cache, out=out))
        self.assertEqual(set(out.owner.buffer), {0x3F})

    def test_pages_of_zeros_are_tokens_of_zeros(self):
        for form in ("int8_per_token_head", "e4m3/token-head/amx", "int4/g32", "uint4", "mxfp4"):
            attn = self.kv.compile(f"attn q=bf16 kv={form} heads=4:2 dim=32 page=16 causal")
            out = attn.zeros("out", 1)
            ctypes.memset(out.address, 0xFF, out.owner.nbytes)
            attn(attn.plan(self.lens, self.starts, self.table, npages=2),
                 **self.args(cache=attn.zeros("cache", 2), out=out))
            self.assertFalse(set(out.owner.buffer) - {0, 0x80}, form)

    def test_a_tensor_is_an_array_of_numpys(self):
        about = self.attn.zeros("q", 2).__array_interface__
        self.assertEqual((about["shape"], about["typestr"]), ((2, 4, 32), "<u2"))
        self.assertEqual(about["strides"], (256, 64, 2))
        for dtype, kind in (("float32", "<f4"), ("int64", "<i8"), ("uint8", "<u1"), ("int8", "<i1"),
                            ("float8_e5m2", "<u1"), ("float16", "<f2")):
            t = kvjit.Tensor(64, dtype, (2,), writable=False)
            self.assertEqual(t.__array_interface__["typestr"], kind)
            self.assertEqual(t.__array_interface__["data"], (64, True))

    def test_numpy_itself(self):
        try:
            import numpy as np
        except ImportError:
            self.skipTest("numpy isn't installed")
        out = np.zeros((1, 4, 32), np.uint16)
        self.attn(self.plan, **self.args(q=np.zeros((1, 4, 32), np.uint16), out=out,
                                         lens=np.array([20], np.int32),
                                         table=np.array([[0, 1]], np.int32)))
        self.assertEqual(out[0, 3, 5], 0x3F85)
        view = np.asarray(self.attn.zeros("cache", 2))
        gc.collect()
        view[1, 1, 5] = 7
        self.assertEqual((view.dtype, view.sum()), (np.uint8, 7))
        pool = np.frombuffer(kvjit.alloc(64).buffer, np.uint8)
        gc.collect()
        self.assertEqual(pool.sum(), 0)


if __name__ == "__main__":
    unittest.main()
