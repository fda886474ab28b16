# SPDX-License-Identifier: Apache-2.0
"""host.py -- what the programs beside it share: tensors made of the array module, and numbers.

An engine has torch or numpy in place of the array module, and hands its tensors over as they
are. Values are checked here in plain Python, so that nothing but the library is needed.
"""
import array
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python"))
import kvjit
from kvjit import FOREIGN, Context, Error


class Tensor(kvjit.Tensor):
    """An array with an element type, extents and, where they aren't dense, strides."""

    __slots__ = ("values",)

    def __init__(self, dtype, values, shape, strides=()):
        super().__init__(values.buffer_info()[0], dtype, shape, strides, owner=values)
        self.values = values


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
    return Tensor("int32", array.array("i", values), shape or (len(values),))


def s64(values):
    return Tensor("int64", array.array("q", values), (len(values),))


def f32(values, *shape, strides=()):
    return Tensor("float32", array.array("f", values), shape or (len(values),), strides)


def rows(values, *shape, strides=()):
    return Tensor("bfloat16", bf16(values), shape, strides)


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
