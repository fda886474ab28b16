#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# xe_counts_layouts.sh -- what xe_counts.sh counts, for caches that aren't native: tokens are a
# run-time stride apart, which is the pitch of their blocks; a scale for each of them is a message
# for 16. Records with scales inside are no multiple of 64 bytes: lanes read words, in no block.
. "$KVJIT_SOURCE_DIR/tests/xe_check.sh"

check f16 f16/nhd 128 1 64 64 876 0
check f16 f16/hnd 64 1 32 32 524 0
check bf16 e4m3/tensor/nhd 128 1 64 32 3051 0
check bf16 int8/token-head/nhd 128 1 36 32 784 0
check bf16 int8/token-head/hnd 128 2 36 32 1157 0
check bf16 e4m3/token-head/hnd 128 1 64 32 3198 0
check bf16 int8/token-head/inline 64 1 20 0 1197 0
check bf16 int8/token-head/inline 128 1 36 0 1767 0
check bf16 e4m3/token-head/inline 128 1 64 0 3739 0
# a scale for each 32 elements: a product each, and of bytes a set of weights
check bf16 int8/g32 128 1 48 40 1467 0
check bf16 e4m3/g32 128 1 64 40 3752 0
check bf16 mxfp8 128 1 64 32 4837 0
