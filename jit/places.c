/* SPDX-License-Identifier: Apache-2.0 */
/* places.c -- the user's cache, read-only caches and packs of a context, asked in this order.
 *
 * A program with raised privileges (AT_SECURE) has none of them: whoever started it could have
 * chosen their contents.
 */
#include "cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRUSTED "/etc/kvjit/trusted"

/* -- opening ------------------------------------------------------------------------- */

static char *copy(const char *option, const char *variable)
{
	const char *s = option ? option : variable;

	return s && *s ? strdup(s) : NULL;
}

/* Lines about caches go to the host's log, never to stderr by themselves. */
static void to_log(const char *text, void *ctx)
{
	kvjit *kv = ctx;

	if (kv->log)
		kv->log(text, kv->log_ctx);
}

bool kvjit_places_init(kvjit *kv, const kvjit_options *o)
{
	struct kvjit_places *p = calloc(1, sizeof(*p));
	const char *mb = kv->env[KVJIT_ENV_CACHE_MB];

	if (!p)
		return false;
	pthread_mutex_init(&p->lock, NULL);
	p->user_path = copy(o->cache, kv->env[KVJIT_ENV_CACHE_DIR]);
	p->system_path = copy(o->cache_path, kv->env[KVJIT_ENV_CACHE_PATH]);
	p->pin_path = copy(o->pins, kv->env[KVJIT_ENV_PINS]);
	p->cap = mb ? atoll(mb) << 20 : 0;
	p->log = (kt_log){ to_log, kv };
	p->isa = kbe_host_isa();
	kv->places = p;
	kvjit_machine_for(kv, kv->target.name, &p->machine);
	return true;
}

void kvjit_machine_for(kvjit *kv, const char *target, kt_key *out)
{
	kir_target t = kv->host;

	t.name = target;
	if (kv->device)
		kt_machine_key(&kv->target, 0, kv->threads, out);
	else
		kt_machine_key(&t, kv->places->isa, (int)sysconf(_SC_NPROCESSORS_ONLN), out);
}

static void open_user(struct kvjit_places *p)
{
	char folder[3000];

	if (p->user_path && !strcmp(p->user_path, "off")) {
		p->user_off = KT_WHY_off;
		return;
	}
	p->user_off = kt_user_folder(p->user_path, folder, sizeof(folder));
	if (p->user_off != KT_WHY_none) {
		kt_say(&p->log, p->user_off, "of this user", NULL);
		return;
	}
	p->user = kt_store_open(&(kt_store_options){ folder, KT_USER, p->cap, p->log });
}

/* The highest version of a pack that was seen is a fact of the user's cache. */
static void version_name(const char *name, const uint8_t id[8], char *out, size_t len)
{
	size_t n = (size_t)snprintf(out, len, "pack:%s:", name);

	for (unsigned i = 0; i < 8 && n + 3 < len; i++)
		n += (size_t)snprintf(out + n, len - n, "%02x", id[i]);
}

static int64_t seen_version(const char *name, const uint8_t id[8], void *ctx)
{
	struct kvjit_places *p = ctx;
	char fact[128];
	int64_t version = 0;

	version_name(name, id, fact, sizeof(fact));
	return p->user && kt_meta_get(p->user, fact, &version) ? version : 0;
}

/* Remembered once its signature was good: an older one of that name is refused from then on. */
static void remember_version(struct kvjit_places *p, const kt_pack *pack)
{
	const kt_pack_head *head = kt_pack_head_of(pack);
	const uint8_t *id = kt_pack_signer(pack);
	char fact[128];

	if (!p->user || !head || !id || kt_pack_trust(pack) != KT_WHY_none ||
	    seen_version(head->name, id, p) >= head->version)
		return;
	version_name(head->name, id, fact, sizeof(fact));
	kt_meta_raise(p->user, fact, head->version);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

static void open_place(struct kvjit_places *p, char *path)
{
	kvjit_place *at = &p->place[p->nplace];

	*at = (kvjit_place){ .path = path };
	if (ends_with(path, ".kvpack")) {
		at->pack = kt_pack_open(&(kt_pack_options){ path, p->trust, (int64_t)time(NULL),
		                                            seen_version, p, p->log });
		if (at->pack)
			remember_version(p, at->pack);
	} else {
		at->store = kt_store_open(&(kt_store_options){ path, KT_SYSTEM, 0, p->log });
	}
	p->nplace++;
}

static void open_system(struct kvjit_places *p)
{
	size_t most = 1;

	for (const char *s = p->system_path; s && *s; s++)
		most += *s == ':';
	p->place = p->system_path ? calloc(most, sizeof(*p->place)) : NULL;
	for (const char *s = p->place ? p->system_path : ""; *s; s += *s == ':') {
		size_t n = strcspn(s, ":");
		char *path = n ? strndup(s, n) : NULL;

		if (path)
			open_place(p, path);
		s += n;
	}
}

struct kvjit_places *kvjit_places_of(kvjit *kv)
{
	struct kvjit_places *p = kv->places;
	const char *trusted = kv->env[KVJIT_ENV_TRUSTED];

	pthread_mutex_lock(&p->lock);
	if (!p->opened) {
		if (kt_privileged()) {
			p->user_off = kt_say(&p->log, KT_WHY_setuid, "of this user", NULL);
		} else {
			/* for packs, and for what was revoked wherever it lies */
			p->trust = kt_trust_read(trusted ? trusted : TRUSTED, &p->log);
			open_user(p);
			open_system(p);
			kvjit_read_pins(p);
		}
		p->opened = true;
	}
	pthread_mutex_unlock(&p->lock);
	return p;
}

void kvjit_places_free(kvjit *kv)
{
	struct kvjit_places *p = kv->places;

	if (!p)
		return;
	kt_store_close(p->user);
	for (unsigned i = 0; i < p->nplace; i++) {
		kt_store_close(p->place[i].store);
		kt_pack_close(p->place[i].pack);
		free(p->place[i].path);
	}
	free(p->place);
	kt_trust_free(p->trust);
	kvjit_pins_free(&p->pins);
	free(p->user_path);
	free(p->system_path);
	free(p->pin_path);
	pthread_mutex_destroy(&p->lock);
	free(p);
	kv->places = NULL;
}

/* -- code ---------------------------------------------------------------------------- */

/* Whether this machine and the administrator let the code run. */
static kt_reason judge_code(const struct kvjit_places *p, const kt_code *c)
{
	if (p->trust && kt_trust_revoked(p->trust, c->hash.b))
		return KT_WHY_revoked;
	if (c->codegen != KT_CODEGEN)
		return KT_WHY_codegen;
	if (!kbe_isa_runs(c->isa, p->isa))
		return KT_WHY_isa;
	return KT_WHY_none;
}

/* Code of a store is run only if nobody else can have written it. */
static kt_reason code_of_store(kt_store *s, const kt_key *key, kt_code *out)
{
	kt_reason why = kt_code_find(s, key, out);
	kt_reason trust = why == KT_WHY_none ? kt_store_trust(s) : KT_WHY_none;

	if (trust == KT_WHY_none)
		return why;
	kt_code_free(out);
	return trust;
}

static bool usable(struct kvjit_places *p, kt_reason why, kt_code *c, const char *kind,
                   const char *path, kir_text *lines)
{
	if (why == KT_WHY_none && (why = judge_code(p, c)) != KT_WHY_none) {
		kt_code_free(c);
		kt_say(&p->log, why, path, NULL);
	}
	if (lines)
		kir_text_add(lines, "%s %s %s\n", kind, path,
		             why == KT_WHY_none ? "has the code" : kt_reasons[why].sentence);
	return why == KT_WHY_none;
}

bool kvjit_find_code(kvjit *kv, const kt_key *key, kt_code *out, char *origin, size_t len,
                     kir_text *why)
{
	struct kvjit_places *p = kvjit_places_of(kv);
	kt_reason r;

	if (p->user) {
		const char *path = kt_store_path(p->user);

		r = code_of_store(p->user, key, out);
		if (usable(p, r, out, "cache", path, why)) {
			kt_code_used(p->user, key);
			snprintf(origin, len, "cache %s", path);
			return true;
		}
	} else if (why) {
		kir_text_add(why, "cache of this user %s\n", kt_reasons[p->user_off].sentence);
	}
	for (unsigned i = 0; i < p->nplace; i++) {
		const kvjit_place *at = &p->place[i];
		const char *kind = at->pack ? "pack" : "cache";

		r = at->pack    ? kt_pack_code(at->pack, key, out)
		    : at->store ? code_of_store(at->store, key, out)
		                : KT_WHY_miss;
		if (usable(p, r, out, kind, at->path, why)) {
			snprintf(origin, len, "%s %s", kind, at->path);
			return true;
		}
	}
	return false;
}

void kvjit_keep_code(kvjit *kv, const kt_code *c)
{
	struct kvjit_places *p = kvjit_places_of(kv);

	if (p->user && !(c->isa & KBE_ISA(unknown)))
		kt_code_put(p->user, c);
}

/* -- schedules ------------------------------------------------------------------------- */

typedef struct found {
	kt_schedule *at;
	unsigned n;
} found;

/* Takes those that fit and frees the others. threads 0: of any number. */
static void take(found *f, kt_schedule *at, unsigned n, int threads, const char *target)
{
	kt_schedule *more = n ? realloc(f->at, (f->n + n) * sizeof(*f->at)) : NULL;

	if (more)
		f->at = more;
	for (unsigned i = 0; i < n; i++)
		if (more && (!threads || at[i].where.threads == threads) &&
		    !strcmp(at[i].target, target))
			f->at[f->n++] = at[i];
		else
			kt_schedule_free(&at[i]);
	free(at);
}

static void gather(kvjit *kv, const kt_key *program, const kt_key *machine, const char *target,
                   int threads, found *f)
{
	struct kvjit_places *p = kvjit_places_of(kv);
	kt_schedule *at = NULL;
	unsigned n;

	if (p->user) {
		n = kt_schedules_of(p->user, program, machine, &at);
		take(f, at, n, threads, target);
	}
	for (unsigned i = 0; i < p->nplace; i++) {
		at = NULL;
		n = p->place[i].pack
		        ? kt_pack_schedules(p->place[i].pack, program, machine, &at)
		    : p->place[i].store
		        ? kt_schedules_of(p->place[i].store, program, machine, &at)
		        : 0;
		take(f, at, n, threads, target);
	}
}

unsigned kvjit_find_schedules(kvjit *kv, const kt_key *program, const char *target,
                              kt_schedule **out)
{
	struct kvjit_places *p = kvjit_places_of(kv);
	kt_key machine = p->machine;
	found f = { 0 };

	if (strcmp(target, kv->target.name) != 0) /* a problem that names its own */
		kvjit_machine_for(kv, target, &machine);
	gather(kv, program, &machine, target, kv->threads, &f);
	if (!f.n) {
		gather(kv, program, NULL, target, kv->threads, &f);
		for (unsigned i = 0; i < f.n; i++)
			f.at[i].source = KT_BY_transfer;
	}
	*out = f.at;
	return f.n;
}

unsigned kvjit_find_other_threads(kvjit *kv, const kt_key *program, const char *target,
                                  kt_schedule **out)
{
	found f = { 0 };

	gather(kv, program, NULL, target, 0, &f);
	*out = f.at;
	return f.n;
}

void kvjit_schedules_free(kt_schedule *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		kt_schedule_free(&at[i]);
	free(at);
}

/* -- telling ---------------------------------------------------------------------------- */

void kvjit_places_print(kvjit *kv, kir_text *out)
{
	struct kvjit_places *p = kvjit_places_of(kv);

	if (p->user)
		kir_text_add(out, "cache    %s: %s\n", kt_store_path(p->user),
		             kt_reasons[kt_store_state(p->user)].sentence);
	else
		kir_text_add(out, "cache    of this user %s\n",
		             kt_reasons[p->user_off].sentence);
	for (unsigned i = 0; i < p->nplace; i++) {
		const kvjit_place *at = &p->place[i];
		kt_reason r = at->pack    ? kt_pack_state(at->pack)
		              : at->store ? kt_store_state(at->store)
		                          : KT_WHY_unreadable;

		if (at->pack && r == KT_WHY_none)
			r = kt_pack_trust(at->pack);
		kir_text_add(out, "%-9s%s: %s\n", at->pack ? "pack" : "system", at->path,
		             kt_reasons[r].sentence);
	}
	if (p->pin_path)
		kir_text_add(out, "pins     %s: %u, digest %s\n", p->pin_path, p->pins.n,
		             p->pins.digest);
}
