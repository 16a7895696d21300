/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_loop.c - descriptors and timers of one thread
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/common/loop.h"

enum { TIMERS = 200 };

struct rig {
	struct loop *loop;
	struct loop_fd fds[2];
	struct loop_timer timers[TIMERS];
	struct loop_timer guard;
	unsigned calls[2];
	unsigned fired, turns;
	uint64_t last_at_ns;
};

static void
rig_give_up(void *arg)
{
	(void)arg;
	cr_assert_fail("nothing happened in time");
}

static struct rig *
rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e;

	cr_assert_not_null(r);
	cr_assert_eq(loop_new(&r->loop, &e), ERR_OK);
	r->guard = (struct loop_timer){.fn = rig_give_up};
	loop_timer_set(r->loop, &r->guard, clock_ns() + 5 * NS_PER_S);
	return r;
}

static void
rig_free(struct rig *r)
{
	for (size_t i = 0; i < ARRAY_LEN(r->fds); i++) {
		loop_remove(r->loop, &r->fds[i]);
		if (r->fds[i].fn != NULL)
			(void)close(r->fds[i].fd);
	}
	loop_free(&r->loop);
	cr_assert_null(r->loop);
	free(r);
}

/* An eventfd that is ready to read until somebody reads it. */
static void
rig_watch_ready(struct rig *r, size_t i, loop_fd_fn *fn)
{
	struct err e;

	r->fds[i] = (struct loop_fd){.fn = fn,
		.arg = r,
		.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN};
	cr_assert_eq(loop_add(r->loop, &r->fds[i], &e), ERR_OK, "%s", e.text);
}

static void
on_timer_in_order(void *arg)
{
	struct rig *r = arg;
	uint64_t latest = 0;

	/* The one that fires is the earliest: none that is still set may lie before the last. */
	for (size_t i = 0; i < TIMERS; i++)
		if (r->timers[i].heap_index != 0 && (latest == 0 || r->timers[i].at_ns < latest))
			latest = r->timers[i].at_ns;
	cr_assert(latest == 0 || latest >= r->last_at_ns);
	r->last_at_ns = latest;
	if (++r->fired == TIMERS - TIMERS / 4)
		loop_stop(r->loop);
}

Test(loop, timers_fire_in_order_and_cleared_ones_never)
{
	struct rig *r = rig_new();
	uint64_t now = clock_ns();

	srand(7);
	for (size_t i = 0; i < TIMERS; i++) {
		r->timers[i] = (struct loop_timer){.fn = on_timer_in_order, .arg = r};
		loop_timer_set(
			r->loop, &r->timers[i], now + (uint64_t)(rand() % 20000) * NS_PER_US);
	}
	for (size_t i = 0; i < TIMERS; i += 4)
		loop_timer_clear(r->loop, &r->timers[i]);
	for (size_t i = 1; i < TIMERS; i += 4)
		loop_timer_set(
			r->loop, &r->timers[i], now + (uint64_t)(rand() % 20000) * NS_PER_US);
	loop_run(r->loop);
	for (size_t i = 0; i < TIMERS; i++)
		cr_assert_eq(r->timers[i].heap_index, 0);
	cr_assert_eq(r->fired, TIMERS - TIMERS / 4);
	rig_free(r);
}

static void
on_stop(void *arg)
{
	struct rig *r = arg;

	r->fired++;
	loop_stop(r->loop);
}

Test(loop, a_timer_is_never_early)
{
	struct rig *r = rig_new();
	uint64_t at = clock_ns() + 3 * NS_PER_MS + 300 * NS_PER_US;

	r->timers[0] = (struct loop_timer){.fn = on_stop, .arg = r};
	loop_timer_set(r->loop, &r->timers[0], at);
	loop_run(r->loop);
	cr_assert_geq(clock_ns(), at);
	cr_assert_geq(loop_now(r->loop), at);
	rig_free(r);
}

static void
on_again(void *arg)
{
	struct rig *r = arg;

	r->fired++;
	loop_timer_set(r->loop, &r->timers[0], 0);
}

static void
on_read_then_stop(void *arg, uint32_t events)
{
	struct rig *r = arg;

	cr_assert(events & EPOLLIN);
	if (++r->calls[0] == 3)
		loop_stop(r->loop);
}

Test(loop, a_timer_that_rearms_itself_for_the_past_starves_nobody)
{
	struct rig *r = rig_new();

	r->timers[0] = (struct loop_timer){.fn = on_again, .arg = r};
	loop_timer_set(r->loop, &r->timers[0], 0);
	rig_watch_ready(r, 0, on_read_then_stop);
	loop_run(r->loop);
	cr_assert_leq(r->fired, 4);
	cr_assert_geq(r->fired, 2);
	rig_free(r);
}

static void
on_remove_both(void *arg, uint32_t events)
{
	struct rig *r = arg;

	(void)events;
	r->calls[0]++;
	loop_remove(r->loop, &r->fds[0]);
	loop_remove(r->loop, &r->fds[1]);
	loop_remove(r->loop, &r->fds[1]); /* twice is nothing */
}

Test(loop, a_descriptor_removed_by_its_neighbour_is_not_called)
{
	struct rig *r = rig_new();

	/* Both are ready in one batch; whichever comes first takes the other out. */
	rig_watch_ready(r, 0, on_remove_both);
	rig_watch_ready(r, 1, on_remove_both);
	r->timers[0] = (struct loop_timer){.fn = on_stop, .arg = r};
	loop_timer_set(r->loop, &r->timers[0], clock_ns() + 5 * NS_PER_MS);
	loop_run(r->loop);
	cr_assert_eq(r->calls[0], 1);
	rig_free(r);
}

static void
on_lose_interest(void *arg, uint32_t events)
{
	struct rig *r = arg;

	(void)events;
	r->calls[0]++;
	loop_change(r->loop, &r->fds[0], 0);
	loop_change(r->loop, &r->fds[1], 0);
}

Test(loop, events_nobody_wants_any_more_are_not_delivered)
{
	struct rig *r = rig_new();

	rig_watch_ready(r, 0, on_lose_interest);
	rig_watch_ready(r, 1, on_lose_interest);
	r->timers[0] = (struct loop_timer){.fn = on_stop, .arg = r};
	loop_timer_set(r->loop, &r->timers[0], clock_ns() + 5 * NS_PER_MS);
	loop_run(r->loop);
	cr_assert_eq(r->calls[0], 1);
	rig_free(r);
}

static void
on_clear_other(void *arg)
{
	struct rig *r = arg;

	r->fired++;
	loop_timer_clear(r->loop, &r->timers[0]);
	loop_timer_clear(r->loop, &r->timers[1]);
	loop_stop(r->loop);
}

Test(loop, a_due_timer_cleared_by_another_does_not_fire)
{
	struct rig *r = rig_new();
	uint64_t at = clock_ns() + NS_PER_MS;

	for (size_t i = 0; i < 2; i++) {
		r->timers[i] = (struct loop_timer){.fn = on_clear_other, .arg = r};
		loop_timer_set(r->loop, &r->timers[i], at);
	}
	loop_run(r->loop);
	cr_assert_eq(r->fired, 1);
	rig_free(r);
}

static void
on_turn(void *arg)
{
	struct rig *r = arg;

	if (++r->turns == 5)
		loop_stop(r->loop);
}

static void
on_read(void *arg, uint32_t events)
{
	struct rig *r = arg;

	(void)events;
	/* The hook runs before the first wait, then after the callbacks of each turn. */
	cr_assert_eq(r->turns, r->calls[0] + 1);
	r->calls[0]++;
}

Test(loop, the_hook_runs_before_the_first_wait_and_after_the_callbacks_of_each_turn)
{
	struct rig *r = rig_new();

	loop_on_turn(r->loop, on_turn, r);
	rig_watch_ready(r, 0, on_read);
	loop_run(r->loop);
	cr_assert_eq(r->calls[0], 4);
	rig_free(r);
}

Test(loop, spinning_changes_nothing_but_the_wait)
{
	struct rig *r = rig_new();
	uint64_t at = clock_ns() + 4 * NS_PER_MS;

	loop_set_spin(r->loop, 500 * NS_PER_US);
	r->timers[0] = (struct loop_timer){.fn = on_stop, .arg = r};
	loop_timer_set(r->loop, &r->timers[0], at);
	loop_run(r->loop);
	cr_assert_geq(clock_ns(), at);
	rig_watch_ready(r, 0, on_read_then_stop);
	loop_run(r->loop);
	cr_assert_eq(r->calls[0], 3);
	rig_free(r);
}

Test(loop, a_bad_descriptor_is_an_error)
{
	struct rig *r = rig_new();
	struct loop_fd f = {.fn = on_read, .arg = r, .fd = -1, .events = EPOLLIN};
	struct err e;

	cr_assert_eq(loop_add(r->loop, &f, &e), ERR_SYS);
	loop_remove(r->loop, &f);
	rig_free(r);
}
