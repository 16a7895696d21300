/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_oracle.c - see kernel_oracle.h
 *
 * Error bounds. Sums in f32: 2e-6 of the sum of the sizes of the products, plus 2e-6 for an
 * activation of slope about 1. Random data: a bf16 is off by up to 2^-9 of itself, so a product of
 * two by 2^-8; an int8 by half a step of its row (activations) or output (weights).
 */
#include "tests/unit/kernel_oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/half.h"
#include "lib/encoder/kernel_pool.h"

enum { CANARY_BYTES = 256, CANARY = 0xa5 };

/* A matrix at kernel_stride, or any bytes, aligned, with a canary after the end. */
struct room {
	float *at;
	size_t bytes;
};

static struct room
room_of(size_t bytes)
{
	struct room r = {NULL, (bytes + 63) / 64 * 64};

	r.at = aligned_alloc(64, r.bytes + CANARY_BYTES);
	cr_assert_not_null(r.at);
	memset(r.at, 0, r.bytes);
	memset((char *)r.at + r.bytes, CANARY, CANARY_BYTES);
	return r;
}

static struct room
room_of_rows(size_t rows, size_t dim)
{
	return room_of(rows * kernel_stride(dim) * sizeof(float));
}

static void
room_close(struct room *r, const struct kernel *k, const char *what)
{
	const unsigned char *end = (const unsigned char *)r->at + r->bytes;

	for (size_t i = 0; i < CANARY_BYTES; i++)
		cr_assert_eq(end[i], CANARY, "%s %s: a write beyond %s, byte %zu",
			encoder_isa_name(k->isa), encoder_dtype_name(k->dtype), what, i);
	free(r->at);
}

static uint32_t seed;

static uint32_t
next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

/* In -1..1, any bits. */
static float
next_float(void)
{
	return (float)next_random() / 8388608.0f - 1.0f;
}

/* A row of activations. Exact: bytes -127..128, both ends there (so that the int8 scale is 1) where
 * the row has two elements, for bf16 and f32 of few bits. */
static void
fill_row(float *row, uint32_t n, enum oracle_data data, enum encoder_dtype dtype)
{
	for (uint32_t i = 0; i < n; i++) {
		if (data == ORACLE_RANDOM)
			row[i] = next_float() * 3;
		else if (dtype == ENCODER_I8)
			row[i] = (float)(int)(next_random() % 256) - 127;
		else
			row[i] = ((float)(int)(next_random() % 128) - 64) / 32;
	}
	if (data == ORACLE_EXACT && dtype == ENCODER_I8 && n > 0) {
		row[0] = 128;
		row[n - 1] = n > 1 ? -127 : 255;
	}
}

/* A row of weights. Exact: of few bits; for int8 the largest is 127. */
static void
fill_weights(float *row, uint32_t n, enum oracle_data data, enum encoder_dtype dtype)
{
	for (uint32_t i = 0; i < n; i++) {
		if (data == ORACLE_RANDOM)
			row[i] = next_float();
		else if (dtype == ENCODER_I8)
			row[i] = (float)(int)(next_random() % 255) - 127;
		else
			row[i] = ((float)(int)(next_random() % 128) - 64) / 64;
	}
	if (data == ORACLE_EXACT && dtype == ENCODER_I8 && n > 0)
		row[next_random() % n] = 127;
}

/* Rows that hold rubbish, but for their padding: that is zero before an op, and after. */
static void
soil(float *at, uint32_t rows, uint32_t dim)
{
	for (uint32_t r = 0; r < rows; r++)
		memset(at + r * kernel_stride(dim), CANARY, dim * sizeof(float));
}

static double
activation(enum kernel_epilogue kind, double x)
{
	switch (kind) {
	case KERNEL_GELU:
		return x / 2 * (1 + erf(x / sqrt(2)));
	case KERNEL_GELU_TANH:
		return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
	case KERNEL_RELU:
		return x > 0 ? x : 0;
	case KERNEL_TANH:
		return tanh(x);
	default:
		return x;
	}
}

static double
span_of(const float *row, uint32_t n)
{
	double low = 0, high = 0;

	for (uint32_t i = 0; i < n; i++) {
		low = fmin(low, row[i]);
		high = fmax(high, row[i]);
	}
	return high - low;
}

static double
largest_of(const float *row, uint32_t n)
{
	double largest = 0;

	for (uint32_t i = 0; i < n; i++)
		largest = fmax(largest, fabs(row[i]));
	return largest;
}

/* How far a sum of products may be off, from the rounding of what went in. */
static double
input_error(const struct kernel *k, const struct oracle_linear *t, const float *x, const float *w,
	double sizes)
{
	double step_x = span_of(x, t->in) / 255, step_w = largest_of(w, t->in) / 127, error = 0;

	if (t->data == ORACLE_EXACT || k->dtype == ENCODER_F32)
		return 0;
	if (k->dtype == ENCODER_BF16)
		return sizes / 250;
	for (uint32_t i = 0; i < t->in; i++)
		error += 0.501 * (step_x * fabs(w[i]) + step_w * fabs(x[i])) +
			 0.26 * step_x * step_w;
	return error;
}

struct linear_room {
	struct room x, out, residual, packed, scratch;
	float *weight, *bias;
};

static struct linear_room
linear_open(const struct kernel *k, const struct oracle_linear *t, uint32_t threads)
{
	const struct kernel_shape shape = {t->rows, 1, t->in, MAX(t->in, t->out), 1, threads};
	struct linear_room m = {.x = room_of_rows(t->rows, t->in),
		.out = room_of_rows(t->rows, t->out),
		.residual = room_of_rows(t->rows, t->out),
		.packed = room_of(k->packed_bytes(t->in, t->out)),
		.scratch = room_of(kernel_scratch_bytes(k, &shape)),
		.weight = calloc((size_t)t->in * t->out, sizeof(float)),
		.bias = calloc(t->out, sizeof(float))};

	if (k->start != NULL)
		k->start(1);
	cr_assert(m.weight != NULL && m.bias != NULL);
	cr_assert_eq(k->packed_bytes(t->in, t->out) % KERNEL_ALIGN, 0);
	seed = t->rows * 31 + t->in * 7 + t->out;
	for (uint32_t r = 0; r < t->rows; r++) {
		fill_row(m.x.at + r * kernel_stride(t->in), t->in, t->data, k->dtype);
		fill_row(m.residual.at + r * kernel_stride(t->out), t->out, t->data, k->dtype);
	}
	for (uint32_t o = 0; o < t->out; o++)
		fill_weights(m.weight + (size_t)o * t->in, t->in, t->data, k->dtype);
	fill_row(m.bias, t->out, t->data, ENCODER_BF16);
	soil(m.out.at, t->rows, t->out);
	k->pack(m.packed.at, t->in, t->out, m.weight, m.bias);
	return m;
}

static void
linear_close(const struct kernel *k, struct linear_room *m)
{
	room_close(&m->x, k, "x");
	room_close(&m->out, k, "out");
	room_close(&m->residual, k, "residual");
	room_close(&m->packed, k, "packed");
	room_close(&m->scratch, k, "scratch");
	free(m->weight);
	free(m->bias);
}

static void
linear_call(const struct kernel *k, const struct oracle_linear *t, struct linear_room *m,
	struct kernel_pool *pool)
{
	const struct kernel_call call = {m->scratch.at, m->scratch.bytes, pool};
	const struct kernel_linear l = {m->packed.at, t->in, t->out, t->epilogue,
		t->epilogue == KERNEL_RESIDUAL ? m->residual.at : NULL};

	k->linear(&call, &l, m->out.at, m->x.at, t->rows);
}

/* One element against the double sum. */
static void
compare(const struct kernel *k, const struct oracle_linear *t, const struct linear_room *m,
	uint32_t r, uint32_t o)
{
	const float *x = m->x.at + r * kernel_stride(t->in), *w = m->weight + (size_t)o * t->in;
	size_t at = r * kernel_stride(t->out) + o;
	double sum = m->bias[o], sizes = fabs(sum), wanted, bound, got = m->out.at[at];

	for (uint32_t i = 0; i < t->in; i++) {
		sum += (double)x[i] * w[i];
		sizes += fabs((double)x[i] * w[i]);
	}
	bound = input_error(k, t, x, w, sizes) * 1.13 + 2e-6 * sizes; /* GELU's slope is <= 1.13 */
	if (t->epilogue == KERNEL_RESIDUAL) {
		sum += m->residual.at[at];
		bound += 1e-6 * fabs((double)m->residual.at[at]);
	}
	wanted = activation(t->epilogue, sum);
	cr_assert_leq(fabs(got - wanted), bound + 2e-6,
		"%s %s: rows %u in %u out %u epilogue %d: row %u output %u is %.9g, not %.9g "
		"(+-%.2g)",
		encoder_isa_name(k->isa), encoder_dtype_name(k->dtype), t->rows, t->in, t->out,
		(int)t->epilogue, r, o, got, wanted, bound);
}

void
oracle_linear(const struct kernel *k, const struct oracle_linear *t)
{
	struct linear_room m = linear_open(k, t, 1);

	linear_call(k, t, &m, NULL);
	for (uint32_t r = 0; r < t->rows; r++) {
		const float *row = m.out.at + r * kernel_stride(t->out);

		for (uint32_t o = 0; o < t->out; o++)
			compare(k, t, &m, r, o);
		for (size_t o = t->out; o < kernel_stride(t->out); o++)
			cr_assert_eq(row[o], 0, "padding %zu of row %u is %g", o, r, row[o]);
	}
	linear_close(k, &m);
}

void
oracle_linear_is_deterministic(const struct kernel *k, uint32_t in, uint32_t out)
{
	const struct oracle_linear t = {70, in, out, KERNEL_GELU, ORACLE_RANDOM};
	struct linear_room m = linear_open(k, &t, 3);
	struct room first = room_of(m.out.bytes);
	struct kernel_pool *pool = NULL;
	struct err e;

	linear_call(k, &t, &m, NULL);
	memcpy(first.at, m.out.at, m.out.bytes);
	for (uint32_t threads = 2; threads <= 3; threads++) {
		cr_assert_eq(kernel_pool_new(&pool, threads, &e), ERR_OK);
		soil(m.out.at, t.rows, out);
		linear_call(k, &t, &m, pool);
		kernel_pool_free(&pool);
		cr_assert_eq(memcmp(first.at, m.out.at, m.out.bytes), 0, "%u threads", threads);
	}
	for (uint32_t rows = 1; rows < 70; rows += 4) {
		const struct oracle_linear less = {rows, in, out, KERNEL_GELU, ORACLE_RANDOM};

		linear_call(k, &less, &m, NULL);
		cr_assert_eq(memcmp(first.at, m.out.at, rows * kernel_stride(out) * sizeof(float)),
			0, "%u rows of 70", rows);
	}
	room_close(&first, k, "copy");
	linear_close(k, &m);
}

struct attention_room {
	struct room qkv, context, scratch;
	float *bias;
	struct kernel_attention a;
	size_t stride, hidden;
};

/* One dimension of the context of query row i of a text whose first row is `first`. */
static double
attention_wanted(const struct attention_room *m, uint32_t first, uint32_t tokens, uint32_t head,
	uint32_t i, uint32_t d)
{
	const float *rows = m->qkv.at + first * m->stride;
	size_t column = (size_t)head * m->a.head_dim;
	double total = 0, mix = 0;

	for (uint32_t j = 0; j < tokens; j++) {
		const float *q = rows + i * m->stride + column;
		const float *key = rows + j * m->stride + m->hidden + column;
		double score = 0, p;

		for (uint32_t c = 0; c < m->a.head_dim; c++)
			score += (double)q[c] * key[c];
		score *= m->a.scale;
		if (m->bias != NULL)
			score += m->bias[head * (2 * m->a.bias_span + 1) + m->a.bias_span + j - i];
		p = exp(score);
		total += p;
		mix += p * rows[j * m->stride + 2 * m->hidden + column + d];
	}
	return mix / total;
}

static struct attention_room
attention_open(const struct kernel *k, uint32_t heads, uint32_t head_dim, uint32_t tokens,
	uint32_t longest, int with_bias)
{
	uint32_t hidden = heads * head_dim;
	const struct kernel_shape shape = {tokens, longest, hidden, hidden, heads, 1};
	struct attention_room m = {.qkv = room_of_rows(tokens, 3 * (size_t)hidden),
		.context = room_of_rows(tokens, hidden),
		.scratch = room_of(kernel_scratch_bytes(k, &shape)),
		.a = {heads, head_dim, 1 / sqrtf((float)head_dim), NULL, 0},
		.stride = kernel_stride(3 * (size_t)hidden),
		.hidden = hidden};
	size_t count = heads * (2 * (size_t)longest + 1);

	if (k->start != NULL)
		k->start(1);
	seed = tokens + head_dim;
	for (uint32_t r = 0; r < tokens; r++)
		for (uint32_t c = 0; c < 3 * hidden; c++)
			m.qkv.at[r * m.stride + c] = ((float)(int)(next_random() % 64) - 32) / 16;
	if (!with_bias)
		return m;
	m.bias = calloc(count, sizeof(float));
	cr_assert_not_null(m.bias);
	for (size_t i = 0; i < count; i++)
		m.bias[i] = next_float();
	m.a.position_bias = m.bias;
	m.a.bias_span = longest;
	return m;
}

void
oracle_attention(const struct kernel *k, uint32_t heads, uint32_t head_dim, const uint32_t *lengths,
	uint32_t count, int with_bias)
{
	uint32_t starts[16] = {0}, longest = 0;
	struct kernel_batch batch = {starts, count, 0, 0};
	/* f32: sums and exp. Else probabilities are bf16; values are at most 2. */
	double bound = k->dtype == ENCODER_F32 ? 2e-5 : 2 * 0.0045;
	struct attention_room m;

	for (uint32_t t = 0; t < count; t++) {
		starts[t + 1] = starts[t] + lengths[t];
		longest = MAX(longest, lengths[t]);
	}
	batch.tokens = starts[count];
	batch.longest = longest;
	m = attention_open(k, heads, head_dim, batch.tokens, longest, with_bias);
	(k->attention != NULL ? k->attention : kernel_plain_attention)(
		&(struct kernel_call){m.scratch.at, m.scratch.bytes, NULL}, &m.a, m.context.at,
		m.qkv.at, &batch);
	for (uint32_t t = 0; t < count; t++)
		for (uint32_t i = 0; i < lengths[t]; i++)
			for (uint32_t c = 0; c < m.hidden; c++) {
				double wanted = attention_wanted(
					&m, starts[t], lengths[t], c / head_dim, i, c % head_dim);
				double got =
					m.context.at[(starts[t] + i) * kernel_stride(m.hidden) + c];

				cr_assert_leq(fabs(got - wanted), bound,
					"%s %s: %u heads of %u, text %u of %u tokens: row %u "
					"column %u is %.7g, not %.7g",
					encoder_isa_name(k->isa), encoder_dtype_name(k->dtype),
					heads, head_dim, t, lengths[t], i, c, got, wanted);
			}
	room_close(&m.qkv, k, "qkv");
	room_close(&m.context, k, "context");
	room_close(&m.scratch, k, "scratch");
	free(m.bias);
}

/* One row, before and after. */
static void
compare_norm(const float *before, const float *after, const float *weight, const float *bias,
	uint32_t dim)
{
	double mean = 0, square = 0;

	for (uint32_t i = 0; i < dim; i++)
		mean += before[i];
	mean /= dim;
	for (uint32_t i = 0; i < dim; i++)
		square += (before[i] - mean) * (before[i] - mean);
	for (uint32_t i = 0; i < dim; i++) {
		double wanted =
			(before[i] - mean) / sqrt(square / dim + 1e-5) * weight[i] + bias[i];

		cr_assert_leq(fabs(after[i] - wanted), 1e-5, "dim %u: %u is %.8g, not %.8g", dim, i,
			(double)after[i], wanted);
	}
	for (size_t i = dim; i < kernel_stride(dim); i++)
		cr_assert_eq(after[i], 0, "dim %u: padding %zu is %g", dim, i, (double)after[i]);
}

void
oracle_norm(const struct kernel *k, uint32_t rows, uint32_t dim)
{
	struct room x = room_of_rows(rows, dim), before = room_of_rows(rows, dim);
	struct room weight = room_of(dim * sizeof(float)), bias = room_of(dim * sizeof(float));
	const struct kernel_norm n = {weight.at, bias.at, 1e-5f};
	const struct kernel_call call = {NULL, 0, NULL};
	size_t stride = kernel_stride(dim);

	seed = dim;
	for (uint32_t r = 0; r < rows; r++)
		fill_row(x.at + r * stride, dim, ORACLE_RANDOM, ENCODER_F32);
	fill_row(weight.at, dim, ORACLE_RANDOM, ENCODER_F32);
	fill_row(bias.at, dim, ORACLE_RANDOM, ENCODER_F32);
	memcpy(before.at, x.at, x.bytes);
	(k->norm != NULL ? k->norm : kernel_plain_norm)(&call, &n, x.at, rows, dim);
	for (uint32_t r = 0; r < rows; r++)
		compare_norm(before.at + r * stride, x.at + r * stride, weight.at, bias.at, dim);
	room_close(&x, k, "x");
	room_close(&before, k, "before");
	room_close(&weight, k, "weight");
	room_close(&bias, k, "bias");
}

double
oracle_activation_error(const struct kernel *k, enum kernel_epilogue epilogue)
{
	enum { POINTS = 24000 };
	const struct oracle_linear t = {POINTS, 1, 1, epilogue, ORACLE_EXACT};
	struct linear_room m = linear_open(k, &t, 1);
	double worst = 0;

	m.weight[0] = 1;
	m.bias[0] = 0;
	memset(m.packed.at, 0, m.packed.bytes);
	k->pack(m.packed.at, 1, 1, m.weight, NULL);
	for (uint32_t r = 0; r < POINTS; r++) {
		int from_middle = (int)r - POINTS / 2;
		float x = (float)from_middle / 1000.0f;

		m.x.at[r * kernel_stride(1)] =
			k->dtype == ENCODER_F32 ? x : half_bf16_to_f32(half_bf16_from_f32(x));
	}
	linear_call(k, &t, &m, NULL);
	for (uint32_t r = 0; r < POINTS; r++) {
		double wanted = activation(epilogue, m.x.at[r * kernel_stride(1)]);

		/* Beyond 8 the result's own last bit is worth more than the bound. */
		worst = fmax(worst,
			fabs(m.out.at[r * kernel_stride(1)] - wanted) / fmax(1, fabs(wanted) / 8));
	}
	linear_close(k, &m);
	return worst;
}
