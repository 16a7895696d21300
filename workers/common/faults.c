/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.c - the faults in force, as one worker sees them
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/faults.h"
#include "workers/common/worker.h"

struct worker_faults {
	uint64_t seq; /* of the board's table when it was copied */
	unsigned levels; /* bit mask of 1 << enum fault_level */
	int64_t clock_by_ms; /* how far this process has set its wall clock off */
	struct fault_rules rules;
};

static const char *const role_names[ROLES] = {
	[ROLE_NONE] = "none",
#define WORKER(symbol, name, calls, fds, stop_order) [ROLE_##symbol] = #name,
#include "workers/worker_list.h"
#undef WORKER
};

static void
faults_refresh(struct worker *w)
{
	struct worker_faults *f = w->faults;

	f->seq = board_faults(w->board, &f->rules);
	f->levels = 0;
	for (unsigned i = 0; i < FAULTS_MAX; i++)
		if (f->rules.rule[i].id != 0)
			f->levels |= 1U << fault_kind_row(f->rules.rule[i].kind)->level;
}

bool
faults_on(struct worker *w, enum fault_level level)
{
	uint64_t seq = board_faults_seq(w->board);

	if (seq == 0)
		return false;
	if (w->faults == NULL) {
		w->faults = calloc(1, sizeof(*w->faults));
		CHECK(w->faults != NULL);
	}
	if (w->faults->seq != seq)
		faults_refresh(w);
	return (w->faults->levels & 1U << level) != 0;
}

void
faults_tell(struct worker *w, const struct fault_rule *r, uint64_t draw, const char *about)
{
	const struct fault_kind_row *kind = fault_kind_row(r->kind);

	log_warn("fault_injected", "fault=%llu kind=%s level=%s draw=%llu seed=%llu%s%s",
		(unsigned long long)r->id, kind->name, fault_level_name(kind->level),
		(unsigned long long)draw, (unsigned long long)r->seed, about[0] == '\0' ? "" : " ",
		about);
	(void)w;
}

static bool
faults_try(struct worker *w, const struct fault_rule *r, const char *about, uint64_t *draw)
{
	bool comes = board_fault_draw(w->board, r, draw);

	if (comes)
		faults_tell(w, r, *draw, about);
	else
		log_debug("fault_passed", "fault=%llu draw=%llu%s%s", (unsigned long long)r->id,
			(unsigned long long)*draw, about[0] == '\0' ? "" : " ", about);
	return comes;
}

const struct fault_rule *
faults_draw(struct worker *w, enum fault_level level, const struct fault_subject *s,
	const char *about, uint64_t *draw)
{
	struct fault_subject subject = *s;
	uint64_t now_ns = clock_ns();

	if (!faults_on(w, level))
		return NULL;
	subject.worker = w->name;
	subject.role = role_names[w->role];
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &w->faults->rules.rule[i];

		if (r->id == 0 || fault_kind_row(r->kind)->level != level ||
			!fault_meets(r, &subject) || fault_window(r, now_ns) != FAULT_WINDOW_OPEN)
			continue;
		if (faults_try(w, r, about, draw))
			return r;
	}
	return NULL;
}

/* The jump that is in force for this worker, 0: none. */
static int64_t
faults_clock_by(struct worker *w)
{
	const struct fault_subject self = {.worker = w->name, .role = role_names[w->role]};
	uint64_t now_ns = clock_ns();

	if (!faults_on(w, FAULT_LEVEL_RESOURCE))
		return 0;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &w->faults->rules.rule[i];

		if (r->id != 0 && r->kind == FAULT_CLOCK_JUMP && fault_meets(r, &self) &&
			fault_window(r, now_ns) == FAULT_WINDOW_OPEN)
			return r->by_ms;
	}
	return 0;
}

void
faults_on_beat(struct worker *w)
{
	int64_t by_ms = faults_clock_by(w);

	if (w->faults == NULL || w->faults->clock_by_ms == by_ms)
		return;
	w->faults->clock_by_ms = by_ms;
	clock_wall_shift(by_ms);
	log_warn("fault_clock", "by_ms=%lld", (long long)by_ms);
	if (by_ms != 0)
		board_fault_count(w->board, FAULT_CLOCK_JUMP);
}

void
faults_free(struct worker *w)
{
	free(w->faults);
	w->faults = NULL;
}
