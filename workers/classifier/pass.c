/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pass.c - texts of several requests through the model at once
 *
 * Texts are tokenized here and put into as many runs of the encoder as its limits ask for. A text
 * that the model can't take fails alone; one that is too late by now is not run.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/classifier/classifier.h"

enum { LENGTH_HAS_IDS = 1U << 31 };

struct pass *
pass_new(void)
{
	struct pass *p = calloc(1, sizeof(*p));

	CHECK(p != NULL);
	return p;
}

void
pass_free(struct pass **p_p)
{
	struct pass *p = *p_p;

	*p_p = NULL;
	if (p == NULL)
		return;
	for (size_t i = 0; i < PASS_TEXTS_MAX; i++) {
		tokens_fini(&p->texts[i].tokens);
		buf_fini(&p->texts[i].values);
	}
	free(p);
}

void
pass_drop(struct pass *p)
{
	for (size_t i = 0; i < p->len;) {
		struct job *j = p->texts[i].job;

		i += j->texts;
		job_free(&j);
	}
	p->len = 0;
}

static struct pass_text *
pass_text(struct pass *p, struct job *j, const char *data, size_t len)
{
	struct pass_text *t;

	CHECK(p->len < PASS_TEXTS_MAX);
	t = &p->texts[p->len++];
	t->job = j;
	t->data = data;
	t->len = len;
	t->has_ids = false;
	t->err.code = ERR_OK;
	t->tokens.len = t->tokens.dropped = 0;
	t->label = 0;
	t->probability = t->win_rate = 0;
	buf_clear(&t->values);
	return t;
}

/* The inputs of an Embed: lengths and bytes, one behind the other. */
static enum err_code
pass_add_inputs(struct pass *p, struct job *j, struct err *e)
{
	const char *at = j->payload->data;
	size_t left = j->payload->len, first = p->len, padded;
	uint32_t length;

	for (uint32_t i = 0; i < j->texts; i++) {
		struct pass_text *t;

		if (left < sizeof(length))
			break;
		memcpy(&length, at, sizeof(length));
		at += sizeof(length);
		left -= sizeof(length);
		padded = ((size_t)(length & ~LENGTH_HAS_IDS) + 3) & ~(size_t)3;
		if (padded > left || (length & ~LENGTH_HAS_IDS) > TEXT_MAX_BYTES)
			break;
		t = pass_text(p, j, at, length & ~LENGTH_HAS_IDS);
		t->has_ids = (length & LENGTH_HAS_IDS) != 0;
		at += padded;
		left -= padded;
	}
	if (p->len - first == j->texts && left == 0)
		return ERR_OK;
	p->len = first;
	return err_set(e, ERR_INPUT, "the payload is not %u inputs", j->texts);
}

enum err_code
pass_add(struct pass *p, struct job *j, struct err *e)
{
	CHECK(p->len + j->texts <= PASS_TEXTS_MAX);
	if (j->kind == JOB_EMBED && j->payload == NULL)
		return err_set(e, ERR_INPUT, "the payload is missing");
	if (j->kind == JOB_EMBED)
		return pass_add_inputs(p, j, e);
	(void)pass_text(p, j, j->payload == NULL ? "" : j->payload->data,
		j->payload == NULL ? 0 : j->payload->len);
	return ERR_OK;
}

/* ---- tokens ---- */

static void
pass_take_ids(struct pass_text *t, const struct encoder_info *info)
{
	size_t n = t->len / sizeof(uint32_t);

	if (t->len % sizeof(uint32_t) != 0 || n == 0) {
		(void)err_set(&t->err, ERR_INPUT, "an input of token ids is empty");
		return;
	}
	if (n > info->max_tokens) {
		(void)err_set(&t->err, ERR_CONTEXT_LENGTH,
			"an input has %zu tokens, the model takes %u", n, info->max_tokens);
		return;
	}
	if (t->tokens.cap < n) {
		t->tokens.ids = reallocarray(t->tokens.ids, n, sizeof(*t->tokens.ids));
		t->tokens.types = reallocarray(t->tokens.types, n, sizeof(*t->tokens.types));
		CHECK(t->tokens.ids != NULL && t->tokens.types != NULL);
		t->tokens.cap = n;
	}
	memcpy(t->tokens.ids, t->data, n * sizeof(uint32_t));
	memset(t->tokens.types, 0, n);
	t->tokens.len = n;
}

/* A classification looks at as much as the files say, an embedding at as much as the model takes. A
 * text too long to be embedded is an error where it is all that was asked (Embed), else it is cut.
 */
static struct tokenizer_options
pass_options(const struct job *j, const struct model *m)
{
	const struct encoder_info *info = encoder_info(m->encoder);
	struct tokenizer_options o = encoder_tokenizer_options(m->encoder);

	if (j->kind == JOB_EMBED)
		return encoder_embedding_options(m->encoder);
	if (j->wanted == WANTED_EMBEDDING)
		o = encoder_embedding_options(m->encoder);
	o.cut = j->cut;
	if (o.max_length == 0 || o.max_length > info->max_tokens)
		o.max_length = info->max_tokens;
	return o;
}

static void
pass_tokenize(struct pass_text *t, const struct model *m, struct tokenizer_scratch *scratch)
{
	const struct encoder_info *info = encoder_info(m->encoder);
	const struct tokenizer *tokenizer = encoder_tokenizer(m->encoder);
	const struct tokenizer_options o = pass_options(t->job, m);

	if (t->job->deadline_ns <= clock_ns()) {
		(void)err_set(&t->err, ERR_DEADLINE, "its deadline passed while it waited");
		return;
	}
	if (t->has_ids) {
		pass_take_ids(t, info);
		return;
	}
	if (tokenizer == NULL) {
		(void)err_set(&t->err, ERR_UNSUPPORTED,
			"the model's folder has no tokenizer.json: only token ids can be taken");
		return;
	}
	if (tokenizer_encode(&t->tokens, tokenizer, scratch,
		    (struct tokenizer_text){t->data, t->len}, NULL, &o, &t->err) != ERR_OK)
		return;
	if (t->job->kind == JOB_EMBED && t->tokens.dropped > 0)
		(void)err_set(&t->err, ERR_CONTEXT_LENGTH,
			"an input has %zu tokens, the model takes %u",
			t->tokens.len + t->tokens.dropped, info->max_tokens);
	else if (t->tokens.len == 0 && info->layers > 0)
		(void)err_set(&t->err, ERR_INPUT, "a text has no tokens");
}

/* ---- results ---- */

static float
pass_probability(const struct encoder_info *info, const float *logits, uint32_t label)
{
	switch (info->problem) {
	case ENCODER_MULTI_LABEL:
		return (float)(1 / (1 + exp(-(double)logits[label])));
	case ENCODER_REGRESSION:
		return logits[label];
	default:
		return (float)encoder_probability(logits, info->labels, label);
	}
}

static void
pass_take_logits(struct pass_text *t, const struct encoder_info *info, const float *logits)
{
	for (uint32_t i = 0; i < info->labels; i++) {
		float p = pass_probability(info, logits, i);

		if (i == 0)
			t->win_rate = p;
		if (i == 0 || p > t->probability) {
			t->label = i;
			t->probability = p;
		}
		if ((t->job->wanted & WANTED_PROBABILITIES) != 0)
			buf_add(&t->values, &p, sizeof(p));
	}
	if ((t->job->wanted & WANTED_LOGITS) != 0)
		buf_add(&t->values, logits, info->labels * sizeof(*logits));
}

static void
pass_take(struct pass_text *t, const struct encoder *encoder, const struct encoder_output *out)
{
	const struct encoder_info *info = encoder_info(encoder);

	if (!encoder_finite(encoder, out)) {
		(void)err_set(&t->err, ERR_MALFORMED,
			"the model's answer holds a number that is none (NaN or infinite)");
		return;
	}
	if (out->logits != NULL && t->job->kind == JOB_CLASSIFY)
		pass_take_logits(t, info, out->logits);
	if (t->job->kind == JOB_EMBED || (t->job->wanted & WANTED_EMBEDDING) != 0)
		buf_add(&t->values, out->embedding, info->hidden * sizeof(float));
}

/* ---- runs ---- */

struct pass_run {
	struct pass_text *texts[PASS_TEXTS_MAX];
	struct encoder_input in[PASS_TEXTS_MAX];
	struct encoder_output out[PASS_TEXTS_MAX];
	size_t len, tokens;
};

static void
pass_run_some(struct pass *p, struct pass_run *r, size_t at, size_t len, struct encoder *encoder)
{
	struct err e = {.code = ERR_OK};

	p->runs++;
	if (encoder_run(encoder, r->out, r->in + at, len, ENCODER_POOL_MODEL, &e) == ERR_OK) {
		for (size_t i = 0; i < len; i++)
			pass_take(r->texts[at + i], encoder, &r->out[i]);
	} else if (len == 1) {
		r->texts[at]->err = e;
	} else {
		/* one of them is bad: the others must not suffer for it */
		for (size_t i = 0; i < len; i++)
			pass_run_some(p, r, at + i, 1, encoder);
	}
}

static void
pass_flush(struct pass *p, struct pass_run *r, struct encoder *encoder)
{
	if (r->len > 0)
		pass_run_some(p, r, 0, r->len, encoder);
	p->tokens += r->tokens;
	r->len = r->tokens = 0;
}

void
pass_run(struct pass *p, struct model *m, struct tokenizer_scratch *scratch)
{
	struct pass_run r = {.len = 0};

	p->started_ns = clock_ns();
	p->runs = 0;
	p->tokens = 0;
	for (size_t i = 0; i < p->len; i++) {
		struct pass_text *t = &p->texts[i];

		pass_tokenize(t, m, scratch);
		if (t->err.code != ERR_OK)
			continue;
		if (r.len == m->limits.batch ||
			(r.len > 0 && r.tokens + t->tokens.len > m->limits.tokens))
			pass_flush(p, &r, m->encoder);
		r.texts[r.len] = t;
		r.in[r.len++] =
			(struct encoder_input){t->tokens.ids, t->tokens.types, t->tokens.len};
		r.tokens += t->tokens.len;
	}
	pass_flush(p, &r, m->encoder);
	p->run_ns = clock_ns() - p->started_ns;
}
