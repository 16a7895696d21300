/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_tokens.c - the growing list of ids that an encode fills
 */
#include <stdlib.h>

#include "lib/encoder/tokenizer_parts.h"

void
tokens_fini(struct tokens *t)
{
	free(t->ids);
	free(t->types);
	*t = (struct tokens)TOKENS_INIT;
}

void
tokens_reserve(struct tokens *t, size_t more)
{
	size_t cap = t->cap == 0 ? 64 : t->cap;

	if (more <= t->cap - t->len)
		return;
	while (cap - t->len < more)
		cap *= 2;
	t->ids = reallocarray(t->ids, cap, sizeof(*t->ids));
	t->types = realloc(t->types, cap);
	CHECK(t->ids != NULL && t->types != NULL);
	t->cap = cap;
}

void
tokens_add(struct tokens *t, uint32_t id)
{
	tokens_reserve(t, 1);
	t->ids[t->len++] = id;
}
