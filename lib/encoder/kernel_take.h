/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_take.h - rows of activations into interleaved blocks, for kernels of vectors
 *
 * A product reads, for each unit of the inner dimension, that unit of every row of the block: so a
 * block has the units of all its rows side by side, [unit][row]. Rows are converted (f32, bf16 or
 * quantized to bytes) on the way.
 */
#pragma once

#include "lib/encoder/kernel_engine.h"
#include "lib/encoder/kernel_vec.h"

/* Stored rows of a chunk run over into what is stored next; the last one needs this much. */
enum { TAKE_SLACK = 64 };

/* VF_LANES floats of a row from `at` on; nothing but zero after its end. */
static ALWAYS_INLINE vf
take_floats(const float *row, size_t at, size_t have)
{
	return at < have ? vf_load(row + at) : vf_set(0);
}

/* The units of 4 bytes that elements of one dtype make, VF_LANES of them from unit `at` on. */
static ALWAYS_INLINE vi
take_units(const enum encoder_dtype dtype, const float *row, size_t at, size_t have, float inverse,
	int32_t zero)
{
	vi q[4];

	if (dtype == ENCODER_F32)
		return vi_of_bits(take_floats(row, at, have));
#ifdef __AVX512BF16__
	if (dtype == ENCODER_BF16)
		return (vi)_mm512_cvtne2ps_pbh(take_floats(row, at * 2 + VF_LANES, have),
			take_floats(row, at * 2, have));
#endif
	for (size_t i = 0; i < 4; i++) {
		vf x = take_floats(row, at * 4 + i * VF_LANES, have);

		q[i] = vi_add(vi_of_float(vf_mul(x, vf_set(inverse))), vi_set(zero));
	}
	return vi_bytes(q[0], q[1], q[2], q[3]);
}

/* Scale and zero point of a row, so that 0 is exact and the whole range is used. */
static ALWAYS_INLINE struct row_scale
take_scale(const float *row, size_t have)
{
	vf low = vf_set(0), high = vf_set(0);
	struct row_scale s;
	float range;

	for (size_t k = 0; k < have; k += VF_LANES) {
		vf x = vf_load(row + k);

		low = vf_min(low, x);
		high = vf_max(high, x);
	}
	range = vf_highest(high) - vf_lowest(low);
	s.scale = range > 1e-30f ? range / 255 : 1.0f;
	s.zero = (int32_t)(0.5f - vf_lowest(low) / s.scale);
	return s;
}

/* Interleave rows (at most VF_LANES) into dst, whose units lie `width` apart; rows < width only
 * where the units are stored in order and the overrun of one is the place of the next. */
static ALWAYS_INLINE void
take_rows(const enum encoder_dtype dtype, uint32_t *dst, size_t width, struct row_scale *scales,
	const float *x, size_t have, size_t stride, unsigned rows, size_t units)
{
	float inverse[VF_LANES] = {0};
	int32_t zero[VF_LANES] = {0};

	for (unsigned r = 0; dtype == ENCODER_I8 && r < rows; r++) {
		scales[r] = take_scale(x + r * stride, have);
		inverse[r] = 1.0f / scales[r].scale;
		zero[r] = scales[r].zero;
	}
	for (size_t u = 0; u < units; u += VF_LANES) {
		vi t[VF_LANES];

		UNROLL
		for (unsigned r = 0; r < VF_LANES; r++)
			t[r] = r < rows ? take_units(dtype, x + r * stride, u, have, inverse[r],
						  zero[r])
					: vi_set(0);
		vi_transpose(t);
		UNROLL
		for (unsigned i = 0; i < VF_LANES; i++)
			vi_store(dst + (u + i) * width, t[i]);
	}
}

static inline size_t
take_block_bytes(unsigned rows, size_t units)
{
	return (rows * units * 4 + TAKE_SLACK + 63) / 64 * 64;
}

/* A block of bf16 panels whose weights are widened: two floats per unit. */
static inline size_t
take_wide_block_bytes(unsigned rows, size_t units)
{
	return take_block_bytes(rows, units * 2);
}

static inline void
take_f32(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	take_rows(ENCODER_F32, block, rows, scales, x, have, stride, rows, units);
}

static inline void
take_wide(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	take_f32(block, scales, x, have, stride, rows, units * 2);
}

static inline void
take_i8(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	take_rows(ENCODER_I8, block, rows, scales, x, have, stride, rows, units);
}

#ifdef __AVX512BF16__
static inline void
take_bf16(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	take_rows(ENCODER_BF16, block, rows, scales, x, have, stride, rows, units);
}
#endif
