/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos.h - playing a scenario: its daemon, its clients, what is looked at
 *
 *   chaos_daemon.c  a daemon of its own in a temporary folder, and its end
 *   chaos_client.c  one request: what is sent, what comes
 *   chaos_load.c    all requests and faults of a plan, in time
 *   chaos_look.c    status, counters, journal
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/command.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"
#include "lib/chaos/chaos.h"

struct curl_slist;

struct chaos_daemon {
	bool own;	 /* started by us; else only url is said */
	struct buf home; /* temporary folder, "" with --url */
	struct buf url;	 /* where clients connect */
	struct buf socket; /* where an admin does; "" with --url */
	pid_t pid;	 /* 0: not running */
	int pidfd;
	int exit_status;	 /* after chaos_daemon_stop */
	unsigned processes_left; /* after it ended */
	uint64_t faults[CHAOS_STEPS_MAX]; /* ids of those that the run has set */
	size_t faults_len;
};

/* Memory and descriptors of all its processes. */
struct chaos_use {
	int64_t rss_kb, fds;
};

/* signal_fd becomes readable when the run shall end. ERR_SYS tells the daemon's last words. */
MUST enum err_code chaos_daemon_start(
	struct chaos_daemon *d, const struct chaos_scenario *s, int signal_fd, struct err *e);
/* End it, count what is left, end that too, remove its folder. Another's goes on without the faults
 * that the run has set. */
void chaos_daemon_stop(struct chaos_daemon *d);
/* Likewise; also a cleanup function. */
void chaos_daemon_fini(struct chaos_daemon *d);
struct chaos_use chaos_daemon_use(const struct chaos_daemon *d);
/* Wait on its process and the signals; true: it ended, or a signal came. */
bool chaos_daemon_wait(const struct chaos_daemon *d, int signal_fd, int timeout_ms);
/* The key of a user of the scenario. */
void chaos_daemon_key(struct buf *out, const char *user);

/* One answer as an admin; the HTTP status, 0: none. */
long chaos_ask(struct buf *answer, const struct chaos_daemon *d, const char *path);
/* End one fault. */
void chaos_ask_clear(const struct chaos_daemon *d, uint64_t fault);

/* A transfer that is under way; embedded in what chaos_load.c keeps. */
struct chaos_transfer {
	struct chaos_request *request; /* NULL: a step */
	const struct chaos_step *step;
	void *easy; /* CURL */
	struct curl_slist *headers;
	struct buf post, body; /* body: an answer's, or a stream's line that is not whole yet */
	bool is_events, has_left, told_error;
};
void chaos_client_open(struct chaos_transfer *t, const struct chaos_daemon *d,
	const struct chaos_load *l, struct chaos_request *r);
void chaos_client_open_step(
	struct chaos_transfer *t, const struct chaos_daemon *d, const struct chaos_step *step);
/* The transfer is over with this curl code: fill the request's outcome, free everything. */
void chaos_client_close(struct chaos_transfer *t, int code);

/* Play the plan; notes faults in *d. ERR_CANCELLED after a signal; ERR_INPUT where a step is refused. */
MUST enum err_code chaos_load_play(struct chaos_plan *p, struct chaos_seen *seen,
	const struct chaos_scenario *s, struct chaos_daemon *d, int signal_fd, struct err *e);

/* What came of faults, load and journal; waits until requests in flight are over and records are
 * stored, each a few seconds at most. */
void chaos_look_base(struct chaos_seen *seen, const struct chaos_daemon *d);
void chaos_look(struct chaos_seen *seen, const struct chaos_scenario *s,
	const struct chaos_plan *p, const struct chaos_daemon *d, int signal_fd);
/* Is every worker and every backend up? */
bool chaos_look_is_up(const struct chaos_daemon *d);
