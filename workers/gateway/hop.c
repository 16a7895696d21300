/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hop.c - the deadlines of one attempt: to its first piece, between two
 *
 * A backend at work keeps them towards its upstream and reports what it finds; it gets GRACE_MS for
 * that. One that stands still reports nothing. So shortly before a deadline the backend is asked,
 * and where it says nothing until then the attempt is over at its deadline.
 */
#include "lib/base/clock.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum {
	GRACE_MS =
		200, /* a backend at work reports its own deadline; this much later nobody waits */
	ASK_MS = 200, /* the time in which one says that it is at work */
	ASK_AGAIN_MS = 300 /* after it said so, past the deadline of a long silent answer */
};

static uint64_t
hop_ms(const struct request *r)
{
	return r->seq > 0 ? r->catalog->rows[r->row].stall_ms : attempt_first_ms(r);
}

static uint64_t
hop_due(const struct request *r)
{
	return (r->seq > 0 ? r->last_ns : r->attempt_ns) + clock_ms_to_ns(hop_ms(r));
}

/* Of a short deadline no more than half. */
static uint64_t
hop_ask_ns(const struct request *r)
{
	return clock_ms_to_ns(MIN(hop_ms(r) / 2, (uint64_t)ASK_MS));
}

/* Credit for nothing is answered at once: by a piece without bytes, or by the failure of a call
 * that the backend does not know. */
static void
hop_ask(struct request *r)
{
	struct msg m = {.type = MSG_CHAT_CREDIT,
		.head = {.request_id = r->attempt_id, .deadline_ns = r->deadline_ns}};

	/* unsent: no answer will come */
	(void)!bus_send(r->g->w->bus, (unsigned)r->slot, r->generation, &m, NULL, NULL);
	r->hop.backend = HOP_ASKED;
}

static void
hop_await(struct request *r)
{
	r->hop = (struct hop){.look_ns = hop_due(r) - hop_ask_ns(r)};
}

/* False: it had its time. */
static bool
hop_look(struct request *r)
{
	uint64_t now_ns = clock_ns(), ask_ns = hop_ask_ns(r), due_ns;
	struct hop *h = &r->hop;

	/* while the client takes nothing, the backend is silent because it was told to be */
	if (http_conn_pending(r->conn) > 0)
		r->last_ns = now_ns;
	due_ns = hop_due(r);
	if (now_ns < due_ns - ask_ns) {
		hop_await(r);
		return true;
	}
	/* where this process itself was held up, what the backend said may be unread */
	if (h->backend == HOP_ASKED && now_ns < h->look_ns + clock_ms_to_ns(ASK_MS))
		return false;
	if (h->backend == HOP_AT_WORK && r->stream) {
		h->look_ns = due_ns + clock_ms_to_ns(GRACE_MS);
		return now_ns < h->look_ns;
	}
	/* A whole answer comes at once, so its silence says nothing; the backend, as long as it
	 * runs and knows of the request, keeps the deadlines towards its upstream. */
	if (h->backend == HOP_AT_WORK && h->look_ns > due_ns) {
		*h = (struct hop){.look_ns = now_ns + clock_ms_to_ns(ASK_AGAIN_MS)};
		return true;
	}
	hop_ask(r);
	h->look_ns = now_ns < due_ns ? MAX(due_ns, now_ns + ask_ns / 2)
				     : now_ns + clock_ms_to_ns(ASK_MS);
	return true;
}

bool
hop_goes_on(struct request *r)
{
	if (hop_look(r))
		return true;
	attempt_broken(r, ERR_TIMEOUT, "no answer within its deadline");
	return false;
}

static void
hop_on_timer(void *arg)
{
	struct request *r = arg;

	if (hop_goes_on(r))
		hop_arm(r);
}

void
hop_arm(struct request *r)
{
	r->hop_timer.fn = hop_on_timer;
	r->hop_timer.arg = r;
	loop_timer_set(r->g->w->loop, &r->hop_timer, r->hop.look_ns);
}

void
hop_begin(struct request *r)
{
	hop_await(r);
	hop_arm(r);
}

/* Each piece moves the deadline; mostly that is noticed when the timer fires. */
void
hop_moved(struct request *r)
{
	if (r->seq > 1 && r->hop.backend == HOP_UNASKED)
		return;
	hop_await(r);
	hop_arm(r);
}

void
hop_is_at_work(struct hop *h)
{
	if (h->backend == HOP_ASKED)
		h->backend = HOP_AT_WORK;
}
