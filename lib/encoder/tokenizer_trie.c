/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_trie.c - a double-array trie over bytes, four bytes a node
 *
 * A node's children lie at its base + label; no two nodes share a base, so that the label alone
 * tells whose child a unit is. The array comes out of a mapped image: every index is checked where
 * it is used, and a damaged one is a path that ends.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { ROOT_END = 257, FREE_TRIES = 96, UNUSED = TRIE_LABEL };

/* Free units are linked in a ring through next and prev; unit 0, the root, is its head. */
struct builder {
	uint32_t *units, *next, *prev;
	unsigned char *based; /* bases in use */
	uint32_t cap; /* units there are */
	const struct trie_key *keys;
};

/* Keys [begin, end) share their first depth bytes and hang below node. */
struct pending {
	uint32_t node, begin, end, depth;
};

static int
key_compare(const void *a, const void *b)
{
	const struct trie_key *x = a, *y = b;
	int order = memcmp(x->text, y->text, MIN(x->len, y->len));

	if (order != 0)
		return order;
	return x->len == y->len ? 0 : x->len < y->len ? -1 : 1;
}

/* Sort; of equal keys keep the one given last (the sort is made stable by their addresses). */
static int
key_compare_stable(const void *a, const void *b)
{
	const struct trie_key *x = *(const struct trie_key *const *)a;
	const struct trie_key *y = *(const struct trie_key *const *)b;
	int order = key_compare(x, y);

	return order != 0 ? order : x < y ? -1 : 1;
}

static size_t
keys_sort(struct trie_key *keys, size_t len)
{
	const struct trie_key **order = malloc((len + 1) * sizeof(const struct trie_key *));
	struct trie_key *sorted = malloc((len + 1) * sizeof(*sorted));
	size_t n = 0;

	CHECK(order != NULL && sorted != NULL);
	for (size_t i = 0; i < len; i++)
		order[i] = &keys[i];
	qsort(order, len, sizeof(const struct trie_key *), key_compare_stable);
	for (size_t i = 0; i < len; i++) {
		if (n > 0 && key_compare(&sorted[n - 1], order[i]) == 0)
			n--;
		sorted[n++] = *order[i];
	}
	if (n > 0)
		memcpy(keys, sorted, n * sizeof(*keys));
	free(order);
	free(sorted);
	return n;
}

static void
builder_grow(struct builder *b, uint32_t more)
{
	uint32_t cap = b->cap + more;

	b->units = realloc(b->units, cap * sizeof(*b->units));
	b->next = realloc(b->next, cap * sizeof(*b->next));
	b->prev = realloc(b->prev, cap * sizeof(*b->prev));
	b->based = realloc(b->based, cap);
	CHECK(b->units != NULL && b->next != NULL && b->prev != NULL && b->based != NULL);
	memset(b->based + b->cap, 0, more);
	for (uint32_t i = b->cap; i < cap; i++) {
		b->units[i] = UNUSED;
		if (i == 0) {
			b->next[0] = b->prev[0] = 0;
			continue;
		}
		b->prev[i] = b->prev[0];
		b->next[i] = 0;
		b->next[b->prev[0]] = i;
		b->prev[0] = i;
	}
	b->cap = cap;
}

static void
builder_take(struct builder *b, uint32_t unit, uint32_t label)
{
	b->next[b->prev[unit]] = b->next[unit];
	b->prev[b->next[unit]] = b->prev[unit];
	b->units[unit] = label;
}

static bool
builder_fits(const struct builder *b, uint32_t base, const uint16_t *labels, size_t len)
{
	if (base == 0 || b->based[base])
		return false;
	for (size_t i = 0; i < len; i++) {
		if (base + labels[i] >= b->cap || b->units[base + labels[i]] != UNUSED)
			return false;
	}
	return true;
}

/* A base where all labels are free: a few tries among the gaps, then fresh units at the end. */
static uint32_t
builder_base(struct builder *b, const uint16_t *labels, size_t len)
{
	uint32_t unit = b->next[0], base;

	for (unsigned tries = 0; unit != 0 && tries < FREE_TRIES; tries++, unit = b->next[unit])
		if (unit > labels[0] && builder_fits(b, unit - labels[0], labels, len))
			return unit - labels[0];
	/* The first gaps are hard to fill; do not try them again and again. */
	for (unsigned i = 0; i < FREE_TRIES / 4 && b->next[0] != 0 && b->cap - b->next[0] > 4096;
		i++) {
		unit = b->next[0];
		b->next[0] = b->next[unit];
		b->prev[b->next[unit]] = 0;
		b->next[unit] = b->prev[unit] = unit;
	}
	base = b->cap;
	builder_grow(b, 4096);
	return base;
}

/* Labels of the node's children, ascending; first[i] is where child i's keys begin. */
static size_t
children(const struct builder *b, struct pending p, uint16_t *labels, uint32_t *first)
{
	size_t n = 0;

	for (uint32_t i = p.begin; i < p.end; i++) {
		const struct trie_key *k = &b->keys[i];
		uint16_t label =
			k->len == p.depth ? 0 : (uint16_t)((unsigned char)k->text[p.depth] + 1);

		if (n > 0 && labels[n - 1] == label)
			continue;
		labels[n] = label;
		first[n++] = i;
	}
	first[n] = p.end;
	return n;
}

static bool
builder_run(struct builder *b, size_t len)
{
	AUTO(buf_fini) struct buf stack = BUF_INIT;
	struct pending p = {0, 0, (uint32_t)len, 0}, child;
	uint16_t labels[257];
	uint32_t first[258], base;

	buf_add(&stack, &p, sizeof(p));
	while (stack.len > 0) {
		size_t n;

		stack.len -= sizeof(p);
		memcpy(&p, stack.data + stack.len, sizeof(p));
		n = children(b, p, labels, first);
		if (n == 0)
			continue;
		base = builder_base(b, labels, n);
		if (base + ROOT_END >= TRIE_MAX)
			return false;
		b->based[base] = 1;
		b->units[p.node] |= base << TRIE_SHIFT | (labels[0] == 0 ? TRIE_LEAF : 0);
		for (size_t i = 0; i < n; i++)
			builder_take(b, base + labels[i], labels[i]);
		if (labels[0] == 0)
			b->units[base] = b->keys[first[0]].value << TRIE_SHIFT;
		for (size_t i = labels[0] == 0 ? 1 : 0; i < n; i++) {
			child = (struct pending){
				base + labels[i], first[i], first[i + 1], p.depth + 1};
			buf_add(&stack, &child, sizeof(child));
		}
	}
	return true;
}

bool
trie_build(struct buf *out, struct trie_key *keys, size_t len)
{
	struct builder b = {.keys = keys};
	bool fits = true;

	for (size_t i = 0; i < len; i++)
		fits = fits && keys[i].value < TRIE_MAX;
	len = keys_sort(keys, len);
	builder_grow(&b, 4096);
	b.units[0] = UNUSED;
	if (len > 0) {
		b.units[0] = 0;
		fits = fits && builder_run(&b, len);
	}
	if (fits)
		buf_add(out, b.units, b.cap * sizeof(*b.units));
	free(b.units);
	free(b.next);
	free(b.prev);
	free(b.based);
	return fits;
}

static inline bool
step(struct trie t, uint32_t *node, unsigned label)
{
	size_t next = (size_t)(t.units[*node] >> TRIE_SHIFT) + label;

	*node = (uint32_t)next;
	return next < t.len && (t.units[next] & TRIE_LABEL) == label;
}

bool
trie_walk(struct trie t, uint32_t *node, const char *text, size_t len)
{
	if (*node >= t.len || t.units[0] == UNUSED)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!step(t, node, (unsigned char)text[i] + 1u))
			return false;
	return true;
}

uint32_t
trie_value(struct trie t, uint32_t node)
{
	if (node >= t.len || (t.units[node] & TRIE_LEAF) == 0 || !step(t, &node, 0))
		return TOKENIZER_NONE;
	return t.units[node] >> TRIE_SHIFT;
}

uint32_t
trie_find(struct trie t, const char *text, size_t len)
{
	uint32_t node = 0;

	return trie_walk(t, &node, text, len) ? trie_value(t, node) : TOKENIZER_NONE;
}

size_t
trie_longest(uint32_t *value, struct trie t, uint32_t node, const char *text, size_t len,
	uint64_t *steps)
{
	size_t best = 0, i;
	uint32_t v;

	if (node >= t.len || t.units[0] == UNUSED)
		return 0;
	for (i = 0; i < len && step(t, &node, (unsigned char)text[i] + 1u); i++) {
		if ((t.units[node] & TRIE_LEAF) == 0)
			continue;
		v = trie_value(t, node);
		if (v != TOKENIZER_NONE) {
			*value = v;
			best = i + 1;
		}
	}
	*steps += i + 1;
	return best;
}

struct trie
trie_vocab(const struct tokenizer *t)
{
	return (struct trie){t->vocab, SECTION_COUNT(t, SECTION_VOCAB)};
}
