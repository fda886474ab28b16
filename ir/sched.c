/* SPDX-License-Identifier: Apache-2.0 */
/* sched.c -- schedules as text: "kv_tile=64 qk=bf16 ...", every knob by name. */
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

static bool set_one(kir_sched *s, bool *given, char *word, kir_diag *d)
{
	char *value = strchr(word, '=');
	kir_text all = { 0 };

	if (value)
		*value++ = 0;
	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];

		if (strcmp(k->name, word) != 0)
			continue;
		if (value && knob_value(k, value, kir_sched_knob(s, i))) {
			given[i] = true;
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
	while (*text) {
		char word[100];
		size_t len;

		text += strspn(text, " ,\t\n");
		len = strcspn(text, " ,\t\n");
		if (!len)
			return true;
		snprintf(word, sizeof(word), "%.*s", (int)(len < 99 ? len : 99), text);
		if (!set_one(s, given, word, d))
			return false;
		text += len;
	}
	return true;
}

void kir_sched_print(const kir_sched *s, kir_text *out)
{
	kir_sched copy = *s;

	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];
		const char *w = k->values;
		int x = *kir_sched_knob(&copy, i);

		if (w[0] >= '0' && w[0] <= '9') {
			kir_text_add(out, "%s%s=%d", i ? " " : "", k->name, x);
			continue;
		}
		for (int j = 0; j < x && strchr(w, ','); j++)
			w = strchr(w, ',') + 1;
		kir_text_add(out, "%s%s=%.*s", i ? " " : "", k->name, (int)strcspn(w, ","), w);
	}
}
