/* SPDX-License-Identifier: Apache-2.0 */
/* kir.h -- the kvjit IR: what a kernel is, before it is machine code.
 *
 * A module holds declared formats and functions. A function is one array of nodes in text
 * order. Regions (loop bodies, both sides of an if, the score and mask of an attention) are
 * nested by position, as in a structured byte code: an op with flag R or M opens a region,
 * its `arg` nodes follow at once, and a `yield` closes it; the `res` nodes of a loop or an
 * if follow its last yield. There are no blocks, no phis, no jumps. A value is the index of
 * its node, defined once, visible from there to the end of the region that holds it.
 *
 *     for  arg(i) arg(carried)...  body...  yield  res...
 *     if   body... yield  body... yield  res...
 *
 * Passes don't edit: they read one function and write another (see passes/passes.h), so
 * indices never go stale and there are no use lists to maintain.
 *
 * Lifetime: everything lives in the module's arena and goes with kir_module_free().
 * Errors:   kir_parse and kir_verify add to a kir_diag, as many messages as they find, and
 *           return NULL or false. Misuse of the builder is a bug and asserts.
 * Threads:  a module belongs to one thread at a time; there is no global state.
 */
#ifndef KVJIT_KIR_H
#define KVJIT_KIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t kir_ref;     /* index of a node; 0 is "no value"              */
typedef uint16_t kir_type_id; /* index of an interned type; == is equality     */
#define KIR_NO_TYPE 0         /* the type of ops that give no value            */

typedef enum kir_level { KIR_A = 1, KIR_T = 2, KIR_V = 4 } kir_level;
const char *kir_level_name(kir_level l); /* as it is written */

/* -- tables ----------------------------------------------------------------- */

/* Rows WORDS of the tables: their words, up to 6 in parentheses, as a string, and as an enum of
 * their places, p_word each. */
#define KIR_STRING(...)                          #__VA_ARGS__
#define KIR_PLACES(p, words)                     enum { KIR_PLACES_OF(p, KIR_BARE words) };
#define KIR_BARE(...)                            __VA_ARGS__
#define KIR_PLACES_OF(...)                       KIR_COUNTED(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)(__VA_ARGS__)
#define KIR_COUNTED(p, a, b, c, d, e, f, n, ...) KIR_PLACES_##n
#define KIR_PLACES_1(p, a)                       p##_##a
#define KIR_PLACES_2(p, a, ...)                  p##_##a, KIR_PLACES_1(p, __VA_ARGS__)
#define KIR_PLACES_3(p, a, ...)                  p##_##a, KIR_PLACES_2(p, __VA_ARGS__)
#define KIR_PLACES_4(p, a, ...)                  p##_##a, KIR_PLACES_3(p, __VA_ARGS__)
#define KIR_PLACES_5(p, a, ...)                  p##_##a, KIR_PLACES_4(p, __VA_ARGS__)
#define KIR_PLACES_6(p, a, ...)                  p##_##a, KIR_PLACES_5(p, __VA_ARGS__)

typedef enum kir_elem {
	KIR_VOID,
#define ELEM(name, bits, kind, exp, man, bias) KIR_##name,
#include "elems.def"
	KIR_NELEM
} kir_elem;

typedef struct kir_elem_info {
	const char *name;
	uint8_t bits;
	char kind; /* letter of elems.def, as a character                  */
	uint8_t exp, man;
	int16_t bias;
} kir_elem_info;

extern const kir_elem_info kir_elems[KIR_NELEM];

typedef enum kir_attr {
#define ATTR(name, kind, dflt, words, doc) KIR_ATTR_##name,
#include "attrs.def"
	KIR_NATTR
} kir_attr;

typedef enum kir_attr_kind { KIR_NUMBER, KIR_WORD, KIR_FORMAT } kir_attr_kind;

typedef struct kir_attr_info {
	const char *name;
	kir_attr_kind kind;
	int64_t dflt;
	const char *words, *doc;
} kir_attr_info;

extern const kir_attr_info kir_attrs[KIR_NATTR];

/* Places of the words of attributes: KIR_ROUND_even, KIR_HINT_t0, ... */
#define ATTR(name, kind, dflt, words, doc)
#define WORDS(name, prefix, words, doc) KIR_PLACES(prefix, words)
#include "attrs.def"

typedef enum kir_op {
	KIR_NONE,
#define OP(name, lvl, src, attr, flags, doc) KIR_OP_##name,
#include "ops.def"
	KIR_NOP
} kir_op;

enum { /* flags column of ops.def */
       KIR_PURE = 1,
       KIR_READS = 2,
       KIR_WRITES = 4,
       KIR_COMMUTES = 8,
       KIR_REGION = 16,
       KIR_REGION2 = 32,
       KIR_ENDS = 64,
       KIR_TYPED = 128,
       KIR_NAMED = 256,
       KIR_EACH = 512
};

#define KIR_MAX_ATTRS   5
#define KIR_MAX_SRC     64
#define KIR_LOCAL_BYTES ((int64_t)1 << 20) /* of locals that live at once */

typedef struct kir_op_info {
	const char *name, *src, *attr, *doc; /* name as in the text: '.' for '_'  */
	uint8_t level;
	uint16_t flags;
} kir_op_info;

extern const kir_op_info kir_ops[KIR_NOP];

/* -- types -------------------------------------------------------------------- */

#define KIR_RANK   5
#define KIR_PIECES 8
#define KIR_DYN    (-1) /* an extent or a stride known only at run time     */

/* Rows of attention's work and join; of part, what stands before the values. */
enum { KIR_ITEM = 8, KIR_PART_HEAD = 16 };

/* No sequence has more tokens: positions are below, and a sum of two fits s32. */
enum { KIR_MAX_LEN = 1 << 30 };

/* One term of a buffer's address: (index[axis] / div % mod) * stride; mod 0 is no modulus.
 * A run-time stride is number `stride` of those handed over with the pointer. Bytes. */
typedef struct kir_piece {
	uint8_t axis;
	bool dyn;
	int32_t div, mod;
	int64_t stride;
} kir_piece;

/* f32 is rank 0; f32<16> and f32<4x16> are values; f32[?,8,128] is memory, contiguous
 * unless its pieces say otherwise. */
typedef struct kir_type {
	uint8_t elem; /* enum kir_elem                                         */
	uint8_t rank;
	bool buffer;
	uint8_t npieces;       /* buffers: always filled in, also when contiguous  */
	int64_t dim[KIR_RANK]; /* static unless buffer                             */
	kir_piece piece[KIR_PIECES];
} kir_type;

/* -- schedule and target ------------------------------------------------------ */

/* How a kernel is to be built: part of the function and of its text, so that a pass
 * depends on nothing that isn't written in the file it is tested with. */
typedef struct kir_sched {
#define KNOB(name, dflt, last, values, tries, doc) int name;
#include "knobs.def"
} kir_sched;

typedef struct kir_knob_info {
	const char *name;
	int dflt;
	kir_level last;     /* at which it can be given: below it is written            */
	const char *values; /* "a,b,c" words (stored as their index) or "16:128" numbers */
	const char *tries;  /* "attn 16,32": kind of program and what a tuner tries      */
	const char *doc;
} kir_knob_info;

enum {
	kir_nknobs = 0
#define KNOB(name, dflt, last, values, tries, doc) +1
#include "knobs.def"
};
extern const kir_knob_info kir_knobs[kir_nknobs];

/* Places of the words of knobs: KIR_qk_bf16, KIR_tiles_off, ...; 0 is auto. */
#define KNOB(name, dflt, last, values, tries, doc)
#define WORDS(name, dflt, last, words, tries, doc) KIR_PLACES(KIR_##name, words)
#include "knobs.def"

/* Arithmetic of a product: the words of knobs qk and pv, and one that is only chosen. */
typedef enum kir_arith {
	KIR_ARITH_auto = KIR_qk_auto,
	KIR_ARITH_f32 = KIR_qk_f32,
	KIR_ARITH_bf16 = KIR_qk_bf16,
	KIR_ARITH_int8 = KIR_qk_int8,
	KIR_ARITH_int8x2 = KIR_qk_int8x2,
	KIR_ARITH_f16
} kir_arith;

typedef enum kir_knob {
#define KNOB(name, dflt, last, values, tries, doc) KIR_KNOB_##name,
#include "knobs.def"
} kir_knob;

/* What passes made of a knob: one value, or, where a function has several places for it, each
 * one once; `more` than there is room for, or what the knob has no word for. */
enum { KIR_CHOSEN = 4 };
typedef struct kir_chosen {
	int value[KIR_CHOSEN];
	uint8_t n;
	bool more;
} kir_chosen;

int *kir_sched_knob(kir_sched *s, unsigned knob);
kir_sched kir_sched_default(void);

typedef enum kir_feature {
#define FEATURE(name, bit, doc) KIR_HAS_##name = 1 << (bit),
#include "targets.def"
} kir_feature;

/* What a pass may ask about the machine. Data, never an #ifdef. */
typedef struct kir_target {
	const char *name;
	unsigned features;
	unsigned vector_bits, vector_regs;
	unsigned l1_bytes, l2_bytes;
	unsigned lanes, slm_bytes; /* of a sub-group and its group; 0: not a GPU */
} kir_target;

extern const kir_target kir_targets[];
extern const unsigned kir_ntargets;
const kir_target *kir_target_find(const char *name); /* NULL if unknown */
/* What auto of knob prefetch stands for, where a cache is read. Here because passes/prefetch.c
 * does it and tune/model.c, which knows no pass, counts with it. */
int kir_auto_prefetch(const kir_target *t, int64_t q_tile);
/* The same of knob rescale, which default schedules choose; sums: bytes of one query's, of all
 * heads of a group. */
int kir_auto_rescale(const kir_target *t, int64_t q_tile, int64_t sums);
/* Bytes of a second-level cache that blocks of `block` bytes can be in, `stride` apart or any
 * multiple of it: they meet modulo a way. */
int64_t kir_cache_room(int64_t cache, int64_t block, int64_t stride);
/* "generic, avx2, ..." into list, which is returned: for messages. */
const char *kir_target_names(char *list, size_t len);

/* -- functions ---------------------------------------------------------------- */

typedef struct kir_node {
	uint8_t op; /* enum kir_op                                         */
	uint8_t nsrc;
	kir_type_id type;
	uint32_t src;     /* first operand in func->srcs                      */
	uint32_t line;    /* of the source text, 0 if none                    */
	const char *name; /* as written, without %; NULL: numbered when printed */
	union {
		int64_t attr[KIR_MAX_ATTRS]; /* in the order of the op's table row     */
		int64_t i;                   /* const of an integer type               */
		double f;                    /* const of a float type                  */
	};
} kir_node;

typedef enum kir_dir { KIR_IN = 1, KIR_OUT = 2, KIR_INOUT = 3 } kir_dir;

typedef struct kir_param {
	const char *name;
	kir_type_id type;
	kir_dir dir;      /* of buffers; scalars are IN                       */
	unsigned nstride; /* run-time strides of a buffer                     */
	kir_ref node;     /* its param node                                   */
} kir_param;

typedef struct kir_module kir_module;

typedef struct kir_func {
	kir_module *module;
	const char *name;
	kir_level level;
	const kir_target *target;
	kir_sched sched;
	kir_chosen
	    chosen[kir_nknobs]; /* for people: no part of the text, and no pass reads it */
	kir_param *param;
	unsigned nparam;
	kir_node *node; /* node[0] is unused                                */
	unsigned nnode, node_cap;
	kir_ref *srcs;
	unsigned nsrcs, srcs_cap;
} kir_func;

struct kir_format; /* format.h */

struct kir_module {
	struct kir_arena *arena;
	kir_type *type; /* type[0] is the void type                         */
	unsigned ntype, type_cap;
	struct kir_format **format;
	unsigned nformat, format_cap;
	kir_func **func;
	unsigned nfunc, func_cap;
};

/* What these structs and tables look like in a build. Who gets a function from another shared
 * object compares first: two builds mixed up read each other's memory as something else. */
typedef struct kir_build {
	size_t size[8];
	const char *tables; /* every row that has a number, in order */
} kir_build;
extern const kir_build kir_own_build;
bool kir_same_build(const kir_build *a, const kir_build *b);

/* -- diagnostics -------------------------------------------------------------- */

#define KIR_DIAG_MAX 16

typedef struct kir_diag {
	unsigned n; /* messages; those past KIR_DIAG_MAX are only counted     */
	struct {
		int line, col; /* 1-based; 0 when there is no source text    */
		char msg[320];
	} at[KIR_DIAG_MAX];
} kir_diag;

void kir_error(kir_diag *d, int line, int col, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* All messages, one a line ("3:14: sentence"), cut to len. Returns buf. */
char *kir_diag_text(const kir_diag *d, char *buf, size_t len);

/* -- life --------------------------------------------------------------------- */

kir_module *kir_module_new(void);
void kir_module_free(kir_module *m);          /* NULL is fine */
void *kir_alloc(kir_module *m, size_t bytes); /* zeroed; aborts when out of memory */
const char *kir_strdup(kir_module *m, const char *s, size_t len);

kir_func *kir_func_new(kir_module *m, const char *name, kir_level level);
/* An empty function with the same name, target, schedule and parameters; its param nodes
 * have the same numbers as the old one's. The module doesn't list it. */
kir_func *kir_func_like(const kir_func *f, kir_level level);

/* -- text --------------------------------------------------------------------- */

/* A growing string; free(text) when done. */
typedef struct kir_text {
	char *text;
	size_t len, cap;
} kir_text;

void kir_text_add(kir_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* strtod of all of s and printf's %.*f, %.*g and %.*a (digits -1: all), with a '.' whatever the
 * host's locale. */
bool kir_read_float(const char *s, size_t len, double *x);
enum { KIR_FLOAT_TEXT = 64 };
void kir_float_digits(char buf[KIR_FLOAT_TEXT], char form, int digits, double x);

/* "kv_tile=64 qk=bf16" into s, from ';' to the end of a line nothing; the knobs it names are
 * marked in given. False and a message that names the knob and what it takes. */
bool kir_sched_parse(kir_sched *s, bool *given, const char *text, kir_diag *d);
/* Whether the knobs given can still change f. False and a message that names one that can't. */
bool kir_sched_in_time(const kir_func *f, const bool *given, kir_diag *d);
/* Value of a knob's word of n characters; -1 if it has none such. */
int kir_knob_word(const kir_knob_info *k, const char *word, size_t n);
/* A pass built f with this value of a knob, whether the schedule says it or leaves it open; -1:
 * with one that the knob has no word for. */
void kir_chose(kir_func *f, kir_knob knob, int64_t value);
/* "hint=t0 rows=4/2": what was made of the knobs that the schedule leaves open; nothing of
 * those that no pass asked for. */
void kir_chosen_print(const kir_func *f, kir_text *out);
/* All knobs, in the table's order. */
void kir_sched_print(const kir_sched *s, kir_text *out);

void kir_print(const kir_func *f, kir_text *out);
void kir_print_module(const kir_module *m, kir_text *out); /* formats, then functions */
void kir_print_type(const kir_module *m, kir_type_id t, kir_text *out);
/* Parses formats and functions into a new module, NULL if anything is wrong. Doesn't
 * verify. print(parse(x)) gives the canonical text, and parsing that gives it again. */
kir_module *kir_parse(const char *text, size_t len, kir_diag *diag);
/* Parse more text into a module that exists (built-in formats, then the user's). */
bool kir_parse_into(kir_module *m, const char *text, size_t len, kir_diag *diag);
/* A target as a header writes it: a row's name, then +feature and -feature words. NULL if
 * unknown. */
const kir_target *kir_target_parse(kir_module *m, const char *text, size_t len);
void kir_target_print(const kir_target *t, kir_text *out);

/* -- checking ----------------------------------------------------------------- */

/* Every rule of docs/IR.md: types, scopes, levels, regions, attributes. */
bool kir_verify(const kir_func *f, kir_diag *diag);

/* -- types -------------------------------------------------------------------- */

kir_type_id kir_type_intern(kir_module *m, const kir_type *t);
const kir_type *kir_type_at(const kir_module *m, kir_type_id t);
/* Bytes of which run-time strides of a buffer, and where it begins, are multiples on a device:
 * the element's size; of bytes with run-time strides whose rows are multiples of 64, 64: such a
 * cache lies as its format says. Of other bytes 4, or less where rows have another number of
 * them, and 1 where elements of a row have a run-time stride. */
unsigned kir_grain(const kir_type *t);
/* The run-time stride that rows, elements along the dimension before the last, are apart; -1:
 * no one stride says it. Of an input whose grain is 64 it is one that a device reads blocks at.
 */
int kir_row_stride(const kir_type *t);
enum { KIR_PITCH_MIN = 64, KIR_PITCH_MAX = (1 << 24) - 64 }; /* bytes */
kir_type_id kir_scalar(kir_module *m, kir_elem e);
kir_type_id kir_vector(kir_module *m, kir_elem e, int64_t n);
kir_type_id kir_tile(kir_module *m, kir_elem e, int64_t rows, int64_t cols);
/* Contiguous buffer: dims outermost first; only dim[0] may be KIR_DYN. */
kir_type_id kir_buffer(kir_module *m, kir_elem e, unsigned rank, const int64_t *dim);
/* The same shape with another element type. */
kir_type_id kir_with_elem(kir_module *m, kir_type_id t, kir_elem e);
int64_t kir_type_count(const kir_type *t); /* elements of a value */
unsigned kir_elem_bytes(kir_elem e);       /* of one element; 4- and 6-bit codes take 1 */
bool kir_is_float(kir_elem e);
bool kir_is_int(kir_elem e); /* i1 isn't */
bool kir_is_signed(kir_elem e);

/* -- building: appends to the end of the function ------------------------------- */

kir_ref kir_add_param(kir_func *f, const char *name, kir_type_id type, kir_dir dir);
/* Operands in the order of the op's row; with flag N one for each name, 0 where it is absent.
 * attr may be NULL (defaults); otherwise one number for each attribute of the op's row. */
kir_ref kir_emit(kir_func *f, kir_op op, kir_type_id type, const kir_ref *src, unsigned nsrc,
                 const int64_t *attr);
kir_ref kir_const_f(kir_func *f, kir_elem e, double x);
kir_ref kir_const_i(kir_func *f, kir_elem e, int64_t x);
/* for: opens the loop and emits its args. The loop variable is arg 0 = loop + 1, carried
 * value i is loop + 2 + i. Close with kir_for_end, which emits the yield and the results and
 * returns the first result (the others follow it). par: attribute index 1. */
kir_ref kir_for(kir_func *f, kir_ref lo, kir_ref hi, int64_t step, bool par,
                const kir_ref *init, unsigned ncarry);
kir_ref kir_for_end(kir_func *f, kir_ref loop, const kir_ref *yield, unsigned n);
kir_ref kir_if(kir_func *f, kir_ref cond);
void kir_else(kir_func *f, const kir_ref *yield, unsigned n);
kir_ref kir_if_end(kir_func *f, kir_ref cond_op, const kir_ref *yield, unsigned n);
void kir_ret(kir_func *f);

/* -- reading ------------------------------------------------------------------ */

static inline const kir_node *kir_at(const kir_func *f, kir_ref n)
{
	return &f->node[n];
}
static inline kir_ref kir_src(const kir_func *f, kir_ref n, unsigned i)
{
	return i < f->node[n].nsrc ? f->srcs[f->node[n].src + i] : 0;
}

/* How many regions n opens: 2 for an `if` or an `attention`, 1 for a loop, 0 for most. */
static inline unsigned kir_regions(const kir_func *f, kir_ref n)
{
	unsigned flags = kir_ops[f->node[n].op].flags;

	return flags & KIR_REGION2 ? 2 : flags & KIR_REGION ? 1 : 0;
}

/* The buffer behind views: a param or a local. */
kir_ref kir_root(const kir_func *f, kir_ref buffer);
/* The parameter that node n is: its index in f->param; -1: another node. */
int kir_param_index(const kir_func *f, kir_ref n);
static inline const kir_type *kir_type_of(const kir_func *f, kir_ref n)
{
	return &f->module->type[f->node[n].type];
}
int64_t kir_attr_of(const kir_func *f, kir_ref n, kir_attr a); /* default if it has none */
/* Loops: step and par are kept in attr[0] and attr[1] of the `for` node. */
int64_t kir_for_step(const kir_func *f, kir_ref loop);
bool kir_for_par(const kir_func *f, kir_ref loop);
/* Iterations of a loop from lo to hi. Bounds may be farther apart than an s64 can say. */
uint64_t kir_for_trips(int64_t lo, int64_t hi, int64_t step);
/* Quotient rounded down, and what it leaves: 0 to y - 1. y must be positive. */
int64_t kir_floor_div(int64_t x, int64_t y);
int64_t kir_floor_mod(int64_t x, int64_t y);
/* Named operand of an op with flag N: index of `name` in its row, -1 if there is none. */
int kir_operand_index(kir_op op, const char *name);
kir_ref kir_operand(const kir_func *f, kir_ref n, const char *name); /* 0 if absent */
/* load and store: where the index list starts and how long it is, and the upto operand. An
 * op with an upto operand has one index for each dimension of its buffer; without, trailing
 * ones may be missing. */
void kir_access(const kir_func *f, kir_ref n, kir_ref *buf, unsigned *first_index,
                unsigned *nindex, kir_ref *upto);
bool kir_is_const(const kir_func *f, kir_ref n, int64_t *x); /* integer literal */
/* Low bits known to be zero, at most KIR_ZEROS_MAX: of an integer node, of a number. */
#define KIR_ZEROS_MAX 24
unsigned kir_zeros(const kir_func *f, kir_ref n);
unsigned kir_zeros_of(int64_t x);
kir_op kir_op_find(const char *name, size_t len); /* KIR_NONE if unknown */

/* Shape of tile register t as its amx.tile op declares it: rows 0 if there is none. */
typedef struct kir_amx {
	int64_t rows, bytes;
} kir_amx;
enum { KIR_AMX_TILES = 8, KIR_AMX_ROWS = 16, KIR_AMX_BYTES = 64 };
kir_amx kir_amx_shape(const kir_func *f, int64_t t);
bool kir_is_amx(kir_op op); /* one of the amx.* ops */

/* The yield or ret that ends the region n stands in. */
kir_ref kir_region_yield(const kir_func *f, kir_ref n);
/* The end of n's extent, the first node behind it and all that it opens, results too: n + 1
 * where it opens nothing. Walks through what it opens. */
kir_ref kir_region_end(const kir_func *f, kir_ref n);
/* What an index counts by which a region of attention reads memory: floor(x / div), where x is
 * less than the number of such things; `nothing`: it is in [0, below), or below is 0 and
 * nothing is known. */
typedef enum kir_counted {
	KIR_COUNTS_nothing,
	KIR_COUNTS_seqs,
	KIR_COUNTS_heads,
	KIR_COUNTS_positions, /* tokens of a sequence                              */
	KIR_COUNTS_new,       /* new tokens of a sequence, of which queries are    */
	KIR_COUNTS_rows,      /* new tokens of all sequences: rows of q and out    */
	KIR_NCOUNTED
} kir_counted;

typedef struct kir_index {
	kir_counted of;
	int64_t div, below;
} kir_index;

kir_index kir_region_index(const kir_func *f, kir_ref n);
/* Whether n is the tokens that the region's sequence had before this step. */
bool kir_region_past(const kir_func *f, kir_ref n);
/* Where locals lie if those that never live at once share a slot; a slot is as large as the
 * largest of them. */
typedef struct kir_slots {
	unsigned *of;    /* by node, of a local: its slot      */
	uint64_t *bytes; /* by slot                            */
	uint64_t total;  /* of all, each filled up to 64 bytes */
	unsigned n;
} kir_slots;

/* False: out of memory; what s has then is dropped all the same. */
bool kir_find_slots(const kir_func *f, kir_slots *s);
void kir_drop_slots(kir_slots *s);

/* How often each node is an operand; an array of nnode in the module's arena. */
unsigned *kir_count_uses(const kir_func *f);

/* -- copying: what most of a pass is -------------------------------------------- */

/* Appends a copy of node n of `from` with operands mapped through map (old index -> new
 * index; map has from->nnode entries) and records the copy in map[n]. Any node but param
 * may be copied, region structure included, as long as it is done in order. */
kir_ref kir_copy(kir_func *to, const kir_func *from, kir_ref n, kir_ref *map);
/* A map with the params filled in. */
kir_ref *kir_map_new(kir_func *to, const kir_func *from);

#endif
