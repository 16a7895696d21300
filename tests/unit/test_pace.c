/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pace.c - sockets are looked at at once, unless very many pieces come
 */
#include <criterion/criterion.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

/* Look every gap_us for ms milliseconds with pieces each; returns how often a rest was asked for.
 */
static unsigned
rests(struct pace *p, uint64_t *now_ns, uint64_t gap_us, unsigned pieces, unsigned ms)
{
	const uint64_t end_ns = *now_ns + ms * (uint64_t)NS_PER_MS;
	unsigned n = 0;

	for (; *now_ns < end_ns; *now_ns += gap_us * NS_PER_US) {
		uint64_t until_ns = pace_rest(p, *now_ns);

		if (until_ns != 0) {
			cr_assert_gt(until_ns, *now_ns);
			cr_assert_leq(until_ns - *now_ns, (uint64_t)NS_PER_MS);
			n++;
			*now_ns = until_ns;
			cr_assert_eq(pace_rest(p, *now_ns), 0, "a rest that is over goes on");
		}
		for (unsigned i = 0; i < pieces; i++)
			pace_count(p);
	}
	return n;
}

Test(pace, a_thousand_tokens_a_second_never_wait)
{
	uint64_t now_ns = 5 * NS_PER_S;
	struct pace p = {0};

	cr_assert_eq(rests(&p, &now_ns, 1000, 1, 500), 0);
}

Test(pace, answers_that_do_not_go_on_never_wait)
{
	uint64_t now_ns = 5 * NS_PER_S;
	struct pace p = {0};

	cr_assert_eq(rests(&p, &now_ns, 20, 0, 100), 0);
}

Test(pace, ten_thousand_tokens_a_second_travel_together)
{
	uint64_t now_ns = 5 * NS_PER_S;
	struct pace p = {0};

	/* each round is a rest of 0.9 ms and two looks, of a millisecond in all */
	cr_assert_gt(rests(&p, &now_ns, 100, 1, 100), 40);
}

Test(pace, calm_comes_back)
{
	uint64_t now_ns = 5 * NS_PER_S;
	struct pace p = {0};

	(void)rests(&p, &now_ns, 100, 1, 100);
	now_ns += NS_PER_S;
	cr_assert_eq(rests(&p, &now_ns, 500, 0, 100), 0);
}
