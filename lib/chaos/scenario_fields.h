/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_fields.h - keys of a scenario's maps as a table of fields; private to lib/chaos/
 */
#pragma once

#include "config/tree.h"
#include "lib/chaos/chaos.h"

/* Where a fault of the file is told. */
struct scenario_reader {
	const struct tree *tree;
	const char *path;
	struct err *e;
};

enum scenario_type {
	SCENARIO_TEXT,	/* char[CHAOS_TEXT_MAX] */
	SCENARIO_NAME,	/* char[CHAOS_NAME_MAX] */
	SCENARIO_COUNT, /* uint32_t */
	SCENARIO_SEED,	/* uint64_t */
	SCENARIO_REAL,	/* double, not negative */
	SCENARIO_SHARE, /* double 0..1, written as 0.05 or 5% */
	SCENARIO_TIME,	/* uint64_t milliseconds, written as 500, 500ms, 2s, 1.5m */
	SCENARIO_NAMES, /* struct chaos_names */
	SCENARIO_ELSE	/* read by somebody else */
};

struct scenario_field {
	const char *key;
	enum scenario_type type;
	size_t offset;
};

/* Tell what is wrong there; the error's code. */
enum err_code scenario_wrong(const struct scenario_reader *r, unsigned node, const char *fmt, ...)
	PRINTF(3, 4);
/* One scalar as a number in the unit; false: it is none. */
bool scenario_number(double *out, const char *text, enum scenario_type type);
/* The member of a map; 0: none. */
unsigned scenario_member(const struct tree *t, unsigned map, const char *key);
/* Fill the fields of row from a map's members; a key that is no field is an error. */
MUST enum err_code scenario_fill(void *row, const struct scenario_reader *r, unsigned map,
	const struct scenario_field *fields, size_t len);
MUST enum err_code scenario_names(
	struct chaos_names *out, const struct scenario_reader *r, unsigned node);

/* scenario_load.c */
MUST enum err_code scenario_load_read(
	struct chaos_scenario *s, const struct scenario_reader *r, unsigned list);
/* Is it a line that fault_parse reads, or (steps) a word of ours? */
MUST enum err_code scenario_steps_read(
	struct chaos_scenario *s, const struct scenario_reader *r, unsigned list);
MUST enum err_code scenario_invariants_read(
	struct chaos_scenario *s, const struct scenario_reader *r, unsigned map);
