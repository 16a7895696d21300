/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_pattern.c - find what a component's pattern matches: plain strings, and PCRE2 ones
 *
 * A match may take FIND_CHEAP steps; a few of a text may take many more, in proportion to its
 * length (a pattern that looks at a whole run of spaces before it gives up). So the time for a text
 * has a bound that grows with its length, whatever the pattern.
 */
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { FIND_CHEAP = 20000, FIND_COSTLY = 1000000 };

enum err_code
tokenizer_pattern_compile(pcre2_code **out, const char *pattern, size_t len, struct err *e)
{
	PCRE2_SIZE at;
	int code;
	PCRE2_UCHAR text[128];

	*out = pcre2_compile((PCRE2_SPTR)pattern, len,
		PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
	if (*out != NULL)
		return ERR_OK;
	(void)pcre2_get_error_message(code, text, sizeof(text));
	return err_set(e, ERR_CONFIG, "pattern %.*s: %s at byte %zu", (int)MIN(len, 120), pattern,
		(const char *)text, (size_t)at);
}

static int
match(const pcre2_code *code, struct tokenizer_scratch *s, struct tokenizer_text text, size_t from,
	uint32_t limit)
{
	if (s->match_data == NULL) {
		s->match_data = pcre2_match_data_create(1, NULL);
		s->match_context = pcre2_match_context_create(NULL);
		CHECK(s->match_data != NULL && s->match_context != NULL);
		/* KiB of heap for what a match must remember. */
		(void)pcre2_set_heap_limit(s->match_context, 256 * 1024);
	}
	(void)pcre2_set_match_limit(s->match_context, limit);
	return pcre2_match(code, (PCRE2_SPTR)text.text, text.len, from, PCRE2_NO_UTF_CHECK,
		s->match_data, s->match_context);
}

enum tokenizer_found
tokenizer_pattern_find(size_t *begin, size_t *end, const struct tokenizer *t,
	const struct tokenizer_step *step, const pcre2_code *code, struct tokenizer_scratch *s,
	struct tokenizer_text text, size_t from)
{
	const PCRE2_SIZE *found;
	const char *p;
	int rc;

	while (from < text.len && ((unsigned char)text.text[from] & 0xc0) == 0x80)
		from++;
	if (from > text.len || text.len == 0)
		return FOUND_NONE;
	if (code == NULL) {
		p = memmem(text.text + from, text.len - from, t->text + step->a.at, step->a.len);
		if (p == NULL)
			return FOUND_NONE;
		*begin = (size_t)(p - text.text);
		*end = *begin + step->a.len;
		return FOUND_YES;
	}
	rc = match(code, s, text, from, FIND_CHEAP);
	if (rc == PCRE2_ERROR_MATCHLIMIT && s->retries > 0) {
		s->retries--;
		rc = match(code, s, text, from, (uint32_t)(FIND_COSTLY + 8 * text.len));
	}
	if (rc == PCRE2_ERROR_NOMATCH)
		return FOUND_NONE;
	if (rc < 0)
		return FOUND_TOO_COSTLY;
	found = pcre2_get_ovector_pointer(s->match_data);
	*begin = found[0];
	*end = found[1];
	/* \K and look-behind can make a match begin before from, or end before it begins. */
	return *begin >= from && *end >= *begin ? FOUND_YES : FOUND_NONE;
}
