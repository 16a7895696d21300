/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - a request whose decision waits for a classifier
 *
 * It holds no one up: it keeps what the decision needs, and is decided again with the answer, or
 * with the reason why there is none. A decision made again may not wait again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/gateway/gateway.h"

void
wait_free(struct wait **w_p)
{
	struct wait *w = *w_p;

	*w_p = NULL;
	if (w == NULL)
		return;
	ask_drop(&w->ask);
	judge_call_fini(&w->call);
	chat_body_fini(&w->body);
	free(w);
}

/* Decide again, now that there is an answer or none to come. */
static void
wait_end(struct request *r, const struct ask_answer *answer)
{
	struct wait *w = r->wait;

	r->wait = NULL;
	r->decided_ns += clock_ns() - w->since_ns;
	judge_call_hear(&w->call, answer);
	if (answer->answer == JUDGE_FAILED)
		log_debug("classifier_missed", "id=%s encoder=%s why=\"%s\"", r->id,
			w->call.encoder, answer->why);
	request_decide(r, &w->body, &w->call, &w->who);
	wait_free(&w);
}

static void
wait_on_answer(struct ask *a, const struct ask_answer *answer)
{
	wait_end(a->arg, answer);
}

void
wait_start(struct request *r, struct chat_body *body, struct judge_call *call,
	const struct decide_who *who)
{
	struct wait *w = calloc(1, sizeof(*w));
	char why[ROUTE_WHY_MAX];

	CHECK(w != NULL && r->wait == NULL);
	CHECK(call->answer == JUDGE_LATER);
	w->who = *who;
	w->since_ns = clock_ns();
	w->ask = (struct ask){.g = r->g, .done = wait_on_answer, .arg = r};
	chat_body_move(&w->body, body);
	judge_call_move(&w->call, call, &w->body);
	r->wait = w;
	if (!ask_start(&w->ask, &w->call, why))
		wait_end(r, &(struct ask_answer){.answer = JUDGE_FAILED, .why = why});
}
