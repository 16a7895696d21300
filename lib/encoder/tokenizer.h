/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - text to token ids, exactly as Hugging Face `tokenizers` does it
 *
 * Two steps, so that the costly one happens once per model and its result lies in the shared
 * weights segment: tokenizer_compile turns the JSON of tokenizer.json into a pointer-free image,
 * tokenizer_attach looks at an image where it lies (any mapping, read-only, any address).
 * Source of the format: the `tokenizers` crate's tokenizer.json (WordPiece, BPE, Unigram; their
 * normalizers, pre-tokenizers, post-processors, added tokens, truncation).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

/*
 * Append the image of the tokenizer that json describes to out (8-byte aligned relative to the
 * start of the image). what names the file in messages. ERR_CONFIG: not a tokenizer.json, or it
 * wants a component that is not supported; the text names the key and the component.
 */
MUST enum err_code tokenizer_compile(
	struct buf *out, const char *what, const char *json, size_t len, struct err *e);

struct tokenizer; /* immutable; any number of threads may encode with it */

/* The image must outlive the tokenizer. Every offset in it is checked: ERR_CONFIG. */
MUST enum err_code tokenizer_attach(
	struct tokenizer **out, const void *image, size_t len, struct err *e);
void tokenizer_free(struct tokenizer **t_p);

/* Every id is smaller: 1 + the largest that the vocabulary, the added and special tokens have. */
uint32_t tokenizer_size(const struct tokenizer *t);
/* max_length of the file's truncation, 0: none. */
uint32_t tokenizer_max_length(const struct tokenizer *t);

/* Result of an encode; grown as needed and reused from call to call. */
struct tokens {
	uint32_t *ids;
	uint8_t *types; /* segment: 0 or 1 */
	size_t len;
	size_t cap;
	size_t dropped; /* tokens that truncation cut off */
};

#define TOKENS_INIT                                                                                \
	{                                                                                          \
		NULL, NULL, 0, 0, 0                                                                \
	}
void tokens_fini(struct tokens *t);

/* Where a text that is too long loses tokens. */
enum tokenizer_cut {
	TOKENIZER_CUT_FILE, /* as the file says */
	TOKENIZER_CUT_RIGHT,
	TOKENIZER_CUT_LEFT,
	TOKENIZER_CUT_MIDDLE, /* keeps the first and the last: instructions stand at both ends */
};

struct tokenizer_options {
	uint32_t max_length; /* special tokens included; 0: as the file says */
	enum tokenizer_cut cut;
	bool no_special; /* leave out [CLS], [SEP], <s>, ... */
};

/*
 * Encode text, and pair where pair is not NULL. Any bytes: invalid UTF-8 becomes U+FFFD, NUL is
 * text. Linear in the length of the text. scratch is the caller's working memory, reused: it also
 * remembers the ids of words, so one scratch per tokenizer and thread is best.
 * ERR_INPUT: max_length leaves no room for the special tokens; a text of more than 64 MiB; one that
 * a pattern of the file takes too many steps for, or that needs an unknown token where none is set.
 */
struct tokenizer_scratch;
struct tokenizer_scratch *tokenizer_scratch_new(void);
void tokenizer_scratch_free(struct tokenizer_scratch **s_p);

struct tokenizer_text {
	const char *text;
	size_t len;
};
MUST enum err_code tokenizer_encode(struct tokens *out, const struct tokenizer *t,
	struct tokenizer_scratch *scratch, struct tokenizer_text text,
	const struct tokenizer_text *pair, const struct tokenizer_options *options, struct err *e);
