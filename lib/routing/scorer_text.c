/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_text.c - the hashed n-grams of a prompt
 *
 * The text is first brought to units: code points in lower case, runs of white space as one space.
 * A word is a run of letters and digits; words and
 * pairs of neighbours go into one table, runs of 3 and 4 units (over word borders) into another.
 * The hash gives bucket and sign, so that collisions cancel on average.
 */
#include <math.h>
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/routing/scorer_shape.h"
#include "lib/routing/scorer_text.h"

enum { COUNT_MAX = 127 };

static const uint64_t TEXT_PRIME = UINT64_C(0x9e3779b97f4a7c15);

/* 1 + log(n), as one table for every text. */
static const float *
text_log(void)
{
	static const float table[COUNT_MAX + 1] = {0,
#define L(n) (float)(1.0 + __builtin_log(n))
#define L8(n) L(n), L(n + 1), L(n + 2), L(n + 3), L(n + 4), L(n + 5), L(n + 6), L(n + 7)
		L8(1), L8(9), L8(17), L8(25), L8(33), L8(41), L8(49), L8(57), L8(65), L8(73),
		L8(81), L8(89), L8(97), L8(105), L8(113), L(121), L(122), L(123), L(124), L(125),
		L(126), L(127)
#undef L8
#undef L
	};

	return table;
}

/* Where the next character starts, with its folded code point. */
static const char *
text_char(uint32_t *out, const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t len;

	if (u[0] < 0x80) {
		*out = u[0] >= 'A' && u[0] <= 'Z' ? u[0] + 32U : u[0];
		return p + 1;
	}
	len = utf8_sequence(p, end);
	switch (len) {
	case 2:
		*out = (u[0] & 0x1fU) << 6 | (u[1] & 0x3fU);
		/* Latin-1, Greek and Cyrillic capitals */
		if ((*out >= 0xc0 && *out <= 0xde && *out != 0xd7) ||
			(*out >= 0x391 && *out <= 0x3a9) || (*out >= 0x410 && *out <= 0x42f))
			*out += 32;
		return p + 2;
	case 3:
		*out = (u[0] & 0x0fU) << 12 | (u[1] & 0x3fU) << 6 | (u[2] & 0x3fU);
		return p + 3;
	case 4:
		*out = (u[0] & 0x07U) << 18 | (u[1] & 0x3fU) << 12 | (u[2] & 0x3fU) << 6 |
		       (u[3] & 0x3fU);
		return p + 4;
	default:
		*out = UTF8_REPLACEMENT;
		return p + 1;
	}
}

static bool
text_space(uint32_t c)
{
	return c <= ' ' || c == 0xa0 || c == 0x3000 || (c >= 0x2000 && c <= 0x200b);
}

/* At most `room` units of [p, end); returns how many. Starts and ends with a space. */
static size_t
text_units(uint32_t *out, size_t room, const char *p, const char *end)
{
	size_t n = 0;
	uint32_t c;

	out[n++] = ' ';
	while (p < end && n + 1 < room) {
		p = text_char(&c, p, end);
		if (!text_space(c))
			out[n++] = c;
		else if (out[n - 1] != ' ')
			out[n++] = ' ';
	}
	if (out[n - 1] != ' ')
		out[n++] = ' ';
	return n;
}

/* The last bytes that surely hold TEXT_PART_UNITS characters, from a character's start. */
static const char *
text_tail(const char *text, size_t len)
{
	const char *p = text + len - TEXT_PART_UNITS;

	while (p > text && ((unsigned char)*p & 0xc0) == 0x80)
		p--;
	return p;
}

static void
text_count(struct text_scratch *s, size_t *touched, uint64_t hash, uint32_t base, unsigned bits)
{
	uint32_t bucket = base + (uint32_t)(hash >> (64 - bits));
	int8_t *count = &s->counts[bucket];
	int step = (hash >> 20 & 1) != 0 ? 1 : -1;

	if (*count == 0 && *touched < TEXT_BUCKETS)
		s->touched[(*touched)++] = bucket;
	if (*count != step * COUNT_MAX)
		*count = (int8_t)(*count + step);
}

/* Counts to terms; the counts are 0 again after, so a bucket that was listed twice counts once. */
static size_t
text_settle(struct text_scratch *s, size_t terms, size_t touched)
{
	const float *logs = text_log();
	size_t i;
	int c;

	for (i = 0; i < touched; i++) {
		c = s->counts[s->touched[i]];
		if (c == 0)
			continue;
		s->counts[s->touched[i]] = 0;
		s->terms[terms].bucket = s->touched[i];
		s->terms[terms++].value = c > 0 ? logs[c] : -logs[-c];
	}
	return terms;
}

static size_t
text_words(struct text_scratch *s, const uint32_t *u, size_t n, struct shape *shape)
{
	uint64_t hash, before = 0;
	size_t touched = 0, i = 0, from;
	enum shape_class kind;

	while (i < n) {
		kind = shape_class(u[i]);
		if (kind == SHAPE_OTHER) {
			i++;
			continue;
		}
		for (from = i, hash = 0; i < n && shape_class(u[i]) == kind; i++) {
			hash = (hash + u[i] + 1) * TEXT_PRIME;
			hash ^= hash >> 32;
			if (kind == SHAPE_IDEOGRAM) {
				i++;
				break;
			}
		}
		hash *= TEXT_PRIME;
		text_count(s, &touched, hash, 0, TEXT_WORD_BITS);
		if (before != 0)
			text_count(s, &touched, (before ^ hash >> 7) * TEXT_PRIME, 0,
				TEXT_WORD_BITS);
		before = hash | 1;
		shape_word(shape, &u[from], i - from);
	}
	return text_settle(s, 0, touched);
}

static size_t
text_grams(struct text_scratch *s, size_t terms, const uint32_t *u, size_t n)
{
	size_t touched = 0, i, k;
	uint64_t hash;

	for (i = 0; i + TEXT_GRAM_MIN <= n; i++) {
		hash = 0;
		for (k = 0; k < TEXT_GRAM_MIN - 1; k++)
			hash = (hash + u[i + k] + 1) * TEXT_PRIME;
		for (; k < TEXT_GRAM_MAX && i + k < n; k++) {
			hash = (hash + u[i + k] + 1) * TEXT_PRIME;
			hash ^= hash >> 32;
			text_count(s, &touched, hash * TEXT_PRIME, TEXT_WORDS, TEXT_GRAM_BITS);
		}
	}
	return text_settle(s, terms, touched);
}

size_t
text_read(struct text_scratch *s, size_t *words, const char *text, size_t len)
{
	struct shape shape;
	size_t n, terms;

	memset(s->counts, 0, sizeof(s->counts));
	if (len <= TEXT_UNITS_MAX) {
		n = text_units(s->units, TEXT_UNITS_MAX + 2, text, text + len);
	} else {
		n = text_units(s->units, TEXT_PART_UNITS, text, text + len);
		n += text_units(s->units + n, TEXT_PART_UNITS, text_tail(text, len), text + len);
	}
	shape_begin(&shape);
	shape_units(&shape, s->units, n);
	terms = text_words(s, s->units, n, &shape);
	*words = terms;
	terms = text_grams(s, terms, s->units, n);
	shape_end(s->shape, &shape);
	return terms;
}
