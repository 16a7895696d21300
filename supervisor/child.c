/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - the life of a worker as a table: states, events, what to do
 *
 * An event that makes no sense in a state (a late timer, a readiness byte of a worker that was
 * told to go) changes nothing: the supervisor must outlive every surprise.
 */
#include "config/config.h"
#include "lib/base/clock.h"
#include "supervisor/child.h"

#define STAY(state) {CHILD_##state, CHILD_DO_NONE}
#define GO(state, action) {CHILD_##state, CHILD_DO_##action}

/* clang-format off */
static const struct child_next child_table[CHILD_STATES][CHILD_EVENTS] = {
	[CHILD_EMPTY] = {
		[CHILD_EVENT_START]    = GO(STARTING, SPAWN),
		[CHILD_EVENT_NO_SPAWN] = STAY(EMPTY),
		[CHILD_EVENT_SERVES]   = STAY(EMPTY),
		[CHILD_EVENT_LATE]     = STAY(EMPTY),
		[CHILD_EVENT_SILENT]   = STAY(EMPTY),
		[CHILD_EVENT_EXIT]     = STAY(EMPTY),
		[CHILD_EVENT_RETRY]    = STAY(EMPTY),
		[CHILD_EVENT_RETIRE]   = STAY(EMPTY),
		[CHILD_EVENT_OVERDUE]  = STAY(EMPTY),
		[CHILD_EVENT_KILL]     = STAY(EMPTY),
	},
	[CHILD_STARTING] = {
		[CHILD_EVENT_START]    = STAY(STARTING),
		[CHILD_EVENT_NO_SPAWN] = GO(BACKOFF, DELAY),
		[CHILD_EVENT_SERVES]   = GO(READY, SERVE),
		[CHILD_EVENT_LATE]     = GO(KILLED, SIGKILL),
		[CHILD_EVENT_SILENT]   = STAY(STARTING),
		[CHILD_EVENT_EXIT]     = GO(BACKOFF, BURY_RETRY),
		[CHILD_EVENT_RETRY]    = STAY(STARTING),
		[CHILD_EVENT_RETIRE]   = GO(DRAINING, TERM),
		[CHILD_EVENT_OVERDUE]  = STAY(STARTING),
		[CHILD_EVENT_KILL]     = GO(ENDING, SIGKILL),
	},
	[CHILD_READY] = {
		[CHILD_EVENT_START]    = STAY(READY),
		[CHILD_EVENT_NO_SPAWN] = STAY(READY),
		[CHILD_EVENT_SERVES]   = STAY(READY),
		[CHILD_EVENT_LATE]     = STAY(READY),
		[CHILD_EVENT_SILENT]   = GO(KILLED, SIGKILL),
		[CHILD_EVENT_EXIT]     = GO(BACKOFF, BURY_RETRY),
		[CHILD_EVENT_RETRY]    = STAY(READY),
		[CHILD_EVENT_RETIRE]   = GO(DRAINING, TERM),
		[CHILD_EVENT_OVERDUE]  = STAY(READY),
		[CHILD_EVENT_KILL]     = GO(ENDING, SIGKILL),
	},
	[CHILD_KILLED] = {
		[CHILD_EVENT_START]    = STAY(KILLED),
		[CHILD_EVENT_NO_SPAWN] = STAY(KILLED),
		[CHILD_EVENT_SERVES]   = STAY(KILLED),
		[CHILD_EVENT_LATE]     = STAY(KILLED),
		[CHILD_EVENT_SILENT]   = STAY(KILLED),
		[CHILD_EVENT_EXIT]     = GO(BACKOFF, BURY_RETRY),
		[CHILD_EVENT_RETRY]    = STAY(KILLED),
		[CHILD_EVENT_RETIRE]   = GO(ENDING, NONE),
		[CHILD_EVENT_OVERDUE]  = STAY(KILLED),
		[CHILD_EVENT_KILL]     = GO(ENDING, NONE),
	},
	[CHILD_BACKOFF] = {
		[CHILD_EVENT_START]    = STAY(BACKOFF),
		[CHILD_EVENT_NO_SPAWN] = STAY(BACKOFF),
		[CHILD_EVENT_SERVES]   = STAY(BACKOFF),
		[CHILD_EVENT_LATE]     = STAY(BACKOFF),
		[CHILD_EVENT_SILENT]   = STAY(BACKOFF),
		[CHILD_EVENT_EXIT]     = STAY(BACKOFF),
		[CHILD_EVENT_RETRY]    = GO(STARTING, SPAWN),
		[CHILD_EVENT_RETIRE]   = GO(EMPTY, FREE),
		[CHILD_EVENT_OVERDUE]  = STAY(BACKOFF),
		[CHILD_EVENT_KILL]     = GO(EMPTY, FREE),
	},
	[CHILD_DRAINING] = {
		[CHILD_EVENT_START]    = STAY(DRAINING),
		[CHILD_EVENT_NO_SPAWN] = STAY(DRAINING),
		[CHILD_EVENT_SERVES]   = STAY(DRAINING),
		[CHILD_EVENT_LATE]     = STAY(DRAINING),
		[CHILD_EVENT_SILENT]   = GO(ENDING, SIGKILL),
		[CHILD_EVENT_EXIT]     = GO(EMPTY, BURY_FREE),
		[CHILD_EVENT_RETRY]    = STAY(DRAINING),
		[CHILD_EVENT_RETIRE]   = STAY(DRAINING),
		[CHILD_EVENT_OVERDUE]  = GO(ENDING, SIGKILL),
		[CHILD_EVENT_KILL]     = GO(ENDING, SIGKILL),
	},
	[CHILD_ENDING] = {
		[CHILD_EVENT_START]    = STAY(ENDING),
		[CHILD_EVENT_NO_SPAWN] = STAY(ENDING),
		[CHILD_EVENT_SERVES]   = STAY(ENDING),
		[CHILD_EVENT_LATE]     = STAY(ENDING),
		[CHILD_EVENT_SILENT]   = STAY(ENDING),
		[CHILD_EVENT_EXIT]     = GO(EMPTY, BURY_FREE),
		[CHILD_EVENT_RETRY]    = STAY(ENDING),
		[CHILD_EVENT_RETIRE]   = STAY(ENDING),
		[CHILD_EVENT_OVERDUE]  = STAY(ENDING),
		[CHILD_EVENT_KILL]     = STAY(ENDING),
	},
};
/* clang-format on */

struct child_next
child_step(enum child_state state, enum child_event event)
{
	CHECK(state < CHILD_STATES);
	CHECK(event < CHILD_EVENTS);
	return child_table[state][event];
}

enum slot_state
child_slot_state(enum child_state state)
{
	static const enum slot_state states[CHILD_STATES] = {
#define X(symbol, slot_state) slot_state,
		CHILD_STATE_LIST(X)
#undef X
	};

	CHECK(state < CHILD_STATES);
	return states[state];
}

const char *
child_state_name(enum child_state state)
{
	static const char *const names[CHILD_STATES] = {
#define X(symbol, slot_state) #symbol,
		CHILD_STATE_LIST(X)
#undef X
	};

	CHECK(state < CHILD_STATES);
	return names[state];
}

const char *
child_event_name(enum child_event event)
{
	static const char *const names[CHILD_EVENTS] = {
#define X(symbol) #symbol,
		CHILD_EVENT_LIST(X)
#undef X
	};

	CHECK(event < CHILD_EVENTS);
	return names[event];
}

bool
child_has_process(enum child_state state)
{
	return state != CHILD_EMPTY && state != CHILD_BACKOFF;
}

bool
child_stays(enum child_state state)
{
	return state != CHILD_EMPTY && state != CHILD_DRAINING && state != CHILD_ENDING;
}

/* splitmix64: a few lines, any seed will do. */
static uint64_t
child_random(uint64_t *random)
{
	uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t
child_delay_ms(const struct config_restart *r, uint32_t failures, uint64_t *random)
{
	uint64_t delay = r->delay_ms;

	CHECK(r->delay_ms > 0);
	while (failures-- > 0 && delay < r->delay_max_ms)
		delay *= 2;
	if (delay > r->delay_max_ms)
		delay = r->delay_max_ms;
	return (uint32_t)(delay - child_random(random) % (delay / 4 + 1));
}

uint32_t
child_failures(const struct config_restart *r, uint32_t failures, uint64_t ready_ns,
	uint64_t now_ns)
{
	CHECK(ready_ns <= now_ns);
	if (ready_ns != 0 && now_ns - ready_ns >= clock_ms_to_ns(r->healthy_ms))
		return 0;
	return failures;
}
