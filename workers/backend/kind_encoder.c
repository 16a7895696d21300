/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_encoder.c - embeddings by an encoder of shunt's own: a classifier is the upstream
 *
 * A request goes there piece by piece, so that one that nobody waits for any more costs one piece
 * at most, and requests with few inputs are not held up by those with many. A piece whose
 * classifier died is asked again.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/encoders.h"
#include "workers/common/worker.h"

enum {
	DEATHS_MAX = 2, /* classifiers that may die under one request */
	RESTARTS_MAX = 3, /* as often may the model be replaced under one */
	WAIT_MS = 5000, /* for a classifier to ask */
	RETRY_MS = 50 /* where none is ready: look again, as at each change on the board */
};

/* A call's conversation with classifiers. */
struct embedding {
	struct embedding *next, *prev;
	struct call *call;
	struct embed embed;
	size_t at, end; /* the piece that is asked for now */
	uint32_t piece; /* inputs in it */
	uint32_t done; /* inputs before it */
	uint64_t id; /* of the question; 0: none is open */
	int slot; /* of who was asked */
	uint32_t generation;
	uint32_t deaths, restarts;
	uint32_t weights; /* generation of the model that the answers so far come from */
	uint64_t waits_ns; /* for a classifier to ask since then; 0: does not */
	struct loop_timer retry;
};

static void
embedding_fail(struct embedding *m, const struct err *e)
{
	m->id = 0;
	call_done(m->call, e->code, e);
}

/* All inputs have their numbers. */
static void
embedding_finish(struct embedding *m)
{
	struct call *c = m->call;
	struct err e = {.code = ERR_OK};

	c->answer.usage = (struct usage){
		.prompt = (uint32_t)MIN(m->embed.tokens, (uint64_t)UINT32_MAX), .known = true};
	c->first_ns = c->token_ns = clock_ns();
	if (embed_write(&c->whole, &m->embed, c->model, &e) == ERR_OK &&
		c->whole.len > c->backend->limits.response_bytes)
		(void)err_set(&e, ERR_TOO_LARGE, "the answer has %zu bytes, allowed are %llu",
			c->whole.len, (unsigned long long)c->backend->limits.response_bytes);
	if (e.code != ERR_OK)
		buf_clear(&c->whole);
	call_done(c, e.code, &e);
}

/* Ask for the piece at m->at, or look again soon where nobody can be asked. */
static void
embedding_ask(struct embedding *m)
{
	struct backend *b = m->call->backend;
	const char *encoder = b->config->encoder;
	struct msg q = {.type = MSG_EMBED,
		.head = {.request_id = b->next_question + 1,
			.deadline_ns = m->call->asker.deadline_ns}};
	AUTO(bytes_unref) struct bytes *payload = NULL;
	struct err e = {.code = ERR_OK};

	m->id = 0;
	loop_timer_clear(b->w->loop, &m->retry);
	m->slot = encoders_find(b->w, encoder, &m->generation);
	if (m->slot >= 0) {
		m->end = embed_next(&m->embed, m->at, &m->piece);
		payload = bytes_copy(m->embed.inputs.data + m->at, m->end - m->at);
		q.embed.encoder = msg_str(encoder);
		q.embed.count = m->piece;
		if (bus_send(b->w->bus, (unsigned)m->slot, m->generation, &q, payload, &e) ==
			ERR_OK) {
			m->id = ++b->next_question;
			m->waits_ns = 0;
			return;
		}
	}
	if (m->waits_ns == 0)
		m->waits_ns = clock_ns();
	if (clock_ns() - m->waits_ns >= clock_ms_to_ns(WAIT_MS)) {
		(void)err_set(&e, ERR_CONNECT, "no process of encoder %s is ready", encoder);
		embedding_fail(m, &e);
		return;
	}
	loop_timer_set(b->w->loop, &m->retry, clock_ns() + clock_ms_to_ns(RETRY_MS));
}

/* Numbers of two models do not belong into one answer. */
static void
embedding_start_over(struct embedding *m)
{
	buf_clear(&m->embed.values);
	m->embed.tokens = 0;
	m->at = 0;
	m->done = 0;
	embedding_ask(m);
}

static void
embedding_on_retry(void *arg)
{
	struct embedding *m = arg;
	struct backend *b = m->call->backend;

	embedding_ask(m);
	call_flush_all(b);
}

static struct embedding *
embedding_find(struct backend *b, const struct msg *m)
{
	for (struct embedding *at = b->embeddings; at != NULL; at = at->next)
		if (at->id != 0 && at->id == m->head.request_id &&
			at->slot == m->head.sender_slot &&
			at->generation == m->head.sender_generation)
			return at;
	return NULL; /* it was cancelled meanwhile */
}

void
embedding_on_embedded(struct backend *b, const struct msg *msg, struct bytes *payload)
{
	struct embedding *m = embedding_find(b, msg);
	const struct msg_embedded *got = &msg->embedded;
	struct err e = {.code = ERR_OK};

	if (m == NULL)
		return;
	m->id = 0;
	if (m->done > 0 && got->generation != m->weights && m->restarts++ < RESTARTS_MAX) {
		embedding_start_over(m);
		return;
	}
	if (m->done == 0) {
		m->embed.hidden = got->dimensions;
		m->weights = got->generation;
	}
	if (payload == NULL || got->count != m->piece || got->dimensions != m->embed.hidden ||
		got->dimensions == 0 || got->generation != m->weights ||
		payload->len != (size_t)got->count * got->dimensions * sizeof(float)) {
		(void)err_set(&e, ERR_MALFORMED, "the classifier's answer has not the asked form");
		embedding_fail(m, &e);
		call_flush_all(b);
		return;
	}
	buf_add(&m->embed.values, payload->data, payload->len);
	m->embed.tokens += got->tokens;
	m->done += m->piece;
	m->at = m->end;
	if (m->done == m->embed.count)
		embedding_finish(m);
	else
		embedding_ask(m);
	call_flush_all(b);
}

void
embedding_on_fail(struct backend *b, const struct msg *msg)
{
	struct embedding *m = embedding_find(b, msg);
	enum err_code code = err_code_checked(msg->embed_fail.code);
	char text[ERR_TEXT_MAX];
	struct err e = {.code = ERR_OK};

	if (m == NULL)
		return;
	if (code == ERR_WORKER_DIED && ++m->deaths < DEATHS_MAX) {
		embedding_ask(m); /* it goes; its successor may have the model */
		call_flush_all(b);
		return;
	}
	/* what can't be had here now may be had elsewhere: an error that cascades */
	if (code == ERR_UNAVAILABLE || code == ERR_OK)
		code = ERR_OVERLOADED;
	(void)msg_str_copy(text, sizeof(text), msg->embed_fail.text);
	(void)err_set(&e, code, "%s", text);
	e.retry_after_ms = msg->embed_fail.retry_after_ms;
	embedding_fail(m, &e);
	call_flush_all(b);
}

void
embedding_board_changed(struct backend *b)
{
	struct embedding *next;
	struct slot_info info;
	struct err e = {.code = ERR_OK};

	for (struct embedding *m = b->embeddings; m != NULL; m = next) {
		next = m->next;
		if (m->id == 0) {
			if (m->retry.heap_index != 0)
				embedding_ask(m);
			continue;
		}
		board_slot(b->w->board, (unsigned)m->slot, &info);
		if (info.generation == m->generation && info.state != SLOT_EMPTY &&
			info.state != SLOT_BACKOFF)
			continue;
		if (++m->deaths < DEATHS_MAX) {
			embedding_ask(m);
			continue;
		}
		(void)err_set(&e, ERR_WORKER_DIED, "its classifier died, twice");
		embedding_fail(m, &e);
	}
	call_flush_all(b);
}

/* ---- transport ---- */

static enum err_code
encoder_start(struct call *c, struct err *e)
{
	struct backend *b = c->backend;
	struct embedding *m;

	if (c->asked.endpoint != MSG_ENDPOINT_EMBEDDINGS)
		return err_set(e, ERR_UNSUPPORTED, "an encoder makes embeddings only");
	if (strcmp(c->model, b->config->encoder) != 0)
		return err_set(e, ERR_UPSTREAM_MODEL, "model %s is not served here, %s is",
			c->model, b->config->encoder);
	m = calloc(1, sizeof(*m));
	CHECK(m != NULL);
	m->call = c;
	m->retry = (struct loop_timer){.fn = embedding_on_retry, .arg = m};
	m->next = b->embeddings;
	if (m->next != NULL)
		m->next->prev = m;
	b->embeddings = m;
	c->embedding = m;
	if (embed_read(&m->embed, c->asked.body, c->asked.body_len, e) != ERR_OK)
		return e->code;
	call_sent(c);
	embedding_ask(m);
	return ERR_OK;
}

static void
encoder_resume(struct call *c)
{
	(void)c; /* no answer of an encoder is a stream */
}

static void
encoder_stop(struct call *c)
{
	struct embedding *m = c->embedding;

	c->embedding = NULL;
	if (m == NULL)
		return;
	if (m->prev != NULL)
		m->prev->next = m->next;
	else
		c->backend->embeddings = m->next;
	if (m->next != NULL)
		m->next->prev = m->prev;
	loop_timer_clear(c->backend->w->loop, &m->retry);
	embed_fini(&m->embed);
	free(m);
}

static void
encoder_probe(struct probe *p)
{
	struct backend *b = p->backend;
	AUTO(buf_fini) struct buf name = BUF_INIT;
	struct err e = {.code = ERR_OK};
	struct probe_model *m;

	if (!encoders_expected(b->w, b->config->encoder))
		(void)err_set(
			&e, ERR_CONNECT, "no process of encoder %s is there", b->config->encoder);
	json_put_str(&name, b->config->encoder);
	m = probe_add(p, (struct json){JSON_STRING, name.data, name.len});
	if (m != NULL) {
		m->endpoints = 1U << MSG_ENDPOINT_EMBEDDINGS;
		m->tools = m->vision = m->json = TRI_NO;
		m->loaded = TRI_YES;
	}
	p->listed = true;
	probe_done(p, e.code, &e);
}

static void
encoder_probe_stop(struct probe *p)
{
	(void)p;
}

static const struct transport transport_encoder = {
	.start = encoder_start,
	.resume = encoder_resume,
	.stop = encoder_stop,
	.probe = encoder_probe,
	.probe_stop = encoder_probe_stop,
};

const struct backend_kind backend_kind_encoder = {
	.name = "encoder",
	.transport = &transport_encoder,
};
