/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_lines.c - read lines of text, or of JSON objects with a text, one after the other
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/text_lines.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"

enum { LINE_MAX_BYTES = 64 << 20 };

/* Decoded strings of the current object, reused. */
struct strings {
	struct buf text, pair;
};

static void
strings_fini(struct strings *s)
{
	buf_fini(&s->text);
	buf_fini(&s->pair);
}

static bool
absent(struct json v)
{
	return v.type == JSON_NONE || v.type == JSON_NULL;
}

static enum err_code
object_read(struct text_line *out, struct strings *s, const char *line, size_t len, struct err *e)
{
	struct json v, text, pair, max;
	uint64_t max_length = 0;

	if (json_check(&v, line, len, e) != ERR_OK)
		return e->code;
	text = json_get(v, "text");
	pair = json_get(v, "pair");
	max = json_get(v, "max_length");
	if (text.type != JSON_STRING)
		return err_set(e, ERR_INPUT, "text: must be a string");
	if (!absent(pair) && pair.type != JSON_STRING)
		return err_set(e, ERR_INPUT, "pair: must be a string");
	if (!absent(max) &&
		(!json_u64(&max_length, max) || max_length == 0 || max_length > UINT32_MAX))
		return err_set(e, ERR_INPUT, "max_length: must be a number above 0");
	buf_clear(&s->text);
	buf_clear(&s->pair);
	json_text(&s->text, text);
	json_text(&s->pair, pair);
	*out = (struct text_line){
		.text = {buf_str(&s->text), s->text.len},
		.pair = {buf_str(&s->pair), s->pair.len},
		.has_pair = pair.type == JSON_STRING,
		.max_length = (uint32_t)max_length,
	};
	return ERR_OK;
}

static enum err_code
line_handle(const struct cli *cli, struct strings *s, const char *bytes, size_t len,
	text_line_fn *fn, void *ctx, struct err *e)
{
	struct text_line line = {.text = {bytes, len}};

	if (len > LINE_MAX_BYTES)
		return err_set(e, ERR_INPUT, "longer than %d MiB", LINE_MAX_BYTES >> 20);
	if (cli->values['l'] != NULL && object_read(&line, s, bytes, len, e) != ERR_OK)
		return e->code;
	return fn(ctx, &line, e);
}

enum cli_exit
text_lines_run(const struct cli *cli, FILE *in, text_line_fn *fn, void *ctx)
{
	AUTO(strings_fini) struct strings strings = {BUF_INIT, BUF_INIT};
	char *line = NULL;
	size_t cap = 0, number = 0;
	ssize_t len = 0;
	struct err e = {.code = ERR_OK};
	int fd = fileno(cli->out), why;
	bool person = fd >= 0 && isatty(fd) == 1, unread;

	while (e.code == ERR_OK && (len = getline(&line, &cap, in)) >= 0) {
		number++;
		if (len > 0 && line[len - 1] == '\n')
			len--;
		e.code = line_handle(cli, &strings, line, (size_t)len, fn, ctx, &e);
		if (ferror(cli->out) || (person && fflush(cli->out) != 0))
			break; /* said once, by whoever flushes last */
	}
	unread =
		len < 0 && !feof(in); /* or no memory for a line, which is no error of the stream */
	why = errno;
	free(line);
	if (e.code == ERR_OK && !unread)
		return CLI_OK;
	(void)fflush(cli->out);
	if (e.code == ERR_OK)
		(void)fprintf(
			cli->err, "shunt %s: standard input: %s\n", cli->command, strerror(why));
	else
		(void)fprintf(cli->err, "shunt %s: line %zu: %s\n", cli->command, number, e.text);
	return CLI_BAD_NEWS;
}
