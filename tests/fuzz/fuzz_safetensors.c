/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_safetensors.c - any bytes as model.safetensors: read alone, then as the weights of a model
 */
#include "lib/encoder/safetensors.h"
#include "tests/fuzz/fuzz_model.h"

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

	if (safetensors_parse(&s, "fuzz", data, size, &e) == ERR_OK)
		fuzz_tensors(s, data, size);
}

static void
fuzz_folder(const char *config, const char *data, size_t size)
{
	const struct model_memory_file files[] = {
		{"config.json", config, strlen(config)}, {"model.safetensors", data, size}};

	fuzz_model(files, ARRAY_LEN(files));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1);

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	fuzz_read(copy, size);
	fuzz_folder(bert, copy, size);
	fuzz_folder(model2vec, copy, size);
	free(copy);
	return 0;
}
