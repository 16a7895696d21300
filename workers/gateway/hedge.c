/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hedge.c - two attempts at once: the second starts when the first is late, the first to answer
 * wins
 *
 * The request knows one attempt as under way; the other one is kept aside, and they change places
 * where it is the other one that has something to say. Both have their records; the loser is
 * cancelled before it answered anything.
 */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

static struct attempt_kept
hedge_keep(const struct request *r)
{
	return (struct attempt_kept){.id = r->attempt_id,
		.slot = r->slot,
		.generation = r->generation,
		.n = r->attempt_n,
		.seq = r->seq,
		.row = r->row,
		.attempt_ns = r->attempt_ns,
		.last_ns = r->last_ns,
		.hop = r->hop};
}

/* k is the one under way from here on. Neither of two has answered anything yet. */
static void
hedge_put_back(struct request *r, const struct attempt_kept *k)
{
	r->attempt_id = k->id;
	r->slot = k->slot;
	r->generation = k->generation;
	r->attempt_n = k->n;
	r->seq = k->seq;
	r->row = k->row;
	r->attempt_ns = k->attempt_ns;
	r->last_ns = k->last_ns;
	r->received = r->credited = 0;
	r->delta_tokens = 0;
	r->hop = k->hop;
}

static void
hedge_swap(struct request *r)
{
	struct attempt_kept k = hedge_keep(r);

	hedge_put_back(r, &r->other);
	r->other = k;
}

/* Look at the older one. */
static void
hedge_on_hop(void *arg)
{
	struct request *r = arg;

	if (r->other.id == 0)
		return;
	hedge_swap(r);
	if (!hop_goes_on(r))
		return;
	hedge_swap(r);
	loop_timer_set(r->g->w->loop, &r->hedge_timer, r->other.hop.look_ns);
}

static void
hedge_on_late(void *arg)
{
	struct request *r = arg;
	struct attempt_kept first = hedge_keep(r);

	if (r->attempt_id == 0 || r->other.id != 0 || r->seq > 0 || stream_is_seen(r))
		return;
	r->attempt_id = 0;
	if (!attempt_start_good(r)) {
		hedge_put_back(r, &first);
		return;
	}
	gateway_count(r->g, COUNTER_REQ_HEDGES, 1);
	log_debug("attempt_hedged", "id=%s late_ms=%llu", r->id,
		(unsigned long long)((clock_ns() - first.attempt_ns) / NS_PER_MS));
	r->other = first;
	r->hedge_timer.fn = hedge_on_hop;
	loop_timer_set(r->g->w->loop, &r->hedge_timer, r->other.hop.look_ns);
}

void
hedge_arm(struct request *r)
{
	if (r->hedge_ms == 0 || stream_is_seen(r) || r->other.id != 0)
		return;
	/* it may still be armed for the attempt before */
	r->hedge_timer.fn = hedge_on_late;
	r->hedge_timer.arg = r;
	loop_timer_set(r->g->w->loop, &r->hedge_timer, r->attempt_ns + clock_ms_to_ns(r->hedge_ms));
}

bool
hedge_is(const struct request *r, const struct msg *m)
{
	return r->other.id != 0 && r->other.id == m->head.request_id &&
	       r->other.slot == m->head.sender_slot &&
	       r->other.generation == m->head.sender_generation;
}

void
hedge_drop(struct request *r, const char *reason)
{
	if (r->other.id == 0)
		return;
	hedge_swap(r);
	attempt_close(r, ERR_CANCELLED, 0, ATTEMPT_BILLED);
	attempt_cancel(r, reason);
	attempt_may_again(r, r->row); /* being late is no failure: the winner may still break */
	hedge_swap(r);
	r->other.id = 0;
	loop_timer_clear(r->g->w->loop, &r->hedge_timer);
}

void
hedge_heard(struct request *r, const struct msg *m)
{
	if (r->other.id == 0)
		return;
	hedge_turn(r, m);
	if (r->attempt_n > r->other.n)
		gateway_count(r->g, COUNTER_REQ_HEDGES_WON, 1);
	hedge_drop(r, "hedged");
	hop_arm(r);
}

void
hedge_turn(struct request *r, const struct msg *m)
{
	if (hedge_is(r, m))
		hedge_swap(r);
}

bool
hedge_take_over(struct request *r)
{
	if (r->other.id == 0)
		return false;
	hedge_put_back(r, &r->other);
	r->other.id = 0;
	loop_timer_clear(r->g->w->loop, &r->hedge_timer);
	hop_arm(r);
	return true;
}

void
hedge_board_changed(struct request *r)
{
	struct slot_info info;
	struct err e;

	if (r->other.id == 0)
		return;
	board_slot(r->g->board, (unsigned)r->other.slot, &info);
	if (info.generation == r->other.generation && info.state != SLOT_EMPTY &&
		info.state != SLOT_BACKOFF)
		return;
	/* its answer may be on the way */
	if (bus_hears(r->g->w->bus, (unsigned)r->other.slot, r->other.generation))
		return;
	hedge_swap(r);
	(void)err_set(&e, ERR_WORKER_DIED, "%s: its worker died", r->catalog->rows[r->row].backend);
	attempt_failed(r, &e, 0, NULL);
}
