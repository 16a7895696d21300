/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_openai.c - any server with OpenAI's API: bytes go through as they are
 */
#include <string.h>

#include "workers/backend/backend.h"

/* A place in the client's body, and what of out->own goes there. */
enum { EDITS_MAX = 2 };

struct edit {
	size_t at, len;
	size_t own_at, own_len;
};

/* Have it tell the probability of each token that it chooses. One alternative is asked for along
 * with it: there are servers that tell nothing for none, and twenty where nobody says how many. */
static enum err_code
openai_ask_probs(struct upstream_request *out, struct edit *edit, const struct call_request *in,
	struct err *e)
{
	const char *ask = in->endpoint != MSG_ENDPOINT_CHAT ? "1" : "true,\"top_logprobs\":1";
	struct json body, said, key, v;
	struct json_iter it;

	if (json_check(&body, in->body, in->body_len, e) != ERR_OK)
		return e->code;
	said = json_get(body, "logprobs");
	if (json_get(body, "top_logprobs").type != JSON_NONE)
		ask = "true";
	*edit = (struct edit){.own_at = out->own.len};
	if (said.type != JSON_NONE) { /* false or null: it was not asked for */
		edit->at = (size_t)(said.p - in->body);
		edit->len = said.len;
		buf_add_str(&out->own, ask);
	} else {
		it = json_iter(body);
		edit->at = (size_t)(body.p - in->body) + 1;
		buf_addf(&out->own, "\"logprobs\":%s%s", ask,
			json_next_member(&it, &key, &v) ? "," : "");
	}
	edit->own_len = out->own.len - edit->own_at;
	return ERR_OK;
}

/* The client's bytes but for the edits, which have different places. */
static void
openai_edit(
	struct upstream_request *out, const struct call_request *in, struct edit *edits, size_t n)
{
	size_t from = 0;

	if (n == 2 && edits[1].at < edits[0].at) {
		struct edit first = edits[1];

		edits[1] = edits[0];
		edits[0] = first;
	}
	for (size_t i = 0; i < n; i++) {
		out->parts[out->parts_len++] = (struct slice){in->body + from, edits[i].at - from};
		out->parts[out->parts_len++] =
			(struct slice){out->own.data + edits[i].own_at, edits[i].own_len};
		from = edits[i].at + edits[i].len;
	}
	out->parts[out->parts_len++] = (struct slice){in->body + from, in->body_len - from};
	for (size_t i = 0; i < out->parts_len; i++)
		out->len += out->parts[i].len;
}

static enum err_code
openai_request(struct upstream_request *out, const struct call_request *in, struct err *e)
{
	static const char *const paths[] = {
		[MSG_ENDPOINT_CHAT] = "/chat/completions",
		[MSG_ENDPOINT_COMPLETIONS] = "/completions",
		[MSG_ENDPOINT_EMBEDDINGS] = "/embeddings",
	};
	struct edit edits[EDITS_MAX];
	size_t n = 0;

	if ((size_t)in->endpoint >= ARRAY_LEN(paths))
		return request_unsupported(e, "an OpenAI server", "this endpoint");
	out->path = paths[in->endpoint];
	if (in->partial > 0 && in->endpoint == MSG_ENDPOINT_CHAT) {
		enum err_code code = prefill_write(&out->own, in, e);

		if (code == ERR_OK)
			upstream_request_own(out);
		return code;
	}
	if (in->model_len > 0) {
		json_put_str(&out->own, in->model);
		edits[n++] = (struct edit){in->model_at, in->model_len, 0, out->own.len};
	}
	if (in->probs && openai_ask_probs(out, &edits[n], in, e) != ERR_OK)
		return e->code;
	n += in->probs;
	openai_edit(out, in, edits, n);
	return ERR_OK;
}

/* One event with the upstream's own bytes. Data of several lines keeps its lines. */
static void
openai_copy(struct buf *out, const char *data, size_t len)
{
	const char *end = data + len, *stop;

	buf_reserve(out, len + 16);
	while ((stop = memchr(data, '\n', (size_t)(end - data))) != NULL) {
		buf_add_str(out, "data: ");
		buf_add(out, data, (size_t)(stop + 1 - data));
		data = stop + 1;
	}
	buf_add_str(out, "data: ");
	buf_add(out, data, (size_t)(end - data));
	buf_add_str(out, "\n\n");
}

static enum err_code
openai_event(struct answer *a, const char *name, const char *data, size_t len, struct err *e)
{
	AUTO(buf_fini) struct buf seen = BUF_INIT;
	enum err_code code;
	struct json v;

	while (len > 0 && (data[len - 1] == ' ' || data[len - 1] == '\t'))
		len--;
	if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
		a->done = true;
		return ERR_OK;
	}
	if (len == 0) /* a keep-alive in the form of an empty event */
		return ERR_OK;
	code = answer_parse(&v, data, len, e);
	if (code != ERR_OK)
		return code;
	if (strcmp(name, "error") == 0)
		return answer_refused(a, v, e);
	code = openai_scan(a, v, e);
	if (code != ERR_OK)
		return code;
	if (a->probs.hidden && probs_hide(&seen, v))
		openai_copy(&a->out, seen.data, seen.len);
	else
		openai_copy(&a->out, data, len);
	return ERR_OK;
}

static enum err_code
openai_whole(struct answer *a, struct buf *body, struct err *e)
{
	AUTO(buf_fini) struct buf seen = BUF_INIT;
	enum err_code code;
	struct json v;

	code = answer_parse(&v, buf_str(body), body->len, e);
	if (code == ERR_OK)
		code = openai_scan(a, v, e);
	if (code == ERR_OK && a->probs.hidden && probs_hide(&seen, v)) {
		buf_clear(body);
		buf_add(body, seen.data, seen.len);
	}
	return code;
}

/* ---- probe: the list of models; health and properties of servers that have them ---- */

static bool
openai_probe_next(struct probe *p)
{
	static const struct {
		const char *path;
		bool at_root;
	} steps[] = {{"/models", false}, {"/health", true}, {"/props", true}};

	for (; p->step < ARRAY_LEN(steps); p->step++) {
		if ((p->step == 1 && !p->is_local) ||
			(p->step == 2 && !(p->has_props && p->discover)))
			continue;
		buf_add_str(&p->path, steps[p->step].path);
		p->at_root = steps[p->step].at_root;
		p->optional = p->step != 0;
		p->step++;
		return true;
	}
	return false;
}

static bool
has_item(struct json array, const char *text)
{
	struct json_iter it = json_iter(array);
	struct json item;

	while (array.type == JSON_ARRAY && json_next_item(&it, &item))
		if (json_equals(item, text))
			return true;
	return false;
}

/* How many tokens fit: every server family has its own name for it. */
static uint32_t
openai_context(struct json model)
{
	static const char *const paths[] = {"meta.n_ctx", "max_model_len", "context_length",
		"context_window", "max_context_length", "meta.n_ctx_train"};
	uint32_t n = 0;

	for (size_t i = 0; n == 0 && i < ARRAY_LEN(paths); i++)
		n = answer_u32(json_path(model, paths[i]));
	return n;
}

static void
openai_probe_model(struct probe *p, struct json model)
{
	struct json id = json_get(model, "id"), owner = json_get(model, "owned_by");
	struct json inputs = json_path(model, "architecture.input_modalities");
	struct json status = json_path(model, "status.value"), sees;
	struct probe_model *m = probe_add(p, id);

	if (m == NULL)
		return;
	m->context_tokens = openai_context(model);
	m->endpoints = strcasestr(m->name, "embed") != NULL ? 1U << MSG_ENDPOINT_EMBEDDINGS : 0;
	if (inputs.type == JSON_ARRAY)
		m->vision = has_item(inputs, "image") ? TRI_YES : TRI_NO;
	sees = json_path(model, "capabilities.vision");
	if (sees.type == JSON_BOOL)
		m->vision = json_is_true(sees) ? TRI_YES : TRI_NO;
	if (json_equals(owner, "llamacpp"))
		p->has_props = p->is_local = true;
	if (json_equals(owner, "vllm"))
		p->is_local = true;
	if (p->is_local)
		p->backend->learned = json_equals(owner, "vllm") ? PREFILL_VLLM : PREFILL_ASSISTANT;
	if (status.type == JSON_STRING)
		m->loaded = json_equals(status, "loaded") ? TRI_YES : TRI_NO;
	else if (p->is_local)
		m->loaded = TRI_YES;
	if (p->is_local)
		m->json = TRI_YES;
}

static enum err_code
openai_probe_props(struct probe *p, struct json body)
{
	AUTO(buf_fini) struct buf chat = BUF_INIT;
	struct json vision = json_path(body, "modalities.vision");
	uint32_t context = answer_u32(json_path(body, "default_generation_settings.n_ctx"));

	if (p->models_len != 1) /* a llama.cpp router: the properties are not the models' */
		return ERR_OK;
	json_text(&chat, json_get(body, "chat_template"));
	if (vision.type == JSON_BOOL)
		p->models[0].vision = json_is_true(vision) ? TRI_YES : TRI_NO;
	if (chat.len > 0)
		p->models[0].tools = strstr(buf_str(&chat), "tool") != NULL ? TRI_YES : TRI_NO;
	if (context != 0)
		p->models[0].context_tokens = context;
	return ERR_OK;
}

static enum err_code
openai_probe_answer(struct probe *p, unsigned status, struct json body, struct err *e)
{
	struct json_iter it;
	struct json item, data = body.type == JSON_ARRAY ? body : json_get(body, "data");

	if (p->step == 2 && status >= 500) /* /health: alive, but no use */
		return err_set(
			e, ERR_OVERLOADED, "its health check answers with status %u", status);
	if (status >= 300)
		return ERR_OK;
	if (p->step == 3)
		return openai_probe_props(p, body);
	if (p->step != 1)
		return ERR_OK;
	if (data.type != JSON_ARRAY)
		return err_set(e, ERR_MALFORMED, "its list of models has no \"data\"");
	it = json_iter(data);
	while (json_next_item(&it, &item))
		openai_probe_model(p, item);
	p->listed = true;
	return ERR_OK;
}

const struct backend_kind backend_kind_openai = {
	.name = "openai",
	.transport = &transport_http,
	.framing = FRAMING_SSE,
	.auth = AUTH_BEARER,
	.base_has_v1 = true,
	.request = openai_request,
	.event = openai_event,
	.whole = openai_whole,
	.probe_next = openai_probe_next,
	.probe_answer = openai_probe_answer,
};
