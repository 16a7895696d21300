/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.c - a histogram of nanoseconds with 1 % resolution
 */
#include "hist.h"

enum { STEPS = 1 << HIST_STEP_BITS };

static unsigned
bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < STEPS)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - HIST_STEP_BITS;
	return ((shift + 1) << HIST_STEP_BITS) + (unsigned)((ns >> shift) - STEPS);
}

static uint64_t
value_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < STEPS)
		return bucket;
	shift = (bucket >> HIST_STEP_BITS) - 1;
	return ((uint64_t)(STEPS + (bucket & (STEPS - 1))) << shift) + ((1ULL << shift) >> 1);
}

void
hist_add(struct hist *h, uint64_t ns)
{
	h->bucket[bucket_of(ns)]++;
	h->count++;
	h->sum += (double)ns;
	if (ns > h->max)
		h->max = ns;
}

uint64_t
hist_at(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->count);
	uint64_t seen = 0;

	if (h->count == 0)
		return 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return value_of(i) < h->max ? value_of(i) : h->max;
	}
	return h->max;
}

void
hist_print(const struct hist *h, FILE *out, const char *name)
{
	static const struct {
		const char *name;
		double q;
	} rows[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};

	(void)fprintf(out, "\"%s\":{\"count\":%llu,\"mean_us\":%.2f", name,
		(unsigned long long)h->count, h->count > 0 ? h->sum / (double)h->count / 1e3 : 0.0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		(void)fprintf(
			out, ",\"%s\":%.2f", rows[i].name, (double)hist_at(h, rows[i].q) / 1e3);
	(void)fprintf(out, ",\"max_us\":%.2f}", (double)h->max / 1e3);
}
