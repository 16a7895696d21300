/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_breaker.c - breakers: every event in every state, the window, cooldowns, one trial
 */
#include <criterion/criterion.h>

#include "lib/base/clock.h"
#include "lib/breaker/breaker.h"

static const struct breaker_rules rules = {
	.window_ms = 10000, .min_calls = 4, .failure_rate = 0.5, .open_ms = 1000, .open_max_ms = 5000};

#define MS(n) clock_ms_to_ns(n)

static bool
end(struct breaker *b, enum breaker_call call, enum breaker_event e, uint32_t hint_ms, uint64_t ms)
{
	return breaker_end(b, &rules, call, e, hint_ms, MS(ms));
}

/* Open at 0, until 1000. */
static struct breaker
opened(void)
{
	struct breaker b = {0};

	for (int i = 0; i < 4; i++)
		(void)end(&b, BREAKER_CALL, BREAKER_FAILED, 0, 0);
	cr_assert_eq(b.state, BREAKER_OPEN);
	cr_assert_eq(b.until_ns, MS(1000));
	return b;
}

static struct breaker
half_open(void)
{
	struct breaker b = opened();

	cr_assert_eq(breaker_begin(&b, MS(1000)), BREAKER_TRIAL);
	return b;
}

static struct breaker
in_state(enum breaker_state s)
{
	return s == BREAKER_CLOSED ? (struct breaker){0} : s == BREAKER_OPEN ? opened() : half_open();
}

Test(breaker, every_event_leads_where_it_should_from_every_state)
{
	static const struct {
		enum breaker_state state;
		enum breaker_call call;
		enum breaker_event event;
		uint32_t hint_ms;
		enum breaker_state after;
		uint64_t until_ms;
	} rows[] = {
		{BREAKER_CLOSED, BREAKER_CALL, BREAKER_OK, 0, BREAKER_CLOSED, 0},
		{BREAKER_CLOSED, BREAKER_CALL, BREAKER_FAILED, 0, BREAKER_CLOSED, 0},
		{BREAKER_CLOSED, BREAKER_CALL, BREAKER_LIMITED, 7000, BREAKER_OPEN, 8000},
		{BREAKER_CLOSED, BREAKER_CALL, BREAKER_LIMITED, 0, BREAKER_OPEN, 2000},
		{BREAKER_CLOSED, BREAKER_CALL, BREAKER_NOTHING, 0, BREAKER_CLOSED, 0},
		{BREAKER_CLOSED, BREAKER_TRIAL, BREAKER_OK, 0, BREAKER_CLOSED, 0},
		{BREAKER_CLOSED, BREAKER_TRIAL, BREAKER_FAILED, 0, BREAKER_CLOSED, 0},
		{BREAKER_CLOSED, BREAKER_TRIAL, BREAKER_LIMITED, 7000, BREAKER_OPEN, 8000},
		{BREAKER_CLOSED, BREAKER_TRIAL, BREAKER_NOTHING, 0, BREAKER_CLOSED, 0},
		{BREAKER_OPEN, BREAKER_CALL, BREAKER_OK, 0, BREAKER_OPEN, 1000},
		{BREAKER_OPEN, BREAKER_CALL, BREAKER_FAILED, 0, BREAKER_OPEN, 1000},
		{BREAKER_OPEN, BREAKER_CALL, BREAKER_LIMITED, 7000, BREAKER_OPEN, 8000},
		{BREAKER_OPEN, BREAKER_CALL, BREAKER_NOTHING, 0, BREAKER_OPEN, 1000},
		{BREAKER_OPEN, BREAKER_TRIAL, BREAKER_OK, 0, BREAKER_OPEN, 1000},
		{BREAKER_OPEN, BREAKER_TRIAL, BREAKER_FAILED, 0, BREAKER_OPEN, 1000},
		{BREAKER_OPEN, BREAKER_TRIAL, BREAKER_LIMITED, 7000, BREAKER_OPEN, 8000},
		{BREAKER_OPEN, BREAKER_TRIAL, BREAKER_NOTHING, 0, BREAKER_OPEN, 1000},
		{BREAKER_HALF_OPEN, BREAKER_CALL, BREAKER_OK, 0, BREAKER_HALF_OPEN, 0},
		{BREAKER_HALF_OPEN, BREAKER_CALL, BREAKER_FAILED, 0, BREAKER_HALF_OPEN, 0},
		{BREAKER_HALF_OPEN, BREAKER_CALL, BREAKER_LIMITED, 7000, BREAKER_HALF_OPEN, 0},
		{BREAKER_HALF_OPEN, BREAKER_CALL, BREAKER_NOTHING, 0, BREAKER_HALF_OPEN, 0},
		{BREAKER_HALF_OPEN, BREAKER_TRIAL, BREAKER_OK, 0, BREAKER_CLOSED, 0},
		{BREAKER_HALF_OPEN, BREAKER_TRIAL, BREAKER_FAILED, 0, BREAKER_OPEN, 3000},
		{BREAKER_HALF_OPEN, BREAKER_TRIAL, BREAKER_LIMITED, 7000, BREAKER_OPEN, 8000},
		{BREAKER_HALF_OPEN, BREAKER_TRIAL, BREAKER_LIMITED, 0, BREAKER_OPEN, 3000},
		{BREAKER_HALF_OPEN, BREAKER_TRIAL, BREAKER_NOTHING, 0, BREAKER_OPEN, 1000},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct breaker b = in_state(rows[i].state);
		uint64_t before = breaker_word(&b);
		bool changed = end(&b, rows[i].call, rows[i].event, rows[i].hint_ms, 1000);

		cr_assert_eq(b.state, rows[i].after, "row %zu", i);
		cr_assert_eq(breaker_word_until_ns(breaker_word(&b)), MS(rows[i].until_ms),
			"row %zu", i);
		cr_assert_eq(changed, breaker_word(&b) != before, "row %zu", i);
	}
}

Test(breaker, opens_by_share_and_not_before_there_are_enough)
{
	struct breaker b = {0};

	for (unsigned i = 0; i < 3; i++)
		cr_assert_not(end(&b, BREAKER_CALL, BREAKER_FAILED, 0, i));
	cr_assert(end(&b, BREAKER_CALL, BREAKER_FAILED, 0, 3));
	cr_assert_not(breaker_admits(&b, MS(1002)));
	cr_assert(breaker_admits(&b, MS(1003)));
	b = (struct breaker){0};
	for (unsigned i = 0; i < 40; i++) /* a third fails */
		(void)end(&b, BREAKER_CALL, i % 3 == 2 ? BREAKER_FAILED : BREAKER_OK, 0, i);
	cr_assert_eq(b.state, BREAKER_CLOSED);
}

Test(breaker, the_window_slides_by_time)
{
	struct breaker b = {0};

	for (unsigned i = 0; i < 20; i++) /* one in five seconds: never four in ten */
		(void)end(&b, BREAKER_CALL, BREAKER_FAILED, 0, 5000 * i);
	cr_assert_eq(b.state, BREAKER_CLOSED);
	cr_assert_eq(b.calls, 2);
	cr_assert_eq(b.failed, 2);
}

Test(breaker, the_window_slides_by_count)
{
	struct breaker b = {0};

	for (unsigned i = 0; i < 100000; i++)
		(void)end(&b, BREAKER_CALL, BREAKER_OK, 0, 1);
	cr_assert_eq(b.calls, BREAKER_CALLS_MAX);
	for (unsigned i = 0; i < BREAKER_CALLS_MAX / 2; i++) {
		cr_assert_eq(b.state, BREAKER_CLOSED);
		(void)end(&b, BREAKER_CALL, BREAKER_FAILED, 0, 2);
	}
	cr_assert_eq(b.state, BREAKER_OPEN, "many old successes do not hide what happens now");
}

Test(breaker, only_one_trial_at_a_time)
{
	struct breaker b = opened();

	cr_assert_not(breaker_admits(&b, MS(999)));
	cr_assert_eq(breaker_begin(&b, MS(1000)), BREAKER_TRIAL);
	for (unsigned ms = 1000; ms < 1000000; ms += 999)
		cr_assert_not(breaker_admits(&b, MS(ms)));
	(void)end(&b, BREAKER_TRIAL, BREAKER_NOTHING, 0, 1500);
	cr_assert_eq(breaker_begin(&b, MS(1500)), BREAKER_TRIAL, "a trial given up is made again");
	(void)end(&b, BREAKER_TRIAL, BREAKER_OK, 0, 1600);
	cr_assert_eq(breaker_begin(&b, MS(1600)), BREAKER_CALL);
	cr_assert_eq(b.calls, 1);
	cr_assert_eq(b.failed, 0, "what was before does not count against it");
}

Test(breaker, cooldowns_double_up_to_the_longest_and_start_over)
{
	static const uint64_t expected[] = {2000, 4000, 5000, 5000};
	struct breaker b = opened();
	uint64_t at;

	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		at = b.until_ns / NS_PER_MS;
		(void)breaker_begin(&b, MS(at));
		(void)end(&b, BREAKER_TRIAL, BREAKER_FAILED, 0, at);
		cr_assert_eq(b.until_ns, MS(at + expected[i]));
	}
	at = b.until_ns / NS_PER_MS;
	(void)breaker_begin(&b, MS(at));
	(void)end(&b, BREAKER_TRIAL, BREAKER_OK, 0, at);
	(void)end(&b, BREAKER_CALL, BREAKER_LIMITED, 0, at);
	cr_assert_eq(b.until_ns, MS(at + 1000));
}

Test(breaker, a_hint_is_honoured_but_not_for_ever)
{
	struct breaker b = {0};

	(void)end(&b, BREAKER_CALL, BREAKER_LIMITED, 50, 0);
	cr_assert_eq(b.until_ns, MS(50), "also a short one");
	b = (struct breaker){0};
	(void)end(&b, BREAKER_CALL, BREAKER_LIMITED, UINT32_MAX, 0);
	cr_assert_eq(b.until_ns, MS(BREAKER_HINT_MAX_MS));
}

Test(breaker, a_successor_goes_on_from_the_word)
{
	struct breaker b = half_open(), next;

	breaker_adopt(&next, breaker_word(&b), MS(1200));
	cr_assert(breaker_admits(&next, MS(1200)), "the trial died with its worker");
	cr_assert_eq(breaker_begin(&next, MS(1200)), BREAKER_TRIAL);
	b = opened();
	breaker_adopt(&next, breaker_word(&b), MS(10));
	cr_assert_not(breaker_admits(&next, MS(999)));
	cr_assert(breaker_admits(&next, MS(1000)));
	breaker_adopt(&next, UINT64_MAX, MS(10));
	cr_assert(breaker_admits(&next, MS(10 + BREAKER_HINT_MAX_MS)), "garbage ends, too");
	breaker_adopt(&next, 0, MS(10));
	cr_assert_eq(next.state, BREAKER_CLOSED);
}
