/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_body.c - an answer's body on its way through a fault: cut, broken or doubled at a place
 *
 * Pure. A place is a number of bytes or of pieces of text; events without text (a role, a ping) go
 * through whatever the place is.
 */
#include <string.h>

#include "workers/backend/backend.h"

enum { BYTES_PER_TOKEN = 4 }; /* of an answer that is not streamed */

/* Does the event carry text, of whichever dialect? Its key is followed by a string that is not
 * empty. */
static bool
event_has_text(const char *p, size_t len)
{
	static const char *const keys[] = {"\"content\"", "\"text\"", "\"arguments\"",
		"\"partial_json\"", "\"thinking\"", "\"reasoning_content\"", "\"response\""};
	const char *end = p + len;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *at = memmem(p, len, keys[i], strlen(keys[i]));

		if (at == NULL)
			continue;
		at += strlen(keys[i]);
		while (at < end && (*at == ' ' || *at == ':'))
			at++;
		if (at + 1 < end && at[0] == '"' && at[1] != '"')
			return true;
	}
	return false;
}

static bool
body_is_broken(const struct fault_body *b)
{
	return b->struck && b->rule->kind != FAULT_DUPLICATE_EVENT;
}

/* What comes in place of the rest. */
static void
body_strike(struct fault_body *b, struct buf *out)
{
	bool lines = b->framing == FRAMING_NDJSON;

	b->struck = true;
	if (b->rule->kind == FAULT_BAD_JSON)
		buf_add_str(out, !b->stream ? "{oops"
				 : lines    ? "{\"message\":{\n"
					    : "data: {\"choices\":[{\"delta\":\n\n");
	if (b->rule->kind == FAULT_BAD_EVENT)
		buf_add_str(
			out, b->stream && !lines ? "<html>busy</html>\n\n" : "<html>busy</html>\n");
}

/* Up to `place` bytes go through. */
static void
body_feed_bytes(struct fault_body *b, const char *p, size_t len, uint64_t place, struct buf *out)
{
	size_t n = (size_t)MIN((uint64_t)len, place - b->bytes);

	buf_add(out, p, n);
	b->bytes += n;
	if (b->bytes == place)
		body_strike(b, out);
}

static void
body_event(struct fault_body *b, struct buf *out)
{
	const struct buf *event = &b->event;

	if (body_is_broken(b))
		return;
	if (event_has_text(event->data, event->len) && b->pieces++ == b->rule->tokens) {
		if (b->rule->kind != FAULT_DUPLICATE_EVENT) {
			body_strike(b, out);
			return;
		}
		buf_add(out, event->data, event->len);
		b->struck = true;
	}
	buf_add(out, event->data, event->len);
}

/* Is what stands in event a whole one? */
static bool
body_event_is_whole(const struct fault_body *b)
{
	const struct buf *e = &b->event;

	if (e->len == 0 || e->data[e->len - 1] != '\n')
		return false;
	if (b->framing == FRAMING_NDJSON || e->len == 1)
		return true;
	return e->data[e->len - 2] == '\n' ||
	       (e->len >= 3 && e->data[e->len - 2] == '\r' && e->data[e->len - 3] == '\n');
}

static bool
body_kind_strikes(enum fault_kind kind)
{
	static const bool strikes[FAULT_KINDS] = {
		[FAULT_CUT] = true,
		[FAULT_RESET_BODY] = true,
		[FAULT_STALL] = true,
		[FAULT_BAD_JSON] = true,
		[FAULT_BAD_EVENT] = true,
		[FAULT_DUPLICATE_EVENT] = true,
	};

	return strikes[kind];
}

void
fault_body_feed(struct fault_body *b, const char *p, size_t len, struct buf *out)
{
	const struct fault_rule *r = b->rule;
	const char *end = p + len;

	if (body_is_broken(b))
		return;
	if (!body_kind_strikes(r->kind) || (r->kind == FAULT_DUPLICATE_EVENT && !b->stream)) {
		buf_add(out, p, len);
		return;
	}
	if (!b->stream || (r->said & FAULT_SAYS(BYTES)) != 0) {
		body_feed_bytes(b, p, len,
			(r->said & FAULT_SAYS(BYTES)) != 0 ? r->bytes : r->tokens * BYTES_PER_TOKEN,
			out);
		return;
	}
	while (p < end) {
		const char *line = memchr(p, '\n', (size_t)(end - p));
		const char *to = line == NULL ? end : line + 1;

		buf_add(&b->event, p, (size_t)(to - p));
		p = to;
		if (body_event_is_whole(b) || b->event.len > EVENT_MAX_BYTES) {
			body_event(b, out);
			buf_clear(&b->event);
		}
	}
}

void
fault_body_end(struct fault_body *b, struct buf *out)
{
	if (b->event.len > 0)
		body_event(b, out);
	buf_clear(&b->event);
}

void
fault_body_fini(struct fault_body *b)
{
	buf_fini(&b->event);
}
