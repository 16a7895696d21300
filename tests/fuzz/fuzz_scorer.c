/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_scorer.c - any bytes as the file of every scorer, as they are and with a checksum that fits
 */
#include <stdlib.h>
#include <string.h>

#include "lib/routing/scorer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 64 };

static void
fuzz_ask(const struct scorer *s)
{
	struct scorer_input in = {.text = "why is 7 * 8 = 56?", .len = 18};
	struct scorer_guess *out = calloc(scorer_models(s) + 1, sizeof(*out));
	void *scratch = aligned_alloc(SCORER_ALIGN, scorer_align(scorer_scratch_bytes(s) + 1));
	const struct scorer_embedding *wanted = scorer_embedding(s);
	float *embedding = calloc(wanted == NULL ? 1 : wanted->len, sizeof(*embedding));

	CHECK(out != NULL && scratch != NULL && embedding != NULL);
	if (wanted != NULL) {
		in.embedding = embedding;
		in.embedding_len = wanted->len;
	}
	scorer_guess(s, out, &in, scratch);
	for (size_t i = 0; i < scorer_models(s); i++)
		CHECK(out[i].quality >= 0 && out[i].quality <= 1);
	free(embedding);
	free(scratch);
	free(out);
}

static void
fuzz_open(const char *data, size_t size)
{
	for (unsigned id = 0; id < SCORERS; id++) {
		AUTO(scorer_free) struct scorer *s = NULL;
		struct err e;

		if (scorer_kind((enum scorer_id)id) == SCORER_KIND_FIXED)
			continue;
		if (scorer_open(&s, (enum scorer_id)id, "fuzz", data, size, &e) == ERR_OK)
			fuzz_ask(s);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = aligned_alloc(SCORER_ALIGN, scorer_align(size + 1));

	CHECK(copy != NULL);
	memcpy(copy, data, size);
	fuzz_open(copy, size);
	if (size >= HEAD) {
		scorer_file_seal(copy, size);
		fuzz_open(copy, size);
	}
	free(copy);
	return 0;
}
