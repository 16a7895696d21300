/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - who waits for a place at a server, who is next, how long it will take
 *
 * Pure: no clock, no I/O. Whoever waits has a level (0 is served first), a user, and a set of
 * servers of which any will do. When a server has a place, the levels that have somebody for it
 * share its places 16 : 4 : 1, so a low one is slow and never stands still; within a level the
 * users take turns by deficit round robin; a user's own requests go in their order. What a request
 * costs is known when it is over: it is charged with the mean, and the difference is made good
 * then, while the user has others waiting or running.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"

enum { QUEUE_LEVELS = 3, QUEUE_SERVERS_MAX = 128 };

/* A set of servers. */
struct queue_servers {
	uint64_t bits[QUEUE_SERVERS_MAX / 64];
};

void queue_servers_add(struct queue_servers *s, unsigned server);
bool queue_servers_has(const struct queue_servers *s, unsigned server);
bool queue_servers_meet(const struct queue_servers *a, const struct queue_servers *b);

struct queue_flow;

/* Embedded in its owner. The owner fills in the first ones and leaves the others zero. */
struct queue_item {
	uint64_t user;
	unsigned level;
	uint64_t order; /* when it came: its place among those of its user */
	size_t bytes;
	struct queue_servers servers;
	bool waits; /* read only */
	struct queue_item *next, *prev; /* of its flow */
	struct queue_item *later, *earlier; /* of all that wait */
	struct queue_flow *flow; /* NULL: neither waits nor runs */
	uint64_t cost; /* charged when it was taken */
};

struct queue;

void queue_new(struct queue **out);
void queue_free(struct queue **q_p); /* items are left alone */

size_t queue_len(const struct queue *q);
size_t queue_bytes(const struct queue *q);
/* All that wait; the next one may be asked for before the item is taken out. */
struct queue_item *queue_first(const struct queue *q);
struct queue_item *queue_after(const struct queue_item *item);

struct queue_bounds {
	size_t items, user_items; /* in all, of one user */
	uint64_t bytes;
};

/* May item come in? SHED: when *victim is taken out first; then ask again. A victim is the newest
 * of the lowest level below the item's; where there is none, the newest of the user of the same
 * level who has most, and two more than the item's user has. */
enum queue_verdict { QUEUE_ROOM, QUEUE_SHED, QUEUE_FULL, QUEUE_USER_FULL };
enum queue_verdict queue_admit(const struct queue *q, const struct queue_item *item,
	const struct queue_bounds *bounds, struct queue_item **victim);

/* FRONT: it had its turn and got nothing for it: it is the next of its level. */
enum queue_end { QUEUE_BACK, QUEUE_FRONT };
void queue_put(struct queue *q, struct queue_item *item, enum queue_end end);
/* It neither waits nor runs any more, nothing is made good. No-op where it does not. */
void queue_leave(struct queue *q, struct queue_item *item);

/* Whose turn it is at server; NULL: nobody waits for it. It stays so until something is put or
 * taken. cost: of one request there, on average; any unit, more than 0. */
struct queue_item *queue_next(struct queue *q, unsigned server, uint64_t cost);
/* The best level that waits for server; -1: nobody does. */
int queue_level(const struct queue *q, unsigned server);
/* It gets its place. */
void queue_take(struct queue *q, struct queue_item *item, uint64_t cost);
/* It gave the place back, having cost that much. No-op where it was not taken from here. */
void queue_done(struct queue *q, struct queue_item *item, uint64_t cost);

/* How many would be served before item, whether it is in or not, and itself: 1 is next. An
 * estimate: more may come, and users may cost more or less than others. */
size_t queue_position(const struct queue *q, const struct queue_item *item);

/* One server that item waits for. */
struct queue_server {
	uint32_t places;
	double service_ms; /* of one request, on average; 0: not known */
	uint32_t
		sharers; /* queues that get its places by turns, this one included; 0 counts as 1 */
};
/* Time until the position-th in the queue gets a place; negative: not known. */
double queue_expect_ms(size_t position, const struct queue_server *servers, size_t len);
