/* SPDX-License-Identifier: Apache-2.0 */
/* store_row.c -- records as rows. One list of columns for each kind of record says what a
 * table has, what a statement names and where a member lies.
 */
#include "recent.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind {
	C_KEY,   /* kt_key        */
	C_TEXT,  /* char *        */
	C_INT,   /* int           */
	C_BATCH, /* int: a class of kt_bucket, or KT_ANY */
	C_CTX,
	C_QLEN,
	C_I64,    /* int64_t       */
	C_SIZE,   /* size_t        */
	C_REAL,   /* double        */
	C_POLICY, /* by name       */
	C_SOURCE,
	C_STATE,
	C_BYTES /* of code: bytes and size */
} kind;

typedef struct column {
	const char *name;
	kind kind;
	size_t at;
} column;

#define WHERE(type)                                                   \
	{ "program", C_KEY, offsetof(type, where.program) },          \
	    { "machine", C_KEY, offsetof(type, where.machine) },      \
	    { "threads", C_INT, offsetof(type, where.threads) },      \
	    { "policy", C_POLICY, offsetof(type, where.policy) },     \
	    { "batch", C_BATCH, offsetof(type, where.bucket.batch) }, \
	    { "ctx", C_CTX, offsetof(type, where.bucket.ctx) },       \
	{                                                             \
		"qlen", C_QLEN, offsetof(type, where.bucket.qlen)     \
	}

/* clang-format off */
static const column code_columns[] = {
	{ "key",        C_KEY,  offsetof(kt_code, key) },
	{ "program",    C_KEY,  offsetof(kt_code, program) },
	{ "hash",       C_KEY,  offsetof(kt_code, hash) },
	{ "kind",       C_TEXT, offsetof(kt_code, kind) },
	{ "backend",    C_TEXT, offsetof(kt_code, backend) },
	{ "target",     C_TEXT, offsetof(kt_code, target) },
	{ "problem",    C_TEXT, offsetof(kt_code, problem) },
	{ "sched",      C_TEXT, offsetof(kt_code, sched) },
	{ "isa",        C_I64,  offsetof(kt_code, isa) },
	{ "size",       C_SIZE, offsetof(kt_code, size) },
	{ "entry",      C_SIZE, offsetof(kt_code, entry) },
	{ "text",       C_SIZE, offsetof(kt_code, text) },
	{ "phases",     C_TEXT, offsetof(kt_code, phases) },
	{ "compile_us", C_I64,  offsetof(kt_code, compile_us) },
	{ "uses",       C_I64,  offsetof(kt_code, uses) },
	{ "last_used",  C_I64,  offsetof(kt_code, last_used) },
	{ "codegen",    C_INT,  offsetof(kt_code, codegen) },
	{ "bytes",      C_BYTES, offsetof(kt_code, bytes) },
};
static const column schedule_columns[] = {
	WHERE(kt_schedule),
	{ "problem",    C_TEXT, offsetof(kt_schedule, problem) },
	{ "sched",      C_TEXT, offsetof(kt_schedule, sched) },
	{ "target",     C_TEXT, offsetof(kt_schedule, target) },
	{ "machine_is", C_TEXT, offsetof(kt_schedule, machine) },
	{ "source",     C_SOURCE, offsetof(kt_schedule, source) },
	{ "median",     C_REAL, offsetof(kt_schedule, median) },
	{ "lo",         C_REAL, offsetof(kt_schedule, lo) },
	{ "hi",         C_REAL, offsetof(kt_schedule, hi) },
	{ "ratio",      C_REAL, offsetof(kt_schedule, ratio) },
	{ "ratio_lo",   C_REAL, offsetof(kt_schedule, ratio_lo) },
	{ "ratio_hi",   C_REAL, offsetof(kt_schedule, ratio_hi) },
	{ "n",          C_I64,  offsetof(kt_schedule, n) },
	{ "at",         C_I64,  offsetof(kt_schedule, when) },
	{ "codegen",    C_INT,  offsetof(kt_schedule, codegen) },
};
static const column trial_columns[] = {
	WHERE(kt_trial),
	{ "run",        C_I64,  offsetof(kt_trial, run) },
	{ "seq",        C_I64,  offsetof(kt_trial, seq) },
	{ "sched",      C_TEXT, offsetof(kt_trial, sched) },
	{ "why",        C_TEXT, offsetof(kt_trial, why) },
	{ "state",      C_STATE, offsetof(kt_trial, state) },
	{ "median",     C_REAL, offsetof(kt_trial, median) },
	{ "lo",         C_REAL, offsetof(kt_trial, lo) },
	{ "hi",         C_REAL, offsetof(kt_trial, hi) },
	{ "least",      C_REAL, offsetof(kt_trial, min) },
	{ "ratio",      C_REAL, offsetof(kt_trial, ratio) },
	{ "ratio_lo",   C_REAL, offsetof(kt_trial, ratio_lo) },
	{ "ratio_hi",   C_REAL, offsetof(kt_trial, ratio_hi) },
	{ "n",          C_I64,  offsetof(kt_trial, n) },
	{ "steal",      C_REAL, offsetof(kt_trial, steal) },
	{ "migrations", C_I64,  offsetof(kt_trial, migrations) },
	{ "at",         C_I64,  offsetof(kt_trial, when) },
	{ "compile_us", C_I64,  offsetof(kt_trial, compile_us) },
	{ "codegen",    C_INT,  offsetof(kt_trial, codegen) },
};
static const column pin_columns[] = {
	{ "program",    C_KEY,  offsetof(kt_pin, program) },
	{ "batch",      C_BATCH, offsetof(kt_pin, bucket.batch) },
	{ "ctx",        C_CTX,  offsetof(kt_pin, bucket.ctx) },
	{ "qlen",       C_QLEN, offsetof(kt_pin, bucket.qlen) },
	{ "problem",    C_TEXT, offsetof(kt_pin, problem) },
	{ "sched",      C_TEXT, offsetof(kt_pin, sched) },
};
static const struct {
	const char *name;
	const column *column;
	unsigned n;
	size_t size;
	const char *order; /* the primary key */
} tables[KT_NTABLE] = {
#define LIST(columns) columns, sizeof(columns) / sizeof(columns[0])
	{ "code",      LIST(code_columns),     sizeof(kt_code),     "key" },
	{ "schedules", LIST(schedule_columns), sizeof(kt_schedule),
	  "program,machine,threads,policy,batch,ctx,qlen" },
	{ "trials",    LIST(trial_columns),    sizeof(kt_trial),
	  "program,machine,threads,policy,batch,ctx,qlen,run,seq" },
	{ "pins",      LIST(pin_columns),      sizeof(kt_pin),      "program,batch,ctx,qlen" },
};

/* Code lies in a table with rowids, since its rows are long; its seal is the last column. */
const char kts_schema[] =
	"CREATE TABLE code(key BLOB NOT NULL UNIQUE,program,hash,kind,backend,target,problem,"
	"sched,isa,size,entry,text,phases,compile_us,uses,last_used,codegen,bytes,seal);"
	"CREATE INDEX code_program ON code(program);"
	"CREATE INDEX code_size ON code(size);"
	"CREATE TABLE schedules(program,machine,threads,policy,batch,ctx,qlen,problem,sched,"
	"target,machine_is,source,median,lo,hi,ratio,ratio_lo,ratio_hi,n,at,codegen,"
	"PRIMARY KEY(program,machine,threads,policy,batch,ctx,qlen))WITHOUT ROWID;"
	"CREATE TABLE trials(program,machine,threads,policy,batch,ctx,qlen,run,seq,sched,why,"
	"state,median,lo,hi,least,ratio,ratio_lo,ratio_hi,n,steal,migrations,at,compile_us,"
	"codegen,PRIMARY KEY(program,machine,threads,policy,batch,ctx,qlen,run,seq))"
	"WITHOUT ROWID;"
	"CREATE TABLE pins(program,batch,ctx,qlen,problem,sched,"
	"PRIMARY KEY(program,batch,ctx,qlen))WITHOUT ROWID;"
	"CREATE TABLE meta(name TEXT PRIMARY KEY,value)WITHOUT ROWID;";
/* clang-format on */

size_t kts_record_size(kt_table t)
{
	return tables[t].size;
}

/* -- statements ------------------------------------------------------------------------- */

char *kts_select(kt_table t, bool bytes, const char *rest)
{
	sqlite3_str *s = sqlite3_str_new(NULL);

	sqlite3_str_appendall(s, "SELECT ");
	for (unsigned i = 0; i < tables[t].n; i++) {
		const column *c = &tables[t].column[i];

		sqlite3_str_appendf(s, "%s%s", i ? "," : "",
		                    c->kind == C_BYTES && !bytes ? "NULL" : c->name);
	}
	sqlite3_str_appendf(s, "%s FROM %s %s%s", t == KT_CODE ? ",seal" : "", tables[t].name,
	                    rest ? rest : "ORDER BY ", rest ? "" : tables[t].order);
	return sqlite3_str_finish(s);
}

static char *put_sql(kt_table t)
{
	sqlite3_str *s = sqlite3_str_new(NULL);

	sqlite3_str_appendf(s, "INSERT OR REPLACE INTO %s(", tables[t].name);
	for (unsigned i = 0; i < tables[t].n; i++)
		sqlite3_str_appendf(s, "%s%s", i ? "," : "", tables[t].column[i].name);
	sqlite3_str_appendall(s, t == KT_CODE ? ",seal)VALUES(?" : ")VALUES(?");
	for (unsigned i = 1; i < tables[t].n; i++)
		sqlite3_str_appendall(s, ",?");
	sqlite3_str_appendall(s, t == KT_CODE ? ",?)" : ")");
	return sqlite3_str_finish(s);
}

char *kts_sql(kt_stmt i)
{
	static const char place[] = "WHERE program=?1 AND machine=?2 AND threads=?3 AND "
	                            "policy=?4 AND batch=?5 AND ctx=?6 AND qlen=?7 "
	                            "ORDER BY at,run,seq";

	switch (i) {
	case KT_S_CODE_GET: return kts_select(KT_CODE, true, "WHERE key=?1");
	case KT_S_CODE_USED:
		return sqlite3_mprintf(
		    "UPDATE code SET uses=uses+?2,last_used=?3 WHERE key=?1");
	case KT_S_CODE_SUM: return sqlite3_mprintf("SELECT total(size) FROM code");
	/* what costs least to make again for the room it takes; never what a pin names */
	case KT_S_CODE_VICTIM:
		return sqlite3_mprintf(
		    "SELECT key,size FROM code WHERE key<>?1 AND program NOT IN "
		    "(SELECT program FROM pins) ORDER BY "
		    "(compile_us+1.0)*(uses+1)/(size+1),last_used,key LIMIT 1");
	case KT_S_CODE_DROP: return sqlite3_mprintf("DELETE FROM code WHERE key=?1");
	case KT_S_SCHED_PROGRAM:
		return kts_select(KT_SCHEDULES, true,
		                  "WHERE program=?1 ORDER BY "
		                  "machine,threads,policy,batch,ctx,qlen");
	case KT_S_SCHED_MACHINE:
		return kts_select(KT_SCHEDULES, true,
		                  "WHERE program=?1 AND machine=?2 ORDER BY "
		                  "threads,policy,batch,ctx,qlen");
	case KT_S_TRIALS_PLACE: return kts_select(KT_TRIALS, true, place);
	case KT_S_PINS_PROGRAM:
		return kts_select(KT_PINS, true, "WHERE program=?1 ORDER BY batch,ctx,qlen");
	case KT_S_META_GET: return sqlite3_mprintf("SELECT value FROM meta WHERE name=?1");
	case KT_S_META_RAISE:
		return sqlite3_mprintf("INSERT INTO meta(name,value)VALUES(?1,?2)"
		                       "ON CONFLICT(name)DO UPDATE SET "
		                       "value=max(value,excluded.value)");
	default: return put_sql((kt_table)(i - KT_S_PUT));
	}
}

/* -- values ----------------------------------------------------------------------------- */

static const char *const *names_of(kind k, unsigned *n)
{
	*n = k == C_POLICY ? 2 : k == C_SOURCE ? 4 : KT_NSTATE;
	return k == C_POLICY   ? kt_policy_names
	       : k == C_SOURCE ? kt_source_names
	                       : kt_state_names;
}

void kts_bind_key(sqlite3_stmt *q, int i, const kt_key *k)
{
	sqlite3_bind_blob(q, i, k->b, sizeof(k->b), SQLITE_STATIC);
}

void kts_bind_where(sqlite3_stmt *q, const kt_where *w)
{
	kts_bind_key(q, 1, &w->program);
	kts_bind_key(q, 2, &w->machine);
	sqlite3_bind_int(q, 3, w->threads);
	sqlite3_bind_text(q, 4, kt_policy_names[w->policy], -1, SQLITE_STATIC);
	sqlite3_bind_int(q, 5, w->bucket.batch);
	sqlite3_bind_int(q, 6, w->bucket.ctx);
	sqlite3_bind_int(q, 7, w->bucket.qlen);
}

static void bind_one(sqlite3_stmt *q, int i, const column *c, const char *record)
{
	const void *p = record + c->at;
	const kt_code *code = (const kt_code *)record;
	unsigned n;

	switch (c->kind) {
	case C_KEY: kts_bind_key(q, i, p); break;
	case C_TEXT: sqlite3_bind_text(q, i, *(char *const *)p, -1, SQLITE_STATIC); break;
	case C_INT:
	case C_BATCH:
	case C_CTX:
	case C_QLEN: sqlite3_bind_int(q, i, *(const int *)p); break;
	case C_I64: sqlite3_bind_int64(q, i, *(const int64_t *)p); break;
	case C_SIZE: sqlite3_bind_int64(q, i, (int64_t) * (const size_t *)p); break;
	case C_REAL: sqlite3_bind_double(q, i, *(const double *)p); break;
	case C_BYTES:
		sqlite3_bind_blob64(q, i, code->bytes ? code->bytes : (const uint8_t *)"",
		                    code->size, SQLITE_STATIC);
		break;
	default:
		sqlite3_bind_text(q, i, names_of(c->kind, &n)[*(const int *)p], -1,
		                  SQLITE_STATIC);
	}
}

/* A record's columns as parameters 1... */
static void bind_record(sqlite3_stmt *q, kt_table t, const void *record)
{
	for (unsigned i = 0; i < tables[t].n; i++)
		bind_one(q, (int)i + 1, &tables[t].column[i], record);
}

static bool read_text(sqlite3_stmt *q, int i, char **out)
{
	const char *text = (const char *)sqlite3_column_text(q, i);

	*out = strdup(text ? text : "");
	return *out;
}

static bool read_name(sqlite3_stmt *q, int i, kind k, int *out)
{
	const char *text = (const char *)sqlite3_column_text(q, i);
	unsigned n;
	const char *const *names = names_of(k, &n);

	for (unsigned j = 0; text && j < n; j++)
		if (!strcmp(names[j], text)) {
			*out = (int)j;
			return true;
		}
	return false;
}

/* Sizes are looked up by class, so one that a damaged file has doesn't come in. */
static bool read_class(sqlite3_stmt *q, int i, int classes, int *out)
{
	sqlite3_int64 x = sqlite3_column_int64(q, i);

	*out = (int)x;
	return x >= KT_ANY && x < classes;
}

/* Bytes are as many as the row has, whatever column size says. */
static bool read_bytes(sqlite3_stmt *q, int i, kt_code *c)
{
	size_t n = (size_t)sqlite3_column_bytes(q, i);
	const void *bytes = sqlite3_column_blob(q, i);

	if (!bytes)
		return true;
	c->bytes = malloc(n ? n : 1);
	if (!c->bytes)
		return false;
	memcpy(c->bytes, bytes, n);
	c->size = n;
	return true;
}

static bool read_one(sqlite3_stmt *q, int i, const column *c, char *record)
{
	void *p = record + c->at;
	const void *key;

	switch (c->kind) {
	case C_KEY:
		key = sqlite3_column_blob(q, i);
		if (!key || sqlite3_column_bytes(q, i) != sizeof(kt_key))
			return false;
		memcpy(p, key, sizeof(kt_key));
		return true;
	case C_TEXT: return read_text(q, i, p);
	case C_INT: return *(int *)p = sqlite3_column_int(q, i), true;
	case C_BATCH: return read_class(q, i, KT_NBATCH, p);
	case C_CTX: return read_class(q, i, KT_NCTX, p);
	case C_QLEN: return read_class(q, i, KT_NQLEN, p);
	case C_I64: return *(int64_t *)p = sqlite3_column_int64(q, i), true;
	case C_SIZE: return *(size_t *)p = (size_t)sqlite3_column_int64(q, i), true;
	case C_REAL: return *(double *)p = sqlite3_column_double(q, i), true;
	case C_BYTES: return read_bytes(q, i, (kt_code *)record);
	default: return read_name(q, i, c->kind, p);
	}
}

void kts_free(kt_table t, void *record)
{
	switch (t) {
	case KT_CODE: kt_code_free(record); break;
	case KT_SCHEDULES: kt_schedule_free(record); break;
	case KT_TRIALS: kt_trial_free(record); break;
	default: kt_pin_free(record);
	}
}

bool kts_read(sqlite3_stmt *q, kt_table t, void *record)
{
	memset(record, 0, tables[t].size);
	for (unsigned i = 0; i < tables[t].n; i++)
		if (!read_one(q, (int)i, &tables[t].column[i], record)) {
			kts_free(t, record);
			return false;
		}
	return true;
}

/* -- rows ------------------------------------------------------------------------------- */

kt_reason kts_walk(kt_store *s, sqlite3_stmt *q, kt_table t,
                   bool (*fn)(const void *record, void *ctx), void *ctx)
{
	union {
		kt_code code;
		kt_schedule schedule;
		kt_trial trial;
		kt_pin pin;
	} r;
	bool go = true;
	int rc = SQLITE_ROW;

	while (go && (rc = sqlite3_step(q)) == SQLITE_ROW)
		if (kts_read(q, t, &r)) {
			go = fn(&r, ctx);
			kts_free(t, &r);
		}
	sqlite3_reset(q);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? KT_WHY_none : kts_failed(s, rc);
}

void kts_seal(const kt_code *c, kt_key *out)
{
	char key[KT_HEX], program[KT_HEX], hash[KT_HEX];
	kir_text t = { 0 };

	kt_key_hex(&c->key, key);
	kt_key_hex(&c->program, program);
	kt_key_hex(&c->hash, hash);
	kir_text_add(&t, "%s %s %s %llx %zu %zu %zu %d\n%s\n%s\n%s\n%s\n%s", key, program, hash,
	             (unsigned long long)c->isa, c->size, c->entry, c->text, c->codegen,
	             c->kind, c->backend, c->target, c->sched, c->phases);
	kt_hash(t.text ? t.text : "", t.len, out);
	free(t.text);
}

kt_reason kts_put(kt_store *s, kt_table t, const void *record)
{
	sqlite3_stmt *q = kts_stmt(s, (kt_stmt)(KT_S_PUT + t));
	kt_key seal;
	int rc;

	if (!q)
		return s->state == KT_WHY_none ? KT_WHY_unreadable : s->state;
	/* a GPU's own code may be made anew under its key, by another compiler */
	if (t == KT_SCHEDULES || t == KT_PINS ||
	    (t == KT_CODE && !strcmp(((const kt_code *)record)->kind, "native")))
		kts_forget(s);
	bind_record(q, t, record);
	if (t == KT_CODE) {
		kts_seal(record, &seal);
		kts_bind_key(q, (int)tables[t].n + 1, &seal);
	}
	rc = sqlite3_step(q);
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	s->wrote = true;
	return rc == SQLITE_DONE ? KT_WHY_none : kts_failed(s, rc);
}
