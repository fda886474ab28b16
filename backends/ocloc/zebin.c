/* SPDX-License-Identifier: Apache-2.0 */
/* zebin.c -- the ELF file of a GPU's kernels: a section of code for each, .text.NAME, and one
 * that describes them, .ze_info. The file may come from a cache: nothing in it is trusted.
 */
#include "ocloc.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

static bool within(size_t size, uint64_t offset, uint64_t length)
{
	return offset <= size && length <= size - offset;
}

/* Name of a section, NULL unless it ends within the table of names. */
static const char *name_of(const char *names, uint64_t size, uint32_t at)
{
	return at < size && memchr(names + at, 0, size - at) ? names + at : NULL;
}

static bool refuse(kno_elf *out, kir_diag *why)
{
	free(out->info);
	memset(out, 0, sizeof(*out));
	kir_error(why, 0, 0,
	          "this isn't a native binary of an Intel GPU: an ELF file with "
	          ".ze_info and a section .text.NAME");
	return false;
}

bool kno_elf_read(const void *elf, size_t size, kno_elf *out, kir_diag *why)
{
	const unsigned char *bytes = elf;
	const char *names;
	Elf64_Ehdr head;
	Elf64_Shdr strings;

	memset(out, 0, sizeof(*out));
	if (size < sizeof(head))
		return refuse(out, why);
	memcpy(&head, bytes, sizeof(head));
	if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_shentsize != sizeof(strings) || head.e_shstrndx >= head.e_shnum ||
	    !within(size, head.e_shoff, (uint64_t)head.e_shnum * sizeof(strings)))
		return refuse(out, why);
	memcpy(&strings, bytes + head.e_shoff + head.e_shstrndx * sizeof(strings),
	       sizeof(strings));
	if (!within(size, strings.sh_offset, strings.sh_size))
		return refuse(out, why);
	names = (const char *)bytes + strings.sh_offset;
	for (unsigned i = 0; i < head.e_shnum; i++) {
		Elf64_Shdr s;
		const char *name;

		memcpy(&s, bytes + head.e_shoff + i * sizeof(s), sizeof(s));
		name = name_of(names, strings.sh_size, s.sh_name);
		if (!name || !within(size, s.sh_offset, s.sh_size))
			continue;
		if (!strncmp(name, ".text.", 6) && !out->text) {
			out->text = bytes + s.sh_offset;
			out->text_size = s.sh_size;
		} else if (!strcmp(name, ".ze_info") && !out->info) {
			out->info = calloc(1, s.sh_size + 1);
			if (out->info)
				memcpy(out->info, bytes + s.sh_offset, s.sh_size);
		}
	}
	return out->text && out->info ? true : refuse(out, why);
}

/* Number behind "key:" in [text, end), 0 if it isn't there. */
static uint32_t number(const char *text, const char *end, const char *key)
{
	size_t length = strlen(key);

	for (const char *at = text; (at = strstr(at, key)) && at < end; at += length)
		if (at[length] == ':' && (at == text || strchr(" -\n", at[-1])))
			return (uint32_t)strtoul(at + length + 1, NULL, 10);
	return 0;
}

/* Buffers of a thread are a list of {type, usage, size}. The scratch of registers is of type
 * scratch and without private memory in it; newer compilers also say spill_size. */
static void buffers(const char *info, kbe_counts *out)
{
	const char *at = strstr(info, "per_thread_memory_buffers:");
	const char *end = at ? strstr(at, "kernels_misc_info:") : NULL;

	if (!end)
		end = info + strlen(info);
	while (at && (at = strstr(at, "- type:")) && at < end) {
		const char *next = strstr(at + 1, "- type:");
		const char *stop = next && next < end ? next : end;
		const char *scratch = strstr(at, "scratch");
		uint32_t size = number(at, stop, "size");

		if (scratch && scratch < stop)
			out->spill = out->spill > size ? out->spill : size;
		else
			out->private_bytes += size;
		at++;
	}
}

void kno_info_count(const char *info, kbe_counts *out)
{
	const char *end = info + strlen(info);

	out->registers = number(info, end, "grf_count");
	out->lanes = number(info, end, "simd_size");
	out->slm = number(info, end, "slm_size");
	out->spill = number(info, end, "spill_size");
	out->private_bytes = number(info, end, "private_size");
	buffers(info, out);
}
