/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.c - what a classifier answers
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/classifier/classifier.h"
#include "workers/common/worker.h"

static void
reply_send(struct classifier *c, const struct job *j, struct msg *m, struct buf *values)
{
	struct bytes *payload =
		values != NULL && values->len > 0 ? bytes_copy(values->data, values->len) : NULL;
	struct err e;

	m->head.request_id = j->request_id;
	m->head.deadline_ns = j->deadline_ns;
	/* the asker died or gave up: nobody waits for it */
	if (bus_send(c->w->bus, j->slot, j->generation, m, payload, &e) != ERR_OK)
		log_debug("reply_unsent", "type=%s request=%llu text=\"%s\"", msg_name(m->type),
			(unsigned long long)j->request_id, e.text);
	bytes_unref(&payload);
}

static void
reply_end(struct classifier *c, struct job **j_p)
{
	board_gauge(c->w->board, COUNTER_CLASSIFY_WAITING, -(int64_t)(*j_p)->texts);
	job_free(j_p);
}

static enum counter
reply_counter(enum err_code code)
{
	if (code == ERR_DEADLINE)
		return COUNTER_CLASSIFY_LATE;
	return code == ERR_OVERLOADED ? COUNTER_CLASSIFY_REFUSED : COUNTER_CLASSIFY_FAILED;
}

void
reply_fail(struct classifier *c, struct job **j_p, const struct err *e)
{
	struct msg m = {.type = MSG_CLASSIFY_FAIL};

	if ((*j_p)->kind == JOB_CLASSIFY) {
		m.classify_fail.code = (uint16_t)e->code;
		m.classify_fail.retry_after_ms = e->retry_after_ms;
		m.classify_fail.text = msg_str_cut(e->text, MSG_CLASSIFY_FAIL_TEXT_MAX);
	} else {
		m.type = MSG_EMBED_FAIL;
		m.embed_fail.code = (uint16_t)e->code;
		m.embed_fail.retry_after_ms = e->retry_after_ms;
		m.embed_fail.text = msg_str_cut(e->text, MSG_EMBED_FAIL_TEXT_MAX);
	}
	board_count(c->w->board, reply_counter(e->code), (*j_p)->texts);
	reply_send(c, *j_p, &m, NULL);
	reply_end(c, j_p);
}

static void
reply_classified(struct classifier *c, const struct pass *p, struct pass_text *t)
{
	const struct encoder_info *info = encoder_info(c->model->encoder);
	struct msg m = {.type = MSG_CLASSIFIED};

	m.classified.labels = info->labels;
	m.classified.dimensions = (t->job->wanted & WANTED_EMBEDDING) != 0 ? info->hidden : 0;
	m.classified.label = t->label;
	m.classified.label_name =
		msg_str_cut(info->labels > 0 ? encoder_label(c->model->encoder, t->label) : "",
			MSG_CLASSIFIED_LABEL_NAME_MAX);
	m.classified.probability = t->probability;
	m.classified.win_rate = t->win_rate;
	m.classified.tokens = (uint32_t)t->tokens.len;
	m.classified.dropped = (uint32_t)MIN(t->tokens.dropped, (size_t)UINT32_MAX);
	m.classified.generation = c->model->generation;
	m.classified.queue_us = (uint32_t)((p->started_ns - t->job->arrived_ns) / NS_PER_US);
	m.classified.run_us = (uint32_t)(p->run_ns / NS_PER_US);
	m.classified.batch = (uint32_t)p->len;
	m.classified.identity = info->identity;
	board_count(c->w->board, COUNTER_CLASSIFIED, 1);
	reply_send(c, t->job, &m, &t->values);
	reply_end(c, &t->job);
}

/* All inputs of one Embed lie one behind the other in the pass: texts[0..job->texts). */
static void
reply_embedded(struct classifier *c, struct pass_text *texts)
{
	AUTO(buf_fini) struct buf values = BUF_INIT;
	struct job *j = texts[0].job;
	struct msg m = {.type = MSG_EMBEDDED};
	uint32_t tokens = 0;

	for (uint32_t i = 0; i < j->texts; i++) {
		if (texts[i].err.code != ERR_OK) {
			reply_fail(c, &j, &texts[i].err);
			return;
		}
		tokens += (uint32_t)texts[i].tokens.len;
		buf_add(&values, texts[i].values.data, texts[i].values.len);
	}
	m.embedded.count = j->texts;
	m.embedded.dimensions = encoder_info(c->model->encoder)->hidden;
	m.embedded.tokens = tokens;
	m.embedded.generation = c->model->generation;
	board_count(c->w->board, COUNTER_CLASSIFY_EMBEDDED, j->texts);
	reply_send(c, j, &m, &values);
	reply_end(c, &j);
}

void
reply_result(struct classifier *c, struct pass *p)
{
	size_t n;

	board_count(c->w->board, COUNTER_CLASSIFY_PASSES, p->runs);
	board_count(c->w->board, COUNTER_CLASSIFY_TOKENS, p->tokens);
	board_count(c->w->board, COUNTER_CLASSIFY_RUN_US, p->run_ns / NS_PER_US);
	for (size_t i = 0; i < p->len; i += n) {
		struct pass_text *t = &p->texts[i];

		n = t->job->texts;
		if (t->job->kind == JOB_EMBED)
			reply_embedded(c, t);
		else if (t->err.code != ERR_OK)
			reply_fail(c, &t->job, &t->err);
		else
			reply_classified(c, p, t);
	}
	p->len = 0;
}
