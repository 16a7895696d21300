/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - the life of a worker as a table: states, events, what to do
 *
 * Pure: no process, no clock, no I/O. seat.c carries the actions out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/base.h"
#include "shm/board.h"

struct config_restart;

/* symbol, what readers of the board see */
#define CHILD_STATE_LIST(X)                                                                        \
	X(EMPTY, SLOT_EMPTY)	   /* nobody */                                                    \
	X(STARTING, SLOT_STARTING) /* forked, no readiness byte yet */                             \
	X(READY, SLOT_READY)	   /* serving */                                                   \
	X(KILLED, SLOT_STOPPING)   /* late or hung, SIGKILL sent; comes back */                    \
	X(BACKOFF, SLOT_BACKOFF)   /* dead, waits for its restart delay */                         \
	X(DRAINING, SLOT_DRAINING) /* SIGTERM sent; goes for good */                               \
	X(ENDING, SLOT_STOPPING)   /* SIGKILL sent; goes for good */

#define CHILD_EVENT_LIST(X)                                                                        \
	X(START)    /* a worker is wanted here */                                                  \
	X(NO_SPAWN) /* fork failed */                                                              \
	X(SERVES)   /* its readiness byte came */                                                  \
	X(LATE)	    /* it did not come within start_ms */                                          \
	X(SILENT)   /* no heartbeat for heartbeat_ms */                                            \
	X(EXIT)	    /* the process has ended */                                                    \
	X(RETRY)    /* the restart delay is over */                                                \
	X(RETIRE)   /* not wanted any more */                                                      \
	X(OVERDUE)  /* not drained within drain_ms */                                              \
	X(KILL)	    /* all must end at once */

#define CHILD_ACTION_LIST(X)                                                                       \
	X(NONE)	      /* the event changes nothing here */                                         \
	X(SPAWN)      /* start the process; start_ms runs */                                       \
	X(SERVE)      /* it is up: predecessors may go */                                          \
	X(TERM)	      /* SIGTERM; drain_ms runs */                                                 \
	X(SIGKILL)    /* end it now */                                                             \
	X(BURY_RETRY) /* obituary; the restart delay runs */                                       \
	X(BURY_FREE)  /* obituary; the slot is free again */                                       \
	X(DELAY)      /* the restart delay runs */                                                 \
	X(FREE)	      /* the slot is free again */

enum child_state {
#define X(symbol, slot_state) CHILD_##symbol,
	CHILD_STATE_LIST(X)
#undef X
	CHILD_STATES
};

enum child_event {
#define X(symbol) CHILD_EVENT_##symbol,
	CHILD_EVENT_LIST(X)
#undef X
	CHILD_EVENTS
};

enum child_action {
#define X(symbol) CHILD_DO_##symbol,
	CHILD_ACTION_LIST(X)
#undef X
	CHILD_ACTIONS
};

struct child_next {
	enum child_state state;
	enum child_action action;
};

struct child_next child_step(enum child_state state, enum child_event event);
enum slot_state child_slot_state(enum child_state state);
const char *child_state_name(enum child_state state);
const char *child_event_name(enum child_event event);
bool child_has_process(enum child_state state);
/* Stays, or comes back by itself: counts as the worker that the config wants. */
bool child_stays(enum child_state state);

/*
 * The delay before restart number `failures` (0: the first one) in a row: doubles from delay_ms up
 * to delay_max_ms, less a jitter of up to a quarter so that workers that died together do not come
 * back together. *random is the generator's state; the same seed gives the same delays.
 */
uint32_t child_delay_ms(const struct config_restart *r, uint32_t failures, uint64_t *random);
/* Failures in a row so far, after a death at now_ns: 0 when it served (since ready_ns, 0: never)
 * for the healthy period. */
uint32_t child_failures(const struct config_restart *r, uint32_t failures, uint64_t ready_ns,
	uint64_t now_ns);
