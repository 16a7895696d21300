/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_overlap.c - what is asked about is not trained on, neither as it is nor in another frame
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/lab/overlap.h"

#define QUESTION "Which of these animals lays its eggs on land and lives at sea for all the rest"

/* Rows of these; all have the same scores. */
static void
rows_add(struct dataset *d, const char *dataset, const char *prompt)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct err e;

	buf_addf(&text, "{\"dataset\":\"%s\",\"prompt\":\"%s\",\"scores\":{\"a\":1,\"b\":0}}\n",
		dataset, prompt);
	cr_assert_eq(dataset_add(d, "rows", text.data, text.len, &e), ERR_OK, "%s", e.text);
}

/* May row 1 be trained on where row 0 is asked about? */
static size_t
kept(const char *asked_set, const char *asked, const char *row_set, const char *row)
{
	AUTO(dataset_free) struct dataset d = {.rows = NULL};
	const uint32_t rows[] = {1}, of[] = {0};
	uint32_t out[1];

	rows_add(&d, asked_set, asked);
	rows_add(&d, row_set, row);
	return overlap_filter(out, &d, rows, 1, of, 1);
}

Test(overlap, an_equal_prompt_is_left_out)
{
	cr_expect_eq(kept("x/a", "Hello.", "x/a", "Hello."), 0);
	cr_expect_eq(kept("x/a", "Hello.", "y", "Hello."), 0);
	cr_expect_eq(kept("x/a", "Hello.", "y", "Hello!"), 1, "short, and not the same");
}

Test(overlap, a_question_in_another_frame_is_left_out)
{
	cr_expect_eq(
		kept("x/a", QUESTION "?\\nA. seal\\nAnswer:", "y/b", "Question: " QUESTION), 0);
	cr_expect_eq(kept("x/a", QUESTION, "y/b", "QUESTION:  which Of these... " QUESTION), 0);
	cr_expect_eq(kept("x/a", "Tell me: " QUESTION, "y/b",
			     "Which of these animals lays its eggs on land and never sees the sea "
			     "at all in its long life of some eighty years"),
		1, "less than half is the same");
}

Test(overlap, prompts_of_one_set_may_share_a_frame)
{
	cr_expect_eq(kept("x/a", QUESTION " 1", "x/b", QUESTION " 2"), 1);
}

Test(overlap, many_rows_are_told_apart)
{
	enum { ROWS = 400 };
	AUTO(dataset_free) struct dataset d = {.rows = NULL};
	uint32_t rows[ROWS], asked[ROWS];
	char prompt[160];

	for (uint32_t i = 0; i < 2 * ROWS; i++) {
		uint32_t n = i % ROWS + (i >= ROWS && i % 2 == 1 ? ROWS : 0);

		(void)snprintf(prompt, sizeof(prompt), "%s%u a%u b%u c%u d%u e%u f%u g%u h%u",
			i >= ROWS ? "again " : "", n, n, n, n, n, n, n, n, n);
		rows_add(&d, i >= ROWS ? "y" : "x", prompt);
		*(i >= ROWS ? &rows[i - ROWS] : &asked[i]) = i;
	}
	cr_assert_eq(overlap_filter(rows, &d, rows, ROWS, asked, ROWS), ROWS / 2);
	for (size_t i = 0; i < ROWS / 2; i++)
		cr_expect_eq(rows[i] % 2, 1);
}
