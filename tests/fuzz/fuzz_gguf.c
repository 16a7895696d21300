/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_gguf.c - any bytes as a GGUF file: read alone, then as a whole model
 */
#include "tests/fuzz/fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	char *copy = malloc(size + 1);
	const struct model_memory_file file = {"model.gguf", copy, size};
	struct err e = {0};

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	if (gguf_parse(&g, "fuzz", copy, size, &e) == ERR_OK) {
		CHECK(g.keys.type == JSON_OBJECT);
		fuzz_tensors(g.tensors, copy, size);
		fuzz_model(&file, 1);
	} else {
		CHECK(e.code == ERR_CONFIG && e.text[0] != '\0');
	}
	free(copy);
	return 0;
}
