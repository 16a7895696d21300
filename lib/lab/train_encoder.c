/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_encoder.c - ridge heads on the embeddings of an encoder
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

/* Rows x (n of dims) less their centre, at a mean length of 1: strengths of the ridge are made for
 * that, whatever the encoder's own scale is. Returns what they were multiplied by. */
static float
encoder_centre(float *x, float *centre, size_t n, size_t dims)
{
	double squares = 0;
	float scale;
	size_t i;

	for (i = 0; i < n * dims; i++)
		centre[i % dims] += x[i] / (float)n;
	for (i = 0; i < n * dims; i++) {
		x[i] -= centre[i % dims];
		squares += (double)x[i] * (double)x[i];
	}
	scale = squares > 0 ? (float)sqrt((double)n / squares) : 0;
	for (i = 0; i < n * dims; i++)
		x[i] *= scale;
	return scale;
}

static enum err_code
encoder_train(struct train_job *j, struct buf *out, struct err *e)
{
	size_t dims = j->o->encoder.len, n = j->n, i;
	float *x = matrix_new(n * dims, sizeof(float)),
	      *turned = matrix_new(n * dims, sizeof(float));
	float *centre = matrix_new(dims, sizeof(float)), *gram = matrix_new(n * n, sizeof(float));
	struct ridge_plan plan = {gram, j->score, j->models_len, j->models_len};
	struct train_file file;
	struct ridge r;
	enum err_code rc;
	float scale;

	CHECK(n > 0 && dims > 0);
	for (i = 0; i < n; i++)
		memcpy(x + i * dims, j->o->embeddings + j->rows[i] * dims, dims * sizeof(float));
	scale = encoder_centre(x, centre, n, dims);
	for (i = 0; i < n * dims; i++)
		turned[(i % dims) * n + i / dims] = x[i];
	matrix_multiply(gram, x, turned, n, n, dims);
	rc = ridge_solve(&r, &plan, j, e);
	if (rc == ERR_OK) {
		float *heads = matrix_new(dims * r.outputs, sizeof(float));

		matrix_multiply_left(heads, x, r.alpha, dims, r.outputs, n);
		for (i = 0; i < dims * r.outputs; i++)
			heads[i] *= scale;
		j->report.features = dims;
		j->report.lambda = r.lambda;
		j->report.cv_error = r.cv_error;
		j->report.cv_error_mean = r.cv_error_mean;
		train_file_init(&file);
		train_file_add(&file, "centre", centre, dims * sizeof(float));
		train_file_add(&file, "heads", heads, dims * r.outputs * sizeof(float));
		train_file_write(&file, out, j, r.error, r.mean);
		train_file_fini(&file);
		free(heads);
		ridge_fini(&r);
	}
	free(x);
	free(turned);
	free(centre);
	free(gram);
	return rc;
}

const struct train_ops train_encoder_ops = {encoder_train};
