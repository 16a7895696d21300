/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_sim.c - a simulated model: sim_plan's answer at the set speed, OpenAI's shape
 *
 * All streams share one timer: at each tick every stream gets the tokens that are due by then.
 * Ticks are at least TICK_MIN_NS apart, so the cost does not grow with the number of streams times
 * speed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

#define TICK_MIN_NS (UINT64_C(500) * NS_PER_US)

struct sim_call {
	struct call *call;
	struct sim_call *next, *prev;
	struct sim_plan plan;
	size_t at; /* in plan.text */
	uint32_t emitted; /* tokens */
	bool over;
};

struct sim {
	struct backend *backend;
	struct loop_timer timer;
	uint64_t ticked_ns;
	struct sim_call *calls;
};

static uint64_t
sim_due(const struct sim_call *s, uint32_t token)
{
	const struct config_backend *config = s->call->backend->config;
	uint64_t due = s->call->started_ns + (uint64_t)config->sim.ttft_ms * NS_PER_MS;

	if (config->sim.tokens_per_s > 0)
		due += token * NS_PER_S / config->sim.tokens_per_s;
	return due;
}

/* ---- what one stream says ---- */

static void
sim_tool_chunk(struct answer *a, const struct sim_plan *p)
{
	AUTO(buf_fini) struct buf name = BUF_INIT;
	struct json v;

	json_put_string(&name, buf_str(&p->tool_name), p->tool_name.len);
	v = (struct json){JSON_STRING, name.data, name.len};
	answer_chunk_begin(a);
	json_put_key(&a->out, "tool_calls");
	json_put_begin(&a->out, '[');
	answer_put_tool_call(a, &a->out, (struct json){0}, v);
	json_put_string(&a->out, buf_str(&p->tool_arguments), p->tool_arguments.len);
	buf_add_str(&a->out, "}}]");
	answer_chunk_end(a, NULL);
}

/* One token, as a list of log-probabilities has it. */
static void
sim_put_probs(struct buf *b, const struct sim_plan *plan, const char *p, size_t len)
{
	json_put_begin(b, '{');
	json_put_key(b, "token");
	json_put_string(b, p, len);
	json_put_member_double(b, "logprob", log(plan->confidence));
	buf_add_str(b, ",\"bytes\":null,\"top_logprobs\":[]}");
}

static void
sim_text_chunk(struct answer *a, const struct sim_plan *plan, const char *p, size_t len)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	if (a->endpoint == MSG_ENDPOINT_CHAT) {
		answer_chunk_begin(a);
		json_put_key(&a->out, "content");
		json_put_string(&a->out, p, len);
		answer_chunk_end(a, NULL);
		if (!plan->shows_probs)
			return;
		json_put_begin(&text, '[');
		sim_put_probs(&text, plan, p, len);
		json_put_end(&text, ']');
		answer_chunk_logprobs(a, (struct json){JSON_ARRAY, text.data, text.len});
		return;
	}
	json_put_string(&text, p, len);
	answer_text_chunk(a, (struct json){JSON_STRING, text.data, text.len}, NULL);
}

/* Tell the gateway of so many tokens. A tool call's are told by nobody. */
static void
sim_judge(struct sim_call *s, uint32_t tokens)
{
	struct probs *p = &s->call->answer.probs;

	for (uint32_t i = 0; p->wanted && s->plan.confidence > 0 && i < tokens; i++)
		probs_add(p, log(s->plan.confidence));
}

static void
sim_emit(struct sim_call *s)
{
	struct answer *a = &s->call->answer;
	size_t n;

	if (s->plan.calls_tool) {
		sim_tool_chunk(a, &s->plan);
		s->emitted = s->plan.tokens;
		a->tokens += s->plan.tokens;
		return;
	}
	n = sim_piece(&s->plan.text, s->at);
	sim_text_chunk(a, &s->plan, s->plan.text.data + s->at, n);
	sim_judge(s, 1);
	s->at += n;
	s->emitted++;
	a->tokens++;
}

static void
sim_set_end(struct sim_call *s)
{
	struct answer *a = &s->call->answer;

	a->usage = (struct usage){
		.prompt = s->plan.prompt_tokens, .completion = s->plan.tokens, .known = true};
	answer_set_finish(a, s->plan.calls_tool  ? "tool_calls"
			     : s->plan.is_length ? "length"
						 : "stop");
	s->over = true;
}

static void
sim_end_stream(struct sim_call *s)
{
	struct answer *a = &s->call->answer;

	sim_set_end(s);
	if (a->endpoint == MSG_ENDPOINT_CHAT) {
		answer_chunk_begin(a);
		answer_chunk_end(a, a->finish_reason);
	} else {
		answer_text_chunk(a, (struct json){0}, a->finish_reason);
	}
	if (s->plan.wants_usage)
		answer_usage_chunk(a);
	a->done = true;
}

static void
sim_put_message(struct sim_call *s, struct buf *b)
{
	struct answer *a = &s->call->answer;
	AUTO(buf_fini) struct buf name = BUF_INIT;

	json_put_key(b, "message");
	json_put_begin(b, '{');
	json_put_member_str(b, "role", "assistant");
	json_put_key(b, "content");
	if (s->plan.calls_tool) {
		json_put_null(b);
		json_put_string(&name, buf_str(&s->plan.tool_name), s->plan.tool_name.len);
		json_put_key(b, "tool_calls");
		json_put_begin(b, '[');
		answer_put_tool_call(
			a, b, (struct json){0}, (struct json){JSON_STRING, name.data, name.len});
		json_put_string(b, buf_str(&s->plan.tool_arguments), s->plan.tool_arguments.len);
		buf_add_str(b, "}}]");
	} else {
		json_put_string(b, buf_str(&s->plan.text), s->plan.text.len);
	}
	json_put_end(b, '}');
}

/* The log-probabilities of the whole text. */
static void
sim_put_all_probs(const struct sim_call *s, struct buf *b)
{
	const struct buf *text = &s->plan.text;

	json_put_key(b, "logprobs");
	json_put_begin(b, '{');
	json_put_key(b, "content");
	json_put_begin(b, '[');
	for (size_t at = 0, n; at < text->len; at += n) {
		n = sim_piece(text, at);
		sim_put_probs(b, &s->plan, text->data + at, n);
	}
	json_put_end(b, ']');
	json_put_end(b, '}');
}

static void
sim_put_whole(struct sim_call *s, struct buf *b)
{
	struct call *c = s->call;
	bool is_chat = c->answer.endpoint == MSG_ENDPOINT_CHAT;

	sim_set_end(s);
	answer_head(&c->answer, b, is_chat ? "chat.completion" : "text_completion");
	json_put_key(b, "choices");
	buf_add_str(b, "[{\"index\":0");
	if (is_chat) {
		sim_put_message(s, b);
	} else {
		json_put_key(b, "text");
		json_put_string(b, buf_str(&s->plan.text), s->plan.text.len);
	}
	if (is_chat && s->plan.shows_probs && !s->plan.calls_tool)
		sim_put_all_probs(s, b);
	json_put_member_str(b, "finish_reason", c->answer.finish_reason);
	buf_add_str(b, "}]");
	answer_put_usage(b, &c->answer.usage);
	json_put_end(b, '}');
}

static void
sim_end_whole(struct sim_call *s)
{
	struct call *c = s->call;

	sim_put_whole(s, &c->whole);
	if (!s->plan.calls_tool)
		sim_judge(s, s->plan.tokens);
	c->first_ns = c->token_ns = clock_ns();
	call_done(c, ERR_OK, NULL);
}

/* ---- time ---- */

/* Let s say what is due by now. Returns when the next is, UINT64_MAX: none, or not without credit.
 */
static uint64_t
sim_advance(struct sim_call *s, uint64_t now_ns)
{
	struct call *c = s->call;
	uint64_t due;

	if (s->over)
		return UINT64_MAX;
	if (!c->stream) {
		due = sim_due(s, s->plan.tokens == 0 ? 0 : s->plan.tokens - 1);
		if (due > now_ns)
			return due;
		sim_end_whole(s);
		return UINT64_MAX;
	}
	while ((due = sim_due(s, s->emitted)) <= now_ns) {
		if (call_is_full(c)) {
			if (!c->paused)
				board_count(c->backend->w->board, COUNTER_UP_PAUSED, 1);
			c->paused = true;
			return UINT64_MAX;
		}
		if (c->first_ns == 0) {
			c->first_ns = now_ns;
			c->phase = CALL_READING;
		}
		c->last_ns = c->token_ns = now_ns;
		call_touched(c);
		if (s->emitted >= s->plan.tokens) {
			sim_end_stream(s);
			return UINT64_MAX;
		}
		sim_emit(s);
		/* The end comes with the last token, not one token's time later. */
		if (s->emitted >= s->plan.tokens) {
			sim_end_stream(s);
			return UINT64_MAX;
		}
	}
	return due;
}

static void
sim_arm(struct sim *sim, uint64_t at_ns)
{
	if (at_ns == UINT64_MAX)
		return;
	at_ns = MAX(at_ns, sim->ticked_ns + TICK_MIN_NS);
	if (sim->timer.heap_index == 0 || at_ns < sim->timer.at_ns)
		loop_timer_set(sim->backend->w->loop, &sim->timer, at_ns);
}

static void
sim_on_tick(void *arg)
{
	struct sim *sim = arg;
	uint64_t now_ns = clock_ns(), first = UINT64_MAX, due;

	sim->ticked_ns = now_ns;
	for (struct sim_call *s = sim->calls; s != NULL; s = s->next) {
		due = sim_advance(s, now_ns);
		first = MIN(first, due);
	}
	sim_arm(sim, first);
	call_flush_all(sim->backend);
}

/* ---- embeddings ---- */

static void
sim_put_embedding(struct call *c, struct buf *b, struct json input, uint32_t index)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf numbers = BUF_INIT;
	uint64_t hash;

	json_text(&text, input);
	if (input.type == JSON_ARRAY) /* token numbers: as they are written */
		buf_add(&text, input.p, input.len);
	hash = sim_prompt_hash(c->backend->config->sim.seed, c->model, buf_str(&text), text.len);
	c->answer.usage.prompt += sim_count_tokens(text.len);
	json_put_begin(&numbers, '[');
	for (uint32_t i = 0; i < SIM_DIMENSIONS; i++)
		json_put_double(&numbers, (double)sim_embedding(hash, i));
	json_put_end(&numbers, ']');
	json_put_begin(b, '{');
	json_put_member_str(b, "object", "embedding");
	json_put_member_u64(b, "index", index);
	json_put_key(b, "embedding");
	if (c->answer.base64)
		answer_put_base64(b, (struct json){JSON_ARRAY, numbers.data, numbers.len});
	else
		json_put_raw(b, (struct json){JSON_ARRAY, numbers.data, numbers.len});
	json_put_end(b, '}');
}

static enum err_code
sim_put_embeddings(struct call *c, struct buf *b, struct err *e)
{
	struct json body, input, item;
	struct json_iter it;
	uint32_t index = 0;
	enum err_code code;

	code = json_check(&body, c->asked.body, c->asked.body_len, e);
	if (code != ERR_OK)
		return code;
	input = json_get(body, "input");
	if (input.type != JSON_STRING && input.type != JSON_ARRAY)
		return err_set(e, ERR_BAD_REQUEST, "\"input\" must be a string or an array");
	c->answer.base64 = json_equals(json_get(body, "encoding_format"), "base64");
	it = json_iter(input);
	json_put_begin(b, '{');
	json_put_member_str(b, "object", "list");
	json_put_key(b, "data");
	json_put_begin(b, '[');
	if (input.type == JSON_STRING)
		sim_put_embedding(c, b, input, index++);
	else
		while (json_next_item(&it, &item))
			sim_put_embedding(c, b, item, index++);
	json_put_end(b, ']');
	json_put_member_str(b, "model", c->model);
	json_put_key(b, "usage");
	json_put_begin(b, '{');
	json_put_member_u64(b, "prompt_tokens", c->answer.usage.prompt);
	json_put_member_u64(b, "total_tokens", c->answer.usage.prompt);
	buf_add_str(b, "}}");
	c->answer.usage.known = true;
	return ERR_OK;
}

static enum err_code
sim_embeddings(struct call *c, struct err *e)
{
	enum err_code code = sim_put_embeddings(c, &c->whole, e);

	if (code == ERR_OK)
		call_done(c, ERR_OK, NULL);
	return code;
}

/* ---- transport ---- */

static bool
sim_serves(const struct backend *b, const char *model)
{
	const struct config_backend *config = b->config;

	for (size_t i = 0; i < config->sim.models_len; i++)
		if (strcmp(config->sim.models[i], model) == 0)
			return true;
	return config->sim.models_len == 0 && strcmp(config->name, model) == 0;
}

/* What an OpenAI-compatible server with this model would send as the answer's body. */
static enum err_code
sim_put_body(struct call *scratch, struct buf *body, struct err *e)
{
	struct sim_call s = {.call = scratch};
	enum err_code code;

	if (scratch->asked.endpoint == MSG_ENDPOINT_EMBEDDINGS)
		return sim_put_embeddings(scratch, body, e);
	code = sim_plan(&s.plan, scratch->backend->config, &scratch->asked, e);
	s.plan.shows_probs |= scratch->asked.probs && s.plan.confidence > 0;
	if (code == ERR_OK && scratch->stream) {
		while (s.emitted < s.plan.tokens)
			sim_emit(&s);
		sim_end_stream(&s);
		buf_add(body, scratch->answer.out.data, scratch->answer.out.len);
		buf_add_str(body, "data: [DONE]\n\n");
	} else if (code == ERR_OK) {
		sim_put_whole(&s, body);
	}
	sim_plan_fini(&s.plan);
	return code;
}

enum err_code
sim_body(struct buf *out, const struct call *c, struct err *e)
{
	struct call *scratch;
	enum err_code code;

	if (!sim_serves(c->backend, c->model))
		return err_set(e, ERR_UPSTREAM_MODEL, "model %s is not simulated here", c->model);
	scratch = calloc(1, sizeof(*scratch));
	CHECK(scratch != NULL);
	scratch->backend = c->backend;
	scratch->asked = c->asked;
	scratch->stream = c->stream;
	memcpy(scratch->model, c->model, sizeof(scratch->model));
	answer_init(&scratch->answer, c->backend->kind, c->asked.endpoint);
	memcpy(scratch->answer.id, c->answer.id, sizeof(scratch->answer.id));
	memcpy(scratch->answer.model, c->model, sizeof(scratch->answer.model));
	scratch->answer.created_s = c->answer.created_s;
	code = sim_put_body(scratch, out, e);
	answer_fini(&scratch->answer);
	free(scratch);
	return code;
}

static struct sim *
sim_of(struct backend *b)
{
	if (b->sim == NULL) {
		b->sim = calloc(1, sizeof(*b->sim));
		CHECK(b->sim != NULL);
		b->sim->backend = b;
		b->sim->timer = (struct loop_timer){.fn = sim_on_tick, .arg = b->sim};
	}
	return b->sim;
}

static enum err_code
sim_start(struct call *c, struct err *e)
{
	struct backend *b = c->backend;
	struct sim *sim = sim_of(b);
	struct sim_call *s;
	enum err_code code;

	if (!sim_serves(b, c->model))
		return err_set(e, ERR_UPSTREAM_MODEL, "model %s is not simulated here", c->model);
	call_sent(c);
	(void)msg_str_copy(c->answer.model, sizeof(c->answer.model), msg_str(c->model));
	if (c->asked.endpoint == MSG_ENDPOINT_EMBEDDINGS)
		return sim_embeddings(c, e);
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	s->call = c;
	c->sim = s;
	code = sim_plan(&s->plan, b->config, &c->asked, e);
	s->next = sim->calls;
	if (s->next != NULL)
		s->next->prev = s;
	sim->calls = s;
	if (code == ERR_OK)
		sim_arm(sim, sim_advance(s, clock_ns()));
	return code;
}

static void
sim_resume(struct call *c)
{
	struct sim *sim = c->backend->sim;

	if (c->sim != NULL && sim != NULL)
		sim_arm(sim, sim_advance(c->sim, clock_ns()));
}

static void
sim_stop(struct call *c)
{
	struct sim_call *s = c->sim;

	c->sim = NULL;
	if (s == NULL)
		return;
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		c->backend->sim->calls = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	sim_plan_fini(&s->plan);
	free(s);
}

static void
sim_probe(struct probe *p)
{
	const struct config_backend *config = p->backend->config;

	for (size_t i = 0; i < MAX(config->sim.models_len, (size_t)1); i++) {
		AUTO(buf_fini) struct buf name = BUF_INIT;
		struct probe_model *m;

		json_put_str(
			&name, config->sim.models_len == 0 ? config->name : config->sim.models[i]);
		m = probe_add(p, (struct json){JSON_STRING, name.data, name.len});
		if (m == NULL)
			continue;
		m->endpoints = 1U << MSG_ENDPOINT_CHAT | 1U << MSG_ENDPOINT_COMPLETIONS |
			       1U << MSG_ENDPOINT_EMBEDDINGS;
		m->context_tokens = 128 * 1024;
		m->tools = m->vision = m->json = m->loaded = TRI_YES;
	}
	p->listed = true;
	probe_done(p, ERR_OK, NULL);
}

static void
sim_probe_stop(struct probe *p)
{
	(void)p;
}

void
sim_free(struct sim **s_p)
{
	struct sim *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	CHECK(s->calls == NULL);
	loop_timer_clear(s->backend->w->loop, &s->timer);
	free(s);
}

const struct transport transport_sim = {
	.start = sim_start,
	.resume = sim_resume,
	.stop = sim_stop,
	.probe = sim_probe,
	.probe_stop = sim_probe_stop,
};

const struct backend_kind backend_kind_sim = {
	.name = "sim",
	.transport = &transport_sim,
};
