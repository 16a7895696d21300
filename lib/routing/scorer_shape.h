/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_shape.h - the shape of a text; for scorer_text.c only
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/routing/scorer_text.h"

enum shape_class { SHAPE_OTHER, SHAPE_LETTER, SHAPE_IDEOGRAM };
enum shape_class shape_class(uint32_t unit);

enum { SHAPE_CHOICES_MAX = 16 };

/* Filled while a text is read; lower-case units. */
struct shape {
	uint32_t units, words, letters, long_words, very_long_words, single;
	uint32_t digits, numbers, longest_number, punctuation, operators, tex, brackets;
	uint32_t foreign, ideograms, questions, commas, stops, quotes, apostrophes, blanks;
	uint32_t percent, money, code;
	uint32_t choices, choice_len[SHAPE_CHOICES_MAX], choice_digits;
	uint32_t stem, stem_numbers;
	uint32_t stem_last; /* its last unit that is no space */
	uint32_t cue[TEXT_CUES];
};

void shape_begin(struct shape *s);
void shape_units(struct shape *s, const uint32_t *u, size_t n);
/* One word or number of the text. */
void shape_word(struct shape *s, const uint32_t *u, size_t len);
void shape_end(float out[TEXT_SHAPES], const struct shape *s);
