#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# python.sh -- python/kvjit.py: its structs are those of kvjit.h, what it takes and refuses, and the
# example for hosts in Python.
set -eu
. "$KVJIT_SOURCE_DIR/tests/cli_python.sh"
python3 "$KVJIT_SOURCE_DIR/tests/python/test_kvjit.py"
python3 "$KVJIT_SOURCE_DIR/examples/attention.py" | grep '^attention: ok, '
