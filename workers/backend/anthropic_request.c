/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic_request.c - an OpenAI chat request as Anthropic's messages API wants it
 *
 * System turns become the top-level system text, tool results become user blocks, turns of one role
 * that follow each other become one turn. Text blocks of nothing but white space and turns without
 * any block, which that API refuses, are left out.
 */
#include <string.h>

#include "workers/backend/backend.h"

enum { MAX_TOKENS_DEFAULT = 4096 }; /* every model of theirs allows so many */

static const char anthropic[] = "Anthropic";

/* The turn being written: the next one of the same role is joined to it; one that stays without any
 * block is taken back. */
struct turns {
	struct buf *b;
	const char *role; /* "user", "assistant"; NULL: none yet */
	const char *role_before;
	size_t from, blocks; /* where it and its blocks begin; blocks 0: it has some */
};

static void
turn_take_back(struct turns *t)
{
	if (t->blocks == 0 || t->b->len > t->blocks)
		return;
	t->b->len = t->from;
	t->role = t->role_before;
	t->blocks = 0;
}

static void
turn_open(struct turns *t, const char *role)
{
	turn_take_back(t);
	if (t->role != NULL && strcmp(t->role, role) == 0)
		return;
	t->from = t->b->len;
	t->role_before = t->role;
	if (t->role != NULL)
		buf_add_str(t->b, "]}");
	t->role = role;
	json_put_begin(t->b, '{');
	json_put_member_str(t->b, "role", role);
	json_put_key(t->b, "content");
	json_put_begin(t->b, '[');
	t->blocks = t->b->len;
}

/* More than white space? */
static bool
has_words(struct json text)
{
	const char *p, *end;

	if (text.type != JSON_STRING)
		return false;
	p = text.p + 1;
	end = text.p + text.len - 1;
	while (p < end && (*p == ' ' || (*p == '\\' && strchr("nrt", p[1]) != NULL)))
		p += *p == ' ' ? 1 : 2;
	return p < end;
}

static void
put_text(struct buf *b, struct json text)
{
	if (!has_words(text))
		return;
	json_put_begin(b, '{');
	json_put_member_str(b, "type", "text");
	json_put_member_raw(b, "text", text);
	json_put_end(b, '}');
}

/* An image or a document with its source. */
static enum err_code
put_source(struct buf *b, const char *type, const struct buf *url, struct err *e)
{
	struct slice media, data;
	bool is_data = request_data_url(&media, &data, url);

	if (!is_data && strncmp(buf_str(url), "http", 4) != 0)
		return request_unsupported(
			e, anthropic, "an image that is neither base64 nor a URL");
	json_put_begin(b, '{');
	json_put_member_str(b, "type", type);
	json_put_key(b, "source");
	json_put_begin(b, '{');
	json_put_member_str(b, "type", is_data ? "base64" : "url");
	if (is_data) {
		json_put_key(b, "media_type");
		json_put_string(b, media.p, media.len);
		json_put_key(b, "data");
		json_put_string(b, data.p, data.len);
	} else {
		json_put_member_str(b, "url", buf_str(url));
	}
	json_put_end(b, '}');
	json_put_end(b, '}');
	return ERR_OK;
}

static enum err_code
put_part(struct buf *b, struct json part, struct err *e)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	struct json type = json_get(part, "type"), v;

	if (json_equals(type, "text")) {
		put_text(b, json_get(part, "text"));
		return ERR_OK;
	}
	if (json_equals(type, "refusal")) {
		put_text(b, json_get(part, "refusal"));
		return ERR_OK;
	}
	if (json_equals(type, "image_url")) {
		v = json_get(part, "image_url");
		json_text(&url, v.type == JSON_OBJECT ? json_get(v, "url") : v);
		return put_source(b, "image", &url, e);
	}
	if (json_equals(type, "file") && json_path(part, "file.file_data").type == JSON_STRING) {
		json_text(&url, json_path(part, "file.file_data"));
		return put_source(b, "document", &url, e);
	}
	return request_unsupported(e, anthropic, "a content part other than text, image and file");
}

static enum err_code
put_content(struct buf *b, struct json content, struct err *e)
{
	struct json_iter it = json_iter(content);
	struct json part;
	enum err_code code;

	put_text(b, content);
	while (content.type == JSON_ARRAY && json_next_item(&it, &part)) {
		code = put_part(b, part, e);
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

/* Thoughts go back only with their signature: the API checks it. */
static void
put_thinking(struct upstream_request *r, struct json message)
{
	struct json text = json_get(message, "reasoning_content");
	struct json signature = json_get(message, "reasoning_signature");

	if (text.type != JSON_STRING)
		return;
	if (signature.type != JSON_STRING) {
		upstream_request_drop(r, "reasoning_content");
		return;
	}
	json_put_begin(&r->own, '{');
	json_put_member_str(&r->own, "type", "thinking");
	json_put_member_raw(&r->own, "thinking", text);
	json_put_member_raw(&r->own, "signature", signature);
	json_put_end(&r->own, '}');
}

static enum err_code
put_tool_uses(struct buf *b, struct json calls, struct err *e)
{
	struct json_iter it = json_iter(calls);
	struct json call;
	enum err_code code;

	while (calls.type == JSON_ARRAY && json_next_item(&it, &call)) {
		AUTO(buf_fini) struct buf input = BUF_INIT;
		struct json id = json_get(call, "id"), name = json_path(call, "function.name");

		if (id.type != JSON_STRING || name.type != JSON_STRING)
			return request_unsupported(e, anthropic, "a tool call without id or name");
		code = request_arguments(&input, json_path(call, "function.arguments"), e);
		if (code != ERR_OK)
			return code;
		json_put_begin(b, '{');
		json_put_member_str(b, "type", "tool_use");
		json_put_member_raw(b, "id", id);
		json_put_member_raw(b, "name", name);
		json_put_key(b, "input");
		buf_add(b, input.data, input.len);
		json_put_end(b, '}');
	}
	return ERR_OK;
}

static enum err_code
put_tool_result(struct buf *b, struct json message, struct err *e)
{
	struct json id = json_get(message, "tool_call_id");
	enum err_code code;

	if (id.type != JSON_STRING)
		return request_unsupported(e, anthropic, "a tool result without tool_call_id");
	json_put_begin(b, '{');
	json_put_member_str(b, "type", "tool_result");
	json_put_member_raw(b, "tool_use_id", id);
	json_put_key(b, "content");
	json_put_begin(b, '[');
	code = put_content(b, json_get(message, "content"), e);
	json_put_end(b, ']');
	json_put_end(b, '}');
	return code;
}

static enum err_code
put_message(struct upstream_request *r, struct turns *t, struct json message, struct err *e)
{
	struct json role = json_get(message, "role");
	enum err_code code;

	if (json_equals(role, "system") || json_equals(role, "developer"))
		return ERR_OK; /* put_system has them */
	if (json_equals(role, "user")) {
		turn_open(t, "user");
		return put_content(&r->own, json_get(message, "content"), e);
	}
	if (json_equals(role, "tool")) {
		turn_open(t, "user");
		return put_tool_result(&r->own, message, e);
	}
	if (!json_equals(role, "assistant"))
		return request_unsupported(e, anthropic, "a message of an unknown role");
	turn_open(t, "assistant");
	put_thinking(r, message);
	code = put_content(&r->own, json_get(message, "content"), e);
	return code != ERR_OK ? code : put_tool_uses(&r->own, json_get(message, "tool_calls"), e);
}

static enum err_code
put_messages(struct upstream_request *r, struct json messages, struct err *e)
{
	struct json_iter it = json_iter(messages);
	struct turns t = {.b = &r->own};
	struct json message;
	enum err_code code;

	json_put_key(&r->own, "messages");
	json_put_begin(&r->own, '[');
	while (json_next_item(&it, &message)) {
		if (message.type != JSON_OBJECT)
			return err_set(e, ERR_INPUT, "a message is no object");
		code = put_message(r, &t, message, e);
		if (code != ERR_OK)
			return code;
	}
	turn_take_back(&t);
	if (t.role != NULL)
		buf_add_str(&r->own, "]}");
	json_put_end(&r->own, ']');
	return ERR_OK;
}

static enum err_code
put_system(struct buf *b, struct json messages, struct err *e)
{
	AUTO(buf_fini) struct buf blocks = BUF_INIT;
	struct json_iter it = json_iter(messages);
	struct json message, role;
	enum err_code code;

	while (json_next_item(&it, &message)) {
		role = json_get(message, "role");
		if (!json_equals(role, "system") && !json_equals(role, "developer"))
			continue;
		code = put_content(&blocks, json_get(message, "content"), e);
		if (code != ERR_OK)
			return code;
	}
	if (blocks.len == 0)
		return ERR_OK;
	json_put_key(b, "system");
	json_put_begin(b, '[');
	buf_add(b, blocks.data, blocks.len);
	json_put_end(b, ']');
	return ERR_OK;
}

static enum err_code
put_tools(struct buf *b, struct json tools, struct err *e)
{
	struct json_iter it = json_iter(tools);
	struct json tool, v;

	if (tools.type != JSON_ARRAY || tools.len <= 2)
		return ERR_OK;
	json_put_key(b, "tools");
	json_put_begin(b, '[');
	while (json_next_item(&it, &tool)) {
		if (!json_equals(json_get(tool, "type"), "function") ||
			json_path(tool, "function.name").type != JSON_STRING)
			return request_unsupported(e, anthropic, "a tool that is no function");
		json_put_begin(b, '{');
		json_put_member_raw(b, "name", json_path(tool, "function.name"));
		v = json_path(tool, "function.description");
		if (v.type == JSON_STRING)
			json_put_member_raw(b, "description", v);
		v = json_path(tool, "function.parameters");
		json_put_key(b, "input_schema");
		if (v.type == JSON_OBJECT && v.len > 2)
			json_put_raw(b, v);
		else
			buf_add_str(b, "{\"type\":\"object\",\"properties\":{}}");
		json_put_end(b, '}');
	}
	json_put_end(b, ']');
	return ERR_OK;
}

static enum err_code
put_tool_choice(struct buf *b, struct json body, struct err *e)
{
	static const char *const names[][2] = {
		{"auto", "auto"}, {"required", "any"}, {"none", "none"}};
	struct json choice = json_get(body, "tool_choice"), parallel, name;
	const char *type = NULL;

	parallel = json_get(body, "parallel_tool_calls");
	name = json_path(choice, "function.name");
	if (json_get(body, "tools").type != JSON_ARRAY)
		return ERR_OK;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (json_equals(choice, names[i][0]))
			type = names[i][1];
	if (name.type == JSON_STRING)
		type = "tool";
	if (type == NULL && request_says(choice))
		return request_unsupported(e, anthropic, "this form of tool_choice");
	if (type == NULL && parallel.type != JSON_BOOL)
		return ERR_OK;
	json_put_key(b, "tool_choice");
	json_put_begin(b, '{');
	json_put_member_str(b, "type", type == NULL ? "auto" : type);
	if (name.type == JSON_STRING)
		json_put_member_raw(b, "name", name);
	if (parallel.type == JSON_BOOL && (type == NULL || strcmp(type, "none") != 0))
		json_put_member_bool(b, "disable_parallel_tool_use", !json_is_true(parallel));
	json_put_end(b, '}');
	return ERR_OK;
}

static enum err_code
put_format(struct buf *b, struct json body, struct err *e)
{
	struct json format = json_get(body, "response_format"), schema;

	schema = json_path(format, "json_schema.schema");
	if (json_equals(json_get(format, "type"), "json_object"))
		return request_unsupported(
			e, anthropic, "response_format json_object without a schema");
	if (schema.type != JSON_OBJECT)
		return ERR_OK;
	json_put_key(b, "output_config");
	buf_add_str(b, "{\"format\":{\"type\":\"json_schema\"");
	json_put_member_raw(b, "schema", schema);
	buf_add_str(b, "}}");
	return ERR_OK;
}

/* Sampling: their temperature ends at 1, and they have no seed. */
static void
put_sampling(struct upstream_request *r, struct json body)
{
	static const char *const dropped[] = {
		"seed", "frequency_penalty", "presence_penalty", "reasoning_effort", "min_p"};
	static const char *const same[] = {"top_p", "top_k", "thinking"};
	struct buf *b = &r->own;
	struct json stop = json_get(body, "stop");
	double t;

	if (json_double(&t, json_get(body, "temperature"))) {
		if (t > 1) {
			upstream_request_drop(r, "temperature>1");
			json_put_member_u64(b, "temperature", 1);
		} else {
			json_put_member_raw(b, "temperature", json_get(body, "temperature"));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		if (request_says(json_get(body, same[i])))
			json_put_member_raw(b, same[i], json_get(body, same[i]));
	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		if (request_says(json_get(body, dropped[i])))
			upstream_request_drop(r, dropped[i]);
	if (stop.type == JSON_ARRAY && stop.len > 2) {
		json_put_member_raw(b, "stop_sequences", stop);
	} else if (stop.type == JSON_STRING) {
		json_put_key(b, "stop_sequences");
		json_put_begin(b, '[');
		json_put_raw(b, stop);
		json_put_end(b, ']');
	}
}

static void
put_user(struct buf *b, struct json body)
{
	struct json user = json_get(body, "user"), v;

	v = user.type == JSON_STRING ? user : json_path(body, "metadata.user_id");
	if (v.type != JSON_STRING)
		return;
	json_put_key(b, "metadata");
	json_put_begin(b, '{');
	json_put_member_raw(b, "user_id", v);
	json_put_end(b, '}');
}

static enum err_code
put_all(struct upstream_request *r, struct json body, struct err *e)
{
	struct json messages = json_get(body, "messages");
	uint64_t max = request_max_tokens(body);
	enum err_code code;

	if (messages.type != JSON_ARRAY)
		return err_set(e, ERR_INPUT, "\"messages\" must be an array");
	if (json_is_true(json_get(body, "logprobs")))
		return request_unsupported(e, anthropic, "logprobs");
	json_put_member_u64(&r->own, "max_tokens", max == 0 ? (uint64_t)MAX_TOKENS_DEFAULT : max);
	code = put_system(&r->own, messages, e);
	if (code == ERR_OK)
		code = put_messages(r, messages, e);
	if (code == ERR_OK)
		code = put_tools(&r->own, json_get(body, "tools"), e);
	if (code == ERR_OK)
		code = put_tool_choice(&r->own, body, e);
	if (code == ERR_OK)
		code = put_format(&r->own, body, e);
	if (code != ERR_OK)
		return code;
	put_sampling(r, body);
	put_user(&r->own, body);
	return ERR_OK;
}

enum err_code
anthropic_request(struct upstream_request *r, const struct call_request *in, struct err *e)
{
	enum err_code code;
	struct json body;

	if (in->endpoint != MSG_ENDPOINT_CHAT)
		return request_unsupported(e, anthropic, "anything but a chat");
	code = json_check(&body, in->body, in->body_len, e);
	if (code == ERR_OK)
		code = request_common(r, anthropic, body, e);
	if (code != ERR_OK)
		return code;
	r->path = "/v1/messages";
	json_put_begin(&r->own, '{');
	json_put_member_str(&r->own, "model", in->model);
	if (in->stream)
		json_put_member_bool(&r->own, "stream", true);
	code = put_all(r, body, e);
	json_put_end(&r->own, '}');
	upstream_request_own(r);
	return code;
}
