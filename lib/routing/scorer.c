/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer.c - the table of scorers
 */
#include <string.h>

#include "lib/routing/scorer_parts.h"

struct scorer_row {
	const char *name;
	enum scorer_kind kind;
	const char *help;
};

static const struct scorer_row scorer_rows[SCORERS] = {
#define SCORER(symbol, name, kind, help) {#name, SCORER_KIND_##kind, help},
#include "lib/routing/scorer_list.h"
#undef SCORER
};

const char *
scorer_name(enum scorer_id id)
{
	return scorer_rows[id].name;
}

const char *
scorer_help(enum scorer_id id)
{
	return scorer_rows[id].help;
}

enum scorer_kind
scorer_kind(enum scorer_id id)
{
	return scorer_rows[id].kind;
}

enum scorer_id
scorer_find(const char *name, size_t len)
{
	unsigned i;

	for (i = 0; i < SCORERS; i++) {
		if (strlen(scorer_rows[i].name) == len &&
			memcmp(scorer_rows[i].name, name, len) == 0)
			break;
	}
	return (enum scorer_id)i;
}
