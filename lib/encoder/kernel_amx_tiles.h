/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_amx_tiles.h - the tile instructions that kernel_amx.c is written in
 *
 * Inline assembly, because gcc 12's intrinsics let the optimizer drop stores that only a tile
 * instruction reads (the configuration first of all). Tiles are literal numbers 0..7.
 * A machine without AMX runs them in tests all the same (tests/unit/amx_model.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What ldtilecfg reads. */
struct amx_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

_Static_assert(sizeof(struct amx_config) == 64, "the instruction reads 64 bytes");

static inline void
amx_configure(const struct amx_config *c)
{
	__asm__ volatile("ldtilecfg %0" : : "m"(*c) : "memory");
}

static inline void
amx_release(void)
{
	__asm__ volatile("tilerelease" : : : "memory");
}

#define AMX_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)

/* Rows of 64 bytes from base on, stride bytes apart. */
#define AMX_LOAD(tile, base, stride)                                                               \
	__asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                                        \
			 :                                                                         \
			 : "r"(base), "r"((size_t)(stride))                                        \
			 : "memory")

#define AMX_STORE(tile, base, stride)                                                              \
	__asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"                                    \
			 :                                                                         \
			 : "r"(base), "r"((size_t)(stride))                                        \
			 : "memory")

/* sum += a b: a has rows of bf16 pairs, b columns of bf16 pairs; sums are f32. */
#define AMX_DOT_BF16(sum, a, b)                                                                    \
	__asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)

/* sum += a b: a has rows of four unsigned bytes, b columns of four signed ones; sums are int32. */
#define AMX_DOT_BYTES(sum, a, b)                                                                   \
	__asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)
