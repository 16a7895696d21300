/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_effects.c - how easy rows are, apart from how good the models are that answered them
 *
 * A model that was only asked easy questions has a high mean, and is no better for it. Rows that
 * have scores of the same models form a pool; a pool's mean score of a model is taken for the sum
 * of what the pool is worth and what the model is worth (two-way layout, least squares by turns),
 * so models that met elsewhere tell how easy each pool is. With one pool there is nothing to tell.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/lab/train_parts.h"

enum { EFFECTS_TURNS = 2000 };

static const double EFFECTS_DONE = 1e-6;
/* Rows at which the mean of a model in a pool counts half: it is noise below, settled above. */
static const double EFFECTS_HALF = 10;

/* Pools by models. */
struct effects {
	size_t models;
	size_t *pool; /* n: of each row */
	size_t pools;
	double *mean, *weight; /* pools of models: mean score, and what it counts; 0: never asked */
	double *ease; /* pools */
	double *worth; /* models */
};

uint64_t
train_pool(const struct train_job *j, size_t row)
{
	uint64_t x = 1;

	for (size_t m = 0; m < j->models_len; m++)
		x = (x ^ !isnan(j->score[row * j->models_len + m])) * UINT64_C(0x9e3779b97f4a7c15);
	return x | 1;
}

/* Number the pools in the order of their first rows. */
static void
effects_pools(struct effects *x, const struct train_job *j)
{
	uint64_t *hash = matrix_new(j->n, sizeof(*hash)), own;
	size_t last = 0;

	for (size_t i = 0; i < j->n; i++) {
		own = train_pool(j, i);
		if (x->pools == 0 || hash[last] != own) { /* they mostly follow each other */
			for (last = 0; last < x->pools && hash[last] != own; last++)
				;
			x->pools += last == x->pools;
		}
		hash[last] = own;
		x->pool[i] = last;
	}
	free(hash);
}

static void
effects_means(struct effects *x, const struct train_job *j)
{
	size_t cells = x->pools * x->models;

	x->mean = matrix_new(cells, sizeof(double));
	x->weight = matrix_new(cells, sizeof(double));
	for (size_t i = 0; i < j->n; i++) {
		for (size_t m = 0; m < x->models; m++) {
			float score = j->score[i * x->models + m];

			if (isnan(score))
				continue;
			x->mean[x->pool[i] * x->models + m] += (double)score;
			x->weight[x->pool[i] * x->models + m]++;
		}
	}
	for (size_t c = 0; c < cells; c++) {
		if (x->weight[c] == 0)
			continue;
		x->mean[c] /= x->weight[c];
		x->weight[c] /= x->weight[c] + EFFECTS_HALF;
	}
}

/* One turn: the models' worth from the pools' ease, then that from the worth. Returns the largest
 * change of an ease. */
static double
effects_turn(struct effects *x)
{
	double change = 0;

	for (size_t m = 0; m < x->models; m++) {
		double sum = 0, weight = 0;

		for (size_t p = 0; p < x->pools; p++) {
			size_t c = p * x->models + m;

			sum += x->weight[c] * (x->mean[c] - x->ease[p]);
			weight += x->weight[c];
		}
		x->worth[m] = weight > 0 ? sum / weight : 0;
	}
	for (size_t p = 0; p < x->pools; p++) {
		double sum = 0, weight = 0;

		for (size_t m = 0; m < x->models; m++) {
			size_t c = p * x->models + m;

			sum += x->weight[c] * (x->mean[c] - x->worth[m]);
			weight += x->weight[c];
		}
		if (weight == 0)
			continue;
		change = fmax(change, fabs(sum / weight - x->ease[p]));
		x->ease[p] = sum / weight;
	}
	return change;
}

bool
train_effects(float *ease, const struct train_job *j)
{
	struct effects x = {.models = j->models_len};

	x.pool = matrix_new(j->n, sizeof(*x.pool));
	effects_pools(&x, j);
	effects_means(&x, j);
	x.ease = matrix_new(x.pools, sizeof(double));
	x.worth = matrix_new(x.models, sizeof(double));
	for (int turn = 0; turn < EFFECTS_TURNS && effects_turn(&x) > EFFECTS_DONE; turn++)
		;
	for (size_t i = 0; i < j->n; i++)
		ease[i] = (float)x.ease[x.pool[i]];
	free(x.pool);
	free(x.mean);
	free(x.weight);
	free(x.ease);
	free(x.worth);
	return x.pools > 1;
}
