/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_memory.c - keep the training prompts as directions with their outcomes
 */
#include <math.h>
#include <stdlib.h>

#include "lib/lab/train_parts.h"
#include "lib/routing/scorer_memory.h"

static void
memory_keys(float *rows, size_t n)
{
	size_t i, k;
	float sum;

	for (i = 0; i < n; i++) {
		for (sum = 0, k = 0; k < EMBED_RANK; k++)
			sum += rows[i * EMBED_RANK + k] * rows[i * EMBED_RANK + k];
		for (k = 0; k < EMBED_RANK; k++)
			rows[i * EMBED_RANK + k] *= sum > 0 ? 1 / sqrtf(sum) : 0;
	}
}

enum err_code
memory_train(struct train_job *j, struct buf *out, struct err *e)
{
	float mean[SCORER_MODELS_MAX], error[SCORER_MODELS_MAX] = {0}, v;
	struct train_file file;
	uint8_t *outcome;
	struct embed em;
	enum err_code rc;
	size_t i;

	rc = embed_new(&em, j, EMBED_COSINE, e);
	if (rc != ERR_OK)
		return rc;
	outcome = matrix_new(j->n * j->models_len, 1);
	for (i = 0; i < j->n * j->models_len; i++) {
		v = j->score[i];
		outcome[i] = isnan(v) ? MEMORY_NO_SCORE
				      : (uint8_t)lrintf(254 * MAX(0.0F, MIN(1.0F, v)));
	}
	for (i = 0; i < j->models_len; i++)
		mean[i] = train_mean(j, i);
	memory_keys(em.rows, j->n);
	train_file_init(&file);
	features_write(&file, em.features, em.matrix, EMBED_RANK);
	train_file_add(&file, "keys", em.rows, j->n * EMBED_RANK * sizeof(float));
	train_file_add(&file, "outcome", outcome, j->n * j->models_len);
	train_file_write(&file, out, j, error, mean);
	train_file_fini(&file);
	free(outcome);
	embed_fini(&em);
	return ERR_OK;
}
