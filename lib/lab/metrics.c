/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - PGR curve, APGR, CPT, calibration error
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/lab/metrics.h"

const double metrics_cpt_levels[METRICS_CPTS] = {0.2, 0.5, 0.8};

static int
order_compare(const void *a, const void *b, void *arg)
{
	const struct metrics_pair *rows = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

	if (rows[i].want != rows[j].want)
		return rows[i].want > rows[j].want ? -1 : 1;
	return i < j ? -1 : i > j;
}

void
metrics_order(uint32_t *out, const struct metrics_pair *rows, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint32_t)i;
	if (len > 1)
		qsort_r(out, len, sizeof(*out), order_compare, (void *)(uintptr_t)rows);
}

void
metrics_means(struct metrics_means *out, const struct metrics_pair *rows, size_t len)
{
	double weak = 0, strong = 0, oracle = 0;

	for (size_t i = 0; i < len; i++) {
		weak += rows[i].weak;
		strong += rows[i].strong;
		oracle += MAX(rows[i].weak, rows[i].strong);
	}
	*out = (struct metrics_means){
		.weak = weak / (double)len,
		.strong = strong / (double)len,
		.oracle = oracle / (double)len,
	};
	out->better = MAX(out->weak, out->strong);
}

/* Scores are read as floats: means that are equal on paper miss each other by that rounding. */
static const double GAP_LEAST = 1e-7;

bool
metrics_has_gap(double gap, double rows)
{
	return fabs(gap) > GAP_LEAST * rows;
}

static void
apgr_undefined(struct metrics_apgr *out)
{
	out->apgr = NAN;
	for (size_t p = 0; p < METRICS_CPTS; p++)
		out->cpt[p] = NAN;
}

void
metrics_exact(struct metrics_apgr *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order)
{
	double gap = 0, gained = 0, area = 0;

	apgr_undefined(out);
	for (size_t i = 0; i < len; i++)
		gap += rows[i].strong - rows[i].weak;
	if (!metrics_has_gap(gap, (double)len))
		return;
	for (size_t k = 1; k <= len; k++) {
		const struct metrics_pair *r = &rows[order[k - 1]];
		double before = gained;

		gained += r->strong - r->weak;
		area += (before + gained) / 2;
		for (size_t p = 0; p < METRICS_CPTS; p++) {
			/* A sum of the same numbers in another order may miss by rounding. */
			if (isnan(out->cpt[p]) && gained / gap >= metrics_cpt_levels[p] - 1e-12)
				out->cpt[p] = (double)k / (double)len;
		}
	}
	out->apgr = area / gap / (double)len;
}

/* The q-quantile of the wants: linear between neighbours, as NumPy does it. */
static double
grid_quantile(const struct metrics_pair *rows, size_t len, const uint32_t *order, double q)
{
	double at = q * (double)(len - 1), low = floor(at), part = at - low;
	size_t i = (size_t)low, j = MIN(i + 1, len - 1);
	double a = rows[order[len - 1 - i]].want, b = rows[order[len - 1 - j]].want;

	/* NumPy's own way to write it, for the same last bit. */
	return part < 0.5 ? a + (b - a) * part : b - (b - a) * (1 - part);
}

struct grid_point {
	double share, score;
};

/* Points of the grid by rising share. */
static size_t
grid_points(
	struct grid_point *out, const struct metrics_pair *rows, size_t len, const uint32_t *order)
{
	double thresholds[METRICS_GRID + 1] = {0};
	size_t n = 0;

	for (size_t i = 0; i <= METRICS_GRID; i++) {
		/* i * 0.1, not i / 10: NumPy's own levels, to the last bit. */
		double q = i < METRICS_GRID ? (double)i * (1.0 / METRICS_GRID) : 1;
		double t = grid_quantile(rows, len, order, q);

		if (n == 0 || t != thresholds[n - 1])
			thresholds[n++] = t;
	}
	for (size_t i = 0; i < n; i++) {
		double t = thresholds[n - 1 - i], sum = 0;
		size_t sent = 0;

		for (size_t r = 0; r < len; r++) {
			bool strong = i == 0 ? rows[r].want > t : rows[r].want >= t;

			sum += strong ? rows[r].strong : rows[r].weak;
			sent += strong;
		}
		out[i] = (struct grid_point){(double)sent / (double)len, sum / (double)len};
	}
	return n;
}

/* The share at which the score is reached first, linear between points. */
static double
grid_reach(const struct grid_point *points, size_t n, double score, double sign)
{
	for (size_t i = 0; i < n; i++) {
		double step;

		if ((points[i].score - score) * sign < 0)
			continue;
		if (i == 0)
			return points[0].share;
		step = (score - points[i - 1].score) / (points[i].score - points[i - 1].score);
		return points[i - 1].share + step * (points[i].share - points[i - 1].share);
	}
	return NAN;
}

void
metrics_grid(struct metrics_apgr *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order)
{
	struct grid_point points[METRICS_GRID + 1];
	struct metrics_means means;
	double area = 0, width, gap;
	size_t n;

	apgr_undefined(out);
	if (len == 0)
		return;
	metrics_means(&means, rows, len);
	gap = means.strong - means.weak;
	n = grid_points(points, rows, len, order);
	width = points[n - 1].share - points[0].share;
	if (!metrics_has_gap(gap, 1) || n < 2 || width == 0)
		return;
	for (size_t i = 1; i < n; i++)
		area += (points[i].share - points[i - 1].share) *
			((points[i].score + points[i - 1].score) / 2 - means.weak);
	out->apgr = area / gap / width;
	for (size_t p = 0; p < METRICS_CPTS; p++)
		out->cpt[p] = grid_reach(
			points, n, means.weak + metrics_cpt_levels[p] * gap, gap > 0 ? 1 : -1);
}

void
metrics_curve(double *share, double *score, size_t points, const struct metrics_pair *rows,
	size_t len, const uint32_t *order)
{
	double sum = 0;
	size_t sent = 0;

	CHECK(points >= 2 && len > 0);
	for (size_t i = 0; i < len; i++)
		sum += rows[i].weak;
	for (size_t i = 0; i < points; i++) {
		size_t k = (size_t)((double)i * (double)len / (double)(points - 1) + 0.5);

		for (; sent < k; sent++)
			sum += rows[order[sent]].strong - rows[order[sent]].weak;
		share[i] = (double)k / (double)len;
		score[i] = sum / (double)len;
	}
}

double
metrics_threshold(const struct metrics_pair *rows, size_t len, const uint32_t *order, double share)
{
	size_t k = (size_t)(share * (double)len + 0.5);

	if (len == 0)
		return NAN;
	if (k == 0)
		return nextafter(rows[order[0]].want, INFINITY);
	return rows[order[MIN(k, len) - 1]].want;
}

void
metrics_ece_add(struct metrics_ece *e, double guessed, double seen)
{
	double at = guessed * METRICS_ECE_BINS;
	size_t bin = at <= 0 ? 0 : MIN((size_t)at, (size_t)METRICS_ECE_BINS - 1);

	e->guessed[bin] += guessed;
	e->seen[bin] += seen;
	e->count[bin]++;
}

double
metrics_ece(const struct metrics_ece *e)
{
	double sum = 0;
	size_t count = 0;

	for (size_t b = 0; b < METRICS_ECE_BINS; b++) {
		sum += fabs(e->guessed[b] - e->seen[b]);
		count += e->count[b];
	}
	return count > 0 ? sum / (double)count : NAN;
}
