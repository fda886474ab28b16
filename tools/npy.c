/* SPDX-License-Identifier: Apache-2.0 */
/* npy.c -- see npy.h. The header is a Python dict literal; the three keys that a file must
 * have are looked up in its text, so their order doesn't matter. */
#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic[6] = { '\x93', 'N', 'U', 'M', 'P', 'Y' };

/* bytes of an element */
static size_t item_bytes(const npy *a)
{
	return (size_t)strtoul(a->dtype + 1, NULL, 10);
}

void npy_free(npy *a)
{
	free(a->data);
	memset(a, 0, sizeof *a);
}

/* The text after 'key': in the header, NULL if the key is missing. */
static const char *value_of(const char *header, const char *key)
{
	char quoted[32];
	snprintf(quoted, sizeof quoted, "'%s'", key);
	const char *s = strstr(header, quoted);
	if (!s)
		return NULL;
	s += strlen(quoted);
	return s + strspn(s, ": ");
}

static const char *read_header(const char *header, npy *out)
{
	const char *descr = value_of(header, "descr");
	const char *order = value_of(header, "fortran_order");
	const char *shape = value_of(header, "shape");
	if (!descr || !order || !shape || *descr != '\'' || *shape != '(')
		return "its header lacks descr, fortran_order or shape";
	descr++;
	if (*descr != '<' && *descr != '|')
		return "it isn't little endian";
	size_t len = strcspn(descr + 1, "'");
	if (len != 2 || !strchr("uifb", descr[1]) || !strchr("1248", descr[2]))
		return "its dtype isn't an integer or a float of 1, 2, 4 or 8 bytes";
	memcpy(out->dtype, descr + 1, len);
	if (strncmp(order, "False", 5) != 0)
		return "it is in Fortran order; save np.ascontiguousarray(x)";
	for (const char *s = shape + 1; *s != ')';) {
		char *end;
		if (out->rank == NPY_RANK)
			return "it has more than 6 dimensions";
		long long n = strtoll(s, &end, 10);
		if (end == s || n < 0)
			return "its shape isn't a tuple of numbers";
		out->shape[out->rank++] = n;
		s = end + strspn(end, ", ");
	}
	return NULL;
}

static const char *read_file(FILE *f, npy *out)
{
	unsigned char head[12];
	size_t len;
	if (fread(head, 1, 10, f) != 10 || memcmp(head, magic, sizeof magic) != 0)
		return "it doesn't begin like a .npy file";
	len = head[8] | (size_t)head[9] << 8;
	if (head[6] >= 2) {
		if (fread(head + 10, 1, 2, f) != 2)
			return "it ends within its header";
		len |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
	}
	if (len > 65536)
		return "its header is longer than 64 KiB";
	char *header = calloc(len + 1, 1);
	if (!header || fread(header, 1, len, f) != len) {
		free(header);
		return "it ends within its header";
	}
	const char *wrong = read_header(header, out);
	free(header);
	if (wrong)
		return wrong;
	out->bytes = item_bytes(out);
	for (int i = 0; i < out->rank; i++)
		if (__builtin_mul_overflow(out->bytes, (size_t)out->shape[i], &out->bytes))
			return "its shape is too large";
	if (out->bytes > (size_t)1 << 40)
		return "its shape is too large";
	out->data = aligned_alloc(64, (out->bytes + 64) / 64 * 64);
	if (!out->data)
		return "there isn't enough memory for it";
	return fread(out->data, 1, out->bytes, f) == out->bytes ? NULL
	                                                        : "it ends within its data";
}

bool npy_load(const char *path, npy *out, char *why, size_t len)
{
	memset(out, 0, sizeof *out);
	FILE *f = fopen(path, "rb");
	const char *wrong = f ? read_file(f, out) : "it can't be opened";
	if (f)
		fclose(f);
	if (wrong) {
		snprintf(why, len, "%s: %s", path, wrong);
		npy_free(out);
	}
	return !wrong;
}

bool npy_save(const char *path, const npy *a, char *why, size_t len)
{
	char shape[160] = "", header[320];
	for (int i = 0; i < a->rank; i++)
		snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%lld,%s",
		         (long long)a->shape[i], i + 1 < a->rank ? " " : "");
	int n = snprintf(header, sizeof header,
	                 "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
	                 a->dtype[1] == '1' ? '|' : '<', a->dtype, shape);
	int total = (10 + n + 1 + 63) / 64 * 64;
	unsigned pad = (unsigned)(total - 10);
	unsigned char head[10] = { 0, 0, 0, 0, 0, 0, 1, 0, pad & 255, (pad >> 8) & 255 };
	memcpy(head, magic, sizeof magic);

	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(head, 1, 10, f) == 10 &&
	          fprintf(f, "%-*s\n", (int)pad - 1, header) == (int)pad &&
	          fwrite(a->data, 1, a->bytes, f) == a->bytes;
	if (f && fclose(f) != 0)
		ok = false;
	if (!ok)
		snprintf(why, len, "%s: it can't be written", path);
	return ok;
}
