/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the thread that runs passes, so that the loop keeps its heartbeat meanwhile
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "workers/classifier/classifier.h"

struct engine {
	struct loop *loop;
	loop_timer_fn *done;
	void *arg;
	struct loop_fd fd;
	bool busy; /* of the loop's thread */
	bool running; /* the thread was started */
	pthread_t thread;
	struct tokenizer_scratch *scratch;
	/* the mailbox */
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct pass *pass; /* NULL: nothing to do */
	struct model *model;
	bool stop;
};

/* The next pass; NULL: stop. */
static struct pass *
engine_wait(struct engine *g, struct model **m)
{
	struct pass *p;

	(void)pthread_mutex_lock(&g->lock);
	while (g->pass == NULL && !g->stop)
		(void)pthread_cond_wait(&g->filled, &g->lock);
	p = g->stop ? NULL : g->pass;
	*m = g->model;
	g->pass = NULL;
	(void)pthread_mutex_unlock(&g->lock);
	return p;
}

static void *
engine_main(void *arg)
{
	static const uint64_t one = 1;
	struct engine *g = arg;
	struct model *m;
	struct pass *p;

	while ((p = engine_wait(g, &m)) != NULL) {
		pass_run(p, m, g->scratch);
		/* fails only where the counter is full, and then there is something to read */
		(void)!write(g->fd.fd, &one, sizeof(one));
	}
	return NULL;
}

static void
engine_on_done(void *arg, uint32_t events)
{
	struct engine *g = arg;
	uint64_t count;

	(void)events;
	if (read(g->fd.fd, &count, sizeof(count)) != sizeof(count))
		return;
	g->busy = false;
	g->done(g->arg);
}

enum err_code
engine_new(struct engine **out, struct loop *loop, loop_timer_fn *done, void *arg, struct err *e)
{
	AUTO(engine_free) struct engine *g = calloc(1, sizeof(*g));
	int rc;

	CHECK(g != NULL);
	g->loop = loop;
	g->done = done;
	g->arg = arg;
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->filled, NULL);
	g->scratch = tokenizer_scratch_new();
	g->fd = (struct loop_fd){.fn = engine_on_done,
		.arg = g,
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN};
	if (g->fd.fd < 0)
		return err_set(e, ERR_SYS, "eventfd: %s", strerror(errno));
	if (loop_add(loop, &g->fd, e) != ERR_OK)
		return e->code;
	rc = pthread_create(&g->thread, NULL, engine_main, g);
	if (rc != 0)
		return err_set(e, ERR_SYS, "thread: %s", strerror(rc));
	g->running = true;
	*out = g;
	g = NULL;
	return ERR_OK;
}

void
engine_free(struct engine **g_p)
{
	struct engine *g = *g_p;

	*g_p = NULL;
	if (g == NULL)
		return;
	if (g->running) {
		(void)pthread_mutex_lock(&g->lock);
		g->stop = true;
		(void)pthread_cond_signal(&g->filled);
		(void)pthread_mutex_unlock(&g->lock);
		(void)pthread_join(g->thread, NULL);
	}
	loop_remove(g->loop, &g->fd);
	if (g->fd.fd >= 0)
		(void)close(g->fd.fd);
	tokenizer_scratch_free(&g->scratch);
	(void)pthread_cond_destroy(&g->filled);
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

bool
engine_busy(const struct engine *g)
{
	return g->busy;
}

void
engine_start(struct engine *g, struct pass *p, struct model *m)
{
	CHECK(!g->busy && p->len > 0);
	g->busy = true;
	(void)pthread_mutex_lock(&g->lock);
	CHECK(g->pass == NULL);
	g->pass = p;
	g->model = m;
	(void)pthread_cond_signal(&g->filled);
	(void)pthread_mutex_unlock(&g->lock);
}
