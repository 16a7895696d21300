/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_features.c - the features of all training rows, their inner products, and the way back
 * from weights of rows to weights of features
 */
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

/* Roots of each block's share of the inner product. */
static const float WEIGHT_WORDS = 0.53452248F; /* 2 / 7 */
static const float WEIGHT_GRAMS = 0.75592895F; /* 4 / 7 */
static const float WEIGHT_WAVES = 0.37796447F; /* 1 / 7 */
static const float SHAPE_STILL = 1e-4F; /* a deviation below this says nothing */

enum { PROGRESS_EVERY = 512 };

void
features_free(struct features **f_p)
{
	struct features *f = *f_p;

	if (f == NULL)
		return;
	project_basis_fini(&f->basis);
	free(f->rarity);
	free(f->shape);
	free(f->start);
	free(f->bucket);
	free(f->value);
	free(f->waves);
	free(f->dense);
	free(f->centre);
	free(f);
	*f_p = NULL;
}

/* log((n + 1) / (df + 1)) + 1 in steps of PROJECT_RARITY_STEP */
static void
features_rarity(struct features *f, const uint32_t *seen)
{
	size_t i;
	float v;

	for (i = 0; i < TEXT_BUCKETS; i++) {
		f->used += seen[i] > 0;
		v = logf((float)(f->n + 1) / (float)(seen[i] + 1)) + 1;
		f->rarity[i] = (uint8_t)MIN(255.0F, roundf(v / PROJECT_RARITY_STEP));
	}
}

static void
features_shape(struct features *f, const double *sum, const double *squares)
{
	double mean, variance;
	size_t i;

	for (i = 0; i < TEXT_SHAPES; i++) {
		mean = sum[i] / (double)f->n;
		variance = MAX(0.0, squares[i] / (double)f->n - mean * mean);
		f->shape[i] = (float)mean;
		f->shape[TEXT_SHAPES + i] =
			variance > SHAPE_STILL * SHAPE_STILL ? (float)(1 / sqrt(variance)) : 0;
	}
}

/* First look at every text: how rare is each bucket, how do shapes vary. */
static enum err_code
features_survey(struct features *f, struct train_job *j, struct project_scratch *s, struct err *e)
{
	double sum[TEXT_SHAPES] = {0}, squares[TEXT_SHAPES] = {0};
	uint32_t *seen = matrix_new(TEXT_BUCKETS, sizeof(*seen));
	enum err_code rc = ERR_OK;
	size_t i, k, terms, words;

	for (i = 0; i < f->n && rc == ERR_OK; i++) {
		const struct dataset_row *r = &j->d->rows[j->rows[i]];

		terms = text_read(&s->text, &words, r->prompt, r->prompt_len);
		f->start[i + 1] = f->start[i] + terms;
		for (k = 0; k < terms; k++)
			seen[s->text.terms[k].bucket]++;
		for (k = 0; k < TEXT_SHAPES; k++) {
			sum[k] += (double)s->text.shape[k];
			squares[k] += (double)s->text.shape[k] * (double)s->text.shape[k];
		}
		if (i % PROGRESS_EVERY == 0)
			rc = train_progress(j, "features", 0.5 * (double)i / (double)f->n, e);
	}
	features_rarity(f, seen);
	features_shape(f, sum, squares);
	free(seen);
	return rc;
}

static enum err_code
features_fill(struct features *f, struct train_job *j, struct project_scratch *s, struct err *e)
{
	enum err_code rc = ERR_OK;
	size_t i, k, terms, at;

	for (i = 0; i < f->n && rc == ERR_OK; i++) {
		const struct dataset_row *r = &j->d->rows[j->rows[i]];

		terms = project_features(s, &f->basis, r->prompt, r->prompt_len);
		CHECK(terms == f->start[i + 1] - f->start[i]);
		for (k = 0; k < terms; k++) {
			at = f->start[i] + k;
			f->bucket[at] = (uint16_t)s->text.terms[k].bucket;
			f->value[at] = s->text.terms[k].value;
		}
		memcpy(f->waves + i * PROJECT_WAVES, s->waves, sizeof(s->waves));
		if (i % PROGRESS_EVERY == 0)
			rc = train_progress(j, "features", 0.5 + 0.5 * (double)i / (double)f->n, e);
	}
	return rc;
}

enum err_code
features_new(struct features **out, struct train_job *j, struct err *e)
{
	AUTO(features_free) struct features *f = matrix_new(1, sizeof(*f));
	struct project_scratch *s = matrix_new(1, sizeof(*s));
	enum err_code rc;

	_Static_assert(TEXT_BUCKETS <= UINT16_MAX + 1, "buckets are stored as 16 bits");
	f->n = j->n;
	f->seed = j->o->seed;
	f->rarity = matrix_new(TEXT_BUCKETS, 1);
	f->shape = matrix_new((size_t)2 * TEXT_SHAPES, sizeof(float));
	f->start = matrix_new(f->n + 1, sizeof(*f->start));
	f->waves = matrix_new(f->n * PROJECT_WAVES, sizeof(float));
	project_basis_init(&f->basis, f->seed);
	f->basis.weight_words = WEIGHT_WORDS;
	f->basis.weight_grams = WEIGHT_GRAMS;
	f->basis.weight_waves = WEIGHT_WAVES;
	f->basis.rarity = f->rarity;
	f->basis.shape_mean = f->shape;
	f->basis.shape_scale = f->shape + TEXT_SHAPES;
	dense_fill(f, j);
	rc = features_survey(f, j, s, e);
	if (rc == ERR_OK) {
		f->bucket = matrix_new(f->start[f->n], sizeof(*f->bucket));
		f->value = matrix_new(f->start[f->n], sizeof(*f->value));
		rc = features_fill(f, j, s, e);
	}
	free(s);
	if (rc != ERR_OK)
		return rc;
	j->report.features = f->used + PROJECT_WAVES + f->dims;
	*out = f;
	f = NULL;
	return ERR_OK;
}

/* The same terms by bucket: which rows have it. */
struct postings {
	size_t *start; /* TEXT_BUCKETS + 1 */
	uint32_t *row;
	float *value;
};

static void
postings_init(struct postings *p, const struct features *f)
{
	size_t i, k, total = f->start[f->n];
	size_t *at = matrix_new(TEXT_BUCKETS, sizeof(*at));

	p->start = matrix_new(TEXT_BUCKETS + 1, sizeof(*p->start));
	p->row = matrix_new(total, sizeof(*p->row));
	p->value = matrix_new(total, sizeof(*p->value));
	for (k = 0; k < total; k++)
		p->start[f->bucket[k] + 1]++;
	for (i = 0; i < TEXT_BUCKETS; i++) {
		p->start[i + 1] += p->start[i];
		at[i] = p->start[i];
	}
	for (i = 0; i < f->n; i++) {
		for (k = f->start[i]; k < f->start[i + 1]; k++) {
			p->row[at[f->bucket[k]]] = (uint32_t)i;
			p->value[at[f->bucket[k]]++] = f->value[k];
		}
	}
	free(at);
}

static void
postings_fini(struct postings *p)
{
	free(p->start);
	free(p->row);
	free(p->value);
}

/* Every threads-th row, so that all have as much to do; a row is one thread's alone. */
struct gram_part {
	const struct features *f;
	const struct postings *p;
	float *gram;
	size_t first, step;
};

static void *
gram_part_run(void *arg)
{
	const struct gram_part *part = arg;
	const struct features *f = part->f;
	size_t i, k, at, end;
	float *row, v;

	for (i = part->first; i < f->n; i += part->step) {
		row = part->gram + i * f->n;
		for (k = f->start[i]; k < f->start[i + 1]; k++) {
			v = f->value[k];
			end = part->p->start[f->bucket[k] + 1];
			for (at = part->p->start[f->bucket[k]]; at < end && part->p->row[at] <= i;
				at++)
				row[part->p->row[at]] += v * part->p->value[at];
		}
	}
	return NULL;
}

enum { GRAM_THREADS_MAX = 16 };

enum err_code
features_gram(float **out, const struct features *f, struct train_job *j, struct err *e)
{
	size_t n = f->n, threads = MIN(MAX(j->threads, 1U), GRAM_THREADS_MAX), i, k;
	struct gram_part parts[GRAM_THREADS_MAX];
	pthread_t ids[GRAM_THREADS_MAX];
	struct postings p;
	float *gram;
	enum err_code rc = train_progress(j, "inner products", 0, e);

	if (rc != ERR_OK)
		return rc;
	gram = matrix_new(n * n, sizeof(*gram));
	postings_init(&p, f);
	for (i = 0; i < threads; i++) {
		parts[i] = (struct gram_part){f, &p, gram, i, threads};
		CHECK(pthread_create(&ids[i], NULL, gram_part_run, &parts[i]) == 0);
	}
	for (i = 0; i < threads; i++)
		CHECK(pthread_join(ids[i], NULL) == 0);
	postings_fini(&p);
	cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)n, PROJECT_WAVES, 1, f->waves,
		PROJECT_WAVES, 1, gram, (int)n);
	dense_gram(gram, f);
	for (i = 0; i < n; i++) {
		for (k = 0; k < i; k++)
			gram[k * n + i] = gram[i * n + k];
	}
	*out = gram;
	return ERR_OK;
}

size_t
features_rows(const struct features *f)
{
	return TEXT_BUCKETS + PROJECT_WAVES + f->dims;
}

void
features_fold(float *out, const struct features *f, const float *a, size_t cols)
{
	size_t i, k, c;
	const float *from;
	float *to, v;

	memset(out, 0, TEXT_BUCKETS * cols * sizeof(*out));
	for (i = 0; i < f->n; i++) {
		from = a + i * cols;
		for (k = f->start[i]; k < f->start[i + 1]; k++) {
			to = out + f->bucket[k] * cols;
			v = f->value[k];
			for (c = 0; c < cols; c++)
				to[c] += v * from[c];
		}
	}
	matrix_multiply_left(out + TEXT_BUCKETS * cols, f->waves, a, PROJECT_WAVES, cols, f->n);
	dense_fold(out + (TEXT_BUCKETS + PROJECT_WAVES) * cols, f, a, cols);
}

void
features_write(struct train_file *file, const struct features *f, const float *matrix, size_t rank)
{
	struct project_plan plan = {(uint32_t)rank, PROJECT_WAVES, f->seed,
		{f->basis.weight_words, f->basis.weight_grams, f->basis.weight_waves}, 0};
	int8_t *rows = matrix_new(TEXT_BUCKETS, rank);
	float scale[PROJECT_RANK_MAX];
	size_t i, k;

	for (k = 0; k < rank; k++) {
		scale[k] = 0;
		for (i = 0; i < TEXT_BUCKETS; i++)
			scale[k] = MAX(scale[k], fabsf(matrix[i * rank + k]));
		scale[k] /= 127;
		for (i = 0; scale[k] > 0 && i < TEXT_BUCKETS; i++)
			rows[i * rank + k] = (int8_t)lrintf(matrix[i * rank + k] / scale[k]);
	}
	train_file_add(file, "plan", &plan, sizeof(plan));
	train_file_add(file, "rarity", f->rarity, TEXT_BUCKETS);
	train_file_add(file, "shape", f->shape, (size_t)2 * TEXT_SHAPES * sizeof(float));
	train_file_add(file, "rows", rows, TEXT_BUCKETS * rank);
	train_file_add(file, "scale", scale, rank * sizeof(float));
	train_file_add(
		file, "waves", matrix + TEXT_BUCKETS * rank, PROJECT_WAVES * rank * sizeof(float));
	dense_write(file, f, matrix + (TEXT_BUCKETS + PROJECT_WAVES) * rank, rank);
	free(rows);
}
