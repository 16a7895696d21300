/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli.c - the command line without a daemon: help, usage, check, tables, completion, man pages
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/table.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"

struct run {
	char *out, *err;
	int code;
};

static struct run
run(const char *const *words)
{
	char *argv[16] = {strdup("shunt")};
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

static void
read_file(struct buf *out, const char *name)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	char piece[4096];
	size_t n;
	FILE *f;

	buf_addf(&path, "%s/%s", root != NULL ? root : ".", name);
	f = fopen(buf_str(&path), "r");
	cr_assert_not_null(f, "%s", buf_str(&path));
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(out, piece, n);
	(void)fclose(f);
}

static void
write_file(char path[32], const char *text)
{
	int fd;

	(void)snprintf(path, 32, "/tmp/shunt-cli-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

Test(cli, help_goes_to_the_output_and_is_good)
{
	AUTO(run_fini) struct run r = RUN("--help");

	cr_assert_eq(r.code, CLI_OK);
	cr_assert_not_null(strstr(r.out, "usage: shunt COMMAND"));
	cr_assert_str_eq(r.err, "");
}

Test(cli, no_command_is_a_usage_error)
{
	const char *const none[] = {NULL};
	AUTO(run_fini) struct run r = run(none);

	cr_assert_eq(r.code, CLI_USAGE);
	cr_assert_str_eq(r.out, "");
	cr_assert_not_null(strstr(r.err, "usage:"));
}

Test(cli, an_unknown_command_suggests_a_near_one)
{
	AUTO(run_fini) struct run near = RUN("staus");
	AUTO(run_fini) struct run far = RUN("frobnicate");
	AUTO(run_fini) struct run option = RUN("--json", "status");

	cr_assert_eq(option.code, CLI_USAGE);
	cr_assert_not_null(strstr(option.err, "options come after the command"), "%s", option.err);
	cr_assert_eq(near.code, CLI_USAGE);
	cr_assert_str_eq(near.err, "shunt: unknown command `staus`; did you mean `status`?\n");
	cr_assert_eq(far.code, CLI_USAGE);
	cr_assert_str_eq(far.err, "shunt: unknown command `frobnicate`; `shunt help` lists them\n");
}

Test(cli, wrong_options_and_arguments_are_usage_errors)
{
	AUTO(run_fini) struct run option = RUN("status", "--nope");
	AUTO(run_fini) struct run value = RUN("status", "--url");
	AUTO(run_fini) struct run missing = RUN("check");
	AUTO(run_fini) struct run many = RUN("check", "a", "b");
	AUTO(run_fini) struct run foreign = RUN("check", "a", "--route", "x");

	cr_assert_eq(option.code, CLI_USAGE);
	cr_assert_not_null(strstr(option.err, "unknown option --nope"), "%s", option.err);
	cr_assert_eq(value.code, CLI_USAGE);
	cr_assert_not_null(strstr(value.err, "needs a value: --url"), "%s", value.err);
	cr_assert_eq(missing.code, CLI_USAGE);
	cr_assert_not_null(strstr(missing.err, "FILE"));
	cr_assert_eq(many.code, CLI_USAGE);
	cr_assert_eq(foreign.code, CLI_USAGE, "an option of another command");
}

Test(cli, version_in_both_forms)
{
	AUTO(run_fini) struct run text = RUN("version");
	AUTO(run_fini) struct run json = RUN("version", "--json");

	cr_assert_str_eq(text.out, "shunt " SHUNT_VERSION "\n");
	cr_assert_str_eq(json.out, "{\"version\":\"" SHUNT_VERSION "\"}\n");
}

Test(cli, check_prints_each_fault_with_file_and_line)
{
	char path[32];
	AUTO(buf_fini) struct buf want = BUF_INIT;
	struct run r;

	write_file(path, "backends: [{name: b, kind: sim}]\ngateways: 0\nroutse: 1\n");
	r = RUN("check", path);
	buf_addf(&want,
		"%s:2: gateways: 0 is out of range: allowed is 1 to 16\n"
		"%s:3: unknown key `routse` in the top level; did you mean `routes`?\n",
		path, path);
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_str_eq(r.out, buf_str(&want));
	(void)unlink(path);
	run_fini(&r);
}

Test(cli, check_of_a_good_file_is_good)
{
	char path[32];
	struct run text, json;
	struct json v;

	write_file(path, "backends: [{name: b, kind: sim}]\n");
	text = RUN("check", path);
	json = RUN("check", "--json", path);
	cr_expect_eq(text.code, CLI_OK);
	cr_expect_not_null(strstr(text.out, ": good (1 backends, 0 models, 1 routes, 0 rules)"));
	cr_expect_eq(json.code, CLI_OK);
	cr_assert_eq(json_check(&v, json.out, strlen(json.out), NULL), ERR_OK);
	cr_expect(json_is_true(json_get(v, "ok")));
	(void)unlink(path);
	run_fini(&text);
	run_fini(&json);
}

Test(cli, check_looks_for_the_models_of_encoders)
{
	char path[32];
	AUTO(buf_fini) struct buf want = BUF_INIT;
	struct run r;

	write_file(path, "backends: [{name: b, kind: sim}]\nencoders:\n- name: mini\n"
			 "  folder: /nonexistent\n");
	r = RUN("check", path);
	buf_addf(
		&want, "%s:3: encoders[0].folder: /nonexistent: No such file or directory\n", path);
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_str_eq(r.out, buf_str(&want));
	(void)unlink(path);
	run_fini(&r);
}

Test(cli, check_of_a_file_that_is_not_there)
{
	AUTO(run_fini) struct run text = RUN("check", "/nonexistent");
	AUTO(run_fini) struct run json = RUN("check", "-j", "/nonexistent");
	struct json v;

	cr_assert_eq(text.code, CLI_BAD_NEWS);
	cr_assert_str_eq(text.out, "/nonexistent: No such file or directory\n");
	cr_assert_eq(json.code, CLI_BAD_NEWS);
	cr_assert_eq(json_check(&v, json.out, strlen(json.out), NULL), ERR_OK);
	cr_assert_not(json_is_true(json_get(v, "ok")));
}

Test(cli, what_needs_no_daemon_is_json_where_asked)
{
	AUTO(run_fini) struct run help = RUN("help", "--json");
	AUTO(run_fini) struct run kinds = RUN("fault", "kinds", "--json");
	AUTO(run_fini) struct run invariants = RUN("chaos", "invariants", "--json");
	const struct run *const all[] = {&help, &kinds, &invariants};
	struct json v;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cr_expect_eq(all[i]->code, CLI_OK);
		cr_expect_eq(json_check(&v, all[i]->out, strlen(all[i]->out), NULL), ERR_OK, "%s",
			all[i]->out);
	}
}

Test(cli, an_answer_that_cannot_be_written_is_no_success)
{
	char program[] = "shunt", help[] = "help", *argv[] = {program, help, NULL}, *text;
	size_t len;
	FILE *full = fopen("/dev/full", "w"), *err = open_memstream(&text, &len);

	cr_assert_not_null(full);
	cr_assert_eq(cli_main(2, argv, full, err), CLI_BAD_NEWS);
	(void)fclose(full);
	(void)fclose(err);
	cr_assert_str_eq(text, "shunt: cannot write the answer\n");
	free(text);
}

/* Every command and option that the program knows, in a file that tells of them. */
static void
expect_all_in(const char *file)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(run_fini) struct run list = RUN("help", "--json");
	static const char *const options[] = {"json", "help", "url", "config", "route", "data",
		"train", "only", "scorer", "weak", "strong", "many", "pct", "quality", "folds",
		"cost", "prices", "plot", "out", "seed", "threads", "resamples", "encoder"};
	struct json v, command;
	struct json_iter it;
	char name[32];

	read_file(&text, file);
	cr_assert_eq(json_check(&v, list.out, strlen(list.out), NULL), ERR_OK);
	it = json_iter(json_get(v, "commands"));
	while (json_next_item(&it, &command)) {
		cr_assert(json_copy_text(name, sizeof(name), json_get(command, "name")));
		cr_expect_not_null(
			strstr(buf_str(&text), name), "%s lacks the command %s", file, name);
	}
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		cr_expect_not_null(
			strstr(buf_str(&text), options[i]), "%s lacks --%s", file, options[i]);
}

Test(cli, the_man_page_tells_every_command_and_option)
{
	expect_all_in("man/shunt.1");
}

Test(cli, the_completions_know_every_command_and_option)
{
	expect_all_in("completions/shunt.bash");
	expect_all_in("completions/_shunt");
}

static void
print_table(struct buf *out, const struct table *t)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	table_print(t, "T", f);
	(void)fclose(f);
	buf_add(out, text, len);
	free(text);
}

Test(table, aligns_and_leaves_no_space_at_line_ends)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;

	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	table_column(t, "N", TABLE_RIGHT);
	table_column(t, "S", TABLE_LEFT);
	table_cell(t, "a", TABLE_PLAIN);
	table_cell(t, "1", TABLE_GOOD);
	table_cell(t, "", TABLE_BAD);
	table_cell(t, "abcdef", TABLE_PLAIN);
	table_cell(t, "100", TABLE_PLAIN);
	table_cell(t, "up", TABLE_PLAIN);
	print_table(&out, t);
	cr_assert_str_eq(buf_str(&out), "T\nNAME      N  S\na         1  -\nabcdef  100  up\n",
		"no colour where it is no terminal:\n%s", buf_str(&out));
}

Test(table, says_none_where_there_is_nothing)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;

	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	print_table(&out, t);
	cr_assert_str_eq(buf_str(&out), "T: none\n");
}

Test(table, is_whole_where_it_is_no_terminal)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(buf_fini) struct buf wide = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;

	for (int i = 0; i < 300; i++)
		buf_add_str(&wide, "w");
	table_new(&t);
	table_column(t, "A", TABLE_LEFT);
	table_cell(t, buf_str(&wide), TABLE_PLAIN);
	print_table(&out, t);
	cr_assert_not_null(strstr(buf_str(&out), buf_str(&wide)), "%s", buf_str(&out));
}

/* What a terminal so wide is shown. */
static void
print_on_terminal(struct buf *out, const struct table *t, unsigned short columns)
{
	const struct winsize size = {.ws_row = 24, .ws_col = columns};
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char name[64], got[4096];
	ssize_t n;
	FILE *f;

	cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	cr_assert_eq(ptsname_r(master, name, sizeof(name)), 0);
	slave = open(name, O_RDWR | O_NOCTTY);
	f = fdopen(slave, "w");
	cr_assert(f != NULL && ioctl(slave, TIOCSWINSZ, &size) == 0);
	table_print(t, "T", f);
	cr_assert_eq(fflush(f), 0);
	n = read(master, got, sizeof(got));
	cr_assert_gt(n, 0);
	buf_add(out, got, (size_t)n);
	(void)fclose(f);
	(void)close(master);
}

Test(table, fits_the_terminal_by_cutting_the_widest)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(buf_fini) struct buf wide = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;
	size_t column = 0;

	for (int i = 0; i < 120; i++)
		buf_add_str(&wide, "\xc3\xa4"); /* two bytes, one column */
	table_new(&t);
	table_column(t, "A", TABLE_LEFT);
	table_column(t, "B", TABLE_RIGHT);
	table_cell(t, buf_str(&wide), TABLE_PLAIN);
	table_cell(t, "short", TABLE_PLAIN);
	cr_assert_eq(setenv("NO_COLOR", "1", 1), 0);
	print_on_terminal(&out, t, 70);
	for (const char *p = buf_str(&out); *p != '\0'; p++) {
		column = *p == '\n' || *p == '\r' ? 0
						  : column + (((unsigned char)*p & 0xc0) != 0x80);
		cr_assert_leq(column, 70);
	}
	cr_assert_not_null(strstr(buf_str(&out), "\xc3\xa4~  short\r\n"), "%s", buf_str(&out));
}

Test(table, what_others_said_cannot_steer_the_terminal)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;

	table_new(&t);
	table_column(t, "A", TABLE_LEFT);
	table_cell(t, "x\033[2J\ny\x7f\xc2\x9b", TABLE_PLAIN);
	print_table(&out, t);
	cr_assert_str_eq(buf_str(&out), "T\nA\nx?[2J?y???\n");
}
