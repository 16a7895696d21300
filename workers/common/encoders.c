/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoders.c - which classifier to ask, and what one may read
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
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

/* Where the link at folder/name leads, as a path of its own; false: it is no link, or leads
 * nowhere. */
static bool
encoders_link(char out[PATH_MAX], const char *folder, int fd, const char *name)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISLNK(st.st_mode))
		return false;
	buf_addf(&path, "%s/%s", folder, name);
	return realpath(buf_str(&path), out) != NULL;
}

size_t
encoders_paths(struct buf *store, const char **paths, size_t most, const struct config_encoder *c)
{
	const struct dirent *entry;
	char target[PATH_MAX];
	size_t n = 0, at = 0;
	DIR *dir;

	if (c == NULL || most == 0 || (dir = opendir(c->folder)) == NULL)
		return 0;
	paths[n++] = c->folder;
	while (n < most && (entry = readdir(dir)) != NULL) {
		if (!encoders_link(target, c->folder, dirfd(dir), entry->d_name))
			continue;
		buf_add(store, target, strlen(target) + 1);
		n++;
	}
	(void)closedir(dir);
	/* only now does the store stay where it is */
	for (size_t i = 1; i < n; i++) {
		paths[i] = store->data + at;
		at += strlen(paths[i]) + 1;
	}
	return n;
}
