/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_oracle.h - compare a kernel's ops with plain loops in double precision
 *
 * Each function fails the running test, naming kernel, shape and place.
 */
#pragma once

#include "lib/encoder/kernel.h"

enum oracle_data {
	/* Values that bf16 and int8 hold without rounding: the result must be right to f32. */
	ORACLE_EXACT,
	/* Any values: the result must be right to the rounding of the inputs. */
	ORACLE_RANDOM,
};

struct oracle_linear {
	uint32_t rows, in, out;
	enum kernel_epilogue epilogue;
	enum oracle_data data;
};

void oracle_linear(const struct kernel *k, const struct oracle_linear *t);
/* Each row's bytes are the same alone, in any batch, and with threads. */
void oracle_linear_is_deterministic(const struct kernel *k, uint32_t in, uint32_t out);
void oracle_attention(const struct kernel *k, uint32_t heads, uint32_t head_dim,
	const uint32_t *lengths, uint32_t count, int with_bias);
void oracle_norm(const struct kernel *k, uint32_t rows, uint32_t dim);
/* The largest error of an activation for x in -12..12; where weights are not f32, of such x as bf16
 * can say. */
double oracle_activation_error(const struct kernel *k, enum kernel_epilogue epilogue);
