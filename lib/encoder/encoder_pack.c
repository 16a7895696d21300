/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_pack.c - find a transformer's tensors, check their shapes, lay them out for the kernel
 *
 * One walk serves both: without an image it only looks.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/encoder_source.h"
#include "lib/encoder/half.h"

enum { NAME_MAX_HERE = 192, NO_LAYER = -1 };

struct packer {
	const struct encoder_source *s;
	char *image; /* NULL: only look */
	uint64_t parameters;
	uint32_t labels;
	float *weights; /* with image: room for the largest linear */
	float *bias;
	struct err *e;
};

/* A part of the model and the shape that the config says it has; columns 0: a vector. */
struct part {
	enum model_part part;
	int layer;
	uint32_t rows, columns;
};

static bool
in_encoder(const struct encoder_source *s, enum model_part part)
{
	return part < MODEL_HEAD_DENSE ||
	       (part == MODEL_HEAD_DENSE && s->config.family->head_dense_in_prefix);
}

/* "bert.encoder.layer.3.output.dense" and an ending. */
static const struct tensor *
part_find(char name[NAME_MAX_HERE], const struct encoder_source *s, enum model_part part, int layer,
	const char *ending)
{
	const struct model_family *f = s->config.family;
	const char *prefix = in_encoder(s, part) ? s->prefix : "";

	if (layer == NO_LAYER)
		(void)snprintf(name, NAME_MAX_HERE, "%s%s.%s", prefix, f->parts[part], ending);
	else
		(void)snprintf(name, NAME_MAX_HERE, "%s%s%d.%s.%s", prefix, f->layers, layer,
			f->parts[part], ending);
	return tensor_set_find(s->tensors, name);
}

/* A table of one row may be a vector: GGUF does not tell them apart. */
static bool
shape_fits(const struct tensor *t, const struct part *part)
{
	if (part->columns == 0)
		return t->rank == 1 && t->shape[0] == part->rows;
	if (t->rank == 1 && part->rows == 1)
		return t->shape[0] == part->columns;
	return t->rank == 2 && t->shape[0] == part->rows && t->shape[1] == part->columns;
}

/* The tensor of a part: ending, or the name that old checkpoints of TensorFlow have for it. */
static enum err_code
part_tensor(const struct tensor **out, struct packer *p, const struct part *part,
	const char *ending, const char *old)
{
	char name[NAME_MAX_HERE];
	const struct tensor *t = part_find(name, p->s, part->part, part->layer, old);

	if (t == NULL)
		t = part_find(name, p->s, part->part, part->layer, ending);
	if (t == NULL)
		return err_set(p->e, ERR_CONFIG, "%s: tensor %s is missing", p->s->weights, name);
	if (!shape_fits(t, part))
		return err_set(p->e, ERR_CONFIG,
			"%s: tensor %s has %u dimensions, %llu x %llu; the model's sizes ask for "
			"%u x %u",
			t->file, name, t->rank, (unsigned long long)t->shape[0],
			(unsigned long long)t->shape[1], part->rows, MAX(part->columns, 1));
	p->parameters += t->elements;
	*out = t;
	return ERR_OK;
}

static enum err_code
pack_norm(struct packer *p, enum model_part part, int layer, struct packed_norm at, size_t base)
{
	const struct part vector = {part, layer, p->s->header.hidden, 0};
	const struct tensor *weight = NULL, *bias = NULL;
	enum err_code code = part_tensor(&weight, p, &vector, "weight", "gamma");

	if (code == ERR_OK)
		code = part_tensor(&bias, p, &vector, "bias", "beta");
	if (code != ERR_OK || p->image == NULL)
		return code;
	code = tensor_floats(
		(float *)(void *)(p->image + base + at.weight), weight, 0, vector.rows, p->e);
	if (code != ERR_OK)
		return code;
	return tensor_floats(
		(float *)(void *)(p->image + base + at.bias), bias, 0, vector.rows, p->e);
}

/* One linear layer from 1 or 3 that stand above each other. */
static enum err_code
pack_linear(struct packer *p, const struct part *parts, size_t count, size_t at)
{
	uint32_t in = parts[0].columns, out = 0;

	for (size_t i = 0; i < count; i++) {
		const struct part vector = {parts[i].part, parts[i].layer, parts[i].rows, 0};
		const struct tensor *weight = NULL, *bias = NULL;
		enum err_code code = part_tensor(&weight, p, &parts[i], "weight", "weight");

		if (code == ERR_OK)
			code = part_tensor(&bias, p, &vector, "bias", "bias");
		if (code == ERR_OK && p->image != NULL)
			code = tensor_floats(
				p->weights + (size_t)out * in, weight, 0, weight->elements, p->e);
		if (code == ERR_OK && p->image != NULL)
			code = tensor_floats(p->bias + out, bias, 0, bias->elements, p->e);
		if (code != ERR_OK)
			return code;
		out += parts[i].rows;
	}
	if (p->image != NULL)
		p->s->kernel->pack(p->image + at, in, out, p->weights, p->bias);
	return ERR_OK;
}

static enum err_code
pack_layer(struct packer *p, int layer)
{
	const struct packed_layout *l = &p->s->layout;
	uint32_t hidden = p->s->header.hidden, ffn = p->s->header.ffn;
	const struct part qkv[] = {
		{MODEL_QUERY, layer, hidden, hidden},
		{MODEL_KEY, layer, hidden, hidden},
		{MODEL_VALUE, layer, hidden, hidden},
	};
	const struct part out = {MODEL_ATTENTION_OUT, layer, hidden, hidden};
	const struct part up = {MODEL_UP, layer, ffn, hidden};
	const struct part down = {MODEL_DOWN, layer, hidden, ffn};
	size_t base = l->layers + (size_t)layer * l->layer_bytes;
	enum err_code code = pack_linear(p, qkv, ARRAY_LEN(qkv), base + l->qkv);

	if (code == ERR_OK)
		code = pack_linear(p, &out, 1, base + l->out);
	if (code == ERR_OK)
		code = pack_norm(p, MODEL_ATTENTION_NORM, layer, l->attention_norm, base);
	if (code == ERR_OK)
		code = pack_linear(p, &up, 1, base + l->up);
	if (code == ERR_OK)
		code = pack_linear(p, &down, 1, base + l->down);
	if (code == ERR_OK)
		code = pack_norm(p, MODEL_OUTPUT_NORM, layer, l->output_norm, base);
	return code;
}

enum err_code
encoder_pack_words(
	char *out, const struct tensor *t, size_t columns, enum encoder_dtype dtype, struct err *e)
{
	AUTO(buf_fini) struct buf row = BUF_INIT;
	enum err_code code = ERR_OK;
	float *floats;

	if (dtype == ENCODER_F32)
		return tensor_floats((float *)(void *)out, t, 0, t->elements, e);
	buf_reserve(&row, columns * sizeof(float));
	floats = (float *)(void *)row.data;
	for (uint64_t at = 0; at < t->elements && code == ERR_OK; at += columns) {
		uint16_t *half = (uint16_t *)(void *)(out + at * sizeof(uint16_t));

		code = tensor_floats(floats, t, at, columns, e);
		for (size_t i = 0; code == ERR_OK && i < columns; i++) {
			half[i] = half_f16_from_f32(floats[i]);
			if ((half[i] & 0x7fff) == 0x7c00)
				code = err_set(e, ERR_CONFIG,
					"%s: tensor %.120s holds values beyond 65504; use f32",
					t->file, t->name);
		}
	}
	return code;
}

static enum err_code
pack_tables(struct packer *p)
{
	const struct model_config *c = &p->s->config;
	const struct packed_header *h = &p->s->header;
	const struct packed_layout *l = &p->s->layout;
	const struct part words = {MODEL_WORDS, NO_LAYER, c->vocab, c->hidden};
	const struct part positions = {MODEL_POSITIONS, NO_LAYER, c->positions, c->hidden};
	const struct part types = {MODEL_TYPES, NO_LAYER, c->types, c->hidden};
	const struct tensor *t = NULL;
	enum err_code code = part_tensor(&t, p, &words, "weight", "weight");

	if (code == ERR_OK && p->image != NULL)
		code = encoder_pack_words(
			p->image + l->words, t, c->hidden, (enum encoder_dtype)h->dtype, p->e);
	if (code == ERR_OK)
		code = part_tensor(&t, p, &positions, "weight", "weight");
	if (code == ERR_OK && p->image != NULL)
		code = tensor_floats((float *)(void *)(p->image + l->positions), t,
			(uint64_t)(c->position_offset + h->max_tokens - h->position_rows) *
				c->hidden,
			(uint64_t)h->position_rows * c->hidden, p->e);
	if (code == ERR_OK && c->types > 0)
		code = part_tensor(&t, p, &types, "weight", "weight");
	if (code == ERR_OK && c->types > 0 && p->image != NULL)
		code = tensor_floats(
			(float *)(void *)(p->image + l->types), t, 0, t->elements, p->e);
	return code != ERR_OK ? code : pack_norm(p, MODEL_EMBED_NORM, NO_LAYER, l->embed_norm, 0);
}

/*
 * The bucket of key minus query, as in T5 and MPNet: half of the buckets for each direction, the
 * first half of those for one distance each, the others for ranges that grow up to 128.
 */
static uint32_t
bucket_of(int distance, uint32_t buckets)
{
	uint32_t half = buckets / 2, exact = half / 2;
	uint32_t n = (uint32_t)abs(distance), far;
	uint32_t base = distance > 0 ? half : 0;

	if (n < exact)
		return base + n;
	far = exact + (uint32_t)(logf((float)n / (float)exact) / logf(128.0f / (float)exact) *
				 (float)(half - exact));
	return base + MIN(far, half - 1);
}

static enum err_code
pack_relative(struct packer *p)
{
	const struct packed_header *h = &p->s->header;
	const struct part table = {MODEL_RELATIVE, NO_LAYER, h->buckets, h->heads};
	int span = (int)h->max_tokens - 1;
	const struct tensor *t = NULL;
	float *out, *floats;
	enum err_code code;

	if (h->buckets == 0)
		return ERR_OK;
	code = part_tensor(&t, p, &table, "weight", "weight");
	if (code != ERR_OK || p->image == NULL)
		return code;
	floats = calloc(t->elements, sizeof(*floats));
	CHECK(floats != NULL);
	code = tensor_floats(floats, t, 0, t->elements, p->e);
	out = (float *)(void *)(p->image + p->s->layout.relative);
	for (uint32_t head = 0; code == ERR_OK && head < h->heads; head++)
		for (int distance = -span; distance <= span; distance++)
			*out++ = floats[(size_t)bucket_of(distance, h->buckets) * h->heads + head];
	free(floats);
	return code;
}

/* The head's second layer has as many rows as there are labels, and says so where the config
 * does not. */
static enum err_code
pack_head(struct packer *p)
{
	const struct packed_header *h = &p->s->header;
	const struct part dense = {MODEL_HEAD_DENSE, NO_LAYER, h->hidden, h->hidden};
	struct part out = {MODEL_HEAD_OUT, NO_LAYER, h->labels, h->hidden};
	char name[NAME_MAX_HERE];
	const struct tensor *t;
	enum err_code code;

	if (!p->s->config.head)
		return ERR_OK;
	t = part_find(name, p->s, MODEL_HEAD_OUT, NO_LAYER, "weight");
	if (out.rows == 0 && t != NULL)
		out.rows = (uint32_t)MIN(t->shape[0], MODEL_LABELS_MAX + 1);
	if (t != NULL && (out.rows == 0 || out.rows > MODEL_LABELS_MAX))
		return err_set(p->e, ERR_CONFIG, "%s: tensor %s has rows for %u labels", t->file,
			name, out.rows);
	p->labels = out.rows;
	code = pack_linear(p, &dense, 1, p->s->layout.head_dense);
	return code != ERR_OK ? code : pack_linear(p, &out, 1, p->s->layout.head_out);
}

/* Checkpoints of a bare encoder, and of wrappers around one, name their tensors differently. */
static void
find_prefix(struct encoder_source *s)
{
	const char *const prefixes[] = {
		s->config.family->prefix, "", "model.", "auto_model.", "0.auto_model."};
	char name[NAME_MAX_HERE];

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		s->prefix = prefixes[i];
		if (part_find(name, s, MODEL_WORDS, NO_LAYER, "weight") != NULL)
			return;
	}
	s->prefix = s->config.family->prefix; /* and the tensor will be found missing */
}

static enum err_code
pack_parts(struct packer *p)
{
	enum err_code code = pack_tables(p);

	if (code == ERR_OK)
		code = pack_relative(p);
	for (uint32_t i = 0; code == ERR_OK && i < p->s->header.layers; i++)
		code = pack_layer(p, (int)i);
	return code != ERR_OK ? code : pack_head(p);
}

enum err_code
encoder_look_transformer(struct encoder_source *s, struct err *e)
{
	struct packer p = {.s = s, .e = e};
	enum err_code code;

	find_prefix(s);
	code = pack_parts(&p);
	s->header.parameters = p.parameters;
	s->header.labels = p.labels;
	return code;
}

enum err_code
encoder_pack_transformer(const struct encoder_source *s, char *image, struct err *e)
{
	struct packer p = {.s = s, .image = image, .e = e};
	const struct packed_header *h = &s->header;
	size_t widest = MAX(MAX(3 * h->hidden, h->ffn), h->labels);
	enum err_code code;

	p.weights = malloc(widest * h->hidden * sizeof(float));
	p.bias = malloc(widest * sizeof(float));
	CHECK(p.weights != NULL && p.bias != NULL);
	code = pack_parts(&p);
	free(p.weights);
	free(p.bias);
	return code;
}
