/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.c - the daemon's own process from start to end
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/listen.h"
#include "supervisor/notify.h"
#include "supervisor/rundir.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

static struct supervisor *
supervisor_alloc(void)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	keeper_init(s);
	s->epoll_fd = s->signal_fd = s->timer_fd = s->null_fd = -1;
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		s->seats[i].slot = i;
		s->seats[i].pidfd = s->seats[i].ready_fd = s->seats[i].wake_fd =
			s->seats[i].weights_fd = -1;
	}
	if (getrandom(&s->random, sizeof(s->random), 0) != sizeof(s->random))
		s->random = clock_ns();
	return s;
}

/* An absolute form of path, symbolic links left alone: whoever swaps one and sends SIGHUP means
 * the new target. */
static enum err_code
supervisor_set_path(struct supervisor *s, const char *path, struct err *e)
{
	AUTO(buf_fini) struct buf full = BUF_INIT;
	char folder[256];

	if (path[0] != '/') {
		if (getcwd(folder, sizeof(folder)) == NULL)
			return err_set(e, ERR_SYS, "current folder: %s", strerror(errno));
		buf_add_str(&full, folder);
		buf_add_char(&full, '/');
	}
	buf_add_str(&full, path);
	if (full.len >= sizeof(s->config_path))
		return err_set(e, ERR_CONFIG, "%s: the path is longer than %zu bytes", path,
			sizeof(s->config_path) - 1);
	memcpy(s->config_path, buf_str(&full), full.len + 1);
	return ERR_OK;
}

static enum err_code
supervisor_load_config(struct supervisor *s, struct buf *text, struct err *e)
{
	struct config_faults faults = {.len = 0};

	if (config_load(&s->config, text, s->config_path, &faults, e) == ERR_OK) {
		log_open("shuntd", s->config->log_level, s->config->log_format);
		return ERR_OK;
	}
	reload_log_faults(s->config_path, &faults, e);
	return e->code;
}

static enum err_code
supervisor_find_binaries(struct supervisor *s, struct err *e)
{
	for (enum role role = ROLE_NONE + 1; role < ROLES; role++)
		if (spawn_find_folder(s->folder, table_role(role)->name, e) != ERR_OK)
			return e->code;
	return ERR_OK;
}

/* What lies outside the process, in the order in which it can be given back. */
static enum err_code
supervisor_take_place(struct supervisor *s, const struct buf *text, struct err *e)
{
	struct listen_set *inherited = listen_inherit();
	enum err_code code;

	s->listen = inherited;
	if ((code = rundir_open(&s->rundir, s->config->run_dir, e)) != ERR_OK ||
		(code = listen_open(&s->listen, &inherited, s->config, e)) != ERR_OK)
		return code;
	if ((s->config->journal.enabled || s->config->prompt_log_bytes > 0) &&
		rundir_make_state(s->config->state_dir, e) != ERR_OK)
		return e->code;
	if ((code = board_create(&s->board, s->config->run_dir, e)) != ERR_OK)
		return code;
	return board_set_config(s->board, s->config_path, buf_str(text), text->len, e);
}

enum err_code
supervisor_new(struct supervisor **out, const char *config_path, struct err *e)
{
	AUTO(supervisor_free) struct supervisor *s = supervisor_alloc();
	AUTO(buf_fini) struct buf text = BUF_INIT;
	enum err_code code;

	s->notify = notify_new();
	if ((code = supervisor_set_path(s, config_path, e)) != ERR_OK ||
		(code = supervisor_load_config(s, &text, e)) != ERR_OK ||
		(code = supervisor_find_binaries(s, e)) != ERR_OK ||
		(code = supervisor_take_place(s, &text, e)) != ERR_OK)
		return code;
	s->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (s->null_fd < 0)
		return err_set(e, ERR_SYS, "/dev/null: %s", strerror(errno));
	/* Whatever a dead worker started comes to us and not to init. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_set(e, ERR_SYS, "subreaper: %s", strerror(errno));
	if ((code = watch_open(s, e)) != ERR_OK)
		return code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

void
supervisor_free(struct supervisor **s_p)
{
	struct supervisor *s = *s_p;
	int *fds[] = {s == NULL ? NULL : &s->epoll_fd, s == NULL ? NULL : &s->signal_fd,
		s == NULL ? NULL : &s->timer_fd, s == NULL ? NULL : &s->null_fd};

	if (s == NULL)
		return;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		seat_close_fds(&s->seats[i]);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
	keeper_close(s);
	listen_close(&s->listen);
	board_close(&s->board);
	rundir_close(&s->rundir);
	notify_free(&s->notify);
	config_free(&s->config);
	free(s);
	*s_p = NULL;
}

void
supervisor_wake_workers(struct supervisor *s)
{
	const uint64_t one = 1;

	if (!s->rows_changed)
		return;
	s->rows_changed = false;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		/* Fails only where the counter is full, and then the worker has it to read. */
		if (s->seats[i].wake_fd >= 0)
			(void)!write(s->seats[i].wake_fd, &one, sizeof(one));
}

struct supervisor_tally {
	unsigned wanted, ready; /* workers */
	unsigned needed, needed_ready; /* those without which nothing is served */
};

static struct supervisor_tally
supervisor_count(const struct supervisor *s)
{
	struct supervisor_tally t = {0, 0, 0, 0};

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		const struct seat *seat = &s->seats[i];
		bool ready = seat->state == CHILD_READY;

		if (seat->state == CHILD_EMPTY || !seat->wanted)
			continue;
		t.wanted++;
		t.ready += ready;
		/* A backend, a classifier or a recorder that does not start must not keep the
		 * others from serving: records wait in their rings. */
		if ((table_role(seat->role)->fds & (ROLE_EACH_BACKEND | FD_WEIGHTS | ROLE_STATE)) !=
			0)
			continue;
		t.needed++;
		t.needed_ready += ready;
	}
	return t;
}

void
supervisor_announce(struct supervisor *s)
{
	struct supervisor_tally t = supervisor_count(s);

	if (s->phase != PHASE_RUNNING) {
		notify_status(s->notify, "stopping");
		return;
	}
	notify_status(s->notify, "%u of %u workers ready", t.ready, t.wanted);
	if (s->announced || t.needed_ready < t.needed)
		return;
	s->announced = true;
	notify_ready(s->notify);
	log_info("ready", "workers=%u of=%u start_ms=%" PRIu64, t.ready, t.wanted,
		(clock_ns() - board_head(s->board)->started_ns) / NS_PER_MS);
}

enum err_code
supervisor_run(struct supervisor *s, struct err *e)
{
	log_info("starting", "version=%s pid=%d config=%s run_dir=%s", SHUNT_VERSION, getpid(),
		s->config_path, s->config->run_dir);
	listen_log(s->listen);
	fault_seed(s);
	table_reconcile(s);
	while (s->phase != PHASE_DONE)
		if (watch_turn(s, e) != ERR_OK)
			return e->code;
	log_info("stopped", "pid=%d", getpid());
	return ERR_OK;
}
