/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profiler.c - what each deployment can do, whether it is healthy, how fast it is
 *
 * Runs as:        shunt-profiler, once
 * Handles/Sends:  ProbeModel, ProbeEnd, Suspect, FaultChange / ProbeStart, FaultChanged
 * Writes:         the profile rows and the fault table of the board, as their only writer
 * If it dies:     gateways go on ranking with the rows as they are; its successor takes them over
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/profiler/profiler.h"

enum {
	TICK_MS = 250,
	LOCAL_MS = 2000, /* between two looks for a local server that is not there */
	TELL_MS = 1000 /* gateways read all rows again for moved averages no more often */
};

struct profiler {
	struct worker *w;
	struct rows rows;
	struct probes probes;
	struct faults faults;
	struct loop_timer tick;
	uint64_t looked_ns; /* at the counters of the backends */
	uint64_t told_ns; /* gateways to look at the rows */
};

static struct profiler *
profiler_of(struct worker *w)
{
	CHECK(w->role == ROLE_PROFILER && w->state != NULL);
	return w->state;
}

/* Bring the board up to date. */
static void
profiler_publish(struct profiler *p)
{
	uint64_t now_ns = clock_ns();
	unsigned i;

	for (i = 0; i < PROFILES_MAX; i++) {
		if (p->rows.row[i].dirty)
			board_set_profile(p->w->board, i, &p->rows.row[i].info);
		p->rows.row[i].dirty = false;
	}
	if (p->rows.moved && now_ns - p->told_ns >= clock_ms_to_ns(TELL_MS))
		p->rows.notable = true;
	if (!p->rows.notable)
		return;
	board_profiles_changed(p->w->board);
	p->rows.notable = p->rows.moved = false;
	p->told_ns = now_ns;
}

/* A probe or a worker changed the health of all that a backend serves: say so once. */
static void
profiler_backend_health(
	struct profiler *p, const char *backend, enum health_event event, const char *why)
{
	unsigned changed = rows_health(&p->rows, backend, event, why);

	if (changed == 0)
		return;
	if (event == HEALTH_PROBE_FAILED || event == HEALTH_WORKER_GONE)
		log_warn("backend_down", "backend=%s deployments=%u why=\"%s\"", backend, changed,
			why);
	else if (event == HEALTH_PROBE_OK)
		log_info("backend_up", "backend=%s deployments=%u", backend, changed);
}

/* Is it a backend that joins by itself? The file has no line of it. */
static bool
profiler_is_local(const struct config_backend *b)
{
	return b != NULL && b->line == 0;
}

static uint32_t
profiler_period_ms(const struct config_backend *b, enum probe_result result)
{
	if (b == NULL)
		return 0;
	return profiler_is_local(b) && result == PROBE_BAD ? MIN(b->probe_ms, LOCAL_MS)
							   : b->probe_ms;
}

static void
profiler_probe_end(
	struct profiler *p, struct probe *probe, enum probe_result result, const char *why)
{
	const struct config_backend *b = config_backend(p->w->config, probe->backend);

	board_count(p->w->board, COUNTER_PROBES, 1);
	if (result == PROBE_BAD)
		board_count(p->w->board, COUNTER_PROBES_FAILED, 1);
	if (result == PROBE_BAD && b != NULL && !profiler_is_local(b))
		rows_stand_in(&p->rows, probe->backend);
	profiler_backend_health(p, probe->backend,
		result == PROBE_BAD ? HEALTH_PROBE_FAILED : HEALTH_PROBE_OK, why);
	probe_end(probe, result, profiler_period_ms(b, result), clock_ns());
}

static void
profiler_probe_start(struct profiler *p, struct probe *probe)
{
	struct msg m = {.type = MSG_PROBE_START};
	struct err e;

	probe_start(probe, &p->probes, clock_ns());
	m.head.request_id = probe->id;
	m.head.deadline_ns = probe->deadline_ns;
	m.probe_start.discover = probe->discover;
	if (bus_send(p->w->bus, (unsigned)probe->slot, probe->generation, &m, NULL, &e) != ERR_OK)
		profiler_probe_end(p, probe, PROBE_BAD, e.text);
}

/* Which life of the backend's worker is ready now? */
static enum probe_worker
profiler_worker_of(struct profiler *p, struct probe *probe)
{
	int slot = board_find_slot(p->w->board, ROLE_BACKEND, probe->backend);
	struct slot_info info = {0};

	if (slot >= 0)
		board_slot(p->w->board, (unsigned)slot, &info);
	if (slot >= 0 && info.state != SLOT_READY)
		slot = -1;
	return probe_worker_is(probe, slot, info.generation, clock_ns());
}

static void
profiler_look_at_worker(struct profiler *p, struct probe *probe)
{
	switch (profiler_worker_of(p, probe)) {
	case PROBE_WORKER_NEW:
		profiler_backend_health(p, probe->backend, HEALTH_WORKER_BACK, "");
		break;
	case PROBE_WORKER_GONE:
		profiler_backend_health(
			p, probe->backend, HEALTH_WORKER_GONE, "its worker is not ready");
		break;
	case PROBE_WORKER_SAME:
		break;
	}
}

/* Everything that time or the board makes due. */
static void
profiler_look_at_probes(struct profiler *p)
{
	struct probe *probe;
	size_t i;

	for (i = 0; i < SLOTS_MAX; i++) {
		probe = &p->probes.probe[i];
		if (probe->backend[0] == '\0')
			continue;
		profiler_look_at_worker(p, probe);
		if (probe_late(probe, clock_ns()))
			profiler_probe_end(p, probe, PROBE_BAD, "no answer to a probe in time");
		if (probe_due(probe, clock_ns()))
			profiler_probe_start(p, probe);
	}
}

static void
profiler_look_at_stats(
	struct profiler *p, struct probe *probe, enum rows_look look, uint64_t elapsed_ns)
{
	const struct worker_row *worker = board_worker(p->w->board, (unsigned)probe->slot);
	const struct row *row;
	size_t i;

	for (i = 0; i < STATS_MAX; i++) {
		if (atomic_load_explicit(&worker->stats[i].used, memory_order_acquire) == 0)
			continue;
		row = rows_sample(
			&p->rows, probe->backend, probe->slot, &worker->stats[i], look, elapsed_ns);
		if (row != NULL)
			log_info("deployment_up", "backend=%s model=%s", row->info.backend,
				row->info.model);
	}
}

static void
profiler_look_at_calls(struct profiler *p, enum rows_look look)
{
	uint64_t now_ns = clock_ns(), elapsed_ns = now_ns - p->looked_ns;
	size_t i;

	p->looked_ns = now_ns;
	for (i = 0; i < SLOTS_MAX; i++) {
		if (p->probes.probe[i].backend[0] != '\0' && p->probes.probe[i].slot >= 0)
			profiler_look_at_stats(p, &p->probes.probe[i], look, elapsed_ns);
	}
}

static void
profiler_on_tick(void *arg)
{
	struct profiler *p = arg;

	profiler_look_at_calls(p, ROWS_COUNT);
	profiler_look_at_probes(p);
	profiler_publish(p);
	faults_tick(&p->faults);
	loop_timer_set(p->w->loop, &p->tick, clock_ns() + clock_ms_to_ns(TICK_MS));
}

static void
on_probe_model(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct profiler *p = profiler_of(w);
	struct probe *probe = probes_by_id(&p->probes, m->head.request_id, m->head.sender_slot);
	const struct msg_probe_model *from = &m->probe_model;
	const struct config_backend *b;
	struct found f;

	(void)payload;
	if (probe == NULL) /* too late */
		return;
	b = config_backend(w->config, probe->backend);
	if (b == NULL)
		return;
	f = (struct found){.context_tokens = from->context_tokens,
		.endpoints = from->endpoints,
		.tools = from->tools,
		.vision = from->vision,
		.json = from->json,
		.loaded = from->loaded};
	(void)msg_str_copy(f.name, sizeof(f.name), from->model);
	if (!rows_found(&p->rows, b, &f, clock_ns()))
		probe->left_out++;
	probe->models++;
}

/* Models that are there but not served must not be a mystery; once per change is enough. */
static void
profiler_tell_left_out(struct probe *probe)
{
	if (probe->left_out > 0 && probe->left_out != probe->left_out_told)
		log_warn("profile_table_full", "backend=%s rows=%d models_not_served=%u",
			probe->backend, PROFILES_MAX, probe->left_out);
	probe->left_out_told = probe->left_out;
}

static void
on_probe_end(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct profiler *p = profiler_of(w);
	struct probe *probe = probes_by_id(&p->probes, m->head.request_id, m->head.sender_slot);
	char why[sizeof(((struct profile_info *)0)->why)];

	(void)payload;
	if (probe == NULL)
		return;
	(void)msg_str_copy(why, sizeof(why), m->probe_end.text);
	if (why[0] == '\0' && !m->probe_end.ok)
		(void)snprintf(why, sizeof(why), "probe failed: %s",
			err_name(err_code_checked(m->probe_end.code)));
	if (m->probe_end.ok && m->probe_end.discovered && m->probe_end.models == probe->models) {
		rows_list_end(&p->rows, probe->backend);
		profiler_tell_left_out(probe);
	}
	profiler_probe_end(p, probe, m->probe_end.ok ? PROBE_GOOD : PROBE_BAD, why);
	profiler_publish(p);
}

static void
on_suspect(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct profiler *p = profiler_of(w);
	char backend[NAME_MAX_LEN];
	struct probe *probe;

	(void)payload;
	probe = probes_find(&p->probes, msg_str_copy(backend, sizeof(backend), m->suspect.backend));
	if (probe == NULL)
		return;
	probe_suspect(probe, clock_ns());
	if (probe_due(probe, clock_ns()))
		profiler_probe_start(p, probe);
	profiler_publish(p);
}

static void
on_fault_change(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct profiler *p = profiler_of(w);
	const struct msg_fault_change *change = &m->fault_change;
	char line[MSG_FAULT_CHANGE_SPEC_MAX + 1];
	struct msg answer = {.type = MSG_FAULT_CHANGED,
		.head = {.request_id = m->head.request_id, .deadline_ns = m->head.deadline_ns}};
	struct err e = {0};
	uint64_t id = 0;
	unsigned cleared = 0;

	(void)payload;
	if (change->op == MSG_FAULT_OP_ADD)
		(void)!faults_add(
			&p->faults, msg_str_copy(line, sizeof(line), change->spec), &id, &e);
	else if (change->op == MSG_FAULT_OP_CLEAR_ALL || change->id != 0)
		cleared =
			faults_clear(&p->faults, change->op == MSG_FAULT_OP_CLEAR ? change->id : 0);
	answer.fault_changed = (struct msg_fault_changed){
		.code = (uint16_t)e.code, .id = id, .cleared = cleared, .text = msg_str(e.text)};
	/* unsent: that gateway is gone, and its client with it */
	(void)!bus_send(w->bus, m->head.sender_slot, m->head.sender_generation, &answer, NULL, &e);
}

static const struct handler handlers[] = {
	{MSG_PROBE_MODEL, ROLE_BIT(ROLE_BACKEND), on_probe_model},
	{MSG_PROBE_END, ROLE_BIT(ROLE_BACKEND), on_probe_end},
	{MSG_SUSPECT, ROLE_BIT(ROLE_GATEWAY), on_suspect},
	{MSG_FAULT_CHANGE, ROLE_BIT(ROLE_GATEWAY), on_fault_change},
};

static void
profiler_on_board(struct worker *w)
{
	struct profiler *p = profiler_of(w);

	profiler_look_at_probes(p);
	profiler_publish(p);
}

static void
profiler_on_config(struct worker *w, const struct config *old)
{
	struct profiler *p = profiler_of(w);

	faults_configure(&p->faults, w->config, old);
	rows_configure(&p->rows, w->config);
	probes_configure(&p->probes, w->config, clock_ns());
	profiler_look_at_probes(p);
	profiler_publish(p);
}

/* Calls counted before this life began are in the averages of the predecessor's rows already. */
static void
profiler_take_over(struct profiler *p)
{
	struct profile_info info;
	unsigned i;

	for (i = 0; i < PROFILES_MAX; i++) {
		board_profile(p->w->board, i, &info);
		rows_adopt(&p->rows, i, &info);
	}
	rows_configure(&p->rows, p->w->config);
	probes_configure(&p->probes, p->w->config, clock_ns());
	for (i = 0; i < SLOTS_MAX; i++) {
		/* new to this life only: their health stays what the predecessor found */
		if (p->probes.probe[i].backend[0] != '\0')
			(void)profiler_worker_of(p, &p->probes.probe[i]);
	}
	profiler_look_at_calls(p, ROWS_BASELINE);
	profiler_publish(p);
}

static MUST enum err_code
profiler_start(struct worker *w, struct err *e)
{
	struct profiler *p = calloc(1, sizeof(*p));

	(void)e;
	CHECK(p != NULL);
	p->w = w;
	p->probes.ids = clock_ns(); /* no id of a predecessor's probe comes again */
	p->looked_ns = clock_ns();
	p->tick = (struct loop_timer){.fn = profiler_on_tick, .arg = p};
	w->state = p;
	faults_take_over(&p->faults, w);
	profiler_take_over(p);
	loop_timer_set(w->loop, &p->tick, clock_ns());
	return ERR_OK;
}

static void
profiler_stop(struct worker *w)
{
	struct profiler *p = w->state;

	if (p == NULL)
		return;
	loop_timer_clear(w->loop, &p->tick);
	free(p);
	w->state = NULL;
}

int
main(int argc, char **argv)
{
	static const struct worker_role role = {
		.role = ROLE_PROFILER,
		.handlers = handlers,
		.handlers_len = ARRAY_LEN(handlers),
		.sandbox = {.allow = 0, .files_max = 1024},
		.start = profiler_start,
		.on_board = profiler_on_board,
		.on_config = profiler_on_config,
		.stop = profiler_stop,
	};

	return worker_main(argc, argv, &role);
}
