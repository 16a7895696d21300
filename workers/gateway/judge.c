/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.c - what a scorer says of a prompt: remembered, from its file, or from a classifier
 *
 * An answer is remembered under the scorer (a file's content, an encoder's name), the question and
 * the text that was judged, and everything is forgotten when the config is read again. Nothing that
 * changes by itself, such as load, health or prices, is part of an answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/routing/judge.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { JUDGE_KEPT = 2048 };

/* What is remembered: one answer, with a guess per model behind it. */
struct judge_kept {
	double want;
	struct scorer_guess guess[];
};

void
judge_forget(struct gateway *g)
{
	size_t models = 0;

	for (size_t i = 0; g->scorers != NULL && i < g->scorers->len; i++)
		if (g->scorers->rows[i].scorer != NULL)
			models = MAX(models, scorer_models(g->scorers->rows[i].scorer));
	/* answers that are on their way are of the old config's encoders, whatever their names */
	for (struct ask *a = g->asks; a != NULL; a = a->next)
		a->key = 0;
	ttl_free(&g->judged);
	ttl_new(&g->judged, JUDGE_KEPT,
		sizeof(struct judge_kept) + models * sizeof(struct scorer_guess));
}

static size_t
judge_models(const struct route_question *q)
{
	return q->form == QUESTION_GUESS ? scorer_models(q->row->scorer) : 0;
}

static uint64_t
judge_key(const struct route_question *q, const char *text, size_t len)
{
	struct {
		uint64_t text, scorer, form;
		int64_t weak, strong;
	} key = {.text = route_hash(text, len),
		.scorer = q->row != NULL ? q->row->hash
					 : route_hash(q->encoder == NULL ? "" : q->encoder,
						   q->encoder == NULL ? 0 : strlen(q->encoder)),
		.form = (uint64_t)q->scorer << 8 | (uint64_t)q->form,
		.weak = q->weak,
		.strong = q->strong};

	return route_hash((const char *)&key, sizeof(key));
}

static uint64_t
judge_age_ns(const struct route_question *q)
{
	return q->route == NULL ? 0 : clock_ms_to_ns(q->route->cache_ms);
}

static bool
judge_remembers(struct gateway *g, struct route_judgement *out, const struct route_question *q,
	uint64_t key)
{
	const struct judge_kept *kept;

	if (judge_age_ns(q) == 0)
		return false;
	kept = ttl_get(g->judged, key, clock_ns(), judge_age_ns(q));
	if (kept == NULL)
		return false;
	out->want = kept->want;
	out->guess = kept->guess;
	out->cached = true;
	gateway_count(g, COUNTER_JUDGE_CACHED, 1);
	return true;
}

static void
judge_keep(struct gateway *g, const struct route_judgement *j, const struct route_question *q,
	uint64_t key)
{
	struct judge_kept *kept;

	if (judge_age_ns(q) == 0)
		return;
	kept = ttl_put(g->judged, key, clock_ns());
	kept->want = j->want;
	if (j->guess != NULL)
		memcpy(kept->guess, j->guess, judge_models(q) * sizeof(kept->guess[0]));
}

void
judge_keep_want(struct gateway *g, uint64_t key, double want)
{
	struct judge_kept *kept;

	if (key == 0)
		return;
	kept = ttl_put(g->judged, key, clock_ns());
	kept->want = want;
}

/* Nobody has asked the classifier yet: note what there is to ask. */
static enum route_answer
judge_defer(struct judge_call *call, const struct route_question *q, const char *text, size_t len,
	uint64_t key)
{
	const struct config *c = call->g->config;
	const char *encoder = q->encoder;

	if (encoder == NULL && c->encoders_len > 0)
		encoder = c->encoders[0].name;
	(void)snprintf(call->encoder, sizeof(call->encoder), "%s", encoder == NULL ? "" : encoder);
	buf_clear(&call->text);
	buf_add(&call->text, text, len);
	call->key = judge_age_ns(q) > 0 ? key : 0;
	call->deadline_ms = q->route != NULL ? q->route->deadline_ms : JUDGE_DEADLINE_MS;
	return JUDGE_LATER;
}

static enum route_answer
judge_ask(void *arg, struct route_judgement *out, const struct route_question *q)
{
	struct judge_call *call = arg;
	struct route_request r = *q->request;
	struct route_question asked = *q;
	char text[ROUTE_TEXT_MAX];
	uint64_t key;
	size_t len;

	if (q->row == NULL && call->answer == JUDGE_READY) {
		out->want = call->want;
		return JUDGE_READY;
	}
	if (q->row == NULL && call->answer == JUDGE_FAILED) {
		(void)snprintf(out->why, sizeof(out->why), "%s", call->why);
		return JUDGE_FAILED;
	}
	if (q->route != NULL && q->route->text == TEXT_ALL) {
		chat_body_others(call->body, &call->others, ROUTE_TEXT_MAX);
		r.others = buf_str(&call->others);
		r.others_len = call->others.len;
	}
	asked.request = &r;
	len = route_text(text, &r, q->route);
	key = judge_key(q, text, len);
	if (judge_remembers(call->g, out, q, key))
		return JUDGE_READY;
	if (q->row == NULL)
		return judge_defer(call, q, text, len, key);
	route_judge_file(out, &asked, text, len);
	judge_keep(call->g, out, q, key);
	gateway_count(call->g, COUNTER_JUDGE_FILE, 1);
	return JUDGE_READY;
}

void
judge_call_init(struct judge_call *call, struct gateway *g, struct chat_body *body)
{
	*call = (struct judge_call){.g = g,
		.body = body,
		.answer = JUDGE_LATER,
		.judge = {.ask = judge_ask, .arg = call}};
	body->route.judge = &call->judge;
}

void
judge_call_move(struct judge_call *to, struct judge_call *from, struct chat_body *body)
{
	*to = *from;
	*from = (struct judge_call){.answer = JUDGE_FAILED};
	to->body = body;
	to->judge.arg = to;
	body->route.judge = &to->judge;
}

void
judge_call_fini(struct judge_call *call)
{
	buf_fini(&call->text);
	buf_fini(&call->others);
}
