/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_wordpiece.c - WordPiece (longest piece first) and WordLevel (the whole word or nothing)
 */
#include "lib/encoder/tokenizer_parts.h"

static size_t
characters(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

static bool
unknown(struct tokens *out, const struct tokenizer *t)
{
	if (t->head->unknown == TOKENIZER_NONE)
		return false;
	tokens_add(out, t->head->unknown);
	return true;
}

bool
tokenizer_wordpiece(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len)
{
	struct trie trie = trie_vocab(t);
	uint32_t inside = 0, node = 0, id = 0;
	size_t before = out->len, n;
	bool continues;

	if (len > t->head->word_max && characters(text, len) > t->head->word_max)
		return unknown(out, t);
	continues = trie_walk(trie, &inside, t->text + t->head->prefix.at, t->head->prefix.len);
	for (size_t at = 0; at < len; at += n) {
		n = at == 0 || continues
			    ? trie_longest(&id, trie, node, text + at, len - at, &s->work)
			    : 0;
		if (n == 0 || id >= t->head->ids) {
			out->len = before;
			return unknown(out, t);
		}
		tokens_add(out, id);
		node = inside;
	}
	return true;
}

bool
tokenizer_wordlevel(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len)
{
	uint32_t id = trie_find(trie_vocab(t), text, len);

	s->work += len;
	if (id >= t->head->ids)
		return unknown(out, t);
	tokens_add(out, id);
	return true;
}
