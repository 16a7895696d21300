/* SPDX-License-Identifier: Apache-2.0 */
/*
 * phrases.c - many phrases looked for in one pass over a text
 *
 * A trie whose edges are words, all edges of all nodes in one hash table. For each word of the text
 * the places reached so far (and the root) move along the edges that the word fits: the exact one,
 * and one per length that some starred word below that node has. So the time does not depend on the
 * number of phrases.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"

enum { PLACES_MAX = 64, LENGTH_BITS = 64 };

struct phrase_node {
	int32_t first_end; /* index into ends, -1: no phrase ends here */
	uint64_t star_lengths; /* bit n: a starred word of n bytes leaves this node */
};

/* A word that leads from one node to another; len 0: free row of the table. */
struct phrase_edge {
	uint64_t hash;
	uint32_t from;
	uint32_t to;
	uint32_t text; /* offset into the words */
	uint8_t len;
	bool star;
};

struct phrase_end {
	uint32_t value;
	int32_t next;
};

struct phrases {
	struct phrase_node *nodes;
	size_t nodes_len, nodes_cap;
	struct phrase_edge *edges;
	size_t edges_len, edges_cap; /* cap: a power of two, at least twice len */
	struct phrase_end *ends;
	size_t ends_len, ends_cap;
	struct buf text;
	uint32_t longest;
};

static void *
phrases_grow(void *rows, size_t *cap, size_t len, size_t size)
{
	if (len < *cap)
		return rows;
	*cap = *cap == 0 ? 16 : *cap * 2;
	rows = reallocarray(rows, *cap, size);
	CHECK(rows != NULL);
	return rows;
}

static uint32_t
phrases_add_node(struct phrases *p)
{
	p->nodes = phrases_grow(p->nodes, &p->nodes_cap, p->nodes_len, sizeof(*p->nodes));
	p->nodes[p->nodes_len] = (struct phrase_node){.first_end = -1};
	return (uint32_t)p->nodes_len++;
}

struct phrases *
phrases_new(void)
{
	struct phrases *p = calloc(1, sizeof(*p));

	CHECK(p != NULL);
	p->edges_cap = 16;
	p->edges = calloc(p->edges_cap, sizeof(*p->edges));
	CHECK(p->edges != NULL);
	(void)phrases_add_node(p); /* the root */
	return p;
}

void
phrases_free(struct phrases **p_p)
{
	struct phrases *p = *p_p;

	*p_p = NULL;
	if (p == NULL)
		return;
	free(p->nodes);
	free(p->edges);
	free(p->ends);
	buf_fini(&p->text);
	free(p);
}

/* FNV-1a, one byte more. */
static uint64_t
phrases_hash_byte(uint64_t h, char c)
{
	return (h ^ (unsigned char)c) * UINT64_C(0x100000001b3);
}

static uint64_t
phrases_hash_start(uint32_t node, bool star)
{
	return UINT64_C(0xcbf29ce484222325) + (uint64_t)node * UINT64_C(0x9e3779b97f4a7c15) + star;
}

/* The row of this edge, or the free row where it would be. */
static struct phrase_edge *
phrases_edge(const struct phrases *p, const struct phrase_edge *want, const char *text)
{
	size_t mask = p->edges_cap - 1, i = (size_t)(want->hash ^ want->hash >> 32) & mask;
	struct phrase_edge *row;

	for (;; i = (i + 1) & mask) {
		row = &p->edges[i];
		if (row->len == 0)
			return row;
		if (row->hash == want->hash && row->from == want->from && row->len == want->len &&
			row->star == want->star &&
			memcmp(p->text.data + row->text, text, row->len) == 0)
			return row;
	}
}

static void
phrases_grow_edges(struct phrases *p)
{
	struct phrase_edge *old = p->edges, *row;
	size_t i, old_cap = p->edges_cap;

	if (2 * (p->edges_len + 1) <= p->edges_cap)
		return;
	p->edges_cap *= 2;
	p->edges = calloc(p->edges_cap, sizeof(*p->edges));
	CHECK(p->edges != NULL);
	for (i = 0; i < old_cap; i++) {
		if (old[i].len == 0)
			continue;
		row = phrases_edge(p, &old[i], p->text.data + old[i].text);
		*row = old[i];
	}
	free(old);
}

/* The node behind this word, made where there is none yet. */
static uint32_t
phrases_step(struct phrases *p, uint32_t node, const struct word *w, bool star)
{
	struct phrase_edge want = {.hash = phrases_hash_start(node, star),
		.from = node,
		.len = (uint8_t)w->len,
		.star = star};
	struct phrase_edge *row;
	size_t i;

	for (i = 0; i < w->len; i++)
		want.hash = phrases_hash_byte(want.hash, w->text[i]);
	phrases_grow_edges(p);
	row = phrases_edge(p, &want, w->text);
	if (row->len > 0)
		return row->to;
	want.text = (uint32_t)p->text.len;
	want.to = phrases_add_node(p);
	buf_add(&p->text, w->text, w->len);
	if (star)
		p->nodes[node].star_lengths |= UINT64_C(1) << w->len;
	*row = want;
	p->edges_len++;
	return want.to;
}

bool
phrases_add(struct phrases *p, const char *text, uint32_t value)
{
	struct words words = words_of(text, strlen(text));
	uint32_t node = 0, len = 0;
	struct word w;
	bool star;

	while (words_next(&words, &w)) {
		star = words.p < words.end && *words.p == '*';
		node = phrases_step(p, node, &w, star);
		len++;
	}
	if (node == 0)
		return false;
	p->ends = phrases_grow(p->ends, &p->ends_cap, p->ends_len, sizeof(*p->ends));
	p->ends[p->ends_len] = (struct phrase_end){value, p->nodes[node].first_end};
	p->nodes[node].first_end = (int32_t)p->ends_len++;
	p->longest = MAX(p->longest, len);
	return true;
}

uint32_t
phrases_longest(const struct phrases *p)
{
	return p->longest;
}

/* Where a phrase that is being read has come to, and the word it began with. */
struct place {
	uint32_t node;
	uint32_t from;
};

struct phrases_pass {
	const struct phrases *p;
	struct place places[PLACES_MAX]; /* more at once are not followed */
	size_t len;
	phrases_fn *fn;
	void *arg;
	uint32_t at; /* number of the current word */
};

static void
phrases_reach(struct phrases_pass *s, uint32_t node, uint32_t from)
{
	int32_t i;

	for (i = s->p->nodes[node].first_end; i >= 0; i = s->p->ends[i].next)
		s->fn(s->arg, s->p->ends[i].value, from, s->at);
	if (s->len < PLACES_MAX)
		s->places[s->len++] = (struct place){node, from};
}

static void
phrases_follow(struct phrases_pass *s, struct place from, const struct word *w)
{
	uint64_t lengths = s->p->nodes[from.node].star_lengths;
	struct phrase_edge want = {.from = from.node, .len = (uint8_t)w->len};
	const struct phrase_edge *row;
	uint64_t exact = phrases_hash_start(from.node, false);
	uint64_t star = phrases_hash_start(from.node, true);
	size_t i;

	for (i = 0; i < w->len; i++) {
		exact = phrases_hash_byte(exact, w->text[i]);
		star = phrases_hash_byte(star, w->text[i]);
		if ((lengths >> (i + 1) & 1) == 0)
			continue;
		row = phrases_edge(s->p,
			&(struct phrase_edge){.hash = star,
				.from = from.node,
				.len = (uint8_t)(i + 1),
				.star = true},
			w->text);
		if (row->len > 0)
			phrases_reach(s, row->to, from.from);
	}
	want.hash = exact;
	row = phrases_edge(s->p, &want, w->text);
	if (row->len > 0)
		phrases_reach(s, row->to, from.from);
}

void
phrases_scan(const struct phrases *p, const char *text, size_t len, phrases_fn *fn, void *arg)
{
	struct phrases_pass s = {.p = p, .fn = fn, .arg = arg};
	struct words words = words_of(text, len);
	struct place before[PLACES_MAX];
	size_t before_len, i;
	struct word w;

	for (s.at = 0; words_next(&words, &w); s.at++) {
		before_len = w.apart ? 0 : s.len;
		if (before_len > 0)
			memcpy(before, s.places, before_len * sizeof(before[0]));
		s.len = 0;
		phrases_follow(&s, (struct place){0, s.at}, &w);
		for (i = 0; i < before_len; i++)
			phrases_follow(&s, before[i], &w);
	}
}
