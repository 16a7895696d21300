/* SPDX-License-Identifier: Apache-2.0 */
/*
 * noise.c - case, white space, typos and preambles, seeded
 */
#include <stdbool.h>
#include <string.h>

#include "lib/lab/noise.h"
#include "lib/lab/rng.h"

static const char *const names[] = {
#define X(symbol, name, help) #name,
	NOISE_LIST(X)
#undef X
};

static const char *const preambles[] = {
	"Hi there! I hope you are doing well.\n\n",
	"Hello, could you please help me with the following? Thank you in advance.\n\n",
	"You are a helpful assistant. Read the text below carefully and answer it.\n\n",
	"quick question for you:\n",
	"Forwarded message:\n> see below, can you take care of it?\n\n",
};

const char *
noise_name(enum noise n)
{
	CHECK(n < NOISES);
	return names[n];
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void
apply_case(struct buf *out, const char *text, size_t len, struct rng *rng)
{
	bool upper = rng_below(rng, 4) == 0; /* lower case is what people do */

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (upper && c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		else if (!upper && c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		buf_add_char(out, c);
	}
}

static void
apply_space(struct buf *out, const char *text, size_t len, struct rng *rng)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' && rng_below(rng, 4) == 0)
			buf_add_char(out, ' ');
		buf_add_char(out, text[i]);
		if (text[i] == ' ' && rng_below(rng, 8) == 0)
			buf_add_char(out, ' ');
		if (text[i] == '\n' && rng_below(rng, 4) == 0)
			buf_add_str(out, "  ");
	}
	buf_add_str(out, "  \n");
}

/* Swap two letters within the word of len bytes at p. */
static void
swap_letters(char *p, size_t len, struct rng *rng)
{
	size_t at = rng_below(rng, len - 1);
	char c = p[at];

	p[at] = p[at + 1];
	p[at + 1] = c;
}

static void
apply_typos(struct buf *out, const char *text, size_t len, struct rng *rng)
{
	size_t words = 0, typos = 0, turn, start = 0;

	buf_add(out, text, len);
	for (size_t i = 0; i < len; i++)
		words += is_letter(text[i]) && (i + 1 == len || !is_letter(text[i + 1]));
	if (words == 0)
		return;
	/* The first typo's word is drawn, so that a short prompt gets one as well. */
	turn = rng_below(rng, MIN(words, (size_t)50));
	words = 0;
	for (size_t i = 0; i < len; i++) {
		if (!is_letter(text[i])) {
			start = i + 1;
			continue;
		}
		if (i + 1 < len && is_letter(text[i + 1]))
			continue;
		if (words++ >= turn + 50 * typos && i - start >= 2) {
			swap_letters(out->data + start, i - start + 1, rng);
			typos++;
		}
	}
}

void
noise_apply(struct buf *out, enum noise n, const char *text, size_t len, uint64_t seed)
{
	struct rng rng = {seed * NOISES + n};

	buf_clear(out);
	switch (n) {
	case NOISE_CASE:
		apply_case(out, text, len, &rng);
		break;
	case NOISE_SPACE:
		apply_space(out, text, len, &rng);
		break;
	case NOISE_TYPOS:
		apply_typos(out, text, len, &rng);
		break;
	case NOISE_PREAMBLE:
		buf_add_str(out, preambles[rng_below(&rng, ARRAY_LEN(preambles))]);
		buf_add(out, text, len);
		break;
	case NOISES:
		break;
	}
}

void
noise_row(struct buf *out, enum noise n, const struct dataset_row *row, uint64_t seed)
{
	noise_apply(out, n, row->prompt, row->prompt_len, row->hash ^ seed);
}
