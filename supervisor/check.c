/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - `shuntd --check`: say everything that is wrong with a config file, start nothing
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "supervisor/supervisor.h"

static void
check_print_faults(const char *path, const struct config_faults *faults, const struct err *e)
{
	/* The file could not be read at all. */
	if (faults->len == 0)
		(void)printf("%s:1: %s\n", path, e->text);
	for (size_t i = 0; i < faults->len; i++)
		(void)printf(
			"%s:%u: %s\n", path, MAX(faults->rows[i].line, 1U), faults->rows[i].text);
	if (faults->more > 0)
		(void)printf("%s:1: and %zu more faults\n", path, faults->more);
}

int
check_file(const char *path)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config_faults faults = {.len = 0};
	struct err e;

	if (config_load(&c, &text, path, &faults, &e) != ERR_OK) {
		check_print_faults(path, &faults, &e);
		return EXIT_FAILURE;
	}
	(void)printf("%s: OK: %zu listening, %u gateways, %zu backends, %zu models, %zu routes, "
		     "%zu rules\n",
		path, c->listen_len, c->gateways, c->backends_len, c->models_len, c->routes_len,
		c->rules_len);
	return EXIT_SUCCESS;
}
