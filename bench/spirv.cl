/* SPDX-License-Identifier: Apache-2.0 */
/* spirv.cl -- what a person writes by hand for bench/spirv.c to compare with: the same
 * algorithms, a sub-group of 16 for each work item, rows of the cache as kvjit lays them.
 */
#pragma OPENCL EXTENSION cl_intel_required_subgroup_size : enable

#define DIM   128
#define PAGE  64
#define GROUP 4 /* query heads of a KV head */

float16 four_times_four(const __global char *p)
{
	return convert_float16(vload16(0, p));
}

/* decode: K of a page as k[d/4][64][d%4], then V as v[64][d], then scales of keys and values. */
__attribute__((intel_reqd_sub_group_size(16)))
__attribute__((reqd_work_group_size(16, 1, 1))) __kernel void
decode(const __global ushort *q, const __global char *cache, long page_bytes, long head_bytes,
       const __global int *table, long table_row, const __global int *lens, float scale,
       __global float *out, int kv_heads)
{
	__local float qs[GROUP * DIM], weights[GROUP * PAGE];
	int lane = get_sub_group_local_id(), seq = get_group_id(0) / kv_heads;
	int head = get_group_id(0) % kv_heads, len = lens[seq];
	float m[GROUP], sum[GROUP];
	float8 acc[GROUP];

	q += (seq * kv_heads + head) * GROUP * DIM;
	for (int i = lane; i < GROUP * DIM; i += 16)
		qs[i] = as_float((uint)q[i] << 16);
	for (int h = 0; h < GROUP; h++) {
		m[h] = -INFINITY;
		sum[h] = 0;
		acc[h] = 0;
	}
	sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	for (int first = 0; first < len; first += PAGE) {
		int page = table[seq * table_row + first / PAGE];
		const __global char *k = cache + page * page_bytes + head * head_bytes;
		const __global char *v = k + PAGE * DIM;
		const __global float *ks = (const __global float *)(v + PAGE * DIM);
		const __global float *vs = ks + PAGE;
		float4 s[GROUP] = { 0, 0, 0, 0 };

		for (int d = 0; d < DIM; d += 4) {
			float16 x = four_times_four(k + d * PAGE + lane * 16);

			for (int h = 0; h < GROUP; h++) {
				s[h] = fma(x.s048c, qs[h * DIM + d], s[h]);
				s[h] = fma(x.s159d, qs[h * DIM + d + 1], s[h]);
				s[h] = fma(x.s26ae, qs[h * DIM + d + 2], s[h]);
				s[h] = fma(x.s37bf, qs[h * DIM + d + 3], s[h]);
			}
		}
		int4 at = first + lane * 4 + (int4)(0, 1, 2, 3);
		float4 kscale = vload4(lane, ks) * (scale * M_LOG2E_F), vscale = vload4(lane, vs);

		for (int h = 0; h < GROUP; h++) {
			float4 x = select((float4)(-INFINITY), s[h] * kscale, at < len);
			float2 y = fmax(x.lo, x.hi);
			float now = fmax(m[h], sub_group_reduce_max(fmax(y.x, y.y)));
			float less = exp2(m[h] - now);
			float4 w = exp2(x - now);

			y = w.lo + w.hi;
			sum[h] = fma(sum[h], less, sub_group_reduce_add(y.x + y.y));
			acc[h] *= less;
			m[h] = now;
			vstore4(select((float4)(0), w * vscale, at < len), lane,
			        weights + h * PAGE);
		}
		sub_group_barrier(CLK_LOCAL_MEM_FENCE);
		for (int t = 0; t < min(PAGE, len - first); t++) {
			float8 x = convert_float8(vload8(lane, v + t * DIM));

			for (int h = 0; h < GROUP; h++)
				acc[h] = fma(x, weights[h * PAGE + t], acc[h]);
		}
		sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	}
	out += (seq * kv_heads + head) * GROUP * DIM;
	for (int h = 0; h < GROUP; h++)
		vstore8(acc[h] / sum[h], lane, out + h * DIM);
}

/* quantize: a row of 8 heads of 128, each with its own scale. */
__attribute__((intel_reqd_sub_group_size(16)))
__attribute__((reqd_work_group_size(16, 1, 1))) __kernel void
quantize(const __global ushort *x, __global char *codes, __global float *scales)
{
	int lane = get_sub_group_local_id();
	long row = get_group_id(0);

	for (int h = 0; h < 8; h++) {
		float8 y = as_float8(convert_uint8(vload8(lane, x + (row * 8 + h) * DIM)) << 16);
		float8 a = fabs(y);
		float4 b = fmax(a.lo, a.hi);
		float2 c = fmax(b.lo, b.hi);
		float most = sub_group_reduce_max(fmax(c.x, c.y));
		float scale = fmax(fmin(most, FLT_MAX) / 127, 1e-6f);

		scales[row * 8 + h] = scale;
		y = clamp(y * (1 / scale), -127.0f, 127.0f);
		y = trunc(y + copysign((float8)(0.5f), y));
		vstore8(convert_char8(y), lane, codes + (row * 8 + h) * DIM);
	}
}
