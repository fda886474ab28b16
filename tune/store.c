/* SPDX-License-Identifier: Apache-2.0 */
/* store.c -- the file of a cache: finding, opening, refusing it; what an SQLite error means.
 *
 * The path is looked at before SQLite sees it: links, FIFOs, folders and other users' files
 * are never opened. A damaged file is moved aside with its companions, for whoever wants to
 * look at it, and a new one takes its place.
 */
#include "recent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* -- where ------------------------------------------------------------------------------- */

kt_reason kt_user_folder(const char *override, char *out, size_t len)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (kt_privileged())
		return KT_WHY_setuid;
	/* relative paths in XDG variables are to be ignored, says their specification */
	if (override && *override)
		n = snprintf(out, len, "%s", override);
	else if (xdg && *xdg == '/')
		n = snprintf(out, len, "%s/kvjit", xdg);
	else if (home && *home == '/')
		n = snprintf(out, len, "%s/.cache/kvjit", home);
	else
		return KT_WHY_no_home;
	return n >= 0 && (size_t)n < len ? KT_WHY_none : KT_WHY_no_home;
}

/* File systems whose locks or shared memory can't be relied on across machines. */
static bool on_network(const char *folder)
{
	static const unsigned long types[] = {
		0x6969,     /* NFS    */
		0xff534d42, /* CIFS   */
		0xfe534d42, /* SMB2   */
		0x0bd00bd0, /* Lustre */
		0x01021997, /* 9p     */
		0x5346414f, /* AFS    */
		0x47504653, /* GPFS   */
		0x19830326, /* BeeGFS */
		0x00c36400, /* Ceph   */
		0x65735546  /* FUSE   */
	};
	struct statfs fs;

	if (statfs(folder, &fs))
		return false;
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((unsigned long)(unsigned)fs.f_type == types[i])
			return true;
	return false;
}

bool (*kts_is_network)(const char *folder) = on_network;

/* The folder and whatever is missing above it, for this user alone. */
static void make_folders(const char *folder)
{
	char path[4096];
	size_t n = strlen(folder);

	if (n >= sizeof(path))
		return;
	memcpy(path, folder, n + 1);
	for (char *p = path + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			mkdir(path, 0700);
			*p = '/';
		}
	mkdir(path, 0700);
}

/* -- opening ------------------------------------------------------------------------------- */

static kt_reason say(kt_store *s, kt_reason why, const char *detail)
{
	return kt_say(&s->log, why, s->path, detail);
}

/* What stands at the path before SQLite may open it. */
static kt_reason look(kt_store *s)
{
	struct stat st;

	if (lstat(s->path, &st))
		return errno == ENOENT || errno == ENOTDIR ? KT_WHY_absent : KT_WHY_unreadable;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	if (S_ISLNK(st.st_mode))
		return KT_WHY_symlink;
	if (!S_ISREG(st.st_mode))
		return KT_WHY_not_file;
	if (s->mode == KT_USER && st.st_uid != geteuid())
		return KT_WHY_foreign;
	return KT_WHY_none;
}

/* Whether its code may be executed: asked of the file that SQLite has open, by the same name.
 * O_PATH, because closing any other descriptor of a file drops all locks that this process has
 * on it: others would take SQLite's journal away under it. */
static kt_reason judge(const kt_store *s)
{
	int fd = open(s->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	kt_reason why;

	if (fd < 0)
		return KT_WHY_unreadable;
	why = kt_file_trusted(fd, s->path);
	close(fd);
	return why;
}

static void close_db(kt_store *s)
{
	for (unsigned i = 0; i < KT_NSTMT; i++) {
		sqlite3_finalize(s->stmt[i]);
		s->stmt[i] = NULL;
	}
	sqlite3_close_v2(s->db);
	s->db = NULL;
}

/* The folder, locked against others that set its file aside; -1: one of them sits on it. */
static int lock_folder(const kt_store *s)
{
	struct timespec nap = { 0, 1000000 };
	int fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB); ms++) {
		if (ms == KT_WAIT_MS) {
			close(fd);
			return -1;
		}
		nanosleep(&nap, NULL);
	}
	return fd;
}

/* Whether another process has put a sound file there in the meantime. */
static bool replaced(const kt_store *s)
{
	struct stat st;

	return lstat(s->path, &st) || st.st_dev != s->dev || st.st_ino != s->ino;
}

/* PATH.damaged-TIME, a name that isn't taken yet. */
static void name_aside(const kt_store *s, char *out, size_t len)
{
	long long now = time(NULL);
	struct stat st;

	snprintf(out, len, "%s.damaged-%lld", s->path, now);
	for (unsigned i = 2; !lstat(out, &st) && i < 1000; i++)
		snprintf(out, len, "%s.damaged-%lld.%u", s->path, now, i);
}

/* Never deleted: renamed, its journal first, which would be taken for that of the next file. */
static void set_aside(const kt_store *s)
{
	static const char *const parts[] = { "-wal", "-shm", "" };
	int fd = lock_folder(s);
	char aside[4200];

	if (fd < 0)
		return;
	name_aside(s, aside, sizeof(aside));
	for (unsigned i = 0; i < 3 && !replaced(s); i++) {
		char from[4200], to[4300];

		snprintf(from, sizeof(from), "%s%s", s->path, parts[i]);
		snprintf(to, sizeof(to), "%s%s", aside, parts[i]);
		rename(from, to);
	}
	close(fd);
}

static int exec(kt_store *s, const char *sql)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

static int64_t version_of(kt_store *s, int *rc)
{
	sqlite3_stmt *q = NULL;
	int64_t v = -1;

	*rc = sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL);
	if (*rc == SQLITE_OK && (*rc = sqlite3_step(q)) == SQLITE_ROW) {
		v = sqlite3_column_int64(q, 0);
		*rc = SQLITE_OK;
	}
	sqlite3_finalize(q);
	return v;
}

/* By whichever process comes first; the others find it made. */
static int make_schema(kt_store *s)
{
	char set[60];
	int rc = exec(s, "PRAGMA journal_mode=WAL");

	if (rc == SQLITE_OK)
		rc = exec(s, "BEGIN IMMEDIATE");
	if (rc != SQLITE_OK)
		return rc;
	if (version_of(s, &rc) == 0 && rc == SQLITE_OK) {
		snprintf(set, sizeof(set), "PRAGMA user_version=%d", KT_SCHEMA);
		rc = exec(s, kts_schema);
		if (rc == SQLITE_OK)
			rc = exec(s, set);
	}
	if (rc == SQLITE_OK)
		return exec(s, "COMMIT");
	exec(s, "ROLLBACK");
	return rc;
}

/* A write that a quota or a limit of the process ends is for SQLite just one that failed; the
 * system's word for it is the last that it said. */
static kt_reason failed_io(const kt_store *s)
{
	switch (s->db ? sqlite3_extended_errcode(s->db) : 0) {
	case SQLITE_IOERR_WRITE:
	case SQLITE_IOERR_FSYNC:
	case SQLITE_IOERR_TRUNCATE:
	case SQLITE_IOERR_SHMSIZE:
		return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? KT_WHY_full
		                                                            : KT_WHY_unwritable;
	default: return KT_WHY_unreadable;
	}
}

static kt_reason meaning(const kt_store *s, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return KT_WHY_locked;
	case SQLITE_FULL: return KT_WHY_full;
	case SQLITE_IOERR: return failed_io(s);
	case SQLITE_READONLY:
	case SQLITE_PERM: return KT_WHY_unwritable;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table or column that should be there isn't */
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH: return KT_WHY_corrupt;
	default: return KT_WHY_unreadable;
	}
}

/* SQLite's own patience while a file is opened; see open_patiently. */
enum { OPEN_STEP_MS = 10 };

/* An immutable file is read without locks and without a journal beside it. */
static int open_db(kt_store *s, bool write)
{
	char *uri = sqlite3_mprintf("file:"), *more;
	int rc, flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;

	for (const unsigned char *p = (const unsigned char *)s->path; uri && *p;
	     p++, uri = more) {
		more = *p == '%' || *p == '?' || *p == '#'
		           ? sqlite3_mprintf("%s%%%02x", uri, *p)
		           : sqlite3_mprintf("%s%c", uri, *p);
		sqlite3_free(uri);
	}
	if (uri && !write) {
		more = sqlite3_mprintf("%s?immutable=1", uri);
		sqlite3_free(uri);
		uri = more;
	}
	if (!uri)
		return SQLITE_NOMEM;
	rc = sqlite3_open_v2(
	    uri, &s->db, flags | (write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY), NULL);
	sqlite3_free(uri);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_busy_timeout(s->db, OPEN_STEP_MS);
	/* a process that only looked must not pay for copying everybody's journal */
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return SQLITE_OK;
}

/* Opens what look() found in order and sees whether it is ours to read. */
static kt_reason open_checked(kt_store *s, bool write)
{
	int64_t version = -1;
	int rc = open_db(s, write);
	kt_reason why;

	if (rc == SQLITE_OK)
		version = version_of(s, &rc);
	if (rc == SQLITE_OK && version == 0 && write) {
		rc = make_schema(s);
		version = rc == SQLITE_OK ? version_of(s, &rc) : -1;
	}
	if (rc == SQLITE_OK && version == KT_SCHEMA) {
		sqlite3_busy_timeout(s->db, KT_WAIT_MS);
		s->writable = write;
		return KT_WHY_none;
	}
	why = meaning(s, rc);
	close_db(s);
	if (rc != SQLITE_OK)
		return why;
	return version > KT_SCHEMA ? KT_WHY_newer
	       : version == 0      ? KT_WHY_absent
	                           : KT_WHY_corrupt;
}

/* An empty file of this user alone, which SQLite then makes a database. */
static kt_reason create(kt_store *s)
{
	int fd;

	make_folders(s->folder);
	fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno == EEXIST           ? KT_WHY_none
	       : errno == ENOSPC || errno == EDQUOT ? KT_WHY_full
	                                            : KT_WHY_unwritable;
}

/* Whether the open file isn't the one at the path any more: set aside by another process, or
 * removed. What is put there nobody finds. */
static bool moved(const kt_store *s)
{
	int is = 0;

	return sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &is) == SQLITE_OK &&
	       is;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Where others make the file at this moment, SQLite doesn't wait by itself; where it waits, it
 * does so anew in each statement. So it waits in small steps, and here is counted. */
static kt_reason open_patiently(kt_store *s)
{
	int64_t end = now_ms() + KT_WAIT_MS;
	struct timespec nap = { 0, 1000000 };
	kt_reason why;

	while ((why = open_checked(s, true)) == KT_WHY_locked && now_ms() < end)
		nanosleep(&nap, NULL);
	return why;
}

/* A file that is moved between SQLite's opening and reading it seems sound, as the next one's
 * journal is taken for its own. */
static kt_reason open_to_write(kt_store *s)
{
	for (unsigned i = 0; i < 4; i++) {
		kt_reason why = open_patiently(s);

		if (why != KT_WHY_none || !moved(s))
			return why;
		close_db(s);
		why = create(s);
		if (why == KT_WHY_none)
			why = look(s);
		if (why != KT_WHY_none)
			return why;
	}
	return KT_WHY_unreadable;
}

/* Whether files may only grow to a size that a cache can reach, and the signal for it ends the
 * process: SQLite's writes would. */
static bool growth_kills(const kt_store *s)
{
	int64_t need = 2 * (s->cap > 0 ? s->cap : (int64_t)256 << 20); /* and its journal */
	struct sigaction act;
	struct rlimit most;

	return !getrlimit(RLIMIT_FSIZE, &most) && most.rlim_cur < (rlim_t)need &&
	       !sigaction(SIGXFSZ, NULL, &act) && act.sa_handler == SIG_DFL;
}

static kt_reason open_user(kt_store *s)
{
	kt_reason why = look(s);
	bool limited = growth_kills(s), network = kts_is_network(s->folder);

	if (why == KT_WHY_absent && network)
		return say(s, KT_WHY_network, NULL);
	if (why == KT_WHY_absent && limited)
		return say(s, KT_WHY_unwritable, "files' sizes are limited");
	if (why == KT_WHY_absent) {
		why = create(s);
		if (why == KT_WHY_none)
			why = look(s);
	}
	if (why != KT_WHY_none)
		return say(s, why, NULL);
	if (access(s->path, R_OK))
		return say(s, KT_WHY_unreadable, NULL);
	if (network) {
		say(s, KT_WHY_network, NULL);
		return open_checked(s, false);
	}
	/* A file or folder that can't be written has no journal beside it that could be used.
	 */
	if (limited || access(s->path, W_OK) || access(s->folder, W_OK)) {
		say(s, KT_WHY_unwritable, limited ? "files' sizes are limited" : NULL);
		return open_checked(s, false);
	}
	why = open_to_write(s);
	if (why == KT_WHY_corrupt) {
		say(s, why, "it was set aside");
		set_aside(s);
		why = create(s);
		if (why == KT_WHY_none)
			why = look(s);
		if (why == KT_WHY_none)
			why = open_to_write(s);
	}
	return why == KT_WHY_none ? why : say(s, why, NULL);
}

static void open_file(kt_store *s)
{
	s->tried = true;
	s->writable = s->relaxed = false;
	if (s->mode == KT_USER) {
		s->state = open_user(s);
	} else {
		s->state = look(s);
		if (s->state == KT_WHY_none)
			s->state = open_checked(s, false);
		say(s, s->state, NULL);
	}
	s->again = s->state == KT_WHY_locked ? now_ms() + KT_AGAIN_MS : 0;
	s->trust = s->db ? judge(s) : s->state;
	if (s->db && s->trust != KT_WHY_none)
		say(s, s->trust, "its schedules are used, its code isn't");
}

kt_store *kt_store_open(const kt_store_options *o)
{
	kt_store *s = calloc(1, sizeof(*s));
	const char *folder = o->folder, *slash = strrchr(folder, '/');
	size_t n = strlen(folder);
	bool is_file = n > 3 && !strcmp(folder + n - 3, ".db");
	pthread_mutexattr_t attr;
	char path[4096];

	if (!s)
		return NULL;
	if (!is_file) {
		s->folder = strdup(folder);
		snprintf(path, sizeof(path), "%s/kvjit.db", folder);
	} else {
		s->folder =
		    slash ? strndup(folder, slash == folder ? 1 : (size_t)(slash - folder))
		          : strdup(".");
		snprintf(path, sizeof(path), "%s", folder);
	}
	s->path = strdup(path);
	s->mode = o->mode;
	s->cap = o->cap > 0 ? o->cap : (int64_t)256 << 20;
	s->log = o->log;
	s->pid = getpid();
	if (!s->folder || !s->path) {
		free(s->folder);
		free(s->path);
		free(s);
		return NULL;
	}
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return s;
}

/* A connection must not cross fork(): the child closes its copy, which touches nothing of the
 * file, as nobody was inside the store. Were it only forgotten, SQLite, which counts a
 * process's locks of a file itself, would take the parent's for the child's: a new connection
 * would have none, and whoever closes the file meanwhile would take its journal away. A copy
 * inside a transaction would undo in the shared index what the parent has written, so that is
 * left. */
void kts_after_fork(kt_store *s)
{
	pid_t pid = getpid();

	if (s->pid == pid)
		return;
	s->pid = pid;
	if (s->db && !s->begun && sqlite3_get_autocommit(s->db)) {
		close_db(s);
	} else {
		memset(s->stmt, 0, sizeof(s->stmt));
		s->db = NULL;
	}
	s->tried = s->begun = false;
	s->nuse = 0;
}

bool kts_enter(kt_store *s, bool write)
{
	pthread_mutex_lock(&s->lock);
	kts_after_fork(s);
	if (write && s->db && s->writable && !s->begun && moved(s)) {
		close_db(s);
		s->tried = false;
	}
	if (s->tried && s->again && now_ms() >= s->again)
		s->tried = false; /* a lock passes, unlike all else that refuses a file */
	if (!s->tried)
		open_file(s);
	if (s->db && write && s->writable && !s->relaxed) {
		/* A crash of the system may lose the last writes, never the file. Costs a
		 * reading of the schema, so only who writes asks for it. */
		exec(s, "PRAGMA synchronous=NORMAL");
		s->relaxed = true;
	}
	/* what SQLite ended by itself, for want of room, gets no more: all or nothing */
	if (s->db && (!write || (s->writable && !(s->begun && sqlite3_get_autocommit(s->db)))))
		return true;
	pthread_mutex_unlock(&s->lock);
	return false;
}

void kts_leave(kt_store *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* -- using --------------------------------------------------------------------------------- */

/* Nothing is to be read there any more in this process. */
static kt_reason give_up(kt_store *s, kt_reason why)
{
	close_db(s);
	s->state = s->trust = why;
	return say(s, why, NULL);
}

kt_reason kts_failed(kt_store *s, int rc)
{
	kt_reason why = meaning(s, rc);

	if (why != KT_WHY_corrupt || !s->db)
		return say(s, why, NULL);
	/* tables that are missing may be a newer kvjit's doing, while this one had the file */
	if (version_of(s, &rc) > KT_SCHEMA)
		return give_up(s, KT_WHY_newer);
	if (s->mode != KT_USER || !s->writable)
		return give_up(s, why);
	say(s, why, "it was set aside");
	close_db(s);
	set_aside(s);
	s->tried = false; /* the next call makes a new one */
	return why;
}

sqlite3_stmt *kts_stmt(kt_store *s, kt_stmt i)
{
	int rc = SQLITE_OK;
	char *sql;

	if (!s->db)
		return NULL;
	if (!s->stmt[i] && (sql = kts_sql(i))) {
		rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i],
		                        NULL);
		sqlite3_free(sql);
	}
	if (rc != SQLITE_OK) {
		kts_failed(s, rc);
		return NULL;
	}
	return s->stmt[i];
}

kt_reason kts_exec(kt_store *s, const char *sql)
{
	int rc = exec(s, sql);

	return rc == SQLITE_OK ? KT_WHY_none : kts_failed(s, rc);
}

static void flush(kt_store *s)
{
	bool begun =
	    exec(s, "BEGIN IMMEDIATE") == SQLITE_OK; /* one wait for others, not many */

	for (unsigned i = 0; begun && i < s->nuse && s->db; i++) {
		sqlite3_stmt *q = kts_stmt(s, KT_S_CODE_USED);

		if (!q)
			break;
		kts_bind_key(q, 1, &s->use[i].key);
		sqlite3_bind_int64(q, 2, s->use[i].n);
		sqlite3_bind_int64(q, 3, (int64_t)time(NULL));
		sqlite3_step(q); /* a count that is lost costs nothing */
		sqlite3_reset(q);
	}
	if (begun && s->db)
		kts_write_recent(s);
	if (begun && s->db)
		exec(s, "COMMIT");
	s->nuse = 0;
}

void kt_store_close(kt_store *s)
{
	if (!s)
		return;
	kts_after_fork(s);
	if ((s->nuse || kts_noted(s)) && kts_enter(s, true)) {
		flush(s);
		kts_leave(s);
	}
	/* the next process would have to read a long journal through */
	if (s->db && s->wrote)
		sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	close_db(s);
	kts_recent_free(s);
	pthread_mutex_destroy(&s->lock);
	free(s->use);
	free(s->folder);
	free(s->path);
	free(s);
}

kt_reason kt_store_state(kt_store *s)
{
	kts_enter(s, false) ? kts_leave(s) : (void)0;
	return s->state;
}

const char *kt_store_path(const kt_store *s)
{
	return s->path;
}

bool kt_store_writable(kt_store *s)
{
	if (!kts_enter(s, true))
		return false;
	kts_leave(s);
	return true;
}

kt_reason kt_store_trust(kt_store *s)
{
	if (kts_recalled(s))
		return KT_WHY_none;
	kts_enter(s, false) ? kts_leave(s) : (void)0;
	return s->trust;
}
