/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlap.c - prompts that are the same, word for word or nearly
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/lab/overlap.h"

enum { RUN_WORDS = 8 };

static const uint64_t PRIME = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t WHOLE = 0; /* in place of a set: the key stands for a whole prompt */

/* A set of 64-bit keys, open addressing; 0 is an empty place. */
struct keys {
	uint64_t *places;
	size_t mask, used;
};

/* The runs of words of a text. */
struct runs {
	uint64_t *run;
	size_t len, room;
};

static void *
zeroed(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	CHECK(p != NULL);
	return p;
}

static uint64_t
mixed(uint64_t x, uint64_t set)
{
	x = (x ^ set * PRIME) * UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 29;
	return x | 1;
}

static bool
keys_has(const struct keys *k, uint64_t key)
{
	size_t i;

	for (i = key * PRIME >> 20 & k->mask; k->places[i] != 0; i = (i + 1) & k->mask) {
		if (k->places[i] == key)
			return true;
	}
	return false;
}

static void
keys_put(struct keys *k, uint64_t key)
{
	size_t i;

	for (i = key * PRIME >> 20 & k->mask; k->places[i] != 0 && k->places[i] != key;
		i = (i + 1) & k->mask)
		;
	k->used += k->places[i] == 0;
	k->places[i] = key;
}

static void
keys_add(struct keys *k, uint64_t key)
{
	struct keys more = {.mask = k->mask * 2 + 1};

	keys_put(k, key);
	if (k->used <= k->mask / 2)
		return;
	more.places = zeroed(more.mask + 1, sizeof(*more.places));
	for (size_t i = 0; i <= k->mask; i++) {
		if (k->places[i] != 0)
			keys_put(&more, k->places[i]);
	}
	free(k->places);
	*k = more;
}

static bool
is_word(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c >= 0x80;
}

/* Letter case and what stands between words make no difference. */
static void
runs_read(struct runs *r, const struct dataset_row *row)
{
	uint64_t last[RUN_WORDS], word, run;
	size_t i = 0, words = 0, k;

	r->len = 0;
	if (r->room < row->prompt_len) {
		free(r->run);
		r->room = row->prompt_len;
		r->run = zeroed(r->room, sizeof(*r->run));
	}
	while (i < row->prompt_len) {
		for (word = 0; i < row->prompt_len && is_word((unsigned char)row->prompt[i]); i++)
			word = (word + (unsigned char)(row->prompt[i] | 0x20) + 1) * PRIME;
		if (word == 0) {
			i++;
			continue;
		}
		last[words++ % RUN_WORDS] = word ^ word >> 32;
		for (run = 0, k = words - RUN_WORDS; words >= RUN_WORDS && k < words; k++)
			run = (run + last[k % RUN_WORDS]) * PRIME;
		if (words >= RUN_WORDS)
			r->run[r->len++] = run ^ run >> 32;
	}
}

/* For each source the number of its set, from 1; returns how many sets there are. */
static uint64_t
sets_number(uint64_t *set, const struct dataset *d)
{
	uint64_t sets = 0;

	for (size_t s = 0; s < d->sources_len; s++) {
		size_t len = strcspn(d->sources[s], "/"), t;

		for (t = 0; t < s && (strcspn(d->sources[t], "/") != len ||
					     strncmp(d->sources[t], d->sources[s], len) != 0);
			t++)
			;
		set[s] = t < s ? set[t] : ++sets;
	}
	return sets;
}

static bool
is_retold(const struct keys *k, const struct runs *r, uint64_t own, uint64_t sets)
{
	size_t found = 0;

	for (size_t i = 0; i < r->len; i++) {
		bool hit = false;

		for (uint64_t set = 1; set <= sets && !hit; set++)
			hit = set != own && keys_has(k, mixed(r->run[i], set));
		found += hit;
	}
	return found > 0 && 2 * found >= r->len;
}

size_t
overlap_filter(uint32_t *kept, const struct dataset *d, const uint32_t *rows, size_t len,
	const uint32_t *asked, size_t asked_len)
{
	uint64_t *set = zeroed(d->sources_len, sizeof(*set)), sets = sets_number(set, d);
	struct keys k = {.mask = 1023};
	struct runs r = {0};
	size_t n = 0, i;

	k.places = zeroed(k.mask + 1, sizeof(*k.places));
	for (i = 0; i < asked_len; i++) {
		const struct dataset_row *row = &d->rows[asked[i]];

		keys_add(&k, mixed(row->hash, WHOLE));
		if (sets > 1)
			runs_read(&r, row);
		for (; r.len > 0; r.len--)
			keys_add(&k, mixed(r.run[r.len - 1], set[row->source]));
	}
	for (i = 0; i < len; i++) {
		const struct dataset_row *row = &d->rows[rows[i]];

		if (keys_has(&k, mixed(row->hash, WHOLE)))
			continue;
		if (sets > 1)
			runs_read(&r, row);
		if (!is_retold(&k, &r, set[row->source], sets))
			kept[n++] = rows[i];
	}
	free(k.places);
	free(r.run);
	free(set);
	return n;
}
