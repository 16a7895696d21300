/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.h - routing evaluation data: prompts with the score of every model
 *
 * The rows of ../shared/data/MANIFEST.md: JSON lines with id, dataset, prompt, scores and, where
 * the source has them, costs, tokens, out_chars, question. Rows of several files are put together;
 * a model that a row has no score for is NaN there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct dataset_row {
	const char *prompt; /* in the dataset's arena, NUL-terminated */
	size_t prompt_len;
	uint64_t hash;	  /* of the prompt: SHA-256, first 8 bytes, big-endian; folds come from it */
	uint32_t source;  /* index into sources: the `dataset` field */
	const float *score; /* models of them; NaN: none */
	const float *cost;  /* USD of the call, models of them; NaN: none; NULL: no row has any */
};

struct dataset {
	struct dataset_row *rows;
	size_t len;
	char **models; /* names, in order of first appearance */
	size_t models_len;
	char **sources;
	size_t sources_len;
	struct dataset_arena *arena;
};

/*
 * Add the rows of one file's text to *d (zero before the first). path names it in messages.
 * ERR_INPUT "PATH:LINE: reason" at the first bad row; *d then holds the rows before it.
 */
MUST enum err_code dataset_add(struct dataset *d, const char *path, const char *text, size_t len,
	struct err *e);
void dataset_free(struct dataset *d);
int dataset_model(const struct dataset *d, const char *name); /* -1: none; near names are the caller's */

/* The fold, 0..folds-1, that a prompt is held out in: the same for equal prompts, whatever the file. */
unsigned dataset_fold(const struct dataset_row *r, unsigned folds, uint64_t seed);
