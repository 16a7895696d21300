/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c - read a model's folder, pack it, seal the segment: once for all its processes
 *
 * A thread of its own, because it takes seconds and the old generation serves on meanwhile. What
 * was packed is attached once before anybody gets it, so that a model that can't be used fails here
 * and nowhere else. Huge pages come last, when the segment is in use already.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "workers/classifier/classifier.h"

struct loader {
	struct loop *loop;
	loop_timer_fn *done;
	void *arg;
	struct loop_fd fd;
	bool running;
	pthread_t thread;
	atomic_bool ended, stop;
	/* what to do */
	char *folder;
	struct encoder_plan plan;
	struct weights_head head;
	/* the thread's until done */
	struct weights_draft draft;
	struct loader_result result;
};

static enum err_code
loader_pack(struct loader *l, struct err *e)
{
	struct encoder_source *source = NULL;
	enum err_code code = encoder_open(&source, l->folder, &l->plan, e);

	if (code != ERR_OK)
		return code;
	l->head.image_bytes = encoder_packed_bytes(source);
	code = weights_draft_open(&l->draft, (size_t)l->head.image_bytes, e);
	if (code == ERR_OK)
		code = encoder_pack(source, l->draft.image, e);
	encoder_close(&source);
	/* half of one model and half of another may fit together */
	if (code == ERR_OK && weights_identity(l->folder) != l->head.identity)
		code = err_set(e, ERR_CONFIG, "%s: files changed while they were read", l->folder);
	if (code == ERR_OK)
		code = weights_draft_seal(&l->draft, &l->head, e);
	return code;
}

/* One token through all layers: weights that are no numbers make every answer none. */
static enum err_code
loader_run(struct encoder *encoder, struct err *e)
{
	static const uint32_t id = 0;
	const struct encoder_input in = {.ids = &id, .len = 1};
	struct encoder_output out;

	if (encoder_run(encoder, &out, &in, 1, ENCODER_POOL_MODEL, e) != ERR_OK)
		return e->code;
	if (!encoder_finite(encoder, &out))
		return err_set(e, ERR_CONFIG,
			"the model's answer to a test holds a number that is none (NaN or "
			"infinite)");
	return ERR_OK;
}

/* Does what was packed work? Says in what form it is, too. */
static enum err_code
loader_try(struct loader *l, struct weights_view *v, struct err *e)
{
	static const struct encoder_limits limits = {.batch = 1, .tokens = 16, .threads = 1};
	struct encoder *encoder = NULL;
	enum err_code code = weights_view_open(v, l->draft.fd, l->head.plan, e);

	if (code != ERR_OK)
		return code;
	code = encoder_attach(&encoder, v->image, (size_t)v->head.image_bytes, &limits, e);
	if (code != ERR_OK)
		return code;
	(void)snprintf(l->result.dtype, sizeof(l->result.dtype), "%s",
		encoder_dtype_name(encoder_info(encoder)->dtype));
	(void)snprintf(l->result.isa, sizeof(l->result.isa), "%s",
		encoder_isa_name(encoder_info(encoder)->isa));
	code = loader_run(encoder, e);
	encoder_free(&encoder);
	return code;
}

static void
loader_tell(struct loader *l)
{
	static const uint64_t one = 1;

	(void)!write(l->fd.fd, &one, sizeof(one));
}

static void *
loader_main(void *arg)
{
	struct loader *l = arg;
	struct weights_view v = {0};
	struct err e = {.code = ERR_OK};

	if (loader_pack(l, &e) != ERR_OK || loader_try(l, &v, &e) != ERR_OK)
		l->result.err = e;
	l->result.fd = l->result.err.code == ERR_OK ? l->draft.fd : -1;
	loader_tell(l);
	if (l->result.err.code == ERR_OK && !weights_view_collapse(&v, &l->stop))
		log_debug("weights_small_pages", "text=\"%s\"", strerror(errno));
	weights_view_close(&v);
	atomic_store(&l->ended, true);
	return NULL;
}

static void
loader_on_done(void *arg, uint32_t events)
{
	struct loader *l = arg;
	uint64_t count;

	(void)events;
	if (read(l->fd.fd, &count, sizeof(count)) == sizeof(count))
		l->done(l->arg);
}

/* auto: half the bytes where the CPU computes with them, else what is always right. */
static struct encoder_plan
loader_plan(const struct config_encoder *c)
{
	static const enum encoder_isa isas[] = {
		[CONFIG_ISA_AUTO] = ENCODER_ISA_AUTO,
		[CONFIG_ISA_BLAS] = ENCODER_ISA_BLAS,
		[CONFIG_ISA_AVX2] = ENCODER_ISA_AVX2,
		[CONFIG_ISA_AVX512] = ENCODER_ISA_AVX512,
		[CONFIG_ISA_AMX] = ENCODER_ISA_AMX,
	};
	static const enum encoder_dtype dtypes[] = {
		[CONFIG_DTYPE_F32] = ENCODER_F32,
		[CONFIG_DTYPE_BF16] = ENCODER_BF16,
		[CONFIG_DTYPE_I8] = ENCODER_I8,
	};
	struct encoder_plan plan = {.isa = isas[c->isa]};

	if (c->dtype != CONFIG_DTYPE_AUTO)
		plan.dtype = dtypes[c->dtype];
	else
		plan.dtype = encoder_isa_runs(plan.isa, ENCODER_BF16) ? ENCODER_BF16 : ENCODER_F32;
	return plan;
}

void
loader_prepare(const struct config_encoder *c)
{
	struct encoder_plan plan = loader_plan(c);

	(void)encoder_isa_runs(plan.isa, plan.dtype);
}

enum err_code
loader_new(struct loader **out, struct loop *loop, const struct config_encoder *c,
	uint32_t generation, uint64_t identity, loop_timer_fn *done, void *arg, struct err *e)
{
	AUTO(loader_free) struct loader *l = calloc(1, sizeof(*l));
	int rc;

	CHECK(l != NULL);
	l->loop = loop;
	l->done = done;
	l->arg = arg;
	l->draft = (struct weights_draft)WEIGHTS_DRAFT_INIT;
	l->plan = loader_plan(c);
	l->head = (struct weights_head){.magic = WEIGHTS_MAGIC,
		.generation = generation,
		.identity = identity,
		.plan = config_hash_weights(c)};
	l->folder = strdup(c->folder);
	CHECK(l->folder != NULL);
	l->fd = (struct loop_fd){.fn = loader_on_done,
		.arg = l,
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN};
	if (l->fd.fd < 0)
		return err_set(e, ERR_SYS, "eventfd: %s", strerror(errno));
	if (loop_add(loop, &l->fd, e) != ERR_OK)
		return e->code;
	rc = pthread_create(&l->thread, NULL, loader_main, l);
	if (rc != 0)
		return err_set(e, ERR_SYS, "thread: %s", strerror(rc));
	l->running = true;
	*out = l;
	l = NULL;
	return ERR_OK;
}

const struct loader_result *
loader_result(const struct loader *l)
{
	return &l->result;
}

bool
loader_ended(const struct loader *l)
{
	return atomic_load(&l->ended);
}

void
loader_free(struct loader **l_p)
{
	struct loader *l = *l_p;

	*l_p = NULL;
	if (l == NULL)
		return;
	atomic_store(&l->stop, true); /* huge pages are not worth a wait */
	if (l->running)
		(void)pthread_join(l->thread, NULL);
	loop_remove(l->loop, &l->fd);
	if (l->fd.fd >= 0)
		(void)close(l->fd.fd);
	weights_draft_close(&l->draft);
	free(l->folder);
	free(l);
}
