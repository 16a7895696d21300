/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classifier.c - an encoder model over shared weights: scores for routing, embeddings
 *
 * Runs as:        shunt-classifier, as many as `processes` says for each of the config's encoders
 * Handles/Sends:  Classify, Embed / Classified, ClassifyFail, Embedded, EmbedFail
 * Writes:         its own worker row (counters, heartbeat); the segment, when told to load it
 * If it dies:     its successor maps the segment that the supervisor keeps, reading no file; what
 *                 was asked of it finds no answer, and its askers see its end on the board
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/classifier/classifier.h"
#include "workers/common/worker.h"

static struct classifier *
classifier_of(struct worker *w)
{
	CHECK(w->role == ROLE_CLASSIFIER && w->state != NULL);
	return w->state;
}

static void
classifier_drop_late(struct classifier *c)
{
	struct err e = {.code = ERR_OK};
	struct job *j;

	(void)err_set(&e, ERR_DEADLINE, "its deadline passed while it waited");
	while ((j = queue_take_late(&c->queue, clock_ns())) != NULL)
		reply_fail(c, &j, &e);
}

void
classifier_fail_all(struct classifier *c, const struct err *e)
{
	struct job *j;

	while ((j = queue_take_late(&c->queue, UINT64_MAX)) != NULL)
		reply_fail(c, &j, e);
}

static void
classifier_work_ended(struct classifier *c)
{
	if (c->w->draining && c->queue.len == 0 && !engine_busy(c->engine))
		worker_drained(c->w);
}

/* As many of those that wait as one pass may have; all of one kind. */
static void
classifier_fill(struct classifier *c)
{
	const enum job_kind *kind = NULL;
	enum job_kind first;
	struct err e = {.code = ERR_OK};
	struct job *j;
	size_t most = c->config.batch;

	while ((j = queue_take(&c->queue, kind == NULL ? PASS_TEXTS_MAX : most - c->pass->len,
			kind)) != NULL) {
		if (pass_add(c->pass, j, &e) != ERR_OK) {
			reply_fail(c, &j, &e);
			continue;
		}
		first = c->pass->texts[0].job->kind;
		kind = &first;
		if (c->pass->len >= most)
			return;
	}
}

void
classifier_pump(struct classifier *c)
{
	if (engine_busy(c->engine))
		return;
	client_switch(c);
	classifier_drop_late(c);
	if (c->queue.len > 0 && c->model == NULL)
		client_want(c);
	if (c->model != NULL)
		classifier_fill(c);
	if (c->pass->len > 0)
		engine_start(c->engine, c->pass, c->model);
	else
		classifier_work_ended(c);
}

static void
classifier_on_pass(void *arg)
{
	struct classifier *c = arg;

	client_used(c);
	reply_result(c, c->pass);
	classifier_pump(c);
}

/* ---- what is asked ---- */

static MUST enum err_code
classifier_check(struct classifier *c, struct msg_str encoder, struct err *e)
{
	if (encoder.len != strlen(c->config.name) ||
		memcmp(encoder.p, c->config.name, encoder.len) != 0)
		return err_set(e, ERR_MODEL, "this classifier has encoder %s", c->config.name);
	if (c->queue.len >= c->config.queue)
		classifier_drop_late(c);
	if (c->queue.len >= c->config.queue) {
		e->retry_after_ms = 0;
		return err_set(e, ERR_OVERLOADED, "encoder %s: %zu requests wait already",
			c->config.name, c->queue.len);
	}
	return ERR_OK;
}

static void
classifier_take(struct classifier *c, struct job *j, const struct err *e)
{
	board_gauge(c->w->board, COUNTER_CLASSIFY_WAITING, j->texts);
	if (e->code != ERR_OK) {
		reply_fail(c, &j, e);
		return;
	}
	queue_add(&c->queue, j);
	classifier_pump(c);
}

static void
on_classify(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct classifier *c = classifier_of(w);
	struct job *j = job_new(JOB_CLASSIFY, m, payload);
	struct err e = {.code = ERR_OK};

	j->wanted = m->classify.wanted;
	j->cut = TOKENIZER_CUT_FILE;
	if (classifier_check(c, m->classify.encoder, &e) != ERR_OK)
		;
	else if (j->wanted == 0 || (j->wanted & ~(uint32_t)WANTED_ALL) != 0)
		(void)err_set(&e, ERR_INPUT, "wanted=%u names nothing known", j->wanted);
	else if (m->classify.cut > TOKENIZER_CUT_MIDDLE)
		(void)err_set(&e, ERR_INPUT, "cut=%u is not known", m->classify.cut);
	else if (payload != NULL && payload->len > TEXT_MAX_BYTES)
		(void)err_set(&e, ERR_INPUT, "the text has %zu bytes, at most %d are looked at",
			payload->len, (int)TEXT_MAX_BYTES);
	else
		j->cut = (enum tokenizer_cut)m->classify.cut;
	classifier_take(c, j, &e);
}

static void
on_embed(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct classifier *c = classifier_of(w);
	struct job *j = job_new(JOB_EMBED, m, payload);
	struct err e = {.code = ERR_OK};

	if (classifier_check(c, m->embed.encoder, &e) != ERR_OK)
		;
	else if (m->embed.count == 0 || m->embed.count > EMBED_INPUTS_MAX)
		(void)err_set(&e, ERR_INPUT, "%u inputs, allowed are 1 to %d", m->embed.count,
			(int)EMBED_INPUTS_MAX);
	else if (payload != NULL && payload->len > EMBED_MAX_BYTES)
		(void)err_set(&e, ERR_INPUT, "inputs of %zu bytes, allowed are %d", payload->len,
			(int)EMBED_MAX_BYTES);
	else
		j->texts = m->embed.count;
	classifier_take(c, j, &e);
}

static const struct handler handlers[] = {
	{MSG_CLASSIFY, ROLE_BIT(ROLE_GATEWAY), on_classify},
	{MSG_EMBED, ROLE_BIT(ROLE_BACKEND), on_embed},
};

/* ---- life ---- */

static void
classifier_on_drain(struct worker *w)
{
	classifier_work_ended(classifier_of(w));
}

static void
classifier_stop(struct worker *w)
{
	struct classifier *c = w->state;
	struct job *j;

	w->state = NULL;
	if (c == NULL)
		return;
	engine_free(&c->engine);
	client_close(c);
	pass_drop(c->pass);
	pass_free(&c->pass);
	while ((j = queue_take_late(&c->queue, UINT64_MAX)) != NULL)
		job_free(&j);
	free(c->config.name);
	free(c->config.folder);
	free(c);
}

static MUST enum err_code
classifier_start(struct worker *w, struct err *e)
{
	const struct config_encoder *said = config_encoder_of(w->config, w->name);
	struct classifier *c = calloc(1, sizeof(*c));

	CHECK(c != NULL);
	w->state = c;
	c->w = w;
	c->pass = pass_new();
	queue_init(&c->queue);
	if (said == NULL || w->weights_fd < 0)
		return err_set(e, ERR_CONFIG, "no encoder of the config has a process %s", w->name);
	/* The config goes with the next reload; a process whose encoder changed goes with it,
	 * later. */
	c->config = *said;
	c->config.name = strdup(said->name);
	c->config.folder = strdup(said->folder);
	CHECK(c->config.name != NULL && c->config.folder != NULL);
	loader_prepare(&c->config);
	if (engine_new(&c->engine, w->loop, classifier_on_pass, c, e) != ERR_OK)
		return e->code;
	return client_open(c, e);
}

int
main(int argc, char **argv)
{
	static const struct worker_role role = {
		.role = ROLE_CLASSIFIER,
		.handlers = handlers,
		.handlers_len = ARRAY_LEN(handlers),
		.sandbox = {.allow = SANDBOX_MODEL, .files_max = 1024},
		.start = classifier_start,
		.on_drain = classifier_on_drain,
		.stop = classifier_stop,
	};

	if (argc == 3 && strcmp(argv[1], "--check") == 0)
		return check_config(argv[2]);
	return worker_main(argc, argv, &role);
}
