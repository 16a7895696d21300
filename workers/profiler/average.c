/* SPDX-License-Identifier: Apache-2.0 */
/*
 * average.c - moving averages out of counters that only grow
 *
 * Half-lives: after CALLS_HALF more calls a measurement counts half in the times and speeds, after
 * FAILURES_HALF calls in the failure rate. While nobody calls, the failure rate halves every
 * QUIET_HALF_S seconds: a deployment that is avoided for its failures is tried again.
 * The counters were written by another process: any value gives a finite, sane average.
 */
#include <math.h>

#include "lib/base/clock.h"
#include "workers/profiler/profiler.h"

enum { CALLS_HALF = 8, FAILURES_HALF = 16, QUIET_HALF_S = 60 };

static const double MS_MAX = 1e7, SPEED_MAX = 1e6, RATE_NOTHING = 1e-4;

void
sample_read(struct sample *out, const struct deployment_stat *stat)
{
	out->ok = atomic_load_explicit(&stat->ok, memory_order_acquire);
	out->failed = atomic_load_explicit(&stat->failed, memory_order_acquire);
	out->failed_in_row = atomic_load_explicit(&stat->failed_in_row, memory_order_relaxed);
	out->ttft_us_sum = atomic_load_explicit(&stat->ttft_us_sum, memory_order_relaxed);
	out->ttft_count = atomic_load_explicit(&stat->ttft_count, memory_order_relaxed);
	out->tokens = atomic_load_explicit(&stat->tokens, memory_order_relaxed);
	out->token_us_sum = atomic_load_explicit(&stat->token_us_sum, memory_order_relaxed);
	out->total_us_sum = atomic_load_explicit(&stat->total_us_sum, memory_order_relaxed);
}

static uint64_t
sample_growth(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

struct sample
sample_since(const struct sample *now, const struct sample *before)
{
	return (struct sample){
		.ok = sample_growth(now->ok, before->ok),
		.failed = sample_growth(now->failed, before->failed),
		.failed_in_row = now->failed_in_row,
		.ttft_us_sum = sample_growth(now->ttft_us_sum, before->ttft_us_sum),
		.ttft_count = sample_growth(now->ttft_count, before->ttft_count),
		.tokens = sample_growth(now->tokens, before->tokens),
		.token_us_sum = sample_growth(now->token_us_sum, before->token_us_sum),
		.total_us_sum = sample_growth(now->total_us_sum, before->total_us_sum),
	};
}

/* What is left of the old average after n more of something with this half-life. */
static double
average_keep(double n, double half)
{
	return exp2(-n / half);
}

/* n calls with this mean; the first ones set the average. */
static bool
average_mix(float *average, double mean, uint64_t n, double most)
{
	double keep = *average > 0 ? average_keep((double)n, CALLS_HALF) : 0;
	float mixed;

	if (n == 0 || !(mean > 0))
		return false;
	mixed = (float)(*average * keep + MIN(mean, most) * (1 - keep));
	if (mixed == *average)
		return false;
	*average = mixed;
	return true;
}

static bool
average_failures(struct profile_info *p, const struct sample *d, uint64_t elapsed_ns)
{
	double calls = (double)d->ok + (double)d->failed, keep, rate = p->failure_rate;

	if (calls > 0) {
		keep = average_keep(calls, FAILURES_HALF);
		rate = rate * keep + (double)d->failed / calls * (1 - keep);
	} else {
		rate *= average_keep((double)elapsed_ns / (double)NS_PER_S, QUIET_HALF_S);
	}
	if (!(rate > RATE_NOTHING))
		rate = 0;
	rate = MIN(rate, 1.0);
	if ((float)rate == p->failure_rate)
		return false;
	p->failure_rate = (float)rate;
	return true;
}

bool
average_update(struct profile_info *p, const struct sample *d, uint64_t elapsed_ns)
{
	bool moved = average_failures(p, d, elapsed_ns);

	if (d->ttft_count > 0)
		moved |= average_mix(&p->ttft_ms,
			(double)d->ttft_us_sum / (double)d->ttft_count / 1e3, d->ttft_count,
			MS_MAX);
	if (d->token_us_sum > 0)
		moved |= average_mix(&p->tokens_per_s,
			(double)d->tokens * 1e6 / (double)d->token_us_sum, d->ok, SPEED_MAX);
	if (d->ok > 0)
		moved |= average_mix(&p->latency_ms, (double)d->total_us_sum / (double)d->ok / 1e3,
			d->ok, MS_MAX);
	if (d->ok == 0 && d->failed == 0)
		return moved;
	p->ok += d->ok;
	p->failed += d->failed;
	return true;
}
