/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_error.c - how far a scorer's guesses would be elsewhere, had it seen other rows
 *
 * For scorers that have no formula for it: two are trained on a third of the rows each and asked
 * about the last third. Half the mean square of their difference is the variance of a guess from a
 * third of the rows; with all of them it is a third of that. What they guess of the last third
 * also tells how far ahead a guess must be (train_margin.c).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

static const uint64_t ERROR_SEED = UINT64_C(0x7e57e44);

enum { ERROR_PARTS = 3, ERROR_ROWS_MIN = 30 };

/* One of the two, and what it guesses of every row that is asked. */
struct witness {
	struct buf file;
	float *guess; /* asked rows of models; NaN: it does not know the model */
};

static void
witness_fini(struct witness *w)
{
	buf_fini(&w->file);
	free(w->guess);
}

static size_t
error_rows(uint32_t *out, const struct train_job *j, unsigned part)
{
	size_t i, n = 0;

	for (i = 0; i < j->n; i++) {
		if (dataset_fold(&j->d->rows[j->rows[i]], ERROR_PARTS, j->o->seed ^ ERROR_SEED) ==
			part)
			out[n++] = j->rows[i];
	}
	return n;
}

static void
witness_ask(struct witness *w, const struct scorer *s, const struct train_job *j,
	const uint32_t *rows, size_t n)
{
	struct scorer_guess all[SCORER_MODELS_MAX];
	void *scratch = aligned_alloc(SCORER_ALIGN, scorer_align(scorer_scratch_bytes(s) + 1));
	size_t i, m;
	int at;

	CHECK(scratch != NULL);
	w->guess = matrix_new(n * j->models_len, sizeof(float));
	for (i = 0; i < n; i++) {
		const struct dataset_row *r = &j->d->rows[rows[i]];
		struct scorer_input in = {.text = r->prompt, .len = r->prompt_len};

		if (j->o->embeddings != NULL) {
			in.embedding = j->o->embeddings + rows[i] * j->o->encoder.len;
			in.embedding_len = j->o->encoder.len;
		}
		scorer_guess(s, all, &in, scratch);
		for (m = 0; m < j->models_len; m++) {
			at = scorer_model_find(s, j->d->models[j->models[m]]);
			w->guess[i * j->models_len + m] = at >= 0 ? all[at].quality : NAN;
		}
	}
	free(scratch);
}

static enum err_code
witness_run(struct witness *w, const struct train_job *j, unsigned part, const uint32_t *asked,
	size_t asked_len, struct err *e)
{
	AUTO(scorer_free) struct scorer *s = NULL;
	struct train_options o = *j->o;
	uint32_t *rows = matrix_new(j->n, sizeof(*rows));
	size_t n = error_rows(rows, j, part);
	enum err_code rc;

	o.errors_unknown = true;
	o.progress = NULL; /* it has no place on the bar of the whole */
	rc = train_run(&w->file, NULL, j->d, rows, n, j->id, &o, e);
	if (rc == ERR_OK)
		rc = scorer_open(&s, j->id, "a third", w->file.data, w->file.len, e);
	if (rc == ERR_OK)
		witness_ask(w, s, j, asked, asked_len);
	free(rows);
	return rc;
}

/* 0 for a model that one of them does not know: its error is unknown. */
static void
error_measure(float *error, const struct witness w[2], size_t n, size_t models)
{
	size_t i, m;
	double sum, v;

	for (m = 0; m < models; m++) {
		for (sum = 0, i = 0; i < n; i++) {
			v = (double)(w[0].guess[i * models + m] - w[1].guess[i * models + m]);
			sum += v * v;
		}
		v = sqrt(sum / (double)n / 2 / ERROR_PARTS);
		error[m] = isfinite(v) ? (float)v : 0;
	}
}

/* What both guess on average of the rows that were asked, at their places in the job. */
static void
error_margin(float *error, const struct train_job *j, const struct witness w[2])
{
	size_t models = j->models_len, i, m, at = 0;
	float *held = matrix_new(j->n * models, sizeof(float));

	for (i = 0; i < j->n; i++) {
		bool asked = dataset_fold(&j->d->rows[j->rows[i]], ERROR_PARTS,
				     j->o->seed ^ ERROR_SEED) == ERROR_PARTS - 1;

		for (m = 0; m < models; m++)
			held[i * models + m] = asked ? (w[0].guess[at * models + m] +
							       w[1].guess[at * models + m]) /
							       2
						     : NAN;
		at += asked;
	}
	train_margin(error, j, held, models);
	free(held);
}

static void
error_store(struct buf *file, const float *error, size_t models)
{
	struct scorer_file f;
	const void *section;
	struct err e;
	size_t len;

	CHECK(scorer_file_open(&f, "the trained scorer", file->data, file->len, &e) == ERR_OK);
	CHECK(scorer_file_section(&section, &len, &f, "error") && len == models * sizeof(*error));
	memcpy(file->data + ((const char *)section - file->data), error, len);
	scorer_file_seal(file->data, file->len);
}

enum err_code
train_error(struct buf *file, const struct train_job *j, struct err *e)
{
	float error[SCORER_MODELS_MAX];
	struct witness w[2] = {{BUF_INIT, NULL}, {BUF_INIT, NULL}};
	uint32_t *asked = matrix_new(j->n, sizeof(*asked));
	size_t n = error_rows(asked, j, ERROR_PARTS - 1), i;
	enum err_code rc = ERR_OK;

	for (i = 0; i < 2 && rc == ERR_OK && j->n >= ERROR_ROWS_MIN && n > 0; i++)
		rc = witness_run(&w[i], j, (unsigned)i, asked, n, e);
	if (rc == ERR_INPUT) /* a third is too little to train on: the error stays unknown */
		rc = ERR_OK;
	if (rc == ERR_OK && w[1].guess != NULL) {
		error_measure(error, w, n, j->models_len);
		error_margin(error, j, w);
		error_store(file, error, j->models_len);
	}
	witness_fini(&w[0]);
	witness_fini(&w[1]);
	free(asked);
	return rc;
}
