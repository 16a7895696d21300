/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_gateway_status.c - catalog, metrics and status out of a board and a config
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"
#include "workers/role.h"

static const char config_text[] =
	"backends:\n"
	"  - {name: one, kind: sim, sim: {models: [up-a]}}\n"
	"  - {name: two, kind: openai, url: \"http://127.0.0.1:9\", discover: yes}\n"
	"models:\n"
	"  - {name: a, deployments: [{backend: one, model: up-a}, {backend: two, model: up-a}],\n"
	"     quality: 0.5, input_usd: 1, output_usd: 2, tools: yes}\n"
	"routes:\n"
	"  - {name: auto, models: [\"*\"]}\n";

/* The supervisor's board, and what the profiler's worker sees of it. */
struct world {
	struct board *board, *profiler;
	struct config *config;
	struct catalog *catalog;
};

static void
set_slot(struct board *b, unsigned slot, enum role role, const char *name, enum slot_state state)
{
	struct slot_info info = {.role = role,
		.state = state,
		.pid = 100 + slot,
		.generation = 1,
		.since_ns = clock_ns()};

	cr_assert_lt(strlen(name), sizeof(info.name));
	memcpy(info.name, name, strlen(name));
	board_set_slot(b, slot, &info);
}

static void
set_profile(struct world *w, unsigned row, const char *backend, const char *model,
	enum deployment_health health)
{
	struct profile_info p = {.used = 1,
		.health = health,
		.discovered = 1,
		.tools = TRI_UNKNOWN,
		.vision = TRI_YES,
		.json = TRI_UNKNOWN,
		.context_tokens = 4096,
		.ttft_ms = 12.5F,
		.tokens_per_s = 50,
		.latency_ms = 100,
		.why = "it refused the connection"};

	memcpy(p.backend, backend, strlen(backend));
	memcpy(p.model, model, strlen(model));
	board_set_profile(w->profiler, row, &p);
	board_profiles_changed(w->profiler);
}

static void
world_init(struct world *w)
{
	struct err e;

	*w = (struct world){NULL};
	cr_assert_eq(board_create(&w->board, "/run/shunt", &e), ERR_OK, "%s", e.text);
	set_slot(w->board, 0, ROLE_GATEWAY, "gateway-0", SLOT_READY);
	set_slot(w->board, 1, ROLE_PROFILER, "profiler", SLOT_READY);
	set_slot(w->board, 2, ROLE_BACKEND, "one", SLOT_READY);
	set_slot(w->board, 3, ROLE_BACKEND, "two", SLOT_READY);
	cr_assert_eq(board_attach(&w->profiler, board_fd_ro(w->board), board_fd_rw(w->board), 1,
			     BOARD_SLOT_AND_PROFILES, &e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(config_parse(&w->config, "test", config_text, strlen(config_text), NULL, &e),
		ERR_OK, "%s", e.text);
}

static void
world_fini(struct world *w)
{
	catalog_unref(&w->catalog);
	config_free(&w->config);
	board_close(&w->profiler);
	board_close(&w->board);
}

static const struct route_deployment *
find(const struct world *w, const char *backend, const char *upstream)
{
	for (size_t i = 0; i < w->catalog->route.len; i++) {
		const struct route_deployment *d = &w->catalog->route.deployments[i];

		if (strcmp(d->backend, backend) == 0 && strcmp(d->upstream, upstream) == 0)
			return d;
	}
	return NULL;
}

Test(gateway_status, the_catalog_holds_declared_and_discovered_deployments_once)
{
	struct world w;
	const struct route_deployment *d;

	world_init(&w);
	set_profile(&w, 0, "one", "up-a", HEALTH_UP);
	set_profile(&w, 1, "one", "hidden", HEALTH_UP);
	set_profile(&w, 2, "two", "up-a", HEALTH_UP);
	set_profile(&w, 3, "two", "found", HEALTH_UP);
	set_profile(&w, 4, "nobody", "x", HEALTH_UP);
	w.catalog = catalog_new(w.config, w.board);
	cr_assert_eq(w.catalog->route.len, 3);
	cr_assert(w.catalog->serves);
	d = find(&w, "one", "up-a");
	cr_assert_str_eq(d->model, "a");
	cr_assert(d->up);
	cr_assert_eq(d->tools, TRI_YES);
	cr_assert_eq(d->vision, TRI_YES);
	cr_assert_eq(d->json, TRI_UNKNOWN);
	cr_assert_eq(d->context_tokens, 4096);
	cr_assert_float_eq(d->output_usd, 2, 1e-9);
	d = find(&w, "two", "found");
	cr_assert_str_eq(d->model, "found");
	cr_assert_null(d->declared);
	cr_assert_lt(d->quality, 0);
	world_fini(&w);
}

Test(gateway_status, a_deployment_that_is_down_says_why)
{
	struct world w;

	world_init(&w);
	set_profile(&w, 0, "one", "up-a", HEALTH_DOWN);
	set_slot(w.board, 3, ROLE_BACKEND, "two", SLOT_EMPTY);
	w.catalog = catalog_new(w.config, w.board);
	cr_assert(!find(&w, "one", "up-a")->up);
	cr_assert_str_eq(find(&w, "one", "up-a")->down_why, "it refused the connection");
	cr_assert(!find(&w, "two", "up-a")->up);
	cr_assert_str_eq(find(&w, "two", "up-a")->down_why, "its worker is not running");
	cr_assert(!w.catalog->serves);
	world_fini(&w);
}

Test(gateway_status, a_worker_in_its_restart_delay_still_counts_but_serves_nothing)
{
	struct world w;

	world_init(&w);
	set_slot(w.board, 2, ROLE_BACKEND, "one", SLOT_BACKOFF);
	set_slot(w.board, 3, ROLE_BACKEND, "two", SLOT_STARTING);
	w.catalog = catalog_new(w.config, w.board);
	cr_assert(find(&w, "one", "up-a")->up);
	cr_assert(find(&w, "two", "up-a")->up);
	cr_assert(!w.catalog->serves);
	world_fini(&w);
}

Test(gateway_status, calls_in_flight_are_fresh)
{
	struct world w;

	world_init(&w);
	w.catalog = catalog_new(w.config, w.board);
	cr_assert_eq(find(&w, "one", "up-a")->in_flight, 0);
	atomic_store(&board_slot_row(w.board, 2)->counters[COUNTER_UP_IN_FLIGHT], 7);
	catalog_refresh(w.catalog, w.board);
	cr_assert_eq(find(&w, "one", "up-a")->in_flight, 7);
	world_fini(&w);
}

/* How often needle is in text. */
static unsigned
count(const char *text, const char *needle)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, needle)) != NULL; p += strlen(needle))
		n++;
	return n;
}

Test(gateway_status, metrics_list_exactly_the_counter_rows)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(buf_fini) struct buf line = BUF_INIT;
	struct world w;

	world_init(&w);
	metrics_put(&out, w.board);
	cr_assert_eq(count(out.data, "# HELP shunt_"), COUNTERS);
	cr_assert_eq(count(out.data, "# TYPE shunt_"), COUNTERS);
	for (unsigned c = 0; c < COUNTERS; c++) {
		const struct counter_row *row = counter_row((enum counter)c);

		buf_clear(&line);
		buf_addf(&line, "# HELP shunt_%s %s\n# TYPE shunt_%s %s\n", row->metric, row->help,
			row->metric, row->gauge ? "gauge" : "counter");
		cr_assert_not_null(strstr(out.data, line.data), "%s", line.data);
	}
	world_fini(&w);
}

Test(gateway_status, metrics_of_one_worker_are_summed_over_its_slots)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct world w;

	world_init(&w);
	set_slot(w.board, 4, ROLE_BACKEND, "one", SLOT_DRAINING);
	atomic_store(&board_slot_row(w.board, 2)->counters[COUNTER_UP_OK], 3);
	atomic_store(&board_slot_row(w.board, 4)->counters[COUNTER_UP_OK], 4);
	atomic_store(&board_slot_row(w.board, 0)->counters[COUNTER_HTTP_OPEN], UINT64_MAX);
	metrics_put(&out, w.board);
	cr_assert_not_null(
		strstr(out.data, "\nshunt_upstream_ok_total{role=\"backend\",worker=\"one\"} 7\n"));
	cr_assert_eq(count(out.data, "shunt_upstream_ok_total{"), 1);
	cr_assert_not_null(
		strstr(out.data,
			"\nshunt_connections_open{role=\"gateway\",worker=\"gateway-0\"} -1\n"),
		"a gauge is a signed number");
	world_fini(&w);
}

static struct json
item(struct json array, unsigned index)
{
	struct json_iter it = json_iter(array);
	struct json v = {JSON_NONE, NULL, 0};

	for (unsigned i = 0; i <= index; i++)
		cr_assert(json_next_item(&it, &v), "no element %u", index);
	return v;
}

static void
check_members(struct json v, const char *const *names, size_t len)
{
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(json_count(v, names[i]), 1, "%s", names[i]);
}

Test(gateway_status, status_has_its_documented_shape)
{
	static const char *const top[] = {"version", "uptime_s", "workers", "backends", "models"};
	static const char *const worker[] = {"role", "name", "slot", "pid", "generation", "state",
		"restarts", "heartbeat_age_ms", "rss_kb", "pss_kb"};
	static const char *const backend[] = {
		"name", "kind", "state", "health", "breaker", "in_flight", "ok", "why", "failed",
		"ewma_ms"};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct world w;
	struct json root, row;
	struct err e;

	world_init(&w);
	set_profile(&w, 0, "one", "up-a", HEALTH_UP);
	set_profile(&w, 1, "two", "up-a", HEALTH_DOWN);
	w.catalog = catalog_new(w.config, w.board);
	status_put(&out, w.board, w.config, w.catalog);
	cr_assert_eq(json_check(&root, out.data, out.len, &e), ERR_OK, "%s\n%s", e.text, out.data);
	check_members(root, top, ARRAY_LEN(top));
	row = item(json_get(root, "workers"), 2);
	check_members(row, worker, ARRAY_LEN(worker));
	cr_assert(json_equals(json_get(row, "role"), "backend"));
	cr_assert(json_equals(json_get(row, "state"), "ready"));
	row = item(json_get(root, "backends"), 0);
	check_members(row, backend, ARRAY_LEN(backend));
	cr_assert(json_equals(json_get(row, "kind"), "sim"));
	cr_assert(json_equals(json_get(row, "breaker"), "closed"));
	cr_assert(json_equals(json_get(row, "health"), "up"));
	cr_assert(json_equals(json_get(item(json_get(root, "backends"), 1), "health"), "down"));
	row = item(json_get(root, "models"), 0);
	cr_assert(json_equals(json_get(row, "name"), "a"));
	cr_assert(json_equals(json_get(row, "health"), "up"));
	cr_assert_not_null(json_get(item(json_get(row, "deployments"), 1), "why").p);
	world_fini(&w);
}
