/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base.c - errors, buffers, shared bytes, log lines
 */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/log.h"

Test(err, set_returns_its_code_and_fills_the_text)
{
	struct err e;

	cr_assert_eq(err_set(&e, ERR_TIMEOUT, "no byte from %s", "gpu1"), ERR_TIMEOUT);
	cr_assert_str_eq(e.text, "no byte from gpu1");
	cr_assert_eq(err_wrap(&e, "attempt %d", 2), ERR_TIMEOUT);
	cr_assert_str_eq(e.text, "attempt 2: no byte from gpu1");
}

Test(err, a_code_out_of_range_is_a_system_error)
{
	cr_assert_eq(err_code_checked(ERR_CODES), ERR_SYS);
	cr_assert_eq(err_code_checked(UINT32_MAX), ERR_SYS);
	cr_assert_eq(err_code_checked(ERR_TIMEOUT), ERR_TIMEOUT);
}

Test(err, every_name_is_unique)
{
	for (unsigned a = 0; a < ERR_CODES; a++)
		for (unsigned b = a + 1; b < ERR_CODES; b++)
			cr_assert_str_neq(err_name((enum err_code)a), err_name((enum err_code)b));
}

Test(buf, grows_and_stays_terminated)
{
	struct buf b = BUF_INIT;

	cr_assert_str_eq(buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	cr_assert_eq(strlen(b.data), b.len);
	buf_drop_front(&b, 2);
	cr_assert_eq(strncmp(b.data, "1,2,", 4), 0);
	buf_clear(&b);
	buf_add_u64(&b, 18446744073709551615ULL);
	cr_assert_str_eq(buf_str(&b), "18446744073709551615");
	buf_fini(&b);
}

Test(bytes, live_until_the_last_owner_leaves)
{
	struct buf b = BUF_INIT;
	struct bytes *one, *two;

	buf_add_str(&b, "body");
	one = bytes_from_buf(&b);
	cr_assert_null(b.data);
	two = bytes_ref(one);
	bytes_unref(&one);
	cr_assert_null(one);
	cr_assert_eq(memcmp(two->data, "body", two->len), 0);
	bytes_unref(&two);
	bytes_unref(&two);
}

static void
note_free(void *arg)
{
	++*(int *)arg;
}

Test(bytes, an_adopted_block_goes_back_once_with_its_last_owner)
{
	int freed = 0;
	struct bytes *one = bytes_adopt("abc", 3, note_free, &freed), *two = bytes_ref(one);

	bytes_unref(&one);
	cr_assert_eq(freed, 0);
	cr_assert_eq(two->len, 3);
	bytes_unref(&two);
	cr_assert_eq(freed, 1);
}

/* What one call of log_error writes. */
static void
logged(char out[2048], enum log_format format, const char *value)
{
	int pipe_fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	cr_assert_eq(pipe(pipe_fds), 0);
	cr_assert(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
	log_open("t", LOG_INFO, format);
	log_error("event", "why=\"%s\"", value);
	cr_assert(dup2(saved, STDERR_FILENO) >= 0);
	n = read(pipe_fds[0], out, 2047);
	cr_assert_gt(n, 0);
	out[n] = '\0';
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	(void)close(saved);
}

Test(log, a_line_is_one_line_and_json_is_json_whatever_a_value_holds)
{
	char line[2048], longest[1500];
	struct json v;

	logged(line, LOG_TEXT, "a\nb\x1b[31m");
	cr_assert_not_null(strstr(line, "why=\"a b [31m\"\n"));
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1);
	logged(line, LOG_JSON, "cut \xc3\xa9\xc3");
	cr_assert_not_null(strstr(line, "cut \xc3\xa9?"), "%s", line);
	for (size_t cut = 0; cut < 2; cut++) {
		for (size_t i = 0; i + 1 < sizeof(longest); i++)
			longest[i] = i < cut ? 'x' : (i - cut) % 2 == 0 ? '\xc3' : '\xa9';
		longest[sizeof(longest) - 1] = '\0';
		logged(line, LOG_JSON, longest);
		cr_assert_eq(json_check(&v, line, strlen(line), NULL), ERR_OK, "%s", line);
	}
}
