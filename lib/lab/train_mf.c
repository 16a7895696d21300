/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_mf.c - matrix factorisation: factors of prompts and of models
 */
#include "lib/lab/train_parts.h"

enum { MF_HIDDEN = 16 };

static enum err_code
mf_train(struct train_job *j, struct buf *out, struct err *e)
{
	return net_train(j, out, NET_MF, MF_HIDDEN, e);
}

const struct train_ops train_mf_ops = {mf_train};
