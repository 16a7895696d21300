/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heartbeat.h - signs of life of a worker on its row of the board
 *
 * Private to workers/common. A supervisor that sees no beat for config.heartbeat_ms kills the worker.
 */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"
#include "shm/board.h"
#include "workers/common/loop.h"

struct worker;

struct heartbeat {
	struct board *board;
	struct loop *loop;
	struct worker *w;
	struct loop_timer timer;
	uint64_t every_ns;
	unsigned beats;
	int statm_fd; /* opened before the sandbox closes the file system */
	int smaps_fd;
	long page_kb;
	uint64_t trimmed_kb; /* resident after the last trim */
};

/* Open what is read later, set the gauges of an earlier life to 0 and beat once. */
void heartbeat_init(struct heartbeat *h, struct board *board);
/* Beat every 200 ms, or four times in limit_ms if that is shorter. */
void heartbeat_start(struct heartbeat *h, struct worker *w, uint32_t limit_ms);
/* Another limit_ms; beats at once. */
void heartbeat_set_limit(struct heartbeat *h, uint32_t limit_ms);
void heartbeat_fini(struct heartbeat *h);
