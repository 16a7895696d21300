/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.c - run an encoder over the prompts of a dataset
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/kernel_pool.h"
#include "lib/lab/encode.h"
#include "lib/routing/judge.h"
#include "lib/routing/scorer_text.h"

enum { ENCODE_EVERY = 16 };

/* A model at work. */
struct encoding {
	struct encoder *encoder;
	struct tokenizer_scratch *scratch;
	struct tokens tokens;
	size_t done, all; /* texts */
};

static void
encoding_fini(struct encoding *g)
{
	encoder_free(&g->encoder);
	tokenizer_scratch_free(&g->scratch);
	tokens_fini(&g->tokens);
}

static enum err_code
encoding_init(struct encoding *g, const struct encode_plan *plan, struct err *e)
{
	const struct encoder_plan wanted = {.dtype = plan->dtype, .isa = ENCODER_ISA_AUTO};
	const struct encoder_limits limits = {
		.batch = 1, .threads = MIN(MAX(plan->threads, 1U), (unsigned)KERNEL_POOL_MOST)};

	if (encoder_load(&g->encoder, plan->folder, &wanted, &limits, e) != ERR_OK)
		return e->code;
	g->scratch = tokenizer_scratch_new();
	return ERR_OK;
}

static enum err_code
encoding_text(float *out, struct encoding *g, const char *prompt, size_t len, struct err *e)
{
	const struct tokenizer_options options = encoder_embedding_options(g->encoder);
	const struct route_request asked = {
		.turns = {prompt}, .turns_len = {len}, .turns_count = 1};
	char seen[ROUTE_TEXT_MAX];
	size_t seen_len = route_text(seen, &asked, NULL), skip = text_courtesy(seen, seen_len);
	const struct tokenizer_text text = {.text = seen + skip, .len = seen_len - skip};
	struct encoder_output found;
	struct encoder_input in;

	if (tokenizer_encode(&g->tokens, encoder_tokenizer(g->encoder), g->scratch, text, NULL,
		    &options, e) != ERR_OK)
		return e->code;
	in = (struct encoder_input){
		.ids = g->tokens.ids, .types = g->tokens.types, .len = g->tokens.len};
	if (encoder_run(g->encoder, &found, &in, 1, ENCODER_POOL_MODEL, e) != ERR_OK)
		return e->code;
	if (!encoder_finite(g->encoder, &found))
		return err_set(e, ERR_MALFORMED, "the embedding of a prompt holds no number");
	memcpy(out, found.embedding, encoder_info(g->encoder)->hidden * sizeof(float));
	return ERR_OK;
}

/* "all-MiniLM-L6-v2/mean/f32" */
static void
encode_name(struct encode *out, const struct encoder_info *info, const char *folder)
{
	size_t len = strlen(folder), start;

	while (len > 1 && folder[len - 1] == '/')
		len--;
	for (start = len; start > 0 && folder[start - 1] != '/'; start--)
		;
	buf_addf(&out->name, "%.*s/%s/%s", (int)MIN(len - start, (size_t)96), folder + start,
		info->pool == ENCODER_POOL_CLS ? "cls" : "mean", encoder_dtype_name(info->dtype));
	out->made = (struct scorer_embedding){
		.len = info->hidden, .identity = info->identity, .name = buf_str(&out->name)};
}

/* An embedding per row, all 0. */
static float *
encode_room(const struct dataset *d, size_t len)
{
	float *room = calloc(d->len * len + 1, sizeof(*room));

	CHECK(room != NULL);
	return room;
}

/* One of all texts is done. */
static enum err_code
encoding_progress(struct encoding *g, const struct encode_plan *plan, struct err *e)
{
	if (g->done++ % ENCODE_EVERY == 0 && plan->progress != NULL &&
		!plan->progress(plan->progress_arg, "embeddings", (double)g->done / (double)g->all))
		return err_set(e, ERR_CANCELLED, "ended before it was done");
	return ERR_OK;
}

static enum err_code
encode_rows(struct encode *out, struct encoding *g, const struct dataset *d,
	const struct encode_plan *plan, struct err *e)
{
	enum err_code code = ERR_OK;

	for (size_t i = 0; i < d->len && code == ERR_OK; i++) {
		const struct dataset_row *row = &d->rows[i];
		float *at = out->embeddings + i * out->made.len;

		if (i > 0 && row->hash == d->rows[i - 1].hash)
			memcpy(at, at - out->made.len, out->made.len * sizeof(*at));
		else
			code = encoding_text(at, g, row->prompt, row->prompt_len, e);
		if (code == ERR_OK)
			code = encoding_progress(g, plan, e);
	}
	return code;
}

static enum err_code
encode_noised(struct encode *out, struct encoding *g, const struct dataset *d,
	const struct encode_plan *plan, struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	enum err_code code = ERR_OK;

	for (enum noise n = 0; n < NOISES; n++) {
		out->noised[n] = encode_room(d, out->made.len);
		for (size_t i = 0; i < plan->noised_len && code == ERR_OK; i++) {
			size_t row = plan->noised[i];

			noise_row(&text, n, &d->rows[row], plan->noise_seed);
			code = encoding_text(out->noised[n] + row * out->made.len, g,
				buf_str(&text), text.len, e);
			if (code == ERR_OK)
				code = encoding_progress(g, plan, e);
		}
	}
	return code;
}

enum err_code
encode_dataset(
	struct encode *out, const struct dataset *d, const struct encode_plan *plan, struct err *e)
{
	AUTO(encoding_fini)
	struct encoding g = {.all = d->len + NOISES * plan->noised_len};
	enum err_code code;

	*out = (struct encode){.embeddings = NULL};
	if (encoding_init(&g, plan, e) != ERR_OK)
		return e->code;
	encode_name(out, encoder_info(g.encoder), plan->folder);
	out->embeddings = encode_room(d, out->made.len);
	code = encode_rows(out, &g, d, plan, e);
	if (code == ERR_OK && plan->noised_len > 0)
		code = encode_noised(out, &g, d, plan, e);
	if (code != ERR_OK)
		encode_fini(out);
	return code;
}

void
encode_fini(struct encode *en)
{
	free(en->embeddings);
	for (enum noise n = 0; n < NOISES; n++)
		free(en->noised[n]);
	buf_fini(&en->name);
	*en = (struct encode){.embeddings = NULL};
}
