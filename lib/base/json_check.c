/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_check.c - validate a whole JSON text once
 *
 * One bit per open container says whether it is an object, so nothing is recursive and a text of
 * brackets costs sixteen bytes. The place of an error is only computed when there is one.
 */
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/json_scan.h"
#include "lib/base/utf8.h"

enum want { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_MORE };

struct check {
	const char *p;
	const char *end;
	enum want want;
	unsigned depth;
	uint64_t is_object[JSON_DEPTH_MAX / 64];
	const char *what; /* the error, at p */
};

static bool
check_fail(struct check *c, const char *at, const char *what)
{
	c->p = at;
	c->what = what;
	return false;
}

static bool
check_hex4(const char *p, const char *end)
{
	int i;

	if (end - p < 4)
		return false;
	for (i = 0; i < 4; i++) {
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f') ||
			    (p[i] >= 'A' && p[i] <= 'F')))
			return false;
	}
	return true;
}

/* c->p at a backslash; moves behind the escape. */
static bool
check_escape(struct check *c)
{
	const char *p = c->p + 1;

	if (p == c->end)
		return check_fail(c, c->end, "string does not end");
	if (*p == 'u') {
		if (!check_hex4(p + 1, c->end))
			return check_fail(c, c->p, "\\u without four hexadecimal digits");
		c->p = p + 5;
		return true;
	}
	if (*p == '\0' || strchr("\"\\/bfnrt", *p) == NULL)
		return check_fail(c, c->p, "unknown escape in string");
	c->p = p + 1;
	return true;
}

/* c->p at the opening quote; moves behind the closing one. */
static bool
check_string(struct check *c)
{
	size_t n;

	c->p++;
	for (;;) {
		c->p = json_scan_plain(c->p, c->end);
		if (c->p == c->end)
			return check_fail(c, c->end, "string does not end");
		if (*c->p == '"') {
			c->p++;
			return true;
		}
		if (*c->p == '\\') {
			if (!check_escape(c))
				return false;
			continue;
		}
		if ((unsigned char)*c->p < 0x20)
			return check_fail(c, c->p, "control character in string");
		do {
			n = utf8_sequence(c->p, c->end);
			if (n == 0)
				return check_fail(c, c->p, "invalid UTF-8");
			c->p += n;
		} while (c->p < c->end && (unsigned char)*c->p >= 0x80);
	}
}

/* Moves behind a run of digits; false where there is none. */
static bool
check_digits(struct check *c)
{
	const char *from = c->p;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return c->p > from;
}

static bool
check_number(struct check *c)
{
	if (*c->p == '-')
		c->p++;
	if (c->p < c->end && *c->p == '0')
		c->p++;
	else if (!check_digits(c))
		return check_fail(c, c->p, "digit expected");
	if (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		return check_fail(c, c->p, "number with a leading zero");
	if (c->p < c->end && *c->p == '.') {
		c->p++;
		if (!check_digits(c))
			return check_fail(c, c->p, "digit expected after the decimal point");
	}
	if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
		c->p++;
		if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
			c->p++;
		if (!check_digits(c))
			return check_fail(c, c->p, "digit expected in the exponent");
	}
	return true;
}

static bool
check_word(struct check *c, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0)
		return check_fail(c, c->p, "value expected");
	c->p += len;
	return true;
}

static bool
check_open(struct check *c, bool object)
{
	uint64_t bit = UINT64_C(1) << (c->depth % 64);

	if (c->depth == JSON_DEPTH_MAX)
		return check_fail(c, c->p, "nested too deeply");
	if (object)
		c->is_object[c->depth / 64] |= bit;
	else
		c->is_object[c->depth / 64] &= ~bit;
	c->depth++;
	c->p++;
	c->want = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
	return true;
}

static bool
check_close(struct check *c)
{
	c->depth--;
	c->p++;
	c->want = WANT_MORE;
	return true;
}

static bool
check_value(struct check *c)
{
	c->want = WANT_MORE;
	switch (*c->p) {
	case '{':
		return check_open(c, true);
	case '[':
		return check_open(c, false);
	case '"':
		return check_string(c);
	case 't':
		return check_word(c, "true");
	case 'f':
		return check_word(c, "false");
	case 'n':
		return check_word(c, "null");
	default:
		if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
			return check_number(c);
		return check_fail(c, c->p, "value expected");
	}
}

static bool
check_key(struct check *c)
{
	if (*c->p != '"')
		return check_fail(c, c->p, "member name in double quotes expected");
	if (!check_string(c))
		return false;
	c->p = json_scan_space(c->p, c->end);
	if (c->p == c->end || *c->p != ':')
		return check_fail(c, c->p, "colon expected after a member name");
	c->p++;
	c->want = WANT_VALUE;
	return true;
}

/* After a value inside a container: a comma or the container's end. */
static bool
check_more(struct check *c)
{
	bool object;

	if (c->depth == 0)
		return check_fail(c, c->p, "bytes after the value");
	object = (c->is_object[(c->depth - 1) / 64] >> ((c->depth - 1) % 64) & 1) != 0;
	if (*c->p == ',') {
		c->p++;
		c->want = object ? WANT_KEY : WANT_VALUE;
		return true;
	}
	if (*c->p == (object ? '}' : ']'))
		return check_close(c);
	return check_fail(c, c->p, object ? "comma or } expected" : "comma or ] expected");
}

/* The next token; c->p stands on its first byte. */
static bool
check_step(struct check *c)
{
	switch (c->want) {
	case WANT_VALUE_OR_END:
		if (*c->p == ']')
			return check_close(c);
		return check_value(c);
	case WANT_VALUE:
		return check_value(c);
	case WANT_KEY_OR_END:
		if (*c->p == '}')
			return check_close(c);
		return check_key(c);
	case WANT_KEY:
		return check_key(c);
	case WANT_MORE:
		break;
	}
	return check_more(c);
}

/* Columns count characters, so that they agree with what an editor shows. */
static enum err_code
check_error(const struct check *c, const char *text, struct err *e)
{
	unsigned long line = 1, column = 1;
	const char *p;

	for (p = text; p < c->p; p++) {
		if (*p == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)*p & 0xc0) != 0x80) {
			column++;
		}
	}
	return err_set(e, ERR_INPUT, "line %lu column %lu: %s", line, column, c->what);
}

enum err_code
json_check(struct json *out, const char *text, size_t len, struct err *e)
{
	struct check c = {.want = WANT_VALUE};
	const char *first, *last;

	if (len == 0)
		text = "";
	c.p = text;
	c.end = text + len;
	c.p = first = last = json_scan_space(c.p, c.end);
	while (c.p < c.end) {
		if (!check_step(&c))
			return check_error(&c, text, e);
		last = c.p;
		c.p = json_scan_space(c.p, c.end);
	}
	if (c.want != WANT_MORE || c.depth > 0) {
		c.what = first == c.end ? "no value" : "text ends inside a value";
		return check_error(&c, text, e);
	}
	*out = (struct json){json_type_of(*first), first, (size_t)(last - first)};
	return ERR_OK;
}
