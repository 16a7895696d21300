/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.c - how often to look at the upstreams' sockets while many streams run
 *
 * Each wake-up for a single token costs more than the token: this process, ZeroMQ's threads and the
 * gateway all wake for it. Above some tokens a second the sockets are therefore looked at once a
 * millisecond, and what came meanwhile travels together. A piece that opens an answer does not
 * count: at the rates at which the first byte's latency matters nothing ever waits.
 */
#include "lib/base/clock.h"
#include "workers/backend/backend.h"

enum {
	PACE_WINDOW_MS = 10,
	PACE_PIECES = 20, /* in a window: 2000 a second */
	PACE_REST_US = 1000
};

void
pace_count(struct pace *p)
{
	p->pieces++;
}

uint64_t
pace_rest(struct pace *p, uint64_t now_ns)
{
	const uint64_t window_ns = PACE_WINDOW_MS * (uint64_t)NS_PER_MS;
	const uint64_t passed_ns = now_ns - p->window_ns;

	if (passed_ns >= window_ns) {
		p->busy = p->pieces > PACE_PIECES * (passed_ns / window_ns);
		p->pieces = 0;
		p->window_ns = now_ns;
	}
	if (p->busy && now_ns < p->rest_ns)
		return p->rest_ns;
	p->rest_ns = now_ns + PACE_REST_US * (uint64_t)NS_PER_US;
	return 0;
}
