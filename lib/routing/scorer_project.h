/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_project.h - a prompt as a few numbers: its n-grams and shape through a trained matrix
 *
 * What every trained scorer begins with. The features of a text are three blocks: words, n-grams
 * (each sublinear counts times a trained rarity, at length 1) and waves: cosines of random sums of
 * the text's shape, whose inner product is close to a Gaussian of the distance between two shapes
 * (random Fourier features). The blocks are weighted so that the whole has length about 1. A file
 * that was trained with an encoder has a fourth block, the embedding less its mean.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/routing/scorer_parts.h"
#include "lib/routing/scorer_text.h"

enum { PROJECT_WAVES = 128, PROJECT_RANK_STEP = 16, PROJECT_RANK_MAX = 128 };

/* How the features of a text are made. */
struct project_basis {
	float weight_words, weight_grams, weight_waves;
	const uint8_t *rarity; /* TEXT_BUCKETS; in steps of PROJECT_RARITY_STEP */
	const float *shape_mean, *shape_scale; /* TEXT_SHAPES */
	float *waves; /* TEXT_SHAPES of PROJECT_WAVES, then PROJECT_WAVES phases; owned */
};

#define PROJECT_RARITY_STEP (1.0F / 16)

/* Make the random directions; the rest is filled by the caller. The same seed gives the same. */
void project_basis_init(struct project_basis *b, uint64_t seed);
void project_basis_fini(struct project_basis *b);

struct project_scratch {
	float waves[PROJECT_WAVES];
	float shape[TEXT_SHAPES + PROJECT_RANK_STEP];
	struct text_scratch text;
};

/* Leaves the features in s->text.terms (their number is returned) and s->waves. */
size_t project_features(
	struct project_scratch *s, const struct project_basis *b, const char *text, size_t len);

/* The matrix: rank numbers out of the features. */
struct project {
	struct project_basis basis;
	size_t rank;	     /* a multiple of PROJECT_RANK_STEP */
	const int8_t *rows;  /* TEXT_BUCKETS of rank */
	const float *scale;  /* rank: what one step of a row's column is worth */
	const float *wave_rows; /* PROJECT_WAVES of rank */
	size_t dims;	     /* of the embedding; 0: trained without one */
	const float *centre; /* dims */
	const float *direct; /* dims of rank */
};

/* As it stands in the section "plan". */
struct project_plan {
	uint32_t rank;
	uint32_t waves;
	uint64_t seed;
	float weight[3];
	float reserved;
};

/* Sections "plan", "rarity", "shape", "rows", "scale" and "waves"; "centre" and "direct" where an
 * embedding is among the features. */
MUST enum err_code project_open(struct project *out, const struct scorer_file *f, struct err *e);
void project_close(struct project *p);
/* out: rank floats. Without the embedding that it was trained with, the text's share alone. */
void project_input(float *out, const struct project *p, const struct scorer_input *in,
	struct project_scratch *s);
