/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - the phases of a routing decision
 *
 * Names say which deployments are meant, filters drop those that can't answer, a rule or the
 * default may favour a model, scores or turns order what is left. Order of the list: standby
 * deployments after all others, a favoured model before the others, abilities known before unknown,
 * then the key (score or turn), then the config's order, replicas of one model by turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"

enum { ENTRIES_MAX = 256 }; /* = rows of the profile table: more are not known to anybody */

static const double THRESHOLD_DEFAULT = 0.5;

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

/* One decision while it is made. */
struct work {
	struct route_decision *out;
	const struct route_request *r;
	const struct route_catalog *c;
	const struct route_rules *rules;
	struct named named;
	const struct config_rule *rule;
	const struct config_route *favoured_route; /* the group a rule sends to */
	const char *favoured_model;
	struct score_plan plan;
	struct entry entries[ENTRIES_MAX];
	size_t len;
};

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

static bool
route_favours(const struct work *w, const struct route_deployment *d)
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
	if (n->route == NULL) /* router-... without any route in the config */
		return true;
	at = route_place(n->route, d);
	*place = at >= 0 ? (size_t)at : n->route->models_len;
	return at >= 0 || route_favours(w, d);
}

static void
route_collect(struct work *w)
{
	const struct route_deployment *d;
	struct route_candidate *dropped;
	struct entry *entry;
	enum filter f;
	size_t i, place;
	bool unsure;

	for (i = 0; i < w->c->len; i++) {
		d = &w->c->deployments[i];
		if (!route_means(w, d, &place))
			continue;
		f = filter_check(&unsure, d, w->r, w->named.route);
		if (f != FILTER_NONE) {
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
			.favoured = route_favours(w, d)};
	}
}

/* Difficulty, threshold, weights: from the route (the one that a rule sends to, if it does), the
 * request, or RouteLLM's form. */
static void
route_plan(struct work *w)
{
	const struct config_route *route =
		w->favoured_route != NULL ? w->favoured_route : w->named.route;
	struct score_plan *p = &w->plan;

	*p = (struct score_plan){.strategy = STRATEGY_BALANCED,
		.dial = -1,
		.threshold = THRESHOLD_DEFAULT,
		.difficulty = -1};
	/* who named a model has judged for himself */
	if (w->out->phase != PHASE_EXPLICIT)
		p->difficulty = route_difficulty(w->r);
	if (route != NULL) {
		p->strategy = route->strategy;
		p->dial = route->dial;
		p->threshold = route->threshold;
	}
	if (w->r->dial >= 0 && w->r->dial <= 1)
		p->dial = w->r->dial;
	if (w->named.tier) {
		p->tier = true;
		p->strategy = STRATEGY_BALANCED;
		p->threshold = w->named.threshold;
		if (w->named.scorer == SCORER_RANDOM)
			p->difficulty =
				(double)(balance_random(w->r->seed, 0) >> 11) / 9007199254740992.0;
		if (w->named.scorer == SCORER_WEAK)
			p->difficulty = -1;
		if (w->named.scorer == SCORER_STRONG)
			p->difficulty = 1;
	}
}

static int
route_compare(const void *a_p, const void *b_p)
{
	const struct entry *a = a_p, *b = b_p;
	unsigned class_a = balance_class(a), class_b = balance_class(b);

	if (class_a != class_b)
		return class_a < class_b ? -1 : 1;
	if (a->key != b->key)
		return a->key > b->key ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

/* Replicas of one model that are equal in everything take turns. */
static void
route_turns(struct entry *entries, size_t len, uint64_t seed)
{
	struct entry first;
	size_t from, to, n;

	for (from = 0; from < len; from = to) {
		for (to = from + 1; to < len; to++) {
			if (entries[to].key != entries[from].key ||
				balance_class(&entries[to]) != balance_class(&entries[from]) ||
				strcmp(entries[to].d->model, entries[from].d->model) != 0)
				break;
		}
		for (n = to - from > 1 ? (size_t)(seed % (to - from)) : 0; n > 0; n--) {
			first = entries[from];
			memmove(&entries[from], &entries[from + 1],
				(to - from - 1) * sizeof(entries[0]));
			entries[to - 1] = first;
		}
	}
}

static void
route_rank(struct work *w)
{
	size_t i;

	score_entries(w->entries, w->len, &w->plan, w->r);
	/* a dial asks for scores, whatever the route does else */
	if (w->plan.dial >= 0 ||
		!balance_entries(w->entries, w->len, w->plan.strategy, w->r->seed)) {
		qsort(w->entries, w->len, sizeof(w->entries[0]), route_compare);
		route_turns(w->entries, w->len, w->r->seed);
	} else {
		qsort(w->entries, w->len, sizeof(w->entries[0]), route_compare);
	}
	w->out->ranked_len = MIN(w->len, ROUTE_CANDIDATES_MAX);
	for (i = 0; i < w->out->ranked_len; i++)
		w->out->ranked[i] = w->entries[i].c;
}

/* The rule that fires, or the default model where there is no text to judge. */
static void
route_favour(struct work *w)
{
	const struct config_route *route = w->named.route;

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
	} else if (w->r->turns_count == 0 && route->default_model != NULL) {
		w->out->phase = PHASE_DEFAULT;
		w->favoured_model = route->default_model;
	}
}

/* Header-safe: whatever a name holds, the line stays printable ASCII. */
static void
route_say(struct route_decision *d, const char *text)
{
	size_t i;

	for (i = 0; i < sizeof(d->reason) - 1 && text[i] != '\0'; i++)
		d->reason[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	d->reason[i] = '\0';
}

/* The term in which the winner leads the next candidate most, or its largest one. */
static enum route_term
route_telling_term(const struct route_decision *d)
{
	const struct route_candidate *a = &d->ranked[0],
				     *b = d->ranked_len > 1 ? &d->ranked[1] : NULL;
	double lead, most = -1;
	unsigned t, best = 0;

	for (t = 0; t < ROUTE_TERMS; t++) {
		lead = a->weight[t] * (a->term[t] - (b != NULL ? b->term[t] : 0));
		if (lead > most) {
			most = lead;
			best = t;
		}
	}
	return (enum route_term)best;
}

static void
route_reason_score(struct work *w, struct buf *text)
{
	const struct route_decision *d = w->out;
	const struct score_plan *p = &w->plan;

	if (w->named.tier)
		buf_addf(text, "score: %s wanted,",
			p->difficulty >= p->threshold ? "strong" : "weak");
	else if (p->dial >= 0)
		buf_addf(text, "score: dial %.2f,", p->dial);
	else
		buf_addf(text, "score: %s,", strategy_name(p->strategy));
	if (d->difficulty >= 0)
		buf_addf(text, " difficulty %.2f %s %.2f,", d->difficulty,
			d->difficulty >= d->threshold ? ">=" : "<", d->threshold);
	if (d->ranked_len == 1)
		buf_add_str(text, " only candidate");
	else if (p->dial < 0 &&
		 (p->strategy == STRATEGY_ROUND_ROBIN || p->strategy == STRATEGY_WEIGHTED))
		buf_addf(text, " its turn among %zu", d->ranked_len);
	else
		buf_addf(text, " best of %zu at %.3f, ahead by %s", d->ranked_len,
			d->ranked[0].score, route_term_name(route_telling_term(d)));
}

static void
route_reason(struct work *w)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const struct route_decision *d = w->out;
	const struct route_deployment *best = &w->c->deployments[d->ranked[0].deployment];

	switch (d->phase) {
	case PHASE_EXPLICIT:
		buf_addf(&text, "explicit: %s was named",
			w->named.backend != NULL ? "deployment" : "model");
		if (d->ranked_len > 1)
			buf_addf(&text, ", %s of %zu deployments", best->backend, d->ranked_len);
		break;
	case PHASE_RULE:
		buf_addf(&text, "rule: %s sends to %s", d->rule, w->rule->model);
		if (!route_favours(w, best))
			buf_addf(&text, ", which can not answer now; %s is next", best->model);
		break;
	case PHASE_DEFAULT:
		buf_addf(&text, "default: no text to judge, default model %s", w->favoured_model);
		if (!route_favours(w, best))
			buf_addf(&text, " can not answer now; %s is next", best->model);
		break;
	default:
		route_reason_score(w, &text);
		break;
	}
	if (d->dropped_len > 0)
		buf_addf(&text, " (%zu filtered out)", d->dropped_len);
	route_say(w->out, buf_str(&text));
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
	route_say(w->out, e->text);
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
}

enum err_code
route_decide(struct route_decision *out, const struct route_request *r,
	const struct route_catalog *c, const struct route_rules *rules, struct err *e)
{
	struct work w;
	enum err_code rc;

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
	if (rc != ERR_OK)
		return rc;
	route_limits(out, w.named.route);
	route_favour(&w);
	route_plan(&w);
	out->difficulty = w.plan.difficulty;
	out->threshold = w.plan.threshold;
	route_collect(&w);
	if (w.len == 0)
		return route_empty(&w, e);
	route_rank(&w);
	route_reason(&w);
	return ERR_OK;
}
