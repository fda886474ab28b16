#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""group_quant.py -- groups of 128 with powers of two as scales, and the product that takes them.

per_token_group_quant_fp8(use_ue8m0=True) and its packed form of four exponents an int32, then the
block-scaled product (w8a8_block_fp8_matmul). The rule is declared, so that what the quantizer does
and what the product expects can't drift apart.
"""
import math

from host import *

ROWS, K, N, GROUP = 5, 512, 128, 128
GROUPS = K // GROUP
UE8M0 = """format ue8m0 v1 {
  elem e4m3fn
  scale e8m0 group 128 amax/448 eps 1e-10 floor 1e-10 pow2
  apply reciprocal
}
"""


def main(kv):
    x = [v * 3.0 ** (i // K - 2) for i, v in enumerate(noise(ROWS * K, 5))]
    x[:GROUP] = [0.0] * GROUP  # its scale is the floor's
    source = rows(x, ROWS, 1, K)
    x = of_bf16(source.values)
    codes, packed = octets("float8_e4m3fn", ROWS, 1, K), s32([0] * ROWS, 1, ROWS)
    quant = kv.compile(UE8M0 + f"quant in=bf16 to=ue8m0 heads=1 dim={K} scales=packed")
    quant(x=source, q=codes, s=packed, n=ROWS)

    def exponent(row, group):  # four an int32, the first in the lowest byte
        return packed.values[row] >> 8 * group & 255

    for r in range(ROWS):
        for g in range(GROUPS):
            amax = max(map(abs, x[r * K + g * GROUP:][:GROUP]))
            s = 2.0 ** (exponent(r, g) - 127)
            assert s >= max(amax / 448, 1e-10) > s / 2, "not the power of two at or above"
            for i in range(g * GROUP, (g + 1) * GROUP):
                got = of_e4m3(codes.values[r * K + i]) * s
                assert abs(got - x[r * K + i]) <= abs(x[r * K + i]) / 16 + s * 2.0 ** -10

    # the product takes the int32s as they are: bytes, 4 from row to row, 1 from group to group
    weights = Tensor("float8_e4m3fn", array.array("B", [i * 7919 % 0x7F for i in range(N * K)]), (N, K))
    w_scale = Tensor("float8_e8m0fnu", array.array("B", [120, 118, 121, 119]), (1, GROUPS))
    as_bytes = Tensor("float8_e8m0fnu", packed.values, (ROWS, GROUPS), (4, 1))
    a = Tensor("float8_e4m3fn", codes.values, (ROWS, K))
    c = f32([0.0] * (ROWS * N), ROWS, N)
    gemm = kv.compile(UE8M0 + f"gemm acts=ue8m0 weights=ue8m0 block=128 dim={K}:{N} out=f32")
    gemm(n=ROWS, a=a, w=weights, ws=w_scale, c=c, **{"as": as_bytes})

    error = 0
    for r in range(ROWS):
        for j in range(0, N, 13):
            terms = [of_e4m3(codes.values[r * K + i]) * of_e4m3(weights.values[j * K + i]) *
                     2.0 ** (exponent(r, i // GROUP) - 127 + w_scale.values[i // GROUP] - 127)
                     for i in range(K)]
            bound = (K + 16) * 2.0 ** -24 * sum(map(abs, terms))  # docs/gemm.md
            error = max(error, abs(c.values[r * N + j] - math.fsum(terms)) / bound)
    verdict("group_quant, of its bound", error, 1.0)


if __name__ == "__main__":
    main(Context())
