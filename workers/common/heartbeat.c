/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heartbeat.c - signs of life of a worker on its row of the board
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/common/faults.h"
#include "workers/common/heartbeat.h"
#include "workers/common/worker.h"

enum {
	BEAT_MS = 200,
	BEATS_PER_MEASURE = 10,
	BEATS_PER_PSS =
		50, /* the kernel walks all pages for it: half a millisecond of this thread */
	TRIM_STEP_KB = 256
};

static void
heartbeat_store(_Atomic uint64_t *to, uint64_t v)
{
	atomic_store_explicit(to, v, memory_order_relaxed);
}

/* Second number of /proc/self/statm: resident pages. 0: can't be read. */
static uint64_t
heartbeat_rss_kb(const struct heartbeat *h)
{
	char text[128];
	ssize_t n = pread(h->statm_fd, text, sizeof(text) - 1, 0);
	const char *space;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	space = strchr(text, ' ');
	return space == NULL ? 0 : strtoull(space + 1, NULL, 10) * (uint64_t)h->page_kb;
}

/* The highest load so far must not decide for months how much memory this process holds: when it
 * has grown, what is free within the heap goes back to the kernel. */
static void
heartbeat_measure_rss(struct heartbeat *h)
{
	uint64_t rss_kb = heartbeat_rss_kb(h);

	if (rss_kb > h->trimmed_kb + TRIM_STEP_KB) {
		(void)malloc_trim(0);
		rss_kb = heartbeat_rss_kb(h);
		h->trimmed_kb = rss_kb;
	}
	heartbeat_store(&board_own_row(h->board)->rss_kb, rss_kb);
}

/* The line "Pss:   123 kB" of /proc/self/smaps_rollup. */
static void
heartbeat_measure_pss(const struct heartbeat *h)
{
	char text[2048];
	ssize_t n = pread(h->smaps_fd, text, sizeof(text) - 1, 0);
	const char *line;

	if (n <= 0)
		return;
	text[n] = '\0';
	line = strstr(text, "\nPss:");
	if (line == NULL)
		return;
	heartbeat_store(&board_own_row(h->board)->pss_kb, strtoull(line + 5, NULL, 10));
}

static void
heartbeat_on_timer(void *arg)
{
	struct heartbeat *h = arg;

	heartbeat_store(&board_own_row(h->board)->heartbeat_ns, clock_ns());
	if (h->beats % BEATS_PER_MEASURE == 0)
		heartbeat_measure_rss(h);
	if (h->beats % BEATS_PER_PSS == 0)
		heartbeat_measure_pss(h);
	h->beats++;
	faults_on_beat(h->w);
	loop_timer_set(h->loop, &h->timer, loop_now(h->loop) + h->every_ns);
}

void
heartbeat_init(struct heartbeat *h, struct board *board)
{
	struct worker_row *row = board_own_row(board);

	memset(h, 0, sizeof(*h));
	h->board = board;
	h->page_kb = sysconf(_SC_PAGESIZE) / 1024;
	h->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	h->smaps_fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	for (enum counter c = 0; c < COUNTERS; c++)
		if (counter_row(c)->gauge)
			heartbeat_store(&row->counters[c], 0);
	heartbeat_store(&row->heartbeat_ns, clock_ns());
}

void
heartbeat_start(struct heartbeat *h, struct worker *w, uint32_t limit_ms)
{
	h->w = w;
	h->loop = w->loop;
	h->timer = (struct loop_timer){.fn = heartbeat_on_timer, .arg = h};
	heartbeat_set_limit(h, limit_ms);
}

void
heartbeat_set_limit(struct heartbeat *h, uint32_t limit_ms)
{
	h->every_ns = clock_ms_to_ns(MAX(1, MIN(BEAT_MS, limit_ms / 4)));
	loop_timer_set(h->loop, &h->timer, 0);
}

void
heartbeat_fini(struct heartbeat *h)
{
	if (h->loop != NULL)
		loop_timer_clear(h->loop, &h->timer);
	if (h->statm_fd > 0)
		(void)close(h->statm_fd);
	if (h->smaps_fd > 0)
		(void)close(h->smaps_fd);
	h->statm_fd = h->smaps_fd = -1;
}
