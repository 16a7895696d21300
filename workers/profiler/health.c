/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.c - is a deployment up, down, or not known
 *
 * A failed probe means down, a good probe or one answered call mean up. Calls that fail are the
 * breaker's to judge (lib/breaker). A worker that is back makes "down because it was gone" unknown, not up: requests may go
 * there at once, and the probe that follows decides.
 */
#include <stdio.h>
#include <string.h>

#include "workers/profiler/profiler.h"

static const uint32_t health_after[HEALTH_EVENTS] = {
	[HEALTH_PROBE_OK] = HEALTH_UP,
	[HEALTH_PROBE_FAILED] = HEALTH_DOWN,
	[HEALTH_CALL_OK] = HEALTH_UP,
	[HEALTH_WORKER_GONE] = HEALTH_DOWN,
	[HEALTH_WORKER_BACK] = HEALTH_UNKNOWN,
};

/* Text from an upstream, made one line. */
static void
health_why(struct profile_info *p, const char *why)
{
	size_t i;

	(void)snprintf(p->why, sizeof(p->why), "%s", why);
	for (i = 0; p->why[i] != '\0'; i++) {
		if ((unsigned char)p->why[i] < ' ' || p->why[i] == 0x7f)
			p->why[i] = ' ';
	}
}

bool
health_step(struct profile_info *p, enum health_event event, const char *why)
{
	uint32_t after;

	CHECK(event < HEALTH_EVENTS);
	after = health_after[event];
	if (after == p->health) /* the first reason stays */
		return false;
	p->health = after;
	health_why(p, after == HEALTH_DOWN ? why : "");
	return true;
}

enum health_event
health_of_calls(const struct sample *now, const struct sample *delta)
{
	if (delta->ok > 0 && now->failed_in_row == 0)
		return HEALTH_CALL_OK;
	return HEALTH_EVENTS;
}
