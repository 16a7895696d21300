/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_fault.c - the faults in force, and how far each process has drawn them
 */
#include <string.h>

#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

uint64_t
board_faults_seq(const struct board *b)
{
	return twin_begin(&b->map->faults->twin);
}

uint64_t
board_faults(const struct board *b, struct fault_rules *out)
{
	const struct fault_table *t = b->map->faults;
	uint64_t seq = twin_begin(&t->twin);

	/* Changed after the look at seq: the caller, who compares it, reads once more. */
	(void)twin_read(&t->twin, t->copy, sizeof(t->copy[0]), out);
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (out->rule[i].id != 0 && !fault_is_sound(&out->rule[i]))
			memset(&out->rule[i], 0, sizeof(out->rule[i]));
	return seq;
}

void
board_set_faults(struct board *b, const struct fault_rules *rules)
{
	CHECK(b->faults != NULL);
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		CHECK(rules->rule[i].id == 0 || fault_is_sound(&rules->rule[i]));
	twin_write(&b->faults->twin, b->faults->copy, sizeof(b->faults->copy[0]), rules);
}

/* ---- tallies ---- */

/* The tally of the process in slot; SLOTS_MAX: the supervisor's. */
static const struct fault_tally *
board_tally(const struct board *b, unsigned slot)
{
	CHECK(slot <= SLOTS_MAX);
	return slot == SLOTS_MAX ? b->map->deeds : &b->map->workers[slot].faults;
}

static struct fault_tally *
board_own_tally(struct board *b)
{
	CHECK(b->own != NULL || b->all != NULL);
	return b->own != NULL ? &b->own->faults : b->all->deeds;
}

static uint64_t
tally_load(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

struct fault_state
board_fault_sum(const struct board *b, uint64_t id)
{
	struct fault_state sum = {0};

	for (unsigned slot = 0; slot <= SLOTS_MAX; slot++) {
		const struct fault_tally *t;

		/* Never used: its pages are not even there. */
		if (slot < SLOTS_MAX && twin_begin(&b->map->slots[slot].twin) == 0)
			continue;
		t = board_tally(b, slot);
		for (unsigned i = 0; i < FAULTS_MAX; i++) {
			if (atomic_load_explicit(&t->id[i], memory_order_acquire) != id)
				continue;
			sum.draws += tally_load(&t->draws[i]);
			sum.hits += tally_load(&t->hits[i]);
		}
	}
	return sum;
}

uint64_t
board_fault_hits(const struct board *b, unsigned slot, enum fault_kind kind)
{
	CHECK(kind < FAULT_KINDS);
	return tally_load(&board_tally(b, slot)->kinds[kind]);
}

/* The place of rule id in a tally, made where there is none: of those in use the oldest goes. */
static unsigned
tally_place(struct fault_tally *t, uint64_t id)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		if (tally_load(&t->id[i]) == id)
			return i;
		if (tally_load(&t->id[i]) < tally_load(&t->id[oldest]))
			oldest = i;
	}
	atomic_store(&t->id[oldest], 0);
	atomic_store(&t->draws[oldest], 0);
	atomic_store(&t->hits[oldest], 0);
	atomic_store(&t->id[oldest], id);
	return oldest;
}

bool
board_fault_draw(struct board *b, const struct fault_rule *rule, uint64_t *draw)
{
	struct fault_tally *t = board_own_tally(b);
	unsigned i = tally_place(t, rule->id);
	struct fault_state own = {tally_load(&t->draws[i]), tally_load(&t->hits[i])};
	uint64_t elsewhere = 0;
	bool comes;

	if (rule->count > 0)
		elsewhere = board_fault_sum(b, rule->id).hits - own.hits;
	comes = fault_draw(rule, &own, elsewhere);
	atomic_store(&t->draws[i], own.draws);
	atomic_store(&t->hits[i], own.hits);
	*draw = own.draws;
	if (comes)
		board_fault_count(b, rule->kind);
	return comes;
}

void
board_fault_count(struct board *b, enum fault_kind kind)
{
	CHECK(kind < FAULT_KINDS);
	(void)atomic_fetch_add_explicit(&board_own_tally(b)->kinds[kind], 1, memory_order_relaxed);
}
