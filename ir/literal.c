/* SPDX-License-Identifier: Apache-2.0 */
/* literal.c -- numbers in the text: which type a literal has, how a float is spelled.
 *
 * kir_literal_elem is asked by the parser for the type of a literal without suffix and by
 * the printer whether it needs one, so that both agree by construction.
 */
#include "internal.h"
#include "format.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double kir_round_to(kir_elem e, double x)
{
	if (e == KIR_f64 || !kir_is_float(e))
		return x;
	if (e == KIR_f32)
		return (float)x;
	return kir_decode(e, kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf));
}

static kir_elem elem_of(const kir_func *f, kir_ref n)
{
	return n ? (kir_elem)kir_type_of(f, n)->elem : KIR_VOID;
}

static kir_elem compared_with(const kir_func *f, kir_ref other)
{
	if (!other || f->node[other].op == KIR_OP_const)
		return KIR_VOID;
	return elem_of(f, other);
}

kir_elem kir_literal_elem(const kir_func *f, kir_op op, kir_type_id type, const kir_ref *src,
                          unsigned nsrc, unsigned k, const kir_type_id *want)
{
	kir_elem result = (kir_elem)f->module->type[type].elem;
	char letter = kir_src_letter(f, op, src, nsrc, k);
	if (letter == 'i' || letter == 'u')
		return KIR_s64;
	switch (op) {
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge:
	case KIR_OP_eq:
	case KIR_OP_ne: return k < 2 && nsrc == 2 ? compared_with(f, src[1 - k]) : KIR_VOID;
	case KIR_OP_select: return k ? result : KIR_i1;
	case KIR_OP_store:
	case KIR_OP_vstore: return nsrc > 1 ? elem_of(f, src[1]) : KIR_VOID;
	case KIR_OP_for: return k < 2 ? KIR_s64 : KIR_VOID;
	case KIR_OP_if: return KIR_i1;
	case KIR_OP_yield: return want ? (kir_elem)f->module->type[want[k]].elem : KIR_VOID;
	case KIR_OP_convert:
	case KIR_OP_fixed:
	case KIR_OP_bitcast: return KIR_VOID;
	case KIR_OP_dequant: return k ? KIR_f32 : KIR_VOID;
	case KIR_OP_dot: return k == 2 ? result : KIR_VOID;
	case KIR_OP_dp:
	case KIR_OP_x86_dpbusd:
	case KIR_OP_x86_dpbf16:
	case KIR_OP_xe_dpas: return k ? KIR_VOID : result;
	case KIR_OP_attention:
		return (int)k == kir_operand_index(op, "scale") ? KIR_f32 : KIR_s64;
	default: break;
	}
	if (kir_ops[op].flags & KIR_NAMED)
		return KIR_s64;
	return kir_ops[op].flags & KIR_TYPED ? result : KIR_VOID;
}

bool kir_yield_types(const kir_func *f, kir_ref op, kir_ref first, unsigned n,
                     kir_type_id want[KIR_MAX_SRC])
{
	const kir_node *x = &f->node[op];
	if (n > KIR_MAX_SRC)
		return false;
	if (x->op == KIR_OP_for && n + 2 == x->nsrc && op + 1 + n < f->nnode)
		for (unsigned i = 0; i < n; i++)
			want[i] = f->node[op + 2 + i].type;
	else if (x->op == KIR_OP_if && first && f->node[first].nsrc == n)
		for (unsigned i = 0; i < n; i++)
			want[i] = f->node[kir_src(f, first, i)].type;
	else if (x->op == KIR_OP_attention && n == 1)
		want[0] = kir_scalar(f->module, first ? KIR_i1 : KIR_f32);
	else
		return false;
	return true;
}

/* strtod and printf spell the decimal point as the host's locale does, in one byte or more. */
bool kir_read_float(const char *s, size_t len, double *x)
{
	const char *point = localeconv()->decimal_point;
	char buf[512], *end, *to = buf;
	bool seen = false;

	if (!len || len + 8 >= sizeof buf)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '.' && !seen) {
			to = stpncpy(to, point, 8);
			seen = true;
		} else if (s[i] != '.' && s[i] != *point)
			*to++ = s[i];
		else
			return false;
	}
	*to = '\0';
	*x = strtod(buf, &end);
	return end == to;
}

void kir_float_digits(char buf[KIR_FLOAT_TEXT], char form, int digits, double x)
{
	const char *point = localeconv()->decimal_point;
	size_t n = strlen(point);
	char *dot;

	snprintf(buf, KIR_FLOAT_TEXT,
	         form == 'f'   ? "%.*f"
	         : form == 'a' ? "%.*a"
	                       : "%.*g",
	         digits, x);
	dot = strstr(buf, point);
	if (dot) {
		*dot = '.';
		memmove(dot + 1, dot + n, strlen(dot + n) + 1);
	}
}

void kir_print_float(kir_text *out, kir_elem e, double x)
{
	char buf[KIR_FLOAT_TEXT];
	double back;
	if (isnan(x)) {
		kir_text_add(out, "nan");
		return;
	}
	if (isinf(x)) {
		kir_text_add(out, x < 0 ? "-inf" : "inf");
		return;
	}
	bool plain = x == floor(x) && fabs(x) < 1e7;
	for (int digits = 1; digits <= 17; digits++) {
		kir_float_digits(buf, plain ? 'f' : 'g', plain ? 1 : digits, x);
		if (plain ||
		    (kir_read_float(buf, strlen(buf), &back) && kir_round_to(e, back) == x))
			break;
	}
	kir_text_add(out, "%s%s", buf, strpbrk(buf, ".e") ? "" : ".0");
}
