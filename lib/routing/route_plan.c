/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_plan.c - which scorer judges a request, and what follows from its answer
 *
 *   heuristic    a difficulty, which stated qualities are fitted to
 *   trained      the quality to expect of each model that it knows; where a threshold is set, only
 *                whether the strong model is wanted; where it knows none of the candidates, how
 *                hard the prompt is for the models that it does know
 *   encoder      whether the strong model is wanted, from a classifier
 *   cascade      nothing before the call: the weak model goes first, and its own answer decides
 *
 * Without an answer the default tier: default_model, else the best single model.
 *
 * Nobody is asked where the answer could change nothing.
 */
#include <stdio.h>
#include <string.h>

#include "lib/routing/parts.h"

static const double THRESHOLD_DEFAULT = 0.5;
/* Median of the heuristic's difficulty over MMLU, GSM8K, MT-Bench and RouterArena: 0.13 to 0.19
 * (`shunt eval --scorer heuristic`, threshold50). */
static const double WORDS_AVERAGE = 0.15;

/* Is there more than one model to choose from? */
static bool
plan_has_choice(const struct work *w)
{
	for (size_t i = 1; i < w->len; i++)
		if (strcmp(w->entries[i].d->model, w->entries[0].d->model) != 0)
			return true;
	return false;
}

/* Do candidates take turns, whatever their score? */
static bool
plan_shares(const struct score_plan *p)
{
	return p->dial < 0 &&
	       (p->strategy == STRATEGY_ROUND_ROBIN || p->strategy == STRATEGY_WEIGHTED ||
		       p->strategy == STRATEGY_LEAST_LOADED);
}

/* Strategy, dial and threshold: from the route that counts, the request, or RouteLLM's form. */
static void
plan_settings(struct work *w)
{
	const struct config_route *route = work_route(w);
	struct score_plan *p = &w->plan;

	*p = (struct score_plan){.strategy = STRATEGY_BALANCED,
		.quality = SCORE_FIT,
		.dial = -1,
		.threshold = -1,
		.difficulty = -1};
	if (route != NULL) {
		p->strategy = route->strategy;
		p->dial = route->dial;
		p->threshold = route->threshold;
	}
	if (w->r->dial >= 0 && w->r->dial <= 1)
		p->dial = w->r->dial;
	if (w->named.tier) {
		p->strategy = STRATEGY_BALANCED;
		p->quality = SCORE_TIER;
		p->threshold = w->named.threshold;
	}
	if (w->r->threshold_said)
		p->threshold = w->r->threshold;
}

/* The difficulty that the words of the turns tell, as many as the route's policy shows. */
static double
plan_heuristic(const struct work *w)
{
	const struct config_route *route = work_route(w);
	struct route_request shown = *w->r;

	if (route != NULL && route->text == TEXT_LAST)
		shown.turns_count = MIN(shown.turns_count, (size_t)1);
	return route_difficulty(&shown);
}

/* A scorer that needs no file: how much the prompt wants a strong model. */
static void
plan_fixed(struct work *w, enum scorer_id id)
{
	if (id != SCORER_HEURISTIC)
		w->plan.quality = SCORE_TIER;
	switch (id) {
	case SCORER_RANDOM:
		w->plan.difficulty = balance_uniform(w->r->seed, 0);
		break;
	case SCORER_WEAK:
		w->plan.difficulty = -1;
		break;
	case SCORER_STRONG:
		w->plan.difficulty = 1;
		break;
	default:
		w->plan.difficulty = plan_heuristic(w);
		break;
	}
	if (w->plan.threshold < 0)
		w->plan.threshold = THRESHOLD_DEFAULT;
	(void)snprintf(w->out->scorer, sizeof(w->out->scorer), "%s", scorer_name(id));
}

/* No answer: the default tier decides, and says why. */
static void
plan_default(struct work *w)
{
	const struct config_route *route = work_route(w);

	w->out->phase = PHASE_DEFAULT;
	w->plan.quality = SCORE_PRIOR;
	w->plan.threshold = -1;
	if (route == NULL || route->default_model == NULL)
		return;
	w->favoured_route = NULL;
	w->favoured_model = route->default_model;
	for (size_t i = 0; i < w->len; i++)
		w->entries[i].favoured = work_favours(w, w->entries[i].d);
}

static enum route_answer
plan_ask(struct work *w, const struct route_question *q)
{
	char text[ROUTE_TEXT_MAX];
	enum route_answer answer = JUDGE_READY;
	size_t len;

	if (w->r->judge != NULL) {
		answer = w->r->judge->ask(w->r->judge->arg, &w->judgement, q);
	} else if (q->encoder == NULL) {
		len = route_text(text, w->r, q->route);
		route_judge_file(&w->judgement, q, text, len, NULL);
	} else {
		answer = JUDGE_FAILED;
		(void)snprintf(w->judgement.why, sizeof(w->judgement.why), "nobody can be asked");
	}
	w->out->judged = answer == JUDGE_READY;
	w->out->cached = answer == JUDGE_READY && w->judgement.cached;
	return answer;
}

/* The scorer's indices of the weakest and the strongest candidate; its own where it does not know
 * both. */
static void
plan_pair(struct work *w, struct scorers_row *row, int *weak, int *strong)
{
	const struct entry *weakest = &w->entries[0], *strongest = &w->entries[0];

	for (size_t i = 1; i < w->len; i++) {
		if (score_stronger(&w->entries[i], strongest))
			strongest = &w->entries[i];
		if (score_stronger(weakest, &w->entries[i]))
			weakest = &w->entries[i];
	}
	*weak = scorers_model(row, weakest->d);
	*strong = scorers_model(row, strongest->d);
	if (*weak < 0 || *strong < 0 || *weak == *strong)
		scorers_extremes(row, weak, strong);
}

/* Does the scorer know one of the candidates? */
static bool
plan_is_known(struct work *w, struct scorers_row *row)
{
	for (size_t i = 0; i < w->len; i++)
		if (scorers_model(row, w->entries[i].d) >= 0)
			return true;
	return false;
}

/*
 * How hard a prompt is for models that nobody has measured: it is hard where the models that the
 * scorer does know are expected to fail at it, or where its words say so; the threshold is what
 * the average prompt of the scorer's data is for them. One pair of models would not do: the
 * difference of two guesses holds far more of their errors than the mean of all.
 */
static void
plan_fit(struct work *w, const struct scorers_row *row)
{
	double guessed = 0, mean = 0, known = 0, m;

	for (size_t i = 0; i < scorer_models(row->scorer); i++) {
		m = (double)scorer_mean(row->scorer, i);
		if (!(m >= 0))
			continue;
		guessed += MAX(0, MIN((double)w->judgement.guess[i].quality, 1));
		mean += MIN(m, 1);
		known++;
	}
	known = MAX(known, 1);
	w->plan.difficulty = 1 - guessed / known * (1 - plan_heuristic(w));
	w->plan.threshold = MAX(0.05, MIN(1 - mean / known * (1 - WORDS_AVERAGE), 0.95));
}

static bool
plan_trained(struct work *w, struct scorers_row *row)
{
	struct route_question q = {.scorer = row->id,
		.row = row,
		.encoder = scorer_embedding(row->scorer) != NULL ? row->encoder : NULL,
		.route = work_route(w),
		.request = w->r};
	enum route_answer answer;
	int model;

	(void)snprintf(w->out->scorer, sizeof(w->out->scorer), "%s", scorer_name(row->id));
	/* a threshold asks for RouteLLM's decision, a request's own dial for all the others */
	if (w->plan.threshold >= 0 && (w->named.tier || w->r->dial < 0))
		w->plan.quality = SCORE_TIER;
	else if (plan_is_known(w, row))
		w->plan.quality = SCORE_LEARNED;
	q.form = w->plan.quality == SCORE_TIER ? QUESTION_WANT : QUESTION_GUESS;
	if (q.form == QUESTION_WANT)
		plan_pair(w, row, &q.weak, &q.strong);
	answer = plan_ask(w, &q);
	if (answer == JUDGE_LATER)
		return false;
	if (answer == JUDGE_FAILED) {
		plan_default(w);
		return true;
	}
	for (size_t i = 0; w->plan.quality == SCORE_LEARNED && i < w->len; i++) {
		model = scorers_model(row, w->entries[i].d);
		if (model < 0)
			continue;
		w->entries[i].guess = &w->judgement.guess[model];
		w->entries[i].mean = scorer_mean(row->scorer, (size_t)model);
	}
	if (q.form == QUESTION_WANT)
		w->plan.difficulty = w->judgement.want;
	if (w->plan.quality == SCORE_FIT)
		plan_fit(w, row);
	return true;
}

static bool
plan_encoder(struct work *w, const char *encoder)
{
	struct route_question q = {.form = QUESTION_WANT,
		.scorer = SCORER_ENCODER,
		.encoder = encoder != NULL ? encoder : config_route_encoder(w->c->config, NULL),
		.route = work_route(w),
		.request = w->r};
	enum route_answer answer = plan_ask(w, &q);

	(void)snprintf(w->out->scorer, sizeof(w->out->scorer), "%s", scorer_name(SCORER_ENCODER));
	if (answer == JUDGE_LATER)
		return false;
	if (answer == JUDGE_FAILED) {
		plan_default(w);
		return true;
	}
	w->plan.quality = w->r->dial >= 0 && !w->named.tier ? SCORE_FIT : SCORE_TIER;
	w->plan.difficulty = w->judgement.want;
	if (w->plan.threshold < 0)
		w->plan.threshold = THRESHOLD_DEFAULT;
	return true;
}

/* Has the weak model's answer a strong one's to give way to? */
static bool
plan_cascades(const struct work *w)
{
	bool free = w->out->phase == PHASE_SCORE ||
		    (w->out->phase == PHASE_RULE && w->favoured_route != NULL);

	return free && w->r->endpoint != ROUTE_EMBEDDINGS && plan_has_choice(w);
}

/* The strong ones by their strength, behind the weak one: rank_entries puts it there. */
static void
plan_cascade(struct work *w)
{
	w->out->cascades = true;
	w->plan.strategy = STRATEGY_BALANCED; /* no turns: one goes first */
	w->plan.quality = SCORE_TIER;
	w->plan.difficulty = 1;
	if (w->plan.threshold < 0)
		w->plan.threshold = THRESHOLD_DEFAULT;
	(void)snprintf(w->out->scorer, sizeof(w->out->scorer), "%s", scorer_name(SCORER_CASCADE));
}

/* Whoever named a model, or was sent to one, has judged already; and there must be a text. */
static bool
plan_is_needed(const struct work *w)
{
	if (w->out->phase == PHASE_EXPLICIT || w->out->phase == PHASE_DEFAULT)
		return false;
	if (w->out->phase == PHASE_RULE && w->favoured_route == NULL)
		return false;
	if (w->r->turns_count == 0 || w->r->endpoint == ROUTE_EMBEDDINGS)
		return false;
	return plan_has_choice(w) && !plan_shares(&w->plan);
}

enum scorer_id
plan_scorer(const struct work *w, const char **rest)
{
	const struct config_route *route = work_route(w);
	struct config_scorer s = {.rest = NULL};
	enum scorer_id id = SCORER_HEURISTIC;

	if (route != NULL && route->scorer != NULL) {
		s = config_scorer_split(route->scorer);
		id = scorer_find(route->scorer, s.name_len);
	}
	if (w->named.tier && id != w->named.scorer) {
		id = w->named.scorer;
		s.rest = NULL;
	}
	*rest = s.rest;
	return id;
}

bool
plan_make(struct work *w)
{
	const char *rest;
	enum scorer_id id = plan_scorer(w, &rest);
	struct scorers_row *row;

	plan_settings(w);
	if (w->out->phase == PHASE_EXPLICIT) {
		w->plan.threshold = THRESHOLD_DEFAULT;
		return true;
	}
	if (id == SCORER_CASCADE) {
		if (plan_cascades(w)) {
			plan_cascade(w);
			return true;
		}
		id = SCORER_HEURISTIC;
	}
	if (id == SCORER_ENCODER && plan_is_needed(w))
		return plan_encoder(w, rest);
	if (id < SCORERS && scorer_kind(id) == SCORER_KIND_TRAINED && plan_is_needed(w)) {
		row = scorers_find(
			w->c->scorers, id, rest, config_route_encoder(w->c->config, work_route(w)));
		if (row != NULL)
			return plan_trained(w, row);
	}
	/* Its file could not be opened, or its answer would change nothing. */
	plan_fixed(w, id < SCORERS && scorer_kind(id) == SCORER_KIND_FIXED ? id : SCORER_HEURISTIC);
	return true;
}
