/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_image.c - weights into panels, once per model load; in plain C
 */
#include "lib/encoder/kernel_image.h"

#include <math.h>
#include <string.h>

#include "lib/base/base.h"

size_t
kernel_image_units(enum encoder_dtype dtype, uint32_t in)
{
	size_t elems = kernel_unit_elems(dtype) * IMAGE_UNIT_STEP;

	return ((size_t)in + elems - 1) / elems * IMAGE_UNIT_STEP;
}

static size_t
panel_count(uint32_t out)
{
	return ((size_t)out + IMAGE_COLUMNS - 1) / IMAGE_COLUMNS;
}

/* Bytes before the panels. */
static size_t
head_bytes(enum encoder_dtype dtype, uint32_t out)
{
	return panel_count(out) * IMAGE_COLUMNS * 4 * (dtype == ENCODER_I8 ? 3 : 1);
}

size_t
kernel_image_bytes(enum encoder_dtype dtype, uint32_t in, uint32_t out)
{
	return head_bytes(dtype, out) +
	       panel_count(out) * kernel_image_units(dtype, in) * IMAGE_ROW_BYTES;
}

struct kernel_image
kernel_image_view(enum encoder_dtype dtype, const void *packed, uint32_t in, uint32_t out)
{
	struct kernel_image v = {
		.bias = packed, .units = kernel_image_units(dtype, in), .count = panel_count(out)};

	v.stride = v.units * IMAGE_ROW_BYTES;
	v.panels = (const uint8_t *)packed + head_bytes(dtype, out);
	if (dtype == ENCODER_I8) {
		v.scale = v.bias + v.count * IMAGE_COLUMNS;
		v.sums = (const int32_t *)(const void *)(v.scale + v.count * IMAGE_COLUMNS);
	}
	return v;
}

/* To the nearest bf16, ties to even; the weights are finite. */
static uint16_t
bf16_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static void
column_f32(float *panel, const float *weight, uint32_t in)
{
	for (uint32_t k = 0; k < in; k++)
		panel[(size_t)k * IMAGE_COLUMNS] = weight[k];
}

static void
column_bf16(uint16_t *panel, const float *weight, uint32_t in)
{
	for (uint32_t k = 0; k < in; k++)
		panel[(size_t)(k / 2) * IMAGE_COLUMNS * 2 + k % 2] = bf16_bits(weight[k]);
}

/* Symmetric: -127..127 for the weight of the largest size. */
static void
column_i8(int8_t *panel, float *scale, int32_t *sum, const float *weight, uint32_t in)
{
	float largest = 0, inverse;

	for (uint32_t k = 0; k < in; k++)
		largest = fmaxf(largest, fabsf(weight[k]));
	*scale = largest / 127;
	/* All zero, or so small that the scale is no normal number: the output is its bias. */
	inverse = isnormal(*scale) ? 127 / largest : 0;
	*sum = 0;
	for (uint32_t k = 0; k < in; k++) {
		int32_t q = (int32_t)rintf(weight[k] * inverse);

		panel[(size_t)(k / 4) * IMAGE_COLUMNS * 4 + k % 4] = (int8_t)q;
		*sum += q;
	}
}

void
kernel_image_pack(enum encoder_dtype dtype, void *dst, uint32_t in, uint32_t out,
	const float *weight, const float *bias)
{
	size_t count = panel_count(out) * IMAGE_COLUMNS;
	size_t panel_bytes = kernel_image_units(dtype, in) * IMAGE_ROW_BYTES;
	uint8_t *panels = (uint8_t *)dst + head_bytes(dtype, out);
	float *head = dst;

	if (bias != NULL)
		memcpy(head, bias, out * sizeof(*bias));
	for (uint32_t n = 0; n < out; n++) {
		const float *row = weight + (size_t)n * in;
		uint8_t *column =
			panels + n / IMAGE_COLUMNS * panel_bytes + (size_t)(n % IMAGE_COLUMNS) * 4;

		if (dtype == ENCODER_F32)
			column_f32((float *)(void *)column, row, in);
		else if (dtype == ENCODER_BF16)
			column_bf16((uint16_t *)(void *)column, row, in);
		else
			column_i8((int8_t *)(void *)column, head + count + n,
				(int32_t *)(void *)(head + 2 * count) + n, row, in);
	}
}
