/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - one thread's event loop: descriptors and timers over epoll
 *
 * A turn: wait, descriptor callbacks, due timers, hooks. Timers lie in a binary heap of pointers
 * into their owners, index 0 unused, so that a timer knows where it is and leaves in O(log n).
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/common/loop.h"

enum { LOOP_BATCH = 64, LOOP_HOOKS_MAX = 8 };

struct loop_hook {
	loop_timer_fn *fn;
	void *arg;
};

struct loop {
	int epoll_fd;
	bool stopped;
	bool whole_ms; /* this kernel has no epoll_pwait2 */
	uint64_t now_ns;
	uint64_t spin_ns;
	struct loop_timer **heap; /* 1-based */
	size_t heap_len;
	size_t heap_cap;
	/* The events being dispatched; loop_remove blots out those of a descriptor that goes. */
	struct epoll_event batch[LOOP_BATCH];
	int batch_at, batch_len;
	struct loop_hook hooks[LOOP_HOOKS_MAX];
	size_t hooks_len;
};

MUST enum err_code
loop_new(struct loop **out, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		free(l);
		return err_set(e, ERR_SYS, "epoll_create1: %s", strerror(errno));
	}
	l->now_ns = clock_ns();
	*out = l;
	return ERR_OK;
}

void
loop_free(struct loop **l_p)
{
	struct loop *l = *l_p;

	*l_p = NULL;
	if (l == NULL)
		return;
	(void)close(l->epoll_fd);
	free(l->heap);
	free(l);
}

MUST enum err_code
loop_add(struct loop *l, struct loop_fd *f, struct err *e)
{
	struct epoll_event ev = {.events = f->events, .data = {.ptr = f}};

	CHECK(!f->added && f->fn != NULL);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, f->fd, &ev) != 0)
		return err_set(e, ERR_SYS, "epoll_ctl add %d: %s", f->fd, strerror(errno));
	f->added = true;
	return ERR_OK;
}

void
loop_change(struct loop *l, struct loop_fd *f, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data = {.ptr = f}};

	CHECK(f->added);
	if (events == f->events)
		return;
	f->events = events;
	CHECK(epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, f->fd, &ev) == 0);
}

void
loop_remove(struct loop *l, struct loop_fd *f)
{
	if (!f->added)
		return;
	f->added = false;
	CHECK(epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL) == 0);
	for (int i = l->batch_at; i < l->batch_len; i++)
		if (l->batch[i].data.ptr == f)
			l->batch[i].data.ptr = NULL;
}

static void
heap_put(struct loop *l, size_t at, struct loop_timer *t)
{
	l->heap[at] = t;
	t->heap_index = at;
}

/* Put t at position `at` or above it, moving later timers down. */
static void
heap_up(struct loop *l, size_t at, struct loop_timer *t)
{
	while (at > 1 && l->heap[at / 2]->at_ns > t->at_ns) {
		heap_put(l, at, l->heap[at / 2]);
		at /= 2;
	}
	heap_put(l, at, t);
}

/* Put t at position `at` or below it, moving earlier timers up. */
static void
heap_down(struct loop *l, size_t at, struct loop_timer *t)
{
	size_t child;

	while ((child = at * 2) <= l->heap_len) {
		if (child < l->heap_len && l->heap[child + 1]->at_ns < l->heap[child]->at_ns)
			child++;
		if (l->heap[child]->at_ns >= t->at_ns)
			break;
		heap_put(l, at, l->heap[child]);
		at = child;
	}
	heap_put(l, at, t);
}

void
loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	size_t at = t->heap_index;
	struct loop_timer *last;

	if (at == 0)
		return;
	CHECK(at <= l->heap_len && l->heap[at] == t);
	last = l->heap[l->heap_len--];
	t->heap_index = 0;
	if (last == t)
		return;
	if (at > 1 && l->heap[at / 2]->at_ns > last->at_ns)
		heap_up(l, at, last);
	else
		heap_down(l, at, last);
}

void
loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_ns)
{
	CHECK(t->fn != NULL);
	loop_timer_clear(l, t);
	/* Never due in the turn that sets it: a timer that re-arms itself must not starve others.
	 */
	t->at_ns = MAX(at_ns, l->now_ns + 1);
	if (l->heap_len + 1 >= l->heap_cap) {
		l->heap_cap = MAX(l->heap_cap * 2, (size_t)64);
		l->heap = reallocarray(l->heap, l->heap_cap, sizeof(struct loop_timer *));
		CHECK(l->heap != NULL);
	}
	heap_up(l, ++l->heap_len, t);
}

uint64_t
loop_now(const struct loop *l)
{
	return l->now_ns;
}

void
loop_on_turn(struct loop *l, loop_timer_fn *fn, void *arg)
{
	CHECK(l->hooks_len < LOOP_HOOKS_MAX);
	l->hooks[l->hooks_len++] = (struct loop_hook){fn, arg};
}

void
loop_set_spin(struct loop *l, uint64_t spin_ns)
{
	l->spin_ns = spin_ns;
}

void
loop_stop(struct loop *l)
{
	l->stopped = true;
}

/* Nanoseconds until the first timer; UINT64_MAX: there is none. */
static uint64_t
loop_until_timer(const struct loop *l, uint64_t now_ns)
{
	if (l->heap_len == 0)
		return UINT64_MAX;
	return l->heap[1]->at_ns <= now_ns ? 0 : l->heap[1]->at_ns - now_ns;
}

/* Wait in whole milliseconds, rounded up so that a timer is not looked for too early. */
static int
loop_wait_ms(struct loop *l, uint64_t wait_ns)
{
	const uint64_t ms_max = 3600 * 1000;
	uint64_t ms = MIN(wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0), ms_max);

	return epoll_wait(l->epoll_fd, l->batch, LOOP_BATCH, wait_ns == UINT64_MAX ? -1 : (int)ms);
}

static int
loop_wait(struct loop *l, uint64_t wait_ns)
{
	struct timespec ts;
	int n;

	if (wait_ns == 0 || wait_ns == UINT64_MAX || l->whole_ms)
		return loop_wait_ms(l, wait_ns);
	ts.tv_sec = (time_t)MIN(wait_ns / NS_PER_S, UINT64_C(3600));
	ts.tv_nsec = (long)(wait_ns % NS_PER_S);
	n = epoll_pwait2(l->epoll_fd, l->batch, LOOP_BATCH, &ts, NULL);
	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
	l->whole_ms = true;
	return loop_wait_ms(l, wait_ns);
}

/*
 * Look for events without sleeping until spin_ns have passed or a timer is due. Gives the core away
 * each time: on a shared core the event that is waited for may need it.
 */
static int
loop_spin(struct loop *l, uint64_t wait_ns)
{
	uint64_t end_ns = clock_ns() + MIN(l->spin_ns, wait_ns);
	int n;

	do {
		n = epoll_wait(l->epoll_fd, l->batch, LOOP_BATCH, 0);
		if (n != 0)
			return n;
		(void)sched_yield();
	} while (clock_ns() < end_ns);
	return 0;
}

static void
loop_gather(struct loop *l)
{
	uint64_t wait_ns = loop_until_timer(l, clock_ns());
	int n = 0;

	if (wait_ns > 0 && l->spin_ns > 0) {
		n = loop_spin(l, wait_ns);
		wait_ns = loop_until_timer(l, clock_ns());
	}
	if (n == 0)
		n = loop_wait(l, wait_ns);
	CHECK(n >= 0 || errno == EINTR);
	l->batch_at = 0;
	l->batch_len = MAX(n, 0);
	l->now_ns = clock_ns();
}

static void
loop_call_fds(struct loop *l)
{
	while (l->batch_at < l->batch_len) {
		const struct epoll_event *ev = &l->batch[l->batch_at++];
		struct loop_fd *f = ev->data.ptr;
		uint32_t events;

		if (f == NULL)
			continue;
		/* An earlier callback of this batch may have lost interest in some of them. */
		events = ev->events & (f->events | EPOLLERR | EPOLLHUP);
		if (events != 0)
			f->fn(f->arg, events);
	}
}

static void
loop_call_timers(struct loop *l)
{
	while (l->heap_len > 0 && l->heap[1]->at_ns <= l->now_ns) {
		struct loop_timer *t = l->heap[1];

		loop_timer_clear(l, t);
		t->fn(t->arg);
	}
}

static void
loop_call_hooks(struct loop *l)
{
	for (size_t i = l->hooks_len; i > 0; i--)
		l->hooks[i - 1].fn(l->hooks[i - 1].arg);
}

void
loop_run(struct loop *l)
{
	l->stopped = false;
	/* What was done before the loop ran must not wait for its first event. */
	loop_call_hooks(l);
	while (!l->stopped) {
		loop_gather(l);
		loop_call_fds(l);
		loop_call_timers(l);
		loop_call_hooks(l);
	}
}
