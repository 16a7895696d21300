/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus_fault.c - messages that are lost, late, doubled or changed on purpose
 *
 * At the sender, in front of the real bus: what the receiver sees is what a broken transport would
 * show it, and all its own checks run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/bus_fault.h"
#include "workers/common/faults.h"
#include "workers/common/worker.h"

enum { LATE_MAX = 4096 }; /* messages held back at once; more go at once */

/* A message that waits for its time. */
struct bus_late {
	struct worker *w;
	struct bus_late *next, **at;
	struct loop_timer timer;
	struct bus_life to;
	struct buf message;
	struct bytes *payload;
};

static void
late_free(struct bus_late *l)
{
	*l->at = l->next;
	if (l->next != NULL)
		l->next->at = l->at;
	loop_timer_clear(l->w->loop, &l->timer);
	buf_fini(&l->message);
	bytes_unref(&l->payload);
	free(l);
}

static void
late_on_time(void *arg)
{
	struct bus_late *l = arg;
	struct msg m;
	struct err e;

	/* Nobody waits for the result; a life that ended meanwhile counts as unsent. */
	if (msg_decode(&m, l->message.data, l->message.len, &e) == ERR_OK &&
		bus_put(l->w->bus, l->to.slot, l->to.generation, &m, l->payload, 0, &e) != ERR_OK)
		log_debug("fault_late_unsent", "text=\"%s\"", e.text);
	late_free(l);
}

static void
late_add(struct bus_late **list, struct worker *w, struct bus_life to, const struct msg *m,
	struct bytes *payload, uint64_t ms)
{
	struct bus_late *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->w = w;
	l->to = to;
	msg_encode(&l->message, m);
	l->payload = bytes_ref(payload);
	l->timer = (struct loop_timer){.fn = late_on_time, .arg = l};
	l->next = *list;
	if (l->next != NULL)
		l->next->at = &l->next;
	l->at = list;
	*list = l;
	loop_timer_set(w->loop, &l->timer, clock_ns() + clock_ms_to_ns(ms));
}

void
bus_fault_free(struct bus_late **list)
{
	while (*list != NULL)
		late_free(*list);
}

void
bus_fault_corrupt(struct buf *message, uint64_t random)
{
	CHECK(message->len > 0);
	/* the change itself is never 0 */
	message->data[random % message->len] ^= (char)(1 + (random >> 32) % 255);
}

static bool
late_has_room(const struct bus_late *list)
{
	unsigned n = 0;

	for (; list != NULL && n < LATE_MAX; list = list->next)
		n++;
	return n < LATE_MAX;
}

enum bus_fault_deed
bus_fault_send(struct bus_late **list, struct worker *w, struct bus_life to, struct msg *m,
	struct bytes *payload, uint64_t *corrupt)
{
	const struct fault_subject s = {.message = msg_name(m->type)};
	const struct fault_rule *r;
	char about[96];
	uint64_t draw = 0;

	/* or nobody could clear what loses every message */
	if (m->type == MSG_FAULT_CHANGE || m->type == MSG_FAULT_CHANGED)
		return BUS_FAULT_NONE;
	(void)snprintf(about, sizeof(about), "message=%s to=%u request=%llu", s.message, to.slot,
		(unsigned long long)m->head.request_id);
	r = faults_draw(w, FAULT_LEVEL_BUS, &s, about, &draw);
	if (r == NULL)
		return BUS_FAULT_NONE;
	if (r->kind == FAULT_BUS_DROP)
		return BUS_FAULT_TAKEN;
	if (r->kind == FAULT_BUS_DELAY && late_has_room(*list)) {
		late_add(list, w, to, m, payload, fault_time_ms(r, draw));
		return BUS_FAULT_TAKEN;
	}
	if (r->kind == FAULT_BUS_DUPLICATE)
		return BUS_FAULT_TWICE;
	if (r->kind == FAULT_BUS_CORRUPT)
		*corrupt = fault_random(r->seed, draw) | 1;
	return BUS_FAULT_NONE;
}
