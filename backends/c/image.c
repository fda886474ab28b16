/* SPDX-License-Identifier: Apache-2.0 */
/* image.c -- the loaded image of a shared object, when nothing is left to be linked.
 *
 * The image is what the segments that are never written would look like in memory, from
 * address 0 on. Relocations, needed libraries, undefined symbols and writable data would need
 * a loader: they are refused.
 */
#include "c.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

typedef struct elf {
	const unsigned char *p;
	size_t size;
	Elf64_Ehdr head;
	kir_diag *why;
} elf;

static bool refuse(const elf *e, const char *what)
{
	kir_error(e->why, 0, 0, "backend c: the compiled object %s", what);
	return false;
}

/* n bytes at file offset `at`, copied out so that alignment doesn't matter. */
static bool get(const elf *e, uint64_t at, void *to, size_t n)
{
	if (at > e->size || n > e->size - at)
		return false;
	memcpy(to, e->p + at, n);
	return true;
}

static bool segment(const elf *e, unsigned i, Elf64_Phdr *h)
{
	return get(e, e->head.e_phoff + (uint64_t)i * e->head.e_phentsize, h, sizeof *h);
}

static bool check_dynamic(const elf *e, const Elf64_Phdr *h)
{
	for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= h->p_filesz; at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;
		if (!get(e, h->p_offset + at, &d, sizeof d) || d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_NEEDED)
			return refuse(e, "needs a library");
		if ((d.d_tag == DT_RELASZ || d.d_tag == DT_RELSZ || d.d_tag == DT_PLTRELSZ ||
		     d.d_tag == 35 /* DT_RELRSZ */) &&
		    d.d_un.d_val)
			return refuse(e, "has relocations");
	}
	return true;
}

/* Size of the image and of its code. */
static bool measure(const elf *e, size_t *size, size_t *text)
{
	*size = *text = 0;
	for (unsigned i = 0; i < e->head.e_phnum; i++) {
		Elf64_Phdr h;
		if (!segment(e, i, &h))
			return refuse(e, "is cut short");
		if (h.p_type == PT_DYNAMIC && !check_dynamic(e, &h))
			return false;
		if (h.p_type != PT_LOAD || (h.p_flags & PF_W))
			continue;
		if (h.p_vaddr > 1u << 30 || h.p_memsz > 1u << 30 || h.p_filesz > h.p_memsz)
			return refuse(e, "has a segment of absurd size");
		if (h.p_vaddr + h.p_memsz > *size)
			*size = h.p_vaddr + h.p_memsz;
		if ((h.p_flags & PF_X) && h.p_vaddr + h.p_memsz > *text)
			*text = h.p_vaddr + h.p_memsz;
	}
	return *size ? true : refuse(e, "has no code");
}

/* The entry among the dynamic symbols; any that is undefined is refused. A section with
 * data that could be written is, too. */
static bool find_entry(const elf *e, size_t *entry)
{
	bool found = false;

	for (unsigned i = 0; i < e->head.e_shnum; i++) {
		Elf64_Shdr s, names;
		if (!get(e, e->head.e_shoff + (uint64_t)i * e->head.e_shentsize, &s, sizeof s))
			return refuse(e, "is cut short");
		if ((s.sh_flags & SHF_WRITE) && s.sh_size &&
		    (s.sh_type == SHT_NOBITS || s.sh_type == SHT_PROGBITS)) {
			char name[8] = "";
			if (get(e,
			        e->head.e_shoff +
			            (uint64_t)e->head.e_shstrndx * e->head.e_shentsize,
			        &names, sizeof names))
				get(e, names.sh_offset + s.sh_name, name, sizeof name - 1);
			if (strncmp(name, ".got", 4) != 0) /* the linker's own, unused */
				return refuse(e, "has data that may be written");
		}
		if (s.sh_type != SHT_DYNSYM)
			continue;
		if (!get(e, e->head.e_shoff + (uint64_t)s.sh_link * e->head.e_shentsize, &names,
		         sizeof names))
			return refuse(e, "is cut short");
		for (uint64_t at = sizeof(Elf64_Sym); at < s.sh_size; at += sizeof(Elf64_Sym)) {
			Elf64_Sym y;
			char name[sizeof KBE_C_ENTRY] = "";
			if (!get(e, s.sh_offset + at, &y, sizeof y) ||
			    !get(e, names.sh_offset + y.st_name, name, sizeof name))
				continue;
			if (y.st_shndx == SHN_UNDEF)
				return refuse(e, "has an undefined symbol");
			if (!memcmp(name, KBE_C_ENTRY, sizeof name)) {
				*entry = y.st_value;
				found = true;
			}
		}
	}
	return found ? true : refuse(e, "lacks the entry");
}

bool kbe_c_image(const unsigned char *bytes, size_t size, kbe_blob *out, kir_diag *why)
{
	elf e = { .p = bytes, .size = size, .why = why };
	size_t total, text, entry = 0;
	unsigned char *image;

	if (!get(&e, 0, &e.head, sizeof e.head) ||
	    memcmp(e.head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    e.head.e_ident[EI_CLASS] != ELFCLASS64)
		return refuse(&e, "isn't a 64-bit ELF file");
	if (!measure(&e, &total, &text) || !find_entry(&e, &entry))
		return false;
	if (entry >= total)
		return refuse(&e, "has its entry outside of its code");
	image = calloc(total, 1);
	if (!image)
		return refuse(&e, "doesn't fit into memory");
	for (unsigned i = 0; i < e.head.e_phnum; i++) {
		Elf64_Phdr h;
		if (!segment(&e, i, &h) || h.p_type != PT_LOAD || (h.p_flags & PF_W))
			continue;
		if (!get(&e, h.p_offset, image + h.p_vaddr, h.p_filesz)) {
			free(image);
			return refuse(&e, "is cut short");
		}
	}
	/* The system's compiler made it and the decoder is LLVM's (backends/x86/decode.c),
	 * which this backend does without: what the code executes stays unknown, and no cache
	 * keeps it. */
	*out = (kbe_blob){ .bytes = image,
		           .size = total,
		           .entry = entry,
		           .text = text,
		           .isa = KBE_ISA(unknown) };
	return true;
}
