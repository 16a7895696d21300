/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plan.c - what the simulated model will answer to one request
 *
 * It calls a tool when tools are given, tool_choice is not "none", the last message is the user's,
 * and that turn names the tool (or says "tool", or tool_choice forces it). Arguments, and the text
 * where response_format wants JSON, follow the schema: strings repeat the user's text, numbers
 * are 1. Of an answer that another backend began it says the rest.
 */
#include <string.h>

#include "workers/backend/backend.h"

enum { IMAGE_TOKENS = 85, SCHEMA_DEPTH_MAX = 8 };

/* The latest user turn and the size of everything. */
struct sim_prompt {
	struct buf text;
	size_t bytes;
	uint32_t images;
	bool user_is_last;
	struct buf begun; /* of the answer, by another backend */
};

static void
add_images(struct sim_prompt *p, struct json content)
{
	struct json_iter it = json_iter(content);
	struct json part, v;

	while (content.type == JSON_ARRAY && json_next_item(&it, &part)) {
		if (!json_equals(json_get(part, "type"), "image_url"))
			continue;
		v = json_get(part, "image_url");
		json_text(&p->text, v.type == JSON_OBJECT ? json_get(v, "url") : v);
		p->images++;
	}
}

static enum err_code
prompt_of_chat(struct sim_prompt *p, struct json body, size_t partial, struct err *e)
{
	struct json messages = json_get(body, "messages"), message, content;
	struct json_iter it = json_iter(messages);

	if (messages.type != JSON_ARRAY)
		return err_set(e, ERR_BAD_REQUEST, "\"messages\" must be an array");
	while (json_next_item(&it, &message)) {
		AUTO(buf_fini) struct buf text = BUF_INIT;

		content = json_get(message, "content");
		request_content_text(&text, content);
		p->bytes += text.len;
		p->user_is_last = json_equals(json_get(message, "role"), "user");
		if (!p->user_is_last) {
			buf_clear(&p->begun);
			if (partial > 0)
				buf_add(&p->begun, text.data, text.len);
			continue;
		}
		buf_clear(&p->text);
		buf_add(&p->text, text.data, text.len);
		add_images(p, content);
	}
	return ERR_OK;
}

static enum err_code
prompt_of_completion(struct sim_prompt *p, struct json body, size_t partial, struct err *e)
{
	struct json prompt = json_get(body, "prompt");
	struct json_iter it = json_iter(prompt);

	if (prompt.type == JSON_ARRAY && !json_next_item(&it, &prompt))
		prompt = (struct json){0};
	if (prompt.type != JSON_STRING)
		return err_set(e, ERR_BAD_REQUEST, "\"prompt\" must be a string");
	json_text(&p->text, prompt);
	p->bytes = p->text.len;
	partial = MIN(partial, p->text.len);
	if (partial == 0)
		return ERR_OK;
	p->text.len -= partial;
	buf_add(&p->begun, p->text.data + p->text.len, partial);
	p->text.data[p->text.len] = '\0';
	return ERR_OK;
}

/* A value that fits the schema, objects nested to a limit. */
static void
put_by_schema(struct buf *out, struct json schema, const struct buf *echo, unsigned depth)
{
	struct json type = json_get(schema, "type"), properties = json_get(schema, "properties");
	struct json choices = json_get(schema, "enum"), key, v;
	struct json_iter it = json_iter(choices);

	if (choices.type == JSON_ARRAY && json_next_item(&it, &v)) {
		json_put_raw(out, v);
	} else if (json_equals(type, "integer") || json_equals(type, "number")) {
		json_put_u64(out, 1);
	} else if (json_equals(type, "boolean")) {
		json_put_bool(out, true);
	} else if (json_equals(type, "array")) {
		json_put_begin(out, '[');
		json_put_end(out, ']');
	} else if (properties.type == JSON_OBJECT || json_equals(type, "object")) {
		json_put_begin(out, '{');
		it = json_iter(properties);
		while (properties.type == JSON_OBJECT && depth < SCHEMA_DEPTH_MAX &&
			json_next_member(&it, &key, &v)) {
			json_put_raw(out, key);
			buf_add_char(out, ':');
			put_by_schema(out, v, echo, depth + 1);
		}
		json_put_end(out, '}');
	} else {
		json_put_string(out, buf_str(echo), echo->len);
	}
}

/* The tool that this request makes the model call; JSON_NONE: none. */
static struct json
tool_asked_for(struct json body, const struct sim_prompt *p)
{
	struct json tools = json_get(body, "tools"), choice = json_get(body, "tool_choice");
	struct json_iter it = json_iter(tools);
	struct json tool, first = {0};
	struct json forced = json_path(choice, "function.name");

	if (tools.type != JSON_ARRAY || json_equals(choice, "none") || !p->user_is_last)
		return first;
	while (json_next_item(&it, &tool)) {
		AUTO(buf_fini) struct buf name = BUF_INIT;

		json_text(&name, json_path(tool, "function.name"));
		if (name.len == 0)
			continue;
		if (first.type == JSON_NONE)
			first = tool;
		if (forced.type == JSON_STRING ? json_equals(forced, buf_str(&name))
					       : strcasestr(buf_str(&p->text), name.data) != NULL)
			return tool;
	}
	if (json_equals(choice, "required") || strcasestr(buf_str(&p->text), "tool") != NULL)
		return first;
	return (struct json){0};
}

/* Cut the text where the first of the stop sequences begins. */
static void
cut_at(struct sim_plan *out, struct json stop)
{
	AUTO(buf_fini) struct buf word = BUF_INIT;
	const char *at;

	json_text(&word, stop);
	if (word.len == 0 || out->text.len == 0)
		return;
	at = memmem(out->text.data, out->text.len, word.data, word.len);
	if (at == NULL)
		return;
	out->text.len = (size_t)(at - out->text.data);
	out->text.data[out->text.len] = '\0';
	out->is_length = false;
}

static void
apply_stop(struct sim_plan *out, struct json stop)
{
	struct json_iter it = json_iter(stop);
	struct json one;

	if (stop.type == JSON_STRING)
		cut_at(out, stop);
	while (stop.type == JSON_ARRAY && json_next_item(&it, &one))
		cut_at(out, one);
}

static uint32_t
count_pieces(const struct buf *text)
{
	uint32_t n = 0;

	for (size_t at = 0; at < text->len; at += sim_piece(text, at))
		n++;
	return n;
}

/* Leave out what was said already; begun by another model, up to its next word. */
static void
plan_go_on(struct sim_plan *out, const struct buf *begun)
{
	size_t n = MIN(begun->len, out->text.len);

	if (n == 0)
		return;
	if (memcmp(out->text.data, begun->data, n) != 0)
		while (n < out->text.len && out->text.data[n] != ' ')
			n++;
	buf_drop_front(&out->text, n);
}

static void
plan_text(struct sim_plan *out, const struct config_backend *config, struct json body,
	const struct sim_prompt *p)
{
	struct json format = json_get(body, "response_format");
	struct json schema = json_path(format, "json_schema.schema");
	uint64_t max = request_max_tokens(body);
	uint32_t tokens = config->sim.tokens;

	if (schema.type == JSON_OBJECT) {
		put_by_schema(&out->text, schema, &p->text, 0);
	} else if (json_equals(json_get(format, "type"), "json_object")) {
		json_put_begin(&out->text, '{');
		json_put_key(&out->text, "answer");
		json_put_string(&out->text, buf_str(&p->text), p->text.len);
		json_put_end(&out->text, '}');
	} else {
		max += max == 0 ? 0 : count_pieces(&p->begun);
		out->is_length = max != 0 && max < tokens;
		sim_text(&out->text, out->hash, out->is_length ? (uint32_t)max : tokens);
		apply_stop(out, json_get(body, "stop"));
		plan_go_on(out, &p->begun);
	}
	out->tokens = count_pieces(&out->text);
}

static void
plan_tool(struct sim_plan *out, struct json tool, const struct sim_prompt *p)
{
	struct json schema = json_path(tool, "function.parameters");

	out->calls_tool = true;
	json_text(&out->tool_name, json_path(tool, "function.name"));
	if (schema.type == JSON_OBJECT)
		put_by_schema(&out->tool_arguments, schema, &p->text, 0);
	else
		buf_add_str(&out->tool_arguments, "{}");
	out->tokens = 1 + sim_count_tokens(out->tool_arguments.len);
}

MUST enum err_code
sim_plan(struct sim_plan *out, const struct config_backend *config, const struct call_request *in,
	struct err *e)
{
	struct sim_prompt p = {0};
	struct json body, tool = {0};
	enum err_code code;

	code = json_check(&body, in->body, in->body_len, e);
	if (code != ERR_OK)
		return code;
	code = in->endpoint == MSG_ENDPOINT_CHAT ? prompt_of_chat(&p, body, in->partial, e)
						 : prompt_of_completion(&p, body, in->partial, e);
	if (code == ERR_OK) {
		out->hash =
			sim_prompt_hash(config->sim.seed, in->model, buf_str(&p.text), p.text.len);
		out->prompt_tokens = sim_count_tokens(p.bytes) + p.images * IMAGE_TOKENS;
		out->wants_usage = json_is_true(json_path(body, "stream_options.include_usage"));
		out->confidence = config->sim.confidence >= 0 ? config->sim.confidence
							      : sim_confidence(out->hash);
		out->shows_probs = out->confidence > 0 && probs_asked(body);
		if (in->endpoint == MSG_ENDPOINT_CHAT)
			tool = tool_asked_for(body, &p);
		if (tool.type != JSON_NONE)
			plan_tool(out, tool, &p);
		else
			plan_text(out, config, body, &p);
	}
	buf_fini(&p.text);
	buf_fini(&p.begun);
	return code;
}

void
sim_plan_fini(struct sim_plan *p)
{
	buf_fini(&p->text);
	buf_fini(&p->tool_name);
	buf_fini(&p->tool_arguments);
}
