/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - an upstream's answer on its way to OpenAI's shape
 *
 * The kind's functions do the translating; here are the state they share and the writing of chunks.
 */
#include <stdio.h>
#include <string.h>

#include "workers/backend/backend.h"

void
answer_init(struct answer *a, const struct backend_kind *kind, enum msg_endpoint endpoint)
{
	memset(a, 0, offsetof(struct answer, blocks));
	a->kind = kind;
	a->endpoint = endpoint;
	a->sse.max_bytes = EVENT_MAX_BYTES;
	a->ndjson.max_bytes = EVENT_MAX_BYTES;
}

void
answer_fini(struct answer *a)
{
	buf_fini(&a->out);
	buf_fini(&a->error_body);
	sse_fini(&a->sse);
	ndjson_fini(&a->ndjson);
}

static enum err_code
answer_event(void *arg, const char *name, const char *data, size_t len, struct err *e)
{
	struct answer *a = arg;

	if (a->done) /* the upstream talks on after its end: not ours any more */
		return ERR_OK;
	a->events++;
	return a->kind->event(a, name, data, len, e);
}

MUST enum err_code
answer_feed(struct answer *a, const char *p, size_t len, struct err *e)
{
	if (a->kind->framing == FRAMING_NDJSON)
		return ndjson_feed(&a->ndjson, p, len, answer_event, a, e);
	return sse_feed(&a->sse, p, len, answer_event, a, e);
}

MUST enum err_code
answer_end(struct answer *a, struct err *e)
{
	enum err_code code;

	if (a->kind->framing == FRAMING_NDJSON)
		code = ndjson_end(&a->ndjson, answer_event, a, e);
	else
		code = sse_end(&a->sse, answer_event, a, e);
	if (code == ERR_MALFORMED) /* half an event is how a cut looks */
		return err_set(e, ERR_CUT, "the stream ended within an event");
	if (code != ERR_OK || a->done)
		return code;
	if (a->events == 0 && a->sse.foreign)
		return err_set(e, ERR_MALFORMED, "the answer is not an event stream");
	/* Some never send [DONE]; a finish reason is as good. */
	if (a->finish_reason[0] != '\0' && (a->begun_choices & ~a->ended_choices) == 0) {
		a->done = true;
		return ERR_OK;
	}
	if (a->events == 0)
		return err_set(e, ERR_CUT, "the stream ended without any event");
	return err_set(e, ERR_CUT, "the stream ended before the answer did");
}

MUST enum err_code
answer_whole(struct answer *a, struct buf *body, struct err *e)
{
	enum err_code code = a->kind->whole(a, body, e);

	if (code == ERR_OK)
		a->done = true;
	return code;
}

MUST enum err_code
answer_parse(struct json *out, const char *data, size_t len, struct err *e)
{
	struct err detail;

	if (json_check(out, data, len, &detail) != ERR_OK)
		return err_set(
			e, ERR_MALFORMED, "the upstream sent broken JSON: %.200s", detail.text);
	if (out->type != JSON_OBJECT)
		return err_set(e, ERR_MALFORMED, "the upstream sent JSON that is no object");
	return ERR_OK;
}

MUST enum err_code
answer_refused(struct answer *a, struct json whole, struct err *e)
{
	const struct refusal r = {.body = whole.p, .len = whole.len};
	enum err_code code = error_map(e, &r);

	buf_clear(&a->error_body);
	if (code != ERR_UPSTREAM_AUTH) /* that one may quote the key */
		buf_add(&a->error_body, whole.p, MIN(whole.len, (size_t)ERROR_BODY_MAX));
	return code;
}

uint32_t
answer_u32(struct json v)
{
	uint64_t n;

	return json_u64(&n, v) ? (uint32_t)MIN(n, (uint64_t)UINT32_MAX) : 0;
}

void
answer_set_finish(struct answer *a, const char *reason)
{
	(void)msg_str_copy(a->finish_reason, sizeof(a->finish_reason), msg_str(reason));
}

void
answer_head(struct answer *a, struct buf *b, const char *object)
{
	json_put_begin(b, '{');
	json_put_member_str(b, "id", a->id);
	json_put_member_str(b, "object", object);
	json_put_member_u64(b, "created", a->created_s);
	json_put_member_str(b, "model", a->model);
}

void
answer_chunk_begin(struct answer *a)
{
	struct buf *b = &a->out;

	buf_add_str(b, "data: ");
	answer_head(a, b, "chat.completion.chunk");
	json_put_key(b, "choices");
	json_put_begin(b, '[');
	json_put_begin(b, '{');
	json_put_member_u64(b, "index", 0);
	json_put_key(b, "delta");
	json_put_begin(b, '{');
	if (!a->begun)
		json_put_member_str(b, "role", "assistant");
	a->begun = true;
}

static void
answer_put_finish(struct buf *b, const char *finish)
{
	json_put_key(b, "finish_reason");
	if (finish == NULL)
		json_put_null(b);
	else
		json_put_str(b, finish);
}

void
answer_chunk_end(struct answer *a, const char *finish)
{
	struct buf *b = &a->out;

	json_put_end(b, '}');
	answer_put_finish(b, finish);
	buf_add_str(b, "}]}\n\n");
}

void
answer_chunk_logprobs(struct answer *a, struct json tokens)
{
	struct buf *b = &a->out;

	b->len -= strlen("}]}\n\n");
	json_put_key(b, "logprobs");
	json_put_begin(b, '{');
	json_put_member_raw(b, "content", tokens);
	buf_add_str(b, "}}]}\n\n");
}

void
answer_text_chunk(struct answer *a, struct json text, const char *finish)
{
	struct buf *b = &a->out;

	a->begun = true;
	buf_add_str(b, "data: ");
	answer_head(a, b, "text_completion");
	json_put_key(b, "choices");
	buf_add_str(b, "[{\"index\":0");
	json_put_key(b, "text");
	if (text.type == JSON_STRING)
		json_put_raw(b, text);
	else
		json_put_str(b, "");
	json_put_key(b, "logprobs");
	json_put_null(b);
	answer_put_finish(b, finish);
	buf_add_str(b, "}]}\n\n");
}

void
answer_put_usage(struct buf *b, const struct usage *u)
{
	json_put_key(b, "usage");
	json_put_begin(b, '{');
	json_put_member_u64(b, "prompt_tokens", u->prompt);
	json_put_member_u64(b, "completion_tokens", u->completion);
	json_put_member_u64(b, "total_tokens", (uint64_t)u->prompt + u->completion);
	json_put_key(b, "prompt_tokens_details");
	json_put_begin(b, '{');
	json_put_member_u64(b, "cached_tokens", u->cached);
	json_put_end(b, '}');
	json_put_key(b, "completion_tokens_details");
	json_put_begin(b, '{');
	json_put_member_u64(b, "reasoning_tokens", u->reasoning);
	json_put_end(b, '}');
	json_put_end(b, '}');
}

void
answer_usage_chunk(struct answer *a)
{
	struct buf *b = &a->out;

	buf_add_str(b, "data: ");
	answer_head(a, b,
		a->endpoint == MSG_ENDPOINT_CHAT ? "chat.completion.chunk" : "text_completion");
	json_put_key(b, "choices");
	buf_add_str(b, "[]");
	answer_put_usage(b, &a->usage);
	buf_add_str(b, "}\n\n");
}

/* One complete or beginning call inside a "tool_calls" array, up to its arguments' key. The id is
 * the upstream's, or made of the answer's id and the call's index: the same however often asked. */
void
answer_put_tool_call(struct answer *a, struct buf *b, struct json id, struct json name)
{
	char made[ANSWER_ID_MAX + 32];

	json_put_begin(b, '{');
	json_put_member_u64(b, "index", a->tools);
	json_put_key(b, "id");
	if (id.type == JSON_STRING && id.len > 2) {
		json_put_raw(b, id);
	} else {
		(void)snprintf(made, sizeof(made), "call_%s_%u", a->id, a->tools);
		json_put_str(b, made);
	}
	json_put_member_str(b, "type", "function");
	json_put_key(b, "function");
	json_put_begin(b, '{');
	json_put_key(b, "name");
	if (name.type == JSON_STRING)
		json_put_raw(b, name);
	else
		json_put_str(b, "");
	json_put_key(b, "arguments");
	a->tools++;
}

void
answer_put_base64_floats(struct buf *b, const float *values, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	AUTO(buf_fini) struct buf raw = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (size_t k = 0; k < len; k++) {
		uint32_t bits;
		char le[4];

		memcpy(&bits, &values[k], sizeof(bits));
		for (unsigned i = 0; i < 4; i++)
			le[i] = (char)(bits >> (8 * i));
		buf_add(&raw, le, sizeof(le));
	}
	for (size_t i = 0; i < raw.len; i += 3) {
		uint32_t w = (uint32_t)(unsigned char)raw.data[i] << 16;

		if (i + 1 < raw.len)
			w |= (uint32_t)(unsigned char)raw.data[i + 1] << 8;
		if (i + 2 < raw.len)
			w |= (unsigned char)raw.data[i + 2];
		buf_add_char(&text, digits[w >> 18 & 63]);
		buf_add_char(&text, digits[w >> 12 & 63]);
		buf_add_char(&text, i + 1 < raw.len ? digits[w >> 6 & 63] : '=');
		buf_add_char(&text, i + 2 < raw.len ? digits[w & 63] : '=');
	}
	json_put_string(b, buf_str(&text), text.len);
}

void
answer_put_base64(struct buf *b, struct json numbers)
{
	AUTO(buf_fini) struct buf values = BUF_INIT;
	struct json_iter it = json_iter(numbers);
	struct json item;
	double v;

	while (json_next_item(&it, &item)) {
		float f = json_double(&v, item) ? (float)v : 0;

		buf_add(&values, &f, sizeof(f));
	}
	answer_put_base64_floats(
		b, (const float *)(const void *)values.data, values.len / sizeof(float));
}
