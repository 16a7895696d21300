/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_embed.c - latent semantic analysis: the leading directions of the features
 *
 * Subspace iteration on the inner products of the rows; a direction of rows is turned into one of
 * features by features_fold.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/rng.h"
#include "lib/lab/train_parts.h"

enum { EMBED_ROUNDS = 6, EMBED_WIDE = EMBED_RANK + 16 };

void
embed_fini(struct embed *em)
{
	features_free(&em->features);
	free(em->matrix);
	free(em->rows);
	memset(em, 0, sizeof(*em));
}

/* Gram-Schmidt over the columns of q (n of cols), twice for accuracy. */
static void
embed_orthogonal(float *q, size_t n, size_t cols)
{
	size_t i, k, c;
	unsigned pass;
	double dot;

	for (k = 0; k < cols; k++) {
		for (pass = 0; pass < 2; pass++) {
			for (c = 0; c < k; c++) {
				for (dot = 0, i = 0; i < n; i++)
					dot += (double)(q[i * cols + k] * q[i * cols + c]);
				for (i = 0; i < n; i++)
					q[i * cols + k] -= (float)dot * q[i * cols + c];
			}
		}
		for (dot = 0, i = 0; i < n; i++)
			dot += (double)(q[i * cols + k] * q[i * cols + k]);
		for (i = 0; i < n; i++)
			q[i * cols + k] = dot > 1e-20 ? q[i * cols + k] / (float)sqrt(dot) : 0;
	}
}

/* directions (n of EMBED_RANK): eigenvectors of gram over the root of their value; values too. */
static void
embed_directions(float *directions, float *values, const float *gram, size_t n, uint64_t seed)
{
	float *q = matrix_new(n * EMBED_WIDE, sizeof(float));
	float *next = matrix_new(n * EMBED_WIDE, sizeof(float)), *swap;
	float *small = matrix_new((size_t)EMBED_WIDE * EMBED_WIDE, sizeof(float));
	float all[EMBED_WIDE];
	struct rng r = {seed};
	size_t i, k, c;

	for (i = 0; i < n * EMBED_WIDE; i++)
		q[i] = (float)(rng_unit(&r) - 0.5);
	for (i = 0; i < EMBED_ROUNDS; i++) {
		embed_orthogonal(q, n, EMBED_WIDE);
		matrix_multiply(next, gram, q, n, EMBED_WIDE, n);
		swap = q;
		q = next;
		next = swap;
	}
	embed_orthogonal(q, n, EMBED_WIDE);
	matrix_multiply(next, gram, q, n, EMBED_WIDE, n);
	matrix_multiply_left(small, q, next, EMBED_WIDE, EMBED_WIDE, n);
	matrix_eigen(small, all, EMBED_WIDE);
	for (k = 0; k < EMBED_RANK; k++) {
		values[k] = MAX(all[k], 0.0F);
		for (i = 0; i < n; i++) {
			float v = 0;

			for (c = 0; c < EMBED_WIDE; c++)
				v += q[i * EMBED_WIDE + c] * small[k * EMBED_WIDE + c];
			directions[i * EMBED_RANK + k] =
				values[k] > 1e-6F ? v / sqrtf(values[k]) : 0;
		}
	}
	free(q);
	free(next);
	free(small);
}

enum err_code
embed_new(struct embed *out, struct train_job *j, enum embed_scale scale, struct err *e)
{
	float values[EMBED_RANK], *gram = NULL, *directions;
	enum err_code rc;
	size_t i, k, n = j->n;

	memset(out, 0, sizeof(*out));
	rc = features_new(&out->features, j, e);
	if (rc == ERR_OK)
		rc = features_gram(&gram, out->features, j, e);
	if (rc != ERR_OK) {
		embed_fini(out);
		return rc;
	}
	directions = matrix_new(n * EMBED_RANK, sizeof(float));
	embed_directions(directions, values, gram, n, j->o->seed);
	for (i = 0; scale == EMBED_WHITE && i < n * EMBED_RANK; i++) {
		k = i % EMBED_RANK;
		directions[i] *= values[k] > 1e-6F ? sqrtf((float)n / values[k]) : 0;
	}
	out->rows = matrix_new(n * EMBED_RANK, sizeof(float));
	out->matrix = matrix_new(features_rows(out->features) * EMBED_RANK, sizeof(float));
	matrix_multiply(out->rows, gram, directions, n, EMBED_RANK, n);
	features_fold(out->matrix, out->features, directions, EMBED_RANK);
	free(directions);
	free(gram);
	return ERR_OK;
}
