/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_private.h - an attached model: where its parts lie, and the memory of a pass
 *
 * Shared by encoder.c (attach, questions) and encoder_run.c (the pass).
 */
#pragma once

#include "lib/encoder/packed.h"

struct encoder {
	struct packed_header header;
	struct packed_layout layout;
	const struct kernel *kernel;
	const char *image;
	struct encoder_info info;
	const char **label_names; /* labels of them, in the image */
	struct tokenizer *tokenizer;
	uint32_t batch_max, tokens_max;
	void *own_image; /* of encoder_load: goes with the encoder; NULL: the image is somebody else's */
	size_t own_image_len;

	struct kernel_call call;
	struct kernel_state state;

	/* One arena; all below and call.scratch lie in it. Rows at kernel_stride(). */
	char *arena;
	size_t arena_len;
	uint32_t *starts;  /* batch_max + 1 */
	float *embeddings; /* batch_max * hidden, rows without padding */
	float *word;	   /* hidden: one row of a static model */
	float *first;	   /* batch_max * hidden: the head's input, */
	float *dense;	   /* after its first layer, */
	float *logits;	   /* batch_max * labels: after its second */
};
