/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_added.c - find added tokens in a text: the leftmost, and of those the longest
 */
#include "lib/encoder/tokenizer_parts.h"

static uint32_t
class_before(const struct tokenizer *t, const char *text, size_t at)
{
	uint32_t c;

	do
		at--;
	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80);
	(void)tokenizer_unicode_decode(&c, text + at);
	return tokenizer_class(t, c);
}

static uint32_t
class_after(const struct tokenizer *t, const char *text, size_t at, size_t *len)
{
	uint32_t c;

	*len = tokenizer_unicode_decode(&c, text + at);
	return tokenizer_class(t, c);
}

static bool
is_single_word(const struct tokenizer *t, struct tokenizer_text text, size_t begin, size_t end)
{
	size_t n;

	return (begin == 0 || (class_before(t, text.text, begin) & CLASS_WORD) == 0) &&
	       (end == text.len || (class_after(t, text.text, end, &n) & CLASS_WORD) == 0);
}

static size_t
spaces_before(const struct tokenizer *t, const char *text, size_t at, size_t floor)
{
	while (at > floor && (class_before(t, text, at) & CLASS_SPACE) != 0)
		do
			at--;
		while (((unsigned char)text[at] & 0xc0) == 0x80);
	return at;
}

static size_t
spaces_after(const struct tokenizer *t, struct tokenizer_text text, size_t at)
{
	size_t n;

	while (at < text.len && (class_after(t, text.text, at, &n) & CLASS_SPACE) != 0)
		at += n;
	return at;
}

/* A part of whole; empty ones are no pieces. */
static void
put(struct tokenizer_stage *out, struct tokenizer_piece whole, size_t begin, size_t end,
	uint32_t id)
{
	if (begin < end)
		tokenizer_stage_add(out, (struct tokenizer_piece){.at = whole.at + (uint32_t)begin,
						 .len = (uint32_t)(end - begin),
						 .id = id,
						 .first = whole.first != 0 && begin == 0});
}

void
tokenizer_added_cut(struct tokenizer_stage *out, const struct tokenizer *t,
	enum tokenizer_when when, struct tokenizer_text text, struct tokenizer_piece whole)
{
	struct trie trie = when == TOKENIZER_RAW
				   ? (struct trie){t->raw, SECTION_COUNT(t, SECTION_RAW)}
				   : (struct trie){t->late, SECTION_COUNT(t, SECTION_LATE)};
	size_t done = 0, i = 0, len, begin, end;
	uint64_t steps = 0;
	uint32_t value = 0;

	while (trie.len > 0 && i < text.len) {
		const struct tokenizer_added *a;

		len = trie_longest(&value, trie, 0, text.text + i, text.len - i, &steps);
		if (len == 0 || value >= SECTION_COUNT(t, SECTION_ADDED)) {
			i++;
			continue;
		}
		a = &t->added[value];
		begin = i;
		end = i + len;
		i = end;
		/* After spaces were taken, matches may lie behind what is done. */
		if (((a->flags & ADDED_WORD) != 0 && !is_single_word(t, text, begin, end)))
			continue;
		if ((a->flags & ADDED_LEFT) != 0)
			begin = spaces_before(t, text.text, begin, done);
		if ((a->flags & ADDED_RIGHT) != 0)
			end = spaces_after(t, text, end);
		put(out, whole, done, begin, TOKENIZER_NONE);
		put(out, whole, MAX(begin, done), end, a->id);
		done = end;
	}
	put(out, whole, done, text.len, TOKENIZER_NONE);
}
