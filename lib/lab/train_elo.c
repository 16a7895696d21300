/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_elo.c - the same memory as knn: strengths are fitted when a prompt asks
 */
#include "lib/lab/train_parts.h"

const struct train_ops train_elo_ops = {memory_train};
