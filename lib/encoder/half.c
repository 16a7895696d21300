/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half.c - convert 16-bit floats
 */
#include <string.h>

#include "lib/encoder/half.h"

static uint32_t
bits_of(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

static float
float_of(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

/* An f16 with its bits where those of an f32 are is smaller by 2^112: the biases' difference. */
static inline float
finite_f16(uint16_t h)
{
	float scaled = float_of((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;

	return float_of(bits_of(scaled) | (uint32_t)(h & 0x8000) << 16);
}

float
half_f16_to_f32(uint16_t h)
{
	if ((h & 0x7c00) == 0x7c00) /* infinity, NaN */
		return float_of(
			(uint32_t)(h & 0x8000) << 16 | 0x7f800000 | (uint32_t)(h & 0x3ff) << 13);
	return finite_f16(h);
}

uint16_t
half_f16_from_f32(float f)
{
	uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
	uint32_t rounded;

	if (magnitude > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x38800000) { /* below 2^-14: subnormal; the sum's last bit is 2^-24 */
		rounded = bits_of(float_of(magnitude) + 0x1p-1f) - bits_of(0x1p-1f);
		return (uint16_t)(sign | rounded);
	}
	rounded = magnitude - 0x38000000;
	rounded = (rounded + 0xfff + (rounded >> 13 & 1)) >> 13;
	return (uint16_t)(sign | rounded);
}

float
half_bf16_to_f32(uint16_t h)
{
	return float_of((uint32_t)h << 16);
}

uint16_t
half_bf16_from_f32(float f)
{
	uint32_t u = bits_of(f);

	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void
half_f16_add(float *out, const uint16_t *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] += finite_f16(h[i]);
}
