/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fault.c - faults on purpose: the text, whom they meet, when they come
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/fault/fault.h"

static struct fault_rule
rule(const char *line)
{
	struct fault_rule r = {0};
	struct err e = {0};

	cr_assert_eq(fault_parse(&r, line, &e), ERR_OK, "%s: %s", line, e.text);
	return r;
}

/* ---- text ---- */

struct bad_line {
	char line[200], why[80];
};

ParameterizedTestParameters(fault_text, a_faulty_line_says_which_part_is_wrong)
{
	static const struct bad_line rows[] = {
		{"", "kind: is missing"},
		{"  ", "kind: is missing"},
		{"stats", "kind: no fault is named `stats`; did you mean `status`?"},
		{"zzzzzzzz", "kind: no fault is named `zzzzzzzz`"},
		{"status backend", "backend: must be NAME=VALUE"},
		{"status \"\" count=2", ": must be NAME=VALUE"},
		{"status status=", "status: `` is no number"},
		{"status status=abc", "status: `abc` is no number"},
		{"status status=503x", "status: `503x` is no number"},
		{"status status=200", "status: `200` is not between 400 and 599"},
		{"status status=503.5", "status: `503.5` must be a whole number"},
		{"status status=0x1f7", "status: `0x1f7` is no number"},
		{"status status=nan", "status: `nan` is no number"},
		{"status status=500 status=501", "status: is said twice"},
		{"status stauts=500",
			"stauts: a fault has no such parameter; did you mean `status`"},
		{"status qqqqqqqqqq=1", "qqqqqqqqqq: a fault has no such parameter"},
		{"status backend=", "backend: must have 1 to 63 bytes"},
		{"status "
		 "backend=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"backend: must have 1 to 63 bytes"},
		{"status tokens=3", "tokens: is nothing that a status fault could use"},
		{"status worker=gateway", "worker: is nothing that a status fault could use"},
		{"kill backend=up", "backend: is nothing that a kill fault could use"},
		{"kill", "worker: is required for a kill fault"},
		{"delay", "time: is required for a delay fault"},
		{"stop worker=backend", "time: is required for a stop fault"},
		{"stop worker=backend time=11m", "time: `11m` is not between 0 and 600000 ms"},
		{"delay time=5x", "time: `5x` is no time such as"},
		{"delay time=1.5ms", "time: `1.5ms` must be a whole number of milliseconds"},
		{"delay time=-1", "time: `-1` is not between"},
		{"cut tokens=1 bytes=2", "bytes: either tokens or bytes, not both"},
		{"status every=0", "every: `0` is not between"},
		{"status probability=1.5", "probability: `1.5` is not between"},
		{"status count=0", "count: `0` is not between"},
		{"status for=0", "for: `0` is not between"},
		{"status body=\"open", "kind: a quote is not closed"},
		{"status body=\"a\tb\"", "kind: a fault has no control characters"},
		{"clock_jump worker=gateway", "by: is required for a clock_jump fault"},
		{"memory_limit worker=gateway", "bytes: is required for a memory_limit fault"},
		{"bus_drop message=ChatDelta backend=up", "backend: is nothing that a bus_drop"},
	};

	return cr_make_param_array(struct bad_line, (void *)(uintptr_t)rows, ARRAY_LEN(rows));
}

ParameterizedTest(struct bad_line *p, fault_text, a_faulty_line_says_which_part_is_wrong)
{
	struct fault_rule r = {.id = 42};
	struct err e = {0};

	cr_expect_eq(fault_parse(&r, p->line, &e), ERR_INPUT, "%s", p->line);
	cr_expect_not_null(strstr(e.text, p->why), "%s: %s", p->line, e.text);
	cr_expect_eq(r.id, 42, "a refused line must leave the rule alone");
}

Test(fault_text, a_line_too_long_is_refused)
{
	char line[FAULT_LINE_MAX + 100];
	struct fault_rule r;

	memset(line, 'a', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	cr_expect_eq(fault_parse(&r, line, NULL), ERR_INPUT);
}

Test(fault_text, values_may_be_quoted)
{
	struct fault_rule r = rule("status  body=\"{\\\"a\\\": \\\\ 1}\"\tcount=3 ");

	cr_expect_str_eq(r.body, "{\"a\": \\ 1}");
	cr_expect_eq(r.count, 3);
}

Test(fault_text, times_have_units)
{
	cr_expect_eq(rule("delay time=7").time_ms, 7);
	cr_expect_eq(rule("delay time=1.5s").time_ms, 1500);
	cr_expect_eq(rule("status for=2m after=1h").for_ms, 120000);
	cr_expect_eq(rule("status for=2m after=1h").after_ms, 3600000);
	cr_expect_eq(rule("clock_jump worker=up by=-1h").by_ms, -3600000);
}

Test(fault_text, what_meets_processes_ends_by_itself)
{
	cr_expect_eq(rule("kill worker=backend").count, 1);
	cr_expect_eq(rule("kill worker=backend for=10s period=1s").count, 0);
	cr_expect_eq(rule("crash_loop worker=backend").count, 5);
	cr_expect_eq(rule("fd_limit worker=backend").for_ms, 30000);
	cr_expect_eq(rule("status").count, 0);
}

Test(fault_text, every_kind_prints_as_it_reads)
{
	for (enum fault_kind k = 0; k < FAULT_KINDS; k++) {
		const struct fault_kind_row *row = fault_kind_row(k);
		bool on_worker =
			row->level == FAULT_LEVEL_PROCESS || row->level == FAULT_LEVEL_RESOURCE;
		AUTO(buf_fini) struct buf line = BUF_INIT;
		AUTO(buf_fini) struct buf again = BUF_INIT;
		struct fault_rule r, copy;

		buf_add_str(&line, row->name);
		if (on_worker)
			fault_put_param(&line, "worker", "back end");
		if (row->needs & FAULT_SAYS(TIME))
			fault_put_param(&line, "time", "250ms");
		if (row->needs & FAULT_SAYS(BYTES))
			fault_put_param(&line, "bytes", "1000");
		if (row->needs & FAULT_SAYS(BY))
			fault_put_param(&line, "by", "-250ms");
		fault_put_param(&line, "probability", "0.1");
		r = rule(buf_str(&line));
		cr_expect(fault_is_sound(&r), "%s", buf_str(&line));
		fault_print(&again, &r);
		copy = rule(buf_str(&again));
		cr_expect_eq(memcmp(&r, &copy, sizeof(r)), 0, "%s -> %s", buf_str(&line),
			buf_str(&again));
	}
}

Test(fault_text, garbage_from_shared_memory_is_unsound)
{
	struct fault_rule r = rule("status"), bad = r;

	cr_expect(fault_is_sound(&r));
	bad.kind = FAULT_KINDS;
	cr_expect_not(fault_is_sound(&bad));
	bad = r;
	bad.said = UINT64_MAX;
	cr_expect_not(fault_is_sound(&bad));
	bad = r;
	memset(bad.backend, 'x', sizeof(bad.backend));
	cr_expect_not(fault_is_sound(&bad));
	bad = r;
	bad.probability = NAN;
	cr_expect_not(fault_is_sound(&bad));
	bad = r;
	bad.time_ms = UINT64_MAX;
	cr_expect_not(fault_is_sound(&bad));
	memset(&bad, 0xff, sizeof(bad));
	cr_expect_not(fault_is_sound(&bad));
}

/* ---- whom ---- */

Test(fault_meets, only_what_was_asked_for)
{
	const struct fault_subject s = {.backend = "up",
		.model = "m",
		.upstream = "org/m:7b",
		.route = "auto",
		.user = "ada",
		.worker = "up",
		.role = "backend"};
	struct fault_rule r = rule("status");

	cr_expect(fault_meets(&r, &s), "who asks for nothing meets all");
	r = rule("status backend=up model=m route=auto user=ada");
	cr_expect(fault_meets(&r, &s));
	r = rule("status model=org/m:7b");
	cr_expect(fault_meets(&r, &s), "the upstream's name counts, too");
	r = rule("status backend=upper");
	cr_expect_not(fault_meets(&r, &s));
	r = rule("status user=eve");
	cr_expect_not(fault_meets(&r, &s));
	r = rule("kill worker=backend");
	cr_expect(fault_meets(&r, &s), "a role stands for its workers");
	r = rule("kill worker=gateway");
	cr_expect_not(fault_meets(&r, &s));
}

Test(fault_meets, what_is_not_known_meets_no_question)
{
	const struct fault_subject s = {.backend = "up"};
	struct fault_rule r = rule("status user=ada");

	cr_expect_not(fault_meets(&r, &s));
}

/* ---- when ---- */

Test(fault_window, after_and_for_count_from_the_start)
{
	struct fault_rule r = rule("status after=2s for=3s");

	r.since_ns = 10 * NS_PER_S;
	cr_expect_eq(fault_window(&r, 11 * NS_PER_S), FAULT_WINDOW_BEFORE);
	cr_expect_eq(fault_window(&r, 12 * NS_PER_S), FAULT_WINDOW_OPEN);
	cr_expect_eq(fault_window(&r, 15 * NS_PER_S - 1), FAULT_WINDOW_OPEN);
	cr_expect_eq(fault_window(&r, 15 * NS_PER_S), FAULT_WINDOW_OVER);
	r = rule("status");
	cr_expect_eq(fault_window(&r, UINT64_MAX - 1), FAULT_WINDOW_OPEN);
}

/* The draws of which the rule comes, as a string of 0 and 1. */
static void
draws(char *out, size_t n, const struct fault_rule *r)
{
	struct fault_state s = {0};

	for (size_t i = 0; i < n; i++)
		out[i] = fault_draw(r, &s, 0) ? '1' : '0';
	out[n] = '\0';
	cr_expect_eq(s.draws, n);
}

Test(fault_draw, every_third)
{
	struct fault_rule r = rule("status every=3");
	char got[10];

	draws(got, 9, &r);
	cr_expect_str_eq(got, "001001001");
}

Test(fault_draw, a_limit_ends_it)
{
	struct fault_rule r = rule("status every=2 count=2");
	char got[9];

	draws(got, 8, &r);
	cr_expect_str_eq(got, "01010000");
}

Test(fault_draw, hits_of_other_processes_count)
{
	struct fault_rule r = rule("status count=2");
	struct fault_state s = {0};

	cr_expect(fault_draw(&r, &s, 1));
	cr_expect_not(fault_draw(&r, &s, 1));
}

Test(fault_draw, same_seed_same_decisions)
{
	struct fault_rule r = rule("status probability=0.3 seed=7"), other;
	char a[1001], b[1001];

	draws(a, 1000, &r);
	draws(b, 1000, &r);
	cr_expect_str_eq(a, b);
	other = rule("status probability=0.3 seed=8");
	draws(b, 1000, &other);
	cr_expect_str_neq(a, b);
}

Test(fault_draw, decisions_are_the_same_on_every_machine_and_version)
{
	struct fault_rule r = rule("status probability=0.5 seed=7");
	char got[33];

	draws(got, 32, &r);
	cr_expect_str_eq(got, "10011111110000001000111001101011");
}

Test(fault_draw, the_share_is_what_was_asked_for)
{
	struct fault_rule r = rule("status probability=0.1 seed=3");
	struct fault_state s = {0};

	for (int i = 0; i < 20000; i++)
		(void)fault_draw(&r, &s, 0);
	/* 4 standard deviations of a binomial: 4 * sqrt(20000 * 0.1 * 0.9) = 170 */
	cr_expect(s.hits > 1830 && s.hits < 2170, "%llu", (unsigned long long)s.hits);
}

Test(fault_draw, probability_0_never_and_1_always)
{
	struct fault_rule never = rule("status probability=0"),
			  always = rule("status probability=1");
	char got[6];

	draws(got, 5, &never);
	cr_expect_str_eq(got, "00000");
	draws(got, 5, &always);
	cr_expect_str_eq(got, "11111");
}

Test(fault_time, spread_is_normal_and_repeats)
{
	struct fault_rule r = rule("delay time=100 spread=10 seed=5");
	double sum = 0, squares = 0, mean;

	for (uint64_t i = 1; i <= 10000; i++) {
		double ms = (double)fault_time_ms(&r, i);

		cr_expect_eq(fault_time_ms(&r, i), fault_time_ms(&r, i));
		sum += ms;
		squares += ms * ms;
	}
	mean = sum / 10000;
	cr_expect(fabs(mean - 99.5) < 0.5, "%f", mean); /* cut to whole milliseconds */
	cr_expect(fabs(sqrt(squares / 10000 - mean * mean) - 10) < 0.5);
	r = rule("delay time=1 spread=1000");
	for (uint64_t i = 1; i <= 100; i++)
		cr_expect_leq(fault_time_ms(&r, i), 10000);
	cr_expect_eq(fault_time_ms(&(struct fault_rule){.time_ms = 5}, 3), 5);
}
