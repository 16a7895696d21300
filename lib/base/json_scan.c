/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan.c - find the next interesting byte of a JSON text, eight bytes at a time
 *
 * Most of a chat request is the inside of strings, so this decides how fast a body is read. Eight
 * bytes are looked at in one word (no vector unit needed): a byte that matches gets its top bit
 * set. Borrows can only set bits above the first real match, so the lowest set bit is always right.
 */
#include <stdint.h>
#include <string.h>

#include "lib/base/json_scan.h"

#define EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

static uint64_t
scan_load(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(w) : w;
}

/* Top bit of each byte of w that is below c (c <= 0x80; bytes >= 0x80 don't match). */
static uint64_t
scan_below(uint64_t w, uint64_t c)
{
	return (w - EACH_BYTE(c)) & ~w & EACH_BYTE(0x80);
}

static uint64_t
scan_equal(uint64_t w, uint64_t c)
{
	return scan_below(w ^ EACH_BYTE(c), 1);
}

static uint64_t
scan_special(uint64_t w)
{
	return (w & EACH_BYTE(0x80)) | scan_below(w, 0x20) | scan_equal(w, '"') |
	       scan_equal(w, '\\');
}

const char *
json_scan_plain(const char *p, const char *end)
{
	uint64_t hit;

	for (; end - p >= 16; p += 16) {
		if ((scan_special(scan_load(p)) | scan_special(scan_load(p + 8))) != 0)
			break;
	}
	for (; end - p >= 8; p += 8) {
		hit = scan_special(scan_load(p));
		if (hit != 0)
			return p + __builtin_ctzll(hit) / 8;
	}
	for (; p < end; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x80 || *p == '"' ||
			*p == '\\')
			break;
	}
	return p;
}

const char *
json_scan_quote(const char *p, const char *end)
{
	uint64_t w, hit;

	for (; end - p >= 8; p += 8) {
		w = scan_load(p);
		hit = scan_equal(w, '"') | scan_equal(w, '\\');
		if (hit != 0)
			return p + __builtin_ctzll(hit) / 8;
	}
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

const char *
json_scan_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}
