/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - `shunt route`: the model that would answer a prompt, and why
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/table.h"

enum { PROMPT_MAX = 8 * 1024 * 1024, TERMS_MAX = 8 };

/* Names of the terms that the daemon itemises (they add up to the score); heads for the table. */
struct terms {
	char names[TERMS_MAX][24];
	char titles[TERMS_MAX][24];
	size_t len;
};

static enum cli_exit
prompt_read(struct buf *out, FILE *err)
{
	char piece[16384];
	ssize_t n;

	if (isatty(STDIN_FILENO) == 1)
		(void)fputs("Prompt (end with Ctrl-D):\n", err);
	for (;;) {
		n = read(STDIN_FILENO, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			(void)fprintf(err, "shunt route: standard input: %s\n", strerror(errno));
			return CLI_USAGE;
		}
		if (n == 0)
			return CLI_OK;
		if (out->len + (size_t)n > PROMPT_MAX) {
			(void)fputs("shunt route: the prompt is larger than 8 MiB\n", err);
			return CLI_USAGE;
		}
		buf_add(out, piece, (size_t)n);
	}
}

static void
request_put(struct buf *out, const struct cli *cli, const char *prompt, size_t len)
{
	json_put_begin(out, '{');
	json_put_member_str(out, "model", cli->route != NULL ? cli->route : "auto");
	if (cli->route != NULL)
		json_put_member_str(out, "route", cli->route);
	json_put_key(out, "messages");
	json_put_begin(out, '[');
	json_put_begin(out, '{');
	json_put_member_str(out, "role", "user");
	json_put_key(out, "content");
	json_put_string(out, prompt, len);
	json_put_end(out, '}');
	json_put_end(out, ']');
	json_put_end(out, '}');
}

static void
terms_read(struct terms *out, struct json candidate)
{
	struct json_iter it = json_iter(json_get(candidate, "terms"));
	struct json key, value;

	out->len = 0;
	while (out->len < TERMS_MAX && json_next_member(&it, &key, &value)) {
		if (!json_copy_text(out->names[out->len], sizeof(out->names[0]), key))
			continue;
		for (size_t i = 0; i < sizeof(out->titles[0]); i++) {
			char c = out->names[out->len][i];

			out->titles[out->len][i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		}
		out->len++;
	}
}

static void
cell_number(struct table *t, struct json number)
{
	char text[40] = "";
	double v;

	if (json_double(&v, number))
		(void)snprintf(text, sizeof(text), "%.3f", v);
	table_cell(t, text, TABLE_PLAIN);
}

static void
cell_cost(struct table *t, struct json usd)
{
	char text[40] = "";
	double v;

	if (json_double(&v, usd))
		(void)snprintf(text, sizeof(text), "%.6f", v);
	table_cell(t, text, TABLE_PLAIN);
}

static void
print_candidates(struct json decision, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(decision, "candidates"));
	struct json candidate;
	struct terms terms = {.len = 0};

	table_new(&t);
	table_column(t, "MODEL", TABLE_LEFT);
	table_column(t, "BACKEND", TABLE_LEFT);
	table_column(t, "SCORE", TABLE_RIGHT);
	while (json_next_item(&it, &candidate)) {
		if (terms.len == 0) {
			terms_read(&terms, candidate);
			for (size_t i = 0; i < terms.len; i++)
				table_column(t, terms.titles[i], TABLE_RIGHT);
			table_column(t, "USD", TABLE_RIGHT);
		}
		table_cell_json(t, json_get(candidate, "model"));
		table_cell_json(t, json_get(candidate, "backend"));
		cell_number(t, json_get(candidate, "score"));
		for (size_t i = 0; i < terms.len; i++)
			cell_number(t, json_get(json_get(candidate, "terms"), terms.names[i]));
		cell_cost(t, json_get(candidate, "cost_usd"));
	}
	table_print(t, "Candidates, in the order of trying", out);
}

/* Why not the others: what holds each behind the first. */
static void
print_behind(struct json decision, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(decision, "candidates"));
	struct json candidate;
	size_t count = 0;

	table_new(&t);
	table_column(t, "MODEL", TABLE_LEFT);
	table_column(t, "BACKEND", TABLE_LEFT);
	table_column(t, "QUALITY", TABLE_RIGHT);
	table_column(t, "BEHIND BY", TABLE_LEFT);
	while (json_next_item(&it, &candidate)) {
		if (json_get(candidate, "behind").type != JSON_STRING)
			continue;
		table_cell_json(t, json_get(candidate, "model"));
		table_cell_json(t, json_get(candidate, "backend"));
		cell_number(t, json_get(candidate, "quality"));
		table_cell_json(t, json_get(candidate, "behind"));
		count++;
	}
	if (count == 0)
		return;
	(void)fputc('\n', out);
	table_print(t, "Why not the others", out);
}

/* What other settings would give: a list of the decision, by the setting's name. */
static void
print_others(struct json decision, const char *list, const char *setting, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it;
	struct json row;

	if (json_get(decision, list).type != JSON_ARRAY)
		return;
	it = json_iter(json_get(decision, list));
	table_new(&t);
	table_column(t, setting, TABLE_RIGHT);
	table_column(t, "MODEL", TABLE_LEFT);
	table_column(t, "BACKEND", TABLE_LEFT);
	table_column(t, "USD", TABLE_RIGHT);
	while (json_next_item(&it, &row)) {
		char text[16] = "";
		double v;

		if (json_double(&v, json_get(row, setting)))
			(void)snprintf(text, sizeof(text), "%.2f", v);
		table_cell(t, text, TABLE_PLAIN);
		table_cell_json(t, json_get(row, "model"));
		table_cell_json(t, json_get(row, "backend"));
		cell_cost(t, json_get(row, "cost_usd"));
	}
	(void)fprintf(out, "\nWith another %s", setting);
	table_print(t, "", out);
}

static void
print_dropped(struct json decision, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(decision, "dropped"));
	struct json dropped;
	size_t count = 0;

	table_new(&t);
	table_column(t, "MODEL", TABLE_LEFT);
	table_column(t, "BACKEND", TABLE_LEFT);
	table_column(t, "FILTER", TABLE_LEFT);
	table_column(t, "WHY", TABLE_LEFT);
	for (; json_next_item(&it, &dropped); count++) {
		table_cell_json(t, json_get(dropped, "model"));
		table_cell_json(t, json_get(dropped, "backend"));
		table_cell_json(t, json_get(dropped, "filter"));
		table_cell_json(t, json_get(dropped, "why"));
	}
	if (count == 0)
		return;
	(void)fputc('\n', out);
	table_print(t, "Dropped", out);
}

static void
print_member(struct json decision, const char *name, FILE *out)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	table_add_text(&text, json_get(decision, name));
	(void)fprintf(out, "%-12s%s\n", name, text.len > 0 ? buf_str(&text) : "-");
}

/* A member that is left out where it says nothing. */
static void
print_said(struct json decision, const char *name, FILE *out)
{
	struct json v = json_get(decision, name);

	if (v.type == JSON_STRING && !json_equals(v, ""))
		print_member(decision, name, out);
}

/* What a member that may be absent or null adds to the summary. */
static void
print_number(struct json decision, const char *name, FILE *out)
{
	double v;

	if (json_double(&v, json_get(decision, name)))
		(void)fprintf(out, "%-12s%.2f\n", name, v);
}

static void
print_decision(struct json decision, bool explain, FILE *out)
{
	double us;

	print_member(decision, "model", out);
	print_member(decision, "backend", out);
	print_member(decision, "route", out);
	print_member(decision, "phase", out);
	print_member(decision, "reason", out);
	if (!json_equals(json_get(decision, "rule"), ""))
		print_member(decision, "rule", out);
	print_said(decision, "experiment", out);
	print_said(decision, "scorer", out);
	print_number(decision, "difficulty", out);
	print_number(decision, "threshold", out);
	if (json_double(&us, json_get(decision, "decision_us")))
		(void)fprintf(out, "%-12s%.1f us\n", "decided in", us);
	(void)fputc('\n', out);
	print_candidates(decision, out);
	print_dropped(decision, out);
	if (!explain)
		return;
	print_behind(decision, out);
	print_others(decision, "dials", "dial", out);
	print_others(decision, "thresholds", "threshold", out);
}

enum cli_exit
cli_route(const struct cli *cli)
{
	AUTO(buf_fini) struct buf prompt = BUF_INIT;
	AUTO(buf_fini) struct buf request = BUF_INIT;
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct json decision;
	enum cli_exit code = CLI_OK;

	if (cli->args_len == 1 && strcmp(cli->args[0], "-") != 0)
		buf_add_str(&prompt, cli->args[0]);
	else
		code = prompt_read(&prompt, cli->err);
	if (code != CLI_OK)
		return code;
	request_put(&request, cli, buf_str(&prompt), prompt.len);
	code = daemon_call(&decision, &body, cli, "/v1/route", &request);
	if (decision.type == JSON_NONE)
		return code;
	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out, "%s\n", buf_str(&body));
	else if (code == CLI_OK)
		print_decision(decision, cli->values['E'] != NULL, cli->out);
	return code;
}
