/* SPDX-License-Identifier: Apache-2.0 */
/* expr.c -- infix expressions of problem strings as ops.
 *
 *     expr   = or ['?' expr ':' expr]          f32, s64 or i1
 *     or     = and {'||' and}
 *     and    = cmp {'&&' cmp}                  both sides are always evaluated
 *     cmp    = sum [('=='|'!='|'<'|'<='|'>'|'>=') sum]
 *     sum    = term {('+'|'-') term}
 *     term   = unary {('*'|'/'|'//'|'%') unary}
 *     unary  = ('-'|'!') unary | atom
 *     atom   = NUMBER | NAME | NAME '[' expr {',' expr} ']' | FUNC '(' expr {',' expr} ')' |
 * '(' expr ')'
 *
 * `/` is of floats; `//` rounds down, `%` is what it leaves. Where an integer meets a float it
 * becomes one. An integer divisor must be a positive literal: a divisor read from memory could
 * be zero, and code that can fail has no place in a kernel. An operand is indexed by b, h, q,
 * k, row, nq or nk alone, or by what literals bound: a call can hold its extents against that.
 */
#include "internal.h"
#include "problem_priv.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of nesting, which is the parser's own stack, and of ops: passes and LLVM take more than
 * proportional time for a score of thousands. */
enum { MAX_DEPTH = 64, MAX_OPS = 1000 };

typedef struct expr {
	const expr_env *env;
	kir_func *f;
	const char *text, *at;
	unsigned depth, ops;
	bool failed;
} expr;

static kir_ref parse_expr(expr *x);

static const char *const functions[] = { "min",  "max",   "abs",   "exp2", "exp", "log2",
	                                 "tanh", "floor", "float", "int",  "sqrt" };
enum {
	F_MIN,
	F_MAX,
	F_ABS,
	F_EXP2,
	F_EXP,
	F_LOG2,
	F_TANH,
	F_FLOOR,
	F_FLOAT,
	F_INT,
	F_SQRT,
	F_COUNT
};

/* Only the first thing wrong is told; what follows from it would confuse. */
#define WRONG(x, where, ...)                                                               \
	((x)->failed ? (void)0                                                             \
	             : kir_error((x)->env->d, (x)->env->line,                              \
	                         (x)->env->col + (int)((where) - (x)->text), __VA_ARGS__), \
	 (x)->failed = true, (kir_ref)0)

/* -- ops ---------------------------------------------------------------------------- */

static kir_elem elem_of(const expr *x, kir_ref n)
{
	return (kir_elem)kir_type_of(x->f, n)->elem;
}

static kir_ref emit(expr *x, kir_op op, kir_elem e, const kir_ref *src, unsigned n)
{
	if (++x->ops > MAX_OPS)
		return WRONG(x, x->at, "%s: more than %d operations", x->env->field, MAX_OPS);
	return kir_emit(x->f, op, kir_scalar(x->f->module, e), src, n, NULL);
}

static kir_ref emit1(expr *x, kir_op op, kir_elem e, kir_ref a)
{
	return emit(x, op, e, &a, 1);
}

static kir_ref emit2(expr *x, kir_op op, kir_elem e, kir_ref a, kir_ref b)
{
	return emit(x, op, e, (kir_ref[]){ a, b }, 2);
}

static kir_ref to_float(expr *x, kir_ref a)
{
	int64_t i;

	if (!a || elem_of(x, a) == KIR_f32)
		return a;
	if (kir_is_const(x->f, a, &i))
		return kir_const_f(x->f, KIR_f32, (double)i);
	return emit1(x, KIR_OP_convert, KIR_f32, a);
}

static kir_ref to_int(expr *x, kir_ref a)
{
	if (elem_of(x, a) == KIR_s64)
		return a;
	return kir_emit(x->f, KIR_OP_convert, kir_scalar(x->f->module, KIR_s64), &a, 1,
	                (int64_t[KIR_MAX_ATTRS]){ KIR_ROUND_zero });
}

static bool is_bool(const expr *x, kir_ref a)
{
	return elem_of(x, a) == KIR_i1;
}

/* Both numbers, of one type. */
static bool unify(expr *x, const char *where, kir_ref *a, kir_ref *b)
{
	if (!*a || !*b)
		return false;
	if (is_bool(x, *a) || is_bool(x, *b)) {
		if (is_bool(x, *a) && is_bool(x, *b))
			return WRONG(x, where, "%s: both sides are conditions, not numbers",
			             x->env->field) != 0;
		return WRONG(x, where, "%s: one side is a condition, the other a number",
		             x->env->field) != 0;
	}
	if (elem_of(x, *a) != elem_of(x, *b)) {
		*a = to_float(x, *a);
		*b = to_float(x, *b);
	}
	return true;
}

/* -- atoms -------------------------------------------------------------------------- */

static void blanks(expr *x)
{
	while (isspace((unsigned char)*x->at))
		x->at++;
}

/* Takes s if it comes next, and isn't the beginning of a longer sign. */
static bool take(expr *x, const char *s)
{
	size_t n = strlen(s);

	blanks(x);
	if (strncmp(x->at, s, n) != 0)
		return false;
	if (n == 1 && strchr("<>!", *s) && x->at[1] == '=')
		return false;
	if (n == 1 && *s == '/' && x->at[1] == '/')
		return false;
	x->at += n;
	return true;
}

static bool want(expr *x, const char *s)
{
	if (take(x, s))
		return true;
	return WRONG(x, x->at, "%s: expected '%s'", x->env->field, s) != 0;
}

static kir_ref number(expr *x)
{
	const char *from = x->at;
	char buf[48];
	double v;
	size_t n = 0;
	bool whole = true;

	while (isdigit((unsigned char)from[n]) || from[n] == '.' ||
	       (n && (from[n] == 'e' || from[n] == 'E')) ||
	       (n && strchr("+-", from[n]) && from[n] && strchr("eE", from[n - 1]))) {
		whole = whole && isdigit((unsigned char)from[n]);
		n++;
	}
	if (n >= sizeof(buf) || (whole && n > 18))
		return WRONG(x, from, "%s: the number is too long", x->env->field);
	memcpy(buf, from, n);
	buf[n] = 0;
	x->at += n;
	if (!kir_read_float(buf, n, &v) || isalpha((unsigned char)*x->at))
		return WRONG(x, from, "%s: '%.*s' is no number", x->env->field, (int)n + 1,
		             from);
	if (whole)
		return kir_const_i(x->f, KIR_s64, strtoll(buf, NULL, 10));
	if (!isfinite((float)v) || ((float)v == 0 && strpbrk(buf, "123456789") &&
	                            strpbrk(buf, "123456789") < buf + strcspn(buf, "eE")))
		return WRONG(x, from, "%s: %s is beyond the numbers of f32", x->env->field,
		             buf);
	return kir_const_f(x->f, KIR_f32, v);
}

const char *const expr_lazy_names[EXPR_NLAZY] = { "row", "nq", "nk", "past" };

static kir_ref lazy(const expr *x, expr_lazy which)
{
	return x->env->lazy(x->env->ctx, which);
}

/* Whether a call knows how large an index may be: it is one of these alone, or literals say.
 * Asked while indices are counted, when names are parameters. */
static bool is_index(const expr *x, kir_ref n)
{
	static const char *const names[] = { "b", "h", "q", "k" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		for (unsigned k = 0; k < x->env->nname; k++)
			if (x->env->name[k].ref == n && !strcmp(x->env->name[k].name, names[i]))
				return true;
	return n == lazy(x, EXPR_row) || n == lazy(x, EXPR_nq) || n == lazy(x, EXPR_nk) ||
	       kir_region_index(x->f, n).below > 0;
}

/* Element `at` of the bits of a row: what the load read is byte at / 8. */
static kir_ref bit(expr *x, kir_ref byte, kir_ref at)
{
	kir_ref place = emit2(x, KIR_OP_mod, KIR_s64, at, kir_const_i(x->f, KIR_s64, 8));

	byte = emit2(x, KIR_OP_shr, KIR_s64, byte, place);
	byte = emit2(x, KIR_OP_and, KIR_s64, byte, kir_const_i(x->f, KIR_s64, 1));
	return emit2(x, KIR_OP_ne, KIR_i1, byte, kir_const_i(x->f, KIR_s64, 0));
}

/* The indices of name[index,...] behind the buffer in at[0]; how many, 0 when one is wrong. */
static unsigned indices(expr *x, unsigned i, kir_ref at[1 + EXPR_MAX_RANK])
{
	const char *name = x->env->name[i].name;
	unsigned n = 0;

	do {
		const char *where;
		kir_ref index;

		blanks(x);
		where = x->at;
		if (n == EXPR_MAX_RANK)
			return WRONG(x, where, "%s: %s has more than %d indices", x->env->field,
			             name, EXPR_MAX_RANK);
		index = parse_expr(x);
		if (index && x->env->name[i].rank && !is_index(x, index))
			index =
			    WRONG(x, where,
			          "%s: %s is indexed by b, h, q, k, row, nq or nk alone, or "
			          "by what min, max, abs and %% keep between 0 and a number",
			          x->env->field, name);
		if (!index)
			return 0;
		at[++n] = index;
	} while (take(x, ","));
	return want(x, "]") ? n : 0;
}

/* name[index,...] of operand i. */
static kir_ref element(expr *x, unsigned i)
{
	const char *name = x->env->name[i].name, *where = x->at;
	kir_ref at[1 + EXPR_MAX_RANK] = { x->env->name[i].ref }, r, last;
	kir_elem e = (kir_elem)kir_type_of(x->f, at[0])->elem;
	unsigned *rank = x->env->name[i].rank, n;
	bool bits = x->env->name[i].bits;

	if (!want(x, "[") || !(n = indices(x, i, at)))
		return 0;
	if (rank && *rank && *rank != n)
		return WRONG(x, where, "%s: %s has %u indices here and %u elsewhere",
		             x->env->field, name, n, *rank);
	if (rank)
		*rank = n;
	last = at[n];
	if (bits)
		at[n] = emit2(x, KIR_OP_fdiv, KIR_s64, last, kir_const_i(x->f, KIR_s64, 8));
	/* only its indices are looked at while they are counted */
	if (rank)
		n = 1;
	r = kir_emit(x->f, KIR_OP_load, kir_scalar(x->f->module, e), at, 1 + n, NULL);
	if (kir_is_float(e))
		return e == KIR_f32 ? r : emit1(x, KIR_OP_convert, KIR_f32, r);
	r = e == KIR_s64 ? r : emit1(x, KIR_OP_convert, KIR_s64, r);
	return bits && r ? bit(x, r, last) : r;
}

/* What a function of one number gives. */
static kir_ref call1(expr *x, int fn, kir_ref a)
{
	static const double log2_e = 1.44269504088896340736;
	bool integer = elem_of(x, a) == KIR_s64;

	switch (fn) {
	case F_ABS: return emit1(x, KIR_OP_abs, elem_of(x, a), a);
	case F_FLOAT: return to_float(x, a);
	case F_INT: return to_int(x, a);
	case F_FLOOR: return integer ? a : emit1(x, KIR_OP_floor, KIR_f32, a);
	case F_EXP2: return emit1(x, KIR_OP_exp2, KIR_f32, to_float(x, a));
	case F_LOG2: return emit1(x, KIR_OP_log2, KIR_f32, to_float(x, a));
	case F_TANH: return emit1(x, KIR_OP_tanh, KIR_f32, to_float(x, a));
	case F_SQRT: return emit1(x, KIR_OP_sqrt, KIR_f32, to_float(x, a));
	default:
		a = to_float(x, a);
		a = emit2(x, KIR_OP_mul, KIR_f32, a, kir_const_f(x->f, KIR_f32, log2_e));
		return emit1(x, KIR_OP_exp2, KIR_f32, a);
	}
}

static kir_ref call(expr *x, int fn, const char *where)
{
	kir_ref a, b;

	if (!want(x, "(") || !(a = parse_expr(x)))
		return 0;
	if (fn > F_MAX) {
		if (!want(x, ")"))
			return 0;
		if (is_bool(x, a))
			return WRONG(x, where, "%s: %s takes a number, not a condition",
			             x->env->field, functions[fn]);
		return call1(x, fn, a);
	}
	if (!want(x, ",") || !(b = parse_expr(x)) || !want(x, ")") || !unify(x, where, &a, &b))
		return 0;
	return emit2(x, fn == F_MIN ? KIR_OP_min : KIR_OP_max, elem_of(x, a), a, b);
}

/* "min, max, ..." */
static const char *function_list(char *out, size_t len)
{
	size_t used = 0;

	for (int i = 0; i < F_COUNT && used < len; i++)
		used += (size_t)snprintf(out + used, len - used, "%s%s", i ? ", " : "",
		                         functions[i]);
	return out;
}

static kir_ref unknown_name(expr *x, const char *from, size_t n)
{
	char list[100] = "";
	kir_text known = { 0 };
	kir_ref none;

	for (unsigned i = 0; i < x->env->nname; i++)
		kir_text_add(&known, "%s%.24s", i ? ", " : "", x->env->name[i].name);
	for (int i = 0; i < EXPR_NLAZY; i++)
		kir_text_add(&known, ", %s", expr_lazy_names[i]);
	if (n > 24)
		n = 24;
	none = WRONG(x, from,
	             "%s: '%.*s' is none of %s and no function (%s); an operand is "
	             "declared by with=%.*s:s32",
	             x->env->field, (int)n, from, known.text, function_list(list, sizeof(list)),
	             (int)n, from);
	free(known.text);
	return none;
}

static kir_ref name(expr *x)
{
	const char *from = x->at;
	size_t n = 0;

	while (isalnum((unsigned char)from[n]) || from[n] == '_')
		n++;
	x->at += n;
	for (int i = 0; i < F_COUNT; i++)
		if (strlen(functions[i]) == n && !memcmp(functions[i], from, n))
			return call(x, i, from);
	for (unsigned i = 0; i < x->env->nname; i++) {
		const char *s = x->env->name[i].name;
		kir_ref ref = x->env->name[i].ref;

		if (strlen(s) == n && !memcmp(s, from, n))
			return kir_type_of(x->f, ref)->buffer ? element(x, i) : ref;
	}
	for (int i = 0; i < EXPR_NLAZY; i++) {
		const char *s = expr_lazy_names[i];

		if (strlen(s) == n && !memcmp(s, from, n))
			return lazy(x, (expr_lazy)i);
	}
	return unknown_name(x, from, n);
}

static kir_ref atom(expr *x)
{
	kir_ref r;

	blanks(x);
	if (isdigit((unsigned char)*x->at) || *x->at == '.')
		return number(x);
	if (isalpha((unsigned char)*x->at) || *x->at == '_')
		return name(x);
	if (!take(x, "("))
		return WRONG(x, x->at, "%s: expected a number, a name or '('", x->env->field);
	r = parse_expr(x);
	return r && want(x, ")") ? r : 0;
}

/* -- operators ---------------------------------------------------------------------- */

static kir_ref unary(expr *x)
{
	const char *where;
	int64_t i;
	kir_ref a = 0;

	blanks(x);
	where = x->at;
	if (++x->depth > MAX_DEPTH)
		return WRONG(x, where, "%s: nested more than %d deep", x->env->field,
		             MAX_DEPTH);
	if (take(x, "-")) {
		a = unary(x);
		if (a && is_bool(x, a))
			a = WRONG(x, where, "%s: - takes a number, not a condition",
			          x->env->field);
		else if (a && kir_is_const(x->f, a, &i))
			a = kir_const_i(x->f, KIR_s64, -i);
		else if (a && kir_at(x->f, a)->op == KIR_OP_const)
			a = kir_const_f(x->f, KIR_f32, -kir_at(x->f, a)->f);
		else if (a)
			a = emit1(x, KIR_OP_neg, elem_of(x, a), a);
	} else if (take(x, "!")) {
		a = unary(x);
		if (a && !is_bool(x, a))
			a = WRONG(x, where, "%s: ! takes a condition, not a number",
			          x->env->field);
		else if (a)
			a = emit2(x, KIR_OP_xor, KIR_i1, a, kir_const_i(x->f, KIR_i1, 1));
	} else {
		a = atom(x);
	}
	x->depth--;
	return a;
}

/* a // b and a % b, rounding down. */
static kir_ref divide(expr *x, const char *where, bool rest, kir_ref a, kir_ref b)
{
	int64_t i;

	if (elem_of(x, a) == KIR_s64) {
		if (!kir_is_const(x->f, b, &i) || i <= 0)
			return WRONG(x, where,
			             "%s: an integer divisor must be a positive number",
			             x->env->field);
		return emit2(x, rest ? KIR_OP_mod : KIR_OP_fdiv, KIR_s64, a, b);
	}
	kir_ref n = emit1(x, KIR_OP_floor, KIR_f32, emit2(x, KIR_OP_div, KIR_f32, a, b));

	return rest ? emit2(x, KIR_OP_sub, KIR_f32, a, emit2(x, KIR_OP_mul, KIR_f32, n, b)) : n;
}

static bool is_zero(const expr *x, kir_ref n)
{
	int64_t i;

	if (kir_is_const(x->f, n, &i))
		return i == 0;
	return kir_at(x->f, n)->op == KIR_OP_const && kir_at(x->f, n)->f == 0;
}

static kir_ref term(expr *x)
{
	kir_ref a = unary(x), b;

	while (a) {
		blanks(x);
		const char *where = x->at;
		int op = take(x, "*")    ? '*'
		         : take(x, "//") ? 'i'
		         : take(x, "/")  ? '/'
		         : take(x, "%")  ? '%'
		                         : 0;

		if (!op)
			return a;
		b = unary(x);
		if (!unify(x, where, &a, &b))
			return 0;
		if (op == '*')
			a = emit2(x, KIR_OP_mul, elem_of(x, a), a, b);
		else if (is_zero(x, b))
			return WRONG(x, where, "%s: division by 0", x->env->field);
		else if (op == '/')
			a = emit2(x, KIR_OP_div, KIR_f32, to_float(x, a), to_float(x, b));
		else
			a = divide(x, where, op == '%', a, b);
	}
	return a;
}

static kir_ref sum(expr *x)
{
	kir_ref a = term(x), b;

	while (a) {
		blanks(x);
		const char *where = x->at;
		kir_op op = take(x, "+") ? KIR_OP_add : take(x, "-") ? KIR_OP_sub : KIR_NONE;

		if (!op)
			return a;
		b = term(x);
		if (!unify(x, where, &a, &b))
			return 0;
		a = emit2(x, op, elem_of(x, a), a, b);
	}
	return a;
}

static kir_ref comparison(expr *x)
{
	static const struct {
		const char *sign;
		kir_op op;
	} ops[] = { { "==", KIR_OP_eq }, { "!=", KIR_OP_ne }, { "<=", KIR_OP_le },
		    { ">=", KIR_OP_ge }, { "<", KIR_OP_lt },  { ">", KIR_OP_gt } };
	kir_ref a = sum(x), b;

	blanks(x);
	for (size_t i = 0; a && i < sizeof(ops) / sizeof(ops[0]); i++) {
		const char *where = x->at;

		if (!take(x, ops[i].sign))
			continue;
		b = sum(x);
		return unify(x, where, &a, &b) ? emit2(x, ops[i].op, KIR_i1, a, b) : 0;
	}
	return a;
}

/* and: a level above comparisons; or: one above and. */
static kir_ref logic(expr *x, bool either)
{
	kir_ref a = either ? logic(x, false) : comparison(x), b;

	while (a) {
		blanks(x);
		const char *where = x->at;

		if (!take(x, either ? "||" : "&&"))
			return a;
		b = either ? logic(x, false) : comparison(x);
		if (!b)
			return 0;
		if (!is_bool(x, a) || !is_bool(x, b))
			return WRONG(x, where, "%s: both sides of %s are conditions",
			             x->env->field, either ? "||" : "&&");
		a = emit2(x, either ? KIR_OP_or : KIR_OP_and, KIR_i1, a, b);
	}
	return a;
}

static kir_ref parse_expr(expr *x)
{
	const char *where;
	kir_ref c, a, b;

	if (++x->depth > MAX_DEPTH)
		return WRONG(x, x->at, "%s: nested more than %d deep", x->env->field,
		             MAX_DEPTH);
	c = logic(x, true);
	blanks(x);
	where = x->at;
	if (c && take(x, "?")) {
		if (!is_bool(x, c))
			return WRONG(x, where, "%s: a condition stands before '?'",
			             x->env->field);
		if (!(a = parse_expr(x)) || !want(x, ":") || !(b = parse_expr(x)))
			return 0;
		if (!(is_bool(x, a) && is_bool(x, b)) && !unify(x, where, &a, &b))
			return 0;
		c = emit(x, KIR_OP_select, elem_of(x, a), (kir_ref[]){ c, a, b }, 3);
	}
	x->depth--;
	return c;
}

kir_ref expr_build(const expr_env *env, const char *text, kir_elem type)
{
	expr x = { .env = env, .f = env->f, .text = text, .at = text };
	kir_ref r = parse_expr(&x);

	blanks(&x);
	if (r && *x.at)
		return WRONG(&x, x.at, "%s: expected an operator or the end, not '%.12s'",
		             env->field, x.at);
	if (r && type == KIR_i1 && !is_bool(&x, r))
		return WRONG(&x, text, "%s: must be a condition, like k <= q", env->field);
	if (r && type == KIR_f32 && is_bool(&x, r))
		return WRONG(&x, text, "%s: must be a number, like s * 0.5", env->field);
	return r && type == KIR_f32 ? to_float(&x, r) : r;
}

bool expr_reserved(const char *s)
{
	for (int i = 0; i < F_COUNT; i++)
		if (!strcmp(functions[i], s))
			return true;
	for (int i = 0; i < EXPR_NLAZY; i++)
		if (!strcmp(expr_lazy_names[i], s))
			return true;
	return !strcmp(s, "s") || !strcmp(s, "b") || !strcmp(s, "h") || !strcmp(s, "q") ||
	       !strcmp(s, "k");
}
