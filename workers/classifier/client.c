/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - weights from the supervisor's keeper: asked for, mapped, switched, given back
 *
 * Whether to load and who does is the keeper's to say; here its word is carried out. A load that
 * does not end takes this process with it, so that the keeper can have another try.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/classifier/classifier.h"
#include "workers/common/worker.h"

enum {
	REAP_MS = 50,
	POLISH_MS = 3000 /* after a model was mapped: the loader has seen to huge pages, or never
			    will */
};

static void
client_tell(struct classifier *c, struct weights_note *n, int fd)
{
	struct err e;

	/* Nothing goes through any more only where the supervisor is gone, and then so are we. */
	if (weights_send(c->w->weights_fd, n, fd, &e) != ERR_OK)
		log_warn("keeper_untold", "kind=%u text=\"%s\"", n->kind, e.text);
}

static void
client_say(struct classifier *c, enum weights_note_kind kind, uint32_t generation)
{
	struct weights_note n = {.kind = kind, .generation = generation};

	client_tell(c, &n, -1);
}

void
client_want(struct classifier *c)
{
	if (c->wants)
		return;
	c->wants = true;
	client_say(c, WEIGHTS_NOTE_WANT, 0);
}

/* ---- unused: give the memory back ---- */

static void
client_arm_idle(struct classifier *c)
{
	if (c->config.idle_ms > 0)
		loop_timer_set(
			c->w->loop, &c->idle, c->used_ns + clock_ms_to_ns(c->config.idle_ms));
}

void
client_used(struct classifier *c)
{
	c->used_ns = loop_now(c->w->loop);
	if (c->idle.heap_index == 0)
		client_arm_idle(c);
}

static void
client_on_idle(void *arg)
{
	struct classifier *c = arg;

	if (c->model == NULL)
		return;
	if (engine_busy(c->engine) || c->queue.len > 0) {
		c->used_ns = clock_ns();
		client_arm_idle(c);
		return;
	}
	if (clock_ns() < c->used_ns + clock_ms_to_ns(c->config.idle_ms)) {
		client_arm_idle(c);
		return;
	}
	log_debug("weights_idle", "generation=%u", c->model->generation);
	model_close(&c->model);
	client_say(c, WEIGHTS_NOTE_IDLE, 0);
}

/* ---- given ---- */

void
client_switch(struct classifier *c)
{
	if (c->next == NULL || engine_busy(c->engine))
		return;
	model_close(&c->model);
	c->model = c->next;
	c->next = NULL;
	client_say(c, WEIGHTS_NOTE_MAPS, c->model->generation);
	log_debug("weights_mapped", "generation=%u bytes=%zu", c->model->generation,
		c->model->view.len);
	c->used_ns = clock_ns();
	client_arm_idle(c);
	loop_timer_set(c->w->loop, &c->polish, c->used_ns + clock_ms_to_ns(POLISH_MS));
}

static void
client_on_polish(void *arg)
{
	struct classifier *c = arg;

	if (c->model != NULL && c->loader == NULL)
		model_polish(c->model);
}

/* Whoever asked hears no path of a file: why it is so is in the log and in the status. One that
 * goes says no more than that: another process may have the model. */
static void
client_fail_all(struct classifier *c, uint32_t retry_ms)
{
	struct err e = {.code = ERR_OK};

	if (c->model != NULL)
		return;
	(void)err_set(&e, c->w->draining ? ERR_WORKER_DIED : ERR_UNAVAILABLE,
		"encoder %s can't be loaded now", c->config.name);
	e.retry_after_ms = retry_ms;
	classifier_fail_all(c, &e);
}

static void
client_say_mapped(struct classifier *c)
{
	if (c->next == NULL) /* else client_switch will say it */
		client_say(c, WEIGHTS_NOTE_MAPS, c->model == NULL ? 0 : c->model->generation);
}

/* Every GIVE is answered with what is mapped then; where the engine runs, when it ends. */
static void
client_on_give(struct classifier *c, const struct weights_note *n, int fd)
{
	const struct model *newest = c->next != NULL ? c->next : c->model;
	struct model *m = NULL;
	struct err e = {.code = ERR_OK};

	c->wants = false;
	if (newest != NULL && newest->generation == n->generation) {
		client_say_mapped(c);
	} else if (model_open(&m, fd, &c->config, &e) == ERR_OK) {
		board_count(c->w->board, COUNTER_WEIGHTS_ATTACHED, 1);
		model_close(&c->next);
		c->next = m;
		client_switch(c);
	} else {
		log_error("weights_unusable", "generation=%u text=\"%s\"", n->generation, e.text);
		client_say_mapped(c);
		client_fail_all(c, 0);
	}
	(void)close(fd);
	classifier_pump(c);
}

static void
client_on_refuse(struct classifier *c, const struct weights_note *n, int fd)
{
	(void)fd;
	c->wants = false;
	client_fail_all(c, n->retry_ms);
	classifier_pump(c); /* one that goes has nothing left to do */
}

/* ---- told to load ---- */

static void
client_on_load_end(void *arg)
{
	struct classifier *c = arg;
	struct err e = {.code = ERR_OK};

	(void)err_set(&e, ERR_TIMEOUT, "loading %s took longer than load_ms=%u", c->config.folder,
		c->config.load_ms);
	worker_fail(c->w, &e);
}

/* Its thread may still be busy with huge pages. */
static void
client_on_reap(void *arg)
{
	struct classifier *c = arg;

	if (loader_ended(c->loader))
		loader_free(&c->loader);
	else
		loop_timer_set(c->w->loop, &c->reap, clock_ns() + clock_ms_to_ns(REAP_MS));
}

static void
client_on_loaded(void *arg)
{
	struct classifier *c = arg;
	const struct loader_result *r = loader_result(c->loader);
	struct weights_note n = {.kind = WEIGHTS_NOTE_BUILT, .generation = c->loading};

	loop_timer_clear(c->w->loop, &c->load_end);
	if (r->err.code == ERR_OK) {
		board_count(c->w->board, COUNTER_WEIGHTS_LOADS, 1);
		memcpy(n.dtype, r->dtype, sizeof(n.dtype));
		memcpy(n.isa, r->isa, sizeof(n.isa));
	} else {
		/* the keeper logs it */
		board_count(c->w->board, COUNTER_WEIGHTS_LOADS_FAILED, 1);
		n.kind = WEIGHTS_NOTE_BROKEN;
		(void)snprintf(
			n.text, sizeof(n.text), "%.*s", (int)sizeof(n.text) - 1, r->err.text);
	}
	client_tell(c, &n, r->fd);
	loop_timer_set(c->w->loop, &c->reap, clock_ns() + clock_ms_to_ns(REAP_MS));
}

static void
client_on_load(struct classifier *c, const struct weights_note *n, int fd)
{
	struct weights_note broken = {.kind = WEIGHTS_NOTE_BROKEN, .generation = n->generation};
	struct err e = {.code = ERR_OK};

	(void)fd;
	loop_timer_clear(c->w->loop, &c->reap);
	loader_free(&c->loader); /* a former load: at most its huge pages are waited for */
	c->loading = n->generation;
	if (loader_new(&c->loader, c->w->loop, &c->config, n->generation, n->identity,
		    client_on_loaded, c, &e) == ERR_OK) {
		loop_timer_set(
			c->w->loop, &c->load_end, clock_ns() + clock_ms_to_ns(c->config.load_ms));
		return;
	}
	(void)snprintf(
		broken.text, sizeof(broken.text), "%.*s", (int)sizeof(broken.text) - 1, e.text);
	client_tell(c, &broken, -1);
}

/* ---- the socket ---- */

static void
client_dispatch(struct classifier *c, const struct weights_note *n, int fd)
{
	static void (*const handlers[WEIGHTS_NOTES])(
		struct classifier *, const struct weights_note *, int) = {
		[WEIGHTS_NOTE_GIVE] = client_on_give,
		[WEIGHTS_NOTE_LOAD] = client_on_load,
		[WEIGHTS_NOTE_REFUSE] = client_on_refuse,
	};

	CHECK(handlers[n->kind] != NULL); /* the supervisor is never wrong */
	handlers[n->kind](c, n, fd);
}

static void
client_on_readable(void *arg, uint32_t events)
{
	struct classifier *c = arg;
	struct weights_note n;
	enum weights_recv got;
	int fd;

	(void)events;
	while ((got = weights_recv(c->w->weights_fd, &n, &fd)) == WEIGHTS_RECV_NOTE)
		client_dispatch(c, &n, fd);
	if (got == WEIGHTS_RECV_EMPTY)
		return;
	/* The supervisor closed it, or we do not understand each other. */
	log_warn("keeper_gone", "text=\"no more weights from the supervisor\"");
	loop_remove(c->w->loop, &c->keeper);
}

enum err_code
client_open(struct classifier *c, struct err *e)
{
	c->keeper = (struct loop_fd){
		.fn = client_on_readable, .arg = c, .fd = c->w->weights_fd, .events = EPOLLIN};
	c->idle = (struct loop_timer){.fn = client_on_idle, .arg = c};
	c->load_end = (struct loop_timer){.fn = client_on_load_end, .arg = c};
	c->polish = (struct loop_timer){.fn = client_on_polish, .arg = c};
	c->reap = (struct loop_timer){.fn = client_on_reap, .arg = c};
	if (loop_add(c->w->loop, &c->keeper, e) != ERR_OK)
		return e->code;
	client_say(c, WEIGHTS_NOTE_HELLO, 0);
	if (c->config.preload)
		client_want(c);
	return ERR_OK;
}

void
client_close(struct classifier *c)
{
	/* A load can't be interrupted, and nothing of it matters any more. */
	if (c->loader != NULL && !loader_ended(c->loader))
		_exit(EXIT_SUCCESS);
	loop_timer_clear(c->w->loop, &c->idle);
	loop_timer_clear(c->w->loop, &c->load_end);
	loop_timer_clear(c->w->loop, &c->reap);
	loop_timer_clear(c->w->loop, &c->polish);
	loop_remove(c->w->loop, &c->keeper);
	loader_free(&c->loader);
	model_close(&c->next);
	model_close(&c->model);
}
