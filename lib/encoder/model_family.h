/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_family.h - the one table of supported architectures: how each names its tensors
 *
 * All are post-norm transformer encoders; what tells them apart is names, how positions are
 * counted, and what stands between the first token and the logits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/encoder/kernel.h"

/* Parts of a model: a linear layer or norm has .weight and .bias, a table .weight. */
enum model_part {
	/* once */
	MODEL_WORDS,
	MODEL_POSITIONS,
	MODEL_TYPES,
	MODEL_EMBED_NORM,
	MODEL_RELATIVE, /* table of relative position biases */
	/* per layer, after "<layers>N." */
	MODEL_QUERY,
	MODEL_KEY,
	MODEL_VALUE,
	MODEL_ATTENTION_OUT,
	MODEL_ATTENTION_NORM,
	MODEL_UP,
	MODEL_DOWN,
	MODEL_OUTPUT_NORM,
	/* the head */
	MODEL_HEAD_DENSE,
	MODEL_HEAD_OUT,
	MODEL_PARTS
};

struct model_family {
	const char *model_type; /* as in config.json */
	const char *class_name; /* start of the architecture's name: "Bert" of "BertModel" */
	const char *prefix;	/* of tensor names in checkpoints with a head */
	const char *layers;	/* after the prefix, before the layer's number */
	const char *parts[MODEL_PARTS]; /* NULL: this family has no such part */
	enum kernel_epilogue head_activation;
	bool head_dense_in_prefix; /* BERT's pooler belongs to the encoder, others' to the head */
	bool positions_after_padding; /* the first token has position pad_token_id + 1 */
	bool hidden_eps_fixed;	      /* LayerNorm's epsilon is 1e-12 whatever the config says */
};

/* NULL: not supported. */
const struct model_family *model_family_find(const char *model_type);
/* Append "bert, roberta, ...", for messages. */
void model_family_names(struct buf *out);
