/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.c - another config while running: all of it or nothing
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/listen.h"
#include "supervisor/notify.h"
#include "supervisor/rundir.h"
#include "supervisor/supervisor.h"

void
reload_log_faults(const char *path, const struct config_faults *faults, const struct err *e)
{
	if (faults->len == 0)
		log_error("config_fault", "at=%s text=\"%s\"", path, e->text);
	for (size_t i = 0; i < faults->len; i++)
		log_error("config_fault", "at=%s:%u text=\"%s\"", path, faults->rows[i].line,
			faults->rows[i].text);
	if (faults->more > 0)
		log_error("config_fault", "at=%s text=\"and %zu more\"", path, faults->more);
}

/* Everything that can fail, then everything that can't. */
static enum err_code
reload_try(struct supervisor *s, struct config_faults *faults, struct err *e)
{
	AUTO(config_free) struct config *next = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct listen_set *listen = NULL;
	struct config *old;

	faults->len = faults->more = 0;
	if (config_load(&next, &text, s->config_path, faults, e) != ERR_OK) {
		reload_log_faults(s->config_path, faults, e);
		return e->code;
	}
	if (strcmp(next->run_dir, s->config->run_dir) != 0)
		return err_set(e, ERR_CONFIG,
			"run_dir changed from %s to %s, which needs a restart", s->config->run_dir,
			next->run_dir);
	if ((next->journal.enabled || next->prompt_log_bytes > 0) &&
		rundir_make_state(next->state_dir, e) != ERR_OK)
		return e->code;
	if (listen_open(&listen, &s->listen, next, e) != ERR_OK)
		return e->code;
	s->listen = listen;
	/* Its limits were held when the file and the path were read. */
	CHECK(board_set_config(s->board, s->config_path, buf_str(&text), text.len, e) == ERR_OK);
	old = s->config;
	s->config = next;
	next = old; /* freed on return */
	return ERR_OK;
}

void
reload_run(struct supervisor *s)
{
	struct config_faults faults;
	struct err e = {.code = ERR_OK};

	if (s->phase != PHASE_RUNNING)
		return;
	/* Before the first READY=1 the manager waits for the start, not for a reload. */
	if (s->announced)
		notify_reloading(s->notify);
	if (reload_try(s, &faults, &e) == ERR_OK) {
		log_open("shuntd", s->config->log_level, s->config->log_format);
		listen_log(s->listen);
		s->rows_changed = true; /* the config on the board is another: wake everybody */
		s->grace_until_ns = clock_ns(); /* they beat by the old heartbeat_ms until then */
		table_reconcile(s);
		keeper_renew(s);
		log_info("reload_done", "file=%s generation=%" PRIu64, s->config_path,
			board_config_generation(s->board));
	} else {
		log_error("reload_refused", "file=%s text=\"%s\"", s->config_path, e.text);
	}
	if (s->announced)
		notify_ready(s->notify);
}
