/* SPDX-License-Identifier: Apache-2.0 */
/* each.c -- elementwise ops as C expressions over one lane.
 *
 * Floats of 32 and 64 bits are computed in their own type, smaller ones as doubles that are
 * encoded again, which rounds once more and that is harmless: a double has more than twice
 * their digits. Integers are computed unsigned, so that they wrap.
 */
#include "c.h"

#include "../../ir/format.h"

#include <math.h>
#include <string.h>

/* How an op is written: x, y, z are the operands as numbers, U the unsigned type, F "f" for
 * f32 and nothing for others, O the same but "_odd" for small floats. NULL: no meaning. */
typedef struct form {
	uint8_t op;
	const char *flt, *integer;
} form;

static const form forms[] = {
	{ KIR_OP_add, "x + y", "(U)x + (U)y" },
	{ KIR_OP_sub, "x - y", "(U)x - (U)y" },
	{ KIR_OP_mul, "x * y", "(U)x * (U)y" },
	{ KIR_OP_div, "x / y", NULL },
	{ KIR_OP_fdiv, NULL, "k_fdiv(x, y)" },
	{ KIR_OP_mod, NULL, "k_mod(x, y)" },
	{ KIR_OP_min, "k_minF(x, y)", "x < y ? x : y" },
	{ KIR_OP_max, "k_maxF(x, y)", "x > y ? x : y" },
	{ KIR_OP_fma, "k_fmaO(x, y, z)", "(U)x * (U)y + (U)z" },
	{ KIR_OP_neg, "-x", "0 - (U)x" },
	{ KIR_OP_abs, "k_absF(x)", "x < 0 ? 0 - (U)x : (U)x" },
	{ KIR_OP_and, NULL, "x & y" },
	{ KIR_OP_or, NULL, "x | y" },
	{ KIR_OP_xor, NULL, "x ^ y" },
	{ KIR_OP_shl, NULL, "(U)x << y" },
	{ KIR_OP_shr, NULL, "x >> y" },
	{ KIR_OP_lt, "x < y", "x < y" },
	{ KIR_OP_le, "x <= y", "x <= y" },
	{ KIR_OP_gt, "x > y", "x > y" },
	{ KIR_OP_ge, "x >= y", "x >= y" },
	{ KIR_OP_eq, "x == y", "x == y" },
	{ KIR_OP_ne, "x != y", "x != y" },
	{ KIR_OP_exp2, "k_exp2(x)", NULL },
	{ KIR_OP_log2, "k_log2(x)", NULL },
	{ KIR_OP_tanh, "k_tanh(x)", NULL },
	{ KIR_OP_sqrt, "k_sqrtF(x)", NULL },
	{ KIR_OP_floor, "k_floorF(x)", NULL },
};

static bool is_small(kir_elem e)
{
	return kir_is_float(e) && e != KIR_f32 && e != KIR_f64;
}

static void float_literal(kir_elem e, double x, kir_text *out)
{
	const char *f = e == KIR_f32 ? "f" : "";
	char hex[KIR_FLOAT_TEXT];

	if (isnan(x))
		kir_text_add(out, "__builtin_nan%s(\"\")", f);
	else if (isinf(x))
		kir_text_add(out, "(%s__builtin_inf%s())", x < 0 ? "-" : "", f);
	else
		kir_text_add(out, "(%s%s)", kbe_c_hex(hex, x), f);
}

static void int_literal(kir_elem e, int64_t x, kir_text *out)
{
	const char *t = kbe_c_type(e);

	/* the most negative number has no literal of its own */
	if (x < -INT64_C(0x7fffffff) || x > INT64_C(0x7fffffff))
		kir_text_add(out, "((%s)0x%llxull)", t, (unsigned long long)x);
	else
		kir_text_add(out, "((%s)%lld)", t, (long long)x);
}

void kbe_c_raw(const kir_func *f, kir_ref n, const char *lane, kir_text *out)
{
	const kir_node *x = kir_at(f, n);
	kir_elem e = (kir_elem)kir_type_of(f, n)->elem;

	if (x->op != KIR_OP_const) {
		kir_text_add(out, kir_type_of(f, n)->rank ? "v%u.e[%s]" : "v%u", n, lane);
		return;
	}
	if (is_small(e))
		kir_text_add(
		    out, "((%s)0x%llx)", kbe_c_type(e),
		    (unsigned long long)kir_encode(e, x->f, KIR_ROUND_even, KIR_NAN_keep,
		                                   isinf(x->f) ? KIR_OVER_inf : KIR_OVER_sat));
	else if (kir_is_float(e))
		float_literal(e, x->f, out);
	else
		int_literal(e, x->i, out);
}

void kbe_c_number(const kir_func *f, kir_ref n, const char *lane, kir_text *out)
{
	kir_elem e = (kir_elem)kir_type_of(f, n)->elem;

	if (!is_small(e)) {
		kbe_c_raw(f, n, lane, out);
		return;
	}
	kir_text_add(out, "(double)d_%s(", kir_elems[e].name);
	kbe_c_raw(f, n, lane, out);
	kir_text_add(out, ")");
}

const char *kbe_c_open(kir_elem e)
{
	/* clang-format off */
	static const char *const open[KIR_NELEM] = {
#define ELEM(name, bits, kind, exp, man, bias) [KIR_##name] = "e_" #name "(",
#include "../../ir/elems.def"
	};
	/* clang-format on */
	return is_small(e) ? open[e] : e == KIR_i1 ? "(u8)(1 & (" : "(";
}

const char *kbe_c_close(kir_elem e)
{
	return is_small(e) ? ", 0, 0, 0)" : e == KIR_i1 ? "))" : ")";
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || c == '_';
}

/* Writes a form with its letters replaced, where they stand alone. */
static void fill_in(const kir_func *f, kir_ref n, const char *text, kir_elem e, kir_text *out)
{
	for (const char *s = text; *s; s++) {
		bool alone =
		    !is_letter(s[1]) && s[1] != 'F' && (s == text || !is_letter(s[-1]));
		if (*s == 'U')
			kir_text_add(out, kir_elems[e].bits > 32 ? "u64" : "u32");
		else if (*s == 'F')
			kir_text_add(out, e == KIR_f32 ? "f" : "");
		else if (*s == 'O')
			kir_text_add(out, e == KIR_f32 ? "f" : e == KIR_f64 ? "" : "_odd");
		else if (*s >= 'x' && *s <= 'z' && alone)
			kbe_c_number(f, kir_src(f, n, (unsigned)(*s - 'x')), "l", out);
		else
			kir_text_add(out, "%c", *s);
	}
}

/* -- conversions ----------------------------------------------------------------- */

static void int_range(kir_elem e, int64_t *min, int64_t *max)
{
	*max = e == KIR_i1 ? 1 : (int64_t)(((uint64_t)1 << kir_elems[e].man) - 1);
	*min = kir_is_signed(e) ? -*max - 1 : 0;
}

static void to_int(const kir_func *f, kir_ref n, kir_elem from, kir_elem to, kir_text *out)
{
	kir_ref x = kir_src(f, n, 0);
	char hex[KIR_FLOAT_TEXT];
	int64_t min, max;

	int_range(to, &min, &max);
	kir_text_add(out, "(%s)%s(", kbe_c_type(to), kir_is_float(from) ? "k_int" : "k_clamp");
	kbe_c_number(f, x, "l", out);
	if (kir_is_float(from))
		kir_text_add(out, ", %d, %d, %s", (int)kir_attr_of(f, n, KIR_ATTR_round),
		             (int)kir_attr_of(f, n, KIR_ATTR_nan),
		             kbe_c_hex(hex, ldexp(1, kir_elems[to].man)));
	kir_text_add(out, ", ");
	int_literal(KIR_s64, min, out);
	kir_text_add(out, ", ");
	int_literal(KIR_s64, max, out);
	kir_text_add(out, ")");
}

static bool convert(const kir_func *f, kir_ref n, kir_text *out)
{
	kir_ref x = kir_src(f, n, 0);
	kir_elem from = (kir_elem)kir_type_of(f, x)->elem,
	         to = (kir_elem)kir_type_of(f, n)->elem;
	int round = (int)kir_attr_of(f, n, KIR_ATTR_round);
	int nan = (int)kir_attr_of(f, n, KIR_ATTR_nan);
	bool plain = round == KIR_ROUND_even && nan == KIR_NAN_keep;
	bool sub = kir_attr_of(f, n, KIR_ATTR_sub) == KIR_SUB_zero;

	if (!kir_is_float(to)) {
		to_int(f, n, from, to, out);
		return true;
	}
	if (to == KIR_f64 && !plain)
		return false;
	if (plain && (to == KIR_f32 || to == KIR_f64)) {
		kir_text_add(out, "(%s)", kbe_c_type(to));
		if (!kir_is_float(from) && to == KIR_f32)
			kir_text_add(out, "(double)");
		kbe_c_number(f, x, "l", out);
		return true;
	}
	if (plain && from == KIR_f32 && kir_elems[to].kind == 'F' && kir_elems[to].exp == 8) {
		kir_text_add(out, "(%s)k_cut(%s", kbe_c_type(to), sub ? "k_normal(" : "");
		kbe_c_number(f, x, "l", out);
		kir_text_add(out, "%s, %d)", sub ? ")" : "", kir_elems[to].man);
		return true;
	}
	kir_text_add(out, "e_%s(%s", kir_elems[to].name, sub ? "k_normal(" : "");
	kbe_c_number(f, x, "l", out);
	kir_text_add(out, "%s, %d, %d, %d)", sub ? ")" : "", round, nan,
	             (int)kir_attr_of(f, n, KIR_ATTR_over));
	return true;
}

bool kbe_c_each(const kir_func *f, kir_ref n, kir_text *out)
{
	kir_op op = (kir_op)kir_at(f, n)->op;
	kir_elem e = (kir_elem)kir_type_of(f, n)->elem, from;

	if (op == KIR_OP_convert)
		return convert(f, n, out);
	if (op == KIR_OP_fixed) {
		kir_text_add(out, "(%s)(", kbe_c_type(e));
		kbe_c_number(f, kir_src(f, n, 0), "l", out);
		kir_text_add(out, " * %lld)", 1LL << kir_attr_of(f, n, KIR_ATTR_shift));
		return true;
	}
	if (op == KIR_OP_select) {
		kbe_c_raw(f, kir_src(f, n, 0), "l", out);
		kir_text_add(out, " ? ");
		kbe_c_raw(f, kir_src(f, n, 1), "l", out);
		kir_text_add(out, " : ");
		kbe_c_raw(f, kir_src(f, n, 2), "l", out);
		return true;
	}
	if (!kir_at(f, n)->nsrc)
		return false;
	from = (kir_elem)kir_type_of(f, kir_src(f, n, 0))->elem;
	for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		const char *text = kir_is_float(from) ? forms[i].flt : forms[i].integer;
		if (forms[i].op != op)
			continue;
		if (!text)
			return false;
		kir_text_add(out, "%s", kbe_c_open(e));
		fill_in(f, n, text, from, out);
		kir_text_add(out, "%s", kbe_c_close(e));
		return true;
	}
	return false;
}
