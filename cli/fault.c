/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - `shunt fault`: add, list and clear faults on purpose
 */
#include <inttypes.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/table.h"
#include "lib/fault/fault.h"

static enum cli_exit
fault_usage(const struct cli *cli)
{
	(void)fprintf(cli->err, "shunt fault: usage: shunt fault add KIND [NAME=VALUE]... | list | "
				"clear [ID] | kinds\n");
	return CLI_USAGE;
}

/* "body=a b" of the shell is body="a b" of the daemon. */
static void
fault_put_word(struct buf *line, const char *word)
{
	AUTO(buf_fini) struct buf name = BUF_INIT;
	const char *equals = strchr(word, '=');

	if (equals == NULL) {
		buf_addf(line, "%s%s", line->len > 0 ? " " : "", word);
		return;
	}
	buf_add(&name, word, (size_t)(equals - word));
	fault_put_param(line, buf_str(&name), equals + 1);
}

static enum cli_exit
fault_add(const struct cli *cli)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	AUTO(buf_fini) struct buf body = BUF_INIT;
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	struct fault_rule rule;
	enum cli_exit code;
	struct json out;
	uint64_t id = 0;
	struct err e;

	for (int i = 1; i < cli->args_len; i++)
		fault_put_word(&line, cli->args[i]);
	if (fault_parse(&rule, buf_str(&line), &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt fault add: %s\n", e.text);
		return CLI_USAGE;
	}
	json_put_begin(&body, '{');
	json_put_member_str(&body, "spec", buf_str(&line));
	json_put_end(&body, '}');
	code = daemon_call(&out, &answer, cli, "/admin/faults", &body);
	if (code != CLI_OK)
		return code;
	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out, "%s\n", buf_str(&answer));
	else if (json_u64(&id, json_get(out, "id")))
		(void)fprintf(cli->out, "fault %" PRIu64 " is set: %s\n", id, buf_str(&line));
	return CLI_OK;
}

void
fault_print_table(struct json faults, FILE *to)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(faults);
	struct json f;

	table_new(&t);
	table_column(t, "ID", TABLE_RIGHT);
	table_column(t, "LEVEL", TABLE_LEFT);
	table_column(t, "FROM", TABLE_LEFT);
	table_column(t, "NOW", TABLE_LEFT);
	table_column(t, "DRAWS", TABLE_RIGHT);
	table_column(t, "HITS", TABLE_RIGHT);
	table_column(t, "FAULT", TABLE_LEFT);
	while (json_next_item(&it, &f)) {
		AUTO(buf_fini) struct buf spec = BUF_INIT;

		table_cell_u64(t, json_get(f, "id"));
		table_cell_json(t, json_get(f, "level"));
		table_cell_json(t, json_get(f, "from"));
		table_cell_json(t, json_get(f, "window"));
		table_cell_u64(t, json_get(f, "draws"));
		table_cell_u64(t, json_get(f, "hits"));
		table_add_text(&spec, json_get(f, "spec"));
		table_cell(t, buf_str(&spec), TABLE_BAD);
	}
	table_print(t, "Faults on purpose", to);
}

static enum cli_exit
fault_list(const struct cli *cli)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	struct json out;
	enum cli_exit code = daemon_call(&out, &answer, cli, "/admin/faults", NULL);

	if (code != CLI_OK)
		return code;
	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out, "%s\n", buf_str(&answer));
	else
		fault_print_table(json_get(out, "faults"), cli->out);
	return CLI_OK;
}

static enum cli_exit
fault_clear(const struct cli *cli)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	AUTO(buf_fini) struct buf path = BUF_INIT;
	enum cli_exit code;
	struct json out;
	uint64_t n = 0;

	buf_add_str(&path, "/admin/faults");
	if (cli->args_len > 1) {
		if (strspn(cli->args[1], "0123456789") != strlen(cli->args[1])) {
			(void)fprintf(cli->err, "shunt fault clear: `%s` is no id\n", cli->args[1]);
			return CLI_USAGE;
		}
		buf_addf(&path, "/%s", cli->args[1]);
	}
	code = daemon_delete(&out, &answer, cli, buf_str(&path));
	if (code != CLI_OK)
		return code;
	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out, "%s\n", buf_str(&answer));
	else if (json_u64(&n, json_get(out, "cleared")))
		(void)fprintf(cli->out, "%" PRIu64 " cleared\n", n);
	return json_u64(&n, json_get(out, "cleared")) && n == 0 && cli->args_len > 1 ? CLI_BAD_NEWS
										     : CLI_OK;
}

/* What a kind takes: TIME must be there, [SPREAD] may. */
static void
fault_put_params(struct buf *out, const struct fault_kind_row *kind)
{
	for (unsigned i = 0; i < FAULT_PARAMS; i++) {
		uint64_t bit = UINT64_C(1) << i;
		bool needed = (kind->needs & bit) != 0;

		if ((kind->may & bit) != 0)
			buf_addf(out, needed ? "%s%s" : "%s[%s]", out->len > 0 ? " " : "",
				fault_param_name(i));
	}
}

static void
fault_kinds_json(FILE *to)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_key(&out, "kinds");
	json_put_begin(&out, '[');
	for (enum fault_kind k = 0; k < FAULT_KINDS; k++) {
		json_put_begin(&out, '{');
		json_put_member_str(&out, "kind", fault_kind_row(k)->name);
		json_put_member_str(&out, "level", fault_level_name(fault_kind_row(k)->level));
		json_put_member_str(&out, "help", fault_kind_row(k)->help);
		json_put_end(&out, '}');
	}
	json_put_end(&out, ']');
	json_put_end(&out, '}');
	(void)fprintf(to, "%s\n", buf_str(&out));
}

static enum cli_exit
fault_kinds(const struct cli *cli)
{
	if (cli->output == CLI_JSON) {
		fault_kinds_json(cli->out);
		return CLI_OK;
	}
	for (enum fault_kind k = 0; k < FAULT_KINDS; k++) {
		const struct fault_kind_row *kind = fault_kind_row(k);
		AUTO(buf_fini) struct buf params = BUF_INIT;

		fault_put_params(&params, kind);
		(void)fprintf(cli->out, "%-16s %-9s %-28s %s\n", kind->name,
			fault_level_name(kind->level), buf_str(&params), kind->help);
	}
	(void)fputs("\nAll take, where it applies:\n", cli->out);
	for (unsigned i = 0; i < FAULT_PARAMS; i++)
		(void)fprintf(cli->out, "%-16s %s\n", fault_param_name(i), fault_param_help(i));
	return CLI_OK;
}

enum cli_exit
cli_fault(const struct cli *cli)
{
	const char *verb = cli->args[0];

	if (strcmp(verb, "add") == 0 && cli->args_len > 1)
		return fault_add(cli);
	if (strcmp(verb, "list") == 0 && cli->args_len == 1)
		return fault_list(cli);
	if (strcmp(verb, "clear") == 0 && cli->args_len <= 2)
		return fault_clear(cli);
	if (strcmp(verb, "kinds") == 0 && cli->args_len == 1)
		return fault_kinds(cli);
	return fault_usage(cli);
}
