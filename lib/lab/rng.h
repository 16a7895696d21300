/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h - seeded random numbers of the laboratory: the same on every machine
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* splitmix64; any state is a good seed. */
struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *r);
/* 0..n-1; n > 0 and below 2^32. */
uint32_t rng_below(struct rng *r, size_t n);
double rng_unit(struct rng *r); /* 0 <= x < 1 */
