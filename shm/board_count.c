/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_count.c - counters and gauges of the attached slot's own row
 */
#include "shm/board.h"
#include "shm/board_map.h"

void
board_count(struct board *b, enum counter c, uint64_t n)
{
	CHECK(b->own != NULL && c < COUNTERS);
	(void)atomic_fetch_add_explicit(&b->own->counters[c], n, memory_order_relaxed);
}

void
board_gauge(struct board *b, enum counter c, int64_t delta)
{
	CHECK(b->own != NULL && c < COUNTERS);
	CHECK(counter_row(c)->gauge);
	(void)atomic_fetch_add_explicit(
		&b->own->counters[c], (uint64_t)delta, memory_order_relaxed);
}
