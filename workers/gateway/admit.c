/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admit.c - may a deployment be asked just now, and may a failed request ask another one
 *
 * Breakers are kept by the backends' workers (workers/backend/guard.c); a gateway reads them on the
 * board for each attempt, so an open one counts at once. Attempts after a failure are paid from a
 * bucket that every request fills a little: when all fails, retries stay a share of the requests.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"

enum { LOOK_MS = 10 /* for what nobody tells the end of: a trial under way */ };

static uint64_t
admit_load(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

bool
admit_cools(const struct request *r, uint16_t row, unsigned slot, uint64_t *look_ns)
{
	const struct catalog_row *k = &r->catalog->rows[row];
	const struct deployment_stat *s = board_stat(r->g->board, slot, k->upstream);
	uint64_t word = s == NULL ? 0 : admit_load(&s->breaker), now_ns;

	if (breaker_word_state(word) == BREAKER_CLOSED)
		return false;
	now_ns = clock_ns();
	*look_ns = now_ns + clock_ms_to_ns(LOOK_MS);
	if (breaker_word_state(word) == BREAKER_HALF_OPEN)
		return true;
	if (breaker_word_until_ns(word) <= now_ns)
		return false;
	*look_ns = breaker_word_until_ns(word);
	return true;
}

uint64_t
admit_wait(struct request *r, uint64_t look_ns)
{
	uint64_t now_ns = clock_ns();

	if (r->wait_end_ns == 0)
		r->wait_end_ns =
			MIN(r->deadline_ns, now_ns + clock_ms_to_ns(r->g->config->breaker.wait_ms));
	return look_ns <= r->wait_end_ns ? look_ns : 0;
}

bool
admit_again(const struct request *r, const struct err *e)
{
	const struct config_breaker *c = &r->g->config->breaker;

	return e->code == ERR_BUSY || (c->enabled && err_cools(e->code) && e->retry_after_ms > 0 &&
					      e->retry_after_ms <= c->wait_ms);
}

void
admit_earn(struct gateway *g)
{
	const struct config_breaker *c = &g->config->breaker;
	const double most = (double)c->retry_burst + c->retry_share;

	if (!g->retries_begun)
		g->retries = g->hedges = c->retry_burst;
	g->retries_begun = true;
	g->retries = MIN(g->retries + c->retry_share, most);
	g->hedges = MIN(g->hedges + c->retry_share, most);
}

static bool
admit_spend(double *saved)
{
	if (*saved < 1)
		return false;
	*saved -= 1;
	return true;
}

bool
admit_retry(struct gateway *g)
{
	bool spent = admit_spend(&g->retries);

	if (!spent)
		gateway_count(g, COUNTER_REQ_RETRIES_REFUSED, 1);
	return spent;
}

bool
admit_hedge(struct gateway *g)
{
	return admit_spend(&g->hedges);
}

void
admit_fill(struct catalog_row *row, struct route_deployment *d)
{
	uint64_t word = row->stat == NULL ? 0 : admit_load(&row->stat->breaker), until_ns, now_ns;
	enum breaker_state state = breaker_word_state(word);

	d->cooling = d->trial = false;
	d->cooling_ms = 0;
	if (state == BREAKER_CLOSED)
		return;
	now_ns = clock_ns();
	until_ns = breaker_word_until_ns(word);
	d->cooling = state == BREAKER_HALF_OPEN || until_ns > now_ns;
	d->trial = !d->cooling;
	if (state == BREAKER_OPEN && d->cooling)
		d->cooling_ms = (uint32_t)((until_ns - now_ns) / NS_PER_MS + 1);
	if (d->up)
		(void)snprintf(row->why, sizeof(row->why), "its breaker is %s after %s",
			breaker_state_name(state),
			err_name(err_code_checked((uint32_t)admit_load(&row->stat->breaker_why))));
}

/* Failures among the calls that the breaker looks at; negative: too few to say. */
static double
admit_rate(const struct catalog_row *row, uint64_t min_calls, uint64_t now_ns)
{
	uint64_t window = row->stat == NULL ? 0 : admit_load(&row->stat->window);

	if (window >> 32 < min_calls || admit_load(&row->stat->window_ns) < now_ns)
		return -1;
	return (double)(uint32_t)window / (double)(window >> 32);
}

/* Does another one that serves the same model do much better? */
static bool
admit_is_outlier(const struct catalog *k, size_t i, uint32_t min_calls, uint64_t now_ns)
{
	static const double least = 0.2, times = 4;
	double rate = admit_rate(&k->rows[i], min_calls, now_ns), other;

	for (size_t j = 0; rate >= least && j < k->route.len; j++) {
		if (!k->deployments[j].up || k->deployments[j].cooling ||
			strcmp(k->rows[j].model, k->rows[i].model) != 0)
			continue;
		other = admit_rate(&k->rows[j], min_calls, now_ns);
		if (other >= 0 && other * times <= rate)
			return true;
	}
	return false;
}

void
admit_rates(struct catalog *k, uint32_t min_calls)
{
	uint64_t now_ns = clock_ns();

	for (size_t i = 0; i < k->route.len; i++) {
		struct route_deployment *d = &k->deployments[i];
		double rate = admit_rate(&k->rows[i], 1, now_ns);

		/* a few good calls are news, a few bad ones may be chance */
		if (rate >= 0 && (rate < (double)d->failure_rate ||
					 admit_rate(&k->rows[i], min_calls, now_ns) >= 0))
			d->failure_rate = (float)rate;
		d->outlier = rate > 0 && admit_is_outlier(k, i, min_calls, now_ns);
	}
}
