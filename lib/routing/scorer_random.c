/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_random.c - a coin: uniform over 0..1 from the request's seed
 */
#include "lib/routing/parts.h"
#include "lib/routing/scorer_parts.h"

static double
random_want(const struct scorer *s, const struct scorer_input *in)
{
	(void)s;
	return (double)(balance_random(in->seed, 0) >> 11) / 9007199254740992.0;
}

const struct scorer_ops scorer_random_ops = {.want = random_want};
