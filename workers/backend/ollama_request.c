/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ollama_request.c - an OpenAI request as Ollama's native API wants it
 */
#include <string.h>

#include "workers/backend/backend.h"

static const char ollama[] = "Ollama";

static enum err_code
put_image(struct buf *images, struct json part, struct err *e)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	struct json v = json_get(part, "image_url");
	struct slice media, data;

	json_text(&url, v.type == JSON_OBJECT ? json_get(v, "url") : v);
	if (!request_data_url(&media, &data, &url))
		return request_unsupported(e, ollama, "an image by URL (only base64 data: URLs)");
	json_put_string(images, data.p, data.len);
	return ERR_OK;
}

/* Text to "content", images to "images". */
static enum err_code
put_content(struct buf *b, struct json content, struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf images = BUF_INIT;
	struct json_iter it;
	struct json part, type;
	enum err_code code;

	json_put_key(b, "content");
	if (content.type == JSON_STRING) {
		json_put_raw(b, content);
		return ERR_OK;
	}
	it = json_iter(content);
	while (content.type == JSON_ARRAY && json_next_item(&it, &part)) {
		type = json_get(part, "type");
		if (json_equals(type, "text")) {
			json_text(&text, json_get(part, "text"));
		} else if (json_equals(type, "image_url")) {
			code = put_image(&images, part, e);
			if (code != ERR_OK)
				return code;
		} else {
			return request_unsupported(
				e, ollama, "a content part other than text and image");
		}
	}
	json_put_string(b, buf_str(&text), text.len);
	if (images.len > 0) {
		json_put_key(b, "images");
		json_put_begin(b, '[');
		buf_add(b, images.data, images.len);
		json_put_end(b, ']');
	}
	return ERR_OK;
}

static enum err_code
put_tool_calls(struct buf *b, struct json calls, struct err *e)
{
	struct json_iter it = json_iter(calls);
	struct json call, id;
	enum err_code code;

	json_put_key(b, "tool_calls");
	json_put_begin(b, '[');
	while (json_next_item(&it, &call)) {
		AUTO(buf_fini) struct buf arguments = BUF_INIT;

		code = request_arguments(&arguments, json_path(call, "function.arguments"), e);
		if (code != ERR_OK)
			return code;
		json_put_begin(b, '{');
		id = json_get(call, "id");
		if (id.type == JSON_STRING)
			json_put_member_raw(b, "id", id);
		json_put_key(b, "function");
		json_put_begin(b, '{');
		id = json_path(call, "function.name");
		if (id.type == JSON_STRING)
			json_put_member_raw(b, "name", id);
		json_put_key(b, "arguments");
		buf_add(b, arguments.data, arguments.len);
		json_put_end(b, '}');
		json_put_end(b, '}');
	}
	json_put_end(b, ']');
	return ERR_OK;
}

/* The tool calls of the latest message that had some: what results that follow are of. Ids begin
 * anew with some servers, so older calls must not answer for them. */
struct asked_tools {
	struct {
		struct json id, name;
	} call[TOOL_BLOCKS_MAX];
	size_t len;
};

static void
asked_tools_read(struct asked_tools *t, struct json calls)
{
	struct json_iter it = json_iter(calls);
	struct json call;

	t->len = 0;
	while (t->len < TOOL_BLOCKS_MAX && json_next_item(&it, &call)) {
		t->call[t->len].id = json_get(call, "id");
		t->call[t->len++].name = json_path(call, "function.name");
	}
}

static struct json
asked_tools_name(const struct asked_tools *t, struct json id)
{
	AUTO(buf_fini) struct buf want = BUF_INIT;

	json_text(&want, id);
	for (size_t i = 0; i < t->len; i++)
		if (json_equals(t->call[i].id, buf_str(&want)))
			return t->call[i].name;
	return (struct json){0};
}

static enum err_code
put_message(struct buf *b, struct asked_tools *tools, struct json message, struct err *e)
{
	struct json role = json_get(message, "role"), v, name;
	enum err_code code;

	if (json_equals(role, "function"))
		return request_unsupported(e, ollama, "a message with the old role \"function\"");
	json_put_begin(b, '{');
	if (json_equals(role, "developer"))
		json_put_member_str(b, "role", "system");
	else if (role.type == JSON_STRING)
		json_put_member_raw(b, "role", role);
	code = put_content(b, json_get(message, "content"), e);
	if (code != ERR_OK)
		return code;
	v = json_get(message, "reasoning_content");
	if (v.type == JSON_STRING)
		json_put_member_raw(b, "thinking", v);
	v = json_get(message, "tool_calls");
	if (v.type == JSON_ARRAY) {
		asked_tools_read(tools, v);
		code = put_tool_calls(b, v, e);
		if (code != ERR_OK)
			return code;
	}
	v = json_get(message, "tool_call_id");
	if (v.type == JSON_STRING) {
		json_put_member_raw(b, "tool_call_id", v);
		name = asked_tools_name(tools, v);
		if (name.type == JSON_STRING)
			json_put_member_raw(b, "tool_name", name);
	}
	json_put_end(b, '}');
	return ERR_OK;
}

/* Members of OpenAI's body that are Ollama options, by both names. */
static void
put_options(struct upstream_request *r, struct json body)
{
	static const char *const same[] = {"temperature", "top_p", "top_k", "min_p", "seed",
		"frequency_penalty", "presence_penalty", "repeat_penalty", "num_ctx"};
	struct buf *b = &r->own;
	struct json v = json_get(body, "options"), key;
	struct json_iter it = json_iter(v);
	uint64_t max = request_max_tokens(body);

	json_put_key(b, "options");
	json_put_begin(b, '{');
	while (v.type == JSON_OBJECT && json_next_member(&it, &key, &v)) {
		json_put_raw(b, key);
		buf_add_char(b, ':');
		json_put_raw(b, v);
		v.type = JSON_OBJECT;
	}
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		if (request_says(json_get(body, same[i])))
			json_put_member_raw(b, same[i], json_get(body, same[i]));
	if (max != 0)
		json_put_member_u64(b, "num_predict", max);
	v = json_get(body, "stop");
	if (v.type == JSON_ARRAY) {
		json_put_member_raw(b, "stop", v);
	} else if (v.type == JSON_STRING) {
		json_put_key(b, "stop");
		json_put_begin(b, '[');
		json_put_raw(b, v);
		json_put_end(b, ']');
	}
	json_put_end(b, '}');
}

static void
put_format(struct buf *b, struct json body)
{
	struct json format = json_get(body, "response_format"), v;

	if (json_equals(json_get(format, "type"), "json_object"))
		json_put_member_str(b, "format", "json");
	v = json_path(format, "json_schema.schema");
	if (v.type == JSON_OBJECT)
		json_put_member_raw(b, "format", v);
}

static enum err_code
put_tools(struct buf *b, struct json body, struct err *e)
{
	struct json tools = json_get(body, "tools"), choice = json_get(body, "tool_choice"), tool;
	struct json_iter it = json_iter(tools);

	if (tools.type != JSON_ARRAY || json_equals(choice, "none"))
		return ERR_OK;
	if (request_says(choice) && !json_equals(choice, "auto"))
		return request_unsupported(e, ollama, "a forced tool_choice");
	while (json_next_item(&it, &tool))
		if (!json_equals(json_get(tool, "type"), "function"))
			return request_unsupported(e, ollama, "a tool that is no function");
	json_put_member_raw(b, "tools", tools);
	return ERR_OK;
}

static void
put_thinking(struct buf *b, struct json body)
{
	struct json v = json_get(body, "think");
	struct json effort = json_get(body, "reasoning_effort");

	if (request_says(v))
		json_put_member_raw(b, "think", v);
	else if (json_equals(effort, "none"))
		json_put_member_bool(b, "think", false);
	else if (json_equals(effort, "minimal"))
		json_put_member_str(b, "think", "low");
	else if (effort.type == JSON_STRING)
		json_put_member_raw(b, "think", effort);
}

static void
put_rest(struct upstream_request *r, const struct call_request *in, struct json body)
{
	static const char *const same[] = {"keep_alive", "logprobs", "top_logprobs"};
	struct buf *b = &r->own;

	json_put_member_bool(b, "stream", in->stream);
	put_options(r, body);
	put_format(b, body);
	put_thinking(b, body);
	for (size_t i = 0; i < (in->probs ? 1 : ARRAY_LEN(same)); i++)
		if (request_says(json_get(body, same[i])))
			json_put_member_raw(b, same[i], json_get(body, same[i]));
	if (in->probs)
		json_put_member_bool(b, "logprobs", true);
	if (request_says(json_get(body, "user")))
		upstream_request_drop(r, "user");
}

static enum err_code
request_chat(
	struct upstream_request *r, const struct call_request *in, struct json body, struct err *e)
{
	struct json messages = json_get(body, "messages"), message;
	struct json_iter it = json_iter(messages);
	struct asked_tools tools;
	enum err_code code;

	tools.len = 0;
	if (messages.type != JSON_ARRAY)
		return err_set(e, ERR_INPUT, "\"messages\" must be an array");
	json_put_key(&r->own, "messages");
	json_put_begin(&r->own, '[');
	while (json_next_item(&it, &message)) {
		if (message.type != JSON_OBJECT)
			return err_set(e, ERR_INPUT, "a message is no object");
		code = put_message(&r->own, &tools, message, e);
		if (code != ERR_OK)
			return code;
	}
	json_put_end(&r->own, ']');
	code = put_tools(&r->own, body, e);
	if (code == ERR_OK)
		put_rest(r, in, body);
	return code;
}

static enum err_code
request_generate(
	struct upstream_request *r, const struct call_request *in, struct json body, struct err *e)
{
	struct json prompt = json_get(body, "prompt"), only = prompt, more;
	struct json_iter it = json_iter(prompt);

	if (prompt.type == JSON_ARRAY &&
		(!json_next_item(&it, &only) || json_next_item(&it, &more)))
		return request_unsupported(e, ollama, "several prompts in one request");
	if (only.type != JSON_STRING)
		return request_unsupported(e, ollama, "a prompt of token numbers");
	if (json_is_true(json_get(body, "echo")))
		return request_unsupported(e, ollama, "echo");
	json_put_member_raw(&r->own, "prompt", only);
	if (json_get(body, "suffix").type == JSON_STRING)
		json_put_member_raw(&r->own, "suffix", json_get(body, "suffix"));
	put_rest(r, in, body);
	return ERR_OK;
}

static enum err_code
request_embed(struct upstream_request *r, struct json body, struct err *e)
{
	struct json input = json_get(body, "input"), item;
	struct json_iter it = json_iter(input);

	while (input.type == JSON_ARRAY && json_next_item(&it, &item))
		if (item.type != JSON_STRING)
			return request_unsupported(e, ollama, "an input of token numbers");
	if (input.type != JSON_ARRAY && input.type != JSON_STRING)
		return err_set(e, ERR_INPUT, "\"input\" must be a string or an array of strings");
	json_put_member_raw(&r->own, "input", input);
	if (request_says(json_get(body, "dimensions")))
		json_put_member_raw(&r->own, "dimensions", json_get(body, "dimensions"));
	if (request_says(json_get(body, "keep_alive")))
		json_put_member_raw(&r->own, "keep_alive", json_get(body, "keep_alive"));
	r->base64 = json_equals(json_get(body, "encoding_format"), "base64");
	return ERR_OK;
}

enum err_code
ollama_request(struct upstream_request *r, const struct call_request *in, struct err *e)
{
	enum err_code code;
	struct json body;

	code = json_check(&body, in->body, in->body_len, e);
	if (code != ERR_OK)
		return code;
	code = request_common(r, ollama, body, e);
	if (code != ERR_OK)
		return code;
	json_put_begin(&r->own, '{');
	json_put_member_str(&r->own, "model", in->model);
	switch (in->endpoint) {
	case MSG_ENDPOINT_CHAT:
		r->path = "/api/chat";
		code = request_chat(r, in, body, e);
		break;
	case MSG_ENDPOINT_COMPLETIONS:
		r->path = "/api/generate";
		code = request_generate(r, in, body, e);
		break;
	case MSG_ENDPOINT_EMBEDDINGS:
		r->path = "/api/embed";
		code = request_embed(r, body, e);
		break;
	default:
		return request_unsupported(e, ollama, "this endpoint");
	}
	json_put_end(&r->own, '}');
	upstream_request_own(r);
	return code;
}
