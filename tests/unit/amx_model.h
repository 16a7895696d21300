/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amx_model.h - the tile instructions of kernel_amx_tiles.h in plain C
 *
 * What the architecture's manual says they do (tile configuration, TILELOADD, TILESTORED,
 * TDPBF16PS, TDPBUSD), faults included: a fault is a failed CHECK. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct amx_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

void amx_configure(const struct amx_config *c);
void amx_release(void);
void amx_model_zero(unsigned tile);
void amx_model_load(unsigned tile, const void *base, size_t stride);
void amx_model_store(unsigned tile, void *base, size_t stride);
void amx_model_dot_bf16(unsigned sum, unsigned a, unsigned b);
void amx_model_dot_bytes(unsigned sum, unsigned a, unsigned b);

#define AMX_ZERO(tile) amx_model_zero(tile)
#define AMX_LOAD(tile, base, stride) amx_model_load(tile, base, stride)
#define AMX_STORE(tile, base, stride) amx_model_store(tile, base, stride)
#define AMX_DOT_BF16(sum, a, b) amx_model_dot_bf16(sum, a, b)
#define AMX_DOT_BYTES(sum, a, b) amx_model_dot_bytes(sum, a, b)
