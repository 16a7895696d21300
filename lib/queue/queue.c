/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - who waits for a place at a server, who is next, how long it will take
 */
#include <stdlib.h>

#include "lib/queue/queue.h"

enum {
	FLOW_BUCKETS = 256,
	DEBT_MAX = 16 /* rounds: whoever cost more, or less, is behind or ahead for no longer */
};

/* Places that a level gets while all of them wait, and what one of its places moves it on by. */
static const unsigned level_share[QUEUE_LEVELS] = {16, 4, 1};
static const unsigned level_step[QUEUE_LEVELS] = {1, 4, 16};

/* One user's requests of one level. */
struct queue_flow {
	uint64_t user;
	unsigned level;
	struct queue_flow *chain; /* of its bucket */
	struct queue_flow *next, *prev; /* the ring of its level, while some wait */
	struct queue_item *head, *tail;
	size_t len, running;
	int64_t balance; /* what it may still cost in this round; negative: debts */
	bool paid; /* this round's share is in it */
};

struct queue_level {
	struct queue_flow *turn; /* of the ring; NULL: nobody waits */
	uint64_t pass; /* the least one is next */
};

struct queue {
	struct queue_level levels[QUEUE_LEVELS];
	struct queue_flow *flows[FLOW_BUCKETS];
	struct queue_item *first, *last;
	size_t len, bytes;
	uint64_t pass; /* of the level that was served last */
};

/* ---- servers ---- */

void
queue_servers_add(struct queue_servers *s, unsigned server)
{
	CHECK(server < QUEUE_SERVERS_MAX);
	s->bits[server / 64] |= UINT64_C(1) << server % 64;
}

bool
queue_servers_has(const struct queue_servers *s, unsigned server)
{
	CHECK(server < QUEUE_SERVERS_MAX);
	return (s->bits[server / 64] >> server % 64 & 1) != 0;
}

bool
queue_servers_meet(const struct queue_servers *a, const struct queue_servers *b)
{
	for (size_t i = 0; i < ARRAY_LEN(a->bits); i++)
		if ((a->bits[i] & b->bits[i]) != 0)
			return true;
	return false;
}

/* ---- flows ---- */

static size_t
flow_bucket(uint64_t user, unsigned level)
{
	uint64_t h = (user + level) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 32) % FLOW_BUCKETS;
}

static struct queue_flow *
flow_find(const struct queue *q, uint64_t user, unsigned level)
{
	struct queue_flow *f = q->flows[flow_bucket(user, level)];

	while (f != NULL && (f->user != user || f->level != level))
		f = f->chain;
	return f;
}

static struct queue_flow *
flow_get(struct queue *q, uint64_t user, unsigned level)
{
	struct queue_flow *f = flow_find(q, user, level), **bucket;

	if (f != NULL)
		return f;
	f = calloc(1, sizeof(*f));
	CHECK(f != NULL);
	f->user = user;
	f->level = level;
	bucket = &q->flows[flow_bucket(user, level)];
	f->chain = *bucket;
	*bucket = f;
	return f;
}

/* Nobody of it waits or runs: what it was owed or owes is forgotten. */
static void
flow_end(struct queue *q, struct queue_flow *f)
{
	struct queue_flow **at = &q->flows[flow_bucket(f->user, f->level)];

	if (f->len > 0 || f->running > 0)
		return;
	while (*at != f)
		at = &(*at)->chain;
	*at = f->chain;
	free(f);
}

/* Into the ring: last in turn, or next. */
static void
flow_join(struct queue *q, struct queue_flow *f, enum queue_end end)
{
	struct queue_level *l = &q->levels[f->level];

	if (l->turn == NULL) {
		f->next = f->prev = f;
		l->turn = f;
		l->pass = MAX(l->pass, q->pass);
		return;
	}
	f->next = l->turn;
	f->prev = l->turn->prev;
	f->next->prev = f->prev->next = f;
	if (end == QUEUE_FRONT)
		l->turn = f;
}

static void
flow_part(struct queue *q, struct queue_flow *f)
{
	struct queue_level *l = &q->levels[f->level];

	f->balance = MIN(f->balance, 0);
	f->paid = false;
	if (l->turn == f)
		l->turn = f->next == f ? NULL : f->next;
	f->next->prev = f->prev;
	f->prev->next = f->next;
	f->next = f->prev = NULL;
}

/* Its first item that any of servers will do for. */
static struct queue_item *
flow_item(const struct queue_flow *f, unsigned server)
{
	struct queue_item *i = f->head;

	while (i != NULL && !queue_servers_has(&i->servers, server))
		i = i->next;
	return i;
}

/* ---- the queue ---- */

void
queue_new(struct queue **out)
{
	*out = calloc(1, sizeof(**out));
	CHECK(*out != NULL);
}

void
queue_free(struct queue **q_p)
{
	struct queue *q = *q_p;
	struct queue_flow *next;

	*q_p = NULL;
	if (q == NULL)
		return;
	for (size_t i = 0; i < FLOW_BUCKETS; i++)
		for (struct queue_flow *f = q->flows[i]; f != NULL; f = next) {
			next = f->chain;
			free(f);
		}
	free(q);
}

size_t
queue_len(const struct queue *q)
{
	return q->len;
}

size_t
queue_bytes(const struct queue *q)
{
	return q->bytes;
}

struct queue_item *
queue_first(const struct queue *q)
{
	return q->first;
}

struct queue_item *
queue_after(const struct queue_item *item)
{
	return item->later;
}

/* Its place among those of its user. */
static void
queue_link(struct queue *q, struct queue_flow *f, struct queue_item *item)
{
	struct queue_item *before = f->tail;

	while (before != NULL && before->order > item->order)
		before = before->prev;
	item->prev = before;
	item->next = before == NULL ? f->head : before->next;
	*(item->prev == NULL ? &f->head : &item->prev->next) = item;
	*(item->next == NULL ? &f->tail : &item->next->prev) = item;
	f->len++;
	item->later = NULL;
	item->earlier = q->last;
	*(q->last == NULL ? &q->first : &q->last->later) = item;
	q->last = item;
	q->len++;
	q->bytes += item->bytes;
}

static void
queue_unlink(struct queue *q, struct queue_item *item)
{
	struct queue_flow *f = item->flow;

	*(item->prev == NULL ? &f->head : &item->prev->next) = item->next;
	*(item->next == NULL ? &f->tail : &item->next->prev) = item->prev;
	*(item->earlier == NULL ? &q->first : &item->earlier->later) = item->later;
	*(item->later == NULL ? &q->last : &item->later->earlier) = item->earlier;
	item->next = item->prev = item->later = item->earlier = NULL;
	item->waits = false;
	q->len--;
	q->bytes -= item->bytes;
	if (--f->len == 0)
		flow_part(q, f);
}

void
queue_put(struct queue *q, struct queue_item *item, enum queue_end end)
{
	struct queue_flow *f;

	CHECK(item->flow == NULL && !item->waits && item->level < QUEUE_LEVELS);
	f = flow_get(q, item->user, item->level);
	item->flow = f;
	item->waits = true;
	queue_link(q, f, item);
	if (f->len == 1)
		flow_join(q, f, end);
	if (end == QUEUE_FRONT) {
		q->levels[f->level].turn = f;
		f->balance = MAX(f->balance, 1);
		f->paid = true;
	}
}

void
queue_leave(struct queue *q, struct queue_item *item)
{
	struct queue_flow *f = item->flow;

	if (f == NULL)
		return;
	if (item->waits)
		queue_unlink(q, item);
	else
		f->running--;
	item->flow = NULL;
	flow_end(q, f);
}

/* ---- bounds ---- */

static size_t
queue_user_len(const struct queue *q, uint64_t user)
{
	size_t n = 0;

	for (unsigned level = 0; level < QUEUE_LEVELS; level++) {
		const struct queue_flow *f = flow_find(q, user, level);

		n += f == NULL ? 0 : f->len;
	}
	return n;
}

/* The newest item of a level; its bytes in all. */
static struct queue_item *
queue_newest(const struct queue *q, unsigned level, uint64_t *bytes)
{
	struct queue_item *newest = NULL;

	*bytes = 0;
	for (struct queue_item *i = q->first; i != NULL; i = i->later) {
		if (i->level != level)
			continue;
		*bytes += i->bytes;
		if (newest == NULL || i->order >= newest->order)
			newest = i;
	}
	return newest;
}

/* Of the users of the item's level the one that has most, if that is unfair. */
static struct queue_item *
queue_greedy(const struct queue *q, const struct queue_item *item)
{
	const struct queue_flow *mine = flow_find(q, item->user, item->level), *most = NULL, *f;
	const struct queue_flow *turn = q->levels[item->level].turn;

	for (f = turn; f != NULL; f = f->next == turn ? NULL : f->next)
		if (most == NULL || f->len > most->len)
			most = f;
	return most != NULL && most->len >= (mine == NULL ? 0 : mine->len) + 2 ? most->tail : NULL;
}

enum queue_verdict
queue_admit(const struct queue *q, const struct queue_item *item, const struct queue_bounds *bounds,
	struct queue_item **victim)
{
	uint64_t bytes = q->bytes + item->bytes, freed = 0, some;
	struct queue_item *newest, *found = NULL;

	*victim = NULL;
	if (queue_user_len(q, item->user) >= bounds->user_items)
		return QUEUE_USER_FULL;
	if (q->len < bounds->items && bytes <= bounds->bytes)
		return QUEUE_ROOM;
	for (unsigned level = QUEUE_LEVELS; level-- > item->level + 1;) {
		newest = queue_newest(q, level, &some);
		freed += some;
		found = found == NULL ? newest : found;
	}
	if (found == NULL) {
		found = queue_greedy(q, item);
		freed = found == NULL ? 0 : found->bytes;
	}
	/* nobody is sent away for nothing */
	if (found == NULL || bytes - freed > bounds->bytes)
		return QUEUE_FULL;
	*victim = found;
	return QUEUE_SHED;
}

/* ---- turns ---- */

static bool
level_waits(const struct queue_level *l, unsigned server)
{
	const struct queue_flow *f = l->turn;

	while (f != NULL) {
		if (flow_item(f, server) != NULL)
			return true;
		f = f->next == l->turn ? NULL : f->next;
	}
	return false;
}

int
queue_level(const struct queue *q, unsigned server)
{
	for (unsigned level = 0; level < QUEUE_LEVELS; level++)
		if (level_waits(&q->levels[level], server))
			return (int)level;
	return -1;
}

/* Its share of this round. */
static void
flow_pay(struct queue_flow *f, int64_t quantum)
{
	if (f->paid)
		return;
	f->paid = true;
	f->balance = MAX(f->balance, -DEBT_MAX * quantum) + quantum;
	f->balance = MIN(f->balance, DEBT_MAX * quantum);
}

/* Nobody saves up turns while others are served elsewhere. */
static uint64_t
level_pass(const struct queue *q, const struct queue_level *l)
{
	return MAX(l->pass, q->pass);
}

struct queue_item *
queue_next(struct queue *q, unsigned server, uint64_t cost)
{
	int64_t quantum = (int64_t)MIN(cost, (uint64_t)INT64_MAX / (DEBT_MAX + 1));
	struct queue_level *l = NULL;
	struct queue_item *item;

	CHECK(quantum > 0);
	for (unsigned level = 0; level < QUEUE_LEVELS; level++)
		if (level_waits(&q->levels[level], server) &&
			(l == NULL || level_pass(q, &q->levels[level]) < level_pass(q, l)))
			l = &q->levels[level];
	/* ends: each round of the ring brings whoever waits for it a quantum nearer */
	for (struct queue_flow *f = l == NULL ? NULL : l->turn; f != NULL; f = f->next) {
		item = flow_item(f, server);
		if (item == NULL)
			continue;
		flow_pay(f, quantum);
		if (f->balance <= 0) {
			f->paid = false; /* its turn is over */
			continue;
		}
		l->turn = f;
		return item;
	}
	return NULL;
}

void
queue_take(struct queue *q, struct queue_item *item, uint64_t cost)
{
	struct queue_flow *f = item->flow;
	struct queue_level *l = &q->levels[item->level];

	CHECK(item->waits);
	q->pass = level_pass(q, l);
	l->pass = q->pass + level_step[item->level];
	item->cost = MIN(cost, (uint64_t)INT64_MAX / 4);
	f->balance -= (int64_t)item->cost;
	if (f->balance <= 0) {
		f->paid = false;
		if (l->turn == f)
			l->turn = f->next;
	}
	queue_unlink(q, item);
	f->running++;
}

void
queue_done(struct queue *q, struct queue_item *item, uint64_t cost)
{
	struct queue_flow *f = item->flow;

	if (f == NULL || item->waits)
		return;
	f->balance += (int64_t)item->cost - (int64_t)MIN(cost, (uint64_t)INT64_MAX / 4);
	queue_leave(q, item);
}

/* ---- position and wait ---- */

/* Those of a flow that wait for what item waits for and, where it is its own, came before it; no
 * more than `most`. */
static size_t
flow_ahead(const struct queue_flow *f, const struct queue_item *item, size_t most)
{
	bool own = f->user == item->user && f->level == item->level;
	size_t n = 0;

	for (const struct queue_item *i = f->head; i != NULL && n < most; i = i->next) {
		if (i == item || (own && i->order > item->order))
			break;
		n += queue_servers_meet(&i->servers, &item->servers);
	}
	return n;
}

/* Of the flows of a level, at most so many of each. */
static size_t
level_ahead(const struct queue_level *l, const struct queue_item *item, size_t each)
{
	const struct queue_flow *f = l->turn;
	size_t n = 0;

	while (f != NULL) {
		if (f->user != item->user || f->level != item->level)
			n += flow_ahead(f, item, each);
		f = f->next == l->turn ? NULL : f->next;
	}
	return n;
}

size_t
queue_position(const struct queue *q, const struct queue_item *item)
{
	const struct queue_flow *own = flow_find(q, item->user, item->level);
	size_t before = own == NULL ? 0 : flow_ahead(own, item, SIZE_MAX), n;

	/* the others of the level come as often as its own user before it, then one turn more */
	n = before + level_ahead(&q->levels[item->level], item, before + 1) + 1;
	before = n;
	for (unsigned level = 0; level < QUEUE_LEVELS; level++) {
		size_t share = before * level_share[level] / level_share[item->level];

		if (level != item->level)
			n += MIN(share, level_ahead(&q->levels[level], item, SIZE_MAX));
	}
	return n;
}

double
queue_expect_ms(size_t position, const struct queue_server *servers, size_t len)
{
	double per_ms = 0;

	for (size_t i = 0; i < len; i++) {
		if (servers[i].service_ms <= 0)
			return -1;
		per_ms += servers[i].places / (servers[i].service_ms * MAX(servers[i].sharers, 1U));
	}
	return per_ms > 0 ? (double)position / per_ms : -1;
}
