/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_unigram.c - the segmentation of highest probability (Viterbi), byte by byte
 *
 * A piece has at most as many bytes as the longest of the vocabulary, so the steps for a text are
 * at most that times its length.
 */
#include "lib/encoder/tokenizer_parts.h"

static const double unknown_penalty = 10;

enum { NOWHERE = UINT32_MAX };

static bool
offer(struct tokenizer_node *node, double score, uint32_t from, uint32_t id)
{
	if (node->from != NOWHERE && !(score > node->score))
		return false;
	*node = (struct tokenizer_node){score, from, id};
	return true;
}

/* Length of the character that a byte of valid UTF-8 begins. */
static size_t
character_length(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* All pieces that begin at at, and the unknown character where no piece is just this one. */
static bool
extend(struct tokenizer_node *nodes, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t at, size_t len)
{
	struct trie trie = trie_vocab(t);
	size_t one = character_length((unsigned char)text[at]), i, scores;
	double here = nodes[at].score;
	bool has_single = false;
	uint32_t node = 0, next, id;

	scores = SECTION_COUNT(t, SECTION_SCORE);
	for (i = at; i < len && node < trie.len; i++) {
		next = (trie.units[node] >> TRIE_SHIFT) + (unsigned char)text[i] + 1u;
		if (next >= trie.len ||
			(trie.units[next] & TRIE_LABEL) != (unsigned char)text[i] + 1u)
			break;
		node = next;
		if ((trie.units[node] & TRIE_LEAF) == 0)
			continue;
		id = trie_value(trie, node);
		if (id >= scores)
			continue;
		(void)offer(&nodes[i + 1], t->score[id] + here, (uint32_t)at, id);
		has_single = has_single || i + 1 - at == one;
	}
	s->work += i + 1 - at;
	if (has_single)
		return true;
	if (t->head->unknown == TOKENIZER_NONE)
		return false;
	(void)offer(&nodes[at + one], t->head->min_score - unknown_penalty + here, (uint32_t)at,
		t->head->unknown);
	return true;
}

/* What stands for text that no piece covers: its bytes where they all have ids, else unknown. */
static void
put_unknown(struct tokens *out, const struct tokenizer *t, const char *text, size_t len)
{
	uint32_t id = trie_find(trie_vocab(t), text, len);
	bool bytes = (t->head->flags & HEAD_BYTE_FALLBACK) != 0;

	if (id < t->head->ids) {
		tokens_add(out, id);
		return;
	}
	for (size_t i = 0; i < len && bytes; i++)
		bytes = t->head->byte_ids[(unsigned char)text[i]] != TOKENIZER_NONE;
	if (!bytes)
		tokens_add(out, t->head->unknown);
	for (size_t i = 0; i < len && bytes; i++)
		tokens_add(out, t->head->byte_ids[(unsigned char)text[i]]);
}

bool
tokenizer_unigram(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len)
{
	struct tokenizer_node *nodes;
	uint32_t end, next, begin;
	size_t i;

	buf_clear(&s->nodes);
	buf_reserve(&s->nodes, (len + 1) * sizeof(*nodes));
	nodes = (struct tokenizer_node *)(void *)s->nodes.data;
	for (i = 0; i <= len; i++)
		nodes[i].from = NOWHERE;
	nodes[0].score = 0;
	for (i = 0; i < len; i += character_length((unsigned char)text[i]))
		if (!extend(nodes, t, s, text, i, len))
			return false;
	/* Turn the way back into a way forth: from becomes where the piece that begins here ends.
	 */
	for (end = (uint32_t)len, next = end; end > 0; end = begin) {
		begin = nodes[end].from;
		nodes[end].from = next;
		next = end;
	}
	nodes[0].from = next;
	for (begin = 0; begin < len; begin = end) {
		end = nodes[begin].from;
		if (nodes[end].id != t->head->unknown) {
			tokens_add(out, nodes[end].id);
			continue;
		}
		while (end < len && nodes[nodes[end].from].id == t->head->unknown)
			end = nodes[end].from;
		put_unknown(out, t, text + begin, end - begin);
	}
	return true;
}
