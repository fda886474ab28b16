/* SPDX-License-Identifier: Apache-2.0 */
/* job.h -- one compilation, from text to kernel, and the steps it is made of.
 *
 *     read    text -> module -> level-A function               compile.c
 *     choose  which schedule, or one for each size that was tuned  choose.c
 *     code    from a cache, or by passes and backend            code.c
 *
 * on the caller's thread, or on one of later.c's.
 * Each step takes what the one before left in the job.
 */
#ifndef KVJIT_JIT_JOB_H
#define KVJIT_JIT_JOB_H

#include "cache.h"

typedef struct kvjit_job {
	kvjit *kv;
	const char *text, *sched; /* what the caller gave; sched may be NULL */
	unsigned flags;           /* of kvjit_compile_options */
	bool one_query;           /* the problem with qlen=1, whatever it says: few.c */
	kvjit_kernel *k;
	kir_func *f;
	bool is_problem, given[kir_nknobs]; /* knobs that somebody chose */
	kir_problem problem;
	const kir_target *target; /* the context's, in the module's memory */
	kt_key program, code;
	kir_diag d;
} kvjit_job;

/* Keeps what, then the job's messages, as the context's error. */
kvjit_status kvjit_job_fail(kvjit_job *j, kvjit_status s, const char *what);

/* -- compile.c ------------------------------------------------------------------------ */

kvjit_status kvjit_check_options(kvjit *kv, const kvjit_compile_options *options,
                                 kvjit_compile_options *o);
kvjit_kernel *kvjit_kernel_new(const kvjit *kv); /* NULL: no memory */
/* A job with a fresh kernel in it; read, with the caller's knobs set. The kernel is the
 * caller's to release, whatever the status. */
kvjit_status kvjit_job_read(kvjit_job *j);
/* The job's function as kvjit_job_read found it, but for knobs, in a module of its own; what
 * passes made of it is gone. */
kvjit_status kvjit_job_read_again(kvjit_job *j);
/* Whether the caller gave any knob: a schedule is measured as a whole, so that none that was
 * tuned or pinned is mixed with it. */
bool kvjit_job_chosen(const kvjit_job *j);
/* The keys of the job with the schedule that its function has now. */
void kvjit_job_keys(kvjit_job *j);
/* Takes a tuned or pinned schedule; false if it can't be read, and nothing has changed. */
bool kvjit_job_take(kvjit_job *j, const char *sched);
/* From a read job to a kernel that can be called. */
kvjit_status kvjit_job_finish(kvjit_job *j);
/* The same with what was pinned or tuned for it, and variants where its sizes are open. */
kvjit_status kvjit_job_choose(kvjit_job *j);

/* Compiles in the calling thread; remembers the kernel unless KVJIT_FRESH is set. */
kvjit_status kvjit_compile_now(kvjit *kv, const char *text, const kvjit_compile_options *o,
                               kvjit_kernel **out);

/* -- later.c -------------------------------------------------------------------------- */

kvjit_later *kvjit_later_new(void); /* NULL: no memory */
/* What is queued is given up, what runs is waited for. */
void kvjit_later_free(kvjit_later *l);
/* For a text that isn't known yet, with KVJIT_LATER or without. */
kvjit_status kvjit_later_ask(kvjit *kv, const char *text, const kvjit_compile_options *o,
                             kvjit_kernel **out);

/* -- leave.c --------------------------------------------------------------------------- */

/* Whether the process ends: no thread of ours is to begin anything. */
bool kvjit_leaving(void);
/* Before a thread that compiles is started; false: it mustn't be. */
bool kvjit_leave_enter(void);
void kvjit_leave_begin(void); /* on that thread */
void kvjit_leave_done(void);  /* the last that it does, or instead of starting it */
void kvjit_leave_compiled(void);
/* By who asks for something for later: if it is the process's first thread, its end waits. */
void kvjit_leave_watch(void);

/* -- choose.c -------------------------------------------------------------------------- */

/* A schedule for a size; where it comes from, for people. */
typedef struct kvjit_choice {
	kt_bucket bucket;
	char *sched;
	const char *by; /* "pin", or kt_source_names */
} kvjit_choice;

enum { KVJIT_MAX_CHOICES = 64 };

/* Which schedules a read job should have. *sized: its sizes are known, or one choice holds for
 * all of them, and out[0], if there is one, is it. Else one for each size that was tuned or
 * pinned. None when the caller chose, or asked for none. */
unsigned kvjit_choose(kvjit_job *j, kvjit_choice out[KVJIT_MAX_CHOICES], bool *sized);
/* Whether the problem states its sizes, or is of a kind that has none. */
bool kvjit_job_sized(const kvjit_job *j);
/* To the log: one that can't be compiled. */
void kvjit_tell_bad(kvjit_job *j, const kvjit_choice *c);
void kvjit_choices_free(kvjit_choice *at, unsigned n);
/* Compiles the job's text with each choice and joins them to its kernel, so that a plan can
 * pick. A choice that can't be compiled is left out, and the log says so. */
void kvjit_add_variants(kvjit_job *j, const kvjit_choice *at, unsigned n);

/* -- few.c ------------------------------------------------------------------------------ */

/* Gives the job's kernel, which is finished, another one for tiles with few queries, unless
 * none would get any. For jobs to which the caller gave no knob. */
kvjit_status kvjit_add_few(kvjit_job *j);

/* -- code.c ----------------------------------------------------------------------------- */

/* Fills in the kernel's code, by cache or by compiling. */
kvjit_status kvjit_job_code(kvjit_job *j);

#endif
