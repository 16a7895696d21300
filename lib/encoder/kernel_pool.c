/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_pool.c - helper threads: spin briefly, then futex
 *
 * Parts of a job are taken, not given: whoever is there takes the next one, and the caller does
 * what nobody took. So a helper whose core is busy with another process holds nothing up. `next` is
 * the number of the job and the part to take; whoever gets a part that there is got it of the job
 * under way, because none begins before all parts of the last one are done. `round` says that there
 * is a job: helpers wait for it to change. `left` counts parts not done yet: the caller waits for
 * zero.
 */
#include "lib/encoder/kernel_pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/panic.h"

/* Looks at a word before sleeping: about 20 us, several times what a part of a small job lasts. */
enum { LOOKS = 2000 };

struct kernel_pool {
	_Alignas(64) atomic_ullong next; /* low 32 bits: the part; above: the job */
	_Alignas(64) atomic_uint round;
	_Alignas(64) atomic_uint left;
	_Alignas(64) atomic_uint sleepers; /* helpers in the system, at most */
	kernel_pool_work *work;
	void *ctx;
	bool over;
	uint32_t threads; /* started, the caller included */
	pthread_t helpers[KERNEL_POOL_MOST];
};

#if defined(__x86_64__)
#define LOOK_AGAIN() __builtin_ia32_pause()
#else
#define LOOK_AGAIN() ((void)0)
#endif

/* Wait until *word is no longer seen. EINTR and spurious ends are seen as such by the loop. */
static void
wait_change(atomic_uint *word, unsigned seen, atomic_uint *sleepers)
{
	for (int i = 0; i < LOOKS; i++) {
		if (atomic_load_explicit(word, memory_order_acquire) != seen)
			return;
		LOOK_AGAIN();
	}
	atomic_fetch_add(sleepers, 1);
	while (atomic_load(word) == seen)
		(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	atomic_fetch_sub(sleepers, 1);
}

static void
wake(atomic_uint *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Do parts as long as there are any. */
static void
take_parts(struct kernel_pool *p)
{
	for (;;) {
		uint32_t i = (uint32_t)atomic_fetch_add(&p->next, 1);

		if (i >= p->threads)
			return;
		p->work(p->ctx, i, p->threads);
		if (atomic_fetch_sub(&p->left, 1) == 1)
			wake(&p->left);
	}
}

static void *
help(void *arg)
{
	struct kernel_pool *p = arg;
	unsigned seen = 0;

	for (;;) {
		wait_change(&p->round, seen, &p->sleepers);
		seen = atomic_load_explicit(&p->round, memory_order_acquire);
		if (p->over)
			return NULL;
		take_parts(p);
	}
}

static void
announce(struct kernel_pool *p)
{
	atomic_fetch_add(&p->round, 1);
	if (atomic_load(&p->sleepers) > 0)
		wake(&p->round);
}

void
kernel_pool_run(struct kernel_pool *p, kernel_pool_work *work, void *ctx)
{
	unsigned left;
	atomic_uint unused = 0;

	if (p == NULL) {
		work(ctx, 0, 1);
		return;
	}
	p->work = work;
	p->ctx = ctx;
	atomic_store(&p->left, p->threads);
	/* from here on parts are taken; a late helper may have counted beyond the last job's */
	atomic_store(&p->next, ((atomic_load(&p->next) >> 32) + 1) << 32);
	announce(p);
	take_parts(p);
	while ((left = atomic_load_explicit(&p->left, memory_order_acquire)) != 0)
		wait_change(&p->left, left, &unused);
}

/* Signals are for the thread that made the pool, but faults for their own. */
static int
start_helper(struct kernel_pool *p, pthread_t *thread)
{
	sigset_t others, before;
	int error;

	sigfillset(&others);
	panic_spare_signals(&others);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	error = pthread_create(thread, NULL, help, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

enum err_code
kernel_pool_new(struct kernel_pool **out, uint32_t threads, struct err *e)
{
	AUTO(kernel_pool_free) struct kernel_pool *p = NULL;

	CHECK(threads >= 1 && threads <= KERNEL_POOL_MOST);
	p = aligned_alloc(64, sizeof(*p));
	if (p == NULL)
		return err_set(e, ERR_SYS, "no memory for %u threads", threads);
	memset(p, 0, sizeof(*p));
	for (p->threads = 1; p->threads < threads; p->threads++) {
		int error = start_helper(p, &p->helpers[p->threads]);

		if (error != 0)
			return err_set(e, ERR_SYS, "start a thread: %s", strerror(error));
	}
	*out = p;
	p = NULL;
	return ERR_OK;
}

void
kernel_pool_free(struct kernel_pool **pool_p)
{
	struct kernel_pool *p = *pool_p;

	if (p == NULL)
		return;
	p->over = true;
	announce(p);
	for (uint32_t i = 1; i < p->threads; i++)
		pthread_join(p->helpers[i], NULL);
	free(p);
	*pool_p = NULL;
}

uint32_t
kernel_pool_threads(const struct kernel_pool *p)
{
	return p == NULL ? 1 : p->threads;
}

void
kernel_pool_part(size_t *from, size_t *to, size_t count, uint32_t i, uint32_t threads)
{
	*from = count * i / threads;
	*to = count * (i + 1) / threads;
}
