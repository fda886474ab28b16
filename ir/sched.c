/* SPDX-License-Identifier: Apache-2.0 */
/* sched.c -- schedules as text: "kv_tile=64 qk=bf16 ...", every knob by name; and what auto
 * stands for where passes and the tuner's model must agree. */
#include "kir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int kir_knob_word(const kir_knob_info *k, const char *word, size_t n)
{
	const char *words = k->values;

	for (int i = 0;; i++) {
		size_t len = strcspn(words, ",");

		if (len == n && !memcmp(words, word, n))
			return i;
		if (!words[len])
			return -1;
		words += len + 1;
	}
}

static bool knob_value(const kir_knob_info *k, const char *text, int *out)
{
	char *end;
	long x, lo, hi;

	if (sscanf(k->values, "%ld:%ld", &lo, &hi) != 2) {
		*out = kir_knob_word(k, text, strlen(text));
		return *out >= 0;
	}
	x = strtol(text, &end, 10);
	*out = (int)x;
	return *text && !*end && x >= lo && x <= hi;
}

/* given: as the caller's; now: by this very text, which names a knob once. */
static bool set_one(kir_sched *s, bool *given, bool *now, char *word, kir_diag *d)
{
	char *value = strchr(word, '=');
	kir_text all = { 0 };

	if (value)
		*value++ = 0;
	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];

		if (strcmp(k->name, word) != 0)
			continue;
		if (now[i]) {
			kir_error(d, 0, 0, "knob %s is given twice", k->name);
			return false;
		}
		if (value && knob_value(k, value, kir_sched_knob(s, i))) {
			given[i] = now[i] = true;
			return true;
		}
		kir_error(d, 0, 0, "knob %s takes %s, not '%.40s'", k->name, k->values,
		          value ? value : "");
		return false;
	}
	for (unsigned i = 0; i < kir_nknobs; i++)
		kir_text_add(&all, "%s%s", i ? ", " : "", kir_knobs[i].name);
	kir_error(d, 0, 0, "no knob '%.40s'; there are %s", word, all.text);
	free(all.text);
	return false;
}

bool kir_sched_parse(kir_sched *s, bool *given, const char *text, kir_diag *d)
{
	bool now[kir_nknobs] = { 0 };

	while (*text) {
		char word[100];
		size_t len;

		text += strspn(text, " ,\t\n");
		if (*text == ';') {
			text += strcspn(text, "\n");
			continue;
		}
		len = strcspn(text, " ,\t\n;");
		if (!len)
			return true;
		snprintf(word, sizeof(word), "%.*s", (int)(len < 99 ? len : 99), text);
		if (!set_one(s, given, now, word, d))
			return false;
		text += len;
	}
	return true;
}

bool kir_sched_in_time(const kir_func *f, const bool *given, kir_diag *d)
{
	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];

		if (!given[i] || f->level <= k->last)
			continue;
		kir_error(
		    d, 0, 0,
		    "knob %s can't be given for a function at level %s: it shapes what is "
		    "written there; it takes one at level A%s",
		    k->name, kir_level_name(f->level), k->last == KIR_T ? " or T" : "");
		return false;
	}
	return true;
}

static void print_value(const kir_knob_info *k, int x, kir_text *out)
{
	const char *w = k->values;

	if (w[0] >= '0' && w[0] <= '9') {
		kir_text_add(out, "%d", x);
		return;
	}
	for (int j = 0; j < x && strchr(w, ','); j++)
		w = strchr(w, ',') + 1;
	kir_text_add(out, "%.*s", (int)strcspn(w, ","), w);
}

void kir_chose(kir_func *f, kir_knob knob, int64_t value)
{
	kir_chosen *c = &f->chosen[knob];

	for (unsigned i = 0; i < c->n; i++)
		if (c->value[i] == value)
			return;
	if (c->n == KIR_CHOSEN || value < 0)
		c->more = true;
	else
		c->value[c->n++] = (int)value;
}

void kir_chosen_print(const kir_func *f, kir_text *out)
{
	kir_sched copy = f->sched;
	const char *sep = "";

	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_chosen *c = &f->chosen[i];

		if (!c->n || *kir_sched_knob(&copy, i) != kir_knobs[i].dflt)
			continue;
		kir_text_add(out, "%s%s=", sep, kir_knobs[i].name);
		for (unsigned v = 0; v < c->n; v++) {
			kir_text_add(out, "%s", v ? "/" : "");
			print_value(&kir_knobs[i], c->value[v], out);
		}
		kir_text_add(out, "%s", c->more ? "/..." : "");
		sep = " ";
	}
}

void kir_sched_print(const kir_sched *s, kir_text *out)
{
	kir_sched copy = *s;

	for (unsigned i = 0; i < kir_nknobs; i++) {
		kir_text_add(out, "%s%s=", i ? " " : "", kir_knobs[i].name);
		print_value(&kir_knobs[i], *kir_sched_knob(&copy, i), out);
	}
}

/* Decode (q_tile at most 1) reads every line once, from memory. Of several tiles of queries the
 * first brings a head's keys and values and the others find them in the level that holds them,
 * which for 4096 keys and more isn't L2: touching lines gains vectors up to a tenth with 32 to
 * 512 queries over 4096 or 8192 keys and costs nothing of 1024 over 1024 (Zen 4). With tile
 * registers two ahead gave decode nothing and many queries weren't measured; on a GPU nothing
 * was. */
int kir_auto_prefetch(const kir_target *t, int64_t q_tile)
{
	if (!t->lanes && !(t->features & KIR_HAS_amx_tile))
		return KIR_prefetch_both;
	return q_tile <= 1 ? KIR_prefetch_one : KIR_prefetch_off;
}

/* Sums of several queries, or of one query's many heads over long values, lie in memory and are
 * no small part of L1: scaling them at every tile of keys costs more than asking whether it is
 * needed. On GPUs they are registers; where these have products asking takes fewer instructions
 * (docs/xpu.md), also of one query. The bounds of both are one (docs/accuracy.md). */
int kir_auto_rescale(const kir_target *t, int64_t q_tile, int64_t sums)
{
	enum { LARGE = 16 << 10 }; /* a third of L1 at most */
	bool lazy = t->lanes ? t->features & KIR_HAS_xmx : q_tile > 1 || sums >= LARGE;

	return lazy ? KIR_rescale_lazy : KIR_rescale_always;
}
