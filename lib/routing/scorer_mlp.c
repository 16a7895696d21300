/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_mlp.c - a small neural network: hidden units cut at 0, a logistic head per model
 */
#include "lib/routing/scorer_net.h"

static void
mlp_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	net_guess(s, out, in, scratch, NET_MLP);
}

const struct scorer_ops scorer_mlp_ops = {
	.bytes = sizeof(struct net),
	.open = net_open,
	.close = net_close,
	.scratch_bytes = net_scratch_bytes,
	.guess = mlp_guess,
};
