/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat_body.c - what routing must know of a request body, read in place
 *
 * The bytes are never changed: they travel to the backend as they came, which puts the chosen model
 * in place of the value found here. What shunt does not understand is not looked at. A field that
 * it does understand must be there once and well formed: two readers must not see two requests.
 */
#include <string.h>

#include "workers/gateway/gateway.h"

enum {
	BODY_TURNS = 4, /* as many as struct route_request has room for */
	TURN_HEAD_MAX = 48 * 1024, /* of a longer turn, routing sees this much of its start */
	TURN_TAIL_MAX = 16 * 1024 /* and this much of its end */
};

/* While a body is read: the latest user turns, as values of the body. */
struct body_walk {
	struct chat_body *out;
	enum chat_body_form form;
	struct json turns[BODY_TURNS]; /* a ring */
	bool saw_prompt; /* messages, prompt or input */
	struct err *e;
};

static enum err_code
body_fault(struct body_walk *w, const char *param, const char *what)
{
	w->out->param = param;
	return err_set(w->e, ERR_INPUT, "%s", what);
}

static void
body_add_turn(struct body_walk *w, struct json content)
{
	size_t at = w->out->route.user_turns++ % BODY_TURNS;

	if (w->out->route.user_turns == 1)
		w->out->first_turn = content;
	w->turns[at] = content;
}

static void
body_add_bytes(struct body_walk *w, struct json text)
{
	w->out->route.prompt_bytes += text.len >= 2 ? text.len - 2 : 0;
}

static enum err_code
body_on_model(struct body_walk *w, struct json v)
{
	struct chat_body *out = w->out;
	static const char long_name[] = "\"model\" must be a non-empty string of at most 255 bytes";

	if (v.type != JSON_STRING)
		return body_fault(w, "model", "\"model\" must be a string");
	if (!json_copy_text(out->model, sizeof(out->model), v) || out->model[0] == '\0')
		return body_fault(w, "model", long_name);
	out->route.model = out->model;
	out->model_len = (uint32_t)v.len;
	return ERR_OK;
}

/* One part of a content array. */
static enum err_code
body_on_part(struct body_walk *w, struct json part)
{
	struct json type = json_get(part, "type");

	if (part.type != JSON_OBJECT || type.type != JSON_STRING)
		return body_fault(
			w, "messages", "a content part must be an object with a string \"type\"");
	if (json_equals(type, "image_url") || json_equals(type, "input_image") ||
		json_equals(type, "image"))
		w->out->route.vision = true;
	if (json_equals(type, "text") || json_equals(type, "input_text"))
		body_add_bytes(w, json_get(part, "text"));
	return ERR_OK;
}

static enum err_code
body_on_content(struct body_walk *w, struct json content)
{
	struct json_iter it;
	struct json part;

	if (content.type == JSON_STRING) {
		body_add_bytes(w, content);
		return ERR_OK;
	}
	if (content.type == JSON_NULL || content.type == JSON_NONE)
		return ERR_OK;
	if (content.type != JSON_ARRAY)
		return body_fault(w, "messages",
			"the \"content\" of a message must be a string, an array of parts or null");
	it = json_iter(content);
	while (json_next_item(&it, &part))
		if (body_on_part(w, part) != ERR_OK)
			return ERR_INPUT;
	return ERR_OK;
}

static enum err_code
body_on_message(struct body_walk *w, struct json message)
{
	struct json role = json_get(message, "role");
	struct json content = json_get(message, "content");

	if (message.type != JSON_OBJECT)
		return body_fault(w, "messages", "each message must be an object");
	if (role.type != JSON_STRING)
		return body_fault(w, "messages", "each message must have a string \"role\"");
	if (json_equals(role, "user"))
		body_add_turn(w, content);
	return body_on_content(w, content);
}

static enum err_code
body_on_messages(struct body_walk *w, struct json v)
{
	struct json_iter it;
	struct json message;
	bool some = false;

	if (v.type != JSON_ARRAY)
		return body_fault(w, "messages", "\"messages\" must be an array");
	w->saw_prompt = true;
	w->out->messages = v;
	it = json_iter(v);
	while (json_next_item(&it, &message)) {
		some = true;
		if (body_on_message(w, message) != ERR_OK)
			return ERR_INPUT;
	}
	if (!some)
		return body_fault(w, "messages", "\"messages\" must hold at least one message");
	return ERR_OK;
}

/* A string, or an array of strings or of tokens. */
static enum err_code
body_on_text(struct body_walk *w, struct json v, const char *param)
{
	struct json_iter it;
	struct json item;

	w->saw_prompt = true;
	if (v.type == JSON_STRING) {
		body_add_turn(w, v);
		body_add_bytes(w, v);
		return ERR_OK;
	}
	if (v.type != JSON_ARRAY)
		return body_fault(w, param, "the text must be a string or an array");
	it = json_iter(v);
	while (json_next_item(&it, &item)) {
		if (item.type == JSON_STRING) {
			body_add_turn(w, item);
			body_add_bytes(w, item);
		} else if (item.type == JSON_NUMBER || item.type == JSON_ARRAY) {
			w->out->route.prompt_bytes += item.len;
		}
	}
	return ERR_OK;
}

static enum err_code
body_on_prompt(struct body_walk *w, struct json v)
{
	return body_on_text(w, v, "prompt");
}

static enum err_code
body_on_input(struct body_walk *w, struct json v)
{
	return body_on_text(w, v, "input");
}

static enum err_code
body_on_stream(struct body_walk *w, struct json v)
{
	if (v.type != JSON_BOOL && v.type != JSON_NULL)
		return body_fault(w, "stream", "\"stream\" must be true or false");
	w->out->route.stream = json_is_true(v);
	return ERR_OK;
}

static enum err_code
body_tools(struct body_walk *w, struct json v, const char *param)
{
	struct json_iter it;
	struct json item;

	if (v.type == JSON_NULL)
		return ERR_OK;
	if (v.type != JSON_ARRAY)
		return body_fault(w, param, "the tools must be an array");
	it = json_iter(v);
	if (json_next_item(&it, &item))
		w->out->route.tools = true;
	return ERR_OK;
}

static enum err_code
body_on_tools(struct body_walk *w, struct json v)
{
	return body_tools(w, v, "tools");
}

static enum err_code
body_on_functions(struct body_walk *w, struct json v)
{
	return body_tools(w, v, "functions");
}

static enum err_code
body_on_format(struct body_walk *w, struct json v)
{
	struct json type = json_get(v, "type");

	if (v.type == JSON_NULL)
		return ERR_OK;
	if (v.type != JSON_OBJECT || type.type != JSON_STRING)
		return body_fault(w, "response_format",
			"\"response_format\" must be an object with a string \"type\"");
	w->out->route.json = !json_equals(type, "text");
	return ERR_OK;
}

static enum err_code
body_max_tokens(struct body_walk *w, struct json v, const char *param)
{
	uint64_t n = 0;

	if (v.type == JSON_NULL)
		return ERR_OK;
	/* Ollama's and some clients' "no limit" is -1: not ours to judge */
	if (v.type != JSON_NUMBER)
		return body_fault(w, param, "the largest number of tokens must be a number");
	if (json_u64(&n, v))
		w->out->route.max_tokens = (uint32_t)MIN(n, (uint64_t)UINT32_MAX);
	return ERR_OK;
}

static enum err_code
body_on_max_tokens(struct body_walk *w, struct json v)
{
	return body_max_tokens(w, v, "max_tokens");
}

static enum err_code
body_on_max_completion_tokens(struct body_walk *w, struct json v)
{
	return body_max_tokens(w, v, "max_completion_tokens");
}

static enum err_code
body_on_route(struct body_walk *w, struct json v)
{
	if (w->form != CHAT_BODY_QUESTION)
		return ERR_OK;
	if (!json_copy_text(w->out->forced, sizeof(w->out->forced), v) || w->out->forced[0] == '\0')
		return body_fault(w, "route", "\"route\" must name a route");
	w->out->route.route = w->out->forced;
	return ERR_OK;
}

/* Who asks, for what: only compared, so any form will do. */
static enum err_code
body_on_user(struct body_walk *w, struct json v)
{
	w->out->user = v.type == JSON_STRING ? v : (struct json){0};
	return ERR_OK;
}

static enum err_code
body_on_metadata(struct body_walk *w, struct json v)
{
	static const char *const names[] = {"session_id", "conversation_id", "thread_id"};

	for (size_t i = 0; i < ARRAY_LEN(names) && w->out->session.type != JSON_STRING; i++)
		w->out->session = json_get(v, names[i]);
	if (w->out->session.type != JSON_STRING)
		w->out->session = (struct json){0};
	return ERR_OK;
}

/* Who is tried when the candidates fail: shunt's own field, no upstream sees it. */
static enum err_code
body_on_fallbacks(struct body_walk *w, struct json v)
{
	static const char form[] =
		"\"fallbacks\" must be an array of at most 16 names of models or routes";
	char name[MODEL_MAX_LEN];
	struct json_iter it = json_iter(v);
	struct json item;

	if (v.type == JSON_NULL)
		return ERR_OK;
	if (v.type != JSON_ARRAY)
		return body_fault(w, "fallbacks", form);
	while (json_next_item(&it, &item)) {
		if (w->out->route.fallbacks_len == FALLBACKS_MAX ||
			!json_copy_text(name, sizeof(name), item) || name[0] == '\0')
			return body_fault(w, "fallbacks", form);
		w->out->route.fallbacks_len++;
		buf_add(&w->out->names, name, strlen(name) + 1);
	}
	return ERR_OK;
}

/* Once all names stand where they stay. */
static void
body_point_fallbacks(struct chat_body *b)
{
	const char *p = b->names.data;

	for (size_t i = 0; i < b->route.fallbacks_len; i++, p += strlen(p) + 1)
		b->fallbacks[i] = p;
	b->route.fallbacks = b->fallbacks;
}

/* The member from its key on, with the comma that parts it from the next or the one before. */
static void
body_cut_member(struct chat_body *out, struct json root, struct json key, struct json value)
{
	const char *from = key.p, *to = value.p + value.len, *end = root.p + root.len;

	while (to < end && strchr(" \t\r\n", *to) != NULL)
		to++;
	if (*to == ',') {
		to++;
	} else {
		while (from > root.p && *from != ',' && *from != '{')
			from--;
		from += *from == '{';
	}
	out->cut_at = (uint32_t)(from - root.p);
	out->cut_len = (uint32_t)(to - from);
}

#define EP(endpoint) (1U << (endpoint))

/* The members that are understood; all others pass through unread. */
static const struct body_field {
	const char *name;
	unsigned endpoints;
	enum err_code (*fn)(struct body_walk *w, struct json v);
} body_fields[] = {
	{"model", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS) | EP(ROUTE_EMBEDDINGS), body_on_model},
	{"messages", EP(ROUTE_CHAT), body_on_messages},
	{"prompt", EP(ROUTE_COMPLETIONS), body_on_prompt},
	{"input", EP(ROUTE_EMBEDDINGS), body_on_input},
	{"stream", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS), body_on_stream},
	{"tools", EP(ROUTE_CHAT), body_on_tools},
	{"functions", EP(ROUTE_CHAT), body_on_functions},
	{"response_format", EP(ROUTE_CHAT), body_on_format},
	{"max_tokens", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS), body_on_max_tokens},
	{"max_completion_tokens", EP(ROUTE_CHAT), body_on_max_completion_tokens},
	{"user", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS), body_on_user},
	{"metadata", EP(ROUTE_CHAT), body_on_metadata},
	{"fallbacks", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS) | EP(ROUTE_EMBEDDINGS),
		body_on_fallbacks},
	{"route", EP(ROUTE_CHAT) | EP(ROUTE_COMPLETIONS), body_on_route},
};

static enum err_code
body_members(struct body_walk *w, struct json root)
{
	unsigned endpoint = EP(w->out->route.endpoint), seen = 0;
	struct json_iter it = json_iter(root);
	struct json key, value;

	while (json_next_member(&it, &key, &value)) {
		for (unsigned i = 0; i < ARRAY_LEN(body_fields); i++) {
			const struct body_field *f = &body_fields[i];

			if ((f->endpoints & endpoint) == 0 || !json_equals(key, f->name))
				continue;
			if ((seen & (1U << i)) != 0) {
				w->out->param = f->name;
				return err_set(w->e, ERR_INPUT, "\"%s\" is given twice", f->name);
			}
			seen |= 1U << i;
			if (f->fn(w, value) != ERR_OK)
				return ERR_INPUT;
			if (f->fn == body_on_model)
				w->out->model_at = (uint32_t)(value.p - root.p);
			if (f->fn == body_on_fallbacks)
				body_cut_member(w->out, root, key, value);
			break;
		}
	}
	return ERR_OK;
}

/* Cut a long turn in its middle; where it is cut, whole characters stay. */
static void
body_cut_turn(struct buf *text, size_t from)
{
	size_t len = text->len - from, head = TURN_HEAD_MAX, tail;
	char *p;

	if (len <= TURN_HEAD_MAX + TURN_TAIL_MAX)
		return; /* also a buffer that has no memory yet */
	p = text->data + from;
	tail = len - TURN_TAIL_MAX;
	while (head > 0 && ((unsigned char)p[head] & 0xc0) == 0x80)
		head--;
	while (tail < len && ((unsigned char)p[tail] & 0xc0) == 0x80)
		tail++;
	memmove(p + head, p + tail, len - tail);
	text->len = from + head + (len - tail);
	text->data[text->len] = '\0';
}

static void
body_decode_turn(struct buf *text, struct json content)
{
	struct json_iter it;
	struct json part;

	if (content.type == JSON_STRING) {
		json_text(text, content);
		return;
	}
	if (content.type != JSON_ARRAY)
		return;
	it = json_iter(content);
	while (json_next_item(&it, &part)) {
		part = json_get(part, "text");
		if (part.type != JSON_STRING)
			continue;
		if (text->len > 0 && text->data[text->len - 1] != '\0')
			buf_add_char(text, '\n');
		json_text(text, part);
	}
}

/* Decode the latest user turns, latest first, one behind the other in out->text. */
static void
body_decode_turns(struct body_walk *w)
{
	struct route_request *r = &w->out->route;
	size_t at[BODY_TURNS];

	_Static_assert(ARRAY_LEN(r->turns) == BODY_TURNS, "turns");

	r->turns_count = MIN(r->user_turns, BODY_TURNS);
	for (size_t i = 0; i < r->turns_count; i++) {
		at[i] = w->out->text.len;
		body_decode_turn(&w->out->text, w->turns[(r->user_turns - 1 - i) % BODY_TURNS]);
		body_cut_turn(&w->out->text, at[i]);
		r->turns_len[i] = w->out->text.len - at[i];
		buf_add_char(&w->out->text, '\0');
	}
	for (size_t i = 0; i < r->turns_count; i++)
		r->turns[i] = w->out->text.data + at[i];
}

/* POST /v1/route takes a chat body or {"prompt", "route"}: which one is it? */
static enum route_endpoint
body_question_endpoint(struct json root)
{
	return json_get(root, "messages").type == JSON_NONE ? ROUTE_COMPLETIONS : ROUTE_CHAT;
}

MUST enum err_code
chat_body_read(struct chat_body *out, enum route_endpoint endpoint, enum chat_body_form form,
	const char *body, size_t len, struct err *e)
{
	static const char *const prompts[] = {[ROUTE_CHAT] = "messages",
		[ROUTE_COMPLETIONS] = "prompt",
		[ROUTE_EMBEDDINGS] = "input"};
	struct body_walk w = {.out = out, .form = form, .e = e};
	struct json root;

	out->route = (struct route_request){.endpoint = endpoint, .dial = -1};
	if (len == 0)
		return err_set(e, ERR_INPUT, "the request has no body; a JSON object is wanted");
	if (json_check(&root, body, len, e) != ERR_OK)
		return err_wrap(e, "the request body is no valid JSON");
	if (root.type != JSON_OBJECT)
		return err_set(e, ERR_INPUT, "the request body must be a JSON object");
	if (form == CHAT_BODY_QUESTION)
		out->route.endpoint = body_question_endpoint(root);
	if (body_members(&w, root) != ERR_OK)
		return ERR_INPUT;
	if (!w.saw_prompt) {
		out->param = prompts[out->route.endpoint];
		return err_set(e, ERR_INPUT, "\"%s\" is missing", out->param);
	}
	if (out->model_len > 0)
		out->model_at += (uint32_t)(root.p - body);
	out->cut_at += out->cut_len > 0 ? (uint32_t)(root.p - body) : 0;
	body_point_fallbacks(out);
	body_decode_turns(&w);
	out->route.endpoint = form == CHAT_BODY_QUESTION ? ROUTE_CHAT : endpoint;
	return ERR_OK;
}

void
chat_body_others(const struct chat_body *b, struct buf *out, size_t most)
{
	enum { OTHERS_MAX = 64 };
	struct json contents[OTHERS_MAX], message;
	struct json_iter it;
	size_t len = 0;

	buf_clear(out);
	if (b->messages.type != JSON_ARRAY)
		return;
	it = json_iter(b->messages);
	while (json_next_item(&it, &message))
		if (!json_equals(json_get(message, "role"), "user"))
			contents[len++ % OTHERS_MAX] = json_get(message, "content");
	for (size_t i = 0; i < MIN(len, (size_t)OTHERS_MAX) && out->len < most; i++) {
		size_t from = out->len;

		body_decode_turn(out, contents[(len - 1 - i) % OTHERS_MAX]);
		body_cut_turn(out, from);
		buf_add_str(out, "\n\n");
	}
	out->len = MIN(out->len, most);
}

/* Where a pointer into the old body's name fields points in the new one. */
static void
body_move_name(const char **name, const char *from, char *to, size_t size)
{
	size_t len;

	if (*name == NULL)
		return;
	/* a default name is the config's, which may be gone when the request goes on */
	if (*name != from) {
		len = MIN(strlen(*name), size - 1);
		memcpy(to, *name, len);
		to[len] = '\0';
	}
	*name = to;
}

void
chat_body_move(struct chat_body *to, struct chat_body *from)
{
	*to = *from;
	body_move_name(&to->route.model, from->model, to->model, sizeof(to->model));
	body_move_name(&to->route.route, from->forced, to->forced, sizeof(to->forced));
	body_point_fallbacks(to);
	*from = (struct chat_body){0};
}

void
chat_body_fini(struct chat_body *b)
{
	buf_fini(&b->text);
	buf_fini(&b->names);
	*b = (struct chat_body){0};
}
