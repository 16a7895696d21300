/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoders.c - which classifier to ask, and what one may read
 */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "shm/weights.h"
#include "workers/common/encoders.h"
#include "workers/common/worker.h"

enum {
	BEAT_STALE_MS = 1500, /* silent for longer: a stopped worker */
	BACKOFF_MS = 2000 /* dead for longer: it does not come back soon */
};

static bool
encoders_is_process_of(const char *process, const char *encoder)
{
	size_t len = strlen(encoder);

	return strncmp(process, encoder, len) == 0 && process[len] == '-' &&
	       process[len + 1] != '\0' &&
	       strspn(process + len + 1, "0123456789") == strlen(process + len + 1);
}

int
encoders_find(const struct worker *w, const char *encoder, uint32_t *generation)
{
	uint64_t least = UINT64_MAX, now_ns = clock_ns();
	struct slot_info info;
	int best = -1;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		const struct worker_row *row = board_worker(w->board, i);
		uint64_t waiting;

		board_slot(w->board, i, &info);
		if (info.role != ROLE_CLASSIFIER || info.state != SLOT_READY ||
			!encoders_is_process_of(info.name, encoder) ||
			atomic_load_explicit(&row->heartbeat_ns, memory_order_relaxed) +
					clock_ms_to_ns(BEAT_STALE_MS) <
				now_ns)
			continue;
		waiting = atomic_load_explicit(
			&row->counters[COUNTER_CLASSIFY_WAITING], memory_order_relaxed);
		if (best >= 0 && waiting >= least)
			continue;
		best = (int)i;
		least = waiting;
		*generation = info.generation;
	}
	return best;
}

bool
encoders_expected(const struct worker *w, const char *encoder)
{
	uint64_t now_ns = clock_ns();
	struct slot_info info;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		board_slot(w->board, i, &info);
		if (info.role == ROLE_CLASSIFIER &&
			(info.state == SLOT_READY || info.state == SLOT_STARTING ||
				(info.state == SLOT_BACKOFF &&
					now_ns < info.since_ns + clock_ms_to_ns(BACKOFF_MS))) &&
			encoders_is_process_of(info.name, encoder))
			return true;
	}
	return false;
}

/* Targets of links, one behind the other. */
struct encoders_targets {
	struct buf *store;
	size_t len, most;
};

static void
encoders_on_link(void *arg, const char *target, const struct stat *st)
{
	struct encoders_targets *t = arg;

	(void)st;
	if (t->len == t->most)
		return;
	buf_add(t->store, target, strlen(target) + 1);
	t->len++;
}

size_t
encoders_paths(struct buf *store, const char **paths, size_t most, const struct config_encoder *c)
{
	struct encoders_targets targets = {.store = store, .most = most - 1};
	size_t at = 0;

	if (c == NULL || most == 0)
		return 0;
	weights_links(c->folder, encoders_on_link, &targets);
	paths[0] = c->folder;
	/* only now does the store stay where it is */
	for (size_t i = 1; i <= targets.len; i++) {
		paths[i] = store->data + at;
		at += strlen(paths[i]) + 1;
	}
	return 1 + targets.len;
}
