/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_knn.c - the training prompts and their outcomes, as they are
 */
#include "lib/lab/train_parts.h"

const struct train_ops train_knn_ops = {memory_train};
