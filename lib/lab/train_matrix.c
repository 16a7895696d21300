/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_matrix.c - dense matrix work by OpenBLAS
 */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "lib/lab/train_parts.h"

/* LAPACK as OpenBLAS carries it (Fortran calling convention, column-major). */
void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void ssyev_(const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w,
	float *work, const int *lwork, int *info);

void *
matrix_new(size_t count, size_t size)
{
	void *p = calloc(MAX(count, (size_t)1), size);

	CHECK(p != NULL);
	return p;
}

bool
matrix_factor(float *a, size_t n)
{
	int order = (int)n, info = 0;

	/* the row-major lower triangle is Fortran's upper one */
	spotrf_("U", &order, a, &order, &info);
	return info == 0;
}

void
matrix_solve(const float *factor, size_t n, float *b, size_t cols)
{
	int rows = (int)n, width = (int)cols;

	cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, rows, width,
		1, factor, rows, b, width);
	cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, rows, width, 1,
		factor, rows, b, width);
}

void
matrix_multiply(float *c, const float *a, const float *b, size_t m, size_t n, size_t k)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)k,
		b, (int)n, 0, c, (int)n);
}

void
matrix_multiply_left(float *c, const float *a, const float *b, size_t m, size_t n, size_t k)
{
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)m, b,
		(int)n, 0, c, (int)n);
}

/* Largest entry positive, so that the sign is not LAPACK's to choose. */
static void
matrix_fix_sign(float *row, size_t n)
{
	size_t i, most = 0;

	for (i = 1; i < n; i++) {
		if (fabsf(row[i]) > fabsf(row[most]))
			most = i;
	}
	if (row[most] >= 0)
		return;
	for (i = 0; i < n; i++)
		row[i] = -row[i];
}

void
matrix_eigen(float *a, float *values, size_t n)
{
	int order = (int)n, info = 0, lwork = (int)(34 * n + 64);
	float *work = matrix_new((size_t)lwork, sizeof(float)), swap;
	size_t i, k;

	ssyev_("V", "U", &order, a, &order, values, work, &lwork, &info);
	CHECK(info == 0);
	free(work);
	/* ascending columns of Fortran are rows here: turn them over */
	for (i = 0; i < n / 2; i++) {
		swap = values[i];
		values[i] = values[n - 1 - i];
		values[n - 1 - i] = swap;
		for (k = 0; k < n; k++) {
			swap = a[i * n + k];
			a[i * n + k] = a[(n - 1 - i) * n + k];
			a[(n - 1 - i) * n + k] = swap;
		}
	}
	for (i = 0; i < n; i++)
		matrix_fix_sign(a + i * n, n);
}
