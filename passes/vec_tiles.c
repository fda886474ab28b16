/* SPDX-License-Identifier: Apache-2.0 */
/* vec_tiles.c -- products in tile registers, where the target has them.
 *
 *     %s = dot %q, %k : f32<4x128>   =>   amx.tile ...                  at the function's top
 *                                         amx.load q {tile=0..3}        all of the left factor
 *                                         for %c = 0 to 128 step 16 {
 *                                           amx.zero {tile=6}           16 columns of the sum
 *                                           amx.load %k[..] {tile=4}    from where it is stored
 *                                           amx.dpbf16ps {tile=6, a=0, b=4} ...
 *                                           amx.store s {tile=6} }
 *
 * A product takes its place here if its factors are bf16 or bytes; all others stay vectors
 * (vec_dot.c). A tile is up to 16 rows of the left factor, 16 columns of the right one, and 64
 * bytes of the contraction. Columns and contraction are cut into equal tiles; of the rows the
 * last tile may have fewer. Registers belong to a shape, not to a product: the plan takes for
 * each product the richest blocking with which the shapes of all of them fit into eight, and
 * leaves the last product to vectors if none does. Before any comes down, products of less than
 * a tile of rows are left to vectors where another one has tiles enough for 2 x 2: a tile takes
 * as long for 4 rows as for 16, and every product of the many rows would load two tiles, not
 * one.
 *
 *   held      few rows, as in decode, and more than one tile of columns: the left factor
 *             stays in registers, each tile of the right one is loaded once, sums alternate
 *             between two registers, and a sum is stored behind the next one's first product
 *   blocked   many rows: 2 x 2 tiles of the sum, which two registers of factors pass by, the
 *             rows' in zigzag: 5 loads for 4 products. A sum is stored before the next block's
 *             first product in its register. With knob pipeline a block is stored at its end:
 *             there vectors stand between its products
 *
 * Six registers for that, not eight with a load a product: alone on its core a product takes as
 * long, but two threads of a core share what registers are renamed to, and beside another
 * one's tiles a prefill takes 0.75 of the time with six (0.79 with seven).
 *
 * The right factor is read where it lies if the cache stores it so (vec_layout.c). Codes that
 * must be widened are, 16 columns at a time, once for all rows, into a tile that stays in L1.
 * All other layouts are brought into product order as a whole (vec_pack.c). Where the sequence
 * ends inside the tile, a second copy of the product clears what lies behind.
 *
 * Loads of what L1 isn't to hold take the streaming hint: the right factor's, each tile of
 * which is loaded once in a prefill, or the left one's where that is keys and passes by queries
 * that stay (turn.c).
 *
 * Knobs: tiles (off: vectors), rows (up to 16: one tile of rows at a time), cols (tiles of
 * columns at a time), unroll (steps of a blocked product), stream (which loads leave L1 alone).
 */
#include "vectorize.h"

enum { TILES = KIR_AMX_TILES, MAX_SHAPES = 2 * TILES, MAX_COLS = 4 };

struct vec_tiling {
	kir_op op;
	int64_t m, full, rest; /* rows of a tile, whole tiles of rows, rows left over     */
	int64_t n, ncol;       /* columns of a tile, tiles of columns                     */
	int64_t bytes, steps;  /* of the contraction: bytes of a tile's row, tiles        */
	int choice;            /* in choices[]                                            */
	int64_t a[TILES], b[MAX_COLS], c[2 * MAX_COLS], a_rest, c_rest[MAX_COLS];
};

/* Tiles of rows and of columns at a time; hold: all steps of the left factor in registers. */
typedef struct choice {
	int mb, nb;
	bool hold;
} choice;

static const choice choices[] = { { 1, 2, true },  { 1, 1, true },  { 2, 2, false },
	                          { 1, 4, false }, { 1, 2, false }, { 2, 1, false },
	                          { 1, 1, false } };
enum { NCHOICE = sizeof choices / sizeof choices[0] };

/* -- the plan ------------------------------------------------------------------------------ */

typedef struct shape {
	int64_t rows, bytes, count, first;
} shape;

typedef struct shapes {
	shape s[MAX_SHAPES];
	unsigned n;
} shapes;

/* `count` registers of a shape. */
static void want(shapes *x, int64_t rows, int64_t bytes, int64_t count)
{
	unsigned i = 0;

	while (i < x->n && (x->s[i].rows != rows || x->s[i].bytes != bytes))
		i++;
	if (i == MAX_SHAPES || !count)
		return;
	if (i == x->n)
		x->s[x->n++] = (shape){ rows, bytes, 0, 0 };
	x->s[i].count += count;
}

static void want_all(shapes *x, const vec_tiling *g)
{
	const choice *k = &choices[g->choice];

	want(x, g->m, g->bytes, k->hold ? g->steps : 1);
	want(x, g->bytes / 4, g->n * 4, k->hold ? 2 : 1);
	want(x, g->m, g->n * 4, k->mb * k->nb);
	want(x, g->rest, g->bytes, g->rest ? 1 : 0);
	want(x, g->rest, g->n * 4, g->rest ? k->nb : 0);
}

/* What all products together need: of each shape as many as the one that needs most. */
static int64_t total(shapes *all, vec_tiling *const *g, unsigned n)
{
	int64_t sum = 0;

	*all = (shapes){ .n = 0 };
	for (unsigned i = 0; i < n; i++) {
		shapes one = { .n = 0 };

		want_all(&one, g[i]);
		for (unsigned k = 0; k < one.n; k++) {
			int64_t rows = one.s[k].rows, bytes = one.s[k].bytes, have = 0;

			for (unsigned j = 0; j < all->n; j++)
				if (all->s[j].rows == rows && all->s[j].bytes == bytes)
					have = all->s[j].count;
			if (one.s[k].count > have)
				want(all, rows, bytes, one.s[k].count - have);
		}
	}
	for (unsigned k = 0; k < all->n; k++)
		sum += all->s[k].count;
	return sum;
}

static bool allowed(const vec *v, const vec_tiling *g, const choice *k)
{
	const kir_sched *s = &v->in->sched;

	if (k->nb > g->ncol || (s->cols && k->nb > s->cols) ||
	    (k->mb > 1 && s->rows && s->rows <= KIR_AMX_ROWS))
		return false;
	return k->hold ? g->full == 1 && !g->rest && g->ncol > 1 : k->mb <= g->full;
}

/* The next choice from g's own on; false if there is none. */
static bool next_choice(const vec *v, vec_tiling *g, int from)
{
	while (from < NCHOICE && !allowed(v, g, &choices[from]))
		from++;
	if (from == NCHOICE)
		return false;
	g->choice = from;
	return true;
}

/* Cuts n into the fewest equal parts of at most `most`, each a multiple of `by`. */
static int64_t equal_parts(int64_t n, int64_t most, int64_t by)
{
	int64_t parts = (n + most - 1) / most;

	while (n % parts || n / parts % by)
		parts++;
	return parts;
}

static kir_op op_for(const kir_func *f, kir_ref n)
{
	kir_elem a = (kir_elem)kir_type_of(f, kir_src(f, n, 0))->elem;
	kir_elem b = (kir_elem)kir_type_of(f, kir_src(f, n, 1))->elem;

	if (a == KIR_bf16 && b == KIR_bf16)
		return f->target->features & KIR_HAS_amx_bf16 ? KIR_OP_amx_dpbf16ps : KIR_NONE;
	if (!(f->target->features & KIR_HAS_amx_int8))
		return KIR_NONE;
	if (a == KIR_s8)
		return b == KIR_s8   ? KIR_OP_amx_dpbssd
		       : b == KIR_u8 ? KIR_OP_amx_dpbsud
		                     : KIR_NONE;
	if (a == KIR_u8)
		return b == KIR_s8   ? KIR_OP_amx_dpbusd
		       : b == KIR_u8 ? KIR_OP_amx_dpbuud
		                     : KIR_NONE;
	return KIR_NONE;
}

static vec_tiling *tiling_of(vec *v, kir_ref n)
{
	const kir_type *t = kir_type_of(v->in, n);
	const kir_type *at = kir_type_of(v->in, kir_src(v->in, n, 0));
	kir_op op = op_for(v->in, n);
	bool turned = kir_attr_of(v->in, n, KIR_ATTR_trans) == 2;
	int64_t depth = at->dim[turned ? 0 : 1] * kir_elem_bytes((kir_elem)at->elem);

	if (op == KIR_NONE || depth % 4)
		return NULL;
	vec_tiling *g = kir_alloc(v->f->module, sizeof *g);

	g->op = op;
	g->m = t->dim[0] < KIR_AMX_ROWS ? t->dim[0] : KIR_AMX_ROWS;
	g->full = t->dim[0] / g->m;
	g->rest = t->dim[0] % g->m;
	g->ncol = equal_parts(t->dim[1], KIR_AMX_BYTES / 4, 1);
	g->n = t->dim[1] / g->ncol;
	g->steps = equal_parts(depth, KIR_AMX_BYTES, 4);
	g->bytes = depth / g->steps;
	return next_choice(v, g, 0) ? g : NULL;
}

/* A register of the shape that this product doesn't have yet. */
static int64_t take(const shapes *x, int64_t *used, int64_t rows, int64_t bytes)
{
	for (unsigned i = 0; i < x->n; i++)
		if (x->s[i].rows == rows && x->s[i].bytes == bytes)
			return x->s[i].first + used[i]++;
	return -1;
}

static void number_tiles(const shapes *x, vec_tiling *g)
{
	const choice *k = &choices[g->choice];
	int64_t used[MAX_SHAPES] = { 0 };

	for (int64_t i = 0; i < (k->hold ? g->steps : 1); i++)
		g->a[i] = take(x, used, g->m, g->bytes);
	for (int i = 0; i < (k->hold ? 2 : 1); i++)
		g->b[i] = take(x, used, g->bytes / 4, g->n * 4);
	for (int i = 0; i < k->mb * k->nb; i++)
		g->c[i] = take(x, used, g->m, g->n * 4);
	if (g->rest)
		g->a_rest = take(x, used, g->rest, g->bytes);
	for (int i = 0; g->rest && i < k->nb; i++)
		g->c_rest[i] = take(x, used, g->rest, g->n * 4);
}

static void declare(vec *v, shapes *x)
{
	int64_t next = 0;

	for (unsigned i = 0; i < x->n; i++) {
		x->s[i].first = next;
		for (int64_t k = 0; k < x->s[i].count; k++)
			kir_emit(
			    v->f, KIR_OP_amx_tile, KIR_NO_TYPE, NULL, 0,
			    (int64_t[KIR_MAX_ATTRS]){ next++, x->s[i].rows, x->s[i].bytes });
	}
}

/* Leaves those of less than a tile of rows out, if another has two tiles of rows; how many
 * are left. */
static unsigned without_few(vec_tiling **g, kir_ref *node, unsigned n)
{
	unsigned left = 0;
	bool many = false;

	for (unsigned i = 0; i < n; i++)
		many = many || g[i]->full > 1;
	for (unsigned i = 0; i < n; i++) {
		if (many && g[i]->m < KIR_AMX_ROWS)
			continue;
		node[left] = node[i];
		g[left++] = g[i];
	}
	return left;
}

void vec_tiles_plan(vec *v)
{
	vec_tiling *g[16];
	kir_ref node[16];
	unsigned n = 0;
	shapes x;

	if (!kpass_has_tiles(v->in))
		return;
	for (kir_ref k = 1; k < v->in->nnode && n < 16; k++)
		if (v->in->node[k].op == KIR_OP_dot && (g[n] = tiling_of(v, k)))
			node[n++] = k;
	if (n && total(&x, g, n) > TILES)
		n = without_few(g, node, n);
	while (n && total(&x, g, n) > TILES) {
		unsigned poorer = n;

		/* the one that has come down least takes a step down */
		for (unsigned i = 0; i < n; i++) {
			vec_tiling down = *g[i];

			if ((poorer == n || g[i]->choice < g[poorer]->choice) &&
			    next_choice(v, &down, down.choice + 1))
				poorer = i;
		}
		if (poorer < n)
			next_choice(v, g[poorer], g[poorer]->choice + 1);
		else
			n--; /* the last product stays with vectors */
	}
	if (!n)
		return;
	declare(v, &x);
	v->tiled = true;
	for (unsigned i = 0; i < n; i++) {
		number_tiles(&x, g[i]);
		v->tiling[node[i]] = g[i];
	}
}

/* -- emitting ------------------------------------------------------------------------------ */

typedef enum how {
	STORED,  /* tiles of the right factor lie in the cache as they are loaded     */
	WIDENED, /* 16 columns at a time are brought into product order in `part`      */
	HOME     /* all of it has been, in `whole`                                     */
} how;

typedef struct product {
	vec *v;
	const vec_tiling *g;
	choice k;
	vec_factor b;
	vec_layout l;
	how how;
	vec_tile a, acc, out, whole, part[MAX_COLS];
	bool has_acc;
	kir_ref live; /* WIDENED: elements of the contraction that count, or 0  */
	bool beside;  /* weights of the next tile stand between blocks (stagger.c) */
	bool passing; /* the left factor streams by, the right one stays in L1  */
	bool late;    /* sums of a block are stored in the next one             */
	struct {
		int64_t tile;
		vec_ix row, c;
	} due[TILES]; /* sums that are still to be stored                       */
	unsigned ndue;
} product;

static void tile_op(vec *v, kir_op op, int64_t t, int64_t a, int64_t b)
{
	kir_emit(v->f, op, KIR_NO_TYPE, NULL, 0, (int64_t[KIR_MAX_ATTRS]){ t, a, b });
}

/* Between tile t and the local's rows from r, columns from c. */
static void move_local(vec *v, kir_op op, int64_t t, const vec_tile *l, vec_ix r, vec_ix c,
                       int64_t hint)
{
	vec_ix at = vec_add(v, vec_mul(v, r, l->stride), c);

	at = vec_add(v, l->off, at);
	kir_emit(v->f, op, KIR_NO_TYPE, (kir_ref[]){ l->buf, vec_ref(v, at) }, 2,
	         (int64_t[KIR_MAX_ATTRS]){ t, l->stride * kir_elem_bytes(l->elem), hint });
}

/* Knob stream: auto takes what is read from the cache as it lies past L1. */
static int64_t hint_of(const product *p, bool cache)
{
	int knob = p->v->in->sched.stream;

	cache = cache && !p->passing;
	kir_chose(p->v->f, KIR_KNOB_stream, knob ? knob : KIR_stream_cache);
	return knob == KIR_stream_all || (cache && knob != KIR_stream_off) ? KIR_HINT_t1
	                                                                   : KIR_HINT_t0;
}

static void load_left(product *p, int64_t tile, vec_ix row, vec_ix step)
{
	int64_t size = kir_elem_bytes(p->a.elem);

	move_local(
	    p->v, KIR_OP_amx_load, tile, &p->a, row, vec_mul(p->v, step, p->g->bytes / size),
	    p->passing && p->v->in->sched.stream != KIR_stream_off ? KIR_HINT_t1 : KIR_HINT_t0);
}

/* Whether a block's columns of the right factor stay in L1 while rows of the left one, which L1
 * doesn't hold, pass by: columns are the outer loop. Read once, either is a stream. */
static bool passes_by(const product *p)
{
	const vec_tiling *g = p->g;
	int64_t depth = g->steps * g->bytes, l1 = p->v->in->target->l1_bytes;

	return p->how == STORED && g->full > p->k.mb && g->full * g->m * depth > l1 &&
	       p->k.nb * g->n * depth < l1;
}

/* Columns from c, which are those of `part` number j. */
static void load_right(product *p, int64_t tile, vec_ix step, vec_ix c, int j)
{
	vec *v = p->v;
	vec_ix words = vec_mul(v, step, p->g->bytes / 4);

	if (p->how == STORED) {
		vec_ix deep = vec_mul(v, words, p->b.unit);
		kir_ref src[KIR_RANK + 2];
		unsigned n =
		    vec_factor_at(v, &p->b, p->b.trans ? c : deep, p->b.trans ? deep : c, src);

		kir_emit(v->f, KIR_OP_amx_load, KIR_NO_TYPE, src, n,
		         (int64_t[KIR_MAX_ATTRS]){ tile, p->l.step, hint_of(p, true) });
	} else if (p->how == WIDENED) {
		move_local(v, KIR_OP_amx_load, tile, &p->part[j], words, ix(0), KIR_HINT_t0);
	} else {
		move_local(v, KIR_OP_amx_load, tile, &p->whole, words, vec_mul(v, c, p->b.unit),
		           hint_of(p, false));
	}
}

static void begin_sum(product *p, int64_t tile, vec_ix row, vec_ix c)
{
	if (p->has_acc)
		move_local(p->v, KIR_OP_amx_load, tile, &p->acc, row, c, KIR_HINT_t0);
	else
		tile_op(p->v, KIR_OP_amx_zero, tile, 0, 0);
}

static void end_sum(product *p, int64_t tile, vec_ix row, vec_ix c)
{
	move_local(p->v, KIR_OP_amx_store, tile, &p->out, row, c, 0);
}

static void widen(product *p, vec_ix c, int j)
{
	if (p->how == WIDENED)
		vec_pack_columns(p->v, &p->b, &p->l, c, p->g->n, &p->part[j], p->live);
}

/* `count` tiles of columns from c, the left factor in registers. */
static void held_columns(product *p, vec_ix c, int64_t count)
{
	const vec_tiling *g = p->g;
	vec_ix before = ix(0);

	for (int64_t j = 0, load = 0; j < count; j++) {
		int64_t sum = g->c[j % p->k.nb], last = g->c[(j + 1) % p->k.nb];
		vec_ix at = vec_add(p->v, c, ix(j * g->n));

		widen(p, at, (int)(j % 2));
		begin_sum(p, sum, ix(0), at);
		for (int64_t s = 0; s < g->steps; s++, load++) {
			load_right(p, g->b[load % 2], ix(s), at, (int)(j % 2));
			tile_op(p->v, g->op, sum, g->a[s], g->b[load % 2]);
			if (!s && j && p->k.nb > 1)
				end_sum(p, last, ix(0), before);
		}
		before = at;
		if (j + 1 == count || p->k.nb == 1)
			end_sum(p, sum, ix(0), at);
	}
}

static void held(product *p)
{
	enum { UNROLLED = 32 }; /* products in a row, without a loop */
	const vec_tiling *g = p->g;
	int64_t most = UNROLLED / g->steps, count = g->ncol;

	kir_chose(p->v->f, KIR_KNOB_rows, KIR_AMX_ROWS);
	kir_chose(p->v->f, KIR_KNOB_cols, p->k.nb);
	for (int64_t s = 0; s < g->steps; s++)
		load_left(p, g->a[s], ix(0), ix(s));
	while (count > most && count > 1)
		count = count % 2 ? 1 : count / 2;
	vec_loop l = vec_loop_begin(p->v, g->ncol * g->n, count * g->n);

	held_columns(p, l.i, count);
	vec_loop_end(p->v, &l);
}

/* Stores the sum that is due in a register; in all of them for -1. */
static void store_due(product *p, int64_t tile)
{
	unsigned left = 0;

	for (unsigned i = 0; i < p->ndue; i++)
		if (tile < 0 || p->due[i].tile == tile)
			end_sum(p, p->due[i].tile, p->due[i].row, p->due[i].c);
		else
			p->due[left++] = p->due[i];
	p->ndue = left;
}

/* A sum is complete: it is stored at once, or where its register is needed next. */
static void complete(product *p, int64_t tile, vec_ix row, vec_ix c)
{
	if (!p->late) {
		end_sum(p, tile, row, c);
		return;
	}
	p->due[p->ndue].tile = tile;
	p->due[p->ndue].row = row;
	p->due[p->ndue++].c = c;
}

/* A block of sums: mb x nb tiles from (row, c). */
typedef struct sums {
	vec_ix row, c;
	int mb, nb;
	const int64_t *sum, *left;
} sums;

static void begin_tile(product *p, const sums *s, int i, int j)
{
	int64_t tile = s->sum[i * s->nb + j];

	store_due(p, tile);
	begin_sum(p, tile, vec_add(p->v, s->row, ix(i * p->g->m)),
	          vec_add(p->v, s->c, ix(j * p->g->n)));
}

/* One step of the contraction for all sums. begin: they start here, each before its first
 * product, so that what was in their registers is stored between loads and products: four
 * stores in a row cost a sixth of 16 products, stores apart nothing. */
static void block_step(product *p, const sums *s, vec_ix step, bool begin)
{
	vec *v = p->v;
	const vec_tiling *g = p->g;
	int loaded = -1;

	for (int j = 0; j < s->nb; j++) {
		if (begin)
			store_due(p, s->sum[j]);
		load_right(p, g->b[0], step, vec_add(v, s->c, ix(j * g->n)), j);
		for (int k = 0; k < s->mb; k++) {
			int i = j % 2 ? s->mb - 1 - k : k;

			if (begin)
				store_due(p, s->sum[i * s->nb + j]);
			if (i != loaded)
				load_left(p, s->left[0], vec_add(v, s->row, ix(i * g->m)),
				          step);
			loaded = i;
			if (begin)
				begin_tile(p, s, i, j);
			tile_op(v, g->op, s->sum[i * s->nb + j], s->left[0], g->b[0]);
		}
	}
	if (begin)
		store_due(p, -1);
}

/* rest: the rows left over, mb is 1. */
static void block(product *p, vec_ix row, vec_ix c, int mb, int nb, bool rest)
{
	vec *v = p->v;
	const vec_tiling *g = p->g;
	sums s = { row, c, mb, nb, rest ? g->c_rest : g->c, rest ? &g->a_rest : g->a };
	int64_t u = v->in->sched.unroll;

	if (!u) /* straight on, as long as the code is small beside the products */
		u = g->steps <= 8 ? g->steps : 4;
	while (g->steps % u)
		u--;
	kir_chose(v->f, KIR_KNOB_unroll, u);
	kir_chose(v->f, KIR_KNOB_rows, (int64_t)mb * KIR_AMX_ROWS);
	kir_chose(v->f, KIR_KNOB_cols, nb);
	for (int i = 0; u < g->steps && i < mb; i++)
		for (int j = 0; j < nb; j++)
			begin_tile(p, &s, i, j);
	if (u < g->steps)
		store_due(p, -1);
	vec_loop ls = vec_loop_begin(v, g->steps, u);

	for (int64_t k = 0; k < u; k++)
		block_step(p, &s, vec_add(v, ls.i, ix(k)), u == g->steps && !k);
	vec_loop_end(v, &ls);
	for (int i = 0; i < mb; i++)
		for (int j = 0; j < nb; j++)
			complete(p, s.sum[i * nb + j], vec_add(v, row, ix(i * g->m)),
			         vec_add(v, c, ix(j * g->n)));
}

typedef void part(product *p, vec_ix at, vec_ix other, int nb);

/* Does f for 0, step, ... below count. Where it leaves sums due, the first time stands before
 * the loop and they are stored after it: in the loop those of the time before are due. */
static void repeat(product *p, part *f, int64_t count, int64_t step, vec_ix other, int nb,
                   bool rows)
{
	vec *v = p->v;
	int64_t first = p->late && count > step ? step : 0;

	if (!count)
		return;
	if (first)
		f(p, ix(0), other, nb);
	vec_loop l = vec_loop_begin(v, count - first, step);
	vec_ix at = vec_add(v, l.i, ix(first));

	for (unsigned i = 0; first && i < p->ndue; i++) {
		vec_ix *x = rows ? &p->due[i].row : &p->due[i].c;

		*x = vec_add(v, at, ix(x->k - step));
	}
	f(p, at, other, nb);
	vec_loop_end(v, &l);
	for (unsigned i = 0; first && i < p->ndue; i++) {
		vec_ix *x = rows ? &p->due[i].row : &p->due[i].c;

		*x = ix(count - step + x->k - at.k);
	}
}

static void row_block(product *p, vec_ix row, vec_ix c, int nb)
{
	block(p, row, c, p->k.mb, nb, false);
}

/* All rows of nb tiles of columns from c. */
static void all_rows(product *p, vec_ix c, vec_ix none, int nb)
{
	vec *v = p->v;
	const vec_tiling *g = p->g;
	int64_t mb = p->k.mb, whole = g->full / mb * mb;

	(void)none;
	for (int j = 0; j < nb; j++)
		widen(p, vec_add(v, c, ix(j * g->n)), j);
	repeat(p, row_block, whole * g->m, mb * g->m, c, nb, true);
	for (; whole < g->full; whole++)
		block(p, ix(whole * g->m), c, 1, nb, false);
	if (g->rest)
		block(p, ix(g->full * g->m), c, 1, nb, true);
}

static void emit(product *p)
{
	const vec_tiling *g = p->g;
	int64_t nb = p->k.nb, whole = g->ncol / nb * nb;

	if (p->k.hold) {
		held(p);
		return;
	}
	p->late = p->v->in->sched.pipeline != KIR_pipeline_on && !p->beside;
	repeat(p, all_rows, whole * g->n, nb * g->n, ix(0), (int)nb, false);
	if (whole < g->ncol)
		all_rows(p, ix(whole * g->n), ix(0), (int)(g->ncol - whole));
	store_due(p, -1);
}

/* -- the right factor ---------------------------------------------------------------------- */

/* ready: all of it in product order, if that was done before the loop. */
static void find_right(product *p, const vec_tile *ready)
{
	vec *v = p->v;
	bool upto = !p->b.local && vec_upto_of(v, &p->b);

	p->how = HOME;
	if (ready->buf) {
		p->whole = *ready;
		return;
	}
	if (p->b.local || p->b.unpack || !vec_find_layout(v, &p->b, &p->l) ||
	    (upto && p->b.trans)) {
		p->whole = vec_pack(v, &p->b, false).tile;
		return;
	}
	if (vec_side_by_side(&p->b, &p->l) % p->g->n) {
		p->whole =
		    vec_local(v, p->b.elem, p->b.depth / p->b.unit, p->b.cols * p->b.unit);
		vec_pack_layout(v, &p->b, &p->l, &p->whole, upto ? vec_live_rows(v, &p->b) : 0);
		return;
	}
	p->how = p->l.unit == p->b.unit && !p->b.nchain && p->l.step >= p->g->n * 4 ? STORED
	                                                                            : WIDENED;
	if (p->how == WIDENED || upto)
		for (int j = 0; j < (p->k.hold ? 2 : p->k.nb) && j < p->g->ncol; j++)
			p->part[j] = vec_local(v, p->b.elem, p->b.depth / p->b.unit,
			                       p->g->n * p->b.unit);
}

/* The left factor whose rows are columns in memory (passes/turn.c): words of the contraction
 * side by side, as of a right factor, then transposed. */
static vec_tile rows_of_columns(vec *v, const vec_tile *t)
{
	int64_t unit = 4 / kir_elem_bytes(t->elem), words = t->rows / unit, n = words * t->cols;
	vec_factor f = { .local = true, .tile = *t, .cols = t->cols, .depth = t->rows };

	f.stored = f.elem = t->elem;
	f.unit = unit;
	vec_tile zipped = vec_pack(v, &f, false).tile;
	kir_type_id t32 = kir_buffer(v->f->module, KIR_s32, 1, &n);

	f = (vec_factor){ .local = true, .trans = true, .cols = words, .depth = t->cols };
	f.tile = (vec_tile){ .buf = e1(v->f, KIR_OP_view, t32, zipped.buf),
		             .rows = words,
		             .cols = t->cols,
		             .elem = KIR_s32,
		             .stride = t->cols };
	f.stored = f.elem = KIR_s32;
	f.unit = 1;
	vec_tile back = vec_pack(v, &f, false).tile;

	n *= unit;
	back.buf = e1(v->f, KIR_OP_view, kir_buffer(v->f->module, t->elem, 1, &n), back.buf);
	return (vec_tile){ .buf = back.buf,
		           .rows = t->cols,
		           .cols = t->rows,
		           .elem = t->elem,
		           .stride = t->rows };
}

/* That of product n, made once for products of one region that share it: parts of values. */
static vec_tile turned_left(vec *v, kir_ref n)
{
	kir_ref x = kir_src(v->in, n, 0), end = kir_region_yield(v->in, n);

	if (v->turned.of != x || v->turned.end != end)
		v->turned.tile = rows_of_columns(v, vec_value(v, x));
	v->turned.of = x;
	v->turned.end = end;
	return v->turned.tile;
}

bool vec_tiles_dot(vec *v, kir_ref n)
{
	kir_ref accn = kir_src(v->in, n, 2), live, cond;
	product p = { .v = v, .g = v->tiling[n] };

	if (!p.g)
		return false;
	vec_flush(v);
	p.k = choices[p.g->choice];
	p.a = *vec_value(v, kir_src(v->in, n, 0));
	if (kir_attr_of(v->in, n, KIR_ATTR_trans) == 2)
		p.a = turned_left(v, n);
	/* that tile's own weights are carried: nothing else multiplies such */
	p.beside = v->in->node[kir_src(v->in, n, 0)].op == KIR_OP_arg;
	p.has_acc = accn != 0;
	if (accn)
		p.acc = *vec_value(v, accn);
	if (!vec_factor_of(v, n, &p.b))
		return false;
	find_right(&p, &v->packed[n].tile);
	p.passing = passes_by(&p);
	p.out = vec_home(v, n);
	v->val[n] = p.out;
	live = p.how != HOME ? vec_live_rows(v, &p.b) : 0;
	if (!live) {
		emit(&p);
		return true;
	}
	cond = kir_if(v->f, e2(v->f, KIR_OP_ge, kir_scalar(v->f->module, KIR_i1), live,
	                       s64c(v->f, p.b.depth)));
	emit(&p);
	kir_else(v->f, NULL, 0);
	p.how = WIDENED;
	p.live = live;
	emit(&p);
	kir_if_end(v->f, cond, NULL, 0);
	return true;
}
