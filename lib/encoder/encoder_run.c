/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_run.c - the forward pass: embed, layers, pool, head
 *
 * The tokens of all texts stand in one matrix, text after text, so nothing is computed for padding;
 * only attention knows where a text ends. All memory is the arena's.
 */
#include <math.h>
#include <string.h>

#include "lib/encoder/encoder_private.h"
#include "lib/encoder/half.h"

static enum err_code
check_text(const struct encoder *enc, const struct encoder_input *in, size_t number, struct err *e)
{
	const struct packed_header *h = &enc->header;

	if (in->len == 0 && h->layers > 0)
		return err_set(e, ERR_INPUT, "text %zu is empty", number);
	if (in->len > h->max_tokens)
		return err_set(e, ERR_INPUT, "text %zu has %zu tokens; the model takes %u", number,
			in->len, h->max_tokens);
	for (size_t i = 0; i < in->len; i++) {
		if (in->ids[i] >= h->vocab)
			return err_set(e, ERR_INPUT, "text %zu: token id %u; the vocabulary has %u",
				number, in->ids[i], h->vocab);
		if (in->types != NULL && in->types[i] > 0 && h->types > 0 &&
			in->types[i] >= h->types)
			return err_set(e, ERR_INPUT, "text %zu: segment %u; the model has %u",
				number, in->types[i], h->types);
	}
	return ERR_OK;
}

/* Fill starts. */
static enum err_code
check_batch(struct encoder *enc, const struct encoder_input *in, size_t count, struct err *e)
{
	uint32_t tokens = 0;

	if (count > enc->batch_max)
		return err_set(
			e, ERR_INPUT, "%zu texts; at most %u in a pass", count, enc->batch_max);
	enc->starts[0] = 0;
	for (size_t i = 0; i < count; i++) {
		enum err_code code = check_text(enc, &in[i], i, e);

		if (code != ERR_OK)
			return code;
		tokens += (uint32_t)in[i].len;
		if (tokens > enc->tokens_max)
			return err_set(
				e, ERR_INPUT, "more than %u tokens in a pass", enc->tokens_max);
		enc->starts[i + 1] = tokens;
	}
	return ERR_OK;
}

/* out[0..hidden) += row of the word table. */
static void
add_word(const struct encoder *enc, float *out, uint32_t row)
{
	size_t hidden = enc->header.hidden;
	const char *words = enc->image + enc->layout.words;
	const float *floats;

	if (enc->header.dtype != ENCODER_F32) {
		half_f16_add(out,
			(const uint16_t *)(const void *)(words + row * hidden * sizeof(uint16_t)),
			hidden);
		return;
	}
	floats = (const float *)(const void *)(words + row * hidden * sizeof(float));
	for (size_t i = 0; i < hidden; i++)
		out[i] += floats[i];
}

static struct kernel_norm
norm_at(const struct encoder *enc, const char *base, struct packed_norm at)
{
	return (struct kernel_norm){
		.weight = (const float *)(const void *)(base + at.weight),
		.bias = (const float *)(const void *)(base + at.bias),
		.eps = enc->header.norm_eps,
	};
}

/* Word + position + type of one text's tokens; the row after the last. */
static float *
embed_text(const struct encoder *enc, float *row, const struct encoder_input *in)
{
	const struct packed_header *h = &enc->header;
	const float *positions = (const float *)(const void *)(enc->image + enc->layout.positions);
	const float *types = (const float *)(const void *)(enc->image + enc->layout.types);
	size_t hidden = h->hidden, position = h->position_rows - h->max_tokens;

	for (size_t i = 0; i < in->len; i++, row += kernel_stride(hidden)) {
		/* Hugging Face's RoBERTa counts no position for the padding id, wherever it is. */
		size_t at = in->ids[i] == h->padding_id ? 0 : position++;
		const float *type = types;

		if (in->types != NULL && h->types > 0)
			type += in->types[i] * hidden;
		memcpy(row, positions + at * hidden, hidden * sizeof(*row));
		add_word(enc, row, in->ids[i]);
		for (size_t j = 0; h->types > 0 && j < hidden; j++)
			row[j] += type[j];
	}
	return row;
}

static void
embed(struct encoder *enc, const struct encoder_input *in, size_t count)
{
	struct kernel_norm norm = norm_at(enc, enc->image, enc->layout.embed_norm);
	float *row = enc->state.x;

	for (size_t t = 0; t < count; t++)
		row = embed_text(enc, row, &in[t]);
	(enc->kernel->norm != NULL ? enc->kernel->norm : kernel_plain_norm)(
		&enc->call, &norm, enc->state.x, enc->starts[count], enc->header.hidden);
}

static void
run_layers(struct encoder *enc, const struct kernel_batch *batch)
{
	const struct packed_header *h = &enc->header;
	const struct packed_layout *l = &enc->layout;
	uint32_t head_dim = h->hidden / h->heads;
	struct kernel_layer layer = {
		.hidden = h->hidden,
		.ffn = h->ffn,
		.activation = (enum kernel_epilogue)h->activation,
		.attention = {.heads = h->heads,
			.head_dim = head_dim,
			.scale = 1.0f / sqrtf((float)head_dim),
			.bias_span = h->max_tokens - 1},
	};

	if (h->buckets > 0)
		layer.attention.position_bias =
			(const float *)(const void *)(enc->image + l->relative);
	for (uint32_t i = 0; i < h->layers; i++) {
		const char *base = enc->image + l->layers + i * l->layer_bytes;

		layer.qkv = base + l->qkv;
		layer.out = base + l->out;
		layer.up = base + l->up;
		layer.down = base + l->down;
		layer.attention_norm = norm_at(enc, base, l->attention_norm);
		layer.output_norm = norm_at(enc, base, l->output_norm);
		kernel_run_layer(enc->kernel, &enc->call, &layer, &enc->state, batch);
	}
}

static void
scale_to_length_one(float *v, size_t n)
{
	float sum = 0, scale;

	for (size_t i = 0; i < n; i++)
		sum += v[i] * v[i];
	scale = 1.0f / fmaxf(sqrtf(sum), 1e-12f);
	for (size_t i = 0; i < n; i++)
		v[i] *= scale;
}

/* One text's rows of x to its embedding. */
static void
pool_text(const struct encoder *enc, float *out, const float *rows, uint32_t len,
	enum encoder_pool pool)
{
	size_t hidden = enc->header.hidden, stride = kernel_stride(hidden);

	memcpy(out, rows, hidden * sizeof(*out));
	if (pool == ENCODER_POOL_CLS)
		return;
	for (uint32_t r = 1; r < len; r++)
		for (size_t i = 0; i < hidden; i++)
			out[i] += rows[r * stride + i];
	for (size_t i = 0; i < hidden; i++)
		out[i] /= (float)len;
}

/* Logits of all texts from their first tokens. */
static void
run_head(struct encoder *enc, uint32_t count)
{
	const struct packed_header *h = &enc->header;
	size_t stride = kernel_stride(h->hidden);
	const struct kernel_linear dense = {enc->image + enc->layout.head_dense, h->hidden,
		h->hidden, (enum kernel_epilogue)h->head_activation, NULL};
	const struct kernel_linear out = {
		enc->image + enc->layout.head_out, h->hidden, h->labels, KERNEL_NONE, NULL};

	for (uint32_t t = 0; t < count; t++)
		memcpy(enc->first + t * stride, enc->state.x + enc->starts[t] * stride,
			stride * sizeof(float));
	enc->kernel->linear(&enc->call, &dense, enc->dense, enc->first, count);
	enc->kernel->linear(&enc->call, &out, enc->logits, enc->dense, count);
}

/* The mean of the tokens' vectors, those of the unknown token left out. */
static void
run_static(const struct encoder *enc, float *out, const struct encoder_input *in)
{
	const struct packed_header *h = &enc->header;
	const uint32_t *row_of = (const uint32_t *)(const void *)(enc->image + enc->layout.row_of);
	const float *weight_of = (const float *)(const void *)(enc->image + enc->layout.weight_of);
	float *row = enc->word;
	size_t known = 0;

	memset(out, 0, h->hidden * sizeof(*out));
	for (size_t i = 0; i < in->len; i++) {
		uint32_t id = in->ids[i];
		float weight = h->weighted ? weight_of[id] : 1.0f;

		if (id == h->dropped_id)
			continue;
		known++;
		memset(row, 0, h->hidden * sizeof(*row));
		add_word(enc, row, h->mapped ? row_of[id] : id);
		for (size_t j = 0; j < h->hidden; j++)
			out[j] += weight * row[j];
	}
	for (size_t j = 0; known > 0 && j < h->hidden; j++)
		out[j] /= (float)known;
}

static void
run_transformer(
	struct encoder *enc, const struct encoder_input *in, size_t count, enum encoder_pool pool)
{
	size_t hidden = enc->header.hidden, stride = kernel_stride(hidden);
	struct kernel_batch batch = {
		.starts = enc->starts, .count = (uint32_t)count, .tokens = enc->starts[count]};

	for (size_t t = 0; t < count; t++)
		batch.longest = MAX(batch.longest, (uint32_t)in[t].len);
	embed(enc, in, count);
	run_layers(enc, &batch);
	for (size_t t = 0; t < count; t++)
		pool_text(enc, enc->embeddings + t * hidden, enc->state.x + enc->starts[t] * stride,
			(uint32_t)in[t].len, pool);
	if (enc->header.labels > 0)
		run_head(enc, (uint32_t)count);
}

enum err_code
encoder_run(struct encoder *enc, struct encoder_output *out, const struct encoder_input *in,
	size_t count, enum encoder_pool pool, struct err *e)
{
	const struct packed_header *h = &enc->header;
	enum err_code code = check_batch(enc, in, count, e);

	if (code != ERR_OK || count == 0)
		return code;
	if (pool == ENCODER_POOL_MODEL)
		pool = enc->info.pool;
	if (h->layers > 0)
		run_transformer(enc, in, count, pool);
	for (size_t t = 0; t < count; t++) {
		float *embedding = enc->embeddings + t * h->hidden;

		if (h->layers == 0)
			run_static(enc, embedding, &in[t]);
		if (h->normalize)
			scale_to_length_one(embedding, h->hidden);
		out[t].embedding = embedding;
		out[t].logits = h->labels > 0 ? enc->logits + t * kernel_stride(h->labels) : NULL;
	}
	return ERR_OK;
}
