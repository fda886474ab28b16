/* SPDX-License-Identifier: Apache-2.0 */
/* cache.h -- where libkvjit finds kernels and schedules that are there already.
 *
 *     hot     kernels of this context, by text: no lock, no system call
 *     places  the user's cache, then the read-only ones and packs, in order
 *
 * Nothing here fails a compilation: what can't be used is a reason (tune/reason.def), said
 * once to the log.
 */
#ifndef KVJIT_JIT_CACHE_H
#define KVJIT_JIT_CACHE_H

#include "jit.h"
#include "../tune/pack.h"
#include "../tune/store.h"

/* -- hot --------------------------------------------------------------------------- */

kvjit_hot *kvjit_hot_new(void); /* NULL: no memory */
void kvjit_hot_free(kvjit_hot *h);
/* The kernel that was asked for in the same words, retained; NULL: none. sched may be NULL. */
kvjit_kernel *kvjit_hot_find(kvjit_hot *h, const char *text, const char *sched, unsigned flags);
/* Remembers k and gives it back, or, when another thread has added one, releases k and gives
 * that. Without memory nothing is remembered. */
kvjit_kernel *kvjit_hot_add(kvjit_hot *h, const char *text, const char *sched, unsigned flags,
                            kvjit_kernel *k);

/* -- places ------------------------------------------------------------------------- */

/* A read-only cache: one of the two. */
typedef struct kvjit_place {
	char *path;
	kt_store *store;
	kt_pack *pack;
} kvjit_place;

typedef struct kvjit_pins {
	kt_pin *at;
	unsigned n;
	char digest[KT_HEX]; /* of the file's choices, in canonical order */
} kvjit_pins;

struct kvjit_places {
	pthread_mutex_t lock; /* while they are opened */
	bool opened;
	char *user_path, *system_path, *pin_path; /* as options and environment give them */
	int64_t cap;
	kt_log log;
	uint64_t isa;   /* of this machine */
	kt_key machine; /* of the context's target */
	kt_store *user; /* NULL: off */
	kt_reason user_off;
	kvjit_place *place;
	unsigned nplace;
	kt_trust *trust;
	kvjit_pins pins;
};

/* From options and environment; files are opened at the first use. False: no memory. */
bool kvjit_places_init(kvjit *kv, const kvjit_options *o);
void kvjit_places_free(kvjit *kv);
/* The key of this machine as what code for a target runs on. Each target has its own: what was
 * measured of one says little of another, and in one place only one of them could be kept. */
void kvjit_machine_for(kvjit *kv, const char *target, kt_key *out);
/* Opened now if they weren't. */
struct kvjit_places *kvjit_places_of(kvjit *kv);
void kvjit_places_print(kvjit *kv, kir_text *out); /* for kvjit_info */

/* Code that may run here, or none (false). Its bytes are private and were hashed. origin:
 * "cache PATH" or "pack PATH". why: NULL, or gets a line for each place. */
bool kvjit_find_code(kvjit *kv, const kt_key *key, kt_code *out, char *origin, size_t len,
                     kir_text *why);
/* Keeps finished code in the user's cache if it can be kept. */
void kvjit_keep_code(kvjit *kv, const kt_code *c);

/* All schedules for a program with this many threads: of this machine, else (then by transfer)
 * of one with the same target. An array of *n records; kvjit_schedules_free. */
unsigned kvjit_find_schedules(kvjit *kv, const kt_key *program, const char *target,
                              kt_schedule **out);
/* The same of any machine with this target and any number of threads, to tell of. */
unsigned kvjit_find_other_threads(kvjit *kv, const kt_key *program, const char *target,
                                  kt_schedule **out);
void kvjit_schedules_free(kt_schedule *at, unsigned n);

/* The pins of a program: those of the pin file, or, if it has none, of the user's cache. An
 * array of *n records, each kt_pin_free. */
unsigned kvjit_find_pins(kvjit *kv, const kt_key *program, kt_pin **out);
/* Reads the pin file. A line that can't be used is said to the log (bad_pin) and left out. */
void kvjit_read_pins(struct kvjit_places *p);
void kvjit_pins_free(kvjit_pins *p);

#endif
