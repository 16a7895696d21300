/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_tokens.c - the growing list of ids that an encode fills
 */
#include <stdlib.h>

#include "lib/base/base.h"
#include "lib/encoder/tokenizer.h"

void
tokens_fini(struct tokens *t)
{
	free(t->ids);
	free(t->types);
	*t = (struct tokens)TOKENS_INIT;
}
