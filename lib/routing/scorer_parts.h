/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_parts.h - what one scorer is made of, and the file that trained ones are read from;
 * for lib/routing/scorer*.c and their trainers in lib/lab
 *
 * A file is a head, a table of sections and the sections, all little-endian:
 *   head      "shuntscr", version, sections, whole length, checksum of all behind it, name
 *   table     per section: tag (8 bytes, NUL-padded), offset, length
 *   sections  each at a multiple of 64 bytes
 * "models" (names, each NUL-terminated), "error" and "mean" (one float per model) and "text" (how
 * it was made, lines "key: value") are in every file, "encoder" (struct scorer_encoder and a name) in
 * that of a scorer that needs an embedding; the others are the scorer's own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/routing/scorer.h"

enum {
	SCORER_VERSION = 1,
	SCORER_SECTIONS_MAX = 64,
	SCORER_MODELS_MAX = 256,
	SCORER_ALIGN = 64,
	SCORER_NAME_MAX = 16
};

/* scorer_file.c */

struct scorer_file {
	const char *what; /* valid while it is opened only */
	const char *data;
	size_t len;
	uint32_t sections;
	char scorer[SCORER_NAME_MAX + 1];
};

MUST enum err_code scorer_file_open(
	struct scorer_file *out, const char *what, const void *data, size_t len, struct err *e);
/* The bytes of a section, which must hold exactly count items of size bytes each. */
MUST enum err_code scorer_file_array(const void **out, const struct scorer_file *f, const char *tag,
	size_t count, size_t size, struct err *e);
/* The same for floats, which must be finite. */
MUST enum err_code scorer_file_floats(const float **out, const struct scorer_file *f,
	const char *tag, size_t count, struct err *e);
/* A section of any length; false where there is none. */
bool scorer_file_section(
	const void **out, size_t *len, const struct scorer_file *f, const char *tag);

/* Set length and checksum in the head of a file that was changed (data holds a whole head). */
void scorer_file_seal(void *data, size_t len);

/* What the section "encoder" begins with; the model's name and a NUL follow. */
struct scorer_encoder {
	uint64_t identity, len; /* as in struct scorer_embedding */
};
enum { SCORER_EMBEDDING_MAX = 65536 };

/* Writing. The buffer holds nothing but the file. */
struct scorer_section {
	const char *tag;
	const void *data;
	size_t len;
};
void scorer_file_write(
	struct buf *out, const char *scorer, const struct scorer_section *sections, size_t len);

/* scorer.c */

size_t scorer_align(size_t n);
bool scorer_floats_finite(const float *v, size_t len);

struct scorer_ops {
	size_t bytes; /* of the struct that begins with struct scorer */
	/* Fill the rest of *s from the file (NULL for fixed scorers). */
	enum err_code (*open)(struct scorer *s, const struct scorer_file *f, struct err *e);
	void (*close)(struct scorer *s); /* NULL: nothing to free; survives a failed open */
	size_t (*scratch_bytes)(const struct scorer *s);
	/* quality and cost of every model; error is filled from the file before */
	void (*guess)(const struct scorer *s, struct scorer_guess *out,
		const struct scorer_input *in, void *scratch);
	/* fixed scorers only */
	double (*want)(const struct scorer *s, const struct scorer_input *in);
};

#define SCORER(symbol, name, kind, help) extern const struct scorer_ops scorer_##name##_ops;
#include "config/scorer_list.h"
#undef SCORER

struct scorer {
	const struct scorer_ops *ops;
	enum scorer_id id;
	size_t models;
	const char **names;
	const float *error; /* per model */
	const float *mean;  /* per model: what it scored on the training rows */
	struct scorer_embedding embedding; /* of the section "encoder"; len 0: there is none */
};
