/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - questions to classifiers: how much does this text want the strong model
 *
 * Each is asked once, of one classifier, with a deadline. A classifier whose life ended, that does
 * not beat or whose queue is full is no one to wait for: the question has then failed, at once.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/common/encoders.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { WANT_PROBABILITIES = 1, WANT_EMBEDDING = 4, CUT_RIGHT = 1 };

void
ask_drop(struct ask *a)
{
	struct gateway *g = a->g;

	if (a->id == 0)
		return;
	a->id = 0;
	loop_timer_clear(g->w->loop, &a->timer);
	if (a->prev != NULL)
		a->prev->next = a->next;
	else
		g->asks = a->next;
	if (a->next != NULL)
		a->next->prev = a->prev;
}

/* It has its answer, or will never have one. */
static void
ask_end(struct ask *a, const struct ask_answer *answer)
{
	ask_drop(a);
	if (answer->answer != JUDGE_READY)
		gateway_count(a->g, COUNTER_JUDGE_MISSED, 1);
	a->done(a, answer);
}

static void
ask_fail(struct ask *a, const char *why)
{
	ask_end(a, &(struct ask_answer){.answer = JUDGE_FAILED, .why = why});
}

static void
ask_on_deadline(void *arg)
{
	ask_fail(arg, "no classifier answered in time");
}

bool
ask_start(struct ask *a, const struct judge_call *call, char why[ROUTE_WHY_MAX])
{
	struct gateway *g = a->g;
	struct bytes *text;
	struct msg m;
	struct err e;
	enum err_code code;
	int slot;

	gateway_count(g, COUNTER_JUDGE_ASKED, 1);
	slot = encoders_find(g->w, call->encoder, &a->generation);
	if (slot < 0) {
		(void)snprintf(why, ROUTE_WHY_MAX, "no classifier for %.60s is up", call->encoder);
		gateway_count(g, COUNTER_JUDGE_MISSED, 1);
		return false;
	}
	a->slot = (unsigned)slot;
	a->id = ++g->next_ask;
	a->embeds = call->embeds;
	m = (struct msg){.type = MSG_CLASSIFY,
		.head = {.request_id = a->id,
			.deadline_ns = clock_ns() + clock_ms_to_ns(call->deadline_ms)},
		.classify = {.encoder = msg_str(call->encoder),
			.wanted = call->embeds ? WANT_EMBEDDING : WANT_PROBABILITIES,
			.cut = CUT_RIGHT}};
	text = bytes_copy(buf_str(&call->text), call->text.len);
	code = bus_send(g->w->bus, a->slot, a->generation, &m, text, &e);
	bytes_unref(&text);
	if (code != ERR_OK) {
		a->id = 0;
		(void)snprintf(
			why, ROUTE_WHY_MAX, "the classifier takes no question: %.80s", e.text);
		gateway_count(g, COUNTER_JUDGE_MISSED, 1);
		return false;
	}
	a->timer = (struct loop_timer){.fn = ask_on_deadline, .arg = a};
	loop_timer_set(g->w->loop, &a->timer, m.head.deadline_ns);
	a->prev = NULL;
	a->next = g->asks;
	if (a->next != NULL)
		a->next->prev = a;
	g->asks = a;
	return true;
}

/* Whose answer this is; NULL: nobody's any more. */
static struct ask *
ask_of(struct gateway *g, const struct msg *m)
{
	for (struct ask *a = g->asks; a != NULL; a = a->next)
		if (a->id == m->head.request_id && a->slot == m->head.sender_slot &&
			a->generation == m->head.sender_generation)
			return a;
	return NULL;
}

void
ask_on_classified(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct ask *a = ask_of(w->state, m);
	const struct msg_classified *got = &m->classified;
	struct ask_answer answer = {.answer = JUDGE_READY,
		.want = (double)got->win_rate,
		.embedding_len = got->dimensions,
		.identity = got->identity,
		.why = ""};

	if (a == NULL)
		return;
	if (!a->embeds && (got->labels < 2 || !(answer.want >= 0 && answer.want <= 1))) {
		ask_fail(a, "the encoder has no labels to tell weak from strong");
		return;
	}
	if (a->embeds && (payload == NULL || got->dimensions == 0 ||
				 payload->len != got->dimensions * sizeof(float))) {
		ask_fail(a, "the classifier's answer has not the asked form");
		return;
	}
	if (a->embeds)
		answer.embedding = (const float *)(const void *)payload->data;
	ask_end(a, &answer);
}

void
ask_on_fail(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct ask *a = ask_of(w->state, m);
	char text[ROUTE_WHY_MAX - 24], why[ROUTE_WHY_MAX];

	(void)payload;
	if (a == NULL)
		return;
	(void)snprintf(why, sizeof(why), "the classifier says: %s",
		msg_str_copy(text, sizeof(text), m->classify_fail.text));
	ask_fail(a, why);
}

void
asks_board_changed(struct gateway *g)
{
	struct ask *next;
	struct slot_info info;
	bool again = true;

	/* Whoever is told may ask anew or drop others: look from the start after each. */
	while (again) {
		again = false;
		for (struct ask *a = g->asks; a != NULL && !again; a = next) {
			next = a->next;
			board_slot(g->board, a->slot, &info);
			if (info.generation == a->generation && info.state != SLOT_EMPTY &&
				info.state != SLOT_BACKOFF)
				continue;
			if (bus_hears(g->w->bus, a->slot, a->generation))
				continue; /* its answer may be on the way */
			ask_fail(a, "the classifier died");
			again = true;
		}
	}
}
