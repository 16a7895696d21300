/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_gguf.c - sizes and pooling of an encoder in a GGUF file
 */
#include <string.h>

#include "lib/encoder/model_gguf.h"

static const struct model_family bert = {
	.model_type = "bert",
	.class_name = "Bert",
	.prefix = "",
	.layers = "blk.",
	.parts = {[MODEL_WORDS] = "token_embd",
		[MODEL_POSITIONS] = "position_embd",
		[MODEL_TYPES] = "token_types",
		[MODEL_EMBED_NORM] = "token_embd_norm",
		[MODEL_QUERY] = "attn_q",
		[MODEL_KEY] = "attn_k",
		[MODEL_VALUE] = "attn_v",
		[MODEL_ATTENTION_OUT] = "attn_output",
		[MODEL_ATTENTION_NORM] = "attn_output_norm",
		[MODEL_UP] = "ffn_up",
		[MODEL_DOWN] = "ffn_down",
		[MODEL_OUTPUT_NORM] = "layer_output_norm"},
};

enum err_code
model_gguf_open(struct gguf *out, struct model_folder *folder, struct err *e)
{
	const char *name = model_folder_gguf(folder), *what = model_folder_name(folder, name);
	struct model_file file;

	*out = (struct gguf){.what = what};
	if (model_folder_get(&file, folder, name, SIZE_MAX, e) != ERR_OK)
		return e->code;
	if (file.data == NULL)
		return err_set(e, ERR_CONFIG, "%s: missing", what);
	return gguf_parse(out, what, file.data, file.len, e);
}

/* Rows of a table; 0: it is none, or has more than most. One of a single row may be a vector. */
static uint32_t
table_rows(const struct gguf *g, const char *name, uint32_t most)
{
	const struct tensor *t = tensor_set_find(g->tensors, name);

	if (t != NULL && t->rank == 2 && t->shape[0] <= most)
		return (uint32_t)t->shape[0];
	return t != NULL && t->rank == 1;
}

static enum err_code
read_sizes(struct model_config *c, const struct gguf *g, struct err *e)
{
	const struct {
		uint32_t *out;
		const char *key;
		uint32_t max;
	} sizes[] = {
		{&c->hidden, "bert.embedding_length", MODEL_HIDDEN_MAX},
		{&c->layers, "bert.block_count", MODEL_LAYERS_MAX},
		{&c->heads, "bert.attention.head_count", MODEL_HEADS_MAX},
		{&c->ffn, "bert.feed_forward_length", MODEL_FFN_MAX},
		{&c->max_tokens, "bert.context_length", MODEL_POSITIONS_MAX},
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t n;

		if (!json_u64(&n, json_get(g->keys, sizes[i].key)) || n < 1 || n > sizes[i].max)
			return err_set(e, ERR_CONFIG, "%s: key %s: must be a number from 1 to %u",
				g->what, sizes[i].key, sizes[i].max);
		*sizes[i].out = (uint32_t)n;
	}
	if (c->hidden % c->heads != 0)
		return err_set(e, ERR_CONFIG,
			"%s: key bert.embedding_length: %u is no multiple of %u heads", g->what,
			c->hidden, c->heads);
	return ERR_OK;
}

/* Those of tables are told by the tables. */
static enum err_code
read_tables(struct model_config *c, const struct gguf *g, struct err *e)
{
	c->vocab = table_rows(g, "token_embd.weight", MODEL_VOCAB_MAX);
	c->positions = table_rows(g, "position_embd.weight", MODEL_POSITIONS_MAX);
	c->types = table_rows(g, "token_types.weight", MODEL_TYPES_MAX);
	c->padding = c->vocab;
	if (c->vocab == 0 || c->positions == 0)
		return err_set(e, ERR_CONFIG, "%s: tensor %s is missing or no table of vectors",
			g->what, c->vocab == 0 ? "token_embd.weight" : "position_embd.weight");
	return ERR_OK;
}

static enum err_code
read_rest(struct model_config *c, const struct gguf *g, struct err *e)
{
	static const char key_eps[] = "bert.attention.layer_norm_epsilon";
	static const char key_pool[] = "bert.pooling_type", key_causal[] = "bert.attention.causal";
	struct json pool = json_get(g->keys, key_pool);
	uint64_t type = 0;
	double eps;

	if (!json_double(&eps, json_get(g->keys, key_eps)) || !((float)eps > 0 && eps < 1))
		return err_set(
			e, ERR_CONFIG, "%s: key %s: must lie between 0 and 1", g->what, key_eps);
	if (json_is_true(json_get(g->keys, key_causal)))
		return err_set(e, ERR_CONFIG, "%s: key %s: must be false", g->what, key_causal);
	if (pool.type != JSON_NONE && (!json_u64(&type, pool) || type > 2))
		return err_set(e, ERR_CONFIG,
			"%s: key %s: must be 0 (none: mean is taken), 1 (mean) or 2 (cls)", g->what,
			key_pool);
	c->norm_eps = (float)eps;
	c->pool = type == 2 ? ENCODER_POOL_CLS : ENCODER_POOL_MEAN;
	c->normalize = true;
	c->activation = KERNEL_GELU;
	return ERR_OK;
}

/* A head, a projection: the output would be another one without them. */
static enum err_code
refuse_others(const struct gguf *g, struct err *e)
{
	static const char *const starts[] = {"cls.", "dense_"};

	for (size_t i = 0; i < tensor_set_count(g->tensors); i++) {
		const char *name = tensor_set_at(g->tensors, i)->name;

		for (size_t k = 0; k < ARRAY_LEN(starts); k++)
			if (strncmp(name, starts[k], strlen(starts[k])) == 0)
				return err_set(e, ERR_CONFIG,
					"%s: tensor %s: heads and projections of GGUF files are "
					"not supported; use the model's SafeTensors folder",
					g->what, name);
	}
	return ERR_OK;
}

enum err_code
model_gguf_read(struct model_config *out, const struct gguf *g, struct err *e)
{
	char name[64] = "";

	(void)json_copy_text(name, sizeof(name), json_get(g->keys, "general.architecture"));
	if (strcmp(name, bert.model_type) != 0)
		return err_set(e, ERR_CONFIG,
			"%s: key general.architecture: `%s` is not supported; supported in GGUF "
			"files: bert",
			g->what, name);
	memcpy(out->architecture, "BertModel", sizeof("BertModel"));
	out->family = &bert;
	if (read_sizes(out, g, e) != ERR_OK || read_tables(out, g, e) != ERR_OK ||
		read_rest(out, g, e) != ERR_OK)
		return e->code;
	return refuse_others(g, e);
}
