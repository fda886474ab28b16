/* SPDX-License-Identifier: Apache-2.0 */
/* select.c -- products and decodes become the target's instructions.
 *
 *     %c = dp %acc, %a, %b : s32<16>            =>  x86.dpbusd %acc, u8, s8     (vnni)
 *     %c = dp %acc, %a, %b : f32<16>, bf16      =>  x86.dpbf16 %acc, %a, %b     (bf16)
 *     %c = dp %acc, %a, %b : f32<16>, f32       =>  fma %a, %b, %acc
 *     %w = convert %q : bf16<64>, 4 or 8 bits   =>  x86.lut %q                  (vbmi)
 *     %w = convert %q : f32<64>, 4 or 8 bits    =>  convert x86.lut %q          (vbmi)
 *     %w = convert unzip.lo %q as s64           =>  x86.lut.lo %q   codes whose widened halves
 *                                                   unpack into order (vec_layout.c)
 *
 * One row of the table below for each; the first that fits is taken. A dp or convert that
 * none fits stays: backends lower it by its meaning.
 *
 * Requires level V. A new instruction: an op in ops.def with its interpreter case, a row
 * here, a case in the backend's emitter.
 */
#include "emit.h"

typedef struct rule {
	kir_op from;
	unsigned needs; /* features of the target               */
	bool (*fits)(const kir_func *f, kir_ref n);
	kir_ref (*emit)(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map);
} rule;

static kir_elem elem_of(const kir_func *f, kir_ref n, unsigned src)
{
	return (kir_elem)kir_type_of(f, kir_src(f, n, src))->elem;
}

static int64_t lanes_of(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank ? t->dim[0] : 1;
}

static bool whole_register(const kir_func *f, kir_ref n)
{
	return lanes_of(f, n) * 32 == f->target->vector_bits;
}

/* Whether a dp takes so many elements of each factor for a lane. */
static bool takes_each(const kir_func *f, kir_ref n, int64_t count)
{
	return lanes_of(f, kir_src(f, n, 1)) == count * lanes_of(f, n);
}

static bool fits_dpbusd(const kir_func *f, kir_ref n)
{
	kir_elem a = elem_of(f, n, 1), b = elem_of(f, n, 2);

	return whole_register(f, n) && takes_each(f, n, 4) &&
	       ((a == KIR_u8 && b == KIR_s8) || (a == KIR_s8 && b == KIR_u8));
}

static kir_ref emit_dpbusd(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	bool swap = elem_of(in, n, 1) == KIR_s8;
	kir_ref a = map[kir_src(in, n, swap ? 2 : 1)], b = map[kir_src(in, n, swap ? 1 : 2)];

	return e3(out, KIR_OP_x86_dpbusd, in->node[n].type, map[kir_src(in, n, 0)], a, b);
}

static bool fits_dpbf16(const kir_func *f, kir_ref n)
{
	return whole_register(f, n) && elem_of(f, n, 1) == KIR_bf16 &&
	       elem_of(f, n, 2) == KIR_bf16 && takes_each(f, n, 2);
}

static kir_ref emit_dpbf16(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	return e3(out, KIR_OP_x86_dpbf16, in->node[n].type, map[kir_src(in, n, 0)],
	          map[kir_src(in, n, 1)], map[kir_src(in, n, 2)]);
}

static bool fits_fma(const kir_func *f, kir_ref n)
{
	return elem_of(f, n, 1) == KIR_f32 && elem_of(f, n, 2) == KIR_f32 &&
	       takes_each(f, n, 1);
}

static kir_ref emit_fma(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	return e3(out, KIR_OP_fma, in->node[n].type, map[kir_src(in, n, 1)],
	          map[kir_src(in, n, 2)], map[kir_src(in, n, 0)]);
}

static bool fits_lut(const kir_func *f, kir_ref n)
{
	kir_elem from = elem_of(f, n, 0), to = (kir_elem)kir_type_of(f, n)->elem;

	return (to == KIR_bf16 || to == KIR_f32) && lanes_of(f, n) == 64 &&
	       kir_attr_of(f, n, KIR_ATTR_nan) == KIR_NAN_keep && kir_is_float(from) &&
	       kir_elems[from].bits <= 8 && from != KIR_e8m0;
}

static kir_ref emit_lut(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	kir_type_id t = kir_with_elem(out->module, in->node[n].type, KIR_bf16);
	kir_ref x = e1(out, KIR_OP_x86_lut, t, map[kir_src(in, n, 0)]);

	return as_elem(out, x, (kir_elem)kir_type_of(in, n)->elem);
}

/* The 64 codes of whose each 16 n widens the lower or the upper 8; 0 if that isn't what n
 * does. */
static kir_ref eights_of(const kir_func *f, kir_ref n)
{
	kir_ref zip = kir_src(f, kir_src(f, n, 0), 0), lo = kir_src(f, zip, 0);
	kir_ref hi = kir_src(f, zip, 1), whole = kir_src(f, kir_src(f, lo, 0), 0);

	return f->node[kir_src(f, n, 0)].op == KIR_OP_bitcast &&
	               (f->node[zip].op == KIR_OP_unzip_lo ||
	                f->node[zip].op == KIR_OP_unzip_hi) &&
	               !kir_attr_of(f, zip, KIR_ATTR_within) &&
	               kir_type_of(f, zip)->elem == KIR_s64 && lanes_of(f, zip) == 4 &&
	               f->node[lo].op == KIR_OP_half_lo && f->node[hi].op == KIR_OP_half_hi &&
	               kir_src(f, lo, 0) == kir_src(f, hi, 0) &&
	               f->node[kir_src(f, lo, 0)].op == KIR_OP_bitcast &&
	               kir_type_of(f, whole)->elem == elem_of(f, n, 0)
	           ? whole
	           : 0;
}

static bool fits_eights(const kir_func *f, kir_ref n)
{
	kir_elem from = elem_of(f, n, 0);

	return kir_type_of(f, n)->elem == KIR_bf16 && lanes_of(f, n) == 32 &&
	       kir_attr_of(f, n, KIR_ATTR_nan) == KIR_NAN_keep && kir_is_float(from) &&
	       kir_elems[from].bits <= 8 && from != KIR_e8m0 && eights_of(f, n);
}

static kir_ref emit_eights(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	kir_ref zip = kir_src(in, kir_src(in, n, 0), 0);

	return e1(out,
	          in->node[zip].op == KIR_OP_unzip_lo ? KIR_OP_x86_lut_lo : KIR_OP_x86_lut_hi,
	          in->node[n].type, map[eights_of(in, n)]);
}

static const rule rules[] = {
	{ KIR_OP_dp, KIR_HAS_avx512 | KIR_HAS_vnni, fits_dpbusd, emit_dpbusd },
	{ KIR_OP_dp, KIR_HAS_avx512 | KIR_HAS_bf16, fits_dpbf16, emit_dpbf16 },
	{ KIR_OP_dp, 0, fits_fma, emit_fma },
	{ KIR_OP_convert, KIR_HAS_avx512 | KIR_HAS_vbmi, fits_lut, emit_lut },
	{ KIR_OP_convert, KIR_HAS_avx512 | KIR_HAS_vbmi, fits_eights, emit_eights },
};

static const rule *find_rule(const kir_func *f, kir_ref n)
{
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
		if (f->node[n].op == rules[i].from &&
		    (f->target->features & rules[i].needs) == rules[i].needs &&
		    !(rules[i].from == KIR_OP_convert && f->sched.decode == KIR_decode_shift) &&
		    rules[i].fits(f, n))
			return &rules[i];
	return NULL;
}

/* Whether n makes wider floats of 4- or 8-bit ones. */
static bool widens_codes(const kir_func *f, kir_ref n)
{
	kir_elem from = (kir_elem)kir_type_of(f, kir_src(f, n, 0))->elem;

	return f->node[n].op == KIR_OP_convert && kir_type_of(f, n)->rank &&
	       kir_is_float(from) && kir_elems[from].bits <= 8 && kir_elems[from].kind != 'E';
}

kpass_result kpass_select(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	kpass_result result = KPASS_SAME;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++) {
		const rule *r;

		if (in->node[n].op == KIR_OP_param)
			continue;
		r = find_rule(in, n);
		if (widens_codes(in, n))
			kir_chose(out, KIR_KNOB_decode,
			          r ? KIR_decode_table : KIR_decode_shift);
		if (!r) {
			kir_copy(out, in, n, map);
			continue;
		}
		map[n] = r->emit(in, n, out, map);
		result = KPASS_CHANGED;
	}
	return result;
}
