/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profiler.h - what the files of the profiler know of each other
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/fault/fault.h"
#include "shm/board.h"

struct worker;

/* ---- average.c: moving averages out of counters that only grow ---- */

/* One look at a deployment_stat. */
struct sample {
	uint64_t ok, failed, failed_in_row;
	uint64_t ttft_us_sum, ttft_count;
	uint64_t tokens, token_us_sum, total_us_sum;
};

void sample_read(struct sample *out, const struct deployment_stat *stat);
/* What happened between two looks; counters that went back began again at 0. */
struct sample sample_since(const struct sample *now, const struct sample *before);
/* Mix the calls of delta into the averages; true where one of them moved. */
bool average_update(struct profile_info *p, const struct sample *delta, uint64_t elapsed_ns);

/* ---- health.c: up, down, not known ---- */

enum health_event {
	HEALTH_PROBE_OK,
	HEALTH_PROBE_FAILED,
	HEALTH_CALL_OK, /* the latest call was answered */
	HEALTH_WORKER_GONE,
	HEALTH_WORKER_BACK,
	HEALTH_EVENTS
};

/* True where health changed. why is kept where the new state is DOWN. */
bool health_step(struct profile_info *p, enum health_event event, const char *why);
/* Which event the calls of delta are; HEALTH_EVENTS: none. */
enum health_event health_of_calls(const struct sample *now, const struct sample *delta);

/* ---- rows.c: the table of deployments ---- */

struct row {
	struct profile_info info; /* used 0: free */
	bool configured; /* the config names it: has a row for good */
	bool listed; /* seen by the probe that runs */
	bool dirty; /* differs from the board */
	int slot; /* whose counters `last` is of; -1: none yet */
	struct sample last;
};

struct rows {
	struct row row[PROFILES_MAX];
	bool notable; /* gateways must look: a row came, went, changed health or abilities */
	bool moved; /* gateways should look soon: an average moved */
};

/* A model as a probe found it; name NUL-terminated. Abilities are enum tri. */
struct found {
	char name[MODEL_MAX_LEN];
	uint32_t context_tokens, endpoints;
	uint32_t tools, vision, json, loaded;
};

struct row *rows_find(struct rows *rows, const char *backend, const char *model);
/* Take over what a predecessor left in this row of the board. */
void rows_adopt(struct rows *rows, unsigned i, const struct profile_info *info);
/* Rows for all deployments of c; those that c leaves no reason for go. */
void rows_configure(struct rows *rows, const struct config *c);
/* A probe of b found this model; false where it should have a row and the table is full. */
bool rows_found(
	struct rows *rows, const struct config_backend *b, const struct found *f, uint64_t now_ns);
/* The list of b was complete: what it did not hold is gone. */
void rows_list_end(struct rows *rows, const char *backend);
/* A backend that failed before it listed anything gets a row without a model, which says why; the
 * first list takes it away. */
void rows_stand_in(struct rows *rows, const char *backend);
/* One health event for all rows of a backend; returns how many changed. */
unsigned rows_health(
	struct rows *rows, const char *backend, enum health_event event, const char *why);

enum rows_look { ROWS_BASELINE, ROWS_COUNT };

/* Look at the counters of one deployment, kept by the worker in slot. ROWS_BASELINE: only remember
 * them, they are older than this profiler. Returns the row where its health changed, else NULL. */
struct row *rows_sample(struct rows *rows, const char *backend, int slot,
	const struct deployment_stat *stat, enum rows_look look, uint64_t elapsed_ns);

/* ---- probe.c: when to ask a backend worker, and when not to wait any longer ---- */

struct probe {
	char backend[NAME_MAX_LEN]; /* "": free */
	bool wanted; /* used while the config is compared */
	int slot; /* of the worker, -1: none ready */
	uint32_t generation;
	uint64_t gone_ns; /* since when there is none ready; 0: said to be gone already */
	bool running;
	bool discover; /* the running one lists the models */
	bool down; /* the last one failed */
	uint64_t id; /* request id of the running one */
	uint32_t models, left_out; /* told by the running one; of these: no row was free for */
	uint32_t left_out_told; /* in the log, last time */
	uint64_t started_ns, deadline_ns, next_ns, next_list_ns;
};

struct probes {
	struct probe probe[SLOTS_MAX];
	uint64_t ids;
};

struct probe *probes_find(struct probes *p, const char *backend);
struct probe *probes_by_id(struct probes *p, uint64_t id, unsigned slot);
/* One probe per backend of c; those of other backends go. */
void probes_configure(struct probes *p, const struct config *c, uint64_t now_ns);

enum probe_worker { PROBE_WORKER_SAME, PROBE_WORKER_NEW, PROBE_WORKER_GONE };

/* Tell which life of the worker is ready (slot -1: none). GONE is said once, and only when none has
 * been ready for PROBE_GRACE_MS: until then the gateway waits for the restart. */
enum { PROBE_GRACE_MS = 2000 };
enum probe_worker probe_worker_is(struct probe *p, int slot, uint32_t generation, uint64_t now_ns);
bool probe_due(const struct probe *p, uint64_t now_ns);
bool probe_late(const struct probe *p, uint64_t now_ns);
/* Somebody failed there: ask soon, but not more than once a second. */
void probe_suspect(struct probe *p, uint64_t now_ns);
/* Set id, kind and deadline; whether to list the models. */
void probe_start(struct probe *p, struct probes *all, uint64_t now_ns);
enum probe_result { PROBE_GOOD, PROBE_BAD };
void probe_end(struct probe *p, enum probe_result result, uint32_t probe_ms, uint64_t now_ns);

/* ---- faults.c: the faults in force ---- */

struct faults {
	struct worker *w;
	struct fault_rules rules; /* as they stand on the board */
	int64_t gauge;		  /* what this process's gauge says */
};

void faults_take_over(struct faults *f, struct worker *w);
/* Another config: rules of its list come and go; those that admins set stay. */
void faults_configure(struct faults *f, const struct config *now, const struct config *before);
MUST enum err_code faults_add(struct faults *f, const char *line, uint64_t *id, struct err *e);
unsigned faults_clear(struct faults *f, uint64_t id); /* 0: all; returns how many */
void faults_tick(struct faults *f); /* what is over goes */
