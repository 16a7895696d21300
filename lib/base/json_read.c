/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_read.c - walk a checked JSON text: members, items, strings
 *
 * The grammar is trusted, the bounds are not: nothing here reads outside the slice it was given.
 */
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/json_scan.h"
#include "lib/base/utf8.h"

enum json_type
json_type_of(char first)
{
	switch (first) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
	case 'f':
		return JSON_BOOL;
	case 'n':
		return JSON_NULL;
	default:
		return first == '-' || (first >= '0' && first <= '9') ? JSON_NUMBER : JSON_NONE;
	}
}

/* p at an opening quote; behind the closing one, or end. */
static const char *
read_skip_string(const char *p, const char *end)
{
	p++;
	for (;;) {
		p = json_scan_quote(p, end);
		if (p == end)
			return end;
		if (*p == '"')
			return p + 1;
		p = end - p < 2 ? end : p + 2;
	}
}

/* p at an opening brace or bracket; behind its partner, or end. */
static const char *
read_skip_container(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = read_skip_string(p, end);
			continue;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p + 1;
			break;
		default:
			break;
		}
		p++;
	}
	return end;
}

static const char *
read_skip_scalar(const char *p, const char *end)
{
	while (p < end && *p != ',' && *p != '}' && *p != ']' && *p != ' ' && *p != '\n' &&
		*p != '\r' && *p != '\t')
		p++;
	return p;
}

/* Read the value at it->p into *v and move behind it; false where there is none. */
static bool
read_value(struct json_iter *it, struct json *v)
{
	const char *p = json_scan_space(it->p, it->end);
	enum json_type type = p < it->end ? json_type_of(*p) : JSON_NONE;

	if (type == JSON_NONE) {
		it->p = it->end;
		return false;
	}
	if (type == JSON_STRING)
		it->p = read_skip_string(p, it->end);
	else if (type == JSON_OBJECT || type == JSON_ARRAY)
		it->p = read_skip_container(p, it->end);
	else
		it->p = read_skip_scalar(p, it->end);
	*v = (struct json){type, p, (size_t)(it->p - p)};
	return true;
}

/* Move over white space and one separator. */
static void
read_skip_separator(struct json_iter *it, char separator)
{
	it->p = json_scan_space(it->p, it->end);
	if (it->p < it->end && *it->p == separator)
		it->p++;
}

struct json_iter
json_iter(struct json container)
{
	if ((container.type != JSON_OBJECT && container.type != JSON_ARRAY) || container.len < 2)
		return (struct json_iter){NULL, NULL};
	return (struct json_iter){container.p + 1, container.p + container.len - 1};
}

bool
json_next_member(struct json_iter *it, struct json *key, struct json *value)
{
	read_skip_separator(it, ',');
	if (!read_value(it, key) || key->type != JSON_STRING)
		return false;
	read_skip_separator(it, ':');
	return read_value(it, value);
}

bool
json_next_item(struct json_iter *it, struct json *item)
{
	read_skip_separator(it, ',');
	return read_value(it, item);
}

static unsigned
read_hex4(const char *p)
{
	unsigned v = 0;
	int i;

	for (i = 0; i < 4; i++) {
		v <<= 4;
		if (p[i] >= '0' && p[i] <= '9')
			v |= (unsigned)(p[i] - '0');
		else
			v |= (unsigned)((p[i] | 0x20) - 'a' + 10) & 0xf;
	}
	return v;
}

/* p behind "\u"; sets *c and moves behind the escape, a second half included. */
static const char *
read_unicode(uint32_t *c, const char *p, const char *end)
{
	uint32_t high, low;

	if (end - p < 4) {
		*c = UTF8_REPLACEMENT;
		return end;
	}
	high = read_hex4(p);
	p += 4;
	*c = high;
	if (high < 0xd800 || high > 0xdfff)
		return p;
	*c = UTF8_REPLACEMENT;
	if (high > 0xdbff || end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return p;
	low = read_hex4(p + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return p;
	*c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	return p + 6;
}

/* p at a backslash; appends what the escape stands for and moves behind it. */
static const char *
read_escape(struct buf *out, const char *p, const char *end)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at;
	uint32_t c;

	if (end - p < 2)
		return end;
	if (p[1] == 'u') {
		p = read_unicode(&c, p + 2, end);
		utf8_add(out, c);
		return p;
	}
	at = p[1] == '\0' ? NULL : strchr(from, p[1]);
	buf_add_char(out, at == NULL ? p[1] : to[at - from]);
	return p + 2;
}

/* The inside of a string, without its quotes. */
static struct json_iter
read_inside(struct json v)
{
	if (v.type != JSON_STRING || v.len < 2)
		return (struct json_iter){NULL, NULL};
	return (struct json_iter){v.p + 1, v.p + v.len - 1};
}

void
json_text(struct buf *out, struct json v)
{
	struct json_iter in = read_inside(v);
	const char *stop;

	while (in.p < in.end) {
		stop = memchr(in.p, '\\', (size_t)(in.end - in.p));
		if (stop == NULL)
			stop = in.end;
		buf_add(out, in.p, (size_t)(stop - in.p));
		in.p = stop < in.end ? read_escape(out, stop, in.end) : in.end;
	}
}

static bool
read_equals(struct json v, const char *s, size_t len)
{
	struct json_iter in = read_inside(v);
	AUTO(buf_fini) struct buf text = BUF_INIT;
	size_t n = (size_t)(in.end - in.p);

	if (v.type != JSON_STRING)
		return false;
	if (n == 0 || memchr(in.p, '\\', n) == NULL)
		return n == len && (n == 0 || memcmp(in.p, s, n) == 0);
	if (n < len) /* an escape never gets longer when it is decoded */
		return false;
	json_text(&text, v);
	return text.len == len && memcmp(text.data, s, len) == 0;
}

bool
json_equals(struct json v, const char *s)
{
	return read_equals(v, s, strlen(s));
}

static struct json
read_get(struct json v, const char *name, size_t len)
{
	struct json_iter it;
	struct json key, value;

	if (v.type != JSON_OBJECT)
		return (struct json){JSON_NONE, NULL, 0};
	it = json_iter(v);
	while (json_next_member(&it, &key, &value)) {
		if (read_equals(key, name, len))
			return value;
	}
	return (struct json){JSON_NONE, NULL, 0};
}

struct json
json_get(struct json v, const char *name)
{
	return read_get(v, name, strlen(name));
}

struct json
json_path(struct json v, const char *path)
{
	size_t len;

	for (;;) {
		len = strcspn(path, ".");
		v = read_get(v, path, len);
		if (path[len] == '\0')
			return v;
		path += len + 1;
	}
}

unsigned
json_count(struct json v, const char *name)
{
	struct json_iter it;
	struct json key, value;
	unsigned n = 0;

	if (v.type != JSON_OBJECT)
		return 0;
	it = json_iter(v);
	while (json_next_member(&it, &key, &value)) {
		if (json_equals(key, name))
			n++;
	}
	return n;
}

bool
json_is_true(struct json v)
{
	return v.type == JSON_BOOL && v.len > 0 && v.p[0] == 't';
}

bool
json_copy_text(char *out, size_t size, struct json v)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	CHECK(size > 0);
	out[0] = '\0';
	if (v.type != JSON_STRING)
		return false;
	json_text(&text, v);
	if (text.len >= size || (text.len > 0 && memchr(text.data, '\0', text.len) != NULL))
		return false;
	if (text.len > 0)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return true;
}
