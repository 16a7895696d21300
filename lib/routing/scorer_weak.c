/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_weak.c - always the weak model
 */
#include "lib/routing/scorer_parts.h"

static double
weak_want(const struct scorer *s, const struct scorer_input *in)
{
	(void)s;
	(void)in;
	return 0;
}

const struct scorer_ops scorer_weak_ops = {.want = weak_want};
