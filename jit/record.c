/* SPDX-License-Identifier: Apache-2.0 */
/* record.c -- which problems are called with which sizes, and how long that takes
 * (KVJIT_RECORD).
 *
 *     PROBLEM batch=B ctx=C qlen=Q :: calls=N us=T     a line for each size class, dearest
 * first
 *
 * is what `kvjit tune --from` reads, and `--list`, to which `::` ends a line. A class is that
 * of schedules (kt_bucket); B, C and Q are means of its calls. A problem that states its sizes
 * has one line. Not recorded: IR, and knobs that the caller chose, since no schedule is taken
 * there.
 *
 * Contexts of a process that record to one file have one recorder: else each would replace what
 * the others wrote.
 *
 * Each call counts; of a class's calls the first 16 are timed, then one in 16, since reading
 * the clock twice costs more than counting. The very first, which starts threads and touches
 * memory, is forgotten when there is a second. Counts of calls that end at the same moment may
 * be off by one in that.
 */
#include "record.h"
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NCLASS = KT_NQLEN * KT_NBATCH * KT_NCTX, EACH = 16 };

typedef struct cell {
	_Atomic uint64_t calls, timed, ns, batch, ctx, qlen; /* all but calls: of the timed */
} cell;

struct kvjit_record {
	struct kvjit_record *next;
	kvjit_recorder *of;
	bool sized;
	char *problem;
	cell cell[NCLASS];
};

struct kvjit_recorder {
	atomic_int refs; /* one of each context and of each kernel */
	pthread_mutex_t lock;
	struct kvjit_record *first;
	kvjit_recorder *next; /* in all */
	char *path;
	pid_t pid; /* what a child counts is its own */
};

/* -- counting --------------------------------------------------------------------------- */

int kvjit_record_class(int64_t batch, int64_t ctx, int64_t qlen)
{
	kt_bucket b = kt_bucket_of(batch, ctx, qlen);

	return batch > 0 && ctx > 0 ? (b.qlen * KT_NBATCH + b.batch) * KT_NCTX + b.ctx : -1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void add(_Atomic uint64_t *to, uint64_t x, bool anew)
{
	if (anew)
		atomic_store_explicit(to, x, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(to, x, memory_order_relaxed);
}

static cell *cell_of(kvjit_record *r, const kvjit_plan *p)
{
	if (p && p->size_class < 0)
		return NULL; /* it has no work */
	return &r->cell[r->sized || !p ? 0 : p->size_class];
}

uint64_t kvjit_record_begin(kvjit_record *r, const kvjit_plan *p)
{
	cell *c = cell_of(r, p);
	uint64_t n = c ? atomic_load_explicit(&c->calls, memory_order_relaxed) : 1;

	return n < EACH || n % EACH == 0 ? now_ns() : 0;
}

void kvjit_record_end(kvjit_record *r, const kvjit_plan *p, uint64_t begin)
{
	cell *c = cell_of(r, p);
	uint64_t n;

	if (!c)
		return;
	n = atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
	if (!begin)
		return;
	add(&c->ns, now_ns() - begin, n == 1);
	add(&c->timed, 1, n == 1);
	if (!p)
		return;
	add(&c->batch, (uint64_t)p->nseq, n == 1);
	add(&c->ctx, (uint64_t)p->ctx, n == 1);
	add(&c->qlen, (uint64_t)p->qlen, n == 1);
}

/* -- writing ------------------------------------------------------------------------------ */

typedef struct line {
	const kvjit_record *r;
	double us;
	uint64_t calls, batch, ctx, qlen;
} line;

static int dearest_first(const void *a, const void *b)
{
	const line *x = a, *y = b;

	if (x->us != y->us)
		return x->us < y->us ? 1 : -1;
	return x->r == y->r ? 0 : strcmp(x->r->problem, y->r->problem);
}

static uint64_t get(const _Atomic uint64_t *x)
{
	return atomic_load_explicit(x, memory_order_relaxed);
}

/* An array of *n lines; NULL: no memory, or none. */
static line *lines_of(const kvjit_recorder *rec, size_t *n)
{
	line *all = NULL;

	*n = 0;
	for (const kvjit_record *r = rec->first; r; r = r->next)
		for (int i = 0; i < NCLASS; i++) {
			const cell *c = &r->cell[i];
			uint64_t calls = get(&c->calls), timed = get(&c->timed);
			line *more;

			if (!calls || !timed || !(more = realloc(all, (*n + 1) * sizeof(*all))))
				continue;
			all = more;
			all[(*n)++] =
			    (line){ r,
				    1e-3 * (double)get(&c->ns) / (double)timed * (double)calls,
				    calls,
				    (get(&c->batch) + timed / 2) / timed,
				    (get(&c->ctx) + timed / 2) / timed,
				    (get(&c->qlen) + timed / 2) / timed };
		}
	if (all)
		qsort(all, *n, sizeof(*all), dearest_first);
	return all;
}

static bool has_word(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at && (at == text || at[-1] == ' ');
}

static void print(FILE *f, const line *l)
{
	char us[KIR_FLOAT_TEXT]; /* whatever the host's locale is */

	fprintf(f, "%s", l->r->problem);
	if (!l->r->sized) {
		fprintf(f, " batch=%llu ctx=%llu", (unsigned long long)l->batch,
		        (unsigned long long)l->ctx);
		if (!has_word(l->r->problem, "qlen="))
			fprintf(f, " qlen=%llu", (unsigned long long)l->qlen);
	}
	kir_float_digits(us, 'f', 1, l->us);
	fprintf(f, " :: calls=%llu us=%s\n", (unsigned long long)l->calls, us);
}

/* A file of our own: in a folder that others write, such as /tmp, its name may be taken by a
 * link to what isn't theirs. */
static FILE *open_fresh(const char *path)
{
	int fd;
	FILE *f;

	unlink(path); /* of one who was killed */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (fd >= 0 && !f)
		close(fd);
	return f;
}

/* What may be replaced: nothing, or a file. /dev/null or /dev/stdout would be one from then on.
 */
static bool replaceable(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT;
	errno = S_ISDIR(st.st_mode) ? EISDIR : ENOTSUP;
	return S_ISREG(st.st_mode);
}

static bool write_locked(kvjit_recorder *rec, bool only_try)
{
	char temporary[4200];
	FILE *f;
	line *l;
	size_t n;
	bool ok;

	if (!replaceable(rec->path))
		return false;
	snprintf(temporary, sizeof(temporary), "%s.%ld", rec->path, (long)getpid());
	f = open_fresh(temporary);
	if (!f)
		return false;
	l = lines_of(rec, &n);
	fprintf(f, "# kvjit tune --from: calls, and microseconds of all of them\n");
	for (size_t i = 0; i < n; i++)
		print(f, &l[i]);
	free(l);
	ok = !fflush(f) && !ferror(f);
	ok = !fclose(f) && ok;
	if (only_try || !ok || rename(temporary, rec->path) != 0) {
		int error = errno;

		ok = ok && only_try;
		unlink(temporary);
		errno = error;
	}
	return ok;
}

/* All of it or nothing, under another name until it is whole; one thread at a time, as all have
 * one name. False: errno says why. */
static bool write_file(kvjit_recorder *rec, bool only_try)
{
	bool ok;

	pthread_mutex_lock(&rec->lock);
	ok = write_locked(rec, only_try);
	pthread_mutex_unlock(&rec->lock);
	return ok;
}

/* What nobody asked for at this moment: not from a child, and not if there is nothing. */
static void write_own(kvjit_recorder *rec)
{
	if (rec->first && rec->pid == getpid())
		write_file(rec, false);
}

/* -- those there are, for the end of the process --------------------------------------------
 */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static kvjit_recorder *all;

static void at_exit(void)
{
	pthread_mutex_lock(&all_lock);
	for (kvjit_recorder *r = all; r; r = r->next)
		write_own(r);
	pthread_mutex_unlock(&all_lock);
}

static void at_first(void)
{
	atexit(at_exit);
}

static void remember(kvjit_recorder *rec)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, at_first);
	pthread_mutex_lock(&all_lock);
	rec->next = all;
	all = rec;
	pthread_mutex_unlock(&all_lock);
}

static void forget(kvjit_recorder *rec)
{
	kvjit_recorder **at = &all;

	pthread_mutex_lock(&all_lock);
	while (*at && *at != rec)
		at = &(*at)->next;
	if (*at)
		*at = rec->next;
	pthread_mutex_unlock(&all_lock);
}

/* -- the context's and the kernels'
 * ------------------------------------------------------------ */

/* %p becomes the number of the process. */
static char *path_of(const char *name)
{
	const char *p = strstr(name, "%p");
	char path[4096];
	int n = p ? snprintf(path, sizeof(path), "%.*s%ld%s", (int)(p - name), name,
	                     (long)getpid(), p + 2)
	          : snprintf(path, sizeof(path), "%s", name);

	if (n < (int)sizeof(path))
		return strdup(path);
	errno = ENAMETOOLONG;
	return NULL;
}

/* The recorder of this process that writes to path, held once more; NULL: there is none, or the
 * last who held it is just letting go. */
static kvjit_recorder *share(const char *path)
{
	kvjit_recorder *r;
	int refs = 0;

	pthread_mutex_lock(&all_lock);
	for (r = all; r; r = r->next) {
		if (r->pid != getpid() || strcmp(r->path, path) != 0)
			continue;
		refs = atomic_load(&r->refs);
		while (refs && !atomic_compare_exchange_weak(&r->refs, &refs, refs + 1))
			;
		if (refs)
			break;
	}
	pthread_mutex_unlock(&all_lock);
	return r;
}

kvjit_recorder *kvjit_recorder_new(const char *name)
{
	char *path = path_of(name);
	kvjit_recorder *rec = path ? share(path) : NULL;
	int error;

	if (rec || !path || !(rec = calloc(1, sizeof(*rec)))) {
		free(path);
		return rec;
	}
	rec->refs = 1;
	rec->pid = getpid();
	pthread_mutex_init(&rec->lock, NULL);
	rec->path = path;
	if (write_file(rec, true)) {
		remember(rec);
		return rec;
	}
	error = errno;
	kvjit_recorder_close(rec);
	errno = error;
	return NULL;
}

static void release(kvjit_recorder *rec)
{
	if (!rec || atomic_fetch_sub(&rec->refs, 1) != 1)
		return;
	forget(rec);
	write_own(rec);
	while (rec->first) {
		kvjit_record *next = rec->first->next;

		free(rec->first->problem);
		free(rec->first);
		rec->first = next;
	}
	pthread_mutex_destroy(&rec->lock);
	free(rec->path);
	free(rec);
}

void kvjit_recorder_close(kvjit_recorder *rec)
{
	if (rec && atomic_load(&rec->refs) > 1)
		write_own(rec);
	release(rec);
}

kvjit_record *kvjit_record_of(kvjit_recorder *rec, const char *problem, bool sized)
{
	kvjit_record *r;

	pthread_mutex_lock(&rec->lock);
	r = rec->first;
	while (r && strcmp(r->problem, problem) != 0)
		r = r->next;
	if (!r && (r = calloc(1, sizeof(*r)))) {
		r->of = rec;
		r->sized = sized;
		r->problem = strdup(problem);
		r->next = rec->first;
		if (r->problem)
			rec->first = r;
		else
			free(r), r = NULL;
	}
	if (r)
		atomic_fetch_add(&rec->refs, 1);
	pthread_mutex_unlock(&rec->lock);
	return r;
}

void kvjit_record_release(kvjit_record *r)
{
	if (r)
		release(r->of);
}

kvjit_status kvjit_record_write(kvjit *kv)
{
	if (!kv)
		return KVJIT_BAD_ARGUMENT;
	if (!kv->recorder)
		return kvjit_fail(&kv->errors, KVJIT_UNSUPPORTED,
		                  "nothing is recorded: KVJIT_RECORD wasn't set when the "
		                  "context was opened");
	if (write_file(kv->recorder, false))
		return KVJIT_OK;
	return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
	                  "KVJIT_RECORD's file %.400s can't be written: %s", kv->recorder->path,
	                  strerror(errno));
}
