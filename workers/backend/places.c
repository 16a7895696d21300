/* SPDX-License-Identifier: Apache-2.0 */
/*
 * places.c - places kept for gateways whose requests wait
 *
 * Requests wait in their gateways; this worker alone knows when a place is free. A gateway says
 * that some of its requests want one; when there is one it is kept for it until its next ChatStart,
 * so whoever comes meanwhile can't take it away. Gateways take turns, the better level first, but
 * nobody is passed over for ever. A gateway that does not use its place in time has lost it.
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

enum {
	KEEP_MS = 1000,
	PASSED_MAX = 4 /* after so many times that another was served, it is a level better */
};

/* The board's gauges say what there is; each has been told apart so far. */
static void
places_publish(struct backend *b)
{
	struct places *p = &b->places;
	uint32_t kept = 0;

	for (size_t i = 0; i < p->len; i++)
		kept += p->wishes[i].kept;
	p->kept = kept;
	board_gauge(b->w->board, COUNTER_UP_KEPT, (int64_t)kept - p->kept_shown);
	board_gauge(b->w->board, COUNTER_UP_WISHES, (int64_t)(p->len - kept) - p->wishes_shown);
	p->kept_shown = kept;
	p->wishes_shown = (int64_t)(p->len - kept);
}

static struct place_wish *
places_find(struct places *p, const struct msg *m)
{
	for (size_t i = 0; i < p->len; i++)
		if (p->wishes[i].who.slot == m->head.sender_slot &&
			p->wishes[i].who.generation == m->head.sender_generation)
			return &p->wishes[i];
	return NULL;
}

static void
places_drop(struct places *p, struct place_wish *w)
{
	size_t i = (size_t)(w - p->wishes);

	memmove(w, w + 1, (--p->len - i) * sizeof(*w));
}

static bool
places_is_free(const struct backend *b)
{
	return b->in_flight + b->places.kept < b->limits.max_in_flight;
}

/* The better level first; of equals who wished first. */
static struct place_wish *
places_choose(struct places *p)
{
	struct place_wish *best = NULL;

	for (size_t i = 0; i < p->len; i++) {
		struct place_wish *w = &p->wishes[i];

		w->rank = w->level - MIN(w->passed / PASSED_MAX, w->level);
		if (!w->kept && (best == NULL || w->rank < best->rank))
			best = w;
	}
	return best;
}

static void
places_tell(struct backend *b, const struct place_wish *w)
{
	struct msg m = {.type = MSG_PLACE_FREE};

	m.place_free.waiting = (uint32_t)(b->places.len - b->places.kept);
	/* where it can't be sent, the place is free again when its time is over */
	(void)asker_reply(b, &w->who, &m, NULL);
}

static void
places_on_time(void *arg)
{
	places_serve(arg);
}

/* Those who let their time pass; and look again when the next one's is over. */
static void
places_expire(struct backend *b)
{
	struct places *p = &b->places;
	uint64_t now_ns = clock_ns(), next_ns = UINT64_MAX;

	for (size_t i = p->len; i-- > 0;) {
		struct place_wish *w = &p->wishes[i];

		if (!w->kept)
			continue;
		if (w->until_ns <= now_ns) {
			log_debug("place_unused", "gateway_slot=%u", w->who.slot);
			places_drop(p, w);
		} else {
			next_ns = MIN(next_ns, w->until_ns);
		}
	}
	p->timer.fn = places_on_time;
	p->timer.arg = b;
	if (next_ns != UINT64_MAX)
		loop_timer_set(b->w->loop, &p->timer, next_ns);
	else
		loop_timer_clear(b->w->loop, &p->timer);
}

void
places_serve(struct backend *b)
{
	struct places *p = &b->places;
	struct place_wish *w;

	if (p->len == 0)
		return;
	places_expire(b);
	places_publish(b);
	while (!b->w->draining && places_is_free(b) && (w = places_choose(p)) != NULL) {
		for (size_t i = 0; i < p->len; i++)
			p->wishes[i].passed += &p->wishes[i] != w;
		w->kept = true;
		w->until_ns = clock_ns() + clock_ms_to_ns(KEEP_MS);
		places_publish(b);
		places_tell(b, w);
		places_expire(b);
	}
	places_publish(b);
}

void
places_wanted(struct backend *b, const struct msg *m)
{
	struct places *p = &b->places;
	struct place_wish *w = places_find(p, m);

	if (!m->place_wanted.wanted) {
		if (w != NULL)
			places_drop(p, w);
		places_publish(b);
		places_serve(b);
		return;
	}
	if (w == NULL) {
		if (p->len == ARRAY_LEN(p->wishes))
			return; /* it says so again */
		w = &p->wishes[p->len++];
		*w = (struct place_wish){.who = {.request_id = m->head.request_id,
						 .deadline_ns = m->head.deadline_ns,
						 .slot = m->head.sender_slot,
						 .generation = m->head.sender_generation}};
	}
	w->level = m->place_wanted.level;
	if (w->kept)
		places_tell(b, w); /* it has not heard of it */
	places_serve(b);
}

bool
places_take(struct backend *b, const struct msg *m)
{
	struct place_wish *w = places_find(&b->places, m);

	if (w != NULL && w->kept && b->in_flight < b->limits.max_in_flight) {
		places_drop(&b->places, w);
		places_publish(b);
		return true;
	}
	return places_is_free(b);
}

void
places_drop_orphans(struct backend *b)
{
	struct places *p = &b->places;

	for (size_t i = p->len; i-- > 0;)
		if (!asker_lives(b, &p->wishes[i].who))
			places_drop(p, &p->wishes[i]);
	places_publish(b);
	places_serve(b);
}

void
places_stop(struct backend *b)
{
	b->places.len = 0;
	places_publish(b);
	loop_timer_clear(b->w->loop, &b->places.timer);
}
