/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.c - intervals by resampling
 */
#include <math.h>
#include <stdlib.h>

#include "lib/base/base.h"
#include "lib/lab/bootstrap.h"
#include "lib/lab/rng.h"

static void *
zeroed(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	CHECK(p != NULL);
	return p;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
quantile(const double *sorted, size_t len, double q)
{
	double at = q * (double)(len - 1);
	size_t i = (size_t)at, j = MIN(i + 1, len - 1);

	return sorted[i] + (sorted[j] - sorted[i]) * (at - (double)i);
}

/* draws is sorted; values that are not defined are not among its len. */
static void
interval_of(struct interval *out, double *draws, size_t len, size_t wanted)
{
	*out = (struct interval){NAN, NAN};
	if (len == 0 || len * 20 < wanted * 19)
		return;
	qsort(draws, len, sizeof(*draws), compare_doubles);
	out->low = quantile(draws, len, 0.025);
	out->high = quantile(draws, len, 0.975);
}

/* APGR of the rows drawn: gains are in order of falling want, times[i] is how often i was drawn. */
static double
drawn_apgr(const float *gains, const uint16_t *times, size_t len)
{
	double gained = 0, area = 0, n = 0;

	for (size_t i = 0; i < len; i++) {
		double c = times[i], g = gains[i];

		/* c steps of g each: the trapezoids from gained to gained + c * g. */
		area += c * gained + g * c * c / 2;
		gained += c * g;
		n += c;
	}
	return metrics_has_gap(gained, n) ? area / gained / n : NAN;
}

void
bootstrap_apgr(struct interval *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order, unsigned draws, uint64_t seed)
{
	float *gains = zeroed(len, sizeof(*gains));
	uint16_t *times = zeroed(len, sizeof(*times));
	double *found = zeroed(draws, sizeof(*found));
	struct rng rng = {seed};
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		gains[i] = (float)(rows[order[i]].strong - rows[order[i]].weak);
	for (unsigned d = 0; d < draws && len > 0; d++) {
		double apgr;

		for (size_t i = 0; i < len; i++)
			times[i] = 0;
		for (size_t i = 0; i < len; i++)
			times[rng_below(&rng, len)]++;
		apgr = drawn_apgr(gains, times, len);
		if (isfinite(apgr))
			found[n++] = apgr;
	}
	interval_of(out, found, n, draws);
	free(gains);
	free(times);
	free(found);
}

void
bootstrap_mean(
	struct interval *out, const double *values, size_t len, unsigned draws, uint64_t seed)
{
	double *found = zeroed(draws, sizeof(*found));
	struct rng rng = {seed};
	size_t n = 0;

	for (unsigned d = 0; d < draws && len > 0; d++) {
		double sum = 0;

		for (size_t i = 0; i < len; i++)
			sum += values[rng_below(&rng, len)];
		found[n++] = sum / (double)len;
	}
	interval_of(out, found, n, draws);
	free(found);
}

void
bootstrap_spread(struct interval *out, double *values, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (isfinite(values[i]))
			values[n++] = values[i];
	}
	interval_of(out, values, n, len);
}
