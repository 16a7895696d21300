/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder.c - attach a packed model, say what it is
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/encoder/encoder_private.h"
#include "lib/encoder/kernel_pool.h"
#include "lib/encoder/tensor.h"

enum { LIMIT_BATCH_MAX = 4096, LIMIT_TOKENS_MAX = 1 << 20 };

void
encoder_free(struct encoder **enc_p)
{
	struct encoder *enc = *enc_p;

	if (enc == NULL)
		return;
	kernel_pool_free(&enc->call.pool);
	tokenizer_free(&enc->tokenizer);
	if (enc->arena != NULL)
		(void)munmap(enc->arena, enc->arena_len);
	free(enc->label_names);
	if (enc->own_image != NULL)
		(void)munmap(enc->own_image, enc->own_image_len);
	free(enc);
	*enc_p = NULL;
}

static void
fill_info(struct encoder *enc)
{
	const struct packed_header *h = &enc->header;
	struct encoder_info *info = &enc->info;

	memcpy(info->architecture, h->architecture, sizeof(info->architecture));
	info->dtype = (enum encoder_dtype)h->dtype;
	info->isa = (enum encoder_isa)h->isa;
	info->layers = h->layers;
	info->hidden = h->hidden;
	info->heads = h->heads;
	info->labels = h->labels;
	info->max_tokens = h->max_tokens;
	info->parameters = h->parameters;
	info->identity = h->identity;
	info->pool = (enum encoder_pool)h->pool;
	info->normalize = h->normalize != 0;
	info->problem = (enum encoder_problem)h->problem;
}

static void
list_labels(struct encoder *enc)
{
	const char *name = enc->image + enc->layout.label_names;

	enc->label_names = calloc(MAX(enc->header.labels, 1), sizeof(*enc->label_names));
	CHECK(enc->label_names != NULL);
	for (uint32_t i = 0; i < enc->header.labels; i++, name += strlen(name) + 1)
		enc->label_names[i] = name;
}

/* Reserve bytes of an arena that is counted first (base NULL) and then handed out. */
static void *
take(char *base, size_t *at, size_t bytes)
{
	size_t start = *at;

	*at = (start + bytes + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
	return base == NULL ? NULL : base + start;
}

static float *
take_rows(char *base, size_t *at, size_t rows, size_t dim)
{
	return take(base, at, rows * kernel_stride(dim) * sizeof(float));
}

/* The arena's bytes; with a base, everything in it is given its place. */
static size_t
place(struct encoder *enc, char *base)
{
	const struct packed_header *h = &enc->header;
	size_t tokens = h->layers > 0 ? enc->tokens_max : 0, batch = enc->batch_max;
	size_t headed = h->labels > 0 ? batch : 0;
	size_t at = 0;

	enc->state.x = take_rows(base, &at, tokens, h->hidden);
	enc->state.qkv = take_rows(base, &at, tokens, 3 * (size_t)h->hidden);
	enc->state.context = take_rows(base, &at, tokens, h->hidden);
	enc->state.wide = take_rows(base, &at, tokens, h->ffn);
	enc->first = take_rows(base, &at, headed, h->hidden);
	enc->dense = take_rows(base, &at, headed, h->hidden);
	enc->logits = take_rows(base, &at, headed, h->labels);
	enc->word = take_rows(base, &at, h->layers > 0 ? 0 : 1, h->hidden);
	enc->embeddings = take(base, &at, batch * h->hidden * sizeof(float));
	enc->starts = take(base, &at, (batch + 1) * sizeof(uint32_t));
	enc->call.scratch = take(base, &at, enc->call.scratch_len);
	return at;
}

/* Zero pages that only those a pass touches cost memory. */
static enum err_code
make_arena(struct encoder *enc, uint32_t threads, struct err *e)
{
	const struct packed_header *h = &enc->header;
	const struct kernel_shape shape = {.tokens = enc->tokens_max,
		.max_tokens = h->max_tokens,
		.hidden = h->hidden,
		.ffn = MAX(h->ffn, 1),
		.heads = MAX(h->heads, 1),
		.threads = threads};
	void *map;

	if (h->layers > 0)
		enc->call.scratch_len = kernel_scratch_bytes(enc->kernel, &shape);
	enc->arena_len = place(enc, NULL);
	map = mmap(
		NULL, enc->arena_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return err_set(e, ERR_SYS, "encoder: %zu bytes of working memory: %s",
			enc->arena_len, strerror(errno));
	enc->arena = map;
	(void)place(enc, enc->arena);
	return ERR_OK;
}

static enum err_code
attach_tokenizer(struct encoder *enc, struct err *e)
{
	if (enc->header.tokenizer_len == 0)
		return ERR_OK;
	return tokenizer_attach(
		&enc->tokenizer, enc->image + enc->layout.tokenizer, enc->header.tokenizer_len, e);
}

static enum err_code
attach_parts(struct encoder *enc, const struct encoder_limits *limits, struct err *e)
{
	uint32_t threads = MAX(limits->threads, 1);
	enum err_code code;

	enc->batch_max = MAX(limits->batch, 1);
	enc->tokens_max = MAX(limits->tokens, enc->header.max_tokens);
	if (enc->batch_max > LIMIT_BATCH_MAX || enc->tokens_max > LIMIT_TOKENS_MAX ||
		threads > KERNEL_POOL_MOST)
		return err_set(e, ERR_CONFIG,
			"encoder: at most %d texts, %d tokens and %d threads in a pass",
			LIMIT_BATCH_MAX, LIMIT_TOKENS_MAX, KERNEL_POOL_MOST);
	fill_info(enc);
	list_labels(enc);
	code = attach_tokenizer(enc, e);
	if (code == ERR_OK && threads > 1 && enc->header.layers > 0)
		code = kernel_pool_new(&enc->call.pool, threads, e);
	if (code != ERR_OK)
		return code;
	if (enc->kernel->start != NULL)
		enc->kernel->start(threads);
	return make_arena(enc, threads, e);
}

enum err_code
encoder_attach(struct encoder **out, const void *image, size_t len,
	const struct encoder_limits *limits, struct err *e)
{
	AUTO(encoder_free) struct encoder *enc = calloc(1, sizeof(*enc));
	enum err_code code;

	CHECK(enc != NULL);
	enc->image = image;
	code = packed_check(&enc->header, &enc->layout, &enc->kernel, image, len, e);
	if (code == ERR_OK)
		code = attach_parts(enc, limits, e);
	if (code != ERR_OK)
		return code;
	*out = enc;
	enc = NULL;
	return ERR_OK;
}

const struct encoder_info *
encoder_info(const struct encoder *enc)
{
	return &enc->info;
}

const char *
encoder_label(const struct encoder *enc, uint32_t label)
{
	CHECK(label < enc->header.labels);
	return enc->label_names[label];
}

const struct tokenizer *
encoder_tokenizer(const struct encoder *enc)
{
	return enc->tokenizer;
}

struct tokenizer_options
encoder_tokenizer_options(const struct encoder *enc)
{
	uint32_t file = enc->tokenizer != NULL ? tokenizer_max_length(enc->tokenizer) : 0;
	uint32_t most = enc->header.max_tokens;

	return (struct tokenizer_options){
		.max_length = file > 0 ? MIN(file, most) : most,
		.cut = TOKENIZER_CUT_FILE,
		.no_special = enc->header.layers == 0,
	};
}

struct tokenizer_options
encoder_embedding_options(const struct encoder *enc)
{
	struct tokenizer_options o = encoder_tokenizer_options(enc);

	o.max_length = enc->header.max_tokens;
	o.cut = TOKENIZER_CUT_RIGHT;
	return o;
}

bool
encoder_finite(const struct encoder *enc, const struct encoder_output *out)
{
	return (out->logits == NULL || tensor_finite(out->logits, enc->header.labels)) &&
	       tensor_finite(out->embedding, enc->header.hidden);
}

double
encoder_probability(const float *logits, uint32_t labels, uint32_t label)
{
	double most = logits[0], sum = 0;

	CHECK(label < labels);
	for (uint32_t i = 1; i < labels; i++)
		most = fmax(most, logits[i]);
	for (uint32_t i = 0; i < labels; i++)
		sum += exp(logits[i] - most);
	return exp(logits[label] - most) / sum;
}
