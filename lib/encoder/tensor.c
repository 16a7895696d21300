/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.c - the values of a tensor as floats
 */
#include <stdbool.h>
#include <string.h>

#include "lib/encoder/half.h"
#include "lib/encoder/safetensors.h"

static void
from_f32(float *out, const char *in, uint64_t count)
{
	memcpy(out, in, count * sizeof(*out));
}

static void
from_f16(float *out, const char *in, uint64_t count)
{
	uint16_t h;

	for (uint64_t i = 0; i < count; i++) {
		memcpy(&h, in + i * sizeof(h), sizeof(h));
		out[i] = half_f16_to_f32(h);
	}
}

static void
from_bf16(float *out, const char *in, uint64_t count)
{
	uint16_t h;

	for (uint64_t i = 0; i < count; i++) {
		memcpy(&h, in + i * sizeof(h), sizeof(h));
		out[i] = half_bf16_to_f32(h);
	}
}

static void
from_f64(float *out, const char *in, uint64_t count)
{
	double d;

	for (uint64_t i = 0; i < count; i++) {
		memcpy(&d, in + i * sizeof(d), sizeof(d));
		out[i] = (float)d;
	}
}

static void
from_i8(float *out, const char *in, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		out[i] = (float)(int8_t)in[i];
}

static void (*const from[TENSOR_DTYPES])(float *out, const char *in, uint64_t count) = {
	[TENSOR_F32] = from_f32,
	[TENSOR_F16] = from_f16,
	[TENSOR_BF16] = from_bf16,
	[TENSOR_F64] = from_f64,
	[TENSOR_I8] = from_i8,
};

/* x - x is 0 for every finite x and NaN for the rest. */
bool
tensor_finite(const float *v, uint64_t count)
{
	float sum = 0;

	for (uint64_t i = 0; i < count; i++)
		sum += v[i] - v[i];
	return sum == 0;
}

enum err_code
tensor_floats(float *out, const struct tensor *t, uint64_t first, uint64_t count, struct err *e)
{
	CHECK(first <= t->elements && count <= t->elements - first);
	if (from[t->dtype] == NULL)
		return err_set(e, ERR_CONFIG,
			"%s: tensor %.120s is %s; weights can be F32, F16, BF16, F64 or I8",
			t->file, t->name, tensor_dtype_name(t->dtype));
	from[t->dtype](out, (const char *)t->data + first * tensor_dtype_bytes(t->dtype), count);
	if (!tensor_finite(out, count))
		return err_set(
			e, ERR_CONFIG, "%s: tensor %.120s holds infinity or NaN", t->file, t->name);
	return ERR_OK;
}
