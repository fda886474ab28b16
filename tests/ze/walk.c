/* SPDX-License-Identifier: Apache-2.0 */
/* walk.c -- the whole way of a list of problems through a device: open, build, allocate, copy,
 * launch, wait, read the clock, tear down. Every step must succeed; results are nobody's
 * business here, as Intel's driver in capture mode computes nothing (capture.sh).
 *
 *     walk TARGET PROBLEM...
 */
#include "../../tools/check/attn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;

static void step(const char *problem, const char *what, bool ok, const char *why)
{
	if (ok)
		return;
	printf("%s: %s: %s\n", problem, what, why);
	failed = 1;
}

/* Queries, scales and numbers. */
static void bind_rest(attn *a, const kvjit_kernel *k)
{
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		int64_t shape[6];

		if (p->planned || bind_find(&a->b, p->name))
			continue;
		for (int d = 0; d < p->rank; d++)
			shape[d] = p->shape[d] < 0 ? a->rows : p->shape[d];
		if (p->rank)
			bind_tensor(&a->b, p->name, p->dtype, p->rank, shape);
		else
			bind_scalar(&a->b, p->name, a->rows, 1);
	}
}

/* Two sequences, on pages of their own. */
static void attention(kvjit *kv, const char *text, kvjit_kernel *k)
{
	static const int32_t lens[] = { 100, 40 }, starts[] = { 0, 1, 2 };
	int32_t table[2 * 16];
	char why[500] = "";
	attn a;

	for (int i = 0; i < 32; i++)
		table[i] = i;
	if (!attn_open(&a, text, why, sizeof(why))) {
		step(text, "read", false, why);
		attn_close(&a);
		return;
	}
	attn_batch(&a, 2, lens, starts, table, 16, 32);
	bind_rest(&a, k);
	attn_outputs(&a, k);
	step(text, "call", attn_call(&a, kv, k, why, sizeof(why)), why);
	attn_close(&a);
}

/* A kernel without a plan on a timed queue: 16 rows of whatever it takes. */
static void rows(kvjit *kv, const char *text, kvjit_kernel *k)
{
	kvjit_arg args[BIND_MAX] = { { 0 } };
	const kvjit_queue_options timed = { .size = sizeof(timed), .timed = 1 };
	kvjit_queue *q = NULL;
	void *memory[BIND_MAX] = { NULL };
	static const char zeros[1 << 16];
	double seconds = 0;
	int n = kvjit_nparam(k);
	bool ok = n <= BIND_MAX && kvjit_queue_new(kv, &timed, &q) == KVJIT_OK;

	for (int i = 0; i < n && ok; i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		size_t bytes = p->rank ? bind_item(p->dtype) : 0;

		args[i] = (kvjit_arg){ .name = p->name, .dtype = p->dtype, .rank = p->rank };
		args[i].i = 16;
		args[i].f = 1;
		for (int d = 0; d < p->rank; d++) {
			args[i].shape[d] = p->shape[d] < 0 ? 16 : p->shape[d];
			bytes *= (size_t)args[i].shape[d];
		}
		if (!bytes)
			continue;
		ok = bytes <= sizeof(zeros) &&
		     kvjit_device_alloc(kv, KVJIT_MEMORY_DEVICE, bytes, &memory[i]) ==
		         KVJIT_OK &&
		     kvjit_device_copy(kv, memory[i], zeros, bytes) == KVJIT_OK;
		args[i].data = memory[i];
	}
	step(text, "memory", ok, kvjit_error(kv));
	if (ok) {
		ok = kvjit_queue_call(q, k, NULL, args, n, NULL) == KVJIT_OK &&
		     kvjit_queue_wait(q) == KVJIT_OK;
		step(text, "queue", ok, kvjit_queue_error(q));
		/* where nothing runs, no event gets its time: NOT_READY */
		ok = kvjit_queue_seconds(q, &seconds) == KVJIT_OK ||
		     strstr(kvjit_queue_error(q), "ZE_RESULT_NOT_READY");
		step(text, "clock", ok, kvjit_queue_error(q));
	}
	kvjit_queue_free(q);
	for (int i = 0; i < n && i < BIND_MAX; i++)
		kvjit_device_free(kv, memory[i]);
}

int main(int argc, char **argv)
{
	kvjit_options o = { .size = sizeof(o), .target = argc > 1 ? argv[1] : "xe" };
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) != KVJIT_OK) {
		printf("%s\n", kvjit_open_error());
		return 1;
	}
	printf("%s\n", kvjit_device_name(kv));
	for (int i = 2; i < argc; i++) {
		kvjit_kernel *k = NULL;

		if (kvjit_compile(kv, argv[i], NULL, &k) != KVJIT_OK)
			step(argv[i], "compile", false, kvjit_error(kv));
		else if (strncmp(argv[i], "attn", 4) == 0)
			attention(kv, argv[i], k);
		else
			rows(kv, argv[i], k);
		kvjit_release(k);
	}
	kvjit_close(kv);
	printf("%d problems\n", argc - 2);
	return failed;
}
