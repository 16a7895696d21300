/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - what every worker process has: main, loop, board, config, bus, heartbeat, stop
 *
 * A role's file workers/<role>/<role>.c holds its state struct, its handler table, its
 * struct worker_role and a main() that is one call of worker_main.
 *
 * Inherited descriptors (nothing else is open): 0 /dev/null, 1 and 2 the log, 3 readiness pipe
 * (one byte '\n' when serving), 4 wake eventfd (the supervisor writes it whenever a slot row or the
 * config on the board changed), 5 and 6 the board read-only and read-write (closed once mapped),
 * 7.. the listening sockets (roles with FD_LISTEN) or 7 the socket to the keeper of weights
 * (FD_WEIGHTS, shm/weights.h).
 * Arguments: --slot N --generation N --listen COUNT.
 * Signals: SIGTERM = drain, then end (a second one ends at once). SIGKILL comes with the death of
 * the supervisor (PR_SET_PDEATHSIG).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/base/err.h"
#include "schemas/msg.h"
#include "shm/board.h"
#include "workers/common/bus.h"
#include "workers/common/loop.h"
#include "workers/common/sandbox.h"
#include "workers/role.h"

enum {
	WORKER_FD_READY = 3,
	WORKER_FD_WAKE = 4,
	WORKER_FD_BOARD_RO = 5,
	WORKER_FD_BOARD_RW = 6,
	WORKER_FD_LISTEN = 7,
	WORKER_FD_WEIGHTS = 7
};

/* Everything a role may use; lives from worker_main's start to its end. */
struct worker {
	enum role role;
	unsigned slot;
	uint32_t generation;
	char name[NAME_MAX_LEN]; /* from the slot row: "gateway-0", or the backend's name */
	unsigned index;
	struct board *board;
	struct loop *loop;
	struct bus *bus;
	const struct config *config; /* replaced on reload; copy nothing out of it that must stay */
	const struct config *first; /* the one of the start; lives as long as the worker */
	const int *listen_fds;
	unsigned listen_count;
	int weights_fd; /* roles with FD_WEIGHTS; else -1 */
	bool draining;
	struct worker_faults *faults; /* see faults.h */
	void *state; /* the role's own, set by start */
};

/* One message, verified, known, current and from an allowed role. payload may be NULL; to keep it,
 * take a reference (bytes_ref). m and payload live until the handler returns. */
typedef void handler_fn(struct worker *w, const struct msg *m, struct bytes *payload);

struct handler {
	enum msg_type type;
	unsigned senders; /* bit mask of ROLE_BIT() */
	handler_fn *fn;
};

struct worker_role {
	enum role role;
	const struct handler *handlers;
	size_t handlers_len;
	struct sandbox_spec sandbox;
	/* Open sockets, read keys, build state; sets w->state. Runs before the seccomp filter. */
	MUST enum err_code (*start)(struct worker *w, struct err *e);
	/* Some slot row changed: peers may have died or come; or the last words of a life that ended were
	 * heard (bus_hears). NULL: not interested. */
	void (*on_board)(struct worker *w);
	/* w->config is the new config, old is freed afterwards. NULL: not interested. */
	void (*on_config)(struct worker *w, const struct config *old);
	/* Take nothing new; call worker_drained when the last work is done. NULL: ends at once. */
	void (*on_drain)(struct worker *w);
	/* drain_ms is over: say to whom it concerns that what still runs is given up; what is sent here
	 * still goes out. NULL: not interested. */
	void (*on_drain_end)(struct worker *w);
	/* Free everything, w->state included; also after a failed start. */
	void (*stop)(struct worker *w);
};

/* The main function of every worker: returns its exit status. */
int worker_main(int argc, char **argv, const struct worker_role *role);

/* After on_drain: all work is done, end now. */
void worker_drained(struct worker *w);

/* Tell the supervisor that something for it stands on the board: it shares the descriptor that it
 * wakes this worker with, so this wakes both. */
void worker_ring(struct worker *w);

/* Give up: last words, one log line, exit status 1; the supervisor restarts the slot. */
_Noreturn void worker_fail(struct worker *w, const struct err *e);
