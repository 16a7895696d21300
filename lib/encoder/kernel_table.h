/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_table.h - the ops of a kernel file, from its engines
 *
 * KERNEL_TABLE(symbol, isa, dtype, cpu, linear engine, attention engine) defines kernel_<symbol>.
 */
#pragma once

#include "lib/encoder/kernel_attention.h"
#include "lib/encoder/kernel_cpu.h"
#include "lib/encoder/kernel_linear.h"

#define KERNEL_TABLE(symbol, the_isa, the_dtype, cpu, linear_engine, attention_engine)             \
	static bool symbol##_runs(void)                                                            \
	{                                                                                          \
		return kernel_cpu_has(cpu);                                                        \
	}                                                                                          \
	static size_t symbol##_bytes(uint32_t in, uint32_t out)                                    \
	{                                                                                          \
		return kernel_image_bytes(the_dtype, in, out);                                     \
	}                                                                                          \
	static void symbol##_pack(void *dst, uint32_t in, uint32_t out, const float *weight,       \
		const float *bias)                                                                 \
	{                                                                                          \
		kernel_image_pack(the_dtype, dst, in, out, weight, bias);                          \
	}                                                                                          \
	static size_t symbol##_scratch(const struct kernel_shape *s)                               \
	{                                                                                          \
		return MAX(linear_scratch_bytes(&linear_engine, s),                                \
			attention_scratch_bytes(&attention_engine, s));                            \
	}                                                                                          \
	static void symbol##_linear(const struct kernel_call *call,                                \
		const struct kernel_linear *l, float *out, const float *x, uint32_t rows)          \
	{                                                                                          \
		linear_run(&linear_engine, call, l, out, x, rows);                                 \
	}                                                                                          \
	static void symbol##_attention(const struct kernel_call *call,                             \
		const struct kernel_attention *a, float *context, const float *qkv,                \
		const struct kernel_batch *batch)                                                  \
	{                                                                                          \
		attention_run(&attention_engine, call, a, context, qkv, batch);                    \
	}                                                                                          \
	const struct kernel kernel_##symbol = {.isa = the_isa,                                     \
		.dtype = the_dtype,                                                                \
		.runs = symbol##_runs,                                                             \
		.packed_bytes = symbol##_bytes,                                                    \
		.pack = symbol##_pack,                                                             \
		.scratch_bytes = symbol##_scratch,                                                 \
		.linear = symbol##_linear,                                                         \
		.attention = symbol##_attention,                                                   \
		.norm = norm_run};
