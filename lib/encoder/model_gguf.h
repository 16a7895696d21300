/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_gguf.h - what the keys of a GGUF file say of an encoder: sizes, pooling, tokenizer
 *
 * Encoders of architecture `bert` as llama.cpp's converter writes them: BERT, MiniLM, BGE,
 * DistilBERT. Its RoBERTas have the same architecture but another tokenizer, and are refused.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/encoder/gguf.h"
#include "lib/encoder/model_config.h"

/* Read the GGUF file of a folder that is one (model_folder_gguf); as gguf_parse. */
MUST enum err_code model_gguf_open(struct gguf *out, struct model_folder *folder, struct err *e);

/*
 * *out is zero before. What such a file does not tell: the activation is GELU, and embeddings have
 * length 1, as llama.cpp's server gives them.
 */
MUST enum err_code model_gguf_read(struct model_config *out, const struct gguf *g, struct err *e);

/* tokenizer_compile of what tokenizer.json of the same model would say (tokenizer_gguf.c). */
MUST enum err_code tokenizer_gguf_compile(struct buf *out, const struct gguf *g, struct err *e);
