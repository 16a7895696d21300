/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos.h - scenarios of failures: read, planned from a seed, judged, told
 *
 * Pure: no process, no socket, no clock. Whoever plays a scenario (cli/chaos_*.c) fills in what came
 * of each planned request, and what he saw of the daemon; everything else is decided here.
 *
 *   scenario.c, scenario_load.c  YAML text to struct chaos_scenario
 *   plan.c       seed and scenario to the list of requests: the same for the same seed
 *   wording.c    is a text the simulated model's, and if not, what happened to it?
 *   verdict.c    the invariants
 *   trace.c      seed, plan, decisions and verdicts without any time: equal for equal runs
 *   report.c, report_html.c
 *   generate.c   a scenario out of a seed, as YAML
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/fault/fault.h"

enum {
	CHAOS_REQUESTS_MAX = 50000,
	CHAOS_CLIENTS_MAX = 256,
	CHAOS_LOADS_MAX = 16,
	CHAOS_DRAWS_MAX = 8, /* faults of single requests, per load */
	CHAOS_STEPS_MAX = 64,
	CHAOS_NAMES_MAX = 16,
	CHAOS_NAME_MAX = 64,
	CHAOS_TEXT_MAX = 1024,
	CHAOS_FILE_MAX = 1024 * 1024,
	CHAOS_LIMIT_MS = 30000, /* of a run, unless the scenario says more */
	CHAOS_LIMIT_MAX_MS = 600000
};

enum chaos_invariant {
#define CHAOS_INVARIANT(symbol, name, unit, standard, help) CHAOS_##symbol,
#include "lib/chaos/invariant_list.h"
#undef CHAOS_INVARIANT
	CHAOS_ASKED, /* those of the scenario's lists: errors, fallback, answered_by */
	CHAOS_INVARIANTS = CHAOS_ASKED + 3
};
enum { CHAOS_ERRORS = CHAOS_ASKED, CHAOS_FALLBACK, CHAOS_ANSWERED_BY };

enum chaos_unit { CHAOS_SHARE, CHAOS_COUNT, CHAOS_TIME, CHAOS_SIZE, CHAOS_FLAG };

struct chaos_invariant_row {
	const char *name;
	enum chaos_unit unit;
	double standard; /* negative: not checked unless the scenario says so */
	const char *help;
};
const struct chaos_invariant_row *chaos_invariant_at(unsigned i); /* i < CHAOS_INVARIANTS */

struct chaos_names {
	char rows[CHAOS_NAMES_MAX][CHAOS_NAME_MAX];
	size_t len;
};

/* A fault that meets a share of the load's requests, each drawn from the seed. */
struct chaos_draw {
	char line[CHAOS_TEXT_MAX];
	double share; /* 0..1 */
};

struct chaos_load {
	char model[CHAOS_NAME_MAX];
	char prompt[CHAOS_TEXT_MAX];
	uint32_t count;
	uint32_t clients; /* at most so many at once */
	double rate;	  /* per second; 0: as fast as the clients are free */
	double stream, leave; /* shares, 0..1 */
	uint32_t leave_after; /* a client that leaves does so after so many pieces */
	uint64_t start_ms;
	struct chaos_names users;
	struct chaos_draw draws[CHAOS_DRAWS_MAX];
	size_t draws_len;
};

/* Something that is done to the daemon: a fault's line, "clear", or "reload". */
struct chaos_step {
	char what[CHAOS_TEXT_MAX];
	uint64_t at_ms;
	uint32_t before; /* number of a request, from 1; 0: at_ms counts */
	unsigned line;	 /* of the file */
};

struct chaos_scenario {
	char name[CHAOS_NAME_MAX];
	char about[CHAOS_TEXT_MAX];
	uint64_t seed;
	uint64_t limit_ms;
	struct buf config; /* YAML of the daemon's config, without listen, run_dir, state_dir */
	struct config *parsed; /* the same */
	struct chaos_load loads[CHAOS_LOADS_MAX];
	size_t loads_len;
	struct chaos_step steps[CHAOS_STEPS_MAX];
	size_t steps_len;
	double limits[CHAOS_ASKED]; /* negative: not checked */
	struct chaos_names errors;  /* codes that a request without an answer may have */
	struct chaos_names fallback; /* backends in the order in which attempts must go */
	char answered_by[CHAOS_NAME_MAX]; /* "": whoever */
	double answered_by_share;
	uint64_t hash; /* of the text */
};

/*
 * Read a scenario's text. path is for messages. On success *out is the caller's to scenario_free().
 * ERR_CONFIG: "PATH:LINE: what", the first of what is wrong.
 */
MUST enum err_code scenario_read(struct chaos_scenario **out, const char *path, const char *text,
	size_t len, struct err *e);
void scenario_free(struct chaos_scenario **s_p);
/* Does a step need a daemon of one's own? */
bool scenario_needs_own(const struct chaos_scenario *s);

/* ---- the plan, and what came of it ---- */

enum chaos_outcome {
	CHAOS_NOT_RUN,
	CHAOS_ANSWER,  /* whole */
	CHAOS_ERROR,   /* a clear error: status and code, or an event in the stream */
	CHAOS_LEFT,    /* the client went away, as planned */
	CHAOS_NOTHING, /* neither: cut, refused, silent */
	CHAOS_OUTCOMES
};

enum chaos_wording {
	CHAOS_SAME,
	CHAOS_BEGINS, /* is its beginning */
	CHAOS_MISSES, /* words are missing */
	CHAOS_DOUBLES,
	CHAOS_MIXED, /* the same words in another order */
	CHAOS_OTHER
};

struct chaos_request {
	/* planned */
	uint32_t number; /* from 1 */
	uint32_t load;
	uint64_t at_ms;
	bool stream;
	uint32_t leave_after; /* pieces; 0: stays */
	const char *user;     /* "" nobody; of the scenario */
	const char *fault;    /* line for this request alone, "" none; of the scenario */
	char prompt[CHAOS_TEXT_MAX + 64];
	/* came */
	enum chaos_outcome outcome;
	long status;
	uint64_t began_ms, ended_ms; /* since the load's begin */
	uint32_t ends;	    /* [DONE], or whole bodies */
	uint32_t finishes;  /* finish_reason said */
	uint32_t pieces;
	uint32_t attempts;
	char id[40], backend[CHAOS_NAME_MAX], model[CHAOS_NAME_MAX], code[CHAOS_NAME_MAX];
	char why[160]; /* what the transport said */
	uint64_t faults; /* kinds that met it, as the answer says: bits by enum fault_kind */
	struct buf text;
	/* judged */
	enum chaos_wording wording;
	bool right; /* answered, and the text is the model's */
	bool late;
};

struct chaos_plan {
	uint64_t seed;
	struct chaos_request *requests; /* in order of at_ms, then of the loads */
	size_t len;
};

/* The requests of the scenario for this seed; strings point into s. */
void chaos_plan_make(struct chaos_plan *out, const struct chaos_scenario *s, uint64_t seed);
void chaos_plan_fini(struct chaos_plan *p);
const char *chaos_plan_outcome_name(enum chaos_outcome outcome);

/* What must be said to prompt by this backend under the client's name for the model; false where
 * the config has no such simulated model. */
bool wording_expected(struct buf *out, const struct config *c, const char *backend,
	const char *model, const char *prompt);
enum chaos_wording wording_compare(const char *expected, const char *text);
const char *wording_name(enum chaos_wording wording);

/* ---- the verdict ---- */

/* What was seen of the daemon. */
struct chaos_seen {
	bool own; /* it was ours: processes, journal and end could be looked at */
	uint64_t last_fault_ms;
	int64_t fds_more, memory_more_kb;
	uint64_t hits_before[FAULT_KINDS]; /* of a daemon that has met faults already */
	uint64_t kinds_set, kinds_hit; /* bits by enum fault_kind */
	uint64_t busy; /* requests still in flight at the end */
	uint64_t journal_missing, journal_twice, journal_damaged, journal_records;
	struct buf journal_why;
	struct buf orders_why; /* attempts against the fallback order; empty: kept */
	uint64_t orders_seen;
	int exit_status;
	unsigned processes_left;
};

struct chaos_held {
	bool checked, held;
	char detail[200];
};

struct chaos_verdict {
	uint64_t requests, answered, lost, duplicated, late;
	struct chaos_held rows[CHAOS_INVARIANTS];
	bool ok;
};

/* Judge every request (fills wording, right, late) and every invariant. */
void verdict_make(struct chaos_verdict *out, struct chaos_plan *p, const struct chaos_scenario *s,
	const struct chaos_seen *seen);

/* ---- telling ---- */

/* One JSON object, the shape that DESIGN 7 fixes. */
void chaos_report_json(struct buf *out, const struct chaos_plan *p, const struct chaos_verdict *v);
void chaos_report_text(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v);
/* A page that stands alone: verdict, invariants and an SVG of requests and faults over time. */
void chaos_report_html(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v);

/* Lines of JSON without any time: the head, then a line per request. */
void trace_write(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v);
/* Seed of a trace of this scenario; ERR_INPUT where it is none. */
MUST enum err_code trace_seed(uint64_t *out, const struct chaos_scenario *s, const char *text,
	size_t len, struct err *e);
/* The first line in which they differ, from 1; 0: equal. */
size_t trace_differs(const struct buf *a, const struct buf *b);

/* ---- random scenarios ---- */

/* A scenario as YAML, made of the seed alone: about this many milliseconds of load. */
void generate_scenario(struct buf *out, uint64_t seed, uint64_t time_ms);
/* The seed of a round of such scenarios: the seed itself for round 0, then draws from it, so that
 * neighbouring seeds have no scenario in common. */
uint64_t generate_seed(uint64_t seed, uint64_t round);
