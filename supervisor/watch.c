/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - what the process waits for: signals, ends of workers, readiness, moments
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/notify.h"
#include "supervisor/supervisor.h"

enum watch_kind { WATCH_SIGNAL, WATCH_TIMER, WATCH_END, WATCH_READY, WATCH_WEIGHTS, WATCH_BELL };
enum { WATCH_BATCH = 64 };

_Static_assert((SLOTS_MAX & (SLOTS_MAX - 1)) == 0 && SLOTS_MAX <= 256, "a slot is a masked byte");

/* What an epoll event means; the generation tells an event of a former life of the slot. */
static uint64_t
watch_key(enum watch_kind kind, const struct seat *seat)
{
	if (seat == NULL)
		return kind;
	return (uint64_t)kind | (uint64_t)seat->slot << 8 | (uint64_t)seat->generation << 32;
}

static enum err_code
watch_fd(const struct supervisor *s, int fd, uint64_t key, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = key};

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_set(e, ERR_SYS, "epoll_ctl: %s", strerror(errno));
	return ERR_OK;
}

/* The writer of the fault table rings by the descriptor that we wake it with. It may have read what
 * it wrote before we look, so the edge of "writable" is waited for as well: that always holds. */
static enum err_code
watch_bell(const struct supervisor *s, const struct seat *seat, struct err *e)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = watch_key(WATCH_BELL, seat)};

	if ((table_role(seat->role)->fds & ROLE_PROFILES) == 0)
		return ERR_OK;
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, seat->wake_fd, &ev) < 0)
		return err_set(e, ERR_SYS, "epoll_ctl: %s", strerror(errno));
	return ERR_OK;
}

enum err_code
watch_seat(struct supervisor *s, struct seat *seat, struct err *e)
{
	if (watch_fd(s, seat->pidfd, watch_key(WATCH_END, seat), e) != ERR_OK)
		return e->code;
	if (seat->weights_fd >= 0 &&
		watch_fd(s, seat->weights_fd, watch_key(WATCH_WEIGHTS, seat), e) != ERR_OK)
		return e->code;
	if (watch_bell(s, seat, e) != ERR_OK)
		return e->code;
	return watch_fd(s, seat->ready_fd, watch_key(WATCH_READY, seat), e);
}

enum err_code
watch_open(struct supervisor *s, struct err *e)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_set(e, ERR_SYS, "sigprocmask: %s", strerror(errno));
	/* A log that nobody reads must not end the daemon. */
	(void)sigaction(SIGPIPE, &ignore, NULL);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->signal_fd < 0 || s->timer_fd < 0)
		return err_set(e, ERR_SYS, "epoll, signalfd or timerfd: %s", strerror(errno));
	if (watch_fd(s, s->signal_fd, watch_key(WATCH_SIGNAL, NULL), e) != ERR_OK ||
		watch_fd(s, s->timer_fd, watch_key(WATCH_TIMER, NULL), e) != ERR_OK)
		return e->code;
	return ERR_OK;
}

static struct seat *
watch_find_pid(struct supervisor *s, pid_t pid)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (s->seats[i].pidfd >= 0 && s->seats[i].pid == pid)
			return &s->seats[i];
	return NULL;
}

/* Reap everything that has ended: workers get their obituary; what a dead worker left behind was
 * handed to us (we are the subreaper) and just goes. */
static void
watch_reap(struct supervisor *s)
{
	struct seat *seat;
	siginfo_t si;

	for (;;) {
		si.si_pid = 0;
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		seat = watch_find_pid(s, si.si_pid);
		if (seat != NULL) {
			seat_collect(s, seat);
		} else {
			log_debug("orphan_reaped", "pid=%d", si.si_pid);
			(void)waitpid(si.si_pid, NULL, WNOHANG);
		}
	}
}

static void
watch_on_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			watch_reap(s);
		else if (info.ssi_signo == SIGHUP)
			reload_run(s);
		else if (s->phase == PHASE_RUNNING)
			stop_begin(s);
		else
			stop_now(s);
	}
}

static void
watch_dispatch(struct supervisor *s, uint64_t key)
{
	enum watch_kind kind = (enum watch_kind)(key & 0xff);
	struct seat *seat = &s->seats[(key >> 8) & (SLOTS_MAX - 1)];
	bool current = key == watch_key(kind, seat);
	uint64_t ticks;

	if (kind == WATCH_SIGNAL)
		watch_on_signals(s);
	else if (kind == WATCH_TIMER)
		(void)!read(s->timer_fd, &ticks, sizeof(ticks)); /* only to make it quiet */
	else if (kind == WATCH_END && current)
		seat_collect(s, seat);
	else if (kind == WATCH_READY && current && seat->ready_fd >= 0)
		seat_read_ready(s, seat);
	else if (kind == WATCH_WEIGHTS && current && seat->weights_fd >= 0)
		keeper_read(s, seat);
}

/* The moment from which this seat counts as silent; 0: it need not give a sign. */
static uint64_t
watch_silent_at(const struct supervisor *s, const struct seat *seat)
{
	uint64_t beat, from;

	if (seat->state != CHILD_READY && seat->state != CHILD_DRAINING)
		return 0;
	beat = atomic_load(&board_worker(s->board, seat->slot)->heartbeat_ns);
	/* A beat from the future is garbage, so it counts for nothing. */
	from = beat > clock_ns() ? 0 : beat;
	from = MAX(MAX(from, seat->ready_ns), s->grace_until_ns);
	return from + clock_ms_to_ns(s->config->heartbeat_ms);
}

static void
watch_seat_due(struct supervisor *s, struct seat *seat, uint64_t now)
{
	static const struct {
		enum child_event event;
		const char *log; /* NULL: seat.c says it */
	} overdue[CHILD_STATES] = {
		[CHILD_STARTING] = {CHILD_EVENT_LATE, "worker_late"},
		[CHILD_BACKOFF] = {CHILD_EVENT_RETRY, NULL},
		[CHILD_DRAINING] = {CHILD_EVENT_OVERDUE, "worker_overdue"},
	};
	uint64_t silent_at = watch_silent_at(s, seat);
	enum child_state state = seat->state;

	if (silent_at != 0 && now >= silent_at) {
		log_warn("worker_hung", "role=%s name=%s slot=%u pid=%d heartbeat_ms=%u",
			table_role(seat->role)->name, seat->name, seat->slot, seat->pid,
			s->config->heartbeat_ms);
		seat_event(s, seat, CHILD_EVENT_SILENT);
	} else if (seat->deadline_ns != 0 && now >= seat->deadline_ns) {
		seat->deadline_ns = 0;
		if (overdue[state].log != NULL)
			log_warn(overdue[state].log, "role=%s name=%s slot=%u pid=%d",
				table_role(seat->role)->name, seat->name, seat->slot, seat->pid);
		seat_event(s, seat, overdue[state].event);
	}
}

/* Act on every moment that has come. */
static void
watch_act(struct supervisor *s)
{
	uint64_t now = clock_ns();

	/* Were we stopped ourselves (a frozen machine)? Then so were the workers, maybe. */
	if (s->slept_until_ns != 0 &&
		now > s->slept_until_ns + clock_ms_to_ns(s->config->heartbeat_ms) / 2)
		s->grace_until_ns = now;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		watch_seat_due(s, &s->seats[i], now);
}

/* The next moment at which something is to be done; 0: none. */
static uint64_t
watch_next(struct supervisor *s)
{
	uint64_t next = notify_watchdog(s->notify, clock_ns());

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		uint64_t at[] = {s->seats[i].deadline_ns, watch_silent_at(s, &s->seats[i])};

		for (size_t k = 0; k < ARRAY_LEN(at); k++)
			if (at[k] != 0 && (next == 0 || at[k] < next))
				next = at[k];
	}
	return fault_next(s, keeper_next(s, next));
}

static enum err_code
watch_wait(struct supervisor *s, uint64_t until_ns, struct err *e)
{
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(until_ns / NS_PER_S),
					  .tv_nsec = (long)(until_ns % NS_PER_S)}};
	struct epoll_event events[WATCH_BATCH];
	int n;

	s->slept_until_ns = until_ns;
	if (timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		return err_set(e, ERR_SYS, "timerfd_settime: %s", strerror(errno));
	n = epoll_wait(s->epoll_fd, events, WATCH_BATCH, -1);
	if (n < 0 && errno != EINTR)
		return err_set(e, ERR_SYS, "epoll_wait: %s", strerror(errno));
	for (int i = 0; i < n; i++)
		watch_dispatch(s, events[i].data.u64);
	return ERR_OK;
}

enum err_code
watch_turn(struct supervisor *s, struct err *e)
{
	watch_act(s);
	fault_act(s); /* a bell (WATCH_BELL) brings us here, no more */
	keeper_act(s);
	stop_advance(s);
	table_place_rest(s);
	supervisor_wake_workers(s);
	supervisor_announce(s);
	if (s->phase == PHASE_DONE)
		return ERR_OK;
	return watch_wait(s, watch_next(s), e);
}
