/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - seed and scenario to the list of requests
 *
 * Each decision is a draw of its own sequence (request and purpose), so adding a fault to a load
 * changes no prompt.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chaos/chaos.h"

enum plan_purpose { PLAN_STREAM, PLAN_LEAVE, PLAN_USER, PLAN_PROMPT, PLAN_DRAW };

/* 0 <= x < 1 */
static double
plan_uniform(uint64_t seed, uint32_t load, uint32_t i, unsigned purpose)
{
	uint64_t sequence = fault_random(seed, (uint64_t)load * 64 + purpose);

	return (double)(fault_random(sequence, i) >> 11) * 0x1p-53;
}

static void
plan_request(struct chaos_request *r, const struct chaos_load *l, uint64_t seed, uint32_t load,
	uint32_t i)
{
	*r = (struct chaos_request){.load = load, .user = "", .fault = ""};
	r->at_ms = l->start_ms;
	if (l->rate > 0)
		r->at_ms += (uint64_t)((double)i * 1000.0 / l->rate);
	r->stream = plan_uniform(seed, load, i, PLAN_STREAM) < l->stream;
	if (plan_uniform(seed, load, i, PLAN_LEAVE) < l->leave) {
		r->stream = true;
		r->leave_after = l->leave_after;
	}
	if (l->users.len > 0)
		r->user = l->users.rows[(
			size_t)(plan_uniform(seed, load, i, PLAN_USER) * (double)l->users.len)];
	for (size_t d = 0; d < l->draws_len && r->fault[0] == '\0'; d++)
		if (plan_uniform(seed, load, i, PLAN_DRAW + (unsigned)d) < l->draws[d].share)
			r->fault = l->draws[d].line;
	/* no two prompts are equal, so no two answers are */
	(void)snprintf(r->prompt, sizeof(r->prompt), "%s (%08llx-%u-%u)", l->prompt,
		(unsigned long long)(fault_random(seed ^ PLAN_PROMPT, (uint64_t)load << 32 | i) >>
				     32),
		load, i);
}

/* Stable: by time, then as they were made. */
static int
plan_compare(const void *a, const void *b)
{
	const struct chaos_request *x = a, *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

void
chaos_plan_make(struct chaos_plan *out, const struct chaos_scenario *s, uint64_t seed)
{
	size_t n = 0;

	*out = (struct chaos_plan){.seed = seed};
	for (size_t l = 0; l < s->loads_len; l++)
		out->len += s->loads[l].count;
	CHECK(out->len <= CHAOS_REQUESTS_MAX);
	out->requests = calloc(MAX(out->len, (size_t)1), sizeof(*out->requests));
	CHECK(out->requests != NULL);
	for (uint32_t l = 0; l < s->loads_len; l++)
		for (uint32_t i = 0; i < s->loads[l].count; i++, n++) {
			plan_request(&out->requests[n], &s->loads[l], seed, l, i);
			out->requests[n].number = (uint32_t)n + 1;
		}
	qsort(out->requests, out->len, sizeof(*out->requests), plan_compare);
	for (size_t i = 0; i < out->len; i++)
		out->requests[i].number = (uint32_t)i + 1;
}

void
chaos_plan_fini(struct chaos_plan *p)
{
	for (size_t i = 0; i < p->len; i++)
		buf_fini(&p->requests[i].text);
	free(p->requests);
	*p = (struct chaos_plan){0};
}

const char *
chaos_plan_outcome_name(enum chaos_outcome outcome)
{
	static const char *const names[CHAOS_OUTCOMES] = {
		"not_run", "answer", "error", "left", "nothing"};

	CHECK(outcome < CHAOS_OUTCOMES);
	return names[outcome];
}
