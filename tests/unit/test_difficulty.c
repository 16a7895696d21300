/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_difficulty.c - the heuristic scorer: what makes a prompt hard, and what follows a hard one
 */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/routing/route.h"

static double
of(const char *latest, const char *before, const char *first)
{
	struct route_request r = {.turns = {latest, before, first}};

	for (r.turns_count = 0; r.turns_count < 3 && r.turns[r.turns_count] != NULL;
		r.turns_count++)
		r.turns_len[r.turns_count] = strlen(r.turns[r.turns_count]);
	r.user_turns = r.turns_count;
	return route_difficulty(&r);
}

static const char hard[] =
	"Prove by induction that the algorithm terminates, derive its asymptotic "
	"complexity, and implement it in C++ so that it must never deadlock:\n"
	"```\nvoid f(void);\n```\n";
static const char easy[] = "What is the capital of France?";

Test(difficulty, hard_prompts_are_above_one_half_and_easy_ones_well_below)
{
	static const char *const easy_ones[] = {"hi", "Hello!", "What time is it in Tokyo?",
		"What is the capital of France?", "Tell me a joke", "Translate 'cat' into German",
		"who wrote Hamlet", "thanks"};
	static const char *const hard_ones[] = {
		"Prove that the square root of 2 is irrational, by induction on the denominators",
		"Implement a lock-free queue in C++ and prove its invariants",
		"Refactor this scheduler; it has a deadlock. Debug it and explain the trade-offs:\n"
		"```\nlock(a);\n```",
		"Derive the eigenvalues of this matrix, then analyze the asymptotic complexity"};

	for (size_t i = 0; i < ARRAY_LEN(easy_ones); i++)
		cr_expect_lt(of(easy_ones[i], NULL, NULL), 0.25, "%s", easy_ones[i]);
	for (size_t i = 0; i < ARRAY_LEN(hard_ones); i++)
		cr_expect_gt(of(hard_ones[i], NULL, NULL), 0.5, "%s", hard_ones[i]);
}

Test(difficulty, stays_between_zero_and_one_and_is_deterministic)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	double d;

	for (int i = 0; i < 5000; i++)
		buf_add_str(&text, "prove derive implement must exactly? $$x^2$$\n- item;\n```\n");
	d = of(buf_str(&text), hard, hard);
	cr_assert_geq(d, 0.9);
	cr_assert_leq(d, 1);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(of(buf_str(&text), hard, hard), d);
}

Test(difficulty, a_task_word_counts_as_a_word_only)
{
	cr_assert_gt(of("prove it", NULL, NULL), of("improve it", NULL, NULL));
	cr_assert_eq(of("provender", NULL, NULL), of("proverbs", NULL, NULL));
	cr_assert_gt(of("optimisation", NULL, NULL), of("optimism", NULL, NULL) - 0.001);
	cr_assert_eq(of("prove prove prove", NULL, NULL), of("prove", NULL, NULL));
}

Test(difficulty, structure_counts)
{
	double plain = of("explain this", NULL, NULL);

	cr_assert_gt(of("explain this\n```\nx\n```", NULL, NULL), plain + 0.1);
	cr_assert_gt(of("explain this\n- a\n- b\n- c", NULL, NULL), plain + 0.05);
	cr_assert_gt(of("explain this\n1. a\n2. b\n3. c", NULL, NULL), plain + 0.05);
	cr_assert_gt(of("explain \\frac{a}{b}", NULL, NULL), plain + 0.1);
	cr_assert_gt(of("what? why? how?", NULL, NULL), plain);
	cr_assert_gt(of("it must be exactly two, without rest", NULL, NULL), plain + 0.05);
}

Test(difficulty, a_follow_up_after_hard_work_is_not_easy)
{
	static const char *const follow_ups[] = {"commit it", "yes", "go on", "continue please",
		"now the same for the other file", "do that again", "ok do it"};
	double h = of(hard, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(follow_ups); i++) {
		cr_expect_gt(of(follow_ups[i], hard, NULL), 0.5, "%s", follow_ups[i]);
		cr_expect_lt(of(follow_ups[i], hard, NULL), h, "%s", follow_ups[i]);
		cr_expect_lt(of(follow_ups[i], easy, NULL), 0.25, "%s", follow_ups[i]);
	}
	cr_assert_gt(of("commit it", "yes", hard), 0.5, "two turns back");
	cr_assert_lt(of("commit it", "yes", hard), of("commit it", hard, NULL), "it decays");
}

Test(difficulty, a_question_that_stands_alone_or_a_thank_you_inherits_little)
{
	cr_assert_lt(of(easy, hard, NULL), 0.5);
	cr_assert_lt(of("thanks", hard, NULL), 0.1);
	cr_assert_lt(of("Thank you!", hard, NULL), 0.1);
}

Test(difficulty, no_text_has_none)
{
	cr_assert_lt(of(NULL, NULL, NULL), 0);
	cr_assert_geq(of("", NULL, NULL), 0);
}
