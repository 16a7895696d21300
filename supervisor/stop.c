/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.c - the ordered end: one group of roles after the other, then nothing is left
 */
#include "lib/base/log.h"
#include "supervisor/listen.h"
#include "supervisor/notify.h"
#include "supervisor/supervisor.h"

enum { STOP_SPARE_MS = 10000 }; /* for what follows the drain of a group: kills, burials */

/* The lowest stop_order among the workers that are still there; 0: none is. */
static uint32_t
stop_lowest(const struct supervisor *s)
{
	uint32_t lowest = 0;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		const struct seat *seat = &s->seats[i];
		uint32_t order;

		if (seat->state == CHILD_EMPTY)
			continue;
		order = table_role(seat->role)->stop_order;
		if (lowest == 0 || order < lowest)
			lowest = order;
	}
	return lowest;
}

static bool
stop_anybody_listens(const struct supervisor *s)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (s->seats[i].state != CHILD_EMPTY &&
			(table_role(s->seats[i].role)->fds & FD_LISTEN) != 0)
			return true;
	return false;
}

/* Send event to every worker whose group is not after order. */
static void
stop_group(struct supervisor *s, uint32_t order, enum child_event event)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = &s->seats[i];

		if (seat->state == CHILD_EMPTY || table_role(seat->role)->stop_order > order)
			continue;
		seat->wanted = false;
		seat_event(s, seat, event);
	}
}

void
stop_begin(struct supervisor *s)
{
	CHECK(s->phase == PHASE_RUNNING);
	log_info("stopping", "drain_ms=%u", s->config->drain_ms);
	notify_stopping(s->notify);
	s->phase = PHASE_STOPPING;
	s->stop_order = 0;
	stop_advance(s);
}

void
stop_now(struct supervisor *s)
{
	log_warn("stopping_now", "text=\"second signal: running requests are cut\"");
	s->stop_order = UINT32_MAX;
	stop_group(s, UINT32_MAX, CHILD_EVENT_KILL);
	stop_advance(s);
}

void
stop_advance(struct supervisor *s)
{
	uint32_t lowest;

	if (s->phase != PHASE_STOPPING)
		return;
	/* Freeing a seat without a process empties a group at once, hence the loop. */
	while ((lowest = stop_lowest(s)) > s->stop_order) {
		s->stop_order = lowest;
		notify_extend(s->notify, (uint64_t)s->config->drain_ms + STOP_SPARE_MS);
		stop_group(s, lowest, CHILD_EVENT_RETIRE);
	}
	if (!stop_anybody_listens(s))
		listen_close(&s->listen);
	if (lowest == 0)
		s->phase = PHASE_DONE;
}
