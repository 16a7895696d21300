/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_pool.h - a few helper threads that do parts of one job together
 *
 * A forward pass is hundreds of short jobs, one after the other. A helper looks for the next one
 * for some microseconds and then sleeps in the system: where another process takes its core, or
 * the pass pauses, nobody burns time waiting for it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

enum {
	KERNEL_POOL_MOST = 64,
	KERNEL_POOL_WORTH = 2 << 20, /* multiply-adds: 10 to 30 us of one core */
};

struct kernel_pool;

/* threads: the caller counts as one of them; 2..KERNEL_POOL_MOST. ERR_SYS. */
MUST enum err_code kernel_pool_new(struct kernel_pool **out, uint32_t threads, struct err *e);
void kernel_pool_free(struct kernel_pool **pool_p);

/* The caller included; 1 where pool is NULL. */
uint32_t kernel_pool_threads(const struct kernel_pool *pool);

/* The pool where a job of so many multiply-adds is worth handing parts over; else NULL: alone. */
static inline struct kernel_pool *
kernel_pool_worth(struct kernel_pool *pool, size_t multiply_adds)
{
	return multiply_adds < KERNEL_POOL_WORTH ? NULL : pool;
}

/* Call work(ctx, i, threads) once for each i in 0..threads-1, by whichever threads have time; return
 * when all are done. One caller at a time. */
typedef void kernel_pool_work(void *ctx, uint32_t i, uint32_t threads);
void kernel_pool_run(struct kernel_pool *pool, kernel_pool_work *work, void *ctx);

/* Part i of count things, in threads parts: [*from, *to). */
void kernel_pool_part(size_t *from, size_t *to, size_t count, uint32_t i, uint32_t threads);
