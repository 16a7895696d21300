/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.h - a histogram of nanoseconds with 1 % resolution
 *
 * 64 linear steps per power of two, so any value up to an hour is kept to within 1.6 % (the middle
 * of a step is reported: 0.8 %) in a fixed 20 KB. No allocation, no loss under load.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

enum { HIST_STEP_BITS = 6, HIST_BUCKETS = (64 - HIST_STEP_BITS + 1) << HIST_STEP_BITS };

struct hist {
	uint64_t count;
	uint64_t max;
	double sum;
	uint32_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
/* Value at quantile q (0..1); 0 where empty. */
uint64_t hist_at(const struct hist *h, double q);
/* `"name":{"count":..,"mean_us":..,"p50_us":..,...}` without a comma. */
void hist_print(const struct hist *h, FILE *out, const char *name);
