/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_session.c - keep a conversation on its model, rise fast, fall slowly
 *
 * A model that has read the conversation answers its next turn sooner and in the same voice. So the
 * turn goes there, and to the same deployment of it, unless the score wants a stronger model: then
 * at once. To a weaker one the conversation goes when so many turns in a row wanted one. A rule, a
 * filter, a class (standby, abilities not known) come before all this.
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
		.falls = falls};
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

void
session_apply(struct work *w)
{
	const struct route_session *s = w->r->session;
	const struct entry *winner = &w->entries[0], *current;
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
	if (s->falls + 1 >= work_route(w)->session_falls) {
		w->note = "the conversation falls back";
		return;
	}
	w->out->phase = PHASE_SESSION;
	(void)snprintf(
		w->wanted, sizeof(w->wanted), "%.*s", (int)sizeof(w->wanted) - 1, winner->d->model);
	work_prefer(w, at);
	session_note(w, s->falls + 1);
}
