/* SPDX-License-Identifier: Apache-2.0 */
/* support_random.h -- problems and schedules that are functions of a number. */
#ifndef KVJIT_TESTS_SUPPORT_RANDOM_H
#define KVJIT_TESTS_SUPPORT_RANDOM_H

enum {
	SUPPORT_RANDOM_TEXT = 1600,
	/* Seeds from here on: keys whose scales are of groups of tokens. */
	SUPPORT_TOKEN_SCALES = 1000000,
	/* What tile registers take, and the knobs they read. */
	SUPPORT_TILES = 2000000,
	/* Formats that are written down, masks and scores of random expressions, index lists.
	 */
	SUPPORT_WRITTEN = 3000000,
	/* Records and index lists; writers, indexers and products with the knobs they read. */
	SUPPORT_LISTS = 100000000,
	/* Problem seed - SUPPORT_SKIPS, without some passes that are optional. */
	SUPPORT_SKIPS = 1000000000
};

/* Problem `seed`: attention three times of four, else a writer, a transcode, an indexer, a
 * quantizer or a product. Both texts have SUPPORT_RANDOM_TEXT bytes; sched may stay empty. */
void support_random(unsigned seed, char *text, char *sched);

/* What to leave out of it, for KVJIT_SKIP; the same bytes. Nothing below SUPPORT_SKIPS. */
void support_random_skip(unsigned seed, char *skip);

#endif
