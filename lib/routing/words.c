/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.c - a text as case-folded words
 *
 * A word is a run of letters and digits of any script, plus what joins such runs into one name:
 * "re-set", "event.target", "set_value", "me@set.org" are one word each, so that a rule for "set"
 * or "event" does not fire on them. Han and kana have no spaces between words: each character is a
 * word of its own, and a phrase finds them side by side. Apostrophes separate ("l'agenda").
 */
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/routing/parts.h"

enum word_class { LETTER, SPACE, APOSTROPHE, JOINER, ALONE, APART };

struct class_range {
	uint32_t first;
	uint32_t last;
	enum word_class kind;
};

/* clang-format off */
/* Sorted; what is above ASCII and not in here is a letter. */
static const struct class_range class_ranges[] = {
	{0x80, 0x9f, APART},	    {0xa0, 0xa0, SPACE},	{0xa1, 0xa9, APART},
	{0xab, 0xac, APART},	    {0xad, 0xad, JOINER},	{0xae, 0xb4, APART},
	{0xb6, 0xb9, APART},	    {0xbb, 0xbf, APART},	{0xd7, 0xd7, APART},
	{0xf7, 0xf7, APART},	    {0x2000, 0x200a, SPACE},	{0x200b, 0x200d, JOINER},
	{0x200e, 0x200f, APART},    {0x2010, 0x2011, JOINER},	{0x2012, 0x2018, APART},
	{0x2019, 0x2019, APOSTROPHE}, {0x201a, 0x2027, APART},	{0x2028, 0x2029, SPACE},
	{0x202a, 0x202e, APART},    {0x202f, 0x202f, SPACE},	{0x2030, 0x205e, APART},
	{0x205f, 0x205f, SPACE},    {0x2060, 0x2060, JOINER},	{0x2061, 0x206f, APART},
	{0x20a0, 0x20cf, APART},    {0x2190, 0x2bff, APART},	{0x3000, 0x3000, SPACE},
	{0x3001, 0x3004, APART},    {0x3007, 0x3007, ALONE},	{0x3008, 0x303f, APART},
	{0x3040, 0x30ff, ALONE},    {0x3400, 0x9fff, ALONE},	{0xf900, 0xfaff, ALONE},
	{0xfe00, 0xfe0f, APART},    {0xfe30, 0xfe6f, APART},	{0xfeff, 0xfeff, JOINER},
	{0xff01, 0xff0f, APART},    {0xff1a, 0xff20, APART},	{0xff3b, 0xff40, APART},
	{0xff5b, 0xff65, APART},    {0xfffd, 0xfffd, APART},	{0x1f000, 0x1faff, APART},
	{0x20000, 0x3ffff, ALONE},
};
/* clang-format on */

struct words
words_of(const char *text, size_t len)
{
	return (struct words){text, text + len};
}

static bool
words_ascii_letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static enum word_class
words_class(uint32_t c)
{
	size_t low = 0, high = ARRAY_LEN(class_ranges), mid;

	if (c < 0x80) {
		if (words_ascii_letter((unsigned char)c))
			return LETTER;
		if (c == ' ' || (c >= '\t' && c <= '\r'))
			return SPACE;
		if (c == '\'')
			return APOSTROPHE;
		return c == '-' || c == '.' || c == '@' ? JOINER : APART;
	}
	while (low < high) {
		mid = (low + high) / 2;
		if (c < class_ranges[mid].first)
			high = mid;
		else if (c > class_ranges[mid].last)
			low = mid + 1;
		else
			return class_ranges[mid].kind;
	}
	return LETTER;
}

/* Lower case of the scripts that have one and are in common use. */
static uint32_t
words_fold(uint32_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	if (c >= 0xc0 && c <= 0xde && c != 0xd7)
		return c + 32;
	if ((c >= 0x100 && c <= 0x137) || (c >= 0x14a && c <= 0x177) ||
		(c >= 0x1e00 && c <= 0x1eff))
		return c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
		return c + (c & 1);
	if (c == 0x178)
		return 0xff;
	if (c >= 0x391 && c <= 0x3a9)
		return c + 32;
	if (c >= 0x410 && c <= 0x42f)
		return c + 32;
	if (c >= 0x400 && c <= 0x40f)
		return c + 80;
	if (c >= 0xff21 && c <= 0xff3a) /* full width */
		return c - 0xff21 + 'a';
	return c;
}

/* The character at p (p < end) and its length; a byte that is no UTF-8 is U+FFFD of length 1. */
static uint32_t
words_char(const char *p, const char *end, size_t *len)
{
	const unsigned char *u = (const unsigned char *)p;

	*len = u[0] < 0x80 ? 1 : utf8_sequence(p, end);
	switch (*len) {
	case 1:
		return u[0];
	case 2:
		return (u[0] & 0x1fU) << 6 | (u[1] & 0x3fU);
	case 3:
		return (u[0] & 0x0fU) << 12 | (u[1] & 0x3fU) << 6 | (u[2] & 0x3fU);
	case 4:
		return (u[0] & 0x07U) << 18 | (u[1] & 0x3fU) << 12 | (u[2] & 0x3fU) << 6 |
		       (u[3] & 0x3fU);
	default:
		*len = 1;
		return UTF8_REPLACEMENT;
	}
}

static void
words_append(struct word *out, uint32_t c)
{
	c = words_fold(c);
	if (c < 0x80) {
		if (out->len < WORD_MAX)
			out->text[out->len++] = (char)c;
		return;
	}
	if (out->len + 4 > WORD_MAX)
		return;
	if (c >= 0x10000) {
		out->text[out->len++] = (char)(0xf0 | c >> 18);
		out->text[out->len++] = (char)(0x80 | (c >> 12 & 0x3f));
	} else if (c >= 0x800) {
		out->text[out->len++] = (char)(0xe0 | c >> 12);
	} else {
		out->text[out->len++] = (char)(0xc0 | c >> 6);
	}
	if (c >= 0x800)
		out->text[out->len++] = (char)(0x80 | (c >> 6 & 0x3f));
	out->text[out->len++] = (char)(0x80 | (c & 0x3f));
}

/* Move to the next letter; tells whether more than space or one apostrophe was in between. */
static bool
words_gap(struct words *w)
{
	unsigned apostrophes = 0;
	bool apart = false;
	size_t len;

	if (w->p < w->end && *w->p == ' ')
		w->p++;
	for (; w->p < w->end; w->p += len) {
		if (words_ascii_letter((unsigned char)*w->p))
			return apart;
		switch (words_class(words_char(w->p, w->end, &len))) {
		case LETTER:
		case ALONE:
			return apart;
		case APOSTROPHE:
			apart = apart || ++apostrophes > 1;
			break;
		case JOINER:
		case APART:
			apart = true;
			break;
		case SPACE:
			break;
		}
	}
	return apart;
}

/* Does a letter follow directly behind p? */
static bool
words_letter_at(const char *p, const char *end)
{
	size_t len;

	return p < end && words_class(words_char(p, end, &len)) == LETTER;
}

/* "c++", "f#": signs that end a name. */
static void
words_signs(struct words *w, struct word *out)
{
	const char *p = w->p;

	while (p < w->end && p - w->p < 2 && (*p == '+' || *p == '#'))
		p++;
	if (p == w->p || words_letter_at(p, w->end))
		return;
	for (; w->p < p; w->p++)
		words_append(out, (unsigned char)*w->p);
}

/* The common case: ASCII letters one after the other. */
static void
words_ascii_run(struct words *w, struct word *out)
{
	const char *p = w->p;
	size_t len = out->len;
	unsigned char c;

	for (; p < w->end; p++) {
		c = (unsigned char)*p;
		if (!words_ascii_letter(c))
			break;
		if (len < WORD_MAX)
			out->text[len++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	out->len = len;
	w->p = p;
}

bool
words_next(struct words *w, struct word *out)
{
	enum word_class kind;
	uint32_t c;
	size_t len;

	out->apart = words_gap(w);
	out->len = 0;
	for (;;) {
		words_ascii_run(w, out);
		if (w->p == w->end)
			break;
		c = words_char(w->p, w->end, &len);
		kind = words_class(c);
		if (kind == ALONE) {
			if (out->len == 0) {
				words_append(out, c);
				w->p += len;
			}
			break;
		}
		if (kind != LETTER && (kind != JOINER || !words_letter_at(w->p + len, w->end)))
			break;
		words_append(out, c);
		w->p += len;
	}
	if (out->len > 0)
		words_signs(w, out);
	out->text[out->len] = '\0';
	return out->len > 0;
}
