/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_linear.h - a linear layer and layer normalization, for any engine
 *
 * Included by each kernel file and compiled for its instruction set. Rows are cut into blocks of
 * nearly equal height; all blocks are taken (converted) first, then every panel of weights meets
 * every block, so that weights stream through once while blocks stay in the cache. Threads share
 * the blocks in the first part and the panels in the second.
 */
#pragma once

#include "lib/base/base.h"
#include "lib/encoder/kernel.h"
#include "lib/encoder/kernel_engine.h"
#include "lib/encoder/kernel_math.h"
#include "lib/encoder/kernel_pool.h"

enum {
	/* Rows that meet a panel together: more would not stay in the second level cache. */
	LINEAR_ROWS = 168,
	TILE_ROWS_MOST = 32,
};

struct linear_job {
	const struct engine *e;
	struct kernel_image image;
	enum kernel_epilogue epilogue;
	size_t in_floats, out_floats; /* strides */
	const float *x, *residual;    /* of the rows of this job */
	float *out;
	unsigned rows, height, blocks;
	size_t block_bytes;
	uint8_t *taken;
	struct row_scale *scales; /* of each row */
};

/* The first row of block b. */
static inline unsigned
linear_row(const struct linear_job *j, size_t b)
{
	return (unsigned)MIN(j->rows, b * j->height);
}

static inline void
linear_take(void *ctx, uint32_t thread, uint32_t threads)
{
	const struct linear_job *j = ctx;
	size_t b, end;

	kernel_pool_part(&b, &end, j->blocks, thread, threads);
	for (; b < end; b++) {
		unsigned row = linear_row(j, b);

		j->e->take(j->taken + b * j->block_bytes, j->scales + row,
			j->x + row * j->in_floats, j->in_floats, j->in_floats,
			linear_row(j, b + 1) - row, j->image.units);
	}
}

/* VF_LANES elements of a product as floats, bias added. */
static ALWAYS_INLINE vf
linear_sum(const struct kernel_image *m, const void *tile, size_t at, size_t column,
	const struct row_scale *scale)
{
	vf bias = vf_load(m->bias + column);
	vi sum;

	if (m->scale == NULL)
		return vf_add(vf_load((const float *)tile + at), bias);
	sum = vi_sub(vi_load((const int32_t *)tile + at),
		vi_mul(vi_load(m->sums + column), vi_set(scale->zero)));
	return vf_fma(vf_of_int(sum),
		vf_mul(vf_set(scale->scale), vf_load(m->scale + column)), bias);
}

/* A tile through the epilogue to its place. */
static ALWAYS_INLINE void
linear_finish_as(const enum kernel_epilogue kind, const enum encoder_dtype dtype,
	const struct linear_job *j, const void *tile, size_t column, unsigned row, unsigned rows)
{
	size_t columns = MIN((size_t)IMAGE_COLUMNS, j->out_floats - column);

	for (unsigned r = 0; r < rows; r++) {
		size_t to = (row + r) * j->out_floats + column;

		for (size_t c = 0; c < columns; c += VF_LANES) {
			vf v = linear_sum(&j->image, tile, r * IMAGE_COLUMNS + c, column + c,
				j->scales + row + r);

			if (kind == KERNEL_RESIDUAL)
				v = vf_add(v, vf_load(j->residual + to + c));
			vf_store(j->out + to + c, vf_activate(kind, dtype, v));
		}
	}
}

static inline void
linear_finish(const struct linear_job *j, const void *tile, size_t column, unsigned row,
	unsigned rows)
{
	switch (j->epilogue) {
	case KERNEL_GELU:
		if (j->e->panel == ENCODER_F32)
			linear_finish_as(KERNEL_GELU, ENCODER_F32, j, tile, column, row, rows);
		else
			linear_finish_as(KERNEL_GELU, ENCODER_BF16, j, tile, column, row, rows);
		break;
	case KERNEL_GELU_TANH:
		linear_finish_as(KERNEL_GELU_TANH, ENCODER_F32, j, tile, column, row, rows);
		break;
	case KERNEL_RELU:
		linear_finish_as(KERNEL_RELU, ENCODER_F32, j, tile, column, row, rows);
		break;
	case KERNEL_TANH:
		linear_finish_as(KERNEL_TANH, ENCODER_F32, j, tile, column, row, rows);
		break;
	case KERNEL_RESIDUAL:
		linear_finish_as(KERNEL_RESIDUAL, ENCODER_F32, j, tile, column, row, rows);
		break;
	case KERNEL_NONE:
	case KERNEL_EPILOGUES:
		linear_finish_as(KERNEL_NONE, ENCODER_F32, j, tile, column, row, rows);
		break;
	}
}

static inline void
linear_multiply(void *ctx, uint32_t thread, uint32_t threads)
{
	const struct linear_job *j = ctx;
	_Alignas(64) float tile[TILE_ROWS_MOST * IMAGE_COLUMNS];
	size_t p, end;

	kernel_pool_part(&p, &end, j->image.count, thread, threads);
	engine_begin(j->e);
	for (; p < end; p++) {
		for (size_t b = 0; b < j->blocks; b++) {
			unsigned row = linear_row(j, b), rows = linear_row(j, b + 1) - row;

			j->e->product(tile, IMAGE_COLUMNS, j->taken + b * j->block_bytes,
				j->image.panels + p * j->image.stride, j->image.units, rows);
			linear_finish(j, tile, p * IMAGE_COLUMNS, row, rows);
		}
	}
	engine_end(j->e);
}

static inline size_t
linear_scratch_bytes(const struct engine *e, const struct kernel_shape *s)
{
	uint32_t widest = MAX(s->hidden, s->ffn);
	unsigned rows = MIN(s->tokens, (uint32_t)LINEAR_ROWS);
	size_t block = e->block_bytes(e->rows, kernel_image_units(e->panel, widest));

	return (rows + e->rows - 1) / e->rows * block + LINEAR_ROWS * sizeof(struct row_scale);
}

static inline void
linear_run(const struct engine *e, const struct kernel_call *call, const struct kernel_linear *l,
	float *out, const float *x, uint32_t rows)
{
	struct linear_job j = {.e = e,
		.image = kernel_image_view(e->panel, l->packed, l->in, l->out),
		.epilogue = l->epilogue,
		.in_floats = kernel_stride(l->in),
		.out_floats = kernel_stride(l->out),
		.scales = call->scratch,
		.taken = (uint8_t *)call->scratch + LINEAR_ROWS * sizeof(struct row_scale)};
	uint32_t parts = (rows + LINEAR_ROWS - 1) / LINEAR_ROWS;
	struct kernel_pool *pool;

	for (uint32_t i = 0; i < parts; i++) {
		size_t from = (size_t)rows * i / parts;

		j.rows = (unsigned)((size_t)rows * (i + 1) / parts - from);
		j.height = engine_height(e, j.rows);
		j.blocks = (j.rows + j.height - 1) / j.height;
		j.block_bytes = e->block_bytes(j.height, j.image.units);
		j.x = x + from * j.in_floats;
		j.out = out + from * j.out_floats;
		j.residual = l->residual == NULL ? NULL : l->residual + from * j.out_floats;
		/* reading a weight costs about as much as 8 rows' use of it */
		pool = kernel_pool_worth(call->pool, ((size_t)j.rows + 8) * l->in * l->out);
		kernel_pool_run(pool, linear_take, &j);
		kernel_pool_run(pool, linear_multiply, &j);
	}
}

/* One row: mean, then the variance around it, then the result; the rest of the row stays zero. */
static inline void
norm_row(const struct kernel_norm *n, float *x, uint32_t dim)
{
	uint32_t whole = dim / VF_LANES * VF_LANES;
	vf sum = vf_set(0), square = vf_set(0), scale, shift;
	float mean, rest = 0, inverse;

	for (uint32_t i = 0; i < kernel_stride(dim); i += VF_LANES)
		sum = vf_add(sum, vf_load(x + i));
	mean = vf_sum(sum) / (float)dim;
	for (uint32_t i = 0; i < whole; i += VF_LANES) {
		vf d = vf_sub(vf_load(x + i), vf_set(mean));

		square = vf_fma(d, d, square);
	}
	for (uint32_t i = whole; i < dim; i++)
		rest += (x[i] - mean) * (x[i] - mean);
	inverse = 1.0f / __builtin_sqrtf((vf_sum(square) + rest) / (float)dim + n->eps);
	scale = vf_set(inverse);
	shift = vf_set(-mean * inverse);
	for (uint32_t i = 0; i < whole; i += VF_LANES)
		vf_store(x + i, vf_fma(vf_fma(vf_load(x + i), scale, shift), vf_load(n->weight + i),
					vf_load(n->bias + i)));
	for (uint32_t i = whole; i < dim; i++)
		x[i] = (x[i] - mean) * inverse * n->weight[i] + n->bias[i];
}

static inline void
norm_run(const struct kernel_call *call, const struct kernel_norm *n, float *x, uint32_t rows,
	uint32_t dim)
{
	(void)call;
	for (uint32_t r = 0; r < rows; r++)
		norm_row(n, x + r * kernel_stride(dim), dim);
}
