/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.c - one stream for the client out of the streams of several attempts
 *
 * Pure: bytes in, bytes out. What the client has is read along with the first attempt, whose bytes
 * go through as they are; the chunks of later ones get the first one's id, time and model, lose
 * their role, and count the usage of all. Going on with a text is sound only as long as the client
 * has nothing but plain text of one choice; a tool call is kept back until it is whole.
 */
#include <stdlib.h>
#include <string.h>

#include "workers/gateway/gateway.h"

enum { RESUME_TEXT_MAX = 4 * 1024 * 1024, RESUME_VALUE_MAX = 1024 };

static void
resume_keep(struct buf *to, struct json v)
{
	buf_clear(to);
	if (v.type != JSON_NONE && v.len <= RESUME_VALUE_MAX)
		buf_add(to, v.p, v.len);
}

void
resume_new(struct resume **out, enum mid_stream policy, uint32_t hold, enum route_endpoint endpoint)
{
	struct resume *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	s->policy = policy;
	s->hold = hold;
	s->endpoint = endpoint;
	*out = s;
}

void
resume_free(struct resume **s_p)
{
	struct resume *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	buf_fini(&s->held);
	buf_fini(&s->text);
	buf_fini(&s->owed);
	buf_fini(&s->id);
	buf_fini(&s->created);
	buf_fini(&s->model);
	free(s);
}

/* ---- what the client has ---- */

static void
resume_see_text(struct resume *s, struct json text)
{
	if (s->text.len + text.len > RESUME_TEXT_MAX)
		s->mixed = true;
	else
		json_text(&s->text, text);
}

static bool
resume_is_empty(struct json v)
{
	return v.type == JSON_NONE || v.type == JSON_NULL ||
	       (v.type == JSON_STRING && v.len == 2) ||
	       ((v.type == JSON_ARRAY || v.type == JSON_OBJECT) && v.len == 2);
}

static void
resume_see_delta(struct resume *s, struct json delta)
{
	struct json_iter it = json_iter(delta);
	struct json key, v;

	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "role") || resume_is_empty(v))
			continue;
		if (json_equals(key, "content") && v.type == JSON_STRING) {
			resume_see_text(s, v);
			continue;
		}
		s->mixed = true;
		if (json_equals(key, "tool_calls") || json_equals(key, "function_call"))
			s->calling = true;
	}
}

static void
resume_see_choice(struct resume *s, struct json choice)
{
	struct json_iter it = json_iter(choice);
	struct json key, v;
	uint64_t index;

	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "delta") && v.type == JSON_OBJECT)
			resume_see_delta(s, v);
		else if (json_equals(key, "text") && v.type == JSON_STRING)
			resume_see_text(s, v);
		else if (json_equals(key, "finish_reason") && v.type == JSON_STRING)
			s->finished = true;
		else if (json_equals(key, "logprobs") && !resume_is_empty(v))
			s->mixed = true;
		else if (json_equals(key, "index") && (!json_u64(&index, v) || index != 0))
			s->mixed = true;
	}
}

static void
resume_see(struct resume *s, struct json event)
{
	struct json choices = json_get(event, "choices"), choice;
	struct json_iter it = json_iter(choices);

	if (!s->began) {
		resume_keep(&s->id, json_get(event, "id"));
		resume_keep(&s->created, json_get(event, "created"));
		resume_keep(&s->model, json_get(event, "model"));
		s->began = true;
	}
	while (choices.type == JSON_ARRAY && json_next_item(&it, &choice))
		if (choice.type == JSON_OBJECT)
			resume_see_choice(s, choice);
}

/* ---- chunks of a later attempt ---- */

/* The white space that the text ended with was not shown to this backend: where it comes again,
 * the client has it already. */
static void
resume_put_text(struct resume *s, struct buf *out, struct json text)
{
	AUTO(buf_fini) struct buf plain = BUF_INIT;
	size_t same = 0;

	if (s->owed.len == 0) {
		json_put_raw(out, text);
		return;
	}
	json_text(&plain, text);
	while (same < s->owed.len && same < plain.len && plain.data[same] == s->owed.data[same])
		same++;
	if (plain.len > 0 && same < s->owed.len && same < plain.len)
		buf_clear(&s->owed);
	else
		buf_drop_front(&s->owed, same);
	json_put_string(out, buf_str(&plain) + same, plain.len - same);
}

static void
resume_put_delta(struct resume *s, struct buf *out, struct json delta)
{
	struct json_iter it = json_iter(delta);
	struct json key, v;

	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "role"))
			continue;
		json_put_raw(out, key);
		buf_add_char(out, ':');
		if (json_equals(key, "content") && v.type == JSON_STRING)
			resume_put_text(s, out, v);
		else
			json_put_raw(out, v);
	}
	json_put_end(out, '}');
}

static void
resume_put_choice(struct resume *s, struct buf *out, struct json choice)
{
	struct json_iter it = json_iter(choice);
	struct json key, v;

	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		json_put_raw(out, key);
		buf_add_char(out, ':');
		if (json_equals(key, "delta") && v.type == JSON_OBJECT)
			resume_put_delta(s, out, v);
		else if (json_equals(key, "text") && v.type == JSON_STRING)
			resume_put_text(s, out, v);
		else
			json_put_raw(out, v);
	}
	json_put_end(out, '}');
}

static void
resume_put_choices(struct resume *s, struct buf *out, struct json choices)
{
	struct json_iter it = json_iter(choices);
	struct json choice;

	json_put_begin(out, '[');
	while (json_next_item(&it, &choice)) {
		if (choice.type == JSON_OBJECT)
			resume_put_choice(s, out, choice);
		else
			json_put_raw(out, choice);
	}
	json_put_end(out, ']');
}

/* The usage of all attempts. */
static void
resume_put_usage(const struct resume *s, struct buf *out, struct json usage)
{
	struct json_iter it = json_iter(usage);
	struct json key, v;
	uint64_t n;

	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		json_put_raw(out, key);
		buf_add_char(out, ':');
		if (!json_u64(&n, v))
			json_put_raw(out, v);
		else if (json_equals(key, "prompt_tokens"))
			json_put_u64(out, n + s->prompt_before);
		else if (json_equals(key, "completion_tokens"))
			json_put_u64(out, n + s->completion_before);
		else if (json_equals(key, "total_tokens"))
			json_put_u64(out, n + s->prompt_before + s->completion_before);
		else
			json_put_raw(out, v);
	}
	json_put_end(out, '}');
}

static const struct buf *
resume_kept(const struct resume *s, struct json key)
{
	return json_equals(key, "id")        ? &s->id
	       : json_equals(key, "created") ? &s->created
	       : json_equals(key, "model")   ? &s->model
					     : NULL;
}

static void
resume_put_event(struct resume *s, struct buf *out, struct json event)
{
	struct json_iter it = json_iter(event);
	const struct buf *kept;
	struct json key, v;

	buf_add_str(out, "data: ");
	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		json_put_raw(out, key);
		buf_add_char(out, ':');
		kept = resume_kept(s, key);
		if (kept != NULL && kept->len > 0)
			buf_add(out, kept->data, kept->len);
		else if (json_equals(key, "choices") && v.type == JSON_ARRAY)
			resume_put_choices(s, out, v);
		else if (json_equals(key, "usage") && v.type == JSON_OBJECT)
			resume_put_usage(s, out, v);
		else
			json_put_raw(out, v);
	}
	json_put_end(out, '}');
	buf_add_str(out, "\n\n");
}

/* ---- a piece of a stream ---- */

/* The data of one event, its lines put together. */
static void
resume_data(struct buf *out, const char *p, const char *end)
{
	const char *stop;

	buf_clear(out);
	for (; p < end; p = stop + 1) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (stop == NULL)
			stop = end;
		if (stop - p >= 5 && memcmp(p, "data:", 5) == 0)
			buf_add(out, p + 5, (size_t)(stop - p) - 5);
		buf_add_char(out, '\n');
	}
}

MUST enum err_code
resume_read(struct resume *s, struct buf *out, const char *data, size_t len, struct err *e)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	const char *end = data + len, *stop;
	struct json event;

	for (; data < end; data = stop + 2) {
		stop = memmem(data, (size_t)(end - data), "\n\n", 2);
		if (stop == NULL)
			return err_set(e, ERR_MALFORMED, "half an event");
		resume_data(&line, data, stop);
		if (json_check(&event, buf_str(&line), line.len, e) != ERR_OK ||
			event.type != JSON_OBJECT)
			return err_set(e, ERR_MALFORMED, "an event that is no JSON object");
		if (s->later) {
			resume_put_event(s, out, event);
			/* what the client gets is what counts */
			resume_data(&line, out->data + s->seen, out->data + out->len - 2);
			if (json_check(&event, buf_str(&line), line.len, e) != ERR_OK)
				return err_set(e, ERR_MALFORMED, "an event without form");
			s->seen = out->len;
		} else {
			buf_add(out, data, (size_t)(stop + 2 - data));
		}
		resume_see(s, event);
	}
	s->seen = 0;
	return ERR_OK;
}

/* ---- from one attempt to the next ---- */

/* More than one choice, or more than text, is asked for. */
static bool
resume_asks_more(struct json body)
{
	static const char *const counts[] = {"n", "best_of"};
	static const char *const flags[] = {"logprobs", "echo"};
	struct json format = json_get(body, "response_format");
	struct json v;
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (json_u64(&n, json_get(body, counts[i])) && n > 1)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		v = json_get(body, flags[i]);
		if (json_is_true(v) || v.type == JSON_NUMBER)
			return true;
	}
	return json_get(body, "audio").type == JSON_OBJECT ||
	       (format.type == JSON_OBJECT && !json_equals(json_get(format, "type"), "text"));
}

/* Is there a place in the body to put a begun answer? */
static bool
resume_has_place(const struct resume *s, struct json body)
{
	struct json messages = json_get(body, "messages"), message, last = {0};
	struct json_iter it = json_iter(messages);

	if (s->endpoint != ROUTE_CHAT)
		return json_get(body, "prompt").type == JSON_STRING;
	while (json_next_item(&it, &message))
		last = message;
	return !json_equals(json_get(last, "role"), "assistant");
}

void
resume_turn(struct resume *s, const char *body, size_t len)
{
	struct json root;
	bool sound = s->policy == MID_STREAM_CONTINUE && !s->mixed &&
		     json_check(&root, body, len, NULL) == ERR_OK && !resume_asks_more(root) &&
		     resume_has_place(s, root);

	if (s->held.len > 0) { /* of a tool call: the client never saw it */
		buf_clear(&s->held);
		s->text.len = MIN(s->text.len, s->text_before);
	}
	s->calling = false;
	s->later = true;
	s->turn = sound ? RESUME_CONTINUE : RESUME_RESTART;
	s->marked = false;
}

void
resume_reset(struct resume *s)
{
	buf_clear(&s->held);
	buf_clear(&s->text);
	buf_clear(&s->owed);
	s->began = s->mixed = s->calling = s->finished = false;
	s->tokens = 0;
}

/* Bytes of the text without the white space at its end, which few backends take. */
static size_t
resume_solid(const struct resume *s)
{
	size_t n = s->text.len;

	while (n > 0 && strchr(" \t\r\n", s->text.data[n - 1]) != NULL)
		n--;
	return n;
}

/* The begun answer at the end of the conversation; the limit of tokens is what is left of it. */
static void
resume_put_member(const struct resume *s, struct buf *out, struct json key, struct json v)
{
	size_t n = resume_solid(s);
	uint64_t limit;

	if (json_equals(key, "messages") && s->endpoint == ROUTE_CHAT) {
		buf_add(out, v.p, v.len - 1);
		json_put_begin(out, '{');
		json_put_member_str(out, "role", "assistant");
		json_put_key(out, "content");
		json_put_string(out, buf_str(&s->text), n);
		buf_add_str(out, "}]");
	} else if (json_equals(key, "prompt") && s->endpoint != ROUTE_CHAT) {
		AUTO(buf_fini) struct buf prompt = BUF_INIT;

		json_text(&prompt, v);
		buf_add(&prompt, s->text.data, n);
		json_put_string(out, prompt.data, prompt.len);
	} else if ((json_equals(key, "max_tokens") || json_equals(key, "max_completion_tokens")) &&
		   json_u64(&limit, v)) {
		json_put_u64(out, limit > s->tokens ? limit - s->tokens : 1);
	} else {
		json_put_raw(out, v);
	}
}

uint32_t
resume_body(struct resume *s, struct buf *out, struct json body, uint32_t *model_at)
{
	size_t n = resume_solid(s);
	struct json_iter it = json_iter(body);
	struct json key, v;

	buf_clear(&s->owed);
	if (s->turn != RESUME_CONTINUE || n == 0)
		return 0;
	buf_add(&s->owed, s->text.data + n, s->text.len - n);
	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "fallbacks")) /* not for upstreams */
			continue;
		json_put_raw(out, key);
		buf_add_char(out, ':');
		if (json_equals(key, "model"))
			*model_at = (uint32_t)out->len;
		resume_put_member(s, out, key, v);
	}
	json_put_end(out, '}');
	return (uint32_t)n;
}

void
resume_mark(struct resume *s, struct buf *out, const struct resume_note *note)
{
	static const char *const names[] = {
		[RESUME_RESTART] = "restart", [RESUME_CONTINUE] = "continue"};
	bool chat = s->endpoint == ROUTE_CHAT;

	s->marked = true;
	buf_addf(out, ": shunt %s\ndata: {\"id\":%s,\"object\":\"%s\",\"created\":%s,\"model\":%s,",
		names[s->turn], s->id.len > 0 ? buf_str(&s->id) : "\"\"",
		chat ? "chat.completion.chunk" : "text_completion",
		s->created.len > 0 ? buf_str(&s->created) : "0",
		s->model.len > 0 ? buf_str(&s->model) : "\"\"");
	buf_addf(out, "\"choices\":[{\"index\":0,%s,\"finish_reason\":null}],\"x_shunt\":",
		chat ? "\"delta\":{}" : "\"text\":\"\"");
	json_put_begin(out, '{');
	json_put_member_str(out, "event", names[s->turn]);
	json_put_member_u64(out, "attempt", note->attempt);
	json_put_member_str(out, "model", note->model);
	json_put_member_str(out, "backend", note->backend);
	json_put_member_str(out, "code", err_name(note->code));
	json_put_member_u64(out, "text_bytes", s->text.len);
	buf_add_str(out, "}}\n\n");
	if (s->turn == RESUME_CONTINUE)
		return;
	buf_clear(&s->text);
	s->tokens = 0;
	s->mixed = s->finished = false;
}
