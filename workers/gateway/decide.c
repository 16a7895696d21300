/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decide.c - a decision of this gateway: which conversation it belongs to, and its shadow
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { SHADOWS_MAX = 256 /* that wait for a classifier at once; more are not compared */ };

/* What a body without "model" means. */
static const char *
decide_default_name(const struct gateway *g)
{
	if (config_route(g->config, "auto") != NULL)
		return "auto";
	return g->config->routes_len > 0 ? g->config->routes[0].name : NULL;
}

/* Who alternates between two names must not get the same one of two deployments each time. */
static uint64_t *
decide_turns(struct gateway *g, const struct route_request *r)
{
	const char *name = r->route != NULL ? r->route : r->model;
	uint32_t hash = 2166136261U;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619U;
	return &g->route_turns[(hash ^ hash >> 16) % ROUTE_TURNS];
}

static uint64_t
decide_hash(uint64_t kind, struct json v)
{
	return v.type == JSON_NONE ? 0 : route_hash(v.p, v.len) * 31 + kind;
}

static uint64_t
decide_hash_header(uint64_t kind, const struct http_head *head, enum http_header h)
{
	const struct http_str *v = &head->header[h];

	return v->p == NULL || v->len == 0 ? 0 : route_hash(v->p, v->len) * 31 + kind;
}

/* Two clients' conversations are two, though both are called "1" or begin with "hi". */
static uint64_t
decide_hash_owned(uint64_t session, uint64_t user, const struct http_head *head)
{
	const uint64_t all[] = {session, user,
		decide_hash_header(5, head, HTTP_HEADER_AUTHORIZATION),
		decide_hash_header(6, head, HTTP_HEADER_API_KEY)};

	return session == 0 ? 0 : route_hash((const char *)all, sizeof(all));
}

/* A conversation is what its client says it is, else what begins with the same words of the same
 * user. An experiment deals by the client's word, by user, by conversation. */
struct decide_who
decide_identify(const struct chat_body *b, const struct http_head *head)
{
	uint64_t user = decide_hash(1, b->user), session = decide_hash(2, b->session);
	uint64_t said = decide_hash_header(4, head, HTTP_HEADER_SESSION);
	uint64_t first = decide_hash(3, b->first_turn);
	struct decide_who out = {.session_said = true};

	session = said != 0 ? said : session;
	if (session != 0) {
		out.session = out.who = decide_hash_owned(session, 0, head);
		return out;
	}
	out.session_said = b->route.user_turns > 1;
	out.session = decide_hash_owned(first, user, head);
	out.who = user != 0 ? user : out.session;
	return out;
}

/* The route that was asked for; NULL: a model was named. */
static const struct config_route *
decide_route(const struct gateway *g, const struct route_request *r)
{
	return config_route(g->config, r->route != NULL ? r->route : r->model);
}

/* Different routes' conversations are different ones, whatever they say. */
static uint64_t
decide_session_key(const struct config_route *route, uint64_t session)
{
	return route_hash(
		(const char *)&(uint64_t[]){session, route_hash(route->name, strlen(route->name))},
		2 * sizeof(uint64_t));
}

/* Where the conversation is: as this gateway remembers, unless another answered the last turn, or
 * nobody remembers. */
static void
decide_session(struct route_session *out, struct gateway *g, const struct chat_body *b,
	const struct decide_who *who, const struct config_route *route)
{
	/* not gateway_catalog: it may put another one in the place of the one that its caller has
	 */
	const struct route_session *kept = NULL;

	if (who->session_said)
		kept = ttl_get(g->sessions, decide_session_key(route, who->session), clock_ns(),
			clock_ms_to_ns(route->session_ms));
	if (kept != NULL && (size_t)kept->turns + 1 >= b->route.user_turns)
		*out = *kept;
	else
		route_session_replay(out, g->other, &b->route, &g->catalog->route, g->rules);
	if (out->model == 0 && kept != NULL)
		*out = *kept;
}

static void
decide_count(struct gateway *g)
{
	const struct route_decision *d = g->decision;

	if (d->abstained)
		gateway_count(g, COUNTER_ROUTE_ABSTAINED, 1);
	if (d->phase == PHASE_SESSION)
		gateway_count(g, COUNTER_ROUTE_SESSION, 1);
	if (d->phase == PHASE_DEFAULT)
		gateway_count(g, COUNTER_ROUTE_DEFAULT, 1);
	if (d->arm[0] != '\0')
		gateway_count(g, COUNTER_ROUTE_EXPERIMENT, 1);
}

MUST enum err_code
decide_make(struct gateway *g, struct chat_body *b, const struct decide_who *who, uint64_t *took_ns,
	struct err *e)
{
	const struct catalog *k = gateway_catalog(g);
	const struct config_route *route;
	struct route_session session;
	enum err_code code;
	uint64_t start_ns;

	g->decision->route[0] = g->decision->reason[0] = '\0';
	g->decision->ranked_len = g->decision->dropped_len = 0;
	g->decision->pending = false;
	if (b->route.model == NULL && b->route.route == NULL)
		b->route.model = decide_default_name(g);
	if (b->route.model == NULL && b->route.route == NULL) {
		b->param = "model";
		return err_set(e, ERR_INPUT, "\"model\" is missing, and no route is configured");
	}
	start_ns = clock_ns();
	if (!b->dealt)
		b->route.seed = (*decide_turns(g, &b->route))++;
	b->dealt = true;
	b->route.who = who->who;
	b->route.session = NULL;
	route = who->session == 0 ? NULL : decide_route(g, &b->route);
	if (route != NULL && route->session_ms > 0) {
		decide_session(&session, g, b, who, route);
		b->route.session = &session;
	}
	code = route_decide(g->decision, &b->route, &k->route, g->rules, e);
	b->route.session = NULL;
	*took_ns += clock_ns() - start_ns;
	if (code == ERR_OK && g->decision->pending)
		return ERR_OK;
	gateway_count(g, COUNTER_ROUTE_DECISIONS, 1);
	gateway_count(g, COUNTER_ROUTE_NS, (int64_t)*took_ns);
	if (code == ERR_OK && g->decision->ranked_len == 0)
		return err_set(e, ERR_UNAVAILABLE, "no candidate is left");
	if (code == ERR_OK)
		decide_count(g);
	return code;
}

void
decide_remember(struct gateway *g, const struct decide_who *who)
{
	const struct route_decision *d = g->decision;
	const struct config_route *route = config_route(g->config, d->route);

	if (who->session == 0 || d->session.model == 0 || route == NULL)
		return;
	*(struct route_session *)ttl_put(
		g->sessions, decide_session_key(route, who->session), clock_ns()) = d->session;
}

/* ---- the shadow ---- */

/* A shadow's decision that waits for a classifier. */
struct shadow {
	struct ask ask;
	struct judge_call call;
	struct chat_body body;
	char id[REQUEST_ID_MAX];
	char route[NAME_MAX_LEN];
	char model[MODEL_MAX_LEN];
};

static void
shadow_compare(struct gateway *g, const char *id, const char *route, const char *model)
{
	const struct route_decision *d = g->other;
	const char *other = g->catalog->rows[d->ranked[0].deployment].model;
	bool agree = strcmp(model, other) == 0;

	gateway_count(g, agree ? COUNTER_SHADOW_AGREE : COUNTER_SHADOW_DIFFER, 1);
	log_debug("shadow_decision", "id=%s route=%s model=%s shadow=%s shadow_model=%s agree=%s",
		id, route, model, d->route, other, agree ? "yes" : "no");
}

/* Decide for the shadow route into g->other. */
static MUST enum err_code
shadow_decide(struct gateway *g, struct chat_body *b, const char *route)
{
	const struct config_route *r = config_route(g->config, route);

	if (r == NULL || r->shadow == NULL)
		return ERR_MODEL; /* reloaded away */
	b->route.route = r->shadow;
	b->route.session = NULL;
	return route_decide(g->other, &b->route, &gateway_catalog(g)->route, g->rules, NULL);
}

static void
shadow_free(struct shadow *s)
{
	s->ask.g->shadows--;
	ask_drop(&s->ask);
	judge_call_fini(&s->call);
	chat_body_fini(&s->body);
	free(s);
}

static void
shadow_on_answer(struct ask *a, const struct ask_answer *answer)
{
	struct shadow *s = a->arg;
	struct gateway *g = a->g;

	judge_call_hear(&s->call, answer);
	if (answer->answer == JUDGE_READY && shadow_decide(g, &s->body, s->route) == ERR_OK &&
		g->other->judged && g->other->ranked_len > 0)
		shadow_compare(g, s->id, s->route, s->model);
	else
		gateway_count(g, COUNTER_SHADOW_LOST, 1);
	shadow_free(s);
}

/* Nobody waits for this answer but us. */
static void
shadow_wait(struct gateway *g, const char *id, const char *route, const char *model,
	struct chat_body *b, struct judge_call *call)
{
	struct shadow *s;
	char why[ROUTE_WHY_MAX];

	if (g->shadows >= SHADOWS_MAX) {
		gateway_count(g, COUNTER_SHADOW_LOST, 1);
		return;
	}
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	g->shadows++;
	s->ask = (struct ask){.g = g, .done = shadow_on_answer, .arg = s};
	(void)snprintf(s->id, sizeof(s->id), "%s", id);
	(void)snprintf(s->route, sizeof(s->route), "%s", route);
	(void)snprintf(s->model, sizeof(s->model), "%s", model);
	chat_body_move(&s->body, b);
	judge_call_move(&s->call, call, &s->body);
	/* the body's bytes go with the request */
	s->body.messages = s->body.first_turn = s->body.user = s->body.session = (struct json){0};
	if (ask_start(&s->ask, &s->call, why))
		return;
	gateway_count(g, COUNTER_SHADOW_LOST, 1);
	shadow_free(s);
}

void
decide_shadow(struct gateway *g, const char *id, struct chat_body *b)
{
	const struct config_route *route = config_route(g->config, g->decision->route);
	AUTO(judge_call_fini) struct judge_call call = {.g = g};
	AUTO(catalog_unref) struct catalog *k = NULL;
	const char *model;

	if (route == NULL || route->shadow == NULL || g->decision->ranked_len == 0 ||
		g->decision->phase == PHASE_EXPLICIT)
		return;
	k = catalog_ref(g->catalog); /* shadow_decide may take a newer one */
	model = k->rows[g->decision->ranked[0].deployment].model;
	judge_call_init(&call, g, b);
	if (shadow_decide(g, b, route->name) != ERR_OK)
		gateway_count(g, COUNTER_SHADOW_LOST, 1);
	else if (g->other->pending)
		shadow_wait(g, id, route->name, model, b, &call);
	else
		shadow_compare(g, id, route->name, model);
}

/* ---- the explanation ---- */

void
decide_explain(struct buf *out, struct gateway *g, struct chat_body *b, uint64_t took_ns)
{
	struct route_alternatives other;

	route_compare_settings(&other, g->other, &b->route, &g->catalog->route, g->rules);
	route_explain(out, g->decision, &g->catalog->route, &other, (double)took_ns / NS_PER_US);
}
