/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seat.c - carry out what child.c decides: start, kill, bury, and tell the board
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/listen.h"
#include "supervisor/rundir.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

enum { SEAT_SPARE_MS = 2000 }; /* a worker gets beyond drain_ms before it is killed */

/* Put the seat's row on the board; the workers are woken once per turn. */
static void
seat_publish(struct supervisor *s, const struct seat *seat)
{
	struct slot_info info = {
		.role = seat->role,
		.state = child_slot_state(seat->state),
		.pid = (uint32_t)seat->pid,
		.generation = seat->generation,
		.restarts = seat->restarts,
		.index = seat->index,
		.since_ns = seat->since_ns,
	};

	memcpy(info.name, seat->name, sizeof(info.name));
	board_set_slot(s->board, seat->slot, &info);
	s->rows_changed = true;
}

static void
seat_close(int *fd)
{
	if (*fd >= 0)
		/* Also takes it out of epoll, at the latest when a child on its way to exec, which
		 * has a copy, gets there; what epoll says of it until then is ignored. */
		(void)close(*fd);
	*fd = -1;
}

void
seat_close_fds(struct seat *seat)
{
	seat_close(&seat->ready_fd);
	seat_close(&seat->wake_fd);
	seat_close(&seat->weights_fd);
	seat_close(&seat->pidfd);
}

void
seat_assign(struct seat *seat, enum role role, const char *name, unsigned index, uint64_t hash)
{
	CHECK(seat->state == CHILD_EMPTY);
	CHECK(role > ROLE_NONE && role < ROLES);
	seat->role = role;
	(void)snprintf(seat->name, sizeof(seat->name), "%s", name);
	seat->index = index;
	seat->hash = hash;
	seat->wanted = true;
	seat->fresh = true;
	seat->restarts = seat->failures = 0;
}

static void
seat_signal(const struct seat *seat, int sig)
{
	CHECK(seat->pidfd >= 0);
	/* ESRCH: it has ended already and will be collected. */
	if (pidfd_send_signal(seat->pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
		log_error("signal_failed", "name=%s slot=%u pid=%d signal=%d text=\"%s\"",
			seat->name, seat->slot, seat->pid, sig, strerror(errno));
}

static enum err_code
seat_fork(struct supervisor *s, struct seat *seat, struct err *e)
{
	const struct table_role *role = table_role(seat->role);
	bool listens = (role->fds & FD_LISTEN) != 0;
	AUTO(seat_close) int keeper_fd = -1;
	struct spawn_order order = {
		.folder = s->folder,
		.role = role->name,
		.slot = seat->slot,
		.generation = seat->generation,
		.null_fd = s->null_fd,
		.board_ro = board_fd_ro(s->board),
		.board_rw = board_fd_rw(s->board),
		.more_fds = listens ? listen_fds(s->listen) : &keeper_fd,
		.more_len = listens ? listen_count(s->listen) : 0,
		.last_words = board_slot_row(s->board, seat->slot)->last_words,
		.last_words_size = LAST_WORDS_MAX,
	};
	struct spawn_result made;

	if ((role->fds & FD_WEIGHTS) != 0) {
		if (keeper_open(seat, &keeper_fd, e) != ERR_OK)
			return e->code;
		order.more_len = 1;
	}
	if (spawn_worker(&made, &order, e) != ERR_OK) {
		seat_close(&seat->weights_fd);
		return e->code;
	}
	seat->pid = made.pid;
	seat->pidfd = made.pidfd;
	seat->ready_fd = made.ready_fd;
	seat->wake_fd = made.wake_fd;
	if (watch_seat(s, seat, e) == ERR_OK)
		return ERR_OK;
	/* Nobody would see its end: end it here. */
	seat_signal(seat, SIGKILL);
	(void)waitpid(seat->pid, NULL, 0);
	seat_close_fds(seat);
	seat->pid = 0;
	return e->code;
}

static void
seat_spawn(struct supervisor *s, struct seat *seat)
{
	struct err e = {.code = ERR_OK};

	board_prepare_slot(s->board, seat->slot, seat->fresh ? BOARD_LIFE_FIRST : BOARD_LIFE_AGAIN);
	seat->fresh = false;
	seat->generation++;
	seat->started_ns = clock_ns();
	seat->ready_ns = 0;
	seat->deadline_ns = seat->started_ns + clock_ms_to_ns(s->config->start_ms);
	seat_publish(s, seat); /* the new process reads its name from the row */
	if (seat_fork(s, seat, &e) == ERR_OK) {
		log_info("worker_started", "role=%s name=%s slot=%u pid=%d generation=%u",
			table_role(seat->role)->name, seat->name, seat->slot, seat->pid,
			seat->generation);
		fault_on_spawn(s, seat);
		return;
	}
	log_error("worker_unstarted", "role=%s name=%s slot=%u text=\"%s\"",
		table_role(seat->role)->name, seat->name, seat->slot, e.text);
	seat_event(s, seat, CHILD_EVENT_NO_SPAWN);
}

static void
seat_serve(struct supervisor *s, struct seat *seat)
{
	(void)s;
	seat->ready_ns = clock_ns();
	log_info("worker_ready", "role=%s name=%s slot=%u pid=%d generation=%u start_ms=%" PRIu64,
		table_role(seat->role)->name, seat->name, seat->slot, seat->pid, seat->generation,
		(seat->ready_ns - seat->started_ns) / NS_PER_MS);
}

/* At drain_ms the worker itself ends what runs: says so to the clients, leaves its records. */
static void
seat_term(struct supervisor *s, struct seat *seat)
{
	seat->deadline_ns =
		seat->since_ns + clock_ms_to_ns((uint64_t)s->config->drain_ms + SEAT_SPARE_MS);
	log_info("worker_draining", "role=%s name=%s slot=%u pid=%d", table_role(seat->role)->name,
		seat->name, seat->slot, seat->pid);
	seat_publish(s, seat); /* nobody may be sent to it by a row that is older than the signal */
	seat_signal(seat, SIGTERM);
}

static void
seat_kill(struct supervisor *s, struct seat *seat)
{
	(void)s;
	seat_signal(seat, SIGKILL);
}

static void
seat_delay(struct supervisor *s, struct seat *seat)
{
	const struct config_restart *r = &s->config->restart;
	uint32_t delay_ms;

	seat->failures = child_failures(r, seat->failures, seat->ready_ns, seat->since_ns);
	delay_ms = child_delay_ms(r, seat->failures, &s->random);
	seat->failures++;
	seat->restarts++;
	seat->deadline_ns = seat->since_ns + clock_ms_to_ns(delay_ms);
	if (seat->wanted)
		log_info("worker_restarting", "role=%s name=%s slot=%u delay_ms=%u failures=%u",
			table_role(seat->role)->name, seat->name, seat->slot, delay_ms,
			seat->failures);
}

/* After the process has been reaped. */
static void
seat_leave(struct supervisor *s, struct seat *seat)
{
	rundir_forget(s->rundir, seat->slot, seat->generation);
	board_bury_slot(s->board, seat->slot);
	seat_close_fds(seat);
	seat->pid = 0;
	keeper_seat_gone(s, seat);
}

static void
seat_bury_retry(struct supervisor *s, struct seat *seat)
{
	seat_leave(s, seat);
	seat_delay(s, seat);
}

static void
seat_free(struct supervisor *s, struct seat *seat)
{
	seat->wanted = false;
	seat->failures = 0;
	keeper_forget(s, seat);
}

static void
seat_bury_free(struct supervisor *s, struct seat *seat)
{
	seat_leave(s, seat);
	seat_free(s, seat);
}

void
seat_event(struct supervisor *s, struct seat *seat, enum child_event event)
{
	static void (*const actions[CHILD_ACTIONS])(struct supervisor *, struct seat *) = {
		[CHILD_DO_SPAWN] = seat_spawn,
		[CHILD_DO_SERVE] = seat_serve,
		[CHILD_DO_TERM] = seat_term,
		[CHILD_DO_SIGKILL] = seat_kill,
		[CHILD_DO_BURY_RETRY] = seat_bury_retry,
		[CHILD_DO_BURY_FREE] = seat_bury_free,
		[CHILD_DO_DELAY] = seat_delay,
		[CHILD_DO_FREE] = seat_free,
	};
	struct child_next next = child_step(seat->state, event);

	if (next.state == seat->state)
		return;
	seat->state = next.state;
	seat->since_ns = clock_ns();
	seat->deadline_ns = 0;
	if (actions[next.action] != NULL)
		actions[next.action](s, seat);
	seat_publish(s, seat);
	/* A worker that waits for its successor only is not started again; the successor is. */
	if (seat->state == CHILD_BACKOFF && !seat->wanted)
		seat_event(s, seat, CHILD_EVENT_RETIRE);
	else if (event == CHILD_EVENT_SERVES)
		table_retire_replaced(s);
}

void
seat_collect(struct supervisor *s, struct seat *seat)
{
	siginfo_t si = {.si_pid = 0};

	if (seat->pidfd < 0 || waitid(P_PIDFD, (id_t)seat->pidfd, &si, WEXITED | WNOHANG) < 0 ||
		si.si_pid == 0)
		return;
	obituary_write(s, seat, &si);
	seat_event(s, seat, CHILD_EVENT_EXIT);
}

void
seat_read_ready(struct supervisor *s, struct seat *seat)
{
	char byte = 0;
	ssize_t n = read(seat->ready_fd, &byte, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* Whatever came, nothing more is expected; without the byte start_ms goes on. */
	seat_close(&seat->ready_fd);
	if (n == 1 && byte == '\n')
		seat_event(s, seat, CHILD_EVENT_SERVES);
}
