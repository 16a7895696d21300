/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - the gateway's state, and its catalog
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum {
	SESSIONS_KEPT = 16384,
	CATALOG_AGE_MS = 1000
}; /* moving averages change without a sign on the board */

void
gateway_count(struct gateway *g, enum counter which, int64_t n)
{
	if (counter_row(which)->gauge)
		board_gauge(g->board, which, n);
	else
		board_count(g->board, which, (uint64_t)n);
}

static void
on_count(struct http_server *s, enum counter which, int64_t n)
{
	gateway_count(s->arg, which, n);
}

static void
on_gone(struct http_conn *c)
{
	fault_conn_gone(c->server->arg, c);
	if (c->owner != NULL)
		request_cancel(c->owner, "the client left");
}

static void
on_taken(struct http_conn *c)
{
	if (c->owner != NULL)
		request_taken(c->owner);
}

static void
on_drained(struct http_server *s)
{
	const struct gateway *g = s->arg;

	if (g->draining)
		worker_drained(g->w);
}

static const struct http_ops http_ops = {
	.on_head = api_on_head,
	.on_request = api_on_request,
	.on_gone = on_gone,
	.on_taken = on_taken,
	.on_drained = on_drained,
	.count = on_count,
};

MUST enum err_code
gateway_new(struct gateway **out, struct worker *w, struct err *e)
{
	AUTO(gateway_free) struct gateway *g = calloc(1, sizeof(*g));

	CHECK(g != NULL);
	g->w = w;
	g->board = w->board;
	g->config = w->config;
	g->decision = calloc(1, sizeof(*g->decision));
	CHECK(g->decision != NULL);
	g->other = calloc(1, sizeof(*g->other));
	CHECK(g->other != NULL);
	g->catalog_stale = true;
	places_new(g);
	http_server_init(&g->http, w->loop, &w->config->limits, &http_ops, g);
	if (auth_load(&g->auth, &w->config->auth, e) != ERR_OK)
		return e->code;
	route_rules_new(&g->rules, w->config);
	g->config_hash = config_hash_gateway(w->config);
	scorer_files_load(&g->scorers, w->config, SCORER_FILES_STAY);
	judge_forget(g);
	ttl_new(&g->sessions, SESSIONS_KEPT, sizeof(struct route_session));
	*out = g;
	g = NULL;
	return ERR_OK;
}

void
gateway_free(struct gateway **g_p)
{
	struct gateway *g = *g_p;

	*g_p = NULL;
	if (g == NULL)
		return;
	g->draining = false;
	fault_waits_free(g);
	requests_free(g);
	places_free(g);
	while (g->asks != NULL)
		g->asks->done(g->asks,
			&(struct ask_answer){.answer = JUDGE_FAILED, .why = "the gateway ends"});
	record_stop(g);
	prompt_log_stop(g);
	http_server_fini(&g->http);
	catalog_unref(&g->catalog);
	route_rules_free(&g->rules);
	auth_free(&g->auth);
	scorers_free(&g->scorers);
	ttl_free(&g->judged);
	ttl_free(&g->sessions);
	free(g->decision);
	free(g->other);
	free(g);
}

void
gateway_config_changed(struct gateway *g)
{
	struct auth *auth = NULL;
	struct err e;

	g->config = g->w->config;
	g->http.limits = &g->config->limits;
	g->catalog_stale = true;
	route_rules_free(&g->rules);
	route_rules_new(&g->rules, g->config);
	scorer_files_load(&g->scorers, g->config,
		config_hash_gateway(g->config) == g->config_hash ? SCORER_FILES_STAY
								 : SCORER_FILES_LAST);
	judge_forget(g);
	/* the doors stay as they were rather than open */
	if (auth_load(&auth, &g->config->auth, &e) != ERR_OK) {
		log_error("keys_not_reloaded", "keep=old text=\"%s\"", e.text);
	} else {
		auth_free(&g->auth);
		g->auth = auth;
	}
	places_config_changed(g);
}

struct catalog *
gateway_catalog(struct gateway *g)
{
	uint64_t changes = board_profile_changes(g->board);

	if (g->catalog != NULL && !g->catalog_stale && changes == g->profile_changes &&
		clock_ns() - g->catalog->made_ns < clock_ms_to_ns(CATALOG_AGE_MS)) {
		catalog_refresh(g->catalog, g->board);
		return g->catalog;
	}
	catalog_unref(&g->catalog);
	g->catalog = catalog_new(g->config, g->board);
	g->catalog->route.scorers = g->scorers;
	g->catalog_stale = false;
	g->profile_changes = changes;
	return g->catalog;
}
