/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.c - what a failure means for the candidates that are left, as the error table says it
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { PAUSE_MS = 100, PAUSE_MAX_MS = 5000 };

/* Would `other` fail as `failed` did? */
static bool
chain_is_like(const struct request *r, uint16_t failed, uint16_t other, enum err_code code)
{
	const struct route_deployment *a = &r->catalog->deployments[failed];
	const struct route_deployment *b = &r->catalog->deployments[other];
	bool same = strcmp(a->upstream, b->upstream) == 0;

	if (err_wants_larger(code) && b->context_tokens != 0 && a->context_tokens != 0)
		return b->context_tokens <= a->context_tokens;
	return (err_wants_larger(code) || err_wants_other(code)) && same;
}

void
chain_narrow(struct request *r, const struct err *e)
{
	for (size_t i = 0; i < r->candidates_len; i++) {
		bool like = chain_is_like(r, r->row, r->candidates[i], e->code);

		if (like)
			r->candidate_state[i] = CANDIDATE_TRIED;
		/* who would fail alike is not worth a retry either */
		if (!like && r->candidates[i] != r->row)
			continue;
		r->candidate_code[i] = (uint8_t)e->code;
		r->candidate_ns[i] = clock_ns() + clock_ms_to_ns(e->retry_after_ms);
	}
}

static void
chain_on_pause(void *arg)
{
	struct request *r = arg;
	uint64_t now_ns = clock_ns();

	/* of them, whoever is not left alone is picked first */
	for (size_t i = 0; i < r->candidates_len; i++)
		if (err_retries((enum err_code)r->candidate_code[i]) &&
			r->candidate_ns[i] <= now_ns)
			r->candidate_state[i] = CANDIDATE_FRESH;
	attempt_next(r);
}

/* It doubles, from half of it to all. */
static uint64_t
chain_pause_ns(const struct request *r)
{
	uint64_t most = MIN((uint64_t)PAUSE_MS << MIN(r->pauses, 16U), (uint64_t)PAUSE_MAX_MS);

	/* not the same for all requests that failed together */
	return clock_ms_to_ns(
		most / 2 + (r->g->next_number * 2654435761U + r->index) % (most / 2 + 1));
}

bool
chain_retry(struct request *r)
{
	uint64_t now_ns = clock_ns(), free_ns = UINT64_MAX, at_ns;

	/* no shorter than what the first of them asked for */
	for (size_t i = 0; i < r->candidates_len; i++)
		if (err_retries((enum err_code)r->candidate_code[i]))
			free_ns = MIN(free_ns, r->candidate_ns[i]);
	if (r->retries_left == 0 || free_ns > now_ns + clock_ms_to_ns(PAUSE_MAX_MS))
		return false;
	at_ns = MAX(now_ns + chain_pause_ns(r), free_ns);
	if (at_ns >= r->deadline_ns)
		return false;
	r->retries_left--;
	r->pauses++;
	gateway_count(r->g, COUNTER_REQ_RETRIES, 1);
	r->pause_timer = (struct loop_timer){.fn = chain_on_pause, .arg = r};
	loop_timer_set(r->g->w->loop, &r->pause_timer, at_ns);
	return true;
}
