/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_text.h - a prompt as numbers: hashed n-grams and the shape of the text
 *
 * The same code serves training and deciding. Letter case and the amount of white space change
 * nothing, nor do courtesies that it begins with. Long prompts are seen by their first and last TEXT_PART_UNITS characters.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	TEXT_WORD_BITS = 14,
	TEXT_GRAM_BITS = 15,
	TEXT_WORDS = 1 << TEXT_WORD_BITS,
	TEXT_GRAMS = 1 << TEXT_GRAM_BITS,
	TEXT_BUCKETS = TEXT_WORDS + TEXT_GRAMS, /* words and pairs of words first, then n-grams */
	TEXT_PART_UNITS = 6144,
	TEXT_UNITS_MAX = 2 * TEXT_PART_UNITS,
	TEXT_GRAM_MIN = 3,
	TEXT_GRAM_MAX = 4,
};

/* Shape of a text; one row each. Counts are dampened by log(1 + n), shares are per character or
 * per word. */
#define TEXT_SHAPE_LIST(X)                                                                         \
	X(CHARS, "log of the length")                                                              \
	X(WORDS, "log of the number of words")                                                     \
	X(WORD_LENGTH, "mean length of a word")                                                    \
	X(LONG_WORDS, "share of words of 9 letters or more")                                       \
	X(VERY_LONG_WORDS, "share of words of 12 letters or more")                                 \
	X(SINGLE_LETTERS, "share of words of one letter")                                          \
	X(DIGITS, "share of digits")                                                               \
	X(NUMBERS, "log of the number of numbers")                                                 \
	X(LONGEST_NUMBER, "digits of the longest number")                                          \
	X(PUNCTUATION, "share of punctuation")                                                     \
	X(OPERATORS, "share of + - * / = ^ < >")                                                   \
	X(TEX, "share of \\ $ { } _")                                                              \
	X(BRACKETS, "share of ( ) [ ]")                                                            \
	X(FOREIGN, "share of characters beyond ASCII")                                             \
	X(IDEOGRAMS, "share of Han and kana")                                                      \
	X(QUESTIONS, "log of the number of question marks")                                        \
	X(COMMAS, "log of the number of commas")                                                   \
	X(SENTENCES, "sentence ends per word")                                                     \
	X(QUOTES, "quotation marks per word")                                                      \
	X(APOSTROPHES, "apostrophes per word")                                                     \
	X(BLANKS, "log of the number of blanks to fill in")                                        \
	X(PERCENT, "log of the number of per cent signs")                                          \
	X(MONEY, "log of the number of currency signs")                                            \
	X(CODE, "log of the number of code words")                                                 \
	X(CHOICES, "number of labelled choices")                                                   \
	X(CHOICE_MEAN, "log of their mean length")                                                 \
	X(CHOICE_MAX, "log of the longest")                                                        \
	X(CHOICE_MIN, "log of the shortest")                                                       \
	X(CHOICE_SPREAD, "spread of their lengths over the mean")                                  \
	X(CHOICE_DIGITS, "share of choices with a digit")                                          \
	X(STEM, "log of the length before the first choice")                                       \
	X(STEM_NUMBERS, "log of the number of numbers before the first choice")                    \
	X(STEM_QUESTION, "the stem ends with a question mark")                                     \
	X(STEM_COLON, "the stem ends with a colon")                                                \
	X(STEM_STOP, "the stem ends with a full stop")                                             \
	X(STEM_BLANK, "the stem ends with a blank")

enum text_shape {
#define X(symbol, help) SHAPE_##symbol,
	TEXT_SHAPE_LIST(X)
#undef X
	SHAPE_CUES
};

/* Each of these words is one more entry: log(1 + how often). Sorted. */
#define TEXT_CUE_LIST(X)                                                                           \
	X("according") X("all") X("answer") X("approximately") X("assume") X("because")            \
	X("best") X("both") X("calculate") X("cost") X("each") X("equal") X("every")               \
	X("except") X("explain") X("false") X("find") X("first") X("following")                    \
	X("function") X("half") X("he") X("how") X("if") X("is") X("least") X("left")              \
	X("let") X("likely") X("list") X("many") X("more") X("most") X("much")                     \
	X("must") X("neither") X("none") X("not") X("of") X("per") X("percent")                    \
	X("prove") X("she") X("should") X("statement") X("suppose") X("than") X("the")             \
	X("then") X("times") X("total") X("true") X("twice") X("value") X("what")                  \
	X("when") X("where") X("which") X("who") X("why") X("would") X("write")                    \
	X("you")

enum {
#define X(word) +1
	TEXT_CUES = 0 TEXT_CUE_LIST(X),
#undef X
	TEXT_SHAPES = SHAPE_CUES + TEXT_CUES
};

/* One bucket of the text: the signed count c as sign * (1 + log |c|). */
struct text_term {
	uint32_t bucket;
	float value;
};

/* Working memory; contents do not matter. About 600 KiB. */
struct text_scratch {
	int8_t counts[TEXT_BUCKETS];
	uint32_t touched[TEXT_BUCKETS];
	uint32_t units[TEXT_UNITS_MAX + 8];
	struct text_term terms[TEXT_BUCKETS];
	float shape[TEXT_SHAPES];
};

/* Fills s->terms, the words first, and s->shape; *words tells how many are words'. Returns the
 * number of terms. */
size_t text_read(struct text_scratch *s, size_t *words, const char *text, size_t len);

/* Bytes at the start that are mere courtesy. text_read looks past them; whoever embeds the text for a
 * scorer leaves them out. */
size_t text_courtesy(const char *text, size_t len);
