/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_knn.c - what the models scored on the nearest training prompts
 *
 * Neighbours count by likeness squared; each model's mean stands for KNN_PRIOR of them.
 */
#include "lib/routing/scorer_memory.h"

static const float KNN_PRIOR = 4;

static void
knn_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct memory *k = (const struct memory *)s;
	struct memory_scratch *t = scratch;
	size_t near = memory_nearest(k, in, t), i, m;
	float sum, weights, weight;
	uint8_t outcome;

	for (m = 0; m < s->models; m++) {
		sum = KNN_PRIOR * s->mean[m];
		weights = KNN_PRIOR;
		for (i = 0; i < near; i++) {
			outcome = k->outcome[(size_t)t->near[i].row * s->models + m];
			if (outcome == MEMORY_NO_SCORE || t->near[i].likeness <= 0)
				continue;
			weight = t->near[i].likeness * t->near[i].likeness;
			sum += weight * (float)outcome / 254;
			weights += weight;
		}
		out[m].quality = sum / weights;
	}
}

const struct scorer_ops scorer_knn_ops = {
	.bytes = sizeof(struct memory),
	.open = memory_open,
	.close = memory_close,
	.scratch_bytes = memory_scratch_bytes,
	.guess = knn_guess,
};
