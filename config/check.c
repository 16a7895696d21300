/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what no single key can say: names that must exist, be unique, fit together
 *
 * Runs on configs with faults too, so any text may be NULL here.
 */
#include <stdio.h>
#include <string.h>

#include "config/address.h"
#include "config/fault.h"
#include "config/parse.h"
#include "lib/base/buf.h"
#include "lib/base/near.h"

enum { NAMES_MAX = 512 }; /* models, routes and what simulated backends list */

/* The names that one kind of reference may use, for look-up and for suggestions. */
struct names {
	const char *rows[NAMES_MAX];
	size_t len;
};

static void
names_add(struct names *n, const char *name)
{
	if (name != NULL && n->len < NAMES_MAX)
		n->rows[n->len++] = name;
}

static bool
names_has(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->len; i++)
		if (strcmp(n->rows[i], name) == 0)
			return true;
	return false;
}

static void
names_of_backends(struct names *n, const struct config *c)
{
	for (size_t i = 0; i < c->backends_len; i++)
		names_add(n, c->backends[i].name);
}

static void
names_of_routes(struct names *n, const struct config *c)
{
	for (size_t i = 0; i < c->routes_len; i++)
		names_add(n, c->routes[i].name);
}

/* Models that the file declares or that a simulated backend is sure to list. */
static void
names_of_models(struct names *n, const struct config *c)
{
	for (size_t i = 0; i < c->models_len; i++)
		names_add(n, c->models[i].name);
	for (size_t i = 0; i < c->backends_len; i++)
		for (size_t j = 0; c->backends[i].discover && j < c->backends[i].sim.models_len; j++)
			names_add(n, c->backends[i].sim.models[j]);
}

/* BACKEND/MODEL of a backend that exists. */
static bool
is_backend_model(const struct config *c, const char *name)
{
	const char *slash = strchr(name, '/');

	for (size_t i = 0; slash != NULL && slash[1] != '\0' && i < c->backends_len; i++) {
		const char *backend = c->backends[i].name;

		if (backend != NULL && strlen(backend) == (size_t)(slash - name) &&
			strncmp(backend, name, strlen(backend)) == 0)
			return true;
	}
	return false;
}

static void
check_dangling(struct config_faults *faults, unsigned line, const char *where, const char *what,
	const char *name, const struct names *names)
{
	const char *near = near_name(name, names->rows, names->len);

	if (near != NULL)
		config_fault(faults, line, "%s: no %s is named `%.60s`; did you mean `%s`?", where,
			what, name, near);
	else if (strncmp(what, "model", 5) == 0)
		config_fault(faults, line,
			"%s: no %s is named `%.60s` (a model that only a backend lists is written "
			"BACKEND/MODEL)", where, what, name);
	else
		config_fault(faults, line, "%s: no %s is named `%.60s`", where, what, name);
}

/* Two rows of one list with one name. */
static void
check_twice(struct config_faults *faults, unsigned line, const char *list, size_t at,
	const char *name, size_t first)
{
	config_fault(faults, line, "%s[%zu].name: duplicate name `%.60s`, already used by %s[%zu]",
		list, at, name, list, first);
}

static bool
same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static bool
kind_wants_url(enum backend_kind_id kind)
{
	static const bool wants[] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, help) [BACKEND_##symbol] = wants_url,
#include "config/kind_list.h"
#undef BACKEND_KIND
	};

	return wants[kind];
}

static bool
has_sim_settings(const struct config_backend *b)
{
	struct config_backend plain = {0};
	bool differs;

	config_defaults(SECTION_SIM, &plain);
	differs = config_section_hash(SECTION_SIM, b, 0) != config_section_hash(SECTION_SIM, &plain, 0);
	config_section_fini(SECTION_SIM, &plain);
	return differs;
}

static void
check_backend(const struct config *c, size_t at, struct config_faults *faults)
{
	const struct config_backend *b = &c->backends[at];

	for (size_t i = 0; i < at; i++)
		if (same(b->name, c->backends[i].name)) {
			check_twice(faults, b->line, "backends", at, b->name, i);
			break;
		}
	if (kind_wants_url(b->kind) && b->url == NULL)
		config_fault(faults, b->line, "backends[%zu].url: is required for this kind", at);
	if (!kind_wants_url(b->kind) && b->url != NULL)
		config_fault(faults, b->line, "backends[%zu].url: this kind has no server", at);
	if (b->kind != BACKEND_SIM && has_sim_settings(b))
		config_fault(faults, b->line, "backends[%zu].sim: is for kind sim only", at);
	for (size_t i = 0; i < c->listen_len; i++)
		if (config_is_own_address(&c->listen[i], b->url))
			config_fault(faults, b->line,
				"backends[%zu].url: is shunt's own address (listen %s); requests "
				"would go round in circles", at, c->listen[i].text);
}

static void
check_model(const struct config *c, size_t at, struct config_faults *faults)
{
	const struct config_model *m = &c->models[at];
	struct names backends = {.len = 0};
	char where[80];

	names_of_backends(&backends, c);
	for (size_t i = 0; i < at; i++)
		if (same(m->name, c->models[i].name)) {
			check_twice(faults, m->line, "models", at, m->name, i);
			break;
		}
	if (same(m->name, "*"))
		config_fault(faults, m->line, "models[%zu].name: `*` stands for all models", at);
	if (m->name != NULL && strncmp(m->name, "router-", 7) == 0)
		config_fault(faults, m->line,
			"models[%zu].name: names with router- are read as router-SCORER-THRESHOLD", at);
	for (size_t i = 0; i < m->deployments_len; i++) {
		const struct config_deployment *d = &m->deployments[i];

		(void)snprintf(where, sizeof(where), "models[%zu].deployments[%zu].backend", at, i);
		if (d->backend != NULL && !names_has(&backends, d->backend))
			check_dangling(faults, d->line, where, "backend", d->backend, &backends);
		for (size_t j = 0; j < i; j++)
			if (same(d->backend, m->deployments[j].backend) &&
				same(d->model, m->deployments[j].model))
				config_fault(faults, d->line,
					"models[%zu].deployments[%zu]: is the same as deployments[%zu]",
					at, i, j);
	}
}

static void
check_route_name(const struct config *c, size_t at, struct config_faults *faults)
{
	const struct config_route *r = &c->routes[at];

	for (size_t i = 0; i < at; i++)
		if (same(r->name, c->routes[i].name)) {
			check_twice(faults, r->line, "routes", at, r->name, i);
			break;
		}
	for (size_t i = 0; i < c->models_len; i++)
		if (same(r->name, c->models[i].name))
			config_fault(faults, r->line,
				"routes[%zu].name: duplicate name `%s`, already used by models[%zu]", at,
				r->name, i);
	if (r->name != NULL && strncmp(r->name, "router-", 7) == 0)
		config_fault(faults, r->line,
			"routes[%zu].name: names with router- are read as router-SCORER-THRESHOLD", at);
}

static void
check_route(const struct config *c, size_t at, const struct names *models,
	struct config_faults *faults)
{
	const struct config_route *r = &c->routes[at];
	char where[64];

	check_route_name(c, at, faults);
	for (size_t i = 0; i < r->models_len; i++) {
		const char *name = r->models[i];

		(void)snprintf(where, sizeof(where), "routes[%zu].models", at);
		if (strcmp(name, "*") != 0 && !names_has(models, name) && !is_backend_model(c, name))
			check_dangling(faults, r->line, where, "model", name, models);
		for (size_t j = 0; j < i; j++)
			if (strcmp(name, r->models[j]) == 0)
				config_fault(faults, r->line, "%s: `%.60s` is listed twice", where, name);
	}
	(void)snprintf(where, sizeof(where), "routes[%zu].default_model", at);
	if (r->default_model != NULL && !names_has(models, r->default_model) &&
		!is_backend_model(c, r->default_model))
		check_dangling(faults, r->line, where, "model", r->default_model, models);
	if (r->scorer != NULL && strcmp(r->scorer, "heuristic") != 0)
		config_fault(faults, r->line,
			"routes[%zu].scorer: `%s` is not known; this version has heuristic only", at,
			r->scorer);
}

/* `*` stands at the end of a word, after at least one character. */
static bool
is_word_pattern(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p == '*' && (p == text || p[-1] == ' ' || p[-1] == '*' ||
					 (p[1] != '\0' && p[1] != ' ')))
			return false;
	return true;
}

static void
check_words(struct config_faults *faults, const struct config_rule *r, size_t at, const char *key,
	char *const *words, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_word_pattern(words[i]))
			config_fault(faults, r->line,
				"rules[%zu].%s: `%.60s`: a * may only end a word", at, key, words[i]);
}

static void
check_rule(const struct config *c, size_t at, const struct names *models,
	const struct names *routes, struct config_faults *faults)
{
	const struct config_rule *r = &c->rules[at];
	char where[64];

	if (r->words_len == 0 && !r->on_image && !r->on_tools)
		config_fault(faults, r->line,
			"rules[%zu]: can never fire: give it words, on_image or on_tools", at);
	check_words(faults, r, at, "words", r->words, r->words_len);
	check_words(faults, r, at, "except", r->except, r->except_len);
	(void)snprintf(where, sizeof(where), "rules[%zu].routes", at);
	for (size_t i = 0; i < r->routes_len; i++)
		if (!names_has(routes, r->routes[i]))
			check_dangling(faults, r->line, where, "route", r->routes[i], routes);
	(void)snprintf(where, sizeof(where), "rules[%zu].model", at);
	if (r->model != NULL && !names_has(models, r->model) && !names_has(routes, r->model) &&
		!is_backend_model(c, r->model))
		check_dangling(faults, r->line, where, "model or route", r->model, models);
}

static void
check_top(const struct config *c, struct config_faults *faults)
{
	for (size_t i = 0; i < c->listen_len; i++)
		for (size_t j = 0; j < i; j++) {
			const struct config_listen *a = &c->listen[i], *b = &c->listen[j];

			if (same(a->path, b->path) || (same(a->host, b->host) && a->port == b->port &&
							      a->port != 0))
				config_fault(faults, 0, "listen: %s is there twice", a->text);
		}
	if (strlen(c->run_dir) > CONFIG_RUN_DIR_MAX)
		config_fault(faults, 0, "run_dir: is longer than %d bytes, too long for sockets in it",
			CONFIG_RUN_DIR_MAX);
	if (c->restart.delay_max_ms < c->restart.delay_ms)
		config_fault(faults, 0, "restart.delay_max_ms: is less than restart.delay_ms");
	if (c->backends_len == 0)
		config_fault(faults, 0, "backends: there are none, so nothing could answer; add one, or "
					"`discover_local: yes`");
}

void
config_check(const struct config *c, struct config_faults *faults)
{
	struct names models = {.len = 0}, routes = {.len = 0};

	names_of_models(&models, c);
	names_of_routes(&routes, c);
	check_top(c, faults);
	for (size_t i = 0; i < c->backends_len; i++)
		check_backend(c, i, faults);
	for (size_t i = 0; i < c->models_len; i++)
		check_model(c, i, faults);
	for (size_t i = 0; i < c->routes_len; i++)
		check_route(c, i, &models, faults);
	for (size_t i = 0; i < c->rules_len; i++)
		check_rule(c, i, &models, &routes, faults);
}
