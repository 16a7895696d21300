/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.h - what eval, train and calibrate share: data files, scorers, models by name, progress
 *
 * Complaints go to cli->err, prefixed by the command's name; functions return the exit code.
 */
#pragma once

#include <stdbool.h>

#include "cli/command.h"
#include "lib/base/buf.h"
#include "lib/lab/dataset.h"
#include "lib/lab/encode.h"
#include "lib/lab/predict.h"
#include "lib/lab/train.h"

enum { LAB_TEXT_MAX = 1 << 30, LAB_SCORER_MAX = 64 << 20, LAB_FOLDS_MAX = 100 };

/* lab_file.c */

/* A whole file, unpacked where it is gzip; "-": standard input. */
MUST enum err_code lab_read(struct buf *out, const char *path, struct err *e);
/* All or nothing: written beside path, then renamed over it. Into a device or a pipe as it is. */
MUST enum err_code lab_write(const char *path, const struct buf *data, struct err *e);
/* Could it be written now? Asked before long work, not after it. */
MUST enum err_code lab_write_check(const char *path, struct err *e);

/* lab.c */

/* What `NAME[:FILE]` of --scorer means. */
struct lab_scorer {
	char name[32];
	const char *path;	  /* NULL: none given */
	enum reference reference; /* REFERENCES: it is a scorer */
	enum scorer_id id;
	struct buf data; /* the file's bytes */
	struct scorer *open; /* NULL: has to be trained first, or a reference */
};
enum cli_exit lab_scorer_open(struct lab_scorer *out, const struct cli *cli, const char *spec);
void lab_scorer_fini(struct lab_scorer *s);

enum lab_rows { LAB_SCORED, LAB_PROMPTS };
/* Add the rows of files to *d; every bad row is told. */
enum cli_exit lab_data(struct dataset *d, const struct cli *cli, const struct cli_list *files,
	enum lab_rows rows);

/* A model of the data by name: exact, or the only one that is the same up to case and vendor. */
enum cli_exit lab_model(int *out, const struct cli *cli, const struct dataset *d, const char *name);

/* The value of a numeric option, or fallback where it was not given. */
enum cli_exit lab_number(double *out, const struct cli *cli, char option, const char *name,
	double low, double high, double fallback);

/* The rows and candidates of a plan. */
struct lab_choice {
	uint32_t *rows, *models;
	size_t rows_len, models_len;
	size_t left_out; /* rows without the score of a candidate */
	int weak, strong; /* places in models; -1 */
};
/* The rows from first on whose dataset begins with --only; no candidates yet. */
enum cli_exit lab_choose_rows(
	struct lab_choice *out, const struct cli *cli, const struct dataset *d, size_t first);
/*
 * The candidates of those rows: the pair of --weak and --strong; both models where there are two;
 * else (or with --many) all that every row has.
 */
enum cli_exit lab_choose_models(
	struct lab_choice *c, const struct cli *cli, const struct dataset *d);
void lab_choice_fini(struct lab_choice *c);
/* The candidates, and the models of the data that are the same up to case and vendor, as a scorer file
 * would take them for: models_len of d at most. How many. */
size_t lab_choice_kin(uint32_t *out, const struct lab_choice *c, const struct dataset *d);

/* Say it; the exit code. */
enum cli_exit lab_fail(const struct cli *cli, const char *text);

/* lab_encode.c: the embeddings of all rows by the model of --encoder; none without it. plan says what
 * the options do not: threads and noised rows. */
enum cli_exit lab_encode(struct encode *out, const struct cli *cli, const struct dataset *d,
	struct encode_plan plan);
/* Does the scorer get the embeddings that it was trained with? */
enum cli_exit lab_encode_fits(
	const struct lab_scorer *s, const struct cli *cli, const struct encode *encoded);

/* lab_progress.c: a bar with stage and time left, on a terminal; Ctrl-C ends the work. */
struct lab_progress {
	FILE *to; /* NULL: no terminal */
	uint64_t start_ns, drawn_ns;
};
void lab_progress_begin(struct lab_progress *p, const struct cli *cli);
bool lab_progress_step(void *progress, const char *stage, double done); /* a train_progress_fn */
void lab_progress_end(struct lab_progress *p);
