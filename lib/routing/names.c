/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.c - what does a request ask for: a route, a model, one deployment, RouteLLM's form
 *
 * `model` is looked up as a route, as a model, as "backend/model" and at last as
 * "router-<scorer>-<threshold>", so that a configured name always wins over a form.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/near.h"
#include "lib/routing/parts.h"

static const char tier_prefix[] = "router-";
static const char tier_route[] = "auto"; /* whose models the form chooses from, where it exists */

enum { SHOWN_MAX = 64, NEAR_MAX = 3 };

/* A name out of a request, cut and made harmless for one line of ASCII text. */
static const char *
names_shown(char out[SHOWN_MAX], const char *name)
{
	size_t i;

	for (i = 0; i < SHOWN_MAX - 1 && name[i] != '\0'; i++)
		out[i] = name[i] >= ' ' && name[i] <= '~' && name[i] != '\'' ? name[i] : '?';
	out[i] = '\0';
	return out;
}

static bool
names_model_exists(const struct route_catalog *c, const char *model)
{
	size_t i;

	if (config_model(c->config, model) != NULL)
		return true;
	for (i = 0; i < c->len; i++) {
		if (strcmp(c->deployments[i].model, model) == 0)
			return true;
	}
	return false;
}

bool
names_mean(const char *name, const struct route_deployment *d)
{
	size_t len = strlen(d->backend);

	if (strcmp(name, d->model) == 0)
		return true;
	return strncmp(name, d->backend, len) == 0 && name[len] == '/' &&
	       (strcmp(name + len + 1, d->upstream) == 0 || strcmp(name + len + 1, d->model) == 0);
}

/* "backend/model", where model is the client's or the upstream's name for it. */
static bool
names_deployment(struct named *out, const char *asked, const struct route_catalog *c)
{
	const char *slash = strchr(asked, '/');
	const struct route_deployment *d;
	size_t i, len;

	if (slash == NULL || slash[1] == '\0')
		return false;
	len = (size_t)(slash - asked);
	for (i = 0; i < c->len; i++) {
		d = &c->deployments[i];
		if (strlen(d->backend) != len || memcmp(d->backend, asked, len) != 0)
			continue;
		if (strcmp(d->upstream, slash + 1) != 0 && strcmp(d->model, slash + 1) != 0)
			continue;
		out->backend = asked;
		out->backend_len = len;
		out->model = slash + 1;
		return true;
	}
	return false;
}

/* May the form name it: does it need no file, is one open, is there an encoder to ask? */
static bool
names_can_score(const struct route_catalog *c, enum scorer_id id)
{
	switch (scorer_kind(id)) {
	case SCORER_KIND_FIXED:
		return true;
	case SCORER_KIND_TRAINED:
		return scorers_find(c->scorers, id, NULL, NULL) != NULL;
	case SCORER_KIND_ENCODER:
		return c->config->encoders_len > 0;
	default:
		return false;
	}
}

static enum err_code
names_scorer(enum scorer_id *out, const char *name, size_t len, const struct route_catalog *c,
	struct err *e)
{
	enum scorer_id id = scorer_find(name, len);
	AUTO(buf_fini) struct buf known = BUF_INIT;
	char shown[SHOWN_MAX], copy[SHOWN_MAX];

	if (id != SCORERS && names_can_score(c, id)) {
		*out = id;
		return ERR_OK;
	}
	(void)snprintf(copy, sizeof(copy), "%.*s", (int)MIN(len, SHOWN_MAX - 1), name);
	for (unsigned i = 0; i < SCORERS; i++)
		if (names_can_score(c, (enum scorer_id)i))
			buf_addf(&known, "%s%s", known.len > 0 ? ", " : "",
				scorer_name((enum scorer_id)i));
	return err_set(e, ERR_MODEL, "no scorer named '%s' is at hand; there are: %s",
		names_shown(shown, copy), buf_str(&known));
}

/* router-<scorer>-<threshold> */
static enum err_code
names_tier(struct named *out, const char *asked, const struct route_catalog *c, struct err *e)
{
	const char *scorer = asked + sizeof(tier_prefix) - 1;
	const char *dash = strchr(scorer, '-');
	char shown[SHOWN_MAX];
	struct json number;
	enum err_code rc;
	double t;

	if (dash == NULL)
		return err_set(e, ERR_MODEL, "'%s' lacks its threshold: router-<scorer>-<0..1>",
			names_shown(shown, asked));
	rc = names_scorer(&out->scorer, scorer, (size_t)(dash - scorer), c, e);
	if (rc != ERR_OK)
		return rc;
	/* a JSON number: no NaN, no hexadecimal, no locale */
	if (json_check(&number, dash + 1, strlen(dash + 1), NULL) != ERR_OK ||
		number.p != dash + 1 || !json_double(&t, number) || !(t >= 0 && t <= 1))
		return err_set(e, ERR_MODEL, "the threshold in '%s' is no number from 0 to 1",
			names_shown(shown, asked));
	out->tier = true;
	out->threshold = t;
	out->route = config_route(c->config, tier_route);
	if (out->route == NULL && c->config->routes_len > 0)
		out->route = &c->config->routes[0];
	out->arm = out->route;
	return ERR_OK;
}

enum { NAMES_MAX = 512 };

static size_t
names_routes(const char *names[NAMES_MAX], const struct route_catalog *c)
{
	size_t n = 0, i;

	for (i = 0; i < c->config->routes_len && n < NAMES_MAX; i++)
		names[n++] = c->config->routes[i].name;
	return n;
}

/* All names there are, each once: routes, declared models, found models. Returns how many. */
static size_t
names_all(const char *names[NAMES_MAX], const struct route_catalog *c)
{
	size_t n = names_routes(names, c), i, k;

	for (i = 0; i < c->config->models_len && n < NAMES_MAX; i++)
		names[n++] = c->config->models[i].name;
	for (i = 0; i < c->len && n < NAMES_MAX; i++) {
		for (k = 0; k < n && strcmp(names[k], c->deployments[i].model) != 0; k++)
			;
		if (k == n)
			names[n++] = c->deployments[i].model;
	}
	return n;
}

/* The nearest names first, each within a third of the asked one's length. */
static size_t
names_near(const char *near[NEAR_MAX], const char *asked, const char *const *names, size_t len)
{
	unsigned limit = (unsigned)MAX(2, MIN(strlen(asked), 64) / 3), want;
	size_t n = 0, i;

	for (want = 0; want <= limit && n < NEAR_MAX; want++) {
		for (i = 0; i < len && n < NEAR_MAX; i++) {
			if (near_distance(asked, names[i]) == want)
				near[n++] = names[i];
		}
	}
	return n;
}

static void
names_join(struct buf *out, const char *const *names, size_t len)
{
	char shown[SHOWN_MAX];
	size_t i;

	for (i = 0; i < len; i++)
		buf_addf(out, "%s%s", i == 0 ? "" : ", ", names_shown(shown, names[i]));
}

static enum err_code
names_unknown(
	const char *kind, const char *asked, const char *const *names, size_t len, struct err *e)
{
	const char *near[NEAR_MAX];
	size_t shown_len = MIN(len, 12), near_len;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char shown[SHOWN_MAX];

	near_len = names_near(near, asked, names, len);
	if (near_len > 0) {
		buf_add_str(&text, "; did you mean ");
		names_join(&text, near, near_len);
		buf_add_char(&text, '?');
	}
	buf_add_str(&text, len == 0 ? "; there are none" : "; there are: ");
	names_join(&text, names, shown_len);
	if (len > shown_len)
		buf_addf(&text, " and %zu more", len - shown_len);
	return err_set(e, ERR_MODEL, "no %s named '%s'%s", kind, names_shown(shown, asked),
		buf_str(&text));
}

/* The route that decides for r: the experiment's for its share of users. */
static const struct config_route *
names_arm(const struct config_route *route, const struct route_request *r,
	const struct route_catalog *c)
{
	const struct config_route *other;
	uint64_t who = r->who != 0 ? r->who : r->seed;
	double u;

	if (route->experiment.route == NULL || !(route->experiment.share > 0))
		return route;
	/* Each experiment deals anew: who is in one is not the likelier to be in the next. */
	u = balance_uniform(who ^ route_hash(route->name, strlen(route->name)), 0);
	other = config_route(c->config, route->experiment.route);
	return u < route->experiment.share && other != NULL ? other : route;
}

static enum err_code
names_route(struct named *out, const struct config_route *route, const struct route_request *r,
	const struct route_catalog *c)
{
	out->route = route;
	out->arm = names_arm(route, r, c);
	return ERR_OK;
}

const struct config_route *
route_settings(const struct route_request *r, const struct route_catalog *c)
{
	struct named named;

	return names_resolve(&named, r, c, NULL) == ERR_OK ? named.arm : NULL;
}

enum err_code
names_resolve(struct named *out, const struct route_request *r, const struct route_catalog *c,
	struct err *e)
{
	const char *names[NAMES_MAX];
	const struct config_route *route;

	*out = (struct named){0};
	if (r->route != NULL) {
		route = config_route(c->config, r->route);
		return route != NULL
			       ? names_route(out, route, r, c)
			       : names_unknown("route", r->route, names, names_routes(names, c), e);
	}
	if (r->model == NULL || r->model[0] == '\0')
		return err_set(e, ERR_MODEL, "the request names no model");
	route = config_route(c->config, r->model);
	if (route != NULL)
		return names_route(out, route, r, c);
	if (names_model_exists(c, r->model)) {
		out->model = r->model;
		return ERR_OK;
	}
	if (names_deployment(out, r->model, c))
		return ERR_OK;
	if (strncmp(r->model, tier_prefix, sizeof(tier_prefix) - 1) == 0)
		return names_tier(out, r->model, c, e);
	return names_unknown("model or route", r->model, names, names_all(names, c), e);
}
