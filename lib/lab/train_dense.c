/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_dense.c - the embeddings of an encoder beside the n-grams
 *
 * They are centred on the training rows and scaled to a fixed share of the inner product; the
 * blocks of the text keep the rest.
 */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

static const float DENSE_SHARE = 0.5F;

static void
dense_centre(struct features *f)
{
	size_t i, d;
	double squares = 0;

	for (i = 0; i < f->n * f->dims; i++)
		f->centre[i % f->dims] += f->dense[i] / (float)f->n;
	for (i = 0; i < f->n; i++) {
		for (d = 0; d < f->dims; d++) {
			float *v = &f->dense[i * f->dims + d];

			*v -= f->centre[d];
			squares += (double)(*v * *v);
		}
	}
	squares /= (double)f->n;
	f->scale = squares > 1e-12 ? (float)sqrt((double)DENSE_SHARE / squares) : 0;
	for (i = 0; i < f->n * f->dims; i++)
		f->dense[i] *= f->scale;
}

void
dense_fill(struct features *f, const struct train_job *j)
{
	const float rest = sqrtf(1 - DENSE_SHARE);
	size_t i;

	if (j->o->embeddings == NULL)
		return;
	f->dims = j->o->encoder.len;
	f->dense = matrix_new(f->n * f->dims, sizeof(float));
	f->centre = matrix_new(f->dims, sizeof(float));
	for (i = 0; i < f->n; i++)
		memcpy(f->dense + i * f->dims, j->o->embeddings + j->rows[i] * f->dims,
			f->dims * sizeof(float));
	dense_centre(f);
	f->basis.weight_words *= rest;
	f->basis.weight_grams *= rest;
	f->basis.weight_waves *= rest;
}

void
dense_gram(float *gram, const struct features *f)
{
	if (f->dims > 0)
		cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)f->n, (int)f->dims, 1,
			f->dense, (int)f->dims, 1, gram, (int)f->n);
}

void
dense_fold(float *out, const struct features *f, const float *a, size_t cols)
{
	if (f->dims > 0)
		matrix_multiply_left(out, f->dense, a, f->dims, cols, f->n);
}

void
dense_write(struct train_file *file, const struct features *f, const float *matrix, size_t rank)
{
	float *direct;
	size_t i;

	if (f->dims == 0)
		return;
	direct = matrix_new(f->dims * rank, sizeof(float));
	for (i = 0; i < f->dims * rank; i++)
		direct[i] = matrix[i] * f->scale;
	train_file_add(file, "centre", f->centre, f->dims * sizeof(float));
	train_file_add(file, "direct", direct, f->dims * rank * sizeof(float));
	free(direct);
}
