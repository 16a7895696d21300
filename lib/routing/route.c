/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - the phases of a routing decision
 *
 * Names say which deployments are meant, filters drop those that can't answer, a rule or the
 * default may favour a model, scores or turns order what is left, and a conversation may stay where
 * it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"

enum { CASCADE_HOLD = 32 /* tokens, where the route does not say */ };

static const char *const phase_names[] = {
	[PHASE_EXPLICIT] = "explicit",
	[PHASE_FILTER] = "filter",
	[PHASE_RULE] = "rule",
	[PHASE_SESSION] = "session",
	[PHASE_SCORE] = "score",
	[PHASE_DEFAULT] = "default",
};

static const char *const term_names[ROUTE_TERMS] = {
#define X(symbol, name, help) [TERM_##symbol] = #name,
	ROUTE_TERM_LIST(X)
#undef X
};

const char *
route_phase_name(enum route_phase p)
{
	return (size_t)p < ARRAY_LEN(phase_names) ? phase_names[p] : "?";
}

const char *
route_term_name(enum route_term t)
{
	return (size_t)t < ROUTE_TERMS ? term_names[t] : "?";
}

double
route_cost_usd(const struct route_deployment *d, uint64_t prompt_tokens, uint64_t completion_tokens)
{
	double usd = 0;

	if (d->input_usd > 0)
		usd += d->input_usd * (double)prompt_tokens;
	if (d->output_usd > 0)
		usd += d->output_usd * (double)completion_tokens;
	return usd / 1e6;
}

const struct config_route *
work_route(const struct work *w)
{
	return w->favoured_route != NULL ? w->favoured_route : w->named.arm;
}

void
work_prefer(struct work *w, size_t i)
{
	struct entry e = w->entries[i];

	memmove(&w->entries[1], &w->entries[0], i * sizeof(w->entries[0]));
	w->entries[0] = e;
}

/* Place of d in the route's list, models_len for "*", -1 where it is not meant. */
static long
route_place(const struct config_route *route, const struct route_deployment *d)
{
	long place = -1;
	size_t i;

	for (i = 0; i < route->models_len; i++) {
		if (names_mean(route->models[i], d))
			return (long)i;
		if (strcmp(route->models[i], "*") == 0)
			place = (long)route->models_len;
	}
	return place;
}

bool
work_favours(const struct work *w, const struct route_deployment *d)
{
	if (w->favoured_route != NULL)
		return route_place(w->favoured_route, d) >= 0;
	return w->favoured_model != NULL && names_mean(w->favoured_model, d);
}

/* Is d meant by the request? Sets its place in the order of the config. */
static bool
route_means(const struct work *w, const struct route_deployment *d, size_t *place)
{
	const struct named *n = &w->named;
	long at;

	*place = 0;
	if (n->backend != NULL)
		return strlen(d->backend) == n->backend_len &&
		       memcmp(d->backend, n->backend, n->backend_len) == 0 &&
		       (strcmp(d->upstream, n->model) == 0 || strcmp(d->model, n->model) == 0);
	if (n->model != NULL)
		return strcmp(d->model, n->model) == 0;
	if (n->arm == NULL) /* router-... without any route in the config */
		return true;
	at = route_place(n->arm, d);
	*place = at >= 0 ? (size_t)at : n->arm->models_len;
	return at >= 0 || work_favours(w, d);
}

/* May one that a filter would drop be ranked all the same? A strong model that is full now may have
 * a place when a cascade's weak one has shown to be unsure. */
static bool
route_keeps(const struct work *w, enum filter f, bool waits)
{
	const char *rest;

	return f == FILTER_NONE || (waits && (f == FILTER_COOLING || f == FILTER_FULL)) ||
	       (f == FILTER_FULL && w->out->phase != PHASE_EXPLICIT &&
		       plan_scorer(w, &rest) == SCORER_CASCADE);
}

/* Fill entries and dropped; waits: what is cooling or full is as good as the others. */
static void
route_collect(struct work *w, bool waits)
{
	const struct route_deployment *d;
	struct route_candidate *dropped;
	struct entry *entry;
	enum filter f;
	size_t i, place;
	bool unsure;

	w->out->dropped_len = 0;
	for (i = 0; i < w->c->len; i++) {
		d = &w->c->deployments[i];
		if (!route_means(w, d, &place))
			continue;
		f = filter_check(&unsure, d, w->r, w->named.route);
		if (!route_keeps(w, f, waits)) {
			if (w->out->dropped_len < ROUTE_CANDIDATES_MAX) {
				dropped = &w->out->dropped[w->out->dropped_len++];
				*dropped = (struct route_candidate){
					.deployment = i, .filtered = filter_name(f)};
			}
			continue;
		}
		if (w->len == ENTRIES_MAX)
			continue;
		entry = &w->entries[w->len++];
		*entry = (struct entry){.c.deployment = i,
			.d = d,
			.unsure = unsure,
			.order = place * w->c->len + i,
			.favoured = work_favours(w, d)};
	}
}

/* The rule that fires, or the default model where there is no text to judge. */
static void
route_favour(struct work *w)
{
	const struct config_route *route = w->named.route, *arm = w->named.arm;

	w->out->phase = PHASE_SCORE;
	if (route == NULL || w->named.tier) {
		w->out->phase = w->named.tier ? PHASE_SCORE : PHASE_EXPLICIT;
		return;
	}
	w->rule = rules_match(w->rules, w->r, route->name);
	if (w->rule != NULL && w->rule->model != NULL) {
		w->out->phase = PHASE_RULE;
		(void)snprintf(w->out->rule, sizeof(w->out->rule), "%s", w->rule->name);
		w->favoured_route = config_route(w->c->config, w->rule->model);
		w->favoured_model = w->rule->model;
	} else if (w->r->turns_count == 0 && arm->default_model != NULL) {
		w->out->phase = PHASE_DEFAULT;
		w->favoured_model = arm->default_model;
	}
}

static enum err_code
route_empty(struct work *w, struct err *e)
{
	char what[128];
	enum err_code rc;
	struct err local;

	if (w->named.route != NULL)
		(void)snprintf(what, sizeof(what), "route '%s'", w->named.route->name);
	else
		(void)snprintf(what, sizeof(what), "'%.100s'", w->r->model);
	w->out->phase = PHASE_FILTER;
	if (e == NULL)
		e = &local;
	rc = filter_error(w->out, w->c, what, e);
	reason_say(w->out, e->text);
	return rc;
}

static void
route_limits(struct route_decision *out, const struct config_route *route)
{
	if (route == NULL)
		return;
	(void)snprintf(out->route, sizeof(out->route), "%s", route->name);
	out->attempts = route->attempts;
	out->first_byte_ms = route->first_byte_ms;
	out->request_ms = route->request_ms;
	out->retries = route->retries;
	out->hedge_ms = route->hedge_ms;
	out->hold = route->hold;
	out->mid_stream = route->mid_stream;
	out->priority = route->priority;
	out->queue_notice_ms = route->queue_notice_ms;
}

/* Who is first now is not the weak model, where a conversation stays or nobody else is as fit. */
static void
route_cascade(struct work *w)
{
	struct route_decision *out = w->out;

	out->cascades = out->cascades && out->phase != PHASE_SESSION;
	if (out->cascades && out->hold == 0)
		out->hold = CASCADE_HOLD;
}

enum err_code
route_decide(struct route_decision *out, const struct route_request *r,
	const struct route_catalog *c, const struct route_rules *rules, struct err *e)
{
	struct work w;
	enum err_code rc;
	size_t i;

	/* not all of it: the entries and lists are large and written before they are read */
	memset(out, 0, offsetof(struct route_decision, ranked));
	out->ranked_len = out->dropped_len = 0;
	out->difficulty = -1;
	memset(&w, 0, offsetof(struct work, entries));
	w.len = 0;
	w.out = out;
	w.r = r;
	w.c = c;
	w.rules = rules;
	rc = names_resolve(&w.named, r, c, e);
	if (rc == ERR_OK)
		rc = fallback_check(r, c, e);
	if (rc != ERR_OK)
		return rc;
	out->priority = PRIORITY_USER;
	route_limits(out, w.named.route);
	if (w.named.arm != w.named.route)
		(void)snprintf(out->arm, sizeof(out->arm), "%s", w.named.arm->name);
	route_favour(&w);
	route_collect(&w, false);
	if (w.len == 0 && fallback_instead(&w))
		return ERR_OK;
	if (w.len == 0) {
		route_collect(&w, true);
		out->waits = w.len > 0;
	}
	if (w.len == 0)
		return route_empty(&w, e);
	if (!plan_make(&w)) {
		out->pending = true;
		return ERR_OK;
	}
	out->difficulty = w.plan.difficulty;
	out->threshold = w.plan.threshold;
	rank_entries(&w);
	session_apply(&w);
	route_cascade(&w);
	out->ranked_len = MIN(w.len, (size_t)ROUTE_CANDIDATES_MAX);
	for (i = 0; i < out->ranked_len; i++)
		out->ranked[i] = w.entries[i].c;
	fallback_append(&w);
	reason_make(&w);
	return ERR_OK;
}
