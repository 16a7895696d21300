/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_store.h - where a dataset's rows lie while they are read; private to lib/lab/dataset*.c
 *
 * Cells (row x model) of each kind are one growing matrix. Rows point into it, so the pointers are
 * set once a file has been read (store_settle), not before.
 */
#pragma once

#include "lib/lab/dataset.h"

/* The objects "model -> number" of a row. */
enum cells {
	CELLS_SCORE,
	CELLS_RAW,
	CELLS_COST,
	CELLS_TOKENS_IN,
	CELLS_TOKENS_OUT,
	CELLS_CHARS,
	CELLS_CONFIDENCE,
	CELLS
};

struct dataset_arena {
	struct chunk *chunks; /* prompts, the newest chunk first */
	size_t rows_cap, models_cap, sources_cap;
	float *cells[CELLS]; /* rows_cap x stride; NULL: no row has any */
	size_t stride;
};

/* A new row, all cells NaN. ERR_INPUT where there are too many. */
MUST enum err_code store_row(struct dataset_row **out, struct dataset *d, struct err *e);
/* Take back the newest row. */
void store_drop_row(struct dataset *d);
/* A copy of text in the arena, NUL-terminated. */
const char *store_text(struct dataset *d, const char *text, size_t len);
/* Index of a name, added where it is new; guess is looked at first. -1: too many. */
int store_model(struct dataset *d, const char *name, size_t guess);
int store_source(struct dataset *d, const char *name);
/* The cells of row number row, made where no row had any. */
float *store_cells(struct dataset *d, enum cells kind, size_t row);
/* Point the rows at their cells. */
void store_settle(struct dataset *d);
