/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - faults on purpose that meet processes: signals and limits
 *
 * The rules are fixed-size rows that the profiler wrote on the board; they are checked when they
 * are copied. Everything here ends by itself: a stopped worker is woken, a limit lifted, when its
 * time is over, the rule is gone or the daemon stops.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/supervisor.h"

enum { FILES_DEFAULT = 16 };

/* The kinds that are limits, in the order of seat.limits. */
static const struct fault_limit {
	enum fault_kind kind;
	__rlimit_resource_t resource;
} limits[SEAT_LIMITS] = {
	{FAULT_FD_LIMIT, RLIMIT_NOFILE},
	{FAULT_MEMORY_LIMIT, RLIMIT_AS},
	{FAULT_DISK_FULL, RLIMIT_FSIZE},
};

/* What kinds that are no more than a signal send; 0: others. */
static int
fault_signal(enum fault_kind kind)
{
	static const int signals[FAULT_KINDS] = {
		[FAULT_KILL] = SIGKILL,
		[FAULT_STOP] = SIGSTOP,
		[FAULT_ABORT] = SIGABRT,
		[FAULT_SEGFAULT] = SIGSEGV,
		[FAULT_CRASH_LOOP] = SIGABRT,
		[FAULT_EXIT_EARLY] = SIGKILL,
		[FAULT_SLOW_START] = SIGSTOP,
	};

	return signals[kind];
}

static bool
fault_is_of_start(enum fault_kind kind)
{
	return kind == FAULT_EXIT_EARLY || kind == FAULT_SLOW_START;
}

static bool
fault_meets_seat(const struct fault_rule *r, const struct seat *seat)
{
	const struct fault_subject s = {.worker = seat->name, .role = table_role(seat->role)->name};

	return fault_meets(r, &s);
}

static bool
fault_is_open(const struct fault_rule *r, uint64_t now_ns)
{
	return r->id != 0 && fault_window(r, now_ns) == FAULT_WINDOW_OPEN;
}

static void
fault_tell(const struct fault_rule *r, const struct seat *seat, uint64_t draw)
{
	const struct fault_kind_row *kind = fault_kind_row(r->kind);

	log_warn("fault_injected",
		"fault=%" PRIu64 " kind=%s level=%s draw=%" PRIu64 " seed=%" PRIu64
		" worker=%s pid=%d",
		r->id, kind->name, fault_level_name(kind->level), draw, r->seed, seat->name,
		seat->pid);
}

/* ---- signals ---- */

static void
fault_send(const struct seat *seat, int signal)
{
	/* ESRCH: it has ended by itself meanwhile. */
	if (seat->pidfd >= 0 && pidfd_send_signal(seat->pidfd, signal, NULL, 0) < 0 &&
		errno != ESRCH)
		log_error("fault_unsent", "name=%s pid=%d signal=%d text=\"%s\"", seat->name,
			seat->pid, signal, strerror(errno));
}

static void
fault_strike(struct supervisor *s, struct seat *seat, const struct fault_rule *r)
{
	uint64_t draw = 0;

	if (!board_fault_draw(s->board, r, &draw))
		return;
	fault_tell(r, seat, draw);
	fault_send(seat, fault_signal(r->kind));
	if (fault_signal(r->kind) == SIGSTOP)
		seat->frozen_until_ns = clock_ns() + clock_ms_to_ns(r->time_ms);
}

static void
fault_thaw(struct seat *seat)
{
	seat->frozen_until_ns = 0;
	fault_send(seat, SIGCONT);
}

void
fault_on_spawn(struct supervisor *s, struct seat *seat)
{
	uint64_t now_ns = clock_ns();

	seat->frozen_until_ns = 0;
	memset(seat->limited, 0, sizeof(seat->limited));
	if (s->faults_seq == 0 || s->phase != PHASE_RUNNING)
		return;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &s->faults.rule[i];

		if (fault_is_open(r, now_ns) && fault_is_of_start(r->kind) &&
			fault_meets_seat(r, seat))
			fault_strike(s, seat, r);
	}
}

/* One rule of signals against every worker that it meets. */
static void
fault_round(struct supervisor *s, const struct fault_rule *r)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = &s->seats[i];

		if (!child_has_process(seat->state) || seat->frozen_until_ns != 0 ||
			!fault_meets_seat(r, seat))
			continue;
		if (r->kind == FAULT_CRASH_LOOP) {
			if (seat->state != CHILD_READY || seat->crashed == seat->generation)
				continue;
			seat->crashed = seat->generation;
		}
		fault_strike(s, seat, r);
	}
}

static void
fault_signals(struct supervisor *s, uint64_t now_ns)
{
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &s->faults.rule[i];
		struct fault_watch *w = &s->fault_watch[i];

		if (w->id != r->id)
			*w = (struct fault_watch){.id = r->id};
		if (!fault_is_open(r, now_ns) || fault_is_of_start(r->kind) ||
			fault_signal(r->kind) == 0 || now_ns < w->next_ns)
			continue;
		fault_round(s, r);
		if (r->kind != FAULT_CRASH_LOOP)
			w->next_ns = r->period_ms == 0 ? UINT64_MAX
						       : now_ns + clock_ms_to_ns(r->period_ms);
	}
}

/* ---- limits ---- */

static rlim_t
fault_limit_of(const struct fault_rule *r)
{
	if (r->kind != FAULT_FD_LIMIT)
		return (rlim_t)r->bytes;
	return (r->said & FAULT_SAYS(FILES)) != 0 ? (rlim_t)r->files : FILES_DEFAULT;
}

/* Only the soft limit: so that it can be lifted again. */
static void
fault_set_limit(const struct seat *seat, __rlimit_resource_t resource, rlim_t soft, rlim_t *old)
{
	struct rlimit now, want;

	if (prlimit(seat->pid, resource, NULL, &now) != 0)
		return; /* it has just ended */
	*old = now.rlim_cur;
	want = (struct rlimit){MIN(soft, now.rlim_max), now.rlim_max};
	if (prlimit(seat->pid, resource, &want, NULL) != 0)
		log_error("fault_unlimited", "name=%s pid=%d text=\"%s\"", seat->name, seat->pid,
			strerror(errno));
}

/* The rule of this kind that is open for the seat, NULL: none. */
static const struct fault_rule *
fault_limit_rule(
	const struct supervisor *s, const struct seat *seat, enum fault_kind kind, uint64_t now_ns)
{
	if (s->phase != PHASE_RUNNING)
		return NULL;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &s->faults.rule[i];

		if (r->kind == kind && fault_is_open(r, now_ns) && fault_meets_seat(r, seat))
			return r;
	}
	return NULL;
}

static void
fault_limit_seat(struct supervisor *s, struct seat *seat, unsigned i, uint64_t now_ns)
{
	const struct fault_rule *r = fault_limit_rule(s, seat, limits[i].kind, now_ns);
	uint64_t draw = 0;
	rlim_t old = 0;

	if (r == NULL && seat->limited[i].rule != 0) {
		fault_set_limit(seat, limits[i].resource, seat->limited[i].before, &old);
		seat->limited[i].rule = 0;
	} else if (r != NULL && seat->limited[i].rule == 0 &&
		   board_fault_draw(s->board, r, &draw)) {
		fault_tell(r, seat, draw);
		fault_set_limit(
			seat, limits[i].resource, fault_limit_of(r), &seat->limited[i].before);
		seat->limited[i].rule = r->id;
	}
}

static void
fault_limits(struct supervisor *s, uint64_t now_ns)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		for (unsigned k = 0; k < SEAT_LIMITS; k++)
			if (s->seats[i].pid != 0 && /* 0 would be ourselves */
				(s->seats[i].state == CHILD_READY ||
					s->seats[i].limited[k].rule != 0))
				fault_limit_seat(s, &s->seats[i], k, now_ns);
}

/* ---- when ---- */

void
fault_act(struct supervisor *s)
{
	uint64_t now_ns = clock_ns(), seq = board_faults_seq(s->board);

	if (seq == 0)
		return;
	if (s->faults_seq != seq)
		s->faults_seq = board_faults(s->board, &s->faults);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = &s->seats[i];

		if (seat->frozen_until_ns != 0 &&
			(now_ns >= seat->frozen_until_ns || s->phase != PHASE_RUNNING))
			fault_thaw(seat);
	}
	if (s->phase == PHASE_RUNNING)
		fault_signals(s, now_ns);
	fault_limits(s, now_ns);
}

uint64_t
fault_next(const struct supervisor *s, uint64_t next_ns)
{
	uint64_t now_ns = clock_ns();

	for (unsigned i = 0; s->faults_seq != 0 && i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &s->faults.rule[i];
		const uint64_t at[] = {
			fault_begins_ns(r), fault_ends_ns(r), s->fault_watch[i].next_ns};

		for (size_t k = 0; r->id != 0 && k < ARRAY_LEN(at); k++)
			if (at[k] > now_ns && at[k] != UINT64_MAX &&
				(next_ns == 0 || at[k] < next_ns))
				next_ns = at[k];
	}
	for (unsigned i = 0; s->faults_seq != 0 && i < SLOTS_MAX; i++) {
		uint64_t at = s->seats[i].frozen_until_ns;

		if (at != 0 && (next_ns == 0 || at < next_ns))
			next_ns = at;
	}
	return next_ns;
}

/* ---- the config's own, before any worker runs ---- */

void
fault_seed(struct supervisor *s)
{
	struct fault_rules rules = {.config = board_config_generation(s->board)};
	size_t n = config_fault_rules(s->config, rules.rule);

	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		rules.rule[i].id = ++rules.last_id;
		rules.rule[i].since_ns = clock_ns();
	}
	board_set_faults(s->board, &rules);
	log_warn("faults_on",
		"count=%zu text=\"the config sets faults on purpose: requests will fail\"", n);
}
