/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.h - the daemon's own process: seats for workers and what happens to them
 *
 * Private to supervisor/. One thread, one struct; every file below handles one part of it.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "lib/base/base.h"
#include "lib/base/err.h"
#include "shm/board.h"
#include "supervisor/child.h"
#include "workers/role.h"

struct listen_set;
struct notify;
struct rundir;

/* One slot of the board, seen from the process that fills it. */
struct seat {
	unsigned slot;
	enum child_state state;
	enum role role;
	char name[NAME_MAX_LEN];
	unsigned index;
	uint64_t hash;	     /* of the config it was started from */
	uint64_t files;	     /* which files that config's names stood for; 0: not all were there */
	bool wanted;	     /* by the config in force */
	bool fresh;	     /* not started since it was given to this worker */
	uint32_t generation; /* lives of the slot, whoever had it */
	uint32_t restarts;
	uint32_t failures; /* in a row */
	pid_t pid;
	int pidfd, ready_fd, wake_fd; /* -1: none */
	uint64_t since_ns;	      /* in this state */
	uint64_t started_ns, ready_ns;
	uint64_t deadline_ns; /* of this state; 0: none */
};

enum supervisor_phase { PHASE_RUNNING, PHASE_STOPPING, PHASE_DONE };

struct supervisor {
	char config_path[256]; /* absolute */
	struct config *config;
	struct board *board;
	struct rundir *rundir;
	struct listen_set *listen;
	struct notify *notify;
	char folder[256]; /* of the worker binaries */
	struct seat seats[SLOTS_MAX];
	int epoll_fd, signal_fd, timer_fd, null_fd;
	uint64_t random;	/* of the restart jitter */
	uint64_t slept_until_ns; /* when the last wait should have ended at the latest */
	uint64_t grace_until_ns; /* no heartbeat is missed before that: we were not running either */
	bool rows_changed;	/* workers must be woken before the next wait */
	bool unplaced;		/* a wanted worker found no free slot */
	bool announced;		/* READY=1 was sent */
	enum supervisor_phase phase;
	uint32_t stop_order; /* of the group that is stopping */
};

/* supervisor.c: the whole */
MUST enum err_code supervisor_new(struct supervisor **out, const char *config_path, struct err *e);
void supervisor_free(struct supervisor **s_p);
MUST enum err_code supervisor_run(struct supervisor *s, struct err *e); /* until stopped */
void supervisor_wake_workers(struct supervisor *s);
void supervisor_announce(struct supervisor *s); /* readiness and status to the service manager */

/* seat.c: carry out what child.c decides */
void seat_event(struct supervisor *s, struct seat *seat, enum child_event event);
void seat_assign(struct seat *seat, enum role role, const char *name, unsigned index, uint64_t hash);
void seat_collect(struct supervisor *s, struct seat *seat); /* if its process has ended: bury it */
void seat_read_ready(struct supervisor *s, struct seat *seat);
void seat_close_fds(struct seat *seat);

/* obituary.c: one line for each death */
void obituary_write(const struct supervisor *s, const struct seat *seat, const siginfo_t *si);

/* table.c: which workers the config wants, and getting there */
struct table_role {
	const char *name;
	unsigned fds;
	uint32_t stop_order;
};
const struct table_role *table_role(enum role role);
void table_reconcile(struct supervisor *s);
void table_place_rest(struct supervisor *s); /* wanted workers that found no slot before */
void table_retire_replaced(struct supervisor *s); /* those whose successor serves, or have none */

/* reload.c: another config while running */
void reload_run(struct supervisor *s);
void reload_log_faults(const char *path, const struct config_faults *faults, const struct err *e);

/* stop.c: the ordered end */
void stop_begin(struct supervisor *s);
void stop_now(struct supervisor *s);
void stop_advance(struct supervisor *s);

/* watch.c: what the process waits for */
MUST enum err_code watch_open(struct supervisor *s, struct err *e);
MUST enum err_code watch_seat(struct supervisor *s, struct seat *seat, struct err *e);
MUST enum err_code watch_turn(struct supervisor *s, struct err *e);

/* check.c: `shuntd --check`; path as the user wrote it; returns the exit status */
int check_file(const char *path);
