/* SPDX-License-Identifier: Apache-2.0 */
/* pack_check.c -- hashing everything in a pack (kt_pack_verify): what `kvjit cache verify`
 * does, and what comes before signing.
 */
#include "pack_priv.h"

#include <stdio.h>
#include <string.h>

typedef struct check {
	const kt_pack *p;
	kt_row last;
	uint64_t next; /* where the next entry must be */
	unsigned nschedule, ncode;
	kt_reason bad;
	char *why;
	size_t len;
} check;

static bool wrong(check *c, kt_reason bad, const kt_row *r, const char *what)
{
	char hex[KT_HEX] = "";

	if (r)
		kt_key_hex(&r->key, hex);
	snprintf(c->why, c->len, "%s: %s%s%s", kt_reasons[bad].sentence, what, r ? " " : "",
	         hex);
	c->bad = bad;
	return false;
}

static bool check_row(const kt_row *r, void *ctx)
{
	check *c = ctx;
	bool first = !c->nschedule && !c->ncode;
	kt_schedule s;
	kt_code code;
	kt_reason bad = KT_WHY_corrupt;

	if (!first && memcmp(c->last.key.b, r->key.b, sizeof(r->key.b)) > 0)
		return wrong(c, KT_WHY_corrupt, r, "its index isn't sorted at");
	if (r->place != c->next)
		return wrong(c, KT_WHY_corrupt, r, "a gap before the entry of");
	if (r->type == KT_ENTRY_SCHEDULE) {
		if (!(bad = kt_load_schedule(c->p, r, &s)))
			kt_schedule_free(&s);
		c->nschedule++;
	} else if (r->type == KT_ENTRY_CODE) {
		if (!(bad = kt_load_code(c->p, r, &code)))
			kt_code_free(&code);
		c->ncode++;
	}
	if (bad)
		return wrong(c, bad, r, "the entry of");
	c->last = *r;
	c->next = r->place + r->size;
	return true;
}

kt_reason kt_pack_verify(kt_pack *p, char *why, size_t len, int64_t *checked)
{
	uint64_t rows = (uint64_t)p->head.nschedule + p->head.ncode;
	check c = { .p = p, .next = KT_PACK_HEAD + rows * KT_PACK_ROW, .why = why, .len = len };
	kt_reason bad = kt_each_row(p, check_row, &c);

	if (bad && !c.bad)
		wrong(&c, bad, NULL, p->state ? "the file" : "its index");
	if (!c.bad && (c.nschedule != p->head.nschedule || c.ncode != p->head.ncode))
		wrong(&c, KT_WHY_corrupt, NULL, "its head counts other entries");
	if (!c.bad && c.next != p->size)
		wrong(&c, KT_WHY_corrupt, NULL, "bytes behind the last entry");
	if (!c.bad && p->key && !kt_verify_file(p->key, &p->signature, p->fd))
		wrong(&c, KT_WHY_bad_signature, NULL, "the file as a whole");
	if (checked)
		*checked = (int64_t)c.nschedule + c.ncode;
	return c.bad;
}
