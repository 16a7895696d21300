/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_irt.c - item response: ease of prompts, ability and discrimination of models
 */
#include "lib/lab/train_parts.h"

enum { IRT_HIDDEN = 1 };

static enum err_code
irt_train(struct train_job *j, struct buf *out, struct err *e)
{
	return net_train(j, out, NET_IRT, IRT_HIDDEN, e);
}

const struct train_ops train_irt_ops = {irt_train};
