/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_gpt2.c - the pieces of GPT-2's pattern, found without a pattern matcher
 *
 *	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * One pass: a run of letters, digits or other signs with the blank before it; a run of spaces
 * without its last one, which goes to what follows.
 */
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { KINDS = CLASS_SPACE | CLASS_LETTER | CLASS_NUMBER };

static uint32_t
kind_at(const struct tokenizer *t, const char *p, size_t *len)
{
	uint32_t c;

	*len = tokenizer_unicode_decode(&c, p);
	return tokenizer_class(t, c) & KINDS;
}

/* End of the run of characters of one kind that goes on at at. */
static size_t
run_end(const struct tokenizer *t, struct tokenizer_text text, size_t at, uint32_t kind)
{
	const uint16_t *ascii = t->classes + (size_t)t->class_index[0] * 256;
	size_t n;

	while (at < text.len) {
		unsigned char c = (unsigned char)text.text[at];

		if (c < 0x80) {
			if ((ascii[c] & KINDS) != kind)
				return at;
			at++;
			continue;
		}
		if (kind_at(t, text.text + at, &n) != kind)
			return at;
		at += n;
	}
	return at;
}

static size_t
contraction(struct tokenizer_text text)
{
	if (text.len < 2 || text.text[0] != '\'')
		return 0;
	if (strchr("stmd", text.text[1]) != NULL && text.text[1] != '\0')
		return 2;
	if (text.len >= 3 &&
		(memcmp(text.text, "'re", 3) == 0 || memcmp(text.text, "'ve", 3) == 0 ||
			memcmp(text.text, "'ll", 3) == 0))
		return 3;
	return 0;
}

size_t
tokenizer_gpt2_next(const struct tokenizer *t, struct tokenizer_text text)
{
	size_t n = contraction(text), m, end;
	uint32_t kind;

	if (n > 0)
		return n;
	kind = kind_at(t, text.text, &n);
	if (text.text[0] == ' ' && text.len > 1) {
		kind = kind_at(t, text.text + 1, &m);
		if (kind != CLASS_SPACE)
			return run_end(t, text, 1 + m, kind);
	}
	end = run_end(t, text, n, kind);
	if (kind != CLASS_SPACE || end == text.len)
		return end;
	/* The last space stays for what follows, unless it is the only one. */
	for (m = end - 1; ((unsigned char)text.text[m] & 0xc0) == 0x80; m--)
		;
	return m == 0 ? end : m;
}
