/* SPDX-License-Identifier: Apache-2.0 */
/* support_pack.c -- see support_pack.h. */
#include "support_pack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[400];
kt_public pk_pub;
kt_secret pk_sec;
kt_trust *pk_trust;

/* -- files --------------------------------------------------------------------------- */

const char *pk_in_folder(const char *name)
{
	static char path[4][600];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

void pk_put_file(const char *name, const void *bytes, size_t n)
{
	int fd = open(pk_in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

void pk_put_text(const char *name, const char *text)
{
	pk_put_file(name, text, strlen(text));
}

uint8_t *pk_get_file(const char *name, size_t *n)
{
	int fd = open(pk_in_folder(name), O_RDONLY);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	uint8_t *bytes = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	close(fd);
	*n = (size_t)st.st_size;
	return bytes;
}

kt_trust *pk_trust_of(const char *lines)
{
	char text[1000], key[200];

	kt_public_print(&pk_pub, key, sizeof(key));
	snprintf(text, sizeof(text), "key %.56s\n%s", strchr(key, '\n') + 1, lines);
	pk_put_text("trusted", text);
	kt_trust *t = kt_trust_read(pk_in_folder("trusted"), NULL);
	assert_non_null(kt_trust_key(t, pk_pub.id));
	return t;
}

int begin_packs(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/pack.%ld", tmp ? tmp : "/tmp", (long)getpid());
	if (mkdir(folder, 0700) || !kt_keypair(&pk_pub, &pk_sec))
		return -1;
	pk_trust = pk_trust_of("");
	return 0;
}

int end_packs(void **state)
{
	char command[500];

	(void)state;
	kt_trust_free(pk_trust);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* -- records ------------------------------------------------------------------------- */

kt_key pk_key_of(const char *what, unsigned i)
{
	char text[40];
	kt_key k;

	snprintf(text, sizeof(text), "%s %u", what, i);
	kt_hash(text, strlen(text), &k);
	return k;
}

kt_schedule pk_make_schedule(unsigned i)
{
	kt_schedule r = { .where = { .program = pk_key_of("program", i),
		                     .machine = pk_key_of("machine", i % 2),
		                     .threads = (int)i + 1,
		                     .policy = i % 2 ? KT_WARM : KT_COLD,
		                     .bucket = { KT_ANY, (int)(i % 13), (int)(i % 3) } },
		          .problem = "attn q=bf16 kv=int8/token-head heads=32:8",
		          .sched = "kv_tile=64 q_tile=1",
		          .target = "avx512-bf16",
		          .machine = "avx512-bf16 l1=32",
		          .source = KT_BY_transfer,
		          .median = 1e-5 * (i + 1),
		          .lo = 0.9e-5,
		          .hi = 1.1e-5,
		          .ratio = 0.75,
		          .ratio_lo = 0.7,
		          .ratio_hi = 0.8,
		          .n = 41 + i,
		          .when = 1700000000 + i,
		          .codegen = 1 };

	return r;
}

kt_code pk_make_code(unsigned i, uint8_t *bytes, size_t n)
{
	for (size_t k = 0; k < n; k++)
		bytes[k] = (uint8_t)(k * 31 + i * 7 + (i >> 8));
	kt_code r = { .key = pk_key_of("code", i),
		      .program = pk_key_of("program", i),
		      .kind = i % 5 == 4 ? "spirv" : "x86-64",
		      .backend = "x86",
		      .target = "avx2",
		      .problem = "attn q=bf16 kv=int8/token-head heads=32:8",
		      .sched = "kv_tile=64 q_tile=1",
		      .isa = UINT64_C(0x8000000000000001) + i,
		      .bytes = bytes,
		      .size = n,
		      .entry = 3,
		      .text = n - 1,
		      .phases = "nwork njoin",
		      .compile_us = 12345 + i,
		      .uses = i,
		      .last_used = 99 + i,
		      .codegen = 1 };

	kt_hash(bytes, n, &r.hash);
	return r;
}

kt_schedule pk_schedules[NSCHED];
kt_code pk_codes[NCODE];
uint8_t pk_code_bytes[NCODE][CODE_BYTES];

kt_pack_input pk_small_input(void)
{
	kt_pack_input in = { .head = { .name = "attention",
		                       .version = 5,
		                       .nschedule = NSCHED,
		                       .ncode = NCODE },
		             .schedule = pk_schedules,
		             .code = pk_codes };

	for (unsigned i = 0; i < NSCHED; i++)
		pk_schedules[i] = pk_make_schedule(i);
	for (unsigned i = 0; i < NCODE; i++)
		pk_codes[i] = pk_make_code(i, pk_code_bytes[i], CODE_BYTES);
	return in;
}

void pk_write_pack(const char *name, const kt_pack_input *in)
{
	char why[400] = "";

	if (!kt_pack_write(pk_in_folder(name), in, why, sizeof(why)))
		fail_msg("%s", why);
}

void pk_sign_pack(const char *name)
{
	char why[400] = "";

	if (!kt_pack_sign(pk_in_folder(name), &pk_sec, why, sizeof(why)))
		fail_msg("%s", why);
}

void pk_small_pack(const char *name)
{
	kt_pack_input in = pk_small_input();

	pk_write_pack(name, &in);
	pk_sign_pack(name);
}

/* -- opening ------------------------------------------------------------------------- */

char pk_said[3000];

void pk_keep(const char *line, void *ctx)
{
	(void)ctx;
	strncat(pk_said, line, sizeof(pk_said) - strlen(pk_said) - 1);
}

kt_pack *pk_open_pack(const char *name)
{
	kt_pack_options o = { .path = pk_in_folder(name),
		              .trust = pk_trust,
		              .now = NOW,
		              .log = { pk_keep, NULL } };

	pk_said[0] = '\0';
	kt_pack *p = kt_pack_open(&o);
	assert_non_null(p);
	return p;
}

void pk_assert_has(const char *sentence, const char *words)
{
	if (!strstr(sentence, words))
		fail_msg("'%s' doesn't say '%s'", sentence, words);
}

void pk_assert_reason(kt_reason got, kt_reason want)
{
	assert_string_equal(kt_reasons[got].name, kt_reasons[want].name);
}

void pk_assert_schedules_only(kt_pack *p, kt_reason why, const char *words)
{
	kt_schedule *list;
	kt_code c;

	pk_assert_reason(kt_pack_state(p), KT_WHY_none);
	pk_assert_reason(kt_pack_trust(p), why);
	pk_assert_has(pk_said, kt_reasons[why].sentence);
	pk_assert_has(pk_said, words);
	for (unsigned i = 0; i < NCODE; i++) {
		kt_key k = pk_key_of("code", i);
		pk_assert_reason(kt_pack_code(p, &k, &c), why);
	}
	kt_key program = pk_key_of("program", 0);
	assert_int_equal(kt_pack_schedules(p, &program, NULL, &list), 1);
	kt_schedule_free(&list[0]);
	free(list);
}

void pk_assert_nothing(kt_pack *p, kt_reason why)
{
	kt_schedule *list;
	kt_code c;
	kt_key code = pk_key_of("code", 0), program = pk_key_of("program", 0);

	pk_assert_reason(kt_pack_state(p), why);
	pk_assert_reason(kt_pack_trust(p), why);
	pk_assert_reason(kt_pack_code(p, &code, &c), KT_WHY_miss);
	assert_int_equal(kt_pack_schedules(p, &program, NULL, &list), 0);
	assert_null(list);
	assert_null(kt_pack_head_of(p));
	assert_null(kt_pack_signer(p));
}

void pk_assert_same_schedule(const kt_schedule *a, const kt_schedule *b)
{
	kt_bytes x = { 0 }, y = { 0 };

	kt_put_schedule(&x, a);
	kt_put_schedule(&y, b);
	assert_int_equal(x.n, y.n);
	assert_memory_equal(x.at, y.at, x.n);
	assert_string_equal(a->machine, b->machine);
	assert_true(a->ratio_hi == b->ratio_hi && a->n == b->n && a->when == b->when);
	free(x.at);
	free(y.at);
}

void pk_assert_same_code(const kt_code *a, const kt_code *b)
{
	assert_true(kt_key_equal(&a->key, &b->key));
	assert_true(kt_key_equal(&a->program, &b->program));
	assert_true(kt_key_equal(&a->hash, &b->hash));
	assert_string_equal(a->kind, b->kind);
	assert_string_equal(a->backend, b->backend);
	assert_string_equal(a->target, b->target);
	assert_string_equal(a->problem, b->problem);
	assert_string_equal(a->sched, b->sched);
	assert_string_equal(a->phases, b->phases);
	assert_true(a->isa == b->isa && a->size == b->size && a->entry == b->entry);
	assert_true(a->text == b->text && a->codegen == b->codegen);
	assert_memory_equal(a->bytes, b->bytes, a->size);
}

unsigned pk_intact(kt_pack *p)
{
	unsigned n = 0;
	kt_schedule *list;
	kt_code c;

	for (unsigned i = 0; i < NCODE; i++)
		if (!kt_pack_code(p, &pk_codes[i].key, &c)) {
			pk_assert_same_code(&c, &pk_codes[i]);
			assert_memory_equal(c.bytes, pk_code_bytes[i], CODE_BYTES);
			kt_code_free(&c);
			n++;
		}
	for (unsigned i = 0; i < NSCHED; i++) {
		unsigned m = kt_pack_schedules(p, &pk_schedules[i].where.program, NULL, &list);
		for (unsigned k = 0; k < m; k++) {
			if (!kt_pack_trust(p))
				pk_assert_same_schedule(&list[k], &pk_schedules[i]);
			kt_schedule_free(&list[k]);
		}
		free(list);
		n += m;
	}
	return n;
}
