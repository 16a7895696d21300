/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balance.c - round robin, weighted: who is next where load is shared instead of scored
 *
 * The request's seed is a counter of the gateway, so both are exact over time and can be replayed.
 * Turns are counted among entries of one class only: a standby deployment that waits in the list
 * takes no turn away from the others. (least_loaded ranks by its score.)
 */
#include <math.h>
#include <string.h>

#include "lib/routing/parts.h"

/* splitmix64: every bit of the result depends on every bit of seed and n. */
uint64_t
balance_random(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

double
balance_uniform(uint64_t seed, uint64_t n)
{
	return (double)(balance_random(seed, n) >> 11) / 9007199254740992.0;
}

uint64_t
route_hash(const char *data, size_t len)
{
	uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ len, word;

	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
		hash ^= hash >> 29;
	}
	word = 0;
	memcpy(&word, data, len);
	hash = balance_random(hash ^ word, len);
	return hash != 0 ? hash : 1;
}

unsigned
balance_class(const struct entry *e)
{
	return (e->d->standby ? 8U : 0U) + (e->d->outlier ? 4U : 0U) + (e->favoured ? 0U : 2U) +
	       (e->unsure ? 1U : 0U);
}

/* Place of entry i in the config order of its class, and the size of that class. */
static void
balance_place(const struct entry *entries, size_t len, size_t i, size_t *place, size_t *size)
{
	size_t k;

	*place = *size = 0;
	for (k = 0; k < len; k++) {
		if (balance_class(&entries[k]) != balance_class(&entries[i]))
			continue;
		++*size;
		if (entries[k].order < entries[i].order)
			++*place;
	}
}

/* Keys of an exponential race: the chance to be first, second, ... is in proportion to weight. */
static double
balance_race(const struct entry *e, uint64_t seed)
{
	double u = ((double)(balance_random(seed, e->order) >> 11) + 0.5) / 9007199254740992.0;

	return e->d->weight == 0 ? -INFINITY : log(u) / e->d->weight;
}

bool
balance_entries(struct entry *entries, size_t len, enum strategy strategy, uint64_t seed)
{
	size_t i, place, size;

	if (strategy != STRATEGY_ROUND_ROBIN && strategy != STRATEGY_WEIGHTED)
		return false;
	for (i = 0; i < len; i++) {
		if (strategy == STRATEGY_WEIGHTED) {
			entries[i].key = balance_race(&entries[i], seed);
			continue;
		}
		balance_place(entries, len, i, &place, &size);
		CHECK(size > 0); /* it counts the entry itself */
		entries[i].key = -(double)((place + size - seed % size) % size);
	}
	return true;
}
