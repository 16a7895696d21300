/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dataset.c - rows of routing data, good and bad
 */
#include <math.h>

#include "lib/base/base.h"
#include "lib/lab/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every cell of every row can be read, and a scaled score stays in its range. */
static void
walk(const struct dataset *d)
{
	for (size_t i = 0; i < d->len; i++) {
		const struct dataset_row *r = &d->rows[i];

		CHECK(r->source < d->sources_len && r->prompt[r->prompt_len] == '\0');
		CHECK(dataset_fold(r, 5, 1) < 5);
		for (size_t m = 0; r->score != NULL && m < d->models_len; m++)
			CHECK(isnan(r->score[m]) || (r->score[m] >= 0 && r->score[m] <= 1));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf_fini) struct buf faults = BUF_INIT;
	AUTO(dataset_free) struct dataset lenient = {.faults = &faults};
	AUTO(dataset_free) struct dataset strict = {.faults = NULL};
	struct err e;

	(void)dataset_add(&lenient, "a/b", (const char *)data, size, &e);
	(void)dataset_add_prompts(&lenient, "c", (const char *)data, size, &e);
	(void)dataset_add(&strict, "d", (const char *)data, size, &e);
	walk(&lenient);
	walk(&strict);
	return 0;
}
