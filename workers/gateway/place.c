/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - requests that wait for a place at a backend
 *
 * The queue (lib/queue) says whose turn it is; here it is told who waits for which backends, and
 * asks each of those for a place (PlaceWanted). The backend keeps one for this gateway when it has
 * it (PlaceFree), and whose turn it is then starts there. So places are shared by all gateways
 * without a race, and nobody looks again and again. What has changed meanwhile (workers, breakers,
 * a message that got lost) is noticed with the board, and by a look at all that wait twice a
 * second.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"
#include "workers/role.h"

_Static_assert((int)QUEUE_SERVERS_MAX >= (int)SLOTS_MAX, "a server is a slot");
_Static_assert((int)QUEUE_LEVELS == PRIORITY_USER, "a level is a priority");

enum {
	LOOK_MS = 500, /* what nobody tells is noticed by then */
	TRIAL_MS = 50, /* a breaker's trial is under way: look again */
	WISH_MS = 10000, /* a wish that was not answered by then has been said again */
	SERVICE_MS = 1000 /* what a request costs where nothing is known: all the same */
};

static void place_on_look(void *arg);

void
places_new(struct gateway *g)
{
	g->places = calloc(1, sizeof(*g->places));
	CHECK(g->places != NULL);
	queue_new(&g->places->queue);
	g->places->look = (struct loop_timer){.fn = place_on_look, .arg = g};
}

void
places_free(struct gateway *g)
{
	if (g->places == NULL)
		return;
	loop_timer_clear(g->w->loop, &g->places->look);
	queue_free(&g->places->queue);
	free(g->places);
	g->places = NULL;
}

static struct request *
place_request(struct queue_item *item)
{
	return (struct request *)(void *)((char *)item - offsetof(struct request, place));
}

/* ---- what the board says ---- */

static uint64_t
place_figure(const struct gateway *g, unsigned slot, enum counter which)
{
	return atomic_load_explicit(
		&board_worker(g->board, slot)->counters[which], memory_order_relaxed);
}

bool
place_is_free(const struct gateway *g, unsigned slot, uint32_t max)
{
	uint64_t taken = place_figure(g, slot, COUNTER_UP_IN_FLIGHT);

	/* those before it in this queue, in another one's */
	if (g->places->wishes[slot].open || place_figure(g, slot, COUNTER_UP_WISHES) > 0)
		return false;
	taken = MAX(taken, (uint64_t)g->places->running[slot]);
	return max == 0 || taken + place_figure(g, slot, COUNTER_UP_KEPT) < max;
}

/* The slot of the row's backend where its worker is ready; -1: it is not. */
static int
place_slot(const struct gateway *g, const struct catalog_row *k)
{
	struct slot_info info;
	int slot = k->slot;

	if (slot >= 0) {
		board_slot(g->board, (unsigned)slot, &info);
		if (info.role == ROLE_BACKEND && info.state == SLOT_READY &&
			strncmp(info.name, k->backend, sizeof(info.name)) == 0)
			return slot;
	}
	slot = board_find_slot(g->board, ROLE_BACKEND, k->backend);
	if (slot < 0)
		return -1;
	board_slot(g->board, (unsigned)slot, &info);
	return info.state == SLOT_READY ? slot : -1;
}

/* The slot where candidate i may go as soon as there is a place; -1: it may go nowhere now. */
static int
place_candidate(const struct request *r, size_t i, uint64_t *look_ns)
{
	const struct catalog_row *k = &r->catalog->rows[r->candidates[i]];
	uint64_t at_ns = 0;
	int slot;

	if (r->candidate_state[i] != CANDIDATE_FRESH)
		return -1;
	slot = place_slot(r->g, k);
	if (slot < 0)
		return -1;
	if (admit_cools(r, r->candidates[i], (unsigned)slot, &at_ns)) {
		*look_ns = MIN(*look_ns, MAX(at_ns, clock_ns() + clock_ms_to_ns(TRIAL_MS)));
		return -1;
	}
	return slot;
}

static struct queue_servers
place_servers(const struct request *r, uint64_t *look_ns)
{
	struct queue_servers out = {{0}};

	for (size_t i = 0; i < r->candidates_len; i++) {
		int slot = place_candidate(r, i, look_ns);

		if (slot >= 0)
			queue_servers_add(&out, (unsigned)slot);
	}
	return out;
}

static bool
place_servers_none(const struct queue_servers *s)
{
	return !queue_servers_meet(s, s);
}

/* ---- how long it will take ---- */

/* What one request takes there, on average; 0: not known. */
static double
place_service_ms(const struct catalog_row *k)
{
	uint64_t ok =
		k->stat == NULL ? 0 : atomic_load_explicit(&k->stat->ok, memory_order_relaxed);

	if (k->latency_ms > 0)
		return (double)k->latency_ms;
	return ok == 0 ? 0
		       : (double)atomic_load_explicit(
				 &k->stat->total_us_sum, memory_order_relaxed) /
				 (double)ok / 1e3;
}

/* Fill in expect_ms (negative: not known) and the least time that an answer takes. */
static void
place_expect(struct request *r, size_t position, double *expect_ms, double *service_ms)
{
	struct queue_server servers[ROUTE_CANDIDATES_MAX];
	struct queue_servers seen = {{0}};
	uint64_t look_ns = UINT64_MAX;
	size_t n = 0;

	*service_ms = 0;
	for (size_t i = 0; i < r->candidates_len; i++) {
		int slot = place_candidate(r, i, &look_ns);
		struct queue_server *s = &servers[n];

		if (slot < 0 || queue_servers_has(&seen, (unsigned)slot))
			continue;
		queue_servers_add(&seen, (unsigned)slot);
		n++;
		s->places = r->catalog->deployments[r->candidates[i]].max_in_flight;
		s->service_ms = place_service_ms(&r->catalog->rows[r->candidates[i]]);
		s->sharers = (uint32_t)place_figure(r->g, (unsigned)slot, COUNTER_UP_WISHES) +
			     !r->g->places->wishes[slot].open;
		if (*service_ms <= 0 || s->service_ms < *service_ms)
			*service_ms = s->service_ms;
	}
	*expect_ms = queue_expect_ms(position, servers, n);
}

/* ---- wishes ---- */

static void
place_wish(struct gateway *g, unsigned slot, bool wanted, unsigned level)
{
	struct place_wish *w = &g->places->wishes[slot];
	struct slot_info info;
	struct msg m;

	board_slot(g->board, slot, &info);
	if (!w->open || w->generation != info.generation)
		w->id = ++g->next_attempt * REQUESTS_MAX;
	m = (struct msg){.type = MSG_PLACE_WANTED,
		.head = {.request_id = w->id, .deadline_ns = clock_ns() + clock_ms_to_ns(WISH_MS)},
		.place_wanted = {.wanted = wanted, .level = (uint8_t)level}};
	*w = (struct place_wish){.open = wanted,
		.level = (uint8_t)level,
		.generation = info.generation,
		.id = w->id};
	/* unsent: said again with the next look */
	(void)!bus_send(g->w->bus, slot, info.generation, &m, NULL, NULL);
}

/* Wish for what is waited for, if that was not said yet, and for nothing else. */
static void
place_settle(struct gateway *g, unsigned slot)
{
	const struct place_wish *w = &g->places->wishes[slot];
	int level = queue_level(g->places->queue, slot);

	if (level < 0 && w->open)
		place_wish(g, slot, false, 0);
	else if (level >= 0 && (!w->open || w->level != level))
		place_wish(g, slot, true, (unsigned)level);
}

static void
places_settle(struct gateway *g, const struct queue_servers *s)
{
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		if (queue_servers_has(s, slot))
			place_settle(g, slot);
}

/* ---- the gauges ---- */

static void
places_publish(struct gateway *g)
{
	struct places *p = g->places;
	int64_t now[3] = {(int64_t)queue_len(p->queue), (int64_t)queue_bytes(p->queue), 0};
	uint64_t now_ns = clock_ns(), oldest_ns = now_ns;

	for (struct queue_item *i = queue_first(p->queue); i != NULL; i = queue_after(i))
		oldest_ns = MIN(oldest_ns, place_request(i)->queued_ns);
	now[2] = (int64_t)((now_ns - oldest_ns) / NS_PER_MS);
	for (size_t i = 0; i < ARRAY_LEN(now); i++) {
		if (now[i] != p->shown[i])
			gateway_count(
				g, (enum counter)(COUNTER_QUEUE_LEN + i), now[i] - p->shown[i]);
		p->shown[i] = now[i];
	}
}

/* ---- out of the queue ---- */

/* It waits no longer, for whatever reason. */
static void
place_end(struct request *r)
{
	struct gateway *g = r->g;

	r->queue_ns += clock_ns() - r->queued_ns;
	loop_timer_clear(g->w->loop, &r->place_timer);
	loop_timer_clear(g->w->loop, &r->notice_timer);
}

void
place_leave(struct request *r)
{
	const struct queue_servers was = r->place.servers;
	bool waited = r->place.waits;

	queue_leave(r->g->places->queue, &r->place);
	if (!waited)
		return;
	place_end(r);
	places_settle(r->g, &was);
	places_publish(r->g);
}

/* Nobody will serve it: what an upstream said before outweighs that. */
static void
place_refuse(struct request *r, const struct err *e, enum counter why)
{
	struct err said = r->err;

	gateway_count(r->g, why, 1);
	place_leave(r);
	if (said.code == ERR_OK || said.code == ERR_BUSY)
		said = *e;
	log_debug("queue_refused", "id=%s code=%s text=\"%s\"", r->id, err_name(e->code), e->text);
	request_fail(r, &said);
}

static uint32_t
place_ms(double ms)
{
	return ms <= 1 ? 1U : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void
place_on_time(void *arg)
{
	struct request *r = arg;
	double expect_ms, service_ms;
	struct err e;

	place_expect(r, queue_position(r->g->places->queue, &r->place), &expect_ms, &service_ms);
	(void)err_set(&e, ERR_WAITED, "no place at a backend within %llu ms%s",
		(unsigned long long)((clock_ns() - r->queued_ns) / NS_PER_MS),
		r->g->draining ? "; the gateway is being stopped" : "");
	e.retry_after_ms = r->g->draining ? SERVICE_MS : place_ms(expect_ms);
	place_refuse(r, &e, COUNTER_QUEUE_EXPIRED);
}

/* ---- into the queue ---- */

/* "position=3 wait_ms=1200", as a comment that clients skip. */
static void
place_on_notice(void *arg)
{
	struct request *r = arg;
	char text[96];
	int n;

	stream_notice_begin(r);
	n = snprintf(text, sizeof(text), ": waiting position=%zu wait_ms=%llu\n\n",
		queue_position(r->g->places->queue, &r->place),
		(unsigned long long)((clock_ns() - r->queued_ns) / NS_PER_MS));
	http_stream_add(r->conn, text, (size_t)n);
	loop_timer_set(
		r->g->w->loop, &r->notice_timer, clock_ns() + clock_ms_to_ns(r->queue_notice_ms));
}

static void
place_enter(struct request *r, enum queue_end end)
{
	struct gateway *g = r->g;
	struct loop *loop = g->w->loop;

	r->queued_ns = clock_ns();
	queue_put(g->places->queue, &r->place, end);
	if (r->queue_position == 0) {
		r->queue_position = (uint32_t)queue_position(g->places->queue, &r->place);
		gateway_count(g, COUNTER_QUEUE_ENTERED, 1);
		gateway_count(g, COUNTER_REQ_WAITED, 1);
	}
	r->place_timer = (struct loop_timer){.fn = place_on_time, .arg = r};
	if (r->place_end_ns < r->deadline_ns)
		loop_timer_set(loop, &r->place_timer, r->place_end_ns);
	r->notice_timer = (struct loop_timer){.fn = place_on_notice, .arg = r};
	if (r->stream && r->queue_notice_ms > 0)
		loop_timer_set(
			loop, &r->notice_timer, r->queued_ns + clock_ms_to_ns(r->queue_notice_ms));
	places_settle(g, &r->place.servers);
	if (g->places->look.heap_index == 0)
		loop_timer_set(loop, &g->places->look, r->queued_ns + clock_ms_to_ns(LOOK_MS));
	places_publish(g);
}

/* Would it get its place, and its answer, too late? */
static bool
place_is_late(struct request *r, size_t position, struct err *e)
{
	uint64_t now_ns = clock_ns(), end_ns = MIN(r->place_end_ns, r->deadline_ns);
	double left_ms = (double)(r->deadline_ns - MIN(now_ns, r->deadline_ns)) / 1e6;
	double wait_ms = (double)(end_ns - MIN(now_ns, end_ns)) / 1e6;
	double expect_ms, service_ms, over_ms;

	place_expect(r, position, &expect_ms, &service_ms);
	if (expect_ms < 0)
		return false;
	over_ms = MAX(expect_ms - wait_ms, expect_ms + service_ms - left_ms);
	if (over_ms <= 0)
		return false;
	(void)err_set(e, ERR_LATE,
		"all who could answer are full: position %zu, expected wait %.0f ms and %.0f ms "
		"for the "
		"answer, allowed are %.0f ms of waiting and %.0f ms in all",
		position, expect_ms, service_ms, wait_ms, left_ms);
	e->retry_after_ms = place_ms(over_ms);
	return true;
}

static void
place_shed(struct request *r)
{
	double expect_ms, service_ms;
	struct err e;

	place_expect(r, queue_position(r->g->places->queue, &r->place), &expect_ms, &service_ms);
	(void)err_set(&e, ERR_SHED,
		"the queue is full, and its place went to a request of higher priority or of a "
		"user with "
		"fewer of them");
	e.retry_after_ms = expect_ms < 0 ? SERVICE_MS : place_ms(expect_ms);
	place_refuse(r, &e, COUNTER_QUEUE_SHED);
}

/* Too much waits already, or too much of this user. */
static bool
place_is_full(struct request *r, size_t position, struct err *e)
{
	const struct config_queue *c = &r->g->config->queue;
	const struct queue_bounds bounds = {c->max, c->max_per_user, c->max_bytes};
	struct queue *q = r->g->places->queue;
	struct queue_item *victim;
	double expect_ms, service_ms;
	enum queue_verdict verdict;

	while ((verdict = queue_admit(q, &r->place, &bounds, &victim)) == QUEUE_SHED)
		place_shed(place_request(victim));
	if (verdict == QUEUE_ROOM)
		return false;
	if (verdict == QUEUE_USER_FULL)
		(void)err_set(e, ERR_USER_QUEUE,
			"all who could answer are full, and %u requests of this user wait already",
			c->max_per_user);
	else
		(void)err_set(e, ERR_QUEUE_FULL,
			"all who could answer are full, and so is the queue: %zu requests wait, "
			"with "
			"%zu bytes (queue.max is %u, queue.max_bytes is %llu)",
			queue_len(q), queue_bytes(q), c->max, (unsigned long long)c->max_bytes);
	place_expect(r, position, &expect_ms, &service_ms);
	e->retry_after_ms = expect_ms < 0 ? SERVICE_MS : place_ms(expect_ms);
	return true;
}

/* May it wait? It was never in the queue, and nothing was sent for it. */
static bool
place_admits(struct request *r)
{
	size_t position = queue_position(r->g->places->queue, &r->place);
	struct err e;

	r->queue_position = (uint32_t)position;
	if (place_is_late(r, position, &e)) {
		place_refuse(r, &e, COUNTER_QUEUE_LATE);
		return false;
	}
	if (place_is_full(r, position, &e)) {
		place_refuse(r, &e,
			e.code == ERR_USER_QUEUE ? COUNTER_QUEUE_USER_FULL : COUNTER_QUEUE_FULL);
		return false;
	}
	r->queue_position = 0;
	return true;
}

bool
place_wait(struct request *r)
{
	bool known = r->attempt_n > 0 || r->place_end_ns != 0;
	uint64_t look_ns = UINT64_MAX, wait_ms = r->g->config->queue.wait_ms;
	struct auth_who who;

	r->place.servers = place_servers(r, &look_ns);
	if (place_servers_none(&r->place.servers))
		return false;
	if (r->place_end_ns == 0) {
		auth_identify(r->g->auth, r->conn->peer, &r->conn->head, &who);
		r->place.user = who.user;
		r->place.order = r->started_ns;
		r->place.level = auth_priority(&who, r->priority, &r->conn->head);
		r->place.bytes = r->body == NULL ? 0 : r->body->len;
		r->place_end_ns = MIN(r->deadline_ns, clock_ns() + clock_ms_to_ns(wait_ms));
	}
	if (r->g->places->end_ns != 0)
		r->place_end_ns = MIN(r->place_end_ns, r->g->places->end_ns);
	if (!known && !place_admits(r))
		return true;
	place_enter(r, r->err.code == ERR_BUSY && r->attempt_n > 0 ? QUEUE_FRONT : QUEUE_BACK);
	return true;
}

/* ---- its turn ---- */

/* What a request costs at slot: the time for which it has a place, as a moving average. */
static uint64_t
place_cost_us(const struct gateway *g, unsigned slot)
{
	uint64_t cost_us = g->places->cost_us[slot];

	return cost_us > 0 ? cost_us : (uint64_t)SERVICE_MS * 1000;
}

/* The candidate of r for slot; candidates_len: none any more. */
static size_t
place_choice(const struct request *r, unsigned slot)
{
	uint64_t look_ns = UINT64_MAX;
	size_t i = 0;

	while (i < r->candidates_len && place_candidate(r, i, &look_ns) != (int)slot)
		i++;
	return i;
}

/* A place is kept at slot: start who is next. False: nobody needs it, or nobody can be sent there.
 */
static bool
place_give(struct gateway *g, unsigned slot, uint32_t generation)
{
	struct queue *q = g->places->queue;
	struct queue_item *item;

	while ((item = queue_next(q, slot, place_cost_us(g, slot))) != NULL) {
		struct request *r = place_request(item);
		const struct queue_servers was = item->servers;
		size_t i = place_choice(r, slot);
		enum attempt_start now;

		if (i == r->candidates_len) {
			/* its breaker has opened: it waits for the others it has, if any */
			place_leave(r);
			attempt_next(r);
			continue;
		}
		queue_take(q, item, place_cost_us(g, slot));
		r->place_guessed = g->places->cost_us[slot] == 0;
		place_end(r);
		gateway_count(g, COUNTER_QUEUE_SERVED, 1);
		gateway_count(g, COUNTER_QUEUE_WAIT_MS, (int64_t)(r->queue_ns / NS_PER_MS));
		g->places->wishes[slot].open = false;
		now = attempt_start_at(r, i, (int)slot, generation);
		places_settle(g, &was);
		if (now != ATTEMPT_GIVEN_UP)
			return now == ATTEMPT_STARTED;
	}
	return false;
}

void
place_on_free(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct gateway *g = w->state;
	unsigned slot = m->head.sender_slot;
	const struct place_wish *wish;
	struct slot_info info;

	(void)payload;
	CHECK(slot < SLOTS_MAX);
	wish = &g->places->wishes[slot];
	board_slot(g->board, slot, &info);
	/* the last words of a life that is over; or a wish that was said twice is told of twice */
	if (info.generation != m->head.sender_generation || !wish->open ||
		wish->id != m->head.request_id)
		return;
	if (!place_give(g, slot, m->head.sender_generation))
		place_wish(g, slot, false, 0);
	places_publish(g);
}

/* ---- what has changed meanwhile ---- */

/* Look again at who could serve r; it may start, wait elsewhere or fail by this. */
static void
place_replan(struct request *r, uint64_t *look_ns)
{
	struct queue_servers now = place_servers(r, look_ns);
	struct queue_servers was = r->place.servers;

	if (place_servers_none(&now)) {
		place_leave(r);
		attempt_next(r);
		return;
	}
	r->place.servers = now;
	places_settle(r->g, &was);
	places_settle(r->g, &now);
}

void
places_look(struct gateway *g)
{
	struct places *p = g->places;
	uint64_t look_ns = clock_ns() + clock_ms_to_ns(LOOK_MS);
	struct queue_item *next;
	struct slot_info info;
	size_t n;

	if (queue_len(p->queue) == 0 && p->shown[0] == 0)
		return;
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		board_slot(g->board, slot, &info);
		if (p->wishes[slot].open && p->wishes[slot].generation != info.generation)
			p->wishes[slot].open = false;
	}
	/* who comes in again comes in at the end */
	n = queue_len(p->queue);
	for (struct queue_item *i = queue_first(p->queue); i != NULL && n-- > 0; i = next) {
		next = queue_after(i);
		place_replan(place_request(i), &look_ns);
	}
	places_publish(g);
	if (queue_len(p->queue) > 0)
		loop_timer_set(g->w->loop, &p->look, look_ns);
}

static void
place_on_look(void *arg)
{
	struct gateway *g = arg;

	/* a wish may have been lost, or what was kept: say it again */
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		if (g->places->wishes[slot].open)
			place_wish(g, slot, true, g->places->wishes[slot].level);
	places_look(g);
}

void
places_config_changed(struct gateway *g)
{
	size_t n = queue_len(g->places->queue);
	struct queue_item *next;

	/* who comes in again comes in at the end */
	for (struct queue_item *i = queue_first(g->places->queue); i != NULL && n-- > 0; i = next) {
		next = queue_after(i);
		if (place_request(i)->attempts == 0)
			request_again(place_request(i));
	}
}

void
places_drain(struct gateway *g)
{
	uint64_t now_ns = clock_ns(), left_ns = clock_ms_to_ns(g->config->drain_ms);

	/* a part of it is left for the answers of those that got their place */
	g->places->end_ns = now_ns + left_ns / 2;
	for (struct queue_item *i = queue_first(g->places->queue); i != NULL; i = queue_after(i)) {
		struct request *r = place_request(i);

		r->place_end_ns = MIN(r->place_end_ns, g->places->end_ns);
		loop_timer_set(g->w->loop, &r->place_timer, r->place_end_ns);
	}
}

/* ---- attempts come and go ---- */

void
place_began(struct request *r)
{
	r->g->places->running[r->slot]++;
}

void
place_ended(struct request *r, enum err_code code)
{
	struct places *p = r->g->places;
	uint64_t took_us = (clock_ns() - r->attempt_ns) / NS_PER_US + 1;
	uint64_t *cost_us = &p->cost_us[r->slot];

	CHECK(p->running[r->slot] > 0);
	p->running[r->slot]--;
	if (code == ERR_OK)
		*cost_us = *cost_us == 0 ? took_us : *cost_us - *cost_us / 8 + took_us / 8 + 1;
	/* a first guess is not made good: its measure is another one */
	queue_done(p->queue, &r->place, r->place_guessed ? r->place.cost : took_us);
}

void
place_put_headers(const struct request *r, struct buf *out)
{
	uint64_t wait_ns = r->queue_ns + (r->place.waits ? clock_ns() - r->queued_ns : 0);
	char text[24];

	if (r->queue_position == 0)
		return;
	(void)snprintf(text, sizeof(text), "%u", r->queue_position);
	http_put_header(out, "x-shunt-queue-position", text);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(wait_ns / NS_PER_MS));
	http_put_header(out, "x-shunt-queue-wait-ms", text);
}
