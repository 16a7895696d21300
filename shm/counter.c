/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counter.c - the documented rows of counter_list.h
 */
#include "shm/board.h"

enum { COUNTER_IS_counter = false, COUNTER_IS_gauge = true };

static const struct counter_row counter_rows[COUNTERS] = {
#define COUNTER(symbol, type, metric, help) {#metric, help, COUNTER_IS_##type},
#include "shm/counter_list.h"
#undef COUNTER
};

const struct counter_row *
counter_row(enum counter c)
{
	CHECK(c < COUNTERS);
	return &counter_rows[c];
}
