/* SPDX-License-Identifier: Apache-2.0 */
/* elf.c -- from a relocatable object to a blob.
 *
 * Code first, then constants, each section at its own alignment (at most a page's; whoever
 * maps a blob maps it at a page). Differences of addresses inside the blob are filled in
 * here, once, and hold wherever it lies. Anything else is refused: a symbol from outside is
 * a library call that slipped in, an absolute address can't be right twice.
 *
 * The object is LLVM's own, made a moment ago in this process: it is trusted to be well formed.
 */
#include "x86.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX

typedef struct object {
	const unsigned char *base;
	const Elf64_Shdr *section;
	unsigned nsection;
	const Elf64_Sym *symbol;
	const char *names;
	size_t *at; /* by section: its offset in the blob, NOWHERE if it isn't there */
	unsigned char *blob;
} object;

static bool is_placed(const Elf64_Shdr *s, bool code)
{
	if (!(s->sh_flags & SHF_ALLOC) || s->sh_type != SHT_PROGBITS || !s->sh_size)
		return false;
	return code == ((s->sh_flags & SHF_EXECINSTR) != 0);
}

static size_t place(object *o, bool code, size_t end)
{
	for (unsigned i = 0; i < o->nsection; i++) {
		const Elf64_Shdr *s = &o->section[i];
		size_t align = s->sh_addralign ? s->sh_addralign : 1;

		if (!is_placed(s, code))
			continue;
		end = (end + align - 1) / align * align;
		o->at[i] = end;
		end += s->sh_size;
	}
	return end;
}

static const char *symbol_name(const object *o, const Elf64_Sym *s)
{
	if (ELF64_ST_TYPE(s->st_info) == STT_SECTION || !s->st_name)
		return "(a section)";
	return o->names + s->st_name;
}

/* One relocation at `to` of the blob. */
static bool relocate(object *o, size_t to, const Elf64_Rela *r, kir_diag *why)
{
	const Elf64_Sym *s = &o->symbol[ELF64_R_SYM(r->r_info)];
	unsigned type = ELF64_R_TYPE(r->r_info);
	int64_t value;

	if (s->st_shndx == SHN_UNDEF) {
		kir_error(why, 0, 0, "the code calls %s, which isn't part of it",
		          symbol_name(o, s));
		return false;
	}
	if (s->st_shndx >= o->nsection || o->at[s->st_shndx] == NOWHERE) {
		kir_error(why, 0, 0, "the code refers to %s, which isn't code or a constant",
		          symbol_name(o, s));
		return false;
	}
	value = (int64_t)(o->at[s->st_shndx] + s->st_value) + r->r_addend - (int64_t)to;
	if (type != R_X86_64_PC32 && type != R_X86_64_PLT32) {
		kir_error(why, 0, 0,
		          "relocation type %u to %s is no distance of 32 bits: it may tie the "
		          "code to its address",
		          type, symbol_name(o, s));
		return false;
	}
	int32_t narrow = (int32_t)value;

	memcpy(o->blob + to, &narrow, sizeof narrow);
	return true;
}

static bool relocate_all(object *o, kir_diag *why)
{
	for (unsigned i = 0; i < o->nsection; i++) {
		const Elf64_Shdr *s = &o->section[i];
		const Elf64_Rela *r = (const void *)(o->base + s->sh_offset);

		if (s->sh_type != SHT_RELA || o->at[s->sh_info] == NOWHERE)
			continue;
		for (size_t k = 0; k < s->sh_size / sizeof *r; k++)
			if (!relocate(o, o->at[s->sh_info] + r[k].r_offset, &r[k], why))
				return false;
	}
	return true;
}

/* Offset of the function in the blob; NOWHERE if there is none of that name. */
static size_t entry_of(const object *o, const Elf64_Shdr *table, const char *symbol)
{
	for (size_t i = 1; i < table->sh_size / sizeof *o->symbol; i++) {
		const Elf64_Sym *s = &o->symbol[i];

		if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx < o->nsection &&
		    !strcmp(o->names + s->st_name, symbol) && o->at[s->st_shndx] != NOWHERE)
			return o->at[s->st_shndx] + s->st_value;
	}
	return NOWHERE;
}

static bool build(object *o, const Elf64_Shdr *table, const char *symbol, kbe_blob *out,
                  kir_diag *why)
{
	size_t text = place(o, true, 0), size = place(o, false, text);

	o->blob = calloc(1, size ? size : 1);
	if (!o->blob) {
		kir_error(why, 0, 0, "out of memory");
		return false;
	}
	memset(o->blob, 0xcc, text); /* what no section covers must not run */
	for (unsigned i = 0; i < o->nsection; i++)
		if (o->at[i] != NOWHERE)
			memcpy(o->blob + o->at[i], o->base + o->section[i].sh_offset,
			       o->section[i].sh_size);
	*out = (kbe_blob){ o->blob, size, entry_of(o, table, symbol), text, KBE_ISA(unknown) };
	if (out->entry != NOWHERE && relocate_all(o, why)) {
		out->isa = kx86_finish(o->blob, text);
		return true;
	}
	if (out->entry == NOWHERE)
		kir_error(why, 0, 0, "LLVM's object has no function named %s", symbol);
	free(o->blob);
	*out = (kbe_blob){ 0 };
	return false;
}

bool kx86_link(const void *elf, size_t size, const char *symbol, kbe_blob *out, kir_diag *why)
{
	const Elf64_Ehdr *h = elf;
	const Elf64_Shdr *table = NULL;
	object o = { .base = elf };
	bool ok;

	if (size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) ||
	    h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64) {
		kir_error(why, 0, 0, "LLVM's object is no ELF file for x86-64");
		return false;
	}
	o.section = (const void *)(o.base + h->e_shoff);
	o.nsection = h->e_shnum;
	for (unsigned i = 0; i < o.nsection; i++)
		if (o.section[i].sh_type == SHT_SYMTAB)
			table = &o.section[i];
	o.at = malloc((o.nsection + 1) * sizeof *o.at);
	if (!table || !o.at) {
		kir_error(why, 0, 0, table ? "out of memory" : "LLVM's object has no symbols");
		free(o.at);
		return false;
	}
	for (unsigned i = 0; i < o.nsection; i++)
		o.at[i] = NOWHERE;
	o.symbol = (const void *)(o.base + table->sh_offset);
	o.names = (const char *)o.base + o.section[table->sh_link].sh_offset;
	ok = build(&o, table, symbol, out, why);
	free(o.at);
	return ok;
}
