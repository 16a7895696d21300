/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wording.c - is a text the simulated model's, and if not, what happened to it?
 */
#include <stdlib.h>
#include <string.h>

#include "lib/chaos/chaos.h"
#include "lib/sim/sim.h"

static const char *
wording_upstream(const struct config *c, const char *backend, const char *model)
{
	for (size_t i = 0; i < c->models_len; i++) {
		const struct config_model *m = &c->models[i];

		if (strcmp(m->name, model) != 0)
			continue;
		for (size_t k = 0; k < m->deployments_len; k++)
			if (strcmp(m->deployments[k].backend, backend) == 0)
				return m->deployments[k].model != NULL ? m->deployments[k].model
								       : m->name;
	}
	return NULL;
}

bool
wording_expected(struct buf *out, const struct config *c, const char *backend, const char *model,
	const char *prompt)
{
	const struct config_backend *b = config_backend(c, backend);
	const char *upstream = wording_upstream(c, backend, model);

	if (b == NULL || upstream == NULL || b->kind != BACKEND_SIM)
		return false;
	sim_text(
		out, sim_prompt_hash(b->sim.seed, upstream, prompt, strlen(prompt)), b->sim.tokens);
	return true;
}

/* ---- comparing by words ---- */

struct word {
	const char *p;
	size_t len;
};

static size_t
words_of(struct word **out, const char *text)
{
	size_t n = 0, cap = strlen(text) / 2 + 1;
	struct word *words = calloc(cap, sizeof(*words));

	CHECK(words != NULL);
	while (*text != '\0') {
		size_t len = strcspn(text, " ");

		if (len > 0)
			words[n++] = (struct word){text, len};
		text += len + (text[len] == ' ');
	}
	*out = words;
	return n;
}

static int
word_compare(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	int order = memcmp(x->p, y->p, MIN(x->len, y->len));

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Is every word of few found in many, in this order? */
static bool
words_within(const struct word *few, size_t few_len, const struct word *many, size_t many_len)
{
	size_t at = 0;

	for (size_t i = 0; i < many_len && at < few_len; i++)
		if (word_compare(&few[at], &many[i]) == 0)
			at++;
	return at == few_len;
}

static bool
words_are_same(struct word *a, size_t a_len, struct word *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	qsort(a, a_len, sizeof(*a), word_compare);
	qsort(b, b_len, sizeof(*b), word_compare);
	for (size_t i = 0; i < a_len; i++)
		if (word_compare(&a[i], &b[i]) != 0)
			return false;
	return true;
}

enum chaos_wording
wording_compare(const char *expected, const char *text)
{
	enum chaos_wording result = CHAOS_OTHER;
	struct word *want = NULL, *have = NULL;
	size_t want_len, have_len;

	if (strcmp(expected, text) == 0)
		return CHAOS_SAME;
	if (strncmp(expected, text, strlen(text)) == 0)
		return CHAOS_BEGINS;
	want_len = words_of(&want, expected);
	have_len = words_of(&have, text);
	if (have_len > want_len && words_within(want, want_len, have, have_len))
		result = CHAOS_DOUBLES;
	else if (have_len < want_len && words_within(have, have_len, want, want_len))
		result = CHAOS_MISSES;
	else if (words_are_same(want, want_len, have, have_len))
		result = CHAOS_MIXED;
	free(want);
	free(have);
	return result;
}

const char *
wording_name(enum chaos_wording wording)
{
	static const char *const names[] = {
		"same", "begins", "misses", "doubles", "mixed", "other"};

	CHECK((size_t)wording < ARRAY_LEN(names));
	return names[wording];
}
