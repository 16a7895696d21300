/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry_hint.c - when an upstream wants to be asked again
 *
 * Retry-After is seconds or an HTTP date. Resets of rate limits are a duration ("2ms", "1m30s",
 * "12"), a moment in seconds or milliseconds since 1970, or an RFC 3339 time.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workers/backend/backend.h"

enum { HINT_MAX_MS = 24 * 3600 * 1000 };

static void
hint_copy(char *out, size_t size, const char *value, size_t len)
{
	(void)msg_str_copy(out, size, (struct msg_str){.p = value, .len = len});
}

/* The row of what is limited; NULL: no room. */
static int
hint_limit(struct retry_hints *h, const char *what, size_t len)
{
	char name[sizeof(h->limits[0].name)];

	hint_copy(name, sizeof(name), what, len);
	for (size_t i = 0; i < h->limits_len; i++)
		if (strcasecmp(h->limits[i].name, name) == 0)
			return (int)i;
	if (h->limits_len == ARRAY_LEN(h->limits))
		return -1;
	h->limits[h->limits_len] = (typeof(h->limits[0])){0};
	memcpy(h->limits[h->limits_len].name, name, sizeof(name));
	return (int)h->limits_len++;
}

static void
hint_set(struct retry_hints *h, const char *what, size_t what_len, bool is_reset, const char *value,
	size_t len)
{
	int i = hint_limit(h, what, what_len);

	if (i < 0)
		return;
	if (is_reset)
		hint_copy(h->limits[i].reset, sizeof(h->limits[i].reset), value, len);
	else
		h->limits[i].spent = len >= 1 && value[0] == '0' && (len == 1 || value[1] == '.');
}

static bool
starts(const char *s, size_t len, const char *with)
{
	return len >= strlen(with) && strncasecmp(s, with, strlen(with)) == 0;
}

static bool
ends(const char *s, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && strncasecmp(s + len - n, with, n) == 0;
}

void
retry_hint_header(struct retry_hints *h, const char *name, size_t name_len, const char *value,
	size_t value_len)
{
	static const char anthropic[] = "anthropic-ratelimit-", reset[] = "x-ratelimit-reset",
			  remaining[] = "x-ratelimit-remaining";
	size_t n;

	if (name_len == 11 && starts(name, name_len, "retry-after")) {
		hint_copy(h->retry_after, sizeof(h->retry_after), value, value_len);
	} else if (name_len == 14 && starts(name, name_len, "retry-after-ms")) {
		hint_copy(h->retry_after_ms, sizeof(h->retry_after_ms), value, value_len);
	} else if (starts(name, name_len, reset)) {
		n = strlen(reset);
		hint_set(h, name + n, name_len - n, true, value, value_len);
	} else if (starts(name, name_len, remaining)) {
		n = strlen(remaining);
		hint_set(h, name + n, name_len - n, false, value, value_len);
	} else if (starts(name, name_len, anthropic)) {
		n = strlen(anthropic);
		if (ends(name, name_len, "-reset") && name_len >= n + 6)
			hint_set(h, name + n, name_len - n - 6, true, value, value_len);
		else if (ends(name, name_len, "-remaining") && name_len >= n + 10)
			hint_set(h, name + n, name_len - n - 10, false, value, value_len);
	}
}

static uint32_t
hint_clamp(double ms)
{
	if (!(ms > 0))
		return 0;
	return ms > HINT_MAX_MS ? (uint32_t)HINT_MAX_MS : (uint32_t)(ms < 1 ? 1 : ms);
}

static uint32_t
hint_until(double moment_ms, uint64_t now_wall_ms)
{
	return hint_clamp(moment_ms - (double)now_wall_ms);
}

/* An RFC 3339 time or an HTTP date; false: neither. */
static bool
hint_date_ms(double *out, const char *s)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%a, %d %b %Y %H:%M:%S",
		"%A, %d-%b-%y %H:%M:%S", "%a %b %d %H:%M:%S %Y"};
	struct tm tm;
	const char *rest;

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		tm = (struct tm){0};
		rest = strptime(s, forms[i], &tm);
		if (rest == NULL)
			continue;
		*out = (double)timegm(&tm) * 1000.0;
		if (i == 0 && *rest == '.')
			*out += strtod(rest, NULL) * 1000.0;
		return true;
	}
	return false;
}

/* "1h2m3.5s", "250ms", "12" (seconds); false: something else. */
static bool
hint_duration_ms(double *out, const char *s)
{
	double total = 0, v;
	char *end;

	if (*s == '\0')
		return false;
	while (*s != '\0') {
		if (*s < '0' || *s > '9')
			return false;
		v = strtod(s, &end);
		if (strncmp(end, "ms", 2) == 0) {
			total += v;
			end += 2;
		} else if (*end == 'd' || *end == 'h' || *end == 'm' || *end == 's') {
			total += v * (*end == 'd'          ? 86400e3
					     : *end == 'h' ? 3600e3
					     : *end == 'm' ? 60e3
							   : 1e3);
			end++;
		} else if (*end == '\0') {
			total += v * 1000;
		} else {
			return false;
		}
		s = end;
	}
	*out = total;
	return true;
}

static uint32_t
hint_value_ms(const char *s, uint64_t now_wall_ms)
{
	double ms;

	if (hint_duration_ms(&ms, s)) {
		if (ms >= 1e15) /* plain digits: milliseconds since 1970, taken for seconds above */
			return hint_until(ms / 1000, now_wall_ms);
		return ms >= 1e12 ? hint_until(ms, now_wall_ms) : hint_clamp(ms);
	}
	return hint_date_ms(&ms, s) ? hint_until(ms, now_wall_ms) : 0;
}

uint32_t
retry_hint_ms(const struct retry_hints *h, bool limited, uint64_t now_wall_ms)
{
	uint32_t spent = 0, any = 0, ms;
	double plain;

	if (h->retry_after_ms[0] != '\0' && hint_duration_ms(&plain, h->retry_after_ms))
		return hint_clamp(plain / 1000);
	if (h->retry_after[0] != '\0' && (ms = hint_value_ms(h->retry_after, now_wall_ms)) != 0)
		return ms;
	for (size_t i = 0; i < h->limits_len; i++) {
		ms = hint_value_ms(h->limits[i].reset, now_wall_ms);
		any = MAX(any, ms);
		if (h->limits[i].spent)
			spent = MAX(spent, ms);
	}
	return spent != 0 || !limited ? spent : any;
}
