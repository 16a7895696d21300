/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_margin.c - how far ahead a guess must be before it pays to leave the best single model
 *
 * A router stays with the best single model unless the other's lead is larger than the error of the
 * guesses. A standard error says how uncertain a lead is, not how large it must be to be worth it:
 * that depends on how many models there are to be wrong about and on how much they differ. So the
 * errors are scaled until that rule gains most on rows whose guesses come from scorers that had not
 * seen them, less three standard errors of the gain: where nothing is to be gained for certain, no
 * lead that was seen is large enough.
 *
 * Rows that have scores of the same models form a pool, with its own best single model; models that
 * meet in a pool share a scale.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/lab/train_parts.h"

enum { POOL_ROWS_MIN = 30 };

static const double MARGIN_LEAST = 0.05;
/* Standard errors that a gain must be worth; more than two, as the best of many margins is kept. */
static const double MARGIN_DOUBT = 3;

/* A row where another model is guessed ahead of the best single one. */
struct leap {
	double ratio; /* lead by error */
	double gain;
};

struct margin {
	const struct train_job *j;
	const float *held; /* n of stride; NaN: not guessed */
	size_t stride;
	uint64_t *pool; /* n: a hash of which models have a score; 0: the pool is done */
	uint32_t *members; /* rows of the pool at hand */
	uint32_t *family; /* models_len: models of one family share a scale */
	struct leap *leaps; /* n */
	size_t leaps_len;
};

static bool
margin_has(const struct margin *g, size_t row, size_t m)
{
	return !isnan(g->j->score[row * g->j->models_len + m]);
}

static void
margin_pools(struct margin *g)
{
	for (size_t i = 0; i < g->j->n; i++)
		g->pool[i] = train_pool(g->j, i);
}

/* Rows of the same pool as row `first`, which are done by that. */
static size_t
margin_pool(struct margin *g, size_t first)
{
	uint64_t pool = g->pool[first];
	size_t i, n = 0;

	for (i = first; i < g->j->n; i++) {
		if (g->pool[i] != pool)
			continue;
		g->members[n++] = (uint32_t)i;
		g->pool[i] = 0;
	}
	return n;
}

/* Of the first model that has a score in the row; they are all of one. */
static uint32_t
margin_row_family(const struct margin *g, size_t row)
{
	size_t m;

	for (m = 0; m + 1 < g->j->models_len && !margin_has(g, row, m); m++)
		;
	return g->family[m];
}

/* Models that meet in a row get the lowest family among them. */
static void
margin_families(struct margin *g)
{
	size_t models = g->j->models_len, i, m, k;
	uint32_t from, to;

	for (m = 0; m < models; m++)
		g->family[m] = (uint32_t)m;
	margin_pools(g);
	for (i = 0; i < g->j->n; i++) {
		if (g->pool[i] == 0)
			continue;
		(void)margin_pool(g, i);
		for (m = 0; m < models && !margin_has(g, i, m); m++)
			;
		for (k = m + 1; k < models; k++) {
			if (!margin_has(g, i, k) || g->family[k] == g->family[m])
				continue;
			from = MAX(g->family[k], g->family[m]);
			to = MIN(g->family[k], g->family[m]);
			for (size_t a = 0; a < models; a++)
				g->family[a] = g->family[a] == from ? to : g->family[a];
		}
	}
}

static size_t
margin_best_single(const struct margin *g, size_t rows)
{
	size_t models = g->j->models_len, best = 0, i, m;
	double sum, most = -INFINITY;

	for (m = 0; m < models; m++) {
		if (!margin_has(g, g->members[0], m))
			continue;
		for (sum = 0, i = 0; i < rows; i++)
			sum += (double)g->j->score[g->members[i] * models + m];
		if (sum > most) {
			most = sum;
			best = m;
		}
	}
	return best;
}

static void
margin_leap(struct margin *g, const float *error, size_t row, size_t single)
{
	const float *guess = g->held + row * g->stride;
	const float *score = g->j->score + row * g->j->models_len;
	size_t best = single, m;
	double needed;

	for (m = 0; m < g->j->models_len; m++) {
		if (margin_has(g, row, m) && guess[m] > guess[best])
			best = m;
	}
	needed = (double)fmaxf(error[best], error[single]);
	if (best == single || isnan(guess[single]) || needed <= 0)
		return;
	g->leaps[g->leaps_len].ratio = (double)(guess[best] - guess[single]) / needed;
	g->leaps[g->leaps_len++].gain = (double)(score[best] - score[single]);
}

static int
leap_compare(const void *a_p, const void *b_p)
{
	const struct leap *a = a_p, *b = b_p;

	return a->ratio > b->ratio ? -1 : a->ratio < b->ratio;
}

/* The scale at which the leaps beyond it gain most for certain. */
static double
margin_scale(struct margin *g)
{
	double sum = 0, squares = 0, most = 0, scale, sure;
	size_t i;

	qsort(g->leaps, g->leaps_len, sizeof(*g->leaps), leap_compare);
	scale = MAX(g->leaps[0].ratio, 1.0); /* beyond all of them, and beyond the standard error */
	for (i = 0; i < g->leaps_len; i++) {
		sum += g->leaps[i].gain;
		squares += g->leaps[i].gain * g->leaps[i].gain;
		sure = sum - MARGIN_DOUBT * sqrt(squares);
		if (sure <= most)
			continue;
		most = sure;
		scale = i + 1 < g->leaps_len ? (g->leaps[i].ratio + g->leaps[i + 1].ratio) / 2 : 0;
	}
	return MAX(scale, MARGIN_LEAST);
}

static void
margin_family(struct margin *g, float *error, uint32_t family)
{
	size_t i, k, m, rows, single;
	double scale;

	g->leaps_len = 0;
	margin_pools(g);
	for (i = 0; i < g->j->n; i++) {
		if (g->pool[i] == 0 || margin_row_family(g, i) != family)
			continue;
		rows = margin_pool(g, i);
		single = margin_best_single(g, rows);
		for (k = 0; k < rows && rows >= POOL_ROWS_MIN; k++)
			margin_leap(g, error, g->members[k], single);
	}
	if (g->leaps_len == 0)
		return;
	scale = margin_scale(g);
	for (m = 0; m < g->j->models_len; m++) {
		if (g->family[m] == family)
			error[m] *= (float)scale;
	}
}

void
train_margin(float *error, const struct train_job *j, const float *held, size_t stride)
{
	struct margin g = {.j = j, .held = held, .stride = stride};
	size_t m;

	g.pool = matrix_new(j->n, sizeof(*g.pool));
	g.members = matrix_new(j->n, sizeof(*g.members));
	g.family = matrix_new(j->models_len, sizeof(*g.family));
	g.leaps = matrix_new(j->n, sizeof(*g.leaps));
	margin_families(&g);
	for (m = 0; m < j->models_len; m++) {
		if (g.family[m] == m)
			margin_family(&g, error, (uint32_t)m);
	}
	free(g.pool);
	free(g.members);
	free(g.family);
	free(g.leaps);
}
