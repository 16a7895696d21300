/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - the breakers of this backend's deployments
 *
 * This worker sees every call of its deployments, so it owns their breakers; gateways read the
 * words that it stores on the board and send nothing where one is open. What crosses with that on
 * the bus is refused here without asking the upstream: so there is one trial at a time, whatever
 * the number of gateways.
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

static struct breaker *
guard_breaker(struct backend *b, const struct deployment_stat *s)
{
	size_t i = (size_t)(s - board_own_row(b->w->board)->stats);

	CHECK(i < STATS_MAX);
	return &b->breakers[i];
}

static struct breaker_rules
guard_rules(const struct backend *b)
{
	const struct config_breaker *c = &b->w->config->breaker;

	return (struct breaker_rules){.window_ms = c->window_ms,
		.min_calls = c->min_calls,
		.failure_rate = c->failure_rate,
		.open_ms = c->open_ms,
		.open_max_ms = c->open_max_ms};
}

static void
guard_publish(const struct breaker *k, struct deployment_stat *s)
{
	atomic_store_explicit(
		&s->window, (uint64_t)k->calls << 32 | k->failed, memory_order_relaxed);
	atomic_store_explicit(&s->breaker, breaker_word(k), memory_order_release);
}

void
guard_start(struct backend *b)
{
	struct worker_row *row = board_own_row(b->w->board);

	for (size_t i = 0; i < STATS_MAX; i++) {
		if (atomic_load(&row->stats[i].used) == 0)
			continue;
		breaker_adopt(&b->breakers[i], atomic_load(&row->stats[i].breaker), clock_ns());
		guard_publish(&b->breakers[i], &row->stats[i]);
	}
}

void
guard_configure(struct backend *b)
{
	struct worker_row *row = board_own_row(b->w->board);

	if (b->w->config->breaker.enabled)
		return;
	for (size_t i = 0; i < STATS_MAX; i++) {
		if (atomic_load(&row->stats[i].used) == 0)
			continue;
		b->breakers[i] = (struct breaker){0};
		guard_publish(&b->breakers[i], &row->stats[i]);
	}
}

bool
guard_admits(struct backend *b, const struct deployment_stat *s)
{
	return s == NULL || breaker_admits(guard_breaker(b, s), clock_ns());
}

void
guard_begin(struct call *c)
{
	struct breaker *k;

	if (c->stat == NULL)
		return;
	k = guard_breaker(c->backend, c->stat);
	c->guard = breaker_begin(k, clock_ns());
	if (c->guard == BREAKER_TRIAL)
		guard_publish(k, c->stat);
}

static void
guard_log(const struct call *c, const struct breaker *k, enum err_code code)
{
	uint64_t now_ns = clock_ns();

	if (k->state == BREAKER_OPEN)
		log_warn("breaker_open",
			"backend=%s model=%s for_ms=%llu code=%s failed=%u calls=%u",
			c->backend->w->name, c->model,
			(unsigned long long)((MAX(k->until_ns, now_ns) - now_ns) / NS_PER_MS),
			err_name(code), k->failed, k->calls);
	else
		log_info("breaker_closed", "backend=%s model=%s", c->backend->w->name, c->model);
}

static void
guard_event(struct call *c, enum breaker_event event, enum err_code code, uint32_t hint_ms)
{
	struct breaker_rules rules = guard_rules(c->backend);
	struct breaker *k = guard_breaker(c->backend, c->stat);

	if (breaker_end(k, &rules, c->guard, event, hint_ms, clock_ns())) {
		if (k->state == BREAKER_OPEN && code != ERR_OK)
			atomic_store_explicit(
				&c->stat->breaker_why, (uint64_t)code, memory_order_relaxed);
		guard_log(c, k, code);
	}
	atomic_store_explicit(&c->stat->window_ns, clock_ns() + clock_ms_to_ns(rules.window_ms),
		memory_order_relaxed);
	guard_publish(k, c->stat);
}

void
guard_heard(struct call *c)
{
	if (c->stat == NULL || c->guard != BREAKER_TRIAL)
		return;
	guard_event(c, BREAKER_OK, ERR_OK, 0);
	c->guard = BREAKER_CALL;
}

void
guard_end(struct call *c, enum err_code code)
{
	uint32_t hint_ms = code == ERR_OK ? 0 : c->failure.retry_after_ms;
	enum breaker_event event = BREAKER_NOTHING;

	if (c->stat == NULL || c->guarded || !c->backend->w->config->breaker.enabled)
		return;
	c->guarded = true;
	if (err_cools(code) && (hint_ms > 0 || !err_counts(code)))
		event = BREAKER_LIMITED;
	else if (err_counts(code))
		event = BREAKER_FAILED;
	else if (code == ERR_OK || c->upstream_status != 0)
		event = BREAKER_OK; /* it answered, if only to say no */
	guard_event(c, event, code, hint_ms);
}
