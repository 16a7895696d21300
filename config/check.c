/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what no single key can say: names that must exist, be unique, fit together
 *
 * Runs on configs with faults too, so any text may be NULL here.
 */
#include <stdarg.h>
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

/* "backends[2].url", for check_fault. */
struct path {
	char text[96];
};

struct check {
	const struct config *config;
	const struct tree *tree; /* for line numbers */
	struct config_faults *faults;
	struct names models, routes, encoders;
};

static void check_fault(struct check *k, const char *path, const char *fmt, ...) PRINTF(3, 4);
static const char *path_of(struct path *out, const char *fmt, ...) PRINTF(2, 3);

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

static void
names_of_encoders(struct names *n, const struct config *c)
{
	for (size_t i = 0; i < c->encoders_len; i++)
		names_add(n, c->encoders[i].name);
}

/* Models that the file declares or that a simulated backend is sure to list. */
static void
names_of_models(struct names *n, const struct config *c)
{
	for (size_t i = 0; i < c->models_len; i++)
		names_add(n, c->models[i].name);
	for (size_t i = 0; i < c->backends_len; i++)
		for (size_t j = 0; c->backends[i].discover && j < c->backends[i].sim.models_len;
			j++)
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

/* A fault of the value at path; nothing where that value has one already. */
static void
check_fault(struct check *k, const char *path, const char *fmt, ...)
{
	AUTO(buf_fini) struct buf prefix = BUF_INIT;
	char text[160];
	va_list ap;

	buf_addf(&prefix, "%s: ", path);
	if (config_fault_has(k->faults, buf_str(&prefix)))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	config_fault(k->faults, tree_line(k->tree, path), "%s: %s", path, text);
}

static void
check_dangling(struct check *k, const char *path, const char *what, const char *name,
	const struct names *names)
{
	const char *near = near_name(name, names->rows, names->len);

	if (near != NULL)
		check_fault(
			k, path, "no %s is named `%.60s`; did you mean `%s`?", what, name, near);
	else if (strncmp(what, "model", 5) == 0)
		check_fault(k, path,
			"no %s is named `%.60s` (one that only a backend lists: BACKEND/MODEL)",
			what, name);
	else
		check_fault(k, path, "no %s is named `%.60s`", what, name);
}

static const char *
path_of(struct path *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out->text, sizeof(out->text), fmt, ap);
	va_end(ap);
	return out->text;
}

static bool
is_model(const struct check *k, const char *name)
{
	return names_has(&k->models, name) || is_backend_model(k->config, name);
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
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	[BACKEND_##symbol] = wants_url,
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
	differs = config_section_hash(SECTION_SIM, b, 0) !=
		  config_section_hash(SECTION_SIM, &plain, 0);
	config_section_fini(SECTION_SIM, &plain);
	return differs;
}

static void
check_backend_encoder(struct check *k, size_t at)
{
	const struct config_backend *b = &k->config->backends[at];
	struct path path;

	(void)path_of(&path, "backends[%zu].encoder", at);
	if (b->kind == BACKEND_ENCODER && b->encoder == NULL)
		check_fault(k, path.text, "is required for this kind");
	if (b->kind != BACKEND_ENCODER && b->encoder != NULL)
		check_fault(k, path.text, "is for kind encoder only");
	if (b->encoder != NULL && !names_has(&k->encoders, b->encoder))
		check_dangling(k, path.text, "encoder", b->encoder, &k->encoders);
}

static void
check_encoder(struct check *k, size_t at)
{
	const struct config_encoder *n = &k->config->encoders[at];
	struct path path;

	(void)path_of(&path, "encoders[%zu].name", at);
	for (size_t i = 0; i < at; i++)
		if (same(n->name, k->config->encoders[i].name))
			check_fault(k, path.text,
				"duplicate name `%s`, already used by encoders[%zu]", n->name, i);
	if (n->name != NULL && strlen(n->name) > CONFIG_ENCODER_NAME_MAX)
		check_fault(k, path.text, "is longer than %d bytes", (int)CONFIG_ENCODER_NAME_MAX);
	(void)path_of(&path, "encoders[%zu].isa", at);
	if (n->isa == CONFIG_ISA_BLAS && n->dtype != CONFIG_DTYPE_AUTO &&
		n->dtype != CONFIG_DTYPE_F32)
		check_fault(k, path.text, "blas has f32 only");
}

static void
check_backend(struct check *k, size_t at)
{
	const struct config_backend *b = &k->config->backends[at];
	struct path path;

	(void)path_of(&path, "backends[%zu].name", at);
	for (size_t i = 0; i < at; i++)
		if (same(b->name, k->config->backends[i].name))
			check_fault(k, path.text,
				"duplicate name `%s`, already used by backends[%zu]", b->name, i);
	(void)path_of(&path, "backends[%zu].url", at);
	if (kind_wants_url(b->kind) && b->url == NULL)
		check_fault(k, path.text, "is required for this kind");
	if (!kind_wants_url(b->kind) && b->url != NULL)
		check_fault(k, path.text, "this kind has no server");
	for (size_t i = 0; i < k->config->listen_len; i++)
		if (config_is_own_address(&k->config->listen[i], b->url))
			check_fault(k, path.text,
				"is shunt's own address (listen %s); requests would go round in "
				"circles",
				k->config->listen[i].text);
	check_backend_encoder(k, at);
	if (b->kind != BACKEND_SIM && has_sim_settings(b))
		check_fault(k, path_of(&path, "backends[%zu].sim", at), "is for kind sim only");
}

static void
check_deployment(struct check *k, size_t model, size_t at, const struct names *backends)
{
	const struct config_model *m = &k->config->models[model];
	const struct config_deployment *d = &m->deployments[at];
	struct path path;

	(void)path_of(&path, "models[%zu].deployments[%zu].backend", model, at);
	if (d->backend != NULL && !names_has(backends, d->backend))
		check_dangling(k, path.text, "backend", d->backend, backends);
	(void)path_of(&path, "models[%zu].deployments[%zu]", model, at);
	for (size_t j = 0; j < at; j++)
		if (same(d->backend, m->deployments[j].backend) &&
			same(d->model, m->deployments[j].model))
			check_fault(k, path.text, "is the same as deployments[%zu]", j);
}

static void
check_model(struct check *k, size_t at)
{
	const struct config_model *m = &k->config->models[at];
	struct names backends = {.len = 0};
	struct path path;

	(void)path_of(&path, "models[%zu].name", at);
	for (size_t i = 0; i < at; i++)
		if (same(m->name, k->config->models[i].name))
			check_fault(k, path.text,
				"duplicate name `%.60s`, already used by models[%zu]", m->name, i);
	if (same(m->name, "*"))
		check_fault(k, path.text, "`*` stands for all models");
	if (m->name != NULL && strncmp(m->name, "router-", 7) == 0)
		check_fault(k, path.text, "router-... is read as router-SCORER-THRESHOLD");
	names_of_backends(&backends, k->config);
	for (size_t i = 0; i < m->deployments_len; i++)
		check_deployment(k, at, i, &backends);
}

static void
check_route_name(struct check *k, size_t at)
{
	const struct config *c = k->config;
	const char *name = c->routes[at].name;
	struct path path;

	(void)path_of(&path, "routes[%zu].name", at);
	for (size_t i = 0; i < at; i++)
		if (same(name, c->routes[i].name))
			check_fault(k, path.text,
				"duplicate name `%s`, already used by routes[%zu]", name, i);
	for (size_t i = 0; i < c->models_len; i++)
		if (same(name, c->models[i].name))
			check_fault(k, path.text,
				"duplicate name `%s`, already used by models[%zu]", name, i);
	if (name != NULL && strncmp(name, "router-", 7) == 0)
		check_fault(k, path.text, "router-... is read as router-SCORER-THRESHOLD");
}

static void
check_scorer_name(struct check *k, const char *path, const char *scorer, size_t len)
{
	struct names known = {.len = 0};
	char name[CONFIG_NAME_MAX + 1];
	const char *near;

#define SCORER(symbol, name, kind, help)                                                           \
	if (config_scorer_kind(#name, sizeof(#name) - 1) != CONFIG_SCORER_UNKNOWN)                 \
		names_add(&known, #name);
#include "config/scorer_list.h"
#undef SCORER
	(void)snprintf(name, sizeof(name), "%.*s", (int)MIN(len, (size_t)CONFIG_NAME_MAX), scorer);
	near = near_name(name, known.rows, known.len);
	if (near != NULL)
		check_fault(k, path, "no scorer is named `%s`; did you mean `%s`?", name, near);
	else
		check_fault(k, path, "no scorer is named `%s`", name);
}

static void
check_scorer(struct check *k, size_t at)
{
	const char *scorer = k->config->routes[at].scorer;
	struct config_folder folders[CONFIG_SCORER_FOLDERS_MAX + 1];
	AUTO(buf_fini) struct buf why = BUF_INIT;
	struct config_scorer s;
	struct path path;

	if (scorer == NULL)
		return;
	(void)path_of(&path, "routes[%zu].scorer", at);
	s = config_scorer_split(scorer);
	switch (config_scorer_kind(scorer, s.name_len)) {
	case CONFIG_SCORER_UNKNOWN:
		check_scorer_name(k, path.text, scorer, s.name_len);
		break;
	case CONFIG_SCORER_PLAIN:
		if (s.rest != NULL)
			check_fault(k, path.text, "`%.*s` reads no file", (int)s.name_len, scorer);
		else if (!config_cascade_check(&why, k->config, &k->config->routes[at]))
			check_fault(k, path.text, "%s", buf_str(&why));
		break;
	case CONFIG_SCORER_FILE:
		if (s.rest != NULL && s.rest[0] == '\0')
			check_fault(k, path.text, "names no file behind the colon");
		if (config_scorer_folders(folders, ARRAY_LEN(folders), k->config) ==
			ARRAY_LEN(folders))
			check_fault(k, path.text,
				"scorer files lie in more than %d folders; put them together",
				(int)CONFIG_SCORER_FOLDERS_MAX);
		break;
	case CONFIG_SCORER_ASKS:
		if (k->encoders.len == 0)
			check_fault(
				k, path.text, "there are no `encoders`, so nobody could be asked");
		else if (s.rest != NULL && !names_has(&k->encoders, s.rest))
			check_dangling(k, path.text, "encoder", s.rest, &k->encoders);
		break;
	}
}

static void
check_route_encoder(struct check *k, size_t at)
{
	const struct config_route *r = &k->config->routes[at];
	struct path path;

	if (r->encoder == NULL || r->scorer == NULL)
		return;
	(void)path_of(&path, "routes[%zu].encoder", at);
	switch (config_scorer_kind(r->scorer, config_scorer_split(r->scorer).name_len)) {
	case CONFIG_SCORER_ASKS:
		check_fault(k, path.text, "is for scorer files; write scorer: %.*s:%s instead",
			(int)config_scorer_split(r->scorer).name_len, r->scorer, r->encoder);
		break;
	case CONFIG_SCORER_PLAIN:
		check_fault(k, path.text, "is for scorer files; scorer %s reads none", r->scorer);
		break;
	default:
		if (!names_has(&k->encoders, r->encoder))
			check_dangling(k, path.text, "encoder", r->encoder, &k->encoders);
		break;
	}
}

/* A route that another one leaves decisions to: it must exist, and not be the same. */
static void
check_other_route(struct check *k, size_t at, const char *path, const char *name)
{
	if (name == NULL)
		return;
	if (!names_has(&k->routes, name))
		check_dangling(k, path, "route", name, &k->routes);
	else if (same(name, k->config->routes[at].name))
		check_fault(k, path, "is the route itself");
}

static void
check_experiment(struct check *k, size_t at)
{
	const struct config_route *r = &k->config->routes[at];
	struct path path;

	check_other_route(k, at, path_of(&path, "routes[%zu].shadow", at), r->shadow);
	(void)path_of(&path, "routes[%zu].experiment.route", at);
	check_other_route(k, at, path.text, r->experiment.route);
	if (r->experiment.route == NULL && r->experiment.share > 0)
		check_fault(k, path.text, "is missing: who decides for the share?");
}

static void
check_route(struct check *k, size_t at)
{
	const struct config_route *r = &k->config->routes[at];
	struct path path;

	check_route_name(k, at);
	for (size_t i = 0; i < r->models_len; i++) {
		const char *name = r->models[i];

		(void)path_of(&path, "routes[%zu].models[%zu]", at, i);
		if (strcmp(name, "*") != 0 && !is_model(k, name))
			check_dangling(k, path.text, "model", name, &k->models);
		for (size_t j = 0; j < i; j++)
			if (strcmp(name, r->models[j]) == 0)
				check_fault(k, path.text, "`%.60s` is listed twice", name);
	}
	for (size_t i = 0; i < r->fallbacks_len; i++)
		if (!is_model(k, r->fallbacks[i]) && !names_has(&k->routes, r->fallbacks[i]))
			check_dangling(k, path_of(&path, "routes[%zu].fallbacks[%zu]", at, i),
				"model or route", r->fallbacks[i], &k->models);
	(void)path_of(&path, "routes[%zu].default_model", at);
	if (r->default_model != NULL && !is_model(k, r->default_model))
		check_dangling(k, path.text, "model", r->default_model, &k->models);
	check_scorer(k, at);
	check_route_encoder(k, at);
	check_experiment(k, at);
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
check_words(struct check *k, size_t at, const char *key, char *const *words, size_t len)
{
	struct path path;

	for (size_t i = 0; i < len; i++)
		if (!is_word_pattern(words[i]))
			check_fault(k, path_of(&path, "rules[%zu].%s[%zu]", at, key, i),
				"`%.60s`: a * may only end a word", words[i]);
}

static void
check_rule(struct check *k, size_t at)
{
	const struct config_rule *r = &k->config->rules[at];
	struct path path;

	(void)path_of(&path, "rules[%zu].words", at);
	if (r->words_len == 0 && !r->on_image && !r->on_tools)
		check_fault(k, path.text, "can never fire: give it words, on_image or on_tools");
	check_words(k, at, "words", r->words, r->words_len);
	check_words(k, at, "except", r->except, r->except_len);
	for (size_t i = 0; i < r->routes_len; i++)
		if (!names_has(&k->routes, r->routes[i]))
			check_dangling(k, path_of(&path, "rules[%zu].routes[%zu]", at, i), "route",
				r->routes[i], &k->routes);
	(void)path_of(&path, "rules[%zu].model", at);
	if (r->model != NULL && !is_model(k, r->model) && !names_has(&k->routes, r->model))
		check_dangling(k, path.text, "model or route", r->model, &k->models);
}

static void
check_listen(struct check *k)
{
	const struct config *c = k->config;
	struct path path;

	for (size_t i = 0; i < c->listen_len; i++)
		for (size_t j = 0; j < i; j++) {
			const struct config_listen *a = &c->listen[i], *b = &c->listen[j];

			if (same(a->path, b->path) ||
				(same(a->host, b->host) && a->port == b->port && a->port != 0))
				check_fault(k, path_of(&path, "listen[%zu]", i),
					"%s is there twice", a->text);
		}
}

/* Or some would never start, and which ones is no choice of the admin's. */
static void
check_workers(struct check *k)
{
	const struct config *c = k->config;
	size_t n = c->gateways + c->backends_len + 1 + c->journal.enabled; /* 1: the profiler */

	for (size_t i = 0; i < c->encoders_len; i++)
		n += c->encoders[i].processes;
	if (n > CONFIG_WORKERS_MAX)
		check_fault(k, "encoders",
			"with gateways and backends, %zu worker processes; at most %d: lower "
			"`processes`",
			n, (int)CONFIG_WORKERS_MAX);
}

static void
check_top(struct check *k)
{
	const struct config *c = k->config;
	unsigned root = k->tree->root;

	check_listen(k);
	check_workers(k);
	if (strlen(c->run_dir) > CONFIG_RUN_DIR_MAX)
		check_fault(k, "run_dir", "is longer than %d bytes, too long for sockets in it",
			CONFIG_RUN_DIR_MAX);
	if (c->restart.delay_max_ms < c->restart.delay_ms)
		check_fault(k, "restart.delay_max_ms", "is less than restart.delay_ms");
	if (c->backends_len == 0 && (root == 0 || k->tree->nodes[root].type == TREE_MAP))
		check_fault(k, "backends",
			"there are none, so nothing could answer; add one, or `discover_local: "
			"yes`");
}

void
config_check(const struct config *c, const struct tree *t, struct config_faults *faults)
{
	struct check k = {.config = c, .tree = t, .faults = faults};

	names_of_models(&k.models, c);
	names_of_routes(&k.routes, c);
	names_of_encoders(&k.encoders, c);
	check_top(&k);
	for (size_t i = 0; i < c->encoders_len; i++)
		check_encoder(&k, i);
	for (size_t i = 0; i < c->backends_len; i++)
		check_backend(&k, i);
	for (size_t i = 0; i < c->models_len; i++)
		check_model(&k, i);
	for (size_t i = 0; i < c->routes_len; i++)
		check_route(&k, i);
	for (size_t i = 0; i < c->rules_len; i++)
		check_rule(&k, i);
	config_check_fault_rows(c, t, faults);
}
