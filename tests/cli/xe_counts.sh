#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# xe_counts.sh -- kernels for Ponte Vecchio and Alchemist through Intel's own compiler, decode of 4
# rows and, on the first, prefill of 8: products and block loads are the instructions they should
# be, as many as a tile of 64 keys has (32 on Alchemist), nothing is called, and the loop is no
# longer than it was (a tenth more is allowed: other compilers schedule otherwise). The last column
# is the bytes that may be spilled: 0 but for
#
#   pvc, 8 rows, D=256     results and query alone are 160 (int8) to 192 of 256 registers
#   dg2, D=256, e4m3       not in the loop over whole tiles but in that of the last one
. "$KVJIT_SOURCE_DIR/tests/xe_check.sh"

check f16 f16 64 1 32 32 503 0
check f16 f16 64 2 32 32 684 0
check f16 f16 128 1 64 64 833 0
check f16 f16 128 2 64 64 1046 0
check f16 f16 256 1 128 128 1497 0
check f16 f16 256 2 128 128 2180 16384
check bf16 bf16 128 1 64 64 833 0
check bf16 e5m2/tensor 64 1 32 16 783 0
check bf16 e5m2/tensor 64 2 32 16 959 0
check bf16 e5m2/tensor 128 1 64 32 1375 0
check bf16 e5m2/tensor 128 2 64 32 1588 0
check bf16 e5m2/tensor 256 1 128 64 2569 0
check bf16 e5m2/tensor 256 2 128 64 3175 8192
check bf16 e4m3/tensor 64 1 32 16 1633 0
check bf16 e4m3/tensor 64 2 32 16 1823 0
check bf16 e4m3/tensor 128 1 64 32 3042 0
check bf16 e4m3/tensor 128 2 64 32 3251 0
check bf16 e4m3/tensor 256 1 128 64 5813 0
check bf16 e4m3/tensor 256 2 128 64 6245 8192
check bf16 int8/token-head 64 1 20 18 539 0
check bf16 int8/token-head 64 2 20 18 870 0
check bf16 int8/token-head 128 1 36 34 735 0
check bf16 int8/token-head 128 2 36 34 1108 0
check bf16 int8/token-head 256 1 68 66 1114 0
check bf16 int8/token-head 256 2 68 66 2179 16384
# block-scaled products, 16 rows at a time
counted "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096:4096 out=bf16" 64 16 3321 0
# 2 rows of 256 elements
target=xe-dg2
keys=32
check f16 f16 64 1 32 0 1720 0
check f16 f16 128 1 64 0 3193 0
check f16 f16 256 1 128 0 5876 0
check bf16 bf16 128 1 64 0 3300 0
check bf16 bf16 256 1 128 0 5929 0
check bf16 e5m2/tensor 64 1 32 0 1682 0
check bf16 e5m2/tensor 128 1 64 0 3147 0
check bf16 e5m2/tensor 256 1 128 0 5736 0
check bf16 e4m3/tensor 64 1 32 0 2556 0
check bf16 e4m3/tensor 128 1 64 0 4833 0
check bf16 e4m3/tensor 256 1 128 0 8483 4096
check bf16 int8/token-head 64 1 16 0 1833 0
check bf16 int8/token-head 128 1 32 0 3256 0
check bf16 int8/token-head 256 1 64 0 5710 0
counted "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096:4096 out=bf16" 32 0 2605 0
