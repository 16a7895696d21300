/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_engine.h - what a kernel file must bring: how it multiplies a block by a panel
 *
 * Private to the kernel files. A "block" is a few rows of activations in the form that the
 * product wants to read; a panel is 32 columns of weights (kernel_image.h). Everything around the
 * product (blocks, panels, epilogues, attention, threads) is in kernel_linear.h and
 * kernel_attention.h, once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/encoder/encoder.h"
#include "lib/encoder/kernel_image.h"

/* How a row of int8 activations was quantized: q = x / scale + zero, in 0..255. */
struct row_scale {
	float scale;
	int32_t zero;
};

struct engine {
	enum encoder_dtype panel; /* the layout of the panels */
	enum encoder_dtype block; /* what a block's elements are; for f32 with bf16 panels
				   * (widened in registers) a unit of the panel meets two of a block */
	unsigned rows; /* most rows of a block */
	bool full_blocks; /* all blocks but the last have that many; else they are about equal */
	/* Before the first product in a thread, after the last; or NULL. */
	void (*begin)(void);
	void (*end)(void);
	/* Bytes of a block of rows, slack for what take writes beyond it included. */
	size_t (*block_bytes)(unsigned rows, size_t units);
	/* Convert rows of x, which have `have` floats each (a multiple of KERNEL_ROW_FLOATS) and lie
	 * stride floats apart, into a block of `units` units of a panel. scales: rows of them,
	 * written where the block is int8. */
	void (*take)(void *block, struct row_scale *scales, const float *x, size_t have,
		size_t stride, unsigned rows, size_t units);
	/* tile[r][0..31] = sum over units of block row r times panel column; int32 for int8.
	 * stride: 4-byte elements from one row of the tile to the next. The tile has room for the
	 * engine's `rows`; what is in rows of it that the block has not is garbage afterwards. */
	void (*product)(void *tile, size_t stride, const void *block, const uint8_t *panel,
		size_t units, unsigned rows);
};

/* Height of each block of rows rows but the last; at least 1. */
static inline unsigned
engine_height(const struct engine *e, size_t rows)
{
	size_t blocks = (rows + e->rows - 1) / e->rows;

	return e->full_blocks ? e->rows : (unsigned)((rows + blocks - 1) / blocks);
}

static inline void
engine_begin(const struct engine *e)
{
	if (e->begin != NULL)
		e->begin();
}

static inline void
engine_end(const struct engine *e)
{
	if (e->end != NULL)
		e->end();
}
