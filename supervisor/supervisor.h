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
#include "shm/weights.h"
#include "supervisor/child.h"
#include "workers/role.h"

struct listen_set;
struct notify;
struct rundir;

enum { SEAT_LIMITS = 3 }; /* kinds of faults that are limits of a process */

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
	int weights_fd;		      /* our end of a classifier's keeper socket; -1: none */
	uint64_t plan;		      /* of the weights that a classifier uses; 0: not one */
	bool weights_up;	      /* it has said hello */
	bool weights_waits;	      /* its requests wait for weights */
	bool weights_given;	      /* it was sent weights and has not said yet what it maps */
	uint32_t weights_maps;	      /* the generation it has mapped; 0: none */
	uint64_t since_ns;	      /* in this state */
	uint64_t started_ns, ready_ns;
	uint64_t deadline_ns; /* of this state; 0: none */
	/* faults on purpose */
	uint64_t frozen_until_ns; /* stopped by one; 0: not */
	uint32_t crashed;	  /* the generation that crash_loop has looked at */
	struct {
		uint64_t rule;	 /* 0: none */
		uint64_t before; /* the soft limit it had */
	} limited[SEAT_LIMITS];
};

/* When a rule's next round of signals is due. */
struct fault_watch {
	uint64_t id;
	uint64_t next_ns;
};

/* The weights of one model in one form, and who makes them. */
struct segment {
	uint64_t plan; /* config_hash_weights; 0: free */
	char name[NAME_MAX_LEN];
	char folder[256];
	int fd; /* -1: nothing is loaded */
	uint32_t generation; /* of fd */
	uint64_t bytes;
	uint64_t identity; /* of the folder when it was built */
	uint32_t last_generation; /* that anybody was told to build */
	unsigned loader; /* slot; SLOTS_MAX: nobody loads */
	uint64_t loader_identity;
	bool renew; /* wanted without anybody waiting: the files changed */
	bool renew_after; /* they changed while they were loaded: once more */
	uint32_t loads, failures, failures_in_row;
	uint64_t retry_ns; /* no load before that */
	uint64_t since_ns;
	uint32_t shown_state;
	char dtype[8], isa[16];
	char why[WEIGHTS_TEXT_MAX];
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
	struct segment segments[WEIGHTS_MAX]; /* in the order of the board's rows */
	int epoll_fd, signal_fd, timer_fd, null_fd;
	uint64_t random;	/* of the restart jitter */
	uint64_t slept_until_ns; /* when the last wait should have ended at the latest */
	uint64_t grace_until_ns; /* no heartbeat is missed before that: we were not running either */
	bool rows_changed;	/* workers must be woken before the next wait */
	bool unplaced;		/* a wanted worker found no free slot */
	bool load_failed;	/* of a model: it may lie elsewhere than a sandbox admits */
	bool announced;		/* READY=1 was sent */
	uint64_t faults_seq; /* of the board's fault table when it was copied; 0: none was ever set */
	struct fault_rules faults;
	struct fault_watch fault_watch[FAULTS_MAX];
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

/* keeper.c: the weights segments outlive the classifiers that use them; one loader at a time */
void keeper_init(struct supervisor *s);
void keeper_close(struct supervisor *s);
/* Before a start: our end in the seat, the worker's in *theirs (the caller's to close). */
MUST enum err_code keeper_open(struct seat *seat, int *theirs, struct err *e);
void keeper_assign(struct supervisor *s, struct seat *seat, const struct config_encoder *c);
void keeper_read(struct supervisor *s, struct seat *seat); /* its notes */
void keeper_seat_gone(struct supervisor *s, struct seat *seat); /* its process has ended */
void keeper_forget(struct supervisor *s, struct seat *seat); /* and no other will come */
void keeper_renew(struct supervisor *s); /* after a reload: load again what changed */
void keeper_act(struct supervisor *s);   /* try again what failed, where its delay is over */
uint64_t keeper_next(const struct supervisor *s, uint64_t next); /* when: the sooner of next (0: never) */

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
/* Wanted workers that found no slot before, successors of those whose model lies elsewhere now. */
void table_place_rest(struct supervisor *s);
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

/* fault.c: faults on purpose */
void fault_seed(struct supervisor *s); /* those of the config, before the first worker */
void fault_act(struct supervisor *s);
void fault_on_spawn(struct supervisor *s, struct seat *seat);
/* The sooner of next_ns (0: never) and what is due here. */
uint64_t fault_next(const struct supervisor *s, uint64_t next_ns);

/* check.c: `shuntd --check`; path as the user wrote it; returns the exit status */
int check_file(const char *path);
