#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""xpu_query.py -- does this attention run on an Intel GPU with an fp8 cache?

A platform answers supports_kv_cache_dtype by a list that somebody keeps. Here the answer comes
from compiling, so it can't disagree with what the kernel does. With a device: the context's
target is "xe", and compile says yes or why not. Without one, as on a build machine: backend
"spirv" and the flag FOREIGN, for any row of the targets.
"""
from host import *

TARGET = "xe-pvc"


def supported(kv, problem, flags=0):
    """None, or the sentence to show the user."""
    try:
        kv.compile(problem, flags=flags)
        return None
    except Error as why:
        return str(why)


def main():
    try:
        kv, flags = Context(target="xe"), 0
    except Error as why:
        print(f"no device here ({str(why)[:60]}...): asked for {TARGET}")
        kv, flags = Context(backend="spirv"), FOREIGN
    at = f" target={TARGET}" if flags else ""
    shape = "heads=32:8 dim=128 page=64 causal"
    plain = supported(kv, f"attn q=bf16 kv=bf16 {shape}{at}", flags)
    if plain and "no backend" in plain:
        print(f"xpu_query: SKIPPED: {plain}")
        return
    assert plain is None, plain
    for kind in ("fp8", "fp8_e5m2", "fp8_per_token_head", "int8_per_token_head"):
        why = supported(kv, f"attn q=bf16 kv={kind} {shape}{at}", flags)
        print(f"  {kind}: {why or 'yes'}")
        assert why is None, why
    # and no: a sentence each, to be shown as it is
    for problem, words in ((f"attn q=bf16 kv=turboquant_k8v4 {shape}{at}", "no format is called"),
                           ("attn q=bf16 kv=fp8 heads=32:8 dim=72 page=64" + at, "multiple of 16"),
                           (f"attn q=bf16 kv=fp8 {shape} target=xe-none", "xe-none")):
        why = supported(kv, problem, flags)
        assert why and words in why, why
        print(f"  no: {why.splitlines()[0]}")
    # a context of this processor runs nothing on a GPU, and says so
    why = supported(Context(), f"attn q=bf16 kv=fp8 {shape} target={TARGET}")
    assert why and "options.target" in why, why
    print("xpu_query: ok")


if __name__ == "__main__":
    main()
