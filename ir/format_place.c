/* SPDX-License-Identifier: Apache-2.0 */
/* format_place.c -- reads where a format's streams lie: tensors, groups of items, and the
 * pieces of each index. format_layout.c computes addresses from what is read here.
 */
#include "format_parse.h"
#include "internal.h"

#include <string.h>

static bool parse_piece(format_parser *p, const char *axes, struct format_piece *out)
{
	const char *s = p->s, *end = p->s + p->n;

	*out = (struct format_piece){ .axis = p->kind == 'w' ? *s : ' ', .div = 1, .mod = 0 };
	if (p->kind == 'w' && strchr(axes, *s)) {
		s++;
		for (int k = 0; k < 2; k++) {
			const char *from = s + 1;

			if (s == end || *s != "/%"[k])
				continue;
			for (s++; s < end && *s >= '0' && *s <= '9'; s++)
				;
			if (!format_int(from, (size_t)(s - from), k ? &out->mod : &out->div) ||
			    (k ? out->mod : out->div) < 1 || (k ? out->mod : out->div) > 65536)
				return FORMAT_FAIL(
				    p, "'%.*s': after %c comes an integer from 1 to 65536",
				    format_shown(p), p->s, "/%"[k]);
		}
		if (s == end) {
			format_next(p);
			return true;
		}
	}
	return FORMAT_FAIL(p, "'%.*s' is no piece: an axis of \"%s\", then /N, %%N or both",
	                   format_shown(p), p->s, axes);
}

/* [PIECE...]; the bracket is at hand. */
static bool parse_pieces(format_parser *p, const char *axes, struct format_piece *out,
                         unsigned max, unsigned *n)
{
	*n = 0;
	format_next(p);
	while (p->kind == 'w') {
		if (*n == max)
			return FORMAT_FAIL(p, "more than %u pieces", max);
		if (!parse_piece(p, axes, &out[(*n)++]))
			return false;
	}
	if (*n == 0)
		return FORMAT_FAIL(p, "expected pieces like t/16 or d between [ and ]");
	return format_expect(p, ']', "after the pieces");
}

static bool parse_items(format_parser *p, unsigned depth, struct format_item **out,
                        unsigned *n);

static bool parse_item(format_parser *p, unsigned depth, struct format_item *it)
{
	int bytes;

	*it = (struct format_item){ .line = p->tline, .col = p->tcol };
	if (p->kind == '[') {
		it->kind = FORMAT_GROUP;
		return parse_pieces(p, "htdg", it->piece, KIR_PIECES, &it->npiece) &&
		       parse_items(p, depth + 1, &it->item, &it->nitem);
	}
	if (format_is(p, "pad") || format_is(p, "align")) {
		it->kind = format_is(p, "pad") ? FORMAT_PAD : FORMAT_ALIGN;
		format_next(p);
		if (!format_number(p, it->kind == FORMAT_PAD ? "pad" : "align", 1, 65536,
		                   &bytes))
			return false;
		it->bytes = bytes;
		return true;
	}
	it->kind = FORMAT_LEAF;
	for (int s = 0; s < KIR_NSTREAM; s++) {
		if (!format_is(p, kir_stream_names[s]))
			continue;
		it->stream = (kir_stream)s;
		format_next(p);
		if (p->kind != '[' || !p->glued)
			return true;
		return parse_pieces(p, s < KIR_S_ks ? "htd" : "htgd", it->piece, KIR_PIECES,
		                    &it->npiece);
	}
	return FORMAT_FAIL(
	    p, "'%.*s' is no item: k, v, r, ks, vs, rs, pad N, align N or [AXES] { ... }",
	    format_shown(p), p->s);
}

/* { ITEM... }, into the arena. */
static bool parse_items(format_parser *p, unsigned depth, struct format_item **out, unsigned *n)
{
	struct format_item item[FORMAT_MAX_ITEMS / 4];

	*n = 0;
	if (depth > FORMAT_MAX_DEPTH)
		return FORMAT_FAIL(p, "groups nested more than %d deep", FORMAT_MAX_DEPTH);
	if (!format_expect(p, '{', "before a tensor's items"))
		return false;
	while (p->kind && p->kind != '}') {
		if (*n == FORMAT_MAX_ITEMS / 4 || p->items++ == FORMAT_MAX_ITEMS)
			return FORMAT_FAIL(p, "more than %d items", FORMAT_MAX_ITEMS / 4);
		if (!parse_item(p, depth, &item[*n]))
			return false;
		(*n)++;
	}
	*out = kir_alloc(p->m, (*n + 1) * sizeof(item[0]));
	memcpy(*out, item, *n * sizeof(item[0]));
	return format_expect(p, '}', "after a tensor's items");
}

bool format_parse_tensor(format_parser *p)
{
	kir_format *f = p->f;
	struct kir_format_tensor *t = &f->tensor[f->ntensor];
	struct format_piece piece[2];

	if (f->ntensor == KIR_MAX_TENSORS)
		return FORMAT_FAIL(p, "more than %d tensors", KIR_MAX_TENSORS);
	if (!format_more(p))
		return FORMAT_FAIL(p, "tensor needs a name");
	for (size_t i = 0; i < p->n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789",
		            p->s[i]))
			return FORMAT_FAIL(p, "a tensor's name has letters, digits and _");
	*t = (struct kir_format_tensor){ .name = kir_strdup(p->m, p->s, p->n),
		                         .line = p->tline,
		                         .col = p->tcol };
	for (unsigned i = 0; i < f->ntensor; i++)
		if (!strcmp(f->tensor[i].name, t->name))
			return FORMAT_FAIL(p, "two tensors are called '%s'", t->name);
	f->ntensor++;
	format_next(p);
	if (p->kind == '[') {
		if (!parse_pieces(p, "ht", piece, 2, &t->naxis))
			return false;
		for (unsigned i = 0; i < t->naxis; i++) {
			if (piece[i].div != 1 || piece[i].mod)
				return FORMAT_FAIL(p, "a tensor's own axes are whole: h and t");
			t->axis[i] = piece[i].axis;
		}
	}
	return parse_items(p, 0, &t->item, &t->nitem);
}
