/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_pool.c - parts of jobs among threads
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/panic.h"
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

/* The maker of the pool waits here for the end that a helper brings. */
static void
fault_in_helper(void *ctx, uint32_t i, uint32_t threads)
{
	(void)ctx;
	(void)i;
	(void)threads;
	while (gettid() == getpid())
		pause();
	__builtin_trap();
}

Test(kernel_pool, a_fault_in_a_helper_leaves_last_words, .timeout = 60)
{
	enum { SIZE = 256 };
	char *words = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	cr_assert_neq(words, MAP_FAILED);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		struct kernel_pool *pool = NULL;
		struct err e;

		panic_attach(words, SIZE);
		panic_catch_signals();
		if (kernel_pool_new(&pool, 2, &e) == ERR_OK)
			kernel_pool_run(pool, fault_in_helper, NULL);
		_exit(1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
	cr_expect_eq(strncmp(words, "SIGILL at ", 10), 0, "last words: '%s'", words);
	munmap(words, SIZE);
}
