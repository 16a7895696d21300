/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_static.c - model2vec: a table of one vector per token, and nothing after it
 *
 * A vocabulary that was quantized has fewer rows than ids, with a row and a weight for each id.
 * The unknown token does not count, as in model2vec.
 */
#include <string.h>

#include "lib/encoder/encoder_source.h"

/* model2vec's name for the table, or that of sentence-transformers. */
static const struct tensor *
find_table(const struct encoder_source *s)
{
	const struct tensor *t = tensor_set_find(s->tensors, "embeddings");

	return t != NULL ? t : tensor_set_find(s->tensors, "embedding.weight");
}

/* The id that model.unk_token (or Unigram's unk_id) of tokenizer.json names; vocab: none. */
static enum err_code
read_unknown(struct encoder_source *s, struct err *e)
{
	static const char name[] = "tokenizer.json";
	struct model_file file;
	struct json root, model;
	char unknown[128];
	uint64_t id;
	enum err_code code = model_folder_get(&file, s->folder, name, PACKED_TOKENIZER_MAX / 4, e);

	s->header.dropped_id = s->header.vocab;
	if (code != ERR_OK || file.data == NULL)
		return code;
	code = model_json_check(&root, model_folder_name(s->folder, name), file, e);
	if (code != ERR_OK)
		return code;
	model = json_get(root, "model");
	if (!json_u64(&id, json_get(model, "unk_id")) &&
		(!json_copy_text(unknown, sizeof(unknown), json_get(model, "unk_token")) ||
			!json_u64(&id, json_get(json_get(model, "vocab"), unknown))))
		return ERR_OK;
	if (id < s->header.vocab)
		s->header.dropped_id = (uint32_t)id;
	return ERR_OK;
}

static enum err_code
check_vector(const struct encoder_source *s, const struct tensor *t, struct err *e)
{
	if (t == NULL || (t->rank == 1 && t->shape[0] == s->header.vocab))
		return ERR_OK;
	return err_set(e, ERR_CONFIG, "%s: tensor %s must have one element for each of %u ids",
		t->file, t->name, s->header.vocab);
}

/* Rows of ids: I32, U32 or I64, each below word_rows. */
static enum err_code
pack_rows(const struct encoder_source *s, const struct tensor *t, uint32_t *out, struct err *e)
{
	size_t bytes = tensor_dtype_bytes(t->dtype);

	if (t->dtype != TENSOR_I32 && t->dtype != TENSOR_U32 && t->dtype != TENSOR_I64)
		return err_set(e, ERR_CONFIG, "%s: tensor %s is %s, not I32, U32 or I64", t->file,
			t->name, tensor_dtype_name(t->dtype));
	for (uint32_t i = 0; i < s->header.vocab; i++) {
		uint64_t row = 0;

		memcpy(&row, (const char *)t->data + i * bytes, bytes);
		if (row >= s->header.word_rows)
			return err_set(e, ERR_CONFIG, "%s: tensor %s: id %u has no row", t->file,
				t->name, i);
		if (out != NULL)
			out[i] = (uint32_t)row;
	}
	return ERR_OK;
}

/* The sizes that the tensors say, as no config does. */
static enum err_code
read_sizes(struct encoder_source *s, const struct tensor *table, const struct tensor *mapping,
	const struct tensor *weights, struct err *e)
{
	struct packed_header *h = &s->header;

	if (table == NULL)
		return err_set(e, ERR_CONFIG, "%s: tensor embeddings is missing", s->weights);
	if (table->rank != 2 || table->shape[0] < 1 || table->shape[0] > MODEL_VOCAB_MAX ||
		table->shape[1] < 1 || table->shape[1] > MODEL_HIDDEN_MAX ||
		(mapping != NULL && (mapping->elements < 1 || mapping->elements > MODEL_VOCAB_MAX)))
		return err_set(e, ERR_CONFIG, "%s: tensor %s is no table of vectors", table->file,
			table->name);
	h->word_rows = (uint32_t)table->shape[0];
	h->hidden = (uint32_t)table->shape[1];
	h->vocab = mapping != NULL ? (uint32_t)mapping->elements : h->word_rows;
	h->padding_id = h->vocab;
	h->mapped = mapping != NULL;
	h->weighted = weights != NULL;
	h->parameters = table->elements + (weights != NULL ? weights->elements : 0);
	return read_unknown(s, e);
}

enum err_code
encoder_look_static(struct encoder_source *s, struct err *e)
{
	const struct tensor *mapping = tensor_set_find(s->tensors, "mapping");
	const struct tensor *weights = tensor_set_find(s->tensors, "weights");
	enum err_code code = read_sizes(s, find_table(s), mapping, weights, e);

	if (code == ERR_OK)
		code = check_vector(s, mapping, e);
	if (code == ERR_OK)
		code = check_vector(s, weights, e);
	return code == ERR_OK && mapping != NULL ? pack_rows(s, mapping, NULL, e) : code;
}

enum err_code
encoder_pack_static(const struct encoder_source *s, char *image, struct err *e)
{
	const struct tensor *mapping = tensor_set_find(s->tensors, "mapping");
	const struct tensor *weights = tensor_set_find(s->tensors, "weights");
	const struct packed_layout *l = &s->layout;
	enum err_code code = ERR_OK;

	if (mapping != NULL)
		code = pack_rows(s, mapping, (uint32_t *)(void *)(image + l->row_of), e);
	if (code == ERR_OK && weights != NULL)
		code = tensor_floats(
			(float *)(void *)(image + l->weight_of), weights, 0, weights->elements, e);
	if (code != ERR_OK)
		return code;
	return encoder_pack_words(image + l->words, find_table(s), s->header.hidden,
		(enum encoder_dtype)s->header.dtype, e);
}
