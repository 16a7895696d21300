/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - faults on purpose: what one says, whom it meets, when it comes
 *
 * Pure: no clock, no I/O, no process. A rule is one line of text, "status backend=up status=503
 * every=3", and a fixed-size struct that can lie in shared memory. Whoever carries a level out
 * keeps a fault_state per rule and asks for each event: does the rule meet it (fault_meets), is its
 * time (fault_window), does it come (fault_draw)? The n-th draw depends on seed and n alone, so the
 * same seed and the same sequence of events give the same decisions.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum fault_level { FAULT_LEVEL_HTTP, FAULT_LEVEL_BUS, FAULT_LEVEL_PROCESS, FAULT_LEVEL_RESOURCE,
	FAULT_LEVELS };

enum fault_kind {
#define FAULT_KIND(symbol, name, level, needs, may, help) FAULT_##symbol,
#include "lib/fault/kind_list.h"
#undef FAULT_KIND
	FAULT_KINDS
};

enum fault_param {
#define FAULT_PARAM(symbol, name, use, type, field, min, max, help) FAULT_PARAM_##symbol,
#include "lib/fault/param_list.h"
#undef FAULT_PARAM
	FAULT_PARAMS
};

/* Bit of a parameter in fault_rule.said. */
#define FAULT_SAYS(symbol) (UINT64_C(1) << FAULT_PARAM_##symbol)

enum {
	FAULT_LINE_MAX = 1023, /* bytes of a rule as text */
	FAULTS_MAX = 32	       /* rules in force at once */
};

enum fault_origin { FAULT_FROM_CONFIG, FAULT_FROM_ADMIN, FAULT_FROM_REQUEST, FAULT_ORIGINS };

/* Fixed-size and without pointers. id 0: no rule. */
struct fault_rule {
	uint64_t id;
	uint64_t since_ns; /* what `after` counts from */
	uint64_t said;	   /* FAULT_SAYS of what the text named */
	uint32_t kind;	   /* enum fault_kind */
	uint32_t origin;   /* enum fault_origin */
	uint64_t every, seed, count, status, tokens, bytes, files;
	uint64_t after_ms, for_ms, period_ms, retry_after_ms, time_ms, spread_ms;
	int64_t by_ms;
	double probability;
	char backend[64], route[64], user[64], worker[64], message[32];
	char model[256], body[256];
};

/*
 * Read one line, "KIND [NAME=VALUE]...", values with spaces in double quotes (\" and \\ within).
 * *out is the rule with its defaults; id and since_ns are 0. ERR_INPUT: "NAME: what is wrong", where
 * NAME is a parameter or "kind", and *out is untouched.
 */
MUST enum err_code fault_parse(struct fault_rule *out, const char *line, struct err *e);
/* One more "NAME=VALUE" behind what stands in line, quoted where it must be. */
void fault_put_param(struct buf *line, const char *name, const char *value);
/* The rule as fault_parse reads it: the kind, then what was said. */
void fault_print(struct buf *out, const struct fault_rule *r);
/* Could a rule that somebody else wrote have come from fault_parse? */
bool fault_is_sound(const struct fault_rule *r);

struct fault_kind_row {
	const char *name;
	enum fault_level level;
	uint64_t needs, may; /* FAULT_SAYS */
	const char *help;
};

const struct fault_kind_row *fault_kind_row(enum fault_kind kind);
const char *fault_level_name(enum fault_level level);
const char *fault_origin_name(uint32_t origin); /* "?" where out of range */
const char *fault_param_name(enum fault_param p);
const char *fault_param_help(enum fault_param p);

/* An event; what does not apply is NULL and meets only rules that do not ask for it. */
struct fault_subject {
	const char *backend, *model, *upstream, *route, *user, *worker, *role, *message;
};

/* Does it ask for nothing else than this? An upstream's model name counts like the client's. */
bool fault_meets(const struct fault_rule *r, const struct fault_subject *s);

enum fault_window { FAULT_WINDOW_BEFORE, FAULT_WINDOW_OPEN, FAULT_WINDOW_OVER };

enum fault_window fault_window(const struct fault_rule *r, uint64_t now_ns);
uint64_t fault_begins_ns(const struct fault_rule *r);
uint64_t fault_ends_ns(const struct fault_rule *r); /* UINT64_MAX: not by time */

/* How far a rule has been drawn. */
struct fault_state {
	uint64_t draws, hits;
};

/* The next draw of a rule that meets an event in its window: does it come? Counts in *s.
 * hits_elsewhere: of other processes, for the limit. */
bool fault_draw(const struct fault_rule *r, struct fault_state *s, uint64_t hits_elsewhere);
/* The limit is reached: nothing will come any more. */
bool fault_is_spent(const struct fault_rule *r, uint64_t hits);
/* Its time for the n-th draw: time, or normally distributed around it, never negative. */
uint64_t fault_time_ms(const struct fault_rule *r, uint64_t draw);
/* 64 bits out of seed and number: the same on every machine. */
uint64_t fault_random(uint64_t seed, uint64_t n);
