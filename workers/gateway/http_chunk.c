/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_chunk.c - decode a chunked request body, strictly
 *
 * By hand and not by http_parser, which takes a bare LF inside chunk extensions and ignores what
 * they hold. Extensions and trailers are checked for form, bounded and dropped.
 */
#include "workers/gateway/gateway.h"

enum { CHUNK_DIGITS_MAX = 15, CHUNK_EXTENSION_MAX = 256, CHUNK_TRAILERS_MAX = 8192 };

enum chunk_state {
	CHUNK_SIZE, /* hex digits */
	CHUNK_EXTENSION, /* ";..." up to CR */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER_START, /* first byte of a trailer line or of the empty one */
	CHUNK_TRAILER,
	CHUNK_TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_STATES
};

static int
chunk_hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http_chunk_result
chunk_size(struct http_chunk *k, unsigned char c)
{
	int v = chunk_hex(c);

	if (v >= 0) {
		k->left = k->left * 16 + (uint64_t)v;
		return ++k->digits > CHUNK_DIGITS_MAX ? HTTP_CHUNK_BAD : HTTP_CHUNK_MORE;
	}
	if (k->digits == 0)
		return HTTP_CHUNK_BAD;
	k->line = 0;
	if (c == '\r')
		k->state = CHUNK_SIZE_LF;
	else if (c == ';')
		k->state = CHUNK_EXTENSION;
	else
		return HTTP_CHUNK_BAD;
	return HTTP_CHUNK_MORE;
}

/* A byte of an extension or a trailer line: printable or tab, within the limit. */
static bool
chunk_text(struct http_chunk *k, unsigned char c, size_t max)
{
	return ++k->line <= max && (c == '\t' || (c >= ' ' && c != 0x7f));
}

static enum http_chunk_result
chunk_trailer_start(struct http_chunk *k, unsigned char c)
{
	if (c == '\r') {
		k->state = CHUNK_END_LF;
		return HTTP_CHUNK_MORE;
	}
	k->state = CHUNK_TRAILER;
	return c != ' ' && c != '\t' && chunk_text(k, c, CHUNK_TRAILERS_MAX) ? HTTP_CHUNK_MORE
									     : HTTP_CHUNK_BAD;
}

/* Every state but CHUNK_DATA takes one byte. */
static enum http_chunk_result
chunk_byte(struct http_chunk *k, unsigned char c)
{
	switch (k->state) {
	case CHUNK_SIZE:
		return chunk_size(k, c);
	case CHUNK_EXTENSION:
		if (c == '\r')
			k->state = CHUNK_SIZE_LF;
		else if (!chunk_text(k, c, CHUNK_EXTENSION_MAX))
			return HTTP_CHUNK_BAD;
		return HTTP_CHUNK_MORE;
	case CHUNK_SIZE_LF:
		k->state = k->left > 0 ? CHUNK_DATA : CHUNK_TRAILER_START;
		k->digits = 0;
		k->line = 0;
		return c == '\n' ? HTTP_CHUNK_MORE : HTTP_CHUNK_BAD;
	case CHUNK_DATA_CR:
		k->state = CHUNK_DATA_LF;
		return c == '\r' ? HTTP_CHUNK_MORE : HTTP_CHUNK_BAD;
	case CHUNK_DATA_LF:
		k->state = CHUNK_SIZE;
		return c == '\n' ? HTTP_CHUNK_MORE : HTTP_CHUNK_BAD;
	case CHUNK_TRAILER_START:
		return chunk_trailer_start(k, c);
	case CHUNK_TRAILER:
		if (c == '\r')
			k->state = CHUNK_TRAILER_LF;
		else if (!chunk_text(k, c, CHUNK_TRAILERS_MAX))
			return HTTP_CHUNK_BAD;
		return HTTP_CHUNK_MORE;
	case CHUNK_TRAILER_LF:
		k->state = CHUNK_TRAILER_START;
		return c == '\n' ? HTTP_CHUNK_MORE : HTTP_CHUNK_BAD;
	default:
		return c == '\n' ? HTTP_CHUNK_DONE : HTTP_CHUNK_BAD;
	}
}

enum http_chunk_result
http_chunk_feed(struct http_chunk *k, const char *data, size_t len, size_t *used, struct buf *body,
	uint64_t body_max)
{
	enum http_chunk_result result = HTTP_CHUNK_MORE;
	size_t at = 0;

	CHECK(k->state < CHUNK_STATES);
	while (at < len && result == HTTP_CHUNK_MORE) {
		if (k->state == CHUNK_DATA) {
			size_t n = (size_t)MIN(k->left, (uint64_t)(len - at));

			buf_add(body, data + at, n);
			at += n;
			k->left -= n;
			if (k->left == 0)
				k->state = CHUNK_DATA_CR;
			continue;
		}
		result = chunk_byte(k, (unsigned char)data[at++]);
		/* refused when announced, not when it has been read */
		if (result == HTTP_CHUNK_MORE && k->state == CHUNK_DATA &&
			k->left > body_max - MIN(body_max, body->len))
			result = HTTP_CHUNK_TOO_LARGE;
	}
	*used = at;
	return result;
}
