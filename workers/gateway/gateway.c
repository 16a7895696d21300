/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.c - the worker that speaks HTTP with clients
 *
 * Runs as:        one process per `gateways` of the config, all on the same listening sockets
 * Handles/Sends:  ChatDelta, ChatEnd, ChatFail, PlaceFree, Classified, ClassifyFail, FaultChanged /
 *                 ChatStart, ChatCredit, ChatCancel, PlaceWanted, Suspect, Classify, FaultChange,
 *                 JournalWake
 * Writes:         its own worker row (counters, heartbeat), its ring of journal records
 * If it dies:     its connections are reset; the sockets stay open in the supervisor, the other
 *                 gateways accept at once, and backends cancel what it had asked for
 */
#include "lib/base/clock.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

static const struct handler handlers[] = {
	{MSG_CHAT_DELTA, ROLE_BIT(ROLE_BACKEND), attempt_on_delta},
	{MSG_CHAT_END, ROLE_BIT(ROLE_BACKEND), attempt_on_end},
	{MSG_CHAT_FAIL, ROLE_BIT(ROLE_BACKEND), attempt_on_fail},
	{MSG_PLACE_FREE, ROLE_BIT(ROLE_BACKEND), place_on_free},
	{MSG_CLASSIFIED, ROLE_BIT(ROLE_CLASSIFIER), ask_on_classified},
	{MSG_CLASSIFY_FAIL, ROLE_BIT(ROLE_CLASSIFIER), ask_on_fail},
	{MSG_FAULT_CHANGED, ROLE_BIT(ROLE_PROFILER), fault_on_changed},
};

static MUST enum err_code
gateway_start(struct worker *w, struct err *e)
{
	struct gateway *g = NULL;

	if (gateway_new(&g, w, e) != ERR_OK)
		return e->code;
	w->state = g;
	if (record_start(g, e) != ERR_OK || prompt_log_start(g, e) != ERR_OK)
		return e->code;
	loop_set_spin(w->loop, (uint64_t)w->config->spin_us * NS_PER_US);
	return http_server_listen(&g->http, w->listen_fds, w->listen_count, e);
}

static void
gateway_on_board(struct worker *w)
{
	struct gateway *g = w->state;

	g->catalog_stale = true;
	asks_board_changed(g);
	attempts_board_changed(g);
	places_look(g);
	fault_board_changed(g);
}

static void
gateway_on_config(struct worker *w, const struct config *old)
{
	(void)old;
	gateway_config_changed(w->state);
	loop_set_spin(w->loop, (uint64_t)w->config->spin_us * NS_PER_US);
}

static void
gateway_on_drain(struct worker *w)
{
	struct gateway *g = w->state;

	g->draining = true;
	places_drain(g);
	http_server_drain(&g->http);
}

static void
gateway_on_drain_end(struct worker *w)
{
	requests_end(w->state);
}

static void
gateway_stop(struct worker *w)
{
	struct gateway *g = w->state;

	w->state = NULL;
	gateway_free(&g);
}

static const struct worker_role role = {
	.role = ROLE_GATEWAY,
	.handlers = handlers,
	.handlers_len = ARRAY_LEN(handlers),
	.sandbox = {.allow = SANDBOX_ACCEPT | SANDBOX_FILES, .files_max = 65536},
	.start = gateway_start,
	.on_board = gateway_on_board,
	.on_config = gateway_on_config,
	.on_drain = gateway_on_drain,
	.on_drain_end = gateway_on_drain_end,
	.stop = gateway_stop,
};

int
main(int argc, char **argv)
{
	return worker_main(argc, argv, &role);
}
