/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_anthropic.c - Anthropic's messages API: typed stream events to OpenAI's chunks
 *
 * Text blocks are the content, thinking blocks the reasoning, tool_use blocks the tool calls.
 * Blocks of tools that Anthropic runs on its own side are its business: a request translated from
 * OpenAI's shape can't ask for them, so they are skipped.
 */
#include <string.h>

#include "workers/backend/backend.h"

static const char *
anthropic_finish(struct json reason)
{
	static const char *const map[][2] = {
		{"end_turn", "stop"},
		{"stop_sequence", "stop"},
		{"pause_turn", "stop"},
		{"tool_use", "tool_calls"},
		{"max_tokens", "length"},
		{"model_context_window_exceeded", "length"},
		{"refusal", "content_filter"},
	};

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (json_equals(reason, map[i][0]))
			return map[i][1];
	return "stop";
}

/* Later figures replace earlier ones; what isn't said stays. Their input count leaves out what came
 * from the cache, ours has it all. */
static void
anthropic_usage(struct answer *a, struct json usage)
{
	struct json input = json_get(usage, "input_tokens"),
		    output = json_get(usage, "output_tokens");
	struct json thought = json_path(usage, "output_tokens_details.thinking_tokens");

	if (usage.type != JSON_OBJECT)
		return;
	if (input.type == JSON_NUMBER) {
		a->usage.cached = answer_u32(json_get(usage, "cache_read_input_tokens"));
		a->usage.prompt = answer_u32(input) + a->usage.cached +
				  answer_u32(json_get(usage, "cache_creation_input_tokens"));
		a->usage.known = true;
	}
	if (output.type == JSON_NUMBER)
		a->usage.completion = answer_u32(output);
	if (thought.type == JSON_NUMBER)
		a->usage.reasoning = answer_u32(thought);
}

static void
anthropic_identity(struct answer *a, struct json message)
{
	struct json id = json_get(message, "id");

	if (id.type == JSON_STRING && id.len > 2)
		(void)json_copy_text(a->id, sizeof(a->id), id);
	(void)json_copy_text(a->model, sizeof(a->model), json_get(message, "model"));
}

static void
anthropic_delta(struct answer *a, const char *member, struct json text)
{
	if (text.type != JSON_STRING || text.len <= 2)
		return;
	answer_chunk_begin(a);
	json_put_member_raw(&a->out, member, text);
	answer_chunk_end(a, NULL);
	a->tokens++;
}

/* More of the arguments of tool call number i. text is a JSON string or, at the end of a call that
 * had none, JSON_NONE for "{}". */
static void
anthropic_arguments(struct answer *a, size_t i, struct json text)
{
	struct buf *b = &a->out;

	answer_chunk_begin(a);
	json_put_key(b, "tool_calls");
	buf_add_str(b, "[{");
	json_put_member_u64(b, "index", i);
	json_put_key(b, "function");
	buf_add_char(b, '{');
	json_put_key(b, "arguments");
	if (text.type == JSON_STRING)
		json_put_raw(b, text);
	else if (text.type == JSON_OBJECT)
		json_put_string(b, text.p, text.len);
	else
		json_put_str(b, "{}");
	buf_add_str(b, "}}]");
	answer_chunk_end(a, NULL);
	a->tokens++;
	a->blocks[i].has_arguments = true;
}

static struct tool_block *
anthropic_open_block(struct answer *a, uint32_t block)
{
	for (size_t i = a->tools; i > 0; i--)
		if (a->blocks[i - 1].open && a->blocks[i - 1].block == block)
			return &a->blocks[i - 1];
	return NULL;
}

static enum err_code
anthropic_block_start(struct answer *a, struct json v, struct err *e)
{
	struct json block = json_get(v, "content_block"), type = json_get(block, "type");
	struct json input = json_get(block, "input");

	if (json_equals(type, "text")) {
		anthropic_delta(a, "content", json_get(block, "text"));
	} else if (json_equals(type, "thinking")) {
		anthropic_delta(a, "reasoning_content", json_get(block, "thinking"));
	} else if (json_equals(type, "tool_use")) {
		if (a->tools == TOOL_BLOCKS_MAX)
			return err_set(
				e, ERR_MALFORMED, "more than %d tool calls", TOOL_BLOCKS_MAX);
		a->blocks[a->tools] = (struct tool_block){
			.block = answer_u32(json_get(v, "index")), .open = true};
		answer_chunk_begin(a);
		json_put_key(&a->out, "tool_calls");
		json_put_begin(&a->out, '[');
		answer_put_tool_call(a, &a->out, json_get(block, "id"), json_get(block, "name"));
		json_put_str(&a->out, "");
		buf_add_str(&a->out, "}}]");
		answer_chunk_end(a, NULL);
		a->tokens++;
		if (input.type == JSON_OBJECT && input.len > 2)
			anthropic_arguments(a, a->tools - 1, input);
	}
	return ERR_OK;
}

static void
anthropic_block_delta(struct answer *a, struct json v)
{
	struct json delta = json_get(v, "delta"), type = json_get(delta, "type"), text;
	struct tool_block *block;

	if (json_equals(type, "text_delta")) {
		anthropic_delta(a, "content", json_get(delta, "text"));
	} else if (json_equals(type, "thinking_delta")) {
		anthropic_delta(a, "reasoning_content", json_get(delta, "thinking"));
	} else if (json_equals(type, "signature_delta")) {
		anthropic_delta(a, "reasoning_signature", json_get(delta, "signature"));
	} else if (json_equals(type, "input_json_delta")) {
		block = anthropic_open_block(a, answer_u32(json_get(v, "index")));
		text = json_get(delta, "partial_json");
		if (block != NULL && text.type == JSON_STRING && text.len > 2)
			anthropic_arguments(a, (size_t)(block - a->blocks), text);
	}
}

static void
anthropic_block_stop(struct answer *a, struct json v)
{
	struct tool_block *block = anthropic_open_block(a, answer_u32(json_get(v, "index")));

	if (block == NULL)
		return;
	if (!block->has_arguments) /* clients parse the arguments: give them an object */
		anthropic_arguments(a, (size_t)(block - a->blocks), (struct json){0});
	block->open = false;
}

static void
anthropic_message_delta(struct answer *a, struct json v)
{
	struct json reason = json_path(v, "delta.stop_reason");

	anthropic_usage(a, json_get(v, "usage"));
	if (reason.type != JSON_STRING)
		return;
	answer_set_finish(a, anthropic_finish(reason));
	answer_chunk_begin(a);
	answer_chunk_end(a, a->finish_reason);
}

static enum err_code
anthropic_event(struct answer *a, const char *name, const char *data, size_t len, struct err *e)
{
	enum err_code code;
	struct json v, type;

	(void)name;
	code = answer_parse(&v, data, len, e);
	if (code != ERR_OK)
		return code;
	type = json_get(v, "type");
	if (json_equals(type, "content_block_delta")) {
		anthropic_block_delta(a, v);
	} else if (json_equals(type, "content_block_start")) {
		return anthropic_block_start(a, v, e);
	} else if (json_equals(type, "content_block_stop")) {
		anthropic_block_stop(a, v);
	} else if (json_equals(type, "message_start")) {
		anthropic_identity(a, json_get(v, "message"));
		anthropic_usage(a, json_path(v, "message.usage"));
		answer_chunk_begin(a);
		json_put_member_str(&a->out, "content", "");
		answer_chunk_end(a, NULL);
	} else if (json_equals(type, "message_delta")) {
		anthropic_message_delta(a, v);
	} else if (json_equals(type, "message_stop")) {
		if (a->want_usage)
			answer_usage_chunk(a);
		a->done = true;
	} else if (json_equals(type, "error") || json_get(v, "error").type == JSON_OBJECT) {
		return answer_refused(a, v, e);
	}
	return ERR_OK;
}

/* ---- whole answers ---- */

/* The texts of all blocks of one type, decoded and joined. */
static void
anthropic_join(struct buf *out, struct json content, const char *type, const char *member)
{
	struct json_iter it = json_iter(content);
	struct json block;

	while (json_next_item(&it, &block))
		if (json_equals(json_get(block, "type"), type))
			json_text(out, json_get(block, member));
}

static void
anthropic_put_joined(struct buf *b, const char *name, const struct buf *text)
{
	if (text->len == 0)
		return;
	json_put_key(b, name);
	json_put_string(b, text->data, text->len);
}

static void
anthropic_tool_calls(struct answer *a, struct buf *b, struct json content)
{
	struct json_iter it = json_iter(content);
	struct json block, input;

	while (json_next_item(&it, &block)) {
		if (!json_equals(json_get(block, "type"), "tool_use"))
			continue;
		if (a->tools == 0) {
			json_put_key(b, "tool_calls");
			json_put_begin(b, '[');
		}
		answer_put_tool_call(a, b, json_get(block, "id"), json_get(block, "name"));
		input = json_get(block, "input");
		if (input.type == JSON_OBJECT)
			json_put_string(b, input.p, input.len);
		else
			json_put_str(b, "{}");
		buf_add_str(b, "}}");
	}
	if (a->tools > 0)
		json_put_end(b, ']');
}

static void
anthropic_message(struct answer *a, struct buf *b, struct json content)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf thought = BUF_INIT;
	AUTO(buf_fini) struct buf signature = BUF_INIT;

	anthropic_join(&text, content, "text", "text");
	anthropic_join(&thought, content, "thinking", "thinking");
	anthropic_join(&signature, content, "thinking", "signature");
	json_put_begin(b, '{');
	json_put_member_str(b, "role", "assistant");
	anthropic_put_joined(b, "reasoning_content", &thought);
	anthropic_put_joined(b, "reasoning_signature", &signature);
	anthropic_tool_calls(a, b, content);
	json_put_key(b, "content");
	if (text.len > 0 || a->tools == 0)
		json_put_string(b, buf_str(&text), text.len);
	else
		json_put_null(b);
	json_put_end(b, '}');
}

static enum err_code
anthropic_whole(struct answer *a, struct buf *body, struct err *e)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	enum err_code code;
	struct json v, content;

	code = answer_parse(&v, buf_str(body), body->len, e);
	if (code != ERR_OK)
		return code;
	if (json_equals(json_get(v, "type"), "error") || json_get(v, "error").type == JSON_OBJECT)
		return answer_refused(a, v, e);
	content = json_get(v, "content");
	if (content.type != JSON_ARRAY)
		return err_set(e, ERR_MALFORMED, "the answer has no \"content\"");
	anthropic_identity(a, v);
	anthropic_usage(a, json_get(v, "usage"));
	answer_set_finish(a, anthropic_finish(json_get(v, "stop_reason")));
	answer_head(a, &out, "chat.completion");
	json_put_key(&out, "choices");
	buf_add_str(&out, "[{\"index\":0");
	json_put_key(&out, "message");
	anthropic_message(a, &out, content);
	json_put_member_str(&out, "finish_reason", a->finish_reason);
	buf_add_str(&out, "}]");
	answer_put_usage(&out, &a->usage);
	json_put_end(&out, '}');
	buf_clear(body);
	buf_add(body, out.data, out.len);
	return ERR_OK;
}

/* ---- probe: the list of models ---- */

static bool
anthropic_probe_next(struct probe *p)
{
	if (p->step++ > 0)
		return false;
	buf_add_str(&p->path, "/v1/models?limit=1000");
	return true;
}

static enum err_code
anthropic_probe_answer(struct probe *p, unsigned status, struct json body, struct err *e)
{
	struct json data = json_get(body, "data"), item, v;
	struct json_iter it = json_iter(data);
	struct probe_model *m;

	if (status >= 300)
		return ERR_OK;
	if (data.type != JSON_ARRAY)
		return err_set(e, ERR_MALFORMED, "its list of models has no \"data\"");
	while (json_next_item(&it, &item)) {
		m = probe_add(p, json_get(item, "id"));
		if (m == NULL)
			continue;
		m->endpoints = 1U << MSG_ENDPOINT_CHAT;
		m->tools = TRI_YES;
		m->context_tokens = answer_u32(json_get(item, "max_input_tokens"));
		v = json_path(item, "capabilities.image_input.supported");
		if (v.type == JSON_BOOL)
			m->vision = json_is_true(v) ? TRI_YES : TRI_NO;
		v = json_path(item, "capabilities.structured_outputs.supported");
		if (v.type == JSON_BOOL)
			m->json = json_is_true(v) ? TRI_YES : TRI_NO;
	}
	p->listed = true;
	return ERR_OK;
}

const struct backend_kind backend_kind_anthropic = {
	.name = "anthropic",
	.transport = &transport_http,
	.framing = FRAMING_SSE,
	.auth = AUTH_X_API_KEY,
	.extra_header = "anthropic-version: 2023-06-01",
	.request = anthropic_request,
	.event = anthropic_event,
	.whole = anthropic_whole,
	.probe_next = anthropic_probe_next,
	.probe_answer = anthropic_probe_answer,
};
