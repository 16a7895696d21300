/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.c - which deployments can't answer a request, and why
 *
 * "Known no" drops a candidate, "not known" passes and ranks behind every "known yes". Down,
 * cooling and full come last: who only fails those could answer later. Where all that is left is
 * cooling or full, the request waits for it; where it is down, that makes the difference between 400
 * and 503.
 */
#include <stdio.h>
#include <string.h>

#include "lib/routing/parts.h"

enum { BYTES_PER_TOKEN = 4 };

/* name in explanations; what a person reads in the error */
static const struct {
	const char *name;
	const char *help;
} filter_rows[FILTERS] = {
	[FILTER_NONE] = {"none", ""},
	[FILTER_ENDPOINT] = {"endpoint", "do not serve this endpoint"},
	[FILTER_TOOLS] = {"tools", "can not call tools"},
	[FILTER_VISION] = {"vision", "can not see images"},
	[FILTER_JSON] = {"json", "can not promise JSON"},
	[FILTER_CONTEXT] = {"context", "have too small a context"},
	[FILTER_PRICE] = {"price", "cost more than the route allows"},
	[FILTER_DOWN] = {"down", "are down"},
	[FILTER_COOLING] = {"cooling", "are left alone for a while"},
	[FILTER_FULL] = {"full", "have no free place"},
};

bool
route_is_full(const struct route_candidate *c)
{
	return c->filtered == filter_rows[FILTER_FULL].name;
}

const char *
filter_name(enum filter f)
{
	return f < FILTERS ? filter_rows[f].name : "none";
}

uint64_t
filter_prompt_tokens(const struct route_request *r)
{
	return (uint64_t)r->prompt_bytes / BYTES_PER_TOKEN + 1;
}

static bool
filter_lacks(bool *unsure, bool needed, enum tri ability)
{
	if (!needed)
		return false;
	if (ability == TRI_UNKNOWN)
		*unsure = true;
	return ability == TRI_NO;
}

static bool
filter_lacks_endpoint(bool *unsure, const struct route_deployment *d, enum route_endpoint endpoint)
{
	if (d->endpoints == 0) {
		*unsure = *unsure || endpoint != ROUTE_CHAT;
		return false;
	}
	return (d->endpoints >> endpoint & 1) == 0;
}

static bool
filter_too_long(const struct route_deployment *d, const struct route_request *r)
{
	if (d->context_tokens == 0)
		return false;
	return filter_prompt_tokens(r) + r->max_tokens > d->context_tokens;
}

static bool
filter_too_dear(const struct route_deployment *d, const struct config_route *route)
{
	return route != NULL && route->max_usd >= 0 && d->output_usd > route->max_usd;
}

enum filter
filter_check(bool *unsure, const struct route_deployment *d, const struct route_request *r,
	const struct config_route *route)
{
	*unsure = false;
	if (filter_lacks_endpoint(unsure, d, r->endpoint))
		return FILTER_ENDPOINT;
	if (filter_lacks(unsure, r->tools, d->tools))
		return FILTER_TOOLS;
	if (filter_lacks(unsure, r->vision, d->vision))
		return FILTER_VISION;
	if (filter_lacks(unsure, r->json, d->json))
		return FILTER_JSON;
	if (filter_too_long(d, r))
		return FILTER_CONTEXT;
	if (filter_too_dear(d, route))
		return FILTER_PRICE;
	if (!d->up)
		return FILTER_DOWN;
	if (d->cooling)
		return FILTER_COOLING;
	if (d->max_in_flight > 0 && d->in_flight >= d->max_in_flight)
		return FILTER_FULL;
	return FILTER_NONE;
}

static const struct route_candidate *
filter_first(const struct route_decision *d, const char *name, size_t *count)
{
	const struct route_candidate *first = NULL;
	size_t i;

	*count = 0;
	for (i = 0; i < d->dropped_len; i++) {
		if (strcmp(d->dropped[i].filtered, name) != 0)
			continue;
		if (first == NULL)
			first = &d->dropped[i];
		++*count;
	}
	return first;
}

enum err_code
filter_error(const struct route_decision *d, const struct route_catalog *c, const char *what,
	struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const struct route_candidate *first;
	const struct route_deployment *example;
	bool down = false;
	size_t count;
	unsigned f;

	for (f = FILTER_NONE + 1; f < FILTERS; f++) {
		first = filter_first(d, filter_rows[f].name, &count);
		if (first == NULL)
			continue;
		example = &c->deployments[first->deployment];
		buf_addf(&text, "; %s: %zu %s (%s/%s%s%s)", filter_rows[f].name, count,
			filter_rows[f].help, example->backend, example->model,
			f == FILTER_DOWN && example->down_why != NULL &&
					example->down_why[0] != '\0'
				? ": "
				: "",
			f == FILTER_DOWN && example->down_why != NULL ? example->down_why : "");
		down = down || f == FILTER_DOWN;
	}
	if (d->dropped_len == 0)
		return err_set(e, ERR_UNAVAILABLE, "nothing serves %s yet", what);
	return err_set(e, down ? ERR_UNAVAILABLE : ERR_NO_CANDIDATE,
		"no deployment of %s can answer%s", what, buf_str(&text));
}
