/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_mf.c - matrix factorisation: factors of the prompt times factors of the model
 */
#include "lib/routing/scorer_net.h"

static void
mf_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	net_guess(s, out, in, scratch, NET_MF);
}

const struct scorer_ops scorer_mf_ops = {
	.bytes = sizeof(struct net),
	.open = net_open,
	.close = net_close,
	.scratch_bytes = net_scratch_bytes,
	.guess = mf_guess,
};
