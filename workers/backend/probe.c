/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - the life of one probe: ask the upstream what it serves, tell the profiler
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

static void
probe_free(struct probe *p)
{
	struct backend *b = p->backend;
	struct probe **at = &b->probes;

	b->kind->transport->probe_stop(p);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	loop_timer_clear(b->w->loop, &p->timer);
	buf_fini(&p->path);
	buf_fini(&p->body);
	buf_fini(&p->answer);
	buf_fini(&p->url);
	free(p->models);
	free(p);
	asker_work_ended(b);
}

struct probe_model *
probe_find(struct probe *p, struct json name)
{
	for (size_t i = 0; i < p->models_len; i++)
		if (json_equals(name, p->models[i].name))
			return &p->models[i];
	return NULL;
}

struct probe_model *
probe_add(struct probe *p, struct json name)
{
	struct probe_model *m = probe_find(p, name);

	if (m != NULL)
		return m;
	if (p->models_len == PROBE_MODELS_MAX) {
		p->left_out++;
		return NULL;
	}
	if (p->models == NULL) {
		p->models = calloc(PROBE_MODELS_MAX, sizeof(*p->models));
		CHECK(p->models != NULL);
	}
	m = &p->models[p->models_len];
	*m = (struct probe_model){.tools = TRI_UNKNOWN,
		.vision = TRI_UNKNOWN,
		.json = TRI_UNKNOWN,
		.loaded = TRI_UNKNOWN};
	if (!json_copy_text(m->name, sizeof(m->name), name) || m->name[0] == '\0') {
		p->left_out++;
		return NULL;
	}
	p->models_len++;
	return m;
}

static void
send_model(struct probe *p, const struct probe_model *found)
{
	struct msg m = {.type = MSG_PROBE_MODEL};

	m.probe_model = (struct msg_probe_model){
		.model = msg_str(found->name),
		.context_tokens = found->context_tokens,
		.endpoints = found->endpoints,
		.tools = (uint8_t)found->tools,
		.vision = (uint8_t)found->vision,
		.json = (uint8_t)found->json,
		.loaded = (uint8_t)found->loaded,
	};
	(void)asker_reply(p->backend, &p->asker, &m, NULL);
}

void
probe_done(struct probe *p, enum err_code code, const struct err *e)
{
	struct msg m = {.type = MSG_PROBE_END};
	uint64_t us = (clock_ns() - p->started_ns) / NS_PER_US;
	bool tells = code == ERR_OK && p->discover && p->listed;

	for (size_t i = 0; tells && i < p->models_len; i++)
		send_model(p, &p->models[i]);
	if (tells && p->left_out > 0 && p->left_out != p->backend->left_out_told)
		log_warn("model_list_cut", "models=%zu models_not_served=%u", p->models_len,
			p->left_out);
	if (tells)
		p->backend->left_out_told = p->left_out;
	m.probe_end = (struct msg_probe_end){
		.ok = code == ERR_OK,
		.latency_us = (uint32_t)MIN(us, (uint64_t)UINT32_MAX),
		.models = tells ? (uint32_t)p->models_len : 0,
		.discovered = tells,
		.code = (uint16_t)code,
		.text = msg_str(code == ERR_OK ? "" : e->text),
	};
	(void)asker_reply(p->backend, &p->asker, &m, NULL);
	probe_free(p);
}

static void
probe_on_timer(void *arg)
{
	struct probe *p = arg;
	struct err e = {0};
	enum err_code code;

	code = err_set(&e, ERR_TIMEOUT, "no answer to the probe within %llu ms",
		(unsigned long long)((clock_ns() - p->started_ns) / NS_PER_MS));
	p->backend->kind->transport->probe_stop(p);
	probe_done(p, code, &e);
}

void
probe_start(struct backend *b, const struct msg *m)
{
	struct probe *p = calloc(1, sizeof(*p));
	struct err e = {0};
	uint64_t due;

	CHECK(p != NULL);
	p->backend = b;
	p->asker = (struct asker){.request_id = m->head.request_id,
		.deadline_ns = m->head.deadline_ns,
		.slot = m->head.sender_slot,
		.generation = m->head.sender_generation};
	p->discover = m->probe_start.discover;
	p->started_ns = clock_ns();
	p->timer = (struct loop_timer){.fn = probe_on_timer, .arg = p};
	p->next = b->probes;
	b->probes = p;
	if (b->w->draining || b->removed) {
		(void)err_set(&e, ERR_UNAVAILABLE, "backend %s is being stopped", b->w->name);
		probe_done(p, e.code, &e);
		return;
	}
	due = p->started_ns +
	      clock_ms_to_ns((uint64_t)b->limits.connect_ms + b->limits.first_byte_ms);
	if (p->asker.deadline_ns != 0)
		due = MIN(due, p->asker.deadline_ns);
	loop_timer_set(b->w->loop, &p->timer, due);
	b->kind->transport->probe(p);
}

void
probe_drop_orphans(struct backend *b)
{
	struct probe *p, *next;

	for (p = b->probes; p != NULL; p = next) {
		next = p->next;
		if (!asker_lives(b, &p->asker))
			probe_free(p);
	}
}

void
probe_free_all(struct backend *b)
{
	while (b->probes != NULL)
		probe_free(b->probes);
}
