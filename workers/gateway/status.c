/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - the JSON of `shunt status --json`: workers, backends, models
 *
 * Everything comes from the board, the config and the newest catalog; nothing is asked of anybody.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"
#include "workers/role.h"

static uint64_t
status_load(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void
status_put_worker(struct buf *out, const struct board *board, unsigned slot)
{
	const struct worker_row *w = board_worker(board, slot);
	uint64_t beat_ns = status_load(&w->heartbeat_ns), now_ns = clock_ns();
	struct slot_info info;

	board_slot(board, slot, &info);
	if (info.state == SLOT_EMPTY)
		return;
	json_put_begin(out, '{');
	json_put_member_str(out, "role", metrics_role_name(info.role));
	json_put_member_str(out, "name", info.name);
	json_put_member_u64(out, "slot", slot);
	json_put_member_u64(out, "pid", info.pid);
	json_put_member_u64(out, "generation", info.generation);
	json_put_member_str(out, "state", slot_state_name(info.state));
	json_put_member_u64(out, "restarts", info.restarts);
	json_put_member_u64(out, "heartbeat_age_ms",
		beat_ns == 0 || beat_ns > now_ns ? 0 : (now_ns - beat_ns) / NS_PER_MS);
	json_put_member_u64(out, "rss_kb", status_load(&w->rss_kb));
	json_put_member_u64(out, "pss_kb", status_load(&w->pss_kb));
	json_put_end(out, '}');
}

/* Sums over the deployments of one backend. */
struct status_backend {
	uint64_t in_flight, ok, failed;
	const char *state;
	const char *health; /* as probes find it; "none": no model was found */
	const char *breaker;
	char why[sizeof(((struct profile_info *)0)->why)]; /* of what is not well */
};

static void
status_sum(struct status_backend *s, const struct board *board, unsigned slot)
{
	const struct worker_row *w = board_worker(board, slot);

	for (unsigned i = 0; i < STATS_MAX; i++) {
		const struct deployment_stat *d = &w->stats[i];

		if (status_load(&d->used) == 0)
			continue;
		s->in_flight += status_load(&d->in_flight);
		s->ok += status_load(&d->ok);
		s->failed += status_load(&d->failed);
	}
}

/* The name of its worst deployment's breaker: open, half-open, closed. */
static const char *
status_breaker(const struct catalog *k, const char *backend, struct status_backend *s)
{
	enum breaker_state worst = BREAKER_CLOSED, now;

	for (size_t i = 0; i < k->route.len; i++) {
		if (k->rows[i].stat == NULL || strcmp(k->rows[i].backend, backend) != 0)
			continue;
		now = breaker_word_state(status_load(&k->rows[i].stat->breaker));
		if (now == BREAKER_CLOSED || worst == BREAKER_OPEN)
			continue;
		worst = now;
		if (s->why[0] == '\0')
			(void)snprintf(s->why, sizeof(s->why), "%s", k->rows[i].why);
	}
	return breaker_state_name(worst);
}

/* The mean over its deployments; and what the probes say where all of them are down, or found none.
 */
static void
status_health(const struct board *board, const char *backend, double *latency_ms,
	struct status_backend *s)
{
	struct profile_info p;
	unsigned down = 0, rows = 0, measured = 0;

	*latency_ms = 0;
	for (unsigned i = 0; i < PROFILES_MAX; i++) {
		board_profile(board, i, &p);
		p.backend[sizeof(p.backend) - 1] = '\0';
		if (p.used == 0 || strcmp(p.backend, backend) != 0)
			continue;
		rows++;
		down += p.health == HEALTH_DOWN;
		if (p.health == HEALTH_DOWN && s->why[0] == '\0')
			(void)snprintf(
				s->why, sizeof(s->why), "%.*s", (int)sizeof(p.why) - 1, p.why);
		if (p.latency_ms > 0) {
			*latency_ms += (double)p.latency_ms;
			measured++;
		}
	}
	if (measured > 0)
		*latency_ms /= measured;
	s->health = rows == 0 ? "none" : down == rows ? "down" : "up";
	if (rows == 0)
		(void)snprintf(s->why, sizeof(s->why), "nothing answers there, or it has no model");
	else if (down < rows)
		s->why[0] = '\0';
}

static const char *
status_backend_state(const struct board *board, const char *name, struct status_backend *s)
{
	struct slot_info info;
	const char *state = "empty";

	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		board_slot(board, slot, &info);
		if (info.role != ROLE_BACKEND || strcmp(info.name, name) != 0)
			continue;
		status_sum(s, board, slot);
		if (info.state != SLOT_EMPTY && strcmp(state, "ready") != 0)
			state = slot_state_name(info.state);
	}
	return state;
}

static void
status_put_backend(struct buf *out, const struct board *board, const struct config_backend *b,
	const struct catalog *catalog)
{
	static const char *const kinds[] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help) #name,
#include "config/kind_list.h"
#undef BACKEND_KIND
	};
	struct status_backend s = {0};
	double latency_ms;

	s.state = status_backend_state(board, b->name, &s);
	status_health(board, b->name, &latency_ms, &s);
	s.breaker = status_breaker(catalog, b->name, &s);
	json_put_begin(out, '{');
	json_put_member_str(out, "name", b->name);
	json_put_member_str(out, "kind", b->kind < ARRAY_LEN(kinds) ? kinds[b->kind] : "?");
	json_put_member_str(out, "state", s.state);
	json_put_member_str(out, "health", s.health);
	json_put_member_str(out, "breaker", s.breaker);
	json_put_member_str(out, "why", s.why);
	json_put_member_u64(out, "in_flight", s.in_flight);
	json_put_member_u64(out, "ok", s.ok);
	json_put_member_u64(out, "failed", s.failed);
	json_put_member_double(out, "ewma_ms", latency_ms);
	json_put_end(out, '}');
}

static void
status_put_tri(struct buf *out, const char *name, enum tri v)
{
	json_put_key(out, name);
	if (v == TRI_UNKNOWN)
		json_put_null(out);
	else
		json_put_bool(out, v == TRI_YES);
}

static void
status_put_deployment(
	struct buf *out, const struct route_deployment *d, const struct catalog_row *row)
{
	uint64_t word = row->stat == NULL ? 0 : status_load(&row->stat->breaker);

	json_put_begin(out, '{');
	json_put_member_str(out, "backend", d->backend);
	json_put_member_str(out, "model", d->upstream);
	json_put_member_str(out, "health", d->up ? "up" : "down");
	json_put_member_str(out, "why", d->up && word == 0 ? "" : d->down_why);
	json_put_member_str(out, "breaker", breaker_state_name(breaker_word_state(word)));
	json_put_member_u64(out, "cooling_ms", d->cooling_ms);
	json_put_member_bool(out, "outlier", d->outlier);
	json_put_member_bool(out, "discovered", d->declared == NULL);
	json_put_member_bool(out, "loaded", d->loaded);
	json_put_member_u64(out, "context_tokens", d->context_tokens);
	status_put_tri(out, "tools", d->tools);
	status_put_tri(out, "vision", d->vision);
	status_put_tri(out, "json", d->json);
	json_put_member_double(out, "ttft_ms", (double)d->ttft_ms);
	json_put_member_double(out, "tokens_per_s", (double)d->tokens_per_s);
	json_put_member_double(out, "failure_rate", (double)d->failure_rate);
	json_put_end(out, '}');
}

/* One row per model name; its own figures are the best of its deployments. */
static void
status_put_model(struct buf *out, const struct catalog *k, size_t first)
{
	const struct route_deployment *all = k->route.deployments, best = all[first];
	struct route_deployment sum = best;

	json_put_begin(out, '{');
	json_put_member_str(out, "name", best.model);
	json_put_key(out, "deployments");
	json_put_begin(out, '[');
	for (size_t i = first; i < k->route.len; i++) {
		const struct route_deployment *d = &all[i];

		if (strcmp(d->model, best.model) != 0)
			continue;
		status_put_deployment(out, d, &k->rows[i]);
		sum.up |= d->up;
		sum.context_tokens = MAX(sum.context_tokens, d->context_tokens);
		if (d->ttft_ms > 0 && (sum.ttft_ms <= 0 || d->ttft_ms < sum.ttft_ms))
			sum.ttft_ms = d->ttft_ms;
		sum.tokens_per_s = MAX(sum.tokens_per_s, d->tokens_per_s);
		sum.tools = d->tools == TRI_YES ? TRI_YES : sum.tools;
		sum.vision = d->vision == TRI_YES ? TRI_YES : sum.vision;
		sum.json = d->json == TRI_YES ? TRI_YES : sum.json;
	}
	json_put_end(out, ']');
	json_put_member_str(out, "health", sum.up ? "up" : "down");
	json_put_member_u64(out, "context_tokens", sum.context_tokens);
	status_put_tri(out, "tools", sum.tools);
	status_put_tri(out, "vision", sum.vision);
	status_put_tri(out, "json", sum.json);
	json_put_member_double(out, "ttft_ms", (double)sum.ttft_ms);
	json_put_member_double(out, "tokens_per_s", (double)sum.tokens_per_s);
	json_put_end(out, '}');
}

static bool
status_is_first(const struct catalog *k, size_t row)
{
	for (size_t i = 0; i < row; i++)
		if (strcmp(k->deployments[i].model, k->deployments[row].model) == 0)
			return false;
	return true;
}

/* Who has a segment mapped; PSS counts each shared page once over all processes. */
static void
status_put_maps(struct buf *out, const struct board *board, const struct weights_info *g)
{
	struct slot_info info;
	uint64_t pss_kb;

	json_put_key(out, "mapped_by");
	json_put_begin(out, '[');
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		if (g->maps[slot] == 0)
			continue;
		board_slot(board, slot, &info);
		pss_kb = atomic_load_explicit(
			&board_worker(board, slot)->pss_kb, memory_order_relaxed);
		json_put_begin(out, '{');
		json_put_member_str(out, "worker", info.name);
		json_put_member_u64(out, "slot", slot);
		json_put_member_u64(out, "pid", info.pid);
		json_put_member_u64(out, "generation", g->maps[slot]);
		json_put_member_u64(out, "pss_kb", pss_kb);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
status_put_weights(struct buf *out, const struct board *board, unsigned row)
{
	struct weights_info g;

	board_weights(board, row, &g);
	if (g.state == WEIGHTS_NONE)
		return;
	json_put_begin(out, '{');
	json_put_member_str(out, "name", g.name);
	json_put_member_str(out, "folder", g.folder);
	json_put_member_str(out, "state", weights_state_name(g.state));
	json_put_member_str(out, "dtype", g.dtype);
	json_put_member_str(out, "isa", g.isa);
	json_put_member_u64(out, "bytes", g.bytes);
	json_put_member_u64(out, "generation", g.generation);
	json_put_member_u64(out, "loads", g.loads);
	json_put_member_u64(out, "failures", g.failures);
	json_put_member_str(out, "why", g.why);
	json_put_member_u64(out, "since_s", (clock_ns() - MIN(g.since_ns, clock_ns())) / NS_PER_S);
	status_put_maps(out, board, &g);
	json_put_end(out, '}');
}

/* Sums over all gateways; the oldest is that of all. */
static void
status_put_queue(struct buf *out, const struct board *board)
{
	static const struct {
		const char *name;
		enum counter counter;
	} members[] = {{"length", COUNTER_QUEUE_LEN}, {"bytes", COUNTER_QUEUE_BYTES},
		{"entered", COUNTER_QUEUE_ENTERED}, {"served", COUNTER_QUEUE_SERVED},
		{"returned", COUNTER_QUEUE_RETURNED}, {"refused_full", COUNTER_QUEUE_FULL},
		{"refused_user", COUNTER_QUEUE_USER_FULL}, {"refused_deadline", COUNTER_QUEUE_LATE},
		{"shed", COUNTER_QUEUE_SHED}, {"expired", COUNTER_QUEUE_EXPIRED},
		{"gone", COUNTER_QUEUE_GONE}, {"wait_ms_sum", COUNTER_QUEUE_WAIT_MS}};
	uint64_t oldest_ms = 0;

	json_put_begin(out, '{');
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		uint64_t sum = 0;

		for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
			sum += status_load(
				&board_worker(board, slot)->counters[members[i].counter]);
		json_put_member_u64(out, members[i].name, sum);
	}
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		oldest_ms = MAX(oldest_ms,
			status_load(&board_worker(board, slot)->counters[COUNTER_QUEUE_OLDEST_MS]));
	json_put_member_u64(out, "oldest_wait_ms", oldest_ms);
	json_put_end(out, '}');
}

void
status_put(struct buf *out, const struct board *board, const struct config *config,
	const struct catalog *catalog)
{
	const struct board_head *head = board_head(board);
	char version[sizeof(head->version)];

	memcpy(version, head->version, sizeof(version));
	version[sizeof(version) - 1] = '\0';
	json_put_begin(out, '{');
	json_put_member_str(out, "version", version);
	json_put_member_u64(out, "uptime_s", (clock_ns() - head->started_ns) / NS_PER_S);
	json_put_key(out, "faults");
	fault_put_list(out, board);
	json_put_key(out, "queue");
	status_put_queue(out, board);
	json_put_key(out, "workers");
	json_put_begin(out, '[');
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		status_put_worker(out, board, slot);
	json_put_end(out, ']');
	json_put_key(out, "backends");
	json_put_begin(out, '[');
	for (size_t i = 0; i < config->backends_len; i++)
		status_put_backend(out, board, &config->backends[i], catalog);
	json_put_end(out, ']');
	json_put_key(out, "models");
	json_put_begin(out, '[');
	for (size_t i = 0; i < catalog->route.len; i++)
		if (status_is_first(catalog, i))
			status_put_model(out, catalog, i);
	json_put_end(out, ']');
	json_put_key(out, "weights");
	json_put_begin(out, '[');
	for (unsigned row = 0; row < WEIGHTS_MAX; row++)
		status_put_weights(out, board, row);
	json_put_end(out, ']');
	json_put_end(out, '}');
}
