/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c - seeded random numbers
 */
#include "lib/lab/rng.h"
#include "lib/base/base.h"

uint64_t
rng_next(struct rng *r)
{
	uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint32_t
rng_below(struct rng *r, size_t n)
{
	CHECK(n > 0 && n <= UINT32_MAX);
	return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

double
rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}
