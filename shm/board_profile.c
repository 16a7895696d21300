/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_profile.c - what the profiler knows of each model on each backend
 */
#include <string.h>

#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

enum { TRI_STATE_UNKNOWN = 2 };

/* A finite number that is not negative and makes sense as a time or a rate; else "not measured". */
static float
board_profile_number(float v, float most)
{
	return v >= 0 && v <= most ? v : 0;
}

static uint32_t
board_profile_tri(uint32_t v)
{
	return v <= TRI_STATE_UNKNOWN ? v : TRI_STATE_UNKNOWN;
}

/* The profiler parses what upstreams sent: after this the row is well-formed whatever it wrote. */
static void
board_profile_bound(struct profile_info *p)
{
	p->backend[sizeof(p->backend) - 1] = '\0';
	p->model[sizeof(p->model) - 1] = '\0';
	p->why[sizeof(p->why) - 1] = '\0';
	p->health = p->health <= HEALTH_DOWN ? p->health : HEALTH_UNKNOWN;
	p->tools = board_profile_tri(p->tools);
	p->vision = board_profile_tri(p->vision);
	p->json = board_profile_tri(p->json);
	p->loaded = board_profile_tri(p->loaded);
	p->ttft_ms = board_profile_number(p->ttft_ms, 1e9F);
	p->tokens_per_s = board_profile_number(p->tokens_per_s, 1e9F);
	p->latency_ms = board_profile_number(p->latency_ms, 1e9F);
	p->failure_rate = board_profile_number(p->failure_rate, 1);
}

uint64_t
board_profile_changes(const struct board *b)
{
	return atomic_load_explicit(&b->map->profiles->changes, memory_order_acquire);
}

void
board_profile(const struct board *b, unsigned row, struct profile_info *out)
{
	const struct profile_row *r;

	CHECK(row < PROFILES_MAX);
	r = &b->map->profiles->rows[row];
	(void)twin_read(&r->twin, r->copy, sizeof(r->copy[0]), out);
	board_profile_bound(out);
}

void
board_set_profile(struct board *b, unsigned row, const struct profile_info *info)
{
	struct profile_row *r;

	CHECK(b->profiles != NULL && row < PROFILES_MAX);
	CHECK(memchr(info->backend, '\0', sizeof(info->backend)) != NULL);
	CHECK(memchr(info->model, '\0', sizeof(info->model)) != NULL);
	r = &b->profiles->rows[row];
	twin_write(&r->twin, r->copy, sizeof(r->copy[0]), info);
}

void
board_profiles_changed(struct board *b)
{
	CHECK(b->profiles != NULL);
	(void)atomic_fetch_add_explicit(&b->profiles->changes, 1, memory_order_release);
}
