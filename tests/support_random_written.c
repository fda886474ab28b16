/* SPDX-License-Identifier: Apache-2.0 */
/* support_random_written.c -- formats in words of their own, masks and scores of random
 * expressions. */
#include "support_draw.h"

/* Its tensors and its end; how they lie: `where`, 0 to 3, or drawn for codes of 16 bits. */
static void add_tensors(rng *r, char *text, bool wide, bool groups, int where)
{
	const char *s = groups ? "[t g]" : "[t]", *g = groups ? "[g]" : "";

	if (wide)
		add(text, "%s",
		    WORD(r, " tensor cache [h] { k[t d] v[t d] }\n}\n",
		         " tensor a [t h] { k[d] }\n tensor b [t h] { v[d] }\n}\n",
		         " tensor cache [h] { k[t/16 d/2 t%16 d%2] v[t/2 d t%2] align 64 "
		         "}\n}\n"));
	else if (where == 0)
		add(text,
		    " tensor cache [h] { [t] { k[d] v[d] pad 8 } ks%s vs%s align 64 }\n}\n", s,
		    s);
	else if (where == 1)
		add(text, " tensor cache [h t] { ks%s vs%s align 16 k[d] v[d] align 16 }\n}\n",
		    g, g);
	else if (where == 2)
		add(text,
		    " tensor cache [h] { k[t/16 d/4 t%%16 d%%4] v[t/4 d t%%4] ks%s vs%s align "
		    "64 }\n}\n",
		    groups ? "[g t]" : s, s);
	else
		add(text,
		    " tensor a [t h] { k[d] }\n tensor b [h] { v[t/2 d t%%2] align 64 }\n "
		    "tensor scales { ks[h t%s] vs[h t%s] }\n}\n",
		    groups ? " g" : "", groups ? " g" : "");
}

/* A format in words of its own, for heads of multiples of 32 elements. */
static void add_declaration(rng *r, char *text)
{
	static const struct {
		const char *elem, *most;
		int bits;
	} elems[] = {
		{ "s8", "amax/127", 8 },     { "e4m3fn", "amax/448", 8 },
		{ "e5m2", "amax/57344", 8 }, { "e4m3fnuz", "amax/240", 8 },
		{ "s4", "amax/7", 4 },       { "e2m1", "amax/6", 4 },
		{ "u8", "range/255", 8 },    { "u4", "range/15", 4 },
		{ "e2m3", "amax/7.5", 8 },   { "bf16", "", 16 },
	};
	int e = (int)pick(r, 0, sizeof elems / sizeof *elems - 1), where = (int)pick(r, 0, 3);
	bool wide = elems[e].bits == 16, range = *elems[e].most == 'r', groups = one_in(r, 2);
	int pack = elems[e].bits == 4 && one_in(r, 2) ? 16 : 0;
	const char *scale = WORD(r, "f32", "f32", "bf16", "f16", "e8m0");
	int group = 16 << pick(r, 0, 1);

	add(text, "format written v1 {\n elem %s\n", elems[e].elem);
	if (pack)
		add(text, " pack %d\n", pack);
	if (wide) {
		add(text, " scale none\n");
	} else {
		if (range)
			scale = "f32";
		bool pow2 = *scale == 'e' || one_in(r, 5);

		add(text, " scale %s ", scale);
		if (groups)
			add(text, "group %d", group);
		else
			add(text, "token-head");
		add(text, " %s floor 1e-05%s\n", elems[e].most, pow2 && !range ? " pow2" : "");
		add(text, " apply %s\n", one_in(r, 2) ? "divide" : "reciprocal");
		add(text, " round %s\n", WORD(r, "even", "away", "zero"));
	}
	if (!wide && one_in(r, 4))
		add(text, " rotate hadamard%s\n", WORD(r, "", " 16", " 32 signs", " signs"));
	if (one_in(r, 5))
		add(text, " k.mean given\n");
	add_tensors(r, text, wide, groups, where);
}

static void add_int(rng *r, char *text, int deep)
{
	if (!deep || one_in(r, 3)) {
		add(text, "%s", WORD(r, "q", "k", "k", "h", "b", "past", "nq", "row"));
		return;
	}
	const char *op = WORD(r, " + ", " - ", " // ", " % ", "min", "max", "abs", " * ");

	if (*op == ' ') {
		add(text, "(");
		add_int(r, text, deep - 1);
		add(text, "%s", op);
		if (op[1] == '/' || op[1] == '%' || op[1] == '*')
			add(text, "%d", (int)pick(r, 1, 9));
		else
			add_int(r, text, deep - 1);
		add(text, ")");
		return;
	}
	add(text, "%s(", op);
	add_int(r, text, deep - 1);
	if (*op == 'm') {
		add(text, ", ");
		add_int(r, text, deep - 1);
	}
	add(text, ")");
}

static void add_condition(rng *r, char *text, int deep)
{
	if (!deep || one_in(r, 3)) {
		add_int(r, text, 2);
		add(text, "%s", WORD(r, " <= ", " < ", " == ", " != ", " >= "));
		one_in(r, 2) ? add(text, "%d", (int)pick(r, 0, 40)) : add_int(r, text, 1);
		return;
	}
	add(text, one_in(r, 5) ? "!(" : "(");
	add_condition(r, text, deep - 1);
	add(text, "%s", one_in(r, 2) ? " && " : " || ");
	add_condition(r, text, deep - 1);
	add(text, ")");
}

static void add_score(rng *r, char *text, int deep)
{
	if (!deep || one_in(r, 3)) {
		add(text, "%s", WORD(r, "s", "s", "s * 0.5", "(s - 1)"));
		return;
	}
	int how = (int)pick(r, 0, 3);

	add(text, how == 0 ? "(" : how == 1 ? "min(" : how == 2 ? "max(" : "(");
	if (how == 0) {
		add_condition(r, text, 1);
		add(text, " ? ");
	}
	add_score(r, text, deep - 1);
	add(text, how == 0 ? " : " : how < 3 ? ", " : " - 0.01 * ");
	if (how < 3)
		add_score(r, text, deep - 1);
	else
		add_int(r, text, 1);
	add(text, ")");
}

/* What is read or written in such a format. */
void support_random_written(rng *r, char *text, int *page)
{
	int kv = (int)pick(r, 1, 3), dk = 32 * (int)pick(r, 1, 4),
	    dv = one_in(r, 3) ? 32 * (int)pick(r, 1, 4) : dk;
	bool sparse = one_in(r, 5);

	*text = 0;
	*page = 16 * (int)pick(r, 1, 4);
	add_declaration(r, text);
	if (one_in(r, 5)) {
		add(text, "write in=%s kv=written heads=%d dim=%d:%d page=%d parts=%d",
		    WORD(r, "bf16", "f16", "f32"), kv, dk, dv, *page, (int)pick(r, 0, 5));
		return;
	}
	add(text, "attn q=%s out=%s kv=written heads=%d:%d dim=%d:%d page=%d",
	    WORD(r, "bf16", "f16", "f32"), WORD(r, "bf16", "f16", "f32"),
	    kv * (int)pick(r, 1, 5), kv, dk, dv, *page);
	if (sparse) {
		add(text, " sparse=%d%s", (int)pick(r, 1, 90), one_in(r, 2) ? " lse" : "");
		return;
	}
	if (one_in(r, 2))
		add(text, " causal%s", one_in(r, 2) ? " lse" : " sink");
	if (one_in(r, 2)) {
		add(text, " mask=\"");
		add_condition(r, text, 2);
		add(text, "\"");
	}
	if (one_in(r, 3)) {
		add(text, " score=\"");
		add_score(r, text, 2);
		add(text, "\"");
	}
}
