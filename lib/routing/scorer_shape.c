/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_shape.c - what can be counted in a text without knowing its words
 *
 * Letter case and white space are gone before (scorer_text.c), so neither can turn a decision.
 */
#include <math.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/routing/scorer_shape.h"

/* What an ASCII character counts as, beside its class. */
enum shape_sign {
	SIGN_NONE,
	SIGN_DIGIT,
	SIGN_OPERATOR,
	SIGN_TEX,
	SIGN_BRACKET,
	SIGN_QUESTION,
	SIGN_COMMA,
	SIGN_STOP,
	SIGN_QUOTE,
	SIGN_APOSTROPHE,
	SIGN_PERCENT,
	SIGN_PLAIN
};

/* clang-format off */
static const uint8_t shape_signs[128] = {
	['0' ... '9'] = SIGN_DIGIT,
	['+'] = SIGN_OPERATOR, ['-'] = SIGN_OPERATOR, ['*'] = SIGN_OPERATOR, ['/'] = SIGN_OPERATOR,
	['='] = SIGN_OPERATOR, ['^'] = SIGN_OPERATOR, ['<'] = SIGN_OPERATOR, ['>'] = SIGN_OPERATOR,
	['\\'] = SIGN_TEX, ['$'] = SIGN_TEX, ['{'] = SIGN_TEX, ['}'] = SIGN_TEX, ['_'] = SIGN_TEX,
	['('] = SIGN_BRACKET, [')'] = SIGN_BRACKET, ['['] = SIGN_BRACKET, [']'] = SIGN_BRACKET,
	['?'] = SIGN_QUESTION, [','] = SIGN_COMMA, ['.'] = SIGN_STOP, ['!'] = SIGN_STOP,
	['"'] = SIGN_QUOTE, ['\''] = SIGN_APOSTROPHE, ['%'] = SIGN_PERCENT,
	[':'] = SIGN_PLAIN, [';'] = SIGN_PLAIN, ['&'] = SIGN_PLAIN, ['|'] = SIGN_PLAIN,
	['#'] = SIGN_PLAIN, ['@'] = SIGN_PLAIN, ['~'] = SIGN_PLAIN, ['`'] = SIGN_PLAIN,
};

static const char *const shape_cues[TEXT_CUES] = {
#define X(word) word,
	TEXT_CUE_LIST(X)
#undef X
};

/* Sorted too. */
static const char *const shape_code[] = {
	"assert", "class", "const", "def", "elif", "func", "import", "int", "lambda",
	"null", "print", "printf", "return", "self", "struct", "var", "void",
};
/* clang-format on */

enum shape_class
shape_class(uint32_t c)
{
	if (c < 0x80)
		return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
			       ? SHAPE_LETTER
			       : SHAPE_OTHER;
	if ((c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) ||
		(c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff))
		return SHAPE_IDEOGRAM;
	if (c <= 0xbf || c == 0xd7 || c == 0xf7 || (c >= 0x2000 && c <= 0x2bff) ||
		(c >= 0x3000 && c <= 0x303f) || (c >= 0xfe00 && c <= 0xfe6f) ||
		(c >= 0xff00 && c <= 0xff0f) || (c >= 0xff1a && c <= 0xff20) || c >= 0xfff0)
		return SHAPE_OTHER;
	return SHAPE_LETTER;
}

void
shape_begin(struct shape *s)
{
	memset(s, 0, sizeof(*s));
}

static void
shape_sign(struct shape *s, uint32_t c)
{
	uint32_t *const counter[] = {
		[SIGN_DIGIT] = &s->digits,
		[SIGN_OPERATOR] = &s->operators,
		[SIGN_TEX] = &s->tex,
		[SIGN_BRACKET] = &s->brackets,
		[SIGN_QUESTION] = &s->questions,
		[SIGN_COMMA] = &s->commas,
		[SIGN_STOP] = &s->stops,
		[SIGN_QUOTE] = &s->quotes,
		[SIGN_APOSTROPHE] = &s->apostrophes,
		[SIGN_PERCENT] = &s->percent,
	};
	uint8_t sign = shape_signs[c];

	if (sign == SIGN_NONE)
		return;
	s->punctuation += sign != SIGN_DIGIT;
	s->money += c == '$';
	if (sign < ARRAY_LEN(counter))
		(*counter[sign])++;
}

/* " a. " or " (b) " or " c) ": a choice starts behind it; its length in units, else 0. */
static size_t
shape_label(const uint32_t *u, size_t n, uint32_t wanted)
{
	size_t at = 1;

	if (n < 4 || u[0] != ' ')
		return 0;
	at += u[at] == '(';
	if (u[at] != wanted)
		return 0;
	at++;
	if (at + 1 >= n || (u[at] != '.' && u[at] != ')' && u[at] != ':') || u[at + 1] != ' ')
		return 0;
	return at + 1;
}

/* Choices are labelled a, b, c ... in order. */
static void
shape_choices(struct shape *s, const uint32_t *u, size_t n)
{
	size_t i, len, start = 0;
	uint32_t *current = NULL;
	bool digit = false;

	for (i = 0; i < n; i++) {
		len = u[i] == ' ' && s->choices < SHAPE_CHOICES_MAX
			      ? shape_label(&u[i], n - i, 'a' + s->choices)
			      : 0;
		if (len == 0) {
			digit = digit || (u[i] >= '0' && u[i] <= '9');
			continue;
		}
		if (current != NULL) {
			*current = (uint32_t)(i - start);
			s->choice_digits += digit;
		}
		if (s->choices == 0)
			s->stem = (uint32_t)i;
		current = &s->choice_len[s->choices++];
		i += len - 1;
		start = i + 1;
		digit = false;
	}
	if (current != NULL) {
		*current = (uint32_t)(n - start);
		s->choice_digits += digit;
	}
	if (s->choices < 2) {
		s->choices = s->choice_digits = 0;
		s->stem = (uint32_t)n;
	}
}

void
shape_units(struct shape *s, const uint32_t *u, size_t n)
{
	uint32_t run = 0, c;
	size_t i;

	s->units = (uint32_t)n;
	shape_choices(s, u, n);
	for (i = 0; i < n; i++) {
		c = u[i];
		if (c >= '0' && c <= '9') {
			s->numbers += run == 0;
			s->stem_numbers += run == 0 && i < s->stem;
			run++;
			s->longest_number = MAX(s->longest_number, run);
		} else if (c != ',' && c != '.') {
			run = 0;
		}
		s->blanks += c == '_' && (i == 0 || u[i - 1] != '_');
		if (c < 0x80) {
			shape_sign(s, c);
			continue;
		}
		s->foreign++;
		s->ideograms += shape_class(c) == SHAPE_IDEOGRAM;
		s->money += c == 0xa3 || c == 0xa5 || c == 0x20ac;
		s->questions += c == 0xff1f;
		s->quotes += c == 0x201c || c == 0x201d;
		s->apostrophes += c == 0x2019;
	}
	for (i = s->stem; i > 0 && u[i - 1] == ' '; i--)
		;
	s->stem_last = i > 0 ? u[i - 1] : 0;
}

/* As strcmp: the word u against text. */
static int
shape_compare(const uint32_t *u, size_t len, const char *text)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (u[i] != (uint32_t)(unsigned char)text[i])
			return text[i] == '\0' || u[i] > (uint32_t)(unsigned char)text[i] ? 1 : -1;
	}
	return text[len] == '\0' ? 0 : -1;
}

/* Place of a word in a sorted table; -1: it is not there. */
static int
shape_find(const char *const *table, size_t table_len, const uint32_t *u, size_t len)
{
	size_t low = 0, high = table_len, mid;
	int order;

	while (low < high) {
		mid = (low + high) / 2;
		order = shape_compare(u, len, table[mid]);
		if (order == 0)
			return (int)mid;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

void
shape_word(struct shape *s, const uint32_t *u, size_t len)
{
	int cue;

	s->words++;
	s->letters += (uint32_t)len;
	s->long_words += len >= 9;
	s->very_long_words += len >= 12;
	s->single += len == 1;
	if (len < 2 || len > 13 || u[0] < 'a' || u[0] > 'z')
		return;
	cue = shape_find(shape_cues, TEXT_CUES, u, len);
	if (cue >= 0)
		s->cue[cue]++;
	else
		s->code += shape_find(shape_code, ARRAY_LEN(shape_code), u, len) >= 0;
}

static float
shape_log(uint32_t n)
{
	return log1pf((float)n);
}

static void
shape_end_choices(float *out, const struct shape *s)
{
	float n = (float)s->choices, sum = 0, squares = 0, mean, len;
	uint32_t longest = 0, shortest = UINT32_MAX, i;

	out[SHAPE_CHOICES] = n;
	for (i = 0; i < s->choices; i++) {
		len = (float)s->choice_len[i];
		sum += len;
		squares += len * len;
		longest = MAX(longest, s->choice_len[i]);
		shortest = MIN(shortest, s->choice_len[i]);
	}
	if (s->choices == 0)
		return;
	mean = sum / n;
	out[SHAPE_CHOICE_MEAN] = log1pf(mean);
	out[SHAPE_CHOICE_MAX] = shape_log(longest);
	out[SHAPE_CHOICE_MIN] = shape_log(shortest);
	out[SHAPE_CHOICE_SPREAD] = sqrtf(MAX(0.0F, squares / n - mean * mean)) / (1 + mean);
	out[SHAPE_CHOICE_DIGITS] = (float)s->choice_digits / n;
}

void
shape_end(float out[TEXT_SHAPES], const struct shape *s)
{
	float units = (float)MAX(s->units, 1U), words = (float)MAX(s->words, 1U);
	unsigned i;

	memset(out, 0, TEXT_SHAPES * sizeof(*out));
	out[SHAPE_CHARS] = shape_log(s->units);
	out[SHAPE_WORDS] = shape_log(s->words);
	out[SHAPE_WORD_LENGTH] = (float)s->letters / words;
	out[SHAPE_LONG_WORDS] = (float)s->long_words / words;
	out[SHAPE_VERY_LONG_WORDS] = (float)s->very_long_words / words;
	out[SHAPE_SINGLE_LETTERS] = (float)s->single / words;
	out[SHAPE_DIGITS] = (float)s->digits / units;
	out[SHAPE_NUMBERS] = shape_log(s->numbers);
	out[SHAPE_LONGEST_NUMBER] = (float)MIN(s->longest_number, 12U);
	out[SHAPE_PUNCTUATION] = (float)s->punctuation / units;
	out[SHAPE_OPERATORS] = (float)s->operators / units;
	out[SHAPE_TEX] = (float)s->tex / units;
	out[SHAPE_BRACKETS] = (float)s->brackets / units;
	out[SHAPE_FOREIGN] = (float)s->foreign / units;
	out[SHAPE_IDEOGRAMS] = (float)s->ideograms / units;
	out[SHAPE_QUESTIONS] = shape_log(s->questions);
	out[SHAPE_COMMAS] = shape_log(s->commas);
	out[SHAPE_SENTENCES] = (float)s->stops / words;
	out[SHAPE_QUOTES] = (float)s->quotes / words;
	out[SHAPE_APOSTROPHES] = (float)s->apostrophes / words;
	out[SHAPE_BLANKS] = shape_log(s->blanks);
	out[SHAPE_PERCENT] = shape_log(s->percent);
	out[SHAPE_MONEY] = shape_log(s->money);
	out[SHAPE_CODE] = shape_log(s->code);
	shape_end_choices(out, s);
	out[SHAPE_STEM] = shape_log(s->stem);
	out[SHAPE_STEM_NUMBERS] = shape_log(s->stem_numbers);
	out[SHAPE_STEM_QUESTION] = s->stem_last == '?' || s->stem_last == 0xff1f;
	out[SHAPE_STEM_COLON] = s->stem_last == ':' || s->stem_last == 0xff1a;
	out[SHAPE_STEM_STOP] = s->stem_last == '.';
	out[SHAPE_STEM_BLANK] = s->stem_last == '_';
	for (i = 0; i < TEXT_CUES; i++)
		out[SHAPE_CUES + i] = shape_log(s->cue[i]);
}
