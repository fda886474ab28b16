/* SPDX-License-Identifier: Apache-2.0 */
/* build.c -- what a program's structs look like in this build: see kir_build.
 *
 * Sizes catch a member more, the tables' words a row more or in another place.
 */
#include "format.h"

#include <string.h>

static const char tables[] =
#define ELEM(name, bits, kind, exp, man, bias) #name " "
#include "elems.def"
#define ATTR(name, kind, dflt, words, doc) #name "=" words " "
#include "attrs.def"
#define OP(name, lvl, src, attr, flags, doc) #name "(" src ";" attr ") "
#include "ops.def"
#define KNOB(name, dflt, last, values, tries, doc) #name "=" values " "
#include "knobs.def"
#define FEATURE(name, bit, doc) #name "=" #bit " "
#include "targets.def"
    ;

const kir_build kir_own_build = {
	.size = { sizeof(kir_func), sizeof(kir_node), sizeof(kir_type), sizeof(kir_param),
	          sizeof(kir_target), sizeof(kir_module), sizeof(kir_format),
	          sizeof(kir_diag) },
	.tables = tables,
};

bool kir_same_build(const kir_build *a, const kir_build *b)
{
	return !memcmp(a->size, b->size, sizeof(a->size)) && !strcmp(a->tables, b->tables);
}
