/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error_map.c - what an upstream's refusal means: status, body, and the words in it
 *
 * One table, first match wins. `kind` rows are compared with the body's error code and type,
 * `words` rows with its message; both ignore case.
 */
#include <stdio.h>
#include <string.h>

#include "workers/backend/backend.h"

enum { MESSAGE_MAX = 1024 };

enum field { ANYTHING, KIND, WORDS };

struct error_row {
	unsigned status_from, status_to; /* 0..999: any, in streams too */
	enum field field;
	const char *text;
	enum err_code code;
};

static const struct error_row error_rows[] = {
	{0, 999, KIND, "context_length_exceeded", ERR_CONTEXT_LENGTH},
	{0, 999, KIND, "exceed_context_size_error", ERR_CONTEXT_LENGTH},
	{0, 999, KIND, "too_many_prompt_tokens", ERR_CONTEXT_LENGTH},
	{0, 999, KIND, "request_too_large", ERR_CONTEXT_LENGTH},
	{0, 999, KIND, "content_filter", ERR_POLICY},
	{0, 999, KIND, "content_policy_violation", ERR_POLICY},
	{0, 999, KIND, "responsibleaipolicyviolation", ERR_POLICY},
	{0, 999, KIND, "moderation_blocked", ERR_POLICY},
	{0, 999, KIND, "model_not_found", ERR_UPSTREAM_MODEL},
	{0, 999, KIND, "deploymentnotfound", ERR_UPSTREAM_MODEL},
	{0, 999, KIND, "invalid_model", ERR_UPSTREAM_MODEL},
	{0, 999, KIND, "invalid_api_key", ERR_UPSTREAM_AUTH},
	{0, 999, KIND, "authentication_error", ERR_UPSTREAM_AUTH},
	{0, 999, KIND, "billing_error", ERR_UPSTREAM_AUTH},
	{0, 999, KIND, "rate_limit_error", ERR_RATE_LIMITED},
	{0, 999, KIND, "rate_limit_exceeded", ERR_RATE_LIMITED},
	{0, 999, KIND, "ratelimitreached", ERR_RATE_LIMITED},
	{0, 999, KIND, "insufficient_quota", ERR_RATE_LIMITED},
	{0, 999, KIND, "resource_exhausted", ERR_RATE_LIMITED},
	{0, 999, KIND, "overloaded_error", ERR_OVERLOADED},
	{0, 999, KIND, "unavailable_error", ERR_OVERLOADED},
	{0, 999, KIND, "service_unavailable", ERR_OVERLOADED},
	{0, 999, KIND, "timeout_error", ERR_TIMEOUT},
	{0, 999, KIND, "not_supported_error", ERR_UNSUPPORTED},
	{0, 999, KIND, "unsupported_value", ERR_UNSUPPORTED},
	{0, 999, KIND, "unsupported_parameter", ERR_UNSUPPORTED},
	{403, 403, WORDS, "flagged", ERR_POLICY},
	{403, 403, WORDS, "moderation", ERR_POLICY},
	{401, 403, ANYTHING, NULL, ERR_UPSTREAM_AUTH},
	{408, 408, ANYTHING, NULL, ERR_TIMEOUT},
	{413, 413, ANYTHING, NULL, ERR_CONTEXT_LENGTH},
	{429, 429, ANYTHING, NULL, ERR_RATE_LIMITED},
	{501, 501, ANYTHING, NULL, ERR_UNSUPPORTED},
	{503, 503, ANYTHING, NULL, ERR_OVERLOADED},
	{504, 504, ANYTHING, NULL, ERR_TIMEOUT},
	{522, 522, ANYTHING, NULL, ERR_CONNECT},
	{524, 524, ANYTHING, NULL, ERR_TIMEOUT},
	{529, 529, ANYTHING, NULL, ERR_OVERLOADED},
	{0, 599, WORDS, "context length", ERR_CONTEXT_LENGTH},
	{0, 599, WORDS, "context size", ERR_CONTEXT_LENGTH},
	{0, 599, WORDS, "context window", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "prompt is too long", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "prompt too long", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "messages is too long", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "token limit", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "too many tokens", ERR_CONTEXT_LENGTH},
	{0, 499, WORDS, "content policy", ERR_POLICY},
	{0, 499, WORDS, "content management policy", ERR_POLICY},
	{0, 499, WORDS, "api key", ERR_UPSTREAM_AUTH},
	{404, 404, WORDS, "model", ERR_UPSTREAM_MODEL},
	{0, 499, WORDS, "model not found", ERR_UPSTREAM_MODEL},
	{400, 422, WORDS, "is not a valid model", ERR_UPSTREAM_MODEL},
	{400, 422, WORDS, "supported models are", ERR_UPSTREAM_MODEL},
	{400, 599, WORDS, "not supported", ERR_UNSUPPORTED},
	{400, 599, WORDS, "does not support", ERR_UNSUPPORTED},
	{0, 0, WORDS, "overloaded", ERR_OVERLOADED},
	{0, 0, WORDS, "rate limit", ERR_RATE_LIMITED},
	{400, 400, ANYTHING, NULL, ERR_BAD_REQUEST},
	{409, 409, ANYTHING, NULL, ERR_BAD_REQUEST},
	{415, 422, ANYTHING, NULL, ERR_BAD_REQUEST},
	{0, 0, KIND, "invalid_request_error", ERR_BAD_REQUEST},
	{0, 999, ANYTHING, NULL, ERR_UPSTREAM},
};

/* What an error body says, decoded. */
struct complaint {
	char type[64], code[64];
	char message[MESSAGE_MAX];
	char reset[40]; /* a rate limit's reset that the body quotes */
	unsigned status;
};

/* Members of an error object under any of its usual names. */
static void
complaint_members(struct complaint *c, struct json error)
{
	static const char *const message_names[] = {"message", "msg", "detail", "error"};
	struct json v;
	uint64_t status;

	for (size_t i = 0; c->message[0] == '\0' && i < ARRAY_LEN(message_names); i++) {
		AUTO(buf_fini) struct buf text = BUF_INIT;

		json_text(&text, json_get(error, message_names[i]));
		(void)msg_str_copy(c->message, sizeof(c->message), msg_str(buf_str(&text)));
	}
	if (c->type[0] == '\0')
		(void)json_copy_text(c->type, sizeof(c->type), json_get(error, "type"));
	v = json_get(error, "code");
	if (c->code[0] == '\0')
		(void)json_copy_text(c->code, sizeof(c->code), v);
	if (c->status == 0 &&
		(json_u64(&status, v) || json_u64(&status, json_get(error, "status_code"))))
		c->status = status < 1000 ? (unsigned)status : 0;
	v = json_path(error, "metadata.headers.X-RateLimit-Reset");
	(void)json_copy_text(c->reset, sizeof(c->reset), v);
}

static void
complaint_read(struct complaint *c, const char *body, size_t len)
{
	struct json whole, error, item;
	struct json_iter it;
	struct err ignored;

	*c = (struct complaint){0};
	if (len == 0 || json_check(&whole, body, len, &ignored) != ERR_OK)
		return;
	if (whole.type == JSON_ARRAY) { /* Google wraps its errors so */
		it = json_iter(whole);
		if (json_next_item(&it, &item))
			whole = item;
	}
	error = json_get(whole, "error");
	if (error.type != JSON_OBJECT && json_get(whole, "detail").type == JSON_ARRAY) {
		it = json_iter(json_get(whole, "detail"));
		if (json_next_item(&it, &item))
			error = item;
	}
	if (error.type == JSON_OBJECT)
		complaint_members(c, error);
	if (whole.type == JSON_OBJECT)
		complaint_members(c, whole);
}

static bool
error_row_matches(const struct error_row *row, unsigned status, const struct complaint *c)
{
	if (status < row->status_from || status > row->status_to)
		return false;
	switch (row->field) {
	case KIND:
		return strcasecmp(c->type, row->text) == 0 || strcasecmp(c->code, row->text) == 0;
	case WORDS:
		return strcasestr(c->message, row->text) != NULL;
	case ANYTHING:
		break;
	}
	return true;
}

/* One printable line. */
static void
one_line(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

static void
error_text(struct err *e, enum err_code code, const struct refusal *r, struct complaint *c)
{
	one_line(c->message);
	if (code == ERR_UPSTREAM_AUTH) /* such messages like to quote the key */
		(void)err_set(e, code, "the upstream refused its API key (status %u)", r->status);
	else if (c->message[0] == '\0')
		(void)err_set(e, code, "the upstream answered with status %u", r->status);
	else if (r->status == 0)
		(void)err_set(e, code, "the upstream broke off: %.300s", c->message);
	else
		(void)err_set(e, code, "the upstream answered with status %u: %.300s", r->status,
			c->message);
}

/* "Please try again in 1m2.5s" in a message; a hint of last resort. */
static void
hint_in_message(char *out, size_t size, const char *message)
{
	const char *at = strcasestr(message, "try again in ");
	size_t n = 0;

	out[0] = '\0';
	if (at == NULL)
		return;
	at += strlen("try again in ");
	while (n + 1 < size && (strchr("hms.", at[n]) != NULL || (at[n] >= '0' && at[n] <= '9')) &&
		at[n] != '\0') {
		out[n] = at[n];
		n++;
	}
	while (n > 0 && out[n - 1] == '.')
		n--;
	out[n] = '\0';
}

static uint32_t
error_retry_ms(const struct refusal *r, const struct complaint *c, bool limited)
{
	struct retry_hints said = {0};
	uint32_t ms = r->hints == NULL ? 0 : retry_hint_ms(r->hints, limited, r->now_wall_ms);

	if (ms != 0)
		return ms;
	if (c->reset[0] != '\0') {
		(void)msg_str_copy(
			said.limits[0].reset, sizeof(said.limits[0].reset), msg_str(c->reset));
		said.limits_len = 1;
		return retry_hint_ms(&said, true, r->now_wall_ms);
	}
	hint_in_message(said.limits[0].reset, sizeof(said.limits[0].reset), c->message);
	said.limits_len = said.limits[0].reset[0] != '\0' ? 1 : 0;
	return retry_hint_ms(&said, true, r->now_wall_ms);
}

enum err_code
error_map(struct err *e, const struct refusal *r)
{
	const struct error_row *row = error_rows;
	struct complaint c;
	unsigned status;

	complaint_read(&c, r->body, r->len);
	status = r->status >= 300 || c.status == 0 ? r->status : c.status;
	if (status >= 200 && status < 300)
		status = c.status;
	while (!error_row_matches(row, status, &c))
		row++; /* the last one matches everything */
	error_text(e, row->code, r, &c);
	e->retry_after_ms = 0;
	if (!(status >= 400 && status < 500) || status == 429 || row->code == ERR_RATE_LIMITED)
		e->retry_after_ms = error_retry_ms(r, &c, row->code == ERR_RATE_LIMITED);
	return row->code;
}
