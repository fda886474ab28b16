#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# xe_counts.sh -- kernels for Ponte Vecchio and Alchemist through Intel's own compiler, decode of 4
# rows and, on the first, prefill of 8: products and block loads are the instructions they should
# be, as many as a tile of 64 keys has (32 on Alchemist), nothing is called, and the loop is no
# longer than it was (a tenth more is allowed: other compilers schedule otherwise). The last column
# is the bytes that may be spilled: 0 but for
#
#   pvc, 8 rows, D=256     results and query alone are 160 (int8) to 192 of 256 registers: nobody's
#                          choice
#   dg2, D=256, e4m3, int8 not in the loop over whole tiles but in that of the last one
#
# A kernel takes Intel's compiler 1 to 6 seconds: each format has one width, 128, and what else is
# told by the smallest that spills; lines with `long` are for KVJIT_LONG=1.
. "$KVJIT_SOURCE_DIR/tests/xe_check.sh"

check f16 f16 64 1 32 32 457 0
long check f16 f16 64 2 32 32 567 0
long check f16 f16 128 1 64 64 756 0
check f16 f16 128 2 64 64 870 0
long check f16 f16 256 1 128 128 1356 0
long check f16 f16 256 2 128 128 1514 16384
check bf16 bf16 128 1 64 64 756 0
long check bf16 e5m2/tensor 64 1 32 16 724 0
long check bf16 e5m2/tensor 64 2 32 16 833 0
check bf16 e5m2/tensor 128 1 64 32 1292 0
long check bf16 e5m2/tensor 128 2 64 32 1403 0
long check bf16 e5m2/tensor 256 1 128 64 2429 0
long check bf16 e5m2/tensor 256 2 128 64 2592 16384
long check bf16 e4m3/tensor 64 1 32 16 1594 0
long check bf16 e4m3/tensor 64 2 32 16 1732 0
check bf16 e4m3/tensor 128 1 64 32 2990 0
check bf16 e4m3/tensor 128 2 64 32 3142 0
long check bf16 e4m3/tensor 256 1 128 64 5768 0
long check bf16 e4m3/tensor 256 2 128 64 6646 131072
long check bf16 int8/token-head 64 1 20 18 501 0
long check bf16 int8/token-head 64 2 20 18 777 0
check bf16 int8/token-head 128 1 36 34 681 0
check bf16 int8/token-head 128 2 36 34 991 0
long check bf16 int8/token-head 256 1 68 66 1041 0
check bf16 int8/token-head 256 2 68 66 2032 32768
# block-scaled products, 16 rows at a time
counted "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096:4096 out=bf16" 64 16 3321 0
# latent caches go through local memory: 8 heads at a time, on Alchemist 4
latent="attn q=bf16 kv=mla_bf16 heads=16:1 dim=576:512 page=64 causal"
counted "$latent" 0 0 1110 0
# 2 rows of 256 elements
target=xe-dg2
keys=32
long check f16 f16 64 1 32 0 1624 0
check f16 f16 128 1 64 0 3007 0
long check f16 f16 256 1 128 0 5649 0
check bf16 bf16 128 1 64 0 3116 0
long check bf16 bf16 256 1 128 0 5739 0
long check bf16 e5m2/tensor 64 1 32 0 1592 0
check bf16 e5m2/tensor 128 1 64 0 2983 0
long check bf16 e5m2/tensor 256 1 128 0 5561 0
long check bf16 e4m3/tensor 64 1 32 0 2552 0
check bf16 e4m3/tensor 128 1 64 0 4796 0
long check bf16 e4m3/tensor 256 1 128 0 8443 4096
long check bf16 int8/token-head 64 1 16 0 1824 0
check bf16 int8/token-head 128 1 32 0 3212 0
check bf16 int8/token-head 256 1 64 0 5077 4096
counted "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096:4096 out=bf16" 32 0 2605 0
counted "$latent" 0 0 310 0
