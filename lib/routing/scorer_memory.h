/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_memory.h - the training prompts themselves, to find the nearest of; what the scorers knn
 * and elo have in common
 */
#pragma once

#include "lib/routing/scorer_project.h"

enum { MEMORY_NEAR_MAX = 64, MEMORY_NO_SCORE = 255 };

struct memory {
	struct scorer base;
	struct project project;
	size_t rows;
	const float *keys;	/* rows of rank, each of length 1 */
	const uint8_t *outcome; /* rows of models: score * 254, or MEMORY_NO_SCORE */
};

struct memory_near {
	uint32_t row;
	float likeness; /* cosine */
};

struct memory_scratch {
	float z[PROJECT_RANK_MAX];
	struct memory_near near[MEMORY_NEAR_MAX];
	double wins[SCORER_MODELS_MAX]; /* elo's */
	double strength[SCORER_MODELS_MAX];
	double against[SCORER_MODELS_MAX];
	struct project_scratch project;
};

enum err_code memory_open(struct scorer *s, const struct scorer_file *f, struct err *e);
void memory_close(struct scorer *s);
size_t memory_scratch_bytes(const struct scorer *s);
/* Fill t->near with the nearest rows, in no order; returns how many. */
size_t memory_nearest(
	const struct memory *m, const struct scorer_input *in, struct memory_scratch *t);
