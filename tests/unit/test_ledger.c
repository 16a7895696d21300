/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ledger.c - the log's lines and files: checked, rotated, torn, full, written by one
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/ledger/ledger.h"

static char folder[64];

static void
make_folder(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/shunt-ledger-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

static void
remove_folder(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(ledger, .init = make_folder, .fini = remove_folder, .timeout = 60);

static struct ledger *
opened(uint64_t file_bytes, uint32_t files)
{
	const struct ledger_options options = {file_bytes, files};
	struct ledger *l = NULL;
	struct err e;

	cr_assert_eq(ledger_open(&l, folder, &options, &e), ERR_OK, "%s", e.text);
	return l;
}

static void
add(struct ledger *l, unsigned n)
{
	char source[LEDGER_SOURCE_MAX], record[200];

	(void)snprintf(source, sizeof(source), "0:r:%u", n);
	(void)snprintf(
		record, sizeof(record), "{\"n\":%u,\"text\":\"some more to fill the line\"}", n);
	ledger_add(l, source, record, strlen(record));
}

static void
add_and_write(struct ledger *l, unsigned n)
{
	struct err e;

	add(l, n);
	cr_assert_eq(ledger_write(l, &e), ERR_OK, "%s", e.text);
}

/* All lines of all files: how many are whole. */
static unsigned
count_lines(unsigned *bad)
{
	uint32_t *numbers;
	unsigned good = 0;
	struct err e;
	size_t len;

	*bad = 0;
	cr_assert_eq(ledger_files(&numbers, &len, folder, &e), ERR_OK, "%s", e.text);
	for (size_t i = 0; i < len; i++) {
		AUTO(buf_fini) struct buf path = BUF_INIT;
		char line[LEDGER_LINE_MAX], source[LEDGER_SOURCE_MAX];
		FILE *f;

		ledger_file_path(&path, folder, numbers[i]);
		f = fopen(buf_str(&path), "r");
		cr_assert_not_null(f);
		while (fgets(line, sizeof(line), f) != NULL) {
			if (ledger_line_check(line, strcspn(line, "\n"), source))
				good++;
			else
				(*bad)++;
		}
		(void)fclose(f);
	}
	free(numbers);
	return good;
}

Test(ledger, a_line_is_json_and_any_changed_byte_is_found)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	char source[LEDGER_SOURCE_MAX];

	ledger_line_put(&line, "12:s:34", "{\"a\":1,\"b\":\"x\"}", 15);
	cr_assert_not_null(strstr(buf_str(&line), "\"src\":\"12:s:34\",\"a\":1,\"b\":\"x\"}\n"));
	cr_assert(ledger_line_check(line.data, line.len - 1, source));
	cr_assert_str_eq(source, "12:s:34");
	for (size_t i = 0; i + 1 < line.len; i++) {
		line.data[i] ^= 4;
		cr_assert_not(ledger_line_check(line.data, line.len - 1, source), "byte %zu", i);
		line.data[i] ^= 4;
	}
	for (size_t len = 0; len + 1 < line.len; len++)
		cr_assert_not(ledger_line_check(line.data, len, source), "%zu bytes", len);
}

Test(ledger, files_rotate_and_old_ones_go)
{
	struct ledger *l = opened(1000, 3);
	uint32_t *numbers;
	struct err e;
	unsigned bad;
	size_t len;

	for (unsigned n = 0; n < 100; n++)
		add_and_write(l, n);
	ledger_close(&l);
	cr_assert_eq(ledger_files(&numbers, &len, folder, &e), ERR_OK);
	cr_assert_eq(len, 3);
	cr_assert_eq(numbers[0] + 2, numbers[2]);
	cr_assert_gt(numbers[0], 1);
	free(numbers);
	cr_assert_gt(count_lines(&bad), 20);
	cr_assert_eq(bad, 0);
}

Test(ledger, the_next_writer_goes_on_and_knows_the_last_sources)
{
	struct ledger *l = opened(1 << 20, 0);

	for (unsigned n = 0; n < 10; n++)
		add_and_write(l, n);
	ledger_close(&l);
	l = opened(1 << 20, 0);
	cr_assert(ledger_has(l, "0:r:0") && ledger_has(l, "0:r:9"));
	cr_assert_not(ledger_has(l, "0:r:10"));
	cr_assert_eq(ledger_torn(l), 0);
	ledger_close(&l);
}

Test(ledger, a_file_that_somebody_removed_or_emptied_takes_no_records_along)
{
	struct ledger *l = opened(100000, 0);
	AUTO(buf_fini) struct buf path = BUF_INIT;
	unsigned bad;

	add_and_write(l, 1);
	ledger_file_path(&path, folder, 1);
	cr_assert_eq(unlink(buf_str(&path)), 0);
	add_and_write(l, 2);
	add_and_write(l, 3);
	cr_assert_eq(count_lines(&bad), 2);
	cr_assert_eq(bad, 0);
	buf_clear(&path);
	ledger_file_path(&path, folder, 2);
	cr_assert_eq(truncate(buf_str(&path), 0), 0);
	add_and_write(l, 4);
	cr_assert_eq(count_lines(&bad), 1);
	cr_assert_eq(bad, 0, "no hole where the others were");
	ledger_close(&l);
}

Test(ledger, a_file_that_somebody_cut_within_a_line_spoils_no_record_of_ours)
{
	struct ledger *l = opened(100000, 0);
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat st;
	unsigned bad;

	add_and_write(l, 1);
	add_and_write(l, 2);
	ledger_file_path(&path, folder, 1);
	cr_assert_eq(stat(buf_str(&path), &st), 0);
	cr_assert_eq(truncate(buf_str(&path), st.st_size - 10), 0);
	add_and_write(l, 3);
	add_and_write(l, 4);
	cr_assert_eq(count_lines(&bad), 3, "the first, and both that came later");
	ledger_close(&l);
}

Test(ledger, a_torn_last_line_is_cut_off_and_nothing_else)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct ledger *l = opened(1 << 20, 0);
	struct stat st;
	unsigned bad;

	for (unsigned n = 0; n < 10; n++)
		add_and_write(l, n);
	ledger_close(&l);
	ledger_file_path(&path, folder, 1);
	cr_assert_eq(stat(buf_str(&path), &st), 0);
	cr_assert_eq(truncate(buf_str(&path), st.st_size - 20), 0);
	l = opened(1 << 20, 0);
	cr_assert_gt(ledger_torn(l), 0);
	cr_assert(ledger_has(l, "0:r:8"));
	cr_assert_not(ledger_has(l, "0:r:9"));
	add_and_write(l, 9);
	ledger_close(&l);
	cr_assert_eq(count_lines(&bad), 10);
	cr_assert_eq(bad, 0);
}

Test(ledger, two_writers_are_one_too_many)
{
	const struct ledger_options options = {1 << 20, 0};
	struct ledger *l = opened(1 << 20, 0), *second = NULL;
	struct err e;

	cr_assert_eq(ledger_open(&second, folder, &options, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, "another daemon"));
	ledger_close(&l);
	l = opened(1 << 20, 0);
	ledger_close(&l);
}

/* The disk is full: an error, no half record, and all goes on when there is room again. */
Test(ledger, a_full_disk_is_an_error_and_leaves_whole_lines)
{
	struct rlimit limit = {3000, RLIM_INFINITY};
	struct ledger *l = opened(1 << 20, 0);
	unsigned bad, written = 0;
	struct err e;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned n = 0; n < 100; n++) {
		add(l, 2 * n);
		add(l, 2 * n + 1);
		if (ledger_write(l, &e) == ERR_OK)
			written += 2;
	}
	cr_assert_lt(written, 100);
	cr_assert_not_null(strstr(e.text, "journal-00000001.jsonl"));
	cr_assert_eq(count_lines(&bad), written);
	cr_assert_eq(bad, 0);
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	add_and_write(l, 1000);
	cr_assert_eq(count_lines(&bad), written + 1);
	ledger_close(&l);
}
