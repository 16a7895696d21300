/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.h - routing evaluation data: prompts with the score of every model
 *
 * The rows of ../shared/data/MANIFEST.md: JSON lines with dataset, prompt, scores and, where the
 * source has them, costs, tokens, out_chars, confidence; win stands in for scores where a row has
 * none. Rows of several files are put together; a model that a row has no score for is NaN there.
 *
 * Scores come as 0..1, or as a judge's 1..10 (MT-Bench). A group, the part of the `dataset` field
 * before its first slash, uses one of the two within a file: 1..10 where any of its scores is above
 * 1. score is then (raw - 1) / 9, so that sets may be mixed; raw is what the file says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum {
	DATASET_ROWS_MAX = 4000000,
	DATASET_MODELS_MAX = 1024,
	DATASET_SOURCES_MAX = 100000,
	DATASET_NAME_MAX = 200,		 /* bytes of a model's or source's name */
	DATASET_PROMPT_MAX = 8388608, /* bytes of a prompt */
	DATASET_FAULTS_MAX = 20		 /* bad rows listed one by one; the others are counted */
};

struct dataset_row {
	const char *prompt; /* in the dataset's arena, NUL-terminated */
	size_t prompt_len;
	uint64_t hash;	  /* of the prompt: SHA-256, first 8 bytes, big-endian; folds come from it */
	uint32_t source;  /* index into sources: the `dataset` field */
	uint32_t line;	  /* in its file, from 1 */
	const char *file; /* its path, in the dataset's arena */
	const float *score; /* 0..1, models of them; NaN: none */
	const float *raw;   /* the same in the file's own scale */
	const float *cost;  /* USD of the call, models of them; NaN: none; NULL: no row has any */
	const float *tokens_in, *tokens_out; /* likewise */
	const float *out_chars;		     /* likewise: length of the answer */
	const float *confidence; /* likewise, 0..1: how sure the model was of its answer */
};

struct dataset {
	struct dataset_row *rows;
	size_t len;
	char **models; /* names, in order of first appearance */
	size_t models_len;
	char **sources;
	size_t sources_len;
	/*
	 * The caller's, set before the first add: every bad row of a file is listed here, a line
	 * each, and the rows behind it are still looked at. NULL: reading ends at the first.
	 */
	struct buf *faults;
	struct dataset_arena *arena;
};

/*
 * Add the rows of one file's text to *d (zero before the first). path names it in messages.
 * ERR_INPUT "PATH:LINE: reason" at the first bad row; *d then holds the rows before it (with
 * faults: all the good ones).
 */
MUST enum err_code dataset_add(struct dataset *d, const char *path, const char *text, size_t len,
	struct err *e);
/* The same for rows that need no scores: {"prompt": ...}, as the daemon's own log has them. */
MUST enum err_code dataset_add_prompts(struct dataset *d, const char *path, const char *text,
	size_t len, struct err *e);
void dataset_free(struct dataset *d);
int dataset_model(const struct dataset *d, const char *name); /* -1: none; near names are the caller's */

/* How sure a model was of its answer to a row; ERR_INPUT "PATH:LINE: ..." where the row has none. */
MUST enum err_code dataset_confidence(double *out, const struct dataset *d,
	const struct dataset_row *r, int model, struct err *e);

/* The fold, 0..folds-1, that a prompt is held out in: the same for equal prompts, whatever the file. */
unsigned dataset_fold(const struct dataset_row *r, unsigned folds, uint64_t seed);
