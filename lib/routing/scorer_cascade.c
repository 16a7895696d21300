/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_cascade.c - a strong model where the weak one was unsure of its own answer
 *
 * A route asks the weak model and decides by its answer; the lab reads from its rows how sure that
 * was. The want is what is missing to 1, so that a want is at or above 1 - t where the confidence
 * is at or below t.
 */
#include "lib/routing/scorer_parts.h"

static double
cascade_want(const struct scorer *s, const struct scorer_input *in)
{
	(void)s;
	return 1 - in->confidence;
}

const struct scorer_ops scorer_cascade_ops = {.want = cascade_want};
