/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_cluster.c - k-means over the embedded prompts, then each model's mean per cluster
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/rng.h"
#include "lib/lab/train_parts.h"

enum { CLUSTERS_MAX = 64, CLUSTER_ROWS = 40, CLUSTER_ROUNDS = 25 };

static const float CLUSTER_PRIOR = 20; /* rows that a model's overall mean stands for */

static size_t
cluster_nearest(const float *centres, size_t count, const float *z)
{
	size_t best = 0, i, k;
	float d, least = INFINITY, v;

	for (i = 0; i < count; i++) {
		for (d = 0, k = 0; k < EMBED_RANK; k++) {
			v = z[k] - centres[i * EMBED_RANK + k];
			d += v * v;
		}
		if (d < least) {
			least = d;
			best = i;
		}
	}
	return best;
}

static void
cluster_means(float *centres, size_t count, const struct embed *em, size_t *home,
	const struct train_job *j)
{
	size_t round, i, k;
	uint32_t size[CLUSTERS_MAX];
	struct rng r = {j->o->seed};

	for (i = 0; i < count; i++)
		memcpy(centres + i * EMBED_RANK, em->rows + rng_below(&r, j->n) * EMBED_RANK,
			EMBED_RANK * sizeof(float));
	for (round = 0; round < CLUSTER_ROUNDS; round++) {
		for (i = 0; i < j->n; i++)
			home[i] = cluster_nearest(centres, count, em->rows + i * EMBED_RANK);
		memset(centres, 0, count * EMBED_RANK * sizeof(float));
		memset(size, 0, sizeof(size));
		for (i = 0; i < j->n; i++) {
			size[home[i]]++;
			for (k = 0; k < EMBED_RANK; k++)
				centres[home[i] * EMBED_RANK + k] += em->rows[i * EMBED_RANK + k];
		}
		for (i = 0; i < count * EMBED_RANK; i++)
			centres[i] /= (float)MAX(size[i / EMBED_RANK], 1U);
	}
}

static enum err_code
cluster_train(struct train_job *j, struct buf *out, struct err *e)
{
	size_t count = MAX((size_t)2, MIN((size_t)CLUSTERS_MAX, j->n / CLUSTER_ROWS)), i, m, at;
	float mean[SCORER_MODELS_MAX], error[SCORER_MODELS_MAX] = {0}, *centres, *scores, *weight;
	struct train_file file;
	struct embed em;
	size_t *home;
	enum err_code rc;

	rc = embed_new(&em, j, EMBED_COSINE, e);
	if (rc != ERR_OK)
		return rc;
	centres = matrix_new(count * EMBED_RANK, sizeof(float));
	scores = matrix_new(count * j->models_len, sizeof(float));
	weight = matrix_new(count * j->models_len, sizeof(float));
	home = matrix_new(j->n, sizeof(*home));
	cluster_means(centres, count, &em, home, j);
	for (m = 0; m < j->models_len; m++)
		mean[m] = train_mean(j, m);
	for (i = 0; i < j->n * j->models_len; i++) {
		at = home[i / j->models_len] * j->models_len + i % j->models_len;
		if (isnan(j->score[i]))
			continue;
		scores[at] += j->score[i];
		weight[at]++;
	}
	for (i = 0; i < count * j->models_len; i++)
		scores[i] = (scores[i] + CLUSTER_PRIOR * mean[i % j->models_len]) /
			    (weight[i] + CLUSTER_PRIOR);
	train_file_init(&file);
	features_write(&file, em.features, em.matrix, EMBED_RANK);
	train_file_add(&file, "centres", centres, count * EMBED_RANK * sizeof(float));
	train_file_add(&file, "scores", scores, count * j->models_len * sizeof(float));
	train_file_write(&file, out, j, error, mean);
	train_file_fini(&file);
	free(centres);
	free(scores);
	free(weight);
	free(home);
	embed_fini(&em);
	return ERR_OK;
}

const struct train_ops train_cluster_ops = {cluster_train};
