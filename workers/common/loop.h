/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one thread's event loop: descriptors and timers over epoll
 *
 * No timerfd per timer: the next deadline is the epoll timeout. Callbacks may add, change and
 * remove any descriptor or timer, their own included.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

struct loop;

/* events: EPOLLIN, EPOLLOUT, EPOLLRDHUP, ... as in epoll_ctl(2). */
typedef void loop_fd_fn(void *arg, uint32_t events);
typedef void loop_timer_fn(void *arg);

/* Embedded in its owner: no allocation per timer. Zero-initialise; `at` is private. */
struct loop_timer {
	loop_timer_fn *fn;
	void *arg;
	uint64_t at_ns;
	size_t heap_index; /* 0: not set */
};

/* Embedded in its owner; must stay where it is until loop_remove. */
struct loop_fd {
	loop_fd_fn *fn;
	void *arg;
	int fd;
	uint32_t events;
	bool added;
};

MUST enum err_code loop_new(struct loop **out, struct err *e);
void loop_free(struct loop **l_p);

/* Watch f->fd (level-triggered unless events says EPOLLET). */
MUST enum err_code loop_add(struct loop *l, struct loop_fd *f, struct err *e);
void loop_change(struct loop *l, struct loop_fd *f, uint32_t events); /* no-op where unchanged */
void loop_remove(struct loop *l, struct loop_fd *f);		      /* before close; no-op twice */

/* (Re)arm for a moment of clock_ns; a past moment fires in the next turn. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_ns);
void loop_timer_clear(struct loop *l, struct loop_timer *t); /* no-op where not set */

/* clock_ns() as of this turn's wake-up: cheap, exact enough for deadlines. */
uint64_t loop_now(const struct loop *l);

/* Called before the first wait and after the callbacks of each turn (flush batched output there);
 * the latest first, so that a role's hook may still send on the bus before the bus looks at its
 * sockets. */
void loop_on_turn(struct loop *l, loop_timer_fn *fn, void *arg);

/* Before blocking, look again for this long (0: never): trades CPU for wake-up latency. */
void loop_set_spin(struct loop *l, uint64_t spin_ns);

void loop_run(struct loop *l); /* until loop_stop */
void loop_stop(struct loop *l);
