/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train.h - make a scorer's file from a dataset
 *
 * One ops table row per scorer of scorer_list.h that is trained (train_<name>.c); the file that
 * comes out is what scorer_open reads. Deterministic: the same rows in the same order, options and
 * thread count give the same bytes. Hyper-parameters are chosen by cross-validation inside the
 * given rows (folds by prompt hash), so an outer cross-validation calls train_run on each fold's
 * training rows and never leaks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/lab/dataset.h"
#include "lib/routing/scorer.h"

enum { TRAIN_ROWS_MAX = 24576 }; /* of one run */

/* Told now and then; done is 0..1 of the whole run. False ends it: ERR_CANCELLED. */
typedef bool train_progress_fn(void *arg, const char *stage, double done);

struct train_options {
	uint64_t seed;
	unsigned threads; /* of OpenBLAS; 0: 1 */
	unsigned folds; /* of the inner cross-validation; 0: 5 */
	/* ridge strengths to choose from; NULL: the scorer's own grid */
	const double *lambdas;
	size_t lambdas_len;
	/* indices into the dataset's models; NULL: all that have a score in the rows */
	const uint32_t *models;
	size_t models_len;
	/* one embedding of encoder.len numbers per row of the dataset (not of the subset), and what
	 * made them; NULL: none, ERR_INPUT for ENCODER scorers */
	const float *embeddings;
	struct scorer_embedding encoder;
	bool errors_unknown; /* do not find out the error of guesses */
	const char *note; /* kept in the file: which data, which command; NULL: none */
	/* parts of an ensemble; NULL: its own choice */
	const enum scorer_id *parts;
	size_t parts_len;
	train_progress_fn *progress; /* NULL: none */
	void *progress_arg;
};

/* What the run found out; also in the file's text section. */
struct train_report {
	size_t rows, models, features; /* features: of the input that are not always 0 */
	double lambda; /* chosen; 0 where the scorer has none */
	double cv_error; /* root mean square of the inner folds' residuals */
	double cv_error_mean; /* the same for guessing each model's mean */
	double seconds;
};

/*
 * Train scorer id on the named rows of d (NULL: all) and put its file into *out, which is empty
 * before. Scores are scaled per model set to 0..1 where they exceed 1 (MT-Bench's 1..10).
 * ERR_INPUT: no rows, no model with a score, a fixed scorer, or data the scorer can't use.
 * report may be NULL.
 */
MUST enum err_code train_run(struct buf *out, struct train_report *report, const struct dataset *d,
	const uint32_t *rows, size_t rows_len, enum scorer_id id, const struct train_options *o,
	struct err *e);
