/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_safetensors.c - any bytes as model.safetensors: read alone, then as the weights of a model
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/encoder_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small enough that a corpus file can hold all the tensors it asks for. */
static const char bert[] =
	"{\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"],"
	"\"hidden_size\":2,\"num_hidden_layers\":1,\"num_attention_heads\":1,\"intermediate_size\":"
	"1,"
	"\"vocab_size\":2,\"max_position_embeddings\":2,\"type_vocab_size\":1}";
static const char model2vec[] = "{\"model_type\":\"model2vec\"}";

/* Every tensor is inside of the file, and what can be converted can be read whole. */
static void
fuzz_read(const char *data, size_t size)
{
	AUTO(tensor_set_free) struct tensor_set *s = NULL;
	struct err e;

	if (safetensors_parse(&s, "fuzz", data, size, &e) != ERR_OK)
		return;
	for (size_t i = 0; i < tensor_set_count(s); i++) {
		const struct tensor *t = tensor_set_at(s, i);
		const char *begin = t->data;
		float *floats;

		CHECK(begin >= data && t->bytes <= size && begin + t->bytes <= data + size);
		CHECK(tensor_set_find(s, t->name) == t);
		CHECK(t->bytes == t->elements * tensor_dtype_bytes(t->dtype));
		if (t->elements > 4096)
			continue;
		floats = malloc((t->elements + 1) * sizeof(*floats));
		CHECK(floats != NULL);
		(void)(tensor_floats(floats, t, 0, t->elements, &e) == ERR_OK);
		free(floats);
	}
}

/* A model that opens is packed, attached and run. */
static void
fuzz_model(const char *config, const char *data, size_t size)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	const struct encoder_limits limits = {.batch = 1, .threads = 1};
	const struct model_memory_file files[] = {
		{"config.json", config, strlen(config)}, {"model.safetensors", data, size}};
	static const uint32_t ids[] = {0, 1};
	AUTO(model_folder_close) struct model_folder *folder = NULL;
	AUTO(encoder_close) struct encoder_source *s = NULL;
	struct encoder *enc = NULL;
	struct encoder_output out;
	struct err e;
	size_t bytes;
	void *image;

	model_folder_memory(&folder, files, ARRAY_LEN(files));
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1);

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	fuzz_read(copy, size);
	fuzz_model(bert, copy, size);
	fuzz_model(model2vec, copy, size);
	free(copy);
	return 0;
}
