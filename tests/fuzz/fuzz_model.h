/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_model.h - for targets of model files: what must hold of tensors, and of a model that opens
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "lib/encoder/encoder_source.h"

/* Every tensor is inside of the file, and what can be converted can be read whole. */
static inline void
fuzz_tensors(const struct tensor_set *s, const char *data, size_t size)
{
	for (size_t i = 0; i < tensor_set_count(s); i++) {
		const struct tensor *t = tensor_set_at(s, i);
		const char *begin = t->data;
		uint64_t bytes;
		float *floats;
		struct err e;

		CHECK(begin >= data && t->bytes <= size && begin + t->bytes <= data + size);
		CHECK(tensor_set_find(s, t->name) == t);
		CHECK(tensor_size(&bytes, t->dtype, t->elements) && bytes == t->bytes);
		if (t->elements > 4096)
			continue;
		floats = malloc((t->elements + 1) * sizeof(*floats));
		CHECK(floats != NULL);
		(void)(tensor_floats(floats, t, 0, t->elements, &e) == ERR_OK);
		free(floats);
	}
}

/* A model that opens is packed, attached and run. */
static inline void
fuzz_model(const struct model_memory_file *files, size_t count)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	const struct encoder_limits limits = {.batch = 1, .threads = 1};
	static const uint32_t ids[] = {0, 1};
	AUTO(model_folder_close) struct model_folder *folder = NULL;
	AUTO(encoder_close) struct encoder_source *s = NULL;
	struct encoder *enc = NULL;
	struct encoder_output out;
	struct err e;
	size_t bytes;
	void *image;

	model_folder_memory(&folder, files, count);
	if (encoder_open_folder(&s, &folder, &plan, &e) != ERR_OK)
		return;
	bytes = encoder_packed_bytes(s);
	image = bytes < 1 << 24 ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
	if (image == NULL)
		return;
	memset(image, 0, bytes);
	if (encoder_pack(s, image, &e) == ERR_OK) {
		CHECK(encoder_attach(&enc, image, bytes, &limits, &e) == ERR_OK);
		for (uint32_t n = 1; n <= 2; n++) {
			const struct encoder_input in = {.ids = ids, .len = n};

			(void)(encoder_run(enc, &out, &in, 1, ENCODER_POOL_MODEL, &e) == ERR_OK);
		}
		encoder_free(&enc);
	}
	free(image);
}
