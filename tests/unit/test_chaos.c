/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_chaos.c - scenarios, plans from a seed, what happened to a text, invariants
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "lib/chaos/chaos.h"

#define SCENARIO                                                                                   \
	"name: t\n"                                                                                \
	"config:\n"                                                                                \
	"  backends: [{name: a, kind: sim, sim: {seed: 7, tokens: 6, models: [m]}}]\n"             \
	"  models: [{name: m, deployments: [{backend: a}]}]\n"                                     \
	"load: [{model: m, count: 20, stream: 50%, users: [ada, eve], leave: 10%,\n"               \
	"  faults: [{do: cut tokens=2, share: 30%}]}]\n"                                           \
	"invariants: {answered: 50%, recovered_within: no}\n"

static struct chaos_scenario *
scenario(void)
{
	struct chaos_scenario *s = NULL;
	struct err e;

	cr_assert_eq(scenario_read(&s, "t.yaml", SCENARIO, strlen(SCENARIO), &e), ERR_OK, "%s",
		e.text);
	return s;
}

/* Every request gets what the simulated model says. */
static void
answer_all(struct chaos_plan *p, const struct chaos_scenario *s)
{
	for (size_t i = 0; i < p->len; i++) {
		struct chaos_request *r = &p->requests[i];

		r->outcome = CHAOS_ANSWER;
		r->ends = r->finishes = r->attempts = 1;
		r->status = 200;
		(void)snprintf(r->id, sizeof(r->id), "id-%zu", i);
		(void)snprintf(r->backend, sizeof(r->backend), "a");
		(void)snprintf(r->model, sizeof(r->model), "m");
		cr_assert(wording_expected(&r->text, s->parsed, "a", "m", r->prompt));
	}
}

Test(chaos, what_happened_to_a_text_is_told_apart)
{
	static const struct {
		const char *text;
		enum chaos_wording wording;
	} rows[] = {{"one two three four", CHAOS_SAME}, {"one two", CHAOS_BEGINS},
		{"", CHAOS_BEGINS}, {"one three four", CHAOS_MISSES},
		{"one two two three four", CHAOS_DOUBLES}, {"one three two four", CHAOS_MIXED},
		{"five six", CHAOS_OTHER}, {"one twothree four", CHAOS_OTHER}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_eq(wording_compare("one two three four", rows[i].text), rows[i].wording,
			"`%s` is %s", rows[i].text,
			wording_name(wording_compare("one two three four", rows[i].text)));
}

Test(chaos, a_seed_is_a_plan)
{
	struct chaos_scenario *s = scenario();
	struct chaos_plan a, b, c;
	size_t faults = 0, differ = 0;

	chaos_plan_make(&a, s, 5);
	chaos_plan_make(&b, s, 5);
	chaos_plan_make(&c, s, 6);
	cr_assert_eq(a.len, 20);
	for (size_t i = 0; i < a.len; i++) {
		cr_expect_str_eq(a.requests[i].prompt, b.requests[i].prompt);
		cr_expect_eq(a.requests[i].stream, b.requests[i].stream);
		cr_expect_str_eq(a.requests[i].user, b.requests[i].user);
		cr_expect_str_eq(a.requests[i].fault, b.requests[i].fault);
		faults += a.requests[i].fault[0] != '\0';
		differ += strcmp(a.requests[i].prompt, c.requests[i].prompt) != 0;
	}
	cr_expect(faults > 0 && faults < 20);
	cr_expect_eq(differ, 20, "another seed has the same prompts");
	chaos_plan_fini(&a);
	chaos_plan_fini(&b);
	chaos_plan_fini(&c);
	scenario_free(&s);
}

Test(chaos, a_doubled_token_and_a_shared_id_break_their_invariants)
{
	struct chaos_scenario *s = scenario();
	struct chaos_seen seen = {0};
	struct chaos_verdict v;
	struct chaos_plan p;
	char word[32];

	chaos_plan_make(&p, s, 5);
	answer_all(&p, s);
	verdict_make(&v, &p, s, &seen);
	cr_expect(v.ok && v.answered == 20 && v.duplicated == 0 && v.lost == 0);
	(void)snprintf(word, sizeof(word), "%s", strrchr(buf_str(&p.requests[3].text), ' '));
	buf_add_str(&p.requests[3].text, word);
	verdict_make(&v, &p, s, &seen);
	cr_expect(!v.ok && v.answered == 19 && v.duplicated == 1 &&
		  !v.rows[CHAOS_TOKENS].held && !v.rows[CHAOS_EXACTLY_ONCE].held);
	memcpy(p.requests[1].id, p.requests[0].id, sizeof(p.requests[1].id));
	verdict_make(&v, &p, s, &seen);
	cr_expect_not(v.rows[CHAOS_EXACTLY_ONCE].held);
	chaos_plan_fini(&p);
	scenario_free(&s);
}

Test(chaos, anothers_text_and_a_silent_end_are_seen)
{
	struct chaos_scenario *s = scenario();
	struct chaos_seen seen = {0};
	struct chaos_verdict v;
	struct chaos_plan p;

	chaos_plan_make(&p, s, 5);
	answer_all(&p, s);
	buf_clear(&p.requests[2].text);
	buf_add_str(&p.requests[2].text, buf_str(&p.requests[7].text));
	p.requests[4].outcome = CHAOS_NOTHING;
	verdict_make(&v, &p, s, &seen);
	cr_expect_not(v.rows[CHAOS_PRIVATE].held);
	cr_expect_not(v.rows[CHAOS_LOST].held);
	cr_expect_eq(v.lost, 1);
	chaos_plan_fini(&p);
	scenario_free(&s);
}

Test(chaos, random_scenarios_are_scenarios)
{
	for (uint64_t seed = 0; seed < 200; seed++) {
		AUTO(buf_fini) struct buf text = BUF_INIT;
		struct chaos_scenario *s = NULL;
		struct err e;

		generate_scenario(&text, seed, 500 + seed * 50);
		cr_expect_eq(scenario_read(&s, "random", buf_str(&text), text.len, &e), ERR_OK,
			"%s\n%s", e.text, buf_str(&text));
		scenario_free(&s);
	}
}

Test(chaos, neighbouring_seeds_have_no_scenario_in_common)
{
	for (uint64_t a = 1; a <= 20; a++)
		for (uint64_t b = a + 1; b <= 20; b++)
			for (uint64_t i = 0; i < 12; i++)
				for (uint64_t k = 0; k < 12; k++)
					cr_assert_neq(generate_seed(a, i), generate_seed(b, k));
	cr_expect_eq(generate_seed(7, 0), 7, "a scenario's own seed makes it again");
}
