/* SPDX-License-Identifier: Apache-2.0 */
/* c.h -- what the files of the C backend share; nobody else includes it.
 *
 * A level-V function becomes one C11 translation unit: vectors are structs of arrays, ops
 * are loops over lanes, small floats are their codes. The system's compiler makes a shared
 * object of it, of which the loaded image is the blob. The target's features are ignored:
 * whatever a function asks for is computed in plain C.
 */
#ifndef KVJIT_BACKEND_C_H
#define KVJIT_BACKEND_C_H

#include "../backend.h"

#define KBE_C_ENTRY "kvjit_kernel"

/* print.c: the whole translation unit. False and a message if an op can't be printed. */
bool kbe_c_source(const kir_func *f, kir_text *out, kir_diag *why);
/* print.c: the address of the element that access n indexes. */
void kbe_c_address(const kir_func *f, kir_ref n, kir_text *out);
/* tiles.c: helpers for amx.* ops; their registers, at the top of a function; one op. */
void kbe_c_tile_helpers(kir_text *out);
void kbe_c_tile_registers(kir_text *out);
void kbe_c_tile(const kir_func *f, kir_ref n, kir_text *out);
/* prelude.c: types, helpers and the codecs of the elements marked in `used`. */
void kbe_c_prelude(const bool used[KIR_NELEM], kir_text *out);
const char *kbe_c_type(kir_elem e);
/* each.c: the right-hand side of an elementwise op's assignment to lane l; false if the op
 * isn't elementwise or not defined for its element. */
bool kbe_c_each(const kir_func *f, kir_ref n, kir_text *out);
/* each.c: value n (lane l of it if it is a vector) as stored; and, of a float, as a number. */
void kbe_c_raw(const kir_func *f, kir_ref n, const char *lane, kir_text *out);
void kbe_c_number(const kir_func *f, kir_ref n, const char *lane, kir_text *out);
/* prelude.c: a finite number as a literal without a suffix, whatever the host's locale. */
const char *kbe_c_hex(char buf[KIR_FLOAT_TEXT], double x);
/* each.c: what stands before and after an expression to make it element e. */
const char *kbe_c_open(kir_elem e);
const char *kbe_c_close(kir_elem e);
/* image.c: the loaded image of a shared object without relocations. */
bool kbe_c_image(const unsigned char *elf, size_t size, kbe_blob *out, kir_diag *why);

#endif
