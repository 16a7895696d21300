/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_family.c - the table of supported architectures
 */
#include <string.h>

#include "lib/encoder/model_family.h"

#define BERT_LAYER                                                                                 \
	[MODEL_QUERY] = "attention.self.query", [MODEL_KEY] = "attention.self.key",                \
	[MODEL_VALUE] = "attention.self.value", [MODEL_ATTENTION_OUT] = "attention.output.dense",  \
	[MODEL_ATTENTION_NORM] = "attention.output.LayerNorm"
#define BERT_FFN                                                                                   \
	[MODEL_UP] = "intermediate.dense", [MODEL_DOWN] = "output.dense",                          \
	[MODEL_OUTPUT_NORM] = "output.LayerNorm"
#define EMBEDDINGS                                                                                 \
	[MODEL_WORDS] = "embeddings.word_embeddings",                                              \
	[MODEL_POSITIONS] = "embeddings.position_embeddings",                                      \
	[MODEL_EMBED_NORM] = "embeddings.LayerNorm"
#define TYPES [MODEL_TYPES] = "embeddings.token_type_embeddings"
#define ROBERTA_HEAD                                                                               \
	[MODEL_HEAD_DENSE] = "classifier.dense", [MODEL_HEAD_OUT] = "classifier.out_proj"
#define ROBERTA(type, name)                                                                        \
	{                                                                                          \
		.model_type = type, .class_name = name, .prefix = "roberta.",                      \
		.layers = "encoder.layer.",                                                        \
		.parts = {EMBEDDINGS, TYPES, BERT_LAYER, BERT_FFN, ROBERTA_HEAD},                  \
		.head_activation = KERNEL_TANH, .positions_after_padding = true,                   \
	}

static const struct model_family families[] = {
	{
		.model_type = "bert",
		.class_name = "Bert",
		.prefix = "bert.",
		.layers = "encoder.layer.",
		.parts = {EMBEDDINGS, TYPES, BERT_LAYER, BERT_FFN,
			[MODEL_HEAD_DENSE] = "pooler.dense", [MODEL_HEAD_OUT] = "classifier"},
		.head_activation = KERNEL_TANH,
		.head_dense_in_prefix = true,
	},
	ROBERTA("roberta", "Roberta"),
	ROBERTA("xlm-roberta", "XLMRoberta"),
	ROBERTA("camembert", "Camembert"),
	{
		.model_type = "distilbert",
		.class_name = "DistilBert",
		.prefix = "distilbert.",
		.layers = "transformer.layer.",
		.parts = {EMBEDDINGS, [MODEL_QUERY] = "attention.q_lin",
			[MODEL_KEY] = "attention.k_lin", [MODEL_VALUE] = "attention.v_lin",
			[MODEL_ATTENTION_OUT] = "attention.out_lin",
			[MODEL_ATTENTION_NORM] = "sa_layer_norm", [MODEL_UP] = "ffn.lin1",
			[MODEL_DOWN] = "ffn.lin2", [MODEL_OUTPUT_NORM] = "output_layer_norm",
			[MODEL_HEAD_DENSE] = "pre_classifier", [MODEL_HEAD_OUT] = "classifier"},
		.head_activation = KERNEL_RELU,
		.hidden_eps_fixed = true,
	},
	{
		.model_type = "mpnet",
		.class_name = "MPNet",
		.prefix = "mpnet.",
		.layers = "encoder.layer.",
		.parts = {EMBEDDINGS, BERT_FFN,
			ROBERTA_HEAD, [MODEL_RELATIVE] = "encoder.relative_attention_bias",
			[MODEL_QUERY] = "attention.attn.q", [MODEL_KEY] = "attention.attn.k",
			[MODEL_VALUE] = "attention.attn.v",
			[MODEL_ATTENTION_OUT] = "attention.attn.o",
			[MODEL_ATTENTION_NORM] = "attention.LayerNorm"},
		.head_activation = KERNEL_TANH,
		.positions_after_padding = true,
	},
};

const struct model_family *
model_family_find(const char *model_type)
{
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (strcmp(families[i].model_type, model_type) == 0)
			return &families[i];
	return NULL;
}

void
model_family_names(struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		buf_addf(out, "%s, ", families[i].model_type);
	buf_add_str(out, "model2vec");
}
