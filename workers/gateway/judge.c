/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.c - what a scorer says of a prompt: remembered, from its file, or from a classifier
 *
 * A file that was trained with an encoder waits for the classifier's embedding, a file that was not
 * answers at once. An answer is remembered under the scorer (a file's content, an encoder's name)
 * and the text that was judged, and everything is forgotten when the config is read again. Nothing
 * that changes by itself, such as load, health or prices, is part of an answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/routing/judge.h"
#include "lib/routing/scorer_text.h"
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
	g->forgot++;
	ttl_free(&g->judged);
	ttl_new(&g->judged, JUDGE_KEPT,
		sizeof(struct judge_kept) + models * sizeof(struct scorer_guess));
}

static uint64_t
judge_hash_name(const char *name)
{
	return name == NULL ? 0 : route_hash(name, strlen(name));
}

/* By what an answer is remembered: any question of the form can be answered from it. */
static uint64_t
judge_key(const struct route_question *q, const char *text, size_t len)
{
	const uint64_t key[] = {route_hash(text, len), q->row != NULL ? q->row->hash : 0,
		judge_hash_name(q->encoder)};

	return route_hash((const char *)key, sizeof(key));
}

/* What a classifier is asked for it. */
static uint64_t
judge_asked(const struct route_question *q, const char *text, size_t len)
{
	const uint64_t asked[] = {
		route_hash(text, len), q->row != NULL, judge_hash_name(q->encoder)};

	return route_hash((const char *)asked, sizeof(asked));
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
	if (q->row != NULL)
		route_judge_guessed(out, q, kept->guess);
	else
		out->want = kept->want;
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
	if (q->row != NULL)
		memcpy(kept->guess, j->guess,
			scorer_models(q->row->scorer) * sizeof(kept->guess[0]));
}

/* Nobody has asked the classifier yet: note what there is to ask. */
static enum route_answer
judge_defer(struct judge_call *call, const struct route_question *q, const char *text, size_t len)
{
	size_t skip = q->row != NULL ? text_courtesy(text, len) : 0;

	(void)snprintf(call->encoder, sizeof(call->encoder), "%s", q->encoder);
	call->embeds = q->row != NULL;
	buf_clear(&call->text);
	buf_add(&call->text, text + skip, len - skip);
	call->asked = judge_asked(q, text, len);
	call->forgot = call->g->forgot;
	call->deadline_ms = q->route != NULL ? q->route->deadline_ms : JUDGE_DEADLINE_MS;
	return JUDGE_LATER;
}

static enum route_answer
judge_fail(struct route_judgement *out, const char *why)
{
	(void)snprintf(out->why, sizeof(out->why), "%s", why);
	return JUDGE_FAILED;
}

/* Is the embedding one of the model that the scorer was trained with? */
static bool
judge_fits(struct judge_call *call, const struct scorers_row *row)
{
	const struct scorer_embedding *wanted = scorer_embedding(row->scorer);
	struct gateway *g = call->g;
	uint64_t *told =
		&g->unfit_told[(size_t)(row - g->scorers->rows) % ARRAY_LEN(g->unfit_told)];

	if (call->identity == wanted->identity &&
		call->embedding.len == wanted->len * sizeof(float))
		return true;
	if (*told != (row->hash ^ call->identity))
		log_error("scorer_unfit", "file=%s encoder=%s trained_with=%s use=default",
			row->path, call->encoder, wanted->name);
	*told = row->hash ^ call->identity;
	return false;
}

/* A classifier was asked for this decision: what follows from its answer. */
static enum route_answer
judge_heard(struct judge_call *call, struct route_judgement *out, const struct route_question *q,
	const char *text, size_t len)
{
	if (call->answer == JUDGE_FAILED)
		return judge_fail(out, call->why);
	if (call->asked != judge_asked(q, text, len))
		return judge_fail(out, "the config changed while a classifier was asked");
	out->cached = false;
	if (q->row == NULL) {
		out->want = call->want;
		return JUDGE_READY;
	}
	if (!judge_fits(call, q->row))
		return judge_fail(
			out, "the encoder is not the model that the scorer was trained with");
	route_judge_file(out, q, text, len, (const float *)(const void *)buf_str(&call->embedding));
	gateway_count(call->g, COUNTER_JUDGE_FILE, 1);
	return JUDGE_READY;
}

static enum route_answer
judge_ask(void *arg, struct route_judgement *out, const struct route_question *q)
{
	struct judge_call *call = arg;
	struct route_request r = *q->request;
	struct route_question asked = *q;
	enum route_answer answer;
	char text[ROUTE_TEXT_MAX];
	uint64_t key;
	size_t len;

	if (q->route != NULL && q->route->text == TEXT_ALL) {
		/* once: when a shadow is decided again, the body's bytes are gone */
		if (!call->others_read)
			chat_body_others(call->body, &call->others, ROUTE_TEXT_MAX);
		call->others_read = true;
		r.others = buf_str(&call->others);
		r.others_len = call->others.len;
	}
	asked.request = &r;
	len = route_text(text, &r, q->route);
	key = judge_key(q, text, len);
	if (q->encoder != NULL && call->answer != JUDGE_LATER) {
		answer = judge_heard(call, out, &asked, text, len);
		if (answer == JUDGE_READY && call->forgot == call->g->forgot)
			judge_keep(call->g, out, q, key);
		return answer;
	}
	if (judge_remembers(call->g, out, q, key))
		return JUDGE_READY;
	if (q->encoder != NULL)
		return judge_defer(call, q, text, len);
	route_judge_file(out, &asked, text, len, NULL);
	judge_keep(call->g, out, q, key);
	gateway_count(call->g, COUNTER_JUDGE_FILE, 1);
	return JUDGE_READY;
}

void
judge_call_hear(struct judge_call *call, const struct ask_answer *a)
{
	call->answer = a->answer;
	call->want = a->want;
	call->identity = a->identity;
	buf_clear(&call->embedding);
	if (a->embedding != NULL)
		buf_add(&call->embedding, a->embedding, a->embedding_len * sizeof(float));
	(void)snprintf(call->why, sizeof(call->why), "%s", a->why);
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
	buf_fini(&call->embedding);
	buf_fini(&call->text);
	buf_fini(&call->others);
}
