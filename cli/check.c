/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - `shunt check FILE`: validate a config file, like `shuntd --check`
 */
#include "cli/command.h"
#include "config/config.h"
#include "config/encoder_folder.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/encoder/encoder.h"
#include "lib/routing/scorers.h"

static void
check_print_json(FILE *out, const char *file, enum err_code code,
	const struct config_faults *faults, const struct err *e)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;

	json_put_begin(&b, '{');
	json_put_member_str(&b, "file", file);
	json_put_member_bool(&b, "ok", code == ERR_OK);
	json_put_key(&b, "faults");
	json_put_begin(&b, '[');
	for (size_t i = 0; i < faults->len; i++) {
		json_put_begin(&b, '{');
		json_put_member_u64(&b, "line", faults->rows[i].line);
		json_put_member_str(&b, "text", faults->rows[i].text);
		json_put_end(&b, '}');
	}
	if (code != ERR_OK && faults->len == 0) { /* the file could not be read */
		json_put_begin(&b, '{');
		json_put_member_u64(&b, "line", 0);
		json_put_member_str(&b, "text", e->text);
		json_put_end(&b, '}');
	}
	json_put_end(&b, ']');
	json_put_member_u64(&b, "more", faults->more);
	json_put_end(&b, '}');
	(void)fprintf(out, "%s\n", buf_str(&b));
}

static void
check_print_faults(
	FILE *out, const char *file, const struct config_faults *faults, const struct err *e)
{
	if (faults->len == 0)
		(void)fprintf(out, "%s\n", e->text);
	for (size_t i = 0; i < faults->len; i++) {
		if (faults->rows[i].line > 0)
			(void)fprintf(out, "%s:%u: %s\n", file, faults->rows[i].line,
				faults->rows[i].text);
		else
			(void)fprintf(out, "%s: %s\n", file, faults->rows[i].text);
	}
	if (faults->more > 0)
		(void)fprintf(out, "%s: and %zu more\n", file, faults->more);
}

static void
check_tell(void *arg, unsigned line, const char *text)
{
	struct config_faults *faults = arg;
	struct config_fault *fault;

	if (faults->len == CONFIG_FAULTS_MAX) {
		faults->more++;
		return;
	}
	fault = &faults->rows[faults->len++];
	fault->line = line;
	(void)snprintf(
		fault->text, sizeof(fault->text), "%.*s", (int)sizeof(fault->text) - 1, text);
}

enum cli_exit
cli_check(const struct cli *cli)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const char *file = cli->args[0];
	struct config_faults faults = {.len = 0};
	const struct scorers_check scorers = {.found = file_shipped,
		.read = file_read,
		.look = encoder_look,
		.tell = check_tell,
		.arg = &faults};
	struct err e = {.code = ERR_OK};
	enum err_code code = config_load(&c, &text, file, &faults, &e);

	if (code == ERR_OK && scorers_check(c, &scorers) > 0)
		code = ERR_CONFIG;
	if (c != NULL && config_encoder_folders(&faults, c) > 0)
		code = ERR_CONFIG;
	if (cli->output == CLI_JSON)
		check_print_json(cli->out, file, code, &faults, &e);
	else if (code != ERR_OK)
		check_print_faults(cli->out, file, &faults, &e);
	else
		(void)fprintf(cli->out,
			"%s: good (%zu backends, %zu models, %zu routes, %zu rules)\n", file,
			c->backends_len, c->models_len, c->routes_len, c->rules_len);
	return code == ERR_OK ? CLI_OK : CLI_BAD_NEWS;
}
