/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fault_body.c - an answer's body on its way through a fault, however its bytes arrive; and
 * the fault table that it comes from
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "lib/base/clock.h"
#include "shm/board.h"
#include "workers/backend/backend.h"

#define ROLE "data: {\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}\n\n"
#define A "data: {\"delta\":{\"content\":\"a\"}}\n\n"
#define B "data: {\"delta\": {\"content\": \"b\"}}\n\n"
#define C "data: {\"delta\":{\"content\":\"c\"}}\n\n"
#define DONE "data: [DONE]\n\n"
#define STREAM ROLE A B C DONE
#define LINES "{\"message\":{\"content\":\"a\"}}\n{\"message\":{\"content\":\"b\"}}\n"

struct passage {
	char fault[48];
	char in[300], out[300];
	enum framing framing;
	bool stream, struck;
};

ParameterizedTestParameters(fault_body, what_goes_through)
{
	static const struct passage rows[] = {
		{"cut tokens=2", STREAM, ROLE A B, FRAMING_SSE, true, true},
		{"cut", STREAM, ROLE, FRAMING_SSE, true, true},
		{"cut tokens=9", STREAM, STREAM, FRAMING_SSE, true, false},
		{"cut bytes=5", STREAM, "data:", FRAMING_SSE, true, true},
		{"cut bytes=0", STREAM, "", FRAMING_SSE, true, true},
		{"cut tokens=1", "{\"choices\":[]}", "{\"ch", FRAMING_SSE, false, true},
		{"stall tokens=1", LINES, "{\"message\":{\"content\":\"a\"}}\n", FRAMING_NDJSON,
			true, true},
		{"bad_json tokens=1", STREAM, ROLE A "data: {\"choices\":[{\"delta\":\n\n",
			FRAMING_SSE, true, true},
		{"bad_json", "{\"choices\":[]}", "{oops", FRAMING_SSE, false, true},
		{"bad_event tokens=1", LINES,
			"{\"message\":{\"content\":\"a\"}}\n<html>busy</html>\n", FRAMING_NDJSON,
			true, true},
		{"duplicate_event tokens=1", STREAM, ROLE A B B C DONE, FRAMING_SSE, true, true},
		{"duplicate_event", "{\"choices\":[]}", "{\"choices\":[]}", FRAMING_SSE, false,
			false},
		{"drip", STREAM, STREAM, FRAMING_SSE, true, false},
		{"cut tokens=1", "data: {\"text\":\"a\"}\r\n\r\ndata: {\"text\":\"b\"}\r\n\r\n",
			"data: {\"text\":\"a\"}\r\n\r\n", FRAMING_SSE, true, true},
	};

	return cr_make_param_array(struct passage, (void *)(uintptr_t)rows, ARRAY_LEN(rows));
}

ParameterizedTest(struct passage *p, fault_body, what_goes_through)
{
	struct fault_rule rule;

	cr_assert_eq(fault_parse(&rule, p->fault, NULL), ERR_OK);
	for (size_t step = 1; step <= strlen(p->in); step++) {
		struct fault_body b = {.rule = &rule, .framing = p->framing, .stream = p->stream};
		AUTO(buf_fini) struct buf out = BUF_INIT;
		size_t len = strlen(p->in);

		for (size_t at = 0; at < len; at += step)
			fault_body_feed(&b, p->in + at, MIN(step, len - at), &out);
		fault_body_end(&b, &out);
		cr_expect_str_eq(buf_str(&out), p->out, "%s in steps of %zu: %s", p->fault, step,
			buf_str(&out));
		cr_expect_eq(b.struck, p->struck, "%s in steps of %zu", p->fault, step);
		fault_body_fini(&b);
	}
}

/* ---- the table on the board ---- */

static struct board *
board_with(const char *line)
{
	struct fault_rules rules = {.last_id = 1};
	struct board *b = NULL;
	struct err e;

	cr_assert_eq(board_create(&b, "/run/shunt-test", &e), ERR_OK, "%s", e.text);
	cr_assert_eq(board_faults_seq(b), 0, "a new board has a fault table in force");
	cr_assert_eq(fault_parse(&rules.rule[3], line, &e), ERR_OK);
	rules.rule[3].id = 1;
	board_set_faults(b, &rules);
	return b;
}

Test(fault_table, a_worker_reads_what_the_writer_set)
{
	struct slot_info info = {.role = 1, .state = SLOT_READY, .generation = 1};
	AUTO(board_close) struct board *b = board_with("status every=2"), *w = NULL;
	struct fault_rules seen;
	struct err e;

	board_set_slot(b, 5, &info);
	cr_assert_eq(
		board_attach(&w, board_fd_ro(b), board_fd_rw(b), 5, BOARD_SLOT_ONLY, &e), ERR_OK);
	cr_expect_eq(board_faults(w, &seen), 1);
	cr_expect_eq(seen.rule[3].every, 2);
	board_close(&w);
}

Test(fault_table, draws_go_on_in_the_next_life_and_count_over_all)
{
	struct slot_info info = {.role = 1, .state = SLOT_READY, .generation = 1};
	AUTO(board_close) struct board *b = board_with("status count=3"), *w = NULL;
	struct fault_rules seen;
	uint64_t draw = 0;
	struct err e;

	board_set_slot(b, 5, &info);
	(void)board_faults(b, &seen);
	for (uint64_t life = 1; life <= 3; life++) {
		cr_assert_eq(
			board_attach(&w, board_fd_ro(b), board_fd_rw(b), 5, BOARD_SLOT_ONLY, &e),
			ERR_OK);
		cr_expect_eq(board_fault_draw(w, &seen.rule[3], &draw), life <= 2, "life %u",
			(unsigned)life);
		cr_expect_eq(draw, life);
		board_close(&w);
		board_prepare_slot(b, 5, BOARD_LIFE_AGAIN);
		/* the supervisor's own hit is the second of three */
		if (life == 1)
			cr_expect(board_fault_draw(b, &seen.rule[3], &draw));
	}
	cr_expect_eq(board_fault_sum(b, 1).hits, 3);
	cr_expect_eq(board_fault_hits(b, 5, FAULT_STATUS), 2);
	cr_expect_eq(board_fault_hits(b, SLOTS_MAX, FAULT_STATUS), 1);
}

Test(fault_table, a_rule_that_is_not_sound_is_none)
{
	AUTO(board_close) struct board *b = board_with("status");
	struct fault_rules seen;

	(void)board_faults(b, &seen);
	cr_expect_eq(seen.rule[3].id, 1);
	cr_expect(fault_is_sound(&seen.rule[3]));
	seen.rule[3].kind = FAULT_KINDS;
	cr_expect_not(fault_is_sound(&seen.rule[3]));
}
