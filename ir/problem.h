/* SPDX-License-Identifier: Apache-2.0 */
/* problem.h -- problem strings: the common programs by name.
 *
 *     attn q=bf16 kv=e4m3/head heads=32:8 dim=128 page=128 causal window=4096 batch=8 ctx=8192
 *     write in=bf16 kv=int8/token-head heads=8 dim=128 page=128
 *     quant in=bf16 to=int8/token-head heads=8 dim=128
 *     quant in=bf16 to=e4m3/g128 dim=4096 scales=columns
 *     merge out=bf16 heads=32 dim=128
 *     gemm acts=e4m3/g128 weights=e4m3/g128 block=128 dim=4096:4096 out=bf16 packed
 *     pack weights=e4m3/g128 dim=4096:4096
 *     index q=bf16 kv=index_e4m3 heads=64 dim=128 page=64 topk=2048
 *     transcode from=e4m3/head/hnd to=int8/token-head heads=8 dim=128 page=16:128
 *     transcode from=int8/token-head from_v=e4m3 to=bf16 heads=8 dim=128 page=16
 *
 * The same spelling in the API, the command line, tests, tuning lists and logs. A problem
 * text may declare formats before its problem line. problem.def is the table of fields.
 */
#ifndef KVJIT_KIR_PROBLEM_H
#define KVJIT_KIR_PROBLEM_H

#include "format.h"

typedef enum kir_kind {
	KIR_ATTN,
	KIR_WRITE,
	KIR_QUANT,
	KIR_MERGE,
	KIR_GEMM,
	KIR_PACK,
	KIR_INDEX,
	KIR_TRANSCODE,
	KIR_NKIND
} kir_kind;

#define KIR_MAX_WITH 4

typedef struct kir_problem {
	kir_kind kind;
	kir_elem q, out;    /* elements of queries (or input rows), of outputs    */
	bool fused, packed; /* a product quantizes its input itself; weights as packed    */
	int64_t block;      /* outputs that share a scale of the weights; 0: 1          */
	int scales; /* 0 rows, 1 columns, 2 packed: how a quantizer's scales lie        */
	const char *k_format, *v_format; /* equal unless k= and v= are given: one format
	                                  * then supplies K, the other V; from= and to= */
	const char *from_v, *to_v; /* of values that are transcoded; NULL: as the keys      */
	const char *format2; /* of a second cache, whose keys follow the first's; NULL: none */
	int64_t page2, sparse2; /* of it: tokens of a page, 0: as the first; list entries     */
	int64_t heads, kv_heads, dim_k, dim_v;
	int64_t page, page_to;    /* equal but for caches that are transcoded              */
	int causal;               /* 0 no, 1 yes, 2 per sequence (operand `causal`)     */
	int64_t window, chunk;    /* 0: none                                            */
	int64_t topk;             /* keys an indexer chooses for each query            */
	int64_t sparse;           /* entries of a query's index list; 0: keys by table  */
	double softcap;           /* 0: none                                            */
	int alibi;                /* 0 no, 1 linear, 2 sqrt                             */
	bool sink, lse, qscale;   /* qscale: the query has a descale operand            */
	const char *score, *mask; /* infix expressions, NULL: none                      */
	unsigned nwith;           /* extra operands that score and mask may index       */
	struct {
		const char *name;
		kir_elem elem; /* of bits u8, of which element i is bit i % 8 of byte i / 8 */
		bool bits;
		unsigned rank; /* how many indices the expressions give it; 1 if none        */
	} with[KIR_MAX_WITH];
	int64_t batch, ctx, qlen;  /* hints for the schedule and for benches; 0: unknown */
	bool has_knob[kir_nknobs]; /* schedule knobs written in the string               */
	kir_sched sched;
	const char *target; /* target=...; NULL: the host's                       */
} kir_problem;

/* Parses the last line of text as a problem, what stands before it as formats, into m.
 * Strings point into m's arena. Errors carry line, column, the field and what it accepts. */
bool kir_problem_parse(kir_module *m, const char *text, size_t len, kir_problem *out,
                       kir_diag *d);
/* Canonical: fields in table order, defaults left out. parse(print(p)) == p. */
void kir_problem_print(const kir_problem *p, kir_text *out);
/* And before it, on the same line, the formats it names that m declares and that no name alone
 * stands for: a text that needs nothing else. */
void kir_problem_print_whole(const kir_module *m, const kir_problem *p, kir_text *out);
/* Whether heads, dim and page of a cache are such as problems have; d says which isn't. */
bool kir_problem_shape(const kir_shape *s, kir_diag *d);
/* The names of all formats that p's text has, each once. */
enum { KIR_PROBLEM_FORMATS = 5 };
unsigned kir_problem_formats(const kir_problem *p, const char *name[KIR_PROBLEM_FORMATS]);
/* Appends the level-A function named as the kind to m as a person could have written it; NULL
 * and messages on contradiction. */
kir_func *kir_problem_expand(kir_module *m, const kir_problem *p, const kir_target *t,
                             kir_diag *d);

#endif
