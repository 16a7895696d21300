/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half.h - 16-bit floats: IEEE binary16 (f16) and bfloat16 (bf16)
 *
 * Rounding is to the nearest, ties to even. The array forms are loops that compilers vectorize.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

float half_f16_to_f32(uint16_t h);
uint16_t half_f16_from_f32(float f); /* beyond +-65504: infinity */
float half_bf16_to_f32(uint16_t h);
uint16_t half_bf16_from_f32(float f);

/* Add h[0..n) to out[0..n). f16 without infinities and NaN, as encoder_pack writes it. */
void half_f16_add(float *out, const uint16_t *h, size_t n);
