/* SPDX-License-Identifier: Apache-2.0 */
/* onednn.c -- oneDNN's bf16 matrix product, to stand beside kvjit's block-scaled one.
 *
 *     onednn M N K [SECONDS]
 *
 * One thread, weights brought into the layout that oneDNN asks for before the clock starts, the
 * same product again and again. Prints the least and the median of the milliseconds of a call.
 * Needs libdnnl-dev (2.x); no part of kvjit does. gemm.sh builds and runs it.
 */
#include <dnnl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call)                                                     \
	do {                                                            \
		dnnl_status_t s_ = (call);                              \
		if (s_ != dnnl_success) {                               \
			fprintf(stderr, "onednn: %s: %d\n", #call, s_); \
			exit(1);                                        \
		}                                                       \
	} while (0)

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A matrix of small values in bf16. */
static void *values(size_t n)
{
	unsigned short *x = aligned_alloc(64, (2 * n + 63) / 64 * 64);

	for (size_t i = 0; x && i < n; i++)
		x[i] = (unsigned short)(0x3f00 + i * 37 % 200 + (i & 1) * 0x8000);
	return x;
}

static dnnl_memory_desc_t matrix(dnnl_dim_t rows, dnnl_dim_t cols, dnnl_format_tag_t tag)
{
	dnnl_memory_desc_t d;

	CHECK(dnnl_memory_desc_init_by_tag(&d, 2, (dnnl_dims_t){ rows, cols }, dnnl_bf16, tag));
	return d;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	enum { MOST = 4000 };
	static double ms[MOST];
	dnnl_dim_t m = argc > 3 ? atol(argv[1]) : 0, n = argc > 3 ? atol(argv[2]) : 0;
	dnnl_dim_t k = argc > 3 ? atol(argv[3]) : 0;
	double seconds = argc > 4 ? atof(argv[4]) : 1, end;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_matmul_desc_t desc;
	dnnl_primitive_desc_t pd, rpd;
	dnnl_primitive_t product, reorder;
	dnnl_memory_t a, w, packed, c;
	int count = 0;

	if (m < 1 || n < 1 || k < 1) {
		fprintf(stderr, "usage: onednn M N K [SECONDS]\n");
		return 2;
	}
	CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
	CHECK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));

	dnnl_memory_desc_t ad = matrix(m, k, dnnl_ab), wd = matrix(k, n, dnnl_ba);
	dnnl_memory_desc_t any = matrix(k, n, dnnl_format_tag_any), cd = matrix(m, n, dnnl_ab);
	CHECK(dnnl_matmul_desc_init(&desc, &ad, &any, NULL, &cd));
	CHECK(dnnl_primitive_desc_create(&pd, &desc, NULL, engine, NULL));
	const dnnl_memory_desc_t *pw =
	    dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
	const char *how = NULL;
	dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &how);

	CHECK(dnnl_memory_create(&a, &ad, engine, values((size_t)(m * k))));
	CHECK(dnnl_memory_create(&w, &wd, engine, values((size_t)(k * n))));
	CHECK(dnnl_memory_create(&packed, pw, engine, DNNL_MEMORY_ALLOCATE));
	CHECK(dnnl_memory_create(&c, &cd, engine, values((size_t)(m * n))));
	CHECK(dnnl_reorder_primitive_desc_create(&rpd, &wd, engine, pw, engine, NULL));
	CHECK(dnnl_primitive_create(&reorder, rpd));
	dnnl_exec_arg_t move[2] = { { DNNL_ARG_FROM, w }, { DNNL_ARG_TO, packed } };
	CHECK(dnnl_primitive_execute(reorder, stream, 2, move));
	CHECK(dnnl_primitive_create(&product, pd));
	dnnl_exec_arg_t args[3] = { { DNNL_ARG_SRC, a },
		                    { DNNL_ARG_WEIGHTS, packed },
		                    { DNNL_ARG_DST, c } };
	CHECK(dnnl_primitive_execute(product, stream, 3, args));
	CHECK(dnnl_stream_wait(stream));

	for (end = now() + seconds; count < MOST && (count < 3 || now() < end); count++) {
		double start = now();

		CHECK(dnnl_primitive_execute(product, stream, 3, args));
		CHECK(dnnl_stream_wait(stream));
		ms[count] = 1e3 * (now() - start);
	}
	qsort(ms, (size_t)count, sizeof *ms, compare);
	printf("%.3f %.3f %s\n", ms[0], ms[count / 2], how ? how : "");
	return 0;
}
