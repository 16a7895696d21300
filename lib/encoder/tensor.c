/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.c - the values of a tensor as floats
 */
#include <string.h>

#include "lib/encoder/half.h"
#include "lib/encoder/tensor.h"

static const struct {
	const char *name;
	size_t bytes, block;
} dtypes[TENSOR_DTYPES] = {
#define X(symbol, name, bytes, block) {name, bytes, block},
	TENSOR_DTYPE_LIST(X)
#undef X
};

const char *
tensor_dtype_name(enum tensor_dtype d)
{
	return d < TENSOR_DTYPES ? dtypes[d].name : "?";
}

size_t
tensor_dtype_bytes(enum tensor_dtype d)
{
	CHECK(d < TENSOR_DTYPES);
	return dtypes[d].bytes;
}

bool
tensor_size(uint64_t *bytes, enum tensor_dtype dtype, uint64_t elements)
{
	CHECK(dtype < TENSOR_DTYPES);
	return elements % dtypes[dtype].block == 0 &&
	       !__builtin_mul_overflow(
		       elements / dtypes[dtype].block, (uint64_t)dtypes[dtype].bytes, bytes);
}

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

static void
from_q8_0(float *out, const char *in, uint64_t count)
{
	uint16_t h;

	for (; count > 0; count -= TENSOR_Q8_BLOCK, in += sizeof(h) + TENSOR_Q8_BLOCK) {
		memcpy(&h, in, sizeof(h));
		for (int i = 0; i < TENSOR_Q8_BLOCK; i++)
			*out++ = half_f16_to_f32(h) * (float)(int8_t)in[sizeof(h) + (size_t)i];
	}
}

static void (*const from[TENSOR_DTYPES])(float *out, const char *in, uint64_t count) = {
	[TENSOR_F32] = from_f32,
	[TENSOR_F16] = from_f16,
	[TENSOR_BF16] = from_bf16,
	[TENSOR_F64] = from_f64,
	[TENSOR_I8] = from_i8,
	[TENSOR_Q8_0] = from_q8_0,
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
	const size_t block = dtypes[t->dtype].block;

	CHECK(first <= t->elements && count <= t->elements - first);
	CHECK(first % block == 0 && count % block == 0);
	if (from[t->dtype] == NULL)
		return err_set(e, ERR_CONFIG,
			"%s: tensor %.120s is %s; weights can be F32, F16, BF16, F64, I8 or "
			"Q8_0",
			t->file, t->name, tensor_dtype_name(t->dtype));
	from[t->dtype](out, (const char *)t->data + first / block * dtypes[t->dtype].bytes, count);
	if (!tensor_finite(out, count))
		return err_set(
			e, ERR_CONFIG, "%s: tensor %.120s holds infinity or NaN", t->file, t->name);
	return ERR_OK;
}
