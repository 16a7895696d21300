/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.c - `shunt encode`: lines of text in, embeddings or class probabilities out
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text_lines.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"
#include "lib/encoder/encoder.h"

/* What lasts from line to line. */
struct session {
	const struct cli *cli;
	struct encoder *encoder;
	struct tokenizer_scratch *scratch;
	struct tokens tokens;
	struct buf answer;
	enum encoder_pool pool;
};

static void
session_fini(struct session *s)
{
	encoder_free(&s->encoder);
	tokenizer_scratch_free(&s->scratch);
	tokens_fini(&s->tokens);
	buf_fini(&s->answer);
}

static bool
read_dtype(enum encoder_dtype *out, const struct cli *cli)
{
	const char *name = cli->values['D'];

	*out = ENCODER_F32;
	if (name != NULL)
		*out = encoder_dtype_find(name);
	if (*out < ENCODER_DTYPES)
		return true;
	(void)fprintf(cli->err, "shunt encode: --dtype %s: must be f32, bf16 or i8\n", name);
	return false;
}

static bool
read_pool(enum encoder_pool *out, const struct cli *cli)
{
	const char *name = cli->values['L'];

	*out = ENCODER_POOL_MODEL;
	if (name == NULL)
		return true;
	if (strcmp(name, "mean") == 0)
		*out = ENCODER_POOL_MEAN;
	else if (strcmp(name, "cls") == 0)
		*out = ENCODER_POOL_CLS;
	else
		(void)fprintf(cli->err, "shunt encode: --pool %s: must be mean or cls\n", name);
	return *out != ENCODER_POOL_MODEL;
}

static enum err_code
session_open(struct session *s, const char *folder, enum encoder_dtype dtype, struct err *e)
{
	const struct encoder_plan plan = {.dtype = dtype, .isa = ENCODER_ISA_AUTO};
	const struct encoder_limits limits = {.batch = 1, .threads = 1};

	if (encoder_load(&s->encoder, folder, &plan, &limits, e) != ERR_OK)
		return e->code;
	s->scratch = tokenizer_scratch_new();
	return ERR_OK;
}

/* The shortest number that is this float, not the double next to it. */
static void
put_float(struct buf *b, float f)
{
	char text[32];
	double shortest = f;

	for (int digits = 6; digits <= 9; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, (double)f);
		shortest = strtod(text, NULL);
		if ((float)shortest == f)
			break;
	}
	json_put_double(b, shortest);
}

static void
put_floats(struct buf *b, const char *name, const float *v, uint32_t n)
{
	json_put_key(b, name);
	json_put_begin(b, '[');
	for (uint32_t i = 0; i < n; i++)
		put_float(b, v[i]);
	json_put_end(b, ']');
}

/* Of label 0: among labels that exclude each other softmax, else a sigmoid of its own. */
static double
win_rate(const struct encoder_info *info, const float *logits)
{
	if (info->problem == ENCODER_SINGLE_LABEL && info->labels > 1)
		return encoder_probability(logits, info->labels, 0);
	return 1 / (1 + exp(-(double)logits[0]));
}

static void
put_logits(struct session *s, const float *logits)
{
	const struct encoder_info *info = encoder_info(s->encoder);
	uint32_t best = 0;

	for (uint32_t i = 1; i < info->labels; i++)
		best = logits[i] > logits[best] ? i : best;
	put_floats(&s->answer, "logits", logits, info->labels);
	json_put_member_str(&s->answer, "label", encoder_label(s->encoder, best));
	json_put_key(&s->answer, "win_rate");
	put_float(&s->answer, (float)win_rate(info, logits));
}

static enum err_code
line_encode(void *ctx, const struct text_line *line, struct err *e)
{
	struct session *s = ctx;
	bool embeds = encoder_info(s->encoder)->labels == 0 || s->cli->values['L'] != NULL;
	struct tokenizer_options options = embeds ? encoder_embedding_options(s->encoder)
						  : encoder_tokenizer_options(s->encoder);
	struct encoder_input in;
	struct encoder_output out;
	struct buf *b = &s->answer;

	if (line->max_length > 0)
		options.max_length = MIN(line->max_length, encoder_info(s->encoder)->max_tokens);
	if (tokenizer_encode(&s->tokens, encoder_tokenizer(s->encoder), s->scratch, line->text,
		    line->has_pair ? &line->pair : NULL, &options, e) != ERR_OK)
		return e->code;
	in = (struct encoder_input){
		.ids = s->tokens.ids, .types = s->tokens.types, .len = s->tokens.len};
	if (encoder_run(s->encoder, &out, &in, 1, s->pool, e) != ERR_OK)
		return e->code;
	if (!encoder_finite(s->encoder, &out))
		return err_set(e, ERR_MALFORMED,
			"the model's answer holds a number that is none (NaN or infinite)");
	buf_clear(b);
	json_put_begin(b, '{');
	if (out.logits != NULL && s->cli->values['L'] == NULL)
		put_logits(s, out.logits);
	else
		put_floats(b, "embedding", out.embedding, encoder_info(s->encoder)->hidden);
	json_put_end(b, '}');
	buf_add_char(b, '\n');
	(void)fwrite(b->data, 1, b->len, s->cli->out);
	return ERR_OK;
}

enum cli_exit
cli_encode(const struct cli *cli)
{
	AUTO(session_fini) struct session s = {.cli = cli};
	enum encoder_dtype dtype;
	struct err e;

	if (cli->values['M'] == NULL) {
		(void)fputs("shunt encode: --model DIR is missing\n", cli->err);
		return CLI_USAGE;
	}
	if (!read_dtype(&dtype, cli) || !read_pool(&s.pool, cli))
		return CLI_USAGE;
	if (session_open(&s, cli->values['M'], dtype, &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt encode: %s\n", e.text);
		return CLI_BAD_NEWS;
	}
	return text_lines_run(cli, stdin, line_encode, &s);
}
