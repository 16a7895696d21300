/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score.c - the terms of a candidate's score and their weights
 *
 * Every term is 0..1 among the candidates of this request, every row of weights sums to 1, and the
 * score is the sum of weight * term: nothing else enters.
 *
 *   quality   q    = 1 - (best - quality) / max(best - worst, 0.25)
 *             need = difficulty / threshold / 2 below the threshold, from there on
 *                    (1 + (difficulty - threshold) / (1 - threshold)) / 2
 *             term = 0.85 * (1 - max(0, need - q)) + 0.15 * q
 *             An easy prompt is served as well by a weak model, but for the last 0.15; a hard one
 *             loses what the model lacks. A model without stated quality counts as 0.5.
 *             Where a learned scorer expects a quality for this very prompt, that stands for the
 *             stated one, and the term is q: nothing is left to fit.
 *             By a threshold (router-<scorer>-<t>, encoders) the term is q from there on, else
 *             1 - q, with q = 0 for the weakest and 1 for the strongest.
 *   cost      (cheapest + e) / (cost + e), cost of the prompt and the expected answer,
 *             e = 1e-6 USD; 0.5 where the price is not known
 *   latency   fastest / expected time for 200 tokens; 0.5 where nothing was measured
 *   resident  1 where loaded
 *   queue     free share of max_in_flight; 1 / (1 + in flight) where that has no limit
 *   health    1 - failure rate
 */
#include <math.h>

#include "lib/routing/parts.h"

static const double QUALITY_PRIOR = 0.5, QUALITY_SPREAD = 0.25, QUALITY_EXTRA = 0.15;
static const double UNKNOWN_TERM = 0.5;
static const double COST_FLOOR_USD = 1e-6;
static const double SPEED_PRIOR = 50; /* tokens per second where only the first token was timed */

enum { ANSWER_TOKENS = 400, LATENCY_TOKENS = 200, WEIGHT_TIER = STRATEGIES, WEIGHT_ROWS };

/* clang-format off */
static const double weight_rows[WEIGHT_ROWS][ROUTE_TERMS] = {
	/*                         quality cost  latency resident queue health */
	[STRATEGY_BALANCED] =      {0.45, 0.25, 0.10, 0.05, 0.05, 0.10},
	[STRATEGY_QUALITY_FIRST] = {0.75, 0.05, 0.05, 0.05, 0.05, 0.05},
	[STRATEGY_COST_FIRST] =    {0.25, 0.55, 0.05, 0.05, 0.05, 0.05},
	[STRATEGY_SPEED] =         {0.10, 0.05, 0.60, 0.10, 0.10, 0.05},
	/* these share load by balance.c; the score explains, it does not rank */
	[STRATEGY_ROUND_ROBIN] =   {0, 0, 0, 0, 0.50, 0.50},
	[STRATEGY_WEIGHTED] =      {0, 0, 0, 0, 0.50, 0.50},
	/* here it does: failures weigh as much as load, or fast failures would attract requests */
	[STRATEGY_LEAST_LOADED] =  {0, 0, 0, 0, 0.50, 0.50},
	/* router-<scorer>-<threshold> */
	[WEIGHT_TIER] =            {0.70, 0.10, 0.05, 0.05, 0.05, 0.05},
};
/* clang-format on */

/* With a dial, quality and cost share this much by it; the rest stays with the other terms. */
static const double DIAL_SHARE = 0.80;
static const double dial_rest[ROUTE_TERMS] = {0, 0, 0.05, 0.05, 0.05, 0.05};

static double
score_clamp(double v)
{
	return v >= 0 ? MIN(v, 1.0) : 0; /* NaN: 0 */
}

static void
score_weights(double out[ROUTE_TERMS], const struct score_plan *plan)
{
	bool tier = plan->quality == SCORE_TIER;
	unsigned row = tier ? (unsigned)WEIGHT_TIER : (unsigned)plan->strategy, t;
	double dial;

	for (t = 0; t < ROUTE_TERMS; t++)
		out[t] = weight_rows[row][t];
	if (tier || !(plan->dial >= 0))
		return;
	dial = score_clamp(plan->dial);
	for (t = 0; t < ROUTE_TERMS; t++)
		out[t] = dial_rest[t];
	out[TERM_QUALITY] = DIAL_SHARE * dial;
	out[TERM_COST] = DIAL_SHARE * (1 - dial);
}

static double
score_need(double difficulty, double threshold)
{
	if (difficulty < threshold)
		return difficulty / threshold / 2;
	return threshold < 1 ? (1 + (difficulty - threshold) / (1 - threshold)) / 2 : 1;
}

static double
score_quality_of(const struct entry *e, enum score_quality kind)
{
	if (kind == SCORE_LEARNED && e->guess != NULL)
		return score_clamp((double)e->guess->quality);
	if (kind == SCORE_MEAN && e->guess != NULL && e->mean >= 0)
		return score_clamp((double)e->mean);
	return e->d->quality >= 0 ? MIN(e->d->quality, 1.0) : QUALITY_PRIOR;
}

double
score_spread(const struct entry *entries, size_t len)
{
	double best = 0, worst = 1;
	size_t i;

	for (i = 0; i < len; i++) {
		best = MAX(best, entries[i].c.quality);
		worst = MIN(worst, entries[i].c.quality);
	}
	return MAX(best - worst, QUALITY_SPREAD);
}

bool
score_stronger(const struct entry *a, const struct entry *b)
{
	double qa = score_quality_of(a, SCORE_PRIOR), qb = score_quality_of(b, SCORE_PRIOR);

	if (qa != qb)
		return qa > qb;
	return a->d->output_usd > b->d->output_usd;
}

/* What tells weak from strong: stated quality, or the price where that is the same for all. */
static double
score_strength(const struct entry *e, enum route_term by)
{
	if (by == TERM_QUALITY)
		return score_quality_of(e, SCORE_PRIOR);
	return e->d->output_usd >= 0 ? e->d->output_usd : 0;
}

/* The term of every entry as 0 for the weakest .. 1 for the strongest. */
static void
score_tiers(struct entry *entries, size_t len)
{
	enum route_term by = TERM_QUALITY;
	double least, most;
	size_t i;

	for (;;) {
		least = INFINITY;
		most = -INFINITY;
		for (i = 0; i < len; i++) {
			least = MIN(least, score_strength(&entries[i], by));
			most = MAX(most, score_strength(&entries[i], by));
		}
		if (most > least || by == TERM_COST)
			break;
		by = TERM_COST;
	}
	for (i = 0; i < len; i++)
		entries[i].c.term[TERM_QUALITY] =
			most > least ? (score_strength(&entries[i], by) - least) / (most - least)
				     : 1;
}

static double
score_fit(double q, const struct score_plan *plan)
{
	double need = score_need(score_clamp(plan->difficulty), score_clamp(plan->threshold));

	return (1 - QUALITY_EXTRA) * (1 - MAX(0, need - q)) + QUALITY_EXTRA * q;
}

static void
score_quality(struct entry *entries, size_t len, const struct score_plan *plan)
{
	double best = 0, spread, q;
	size_t i;

	for (i = 0; i < len; i++) {
		entries[i].c.quality = score_quality_of(&entries[i], plan->quality);
		entries[i].c.error = plan->quality == SCORE_LEARNED && entries[i].guess != NULL
					     ? (double)entries[i].guess->error
					     : -1;
		best = MAX(best, entries[i].c.quality);
	}
	spread = score_spread(entries, len);
	if (plan->quality == SCORE_TIER)
		score_tiers(entries, len);
	for (i = 0; i < len; i++) {
		q = 1 - (best - entries[i].c.quality) / spread;
		if (plan->quality == SCORE_FIT)
			q = score_fit(q, plan);
		if (plan->quality == SCORE_TIER) {
			q = entries[i].c.term[TERM_QUALITY];
			q = plan->difficulty >= plan->threshold ? q : 1 - q;
		}
		entries[i].c.term[TERM_QUALITY] = score_clamp(q);
	}
}

/* Expected USD of this request; negative: not known. One known price stands for both; without any,
 * what such calls cost where the scorer was trained. */
static double
score_cost_of(const struct entry *e, const struct route_request *r)
{
	double in = e->d->input_usd, out = e->d->output_usd;
	double answer = r->max_tokens > 0 ? MIN(r->max_tokens, ANSWER_TOKENS) : ANSWER_TOKENS;

	if (r->endpoint == ROUTE_EMBEDDINGS)
		answer = 0;
	if (!(in >= 0) && !(out >= 0))
		return e->guess != NULL && e->guess->cost >= 0 ? (double)e->guess->cost : -1;
	if (!(in >= 0))
		in = out;
	if (!(out >= 0))
		out = in;
	return (in * (double)filter_prompt_tokens(r) + out * answer) / 1e6;
}

/* Expected milliseconds; negative: not measured. */
static double
score_latency_of(const struct entry *e, const struct route_request *r)
{
	const struct route_deployment *d = e->d;
	double speed = d->tokens_per_s > 0 ? d->tokens_per_s : SPEED_PRIOR;

	(void)r;
	if (!(d->ttft_ms > 0) || !isfinite(d->ttft_ms) || !isfinite(speed))
		return -1;
	return d->ttft_ms + 1000.0 * LATENCY_TOKENS / speed;
}

/* term = (least + floor) / (value + floor): the smallest gets 1, twice as much 0.5. */
static void
score_ratio(struct entry *entries, size_t len, enum route_term term, double floor,
	const struct route_request *r,
	double (*value)(const struct entry *e, const struct route_request *r))
{
	double least = INFINITY, v;
	size_t i;

	for (i = 0; i < len; i++) {
		v = value(&entries[i], r);
		if (v >= 0)
			least = MIN(least, v);
	}
	for (i = 0; i < len; i++) {
		v = value(&entries[i], r);
		entries[i].c.term[term] =
			v >= 0 ? score_clamp((least + floor) / (v + floor)) : UNKNOWN_TERM;
	}
}

static double
score_queue(const struct route_deployment *d)
{
	if (d->max_in_flight == 0)
		return 1.0 / (1.0 + d->in_flight);
	return score_clamp(1.0 - (double)d->in_flight / d->max_in_flight);
}

void
score_entries(struct entry *entries, size_t len, const struct score_plan *plan,
	const struct route_request *r)
{
	double weights[ROUTE_TERMS];
	struct route_candidate *c;
	size_t i;
	unsigned t;

	score_weights(weights, plan);
	score_quality(entries, len, plan);
	score_ratio(entries, len, TERM_COST, COST_FLOOR_USD, r, score_cost_of);
	score_ratio(entries, len, TERM_LATENCY, 0, r, score_latency_of);
	for (i = 0; i < len; i++) {
		c = &entries[i].c;
		c->cost_usd = score_cost_of(&entries[i], r);
		c->term[TERM_RESIDENT] = entries[i].d->loaded ? 1 : 0;
		c->term[TERM_QUEUE] = score_queue(entries[i].d);
		c->term[TERM_HEALTH] = 1 - score_clamp(entries[i].d->failure_rate);
		c->score = 0;
		for (t = 0; t < ROUTE_TERMS; t++) {
			c->weight[t] = weights[t];
			c->score += weights[t] * c->term[t];
		}
		entries[i].key = c->score;
	}
}
