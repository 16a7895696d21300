/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.c - the faults in force: the one writer of the board's table of them
 *
 * Pure but for the board: what the config sets, what admins add and clear, and what is over. The
 * table outlives this process; a successor goes on with it.
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/profiler/profiler.h"

static unsigned
faults_count(const struct faults *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAULTS_MAX; i++)
		n += f->rules.rule[i].id != 0;
	return n;
}

static void
faults_publish(struct faults *f)
{
	unsigned n = faults_count(f);

	board_set_faults(f->w->board, &f->rules);
	board_gauge(f->w->board, COUNTER_FAULTS_ACTIVE, (int64_t)n - f->gauge);
	f->gauge = n;
	worker_ring(f->w);
}

static void
faults_log(const struct faults *f, const char *event, const struct fault_rule *r)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	struct fault_state sum = board_fault_sum(f->w->board, r->id);

	fault_print(&line, r);
	log_warn(event, "fault=%llu from=%s draws=%llu hits=%llu in_force=%u spec=\"%s\"",
		(unsigned long long)r->id, fault_origin_name(r->origin),
		(unsigned long long)sum.draws, (unsigned long long)sum.hits, faults_count(f),
		buf_str(&line));
}

/* Put a rule into a free place; false: there is none. */
static bool
faults_place(struct faults *f, const struct fault_rule *rule)
{
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault_rule *r = &f->rules.rule[i];

		if (r->id != 0)
			continue;
		*r = *rule;
		r->id = ++f->rules.last_id;
		r->since_ns = clock_ns();
		faults_log(f, "fault_set", r);
		return true;
	}
	return false;
}

static void
faults_drop(struct faults *f, struct fault_rule *r, const char *event)
{
	struct fault_rule gone = *r;

	memset(r, 0, sizeof(*r));
	faults_log(f, event, &gone);
}

/* Is the same fault, apart from when it was set, among these? */
static bool
faults_have(const struct fault_rule *rules, size_t len, const struct fault_rule *r)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;

	fault_print(&line, r);
	for (size_t i = 0; i < len; i++) {
		AUTO(buf_fini) struct buf other = BUF_INIT;

		fault_print(&other, &rules[i]);
		if (rules[i].origin == r->origin && strcmp(buf_str(&line), buf_str(&other)) == 0)
			return true;
	}
	return false;
}

/* The table gets those of want that had has not, and loses those of a config that want has not.
 * What both have runs or is over: it does not begin again. */
static void
faults_replace(struct faults *f, const struct fault_rule *want, size_t want_len,
	const struct fault_rule *had, size_t had_len)
{
	bool changed = false;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault_rule *r = &f->rules.rule[i];

		if (r->id == 0 || r->origin != FAULT_FROM_CONFIG || faults_have(want, want_len, r))
			continue;
		faults_drop(f, r, "fault_cleared");
		changed = true;
	}
	for (size_t k = 0; k < want_len; k++) {
		if (faults_have(had, had_len, &want[k]))
			continue;
		changed = true;
		if (!faults_place(f, &want[k]))
			log_error("fault_unplaced", "text=\"more than %d faults\"", FAULTS_MAX);
	}
	f->rules.config = atomic_load(&board_own_row(f->w->board)->config_seen);
	/* where nobody ever set a fault, there is no table */
	if (changed || board_faults_seq(f->w->board) != 0)
		faults_publish(f);
}

/* The config was changed while no profiler ran: what it asked for before stands in the table. */
static void
faults_catch_up(struct faults *f)
{
	struct fault_rule want[FAULTS_MAX], had[FAULTS_MAX];
	size_t had_len = 0;

	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (f->rules.rule[i].id != 0 && f->rules.rule[i].origin == FAULT_FROM_CONFIG)
			had[had_len++] = f->rules.rule[i];
	faults_replace(f, want, config_fault_rules(f->w->config, want), had, had_len);
}

void
faults_take_over(struct faults *f, struct worker *w)
{
	*f = (struct faults){.w = w};
	(void)board_faults(w->board, &f->rules);
	f->gauge = faults_count(f);
	board_gauge(w->board, COUNTER_FAULTS_ACTIVE, f->gauge);
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (f->rules.rule[i].id != 0)
			faults_log(f, "fault_in_force", &f->rules.rule[i]);
	if (f->rules.config != atomic_load(&board_own_row(w->board)->config_seen))
		faults_catch_up(f);
}

void
faults_configure(struct faults *f, const struct config *now, const struct config *before)
{
	struct fault_rule want[FAULTS_MAX], had[FAULTS_MAX];
	size_t had_len = config_fault_rules(before, had);

	faults_replace(f, want, config_fault_rules(now, want), had, had_len);
}

/* Does a worker of this name or role exist? Backends and gateways may be on their way. */
static bool
faults_knows_worker(const struct faults *f, const char *name)
{
	static const char *const roles[] = {
#define WORKER(symbol, name, calls, fds, stop_order) #name,
#include "workers/worker_list.h"
#undef WORKER
	};
	struct slot_info info;

	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (strcmp(roles[i], name) == 0)
			return true;
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		board_slot(f->w->board, slot, &info);
		if (info.state != SLOT_EMPTY && strcmp(info.name, name) == 0)
			return true;
	}
	return false;
}

MUST enum err_code
faults_add(struct faults *f, const char *line, uint64_t *id, struct err *e)
{
	struct fault_rule rule;

	if (fault_parse(&rule, line, e) != ERR_OK ||
		config_fault_check(f->w->config, &rule, e) != ERR_OK)
		return e->code;
	if (rule.worker[0] != '\0' && !faults_knows_worker(f, rule.worker))
		return err_set(
			e, ERR_INPUT, "worker: no worker and no role is named `%s`", rule.worker);
	rule.origin = FAULT_FROM_ADMIN;
	if (!faults_place(f, &rule))
		return err_set(e, ERR_INPUT, "kind: %d faults are in force, which is the limit",
			FAULTS_MAX);
	*id = f->rules.last_id;
	faults_publish(f);
	return ERR_OK;
}

unsigned
faults_clear(struct faults *f, uint64_t id)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault_rule *r = &f->rules.rule[i];

		if (r->id == 0 || (id != 0 && r->id != id))
			continue;
		faults_drop(f, r, "fault_cleared");
		n++;
	}
	if (n > 0)
		faults_publish(f);
	return n;
}

void
faults_tick(struct faults *f)
{
	uint64_t now_ns = clock_ns();
	bool changed = false;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault_rule *r = &f->rules.rule[i];

		if (r->id == 0 ||
			(fault_window(r, now_ns) != FAULT_WINDOW_OVER &&
				(r->count == 0 ||
					!fault_is_spent(
						r, board_fault_sum(f->w->board, r->id).hits))))
			continue;
		faults_drop(f, r, "fault_over");
		changed = true;
	}
	if (changed)
		faults_publish(f);
}
