/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate_cost.c - what the answers cost, and what the same quality costs with routing
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/lab/evaluate_parts.h"

enum { CHARS_PER_TOKEN = 4 };

static const char *const source_names[] = {
	[COST_NONE] = "none",
	[COST_COSTS] = "costs",
	[COST_PRICES] = "prices",
	[COST_OUT_CHARS] = "out_chars",
};

const char *
cost_source_name(enum cost_source s)
{
	return (size_t)s < ARRAY_LEN(source_names) ? source_names[s] : "?";
}

static double
cell(const float *cells, uint32_t model)
{
	return cells != NULL ? (double)cells[model] : NAN;
}

/* Tokens times prices; tokens the source does not give are estimated from characters. */
static double
priced(const struct dataset_row *r, uint32_t model, const struct evaluate_price *price)
{
	double in = cell(r->tokens_in, model), out = cell(r->tokens_out, model);

	if (isnan(in))
		in = (double)r->prompt_len / CHARS_PER_TOKEN;
	if (isnan(out))
		out = cell(r->out_chars, model) / CHARS_PER_TOKEN;
	return price->input < 0 || price->output < 0 ? NAN
						     : in * price->input + out * price->output;
}

static double
cost_of(const struct evaluating *w, size_t row, size_t m)
{
	const struct dataset_row *r = &w->plan->d->rows[w->plan->rows[row]];
	uint32_t model = w->plan->models[m];

	switch (w->o->cost) {
	case COST_COSTS:
		return cell(r->cost, model);
	case COST_OUT_CHARS:
		return cell(r->out_chars, model);
	case COST_PRICES:
		return priced(r, model, &w->o->prices[m]);
	default:
		return NAN;
	}
}

enum err_code
evaluate_costs(struct evaluating *w, struct err *e)
{
	const struct dataset *d = w->plan->d;
	size_t models = w->plan->models_len;

	if (w->o->cost == COST_NONE)
		return ERR_OK;
	w->cost = evaluate_alloc(w->plan->len * models, sizeof(*w->cost));
	w->v->costs = evaluate_alloc(models, sizeof(*w->v->costs));
	for (size_t i = 0; i < w->plan->len; i++) {
		for (size_t m = 0; m < models; m++) {
			const struct dataset_row *r = &d->rows[w->plan->rows[i]];
			double c = cost_of(w, i, m);

			if (isnan(c))
				return err_set(e, ERR_INPUT,
					"no cost (%s) of `%s` in the row of %s, line %u",
					cost_source_name(w->o->cost), d->models[w->plan->models[m]],
					d->sources[r->source], r->line);
			w->cost[i * models + m] = c;
			w->v->costs[m] += c / (double)w->plan->len;
		}
	}
	return ERR_OK;
}

double
evaluate_cost_of(const struct evaluating *w, size_t row, size_t m)
{
	const double *cost = w->cost + row * w->plan->models_len;
	bool both = w->o->cascades && (int)m == w->plan->strong && w->plan->weak >= 0;

	return cost[m] + (both ? cost[w->plan->weak] : 0);
}

/* What the router expects a candidate to cost: its guess, or what the model costs on average. */
static double
expected_cost(const struct evaluating *w, size_t row, size_t m)
{
	const struct scorer_guess *g = &w->p->guess[row * w->plan->models_len + m];

	return w->o->cost == COST_COSTS && g->cost >= 0 ? (double)g->cost : w->v->costs[m];
}

static size_t
frugal_choice(const struct evaluating *w, size_t row, double mind)
{
	size_t models = w->plan->models_len, best = w->trusted;
	double best_worth = -INFINITY;

	for (size_t m = 0; m < models; m++) {
		double worth = (double)w->p->guess[row * models + m].quality -
			       mind * expected_cost(w, row, m);

		if (worth > best_worth || (worth == best_worth && m == w->trusted)) {
			best_worth = worth;
			best = m;
		}
	}
	return best;
}

/* The choices of every setting, from minding nothing but quality to nothing but cost. */
static void
sweep_choices(const struct evaluating *w, uint16_t *choices)
{
	size_t len = w->plan->len;

	for (size_t s = 0; s < EVALUATE_SETTINGS; s++) {
		double part = (double)s / (EVALUATE_SETTINGS - 1);
		double mind = s == 0 ? 0 : pow(10, -4 + 6 * part) / w->v->cost.high;
		size_t sent = (size_t)((1 - part) * (double)len + 0.5);

		for (size_t i = 0; i < len; i++) {
			if (w->p->guess != NULL)
				choices[s * len + i] = (uint16_t)frugal_choice(w, i, mind);
			else
				choices[s * len + w->order[i]] =
					(uint16_t)(i < sent ? w->plan->strong : w->plan->weak);
		}
	}
}

/* Sums over the rows inside (or outside) a fold. */
struct sums {
	double quality, cost;
	size_t rows;
};

enum side { SIDE_INSIDE, SIDE_OUTSIDE };

/* choices NULL: always the best single model. */
static struct sums
sum_rows(const struct evaluating *w, const uint16_t *choices, unsigned fold, enum side side)
{
	struct sums s = {0};

	for (size_t i = 0; i < w->plan->len; i++) {
		size_t m = choices != NULL ? choices[i] : w->v->best;

		if ((w->fold[i] == fold) != (side == SIDE_INSIDE))
			continue;
		s.quality += w->score[i * w->plan->models_len + m];
		s.cost += choices != NULL ? evaluate_cost_of(w, i, m)
					  : w->cost[i * w->plan->models_len + m];
		s.rows++;
	}
	return s;
}

/* For each fold: the cheapest setting that is as good as the best single model outside of it. */
static void
equal_held_out(struct evaluating *w, const uint16_t *choices)
{
	struct sums all = {0};

	for (unsigned f = 0; f < EVALUATE_FOLDS; f++) {
		struct sums single = sum_rows(w, NULL, f, SIDE_OUTSIDE), in;
		const uint16_t *best = NULL;
		double best_cost = single.cost;

		for (size_t s = 0; s < EVALUATE_SETTINGS; s++) {
			const uint16_t *c = choices + s * w->plan->len;
			struct sums out = sum_rows(w, c, f, SIDE_OUTSIDE);

			if (out.quality >= single.quality - 1e-9 && out.cost < best_cost) {
				best_cost = out.cost;
				best = c;
			}
		}
		in = sum_rows(w, best, f, SIDE_INSIDE);
		all.quality += in.quality;
		all.cost += in.cost;
	}
	w->v->cost.held_quality = all.quality / (double)w->plan->len;
	w->v->cost.held_cost = all.cost / (double)w->plan->len;
}

static void
measure_sweep(struct evaluating *w, const uint16_t *choices)
{
	struct evaluate_cost *c = &w->v->cost;
	size_t models = w->plan->models_len, len = w->plan->len;

	c->equal_cost = c->equal_quality = NAN;
	for (size_t s = 0; s < EVALUATE_SETTINGS; s++) {
		struct frontier_point p = {.tag = (long)s};

		for (size_t i = 0; i < len; i++) {
			size_t m = choices[s * len + i];

			p.quality += w->score[i * models + m] / (double)len;
			p.cost += evaluate_cost_of(w, i, m) / (double)len;
		}
		c->sweep[s] = p;
		if (p.quality >= w->v->means[w->v->best] - 1e-9 && !(p.cost >= c->equal_cost)) {
			c->equal_cost = p.cost;
			c->equal_quality = p.quality;
		}
	}
}

static void
measure_lines(struct evaluating *w)
{
	struct evaluate_cost *c = &w->v->cost;
	size_t models = w->plan->models_len;

	c->low = c->high = c->best = w->v->costs[w->v->best];
	for (size_t m = 0; m < models; m++) {
		c->low = MIN(c->low, w->v->costs[m]);
		c->high = MAX(c->high, w->v->costs[m]);
		c->random += w->v->costs[m] / (double)models;
	}
	for (size_t i = 0; i < w->plan->len; i++) {
		size_t best = 0;

		for (size_t m = 1; m < models; m++) {
			size_t a = i * models + m, b = i * models + best;

			if (w->score[a] > w->score[b] ||
				(w->score[a] == w->score[b] && w->cost[a] < w->cost[b]))
				best = m;
		}
		c->oracle += w->cost[i * models + best] / (double)w->plan->len;
	}
}

void
evaluate_frontier(struct evaluating *w)
{
	struct evaluate_cost *c = &w->v->cost;
	size_t models = w->plan->models_len, cheapest = 0;
	struct frontier_point *singles = evaluate_alloc(models, sizeof(*singles));
	uint16_t *choices = evaluate_alloc(w->plan->len * EVALUATE_SETTINGS, sizeof(*choices));

	measure_lines(w);
	sweep_choices(w, choices);
	measure_sweep(w, choices);
	equal_held_out(w, choices);
	for (size_t m = 0; m < models; m++) {
		singles[m] = (struct frontier_point){w->v->costs[m], w->v->means[m], (long)m};
		if (w->v->costs[m] < w->v->costs[cheapest])
			cheapest = m;
	}
	/* Whatever the scorer says, one may always take the cheapest model. */
	memcpy(c->hull, c->sweep, sizeof(c->sweep));
	c->hull[EVALUATE_SETTINGS] = singles[cheapest];
	c->hull[EVALUATE_SETTINGS].tag = -1;
	c->hull_len = frontier_hull(c->hull, EVALUATE_SETTINGS + 1);
	c->aiq = frontier_aiq(c->hull, c->hull_len, c->low, c->high);
	c->aiq_single = frontier_aiq(singles, frontier_hull(singles, models), c->low, c->high);
	free(singles);
	free(choices);
}
