/* SPDX-License-Identifier: Apache-2.0 */
/* tiles.c -- the peak of tile products on this core: 2 x 2 tiles of the sum, operands that stay
 * in registers or are loaded from L1 for each product, zeros and random numbers.
 *
 *     kvjit-bench-tiles        one line of JSON; says so, and ends with 1, where there are none
 *     kvjit-bench-tiles --ir   the programs
 */
#include "../../include/kvjit.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS = 1024, TIMES = 16, ROUNDS = 40, TILE = 1024 }; /* 0.4 ms a round */

typedef void (*peak_fn)(const void *ab, void *c, int64_t n, int64_t phase, int64_t begin,
                        int64_t end);

static void add(char *text, const char *what)
{
	strcat(text, what);
}

/* Four products a step, and their four loads or none. */
static const char *peak_text(const char *op, int loads)
{
	static char text[4000];
	static const char *const load = "      amx.load %ab[0] {tile=4, pitch=64}\n"
	                                "      amx.load %ab[2048] {tile=6, pitch=64}\n"
	                                "      amx.load %ab[1024] {tile=5, pitch=64}\n"
	                                "      amx.load %ab[3072] {tile=7, pitch=64}\n";

	sprintf(text,
	        "func @%s%s(%%ab: in u8[4096], %%c: out f32[64,16], %%n: s64)\n"
	        "     level=V target=amx {\n",
	        op, loads ? "_loads" : "");
	for (int t = 0; t < 8; t++)
		sprintf(text + strlen(text), "  amx.tile {tile=%d, rows=16, bytes=64}\n", t);
	add(text, "  for %i = 0 to %n par {\n");
	for (int t = 0; t < 4; t++)
		sprintf(text + strlen(text), "    amx.zero {tile=%d}\n", t);
	add(text, load);
	sprintf(text + strlen(text), "    for %%k = 0 to %d {\n", STEPS);
	add(text, loads ? load : "");
	for (int t = 0; t < 4; t++)
		sprintf(text + strlen(text), "      amx.%s {tile=%d, a=%d, b=%d}\n", op, t,
		        4 + t / 2, 6 + t % 2);
	add(text, "      yield\n    }\n");
	for (int t = 0; t < 4; t++)
		sprintf(text + strlen(text), "    amx.store %%c[%d,0] {tile=%d, pitch=64}\n",
		        16 * t, t);
	add(text, "    yield\n  }\n  ret\n}\n");
	return text;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Operations a second, in 10^9: the best of some rounds. */
static double rate(kvjit *kv, const char *op, int loads, const void *ab)
{
	static _Alignas(64) float c[64 * 16];
	kvjit_kernel *k = NULL;
	double best = 1e9, t, each = strcmp(op, "dpbf16ps") ? 64 : 32;
	peak_fn fn;

	if (kvjit_compile(kv, peak_text(op, loads), NULL, &k) != KVJIT_OK) {
		fprintf(stderr, "kvjit-bench-tiles: %s\n", kvjit_error(kv));
		exit(1);
	}
	*(void **)&fn = kvjit_entry(k);
	for (int i = 0; i < ROUNDS; i++) {
		t = seconds();
		fn(ab, c, TIMES, 0, 0, TIMES);
		t = seconds() - t;
		best = t < best ? t : best;
	}
	kvjit_release(k);
	return 1e-9 * 4.0 * TIMES * STEPS * 16 * 16 * each * 2 / best;
}

int main(int argc, char **argv)
{
	static _Alignas(64) uint8_t zero[4 * TILE], random[4 * TILE];
	kvjit_options o = { .size = sizeof o, .target = "amx", .backend = "x86" };
	kvjit *kv = NULL;
	char *info;

	if (argc > 1 && !strcmp(argv[1], "--ir")) {
		for (int loads = 0; loads < 2; loads++)
			for (int i = 0; i < 2; i++)
				fputs(peak_text(i ? "dpbssd" : "dpbf16ps", loads), stdout);
		return 0;
	}
	if (argc > 1) {
		fprintf(stderr, "usage: kvjit-bench-tiles [--ir]\n");
		return 2;
	}
	if (kvjit_open(&o, &kv) != KVJIT_OK) {
		fprintf(stderr, "kvjit-bench-tiles: %s\n", kvjit_open_error());
		return 1;
	}
	info = kvjit_info(kv);
	if (!info || strstr(info, "emulated")) {
		fprintf(stderr, "kvjit-bench-tiles: tiles are emulated; there is no peak\n");
		free(info);
		kvjit_close(kv);
		return 1;
	}
	for (int i = 0; i < 4 * TILE; i += 2) { /* bf16 of about 1, either sign */
		uint16_t x = (uint16_t)(0x3f00 | (rand() & 0x80ff));

		memcpy(random + i, &x, 2);
	}
	printf("{\"bf16_gflop_s\":%.0f,\"bf16_random\":%.0f,\"bf16_loads\":%.0f,"
	       "\"bf16_random_loads\":%.0f,\"int8_gop_s\":%.0f,\"int8_random_loads\":%.0f}\n",
	       rate(kv, "dpbf16ps", 0, zero), rate(kv, "dpbf16ps", 0, random),
	       rate(kv, "dpbf16ps", 1, zero), rate(kv, "dpbf16ps", 1, random),
	       rate(kv, "dpbssd", 0, zero), rate(kv, "dpbssd", 1, random));
	free(info);
	kvjit_close(kv);
	return 0;
}
