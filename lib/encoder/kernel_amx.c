/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_amx.c - bf16 and int8 with AMX tiles
 *
 * A block is up to 32 rows, two tiles high, converted but not interleaved: a tile reads its rows
 * by itself. A panel is two tiles wide. Four tiles of sums, two of the block and two of the panel
 * are all eight. A row of the panel is 16 units, 64 bytes of a block's row, for both dtypes.
 *
 * Where a test machine has no AMX, these instructions are decoded from the bytes that the compiler
 * emitted and carried out by a model (tests/unit/amx_model.h); they have not run on hardware in this
 * project's tests yet. They are taken only where CPUID has them and Linux grants them.
 */
#include <string.h>

#include "lib/encoder/kernel_amx_tiles.h"
#include "lib/encoder/kernel_table.h"

enum {
	TILE_ROWS = 16,
	TILE_ROW_BYTES = 64,
	TILE_UNITS = TILE_ROW_BYTES / 4,
	/* Between rows of a block: rows of 3072 bf16 would all fall into the same few sets of the
	 * cache. */
	ROW_GAP = 64,
	AHEAD = 4096, /* bytes of a panel that are asked for before they are read */
};

static void
tiles_begin(void)
{
	struct amx_config c;

	memset(&c, 0, sizeof(c));
	c.palette = 1;
	for (size_t i = 0; i < 8; i++) {
		c.row_bytes[i] = TILE_ROW_BYTES;
		c.rows[i] = TILE_ROWS;
	}
	amx_configure(&c);
}

static void
tiles_end(void)
{
	amx_release();
}

static inline size_t
row_bytes(size_t units)
{
	return units * 4 + ROW_GAP;
}

/* Whole tiles: rows after the last are read, and what they give is not looked at. */
static size_t
tiles_block_bytes(unsigned rows, size_t units)
{
	return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * row_bytes(units);
}

static void
take_bf16_rows(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	(void)scales;
	for (unsigned r = 0; r < rows; r++) {
		uint8_t *to = (uint8_t *)block + r * row_bytes(units);

		for (size_t u = 0; u < units; u += VF_LANES)
			vi_store(to + u * 4,
				take_units(ENCODER_BF16, x + r * stride, u, have, 0, 0));
	}
}

static void
take_byte_rows(void *block, struct row_scale *scales, const float *x, size_t have, size_t stride,
	unsigned rows, size_t units)
{
	for (unsigned r = 0; r < rows; r++) {
		uint8_t *to = (uint8_t *)block + r * row_bytes(units);
		const float *row = x + r * stride;

		scales[r] = take_scale(row, have);
		for (size_t u = 0; u < units; u += VF_LANES)
			vi_store(to + u * 4, take_units(ENCODER_I8, row, u, have,
						     1.0f / scales[r].scale, scales[r].zero));
	}
}

/* One tile of rows: sums in tiles 0 and 1. */
#define TILES_LOW(DOT)                                                                             \
	AMX_ZERO(0);                                                                               \
	AMX_ZERO(1);                                                                               \
	for (size_t u = 0; u < units; u += TILE_UNITS, panel += TILE_UNITS * IMAGE_ROW_BYTES) {    \
		ASK(panel);                                                                        \
		AMX_LOAD(4, a + u * 4, stride_a);                                                  \
		AMX_LOAD(6, panel, IMAGE_ROW_BYTES);                                               \
		DOT(0, 4, 6);                                                                      \
		AMX_LOAD(7, panel + TILE_ROW_BYTES, IMAGE_ROW_BYTES);                              \
		DOT(1, 4, 7);                                                                      \
	}                                                                                          \
	AMX_STORE(0, to, stride_to);                                                               \
	AMX_STORE(1, to + TILE_ROW_BYTES, stride_to);

/* Two tiles of rows: sums of the second in tiles 2 and 3. */
#define TILES_HIGH(DOT)                                                                            \
	AMX_ZERO(0);                                                                               \
	AMX_ZERO(1);                                                                               \
	AMX_ZERO(2);                                                                               \
	AMX_ZERO(3);                                                                               \
	for (size_t u = 0; u < units; u += TILE_UNITS, panel += TILE_UNITS * IMAGE_ROW_BYTES) {    \
		ASK(panel);                                                                        \
		AMX_LOAD(4, a + u * 4, stride_a);                                                  \
		AMX_LOAD(6, panel, IMAGE_ROW_BYTES);                                               \
		DOT(0, 4, 6);                                                                      \
		AMX_LOAD(7, panel + TILE_ROW_BYTES, IMAGE_ROW_BYTES);                              \
		DOT(1, 4, 7);                                                                      \
		AMX_LOAD(5, second + u * 4, stride_a);                                             \
		DOT(2, 5, 6);                                                                      \
		DOT(3, 5, 7);                                                                      \
	}                                                                                          \
	AMX_STORE(0, to, stride_to);                                                               \
	AMX_STORE(1, to + TILE_ROW_BYTES, stride_to);                                              \
	AMX_STORE(2, to + TILE_ROWS * stride_to, stride_to);                                       \
	AMX_STORE(3, to + TILE_ROWS * stride_to + TILE_ROW_BYTES, stride_to);

/* Prototypes gained a tenth from asking ahead with bf16 and lost with int8, whose weights are
 * half as many bytes. */
static inline void
ask_bf16(const uint8_t *panel)
{
	for (size_t i = 0; i < (size_t)TILE_UNITS * IMAGE_ROW_BYTES; i += 64)
		_mm_prefetch((const char *)panel + AHEAD + i, _MM_HINT_T0);
}

#define PRODUCT_OF_TILES(name, DOT)                                                                \
	static void name(void *tile, size_t stride, const void *block, const uint8_t *panel,       \
		size_t units, unsigned rows)                                                       \
	{                                                                                          \
		size_t stride_a = row_bytes(units), stride_to = stride * 4;                        \
		const uint8_t *a = block, *second = a + TILE_ROWS * stride_a;                      \
		uint8_t *to = tile;                                                                \
                                                                                                   \
		if (rows > TILE_ROWS) {                                                            \
			TILES_HIGH(DOT)                                                            \
		} else {                                                                           \
			TILES_LOW(DOT)                                                             \
		}                                                                                  \
	}

#define ASK ask_bf16
PRODUCT_OF_TILES(product_bf16, AMX_DOT_BF16)
#undef ASK
#define ASK (void)
PRODUCT_OF_TILES(product_bytes, AMX_DOT_BYTES)
#undef ASK

static const struct engine engine_bf16 = {.panel = ENCODER_BF16,
	.block = ENCODER_BF16,
	.rows = 2 * TILE_ROWS,
	.full_blocks = true,
	.begin = tiles_begin,
	.end = tiles_end,
	.block_bytes = tiles_block_bytes,
	.take = take_bf16_rows,
	.product = product_bf16};

static const struct engine engine_bytes = {.panel = ENCODER_I8,
	.block = ENCODER_I8,
	.rows = 2 * TILE_ROWS,
	.full_blocks = true,
	.begin = tiles_begin,
	.end = tiles_end,
	.block_bytes = tiles_block_bytes,
	.take = take_byte_rows,
	.product = product_bytes};

KERNEL_TABLE(amx_bf16, ENCODER_ISA_AMX, ENCODER_BF16, KERNEL_CPU_AMX, engine_bf16, engine_bf16)
KERNEL_TABLE(amx_i8, ENCODER_ISA_AMX, ENCODER_I8, KERNEL_CPU_AMX, engine_bytes, engine_bf16)
