/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - one line per event on standard error
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/utf8.h"

enum { LOG_LINE_MAX = 1024 };

static struct {
	enum log_level level;
	enum log_format format;
	char who[48];
} log_state = {LOG_INFO, LOG_TEXT, "shunt"};

void
log_open(const char *who, enum log_level level, enum log_format format)
{
	(void)snprintf(log_state.who, sizeof(log_state.who), "%s", who);
	log_state.level = level;
	log_state.format = format;
}

void
log_set(enum log_level level, enum log_format format)
{
	log_state.level = level;
	log_state.format = format;
}

static void
log_timestamp(char *out, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, size - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

/* Copy text into a JSON string body. What is no UTF-8, as of a text that was cut, becomes '?'. */
static void
log_json_text(char *out, size_t size, const char *text)
{
	const char *end = text + strlen(text);
	size_t n = 0, len;

	for (; text < end && n + 4 < size; text += len) {
		len = utf8_sequence(text, end);
		if (len == 0) {
			out[n++] = '?';
			len = 1;
			continue;
		}
		if (*text == '"' || *text == '\\')
			out[n++] = '\\';
		memcpy(out + n, text, len);
		n += len;
	}
	out[n] = '\0';
}

/* A line stays one, whatever stands in a value. */
static void
log_one_line(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = ' ';
}

static int
log_format_line(char *line, size_t size, enum log_level level, const char *event, const char *text)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char stamp[40], quoted[LOG_LINE_MAX];

	log_timestamp(stamp, sizeof(stamp));
	if (log_state.format == LOG_TEXT)
		return snprintf(line, size, "%s %s %s %s %s", stamp, names[level], log_state.who,
			event, text);
	log_json_text(quoted, sizeof(quoted), text);
	return snprintf(line, size,
		"{\"time\":\"%s\",\"level\":\"%s\",\"who\":\"%s\",\"event\":\"%s\",\"text\":\"%"
		"s\"}",
		stamp, names[level], log_state.who, event, quoted);
}

void
log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[LOG_LINE_MAX + 256], text[LOG_LINE_MAX];
	int saved = errno, n;
	va_list ap;

	if (level > log_state.level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_one_line(text);
	n = log_format_line(line, sizeof(line) - 1, level, event, text);
	if (n < 0)
		return;
	n = MIN(n, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* One write per line, so that lines of several processes never mix. Nothing to do about a
	 * log that cannot be written. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = saved;
	errno = saved;
}
