/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog.c - every deployment that a request could go to, as routing sees it
 *
 * What the config declares comes first, then what the profiler found on backends with `discover`.
 * A catalog is a snapshot with its own copies of all names: a request keeps the one it was decided
 * with, while the gateway goes on to a newer one.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"
#include "workers/role.h"

enum { COMING_BACK_MS = 2000 }; /* a worker in its restart delay for less than this still counts */

/* While one is built. */
struct catalog_make {
	struct catalog *out;
	const struct config *config;
	const struct board *board;
	struct profile_info *profiles; /* the used rows */
	size_t profiles_len;
};

static void
catalog_copy_name(char *out, size_t size, const char *s)
{
	size_t n = strlen(s);

	n = MIN(n, size - 1);
	memcpy(out, s, n);
	out[n] = '\0';
}

static void
catalog_read_profiles(struct catalog_make *m)
{
	m->profiles = calloc(PROFILES_MAX, sizeof(*m->profiles));
	CHECK(m->profiles != NULL);
	for (unsigned i = 0; i < PROFILES_MAX; i++) {
		struct profile_info *p = &m->profiles[m->profiles_len];

		board_profile(m->board, i, p);
		p->backend[sizeof(p->backend) - 1] = '\0';
		p->model[sizeof(p->model) - 1] = '\0';
		p->why[sizeof(p->why) - 1] = '\0';
		if (p->used != 0 && p->backend[0] != '\0' && p->model[0] != '\0')
			m->profiles_len++;
	}
}

static const struct profile_info *
catalog_profile(const struct catalog_make *m, const char *backend, const char *model)
{
	for (size_t i = 0; i < m->profiles_len; i++)
		if (strcmp(m->profiles[i].backend, backend) == 0 &&
			strcmp(m->profiles[i].model, model) == 0)
			return &m->profiles[i];
	return NULL;
}

/* Can its worker take a request, now or in a moment? Otherwise *why says what it does. */
static bool
catalog_worker_up(const struct catalog_make *m, struct catalog_row *row)
{
	struct slot_info info;
	bool known = row->slot >= 0;

	if (known)
		board_slot(m->board, (unsigned)row->slot, &info);
	row->ready = known && info.state == SLOT_READY;
	if (row->ready)
		return true;
	if (known && info.state != SLOT_DRAINING)
		return true; /* starting */
	/* board_find_slot passes over workers that are dead for the moment */
	for (unsigned i = 0; !known && i < SLOTS_MAX; i++) {
		board_slot(m->board, i, &info);
		row->coming = info.role == ROLE_BACKEND && info.state == SLOT_BACKOFF &&
			      strcmp(info.name, row->backend) == 0 &&
			      clock_ns() - info.since_ns < clock_ms_to_ns(COMING_BACK_MS);
		if (row->coming)
			return true;
	}
	catalog_copy_name(row->why, sizeof(row->why),
		known ? "its worker is draining" : "its worker is not running");
	return false;
}

static enum tri
catalog_tri(enum tri said, uint32_t found)
{
	if (said != TRI_UNKNOWN)
		return said;
	return found == TRI_YES ? TRI_YES : found == TRI_NO ? TRI_NO : TRI_UNKNOWN;
}

/* What the profiler knows of it. */
static void
catalog_fill_found(
	struct route_deployment *d, struct catalog_row *row, const struct profile_info *p)
{
	if (p == NULL)
		return;
	d->endpoints = p->endpoints;
	d->tools = catalog_tri(d->tools, p->tools);
	d->vision = catalog_tri(d->vision, p->vision);
	d->json = catalog_tri(d->json, p->json);
	if (d->context_tokens == 0)
		d->context_tokens = p->context_tokens;
	d->loaded = p->loaded == 1;
	d->ttft_ms = p->ttft_ms;
	d->tokens_per_s = p->tokens_per_s;
	row->latency_ms = p->latency_ms;
	d->failure_rate = row->failure_rate = p->failure_rate;
	if (p->health == HEALTH_DOWN) {
		d->up = false;
		catalog_copy_name(row->why, sizeof(row->why), p->why);
	}
}

static void
catalog_fill_declared(struct route_deployment *d, const struct config_model *model)
{
	d->declared = model;
	d->tools = d->vision = d->json = TRI_UNKNOWN;
	d->quality = d->input_usd = d->output_usd = -1;
	if (model == NULL)
		return;
	d->tools = model->tools;
	d->vision = model->vision;
	d->json = model->json;
	d->quality = model->quality;
	d->input_usd = model->input_usd;
	d->output_usd = model->output_usd;
	d->context_tokens = model->context_tokens;
}

static void
catalog_add(struct catalog_make *m, const char *name, const struct config_backend *b,
	const char *upstream, uint32_t weight, const struct config_model *declared)
{
	struct catalog *k = m->out;
	struct route_deployment *d = &k->deployments[k->route.len];
	struct catalog_row *row = &k->rows[k->route.len];

	k->route.len++;
	catalog_copy_name(row->model, sizeof(row->model), name);
	catalog_copy_name(row->backend, sizeof(row->backend), b->name);
	catalog_copy_name(row->upstream, sizeof(row->upstream), upstream);
	row->first_byte_ms = b->first_byte_ms;
	row->stall_ms = b->stall_ms;
	row->slot = board_find_slot(m->board, ROLE_BACKEND, b->name);
	d->model = row->model;
	d->backend = row->backend;
	d->upstream = row->upstream;
	d->down_why = row->why;
	d->weight = weight;
	d->standby = b->standby;
	d->max_in_flight = b->max_in_flight;
	catalog_fill_declared(d, declared);
	d->up = catalog_worker_up(m, row);
	catalog_fill_found(d, row, catalog_profile(m, b->name, upstream));
	k->serves |= d->up && row->ready;
}

static bool
catalog_has(const struct catalog *k, const char *backend, const char *upstream)
{
	for (size_t i = 0; i < k->route.len; i++)
		if (strcmp(k->rows[i].backend, backend) == 0 &&
			strcmp(k->rows[i].upstream, upstream) == 0)
			return true;
	return false;
}

static size_t
catalog_declared_count(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->models_len; i++)
		n += c->models[i].deployments_len;
	return n;
}

static void
catalog_add_declared(struct catalog_make *m)
{
	for (size_t i = 0; i < m->config->models_len; i++) {
		const struct config_model *model = &m->config->models[i];

		for (size_t j = 0; j < model->deployments_len; j++) {
			const struct config_deployment *d = &model->deployments[j];
			const struct config_backend *b = config_backend(m->config, d->backend);

			if (b != NULL)
				catalog_add(m, model->name, b, d->model, d->weight, model);
		}
	}
}

static void
catalog_add_discovered(struct catalog_make *m)
{
	for (size_t i = 0; i < m->profiles_len; i++) {
		const struct profile_info *p = &m->profiles[i];
		const struct config_backend *b = config_backend(m->config, p->backend);

		if (b != NULL && b->discover && p->discovered != 0 &&
			!catalog_has(m->out, p->backend, p->model))
			catalog_add(m, p->model, b, p->model, 1, NULL);
	}
}

struct catalog *
catalog_new(const struct config *c, const struct board *board)
{
	struct catalog_make m = {.config = c, .board = board};
	size_t rows = catalog_declared_count(c) + PROFILES_MAX;

	m.out = calloc(1, sizeof(*m.out));
	CHECK(m.out != NULL);
	m.out->deployments = calloc(rows, sizeof(*m.out->deployments));
	m.out->rows = calloc(rows, sizeof(*m.out->rows));
	CHECK(m.out->deployments != NULL && m.out->rows != NULL);
	m.out->owners = 1;
	m.out->made_ns = clock_ns();
	catalog_read_profiles(&m);
	catalog_add_declared(&m);
	catalog_add_discovered(&m);
	free(m.profiles);
	m.out->route.config = c;
	m.out->route.deployments = m.out->deployments;
	catalog_refresh(m.out, board);
	return m.out;
}

struct catalog *
catalog_ref(struct catalog *k)
{
	k->owners++;
	return k;
}

void
catalog_unref(struct catalog **k_p)
{
	struct catalog *k = *k_p;

	*k_p = NULL;
	if (k == NULL || --k->owners > 0)
		return;
	free(k->deployments);
	free(k->rows);
	free(k);
}

void
catalog_refresh(struct catalog *k, const struct board *board)
{
	for (size_t i = 0; i < k->route.len; i++) {
		int slot = k->rows[i].slot;
		uint64_t n =
			slot < 0 ? 0
				 : atomic_load_explicit(&board_worker(board, (unsigned)slot)
								 ->counters[COUNTER_UP_IN_FLIGHT],
					   memory_order_relaxed);

		k->deployments[i].in_flight = (uint32_t)MIN(n, (uint64_t)UINT32_MAX);
		if (slot >= 0 && k->rows[i].stat == NULL)
			k->rows[i].stat = board_stat(board, (unsigned)slot, k->rows[i].upstream);
		k->deployments[i].failure_rate = k->rows[i].failure_rate;
		admit_fill(&k->rows[i], &k->deployments[i]);
	}
	admit_rates(k, k->route.config->breaker.min_calls);
}
