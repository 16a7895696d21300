/* SPDX-License-Identifier: Apache-2.0 */
/*
 * models.c - `shunt models`: names that clients may ask for
 */
#include "cli/daemon.h"
#include "cli/table.h"

enum cli_exit
cli_models(const struct cli *cli)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	AUTO(table_free) struct table *t = NULL;
	struct json list, model;
	struct json_iter it;
	enum cli_exit code = daemon_call(&list, &body, cli, "/v1/models", NULL);
	size_t models = 0;

	if (code != CLI_OK)
		return code;
	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	table_column(t, "OWNED BY", TABLE_LEFT);
	it = json_iter(json_get(list, "data"));
	for (; json_next_item(&it, &model); models++) {
		table_cell_json(t, json_get(model, "id"));
		table_cell_json(t, json_get(model, "owned_by"));
	}
	if (cli->output == CLI_JSON)
		(void)fprintf(cli->out, "%s\n", buf_str(&body));
	else
		table_print(t, "Models and routes", cli->out);
	return models > 0 ? CLI_OK : CLI_BAD_NEWS;
}
