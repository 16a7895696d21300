/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_mlp.c - mlp: one hidden layer
 */
#include "lib/lab/train_parts.h"

enum { MLP_HIDDEN = 32 };

static enum err_code
mlp_train(struct train_job *j, struct buf *out, struct err *e)
{
	return net_train(j, out, NET_MLP, MLP_HIDDEN, e);
}

const struct train_ops train_mlp_ops = {mlp_train};
