/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c - measure predictions against the best single model, chance and the oracle
 */
#include <math.h>
#include <stdlib.h>

#include "lib/base/base.h"
#include "lib/lab/evaluate_parts.h"
#include "lib/lab/rng.h"

enum { RANDOM_ORDERS = 200, FOLD_SALT = 0x5f01d };

static const char *const verdicts[] = {
	[EVALUATE_BEATS] = "beats the best single model",
	[EVALUATE_EQUAL] = "does not beat the best single model (the interval holds 0)",
	[EVALUATE_LOSES] = "does not beat the best single model: it is worse",
};

const char *
evaluate_verdict_text(enum evaluate_verdict v)
{
	return verdicts[v];
}

void *
evaluate_alloc(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	CHECK(p != NULL);
	return p;
}

void
evaluate_fini(struct evaluation *v)
{
	free(v->means);
	free(v->costs);
	free(v->sources);
	free(v->earned);
	*v = (struct evaluation){.rows = 0};
}

static void
evaluating_fini(struct evaluating *w)
{
	free(w->score);
	free(w->cost);
	free(w->chosen);
	free(w->fold);
	free(w->pairs);
	free(w->order);
}

/* Is a row scored on another scale than 0..1? No score survives the change of scale unchanged. */
static bool
is_judged(const struct predict_plan *plan, size_t row)
{
	const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

	return r->raw[plan->models[0]] != r->score[plan->models[0]];
}

static bool
one_scale(const struct predict_plan *plan)
{
	for (size_t i = 1; i < plan->len; i++) {
		if (is_judged(plan, i) != is_judged(plan, 0))
			return false;
	}
	return true;
}

static void
fill_scores(struct evaluating *w)
{
	const struct predict_plan *plan = w->plan;
	bool raw = one_scale(plan);

	w->score = evaluate_alloc(plan->len * plan->models_len, sizeof(*w->score));
	for (size_t i = 0; i < plan->len; i++) {
		const struct dataset_row *r = &plan->d->rows[plan->rows[i]];

		for (size_t m = 0; m < plan->models_len; m++)
			w->score[i * plan->models_len + m] =
				(double)(raw ? r->raw : r->score)[plan->models[m]];
	}
}

static void
measure_single(struct evaluating *w)
{
	size_t models = w->plan->models_len;
	struct evaluation *v = w->v;

	v->means = evaluate_alloc(models, sizeof(*v->means));
	for (size_t i = 0; i < w->plan->len; i++) {
		double best = -INFINITY;

		for (size_t m = 0; m < models; m++) {
			double s = w->score[i * models + m];

			v->means[m] += s;
			best = fmax(best, s);
		}
		v->oracle += best / (double)w->plan->len;
	}
	for (size_t m = 0; m < models; m++) {
		v->means[m] /= (double)w->plan->len;
		v->random += v->means[m] / (double)models;
		if (v->means[m] > v->means[v->best])
			v->best = m;
	}
}

static void
measure_random(struct evaluating *w)
{
	uint32_t *order = evaluate_alloc(w->plan->len, sizeof(*order));
	double found[RANDOM_ORDERS];
	struct rng rng = {w->plan->seed + 1};

	for (size_t i = 0; i < w->plan->len; i++)
		order[i] = (uint32_t)i;
	for (size_t n = 0; n < RANDOM_ORDERS; n++) {
		struct metrics_apgr a;

		for (size_t i = w->plan->len; i > 1; i--) {
			size_t j = rng_below(&rng, i);
			uint32_t t = order[i - 1];

			order[i - 1] = order[j];
			order[j] = t;
		}
		metrics_exact(&a, w->pairs, w->plan->len, order);
		found[n] = a.apgr;
		w->v->pair.random_apgr += a.apgr / RANDOM_ORDERS;
	}
	bootstrap_spread(&w->v->pair.random_ci95, found, RANDOM_ORDERS);
	free(order);
}

static void
measure_pair(struct evaluating *w)
{
	struct evaluate_pair *p = &w->v->pair;
	size_t len = w->plan->len, models = w->plan->models_len;
	unsigned draws = w->o->draws > 0 ? w->o->draws : BOOTSTRAP_DRAWS;

	w->pairs = evaluate_alloc(len, sizeof(*w->pairs));
	w->order = evaluate_alloc(len, sizeof(*w->order));
	for (size_t i = 0; i < len; i++)
		w->pairs[i] = (struct metrics_pair){
			.weak = w->score[i * models + (size_t)w->plan->weak],
			.strong = w->score[i * models + (size_t)w->plan->strong],
			.want = w->p->want[i],
		};
	metrics_order(w->order, w->pairs, len);
	metrics_means(&p->means, w->pairs, len);
	metrics_exact(&p->exact, w->pairs, len, w->order);
	metrics_grid(&p->grid, w->pairs, len, w->order);
	metrics_curve(p->curve_share, p->curve_score, EVALUATE_CURVE, w->pairs, len, w->order);
	p->threshold50 = metrics_threshold(w->pairs, len, w->order, 0.5);
	p->all_equal = w->pairs[w->order[0]].want == w->pairs[w->order[len - 1]].want;
	if (isnan(p->exact.apgr))
		p->apgr_ci95 = (struct interval){NAN, NAN};
	else
		bootstrap_apgr(&p->apgr_ci95, w->pairs, len, w->order, draws, w->plan->seed);
	measure_random(w);
}

/* What w->chosen is worth. */
static void
measure_choice(struct evaluate_choice *out, const struct evaluating *w)
{
	size_t models = w->plan->models_len, len = w->plan->len;
	double *gains = evaluate_alloc(len, sizeof(*gains));

	*out = (struct evaluate_choice){.cost = w->cost != NULL ? 0 : NAN};
	for (size_t i = 0; i < len; i++) {
		double s = w->score[i * models + w->chosen[i]];

		gains[i] = s - w->score[i * models + w->v->best];
		out->quality += s / (double)len;
		out->gain += gains[i] / (double)len;
		out->switched += (w->chosen[i] != w->trusted) / (double)len;
		if (w->cost != NULL)
			out->cost += evaluate_cost_of(w, i, w->chosen[i]) / (double)len;
	}
	bootstrap_mean(&out->gain_ci95, gains, len, w->o->draws > 0 ? w->o->draws : BOOTSTRAP_DRAWS,
		w->plan->seed);
	free(gains);
}

static void
measure_source(struct evaluate_source *out, const struct evaluating *w, uint32_t source)
{
	size_t models = w->plan->models_len;
	double *sums = evaluate_alloc(models, sizeof(*sums));

	*out = (struct evaluate_source){.name = w->plan->d->sources[source]};
	for (size_t i = 0; i < w->plan->len; i++) {
		if (w->plan->d->rows[w->plan->rows[i]].source != source)
			continue;
		out->rows++;
		out->routed += w->score[i * models + w->chosen[i]];
		for (size_t m = 0; m < models; m++)
			sums[m] += w->score[i * models + m];
	}
	for (size_t m = 0; m < models; m++) {
		if (sums[m] > sums[out->best_model])
			out->best_model = m;
	}
	if (out->rows > 0) {
		out->routed /= (double)out->rows;
		out->best = sums[out->best_model] / (double)out->rows;
		out->overall = sums[w->v->best] / (double)out->rows;
	}
	free(sums);
}

static void
measure_sources(struct evaluating *w)
{
	const struct dataset *d = w->plan->d;

	w->v->sources = evaluate_alloc(d->sources_len, sizeof(*w->v->sources));
	for (size_t s = 0; s < d->sources_len; s++) {
		struct evaluate_source *at = &w->v->sources[w->v->sources_len];

		measure_source(at, w, (uint32_t)s);
		w->v->sources_len += at->rows > 0;
	}
}

static double
measure_ece(const struct evaluating *w)
{
	struct metrics_ece ece = {.count = {0}};
	size_t models = w->plan->models_len;

	for (size_t i = 0; i < w->plan->len; i++) {
		const struct dataset_row *r = &w->plan->d->rows[w->plan->rows[i]];

		for (size_t m = 0; w->p->guess != NULL && m < models; m++)
			metrics_ece_add(&ece, (double)w->p->guess[i * models + m].quality,
				(double)r->score[w->plan->models[m]]);
	}
	return metrics_ece(&ece);
}

static void
measure_choices(struct evaluating *w)
{
	struct evaluation *v = w->v;

	evaluate_choose(w);
	measure_choice(&v->routed, w);
	v->verdict = v->routed.gain_ci95.low > 0    ? EVALUATE_BEATS
		     : v->routed.gain_ci95.high < 0 ? EVALUATE_LOSES
						    : EVALUATE_EQUAL;
	measure_sources(w);
	evaluate_abstain(w);
	measure_choice(&v->abstaining, w);
	v->earned = evaluate_alloc(w->plan->len, sizeof(*v->earned));
	for (size_t i = 0; i < w->plan->len; i++)
		v->earned[i] = w->score[i * w->plan->models_len + w->chosen[i]];
	if (w->cost != NULL)
		evaluate_frontier(w);
	v->ece = measure_ece(w);
	if (v->has_noise)
		evaluate_flips(w);
}

enum err_code
evaluate(struct evaluation *out, const struct predict_plan *plan, const struct predictions *p,
	const struct evaluate_options *o, struct err *e)
{
	AUTO(evaluating_fini) struct evaluating w = {.plan = plan, .p = p, .o = o, .v = out};

	CHECK(plan->len > 0 && plan->models_len > 0 && plan->models_len <= UINT16_MAX);
	*out = (struct evaluation){
		.plan = plan,
		.rows = plan->len,
		.has_pair = p->want != NULL,
		.has_guess = p->guess != NULL,
		.has_noise = p->noised_want[0] != NULL || p->noised_guess[0] != NULL,
		.prompts_per_s = p->score_s > 0 ? (double)plan->len / p->score_s : NAN,
		.train_s = p->train_s,
		.file_bytes = p->file_bytes,
		.trainings = p->trainings,
	};
	w.chosen = evaluate_alloc(plan->len, sizeof(*w.chosen));
	w.fold = evaluate_alloc(plan->len, sizeof(*w.fold));
	for (size_t i = 0; i < plan->len; i++)
		w.fold[i] = (uint8_t)dataset_fold(
			&plan->d->rows[plan->rows[i]], EVALUATE_FOLDS, plan->seed + FOLD_SALT);
	fill_scores(&w);
	measure_single(&w);
	if (evaluate_costs(&w, e) != ERR_OK) {
		evaluate_fini(out);
		return ERR_INPUT;
	}
	if (out->has_pair)
		measure_pair(&w);
	measure_choices(&w);
	return ERR_OK;
}

void
evaluate_match(struct evaluate_match *out, const struct evaluation *v,
	const struct evaluation *other, unsigned draws)
{
	double *gains = evaluate_alloc(v->rows, sizeof(*gains));

	CHECK(v->rows == other->rows);
	for (size_t i = 0; i < v->rows; i++) {
		gains[i] = v->earned[i] - other->earned[i];
		out->gain += gains[i] / (double)v->rows;
	}
	out->quality = other->abstaining.quality;
	bootstrap_mean(&out->gain_ci95, gains, v->rows, draws, v->plan->seed);
	out->better = out->gain_ci95.low > 0;
	free(gains);
}
