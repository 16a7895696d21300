/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - whom a fault meets and when it comes
 */
#include <math.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/fault/fault.h"

_Static_assert(FAULT_PARAMS <= 64, "a bit each in fault_rule.said");

const struct fault_kind_row *
fault_kind_row(enum fault_kind kind)
{
	static const struct fault_kind_row rows[FAULT_KINDS] = {
#define FAULT_KIND(symbol, name, level, needs, may, help)                                          \
	{#name, FAULT_LEVEL_##level, needs, (needs) | (may), help},
#include "lib/fault/kind_list.h"
#undef FAULT_KIND
	};

	CHECK(kind < FAULT_KINDS);
	return &rows[kind];
}

const char *
fault_level_name(enum fault_level level)
{
	static const char *const names[FAULT_LEVELS] = {"http", "bus", "process", "resource"};

	CHECK(level < FAULT_LEVELS);
	return names[level];
}

const char *
fault_origin_name(uint32_t origin)
{
	static const char *const names[FAULT_ORIGINS] = {"config", "admin", "request"};

	return origin < FAULT_ORIGINS ? names[origin] : "?";
}

/* wanted "": whatever it is. */
static bool
fault_same(const char *wanted, const char *is)
{
	return wanted[0] == '\0' || (is != NULL && strcmp(wanted, is) == 0);
}

bool
fault_meets(const struct fault_rule *r, const struct fault_subject *s)
{
	return fault_same(r->backend, s->backend) && fault_same(r->route, s->route) &&
	       fault_same(r->user, s->user) && fault_same(r->message, s->message) &&
	       (fault_same(r->model, s->model) || fault_same(r->model, s->upstream)) &&
	       (fault_same(r->worker, s->worker) || fault_same(r->worker, s->role));
}

uint64_t
fault_begins_ns(const struct fault_rule *r)
{
	uint64_t after_ns = clock_ms_to_ns(r->after_ms);

	return r->since_ns > UINT64_MAX - after_ns ? UINT64_MAX : r->since_ns + after_ns;
}

uint64_t
fault_ends_ns(const struct fault_rule *r)
{
	uint64_t begins_ns = fault_begins_ns(r), for_ns = clock_ms_to_ns(r->for_ms);

	return r->for_ms == 0 || begins_ns > UINT64_MAX - for_ns ? UINT64_MAX : begins_ns + for_ns;
}

enum fault_window
fault_window(const struct fault_rule *r, uint64_t now_ns)
{
	if (now_ns < fault_begins_ns(r))
		return FAULT_WINDOW_BEFORE;
	return now_ns < fault_ends_ns(r) ? FAULT_WINDOW_OPEN : FAULT_WINDOW_OVER;
}

/* splitmix64 of the n-th place of the seed's sequence. */
uint64_t
fault_random(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 <= x < 1 */
static double
fault_uniform(uint64_t seed, uint64_t n)
{
	return (double)(fault_random(seed, n) >> 11) * 0x1p-53;
}

bool
fault_is_spent(const struct fault_rule *r, uint64_t hits)
{
	return r->count > 0 && hits >= r->count;
}

bool
fault_draw(const struct fault_rule *r, struct fault_state *s, uint64_t hits_elsewhere)
{
	uint64_t draw = ++s->draws;

	if (fault_is_spent(r, s->hits + hits_elsewhere))
		return false;
	if (r->every > 1 && draw % r->every != 0)
		return false;
	if ((r->said & FAULT_SAYS(PROBABILITY)) != 0 &&
		fault_uniform(r->seed, draw) >= r->probability)
		return false;
	s->hits++;
	return true;
}

uint64_t
fault_time_ms(const struct fault_rule *r, uint64_t draw)
{
	const uint64_t other = UINT64_C(0x5851f42d4c957f2d); /* not the numbers of fault_draw */
	double a, b, ms;

	if (r->spread_ms == 0)
		return r->time_ms;
	a = 1 - fault_uniform(r->seed ^ other, 2 * draw);
	b = fault_uniform(r->seed ^ other, 2 * draw + 1);
	ms = (double)r->time_ms + (double)r->spread_ms * sqrt(-2 * log(a)) * cos(2 * M_PI * b);
	return ms <= 0 ? 0 : (uint64_t)ms;
}
