/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h - may a deployment that failed be called again
 *
 * Pure: results and the time go in. One owner per deployment, the worker that sees all of its
 * calls; others read the word that it publishes. Closed: calls go through and are counted in a
 * window that slides by time and by count. Open: none until the cooldown is over. Half-open: one
 * call, the trial, decides.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/base.h"

enum {
	BREAKER_CALLS_MAX = 128, /* the window holds no more; the oldest go first */
	BREAKER_HINT_MAX_MS = 3600 * 1000 /* a longer Retry-After is asked about again by then */
};

struct breaker_rules {
	uint32_t window_ms;
	uint32_t min_calls; /* fewer say nothing; 1..BREAKER_CALLS_MAX */
	double failure_rate; /* from this share of failures on it opens */
	uint32_t open_ms, open_max_ms; /* first cooldown; it doubles up to the second */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };

/* How a call came to be. */
enum breaker_call { BREAKER_CALL, BREAKER_TRIAL };

/* What became of it. */
enum breaker_event {
	BREAKER_OK,	 /* the upstream answered, if only to say that the request was bad */
	BREAKER_FAILED,	 /* counts against it */
	BREAKER_LIMITED, /* it asked for a pause: cools down at once */
	BREAKER_NOTHING, /* given up by us or the client: says nothing */
	BREAKER_EVENTS
};

struct breaker_result {
	uint64_t at_ns;
	bool failed;
};

/* Zero-initialise. */
struct breaker {
	enum breaker_state state;
	uint64_t until_ns; /* of BREAKER_OPEN */
	uint32_t streak;   /* cooldowns since it was last closed */
	uint32_t calls, failed; /* in the window */
	uint32_t first;		/* of them in `result`, a ring */
	struct breaker_result result[BREAKER_CALLS_MAX];
};

const char *breaker_state_name(enum breaker_state s);
/* May a call go through now? */
bool breaker_admits(const struct breaker *b, uint64_t now_ns);
/* One goes through; breaker_admits said so. */
enum breaker_call breaker_begin(struct breaker *b, uint64_t now_ns);
/* A call ended. hint_ms: the pause that the upstream asked for, 0: it did not say. True where the
 * state or the end of a cooldown changed. A trial may say BREAKER_OK early and go on as a call. */
bool breaker_end(struct breaker *b, const struct breaker_rules *rules, enum breaker_call call,
	enum breaker_event event, uint32_t hint_ms, uint64_t now_ns);

/* State and end of the cooldown in one word, for a single atomic store; 0: closed. */
uint64_t breaker_word(const struct breaker *b);
enum breaker_state breaker_word_state(uint64_t word);
uint64_t breaker_word_until_ns(uint64_t word);
/* Go on from what a predecessor published: its trial, if any, ended with it. */
void breaker_adopt(struct breaker *b, uint64_t word, uint64_t now_ns);
