/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.c - tell UTF-8 from other bytes, write one code point
 */
#include <stdbool.h>

#include "lib/base/utf8.h"

static bool
utf8_is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* The second byte alone rules out overlong forms, surrogates and values above U+10FFFF. */
static bool
utf8_second_fits(unsigned char first, unsigned char second)
{
	switch (first) {
	case 0xe0:
		return second >= 0xa0;
	case 0xed:
		return second <= 0x9f;
	case 0xf0:
		return second >= 0x90;
	case 0xf4:
		return second <= 0x8f;
	default:
		return true;
	}
}

size_t
utf8_sequence(const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t left = (size_t)(end - p), len, i;

	if (left == 0)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (left < len)
		return 0;
	for (i = 1; i < len; i++) {
		if (!utf8_is_tail(u[i]))
			return 0;
	}
	return utf8_second_fits(u[0], u[1]) ? len : 0;
}

void
utf8_add(struct buf *out, uint32_t c)
{
	char s[4];
	size_t len;

	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		c = UTF8_REPLACEMENT;
	if (c < 0x80) {
		s[0] = (char)c;
		len = 1;
	} else if (c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
		len = 2;
	} else if (c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
		len = 3;
	} else {
		s[0] = (char)(0xf0 | c >> 18);
		s[1] = (char)(0x80 | (c >> 12 & 0x3f));
		s[2] = (char)(0x80 | (c >> 6 & 0x3f));
		s[3] = (char)(0x80 | (c & 0x3f));
		len = 4;
	}
	buf_add(out, s, len);
}
