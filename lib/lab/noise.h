/* SPDX-License-Identifier: Apache-2.0 */
/*
 * noise.h - the same prompt as people really paste it: a router should decide as before
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/lab/dataset.h"

#define NOISE_LIST(X)                                                                              \
	X(CASE, case, "all letters lower case, or all upper case")                                 \
	X(SPACE, whitespace, "spaces doubled, lines indented, trailing blanks")                    \
	X(TYPOS, typos, "two words in a hundred have neighbouring letters swapped, one at least")  \
	X(PREAMBLE, preamble, "a greeting or instruction pasted before it")

enum noise {
#define X(symbol, name, help) NOISE_##symbol,
	NOISE_LIST(X)
#undef X
	NOISES
};
const char *noise_name(enum noise n);

/* Replace *out by the noised text; the same text and seed give the same bytes. */
void noise_apply(struct buf *out, enum noise n, const char *text, size_t len, uint64_t seed);
/* The same for a row's prompt, each row with a seed of its own. */
void noise_row(struct buf *out, enum noise n, const struct dataset_row *row, uint64_t seed);
