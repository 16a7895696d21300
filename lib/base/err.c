/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c - the one table of errors
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"

struct err_row {
	const char *name;
	const char *type;
	unsigned http;
	unsigned policy;
};

static const struct err_row err_rows[ERR_CODES] = {[ERR_OK] = {"ok", "", 200, 0},
#define X(code, name_, http_, type_, policy_)                                                      \
	[code] = {.name = name_, .type = type_, .http = http_, .policy = policy_},
	ERR_LIST(X)
#undef X
};

enum err_code
err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return code;
	e->code = code;
	e->retry_after_ms = 0;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

enum err_code
err_wrap(struct err *e, const char *fmt, ...)
{
	char old[ERR_TEXT_MAX];
	va_list ap;
	int n;

	memcpy(old, e->text, sizeof(old));
	old[sizeof(old) - 1] = '\0';
	va_start(ap, fmt);
	n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(e->text))
		(void)snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", old);
	return e->code;
}

const char *
err_name(enum err_code code)
{
	return err_rows[err_code_checked(code)].name;
}

const char *
err_openai_type(enum err_code code)
{
	return err_rows[err_code_checked(code)].type;
}

unsigned
err_http_status(enum err_code code)
{
	return err_rows[err_code_checked(code)].http;
}

bool
err_cascades(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & CASCADES) != 0;
}

bool
err_counts(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & COUNTS) != 0;
}

bool
err_cools(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & COOLS) != 0;
}

bool
err_retries(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & RETRIES) != 0;
}

bool
err_wants_larger(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & LARGER) != 0;
}

bool
err_wants_other(enum err_code code)
{
	return (err_rows[err_code_checked(code)].policy & OTHER_MODEL) != 0;
}

enum err_code
err_code_checked(uint32_t raw)
{
	return raw < ERR_CODES ? (enum err_code)raw : ERR_SYS;
}
