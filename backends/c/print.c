/* SPDX-License-Identifier: Apache-2.0 */
/* print.c -- a level-V function as one C11 translation unit.
 *
 * Node n is the variable vn, of a plain type or a struct of lanes; a buffer is the pointer bn
 * to its element 0. Structured loops and ifs stay what they are: carried values are
 * variables before the loop, results of an if variables before the if.
 */
#include "c.h"

#include <stdlib.h>

typedef struct printer {
	const kir_func *f;
	kir_text *out;
	kir_diag *why;
	unsigned indent;
	kir_ref *open; /* region ops around the current node                       */
	unsigned depth;
	bool *second; /* of an if: its first region has been closed                */
	unsigned phase;
	bool ok;
} printer;

static void line(printer *p)
{
	kir_text_add(p->out, "%.*s", (int)(p->indent < 12 ? p->indent : 12),
	             "\t\t\t\t\t\t\t\t\t\t\t\t");
}

static void cannot(printer *p, kir_ref n, const char *what)
{
	if (p->ok)
		kir_error(p->why, (int)kir_at(p->f, n)->line, 0, "backend c: %s: %s",
		          kir_ops[kir_at(p->f, n)->op].name, what);
	p->ok = false;
}

/* float, or f32x16. */
static void type_name(const kir_func *f, kir_type_id id, kir_text *out)
{
	const kir_type *t = kir_type_at(f->module, id);

	if (t->rank)
		kir_text_add(out, "%sx%lld", kir_elems[t->elem].name, (long long)t->dim[0]);
	else
		kir_text_add(out, "%s", kbe_c_type((kir_elem)t->elem));
}

static void declare(printer *p, kir_ref n)
{
	line(p);
	type_name(p->f, kir_at(p->f, n)->type, p->out);
	kir_text_add(p->out, " v%u", n);
}

/* A whole value as an operand. */
static void value(printer *p, kir_ref n)
{
	if (kir_type_of(p->f, n)->rank)
		kir_text_add(p->out, "v%u", n);
	else
		kbe_c_raw(p->f, n, "0", p->out);
}

/* Opens "vn ... = " for each lane, with l as its number. */
static void each_lane(printer *p, kir_ref n)
{
	const kir_type *t = kir_type_of(p->f, n);

	declare(p, n);
	if (!t->rank) {
		kir_text_add(p->out, " = ");
		return;
	}
	kir_text_add(p->out, ";\n");
	line(p);
	kir_text_add(p->out, "for (int l = 0; l < %lld; l++) v%u.e[l] = ", (long long)t->dim[0],
	             n);
}

/* -- memory ----------------------------------------------------------------------- */

static void piece(printer *p, kir_ref buf, const kir_piece *q, kir_ref index, const char *lane)
{
	kir_text *out = p->out;
	bool cut = q->div > 1 || q->mod > 0;

	kir_text_add(out, " + (s64)(%s(%s)", cut ? "(u64)" : "", cut ? "u64" : "s64");
	kbe_c_raw(p->f, index, lane, out);
	if (q->div > 1)
		kir_text_add(out, " / %d", q->div);
	if (q->mod > 0)
		kir_text_add(out, " %% %d", q->mod);
	if (q->dyn)
		kir_text_add(out, ") * s%u_%lld", kir_root(p->f, buf), (long long)q->stride);
	else
		kir_text_add(out, ") * %lldll", (long long)q->stride);
}

/* The address of the indexed element. */
static void address(printer *p, kir_ref n, const char *lane)
{
	kir_ref buf, upto;
	unsigned first, nindex;
	const kir_type *t;

	kir_access(p->f, n, &buf, &first, &nindex, &upto);
	t = kir_type_of(p->f, buf);
	kir_text_add(p->out, "b%u", buf);
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].axis < nindex)
			piece(p, buf, &t->piece[i], kir_src(p->f, n, first + t->piece[i].axis),
			      lane);
}

void kbe_c_address(const kir_func *f, kir_ref n, kir_text *out)
{
	printer p = { .f = f, .out = out };

	address(&p, n, "0");
}

static void print_load(printer *p, kir_ref n)
{
	const kir_type *t = kir_type_of(p->f, n);
	kir_ref buf, upto;
	unsigned first, nindex, size = kir_elem_bytes((kir_elem)t->elem);

	kir_access(p->f, n, &buf, &first, &nindex, &upto);
	if (kir_at(p->f, n)->op == KIR_OP_load && (t->rank || upto)) {
		cannot(p, n, "only scalars are loaded at level V, vectors by vload");
		return;
	}
	declare(p, n);
	if (upto) {
		kir_text_add(p->out, " = { 0 };\n");
		line(p);
		kir_text_add(p->out, "for (int l = 0; l < %lld && l < ",
		             (long long)(t->rank ? t->dim[0] : 1));
		value(p, upto);
		kir_text_add(p->out, "; l++) __builtin_memcpy((u8 *)&v%u + %u * l, ", n, size);
		address(p, n, "0");
		kir_text_add(p->out, " + %u * l, %u);\n", size, size);
		return;
	}
	kir_text_add(p->out, ";\n");
	line(p);
	kir_text_add(p->out, "__builtin_memcpy(&v%u, ", n);
	address(p, n, "0");
	kir_text_add(p->out, ", sizeof v%u);\n", n);
}

static void print_store(printer *p, kir_ref n)
{
	kir_ref x = kir_src(p->f, n, 0), buf, upto;
	const kir_type *t = kir_type_of(p->f, x);
	unsigned first, nindex, size = kir_elem_bytes((kir_elem)t->elem);

	kir_access(p->f, n, &buf, &first, &nindex, &upto);
	if (kir_at(p->f, n)->op == KIR_OP_store && (t->rank || upto)) {
		cannot(p, n, "only scalars are stored at level V, vectors by vstore");
		return;
	}
	line(p);
	kir_text_add(p->out, "{ ");
	type_name(p->f, kir_at(p->f, x)->type, p->out);
	kir_text_add(p->out, " x = ");
	value(p, x);
	kir_text_add(p->out, "; u8 *to = ");
	address(p, n, "0");
	if (upto) {
		kir_text_add(p->out, "; for (int l = 0; l < %lld && l < ",
		             (long long)(t->rank ? t->dim[0] : 1));
		value(p, upto);
		kir_text_add(p->out,
		             "; l++) __builtin_memcpy(to + %u * l, (u8 *)&x + %u * l, %u); }\n",
		             size, size, size);
	} else {
		kir_text_add(p->out, "; __builtin_memcpy(to, &x, sizeof x); }\n");
	}
}

static void print_gather(printer *p, kir_ref n)
{
	const kir_type *t = kir_type_of(p->f, n);

	declare(p, n);
	kir_text_add(p->out, ";\n");
	line(p);
	kir_text_add(
	    p->out, "for (int l = 0; l < %lld; l++) __builtin_memcpy((u8 *)&v%u + %u * l, ",
	    (long long)(t->rank ? t->dim[0] : 1), n, kir_elem_bytes((kir_elem)t->elem));
	address(p, n, "l");
	kir_text_add(p->out, ", %u);\n", kir_elem_bytes((kir_elem)t->elem));
}

static void print_prefetch(printer *p, kir_ref n)
{
	static const int locality[] = { 3, 2, 1, 0 };

	line(p);
	kir_text_add(p->out, "__builtin_prefetch(");
	address(p, n, "0");
	kir_text_add(p->out, " + %lld, 0, %d);\n",
	             (long long)kir_attr_of(p->f, n, KIR_ATTR_offset),
	             locality[kir_attr_of(p->f, n, KIR_ATTR_hint) & 3]);
}

static void print_local(printer *p, kir_ref n)
{
	const kir_type *t = kir_type_of(p->f, n);
	int64_t bytes = kir_elem_bytes((kir_elem)t->elem);

	for (unsigned i = 0; i < t->rank; i++)
		bytes *= t->dim[i];
	line(p);
	kir_text_add(p->out, "_Alignas(64) u8 b%u[%lld];\n", n, (long long)(bytes ? bytes : 1));
}

/* -- lanes ------------------------------------------------------------------------ */

/* vn.e[l] = expr for lanes l of the result; text has x and y for the operands. */
static void print_lanes(printer *p, kir_ref n)
{
	long long lanes = kir_type_of(p->f, n)->dim[0], half = lanes / 2;
	long long within = kir_attr_of(p->f, n, KIR_ATTR_within), w = within ? within : lanes;
	kir_ref x = kir_src(p->f, n, 0), y = kir_src(p->f, n, 1);
	kir_op op = (kir_op)kir_at(p->f, n)->op;
	kir_text *o = p->out;

	each_lane(p, n);
	switch (op) {
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
		for (int i = 0; i < 2; i++)
			kir_text_add(o, "%sv%u.e[l / %lld * %lld + %lld + l %% %lld / 2]",
			             i ? " : " : "l & 1 ? ", i ? x : y, w, w,
			             op == KIR_OP_zip_hi ? w / 2 : 0, w);
		break;
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
		kir_text_add(o, "l %% %lld < %lld ? ", w, w / 2);
		for (int i = 0; i < 2; i++)
			kir_text_add(o, "%sv%u.e[l / %lld * %lld + 2 * l %% %lld + %d]",
			             i ? " : " : "", i ? y : x, w, w, w, op == KIR_OP_unzip_hi);
		break;
	case KIR_OP_half_lo: kir_text_add(o, "v%u.e[l]", x); break;
	case KIR_OP_half_hi: kir_text_add(o, "v%u.e[%lld + l]", x, lanes); break;
	default: kir_text_add(o, "l < %lld ? v%u.e[l] : v%u.e[l - %lld]", half, x, y, half);
	}
	kir_text_add(o, ";\n");
}

/* Sums in 64 bits, which are exact (floats: better than one rounding a step). */
static void print_dp(printer *p, kir_ref n)
{
	kir_ref acc = kir_src(p->f, n, 0), a = kir_src(p->f, n, 1), b = kir_src(p->f, n, 2);
	kir_elem e = (kir_elem)kir_type_of(p->f, n)->elem;
	long long lanes = kir_type_of(p->f, n)->dim[0],
	          per = kir_type_of(p->f, a)->dim[0] / lanes;
	bool flush = kir_at(p->f, n)->op == KIR_OP_x86_dpbf16;
	const char *t = kir_is_float(e) ? "double" : "s64";

	if (!kir_type_of(p->f, n)->rank || !kir_type_of(p->f, a)->rank ||
	    !kir_type_of(p->f, b)->rank) {
		cannot(p, n, "its operands must be vectors");
		return;
	}
	declare(p, n);
	kir_text_add(p->out, ";\n");
	line(p);
	kir_text_add(p->out, "for (int l = 0; l < %lld; l++) { %s s = ", lanes, t);
	kbe_c_number(p->f, acc, "l", p->out);
	kir_text_add(p->out, ";%s for (int i = %lld * l; i < %lld * (l + 1); i++) { %s x = ",
	             flush ? " if (k_abs(s) < 0x1p-126) s = 0;" : "", per, per, t);
	kbe_c_number(p->f, a, "i", p->out);
	kir_text_add(p->out, ", y = ");
	kbe_c_number(p->f, b, "i", p->out);
	kir_text_add(p->out, ";%s s += x * y; } ",
	             flush ? " if (k_abs(x) < 0x1p-126) x = 0; if (k_abs(y) < 0x1p-126) y = 0;"
	                   : "");
	if (flush)
		kir_text_add(p->out, "if (k_abs((float)s) < 0x1p-126) s = 0; ");
	kir_text_add(p->out, "v%u.e[l] = %ss%s; }\n", n, kbe_c_open(e), kbe_c_close(e));
}

static void print_reduce(printer *p, kir_ref n)
{
	kir_ref x = kir_src(p->f, n, 0);
	kir_op op = (kir_op)kir_at(p->f, n)->op;
	kir_elem e = (kir_elem)kir_type_of(p->f, n)->elem;
	bool flt = kir_is_float(e), zero = op == KIR_OP_reduce_add || op == KIR_OP_reduce_amax;
	kir_text *o = p->out;

	if (kir_type_of(p->f, n)->rank || !kir_type_of(p->f, x)->rank) {
		cannot(p, n, "at level V it takes a vector to a scalar");
		return;
	}
	declare(p, n);
	kir_text_add(o, ";\n");
	line(p);
	kir_text_add(o, "{ %s s = ", flt ? "double" : "s64");
	if (zero)
		kir_text_add(o, "0");
	else
		kbe_c_number(p->f, x, "0", o);
	kir_text_add(o, "; for (int l = 0; l < %lld; l++) { %s x = ",
	             (long long)kir_type_of(p->f, x)->dim[0], flt ? "double" : "s64");
	kbe_c_number(p->f, x, "l", o);
	if (op == KIR_OP_reduce_add)
		kir_text_add(o, "; s += x; } ");
	else if (op == KIR_OP_reduce_amax && !flt)
		kir_text_add(o, "; u64 m = x < 0 ? 0 - (u64)x : (u64)x; "
		                "s = m > (u64)s ? (s64)m : s; } ");
	else if (op == KIR_OP_reduce_amax)
		kir_text_add(o, "; x = x < 0 ? -x : x; s = x > s ? x : s; } ");
	else if (op == KIR_OP_reduce_max)
		kir_text_add(o, "; s = s > x%s ? s : x; } ", flt ? " || x != x" : "");
	else
		kir_text_add(o, "; s = s < x%s ? s : x; } ", flt ? " || x != x" : "");
	kir_text_add(o, "v%u = %ss%s; }\n", n, kbe_c_open(e), kbe_c_close(e));
}

static void print_bits(printer *p, kir_ref n)
{
	kir_ref x = kir_src(p->f, n, 0);

	declare(p, n);
	kir_text_add(p->out, ";\n");
	line(p);
	if (kir_at(p->f, x)->op == KIR_OP_const) {
		kir_text_add(p->out, "{ ");
		type_name(p->f, kir_at(p->f, x)->type, p->out);
		kir_text_add(p->out, " x = ");
		value(p, x);
		kir_text_add(p->out, "; __builtin_memcpy(&v%u, &x, sizeof x); }\n", n);
		return;
	}
	kir_text_add(p->out, "__builtin_memcpy(&v%u, &v%u, sizeof v%u);\n", n, x, n);
}

/* -- regions ---------------------------------------------------------------------- */

/* Writes the yielded values to vfirst, vfirst+1, ...: all are read before one is written. */
static void assign_all(printer *p, kir_ref yield, kir_ref first)
{
	unsigned n = kir_at(p->f, yield)->nsrc;

	for (unsigned i = 0; i < n; i++) {
		line(p);
		type_name(p->f, kir_at(p->f, kir_src(p->f, yield, i))->type, p->out);
		kir_text_add(p->out, " y%u = ", i);
		value(p, kir_src(p->f, yield, i));
		kir_text_add(p->out, ";\n");
	}
	for (unsigned i = 0; i < n; i++) {
		line(p);
		kir_text_add(p->out, "v%u = y%u;\n", first + i, i);
	}
}

static void open_for(printer *p, kir_ref n)
{
	kir_text *o = p->out;

	if (kir_for_par(p->f, n)) {
		line(p);
		kir_text_add(
		    o, "if (phase == %u) for (s64 v%u = begin * %lldll; v%u < end * %lldll; ",
		    p->phase++, n + 1, (long long)kir_for_step(p->f, n), n + 1,
		    (long long)kir_for_step(p->f, n));
	} else {
		for (unsigned i = 2; i < kir_at(p->f, n)->nsrc; i++) {
			declare(p, n + i);
			kir_text_add(o, " = ");
			value(p, kir_src(p->f, n, i));
			kir_text_add(o, ";\n");
		}
		line(p);
		kir_text_add(o, "for (s64 v%u = ", n + 1);
		value(p, kir_src(p->f, n, 0));
		kir_text_add(o, "; v%u < ", n + 1);
		value(p, kir_src(p->f, n, 1));
		kir_text_add(o, "; ");
	}
	kir_text_add(o, "v%u += %lld) {\n", n + 1, (long long)kir_for_step(p->f, n));
	p->indent++;
}

/* The yield of an if's second region, which its results follow. */
static kir_ref last_yield(const kir_func *f, kir_ref n)
{
	return kir_region_yield(f, kir_region_yield(f, n + 1) + 1);
}

static void open_if(printer *p, kir_ref n)
{
	kir_ref last = last_yield(p->f, n);

	for (unsigned i = 0; i < kir_at(p->f, last)->nsrc; i++) {
		declare(p, last + 1 + i);
		kir_text_add(p->out, ";\n");
	}
	line(p);
	kir_text_add(p->out, "if (");
	value(p, kir_src(p->f, n, 0));
	kir_text_add(p->out, ") {\n");
	p->indent++;
}

static void close_region(printer *p, kir_ref n)
{
	kir_ref op = p->open[p->depth - 1];

	if (kir_at(p->f, op)->op == KIR_OP_for) {
		assign_all(p, n, op + 2);
		p->depth--;
	} else {
		assign_all(p, n, last_yield(p->f, op) + 1);
		if (p->second[op])
			p->depth--;
	}
	p->indent--;
	line(p);
	kir_text_add(p->out, kir_at(p->f, op)->op == KIR_OP_if && !p->second[op] ? "} else {\n"
	                                                                         : "}\n");
	if (kir_at(p->f, op)->op == KIR_OP_if && !p->second[op])
		p->indent++;
	p->second[op] = true;
}

/* Results of an if are the variables its regions wrote. */
static void print_result(printer *p, kir_ref n)
{
	kir_ref op = kir_src(p->f, n, 0);

	if (kir_at(p->f, op)->op != KIR_OP_for)
		return;
	declare(p, n);
	kir_text_add(p->out, " = v%u;\n",
	             op + 2 + (unsigned)kir_attr_of(p->f, n, KIR_ATTR_index));
}

/* -- nodes ------------------------------------------------------------------------ */

static const char *code_of_lane(kir_op op)
{
	return op == KIR_OP_x86_lut      ? "l"
	       : op == KIR_OP_x86_lut_lo ? "(l / 8 * 16 + l % 8)"
	                                 : "(l / 8 * 16 + 8 + l % 8)";
}

static void print_value(printer *p, kir_ref n)
{
	kir_text rhs = { 0 };
	const char *e = kir_elems[kir_type_of(p->f, n)->elem].name;

	if (kir_type_of(p->f, n)->rank > 1) {
		cannot(p, n, "at level V a value is a scalar or a vector");
		return;
	}
	switch (kir_at(p->f, n)->op) {
	case KIR_OP_splat: kbe_c_raw(p->f, kir_src(p->f, n, 0), "l", &rhs); break;
	case KIR_OP_iota:
		kir_text_add(&rhs, "%sl%s", kbe_c_open((kir_elem)kir_type_of(p->f, n)->elem),
		             kbe_c_close((kir_elem)kir_type_of(p->f, n)->elem));
		break;
	case KIR_OP_x86_lut:
	case KIR_OP_x86_lut_lo:
	case KIR_OP_x86_lut_hi:
		kir_text_add(&rhs, "e_%s(", e);
		kbe_c_number(p->f, kir_src(p->f, n, 0),
		             code_of_lane((kir_op)kir_at(p->f, n)->op), &rhs);
		kir_text_add(&rhs, ", 0, 0, 0)");
		break;
	default:
		if (!kbe_c_each(p->f, n, &rhs)) {
			free(rhs.text);
			cannot(p, n, "not an op of this backend for these elements");
			return;
		}
	}
	each_lane(p, n);
	kir_text_add(p->out, "%s;\n", rhs.text);
	free(rhs.text);
}

static void print_region(printer *p, kir_ref n)
{
	if (kir_at(p->f, n)->op == KIR_OP_for)
		open_for(p, n);
	else
		open_if(p, n);
	p->open[p->depth++] = n;
}

static void print_node(printer *p, kir_ref n)
{
	switch (kir_at(p->f, n)->op) {
	case KIR_OP_param:
	case KIR_OP_const:
	case KIR_OP_arg:
	case KIR_OP_ret: return;
	case KIR_OP_res: print_result(p, n); return;
	case KIR_OP_for:
	case KIR_OP_if: print_region(p, n); return;
	case KIR_OP_yield: close_region(p, n); return;
	case KIR_OP_load:
	case KIR_OP_vload: print_load(p, n); return;
	case KIR_OP_store:
	case KIR_OP_vstore: print_store(p, n); return;
	case KIR_OP_gather: print_gather(p, n); return;
	case KIR_OP_prefetch: print_prefetch(p, n); return;
	case KIR_OP_local: print_local(p, n); return;
	case KIR_OP_view:
		line(p);
		kir_text_add(p->out, "u8 *b%u = b%u + %lldll;\n", n, kir_src(p->f, n, 0),
		             (long long)kir_attr_of(p->f, n, KIR_ATTR_offset));
		return;
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
	case KIR_OP_half_lo:
	case KIR_OP_half_hi:
	case KIR_OP_join: print_lanes(p, n); return;
	case KIR_OP_dp:
	case KIR_OP_x86_dpbusd:
	case KIR_OP_x86_dpbf16: print_dp(p, n); return;
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax: print_reduce(p, n); return;
	case KIR_OP_bitcast: print_bits(p, n); return;
	default: break;
	}
	if (kir_is_amx((kir_op)kir_at(p->f, n)->op)) {
		line(p);
		kbe_c_tile(p->f, n, p->out);
	} else {
		print_value(p, n);
	}
}

/* -- the unit --------------------------------------------------------------------- */

static bool has_tiles(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (kir_at(f, n)->op == KIR_OP_amx_tile)
			return true;
	return false;
}

static void print_types(const kir_func *f, kir_text *out)
{
	bool used[KIR_NELEM] = { false }, *seen = calloc(f->module->ntype, 1);

	for (kir_ref n = 1; n < f->nnode; n++)
		used[kir_type_of(f, n)->elem] = true;
	kbe_c_prelude(used, out);
	if (has_tiles(f))
		kbe_c_tile_helpers(out);
	for (kir_ref n = 1; seen && n < f->nnode; n++) {
		const kir_type *t = kir_type_of(f, n);
		if (t->buffer || t->rank != 1 || seen[kir_at(f, n)->type])
			continue;
		seen[kir_at(f, n)->type] = true;
		kir_text_add(out, "typedef struct { %s e[%lld]; } ",
		             kbe_c_type((kir_elem)t->elem), (long long)t->dim[0]);
		type_name(f, kir_at(f, n)->type, out);
		kir_text_add(out, ";\n");
	}
	free(seen);
}

static bool print_params(printer *p)
{
	const kir_func *f = p->f;

	kir_text_add(p->out, "\n/* @%s */\n__attribute__((visibility(\"default\"))) void %s(",
	             f->name, KBE_C_ENTRY);
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_param *a = &f->param[i];
		const kir_type *t = kir_type_at(f->module, a->type);
		if (t->buffer) {
			kir_text_add(p->out, "u8 *b%u, ", a->node);
			for (unsigned k = 0; k < a->nstride; k++)
				kir_text_add(p->out, "s64 s%u_%u, ", a->node, k);
		} else if (!t->rank &&
		           (t->elem == KIR_s32 || t->elem == KIR_s64 || t->elem == KIR_f32)) {
			kir_text_add(p->out, "%s v%u, ", kbe_c_type((kir_elem)t->elem),
			             a->node);
		} else {
			kir_error(p->why, 0, 0,
			          "backend c: parameter %%%s: a scalar is s32, s64 or f32",
			          a->name);
			return false;
		}
	}
	kir_text_add(p->out, "s64 phase, s64 begin, s64 end)\n{\n");
	return true;
}

bool kbe_c_source(const kir_func *f, kir_text *out, kir_diag *why)
{
	printer p = { .f = f, .out = out, .why = why, .indent = 1, .ok = true };

	if (f->level != KIR_V) {
		kir_error(why, 0, 0, "backend c: @%s isn't at level V", f->name);
		return false;
	}
	p.open = calloc(f->nnode, sizeof *p.open);
	p.second = calloc(f->nnode, sizeof *p.second);
	p.ok = p.open && p.second;
	if (p.ok) {
		print_types(f, out);
		p.ok = print_params(&p);
		if (has_tiles(f))
			kbe_c_tile_registers(out);
	}
	for (kir_ref n = 1; p.ok && n < f->nnode; n++)
		print_node(&p, n);
	kir_text_add(out, "}\n");
	free(p.open);
	free(p.second);
	return p.ok;
}
