/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_attention.h - softmax(q k^T * scale + bias) v for each text and head, for any engine
 *
 * Included by each kernel file and compiled for its instruction set. Keys and values of a head are
 * laid out as panels, as if they were weights, so the engine's product does both multiplications.
 * A block of query rows has its scores against all keys at once: at 512 tokens that is 28 KB, it
 * stays in the first level cache, and softmax needs no second pass over the keys. Threads take
 * whole heads. Only engines of f32 and bf16 blocks do this; a kernel of int8 weights brings one.
 */
#pragma once

#include <math.h>
#include <string.h>

#include "lib/encoder/kernel_linear.h"
#include "lib/encoder/kernel_take.h"

/* Working memory of one thread, for texts of up to some number of tokens. */
struct attention_room {
	float *slice;	 /* queries of the head, then keys, then values: rows of `width` floats */
	uint8_t *keys;	 /* panels of 32 tokens */
	uint8_t *values; /* panels of 32 of the head's dimensions */
	float *scores;	 /* a block of query rows, against every key */
	uint8_t *block;	 /* what the engine took: queries, then probabilities */
	size_t bytes;
};

struct attention_job {
	const struct engine *e;
	const struct kernel_attention *a;
	const struct kernel_batch *batch;
	const float *qkv;
	float *context;
	uint8_t *scratch;
	size_t room_bytes;
};

/* One head of one text. */
struct attention_head {
	const struct attention_job *j;
	struct attention_room room;
	size_t tokens, padded; /* padded: to whole panels */
	size_t width;	       /* of a slice's row: head_dim padded to whole panels */
	size_t first;	       /* row of the text in the batch */
	size_t column;	       /* of the head in queries and context */
};

static inline size_t
attention_up(size_t n, size_t step)
{
	return (n + step - 1) / step * step;
}

static inline struct attention_room
attention_room(const struct engine *e, uint8_t *at, size_t tokens, size_t head_dim)
{
	size_t padded = attention_up(tokens, IMAGE_COLUMNS);
	size_t width = attention_up(head_dim, IMAGE_COLUMNS);
	size_t elems = kernel_unit_elems(e->panel);
	size_t slice = padded * width * sizeof(float);
	size_t keys = 3 * slice, values = keys + slice / elems, scores = values + slice / elems;
	size_t block = scores + e->rows * padded * sizeof(float);
	struct attention_room r = {
		.bytes = block + e->block_bytes(e->rows, MAX(padded, width) / elems)};

	if (at == NULL) /* only how much */
		return r;
	r.slice = (float *)(void *)at;
	r.keys = at + keys;
	r.values = at + values;
	r.scores = (float *)(void *)(at + scores);
	r.block = at + block;
	return r;
}

static inline size_t
attention_scratch_bytes(const struct engine *e, const struct kernel_shape *s)
{
	return s->threads *
	       attention_room(e, NULL, s->max_tokens, (s->hidden + s->heads - 1) / s->heads).bytes;
}

/* Copy part 0 (queries), 1 (keys) or 2 (values) of a head, zero up to whole panels. */
static inline float *
attention_slice(const struct attention_head *h, size_t part)
{
	const struct kernel_attention *a = h->j->a;
	size_t hidden = (size_t)a->heads * a->head_dim, stride = kernel_stride(3 * hidden);
	const float *from = h->j->qkv + h->first * stride + part * hidden + h->column;
	float *to = h->room.slice + part * h->padded * h->width;

	for (size_t t = 0; t < h->tokens; t++) {
		memcpy(to + t * h->width, from + t * stride, a->head_dim * sizeof(float));
		memset(to + t * h->width + a->head_dim, 0,
			(h->width - a->head_dim) * sizeof(float));
	}
	memset(to + h->tokens * h->width, 0,
		(h->padded - h->tokens) * h->width * sizeof(float));
	return to;
}

/* Keys become the columns of panels: the interleaving of rows, 32 wide. */
static inline void
attention_keys(const struct attention_head *h)
{
	const struct engine *e = h->j->e;
	const float *slice = attention_slice(h, 1);
	size_t units = h->width / kernel_unit_elems(e->panel);

	for (size_t t = 0; t < h->padded; t += VF_LANES) {
		uint32_t *to = (uint32_t *)(h->room.keys + t / IMAGE_COLUMNS * units *
								   IMAGE_ROW_BYTES) +
			       t % IMAGE_COLUMNS;
		const float *from = slice + t * h->width;

#ifdef __AVX512BF16__
		if (e->panel == ENCODER_BF16) {
			take_rows(ENCODER_BF16, to, IMAGE_COLUMNS, NULL, from, h->width, h->width,
				VF_LANES, units);
			continue;
		}
#endif
		take_rows(ENCODER_F32, to, IMAGE_COLUMNS, NULL, from, h->width, h->width, VF_LANES,
			units);
	}
}

/* A unit of a panel of values: the same dimension of one token, or of two tokens as bf16. */
static inline void
attention_values(const struct attention_head *h)
{
	size_t elems = kernel_unit_elems(h->j->e->panel);
	const float *slice = attention_slice(h, 2);
	uint8_t *to = h->room.values;

	for (size_t column = 0; column < h->width; column += IMAGE_COLUMNS) {
		for (size_t t = 0; t < h->padded; t += elems) {
			for (size_t c = 0; c < IMAGE_COLUMNS; c += VF_LANES) {
				const float *from = slice + t * h->width + column + c;

				vi unit = vi_of_bits(vf_load(from));

#ifdef __AVX512BF16__
				if (elems == 2)
					unit = _mm512_or_si512(
						_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(
							vf_load(from))),
						vi_shl(_mm512_cvtepu16_epi32(
							       (__m256i)_mm512_cvtneps_pbh(vf_load(
								       from + h->width))),
							16));
#endif
				vi_store(to + c * 4, unit);
			}
			to += IMAGE_ROW_BYTES;
		}
	}
}

/* Scores to exp(score - highest), zero after the last key; returns 1 / sum. */
static inline float
attention_softmax(float *row, size_t tokens, size_t padded, float scale, const float *bias)
{
	vf highest = vf_set(-INFINITY), sum = vf_set(0), shift;

	for (size_t i = 0; bias != NULL && i < tokens; i++)
		row[i] += bias[i] / scale;
	for (size_t i = tokens; i < padded; i++)
		row[i] = -INFINITY;
	for (size_t i = 0; i < padded; i += VF_LANES)
		highest = vf_max(highest, vf_load(row + i));
	shift = vf_set(-scale * vf_highest(highest));
	for (size_t i = 0; i < padded; i += VF_LANES)
		vf_store(row + i, vf_exp(vf_fma(vf_load(row + i), vf_set(scale), shift)));
	for (size_t i = tokens; i < padded; i++)
		row[i] = 0;
	for (size_t i = 0; i < padded; i += VF_LANES)
		sum = vf_add(sum, vf_load(row + i));
	return 1.0f / vf_sum(sum);
}

/* Rows of the tile, each by its factor, to their place in context: `columns` of them. */
static inline void
attention_store(const struct attention_head *h, const float *tile, const float *factor,
	size_t row, size_t rows, size_t column)
{
	const struct kernel_attention *a = h->j->a;
	size_t columns = MIN((size_t)IMAGE_COLUMNS, a->head_dim - column);
	size_t stride = kernel_stride((size_t)a->heads * a->head_dim);
	float *to = h->j->context + (h->first + row) * stride + h->column + column;

	for (size_t r = 0; r < rows; r++) {
		size_t c = 0;

		for (; c + VF_LANES <= columns; c += VF_LANES)
			vf_store(to + r * stride + c, vf_mul(vf_load(tile + r * IMAGE_COLUMNS + c),
							      vf_set(factor[r])));
		for (; c < columns; c++)
			to[r * stride + c] = tile[r * IMAGE_COLUMNS + c] * factor[r];
	}
}

/* A block of query rows: scores, softmax, their mix of the values. */
static inline void
attention_block(const struct attention_head *h, const float *queries, size_t head, size_t row,
	unsigned rows)
{
	const struct engine *e = h->j->e;
	const struct kernel_attention *a = h->j->a;
	const struct attention_room *room = &h->room;
	size_t elems = kernel_unit_elems(e->panel);
	size_t key_units = h->width / elems, value_units = h->padded / elems;
	float factor[TILE_ROWS_MOST];
	_Alignas(64) float tile[TILE_ROWS_MOST * IMAGE_COLUMNS];

	e->take(room->block, NULL, queries + row * h->width, h->width, h->width, rows, key_units);
	for (size_t t = 0; t < h->padded; t += IMAGE_COLUMNS)
		e->product(room->scores + t, h->padded, room->block,
			room->keys + t / IMAGE_COLUMNS * key_units * IMAGE_ROW_BYTES, key_units,
			rows);
	for (unsigned r = 0; r < rows; r++) {
		const float *bias = a->position_bias == NULL
					    ? NULL
					    : a->position_bias + head * (2 * a->bias_span + 1) +
						      a->bias_span - (row + r);

		factor[r] = attention_softmax(
			room->scores + r * h->padded, h->tokens, h->padded, a->scale, bias);
	}
	e->take(room->block, NULL, room->scores, h->padded, h->padded, rows, value_units);
	for (size_t c = 0; c < a->head_dim; c += IMAGE_COLUMNS) {
		e->product(tile, IMAGE_COLUMNS, room->block,
			room->values + c / IMAGE_COLUMNS * value_units * IMAGE_ROW_BYTES,
			value_units, rows);
		attention_store(h, tile, factor, row, rows, c);
	}
}

static inline void
attention_one(const struct attention_job *j, uint8_t *scratch, size_t text, size_t head)
{
	size_t first = j->batch->starts[text], tokens = j->batch->starts[text + 1] - first;
	struct attention_head h = {.j = j,
		.room = attention_room(j->e, scratch, tokens, j->a->head_dim),
		.tokens = tokens,
		.padded = attention_up(tokens, IMAGE_COLUMNS),
		.width = attention_up(j->a->head_dim, IMAGE_COLUMNS),
		.first = first,
		.column = head * j->a->head_dim};
	unsigned height = engine_height(j->e, tokens);
	const float *queries = attention_slice(&h, 0);

	attention_keys(&h);
	attention_values(&h);
	engine_begin(j->e);
	for (size_t row = 0; row < tokens; row += height)
		attention_block(&h, queries, head, row, (unsigned)MIN(height, tokens - row));
	engine_end(j->e);
}

static inline void
attention_work(void *ctx, uint32_t thread, uint32_t threads)
{
	const struct attention_job *j = ctx;
	size_t tasks = (size_t)j->batch->count * j->a->heads;

	for (size_t i = thread; i < tasks; i += threads)
		attention_one(j, j->scratch + thread * j->room_bytes, i / j->a->heads,
			i % j->a->heads);
}

static inline void
attention_run(const struct engine *e, const struct kernel_call *call,
	const struct kernel_attention *a, float *context, const float *qkv,
	const struct kernel_batch *batch)
{
	struct attention_job j = {.e = e,
		.a = a,
		.batch = batch,
		.qkv = qkv,
		.context = context,
		.scratch = call->scratch,
		.room_bytes = attention_room(e, NULL, batch->longest, a->head_dim).bytes};

	size_t most = (size_t)2 * batch->tokens * batch->longest * a->heads * a->head_dim;

	kernel_pool_run(kernel_pool_worth(call->pool, most), attention_work, &j);
}
