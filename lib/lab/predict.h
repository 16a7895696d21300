/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.h - what a scorer says of every row, never having been trained on it
 *
 * A scorer is a file, is trained on other folds of the same rows, or on other rows altogether. The
 * reference scorers (chars, id, oracle) need no file and stand in no route: they are there to check
 * the metrics by.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/lab/dataset.h"
#include "lib/lab/noise.h"
#include "lib/lab/train.h"
#include "lib/routing/scorer.h"

#define REFERENCE_LIST(X)                                                                          \
	X(CHARS, chars, "code points of the prompt: only to check the metrics by")                 \
	X(ID, id, "first 8 hex digits of the prompt's SHA-256: only to check the metrics by")      \
	X(ORACLE, oracle, "the scores themselves: what nobody can beat")

enum reference {
#define X(symbol, name, help) REFERENCE_##symbol,
	REFERENCE_LIST(X)
#undef X
	REFERENCES
};
/* REFERENCES where there is none of this name. */
enum reference reference_find(const char *name);
const char *reference_name(enum reference r);
const char *reference_help(enum reference r);

enum predict_noise { PREDICT_PLAIN, PREDICT_NOISED };

/* What to predict. Views; the caller keeps them while predictions are in use. */
struct predict_plan {
	const struct dataset *d;
	const uint32_t *rows; /* of d */
	size_t len;
	const uint32_t *models; /* candidates, indices into d's models */
	size_t models_len;
	int weak, strong; /* places in models; -1: not asked for a pair */
	enum predict_noise noise;
	uint64_t seed;
	/* one per row of the dataset, for scorers that need them; NULL: none */
	const float *embeddings;
	size_t embedding_len;
	/* likewise of the noised prompts, of the plan's rows at least; where there are embeddings and
	 * the noise counts */
	const float *noised_embeddings[NOISES];
};

/* Arrays by row of the plan, then by candidate. */
struct predictions {
	struct scorer_guess *guess; /* NULL: the scorer knows no single models */
	double *want;		    /* NULL: no pair */
	double *noised_want[NOISES];
	struct scorer_guess *noised_guess[NOISES];
	double score_s; /* of one core, spent asking; the noised prompts apart */
	double train_s;
	size_t file_bytes; /* of the (last) file */
	unsigned trainings;
	struct err refused; /* of predict_folds: why the plan could not be asked about, or ERR_OK */
};

void predict_fini(struct predictions *p);

/* Ask one open scorer. ERR_INPUT where it can't tell the plan's models apart. */
MUST enum err_code predict_scorer(struct predictions *out, const struct predict_plan *plan,
	const struct scorer *s, struct err *e);
MUST enum err_code predict_reference(struct predictions *out, const struct predict_plan *plan,
	enum reference r, struct err *e);

/*
 * Train on train_rows and ask: rows that overlap with the plan's (overlap.h) are left out of the
 * training.
 */
MUST enum err_code predict_transfer(struct predictions *out, const struct predict_plan *plan,
	enum scorer_id id, const struct train_options *o, const uint32_t *train_rows,
	size_t train_len, struct err *e);

/*
 * Cross-validate: for each fold of rows (by prompt, dataset_fold) a scorer is trained on the rows
 * of the other folds and asked about those of the fold that are in each plan. ERR_INPUT where a
 * fold is empty. Where the other folds have no score of a plan's model, that plan is refused and the
 * others go on.
 */
struct predict_validation {
	const struct dataset *d;
	const uint32_t *rows;
	size_t len;
	unsigned folds;
	uint64_t seed;
};
MUST enum err_code predict_folds(struct predictions *outs, const struct predict_plan *plans,
	size_t plans_len, const struct predict_validation *v, enum scorer_id id,
	const struct train_options *o, struct err *e);
