/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_linear.c - ridge heads for quality and cost, folded back to weights of features
 *
 * Where the rows of some models are easier than those of others (train_effects.c), the ease is
 * learned apart, once for all models: on a text that is like none of the rows each model then
 * stands by its worth, not by what it happened to be asked. What is left is each model's own.
 *
 * An output is learned in two parts, each with its own strength: the mean of the row's source (the
 * subject of a question, the kind of a task), which the text tells well, and what is left of it,
 * which is mostly noise. Both are linear, so the file holds their sum. Many outputs are kept in few
 * columns: the directions in which the weights differ most.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

enum { LINEAR_RANK_MAX = 32 };

/* Rows that the mean of all stands for in the mean of one source. */
static const double SOURCE_PRIOR = 10;

/* What a source scores on average is nearly free of noise and wants little shrinking. */
static const double source_grid[] = {0.125, 0.25, 0.5, 1, 2, 4, 8};

/* The outputs of all rows: scores, then logarithms of costs. */
static float *
linear_outputs(const struct train_job *j, size_t outputs)
{
	float *y = matrix_new(j->n * outputs, sizeof(float));
	size_t i;

	for (i = 0; i < j->n; i++) {
		memcpy(y + i * outputs, j->score + i * j->models_len,
			j->models_len * sizeof(float));
		if (j->cost != NULL)
			memcpy(y + i * outputs + j->models_len, j->cost + i * j->models_len,
				j->models_len * sizeof(float));
	}
	return y;
}

/* The mean of output k over each source, as far as its rows vouch for it, less the mean of all. */
static void
linear_source_means(
	double *mean, const float *y, const struct train_job *j, size_t outputs, size_t k)
{
	size_t sources = j->d->sources_len, n = 0, i, s;
	double *rows = matrix_new(sources, sizeof(double)), all = 0;

	memset(mean, 0, sources * sizeof(*mean));
	for (i = 0; i < j->n; i++) {
		if (isnan(y[i * outputs + k]))
			continue;
		s = j->d->rows[j->rows[i]].source;
		mean[s] += (double)y[i * outputs + k];
		rows[s]++;
		all += (double)y[i * outputs + k];
		n++;
	}
	all /= (double)MAX(n, (size_t)1);
	for (s = 0; s < sources; s++)
		mean[s] = (mean[s] - rows[s] * all) / (rows[s] + SOURCE_PRIOR);
	free(rows);
}

/* Moves what is due to a row's source from y to between; false where nothing is. */
static bool
linear_sources(float *between, float *y, const struct train_job *j, size_t outputs)
{
	double *mean = matrix_new(j->d->sources_len, sizeof(double));
	bool any = false;
	size_t i, k;

	for (k = 0; k < outputs; k++) {
		linear_source_means(mean, y, j, outputs, k);
		for (i = 0; i < j->n; i++) {
			float v = (float)mean[j->d->rows[j->rows[i]].source];

			between[i * outputs + k] = isnan(y[i * outputs + k]) ? NAN : v;
			y[i * outputs + k] -= v;
			any = any || fabsf(v) > 1e-4F;
		}
	}
	free(mean);
	return any;
}

/* r += what the sources give */
static void
linear_join(struct ridge *r, const struct ridge *sources, size_t n)
{
	size_t i;

	for (i = 0; i < n * r->outputs; i++) {
		r->alpha[i] += sources->alpha[i];
		r->held[i] += sources->held[i];
	}
	for (i = 0; i < r->outputs; i++) {
		r->mean[i] += sources->mean[i];
		r->error[i] = hypotf(r->error[i], sources->error[i]);
	}
}

/* y less what is due to the ease of a row, whoever is asked. */
static void
linear_take_ease(float *y, const float *ease, const struct train_job *j, size_t outputs)
{
	size_t i, m;

	for (i = 0; i < j->n; i++) {
		for (m = 0; m < j->models_len; m++)
			y[i * outputs + m] -= ease[i];
	}
}

/* Learn the ease, and add it to every model's score. What it is wrong by is no model's lead, so the
 * errors stay. */
static enum err_code
linear_give_ease(
	struct ridge *r, const float *gram, const float *ease, struct train_job *j, struct err *e)
{
	const struct ridge_plan plan = {.gram = gram,
		.y = ease,
		.outputs = 1,
		.scores = 1,
		.grid = source_grid,
		.grid_len = ARRAY_LEN(source_grid)};
	struct ridge s;
	enum err_code rc;
	size_t i, m;

	j->done_from = j->done_to; /* one output: it takes no time worth telling */
	rc = ridge_solve(&s, &plan, j, e);
	if (rc != ERR_OK) {
		ridge_fini(r);
		return rc;
	}
	for (m = 0; m < j->models_len; m++) {
		r->mean[m] += s.mean[0];
		for (i = 0; i < j->n; i++) {
			r->alpha[i * r->outputs + m] += s.alpha[i];
			r->held[i * r->outputs + m] += s.held[i];
		}
	}
	ridge_fini(&s);
	return ERR_OK;
}

static enum err_code
linear_solve(struct ridge *r, const float *gram, float *y, size_t outputs, struct train_job *j,
	struct err *e)
{
	struct ridge_plan plan = {.gram = gram, .outputs = outputs, .scores = j->models_len};
	float *between = matrix_new(j->n * outputs, sizeof(float));
	bool sources = linear_sources(between, y, j, outputs);
	struct ridge s;
	enum err_code rc;

	plan.y = y;
	j->done_from = 0.2;
	j->done_to = sources ? 0.6 : 1;
	rc = ridge_solve(r, &plan, j, e);
	if (rc == ERR_OK && sources) {
		j->done_from = 0.6;
		j->done_to = 1;
		plan.y = between;
		plan.grid = source_grid;
		plan.grid_len = ARRAY_LEN(source_grid);
		rc = ridge_solve(&s, &plan, j, e);
		if (rc == ERR_OK) {
			linear_join(r, &s, j->n);
			ridge_fini(&s);
		} else {
			ridge_fini(r);
		}
	}
	free(between);
	return rc;
}

/* Outputs that no row has: nothing to solve, mean and weights stay 0. */
static void
linear_blank(float *y, size_t n, size_t outputs)
{
	size_t i, k;

	for (k = 0; k < outputs; k++) {
		for (i = 0; i < n && isnan(y[i * outputs + k]); i++)
			;
		if (i < n)
			continue;
		for (i = 0; i < n; i++)
			y[i * outputs + k] = 0;
	}
}

/* weights (rows of outputs) ~ columns (rows of rank) * heads (rank of outputs) */
static size_t
linear_reduce(float **columns, float **heads, const float *weights, size_t rows, size_t outputs)
{
	size_t rank = MIN((outputs + PROJECT_RANK_STEP - 1) / PROJECT_RANK_STEP * PROJECT_RANK_STEP,
		(size_t)LINEAR_RANK_MAX);
	size_t i, k, used = MIN(rank, outputs);
	float *square = matrix_new(outputs * outputs, sizeof(float));
	float *values = matrix_new(outputs, sizeof(float));
	float *across = matrix_new(outputs * rank, sizeof(float));

	matrix_multiply_left(square, weights, weights, outputs, outputs, rows);
	matrix_eigen(square, values, outputs);
	*heads = matrix_new(rank * outputs, sizeof(float));
	for (k = 0; k < used; k++) {
		for (i = 0; i < outputs; i++)
			(*heads)[k * outputs + i] = across[i * rank + k] = square[k * outputs + i];
	}
	*columns = matrix_new(rows * rank, sizeof(float));
	matrix_multiply(*columns, weights, across, rows, rank, outputs);
	free(square);
	free(values);
	free(across);
	return rank;
}

static void
linear_costs(struct train_file *file, const struct train_job *j, const struct ridge *r)
{
	float *cost;
	size_t m, i;

	if (j->cost == NULL)
		return;
	cost = matrix_new(j->models_len, sizeof(float));
	for (m = 0; m < j->models_len; m++) {
		for (i = 0; i < j->n && isnan(j->cost[i * j->models_len + m]); i++)
			;
		cost[m] = i < j->n ? MIN(r->mean[j->models_len + m], 0.0F) : 1;
	}
	train_file_add(file, "cost", cost, j->models_len * sizeof(float));
	free(cost);
}

static void
linear_write(struct buf *out, struct train_job *j, const struct features *f, const struct ridge *r)
{
	size_t rows = features_rows(f), rank;
	float *weights = matrix_new(rows * r->outputs, sizeof(float)), *columns, *heads;
	struct train_file file;

	features_fold(weights, f, r->alpha, r->outputs);
	rank = linear_reduce(&columns, &heads, weights, rows, r->outputs);
	train_file_init(&file);
	features_write(&file, f, columns, rank);
	train_file_add(&file, "heads", heads, rank * r->outputs * sizeof(float));
	linear_costs(&file, j, r);
	train_file_write(&file, out, j, r->error, r->mean);
	train_file_fini(&file);
	free(weights);
	free(columns);
	free(heads);
}

static enum err_code
linear_train(struct train_job *j, struct buf *out, struct err *e)
{
	AUTO(features_free) struct features *f = NULL;
	struct ridge r;
	float *gram = NULL, *y, *ease;
	size_t outputs;
	bool eased;
	enum err_code rc;

	j->done_to = 0.1;
	rc = features_new(&f, j, e);
	if (rc == ERR_OK)
		rc = features_gram(&gram, f, j, e);
	if (rc != ERR_OK)
		return rc;
	outputs = j->models_len * (j->cost != NULL ? 2 : 1);
	y = linear_outputs(j, outputs);
	linear_blank(y, j->n, outputs);
	ease = matrix_new(j->n, sizeof(float));
	eased = train_effects(ease, j);
	linear_take_ease(y, ease, j, outputs);
	rc = linear_solve(&r, gram, y, outputs, j, e);
	if (rc == ERR_OK && eased)
		rc = linear_give_ease(&r, gram, ease, j, e);
	free(gram);
	free(y);
	free(ease);
	if (rc != ERR_OK)
		return rc;
	train_margin(r.error, j, r.held, outputs);
	j->report.lambda = r.lambda;
	j->report.cv_error = r.cv_error;
	j->report.cv_error_mean = r.cv_error_mean;
	linear_write(out, j, f, &r);
	ridge_fini(&r);
	return ERR_OK;
}

const struct train_ops train_linear_ops = {linear_train};
