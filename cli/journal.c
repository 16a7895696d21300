/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - `shunt journal`: the records of requests and attempts, read from their files
 *
 * Needs no daemon: the files are only ever added to, so they may be read while it writes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "cli/table.h"
#include "config/config.h"
#include "lib/base/json.h"
#include "lib/ledger/ledger.h"

enum { JOURNAL_LAST = 20, JOURNAL_LAST_MAX = 1000000 };

/* Whole lines, the newest `most` of them, and what was seen on the way. */
struct journal_lines {
	struct buf *rows; /* a ring of `most` */
	size_t most, at, len;
	const char *only; /* --request; "" all */
	bool verify;
	char (*sources)[LEDGER_SOURCE_MAX];
	size_t sources_len, sources_cap;
	uint64_t records, damaged, twice, files;
	struct buf first_damage; /* FILE:LINE */
};

static void
lines_free(struct journal_lines *l)
{
	for (size_t i = 0; i < l->most; i++)
		buf_fini(&l->rows[i]);
	free(l->rows);
	free(l->sources);
	buf_fini(&l->first_damage);
}

static void
lines_keep(struct journal_lines *l, const char *line, size_t len)
{
	struct buf *row;

	if (l->most == 0)
		return;
	row = &l->rows[l->at];
	buf_clear(row);
	buf_add(row, line, len);
	l->at = (l->at + 1) % l->most;
	l->len = MIN(l->len + 1, l->most);
}

static void
lines_add_source(struct journal_lines *l, const char source[LEDGER_SOURCE_MAX])
{
	if (l->sources_len == l->sources_cap) {
		l->sources_cap = MAX(l->sources_cap * 2, (size_t)1024);
		l->sources = reallocarray(l->sources, l->sources_cap, sizeof(*l->sources));
		CHECK(l->sources != NULL);
	}
	memcpy(l->sources[l->sources_len++], source, LEDGER_SOURCE_MAX);
}

/* Is the record of, or an attempt of, this request? */
static bool
line_is_of(const char *line, size_t len, const char *request)
{
	struct json v;

	return json_check(&v, line, len, NULL) == ERR_OK &&
	       (json_equals(json_get(v, "id"), request) ||
		       json_equals(json_get(v, "request"), request));
}

static void
lines_take(struct journal_lines *l, const char *path, size_t number, const char *line, size_t len)
{
	char source[LEDGER_SOURCE_MAX];

	if (!ledger_line_check(line, len, source)) {
		if (l->damaged++ == 0)
			buf_addf(&l->first_damage, "%s:%zu", path, number);
		return;
	}
	l->records++;
	if (l->verify)
		lines_add_source(l, source);
	if (l->only[0] == '\0' || line_is_of(line, len, l->only))
		lines_keep(l, line, len);
}

static enum err_code
lines_read_file(struct journal_lines *l, const char *path, struct err *e)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0, number = 0;
	ssize_t n;

	if (f == NULL && errno == ENOENT)
		return ERR_OK; /* rotated away meanwhile */
	if (f == NULL)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	l->files++;
	while ((n = getline(&line, &cap, f)) > 0) {
		number++;
		if (line[n - 1] == '\n') /* else it is being written */
			lines_take(l, path, number, line, (size_t)n - 1);
	}
	free(line);
	if (ferror(f)) {
		(void)fclose(f);
		return err_set(e, ERR_SYS, "%s: read error", path);
	}
	(void)fclose(f);
	return ERR_OK;
}

static int
compare_sources(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
lines_count_twice(struct journal_lines *l)
{
	if (l->sources_len > 0)
		qsort(l->sources, l->sources_len, sizeof(*l->sources), compare_sources);
	for (size_t i = 1; i < l->sources_len; i++)
		l->twice += strcmp(l->sources[i - 1], l->sources[i]) == 0;
}

static enum err_code
lines_read(struct journal_lines *l, const char *folder, struct err *e)
{
	uint32_t *numbers = NULL;
	enum err_code code;
	size_t len = 0;

	code = ledger_files(&numbers, &len, folder, e);
	for (size_t i = 0; i < len && code == ERR_OK; i++) {
		AUTO(buf_fini) struct buf path = BUF_INIT;

		ledger_file_path(&path, folder, numbers[i]);
		code = lines_read_file(l, buf_str(&path), e);
	}
	free(numbers);
	lines_count_twice(l);
	return code;
}

/* ---- what is printed ---- */

static void
cell_time(struct table *t, struct json at_ms)
{
	char text[40] = "";
	uint64_t ms;
	struct tm tm;
	time_t s;

	if (json_u64(&ms, at_ms)) {
		s = (time_t)(ms / 1000);
		if (localtime_r(&s, &tm) != NULL)
			(void)strftime(text, sizeof(text), "%m-%d %H:%M:%S", &tm);
	}
	table_cell(t, text, TABLE_DIM);
}

static void
cell_number(struct table *t, int digits, double per, struct json number)
{
	char text[40] = "";
	double v;

	if (json_double(&v, number))
		(void)snprintf(text, sizeof(text), "%.*f", digits, v / per);
	table_cell(t, text, TABLE_PLAIN);
}

static void
row_print(struct table *t, const struct buf *line)
{
	struct json v, code;

	if (json_check(&v, line->data, line->len, NULL) != ERR_OK)
		return;
	code = json_get(v, "code");
	cell_time(t, json_get(v, "at_ms"));
	table_cell_json(t, json_get(v, "kind"));
	table_cell_json(t, json_get(v, json_get(v, "id").type == JSON_STRING ? "id" : "request"));
	table_cell_json(t, json_get(v, "route"));
	table_cell_json(t, json_get(v, "model"));
	table_cell_json(t, json_get(v, "backend"));
	if (json_equals(code, "ok")) {
		table_cell(t, "ok", TABLE_GOOD);
	} else {
		AUTO(buf_fini) struct buf text = BUF_INIT;

		table_add_text(&text, code);
		table_cell(t, buf_str(&text), TABLE_BAD);
	}
	table_cell_u64(t, json_get(v, "completion_tokens"));
	cell_number(t, 6, 1, json_get(v, "cost_usd"));
	cell_number(t, 1, 1000, json_get(v, "total_us"));
}

static void
lines_print(const struct journal_lines *l, const struct cli *cli)
{
	static const struct {
		const char *title;
		enum table_align align;
	} columns[] = {{"TIME", TABLE_LEFT}, {"KIND", TABLE_LEFT}, {"REQUEST", TABLE_LEFT},
		{"ROUTE", TABLE_LEFT}, {"MODEL", TABLE_LEFT}, {"BACKEND", TABLE_LEFT},
		{"CODE", TABLE_LEFT}, {"TOKENS", TABLE_RIGHT}, {"USD", TABLE_RIGHT},
		{"MS", TABLE_RIGHT}};
	AUTO(table_free) struct table *t = NULL;
	size_t first = (l->at + l->most - l->len) % MAX(l->most, (size_t)1);

	table_new(&t);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		table_column(t, columns[i].title, columns[i].align);
	for (size_t i = 0; i < l->len; i++) {
		const struct buf *row = &l->rows[(first + i) % l->most];

		if (cli->output == CLI_JSON)
			(void)fprintf(cli->out, "%s\n", buf_str(row));
		else
			row_print(t, row);
	}
	if (cli->output != CLI_JSON)
		table_print(t, "Journal", cli->out);
}

static enum cli_exit
lines_print_verdict(const struct journal_lines *l, const struct cli *cli)
{
	bool good = l->damaged == 0 && l->twice == 0;

	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out,
			"{\"files\":%llu,\"records\":%llu,\"damaged\":%llu,\"twice\":%llu,"
			"\"ok\":%s}\n",
			(unsigned long long)l->files, (unsigned long long)l->records,
			(unsigned long long)l->damaged, (unsigned long long)l->twice,
			good ? "true" : "false");
	else
		(void)fprintf(cli->out,
			"%llu records in %llu files: %llu damaged lines, %llu records twice\n",
			(unsigned long long)l->records, (unsigned long long)l->files,
			(unsigned long long)l->damaged, (unsigned long long)l->twice);
	return good ? CLI_OK : CLI_BAD_NEWS;
}

/* The folder of the records: an argument, the config's, or the usual one. */
static enum err_code
journal_folder(struct buf *out, const struct cli *cli, struct err *e)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;

	if (cli->args_len > 0) {
		buf_add_str(out, cli->args[0]);
		return ERR_OK;
	}
	if (cli->config == NULL) {
		config_default_state_dir(out);
	} else {
		if (config_load(&c, &text, cli->config, NULL, e) != ERR_OK)
			return e->code;
		buf_add_str(out, c->state_dir);
	}
	buf_add_str(out, "/journal");
	return ERR_OK;
}

enum cli_exit
cli_journal(const struct cli *cli)
{
	AUTO(lines_free)
	struct journal_lines l = {.verify = cli->values['V'] != NULL,
		.only = cli->values['R'] != NULL ? cli->values['R'] : "",
		.most = JOURNAL_LAST};
	AUTO(buf_fini) struct buf folder = BUF_INIT;
	struct err e = {0};

	if (cli->values['N'] != NULL) {
		char *end;
		unsigned long n = strtoul(cli->values['N'], &end, 10);

		if (*end != '\0' || n == 0 || n > JOURNAL_LAST_MAX) {
			l.most = 0;
			(void)fprintf(cli->err, "shunt journal: --last takes 1 to %d, not `%s`\n",
				JOURNAL_LAST_MAX, cli->values['N']);
			return CLI_USAGE;
		}
		l.most = n;
	}
	l.rows = calloc(l.most, sizeof(*l.rows));
	CHECK(l.rows != NULL);
	if (journal_folder(&folder, cli, &e) != ERR_OK ||
		lines_read(&l, buf_str(&folder), &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt journal: %s\n", e.text);
		return CLI_BAD_NEWS;
	}
	if (l.damaged > 0)
		(void)fprintf(cli->err, "shunt journal: %llu damaged lines, the first at %s\n",
			(unsigned long long)l.damaged, buf_str(&l.first_damage));
	if (l.verify)
		return lines_print_verdict(&l, cli);
	lines_print(&l, cli);
	return l.len > 0 ? CLI_OK : CLI_BAD_NEWS;
}
