/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_bpe.c - byte-pair encoding: merge the pair of the smallest rank, leftmost first
 *
 * A short word looks for the smallest rank anew after each merge; a long one keeps the pairs in a
 * heap, so that a word of n characters costs n log n steps at most.
 */
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { SCAN_MAX = 24, END = UINT32_MAX, NO_RANK = UINT32_MAX };

/* A pair in the heap: the smaller number goes first. */
struct entry {
	uint64_t order; /* rank, position */
	uint32_t id;
};

static const struct tokenizer_merge *
merge_find(const struct tokenizer *t, uint32_t a, uint32_t b)
{
	size_t mask = SECTION_COUNT(t, SECTION_MERGE) - 1;
	uint64_t hash = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u;

	if (mask + 1 == 0)
		return NULL;
	for (size_t i = (size_t)(hash >> 32) & mask;; i = (i + 1) & mask) {
		const struct tokenizer_merge *m = &t->merge[i];

		if (m->a == TOKENIZER_NONE)
			return NULL;
		if (m->a == a && m->b == b)
			return m;
	}
}

static void
symbol_add(struct tokenizer_scratch *s, uint32_t id)
{
	struct tokenizer_symbol symbol = {.id = id};

	buf_add(&s->symbols, &symbol, sizeof(symbol));
}

/* Id of a character with the prefix and suffix that its place in the word asks for. */
static uint32_t
character_id(const struct tokenizer *t, const char *text, size_t len, bool is_first, bool is_last)
{
	const struct tokenizer_head *h = t->head;
	struct trie trie = trie_vocab(t);
	uint32_t node = 0, c;

	if ((h->flags & HEAD_AFFIXES) == 0) {
		(void)tokenizer_unicode_decode(&c, text);
		if (c < TOKENIZER_SHORT)
			return h->short_ids[c];
	}
	if ((!is_first && !trie_walk(trie, &node, t->text + h->prefix.at, h->prefix.len)) ||
		!trie_walk(trie, &node, text, len) ||
		(is_last && !trie_walk(trie, &node, t->text + h->suffix.at, h->suffix.len)))
		return TOKENIZER_NONE;
	c = trie_value(trie, node);
	return c < h->ids ? c : TOKENIZER_NONE;
}

static bool
bytes_add(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (t->head->byte_ids[(unsigned char)text[i]] == TOKENIZER_NONE)
			return false;
	for (size_t i = 0; i < len; i++)
		symbol_add(s, t->head->byte_ids[(unsigned char)text[i]]);
	return true;
}

/* An unknown character's bytes, affixes included. */
static bool
fall_back(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len,
	bool is_first, bool is_last)
{
	const struct tokenizer_head *h = t->head;
	char whole[4 + 2 * TOKENIZER_AFFIX_MAX];
	size_t n = 0;

	if ((h->flags & HEAD_BYTE_FALLBACK) == 0)
		return false;
	if (!is_first) {
		memcpy(whole, t->text + h->prefix.at, h->prefix.len);
		n = h->prefix.len;
	}
	memcpy(whole + n, text, len);
	n += len;
	if (is_last) {
		memcpy(whole + n, t->text + h->suffix.at, h->suffix.len);
		n += h->suffix.len;
	}
	return bytes_add(t, s, whole, n);
}

/* The word's characters as symbols. An unknown one waits, as the reference has it, until the next
 * known one; without an unknown token it is left out. */
static void
symbols_read(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len)
{
	const struct tokenizer_head *h = t->head;
	bool waits = false;
	uint32_t id, c;

	for (size_t i = 0, n; i < len; i += n) {
		n = tokenizer_unicode_decode(&c, text + i);
		id = character_id(t, text + i, n, i == 0, i + n == len);
		if (id != TOKENIZER_NONE) {
			if (waits)
				symbol_add(s, h->unknown);
			waits = false;
			symbol_add(s, id);
		} else if (!fall_back(t, s, text + i, n, i == 0, i + n == len) &&
			   h->unknown != TOKENIZER_NONE) {
			if (waits && (h->flags & HEAD_FUSE_UNKNOWN) == 0)
				symbol_add(s, h->unknown);
			waits = true;
		}
	}
	if (waits)
		symbol_add(s, h->unknown);
}

static void
rank_set(const struct tokenizer *t, struct tokenizer_symbol *symbols, size_t i, size_t len)
{
	const struct tokenizer_merge *m =
		i + 1 < len ? merge_find(t, symbols[i].id, symbols[i + 1].id) : NULL;

	symbols[i].rank = m != NULL ? m->rank : NO_RANK;
	symbols[i].next = m != NULL ? m->id : 0; /* what the pair becomes */
}

/* Few symbols: merge them in an array. */
static size_t
merge_by_scan(const struct tokenizer *t, struct tokenizer_scratch *s,
	struct tokenizer_symbol *symbols, size_t len)
{
	for (size_t i = 0; i < len; i++)
		rank_set(t, symbols, i, len);
	while (len > 1) {
		size_t best = 0;

		s->work += len;
		for (size_t i = 1; i < len; i++)
			if (symbols[i].rank < symbols[best].rank)
				best = i;
		if (symbols[best].rank == NO_RANK)
			return len;
		symbols[best].id = symbols[best].next;
		len--;
		memmove(&symbols[best + 1], &symbols[best + 2],
			(len - best - 1) * sizeof(*symbols));
		rank_set(t, symbols, best, len);
		if (best > 0)
			rank_set(t, symbols, best - 1, len);
	}
	return len;
}

static void
heap_push(struct tokenizer_scratch *s, struct entry entry)
{
	struct entry *heap;
	size_t i = s->heap.len / sizeof(entry), up;

	buf_add(&s->heap, &entry, sizeof(entry));
	heap = (struct entry *)(void *)s->heap.data;
	for (; i > 0; i = up) {
		s->work++;
		up = (i - 1) / 4;
		if (heap[up].order <= entry.order)
			break;
		heap[i] = heap[up];
	}
	heap[i] = entry;
}

static struct entry
heap_pop(struct tokenizer_scratch *s)
{
	struct entry *heap = (struct entry *)(void *)s->heap.data, top = heap[0], last;
	size_t len = s->heap.len / sizeof(top) - 1, i = 0, best;

	s->heap.len -= sizeof(top);
	last = heap[len];
	while (4 * i + 1 < len) {
		s->work++;
		best = 4 * i + 1;
		for (size_t child = best + 1; child < MIN(4 * i + 5, len); child++)
			if (heap[child].order < heap[best].order)
				best = child;
		if (heap[best].order >= last.order)
			break;
		heap[i] = heap[best];
		i = best;
	}
	heap[i] = last;
	return top;
}

static void
pair_push(const struct tokenizer *t, struct tokenizer_scratch *s,
	const struct tokenizer_symbol *symbols, uint32_t at)
{
	const struct tokenizer_merge *m;

	if (at == END || symbols[at].next == END)
		return;
	m = merge_find(t, symbols[at].id, symbols[symbols[at].next].id);
	if (m != NULL)
		heap_push(s, (struct entry){(uint64_t)m->rank << 32 | at, m->id});
}

/* Many symbols: a linked list, and a heap of pairs. What a pair was when it went into the heap may
 * be gone when it comes out; a symbol that was merged away has rank NO_RANK. */
static size_t
merge_by_heap(const struct tokenizer *t, struct tokenizer_scratch *s,
	struct tokenizer_symbol *symbols, size_t len)
{
	const struct tokenizer_merge *m;
	size_t kept = 0;

	buf_clear(&s->heap);
	for (size_t i = 0; i < len; i++) {
		symbols[i].prev = i == 0 ? END : (uint32_t)i - 1;
		symbols[i].next = i + 1 == len ? END : (uint32_t)i + 1;
		symbols[i].rank = 0;
	}
	for (size_t i = 0; i < len; i++)
		pair_push(t, s, symbols, (uint32_t)i);
	while (s->heap.len > 0) {
		struct entry top = heap_pop(s);
		struct tokenizer_symbol *left = &symbols[(uint32_t)top.order], *right;

		s->work++;
		if (left->rank == NO_RANK || left->next == END)
			continue;
		right = &symbols[left->next];
		m = merge_find(t, left->id, right->id);
		if (m == NULL || m->id != top.id)
			continue;
		left->id = top.id;
		left->next = right->next;
		right->rank = NO_RANK;
		if (left->next != END)
			symbols[left->next].prev = (uint32_t)top.order;
		pair_push(t, s, symbols, left->prev);
		pair_push(t, s, symbols, (uint32_t)top.order);
	}
	for (size_t i = 0; i < len; i++)
		if (symbols[i].rank != NO_RANK)
			symbols[kept++].id = symbols[i].id;
	return kept;
}

bool
tokenizer_bpe(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len)
{
	struct tokenizer_symbol *symbols;
	uint32_t id;
	size_t n;

	if ((t->head->flags & HEAD_IGNORE_MERGES) != 0) {
		id = trie_find(trie_vocab(t), text, len);
		if (id < t->head->ids) {
			tokens_add(out, id);
			return true;
		}
	}
	buf_clear(&s->symbols);
	symbols_read(t, s, text, len);
	n = s->symbols.len / sizeof(*symbols);
	symbols = (struct tokenizer_symbol *)(void *)s->symbols.data;
	n = n <= SCAN_MAX ? merge_by_scan(t, s, symbols, n) : merge_by_heap(t, s, symbols, n);
	tokens_reserve(out, n);
	for (size_t i = 0; i < n; i++)
		out->ids[out->len++] = symbols[i].id;
	return true;
}
