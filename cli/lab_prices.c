/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_prices.c - prices per token by model, from a table in LiteLLM's format
 */
#include <string.h>
#include <strings.h>

#include "cli/eval.h"
#include "lib/base/file.h"
#include "lib/base/json.h"

enum { PRICES_MAX = 64 << 20 };

static const char *
after_slash(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash != NULL ? slash + 1 : name;
}

static double
price_of(struct json entry, const char *name)
{
	double v;

	return json_double(&v, json_get(entry, name)) && v >= 0 ? v : -1;
}

/* How well an entry's name fits: 2 exact, 1 the same up to case and vendor, 0 not at all. */
static unsigned
name_fit(struct json key, const char *model)
{
	char name[DATASET_NAME_MAX + 1];

	if (!json_copy_text(name, sizeof(name), key))
		return 0;
	if (strcmp(name, model) == 0)
		return 2;
	return strcasecmp(after_slash(name), after_slash(model)) == 0;
}

static bool
find_price(struct evaluate_price *out, struct json table, const char *model)
{
	struct json_iter it = json_iter(table);
	struct json key, entry;
	unsigned best = 0;

	while (best < 2 && json_next_member(&it, &key, &entry)) {
		unsigned fit = name_fit(key, model);
		struct evaluate_price p = {price_of(entry, "input_cost_per_token"),
			price_of(entry, "output_cost_per_token")};

		if (fit > best && p.input >= 0 && p.output >= 0) {
			*out = p;
			best = fit;
		}
	}
	return best > 0;
}

enum cli_exit
lab_prices(struct evaluate_price *out, const struct cli *cli, const struct predict_plan *plan)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct json table;
	struct err e;
	enum cli_exit code = CLI_OK;

	if (cli->values['P'] == NULL) {
		(void)fputs("shunt eval: --cost-source prices needs --prices FILE\n", cli->err);
		return CLI_USAGE;
	}
	if (file_read(&text, cli->values['P'], PRICES_MAX, &e) != ERR_OK)
		return lab_fail(cli, e.text);
	if (json_check(&table, buf_str(&text), text.len, &e) != ERR_OK) {
		(void)err_wrap(&e, "%s", cli->values['P']);
		return lab_fail(cli, e.text);
	}
	for (size_t m = 0; m < plan->models_len; m++) {
		const char *model = plan->d->models[plan->models[m]];

		if (find_price(&out[m], table, model))
			continue;
		(void)fprintf(
			cli->err, "shunt eval: %s: no price of `%s`\n", cli->values['P'], model);
		code = CLI_BAD_NEWS;
	}
	return code;
}
