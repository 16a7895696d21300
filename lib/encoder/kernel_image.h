/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_image.h - how the vector and tile kernels lay out a packed linear layer
 *
 * One layout per dtype serves every instruction set, so kernels differ only in how they multiply.
 * The matrix W[out][in] is cut into panels of 32 outputs; a panel is a sequence of rows, one per
 * unit of the inner dimension, each of 32 times 4 bytes: for every output one float, two bf16 or
 * four int8 that are neighbours in `in`. Two 64-byte vectors of AVX-512 make a row, four of AVX2;
 * half a row is the row of an AMX tile. A panel is one stream of memory, read front to back.
 *
 *   bias   float[panels * 32]
 *   scale  float[panels * 32]    int8 only: of each output's weights
 *   sums   int32_t[panels * 32]  int8 only: of each output's quantized weights
 *   panels units * 128 bytes each
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/encoder/encoder.h"

enum {
	IMAGE_COLUMNS = 32,   /* outputs in a panel */
	IMAGE_ROW_BYTES = 128, /* of a unit in a panel */
	IMAGE_UNIT_STEP = 16, /* units are a multiple of this: a tile's height, a vector of them */
};

struct kernel_image {
	const float *bias, *scale;
	const int32_t *sums;
	const uint8_t *panels;
	size_t units;  /* of the inner dimension, padded with zero weights */
	size_t count;  /* panels */
	size_t stride; /* bytes from one panel to the next */
};

/* How many elements of dtype share 4 bytes. */
static inline size_t
kernel_unit_elems(enum encoder_dtype dtype)
{
	return dtype == ENCODER_F32 ? 1 : dtype == ENCODER_BF16 ? 2 : 4;
}

/* Units of an inner dimension, padding included. */
size_t kernel_image_units(enum encoder_dtype dtype, uint32_t in);
size_t kernel_image_bytes(enum encoder_dtype dtype, uint32_t in, uint32_t out);
void kernel_image_pack(enum encoder_dtype dtype, void *dst, uint32_t in, uint32_t out,
	const float *weight, const float *bias);
struct kernel_image kernel_image_view(enum encoder_dtype dtype, const void *packed, uint32_t in,
	uint32_t out);
