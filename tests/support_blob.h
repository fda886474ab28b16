/* SPDX-License-Identifier: Apache-2.0 */
/* support_blob.h -- a backend's blob, mapped and called as backends/backend.h says, without
 * the library in between.
 */
#ifndef KVJIT_TEST_SUPPORT_BLOB_H
#define KVJIT_TEST_SUPPORT_BLOB_H

#include "../backends/backend.h"
#include "../backends/ref/ref.h"

/* The backend of libkvjit-NAME.so in KVJIT_BACKEND_DIR; NULL if it isn't there. */
const kbe_backend *support_backend(const char *name);
/* The one target a test shall run, when others have been run without what it needs (the
 * emulator of tiles, say): KVJIT_TEST_TARGET. NULL: all that the machine runs. */
const char *support_only(void);
/* Whether this machine runs code for the row of targets.def, and the test shall. */
bool support_runs(const char *target);
/* Runs all phases of f with the same arguments kref_run takes. False: no memory, or a
 * parameter that no blob takes. */
bool support_call(const kir_func *f, const kbe_blob *b, const kref_arg *arg);

#endif
