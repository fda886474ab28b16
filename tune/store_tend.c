/* SPDX-License-Identifier: Apache-2.0 */
/* store_tend.c -- what only people ask of a store, through `kvjit cache`. */
#include "recent.h"

/* Bound by hand: no statement is kept for what is asked once. */
static kt_reason delete_pin(kt_store *s, const void *ctx)
{
	const kt_pin *p = ctx;
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db,
	                            "DELETE FROM pins WHERE program=?1 AND batch=?2 AND "
	                            "ctx=?3 AND qlen=?4",
	                            -1, &q, NULL);

	if (rc == SQLITE_OK) {
		kts_forget(s);
		kts_bind_key(q, 1, &p->program);
		sqlite3_bind_int(q, 2, p->bucket.batch);
		sqlite3_bind_int(q, 3, p->bucket.ctx);
		sqlite3_bind_int(q, 4, p->bucket.qlen);
		rc = sqlite3_step(q);
	}
	sqlite3_finalize(q);
	if (rc != SQLITE_DONE)
		return kts_failed(s, rc);
	return sqlite3_changes(s->db) ? KT_WHY_none : KT_WHY_miss;
}

kt_reason kt_pin_drop(kt_store *s, const kt_pin *p)
{
	kt_reason why;

	if (!kts_enter(s, true))
		return s->state == KT_WHY_none ? KT_WHY_unwritable : s->state;
	why = kts_whole(s, delete_pin, p);
	kts_leave(s);
	return why;
}
