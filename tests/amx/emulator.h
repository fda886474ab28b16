/* SPDX-License-Identifier: Apache-2.0 */
/* emulator.h -- tile instructions on machines without tiles, for tests only.
 *
 * Where a tile instruction faults, the system sends SIGILL. This library's handler reads the
 * instruction at the fault, does what the processor would have done, and goes on behind it. So
 * the very machine code that an AMX machine runs is tested on every x86-64.
 *
 * It installs itself when it is loaded. On a machine that has tiles it stays out of the way,
 * unless KVJIT_EMULATE_AMX=1 is set: then kvjit doesn't ask the system for tiles, and they
 * fault there too. libkvjit finds it by kvjit_tiles_are_emulated (backends/isa.c).
 *
 * Each thread has registers of its own. Tile data is lost where the processor would lose it:
 * at ldtilecfg and tilerelease. Every instruction that the processor would answer with a fault
 * (no configuration, shapes that don't fit, equal registers) ends the process as it would
 * there. Without permission a processor with tiles still executes ldtilecfg and tilerelease:
 * there the emulator does the rest, under the configuration that it finds.
 */
#ifndef KVJIT_TESTS_AMX_EMULATOR_H
#define KVJIT_TESTS_AMX_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>

/* Whether tile instructions are executed here rather than by the processor. */
int kvjit_tiles_are_emulated(void);
/* Tile instructions executed here so far, by all threads. */
uint64_t amx_emulated(void);
/* Whether tiles are configured in this thread: not behind a kernel that released them. */
bool amx_configured(void);

#endif
