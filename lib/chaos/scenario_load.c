/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_load.c - the lists of a scenario: load, faults, invariants
 */
#include <stdlib.h>
#include <string.h>

#include "lib/chaos/scenario_fields.h"

/* ---- load ---- */

static enum err_code
draws_read(struct chaos_load *l, const struct scenario_reader *r, unsigned list)
{
	static const struct scenario_field fields[] = {
		{"do", SCENARIO_TEXT, offsetof(struct chaos_draw, line)},
		{"share", SCENARIO_SHARE, offsetof(struct chaos_draw, share)}};
	enum err_code code = ERR_OK;
	struct fault_rule rule;
	struct err e;

	if (list == 0)
		return ERR_OK;
	if (r->tree->nodes[list].type != TREE_LIST)
		return scenario_wrong(r, list, "`faults` must be a list");
	for (unsigned n = r->tree->nodes[list].first; n != 0 && code == ERR_OK;
		n = r->tree->nodes[n].next) {
		struct chaos_draw *d = &l->draws[l->draws_len];

		if (l->draws_len++ == CHAOS_DRAWS_MAX)
			return scenario_wrong(
				r, n, "more than %d faults of one load", CHAOS_DRAWS_MAX);
		d->share = 1;
		code = scenario_fill(d, r, n, fields, ARRAY_LEN(fields));
		if (code == ERR_OK && fault_parse(&rule, d->line, &e) != ERR_OK)
			code = scenario_wrong(r, n, "%s", e.text);
		else if (code == ERR_OK && fault_kind_row(rule.kind)->level != FAULT_LEVEL_HTTP)
			code = scenario_wrong(r, n, "a request can bring http faults only");
	}
	return code;
}

static enum err_code
load_check(const struct chaos_load *l, const struct scenario_reader *r, unsigned n, size_t others)
{
	if (l->model[0] == '\0')
		return scenario_wrong(r, n, "`model` is missing");
	if (l->count == 0 || l->count > CHAOS_REQUESTS_MAX - others)
		return scenario_wrong(r, n,
			"`count` or `rate` with `time` must make 1 to %d requests",
			CHAOS_REQUESTS_MAX);
	if (l->clients == 0 || l->clients > CHAOS_CLIENTS_MAX)
		return scenario_wrong(r, n, "`clients` must be 1 to %d", CHAOS_CLIENTS_MAX);
	return ERR_OK;
}

/* `rate` and `time` are another way to say `count`. */
struct load_row {
	struct chaos_load load;
	uint64_t time_ms;
};

static enum err_code
load_read(struct chaos_scenario *s, const struct scenario_reader *r, unsigned n, size_t others)
{
	struct chaos_load *l = &s->loads[s->loads_len];
	struct load_row row = {
		.load = {.clients = 4, .leave_after = 3, .prompt = "What holds in a storm?"}};
	const struct scenario_field fields[] = {
		{"model", SCENARIO_NAME, offsetof(struct chaos_load, model)},
		{"prompt", SCENARIO_TEXT, offsetof(struct chaos_load, prompt)},
		{"count", SCENARIO_COUNT, offsetof(struct chaos_load, count)},
		{"clients", SCENARIO_COUNT, offsetof(struct chaos_load, clients)},
		{"rate", SCENARIO_REAL, offsetof(struct chaos_load, rate)},
		{"stream", SCENARIO_SHARE, offsetof(struct chaos_load, stream)},
		{"leave", SCENARIO_SHARE, offsetof(struct chaos_load, leave)},
		{"leave_after", SCENARIO_COUNT, offsetof(struct chaos_load, leave_after)},
		{"start", SCENARIO_TIME, offsetof(struct chaos_load, start_ms)},
		{"users", SCENARIO_NAMES, offsetof(struct chaos_load, users)},
		{"time", SCENARIO_TIME, offsetof(struct load_row, time_ms)},
		{"faults", SCENARIO_ELSE, 0}};
	enum err_code code = scenario_fill(&row, r, n, fields, ARRAY_LEN(fields));

	if (code != ERR_OK)
		return code;
	*l = row.load;
	if (l->count == 0)
		l->count =
			(uint32_t)MIN(l->rate * (double)row.time_ms / 1000.0, (double)UINT32_MAX);
	s->loads_len++;
	code = draws_read(l, r, scenario_member(r->tree, n, "faults"));
	return code == ERR_OK ? load_check(l, r, n, others) : code;
}

MUST enum err_code
scenario_load_read(struct chaos_scenario *s, const struct scenario_reader *r, unsigned list)
{
	enum err_code code = ERR_OK;
	size_t requests = 0;

	if (list == 0 || r->tree->nodes[list].type != TREE_LIST || r->tree->nodes[list].first == 0)
		return scenario_wrong(r, list, "`load` must be a list of what clients ask for");
	for (unsigned n = r->tree->nodes[list].first; n != 0 && code == ERR_OK;
		n = r->tree->nodes[n].next) {
		if (s->loads_len == CHAOS_LOADS_MAX)
			return scenario_wrong(r, n, "more than %d loads", CHAOS_LOADS_MAX);
		code = load_read(s, r, n, requests);
		requests += s->loads[MAX(s->loads_len, (size_t)1) - 1].count;
	}
	return code;
}

/* ---- faults over time ---- */

bool
scenario_needs_own(const struct chaos_scenario *s)
{
	struct fault_rule rule;
	struct err e;

	for (size_t i = 0; i < s->steps_len; i++) {
		if (strcmp(s->steps[i].what, "reload") == 0)
			return true;
		if (fault_parse(&rule, s->steps[i].what, &e) == ERR_OK &&
			fault_kind_row(rule.kind)->level > FAULT_LEVEL_BUS)
			return true;
	}
	return false;
}

static enum err_code
step_read(struct chaos_step *step, const struct scenario_reader *r, unsigned n)
{
	static const struct scenario_field fields[] = {
		{"at", SCENARIO_TIME, offsetof(struct chaos_step, at_ms)},
		{"before", SCENARIO_COUNT, offsetof(struct chaos_step, before)},
		{"do", SCENARIO_TEXT, offsetof(struct chaos_step, what)}};
	enum err_code code = scenario_fill(step, r, n, fields, ARRAY_LEN(fields));
	struct fault_rule rule;
	struct err e;

	step->line = r->tree->nodes[n].line;
	if (code != ERR_OK)
		return code;
	if (strcmp(step->what, "clear") == 0 || strcmp(step->what, "reload") == 0)
		return ERR_OK;
	if (fault_parse(&rule, step->what, &e) != ERR_OK)
		return scenario_wrong(r, n, "%s", e.text);
	return ERR_OK;
}

MUST enum err_code
scenario_steps_read(struct chaos_scenario *s, const struct scenario_reader *r, unsigned list)
{
	enum err_code code = ERR_OK;

	if (list == 0)
		return ERR_OK;
	if (r->tree->nodes[list].type != TREE_LIST)
		return scenario_wrong(r, list, "`faults` must be a list");
	for (unsigned n = r->tree->nodes[list].first; n != 0 && code == ERR_OK;
		n = r->tree->nodes[n].next) {
		if (s->steps_len == CHAOS_STEPS_MAX)
			return scenario_wrong(r, n, "more than %d faults", CHAOS_STEPS_MAX);
		code = step_read(&s->steps[s->steps_len++], r, n);
	}
	return code;
}

/* ---- invariants ---- */

static bool
limit_read(double *out, enum chaos_unit unit, const char *text)
{
	bool yes = strcmp(text, "yes") == 0;

	if (strcmp(text, "no") == 0) {
		*out = -1;
		return true;
	}
	switch (unit) {
	case CHAOS_FLAG:
		*out = 1;
		return yes;
	case CHAOS_SHARE:
		if (!scenario_number(out, text, SCENARIO_SHARE))
			return false;
		*out *= 100;
		return true;
	case CHAOS_TIME:
		return scenario_number(out, text, SCENARIO_TIME);
	default:
		return scenario_number(out, text, SCENARIO_REAL);
	}
}

static enum err_code
answered_by_read(struct chaos_scenario *s, const struct scenario_reader *r, unsigned map)
{
	const struct tree *t = r->tree;
	unsigned n = t->nodes[map].type == TREE_MAP ? t->nodes[map].first : 0;

	if (n == 0 || t->nodes[n].type != TREE_SCALAR || t->nodes[n].next != 0 ||
		!scenario_number(&s->answered_by_share, t->nodes[n].text, SCENARIO_SHARE) ||
		t->nodes[t->nodes[n].key].len >= CHAOS_NAME_MAX)
		return scenario_wrong(r, map, "answered_by must be {BACKEND: least share}");
	memcpy(s->answered_by, t->nodes[t->nodes[n].key].text, t->nodes[t->nodes[n].key].len + 1);
	return ERR_OK;
}

static const char *const list_names[] = {"errors", "fallback", "answered_by"};

const struct chaos_invariant_row *
chaos_invariant_at(unsigned i)
{
	static const struct chaos_invariant_row rows[CHAOS_INVARIANTS] = {
#define CHAOS_INVARIANT(symbol, name, unit, standard, help) {#name, CHAOS_##unit, standard, help},
#include "lib/chaos/invariant_list.h"
#undef CHAOS_INVARIANT
		[CHAOS_ERRORS] = {"errors", CHAOS_FLAG, -1,
			"requests without an answer get one of these codes"},
		[CHAOS_FALLBACK] = {"fallback", CHAOS_FLAG, -1,
			"the attempts of each request follow this order of backends"},
		[CHAOS_ANSWERED_BY] = {"answered_by", CHAOS_FLAG, -1,
			"so many answers come from this backend"},
	};

	CHECK(i < CHAOS_INVARIANTS);
	return &rows[i];
}

MUST enum err_code
scenario_invariants_read(struct chaos_scenario *s, const struct scenario_reader *r, unsigned map)
{
	struct scenario_field fields[CHAOS_INVARIANTS];
	enum err_code code;
	unsigned n;

	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++)
		fields[i] = (struct scenario_field){chaos_invariant_at(i)->name, SCENARIO_ELSE, 0};
	if (map == 0)
		return ERR_OK;
	code = scenario_fill(s, r, map, fields, CHAOS_INVARIANTS);
	for (unsigned i = 0; i < CHAOS_ASKED && code == ERR_OK; i++) {
		n = scenario_member(r->tree, map, chaos_invariant_at(i)->name);
		if (n != 0 && (r->tree->nodes[n].type != TREE_SCALAR ||
				      !limit_read(&s->limits[i], chaos_invariant_at(i)->unit,
					      r->tree->nodes[n].text)))
			code = scenario_wrong(r, n, "`%s` takes %s, or no",
				chaos_invariant_at(i)->name,
				chaos_invariant_at(i)->unit == CHAOS_FLAG ? "yes" : "a limit");
	}
	n = scenario_member(r->tree, map, list_names[0]);
	if (code == ERR_OK && n != 0)
		code = scenario_names(&s->errors, r, n);
	n = scenario_member(r->tree, map, list_names[1]);
	if (code == ERR_OK && n != 0)
		code = scenario_names(&s->fallback, r, n);
	n = scenario_member(r->tree, map, list_names[2]);
	if (code == ERR_OK && n != 0)
		code = answered_by_read(s, r, n);
	return code;
}
