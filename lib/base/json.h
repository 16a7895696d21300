/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - read JSON in place, write JSON into a buffer (RFC 8259)
 *
 * Reading never copies and never builds a tree: a value is a slice of the checked text, so what is
 * not understood can be passed on byte for byte (numbers keep their digits, members their order).
 * json_check validates a whole text once: grammar, UTF-8, escapes, depth, no bytes after the value.
 * Everything below it may be called on slices of a checked text only, and then cannot fail on
 * grammar. Iterative: depth costs bits, not stack.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum { JSON_DEPTH_MAX = 128 };

enum json_type {
	JSON_NONE, /* no such value; the zero struct json */
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* A view: lives as long as the text it was read from. */
struct json {
	enum json_type type;
	const char *p; /* first byte of the value: its quote, brace, bracket, digit, ... */
	size_t len;    /* up to and including its last byte */
};

/* Validate text[0..len) and set *out to its value. ERR_INPUT with "line L column C: what". */
MUST enum err_code json_check(struct json *out, const char *text, size_t len, struct err *e);

/* Walk an object or array. */
struct json_iter {
	const char *p;
	const char *end;
};

struct json_iter json_iter(struct json container);
/* Next member of an object; false at the end. *key is a JSON_STRING. */
bool json_next_member(struct json_iter *it, struct json *key, struct json *value);
/* Next element of an array; false at the end. */
bool json_next_item(struct json_iter *it, struct json *item);

/* First member called name; JSON_NONE where v is no object or has none. Escapes in keys are
 * decoded for the comparison. */
struct json json_get(struct json v, const char *name);
/* json_get along a dotted path of names: json_path(v, "usage.prompt_tokens"). */
struct json json_path(struct json v, const char *path);
/* How many members called name (2 or more: an ambiguous object). */
unsigned json_count(struct json v, const char *name);

bool json_is_true(struct json v);
/* String equality with escapes decoded; false for other types. */
bool json_equals(struct json v, const char *s);
/* Append the decoded text of a string (lone surrogates become U+FFFD). Other types: nothing. */
void json_text(struct buf *out, struct json v);
/* Decode into out[0..size), always NUL-terminated; false where it did not fit, held a NUL, or v is
 * no string (out is then ""). */
bool json_copy_text(char *out, size_t size, struct json v);
/* The number as an integer; false when v is no number, is not integral or is out of range. */
bool json_i64(int64_t *out, struct json v);
bool json_u64(uint64_t *out, struct json v);
bool json_double(double *out, struct json v);

/*
 * Writing. Values go where they stand; the writer adds commas by looking at the last byte.
 *   json_put_begin(b, '{'); json_put_key(b, "id"); json_put_string(b, s, n); json_put_end(b, '}');
 */
void json_put_begin(struct buf *b, char open); /* '{' or '[' */
void json_put_end(struct buf *b, char close);
void json_put_key(struct buf *b, const char *name);
void json_put_string(struct buf *b, const char *s, size_t len); /* invalid UTF-8 becomes U+FFFD */
void json_put_str(struct buf *b, const char *s);
void json_put_u64(struct buf *b, uint64_t v);
void json_put_i64(struct buf *b, int64_t v);
void json_put_double(struct buf *b, double v); /* shortest form that reads back equal; NaN: null */
void json_put_bool(struct buf *b, bool v);
void json_put_null(struct buf *b);
void json_put_raw(struct buf *b, struct json v); /* the slice, byte for byte */
/* key and value in one call */
void json_put_member_str(struct buf *b, const char *name, const char *s);
void json_put_member_u64(struct buf *b, const char *name, uint64_t v);
void json_put_member_double(struct buf *b, const char *name, double v);
void json_put_member_bool(struct buf *b, const char *name, bool v);
void json_put_member_raw(struct buf *b, const char *name, struct json v);
