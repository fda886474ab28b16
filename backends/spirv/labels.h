/* SPDX-License-Identifier: Apache-2.0 */
/* labels.h -- numbers of blocks that LLVM 22 gives twice.
 *
 * Its SPIR-V target keeps the numbers of all blocks it ever wrote in a table by their address,
 * of the process and never emptied. A block at the address of an earlier one gets that one's
 * number, whatever has it in this module: of a hundred modules in one process some are invalid.
 *
 * A number that a block and a value share can be put right afterwards, and one that blocks of
 * two functions share, as the second one's lie where the first one's were. One that two blocks
 * of a function share can't: the module is made again, with enough memory taken up that its
 * blocks lie where none has been.
 */
#ifndef KVJIT_BACKENDS_SPIRV_LABELS_H
#define KVJIT_BACKENDS_SPIRV_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gives all blocks of the module numbers of their own. False if two of a function have one
 * number, or there is no memory. */
bool kspv_number_labels(uint32_t *word, size_t n);

#endif
