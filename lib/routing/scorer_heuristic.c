/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_heuristic.c - how hard a prompt looks (route_difficulty.c), untrained
 */
#include "lib/routing/route.h"
#include "lib/routing/scorer_parts.h"

static double
heuristic_want(const struct scorer *s, const struct scorer_input *in)
{
	struct route_request r = {
		.turns = {in->text}, .turns_len = {in->len}, .turns_count = 1, .user_turns = 1};

	(void)s;
	r.prompt_bytes = in->len;
	return route_difficulty(&r);
}

const struct scorer_ops scorer_heuristic_ops = {.want = heuristic_want};
