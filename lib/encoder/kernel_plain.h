/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_plain.h - parts of the portable attention that other kernels build theirs with
 */
#pragma once

#include "lib/encoder/kernel.h"

/* row[i] = softmax(row[i] * scale + bias[i]), bias may be NULL; n >= 1. */
void kernel_plain_softmax(float *row, size_t n, float scale, const float *bias);

/* The bias of query row i of a head, indexed by key row; NULL where the model has none. */
const float *kernel_plain_bias(const struct kernel_attention *a, uint32_t head, uint32_t i);
