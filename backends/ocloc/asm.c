/* SPDX-License-Identifier: Apache-2.0 */
/* asm.c -- machine code as text, by Intel's disassembler, and what is counted in the text.
 *
 * A line is a label, `L120:`, or an instruction: perhaps a predicate in parentheses, the
 * mnemonic, operands, and behind // what a message does.
 */
#include "ocloc.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Of the disassembler's C interface, version 1. */
typedef struct context_options {
	size_t size;
	uint32_t platform;
} context_options;
typedef struct text_options {
	uint32_t size, formatting, reserved[2], decoding, base;
} text_options;
typedef int create_fn(const context_options *, void **context);
typedef int release_fn(void *context);
typedef int text_fn(void *context, const text_options *, const void *code, uint32_t size,
                    const char *(*label)(int32_t, void *), void *label_of, char **text);

enum { DEFAULT_FORMAT = 0 };

static void *symbol_of(void *so, const char *name, kir_diag *why)
{
	void *symbol = so ? dlsym(so, name) : NULL;

	if (!symbol)
		kir_error(
		    why, 0, 0,
		    "no counts without Intel's disassembler: libiga64.so.1 with %s can't be "
		    "loaded (Debian has it in libigc1)",
		    name);
	return symbol;
}

static bool disassemble(const kno_device *d, const kno_elf *elf, kir_text *out, kir_diag *why)
{
	void *so = dlopen("libiga64.so.1", RTLD_NOW | RTLD_LOCAL), *symbol, *context = NULL;
	const context_options co = { sizeof(co), d->major << 24 | d->minor };
	const text_options to = { .size = sizeof(to), .formatting = DEFAULT_FORMAT };
	create_fn *create;
	release_fn *release;
	text_fn *text;
	char *result = NULL;
	int status;

	if (!(symbol = symbol_of(so, "iga_context_create", why)))
		return false;
	memcpy(&create, &symbol, sizeof(create));
	if (!(symbol = symbol_of(so, "iga_context_release", why)))
		return false;
	memcpy(&release, &symbol, sizeof(release));
	if (!(symbol = symbol_of(so, "iga_context_disassemble", why)))
		return false;
	memcpy(&text, &symbol, sizeof(text));
	status = create(&co, &context);
	if (!status)
		status = text(context, &to, elf->text, (uint32_t)elf->text_size, NULL, NULL,
		              &result);
	if (!status && result)
		kir_text_add(out, "%s", result);
	else
		kir_error(why, 0, 0,
		          "the disassembler doesn't read this code for '%s': status %d",
		          d->name, status);
	if (context)
		release(context);
	return !status && result;
}

bool kbe_native_text(const char *target, const void *elf, size_t size, kir_text *out,
                     kir_diag *why)
{
	const kno_device *d = kno_find(target, why);
	kno_elf e;
	bool ok;

	if (!d || !kno_elf_read(elf, size, &e, why))
		return false;
	ok = disassemble(d, &e, out, why);
	free(e.info);
	return ok;
}

/* -- counting ------------------------------------------------------------------------------ */

typedef struct line {
	const char *at, *name; /* name: NULL for a label */
	size_t length, name_length;
	unsigned label;   /* of a label its number, of a jump where to */
	bool jump, inner; /* inner: a jump back that closes a loop with none inside */
	bool maybe;       /* a jump under a condition                               */
	size_t to;        /* of a jump; the number of lines if it's nowhere         */
} line;

typedef struct tally {
	uint32_t instructions, sends, block_loads, dpas, calls;
} tally;

static bool starts(const line *l, const char *name)
{
	return l->name && l->name_length >= strlen(name) &&
	       !strncmp(l->name, name, strlen(name));
}

/* A line without its comment; `sync.nop` and the like are instructions. */
static void read_line(line *l)
{
	const char *at = l->at, *end = l->at + l->length, *comment, *target;
	bool maybe = false;

	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (at < end && *at == 'L' && end[-1] == ':') {
		l->label = (unsigned)strtoul(at + 1, NULL, 10);
		return;
	}
	if (at < end && *at == '(') {
		for (; at < end && *at != ')'; at++)
			maybe |= *at == 'f'; /* a flag */
		at++;
		while (at < end && *at == ' ')
			at++;
	}
	if (at >= end || *at == '/')
		return;
	l->name = at;
	l->name_length = strcspn(at, " \n");
	l->jump = starts(l, "jmpi") || starts(l, "while") || starts(l, "goto") ||
	          starts(l, "brc") || starts(l, "brd");
	l->maybe = maybe;
	if (!l->jump)
		return;
	comment = strstr(at, "//");
	for (target = at; target < end && (!comment || target < comment); target++)
		if (target[0] == ' ' && target[1] == 'L' && target[2] >= '0' &&
		    target[2] <= '9') {
			l->label = (unsigned)strtoul(target + 2, NULL, 10);
			return;
		}
	l->jump = false;
}

static line *read_lines(const char *text, size_t *n)
{
	size_t room = 1;
	line *lines;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		room++;
	lines = calloc(room, sizeof(*lines));
	*n = 0;
	while (lines && *text) {
		size_t length = strcspn(text, "\n");

		lines[*n].at = text;
		lines[*n].length = length;
		read_line(&lines[(*n)++]);
		text += length + (text[length] == '\n');
	}
	return lines;
}

static tally count(const line *lines, size_t from, size_t to)
{
	tally t = { 0, 0, 0, 0, 0 };

	for (size_t i = from; i < to; i++) {
		const line *l = lines + i;
		const char *end = l->at + l->length, *load = strstr(l->at, "load_block2d");

		t.instructions += l->name != NULL;
		t.sends += starts(l, "send");
		t.block_loads += starts(l, "send") && load && load < end;
		t.dpas += starts(l, "dpas");
		t.calls += starts(l, "call");
	}
	return t;
}

static bool is_label(const line *l)
{
	const char *at = memchr(l->at, 'L', l->length);

	return !l->name && at;
}

/* Finds where jumps go, and those back; one is inner if no other lies between it and its label.
 */
static void find_loops(line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		line *l = lines + i;

		if (!l->jump)
			continue;
		l->to = n;
		for (size_t k = 0; k < n; k++)
			if (is_label(&lines[k]) && lines[k].label == l->label)
				l->to = k;
		l->inner = l->to < i;
		for (size_t k = l->to; k < i && l->inner; k++)
			if (lines[k].jump && lines[k].inner)
				l->inner = false;
	}
}

/* The way to a line: what is counted before it. */
typedef struct way {
	bool is;
	uint32_t dpas, instructions;
} way;

static void go(way *to, const way *from)
{
	if (!to->is || from->dpas > to->dpas ||
	    (from->dpas == to->dpas && from->instructions < to->instructions))
		*to = *from;
}

/* Of the ways through the inner loop from line `from` to the jump at `end` those with most
 * products, of these the fewest instructions. */
static uint32_t shortest_way(const line *lines, size_t from, size_t end)
{
	way *ways = calloc(end + 1 - from, sizeof *ways), last = { 0 };

	if (!ways)
		return 0;
	ways[0].is = true;
	for (size_t i = from; i <= end; i++) {
		const line *l = lines + i;
		way w = ways[i - from];

		if (!w.is)
			continue;
		w.instructions += l->name != NULL;
		w.dpas += starts(l, "dpas");
		if (l->jump && (l->to == from || i == end))
			go(&last, &w);
		else if (l->jump && l->to > i && l->to <= end)
			go(&ways[l->to - from], &w);
		if (i < end && (!l->jump || l->maybe))
			go(&ways[i + 1 - from], &w);
	}
	free(ways);
	return last.instructions;
}

void kno_asm_count(const char *text, kbe_counts *out)
{
	size_t n;
	line *lines = read_lines(text, &n);
	tally all, hot = { 0, 0, 0, 0, 0 };
	uint32_t least = 0;

	if (!lines)
		return;
	find_loops(lines, n);
	all = count(lines, 0, n);
	for (size_t i = 0; i < n; i++)
		if (lines[i].inner) {
			tally t = count(lines, lines[i].to, i + 1);

			if (t.dpas > hot.dpas ||
			    (!t.dpas && !hot.dpas && t.instructions > hot.instructions)) {
				hot = t;
				least = shortest_way(lines, lines[i].to, i);
			}
		}
	free(lines);
	out->instructions = all.instructions;
	out->sends = all.sends;
	out->block_loads = all.block_loads;
	out->dpas = all.dpas;
	out->calls = all.calls;
	out->loop_instructions = hot.instructions;
	out->loop_shortest = least;
	out->loop_sends = hot.sends;
	out->loop_block_loads = hot.block_loads;
	out->loop_dpas = hot.dpas;
}

bool kbe_native_count(const char *target, const void *elf, size_t size, kbe_counts *out,
                      kir_diag *why)
{
	const kno_device *d = kno_find(target, why);
	kir_text text = { 0 };
	kno_elf e;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (!d || !kno_elf_read(elf, size, &e, why))
		return false;
	ok = disassemble(d, &e, &text, why);
	if (ok) {
		kno_info_count(e.info, out);
		kno_asm_count(text.text, out);
	}
	free(text.text);
	free(e.info);
	return ok;
}

void kbe_counts_print(const kbe_counts *c, kir_text *out)
{
#define COUNT(name, doc) kir_text_add(out, "%-18s %7u  %s\n", #name, c->name, doc);
#include "counts.def"
}
