/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid.h -- CPUID without the instruction where that can be had.
 *
 * In a virtual machine each CPUID leaves the guest: 12 to 30 microseconds, and a start asked
 * some hundred times (1.1 ms of 2.3 ms to a warm kernel). The C library has read the feature
 * leaves when the process started; glibc hands them out since 2.33.
 */
#ifndef KVJIT_CPUID_H
#define KVJIT_CPUID_H

#if defined(__x86_64__)

typedef struct kbe_regs {
	unsigned a, b, c, d;
} kbe_regs;

/* Zero for a leaf that the processor doesn't have. */
kbe_regs kbe_cpuid(unsigned leaf, unsigned sub);
/* Registers the system saves: bits of XCR0. */
unsigned kbe_saved_state(void);

#endif
#endif
