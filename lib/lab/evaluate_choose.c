/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate_choose.c - which model each row is sent to, and does noise change that
 */
#include <math.h>
#include <stdlib.h>

#include "lib/base/base.h"
#include "lib/lab/evaluate_parts.h"

/* The best guess of a row; the trusted model where guesses are equal. */
static size_t
best_guess(const struct scorer_guess *guess, size_t models, size_t trusted)
{
	size_t best = trusted;

	for (size_t m = 0; m < models; m++) {
		if (guess[m].quality > guess[best].quality)
			best = m;
	}
	return best;
}

static size_t
trusted_model(const struct evaluating *w)
{
	size_t models = w->plan->models_len, best = 0;
	double best_sum = -INFINITY;

	for (size_t m = 0; m < models; m++) {
		double sum = 0;

		for (size_t i = 0; i < w->plan->len; i++)
			sum += (double)w->p->guess[i * models + m].quality;
		if (sum > best_sum) {
			best_sum = sum;
			best = m;
		}
	}
	return best;
}

/*
 * The share sent to strong that scores best on the rows outside fold f, as a threshold of wants:
 * rows reach strong where want >= it.
 */
static double
threshold_outside(const struct evaluating *w, unsigned f)
{
	double sum = 0, best = 0, threshold = INFINITY;

	for (size_t k = 0; k < w->plan->len; k++) {
		const struct metrics_pair *r = &w->pairs[w->order[k]];
		bool last = k + 1 == w->plan->len || w->pairs[w->order[k + 1]].want < r->want;

		if (w->fold[w->order[k]] != f)
			sum += r->strong - r->weak;
		if (last && sum > best) {
			best = sum;
			threshold = r->want;
		}
	}
	return threshold;
}

static void
choose_by_want(struct evaluating *w)
{
	double thresholds[EVALUATE_FOLDS];
	size_t strong = 0;

	for (unsigned f = 0; f < EVALUATE_FOLDS; f++)
		thresholds[f] = threshold_outside(w, f);
	for (size_t i = 0; i < w->plan->len; i++) {
		bool up = w->pairs[i].want >= thresholds[w->fold[i]];

		w->chosen[i] = (uint16_t)(up ? w->plan->strong : w->plan->weak);
		strong += up;
	}
	w->trusted = (size_t)(2 * strong >= w->plan->len ? w->plan->strong : w->plan->weak);
}

void
evaluate_choose(struct evaluating *w)
{
	size_t models = w->plan->models_len;

	if (w->p->guess == NULL) {
		choose_by_want(w);
		return;
	}
	w->trusted = trusted_model(w);
	for (size_t i = 0; i < w->plan->len; i++)
		w->chosen[i] = (uint16_t)best_guess(w->p->guess + i * models, models, w->trusted);
}

/* Stay with the trusted model where the other's lead is within the larger of both errors. */
void
evaluate_abstain(struct evaluating *w)
{
	size_t models = w->plan->models_len;

	for (size_t i = 0; w->p->guess != NULL && i < w->plan->len; i++) {
		const struct scorer_guess *g = w->p->guess + i * models;
		const struct scorer_guess *a = &g[w->chosen[i]], *b = &g[w->trusted];

		if (a->quality - b->quality <= fmaxf(a->error, b->error))
			w->chosen[i] = (uint16_t)w->trusted;
	}
}

void
evaluate_flips(struct evaluating *w)
{
	size_t models = w->plan->models_len;
	double t = w->v->pair.threshold50, sum = 0;

	for (size_t n = 0; n < NOISES; n++) {
		size_t flipped = 0;

		for (size_t i = 0; i < w->plan->len; i++) {
			if (w->p->noised_want[n] != NULL) {
				flipped += (w->p->want[i] >= t) != (w->p->noised_want[n][i] >= t);
			} else {
				size_t at = i * models;

				flipped +=
					best_guess(w->p->guess + at, models, w->trusted) !=
					best_guess(w->p->noised_guess[n] + at, models, w->trusted);
			}
		}
		w->v->flips[n] = (double)flipped / (double)w->plan->len;
		sum += w->v->flips[n];
	}
	w->v->flips_mean = sum / NOISES;
}
