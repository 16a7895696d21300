/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_places.c - places kept for gateways: by turns, in time, never more than there are
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"
#include "workers/role.h"

enum { OWN_SLOT = 9, FIRST = 1, SECOND = 2, THIRD = 3, HIGH = 0, NORMAL = 1, LOW = 2 };

static struct worker w;
static struct backend *b;
static struct board *whole;
static unsigned told[64]; /* the slots that PlaceFree went to */
static size_t told_len;

enum err_code
bus_send(struct bus *bus, unsigned slot, uint32_t generation, struct msg *m, struct bytes *payload,
	struct err *e)
{
	(void)bus;
	(void)e;
	cr_assert_eq(m->type, MSG_PLACE_FREE);
	cr_assert_null(payload);
	cr_assert_eq(generation, 1);
	cr_assert_lt(told_len, ARRAY_LEN(told));
	told[told_len++] = slot;
	if (w.loop != NULL)
		loop_stop(w.loop);
	return ERR_OK;
}

void
worker_drained(struct worker *worker)
{
	(void)worker;
}

static void
set_up(void)
{
	struct err e;

	cr_assert_eq(loop_new(&w.loop, &e), ERR_OK);
	cr_assert_eq(board_create(&whole, "/tmp", &e), ERR_OK, "%s", e.text);
	for (unsigned slot = FIRST; slot <= THIRD; slot++)
		board_set_slot(whole, slot,
			&(struct slot_info){
				.role = ROLE_GATEWAY, .state = SLOT_READY, .generation = 1});
	cr_assert_eq(board_attach(&w.board, board_fd_ro(whole), board_fd_rw(whole), OWN_SLOT,
			     BOARD_SLOT_ONLY, &e),
		ERR_OK, "%s", e.text);
	b = calloc(1, sizeof(*b));
	cr_assert_not_null(b);
	b->w = &w;
	b->limits.max_in_flight = 2;
}

static void
tear_down(void)
{
	places_stop(b);
	free(b);
	loop_free(&w.loop);
	board_close(&w.board);
	board_close(&whole);
}

TestSuite(places, .init = set_up, .fini = tear_down);

static struct msg
from(unsigned slot)
{
	return (struct msg){.head = {.sender_slot = (uint16_t)slot, .sender_generation = 1}};
}

static void
wish(unsigned slot, bool wanted, uint8_t level)
{
	struct msg m = from(slot);

	m.type = MSG_PLACE_WANTED;
	m.place_wanted.wanted = wanted;
	m.place_wanted.level = level;
	places_wanted(b, &m);
}

static bool
start(unsigned slot)
{
	struct msg m = from(slot);

	if (!places_take(b, &m))
		return false;
	b->in_flight++;
	return true;
}

static void
end(void)
{
	b->in_flight--;
	places_serve(b);
}

static uint64_t
shown(enum counter c)
{
	return atomic_load(&board_worker(whole, OWN_SLOT)->counters[c]);
}

Test(places, a_kept_place_is_nobody_elses)
{
	cr_assert(start(FIRST));
	cr_assert(start(FIRST));
	cr_assert(!start(FIRST), "full");
	wish(SECOND, true, NORMAL);
	cr_expect_eq(told_len, 0);
	cr_expect_eq(shown(COUNTER_UP_WISHES), 1);
	end();
	cr_assert_eq(told_len, 1);
	cr_expect_eq(told[0], SECOND);
	cr_expect_eq(shown(COUNTER_UP_KEPT), 1);
	cr_expect_eq(shown(COUNTER_UP_WISHES), 0);
	cr_expect(!start(FIRST), "kept for the second");
	cr_expect(start(SECOND));
	cr_expect_eq(shown(COUNTER_UP_KEPT), 0);
	cr_expect(!start(SECOND), "for one call");
}

Test(places, gateways_take_turns)
{
	b->limits.max_in_flight = 1;
	cr_assert(start(FIRST));
	wish(SECOND, true, NORMAL);
	wish(THIRD, true, NORMAL);
	for (size_t i = 0; i < 6; i++) {
		end();
		cr_assert_eq(told_len, i + 1);
		cr_expect_eq(told[i], i % 2 == 0 ? SECOND : THIRD);
		cr_assert(start(told[i]));
		wish(told[i], true, NORMAL); /* it has more of them */
	}
}

Test(places, the_better_level_goes_first_but_not_for_ever)
{
	size_t low = 0;

	b->limits.max_in_flight = 1;
	cr_assert(start(FIRST));
	wish(SECOND, true, LOW);
	wish(THIRD, true, HIGH);
	for (size_t i = 0; i < 20; i++) {
		end();
		cr_assert_eq(told_len, i + 1);
		low += told[i] == SECOND;
		cr_assert(start(told[i]));
		wish(told[i], true, told[i] == SECOND ? LOW : HIGH);
	}
	cr_expect_eq(told[0], THIRD);
	cr_expect(low >= 2 && low <= 3, "%zu of 20", low);
}

Test(places, what_is_not_wanted_goes_to_the_next)
{
	b->limits.max_in_flight = 1;
	wish(FIRST, true, NORMAL);
	cr_assert_eq(told_len, 1, "it was free");
	wish(SECOND, true, NORMAL);
	cr_expect_eq(told_len, 1);
	wish(FIRST, false, 0);
	cr_assert_eq(told_len, 2);
	cr_expect_eq(told[1], SECOND);
}

Test(places, a_wish_said_again_is_answered_again)
{
	wish(FIRST, true, NORMAL);
	wish(FIRST, true, NORMAL);
	cr_expect_eq(told_len, 2, "the first answer may have been lost");
	cr_expect_eq(shown(COUNTER_UP_KEPT), 1, "one place all the same");
}

Test(places, an_unused_place_is_free_again_after_its_time)
{
	uint64_t begun_ns = clock_ns();

	b->limits.max_in_flight = 1;
	wish(FIRST, true, NORMAL);
	wish(SECOND, true, NORMAL);
	loop_run(w.loop); /* until somebody is told */
	cr_assert_eq(told_len, 2);
	cr_expect_eq(told[1], SECOND);
	cr_expect_geq(clock_ns() - begun_ns, clock_ms_to_ns(900));
	cr_expect(!start(FIRST), "it is too late");
	cr_expect(start(SECOND));
}

Test(places, the_dead_want_nothing)
{
	b->limits.max_in_flight = 1;
	wish(FIRST, true, NORMAL);
	wish(SECOND, true, NORMAL);
	wish(THIRD, true, NORMAL);
	for (unsigned slot = FIRST; slot <= SECOND; slot++)
		board_set_slot(whole, slot,
			&(struct slot_info){
				.role = ROLE_GATEWAY, .state = SLOT_BACKOFF, .generation = 1});
	places_drop_orphans(b);
	cr_assert_eq(told_len, 2);
	cr_expect_eq(told[1], THIRD);
	cr_expect_eq(shown(COUNTER_UP_WISHES), 0);
}

Test(places, a_worker_that_is_stopped_promises_nothing)
{
	w.draining = true;
	wish(FIRST, true, NORMAL);
	cr_expect_eq(told_len, 0);
}
