/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_plain.c - activations, norm and attention in portable C that compilers vectorize
 *
 * Sums run in LANES separate accumulators: vector registers need that, and it is more exact than
 * one running sum. The exponential is a polynomial because libm's is a call per element.
 */
#include <math.h>
#include <string.h>

#include "lib/encoder/kernel.h"
#include "lib/encoder/kernel_plain.h"

enum { LANES = 16 };

/* e^x for x <= 88, relative error below 2e-7; 0 below about -87. */
static inline float
exp_f32(float x)
{
	const float shift = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
	float clamped = x < -87.0f ? -87.0f : x;
	float turned = clamped * 1.44269504f + shift;
	float whole = turned - shift;
	float f = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
	float p = 1.9875691500e-4f;
	uint32_t bits;
	float power;

	p = p * f + 1.3981999507e-3f;
	p = p * f + 8.3334519073e-3f;
	p = p * f + 4.1665795894e-2f;
	p = p * f + 1.6666665459e-1f;
	p = p * f + 5.0000001201e-1f;
	p = p * f * f + f + 1.0f;
	/* by its bits, since NaN has no integer; the product stays NaN then */
	memcpy(&bits, &turned, sizeof(bits));
	bits = (bits - 0x4b400000u + 127) << 23;
	memcpy(&power, &bits, sizeof(power));
	return p * power;
}

/* Abramowitz & Stegun 7.1.26: |error| <= 1.5e-7, so GELU's is below |x| * 1e-7. */
static inline float
gelu(float x)
{
	float z = fabsf(x) * 0.70710678f;
	float t = 1.0f / (1.0f + 0.3275911f * z);
	float p = 1.061405429f;
	float tail;

	p = p * t - 1.453152027f;
	p = p * t + 1.421413741f;
	p = p * t - 0.284496736f;
	p = p * t + 0.254829592f;
	tail = 0.5f * p * t * exp_f32(-z * z); /* 1 - Phi(|x|) */
	return x * (x < 0 ? tail : 1.0f - tail);
}

static inline float
tanh_f32(float x)
{
	float z = fabsf(x);
	float e = exp_f32(-2.0f * z);
	float small = x * (1.0f - x * x * (1.0f / 3.0f) * (1.0f - x * x * 0.4f));
	float large = (1.0f - e) / (1.0f + e);

	return z < 0.05f ? small : (x < 0 ? -large : large);
}

static inline float
gelu_tanh(float x)
{
	/* x/2 (1 + tanh u) = x / (1 + e^-2u) */
	float u = 0.79788456f * (x + 0.044715f * x * x * x);

	return u < 0 ? x * exp_f32(2.0f * u) / (1.0f + exp_f32(2.0f * u))
		     : x / (1.0f + exp_f32(-2.0f * u));
}

void
kernel_plain_activation(enum kernel_epilogue epilogue, float *row, size_t n)
{
	switch (epilogue) {
	case KERNEL_GELU:
		for (size_t i = 0; i < n; i++)
			row[i] = gelu(row[i]);
		return;
	case KERNEL_GELU_TANH:
		for (size_t i = 0; i < n; i++)
			row[i] = gelu_tanh(row[i]);
		return;
	case KERNEL_RELU:
		for (size_t i = 0; i < n; i++)
			row[i] = row[i] > 0 ? row[i] : 0;
		return;
	case KERNEL_TANH:
		for (size_t i = 0; i < n; i++)
			row[i] = tanh_f32(row[i]);
		return;
	default:
		return;
	}
}

/* Sum of the lanes, pairwise. */
static inline float
lanes_sum(float *lanes)
{
	for (size_t half = LANES / 2; half > 0; half /= 2)
		for (size_t i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	return lanes[0];
}

static inline float
dot(const float *a, const float *b, size_t n)
{
	float lanes[LANES] = {0};
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lanes[j] += a[i + j] * b[i + j];
	for (; i < n; i++)
		lanes[i % LANES] += a[i] * b[i];
	return lanes_sum(lanes);
}

static void
norm_row(const struct kernel_norm *n, float *x, size_t dim)
{
	float lanes[LANES] = {0}, squares[LANES] = {0};
	float mean, scale;
	size_t i;

	for (i = 0; i + LANES <= dim; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lanes[j] += x[i + j];
	for (; i < dim; i++)
		lanes[i % LANES] += x[i];
	mean = lanes_sum(lanes) / (float)dim;
	for (i = 0; i + LANES <= dim; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			squares[j] += (x[i + j] - mean) * (x[i + j] - mean);
	for (; i < dim; i++)
		squares[i % LANES] += (x[i] - mean) * (x[i] - mean);
	scale = 1.0f / sqrtf(lanes_sum(squares) / (float)dim + n->eps);
	for (i = 0; i < dim; i++)
		x[i] = (x[i] - mean) * scale * n->weight[i] + n->bias[i];
}

void
kernel_plain_norm(const struct kernel_call *call, const struct kernel_norm *n, float *x,
	uint32_t rows, uint32_t dim)
{
	(void)call;
	for (uint32_t r = 0; r < rows; r++)
		norm_row(n, x + r * kernel_stride(dim), dim);
}

void
kernel_plain_softmax(float *row, size_t n, float scale, const float *bias)
{
	float lanes[LANES] = {0};
	float most, inverse;
	size_t i;

	if (bias != NULL)
		for (i = 0; i < n; i++)
			row[i] = row[i] * scale + bias[i];
	else
		for (i = 0; i < n; i++)
			row[i] *= scale;
	most = row[0];
	for (i = 1; i < n; i++)
		most = row[i] > most ? row[i] : most;
	for (i = 0; i < n; i++)
		row[i] = exp_f32(row[i] - most);
	for (i = 0; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lanes[j] += row[i + j];
	for (; i < n; i++)
		lanes[i % LANES] += row[i];
	inverse = 1.0f / lanes_sum(lanes);
	for (i = 0; i < n; i++)
		row[i] *= inverse;
}

/* What relative positions add to the scores of query row i, or NULL. */
const float *
kernel_plain_bias(const struct kernel_attention *a, uint32_t head, uint32_t i)
{
	if (a->position_bias == NULL)
		return NULL;
	return a->position_bias + head * (2 * (size_t)a->bias_span + 1) + a->bias_span - i;
}

/* One query row of one head over the keys and values of its text. */
static void
attend_row(float *context, float *scores, const float *query, const float *keys, size_t stride,
	uint32_t len, const struct kernel_attention *a, const float *bias)
{
	const float *values = keys + (size_t)a->heads * a->head_dim;

	for (uint32_t j = 0; j < len; j++)
		scores[j] = dot(query, keys + j * stride, a->head_dim);
	kernel_plain_softmax(scores, len, a->scale, bias);
	memset(context, 0, a->head_dim * sizeof(*context));
	for (uint32_t j = 0; j < len; j++)
		for (uint32_t d = 0; d < a->head_dim; d++)
			context[d] += scores[j] * values[j * stride + d];
}

void
kernel_plain_attention(const struct kernel_call *call, const struct kernel_attention *a,
	float *context, const float *qkv, const struct kernel_batch *batch)
{
	size_t hidden = (size_t)a->heads * a->head_dim;
	size_t from = kernel_stride(3 * hidden), to = kernel_stride(hidden);

	for (uint32_t t = 0; t < batch->count; t++) {
		uint32_t len = batch->starts[t + 1] - batch->starts[t];
		const float *rows = qkv + batch->starts[t] * from;

		for (uint32_t h = 0; h < a->heads; h++)
			for (uint32_t i = 0; i < len; i++)
				attend_row(context + (batch->starts[t] + i) * to + h * a->head_dim,
					call->scratch, rows + i * from + h * a->head_dim,
					rows + hidden + h * a->head_dim, from, len, a,
					kernel_plain_bias(a, h, i));
	}
}
