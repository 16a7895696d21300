/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cascade.c - scorer cascade: the weak model answers first, and a strong one where it is unsure
 *
 * The weak model's attempts are asked for the probabilities of their tokens. When the tokens that
 * the route holds back are there, or the whole answer, their geometric mean is compared with the
 * threshold. An answer below it is put aside before the client has a byte of it, its cost stays in
 * the request's, and the other candidates follow, the strongest first. Whatever else happens to an
 * attempt is as in any other request.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

void
cascade_begin(struct request *r, const struct route_decision *d)
{
	r->cascade = (struct cascade){.found = -1};
	if (!d->cascades || r->candidates_len == 0)
		return;
	r->cascade.state = CASCADE_ASKS;
	r->cascade.threshold = d->threshold;
	r->cascade.model = r->catalog->rows[r->candidates[0]].model;
}

static bool
cascade_is_weak(const struct request *r, uint16_t row)
{
	return strcmp(r->catalog->rows[row].model, r->cascade.model) == 0;
}

bool
cascade_asks(const struct request *r)
{
	/* once the client has a part of an answer, it is too late to put one aside */
	return r->cascade.state == CASCADE_ASKS && !stream_is_seen(r) && cascade_is_weak(r, r->row);
}

void
cascade_heard(struct request *r, uint32_t judged, float confidence)
{
	r->cascade.judged = judged;
	r->cascade.confidence = MIN(1, MAX(0, (double)confidence)); /* NaN: 0 */
}

/* Is there anybody else who was not tried yet? */
static bool
cascade_has_strong(const struct request *r)
{
	for (size_t i = 0; i < r->candidates_len; i++)
		if (r->candidate_state[i] == CANDIDATE_FRESH &&
			!cascade_is_weak(r, r->candidates[i]))
			return true;
	return false;
}

/* The prompt, with what it was worth to the weak model. */
static void
cascade_log_prompt(struct request *r)
{
	const struct prompt_log_note note = {
		.route = r->route, .model = r->cascade.model, .confidence = r->cascade.found};
	AUTO(chat_body_fini) struct chat_body body = {0};

	if (r->g->prompts == NULL || r->again)
		return;
	/* it was read before */
	if (chat_body_read(&body, r->endpoint, CHAT_BODY_REQUEST, r->body->data, r->body->len,
		    NULL) == ERR_OK)
		prompt_log_add(r->g, &body.route, &note);
}

bool
cascade_is_unsure(struct request *r)
{
	struct cascade *k = &r->cascade;
	bool unsure;

	if (!cascade_asks(r))
		return false;
	k->state = CASCADE_PASSED;
	if (k->judged == 0) {
		gateway_count(r->g, COUNTER_CASCADE_BLIND, 1);
		(void)snprintf(r->reason, sizeof(r->reason),
			"cascade: %.80s does not tell how sure it is, so its answer passes",
			k->model);
		return false;
	}
	k->found = k->confidence;
	unsure = k->confidence < k->threshold && cascade_has_strong(r);
	gateway_count(r->g, unsure ? COUNTER_CASCADE_UNSURE : COUNTER_CASCADE_SURE, 1);
	(void)snprintf(r->reason, sizeof(r->reason),
		"cascade: %.80s is %s, confidence %.3f %s %.3f%s", k->model,
		unsure ? "unsure" : "sure", k->confidence,
		k->confidence < k->threshold ? "<" : ">=", k->threshold,
		unsure || k->confidence >= k->threshold ? "" : ", but nobody else is left");
	cascade_log_prompt(r);
	return unsure;
}

/* All who serve the weak model would say the same: they are tried, or may be again. */
static void
cascade_mark_weak(struct request *r, enum candidate_state state)
{
	for (size_t i = 0; i < r->candidates_len; i++) {
		if (!cascade_is_weak(r, r->candidates[i]))
			continue;
		r->candidate_state[i] = (uint8_t)state;
		r->candidate_code[i] = (uint8_t)ERR_UNSURE;
	}
}

void
cascade_put_aside(struct request *r, enum cascade_end end)
{
	if (end == CASCADE_UNDER_WAY) {
		attempt_close(r, ERR_UNSURE, 0, ATTEMPT_BILLED);
		attempt_cancel(r, "unsure");
	}
	loop_timer_clear(r->g->w->loop, &r->hop_timer);
	log_debug("answer_unsure", "id=%s model=%s confidence=%.3f", r->id, r->cascade.model,
		r->cascade.found);
	r->cascade.state = CASCADE_ASIDE;
	cascade_mark_weak(r, CANDIDATE_TRIED);
	if (r->resume != NULL)
		resume_reset(r->resume);
	r->attempts_max++; /* it did not fail */
	r->retries = false;
	attempt_next(r);
}

bool
cascade_stops_asking(struct request *r, enum err_code code)
{
	if ((code != ERR_BAD_REQUEST && code != ERR_UNSUPPORTED) || !cascade_asks(r))
		return false;
	gateway_count(r->g, COUNTER_CASCADE_BLIND, 1);
	(void)snprintf(r->reason, sizeof(r->reason),
		"cascade: %.80s refuses to tell how sure it is, so its answer passes",
		r->cascade.model);
	r->cascade.state = CASCADE_PASSED;
	attempt_may_again(r, r->row);
	r->attempts_max++;
	return true;
}

void
cascade_ends(struct request *r)
{
	r->cascade.state = CASCADE_OFF;
}

bool
cascade_gives(struct request *r)
{
	if (r->cascade.state != CASCADE_ASIDE || stream_is_seen(r) || clock_ns() >= r->deadline_ns)
		return false;
	CHECK(r->attempt_id == 0 && r->other.id == 0 && !r->place.waits);
	gateway_count(r->g, COUNTER_CASCADE_GIVEN, 1);
	(void)snprintf(r->reason, sizeof(r->reason),
		"cascade: %.80s is unsure, confidence %.3f < %.3f, but no other answered",
		r->cascade.model, r->cascade.found, r->cascade.threshold);
	r->cascade.state = CASCADE_GIVEN;
	cascade_mark_weak(r, CANDIDATE_FRESH);
	r->attempts_max = MAX(r->attempts_max, r->attempts + 1);
	r->retries = false;
	r->park_end_ns = 0;
	attempt_next(r);
	return true;
}
