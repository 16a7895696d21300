/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_lab.c - shunt eval, train and calibrate: the reference figures, faults, whole files
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/lab.h"
#include "lib/base/json.h"

enum { ROWS = 60 };

struct run {
	char *out, *err;
	int code;
};

static struct run
run(const char *const *words)
{
	char *argv[32] = {strdup("shunt")};
	int argc = 1;
	size_t out_len, err_len;
	struct run r = {0};
	FILE *out = open_memstream(&r.out, &out_len), *err = open_memstream(&r.err, &err_len);

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = strdup(words[argc - 1]);
	r.code = cli_main(argc, argv, out, err);
	(void)fclose(out);
	(void)fclose(err);
	while (argc > 0)
		free(argv[--argc]);
	return r;
}

static void
run_fini(struct run *r)
{
	free(r->out);
	free(r->err);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* A folder of this test's own, emptied by hand at the end. */
static char folder[] = "/tmp/shunt-lab-XXXXXX";

static void
folder_make(void)
{
	cr_assert_not_null(mkdtemp(folder));
}

static void
folder_remove(void)
{
	AUTO(buf_fini) struct buf command = BUF_INIT;
	static const char *const names[] = {
		"a.jsonl", "b.jsonl", "a.linear", "b.linear", "p.svg", "p.png", "link", "pipe"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		buf_clear(&command);
		buf_addf(&command, "%s/%s", folder, names[i]);
		(void)unlink(buf_str(&command));
	}
	cr_expect_eq(rmdir(folder), 0, "something else was left in %s", folder);
}

TestSuite(cli_lab, .init = folder_make, .fini = folder_remove);

/* PATH of a name in the folder; two at a time may be in use. */
static const char *
at(const char *name)
{
	static char paths[4][64];
	static size_t turn;
	char *path = paths[turn++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void
write_file(const char *path, const char *text)
{
	struct buf b = {.data = (char *)(uintptr_t)text, .len = strlen(text)};

	cr_assert_eq(lab_write(path, &b, NULL), ERR_OK);
}

/* Prompts whose words tell which model is right. */
static void
write_rows(const char *path)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (int i = 0; i < ROWS; i++) {
		bool hard = i % 3 == 0;

		buf_addf(&text,
			"{\"dataset\":\"%s/x\",\"prompt\":\"%s number "
			"%d\",\"scores\":{\"v/small\":%d,"
			"\"big\":%d},\"costs\":{\"v/small\":0.1,\"big\":1}}\n",
			i % 2 == 0 ? "even" : "odd", hard ? "prove the theorem of" : "say hello to",
			i, !hard, hard || i % 2);
	}
	write_file(path, buf_str(&text));
}

static double
number(struct json v, const char *path)
{
	double d = NAN;

	cr_expect(json_double(&d, json_path(v, path)), "%s is no number", path);
	return d;
}

static struct json
parse(const struct run *r)
{
	struct json v = {.type = JSON_NONE};
	struct err e;

	cr_assert_eq(r->code, CLI_OK, "%s", r->err);
	cr_assert_eq(json_check(&v, r->out, strlen(r->out), &e), ERR_OK, "%s", e.text);
	return v;
}

static void
expect_figures(struct json got, struct json want, const char *set, const char *scorer)
{
	struct json_iter it = json_iter(want);
	struct json key, value;
	char name[16];
	double w;

	while (json_next_member(&it, &key, &value)) {
		cr_assert(json_copy_text(name, sizeof(name), key));
		cr_assert(json_double(&w, value));
		cr_expect_float_eq(number(got, name), w, 1e-6, "%s %s %s", set, scorer, name);
	}
}

Test(cli_lab, fixed_scorers_give_the_reference_figures)
{
	static const char *const sets[] = {"routellm_mmlu", "routellm_gsm8k", "routellm_mtbench"};
	static const char *const scorers[] = {"chars", "id", "oracle"};
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	char data[512], path[600];
	struct json reference;
	struct err e;

	(void)snprintf(data, sizeof(data), "%s/../shared/data/routing", root != NULL ? root : ".");
	(void)snprintf(path, sizeof(path), "%s/metrics.reference.json", data);
	if (access(path, R_OK) != 0)
		cr_skip_test("no ../shared/data");
	cr_assert_eq(lab_read(&text, path, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(json_check(&reference, buf_str(&text), text.len, &e), ERR_OK);
	for (size_t i = 0; i < 9; i++) {
		const char *set = sets[i / 3], *scorer = scorers[i % 3];
		struct json want = json_get(reference, set), got;
		AUTO(run_fini) struct run r = {0};

		(void)snprintf(path, sizeof(path), "%s/%s.dev.jsonl.gz", data, set);
		r = RUN("eval", "--data", path, "--scorer", scorer, "--resamples", "100", "--weak",
			"Mixtral-8x7B-Instruct-v0.1", "--strong", "gpt-4-1106-preview", "--json");
		got = parse(&r);
		cr_expect_float_eq(number(got, "rows"), number(want, "rows"), 0);
		cr_expect_float_eq(number(got, "weak"), number(want, "weak"), 1e-6);
		cr_expect_float_eq(number(got, "strong"), number(want, "strong"), 1e-6);
		want = json_get(want, scorer);
		expect_figures(got, json_get(want, "exact"), set, scorer);
		expect_figures(json_get(got, "grid"), json_get(want, "grid10"), set, scorer);
	}
}

Test(cli_lab, eval_tells_the_keys_that_scripts_read)
{
	static const char *const keys[] = {"rows", "weak", "strong", "oracle", "apgr", "apgr_ci95",
		"cpt20", "cpt50", "cpt80", "grid", "random_apgr", "best_single", "prompts_per_s"};
	AUTO(run_fini) struct run r = {0};
	struct json v;

	write_rows(at("a.jsonl"));
	r = RUN("eval", at("a.jsonl"), "--scorer", "heuristic", "--json");
	v = parse(&r);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		cr_expect_neq(json_get(v, keys[i]).type, JSON_NONE, "%s", keys[i]);
	cr_expect_float_eq(number(v, "rows"), ROWS, 0);
	cr_expect_float_eq(number(v, "best_single"), 40.0 / 60, 1e-9);
	cr_expect_float_eq(number(v, "oracle"), 1, 1e-9);
	cr_expect(json_equals(json_path(v, "cost.source"), "costs"));
}

Test(cli_lab, a_cross_validated_scorer_learns_what_the_words_say)
{
	AUTO(run_fini) struct run r = {0};
	struct json v;

	write_rows(at("a.jsonl"));
	r = RUN("eval", "--data", at("a.jsonl"), "--scorer", "linear", "--json");
	v = parse(&r);
	cr_expect(json_is_true(json_get(v, "beats_best_single")));
	cr_expect_gt(number(v, "routed.quality"), 0.9);
	cr_expect_lt(number(v, "cost.equal_quality_held_out.cost"), 1, "big alone costs 1");
	cr_expect_float_eq(number(v, "trainings"), 5, 0);
}

Test(cli_lab, a_scorer_is_promoted_only_if_it_is_surely_better)
{
	AUTO(run_fini) struct run better = {0}, same = {0}, worse = {0};

	write_rows(at("a.jsonl"));
	better = RUN("eval", "--scorer", "oracle", "--against", "random", "--weak", "small",
		"--strong", "big", "--data", at("a.jsonl"), "--json");
	cr_expect_eq(better.code, CLI_OK, "%s", better.err);
	cr_expect_not_null(
		strstr(better.out, "\"against\":{\"scorer\":\"random\""), "%s", better.out);
	cr_expect_not_null(strstr(better.out, "\"better\":true"), "%s", better.out);
	same = RUN("eval", "--scorer", "oracle", "--against", "oracle", "--data", at("a.jsonl"));
	cr_expect_eq(same.code, CLI_BAD_NEWS, "%s", same.err);
	cr_expect_not_null(
		strstr(same.out, "+0.00 [+0.00, +0.00] points: not surely better"), "%s", same.out);
	worse = RUN("eval", "--scorer", "random", "--against", "linear", "--weak", "small",
		"--strong", "big", "--data", at("a.jsonl"), "--json");
	cr_expect_eq(worse.code, CLI_BAD_NEWS, "%s", worse.err);
	cr_expect_not_null(strstr(worse.out, "\"better\":false"), "%s", worse.out);
}

Test(cli_lab, a_verdict_is_printed_for_a_person)
{
	AUTO(run_fini) struct run r = {0};

	write_rows(at("a.jsonl"));
	r = RUN("eval", at("a.jsonl"), "--scorer", "oracle");
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(strstr(r.out, "oracle beats the best single model: "), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "random model"), "%s", r.out);
}

Test(cli_lab, plots_are_drawn_in_both_formats)
{
	AUTO(buf_fini) struct buf svg = BUF_INIT;
	AUTO(buf_fini) struct buf png = BUF_INIT;
	AUTO(run_fini) struct run a = {0};
	AUTO(run_fini) struct run b = {0};
	AUTO(run_fini) struct run c = {0};

	write_rows(at("a.jsonl"));
	a = RUN("eval", at("a.jsonl"), "--scorer", "id", "--plot", at("p.svg"), "--json");
	b = RUN("eval", at("a.jsonl"), "--scorer", "oracle", "--many", "--plot", at("p.png"));
	c = RUN("eval", at("a.jsonl"), "--scorer", "id", "--plot", at("p.gif"));
	cr_expect_eq(a.code + b.code, 0, "%s%s", a.err, b.err);
	cr_assert_eq(lab_read(&svg, at("p.svg"), NULL), ERR_OK);
	cr_assert_eq(lab_read(&png, at("p.png"), NULL), ERR_OK);
	cr_expect_not_null(strstr(buf_str(&svg), "</svg>"));
	cr_expect_eq(memcmp(png.data, "\x89PNG", 4), 0);
	cr_expect_eq(c.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(c.err, "neither .svg nor .png"), "%s", c.err);
}

Test(cli_lab, models_that_cost_nothing_are_drawn, .timeout = 60)
{
	AUTO(buf_fini) struct buf svg = BUF_INIT;
	AUTO(run_fini) struct run r = {0};

	write_file(at("a.jsonl"),
		"{\"prompt\":\"a\",\"scores\":{\"m\":0,\"n\":1},\"costs\":{\"m\":0,\"n\":0}}\n"
		"{\"prompt\":\"b\",\"scores\":{\"m\":1,\"n\":1},\"costs\":{\"m\":0,\"n\":0}}\n");
	r = RUN("eval", at("a.jsonl"), "--scorer", "oracle", "--many", "--plot", at("p.svg"));
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_assert_eq(lab_read(&svg, at("p.svg"), NULL), ERR_OK);
	cr_expect_not_null(strstr(buf_str(&svg), "</svg>"));
	cr_expect_null(strstr(r.out, "nan"), "%s", r.out);
}

Test(cli_lab, a_pipe_is_written_into_and_a_link_stays)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct stat st;
	char got[8];
	int fd;

	cr_assert_eq(mkfifo(at("pipe"), 0600), 0);
	fd = open(at("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	write_file(at("pipe"), "whole");
	cr_expect_eq(read(fd, got, sizeof(got)), 5);
	(void)close(fd);
	cr_assert_eq(lstat(at("pipe"), &st), 0);
	cr_expect(S_ISFIFO(st.st_mode), "the pipe was replaced");

	write_file(at("a.jsonl"), "old");
	cr_assert_eq(symlink("a.jsonl", at("link")), 0);
	write_file(at("link"), "new");
	cr_assert_eq(lstat(at("link"), &st), 0);
	cr_expect(S_ISLNK(st.st_mode), "the link was replaced");
	cr_assert_eq(lab_read(&text, at("a.jsonl"), NULL), ERR_OK);
	cr_expect_str_eq(buf_str(&text), "new");
}

/* The data is never looked at: it does not exist. */
Test(cli_lab, where_nothing_can_be_written_no_work_is_begun)
{
	AUTO(run_fini) struct run trained = {0};
	AUTO(run_fini) struct run drawn = {0};
	AUTO(run_fini) struct run over = {0};

	trained = RUN("train", at("none.jsonl"), "--scorer", "linear", "--out", at("no/a.linear"));
	cr_expect_eq(trained.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(trained.err, "no/a.linear: No such file"), "%s", trained.err);
	cr_expect_null(strstr(trained.err, "none.jsonl"), "%s", trained.err);
	drawn = RUN("eval", at("none.jsonl"), "--scorer", "id", "--plot", at("no/p.svg"));
	cr_expect_eq(drawn.code, CLI_BAD_NEWS);
	cr_expect_null(strstr(drawn.err, "none.jsonl"), "%s", drawn.err);
	over = RUN("train", at("none.jsonl"), "--scorer", "linear", "--out", folder);
	cr_expect_not_null(strstr(over.err, "Is a directory"), "%s", over.err);
}

Test(cli_lab, training_twice_gives_the_same_bytes)
{
	AUTO(buf_fini) struct buf a = BUF_INIT;
	AUTO(buf_fini) struct buf b = BUF_INIT;
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run s = {0};

	write_rows(at("a.jsonl"));
	r = RUN("train", at("a.jsonl"), "--scorer", "linear", "--seed", "3", "--out",
		at("a.linear"));
	s = RUN("train", at("a.jsonl"), "--scorer", "linear", "--seed", "3", "--out",
		at("b.linear"));
	cr_assert_eq(r.code + s.code, 0, "%s%s", r.err, s.err);
	cr_assert_eq(lab_read(&a, at("a.linear"), NULL), ERR_OK);
	cr_assert_eq(lab_read(&b, at("b.linear"), NULL), ERR_OK);
	cr_assert_gt(a.len, 0);
	cr_expect(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	cr_expect_not_null(strstr(r.out, "even"), "the report has a line for each set: %s", r.out);
}

/* What the report of a training says of one of its sets. */
static struct json
set_of(struct json report, size_t n)
{
	struct json_iter it = json_iter(json_get(report, "sets"));
	struct json set = {.type = JSON_NONE};

	for (size_t i = 0; i <= n; i++)
		cr_assert(json_next_item(&it, &set), "no set %zu", i);
	return set;
}

/* So many rows of a set, of other words than those of the sets before. */
static void
add_set(struct buf *text, const char *set, int rows, const char *models)
{
	for (int i = 0; i < rows; i++)
		buf_addf(text,
			"{\"dataset\":\"%s\",\"prompt\":\"%s of number %d\",\"scores\":%s}\n", set,
			set, i, models);
}

Test(cli_lab, the_report_of_training_is_of_the_rows_that_were_trained_on)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run all = {0};
	AUTO(run_fini) struct run only = {0};
	struct json v;

	add_set(&text, "maths/algebra", 40, "{\"a\":0,\"b\":1}");
	add_set(&text, "maths/groups", 30, "{\"a\":0,\"b\":1}");
	add_set(&text, "maths-hard", 50, "{\"a\":1,\"b\":1}");
	write_file(at("a.jsonl"), buf_str(&text));
	all = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"), "--json");
	v = parse(&all);
	cr_expect_eq(number(set_of(v, 0), "rows"), 70, "%s", all.out);
	cr_expect_eq(number(set_of(v, 1), "rows"), 50, "%s", all.out);
	only = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"), "--json",
		"--only", "maths/alg");
	v = parse(&only);
	cr_expect_eq(number(v, "rows"), 40);
	cr_expect_eq(number(set_of(v, 0), "rows"), 40, "%s", only.out);
}

/* There is no such encoder: it is not asked. */
Test(cli_lab, too_many_rows_are_told_before_they_are_embedded)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run r = {0};

	add_set(&text, "s", TRAIN_ROWS_MAX + 1, "{\"a\":0,\"b\":1}");
	write_file(at("a.jsonl"), buf_str(&text));
	r = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"), "--encoder",
		at("none"));
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(r.err, "24577 rows are too many"), "%s", r.err);
	cr_expect_null(strstr(r.err, "none"), "%s", r.err);
}

/* Its mean is the highest, as nobody asked it the hard ones. */
Test(cli_lab, a_model_that_was_asked_easy_questions_only_is_no_better_for_it, .timeout = 60)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run made = {0};
	AUTO(run_fini) struct run r = {0};

	add_set(&text, "simple", 60, "{\"lucky\":0.9,\"good\":1,\"poor\":0.8}");
	add_set(&text, "difficult", 60, "{\"good\":0.5,\"poor\":0.3}");
	write_file(at("a.jsonl"), buf_str(&text));
	buf_clear(&text);
	add_set(&text, "elsewhere", 40, "{\"lucky\":0,\"good\":1}");
	write_file(at("b.jsonl"), buf_str(&text));
	made = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"));
	cr_assert_eq(made.code, CLI_OK, "%s", made.err);
	buf_clear(&text);
	buf_addf(&text, "linear:%s", at("a.linear"));
	r = RUN("eval", at("b.jsonl"), "--scorer", buf_str(&text), "--many", "--json");
	cr_expect_float_eq(number(parse(&r), "routed.quality"), 1, 1e-9, "%s%s", r.out, r.err);
	cr_expect_float_eq(number(parse(&r), "abstaining.quality"), 1, 1e-9, "%s", r.out);
}

Test(cli_lab, other_data_may_write_a_models_name_otherwise, .timeout = 60)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run r = {0};

	add_set(&text, "theirs", 60, "{\"Lab/Good-7B\":1,\"lab/bad-7b\":0}");
	write_file(at("a.jsonl"), buf_str(&text));
	buf_clear(&text);
	add_set(&text, "ours", 40, "{\"good-7b\":0.6,\"bad-7b\":0.5}");
	write_file(at("b.jsonl"), buf_str(&text));
	r = RUN("eval", "--data", at("b.jsonl"), "--train-data", at("a.jsonl"), "--scorer",
		"linear", "--many", "--json");
	cr_expect_float_eq(number(parse(&r), "routed.quality"), 0.6, 1e-6, "%s%s", r.out, r.err);
}

Test(cli_lab, the_choice_is_among_the_models_that_are_named, .timeout = 60)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run one = {0};
	AUTO(run_fini) struct run pair = {0};

	add_set(&text, "all", 40, "{\"a\":0,\"b\":1,\"c\":0.5,\"d\":1}");
	add_set(&text, "some", 30, "{\"a\":0,\"d\":1}");
	write_file(at("a.jsonl"), buf_str(&text));
	r = RUN("eval", at("a.jsonl"), "--scorer", "oracle", "--many", "--json", "--among", "a",
		"--among", "c", "--among", "c");
	cr_expect_eq(number(parse(&r), "rows"), 40, "%s%s", r.out, r.err);
	cr_expect_eq(number(parse(&r), "rows_left_out"), 30);
	cr_expect_eq(number(parse(&r), "best_single"), 0.5, "b and d are no candidates: %s", r.out);
	one = RUN("eval", at("a.jsonl"), "--scorer", "oracle", "--among", "a");
	cr_expect_eq(one.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(one.err, "--among names one model"), "%s", one.err);
	pair = RUN("eval", at("a.jsonl"), "--scorer", "oracle", "--among", "a", "--weak", "a",
		"--strong", "b");
	cr_expect_eq(pair.code, CLI_USAGE);
}

Test(cli_lab, a_set_of_few_rows_with_models_of_its_own_does_not_end_the_training)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run e = {0};

	add_set(&text, "many", 60, "{\"a\":0,\"b\":1}");
	add_set(&text, "few", 1, "{\"c\":0,\"d\":1}");
	write_file(at("a.jsonl"), buf_str(&text));
	r = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"));
	cr_expect_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(strstr(r.out, "\nmany"), "%s", r.out);
	cr_expect_null(strstr(r.out, "\nfew"), "%s", r.out);
	e = RUN("eval", at("a.jsonl"), "--scorer", "linear", "--weak", "c", "--strong", "d");
	cr_expect_eq(e.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(e.err, "too few"), "%s", e.err);
}

Test(cli_lab, a_trained_file_is_calibrated)
{
	AUTO(run_fini) struct run trained = {0};
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run q = {0};
	struct json v;

	write_rows(at("a.jsonl"));
	trained = RUN("train", at("a.jsonl"), "--scorer", "linear", "--out", at("a.linear"));
	cr_assert_eq(trained.code, CLI_OK, "%s", trained.err);
	{
		char spec[80];

		(void)snprintf(spec, sizeof(spec), "linear:%s", at("a.linear"));
		r = RUN("calibrate", at("a.jsonl"), "--scorer", spec, "--strong-pct", "33.4",
			"--weak", "small", "--strong", "big", "--json");
		v = parse(&r);
		cr_expect_float_eq(number(v, "share"), 20.0 / 60, 0.05);
		cr_expect_float_eq(number(v, "saving"), 1 - (20 + 4) / 60.0, 0.06);
		cr_expect_gt(number(v, "quality"), 0.9);
		q = RUN("calibrate", at("a.jsonl"), "--scorer", spec, "--quality", "100%",
			"--json");
		v = parse(&q);
		cr_expect_geq(number(v, "quality"), number(v, "strong") - 1e-9);
		cr_expect_lt(number(v, "share"), 0.5);
	}
}

Test(cli_lab, logged_prompts_without_scores_calibrate_a_share)
{
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run q = {0};
	struct json v;

	write_file(at("a.jsonl"), "{\"prompt\":\"hi\"}\n{\"prompt\":\"Prove that there are "
				  "infinitely many primes.\"}\n");
	r = RUN("calibrate", at("a.jsonl"), "--scorer", "heuristic", "--strong-pct", "50",
		"--json");
	v = parse(&r);
	cr_expect_float_eq(number(v, "share"), 0.5, 1e-9);
	cr_expect_eq(json_get(v, "quality").type, JSON_NULL);
	q = RUN("calibrate", at("a.jsonl"), "--scorer", "heuristic", "--quality", "1");
	cr_expect_eq(q.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(q.err, "no `scores`"), "%s", q.err);
}

/* Clients that keep their connections may all be at one gateway. */
Test(cli_lab, one_empty_log_among_several_is_no_fault)
{
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run none = {0};

	write_file(at("a.jsonl"), "");
	write_file(at("b.jsonl"), "{\"prompt\":\"hi\"}\n{\"prompt\":\"Prove the theorem.\"}\n");
	r = RUN("calibrate", at("a.jsonl"), at("b.jsonl"), "--scorer", "heuristic", "--strong-pct",
		"50", "--json");
	cr_expect_eq(number(parse(&r), "rows"), 2);
	write_file(at("b.jsonl"), "");
	none = RUN("calibrate", at("a.jsonl"), at("b.jsonl"), "--scorer", "heuristic",
		"--strong-pct", "50");
	cr_expect_eq(none.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(none.err, "no rows"), "%s", none.err);
}

/* The heuristic wants 0.05 * (1 + log2(words / 16)) of texts that say nothing else. */
Test(cli_lab, the_model_that_calibrate_names_sends_what_it_says)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run never = {0};
	double threshold, named;
	const char *at_threshold, *at_named;

	for (int i = 0; i < 40; i++) {
		buf_add_str(&text, "{\"prompt\":\"");
		for (int k = 0; k < (i % 2 == 0 ? 19 : 23); k++)
			buf_addf(&text, "river%d ", i);
		buf_add_str(&text, "\"}\n");
	}
	write_file(at("a.jsonl"), buf_str(&text));
	r = RUN("calibrate", at("a.jsonl"), "--scorer", "heuristic", "--strong-pct", "50");
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(strstr(r.out, " 50.0 % of the calls"), "%s", r.out);
	at_threshold = strstr(r.out, "threshold ");
	at_named = strstr(r.out, "router-heuristic-");
	cr_assert(at_threshold != NULL && at_named != NULL, "%s", r.out);
	threshold = strtod(at_threshold + strlen("threshold "), NULL);
	named = strtod(at_named + strlen("router-heuristic-"), NULL);
	cr_expect_eq(named, threshold, "%s", r.out);

	/* everything wants 1, and a threshold above 1 stands in no route */
	never = RUN(
		"calibrate", at("a.jsonl"), "--scorer", "strong", "--strong-pct", "0", "--json");
	cr_expect_eq(number(parse(&never), "threshold"), 1, "%s", never.out);
	cr_expect_eq(number(parse(&never), "share"), 1, "%s", never.out);
}

/* ---- the small model's own confidence ---- */

/* 10 rows: small is right in the first six, and the surer the earlier the row. */
static void
write_confident(const char *path, const char *of)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (int i = 0; i < 10; i++)
		buf_addf(&text,
			"{\"prompt\":\"row %d\",\"scores\":{\"small\":%d,\"big\":1},"
			"\"costs\":{\"small\":1,\"big\":10},\"confidence\":{\"%s\":%.2f}}\n",
			i, i < 6, of, 0.95 - 0.05 * i);
	write_file(path, buf_str(&text));
}

Test(cli_lab, a_cascade_is_evaluated_by_its_confidence_and_pays_twice)
{
	AUTO(run_fini) struct run r = {0};
	struct json v;

	write_confident(at("a.jsonl"), "small");
	r = RUN("eval", at("a.jsonl"), "--scorer", "cascade", "--weak", "small", "--strong", "big",
		"--json");
	v = parse(&r);
	cr_expect_gt(number(v, "apgr"), 0.7, "the unsure rows are those that are wrong");
	cr_expect_float_eq(number(v, "cpt80"), 0.4, 0.101);
	cr_expect_eq(
		json_get(v, "flips").type, JSON_NULL, "noise in a prompt changes nothing here");
	/* four of ten go on: 6 * 1 + 4 * (1 + 10) */
	cr_expect_float_eq(number(v, "cost.equal_quality.cost"), 5, 0.51);
	cr_expect_float_eq(number(v, "cost.best_single"), 10, 1e-9, "alone it pays nobody else");
}

Test(cli_lab, a_cascade_is_calibrated_to_a_confidence)
{
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run q = {0};
	struct json v;

	write_confident(at("a.jsonl"), "small");
	r = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--weak", "small", "--strong",
		"big", "--strong-pct", "40", "--json");
	v = parse(&r);
	cr_expect_float_eq(number(v, "share"), 0.4, 1e-9);
	cr_expect_float_eq(number(v, "quality"), 1, 1e-9);
	cr_expect_gt(number(v, "threshold"), (double)0.65F, "the fourth is below it");
	cr_expect_lt(number(v, "threshold"), 0.70, "the fifth is not");
	cr_expect_float_eq(number(v, "measured.cost"), (6 + 4 * 11) / 10.0, 1e-6);
	q = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--weak", "small", "--strong",
		"big", "--quality", "100%", "--json");
	v = parse(&q);
	cr_expect_float_eq(number(v, "share"), 0.4, 1e-9);
}

/* Just beyond the wants of all rows lies no confidence of its own: 1 - t is as coarse as 1. */
Test(cli_lab, a_cascade_that_asks_no_strong_one_lets_the_least_sure_row_pass)
{
	AUTO(run_fini) struct run none = {0};
	AUTO(run_fini) struct run all = {0};

	write_file(at("a.jsonl"), "{\"prompt\":\"a\",\"confidence\":{\"m\":0.9}}\n"
				  "{\"prompt\":\"b\",\"confidence\":{\"m\":0.9}}\n");
	none = RUN(
		"calibrate", at("a.jsonl"), "--scorer", "cascade", "--strong-pct", "0", "--json");
	cr_expect_eq(number(parse(&none), "share"), 0);
	cr_expect_leq(number(parse(&none), "threshold"), (double)0.9F);
	all = RUN(
		"calibrate", at("a.jsonl"), "--scorer", "cascade", "--strong-pct", "100", "--json");
	cr_expect_eq(number(parse(&all), "share"), 1);
	cr_expect_gt(number(parse(&all), "threshold"), (double)0.9F);
}

Test(cli_lab, a_daemons_own_log_calibrates_its_cascade)
{
	AUTO(run_fini) struct run r = {0};
	struct json v;

	write_file(at("a.jsonl"),
		"{\"dataset\":\"log/doubt\",\"prompt\":\"a\",\"confidence\":{\"small\":0.9}}\n"
		"{\"dataset\":\"log/other\",\"prompt\":\"b\"}\n"
		"{\"dataset\":\"log/doubt\",\"prompt\":\"c\",\"confidence\":{\"small\":0.4}}\n"
		"{\"dataset\":\"log/two\",\"prompt\":\"d\",\"confidence\":{\"tiny\":0.4}}\n");
	r = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--weak", "small", "--only",
		"log/doubt", "--strong-pct", "50", "--json");
	v = parse(&r);
	cr_expect_float_eq(number(v, "share"), 0.5, 1e-9);
	cr_expect_gt(number(v, "threshold"), (double)0.4F);
	cr_expect_lt(number(v, "threshold"), 0.9);
}

Test(cli_lab, a_weak_model_that_a_log_does_not_know_gets_near_ones)
{
	AUTO(run_fini) struct run wrong = {0};
	AUTO(run_fini) struct run none = {0};
	AUTO(run_fini) struct run untold = {0};

	write_file(at("a.jsonl"), "{\"prompt\":\"a\",\"confidence\":{\"small\":0.9}}\n"
				  "{\"prompt\":\"b\",\"confidence\":{\"tiny\":0.4}}\n");
	wrong = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--weak", "smal",
		"--strong-pct", "50");
	cr_expect_eq(wrong.code, CLI_USAGE);
	cr_expect_not_null(strstr(wrong.err, "near: small"), "%s", wrong.err);
	none = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--strong-pct", "50");
	cr_expect_eq(none.code, CLI_USAGE);
	cr_expect_not_null(strstr(none.err, "--weak MODEL is missing"), "%s", none.err);
	write_file(at("a.jsonl"), "{\"prompt\":\"a\"}\n");
	untold = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--weak", "small",
		"--strong-pct", "50");
	cr_expect_eq(untold.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(untold.err, "a.jsonl:1: no `confidence`\n"), "%s", untold.err);
}

Test(cli_lab, a_row_that_lacks_its_confidence_is_named)
{
	static const char *const commands[] = {"eval", "calibrate"};

	write_confident(at("a.jsonl"), "small");
	write_confident(at("b.jsonl"), "big");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		AUTO(run_fini)
		struct run r = RUN(commands[i], at("a.jsonl"), at("b.jsonl"), "--scorer", "cascade",
			"--weak", "small", "--strong", "big",
			i == 0 ? "--json" : "--strong-pct=50");

		cr_expect_eq(r.code, CLI_BAD_NEWS);
		cr_expect_not_null(
			strstr(r.err, "b.jsonl:1: no `confidence` of `small`"), "%s", r.err);
	}
}

Test(cli_lab, a_confidence_is_a_number_from_0_to_1)
{
	AUTO(run_fini) struct run r = {0};

	write_file(at("a.jsonl"), "{\"prompt\":\"a\",\"confidence\":{\"m\":1.5}}\n");
	r = RUN("calibrate", at("a.jsonl"), "--scorer", "cascade", "--strong-pct", "50");
	cr_expect_not_null(strstr(r.err, "a.jsonl:1: confidence of `m` is 1.5"), "%s", r.err);
}

Test(cli_lab, every_bad_row_is_told)
{
	AUTO(run_fini) struct run r = {0};

	write_file(at("a.jsonl"), "{}\n{\"prompt\":\"a\",\"scores\":{\"m\":1,\"n\":0}}\nx\n");
	r = RUN("eval", at("a.jsonl"), "--scorer", "id");
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(r.err, "a.jsonl:1: no `prompt`"), "%s", r.err);
	cr_expect_not_null(strstr(r.err, "a.jsonl:3: "), "%s", r.err);
	cr_expect_str_eq(r.out, "");
}

Test(cli_lab, unknown_names_get_near_ones)
{
	AUTO(run_fini) struct run scorer = {0};
	AUTO(run_fini) struct run model = {0};

	write_rows(at("a.jsonl"));
	scorer = RUN("eval", at("a.jsonl"), "--scorer", "orakle");
	cr_expect_eq(scorer.code, CLI_USAGE);
	cr_expect_not_null(strstr(scorer.err, "did you mean `oracle`?"), "%s", scorer.err);
	model = RUN("eval", at("a.jsonl"), "--scorer", "id", "--weak", "smal", "--strong", "big");
	cr_expect_eq(model.code, CLI_USAGE);
	cr_expect_not_null(strstr(model.err, "near: v/small, big"), "%s", model.err);
}

Test(cli_lab, models_of_one_mean_have_no_gap_to_recover)
{
	AUTO(run_fini) struct run r = {0};
	AUTO(run_fini) struct run j = {0};
	struct json v;

	write_file(at("a.jsonl"), "{\"prompt\":\"a\",\"scores\":{\"m\":0.1,\"n\":0.3}}\n"
				  "{\"prompt\":\"b\",\"scores\":{\"m\":0.2,\"n\":0}}\n"
				  "{\"prompt\":\"c\",\"scores\":{\"m\":0.7,\"n\":0.7}}\n");
	r = RUN("eval", at("a.jsonl"), "--scorer", "id");
	cr_expect_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_null(strstr(r.out, "nan"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "no gap to recover"), "%s", r.out);
	j = RUN("eval", at("a.jsonl"), "--scorer", "id", "--json");
	v = parse(&j);
	cr_expect_eq(json_get(v, "apgr").type, JSON_NULL);
	cr_expect_not_null(strstr(j.out, "\"apgr_ci95\":[null,null]"), "%s", j.out);
}

Test(cli_lab, one_row_is_evaluated)
{
	AUTO(run_fini) struct run r = {0};
	struct json v;

	write_file(at("a.jsonl"), "{\"prompt\":\"a\",\"scores\":{\"m\":0,\"n\":1}}\n");
	r = RUN("eval", at("a.jsonl"), "--scorer", "chars", "--json");
	v = parse(&r);
	cr_expect_float_eq(number(v, "apgr"), 0.5, 1e-12);
	cr_expect_float_eq(number(v, "cpt20"), 1, 1e-12);
}

Test(cli_lab, wrong_command_lines_are_told)
{
	AUTO(run_fini) struct run none = {0};
	AUTO(run_fini) struct run twice = {0};
	AUTO(run_fini) struct run folds = {0};
	AUTO(run_fini) struct run mixed = {0};
	AUTO(run_fini) struct run few = {0};

	write_rows(at("a.jsonl"));
	none = RUN("eval", "--scorer", "id");
	cr_expect_not_null(strstr(none.err, "--data FILE is missing"), "%s", none.err);
	twice = RUN("eval", "--scorer", "id", at("a.jsonl"), at("a.jsonl"));
	cr_expect_not_null(strstr(twice.err, "is given twice"), "%s", twice.err);
	folds = RUN("eval", "--scorer", "linear", at("a.jsonl"), "--folds", "1");
	cr_expect_not_null(strstr(folds.err, "--folds wants a number from 2"), "%s", folds.err);
	mixed = RUN("eval", "--scorer", "linear", "--train-data", at("b.jsonl"), at("a.jsonl"));
	cr_expect_not_null(strstr(mixed.err, "data or training data?"), "%s", mixed.err);
	cr_expect_eq(mixed.code, CLI_USAGE);
	write_file(at("b.jsonl"), "{\"prompt\":\"a\",\"scores\":{\"m\":0,\"n\":1}}\n");
	few = RUN("eval", "--scorer", "linear", at("b.jsonl"));
	cr_expect_eq(few.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(few.err, "too few for 5 folds"), "%s", few.err);
}

Test(cli_lab, a_damaged_archive_is_told)
{
	AUTO(run_fini) struct run r = {0};

	write_file(at("a.jsonl"), "\x1f\x8b\x08\x00\x01\x02\x03\x04\x05\x06zzzz");
	r = RUN("eval", at("a.jsonl"), "--scorer", "id");
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_not_null(strstr(r.err, "a.jsonl: "), "%s", r.err);
}
