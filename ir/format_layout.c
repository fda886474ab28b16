/* SPDX-License-Identifier: Apache-2.0 */
/* format_layout.c -- from a declaration and its sizes to addresses.
 *
 * A tensor's items are walked twice: sizes from the inside out, then offsets and strides from
 * the outside in. What encloses a leaf, from the page to its own pieces, is one list (`nest`),
 * which is the stream's address once each entry has its stride.
 *
 * A group's piece g means, for the codes in it, the elements that share that scale: a record
 * like `[g] { ks k[d%32] }` keeps each scale beside its codes. Where scales are shared along
 * tokens g counts those groups: `[g] { ks[d] k[t%32 d] }`.
 */
#include "format_priv.h"

#include <stdio.h>
#include <string.h>

/* One level around a leaf. */
struct nest {
	struct format_piece piece;
	bool dyn;
	int64_t stride; /* bytes, or the number of the run-time stride */
};

struct walk {
	const kir_format *f;
	const struct kir_format_tensor *tensor;
	int tensor_index;
	kir_shape shape;
	bool check; /* of the declaration alone: sizes are made up, alignment doesn't matter */
	kir_layout *out;
	kir_diag *d;
	struct nest nest[FORMAT_MAX_DEPTH * KIR_PIECES + 4];
	unsigned nnest;
};

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* Elements that a head has of the side. */
static int64_t side_dim(const struct walk *w, int side)
{
	return side == 0   ? w->shape.dim_k - w->f->rest
	       : side == 1 ? w->shape.dim_v
	                   : w->f->rest;
}

/* Extent of a whole axis as stream s sees it. */
static int64_t axis_extent(const struct walk *w, char axis, kir_stream s)
{
	int side = format_side(s), group = w->f->side[side].group;
	int tokens = w->f->side[side].tokens;

	switch (axis) {
	case 't': return w->shape.page;
	case 'h': return w->shape.kv_heads;
	case 'd':
		return side_dim(w, side) / (s < KIR_S_ks ? kir_side_per(&w->f->side[side]) : 1);
	default:
		if (tokens)
			return w->shape.page / tokens;
		return group ? side_dim(w, side) / group : 1;
	}
}

static int64_t piece_extent(const struct walk *w, const struct format_piece *p, kir_stream s)
{
	int64_t n = ceil_div(axis_extent(w, p->axis, s), p->div);

	return p->mod && p->mod < n ? p->mod : n;
}

static unsigned stream_bytes(const kir_format *f, kir_stream s)
{
	const kir_side *side = &f->side[format_side(s)];

	return kir_elem_bytes(s < KIR_S_ks ? side->elem
	                                   : side->scale_elem); /* 4 bits: a byte */
}

/* Sizes are capped, so that absurd declarations overflow nothing before they are refused. */
static const int64_t max_bytes = (int64_t)1 << 40;

static int64_t times(int64_t a, int64_t b)
{
	return b && a > max_bytes / b ? max_bytes : a * b;
}

/* A stream inside a group, to measure the group's axes with; KIR_NSTREAM if there is none.
 * With d or g in the axes all of them must agree, which check_group sees to. */
static kir_stream some_stream(const struct format_item *it, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		kir_stream s = it[i].kind == FORMAT_LEAF ? it[i].stream
		               : it[i].kind == FORMAT_GROUP
		                   ? some_stream(it[i].item, it[i].nitem)
		                   : KIR_NSTREAM;

		if (s != KIR_NSTREAM)
			return s;
	}
	return KIR_NSTREAM;
}

static int64_t repeats(const struct walk *w, const struct format_item *it)
{
	kir_stream s = it->kind == FORMAT_LEAF ? it->stream : some_stream(it->item, it->nitem);
	int64_t n = 1;

	for (unsigned i = 0; i < it->npiece; i++)
		n = times(n, piece_extent(w, &it->piece[i], s == KIR_NSTREAM ? KIR_S_k : s));
	return n;
}

static int64_t items_bytes(const struct walk *w, const struct format_item *it, unsigned n);

/* Bytes of one repetition of a leaf or group. */
static int64_t unit_bytes(const struct walk *w, const struct format_item *it)
{
	if (it->kind == FORMAT_LEAF)
		return stream_bytes(w->f, it->stream);
	return items_bytes(w, it->item, it->nitem);
}

/* Where the item ends if it begins at offset `at` of its group. */
static int64_t item_end(const struct walk *w, const struct format_item *it, int64_t at)
{
	if (it->kind == FORMAT_PAD)
		return at + it->bytes;
	if (it->kind == FORMAT_ALIGN)
		return ceil_div(at, it->bytes) * it->bytes;
	return at + times(repeats(w, it), unit_bytes(w, it));
}

static int64_t items_bytes(const struct walk *w, const struct format_item *it, unsigned n)
{
	int64_t at = 0;

	for (unsigned i = 0; i < n; i++)
		at = item_end(w, &it[i], at);
	return at;
}

/* -- one stream ----------------------------------------------------------------------- */

/* The nest as stream s sees it: g of a group is elements for codes. */
static struct format_piece piece_for(const struct walk *w, const struct nest *n, kir_stream s)
{
	struct format_piece p = n->piece;

	if (p.axis == 'g' && s < KIR_S_ks) {
		const kir_side *side = &w->f->side[format_side(s)];

		p.axis = side->tokens ? 't' : 'd';
		p.div *= side->tokens  ? side->tokens
		         : side->group ? side->group / (int)kir_side_per(side)
		                       : 1;
	}
	return p;
}

/* Whether the pieces along an axis are the digits of its index: the finest has div 1, each
 * coarser one begins where the modulus of the one before ends, and the coarsest has none. */
static bool covered(const struct walk *w, char axis, kir_stream s)
{
	int64_t next = 1;
	unsigned left = 0;

	for (unsigned i = 0; i < w->nnest; i++)
		left += piece_for(w, &w->nest[i], s).axis == axis;
	while (left--) {
		struct format_piece found = { .div = 0 };

		for (unsigned i = 0; i < w->nnest; i++) {
			struct format_piece p = piece_for(w, &w->nest[i], s);

			if (p.axis == axis && p.div == next)
				found = p;
		}
		if (!found.div || (found.mod == 0) != (left == 0))
			return false;
		next *= found.mod;
	}
	return next == 0;
}

static bool mentions(const struct walk *w, char axis)
{
	for (unsigned i = 0; i < w->nnest; i++)
		if (w->nest[i].piece.axis == axis)
			return true;
	return false;
}

static bool check_cover(const struct walk *w, const struct format_item *it)
{
	kir_stream s = it->stream;
	const kir_side *side = &w->f->side[format_side(s)];
	const char *axes = s < KIR_S_ks                    ? "htd"
	                   : side->gran == KIR_GRAN_group  ? "htg"
	                   : side->gran == KIR_GRAN_tokens ? "hgd"
	                                                   : "ht";

	for (unsigned i = 0; i < w->nnest; i++) {
		char axis = piece_for(w, &w->nest[i], s).axis;

		if (strchr(axes, axis))
			continue;
		kir_error(w->d, it->line, it->col,
		          "format %s: %s doesn't vary along %c, but lies inside [%c]",
		          w->f->name, kir_stream_names[s], axis, axis);
		return false;
	}
	for (; *axes; axes++) {
		if (covered(w, *axes, s))
			continue;
		if (*axes == 'h' && !mentions(w, 'h')) {
			if (w->check || w->shape.kv_heads == 1)
				continue;
			kir_error(
			    w->d, it->line, it->col,
			    "format %s: no piece of %s is along h, so it is for one KV head "
			    "(heads=N:1), not %lld",
			    w->f->name, kir_stream_names[s], (long long)w->shape.kv_heads);
			return false;
		}
		kir_error(w->d, it->line, it->col,
		          "format %s: the pieces of %s along %c don't cover it exactly once",
		          w->f->name, kir_stream_names[s], *axes);
		return false;
	}
	return true;
}

/* Every address must be a multiple of the element's size, so that it can be loaded at once. */
static bool check_align(const struct walk *w, kir_stream s, int64_t offset)
{
	int64_t size = stream_bytes(w->f, s), bad = offset % size ? offset : 0;

	for (unsigned i = 0; i < w->nnest && !bad; i++) {
		int64_t stride = w->nest[i].stride;

		if (w->nest[i].dyn)
			stride = w->out->tensor[w->tensor_index].stride[stride];
		bad = stride % size ? stride : 0;
	}
	if (!bad)
		return true;
	kir_error(w->d, 0, 0,
	          "format %s: %s is misaligned in tensor %s: %lld bytes is no multiple of its "
	          "%d-byte "
	          "%s; add pad or align",
	          w->f->name, kir_stream_names[s], w->tensor->name, (long long)bad, (int)size,
	          kir_elems[s < KIR_S_ks ? w->f->side[format_side(s)].elem
	                                 : w->f->side[format_side(s)].scale_elem]
	              .name);
	return false;
}

/* The address of stream s, as a buffer type. Terms that are always 0 and moduli that never
 * bite are left out. */
static bool stream_type(struct walk *w, kir_stream s, kir_type *t)
{
	const kir_side *side = &w->f->side[format_side(s)];
	bool by_tokens = s >= KIR_S_ks && side->gran == KIR_GRAN_tokens;
	const char *axes = by_tokens ? "phgd" : "phtd";
	kir_elem codes = side->bits == 4 ? KIR_u8 : side->elem;

	*t = (kir_type){ .elem = (uint8_t)(s < KIR_S_ks ? codes : side->scale_elem),
		         .buffer = true };
	t->dim[t->rank++] = KIR_DYN;
	t->dim[t->rank++] = w->shape.kv_heads;
	t->dim[t->rank++] = axis_extent(w, by_tokens ? 'g' : 't', s);
	if (s < KIR_S_ks || by_tokens)
		t->dim[t->rank++] = axis_extent(w, 'd', s);
	else if (side->gran == KIR_GRAN_group)
		t->dim[t->rank++] = axis_extent(w, 'g', s);
	t->piece[t->npieces++] = (kir_piece){ .axis = 0, .dyn = true, .div = 1, .stride = 0 };
	for (unsigned i = 0; i < w->nnest; i++) {
		struct format_piece p = piece_for(w, &w->nest[i], s);
		const char *axis = strchr(axes, p.axis == 'g' && !by_tokens ? 'd' : p.axis);
		int64_t n = ceil_div(axis_extent(w, p.axis, s), p.div);

		if (n <= p.mod)
			p.mod = 0;
		if ((n == 1 || p.mod == 1) && !w->nest[i].dyn)
			continue;
		if (t->npieces == KIR_PIECES) {
			kir_error(w->d, 0, 0,
			          "format %s: the address of %s has more than %d pieces",
			          w->f->name, kir_stream_names[s], KIR_PIECES);
			return false;
		}
		t->piece[t->npieces++] = (kir_piece){ .axis = (uint8_t)(axis - axes),
			                              .dyn = w->nest[i].dyn,
			                              .div = p.div,
			                              .mod = p.mod,
			                              .stride = w->nest[i].stride };
	}
	return true;
}

static bool place_leaf(struct walk *w, const struct format_item *it, int64_t offset)
{
	kir_stream s = it->stream;

	if (!format_needs(w->f, s)) {
		bool v = s == KIR_S_v || s == KIR_S_vs;

		if ((v && w->f->shared) || (s % KIR_SIDES == 2 && !w->f->rest))
			kir_error(w->d, it->line, it->col, "format %s: %s is placed, but %s",
			          w->f->name, kir_stream_names[s],
			          v ? "values are shared with the keys" : "keys have no rest");
		else
			kir_error(w->d, it->line, it->col,
			          "format %s: %s is placed, but %c's scales aren't stored",
			          w->f->name, kir_stream_names[s],
			          format_letter(format_side(s)));
		return false;
	}
	if (w->out->stream[s].tensor >= 0) {
		kir_error(w->d, it->line, it->col, "format %s: %s is placed twice", w->f->name,
		          kir_stream_names[s]);
		return false;
	}
	if (!check_cover(w, it))
		return false;
	w->out->stream[s].tensor = w->tensor_index;
	w->out->stream[s].offset = offset;
	return w->check ||
	       (check_align(w, s, offset) && stream_type(w, s, &w->out->stream[s].type));
}

/* -- walking ---------------------------------------------------------------------------- */

/* Bit 0: the items hold streams of K, bit 1: of V, bit 2: of R. */
static unsigned sides_in(const struct format_item *it, unsigned n)
{
	unsigned sides = 0;

	for (unsigned i = 0; i < n; i++) {
		if (it[i].kind == FORMAT_LEAF)
			sides |= 1u << format_side(it[i].stream);
		else if (it[i].kind == FORMAT_GROUP)
			sides |= sides_in(it[i].item, it[i].nitem);
	}
	return sides;
}

/* A group that is repeated along the head must mean the same for all streams in it. */
static bool check_group(const struct walk *w, const struct format_item *it)
{
	bool heads = false, groups = false;
	unsigned sides = sides_in(it->item, it->nitem);
	int first = sides & 1 ? 0 : 1;

	for (unsigned i = 0; i < it->npiece; i++) {
		heads |= it->piece[i].axis == 'd';
		groups |= it->piece[i].axis == 'g';
	}
	for (int i = first + 1; i < KIR_SIDES; i++) {
		bool same = side_dim(w, first) == side_dim(w, i);

		if (!(sides >> i & 1) || !(heads || groups))
			continue;
		if (same && (!groups || (w->f->side[first].group == w->f->side[i].group &&
		                         w->f->side[first].tokens == w->f->side[i].tokens)))
			continue;
		kir_error(w->d, it->line, it->col,
		          "format %s: %c and %c lie in one group along the head, but their %s "
		          "differ",
		          w->f->name, "KVR"[first], "KVR"[i], same ? "scale groups" : "sizes");
		return false;
	}
	return true;
}

static bool place_items(struct walk *w, const struct format_item *it, unsigned n, int64_t base)
{
	int64_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned depth = w->nnest;
		int64_t start = base + at;

		at = item_end(w, &it[i], at);
		if (it[i].kind == FORMAT_PAD || it[i].kind == FORMAT_ALIGN)
			continue;
		if (it[i].kind == FORMAT_GROUP && !check_group(w, &it[i]))
			return false;
		int64_t stride = unit_bytes(w, &it[i]);
		kir_stream s = it[i].kind == FORMAT_LEAF ? it[i].stream
		                                         : some_stream(it[i].item, it[i].nitem);

		if (s == KIR_NSTREAM)
			continue;
		w->nnest += it[i].npiece;
		for (unsigned k = it[i].npiece; k--;) {
			w->nest[depth + k] =
			    (struct nest){ .piece = it[i].piece[k], .stride = stride };
			stride = times(stride, piece_extent(w, &it[i].piece[k], s));
		}
		bool ok = it[i].kind == FORMAT_LEAF
		              ? place_leaf(w, &it[i], start)
		              : place_items(w, it[i].item, it[i].nitem, start);
		w->nnest = depth;
		if (!ok)
			return false;
	}
	return true;
}

static bool place_tensor(struct walk *w, unsigned index)
{
	const struct kir_format_tensor *t = &w->f->tensor[index];
	int64_t bytes = items_bytes(w, t->item, t->nitem);

	w->tensor = t;
	w->tensor_index = (int)index;
	w->nnest = 0;
	w->out->tensor[index].name = t->name;
	w->out->tensor[index].axis[0] = 'p';
	w->out->tensor[index].nstride = t->naxis + 1;
	for (unsigned k = t->naxis; k--;) {
		w->out->tensor[index].axis[k + 1] = t->axis[k];
		w->out->tensor[index].stride[k + 1] = bytes;
		bytes = times(bytes, t->axis[k] == 't' ? w->shape.page : w->shape.kv_heads);
	}
	w->out->tensor[index].stride[0] = bytes;
	w->out->tensor[index].page_bytes = bytes;
	for (unsigned k = 0; k < t->naxis; k++)
		w->nest[w->nnest++] = (struct nest){ .piece = { .axis = t->axis[k], .div = 1 },
			                             .dyn = true,
			                             .stride = k + 1 };
	if (bytes == 0 || bytes >= max_bytes) {
		kir_error(w->d, t->line, t->col, "format %s: a page of tensor %s is %s",
		          w->f->name, t->name, bytes ? "too large" : "empty");
		return false;
	}
	return place_items(w, t->item, t->nitem, 0);
}

static bool place_all(struct walk *w)
{
	*w->out = (kir_layout){ .ntensor = w->f->ntensor };
	for (int s = 0; s < KIR_NSTREAM; s++)
		w->out->stream[s].tensor = -1;
	for (unsigned i = 0; i < w->f->ntensor; i++)
		if (!place_tensor(w, i))
			return false;
	for (int s = 0; s < KIR_NSTREAM; s++) {
		if (w->out->stream[s].tensor >= 0 || !format_needs(w->f, (kir_stream)s))
			continue;
		kir_error(w->d, w->f->ntensor ? w->f->tensor[0].line : 0, 0,
		          "format %s: no tensor holds %s", w->f->name, kir_stream_names[s]);
		return false;
	}
	return true;
}

bool kir_format_check(const kir_format *f, kir_diag *d)
{
	kir_layout out;
	int64_t dim = 64, page = 16 * (f->side[0].tokens ? f->side[0].tokens : 1);

	if (!f->ntensor)
		return true; /* a rule alone: what quantizers need */
	for (int s = 0; s < KIR_SIDES; s++)
		if (f->side[s].group)
			dim *= f->side[s].group;
	struct walk w = { .f = f,
		          .shape = { 2, dim + f->rest, dim, page },
		          .check = true,
		          .out = &out,
		          .d = d };

	return place_all(&w);
}

static bool check_size(const kir_format *f, const char *what, int64_t n, int64_t step,
                       kir_diag *d)
{
	if (n >= step && n <= 65536 && n % step == 0)
		return true;
	if (step == 1)
		kir_error(d, 0, 0, "format %s: %s=%lld must be a number from 1 to 65536",
		          f->name, what, (long long)n);
	else
		kir_error(d, 0, 0,
		          "format %s: %s=%lld must be a multiple of %lld from %lld to 65536",
		          f->name, what, (long long)n, (long long)step, (long long)step);
	return false;
}

/* Two codes a byte: whole bytes of a head, and of a group unless it is one half of them. */
static bool check_packs(const kir_format *f, const kir_shape *s, kir_diag *d)
{
	for (int side = 0; side < 2; side++) {
		const kir_side *x = &f->side[side];
		int64_t dim = side ? s->dim_v : s->dim_k;

		if (x->bits != 4 || (dim % (2 * x->pack) == 0 &&
		                     (x->group % (2 * x->pack) == 0 || x->group == x->pack)))
			continue;
		kir_error(d, 0, 0,
		          "format %s: %c.pack %d puts elements %d apart into a byte, which a "
		          "head of %lld in groups of %d can't be made of",
		          f->name, "kv"[side], x -> pack, x -> pack, (long long)dim,
		          x -> group);
		return false;
	}
	return true;
}

bool kir_format_layout(const kir_format *f, const kir_shape *s, kir_layout *out, kir_diag *d)
{
	struct walk w = { .f = f, .shape = *s, .out = out, .d = d };

	if (!check_size(f, "page", s->page, 1, d) ||
	    !check_size(f, "kv_heads", s->kv_heads, 1, d) ||
	    !check_size(f, "dim_k", s->dim_k, 8, d) || !check_size(f, "dim_v", s->dim_v, 8, d))
		return false;
	if (f->keys && s->dim_k != f->keys) {
		kir_error(d, 0, 0, "format %s is for keys of %d elements, not dim_k=%lld",
		          f->name, f->keys, (long long)s->dim_k);
		return false;
	}
	if (kir_format_tokens(f) && s->page % kir_format_tokens(f)) {
		kir_error(d, 0, 0,
		          "format %s: page=%lld isn't made of whole groups of the %d tokens "
		          "that share scales of k",
		          f->name, (long long)s->page, kir_format_tokens(f));
		return false;
	}
	if (s->dim_k <= f->rest) {
		kir_error(d, 0, 0,
		          "format %s: dim_k=%lld must be more than the %d elements of the rest",
		          f->name, (long long)s->dim_k, f->rest);
		return false;
	}
	if (f->shared && s->dim_v > s->dim_k) {
		kir_error(
		    d, 0, 0,
		    "format %s: values are the first %lld elements of the keys, which have "
		    "%lld",
		    f->name, (long long)s->dim_v, (long long)s->dim_k);
		return false;
	}
	for (int side = 0; side < 2; side++) {
		int64_t dim = side_dim(&w, side), block = kir_side_block(&f->side[side], dim);

		if (!block || (dim % block == 0 && block >= 4))
			continue;
		kir_error(d, 0, 0,
		          "format %s: %c is rotated in blocks of %lld, of which a head of %lld "
		          "isn't made",
		          f->name, format_letter(side), (long long)block, (long long)dim);
		return false;
	}
	for (int side = 0; side < KIR_SIDES; side++) {
		int group = f->side[side].group;

		if (!group || (side == 1 && f->shared) || side_dim(&w, side) % group == 0)
			continue;
		kir_error(d, 0, 0,
		          "format %s: %c's scale group of %d doesn't divide a head of %lld",
		          f->name, format_letter(side), group, (long long)side_dim(&w, side));
		return false;
	}
	return check_packs(f, s, d) && place_all(&w);
}
