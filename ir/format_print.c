/* SPDX-License-Identifier: Apache-2.0 */
/* format_print.c -- a declared format as text, and what follows from the text: the hash, and
 * two formats as one.
 *
 * The canonical print leaves out statements that have their default (apply divide, round even,
 * nan keep) and writes one for both sides where they agree; parsing it gives the same format.
 * Its hash stands for the format in every kernel's key, so whatever changes bytes must be in
 * the print.
 */
#include "format_priv.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

void format_print_number(double x, kir_text *out)
{
	char buf[KIR_FLOAT_TEXT];
	double back;

	for (int digits = 15; digits <= 17; digits++) {
		kir_float_digits(buf, 'g', digits, x);
		if (kir_read_float(buf, strlen(buf), &back) && back == x)
			break;
	}
	kir_text_add(out, "%s", buf);
}

static void print_scale(const kir_side *s, kir_text *out)
{
	if (s->gran == KIR_GRAN_none) {
		kir_text_add(out, "none");
		return;
	}
	kir_text_add(out, "%s %s", kir_elems[s->scale_elem].name, format_grans[s->gran]);
	if (s->gran == KIR_GRAN_group)
		kir_text_add(out, " %d", s->group);
	if (s->gran == KIR_GRAN_tokens)
		kir_text_add(out, " %d", s->tokens);
	if (s->rule == KIR_RULE_given) {
		kir_text_add(out, " given");
		return;
	}
	kir_text_add(out, s->range ? " range/" : s->inverse ? " amax*1/" : " amax/");
	format_print_number(s->divisor, out);
	if (s->other > 0) {
		kir_text_add(out, " or ");
		format_print_number(s->other, out);
	}
	if (s->eps > 0) {
		kir_text_add(out, " eps ");
		format_print_number(s->eps, out);
	}
	if (s->floor > 0) {
		kir_text_add(out, " floor ");
		format_print_number(s->floor, out);
	}
	if (s->rule >= KIR_RULE_pow2)
		kir_text_add(out, " pow2%s",
		             s->rule == KIR_RULE_pow2_down   ? "-down"
		             : s->rule == KIR_RULE_pow2_near ? "-near"
		                                             : "");
	if (s->row)
		kir_text_add(out, " row");
	if (s->global)
		kir_text_add(out, " global");
}

/* As declarations write it. */
const char *format_elem_name(const kir_side *s)
{
	return s->bits != 4        ? kir_elems[s->elem].name
	       : s->elem == KIR_s8 ? FORMAT_S4
	       : s->elem == KIR_u8 ? FORMAT_U4
	                           : kir_elems[s->elem].name;
}

static void print_rotate(const kir_side *s, kir_text *out)
{
	kir_text_add(out, s->rotate ? "hadamard" : "none");
	if (s->rotate > 0)
		kir_text_add(out, " %d", s->rotate);
	if (s->signs)
		kir_text_add(out, " signs");
}

/* A statement's value as text. */
static void print_value(const kir_side *s, int stmt, kir_text *out)
{
	switch (stmt) {
	case FORMAT_ELEM: kir_text_add(out, "%s", format_elem_name(s)); break;
	case FORMAT_SCALE: print_scale(s, out); break;
	case FORMAT_MEAN: kir_text_add(out, "%s", format_means[s->mean]); break;
	case FORMAT_ROTATE: print_rotate(s, out); break;
	case FORMAT_APPLY: kir_text_add(out, "%s", format_applies[s->reciprocal]); break;
	case FORMAT_ROUND: kir_text_add(out, "%s", format_rounds[s->round]); break;
	case FORMAT_NAN: kir_text_add(out, "%s", format_nans[s->nan]); break;
	default: kir_text_add(out, "%d", s->pack);
	}
}

static bool is_default(const kir_side *s, int stmt)
{
	switch (stmt) {
	case FORMAT_MEAN: return !s->mean;
	case FORMAT_ROTATE: return !s->rotate;
	case FORMAT_APPLY: return !s->reciprocal;
	case FORMAT_ROUND: return !s->round;
	case FORMAT_NAN: return !s->nan;
	case FORMAT_PACK: return s->pack == 1;
	default: return false;
	}
}

/* One line for the sides that agree; R's own where it differs from what K and V share. */
static void print_statement(const kir_format *f, int stmt, kir_text *out)
{
	kir_text side[KIR_SIDES] = { { 0 } };
	bool both, all;

	for (int i = 0; i < KIR_SIDES; i++)
		print_value(&f->side[i], stmt, &side[i]);
	both = !strcmp(side[0].text, side[1].text);
	all = both && !strcmp(side[0].text, side[2].text);
	if (both && !is_default(&f->side[0], stmt))
		kir_text_add(out, "  %s %s\n", format_statements[stmt], side[0].text);
	for (int i = both ? 2 : 0; i < (f->rest && !all ? 3 : 2); i++)
		if (both || !is_default(&f->side[i], stmt))
			kir_text_add(out, "  %c.%s %s\n", format_letter(i),
			             format_statements[stmt], side[i].text);
	for (int i = 0; i < KIR_SIDES; i++)
		free(side[i].text);
}

static void print_pieces(const struct format_piece *p, unsigned n, kir_text *out)
{
	kir_text_add(out, "[");
	for (unsigned i = 0; i < n; i++) {
		kir_text_add(out, "%s%c", i ? " " : "", p[i].axis);
		if (p[i].div != 1)
			kir_text_add(out, "/%d", p[i].div);
		if (p[i].mod)
			kir_text_add(out, "%%%d", p[i].mod);
	}
	kir_text_add(out, "]");
}

static void print_items(const struct format_item *it, unsigned n, kir_text *out)
{
	kir_text_add(out, "{");
	for (unsigned i = 0; i < n; i++) {
		kir_text_add(out, " ");
		switch (it[i].kind) {
		case FORMAT_PAD: kir_text_add(out, "pad %d", (int)it[i].bytes); break;
		case FORMAT_ALIGN: kir_text_add(out, "align %d", (int)it[i].bytes); break;
		case FORMAT_LEAF:
			kir_text_add(out, "%s", kir_stream_names[it[i].stream]);
			if (it[i].npiece)
				print_pieces(it[i].piece, it[i].npiece, out);
			break;
		case FORMAT_GROUP:
			print_pieces(it[i].piece, it[i].npiece, out);
			kir_text_add(out, " ");
			print_items(it[i].item, it[i].nitem, out);
		}
	}
	kir_text_add(out, " }");
}

void kir_format_print(const kir_format *f, kir_text *out)
{
	kir_text_add(out, "format %s v%d {\n", f->name, f->version);
	for (int s = 0; s < FORMAT_STATEMENTS; s++)
		print_statement(f, s, out);
	if (f->keys)
		kir_text_add(out, "  keys %d\n", f->keys);
	if (f->rest)
		kir_text_add(out, "  rest %d\n", f->rest);
	if (f->shared)
		kir_text_add(out, "  values shared\n");
	for (unsigned i = 0; i < f->ntensor; i++) {
		const struct kir_format_tensor *t = &f->tensor[i];

		kir_text_add(out, "  tensor %s ", t->name);
		if (t->naxis)
			kir_text_add(out, "[%.1s%s%.1s] ", t->axis, t->naxis > 1 ? " " : "",
			             t->naxis > 1 ? t->axis + 1 : "");
		print_items(t->item, t->nitem, out);
		kir_text_add(out, "\n");
	}
	kir_text_add(out, "}\n");
}

/* What the scales of stream s vary along in a head. */
static const char *scale_axes(const kir_format *f, kir_stream s)
{
	const kir_side *side = &f->side[format_side(s)];

	return side->group ? " t g" : side->tokens ? " g d" : " t";
}

const kir_format *kir_format_pair(kir_module *m, const kir_format *k, const kir_format *v,
                                  kir_diag *d)
{
	kir_format both = { .side = { k->side[0], v->side[1], k->side[2] } };
	kir_text t = { 0 };
	char *name;
	bool ok;

	if (k->rest || v->rest || k->shared || v->shared) {
		kir_error(d, 0, 0,
		          "k=%s and v=%s: keys in parts and shared values can't be mixed with "
		          "another format; use one for both",
		          k->name, v->name);
		return NULL;
	}
	kir_text_add(&t, "%s--%s", k->name, v->name);
	name = t.text;
	t = (kir_text){ 0 };
	kir_text_add(&t, "format %s v1 {\n", name);
	for (int s = 0; s < FORMAT_STATEMENTS; s++)
		print_statement(&both, s, &t);
	for (int s = 0; s < KIR_NSTREAM; s++)
		if (format_needs(&both, (kir_stream)s))
			kir_text_add(&t, "tensor rule_%s { %s[h%s] }\n", kir_stream_names[s],
			             kir_stream_names[s],
			             s < KIR_S_ks ? " t d" : scale_axes(&both, (kir_stream)s));
	kir_text_add(&t, "}");
	ok = kir_format_parse_body(m, t.text, t.len, 0, d);
	free(t.text);
	const kir_format *f = ok ? kir_format_find(m, name) : NULL;

	free(name);
	return f;
}

uint64_t kir_format_hash(const kir_format *f)
{
	kir_text t = { 0 };
	uint64_t h = 0xcbf29ce484222325u;

	kir_format_print(f, &t);
	for (size_t i = 0; i < t.len; i++)
		h = (h ^ (uint8_t)t.text[i]) * 0x100000001b3u;
	free(t.text);
	return h;
}
