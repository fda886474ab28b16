/* SPDX-License-Identifier: Apache-2.0 */
/* tree.c -- a tree of guesses, verified in one call, as speculative decoding does.
 *
 *     tree        prints `tree: ok`
 *
 * A draft model guesses seven tokens behind 40 known ones, as a tree: each guess follows its
 * parent. All are new tokens of one sequence and lie in the cache side by side, but a token may
 * see only its ancestors and itself among them. A bit for each pair of new tokens says so:
 *
 *     mask="k <= q && (k < past || tree[nq,nk])" with=tree:bit
 *
 * Here the answer is held against plain causal attention over one branch after the other, each
 * written behind the known tokens on a page of its own.
 */
#include <kvjit.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KV_HEADS = 2, HEADS = 8, DIM = 64, PAGE = 64, KNOWN = 40, NODES = 7, DEPTH = 3 };
enum { LEAVES = 4, PAGES = 1 + LEAVES, KEY = KV_HEADS * DIM, QUERY = HEADS * DIM };

/* Node 0 is the root; nodes 3 to 6 are leaves, DEPTH tokens down. */
static const int parent[NODES] = { -1, 0, 0, 1, 1, 2, 2 };

#define SHAPE "kv=int8/token-head heads=8:2 dim=64 page=64"

/* The sentence is the kernel's where there is one, else the context's. */
static void check(kvjit_status status, const kvjit *kv, const kvjit_kernel *k)
{
	if (status == KVJIT_OK)
		return;
	fprintf(stderr, "tree: %s: %s\n", kvjit_status_name(status),
	        k    ? kvjit_kernel_error(k)
	        : kv ? kvjit_error(kv)
	             : kvjit_open_error());
	exit(1);
}

/* Element i of token t's key (which 0), value (1) or query (2): any numbers will do. */
static float element(int which, int t, int i)
{
	return sinf((float)(which * 1000 + t * 37 + i * 11 + t * i % 29));
}

/* Nodes from the root to `node`; how many. */
static int branch(int node, int path[DEPTH])
{
	int up[DEPTH], n = 0;

	for (int at = node; at >= 0; at = parent[at])
		up[n++] = at;
	for (int i = 0; i < n; i++)
		path[i] = up[n - 1 - i];
	return n;
}

/* Token t of the known ones, or a node, into a slot. */
static void put(float *key, float *value, int64_t *slots, int at, int t, int64_t slot)
{
	for (int i = 0; i < KEY; i++) {
		key[at * KEY + i] = element(0, t, i);
		value[at * KEY + i] = element(1, t, i);
	}
	slots[at] = slot;
}

/* Page 0 holds the tree, page 1 + i the branch to leaf i, each behind the known tokens. */
static kvjit_arg make_cache(kvjit *kv, size_t *bytes)
{
	enum { MOST = PAGES * PAGE };
	static float key[MOST * KEY], value[MOST * KEY];
	static int64_t slots[MOST];
	kvjit_kernel *write;
	kvjit_arg cache;
	int n = 0, path[DEPTH];

	for (int p = 0; p < PAGES; p++)
		for (int t = 0; t < KNOWN; t++)
			put(key, value, slots, n++, t, p * PAGE + t);
	for (int i = 0; i < NODES; i++)
		put(key, value, slots, n++, KNOWN + i, KNOWN + i);
	for (int leaf = 0; leaf < LEAVES; leaf++) {
		branch(NODES - LEAVES + leaf, path);
		for (int i = 0; i < DEPTH; i++)
			put(key, value, slots, n++, KNOWN + path[i],
			    (1 + leaf) * PAGE + KNOWN + i);
	}
	check(kvjit_compile(kv, "write in=f32 kv=int8/token-head heads=2 dim=64 page=64", NULL,
	                    &write),
	      kv, NULL);
	check(kvjit_arg_of(write, "cache", PAGES, &cache, bytes), kv, write);
	cache.data = kvjit_alloc(*bytes);
	kvjit_arg args[] = { { .name = "key", .data = key, .dtype = KVJIT_F32 },
		             { .name = "value", .data = value, .dtype = KVJIT_F32 },
		             { .name = "slots", .data = slots, .dtype = KVJIT_S64 },
		             cache,
		             { .name = "n", .i = n } };
	check(kvjit_call(write, NULL, args, 5, NULL), kv, write);
	kvjit_release(write);
	return cache;
}

/* n queries behind the known tokens of a page; tree: a row of bits for each, or NULL. */
static void attend(kvjit *kv, kvjit_arg cache, int page, int n, const int *node, uint8_t *tree,
                   float *out)
{
	static float q[NODES * QUERY];
	int32_t lens[] = { KNOWN + n }, starts[] = { 0, n }, table[] = { page };
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = 1,
		              .seq_lens = lens,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = 1,
		              .npages = PAGES };
	const char *text = tree ? "attn q=f32 " SHAPE
	                          " mask=\"k <= q && (k < past || tree[nq,nk])\" with=tree:bit"
	                        : "attn q=f32 " SHAPE " causal";
	kvjit_kernel *k;
	kvjit_plan *plan = NULL;

	for (int i = 0; i < n; i++)
		for (int d = 0; d < QUERY; d++)
			q[i * QUERY + d] = element(2, node[i], d);
	check(kvjit_compile(kv, text, NULL, &k), kv, NULL);
	check(kvjit_plan_new(k, &batch, &plan), kv, k);
	kvjit_arg args[] = { { .name = "q", .data = q, .dtype = KVJIT_F32 },
		             cache,
		             { .name = "table",
		               .data = table,
		               .dtype = KVJIT_S32,
		               .rank = 2,
		               .shape = { 1, 1 } },
		             { .name = "lens", .data = lens, .dtype = KVJIT_S32 },
		             { .name = "starts", .data = starts, .dtype = KVJIT_S32 },
		             { .name = "scale", .f = 0.125 },
		             { .name = "out", .data = out, .dtype = KVJIT_F32 },
		             { .name = "tree",
		               .data = tree,
		               .dtype = KVJIT_U8,
		               .rank = 2,
		               .shape = { NODES, (NODES + 7) / 8 } } };
	check(kvjit_call(k, plan, args, tree ? 8 : 7, NULL), kv, k);
	kvjit_plan_free(plan);
	kvjit_release(k);
}

int main(void)
{
	static float all[NODES * QUERY], one[DEPTH * QUERY];
	uint8_t tree[NODES] = { 0 };
	int every[NODES], path[DEPTH];
	float worst = 0;
	size_t bytes;
	kvjit *kv;

	check(kvjit_open(NULL, &kv), NULL, NULL);
	kvjit_arg cache = make_cache(kv, &bytes);
	for (int i = 0; i < NODES; i++) {
		every[i] = i;
		for (int at = i; at >= 0; at = parent[at])
			tree[i] |= (uint8_t)(1 << at);
	}
	attend(kv, cache, 0, NODES, every, tree, all);
	for (int leaf = 0; leaf < LEAVES; leaf++) {
		int n = branch(NODES - LEAVES + leaf, path);

		attend(kv, cache, 1 + leaf, n, path, NULL, one);
		for (int i = 0; i < n; i++)
			for (int d = 0; d < QUERY; d++)
				worst = fmaxf(worst, fabsf(all[path[i] * QUERY + d] -
				                           one[i * QUERY + d]));
	}
	kvjit_free(cache.data, bytes);
	kvjit_close(kv);
	printf("tree: %s, largest difference %g\n", worst < 0.01f ? "ok" : "wrong",
	       (double)worst);
	return worst >= 0.01f;
}
