/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_write.c - write JSON into a buffer
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/json_scan.h"
#include "lib/base/utf8.h"

/* A comma, where the last byte ends a value of the same container. After an opening bracket, a
 * colon, or bytes that are not JSON ("data: ", a newline) there is none. */
static void
write_separator(struct buf *b)
{
	char last = b->len == 0 ? '\0' : b->data[b->len - 1];

	if (last == '"' || last == '}' || last == ']' || (last >= '0' && last <= '9') ||
		(last >= 'a' && last <= 'z'))
		buf_add_char(b, ',');
}

void
json_put_begin(struct buf *b, char open)
{
	CHECK(open == '{' || open == '[');
	write_separator(b);
	buf_add_char(b, open);
}

void
json_put_end(struct buf *b, char close)
{
	CHECK(close == '}' || close == ']');
	buf_add_char(b, close);
}

static void
write_escaped(struct buf *b, char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = c == '\0' ? NULL : strchr(from, c);
	char text[8];

	if (at != NULL) {
		text[0] = '\\';
		text[1] = to[at - from];
		buf_add(b, text, 2);
		return;
	}
	(void)snprintf(text, sizeof(text), "\\u%04x", (unsigned)(unsigned char)c);
	buf_add(b, text, 6);
}

void
json_put_string(struct buf *b, const char *s, size_t len)
{
	const char *p = s, *end = s + len, *stop;
	size_t n;

	write_separator(b);
	buf_reserve(b, len + 2);
	buf_add_char(b, '"');
	while (p < end) {
		stop = json_scan_plain(p, end);
		buf_add(b, p, (size_t)(stop - p));
		p = stop;
		if (p == end)
			break;
		if ((unsigned char)*p < 0x80) {
			write_escaped(b, *p++);
			continue;
		}
		n = utf8_sequence(p, end);
		if (n == 0)
			utf8_add(b, UTF8_REPLACEMENT);
		else
			buf_add(b, p, n);
		p += n == 0 ? 1 : n;
	}
	buf_add_char(b, '"');
}

void
json_put_str(struct buf *b, const char *s)
{
	json_put_string(b, s, strlen(s));
}

void
json_put_key(struct buf *b, const char *name)
{
	json_put_str(b, name);
	buf_add_char(b, ':');
}

void
json_put_raw(struct buf *b, struct json v)
{
	write_separator(b);
	buf_add(b, v.p, v.len);
}

void
json_put_u64(struct buf *b, uint64_t v)
{
	write_separator(b);
	buf_add_u64(b, v);
}

void
json_put_i64(struct buf *b, int64_t v)
{
	write_separator(b);
	if (v < 0)
		buf_add_char(b, '-');
	buf_add_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void
json_put_bool(struct buf *b, bool v)
{
	write_separator(b);
	buf_add_str(b, v ? "true" : "false");
}

void
json_put_null(struct buf *b)
{
	write_separator(b);
	buf_add_str(b, "null");
}

void
json_put_member_str(struct buf *b, const char *name, const char *s)
{
	json_put_key(b, name);
	json_put_str(b, s);
}

void
json_put_member_u64(struct buf *b, const char *name, uint64_t v)
{
	json_put_key(b, name);
	json_put_u64(b, v);
}

void
json_put_member_double(struct buf *b, const char *name, double v)
{
	json_put_key(b, name);
	json_put_double(b, v);
}

void
json_put_member_bool(struct buf *b, const char *name, bool v)
{
	json_put_key(b, name);
	json_put_bool(b, v);
}

void
json_put_member_raw(struct buf *b, const char *name, struct json v)
{
	json_put_key(b, name);
	json_put_raw(b, v);
}
