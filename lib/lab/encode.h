/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - the embedding of every prompt of a dataset, for scorers that learn from them
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/encoder/encoder.h"
#include "lib/lab/dataset.h"
#include "lib/lab/noise.h"
#include "lib/lab/train.h"

struct encode_plan {
	const char *folder; /* of the model */
	enum encoder_dtype dtype;
	unsigned threads; /* more than an encoder can use are not used */
	/* rows of the dataset whose noised prompts (noise_row, by this seed) are embedded, too */
	const uint32_t *noised;
	size_t noised_len;
	uint64_t noise_seed;
	train_progress_fn *progress; /* NULL: none */
	void *progress_arg;
};

struct encode {
	float *embeddings; /* one per row of the dataset */
	float *noised[NOISES]; /* likewise; 0 for rows that were not asked for; NULL: none was */
	struct scorer_embedding made; /* by what; its name: folder, pooling and dtype */
	struct buf name; /* of made */
};

/* Of as much of each prompt as a scorer in the daemon sees of one (route_text), without its courtesies
 * (text_courtesy). ERR_CANCELLED where progress says so; else as encoder.h has it. Equal rows that
 * follow each other are asked once. */
MUST enum err_code encode_dataset(
	struct encode *out, const struct dataset *d, const struct encode_plan *plan, struct err *e);
void encode_fini(struct encode *en);
