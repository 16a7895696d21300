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

/* The same fault, apart from when it was set. */
static bool
faults_same(const struct fault_rule *a, const struct fault_rule *b)
{
	AUTO(buf_fini) struct buf one = BUF_INIT;
	AUTO(buf_fini) struct buf other = BUF_INIT;

	if (a->id == 0 || a->origin != b->origin)
		return false;
	fault_print(&one, a);
	fault_print(&other, b);
	return strcmp(buf_str(&one), buf_str(&other)) == 0;
}

void
faults_take_over(struct faults *f, struct worker *w)
{
	*f = (struct faults){.w = w};
	if (board_faults(w->board, &f->rules) == 0)
		return;
	f->gauge = faults_count(f);
	board_gauge(w->board, COUNTER_FAULTS_ACTIVE, f->gauge);
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (f->rules.rule[i].id != 0)
			faults_log(f, "fault_in_force", &f->rules.rule[i]);
}

void
faults_configure(struct faults *f, const struct config *now, const struct config *before)
{
	struct fault_rule want[FAULTS_MAX], had[FAULTS_MAX];
	size_t want_len = config_fault_rules(now, want), had_len = config_fault_rules(before, had);
	bool changed = false;

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		struct fault_rule *r = &f->rules.rule[i];
		bool stays = false;

		for (size_t k = 0; k < want_len; k++)
			stays = stays || faults_same(r, &want[k]);
		if (r->id == 0 || r->origin != FAULT_FROM_CONFIG || stays)
			continue;
		faults_drop(f, r, "fault_cleared");
		changed = true;
	}
	for (size_t k = 0; k < want_len; k++) {
		bool is_old = false;

		/* what the old config had, too, runs or is over: it does not begin again */
		for (size_t i = 0; i < had_len; i++) {
			had[i].id = 1;
			is_old = is_old || faults_same(&had[i], &want[k]);
		}
		if (is_old)
			continue;
		changed = true;
		if (!faults_place(f, &want[k]))
			log_error("fault_unplaced", "text=\"more than %d faults\"", FAULTS_MAX);
	}
	if (changed)
		faults_publish(f);
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
