/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - the two clocks
 */
#include <stdatomic.h>
#include <time.h>

#include "lib/base/clock.h"

/* Other threads may log meanwhile. */
static _Atomic int64_t clock_shift_s;

uint64_t
clock_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t
clock_wall_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)(ts.tv_sec + atomic_load_explicit(&clock_shift_s, memory_order_relaxed));
}

void
clock_wall_shift(int64_t by_ms)
{
	atomic_store_explicit(&clock_shift_s, by_ms / 1000, memory_order_relaxed);
}

uint64_t
clock_ms_to_ns(uint64_t ms)
{
	return ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : ms * NS_PER_MS;
}
