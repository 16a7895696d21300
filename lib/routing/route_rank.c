/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_rank.c - the order of the candidates
 *
 * Standby deployments after all others, a favoured model before the others, abilities known before
 * unknown, then the key (score or turn), then the config's order, replicas of one model by turns.
 * Of a cascade the weak model, before all others of its class.
 *
 * A learned scorer's choice is compared with the one that the same strategy makes without looking
 * at the prompt: the best single model. Where its lead in score is within what the error of the
 * expected qualities is worth there, the scorer has nothing to say, and the best single model
 * stays. But the burden of proof lies with what costs more: a cheaper choice saves for certain what
 * it may lose in quality, so it stands, unless the strategy hardly minds the cost.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"

static const double COST_MINDED = 0.25;

static int
rank_compare(const void *a_p, const void *b_p)
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
rank_turns(struct entry *entries, size_t len, uint64_t seed)
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

/* The model that would be chosen whatever the prompt is. */
static const char *
rank_best_single(struct work *w)
{
	struct score_plan plan = w->plan;
	const struct entry *best = &w->entries[0];
	size_t i;

	plan.quality = SCORE_MEAN;
	score_entries(w->entries, w->len, &plan, w->r);
	for (i = 1; i < w->len; i++)
		if (rank_compare(&w->entries[i], best) < 0)
			best = &w->entries[i];
	return best->d->model;
}

static double
rank_error(const struct entry *e)
{
	return MAX(e->c.error, 0);
}

/* Is chosen the cheaper one, where cost counts for a quarter of what quality does or more? */
static bool
rank_saves(const struct entry *chosen, const struct entry *stay)
{
	const double *weight = chosen->c.weight;

	return chosen->c.cost_usd >= 0 && chosen->c.cost_usd < stay->c.cost_usd &&
	       weight[TERM_COST] >= COST_MINDED * weight[TERM_QUALITY];
}

/* Entries are sorted by what the scorer expects. */
static void
rank_abstain(struct work *w, const char *single)
{
	const struct entry *chosen = &w->entries[0], *stay;
	double gain, error;
	size_t i;

	for (i = 0; i < w->len && strcmp(w->entries[i].d->model, single) != 0; i++)
		;
	if (i == 0 || i == w->len)
		return;
	stay = &w->entries[i];
	gain = chosen->key - stay->key;
	error = chosen->c.weight[TERM_QUALITY] * MAX(rank_error(chosen), rank_error(stay)) /
		score_spread(w->entries, w->len);
	if (gain > error || rank_saves(chosen, stay) ||
		balance_class(chosen) != balance_class(stay))
		return;
	w->out->abstained = true;
	work_prefer(w, i);
}

/* Who is first by its score would be first for ever where its sibling's breaker waits for a call
 * that shows it is well again, and an outlier has no turn: give it one. More than one is refused
 * there and goes on here. */
static void
rank_trial(struct work *w)
{
	for (size_t i = 1; i < w->len; i++) {
		if (w->entries[i].d->trial && !w->entries[i].d->standby &&
			strcmp(w->entries[i].d->model, w->entries[0].d->model) == 0) {
			work_prefer(w, i);
			return;
		}
	}
}

/* All who serve the weakest model of the best class go before the others. */
static void
rank_cascade(struct work *w)
{
	unsigned class = balance_class(&w->entries[0]);
	const struct entry *weak = &w->entries[0];
	const char *model;
	size_t moved = 0;

	w->out->difficulty = -1; /* nobody looked at the prompt */
	for (size_t i = 1; i < w->len; i++)
		if (balance_class(&w->entries[i]) == class && score_stronger(weak, &w->entries[i]))
			weak = &w->entries[i];
	model = weak->d->model;
	if (strcmp(model, w->entries[0].d->model) == 0) {
		w->out->cascades = false;
		w->note = "no weaker model is as fit to be asked first";
		return;
	}
	for (size_t i = w->len; i > moved;) {
		const struct entry *e = &w->entries[i - 1];

		if (balance_class(e) == class && strcmp(e->d->model, model) == 0) {
			work_prefer(w, i - 1);
			moved++;
		} else {
			i--;
		}
	}
}

void
rank_entries(struct work *w)
{
	const char *single = w->plan.quality == SCORE_LEARNED ? rank_best_single(w) : NULL;
	bool shared;

	score_entries(w->entries, w->len, &w->plan, w->r);
	/* a dial asks for scores, whatever the route does else */
	shared = w->plan.dial < 0 &&
		 balance_entries(w->entries, w->len, w->plan.strategy, w->r->seed);
	qsort(w->entries, w->len, sizeof(w->entries[0]), rank_compare);
	if (shared) {
		rank_trial(w);
		return;
	}
	rank_turns(w->entries, w->len, w->r->seed);
	if (single != NULL)
		rank_abstain(w, single);
	if (w->out->cascades)
		rank_cascade(w);
	rank_trial(w);
}
