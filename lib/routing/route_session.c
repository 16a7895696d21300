/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_session.c - keep a conversation on its model, rise fast, fall slowly
 *
 * A model that has read the conversation answers its next turn sooner and in the same voice. So the
 * turn goes there, and to the same deployment of it, unless the score wants a stronger model: then
 * at once. To a weaker one the conversation goes when so many turns in a row wanted one. A rule, a
 * filter, a class (standby, abilities not known) come before all this.
 *
 * A gateway that did not answer the turn before works it out from the conversation's own words.
 */
#include <stdio.h>
#include <string.h>

#include "lib/routing/parts.h"

static uint64_t
session_deployment(const struct route_deployment *d)
{
	return route_hash(d->backend, strlen(d->backend)) * 31 +
	       route_hash(d->upstream, strlen(d->upstream));
}

/* Where the conversation is among the best class of candidates; len: nowhere. */
static size_t
session_find(const struct work *w)
{
	const struct route_session *s = w->r->session;
	unsigned class = balance_class(&w->entries[0]);
	size_t found = w->len;

	for (size_t i = 0; i < w->len; i++) {
		const struct entry *e = &w->entries[i];

		if (balance_class(e) != class ||
			route_hash(e->d->model, strlen(e->d->model)) != s->model)
			continue;
		if (session_deployment(e->d) == s->deployment)
			return i;
		if (found == w->len)
			found = i;
	}
	return found;
}

static void
session_note(struct work *w, uint32_t falls)
{
	const struct route_deployment *d = w->entries[0].d;

	w->out->session = (struct route_session){.model = route_hash(d->model, strlen(d->model)),
		.deployment = session_deployment(d),
		.falls = falls,
		.turns = (uint32_t)MIN(w->r->user_turns, (size_t)UINT32_MAX)};
}

/* Does this request's route keep conversations together at all? */
static bool
session_counts(const struct work *w)
{
	const struct config_route *route = work_route(w);
	enum strategy s = w->plan.strategy;

	return w->r->session != NULL && route != NULL && !w->named.tier &&
	       w->out->phase != PHASE_EXPLICIT &&
	       (w->plan.dial >= 0 || (s != STRATEGY_ROUND_ROBIN && s != STRATEGY_WEIGHTED &&
					     s != STRATEGY_LEAST_LOADED));
}

/* The same turn once more, after an error or for another answer: no step towards a fall. */
static bool
session_asks_again(const struct work *w)
{
	return w->r->user_turns > 1 && w->r->session->turns == w->r->user_turns;
}

void
session_apply(struct work *w)
{
	const struct route_session *s = w->r->session;
	const struct entry *winner = &w->entries[0], *current;
	uint32_t falls;
	size_t at;

	if (!session_counts(w))
		return;
	session_note(w, 0);
	if (s->model == 0 || w->out->phase != PHASE_SCORE)
		return;
	at = session_find(w);
	if (at == w->len)
		return; /* it can't answer now, or is not of this route any more */
	current = &w->entries[at];
	if (strcmp(current->d->model, winner->d->model) == 0) {
		work_prefer(w, at);
		session_note(w, 0);
		return;
	}
	if (score_stronger(winner, current)) {
		w->note = "the conversation rises";
		return;
	}
	falls = s->falls + (session_asks_again(w) && s->falls > 0 ? 0 : 1);
	if (falls >= work_route(w)->session_falls) {
		w->note = "the conversation falls back";
		return;
	}
	w->out->phase = PHASE_SESSION;
	(void)snprintf(
		w->wanted, sizeof(w->wanted), "%.*s", (int)sizeof(w->wanted) - 1, winner->d->model);
	work_prefer(w, at);
	session_note(w, falls);
}

void
route_session_replay(struct route_session *out, struct route_decision *scratch,
	const struct route_request *r, const struct route_catalog *c,
	const struct route_rules *rules)
{
	struct route_request past = *r;
	size_t later;

	*out = (struct route_session){0};
	for (later = MIN(r->turns_count, ARRAY_LEN(r->turns)); later-- > 1;) {
		past.turns_count = r->turns_count - later;
		past.user_turns = r->user_turns - MIN(later, r->user_turns);
		for (size_t i = 0; i < past.turns_count; i++) {
			past.turns[i] = r->turns[i + later];
			past.turns_len[i] = r->turns_len[i + later];
		}
		past.session = out;
		past.judge = NULL;
		if (route_decide(scratch, &past, c, rules, NULL) != ERR_OK || scratch->pending ||
			scratch->phase == PHASE_DEFAULT || scratch->session.model == 0) {
			*out = (struct route_session){0};
			return;
		}
		*out = scratch->session;
	}
}
