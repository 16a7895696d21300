/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_fallback.c - who is tried after the candidates that routing chose, in a given order
 *
 * What the request itself says replaces what its route says. The same filters hold for both.
 */
#include <stdio.h>
#include <string.h>

#include "lib/routing/parts.h"

/* The names in force; returns how many. */
static size_t
fallback_names(const struct work *w, const char *const **names)
{
	const struct config_route *route = w->named.route;

	if (w->r->fallbacks_len > 0 || route == NULL) {
		*names = w->r->fallbacks;
		return w->r->fallbacks_len;
	}
	*names = (const char *const *)route->fallbacks;
	return route->fallbacks_len;
}

/* name is a model, BACKEND/MODEL, or a route whose models are meant */
static bool
fallback_means(const struct work *w, const char *name, const struct route_deployment *d)
{
	const struct config_route *route = config_route(w->c->config, name);

	if (route == NULL)
		return names_mean(name, d);
	for (size_t i = 0; i < route->models_len; i++)
		if (strcmp(route->models[i], "*") == 0 || names_mean(route->models[i], d))
			return true;
	return false;
}

static bool
fallback_is_ranked(const struct route_decision *out, size_t deployment)
{
	for (size_t i = 0; i < out->ranked_len; i++)
		if (out->ranked[i].deployment == deployment)
			return true;
	return false;
}

static void
fallback_append_one(struct work *w, const char *name)
{
	struct route_decision *out = w->out;
	const struct route_deployment *d;
	bool unsure;

	for (size_t i = 0; i < w->c->len && out->ranked_len < ROUTE_CANDIDATES_MAX; i++) {
		d = &w->c->deployments[i];
		if (!fallback_means(w, name, d) || fallback_is_ranked(out, i) ||
			filter_check(&unsure, d, w->r, w->named.route) != FILTER_NONE)
			continue;
		out->ranked[out->ranked_len++] = (struct route_candidate){
			.deployment = i, .quality = d->quality, .cost_usd = -1};
		out->fallbacks++;
	}
}

void
fallback_append(struct work *w)
{
	const char *const *names;
	size_t len = fallback_names(w, &names);

	w->out->fallbacks = 0;
	for (size_t i = 0; i < len; i++)
		fallback_append_one(w, names[i]);
}

bool
fallback_instead(struct work *w)
{
	char text[ROUTE_REASON_MAX];

	fallback_append(w);
	if (w->out->ranked_len == 0)
		return false;
	(void)snprintf(text, sizeof(text), "fallback: nobody else can answer now; %s first",
		w->c->deployments[w->out->ranked[0].deployment].model);
	reason_say(w->out, text);
	return true;
}

MUST enum err_code
fallback_check(const struct route_request *r, const struct route_catalog *c, struct err *e)
{
	struct named named;

	for (size_t i = 0; i < r->fallbacks_len; i++) {
		const struct route_request one = {.model = r->fallbacks[i]};

		if (names_resolve(&named, &one, c, e) != ERR_OK)
			return err_wrap(e, "fallbacks");
	}
	return ERR_OK;
}
