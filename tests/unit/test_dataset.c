/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dataset.c - routing data: what is read, and what each bad row is told
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/lab/dataset.h"

static enum err_code
add(struct dataset *d, const char *text, struct err *e)
{
	return dataset_add(d, "dir/a.jsonl", text, strlen(text), e);
}

Test(dataset, reads_scores_costs_tokens_and_lengths)
{
	AUTO(dataset_free) struct dataset d = {0};
	struct err e;

	cr_assert_eq(
		add(&d,
			"{\"dataset\":\"s/"
			"x\",\"prompt\":\"a\\u00e9\",\"scores\":{\"m\":1,\"n\":0.5},"
			"\"costs\":{\"m\":0.25},\"tokens\":{\"n\":[3,4]},\"out_chars\":{\"m\":9}}\n"
			"\n"
			"{\"prompt\":\"b\",\"scores\":{\"o\":0}}\n",
			&e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(d.len, 2);
	cr_assert_eq(d.models_len, 3);
	cr_expect_str_eq(d.rows[0].prompt, "a\xc3\xa9");
	cr_expect_str_eq(d.sources[d.rows[0].source], "s/x");
	cr_expect_str_eq(d.sources[d.rows[1].source], "a.jsonl", "a row without one: its file");
	cr_expect_eq(d.rows[1].line, 3);
	cr_expect_float_eq(d.rows[0].score[1], 0.5F, 0);
	cr_expect(isnan(d.rows[0].score[2]));
	cr_expect(isnan(d.rows[1].score[0]));
	cr_expect_float_eq(d.rows[0].cost[0], 0.25F, 0);
	cr_expect(isnan(d.rows[0].cost[1]));
	cr_expect_float_eq(d.rows[0].tokens_in[1], 3, 0);
	cr_expect_float_eq(d.rows[0].tokens_out[1], 4, 0);
	cr_expect_float_eq(d.rows[0].out_chars[0], 9, 0);
	cr_expect_eq(dataset_model(&d, "o"), 2);
	cr_expect_eq(dataset_model(&d, "p"), -1);
}

Test(dataset, the_hash_is_the_prompts_sha256)
{
	AUTO(dataset_free) struct dataset d = {0};

	cr_assert_eq(add(&d, "{\"prompt\":\"abc\",\"scores\":{\"m\":1}}", NULL), ERR_OK);
	cr_expect_eq(d.rows[0].hash, UINT64_C(0xba7816bf8f01cfea));
}

Test(dataset, equal_prompts_of_two_files_share_a_fold)
{
	AUTO(dataset_free) struct dataset d = {0};

	cr_assert_eq(add(&d, "{\"prompt\":\"abc\",\"scores\":{\"m\":1}}", NULL), ERR_OK);
	cr_assert_eq(dataset_add(&d, "b", "{\"prompt\":\"abc\",\"scores\":{\"k\":0}}", 33, NULL),
		ERR_OK);
	for (unsigned folds = 2; folds < 9; folds++)
		cr_expect_eq(
			dataset_fold(&d.rows[0], folds, 7), dataset_fold(&d.rows[1], folds, 7));
}

Test(dataset, a_judges_ten_become_one)
{
	AUTO(dataset_free) struct dataset d = {0};
	struct err e;

	cr_assert_eq(
		add(&d,
			"{\"dataset\":\"mt/a\",\"prompt\":\"x\",\"scores\":{\"m\":10,\"n\":1}}\n"
			"{\"dataset\":\"mt/b\",\"prompt\":\"y\",\"scores\":{\"m\":1,\"n\":1}}\n"
			"{\"dataset\":\"z\",\"prompt\":\"z\",\"scores\":{\"m\":1,\"n\":0}}\n",
			&e),
		ERR_OK, "%s", e.text);
	cr_expect_float_eq(d.rows[0].score[0], 1, 0);
	cr_expect_float_eq(d.rows[0].score[1], 0, 0);
	cr_expect_float_eq(d.rows[1].score[0], 0, 0, "the other half of the same set");
	cr_expect_float_eq(d.rows[1].raw[0], 1, 0);
	cr_expect_float_eq(d.rows[2].score[0], 1, 0);
}

struct bad {
	char row[160];
	char reason[80];
};

ParameterizedTestParameters(dataset, a_bad_row_is_told_with_file_line_and_reason)
{
	static struct bad rows[] = {
		{"{\"prompt\":\"x\"", "column"},
		{"[1]", "not a JSON object"},
		{"{\"scores\":{\"m\":1}}", "no `prompt`"},
		{"{\"prompt\":\"\",\"scores\":{\"m\":1}}", "prompt is empty"},
		{"{\"prompt\":7,\"scores\":{\"m\":1}}", "`prompt` is not a string"},
		{"{\"prompt\":\"x\"}", "no `scores`"},
		{"{\"prompt\":\"x\",\"scores\":{}}", "scores is empty"},
		{"{\"prompt\":\"x\",\"scores\":[1]}", "`scores` is not an object"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":null}}", "`m` is no number: null"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":true}}", "`m` is no number: true"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":1e999}}", "`m` is not finite"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":NaN}}", "column"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":-1}}", "not between 0 and 10"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":11}}", "not between 0 and 10"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":1,\"m\":0}}", "`m` twice"},
		{"{\"prompt\":\"x\",\"scores\":{\"\":1}}", "name is empty"},
		{"{\"prompt\":\"x\",\"prompt\":\"y\",\"scores\":{\"m\":1}}",
			"`prompt` stands there twice"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":1},\"costs\":{\"m\":\"1\"}}",
			"costs of `m` is no number"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":1},\"tokens\":{\"m\":[1]}}", "not [in, out]"},
		{"{\"prompt\":\"x\",\"scores\":{\"m\":5,\"n\":0.5}}", "go up to 10"},
		{"{\"prompt\":\"\\ud800\xff\",\"scores\":{\"m\":1}}", "column"},
	};

	return cr_make_param_array(struct bad, rows, ARRAY_LEN(rows));
}

ParameterizedTest(struct bad *bad, dataset, a_bad_row_is_told_with_file_line_and_reason)
{
	AUTO(dataset_free) struct dataset d = {0};
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct err e = {.text = ""};

	buf_addf(&text, "{\"prompt\":\"ok\",\"scores\":{\"m\":1}}\n%s\n", bad->row);
	cr_assert_eq(add(&d, buf_str(&text), &e), ERR_INPUT, "%s", bad->row);
	if (strstr(bad->reason, "up to 10") == NULL)
		cr_expect_not_null(strstr(e.text, "dir/a.jsonl:2: "), "%s", e.text);
	cr_expect_not_null(strstr(e.text, bad->reason), "%s", e.text);
}

Test(dataset, every_bad_row_is_listed_and_the_good_ones_kept)
{
	AUTO(buf_fini) struct buf faults = BUF_INIT;
	AUTO(dataset_free) struct dataset d = {.faults = &faults};
	struct err e;

	cr_assert_eq(add(&d,
			     "{\"prompt\":\"a\",\"scores\":{\"m\":1}}\n{}\n"
			     "{\"prompt\":\"b\",\"scores\":{\"m\":0}}\nnull\n",
			     &e),
		ERR_INPUT);
	cr_expect_eq(d.len, 2);
	cr_expect_float_eq(d.rows[1].score[0], 0, 0);
	cr_expect_not_null(
		strstr(buf_str(&faults), "dir/a.jsonl:2: no `prompt`\n"), "%s", buf_str(&faults));
	cr_expect_not_null(strstr(buf_str(&faults), "dir/a.jsonl:4: "), "%s", buf_str(&faults));
}

Test(dataset, a_file_without_rows_is_an_error)
{
	AUTO(dataset_free) struct dataset d = {0};
	struct err e;

	cr_expect_eq(add(&d, " \n\n", &e), ERR_INPUT);
	cr_expect_str_eq(e.text, "dir/a.jsonl: no rows");
}

Test(dataset, prompts_alone_do_where_no_scores_are_asked_for)
{
	AUTO(dataset_free) struct dataset d = {0};

	cr_assert_eq(dataset_add_prompts(&d, "log", "{\"prompt\":\"a\"}\n", 15, NULL), ERR_OK);
	cr_expect_eq(d.len, 1);
	cr_expect_null(d.rows[0].score);
}

Test(dataset, many_rows_and_models_keep_their_cells)
{
	AUTO(dataset_free) struct dataset d = {0};
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct err e;

	for (int i = 0; i < 700; i++)
		buf_addf(&text, "{\"prompt\":\"%d\",\"scores\":{\"m%d\":0.%d,\"a\":1}}\n", i,
			i % 40, i % 10);
	cr_assert_eq(add(&d, buf_str(&text), &e), ERR_OK, "%s", e.text);
	cr_assert_eq(d.models_len, 41);
	for (int i = 0; i < 700; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "m%d", i % 40);
		cr_expect_float_eq(
			d.rows[i].score[dataset_model(&d, name)], (float)(i % 10) / 10, 1e-6);
		cr_expect_float_eq(d.rows[i].score[dataset_model(&d, "a")], 1, 0);
	}
}
