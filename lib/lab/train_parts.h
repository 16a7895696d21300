/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_parts.h - what the trainers share; private to lib/lab/train*.c
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lab/train.h"
#include "lib/routing/scorer_net.h"
#include "lib/routing/scorer_parts.h"
#include "lib/routing/scorer_project.h"

enum { TRAIN_FOLDS_MAX = 20, TRAIN_LAMBDAS_MAX = 16 };

/* train.c: one run */

struct train_job {
	const struct dataset *d;
	const struct train_options *o;
	enum scorer_id id;
	const uint32_t *rows; /* n, indices into d */
	size_t n;
	const uint32_t *models; /* indices into d */
	size_t models_len;
	float *score;	/* n of models_len, 0..1; NaN: none */
	float *cost;	/* n of models_len, logarithm of USD; NaN: none; NULL: no row has any */
	uint8_t *fold;	/* n: of the inner cross-validation */
	unsigned folds;
	unsigned threads;
	struct train_report report;
	double done_from, done_to; /* the part of the run that a stage stands for */
	double part_from, part_to; /* the part of an ensemble's run that this one is */
};

/* Tell how far a stage is (0..1); ERR_CANCELLED where the caller wants no more. */
MUST enum err_code train_progress(
	struct train_job *j, const char *stage, double done, struct err *e);

/* Train another scorer on the same job, as the share from..to of the whole run. */
MUST enum err_code train_part(struct buf *out, struct train_job *j, enum scorer_id id, double from,
	double to, struct err *e);

struct train_ops {
	enum err_code (*train)(struct train_job *j, struct buf *out, struct err *e);
};

#define TRAIN_OPS_FIXED(name)
#define TRAIN_OPS_TEST(name)
#define TRAIN_OPS_TRAINED(name) extern const struct train_ops train_##name##_ops;
#define TRAIN_OPS_ENCODER(name) TRAIN_OPS_TRAINED(name)
#define SCORER(symbol, name, kind, help) TRAIN_OPS_##kind(name)
#include "config/scorer_list.h"
#undef SCORER

/* Mean score of model m over the rows that have one. */
float train_mean(const struct train_job *j, size_t m);

/* train_error.c: the standard error of guesses, put into the file */
MUST enum err_code train_error(struct buf *file, const struct train_job *j, struct err *e);

/* train_margin.c: errors scaled to how large a lead must be before it pays to leave the best single
 * model; held: what scorers that had not seen the row guess of it (n of stride; NaN: nothing) */
void train_margin(float *error, const struct train_job *j, const float *held, size_t stride);

/* train_effects.c: which models have a score in a row, as a hash; never 0. Such rows are a pool. */
uint64_t train_pool(const struct train_job *j, size_t row);
/* ease (n): how much more rows like this one score than others, whoever is asked.
 * false: all rows have the same models, nothing sets them apart, and ease is 0. */
bool train_effects(float *ease, const struct train_job *j);

/* train_file.c: the sections of a file while they are gathered */

struct train_file {
	struct scorer_section sections[SCORER_SECTIONS_MAX];
	size_t len;
	struct buf owned[SCORER_SECTIONS_MAX];
};

void train_file_init(struct train_file *f);
void train_file_fini(struct train_file *f);
/* Copies the data. */
void train_file_add(struct train_file *f, const char *tag, const void *data, size_t len);
/* Adds "models", "error", "mean", "text" and "encoder" and writes. */
void train_file_write(struct train_file *f, struct buf *out, const struct train_job *j,
	const float *error, const float *mean);

/* train_features.c: the features of all rows */

struct features {
	size_t n;
	struct project_basis basis;
	uint8_t *rarity;
	float *shape;	  /* mean, then scale */
	uint64_t seed;
	size_t *start;	  /* n + 1: a row's terms */
	uint16_t *bucket;
	float *value;
	float *waves;	  /* n of PROJECT_WAVES */
	size_t dims;	  /* of the embeddings; 0: none */
	float *dense;	  /* n of dims: embeddings less centre, times scale */
	float *centre;	  /* dims */
	float scale;
	size_t used;	  /* buckets that some row has */
};

MUST enum err_code features_new(struct features **out, struct train_job *j, struct err *e);
void features_free(struct features **f_p);
/* Inner products of all rows: n of n floats, the caller's to free(). */
MUST enum err_code features_gram(
	float **out, const struct features *f, struct train_job *j, struct err *e);
/* Buckets, waves and the embedding's numbers. */
size_t features_rows(const struct features *f);
/* out (features_rows of cols) = features' transpose times a (n of cols). */
void features_fold(float *out, const struct features *f, const float *a, size_t cols);
/* The sections of project_open for a matrix of rank columns as features_fold gives. */
void features_write(
	struct train_file *file, const struct features *f, const float *matrix, size_t rank);

/* train_dense.c: the embeddings of the options as one more block of features */
void dense_fill(struct features *f, const struct train_job *j);
void dense_gram(float *gram, const struct features *f); /* adds to the lower half */
void dense_fold(float *out, const struct features *f, const float *a, size_t cols);
void dense_write(struct train_file *file, const struct features *f, const float *matrix, size_t rank);

/* train_ridge.c: kernel ridge with many outputs, of which each row may have some */

struct ridge {
	size_t outputs;
	float *alpha;	/* n of outputs; 0 where the row has no such output */
	float *mean;	/* outputs */
	float *error;	/* outputs: standard error of a prediction */
	float *held;	/* n of outputs: what cross-validation guessed; NaN: nothing */
	double lambda;	/* geometric mean of the chosen ones, of the first group */
	double cv_error, cv_error_mean; /* root mean squares over the first `scores` outputs */
};

struct ridge_plan {
	const float *gram; /* n of n */
	const float *y;	   /* n of outputs; NaN: none */
	size_t outputs;
	size_t scores;	   /* outputs 0..scores-1 are of one kind and may share strength */
	const double *grid; /* strengths to choose from, ascending; NULL: those of the options */
	size_t grid_len;
};

MUST enum err_code ridge_solve(
	struct ridge *out, const struct ridge_plan *plan, struct train_job *j, struct err *e);
void ridge_fini(struct ridge *r);

/* train_embed.c: the principal directions of the features, for scorers that are not linear */

enum { EMBED_RANK = 32 };
enum embed_scale { EMBED_COSINE, EMBED_WHITE }; /* as they are; or each of variance 1 */

struct embed {
	struct features *features;
	float *matrix; /* features_rows of EMBED_RANK, for features_write */
	float *rows;   /* n of EMBED_RANK */
};

MUST enum err_code embed_new(
	struct embed *out, struct train_job *j, enum embed_scale scale, struct err *e);
void embed_fini(struct embed *em);

/* train_memory.c, train_net.c: what several trainers share */
enum err_code memory_train(struct train_job *j, struct buf *out, struct err *e);
MUST enum err_code net_train(struct train_job *j, struct buf *out, enum net_kind kind,
	size_t hidden, struct err *e);

/* train_matrix.c: OpenBLAS and LAPACK behind names that say what they do; row-major */

/* a (n of n, overwritten) = its Cholesky factor; false where a is not positive definite. */
bool matrix_factor(float *a, size_t n);
/* Solve in place: b is n of cols. */
void matrix_solve(const float *factor, size_t n, float *b, size_t cols);
/* c (m of n) = a (m of k) * b (k of n) */
void matrix_multiply(float *c, const float *a, const float *b, size_t m, size_t n, size_t k);
/* c (m of n) = a' (k of m) * b (k of n) */
void matrix_multiply_left(float *c, const float *a, const float *b, size_t m, size_t n, size_t k);
/* Eigenvectors of a symmetric a (n of n) as rows of a, values descending; signs are fixed. */
void matrix_eigen(float *a, float *values, size_t n);
void *matrix_new(size_t count, size_t size); /* zeroed; panics where there is no memory */
