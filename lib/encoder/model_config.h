/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_config.h - what a model's JSON files say: architecture, sizes, head, pooling, labels
 */
#pragma once

#include "lib/encoder/kernel.h"
#include "lib/encoder/model_family.h"
#include "lib/encoder/model_folder.h"

enum {
	MODEL_LAYERS_MAX = 512,
	MODEL_HIDDEN_MAX = 16384,
	MODEL_FFN_MAX = 131072,
	MODEL_HEADS_MAX = 1024,
	MODEL_VOCAB_MAX = 16 * 1024 * 1024,
	MODEL_POSITIONS_MAX = 65536,
	MODEL_TYPES_MAX = 256, /* types of encoder_input are bytes */
	MODEL_LABELS_MAX = 65536,
	MODEL_LABEL_BYTES_MAX = 256,
	MODEL_BUCKETS_MAX = 1024,
	MODEL_STATIC_TOKENS = 512, /* what model2vec's own encode() cuts to */
};

struct model_config {
	char architecture[64];
	const struct model_family *family; /* NULL: static embeddings (model2vec) */
	uint32_t layers, hidden, heads, ffn;
	uint32_t vocab;
	uint32_t positions;	  /* rows of the table, those before position_offset included */
	uint32_t position_offset; /* the first token's row */
	uint32_t padding;	  /* RoBERTa: pad_token_id, whose position is the row before; or vocab */
	uint32_t types;		  /* rows of the token type table, 0: none */
	uint32_t buckets;	  /* of relative positions, 0: none */
	uint32_t labels;	  /* 0: as many as the head's weights have rows */
	uint32_t max_tokens;	  /* 0: positions - position_offset */
	float norm_eps;
	enum kernel_epilogue activation;
	enum encoder_problem problem;
	enum encoder_pool pool;
	bool head, normalize;
	struct buf label_names; /* labels of them, each with its NUL; empty: not said */
};

/*
 * Read modules.json, 1_Pooling/config.json, pooling_config.json, sentence_bert_config.json and
 * config.json, those that exist; folder then stands where the weights are. *out is zero before.
 */
MUST enum err_code model_config_read(struct model_config *out, struct model_folder *folder,
	struct err *e);
void model_config_fini(struct model_config *c);

/* The sentence-transformers part of it (model_sentence.c). */
MUST enum err_code model_sentence_read(struct model_config *out, struct model_folder *folder,
	struct err *e);
