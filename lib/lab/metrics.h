/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what a router gains: RouteLLM's PGR curve, APGR and CPT; calibration error
 *
 * One row is one prompt with the scores of a weak and a strong model and the router's want: the
 * rows with the highest wants go to the strong one. Performance gap recovered:
 *     PGR(k) = (mean score with k rows sent to strong - weak mean) / (strong mean - weak mean)
 * APGR is the area under PGR over the share k/N; CPT(p) the smallest share that recovers p.
 * PGR is not defined where both means are equal (to what a sum of floats can tell): those figures
 * are then NaN.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { METRICS_CPTS = 3, METRICS_GRID = 10 };
extern const double metrics_cpt_levels[METRICS_CPTS]; /* 0.2, 0.5, 0.8 */

struct metrics_pair {
	double weak, strong; /* scores */
	double want;
};

struct metrics_apgr {
	double apgr;
	double cpt[METRICS_CPTS]; /* NaN: no share reaches it */
};

/* Is the strong model's sum of scores over so many rows another one than the weak one's? */
bool metrics_has_gap(double gap, double rows);

/* Row numbers by falling want; equal wants keep their order. out has len elements. */
void metrics_order(uint32_t *out, const struct metrics_pair *rows, size_t len);

/* Trapezoid over every share k/N. order is metrics_order's. */
void metrics_exact(struct metrics_apgr *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order);

/*
 * RouteLLM's way: thresholds at the deciles of the wants (linear quantiles, equal ones once), strong
 * where want >= threshold (for the highest: >), trapezoid over the shares that come out, CPT by
 * linear interpolation of the share over the score.
 */
void metrics_grid(struct metrics_apgr *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order);

/* Means; oracle picks the better of both for every row. */
struct metrics_means {
	double weak, strong, oracle, better;
};
void metrics_means(struct metrics_means *out, const struct metrics_pair *rows, size_t len);

/*
 * The curve at points evenly spaced shares, ends included (points >= 2): share and mean score of
 * point i go to share[i] and score[i].
 */
void metrics_curve(double *share, double *score, size_t points, const struct metrics_pair *rows,
	size_t len, const uint32_t *order);

/* The lowest want that goes to strong when share (0..1) of the rows may; above all wants for 0. */
double metrics_threshold(
	const struct metrics_pair *rows, size_t len, const uint32_t *order, double share);

/*
 * Expected calibration error: the mean distance between guessed and seen quality over bins equally
 * wide bins of the guess (0..1), weighted by their rows. NaN without rows.
 */
enum { METRICS_ECE_BINS = 15 };
struct metrics_ece {
	double guessed[METRICS_ECE_BINS], seen[METRICS_ECE_BINS];
	size_t count[METRICS_ECE_BINS];
};
void metrics_ece_add(struct metrics_ece *e, double guessed, double seen);
double metrics_ece(const struct metrics_ece *e);
