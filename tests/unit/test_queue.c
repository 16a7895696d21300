/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue.c - who is next, who is sent away, how long it will take
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/queue/queue.h"

enum { HIGH, NORMAL, LOW, A = 1, B = 2 };
enum { S0 = 1, S1 = 2, ANY = 3 }; /* masks of servers 0 and 1 */

static const struct queue_bounds wide = {1000, 1000, 1 << 30};

static struct queue_item *
item(uint64_t user, unsigned level, uint64_t order, unsigned servers)
{
	struct queue_item *i = calloc(1, sizeof(*i));

	cr_assert_not_null(i);
	*i = (struct queue_item){.user = user, .level = level, .order = order, .bytes = 10};
	i->servers.bits[0] = servers;
	return i;
}

static struct queue_item *
put(struct queue *q, uint64_t user, unsigned level, uint64_t order)
{
	struct queue_item *i = item(user, level, order, S0);

	queue_put(q, i, QUEUE_BACK);
	return i;
}

/* Take the next one at server 0, which costs 1 and is over at once; its user, 0: nobody. */
static uint64_t
serve(struct queue *q, uint64_t cost)
{
	struct queue_item *i = queue_next(q, 0, 1);
	uint64_t user;

	if (i == NULL)
		return 0;
	user = i->user;
	queue_take(q, i, 1);
	queue_done(q, i, cost);
	free(i);
	return user;
}

static void
drain(struct queue **q_p)
{
	struct queue_item *i;

	while ((i = queue_first(*q_p)) != NULL) {
		queue_leave(*q_p, i);
		free(i);
	}
	cr_expect_eq(queue_len(*q_p), 0);
	cr_expect_eq(queue_bytes(*q_p), 0);
	queue_free(q_p);
}

Test(queue, one_user_is_served_in_order)
{
	struct queue *q;
	struct queue_item *i[4];

	queue_new(&q);
	for (uint64_t n = 0; n < 4; n++)
		i[n] = put(q, A, NORMAL, 10 - n);
	for (size_t n = 4; n-- > 0;) {
		cr_expect_eq(
			queue_next(q, 0, 1), i[n], "by the time it came, not by when it was put");
		queue_take(q, i[n], 1);
		queue_leave(q, i[n]);
		free(i[n]);
	}
	cr_expect_null(queue_next(q, 0, 1));
	drain(&q);
}

Test(queue, a_single_request_waits_one_turn_behind_a_greedy_user)
{
	struct queue *q;

	queue_new(&q);
	for (uint64_t n = 0; n < 200; n++)
		put(q, A, NORMAL, n);
	for (size_t n = 0; n < 50; n++)
		cr_assert_eq(serve(q, 1), A);
	put(q, B, NORMAL, 1000);
	cr_expect(serve(q, 1) == B || serve(q, 1) == B);
	drain(&q);
}

/* Jain's index of what the users got: 1 is fair, 1/n is one has it all. */
static double
jain(const double *x, size_t n)
{
	double sum = 0, squares = 0;

	for (size_t i = 0; i < n; i++) {
		sum += x[i];
		squares += x[i] * x[i];
	}
	return sum * sum / ((double)n * squares);
}

Test(queue, users_whose_requests_cost_more_get_fewer_of_them)
{
	static const uint64_t costs[] = {1, 2, 4, 7};
	double got[4] = {0};
	struct queue *q;
	size_t n = 0;

	queue_new(&q);
	for (uint64_t user = 1; user <= 4; user++)
		for (uint64_t k = 0; k < 400; k++)
			put(q, user, NORMAL, k);
	while (n++ < 600) {
		struct queue_item *i = queue_next(q, 0, 2);
		uint64_t user = i->user;

		queue_take(q, i, 2); /* the mean, as far as anybody knows */
		queue_done(q, i, costs[user - 1]);
		free(i);
		got[user - 1] += (double)costs[user - 1];
	}
	cr_expect_gt(jain(got, 4), 0.999, "%g %g %g %g", got[0], got[1], got[2], got[3]);
	drain(&q);
}

Test(queue, levels_share_sixteen_four_one)
{
	unsigned got[QUEUE_LEVELS] = {0};
	struct queue *q;

	queue_new(&q);
	for (unsigned level = 0; level < QUEUE_LEVELS; level++)
		for (uint64_t k = 0; k < 300; k++)
			put(q, A + level, level, k);
	for (size_t n = 0; n < 210; n++)
		got[serve(q, 1) - A]++;
	cr_expect_eq(got[HIGH], 160, "%u", got[HIGH]);
	cr_expect_eq(got[NORMAL], 40, "%u", got[NORMAL]);
	cr_expect_eq(got[LOW], 10, "%u", got[LOW]);
	drain(&q);
}

Test(queue, a_high_one_that_comes_late_is_next)
{
	struct queue *q;

	queue_new(&q);
	for (uint64_t k = 0; k < 100; k++)
		put(q, A, LOW, k);
	for (size_t n = 0; n < 50; n++)
		(void)serve(q, 1);
	put(q, B, HIGH, 1000);
	cr_expect_eq(serve(q, 1), B);
	drain(&q);
}

Test(queue, a_server_serves_only_who_waits_for_it)
{
	struct queue *q;
	struct queue_item *other = item(A, HIGH, 1, S1), *any = item(B, LOW, 2, ANY);

	queue_new(&q);
	queue_put(q, other, QUEUE_BACK);
	cr_expect_null(queue_next(q, 0, 1));
	cr_expect_eq(queue_level(q, 0), -1);
	queue_put(q, any, QUEUE_BACK);
	cr_expect_eq(queue_next(q, 0, 1), any);
	cr_expect_eq(queue_level(q, 0), LOW);
	cr_expect_eq(queue_next(q, 1, 1), other);
	cr_expect_eq(queue_level(q, 1), HIGH);
	drain(&q);
}

/* It had its turn and got nothing for it. */
static void
expect_next_again(struct queue *q, struct queue_item *first)
{
	cr_assert_eq(queue_next(q, 0, 1), first);
	queue_take(q, first, 1);
	queue_done(q, first, 0);
	queue_put(q, first, QUEUE_FRONT);
	cr_expect_eq(queue_next(q, 0, 1), first);
}

Test(queue, who_was_sent_back_is_the_next_again)
{
	struct queue *q;
	struct queue_item *first;

	queue_new(&q);
	first = put(q, A, NORMAL, 1);
	put(q, A, NORMAL, 2);
	put(q, B, NORMAL, 3);
	expect_next_again(q, first);
	drain(&q);
}

Test(queue, the_only_one_of_its_user_is_next_again_too)
{
	struct queue *q;
	struct queue_item *first;

	queue_new(&q);
	first = put(q, A, NORMAL, 1);
	put(q, B, NORMAL, 2);
	put(q, B, NORMAL, 3);
	expect_next_again(q, first);
	drain(&q);
}

/* ---- bounds ---- */

static enum queue_verdict
admit(struct queue *q, uint64_t user, unsigned level, struct queue_bounds bounds,
	struct queue_item **victim)
{
	struct queue_item *i = item(user, level, 1000, S0);
	enum queue_verdict v = queue_admit(q, i, &bounds, victim);

	free(i);
	return v;
}

Test(queue, bounds_of_all_and_of_one_user)
{
	struct queue_item *victim;
	struct queue *q;

	queue_new(&q);
	for (uint64_t n = 0; n < 3; n++)
		put(q, A, NORMAL, n);
	cr_expect_eq(admit(q, B, NORMAL, wide, &victim), QUEUE_ROOM);
	cr_expect_eq(
		admit(q, A, NORMAL, (struct queue_bounds){9, 3, 1000}, &victim), QUEUE_USER_FULL);
	cr_expect_eq(admit(q, A, HIGH, (struct queue_bounds){9, 3, 1000}, &victim), QUEUE_USER_FULL,
		"over all its levels");
	cr_expect_eq(admit(q, A, NORMAL, (struct queue_bounds){3, 9, 1000}, &victim), QUEUE_FULL);
	cr_expect_eq(admit(q, A, NORMAL, (struct queue_bounds){9, 9, 39}, &victim), QUEUE_FULL);
	cr_expect_eq(admit(q, A, NORMAL, (struct queue_bounds){9, 9, 40}, &victim), QUEUE_ROOM);
	cr_expect_eq(admit(q, A, HIGH, (struct queue_bounds){0, 9, 40}, &victim), QUEUE_SHED);
	drain(&q);
}

Test(queue, the_newest_of_the_lowest_level_is_shed)
{
	struct queue_item *victim, *low;
	struct queue *q;

	queue_new(&q);
	put(q, A, LOW, 1);
	low = put(q, B, LOW, 3);
	put(q, A, LOW, 2);
	put(q, A, NORMAL, 4);
	cr_expect_eq(admit(q, A, HIGH, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_SHED);
	cr_expect_eq(victim, low);
	cr_expect_eq(admit(q, A, NORMAL, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_SHED);
	cr_expect_eq(victim, low);
	cr_expect_eq(admit(q, A, LOW, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_FULL);
	cr_expect_null(victim);
	drain(&q);
}

Test(queue, a_greedy_user_makes_room_for_others_of_its_level)
{
	struct queue_item *victim, *newest = NULL;
	struct queue *q;

	queue_new(&q);
	for (uint64_t n = 0; n < 3; n++)
		newest = put(q, A, NORMAL, n);
	put(q, B, NORMAL, 9);
	cr_expect_eq(admit(q, 3, NORMAL, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_SHED);
	cr_expect_eq(victim, newest);
	cr_expect_eq(admit(q, B, NORMAL, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_SHED);
	cr_expect_eq(admit(q, A, NORMAL, (struct queue_bounds){4, 9, 1000}, &victim), QUEUE_FULL);
	drain(&q);
}

Test(queue, nobody_is_shed_for_a_body_that_does_not_fit_anyway)
{
	struct queue_item *victim;
	struct queue *q;

	queue_new(&q);
	put(q, A, HIGH, 1);
	put(q, A, LOW, 2);
	cr_expect_eq(admit(q, B, HIGH, (struct queue_bounds){9, 9, 19}, &victim), QUEUE_FULL);
	cr_expect_eq(admit(q, B, HIGH, (struct queue_bounds){9, 9, 20}, &victim), QUEUE_SHED);
	drain(&q);
}

/* ---- position and wait ---- */

static size_t
position(struct queue *q, uint64_t user, unsigned level)
{
	struct queue_item *i = item(user, level, 1000, S0);
	size_t n = queue_position(q, i);

	free(i);
	return n;
}

Test(queue, positions_count_turns)
{
	struct queue *q;
	struct queue_item *other = item(9, NORMAL, 1, S1);

	queue_new(&q);
	cr_expect_eq(position(q, A, NORMAL), 1);
	queue_put(q, other, QUEUE_BACK); /* waits for somebody else */
	for (uint64_t n = 0; n < 10; n++)
		put(q, A, NORMAL, n);
	cr_expect_eq(position(q, A, NORMAL), 11);
	cr_expect_eq(position(q, B, NORMAL), 2, "behind one of the other user");
	cr_expect_eq(position(q, B, HIGH), 1, "a quarter of one");
	cr_expect_eq(position(q, B, LOW), 5, "four turns of the level above");
	for (uint64_t n = 0; n < 10; n++)
		put(q, B, HIGH, n);
	cr_expect_eq(position(q, B, LOW), 1 + 4 + 10);
	drain(&q);
}

Test(queue, an_estimate_of_the_position_is_what_comes)
{
	struct queue *q;
	struct queue_item *mine, *i;
	size_t said, served = 0;

	queue_new(&q);
	for (uint64_t n = 0; n < 60; n++)
		put(q, 1 + n % 3, NORMAL, n);
	mine = put(q, 7, NORMAL, 100);
	said = queue_position(q, mine);
	do {
		i = queue_next(q, 0, 1);
		queue_take(q, i, 1);
		queue_done(q, i, 1);
		served++;
		if (i != mine)
			free(i);
	} while (i != mine);
	free(mine);
	cr_expect_leq(served, said + 1);
	cr_expect_geq(served + 3, said);
	drain(&q);
}

Test(queue, the_wait_is_position_by_rate)
{
	const struct queue_server known[] = {{2, 100, 1}, {1, 100, 2}},
				  unknown[] = {{2, 100, 1}, {2, 0, 1}};

	cr_expect_float_eq(queue_expect_ms(5, known, 1), 250, 1e-9);
	cr_expect_float_eq(queue_expect_ms(5, known, 2), 200, 1e-9, "half of the second");
	cr_expect_lt(queue_expect_ms(5, unknown, 2), 0);
	cr_expect_lt(queue_expect_ms(5, NULL, 0), 0);
}

/* Anything in any order: counts stay right, everybody is served, nothing leaks. */
Test(queue, random_use_loses_nobody)
{
	struct queue *q;
	struct queue_item *running[64] = {NULL}, *i;
	uint64_t seed = 1;
	size_t in = 0, out = 0;

	queue_new(&q);
	for (size_t step = 0; step < 20000; step++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		unsigned r = (unsigned)(seed >> 33), slot = r / 8 % 64;

		switch (r % 4) {
		case 0:
			i = item(r / 16 % 5, r / 97 % 3, step, 1 + r / 7 % 3);
			queue_put(q, i, r % 16 == 0 ? QUEUE_FRONT : QUEUE_BACK);
			in++;
			break;
		case 1:
			if (running[slot] != NULL ||
				(i = queue_next(q, r / 11 % 2, 1 + r % 5)) == NULL)
				break;
			queue_take(q, i, 1 + r % 9);
			running[slot] = i;
			break;
		case 2:
			if (running[slot] == NULL)
				break;
			queue_done(q, running[slot], r % 100);
			free(running[slot]);
			running[slot] = NULL;
			out++;
			break;
		default:
			i = r % 3 == 0 ? queue_first(q) : NULL;
			if (i == NULL)
				break;
			queue_leave(q, i);
			free(i);
			out++;
			break;
		}
	}
	for (size_t k = 0; k < 64; k++)
		if (running[k] != NULL) {
			queue_done(q, running[k], 1);
			free(running[k]);
			out++;
		}
	cr_expect_eq(in, out + queue_len(q));
	for (unsigned server = 0; server < 2; server++)
		while ((i = queue_next(q, server, 1)) != NULL) {
			queue_take(q, i, 1);
			queue_done(q, i, 1);
			free(i);
		}
	cr_expect_eq(queue_len(q), 0, "every server served all of its own");
	drain(&q);
}

/* One server is busy for long, and a low request waits for it, while high ones are served elsewhere. */
Test(queue, nobody_saves_up_turns_while_others_are_served_elsewhere)
{
	struct queue *q;
	struct queue_item *i, *stuck = item(A, LOW, 0, S1);
	unsigned low = 0;

	queue_new(&q);
	queue_put(q, stuck, QUEUE_BACK);
	for (uint64_t n = 0; n < 10000; n++) {
		put(q, B, HIGH, n);
		cr_assert_eq(serve(q, 1), B);
	}
	for (uint64_t n = 0; n < 100; n++) {
		put(q, A, LOW, 10000 + n);
		put(q, B, HIGH, 10000 + n);
	}
	for (size_t n = 0; n < 34; n++) {
		i = queue_next(q, 0, 1);
		low += i->level == LOW;
		queue_take(q, i, 1);
		queue_leave(q, i);
		free(i);
	}
	cr_expect_leq(low, 3, "%u of 34 were low ones", low);
	cr_expect_geq(low, 1);
	drain(&q);
}

/* It got a place that was not there: it waits again, without having had it. */
Test(queue, what_was_taken_for_nothing_may_come_back)
{
	struct queue *q;
	struct queue_item *i;

	queue_new(&q);
	i = put(q, A, NORMAL, 1);
	put(q, A, NORMAL, 2);
	queue_take(q, i, 1);
	queue_leave(q, i);
	queue_put(q, i, QUEUE_FRONT);
	cr_expect_eq(queue_next(q, 0, 1), i);
	drain(&q);
}
