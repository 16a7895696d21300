/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_backend_key.c - key files: what is taken, what is refused; hints when to come again
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workers/backend/backend.h"

static enum err_code
key_of(char **out, const char *content, size_t len, unsigned mode, struct err *e)
{
	char path[] = "/tmp/shunt-test-key-XXXXXX";
	int fd = mkstemp(path);
	enum err_code code;

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, content, len), (ssize_t)len);
	cr_assert_eq(fchmod(fd, (mode_t)mode), 0);
	(void)close(fd);
	code = key_read(out, path, e);
	(void)unlink(path);
	return code;
}

Test(backend_key, line_end_is_trimmed)
{
	AUTO(key_free) char *key = NULL;
	struct err e;

	cr_assert_eq(key_of(&key, "sk-1\r\n", 6, 0600, &e), ERR_OK, "%s", e.text);
	cr_expect_str_eq(key, "sk-1");
}

static void
expect_refused(const char *content, unsigned mode, const char *why)
{
	AUTO(key_free) char *key = NULL;
	struct err e;

	cr_assert_eq(key_of(&key, content, strlen(content), mode, &e), ERR_CONFIG);
	cr_expect_not_null(strstr(e.text, why), "%s", e.text);
	cr_expect_null(key);
}

Test(backend_key, file_for_everybody_is_refused)
{
	expect_refused("sk-1\n", 0644, "open to every user");
}

Test(backend_key, empty_and_strange_files_are_refused)
{
	expect_refused("\n", 0600, "is empty");
	expect_refused("sk-1\nsk-2\n", 0600, "one line");
	expect_refused("sk 1\n", 0600, "one line");
}

Test(backend_key, missing_file_is_named)
{
	AUTO(key_free) char *key = NULL;
	struct err e;

	cr_assert_eq(key_read(&key, "/nonexistent/key", &e), ERR_CONFIG);
	cr_expect_not_null(strstr(e.text, "/nonexistent/key"));
}

static uint32_t
hint(const char *name, const char *value)
{
	struct retry_hints h = {0};

	retry_hint_header(&h, name, strlen(name), value, strlen(value));
	return retry_hint_ms(&h, true, UINT64_C(1754667650000));
}

Test(retry_hint, all_forms)
{
	cr_expect_eq(hint("Retry-After", "7"), 7000);
	cr_expect_eq(hint("retry-after-ms", "250"), 250);
	cr_expect_eq(hint("Retry-After", "Fri, 08 Aug 2025 15:41:00 GMT"), 10000);
	cr_expect_eq(hint("Retry-After", "Fri, 08 Aug 2015 15:41:00 GMT"), 0);
	cr_expect_eq(hint("x-ratelimit-reset-tokens", "1m2.5s"), 62500);
	cr_expect_eq(hint("x-ratelimit-reset-requests", "2ms"), 2);
	cr_expect_eq(hint("X-RateLimit-Reset", "1754667660000"), 10000);
	cr_expect_eq(hint("X-RateLimit-Reset", "1754667660"), 10000);
	cr_expect_eq(hint("anthropic-ratelimit-tokens-reset", "2025-08-08T15:41:00Z"), 10000);
	cr_expect_eq(hint("Retry-After", "soon"), 0);
	cr_expect_eq(hint("Retry-After", "-5"), 0);
	cr_expect_eq(hint("Retry-After", "99999999999"), 24U * 3600 * 1000);
	cr_expect_eq(hint("Content-Length", "7"), 0);
}

Test(retry_hint, the_limit_that_is_spent_decides)
{
	static const char *const lines[][2] = {{"x-ratelimit-reset-requests", "1h"},
		{"x-ratelimit-remaining-requests", "59"}, {"x-ratelimit-reset-tokens", "3s"},
		{"x-ratelimit-remaining-tokens", "0"}};
	struct retry_hints h = {0};

	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		retry_hint_header(
			&h, lines[i][0], strlen(lines[i][0]), lines[i][1], strlen(lines[i][1]));
	cr_expect_eq(retry_hint_ms(&h, false, 0), 3000);
}

Test(retry_hint, limits_that_are_not_spent_mean_nothing_unless_limited)
{
	static const char *const lines[][2] = {{"x-ratelimit-remaining-requests", "59"},
		{"x-ratelimit-reset-requests", "1s"}, {"x-ratelimit-remaining-tokens", "149984"},
		{"x-ratelimit-reset-tokens", "6m0s"}};
	struct retry_hints h = {0};
	struct refusal r = {.status = 503, .body = "{}", .len = 2, .hints = &h};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		retry_hint_header(
			&h, lines[i][0], strlen(lines[i][0]), lines[i][1], strlen(lines[i][1]));
	cr_expect_eq(retry_hint_ms(&h, false, 0), 0);
	cr_expect_eq(retry_hint_ms(&h, true, 0), 360000);
	cr_expect_eq(error_map(&e, &r), ERR_OVERLOADED);
	cr_expect_eq(e.retry_after_ms, 0);
	r.status = 429;
	cr_expect_eq(error_map(&e, &r), ERR_RATE_LIMITED);
	cr_expect_eq(e.retry_after_ms, 360000);
}

Test(retry_hint, retry_after_counts_whatever_is_the_reason)
{
	struct retry_hints h = {0};
	const struct refusal r = {.status = 503, .body = "{}", .len = 2, .hints = &h};
	struct err e;

	retry_hint_header(&h, "Retry-After", 11, "7", 1);
	cr_expect_eq(retry_hint_ms(&h, false, 0), 7000);
	(void)error_map(&e, &r);
	cr_expect_eq(e.retry_after_ms, 7000);
}

Test(retry_hint, the_message_is_the_last_resort)
{
	static const char body[] =
		"{\"error\":{\"message\":\"Rate limit. Please try again in 1.5s. Bye\"}}";
	const struct refusal r = {.status = 429, .body = body, .len = strlen(body)};
	struct err e;

	cr_expect_eq(error_map(&e, &r), ERR_RATE_LIMITED);
	cr_expect_eq(e.retry_after_ms, 1500);
}
