/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_irt.c - item response theory: how easy a prompt is, times how sharply a model tells, plus its ability
 */
#include "lib/routing/scorer_net.h"

static void
irt_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	net_guess(s, out, in, scratch, NET_IRT);
}

const struct scorer_ops scorer_irt_ops = {
	.bytes = sizeof(struct net),
	.open = net_open,
	.close = net_close,
	.scratch_bytes = net_scratch_bytes,
	.guess = irt_guess,
};
