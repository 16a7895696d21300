/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - when to ask a backend worker, and when not to wait any longer
 *
 * Times only, no I/O: the profiler sends what is due. A worker that does not answer by the deadline
 * has failed its probe, whatever it may say later.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/profiler/profiler.h"

enum {
	HEALTH_LIMIT_MS = 5000,
	LIST_LIMIT_MS = 20000, /* listing may ask once per model */
	LIST_EVERY_MS = 60000,
	SUSPECT_EVERY_MS = 1000,
	PERIOD_MIN_MS = 100
};

struct probe *
probes_find(struct probes *p, const char *backend)
{
	size_t i;

	for (i = 0; i < SLOTS_MAX; i++) {
		if (p->probe[i].backend[0] != '\0' && strcmp(p->probe[i].backend, backend) == 0)
			return &p->probe[i];
	}
	return NULL;
}

struct probe *
probes_by_id(struct probes *p, uint64_t id, unsigned slot)
{
	size_t i;

	for (i = 0; i < SLOTS_MAX; i++) {
		if (p->probe[i].backend[0] != '\0' && p->probe[i].running && p->probe[i].id == id &&
			p->probe[i].slot == (int)slot)
			return &p->probe[i];
	}
	return NULL;
}

static void
probes_add(struct probes *p, const char *backend, uint64_t now_ns)
{
	struct probe *probe = NULL;
	size_t i;

	for (i = 0; i < SLOTS_MAX && probe == NULL; i++) {
		if (p->probe[i].backend[0] == '\0')
			probe = &p->probe[i];
	}
	if (probe ==
		NULL) /* more backends than slots: the supervisor has no worker for it either */
		return;
	*probe = (struct probe){.wanted = true, .slot = -1, .gone_ns = now_ns};
	(void)snprintf(probe->backend, sizeof(probe->backend), "%s", backend);
}

void
probes_configure(struct probes *p, const struct config *c, uint64_t now_ns)
{
	struct probe *probe;
	size_t i;

	for (i = 0; i < SLOTS_MAX; i++) {
		p->probe[i].wanted = config_backend(c, p->probe[i].backend) != NULL;
		if (!p->probe[i].wanted)
			p->probe[i] = (struct probe){.slot = -1};
	}
	for (i = 0; i < c->backends_len; i++) {
		probe = probes_find(p, c->backends[i].name);
		if (probe == NULL)
			probes_add(p, c->backends[i].name, now_ns);
		else
			probe->next_list_ns = probe->next_ns = now_ns; /* discover may be new */
	}
}

enum probe_worker
probe_worker_is(struct probe *p, int slot, uint32_t generation, uint64_t now_ns)
{
	if (slot >= 0) {
		p->gone_ns = 0;
		if (p->slot == slot && p->generation == generation)
			return PROBE_WORKER_SAME;
		p->slot = slot;
		p->generation = generation;
		p->running = false; /* the question died with the life it was for */
		p->next_ns = p->next_list_ns = now_ns;
		return PROBE_WORKER_NEW;
	}
	if (p->slot >= 0) {
		p->slot = -1;
		p->running = false;
		p->gone_ns = MAX(now_ns, 1);
	}
	if (p->gone_ns == 0 || now_ns - p->gone_ns < clock_ms_to_ns(PROBE_GRACE_MS))
		return PROBE_WORKER_SAME;
	p->gone_ns = 0;
	return PROBE_WORKER_GONE;
}

bool
probe_due(const struct probe *p, uint64_t now_ns)
{
	return p->backend[0] != '\0' && p->slot >= 0 && !p->running && now_ns >= p->next_ns;
}

bool
probe_late(const struct probe *p, uint64_t now_ns)
{
	return p->backend[0] != '\0' && p->running && now_ns >= p->deadline_ns;
}

void
probe_suspect(struct probe *p, uint64_t now_ns)
{
	uint64_t soon =
		p->started_ns == 0 ? now_ns : p->started_ns + clock_ms_to_ns(SUSPECT_EVERY_MS);

	p->next_ns = MIN(p->next_ns, MAX(soon, now_ns));
}

void
probe_start(struct probe *p, struct probes *all, uint64_t now_ns)
{
	p->running = true;
	p->id = ++all->ids;
	p->models = p->left_out = 0;
	p->discover = p->down || now_ns >= p->next_list_ns;
	p->started_ns = now_ns;
	p->deadline_ns = now_ns + clock_ms_to_ns(p->discover ? LIST_LIMIT_MS : HEALTH_LIMIT_MS);
}

/* The period, a tenth more or less, so that backends don't keep step. */
static uint64_t
probe_period_ns(const struct probe *p, uint32_t probe_ms)
{
	uint64_t ns = clock_ms_to_ns(MAX(probe_ms, PERIOD_MIN_MS));
	uint64_t mixed = (p->id * UINT64_C(0x9e3779b97f4a7c15) ^ p->started_ns) >> 16;

	return ns - ns / 10 + mixed % (ns / 5 + 1);
}

void
probe_end(struct probe *p, enum probe_result result, uint32_t probe_ms, uint64_t now_ns)
{
	p->running = false;
	p->down = result == PROBE_BAD;
	p->next_ns = now_ns + probe_period_ns(p, probe_ms);
	if (p->discover && result == PROBE_GOOD)
		p->next_list_ns = now_ns + clock_ms_to_ns(LIST_EVERY_MS);
}
