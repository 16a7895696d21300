/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_child.c - the life table of a worker, walked in full without a process
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "config/config.h"
#include "lib/base/clock.h"
#include "supervisor/child.h"

/*
 * What each event leads to, by state in the order of CHILD_STATE_LIST (EMPTY STARTING READY KILLED
 * BACKOFF DRAINING ENDING); '.' stays. Written down a second time, by event and not by state, so
 * that a slip in one of the two shows.
 */
static const char *const expected[CHILD_EVENTS] = {
	[CHILD_EVENT_START] = "S......",
	[CHILD_EVENT_NO_SPAWN] = ".B.....",
	[CHILD_EVENT_SERVES] = ".R.....",
	[CHILD_EVENT_LATE] = ".K.....",
	[CHILD_EVENT_SILENT] = "..K..N.",
	[CHILD_EVENT_EXIT] = ".BBB.EE",
	[CHILD_EVENT_RETRY] = "....S..",
	[CHILD_EVENT_RETIRE] = ".DDNE..",
	[CHILD_EVENT_OVERDUE] = ".....N.",
	[CHILD_EVENT_KILL] = ".NNNEN.",
};

static enum child_state
state_of(char letter, enum child_state same)
{
	switch (letter) {
	case 'E':
		return CHILD_EMPTY;
	case 'S':
		return CHILD_STARTING;
	case 'R':
		return CHILD_READY;
	case 'K':
		return CHILD_KILLED;
	case 'B':
		return CHILD_BACKOFF;
	case 'D':
		return CHILD_DRAINING;
	case 'N':
		return CHILD_ENDING;
	default:
		return same;
	}
}

struct pair {
	enum child_state state;
	enum child_event event;
};

ParameterizedTestParameters(child, every_pair_leads_where_the_other_table_says)
{
	static struct pair pairs[CHILD_STATES * CHILD_EVENTS];
	size_t n = 0;

	for (enum child_state s = 0; s < CHILD_STATES; s++)
		for (enum child_event e = 0; e < CHILD_EVENTS; e++)
			pairs[n++] = (struct pair){s, e};
	return cr_make_param_array(struct pair, pairs, n);
}

ParameterizedTest(struct pair *p, child, every_pair_leads_where_the_other_table_says)
{
	struct child_next next = child_step(p->state, p->event);

	cr_assert_eq(next.state, state_of(expected[p->event][p->state], p->state), "%s + %s -> %s",
		child_state_name(p->state), child_event_name(p->event),
		child_state_name(next.state));
	cr_assert_lt(next.action, CHILD_ACTIONS);
}

/* The kind of action follows from where the step leads. */
Test(child, a_process_is_started_killed_and_buried_exactly_where_one_is)
{
	for (enum child_state s = 0; s < CHILD_STATES; s++) {
		for (enum child_event e = 0; e < CHILD_EVENTS; e++) {
			struct child_next n = child_step(s, e);
			bool had = child_has_process(s), has = child_has_process(n.state);

			if (!had && has)
				cr_assert_eq(n.action, CHILD_DO_SPAWN);
			if (had && !has && e == CHILD_EVENT_EXIT)
				cr_assert(n.action == CHILD_DO_BURY_RETRY ||
					  n.action == CHILD_DO_BURY_FREE);
			if (n.action == CHILD_DO_BURY_RETRY || n.action == CHILD_DO_BURY_FREE)
				cr_assert_eq(e, CHILD_EVENT_EXIT);
			if (n.action == CHILD_DO_TERM || n.action == CHILD_DO_SIGKILL)
				cr_assert(had && has);
			if (s == n.state)
				cr_assert_eq(n.action, CHILD_DO_NONE);
		}
	}
}

Test(child, every_state_comes_to_an_end)
{
	for (enum child_state s = 0; s < CHILD_STATES; s++) {
		enum child_state now = child_step(s, CHILD_EVENT_KILL).state;

		now = child_step(now, CHILD_EVENT_EXIT).state;
		cr_assert_eq(now, CHILD_EMPTY, "%s", child_state_name(s));
	}
}

Test(child, one_that_was_told_to_go_never_comes_back)
{
	for (enum child_event e = 0; e < CHILD_EVENTS; e++) {
		cr_assert_not(child_stays(child_step(CHILD_DRAINING, e).state));
		cr_assert_not(child_stays(child_step(CHILD_ENDING, e).state));
	}
}

static const struct config_restart policy = {
	.delay_ms = 10, .delay_max_ms = 1000, .healthy_ms = 5000};

Test(restart, delays_double_with_jitter_up_to_the_cap)
{
	uint64_t random = 7;
	uint32_t last = 0;

	for (uint32_t failures = 0; failures < 40; failures++) {
		uint64_t full = failures < 7 ? 10U << failures : 1000;
		uint32_t delay = child_delay_ms(&policy, failures, &random);

		cr_assert_leq(delay, full);
		cr_assert_geq(delay, full - full / 4);
		if (full < 1000)
			cr_assert_gt(delay, last);
		last = delay;
	}
}

Test(restart, the_same_seed_gives_the_same_delays)
{
	uint64_t a = 42, b = 42, c = 43;
	unsigned differ = 0;

	for (uint32_t i = 0; i < 50; i++) {
		uint32_t delay = child_delay_ms(&policy, 10, &a);

		cr_assert_eq(delay, child_delay_ms(&policy, 10, &b));
		differ += delay != child_delay_ms(&policy, 10, &c);
	}
	cr_assert_gt(differ, 25);
}

Test(restart, a_cap_below_the_first_delay_wins)
{
	const struct config_restart odd = {.delay_ms = 500, .delay_max_ms = 100, .healthy_ms = 1};
	uint64_t random = 1;

	cr_assert_leq(child_delay_ms(&odd, 0, &random), 100);
	cr_assert_leq(child_delay_ms(&odd, UINT32_MAX, &random), 100);
}

Test(restart, a_healthy_life_starts_the_delay_over)
{
	uint64_t ready = NS_PER_S;

	cr_assert_eq(child_failures(&policy, 9, ready, ready + 4 * NS_PER_S), 9);
	cr_assert_eq(child_failures(&policy, 9, ready, ready + 5 * NS_PER_S), 0);
	cr_assert_eq(child_failures(&policy, 9, 0, 100 * NS_PER_S), 9);
}
