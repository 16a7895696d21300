/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_ollama.c - Ollama's native API: lines of JSON to OpenAI's chunks, and what it serves
 *
 * Strings go over as they stand in the upstream's JSON, so no escape is ever rewritten.
 */
#include <string.h>

#include "workers/backend/backend.h"

static void
ollama_usage(struct answer *a, struct json v)
{
	struct json prompt = json_get(v, "prompt_eval_count"), eval = json_get(v, "eval_count");

	a->usage.known = prompt.type == JSON_NUMBER || eval.type == JSON_NUMBER;
	a->usage.prompt = answer_u32(prompt);
	a->usage.completion = answer_u32(eval);
}

static void
ollama_finish(struct answer *a, struct json v)
{
	struct json reason = json_get(v, "done_reason");

	if (json_equals(reason, "length"))
		answer_set_finish(a, "length");
	else
		answer_set_finish(a, a->tools > 0 ? "tool_calls" : "stop");
}

static bool
is_text(struct json v)
{
	return v.type == JSON_STRING && v.len > 2;
}

/* Ollama gives a whole call at once, its arguments as an object: OpenAI wants their text. */
static void
ollama_tool_calls(struct answer *a, struct buf *b, struct json calls)
{
	struct json_iter it = json_iter(calls);
	struct json call, arguments, id;

	json_put_key(b, "tool_calls");
	json_put_begin(b, '[');
	while (json_next_item(&it, &call)) {
		arguments = json_path(call, "function.arguments");
		id = json_get(call, "id");
		answer_put_tool_call(a, b, id, json_path(call, "function.name"));
		if (arguments.type == JSON_STRING)
			json_put_raw(b, arguments);
		else if (arguments.type == JSON_OBJECT)
			json_put_string(b, arguments.p, arguments.len);
		else
			json_put_str(b, "{}");
		json_put_end(b, '}');
		json_put_end(b, '}');
	}
	json_put_end(b, ']');
}

/* Members of a message or delta; returns how many kinds of text there were. */
static unsigned
ollama_message(struct answer *a, struct buf *b, struct json message)
{
	struct json thinking = json_get(message, "thinking"),
		    content = json_get(message, "content");
	struct json calls = json_get(message, "tool_calls");
	unsigned n = 0;

	if (is_text(thinking)) {
		json_put_member_raw(b, "reasoning_content", thinking);
		n++;
	}
	if (is_text(content)) {
		json_put_member_raw(b, "content", content);
		n++;
	}
	if (calls.type == JSON_ARRAY && calls.len > 2) {
		ollama_tool_calls(a, b, calls);
		n++;
	}
	return n;
}

static void
ollama_chat_chunk(struct answer *a, struct json v, bool is_last)
{
	struct json message = json_get(v, "message"), logprobs = json_get(v, "logprobs");
	size_t start = a->out.len;
	unsigned n;
	bool begun = a->begun;

	answer_chunk_begin(a);
	n = ollama_message(a, &a->out, message);
	a->tokens += n;
	if (n == 0 && !is_last && begun) { /* says nothing: send nothing */
		a->out.len = start;
		return;
	}
	if (is_last)
		ollama_finish(a, v);
	answer_chunk_end(a, is_last ? a->finish_reason : NULL);
	if (logprobs.type == JSON_ARRAY && !a->probs.hidden)
		answer_chunk_logprobs(a, logprobs);
}

static void
ollama_text_chunk(struct answer *a, struct json v, bool is_last)
{
	struct json text = json_get(v, "response");

	if (is_last)
		ollama_finish(a, v);
	if (is_text(text) || is_last) {
		a->tokens += is_text(text);
		answer_text_chunk(a, text, is_last ? a->finish_reason : NULL);
	}
}

/* What every event and every whole answer may tell. */
static void
ollama_common(struct answer *a, struct json v)
{
	if (a->probs.wanted)
		probs_read(&a->probs, json_get(v, "logprobs"));
	if (a->model[0] == '\0')
		(void)json_copy_text(a->model, sizeof(a->model), json_get(v, "model"));
}

static enum err_code
ollama_event(struct answer *a, const char *name, const char *data, size_t len, struct err *e)
{
	enum err_code code;
	struct json v;
	bool is_last;

	(void)name;
	code = answer_parse(&v, data, len, e);
	if (code != ERR_OK)
		return code;
	if (json_get(v, "error").type != JSON_NONE)
		return answer_refused(a, v, e);
	ollama_common(a, v);
	is_last = json_is_true(json_get(v, "done"));
	if (is_last)
		ollama_usage(a, v);
	if (a->endpoint == MSG_ENDPOINT_CHAT)
		ollama_chat_chunk(a, v, is_last);
	else
		ollama_text_chunk(a, v, is_last);
	if (is_last && a->want_usage)
		answer_usage_chunk(a);
	a->done = is_last;
	return ERR_OK;
}

/* ---- whole answers ---- */

static void
ollama_whole_chat(struct answer *a, struct buf *b, struct json v)
{
	struct json message = json_get(v, "message"), logprobs = json_get(v, "logprobs");

	answer_head(a, b, "chat.completion");
	json_put_key(b, "choices");
	buf_add_str(b, "[{\"index\":0,\"message\":{\"role\":\"assistant\"");
	(void)ollama_message(a, b, message);
	if (!is_text(json_get(message, "content"))) {
		json_put_key(b, "content");
		if (a->tools > 0)
			json_put_null(b);
		else
			json_put_str(b, "");
	}
	json_put_end(b, '}');
	if (logprobs.type == JSON_ARRAY && !a->probs.hidden) {
		json_put_key(b, "logprobs");
		json_put_begin(b, '{');
		json_put_member_raw(b, "content", logprobs);
		json_put_end(b, '}');
	}
}

static void
ollama_whole_text(struct answer *a, struct buf *b, struct json v)
{
	answer_head(a, b, "text_completion");
	json_put_key(b, "choices");
	buf_add_str(b, "[{\"index\":0,\"logprobs\":null");
	json_put_key(b, "text");
	if (json_get(v, "response").type == JSON_STRING)
		json_put_raw(b, json_get(v, "response"));
	else
		json_put_str(b, "");
}

static enum err_code
ollama_whole_embeddings(struct answer *a, struct buf *b, struct json v, struct err *e)
{
	struct json list = json_get(v, "embeddings"), item;
	struct json_iter it = json_iter(list);
	uint32_t index = 0;

	if (list.type != JSON_ARRAY)
		return err_set(e, ERR_MALFORMED, "the answer has no \"embeddings\"");
	json_put_begin(b, '{');
	json_put_member_str(b, "object", "list");
	json_put_key(b, "data");
	json_put_begin(b, '[');
	while (json_next_item(&it, &item)) {
		json_put_begin(b, '{');
		json_put_member_str(b, "object", "embedding");
		json_put_member_u64(b, "index", index++);
		json_put_key(b, "embedding");
		if (a->base64)
			answer_put_base64(b, item);
		else
			json_put_raw(b, item);
		json_put_end(b, '}');
	}
	json_put_end(b, ']');
	json_put_member_str(b, "model", a->model);
	json_put_key(b, "usage");
	json_put_begin(b, '{');
	json_put_member_u64(b, "prompt_tokens", a->usage.prompt);
	json_put_member_u64(b, "total_tokens", a->usage.prompt);
	buf_add_str(b, "}}");
	return ERR_OK;
}

static enum err_code
ollama_whole(struct answer *a, struct buf *body, struct err *e)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	enum err_code code;
	struct json v;

	code = answer_parse(&v, buf_str(body), body->len, e);
	if (code != ERR_OK)
		return code;
	if (json_get(v, "error").type != JSON_NONE)
		return answer_refused(a, v, e);
	ollama_common(a, v);
	ollama_usage(a, v);
	if (a->endpoint == MSG_ENDPOINT_EMBEDDINGS) {
		code = ollama_whole_embeddings(a, &out, v, e);
		if (code != ERR_OK)
			return code;
	} else {
		if (!json_is_true(json_get(v, "done")))
			return err_set(e, ERR_CUT, "the answer is not complete");
		if (a->endpoint == MSG_ENDPOINT_CHAT)
			ollama_whole_chat(a, &out, v);
		else
			ollama_whole_text(a, &out, v);
		ollama_finish(a, v);
		json_put_member_str(&out, "finish_reason", a->finish_reason);
		buf_add_str(&out, "}]");
		answer_put_usage(&out, &a->usage);
		json_put_end(&out, '}');
	}
	buf_clear(body);
	buf_add(body, out.data, out.len);
	return ERR_OK;
}

/* ---- probe: version; then the list, what is loaded, and each model's abilities ---- */

enum { STEP_VERSION = 1, STEP_TAGS, STEP_PS, STEP_SHOW };

static bool
ollama_probe_next(struct probe *p)
{
	static const char *const paths[] = {"/api/version", "/api/tags", "/api/ps"};

	if (p->step > 0 && !p->discover)
		return false;
	p->optional = p->step != 0 && p->step != 1;
	if (p->step < ARRAY_LEN(paths)) {
		buf_add_str(&p->path, paths[p->step++]);
		return true;
	}
	if (p->models_at >= p->models_len)
		return false;
	p->step = STEP_SHOW;
	buf_add_str(&p->path, "/api/show");
	json_put_begin(&p->body, '{');
	json_put_member_str(&p->body, "model", p->models[p->models_at].name);
	json_put_end(&p->body, '}');
	return true;
}

static void
ollama_abilities(struct probe_model *m, struct json body)
{
	struct json list = json_get(body, "capabilities"), info = json_get(body, "model_info");
	struct json_iter it = json_iter(list);
	struct json item, key;

	if (list.type == JSON_ARRAY) {
		m->endpoints = 0;
		m->tools = m->vision = TRI_NO;
		while (json_next_item(&it, &item)) {
			if (json_equals(item, "completion"))
				m->endpoints |=
					1U << MSG_ENDPOINT_CHAT | 1U << MSG_ENDPOINT_COMPLETIONS;
			else if (json_equals(item, "embedding"))
				m->endpoints |= 1U << MSG_ENDPOINT_EMBEDDINGS;
			else if (json_equals(item, "tools"))
				m->tools = TRI_YES;
			else if (json_equals(item, "vision"))
				m->vision = TRI_YES;
		}
	}
	it = json_iter(info);
	while (info.type == JSON_OBJECT && json_next_member(&it, &key, &item)) {
		AUTO(buf_fini) struct buf name = BUF_INIT;
		static const char tail[] = ".context_length";

		json_text(&name, key);
		if (m->context_tokens == 0 && name.len >= strlen(tail) &&
			strcmp(name.data + name.len - strlen(tail), tail) == 0)
			m->context_tokens = answer_u32(item);
	}
}

static enum err_code
ollama_probe_models(struct probe *p, struct json list, struct err *e)
{
	struct json_iter it = json_iter(list);
	struct json item;
	struct probe_model *m;

	if (list.type != JSON_ARRAY)
		return err_set(e, ERR_MALFORMED, "its list of models has no \"models\"");
	while (json_next_item(&it, &item)) {
		if (p->step == STEP_TAGS) {
			m = probe_add(p, json_get(item, "name"));
			if (m != NULL) {
				m->json = TRI_YES;
				m->loaded = TRI_NO;
			}
			continue;
		}
		m = probe_find(p, json_get(item, "name"));
		if (m == NULL)
			continue;
		m->loaded = TRI_YES;
		m->context_tokens = answer_u32(json_get(item, "context_length"));
	}
	p->listed = true;
	return ERR_OK;
}

static enum err_code
ollama_probe_answer(struct probe *p, unsigned status, struct json body, struct err *e)
{
	bool is_fine = status < 300 && body.type == JSON_OBJECT;

	if (p->step == STEP_SHOW) {
		if (is_fine)
			ollama_abilities(&p->models[p->models_at], body);
		p->models_at++;
		return ERR_OK;
	}
	if (p->step == STEP_VERSION || !is_fine)
		return ERR_OK;
	return ollama_probe_models(p, json_get(body, "models"), e);
}

const struct backend_kind backend_kind_ollama = {
	.name = "ollama",
	.transport = &transport_http,
	.framing = FRAMING_NDJSON,
	.auth = AUTH_BEARER,
	.request = ollama_request,
	.event = ollama_event,
	.whole = ollama_whole,
	.probe_next = ollama_probe_next,
	.probe_answer = ollama_probe_answer,
};
