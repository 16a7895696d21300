/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_source.h - an opened model folder or GGUF file, and its parts as tensors
 *
 * Private to lib/encoder and its tests.
 */
#pragma once

#include "lib/encoder/model_gguf.h"
#include "lib/encoder/packed.h"

struct encoder_source {
	struct model_folder *folder;
	struct model_config config;
	struct tensor_set *tensors;
	const char *weights; /* names the file that a missing tensor is missing in */
	const char *prefix; /* of this checkpoint's encoder tensors */
	const struct kernel *kernel;
	struct buf tokenizer; /* compiled; empty: there is none */
	struct packed_header header;
	struct packed_layout layout;
};

/* encoder_open on a folder that is given; it is taken over, also on failure. */
MUST enum err_code encoder_open_folder(struct encoder_source **out, struct model_folder **folder_p,
	const struct encoder_plan *plan, struct err *e);

/*
 * Find every tensor that the model needs and check its shape; fills what of the header only the
 * tensors tell. ERR_CONFIG names file and tensor.
 */
MUST enum err_code encoder_look_transformer(struct encoder_source *s, struct err *e);
MUST enum err_code encoder_look_static(struct encoder_source *s, struct err *e);

/* Put them where the layout says. ERR_CONFIG: a value is not finite. */
MUST enum err_code encoder_pack_transformer(const struct encoder_source *s, char *image,
	struct err *e);
MUST enum err_code encoder_pack_static(const struct encoder_source *s, char *image, struct err *e);

/* A table of rows with columns floats, as the model's dtype has it: f32 or f16. ERR_CONFIG: f16 cannot hold one. */
MUST enum err_code encoder_pack_words(char *out, const struct tensor *t, size_t columns,
	enum encoder_dtype dtype, struct err *e);
