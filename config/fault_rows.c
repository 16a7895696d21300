/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_rows.c - the rows of `faults`: faults on purpose, checked by the library that reads them
 */
#include <string.h>

#include "config/fault.h"
#include "config/parse.h"
#include "lib/base/buf.h"
#include "lib/base/near.h"

enum { NAMES_MAX = 64 };

void
config_fault_line(struct buf *out, const struct config_fault_row *row)
{
	const char *const texts[FAULT_PARAMS] = {
#define FAULT_PARAM(symbol, name, use, type, field, min, max, help) row->p_##name,
#include "lib/fault/param_list.h"
#undef FAULT_PARAM
	};

	buf_add_str(out, row->kind);
	for (unsigned i = 0; i < FAULT_PARAMS; i++)
		if (texts[i] != NULL)
			fault_put_param(out, fault_param_name(i), texts[i]);
}

static enum err_code
fault_rows_name(
	const char *key, const char *name, const char *const *names, size_t len, struct err *e)
{
	const char *near;

	for (size_t i = 0; i < len; i++)
		if (strcmp(names[i], name) == 0)
			return ERR_OK;
	near = near_name(name, names, len);
	if (near != NULL)
		return err_set(e, ERR_INPUT, "%s: no %s is named `%s`; did you mean `%s`?", key,
			key, name, near);
	return err_set(e, ERR_INPUT, "%s: no %s is named `%s`", key, key, name);
}

enum err_code
config_fault_check(const struct config *c, const struct fault_rule *r, struct err *e)
{
	const char *backends[NAMES_MAX], *routes[NAMES_MAX];
	size_t backends_len = 0, routes_len = 0;

	for (size_t i = 0; i < c->backends_len && backends_len < NAMES_MAX; i++)
		if (c->backends[i].name != NULL)
			backends[backends_len++] = c->backends[i].name;
	for (size_t i = 0; i < c->routes_len && routes_len < NAMES_MAX; i++)
		if (c->routes[i].name != NULL)
			routes[routes_len++] = c->routes[i].name;
	if (r->backend[0] != '\0' &&
		fault_rows_name("backend", r->backend, backends, backends_len, e) != ERR_OK)
		return ERR_INPUT;
	if (r->route[0] != '\0' &&
		fault_rows_name("route", r->route, routes, routes_len, e) != ERR_OK)
		return ERR_INPUT;
	return ERR_OK;
}

/* The line of the key that the error begins with. */
static void
fault_rows_complain(const struct config_fault_row *row, size_t at, const struct tree *t,
	struct config_faults *faults, const struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	unsigned line;

	buf_addf(&path, "faults[%zu].%.*s", at, (int)strcspn(e->text, ":"), e->text);
	line = tree_line(t, buf_str(&path));
	config_fault(faults, line != 0 ? line : row->line, "faults[%zu].%s", at, e->text);
}

void
config_check_fault_rows(const struct config *c, const struct tree *t, struct config_faults *faults)
{
	for (size_t i = 0; i < c->faults_len; i++) {
		AUTO(buf_fini) struct buf line = BUF_INIT;
		struct fault_rule rule;
		struct err e;

		if (c->faults[i].kind == NULL)
			continue; /* said already */
		config_fault_line(&line, &c->faults[i]);
		if (fault_parse(&rule, buf_str(&line), &e) != ERR_OK ||
			config_fault_check(c, &rule, &e) != ERR_OK)
			fault_rows_complain(&c->faults[i], i, t, faults, &e);
	}
}

size_t
config_fault_rules(const struct config *c, struct fault_rule out[FAULTS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < c->faults_len && n < FAULTS_MAX; i++) {
		AUTO(buf_fini) struct buf line = BUF_INIT;

		config_fault_line(&line, &c->faults[i]);
		/* checked when the config was accepted */
		CHECK(fault_parse(&out[n], buf_str(&line), NULL) == ERR_OK);
		out[n++].origin = FAULT_FROM_CONFIG;
	}
	return n;
}
