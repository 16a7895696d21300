/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttl.c - values that are remembered for a while: a table of fixed size that never grows
 *
 * Each key may stand in one set of WAYS places; where all are taken, the oldest value goes. What a
 * value is worth is its owner's affair, so losing one early costs time and nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "workers/gateway/gateway.h"

enum { TTL_WAYS = 4 };

struct ttl_head {
	uint64_t key; /* 0: free */
	uint64_t at_ns;
};

struct ttl {
	size_t sets;
	size_t row_bytes;
	char *rows; /* sets * TTL_WAYS of a head and a value */
};

void
ttl_new(struct ttl **out, size_t values, size_t value_bytes)
{
	struct ttl *t = calloc(1, sizeof(*t));

	CHECK(t != NULL && values > 0);
	t->sets = (values + TTL_WAYS - 1) / TTL_WAYS;
	t->row_bytes = (sizeof(struct ttl_head) + value_bytes + 7) / 8 * 8;
	t->rows = calloc(t->sets * TTL_WAYS, t->row_bytes);
	CHECK(t->rows != NULL);
	*out = t;
}

void
ttl_free(struct ttl **t_p)
{
	struct ttl *t = *t_p;

	*t_p = NULL;
	if (t == NULL)
		return;
	free(t->rows);
	free(t);
}

static struct ttl_head *
ttl_row(const struct ttl *t, uint64_t key, size_t way)
{
	size_t set = (size_t)((key ^ key >> 32) % t->sets);

	return (struct ttl_head *)(void *)(t->rows + (set * TTL_WAYS + way) * t->row_bytes);
}

void *
ttl_get(struct ttl *t, uint64_t key, uint64_t now_ns, uint64_t age_ns)
{
	for (size_t way = 0; key != 0 && way < TTL_WAYS; way++) {
		struct ttl_head *row = ttl_row(t, key, way);

		if (row->key == key)
			return now_ns - row->at_ns <= age_ns ? row + 1 : NULL;
	}
	return NULL;
}

void *
ttl_put(struct ttl *t, uint64_t key, uint64_t now_ns)
{
	struct ttl_head *row, *oldest = ttl_row(t, key, 0);

	for (size_t way = 0; way < TTL_WAYS; way++) {
		row = ttl_row(t, key, way);
		if (row->key == key) {
			oldest = row;
			break;
		}
		if (row->at_ns < oldest->at_ns)
			oldest = row;
	}
	oldest->key = key;
	oldest->at_ns = now_ns;
	return oldest + 1;
}
