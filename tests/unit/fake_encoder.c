/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_encoder.c - lib/encoder's interface over arithmetic that a test can do in its head
 *
 * A token is a word, its id the word's length. Two labels: the logits of a text are its number of
 * tokens and 0; the embedding of 4 numbers is that, the first id, how many texts the run had, 1.
 * Ids from 1000 on are in no vocabulary; what 999 is, no number says.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/encoder/encoder.h"

enum { FAKE_DIMENSIONS = 4, FAKE_TOKENS_MAX = 16, FAKE_IMAGE = 64 };

struct tokenizer {
	int unused;
};

struct tokenizer_scratch {
	int unused;
};

struct encoder_source {
	struct encoder_plan plan;
};

struct encoder {
	struct encoder_info info;
	struct encoder_limits limits;
	struct tokenizer tokenizer;
	float logits[256][2], embeddings[256][FAKE_DIMENSIONS];
};

const char *
encoder_dtype_name(enum encoder_dtype d)
{
	return d == ENCODER_F32 ? "f32" : d == ENCODER_BF16 ? "bf16" : "i8";
}

const char *
encoder_isa_name(enum encoder_isa isa)
{
	return isa == ENCODER_ISA_BLAS ? "blas" : "fake";
}

bool
encoder_isa_runs(enum encoder_isa isa, enum encoder_dtype dtype)
{
	return isa == ENCODER_ISA_AUTO || dtype == ENCODER_F32;
}

enum err_code
encoder_open(struct encoder_source **out, const char *folder, const struct encoder_plan *plan,
	struct err *e)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/config.json", folder);
	if (access(path, R_OK) != 0)
		return err_set(e, ERR_CONFIG, "%s: not there", path);
	*out = calloc(1, sizeof(**out));
	CHECK(*out != NULL);
	(*out)->plan = *plan;
	return ERR_OK;
}

void
encoder_close(struct encoder_source **s_p)
{
	free(*s_p);
	*s_p = NULL;
}

size_t
encoder_packed_bytes(const struct encoder_source *s)
{
	(void)s;
	return FAKE_IMAGE;
}

enum err_code
encoder_pack(const struct encoder_source *s, void *image, struct err *e)
{
	(void)e;
	memcpy(image, &s->plan, sizeof(s->plan));
	return ERR_OK;
}

enum err_code
encoder_attach(struct encoder **out, const void *image, size_t len,
	const struct encoder_limits *limits, struct err *e)
{
	struct encoder *enc;

	if (len < sizeof(struct encoder_plan))
		return err_set(e, ERR_CONFIG, "too short");
	enc = calloc(1, sizeof(*enc));
	CHECK(enc != NULL);
	enc->limits = *limits;
	enc->info = (struct encoder_info){.architecture = "Fake",
		.dtype = ((const struct encoder_plan *)image)->dtype,
		.hidden = FAKE_DIMENSIONS,
		.labels = 2,
		.layers = 1,
		.max_tokens = FAKE_TOKENS_MAX};
	*out = enc;
	return ERR_OK;
}

void
encoder_free(struct encoder **enc_p)
{
	free(*enc_p);
	*enc_p = NULL;
}

const struct encoder_info *
encoder_info(const struct encoder *enc)
{
	return &enc->info;
}

const char *
encoder_label(const struct encoder *enc, uint32_t label)
{
	(void)enc;
	return label == 0 ? "strong" : "weak";
}

const struct tokenizer *
encoder_tokenizer(const struct encoder *enc)
{
	return &enc->tokenizer;
}

double
encoder_probability(const float *logits, uint32_t labels, uint32_t label)
{
	double sum = 0;

	for (uint32_t i = 0; i < labels; i++)
		sum += exp((double)logits[i]);
	return exp((double)logits[label]) / sum;
}

bool
encoder_finite(const struct encoder *enc, const struct encoder_output *out)
{
	(void)enc;
	return isfinite(out->embedding[3]);
}

enum err_code
encoder_run(struct encoder *enc, struct encoder_output *out, const struct encoder_input *in,
	size_t count, enum encoder_pool pool, struct err *e)
{
	size_t tokens = 0;

	(void)pool;
	for (size_t i = 0; i < count; i++) {
		tokens += in[i].len;
		for (size_t k = 0; k < in[i].len; k++)
			if (in[i].ids[k] >= 1000)
				return err_set(
					e, ERR_INPUT, "id %u is in no vocabulary", in[i].ids[k]);
	}
	CHECK(count <= enc->limits.batch && (count == 1 || tokens <= enc->limits.tokens));
	for (size_t i = 0; i < count; i++) {
		enc->logits[i][0] = (float)in[i].len;
		enc->logits[i][1] = 0;
		enc->embeddings[i][0] = (float)in[i].len;
		enc->embeddings[i][1] = (float)in[i].ids[0];
		enc->embeddings[i][2] = (float)count;
		enc->embeddings[i][3] = in[i].ids[0] == 999 ? NAN : 1;
		out[i] = (struct encoder_output){enc->logits[i], enc->embeddings[i]};
	}
	return ERR_OK;
}

struct tokenizer_options
encoder_tokenizer_options(const struct encoder *enc)
{
	(void)enc;
	return (struct tokenizer_options){.max_length = 8};
}

struct tokenizer_options
encoder_embedding_options(const struct encoder *enc)
{
	return (struct tokenizer_options){
		.max_length = encoder_info(enc)->max_tokens, .cut = TOKENIZER_CUT_RIGHT};
}

struct tokenizer_scratch *
tokenizer_scratch_new(void)
{
	struct tokenizer_scratch *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	return s;
}

void
tokenizer_scratch_free(struct tokenizer_scratch **s_p)
{
	free(*s_p);
	*s_p = NULL;
}

void
tokens_fini(struct tokens *t)
{
	free(t->ids);
	free(t->types);
	*t = (struct tokens)TOKENS_INIT;
}

enum err_code
tokenizer_encode(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *scratch,
	struct tokenizer_text text, const struct tokenizer_text *pair,
	const struct tokenizer_options *options, struct err *e)
{
	size_t word = 0;

	(void)t;
	(void)scratch;
	(void)pair;
	(void)e;
	if (out->cap == 0) {
		out->ids = calloc(FAKE_TOKENS_MAX, sizeof(*out->ids));
		out->types = calloc(FAKE_TOKENS_MAX, 1);
		CHECK(out->ids != NULL && out->types != NULL);
		out->cap = FAKE_TOKENS_MAX;
	}
	out->len = out->dropped = 0;
	for (size_t i = 0; i <= text.len; i++) {
		if (i < text.len && text.text[i] != ' ') {
			word++;
			continue;
		}
		if (word > 0 && out->len < MIN(options->max_length, (uint32_t)FAKE_TOKENS_MAX))
			out->ids[out->len++] = (uint32_t)word;
		else if (word > 0)
			out->dropped++;
		word = 0;
	}
	return ERR_OK;
}
