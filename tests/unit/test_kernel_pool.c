/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_pool.c - parts of jobs among threads
 */
#include <criterion/criterion.h>
#include <stdatomic.h>

#include "lib/encoder/kernel_pool.h"

enum { THREADS = 4, JOBS = 20000 };

struct work {
	unsigned job;
	atomic_uint done[THREADS]; /* by part: how often, in all jobs */
	atomic_uint wrong;
};

static void
work_part(void *ctx, uint32_t i, uint32_t threads)
{
	struct work *w = ctx;

	if (threads != THREADS || i >= THREADS || atomic_fetch_add(&w->done[i], 1) != w->job)
		atomic_fetch_add(&w->wrong, 1);
}

Test(kernel_pool, every_part_of_every_job_is_done_once, .timeout = 60)
{
	struct kernel_pool *pool = NULL;
	struct work w = {.job = 0};
	struct err e;

	cr_assert_eq(kernel_pool_new(&pool, THREADS, &e), ERR_OK);
	for (; w.job < JOBS; w.job++) {
		kernel_pool_run(pool, work_part, &w);
		for (unsigned i = 0; i < THREADS; i++)
			cr_assert_eq(
				atomic_load(&w.done[i]), w.job + 1, "job %u, part %u", w.job, i);
	}
	cr_expect_eq(atomic_load(&w.wrong), 0);
	kernel_pool_free(&pool);
	cr_expect_null(pool);
}

static void
count_alone(void *ctx, uint32_t i, uint32_t threads)
{
	*(unsigned *)ctx += threads * 10 + i;
}

Test(kernel_pool, without_a_pool_the_caller_does_all)
{
	unsigned sum = 0;

	kernel_pool_run(NULL, count_alone, &sum);
	cr_expect_eq(sum, 10);
	cr_expect_null(kernel_pool_worth(NULL, SIZE_MAX));
	cr_expect_eq(kernel_pool_threads(NULL), 1);
}

Test(kernel_pool, parts_cover_everything_once)
{
	for (uint32_t threads = 1; threads <= 7; threads++) {
		size_t from, to, at = 0;

		for (uint32_t i = 0; i < threads; i++) {
			kernel_pool_part(&from, &to, 23, i, threads);
			cr_expect_eq(from, at);
			at = to;
		}
		cr_expect_eq(at, 23);
	}
}
