/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train.c - one training run: which rows, which models, which targets
 */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/lab/train_parts.h"

/* Inner folds must cut other lines than the outer ones that the rows may come from. */
static const uint64_t INNER_SEED = UINT64_C(0x1a7e5eed);

static const float COST_FLOOR_USD = 1e-7F;

static const struct train_ops *const train_rows[SCORERS] = {
#define TRAIN_ROW_FIXED(symbol, name)
#define TRAIN_ROW_TEST(symbol, name)
#define TRAIN_ROW_TRAINED(symbol, name) [SCORER_##symbol] = &train_##name##_ops,
#define TRAIN_ROW_ENCODER(symbol, name) TRAIN_ROW_TRAINED(symbol, name)
#define SCORER(symbol, name, kind, help) TRAIN_ROW_##kind(symbol, name)
#include "config/scorer_list.h"
#undef SCORER
};

enum err_code
train_progress(struct train_job *j, const char *stage, double done, struct err *e)
{
	double at = j->done_from + (j->done_to - j->done_from) * done;

	at = j->part_from + (j->part_to - j->part_from) * at;

	if (j->o->progress != NULL && !j->o->progress(j->o->progress_arg, stage, at))
		return err_set(e, ERR_CANCELLED, "training was ended while at: %s", stage);
	return ERR_OK;
}

float
train_mean(const struct train_job *j, size_t m)
{
	double sum = 0;
	size_t i, n = 0;

	for (i = 0; i < j->n; i++) {
		float v = j->score[i * j->models_len + m];

		if (isnan(v))
			continue;
		sum += (double)v;
		n++;
	}
	return n > 0 ? (float)(sum / (double)n) : 0;
}

/* The models that are wanted and that some row has a score for. */
static void
train_pick_models(struct train_job *j, uint32_t *out)
{
	const struct train_options *o = j->o;
	size_t all = o->models != NULL ? o->models_len : j->d->models_len, i, k;
	uint32_t m;

	for (i = 0; i < all; i++) {
		m = o->models != NULL ? o->models[i] : (uint32_t)i;
		for (k = 0; k < j->n && isnan(j->d->rows[j->rows[k]].score[m]); k++)
			;
		if (k < j->n)
			out[j->models_len++] = m;
	}
	j->models = out;
}

/* What a source's scores are divided by: 1, or 10 or 100 where they exceed that. */
static float *
train_scales(const struct train_job *j)
{
	float *scale = matrix_new(j->d->sources_len, sizeof(*scale));
	const struct dataset_row *r;
	size_t i, m;

	for (i = 0; i < j->d->sources_len; i++)
		scale[i] = 1;
	for (i = 0; i < j->n; i++) {
		r = &j->d->rows[j->rows[i]];
		for (m = 0; m < j->models_len; m++) {
			while (r->score[j->models[m]] > scale[r->source] && scale[r->source] < 100)
				scale[r->source] *= 10;
		}
	}
	return scale;
}

static void
train_targets(struct train_job *j)
{
	float *scale = train_scales(j), v;
	const struct dataset_row *r;
	bool costs = false;
	size_t i, m;

	j->score = matrix_new(j->n * j->models_len, sizeof(float));
	j->cost = matrix_new(j->n * j->models_len, sizeof(float));
	j->fold = matrix_new(j->n, 1);
	for (i = 0; i < j->n; i++) {
		r = &j->d->rows[j->rows[i]];
		j->fold[i] = (uint8_t)dataset_fold(r, j->folds, j->o->seed ^ INNER_SEED);
		for (m = 0; m < j->models_len; m++) {
			j->score[i * j->models_len + m] = r->score[j->models[m]] / scale[r->source];
			v = r->cost != NULL ? r->cost[j->models[m]] : NAN;
			j->cost[i * j->models_len + m] = logf(MAX(v, 0.0F) + COST_FLOOR_USD);
			if (isnan(v))
				j->cost[i * j->models_len + m] = NAN;
			costs = costs || !isnan(v);
		}
	}
	if (!costs) {
		free(j->cost);
		j->cost = NULL;
	}
	free(scale);
}

enum err_code
train_part(struct buf *out, struct train_job *j, enum scorer_id id, double from, double to,
	struct err *e)
{
	enum scorer_id whole = j->id;
	enum err_code rc;

	j->id = id;
	j->part_from = from;
	j->part_to = to;
	j->done_from = 0;
	j->done_to = 1;
	rc = train_rows[id]->train(j, out, e);
	j->id = whole;
	return rc;
}

static enum err_code
train_check(const struct train_job *j, struct err *e)
{
	if (train_rows[j->id] == NULL)
		return err_set(e, ERR_INPUT, "scorer '%s' is fixed, there is nothing to train",
			scorer_name(j->id));
	if (j->n < 2 * (size_t)j->folds)
		return err_set(e, ERR_INPUT, "%zu rows are too few to train on; %u at least", j->n,
			2 * j->folds);
	if (j->n > TRAIN_ROWS_MAX)
		return err_set(e, ERR_INPUT, "%zu rows are too many to train on; %d at most", j->n,
			TRAIN_ROWS_MAX);
	if (j->o->lambdas_len > TRAIN_LAMBDAS_MAX || j->folds < 2 || j->folds > TRAIN_FOLDS_MAX)
		return err_set(e, ERR_INPUT, "2 to %d folds and at most %d ridge strengths",
			TRAIN_FOLDS_MAX, TRAIN_LAMBDAS_MAX);
	if (scorer_kind(j->id) == SCORER_KIND_ENCODER && j->o->embeddings == NULL)
		return err_set(e, ERR_INPUT,
			"scorer '%s' needs an encoder's embeddings: --encoder DIR",
			scorer_name(j->id));
	return ERR_OK;
}

static enum err_code
train_job_run(struct train_job *j, struct buf *out, uint32_t *models, struct err *e)
{
	uint64_t from_ns = clock_ns();
	enum err_code rc;

	rc = train_check(j, e);
	if (rc != ERR_OK)
		return rc;
	train_pick_models(j, models);
	if (j->models_len == 0)
		return err_set(e, ERR_INPUT, "no model has a score in the training rows");
	if (j->models_len > SCORER_MODELS_MAX)
		return err_set(e, ERR_INPUT, "%zu models are too many; %d at most", j->models_len,
			SCORER_MODELS_MAX);
	train_targets(j);
	j->report.rows = j->n;
	j->report.models = j->models_len;
	openblas_set_num_threads((int)j->threads);
	rc = train_rows[j->id]->train(j, out, e);
	if (rc == ERR_OK && j->id != SCORER_LINEAR && !j->o->errors_unknown)
		rc = train_error(out, j, e);
	j->report.seconds = (double)(clock_ns() - from_ns) / 1e9;
	return rc;
}

enum err_code
train_run(struct buf *out, struct train_report *report, const struct dataset *d,
	const uint32_t *rows, size_t rows_len, enum scorer_id id, const struct train_options *o,
	struct err *e)
{
	struct train_job j = {
		.d = d, .o = o, .id = id, .rows = rows, .n = rows_len, .done_to = 1, .part_to = 1};
	uint32_t *all = NULL, *models = matrix_new(d->models_len, sizeof(*models));
	enum err_code rc;
	size_t i;

	if (rows == NULL) {
		all = matrix_new(d->len, sizeof(*all));
		for (i = 0; i < d->len; i++)
			all[i] = (uint32_t)i;
		j.rows = all;
		j.n = d->len;
	}
	j.folds = o->folds != 0 ? o->folds : 5;
	j.threads = o->threads != 0 ? o->threads : 1;
	rc = train_job_run(&j, out, models, e);
	if (rc == ERR_OK && report != NULL)
		*report = j.report;
	free(j.score);
	free(j.cost);
	free(j.fold);
	free(models);
	free(all);
	return rc;
}
