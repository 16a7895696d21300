/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.h - 95 % intervals by drawing the rows again, seeded
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/lab/metrics.h"

enum { BOOTSTRAP_DRAWS = 1000 };

struct interval {
	double low, high; /* 2.5 and 97.5 % */
};

/* Of the exact APGR. NaN where it is not defined in more than one draw of twenty. */
void bootstrap_apgr(struct interval *out, const struct metrics_pair *rows, size_t len,
	const uint32_t *order, unsigned draws, uint64_t seed);
/* Of the mean of values. */
void bootstrap_mean(
	struct interval *out, const double *values, size_t len, unsigned draws, uint64_t seed);
/* Of values that were drawn already; they are sorted. */
void bootstrap_spread(struct interval *out, double *values, size_t len);
