/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_slot.c - slot rows (written by the supervisor) and the worker rows that belong to them
 */
#include <string.h>

#include "lib/base/clock.h"
#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

void
board_slot(const struct board *b, unsigned slot, struct slot_info *out)
{
	const struct slot_row *row;

	CHECK(slot < SLOTS_MAX);
	row = &b->map->slots[slot];
	(void)twin_read(&row->twin, row->copy, sizeof(row->copy[0]), out);
	out->name[sizeof(out->name) - 1] = '\0';
}

void
board_set_slot(struct board *b, unsigned slot, const struct slot_info *info)
{
	struct slot_row *row;

	CHECK(b->all != NULL && slot < SLOTS_MAX);
	CHECK(info->state < SLOT_STATES);
	CHECK(memchr(info->name, '\0', sizeof(info->name)) != NULL);
	row = &b->all->slots[slot];
	twin_write(&row->twin, row->copy, sizeof(row->copy[0]), info);
}

/* How good a slot in this state is to send new work to; 0: not at all. */
static int
board_slot_rank(uint32_t state)
{
	static const int ranks[SLOT_STATES] = {
		[SLOT_DRAINING] = 1, [SLOT_STARTING] = 2, [SLOT_READY] = 3};

	return state < SLOT_STATES ? ranks[state] : 0;
}

int
board_find_slot(const struct board *b, uint32_t role, const char *name)
{
	struct slot_info info;
	uint64_t best_since = 0;
	int best = -1, best_rank = 0, rank;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		/* Never used: skipped without a copy, most slots are. */
		if (twin_begin(&b->map->slots[i].twin) == 0)
			continue;
		board_slot(b, i, &info);
		rank = board_slot_rank(info.state);
		if (rank == 0 || info.role != role || strcmp(info.name, name) != 0)
			continue;
		if (rank > best_rank || (rank == best_rank && info.since_ns > best_since)) {
			best = (int)i;
			best_rank = rank;
			best_since = info.since_ns;
		}
	}
	return best;
}

const struct worker_row *
board_worker(const struct board *b, unsigned slot)
{
	CHECK(slot < SLOTS_MAX);
	return &b->map->workers[slot];
}

const struct deployment_stat *
board_stat(const struct board *b, unsigned slot, const char *model)
{
	const struct worker_row *row = board_worker(b, slot);

	for (size_t i = 0; i < STATS_MAX; i++) {
		/* rows are taken in order and never given back */
		if (atomic_load_explicit(&row->stats[i].used, memory_order_acquire) == 0)
			break;
		if (strncmp(row->stats[i].model, model, MODEL_MAX_LEN) == 0)
			return &row->stats[i];
	}
	return NULL;
}

struct worker_row *
board_own_row(struct board *b)
{
	CHECK(b->own != NULL);
	return b->own;
}

struct worker_row *
board_slot_row(struct board *b, unsigned slot)
{
	CHECK(b->all != NULL && slot < SLOTS_MAX);
	return &b->all->workers[slot];
}

void
board_bury_slot(struct board *b, unsigned slot)
{
	struct worker_row *row = board_slot_row(b, slot);

	for (enum counter c = 0; c < COUNTERS; c++)
		if (counter_row(c)->gauge)
			atomic_store(&row->counters[c], 0);
	for (unsigned i = 0; i < STATS_MAX; i++)
		if (atomic_load(&row->stats[i].used) != 0)
			atomic_store(&row->stats[i].in_flight, 0);
	atomic_store(&row->rss_kb, 0);
	atomic_store(&row->pss_kb, 0);
}

void
board_prepare_slot(struct board *b, unsigned slot, enum board_life life)
{
	struct worker_row *row = board_slot_row(b, slot);

	/* The pages of a slot that nobody ever had are zero and take no memory yet. */
	if (life == BOARD_LIFE_FIRST && twin_begin(&b->map->slots[slot].twin) != 0)
		memset(row, 0, sizeof(*row));
	if (life == BOARD_LIFE_AGAIN)
		board_bury_slot(b, slot);
	memset(row->last_words, 0, sizeof(row->last_words));
	atomic_store(&row->config_seen, 0);
	atomic_store(&row->heartbeat_ns, clock_ns());
}

void
board_last_words(const struct board *b, unsigned slot, char out[LAST_WORDS_MAX])
{
	const struct worker_row *row = board_worker(b, slot);

	memcpy(out, row->last_words, LAST_WORDS_MAX);
	out[LAST_WORDS_MAX - 1] = '\0';
	/* It goes into one log line. */
	for (char *p = out; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
}
