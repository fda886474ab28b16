/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_keep.c -- every field of every kind of record is kept; merging is commutative,
 * associative and idempotent on random stores; transactions, eviction, counts, walks. */
#include "support_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static unsigned seed = 21;

static int below(int n)
{
	return rand_r(&seed) % n;
}

static char *words(unsigned i)
{
	static const char *const list[] = { "kv_tile=16", "kv_tile=64 split=512", "",
		                            "\"'%s--;" };

	return (char *)list[i % 4];
}

/* Clocks may have been anywhere. */
static int64_t random_time(void)
{
	static const int64_t list[] = {
		INT64_MAX, INT64_MAX - 1, INT64_MIN, 0, -1, 1790000000
	};

	return list[below(6)];
}

static double random_real(void)
{
	return below(3) ? below(1000) / 7.0 : below(2);
}

/* -- random records: few places, so that those of two stores meet -------------------------- */

static kt_where random_where(void)
{
	return (kt_where){ .program = pk_key_of("program", (unsigned)below(2)),
		           .machine = pk_key_of("machine", (unsigned)below(2)),
		           .threads = 1 + below(2),
		           .policy = (kt_policy)below(2),
		           .bucket = { below(2) - 1, below(2) * 12, below(2) * 2 } };
}

static kt_schedule random_schedule(void)
{
	return (kt_schedule){ .where = random_where(),
		              .problem = words((unsigned)below(4)),
		              .sched = words((unsigned)below(4)),
		              .target = words((unsigned)below(4)),
		              .machine = words((unsigned)below(4)),
		              .source = (kt_source)below(4),
		              .median = random_real(),
		              .lo = random_real(),
		              .hi = random_real(),
		              .ratio = random_real(),
		              .ratio_lo = random_real(),
		              .ratio_hi = random_real(),
		              .n = below(3),
		              .when = random_time(),
		              .codegen = below(2) };
}

static kt_trial random_trial(void)
{
	return (kt_trial){ .where = random_where(),
		           .run = below(2),
		           .seq = below(2),
		           .sched = words((unsigned)below(4)),
		           .why = words((unsigned)below(4)),
		           .state = (kt_state)below(KT_NSTATE),
		           .median = random_real(),
		           .lo = random_real(),
		           .hi = random_real(),
		           .min = random_real(),
		           .ratio = random_real(),
		           .ratio_lo = random_real(),
		           .ratio_hi = random_real(),
		           .n = below(3),
		           .steal = random_real(),
		           .migrations = below(3),
		           .when = random_time(),
		           .compile_us = below(3),
		           .codegen = below(2) };
}

/* Of one key bytes may differ, and with the same bytes the words. */
static kt_code random_code(uint8_t *bytes)
{
	size_t size = 1 + (size_t)below(2) * 200;
	kt_code c = pk_make_code((unsigned)below(3), bytes, size);

	c.key = pk_key_of("code", (unsigned)below(6));
	c.kind = words((unsigned)below(2));
	c.backend = words((unsigned)below(2));
	c.target = words((unsigned)below(2));
	c.problem = words((unsigned)below(4));
	c.sched = words((unsigned)below(2));
	c.phases = words((unsigned)below(2));
	c.isa = UINT64_MAX - (uint64_t)below(2);
	c.entry = (size_t)below(2);
	c.compile_us = below(3);
	c.uses = below(5);
	c.last_used = random_time();
	return c;
}

static kt_pin random_pin(void)
{
	return (kt_pin){ .program = pk_key_of("program", (unsigned)below(3)),
		         .bucket = random_where().bucket,
		         .problem = words((unsigned)below(4)),
		         .sched = words((unsigned)below(4)) };
}

static void put_random(kt_store *s)
{
	uint8_t bytes[300];
	kt_schedule r = random_schedule();
	kt_trial t = random_trial();
	kt_code c = random_code(bytes);
	kt_pin p = random_pin();

	pk_assert_reason(kt_schedule_put(s, &r), KT_WHY_none);
	pk_assert_reason(kt_trial_put(s, &t), KT_WHY_none);
	pk_assert_reason(kt_code_put(s, &c), KT_WHY_none);
	pk_assert_reason(kt_pin_put(s, &p), KT_WHY_none);
	pk_assert_reason(kt_meta_raise(s, words((unsigned)below(4)), below(100)), KT_WHY_none);
}

/* -- all that a store holds, as text ------------------------------------------------------- */

static void add_key(kir_text *t, const kt_key *k)
{
	char hex[KT_HEX];

	kt_key_hex(k, hex);
	kir_text_add(t, "%s ", hex);
}

static void add_where(kir_text *t, const kt_where *w)
{
	add_key(t, &w->program);
	add_key(t, &w->machine);
	kir_text_add(t, "%d %d %d %d %d ", w->threads, w->policy, w->bucket.batch,
	             w->bucket.ctx, w->bucket.qlen);
}

static bool add_schedule(const kt_schedule *r, void *ctx)
{
	kir_text_add(ctx, "schedule ");
	add_where(ctx, &r->where);
	kir_text_add(ctx, "[%s] [%s] [%s] [%s] %d %a %a %a %a %a %a %lld %lld %d\n", r->problem,
	             r->sched, r->target, r->machine, r->source, r->median, r->lo, r->hi,
	             r->ratio, r->ratio_lo, r->ratio_hi, (long long)r->n, (long long)r->when,
	             r->codegen);
	return true;
}

static bool add_trial(const kt_trial *r, void *ctx)
{
	kir_text_add(ctx, "trial ");
	add_where(ctx, &r->where);
	kir_text_add(
	    ctx, "%lld %lld [%s] [%s] %s %a %a %a %a %a %a %a %lld %a %lld %lld %lld %d\n",
	    (long long)r->run, (long long)r->seq, r->sched, r->why, kt_state_names[r->state],
	    r->median, r->lo, r->hi, r->min, r->ratio, r->ratio_lo, r->ratio_hi,
	    (long long)r->n, r->steal, (long long)r->migrations, (long long)r->when,
	    (long long)r->compile_us, r->codegen);
	return true;
}

static bool add_code(const kt_code *c, void *ctx)
{
	kt_key of_bytes;

	kt_hash(c->bytes, c->size, &of_bytes);
	kir_text_add(ctx, "code ");
	add_key(ctx, &c->key);
	add_key(ctx, &c->program);
	add_key(ctx, &c->hash);
	add_key(ctx, &of_bytes);
	kir_text_add(ctx, "[%s] [%s] [%s] [%s] [%s] [%s] %llx %zu %zu %zu %lld %lld %lld %d\n",
	             c->kind, c->backend, c->target, c->problem, c->sched, c->phases,
	             (unsigned long long)c->isa, c->size, c->entry, c->text,
	             (long long)c->compile_us, (long long)c->uses, (long long)c->last_used,
	             c->codegen);
	return true;
}

static bool add_pin(const kt_pin *p, void *ctx)
{
	kir_text_add(ctx, "pin ");
	add_key(ctx, &p->program);
	kir_text_add(ctx, "%d %d %d [%s] [%s]\n", p->bucket.batch, p->bucket.ctx,
	             p->bucket.qlen, p->problem, p->sched);
	return true;
}

static char *dump(const char *name)
{
	kt_store *s = ks_open(name, KT_USER);
	kir_text t = { 0 };

	assert_true(kt_each_schedule(s, add_schedule, &t) && kt_each_trial(s, add_trial, &t));
	assert_true(kt_each_code(s, true, add_code, &t) && kt_each_pin(s, add_pin, &t));
	for (unsigned i = 0; i < 4; i++) {
		int64_t x = -1;
		bool found = kt_meta_get(s, words(i), &x);

		kir_text_add(&t, "meta %d %lld\n", found, (long long)x);
	}
	kt_store_close(s);
	assert_string_equal(pk_said, "");
	return t.text;
}

static void assert_same(const char *a, const char *b)
{
	char *x = dump(a), *y = dump(b);

	for (char *p = x, *q = y; *p || *q;) {
		size_t n = strcspn(p, "\n"), m = strcspn(q, "\n");

		if (n != m || memcmp(p, q, n) != 0)
			fail_msg("%s: %.*s\n%s: %.*s", a, (int)n, p, b, (int)m, q);
		p += n + 1;
		q += m + 1;
	}
	free(x);
	free(y);
}

/* -- keeping ------------------------------------------------------------------------------- */

static void every_field_is_kept(void **state)
{
	kt_store *s = ks_open("fields", KT_USER);
	kir_text want = { 0 }, got = { 0 };

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		kt_key none = { { 0 } };
		uint8_t bytes[300];
		kt_schedule r = random_schedule(), *rs;
		kt_trial t = random_trial(), *ts;
		kt_code c = random_code(bytes), back;
		kt_pin p = random_pin(), *ps;

		r.where.program = t.where.program = p.program = pk_key_of("field", i);
		add_schedule(&r, &want);
		add_trial(&t, &want);
		add_code(&c, &want);
		add_pin(&p, &want);
		pk_assert_reason(kt_schedule_put(s, &r), KT_WHY_none);
		pk_assert_reason(kt_trial_put(s, &t), KT_WHY_none);
		pk_assert_reason(kt_code_put(s, &c), KT_WHY_none);
		pk_assert_reason(kt_pin_put(s, &p), KT_WHY_none);
		assert_int_equal(kt_schedules_of(s, &r.where.program, &none, &rs), 0);
		free(rs);
		assert_int_equal(kt_schedules_of(s, &r.where.program, &r.where.machine, &rs),
		                 1);
		assert_int_equal(kt_trials_of(s, &t.where, &ts), 1);
		assert_int_equal(kt_pins_of(s, &p.program, &ps), 1);
		pk_assert_reason(kt_code_get(s, &c.key, &back), KT_WHY_none);
		add_schedule(rs, &got);
		add_trial(ts, &got);
		add_code(&back, &got);
		add_pin(ps, &got);
		kt_schedule_free(rs);
		kt_trial_free(ts);
		kt_code_free(&back);
		kt_pin_free(ps);
		free(rs);
		free(ts);
		free(ps);
	}
	assert_string_equal(got.text, want.text);
	kt_store_close(s);
	free(want.text);
	free(got.text);
}

/* Whatever separates the places, each has its own record. */
static void another_place_is_another_record(void **state)
{
	kt_store *s = ks_open("places", KT_USER);
	kt_trial t = random_trial(), *ts;
	kt_where base = { .program = pk_key_of("program", 0), .threads = 1 }, all[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		all[i] = base;
	all[1].program = pk_key_of("program", 1);
	all[2].machine = pk_key_of("machine", 1);
	all[3].threads = 2;
	all[4].policy = KT_WARM;
	all[5].bucket.batch = KT_ANY;
	all[6].bucket.ctx = 1;
	all[7].bucket.qlen = 2;
	for (unsigned i = 0; i < 8; i++) {
		t.where = all[i];
		t.run = i;
		pk_assert_reason(kt_trial_put(s, &t), KT_WHY_none);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(kt_trials_of(s, &all[i], &ts), 1);
		assert_int_equal(ts->run, i);
		kt_trial_free(ts);
		free(ts);
	}
	kt_store_close(s);
}

typedef struct order {
	kt_key last;
	unsigned n, stop;
} order;

static bool see_in_order(const kt_code *c, void *ctx)
{
	order *o = ctx;

	assert_true(memcmp(&o->last, &c->key, sizeof(o->last)) < 0);
	assert_null(c->bytes);
	o->last = c->key;
	return ++o->n != o->stop;
}

static void walks_go_by_key_until_they_are_stopped(void **state)
{
	order all = { .stop = 0 }, some = { .stop = 4 };
	char why[300];
	int64_t n = 0;
	kt_store *s;

	(void)state;
	ks_make("walk", 20);
	s = ks_open("walk", KT_USER);
	assert_true(kt_each_code(s, false, see_in_order, &all));
	assert_int_equal(all.n, 20);
	assert_true(kt_each_code(s, false, see_in_order, &some));
	assert_int_equal(some.n, 4);
	pk_assert_reason(kt_store_verify(s, why, sizeof(why), &n), KT_WHY_none);
	assert_int_equal(n, 20);
	kt_store_close(s);
}

/* -- merging ------------------------------------------------------------------------------- */

static void merge(const char *into, const char *from)
{
	kt_store *s = ks_open(into, KT_USER), *f = ks_open(from, KT_SYSTEM);

	pk_assert_reason(kt_store_merge(s, f), KT_WHY_none);
	kt_store_close(f);
	kt_store_close(s);
}

static void merging_is_an_algebra(void **state)
{
	int rounds = getenv("KVJIT_LONG") ? 100 : 8;

	(void)state;
	for (int r = 0; r < rounds; r++) {
		char name[8][30];
		enum { A, B, C, AB, BA, AB_C, BC, A_BC };

		for (int i = 0; i < 8; i++)
			snprintf(name[i], sizeof(name[i]), "merge%d-%d", r, i);
		for (int i = A; i <= C; i++) {
			kt_store *s = ks_open(name[i], KT_USER);

			assert_int_equal(kt_store_begin(s), KT_WHY_none);
			for (int k = 0; k < 60; k++)
				put_random(s);
			assert_int_equal(kt_store_end(s, true), KT_WHY_none);
			kt_store_close(s);
		}
		merge(name[AB], name[A]);
		assert_same(name[AB], name[A]); /* into nothing */
		merge(name[AB], name[B]);
		merge(name[BA], name[B]);
		merge(name[BA], name[A]);
		assert_same(name[AB], name[BA]);
		merge(name[BA], name[B]);
		merge(name[BA], name[AB]);
		merge(name[BA], name[BA]);
		assert_same(name[AB], name[BA]);
		merge(name[AB_C], name[AB]);
		merge(name[AB_C], name[C]);
		merge(name[BC], name[B]);
		merge(name[BC], name[C]);
		merge(name[A_BC], name[A]);
		merge(name[A_BC], name[BC]);
		assert_same(name[AB_C], name[A_BC]);
	}
}

/* What the smaller of two counts would do as well for an algebra. */
static void merging_keeps_what_says_more(void **state)
{
	static const int64_t counts[2][3] = { { 5, 9, 3 }, { 2, 20, 7 } };
	uint8_t bytes[KS_SIZE];

	(void)state;
	for (int into = 0; into < 2; into++) {
		char name[2][30];

		for (int i = 0; i < 2; i++) {
			snprintf(name[i], sizeof(name[i]), "more%d-%d", into, i);
			kt_store *s = ks_open(name[i], KT_USER);
			kt_schedule r = pk_make_schedule(0);
			kt_code c = pk_make_code(0, bytes, sizeof(bytes));

			c.uses = counts[i][0];
			c.last_used = counts[i][1];
			c.compile_us = counts[i][2];
			r.n = 100 + i;
			pk_assert_reason(kt_code_put(s, &c), KT_WHY_none);
			pk_assert_reason(kt_schedule_put(s, &r), KT_WHY_none);
			kt_store_close(s);
		}
		merge(name[into], name[!into]);

		kt_store *s = ks_open(name[into], KT_USER);
		kt_key program = pk_make_schedule(0).where.program, key = pk_key_of("code", 0);
		kt_schedule *r;
		kt_code c;

		pk_assert_reason(kt_code_get(s, &key, &c), KT_WHY_none);
		assert_int_equal(c.uses, 5);
		assert_int_equal(c.last_used, 20);
		assert_int_equal(c.compile_us, 7);
		kt_code_free(&c);
		assert_int_equal(kt_schedules_of(s, &program, NULL, &r), 1);
		assert_int_equal(r->n, 101);
		kt_schedule_free(r);
		free(r);
		kt_store_close(s);
	}
}

/* Numbers that are one as doubles are two records all the same. */
static void no_two_records_are_equal(void **state)
{
	kt_schedule a = random_schedule(), b = a;
	kt_trial t = random_trial(), u = t;

	(void)state;
	assert_int_equal(kt_schedule_order(&a, &b), 0);
	assert_int_equal(kt_trial_order(&t, &u), 0);
	a.when = t.when = INT64_MAX;
	b.when = u.when = INT64_MAX - 1;
	assert_true(kt_schedule_order(&a, &b) > 0 && kt_schedule_order(&b, &a) < 0);
	assert_true(kt_trial_order(&t, &u) > 0 && kt_trial_order(&u, &t) < 0);
	a.n = INT64_MAX - 1;
	b.n = INT64_MAX;
	assert_true(kt_schedule_order(&a, &b) < 0 && kt_schedule_order(&b, &a) > 0);
}

/* What is merged is sound: each entry has the seal of what it became. */
static void merged_code_is_sound(void **state)
{
	char why[300];
	kt_store *s = ks_open("merge0-5", KT_USER);
	int64_t n;

	(void)state;
	pk_assert_reason(kt_store_verify(s, why, sizeof(why), &n), KT_WHY_none);
	assert_true(n > 3);
	kt_store_close(s);
}

/* -- transactions, counts, throwing out ---------------------------------------------------- */

static void a_transaction_is_all_or_nothing(void **state)
{
	kt_store *s = ks_open("all", KT_USER), *other;
	char *before, *after;

	(void)state;
	put_random(s);
	before = dump("all");
	pk_assert_reason(kt_store_begin(s), KT_WHY_none);
	pk_assert_reason(kt_store_begin(s), KT_WHY_locked); /* no second one within */
	for (unsigned i = 0; i < 10; i++)
		put_random(s);
	after = dump("all"); /* nobody sees half of it */
	assert_string_equal(after, before);
	free(after);
	pk_assert_reason(kt_store_end(s, false), KT_WHY_none);
	after = dump("all");
	assert_string_equal(after, before);
	free(after);
	pk_assert_reason(kt_store_begin(s), KT_WHY_none);
	for (unsigned i = 0; i < 10; i++)
		pk_assert_reason(ks_put(s, 100 + i, KS_SIZE), KT_WHY_none);
	pk_assert_reason(kt_store_end(s, true), KT_WHY_none);
	other = ks_open("all", KT_USER);
	kt_key k = pk_key_of("code", 109);
	kt_code c;
	pk_assert_reason(kt_code_get(other, &k, &c), KT_WHY_none);
	kt_code_free(&c);
	kt_store_close(other);
	kt_store_close(s);
	free(before);
}

static void uses_are_counted_and_decide_who_goes(void **state)
{
	kt_store_options o = { pk_in_folder("uses"), KT_USER, 3000, { pk_keep, NULL } };
	kt_key used = pk_key_of("code", 0), absent = pk_key_of("nothing", 0);
	kt_code c;
	kt_store *s;

	(void)state;
	ks_make("uses", 4); /* entry i was made with i uses */
	s = ks_open("uses", KT_USER);
	for (unsigned i = 0; i < 7; i++)
		kt_code_used(s, &used);
	kt_code_used(s, &absent);
	kt_store_close(s);
	s = kt_store_open(&o);
	c = ks_get(s, 0);
	assert_int_equal(c.uses, 7);
	assert_true(c.last_used > 1700000000);
	kt_code_free(&c);
	c = ks_get(s, 3);
	assert_int_equal(c.uses, 3);
	kt_code_free(&c);
	pk_assert_reason(ks_put(s, 9, KS_SIZE), KT_WHY_none); /* 3500 bytes: 1 goes, not 0 */
	used = pk_key_of("code", 1);
	pk_assert_reason(kt_code_get(s, &used, &c), KT_WHY_miss);
	c = ks_get(s, 0);
	kt_code_free(&c);
	pk_assert_reason(ks_put(s, 10, 3001), KT_WHY_full); /* none goes for what can't stay */
	assert_int_equal(ks_intact(s, 10, KS_SIZE), 4);
	kt_store_close(s);
}

/* A clock that was wrong for a day leaves times of the future or of before 1970 behind: who is
 * thrown out, what is found and what replaces what doesn't depend on them. */
static void the_clock_may_jump(void **state)
{
	static const int64_t jumps[] = { INT64_C(4102444800), -86400, 0, INT64_MAX };
	kt_where w = { .program = pk_key_of("clock", 0), .threads = 1 };
	kt_store_options o = { pk_in_folder("clock"), KT_USER, 3000, { pk_keep, NULL } };
	kt_schedule r = { .where = w,
		          .problem = (char *)"p",
		          .target = (char *)"t",
		          .machine = (char *)"m" },
	            *rs;
	kt_store *s;
	kt_code c;

	(void)state;
	ks_make("clock", 4); /* entry i was made with i uses */
	ks_sql("clock", "UPDATE code SET last_used=CASE uses WHEN 0 THEN 9223372036854775807 "
	                "WHEN 1 THEN -86400 WHEN 2 THEN 4102444800 ELSE 0 END;");
	s = kt_store_open(&o);
	for (unsigned i = 0; i < 4; i++) {
		kt_key k = pk_key_of("code", i);
		kt_trial t = { .where = w, .run = i, .sched = (char *)"", .why = (char *)"" };

		c = ks_get(s, i);
		kt_code_free(&c);
		kt_code_used(s, &k);
		t.when = r.when = jumps[i];
		r.sched = (char *)(i % 2 ? "kv_tile=16" : "kv_tile=32");
		pk_assert_reason(kt_trial_put(s, &t), KT_WHY_none);
		pk_assert_reason(kt_schedule_put(s, &r), KT_WHY_none);
		assert_int_equal(kt_schedules_of(s, &w.program, NULL, &rs), 1);
		assert_string_equal(rs[0].sched,
		                    r.sched); /* the last that was put, not the latest */
		kt_schedule_free(&rs[0]);
		free(rs);
	}
	kt_store_close(s); /* writes uses with the time of now */
	s = kt_store_open(&o);
	pk_assert_reason(ks_put(s, 9, KS_SIZE), KT_WHY_none); /* the least used goes for it */
	for (unsigned i = 0; i < 4; i++) {
		kt_key k = pk_key_of("code", i);
		kt_reason why = kt_code_get(s, &k, &c);

		pk_assert_reason(why, i ? KT_WHY_none : KT_WHY_miss);
		if (why != KT_WHY_none)
			continue;
		assert_int_equal(c.uses, i + 1);
		assert_true(c.last_used > 1700000000 && c.last_used < 4102444800);
		kt_code_free(&c);
	}
	kt_store_close(s);
	assert_string_equal(pk_said, "");
}

static void gc_drops_other_generators_code_then_the_cheapest(void **state)
{
	uint8_t bytes[KS_SIZE];
	kt_store *s;
	kt_gc gc;

	(void)state;
	ks_make("gc", 6);
	s = ks_open("gc", KT_USER);
	for (unsigned i = 20; i < 23; i++) {
		kt_code c = pk_make_code(i, bytes, KS_SIZE);

		c.codegen = KT_CODEGEN + 1;
		pk_assert_reason(kt_code_put(s, &c), KT_WHY_none);
	}
	kt_pin pin = { .program = pk_key_of("program", 0),
		       .bucket = { KT_ANY, KT_ANY, KT_ANY },
		       .problem = words(0),
		       .sched = words(0) };
	pk_assert_reason(kt_pin_put(s, &pin), KT_WHY_none);
	pk_assert_reason(kt_store_gc(s, 0, &gc), KT_WHY_none);
	assert_int_equal(gc.code_before, 9 * KS_SIZE);
	assert_int_equal(gc.code_after, 6 * KS_SIZE);
	assert_int_equal(gc.stale, 3);
	assert_int_equal(gc.dropped, 0);
	assert_int_equal(ks_intact(s, 30, KS_SIZE), 6);
	pk_assert_reason(kt_store_gc(s, 3 * KS_SIZE, &gc), KT_WHY_none);
	assert_int_equal(gc.dropped, 3);
	assert_int_equal(gc.code_after, 3 * KS_SIZE);
	kt_code c = ks_get(s, 0); /* the least used, but pinned */
	kt_code_free(&c);
	c = ks_get(s, 5);
	kt_code_free(&c);
	pk_assert_reason(kt_store_gc(s, 1, &gc), KT_WHY_none);
	assert_int_equal(ks_intact(s, 30, KS_SIZE), 1);
	pk_assert_reason(kt_pin_drop(s, &pin), KT_WHY_none);
	pk_assert_reason(kt_pin_drop(s, &pin), KT_WHY_miss);
	pk_assert_reason(kt_store_gc(s, 1, &gc), KT_WHY_none);
	assert_int_equal(ks_intact(s, 30, KS_SIZE), 0);
	kt_store_close(s);
}

/* Not only the bytes that are counted: those of the file, and what is left in its journal. */
static void gc_gives_the_room_back(void **state)
{
	struct stat db = { 0 }, wal = { 0 };
	char journal[110];
	kt_store *s;
	kt_gc gc;

	(void)state;
	s = ks_open("room", KT_USER);
	for (unsigned i = 0; i < 40; i++)
		pk_assert_reason(ks_put(s, i, 100000), KT_WHY_none);
	kt_store_close(s);
	s = ks_open("room", KT_USER);
	pk_assert_reason(kt_store_gc(s, 300000, &gc), KT_WHY_none);
	assert_int_equal(gc.dropped, 37);
	kt_store_close(s);
	assert_int_equal(stat(pk_in_folder(ks_db("room")), &db), 0);
	snprintf(journal, sizeof(journal), "%s-wal", ks_db("room"));
	stat(pk_in_folder(journal), &wal);
	assert_in_range(db.st_size + wal.st_size, 300000, 450000);
}

/* A row that can't be read is passed over by whoever looks for others, and told by verify. */
static void an_entry_that_cannot_be_read_is_told(void **state)
{
	char why[300];
	int64_t n;
	kt_store *s;

	(void)state;
	ks_make("short", 5);
	ks_sql("short", "UPDATE code SET program=x'00' WHERE rowid=2");
	s = ks_open("short", KT_USER);
	assert_int_equal(ks_intact(s, 5, KS_SIZE), 4);
	pk_assert_reason(kt_store_verify(s, why, sizeof(why), &n), KT_WHY_corrupt);
	pk_assert_has(why, "can't be read");
	assert_int_equal(n, 4);
	kt_store_close(s);
}

static bool count_schedule(const kt_schedule *r, void *ctx)
{
	(void)r;
	return ++*(unsigned *)ctx > 0;
}

static bool count_pin(const kt_pin *r, void *ctx)
{
	(void)r;
	return ++*(unsigned *)ctx > 0;
}

/* Sizes are places in tables, of whoever prints and picks. */
static void sizes_of_no_class_are_passed_over(void **state)
{
	static const char *const damage[] = {
		"qlen=64",  "qlen=3", "qlen=-2", "batch=11",
		"batch=-2", "ctx=13", "ctx=-2",  "qlen=4294967296"
	};
	kt_schedule r = pk_make_schedule(0);
	kt_pin pin = { .program = r.where.program,
		       .bucket = r.where.bucket,
		       .problem = words(0),
		       .sched = words(0) };

	(void)state;
	for (unsigned i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		unsigned schedules = 0, pins = 0;
		char name[30], sql[120];
		kt_store *s;

		snprintf(name, sizeof(name), "class%u", i);
		s = ks_open(name, KT_USER);
		pk_assert_reason(kt_schedule_put(s, &r), KT_WHY_none);
		pk_assert_reason(kt_pin_put(s, &pin), KT_WHY_none);
		assert_true(kt_each_schedule(s, count_schedule, &schedules));
		assert_true(kt_each_pin(s, count_pin, &pins));
		assert_true(schedules == 1 && pins == 1);
		kt_store_close(s);
		snprintf(sql, sizeof(sql), "UPDATE schedules SET %s;UPDATE pins SET %s",
		         damage[i], damage[i]);
		ks_sql(name, sql);
		s = ks_open(name, KT_USER);
		assert_true(kt_each_schedule(s, count_schedule, &schedules));
		assert_true(kt_each_pin(s, count_pin, &pins));
		assert_true(schedules == 1 && pins == 1);
		kt_store_close(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_is_kept),
		cmocka_unit_test(another_place_is_another_record),
		cmocka_unit_test(walks_go_by_key_until_they_are_stopped),
		cmocka_unit_test(merging_is_an_algebra),
		cmocka_unit_test(merging_keeps_what_says_more),
		cmocka_unit_test(no_two_records_are_equal),
		cmocka_unit_test(merged_code_is_sound),
		cmocka_unit_test(a_transaction_is_all_or_nothing),
		cmocka_unit_test(uses_are_counted_and_decide_who_goes),
		cmocka_unit_test(the_clock_may_jump),
		cmocka_unit_test(gc_drops_other_generators_code_then_the_cheapest),
		cmocka_unit_test(gc_gives_the_room_back),
		cmocka_unit_test(an_entry_that_cannot_be_read_is_told),
		cmocka_unit_test(sizes_of_no_class_are_passed_over),
	};

	return cmocka_run_group_tests(tests, begin_packs, end_packs);
}
