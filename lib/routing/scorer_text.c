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
#include "lib/routing/scorer_courtesy.h"
#include "lib/routing/scorer_shape.h"
#include "lib/routing/scorer_text.h"

enum { COUNT_MAX = 127, COURTESY_LOOK = 1024 /* units */ };

static const uint64_t TEXT_PRIME = UINT64_C(0x9e3779b97f4a7c15);

/* 1 + log(n), as one table for every text, written out: not every compiler folds log. */
static const float *
text_log(void)
{
	static const float table[COUNT_MAX + 1] = {0, 1.0F, 1.69314718F, 2.09861231F, 2.38629436F,
		2.60943794F, 2.79175949F, 2.94591022F, 3.07944155F, 3.19722462F, 3.30258512F,
		3.39789534F, 3.48490667F, 3.56494927F, 3.6390574F, 3.70805025F, 3.77258873F,
		3.83321333F, 3.8903718F, 3.94443893F, 3.99573231F, 4.04452229F, 4.09104252F,
		4.13549423F, 4.17805386F, 4.21887589F, 4.25809669F, 4.29583693F, 4.33220434F,
		4.36729574F, 4.40119743F, 4.43398714F, 4.46573591F, 4.49650764F, 4.52636051F,
		4.55534792F, 4.58351898F, 4.61091805F, 4.63758612F, 4.66356182F, 4.68887949F,
		4.71357203F, 4.73766947F, 4.76119995F, 4.7841897F, 4.80666256F, 4.82864141F,
		4.85014772F, 4.87120104F, 4.89182043F, 4.91202307F, 4.93182564F, 4.95124388F,
		4.97029209F, 4.98898411F, 5.00733328F, 5.02535152F, 5.04305124F, 5.06044292F,
		5.07753754F, 5.09434462F, 5.1108737F, 5.12713432F, 5.14313459F, 5.15888309F,
		5.17438745F, 5.18965483F, 5.20469284F, 5.21950769F, 5.23410654F, 5.2484951F,
		5.26268005F, 5.27666616F, 5.29045963F, 5.30406523F, 5.31748819F, 5.3307333F,
		5.34380531F, 5.356709F, 5.36944771F, 5.38202667F, 5.39444923F, 5.40671921F,
		5.41884041F, 5.43081665F, 5.44265127F, 5.45434713F, 5.46590805F, 5.47733688F,
		5.48863649F, 5.49980974F, 5.51085949F, 5.5217886F, 5.53259945F, 5.54329491F,
		5.55387688F, 5.56434822F, 5.57471085F, 5.58496761F, 5.59511995F, 5.60517025F,
		5.61512041F, 5.62497282F, 5.63472891F, 5.64439106F, 5.65396023F, 5.66343927F,
		5.67282867F, 5.68213129F, 5.69134808F, 5.70048046F, 5.70953035F, 5.71849871F,
		5.72738791F, 5.73619843F, 5.74493217F, 5.75359011F, 5.76217413F, 5.77068472F,
		5.77912331F, 5.7874918F, 5.79579067F, 5.80402088F, 5.81218433F, 5.82028151F,
		5.82831383F, 5.83628178F, 5.84418726F};

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
		c = (int)s->counts[s->touched[i]];
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
			text_count(
				s, &touched, (before ^ hash >> 7) * TEXT_PRIME, 0, TEXT_WORD_BITS);
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
	size_t n, terms, skip;

	memset(s->counts, 0, sizeof(s->counts));
	if (len <= TEXT_UNITS_MAX) {
		n = text_units(s->units, TEXT_UNITS_MAX + 2, text, text + len);
	} else {
		n = text_units(s->units, TEXT_PART_UNITS, text, text + len);
		n += text_units(s->units + n, TEXT_PART_UNITS, text_tail(text, len), text + len);
	}
	skip = courtesy_units(s->units, n);
	n -= skip;
	shape_begin(&shape);
	shape_units(&shape, s->units + skip, n);
	terms = text_words(s, s->units + skip, n, &shape);
	*words = terms;
	terms = text_grams(s, terms, s->units + skip, n);
	shape_end(s->shape, &shape);
	return terms;
}

size_t
text_courtesy(const char *text, size_t len)
{
	const char *p = text, *end = text + len;
	uint32_t units[COURTESY_LOOK], c;
	size_t skip, n = 1;
	bool gap = true; /* as in text_units: the first unit is a space */

	skip = courtesy_units(units, text_units(units, COURTESY_LOOK, p, end));
	/* behind the courtesy there is a space, with what else of white space */
	while (p < end && n <= skip) {
		p = text_char(&c, p, end);
		n += !text_space(c) || !gap;
		gap = text_space(c);
	}
	return (size_t)(p - text);
}
