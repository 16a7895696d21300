/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - what every worker process has: main, loop, board, config, bus, heartbeat, stop
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/panic.h"
#include "workers/common/encoders.h"
#include "workers/common/faults.h"
#include "workers/common/heartbeat.h"
#include "workers/common/worker.h"

enum { LISTEN_MAX = 32, READABLE_MAX = 160 };

/* A worker and what only this file needs of it. */
struct life {
	struct worker w;
	const struct worker_role *role;
	struct config *config; /* what w.config points to */
	struct config *first; /* what w.first points to */
	uint64_t config_generation;
	struct heartbeat heartbeat;
	struct loop_fd wake;
	struct loop_fd signals;
	struct loop_timer drain_end;
	bool role_started; /* so that its stop is due */
	int listen_fds[LISTEN_MAX];
};

/* ---- reload, drain, stop ---- */

void
worker_drained(struct worker *w)
{
	loop_stop(w->loop);
}

void
worker_ring(struct worker *w)
{
	const uint64_t one = 1;

	(void)w;
	/* Fails only where the counter is full, and then everybody has it to read. */
	(void)!write(WORKER_FD_WAKE, &one, sizeof(one));
}

static void
life_last_words(struct life *l, const struct err *e)
{
	if (l->w.board != NULL) {
		char *words = board_own_row(l->w.board)->last_words;

		(void)snprintf(words, LAST_WORDS_MAX, "%s", e->text);
	}
	log_error("worker_failed", "code=%s text=\"%s\"", err_name(e->code), e->text);
}

_Noreturn void
worker_fail(struct worker *w, const struct err *e)
{
	/* w is the first member: every worker is part of a life. */
	life_last_words((struct life *)w, e);
	/* Not exit(): ZeroMQ's threads still run, nothing may be torn down under them. */
	_exit(EXIT_FAILURE);
}

static void
life_on_drain_end(void *arg)
{
	struct life *l = arg;

	log_warn("drain_deadline", "after_ms=%u, ending with work unfinished", l->config->drain_ms);
	if (l->role->on_drain_end != NULL)
		l->role->on_drain_end(&l->w);
	loop_stop(l->w.loop);
}

static void
life_on_signal(void *arg, uint32_t events)
{
	struct life *l = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(l->signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (l->w.draining || l->role->on_drain == NULL) {
		loop_stop(l->w.loop);
		return;
	}
	log_debug("worker_draining", "limit_ms=%u", l->config->drain_ms);
	l->w.draining = true;
	loop_timer_set(l->w.loop, &l->drain_end, clock_ns() + clock_ms_to_ns(l->config->drain_ms));
	l->role->on_drain(&l->w);
}

/* Parse the config that now stands on the board. */
static MUST enum err_code
life_read_config(struct life *l, struct config **out, struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char path[256];

	l->config_generation = board_config(l->w.board, &text, path);
	if (l->config_generation == 0)
		return err_set(e, ERR_CONFIG, "there is no config on the board");
	return config_parse(out, path, buf_str(&text), text.len, NULL, e);
}

static void
life_use_config(struct life *l, struct config *config)
{
	l->config = config;
	l->w.config = config;
	log_set(config->log_level, config->log_format);
	atomic_store(&board_own_row(l->w.board)->config_seen, l->config_generation);
}

static void
life_reload(struct life *l)
{
	struct config *fresh, *old = l->config;
	struct err e;

	/* The supervisor has accepted this text, so this fails only where we are broken. */
	if (life_read_config(l, &fresh, &e) != ERR_OK) {
		log_error("config_refused", "kept the old one: %s", e.text);
		return;
	}
	life_use_config(l, fresh);
	if (l->heartbeat.loop != NULL)
		heartbeat_set_limit(&l->heartbeat, fresh->heartbeat_ms);
	if (l->role->on_config != NULL)
		l->role->on_config(&l->w, old);
	if (old != l->first)
		config_free(&old);
}

static void
life_on_wake(void *arg, uint32_t events)
{
	struct life *l = arg;
	uint64_t count;

	(void)events;
	if (read(l->wake.fd, &count, sizeof(count)) != sizeof(count) && errno != EAGAIN)
		return;
	if (board_config_generation(l->w.board) != l->config_generation)
		life_reload(l);
	bus_board_changed(l->w.bus);
	if (l->role->on_board != NULL)
		l->role->on_board(&l->w);
}

/* The last words of a life that ended were heard. */
static void
life_on_heard(void *arg)
{
	struct life *l = arg;

	if (l->role->on_board != NULL)
		l->role->on_board(&l->w);
}

/* ---- start ---- */

static MUST enum err_code
life_number(
	unsigned long *out, const char *name, const char *text, unsigned long max, struct err *e)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || v > max)
		return err_set(e, ERR_INPUT, "%s: %s is no number from 0 to %lu", name, text, max);
	*out = v;
	return ERR_OK;
}

/* The fds column of worker_list.h. */
static unsigned
role_flags(enum role role)
{
	static const unsigned rows[ROLES] = {
#define WORKER(symbol, name, calls, fds, stop_order) [ROLE_##symbol] = (fds),
#include "workers/worker_list.h"
#undef WORKER
	};

	CHECK(role < ROLES);
	return rows[role];
}

static MUST enum err_code
life_arguments(struct life *l, int argc, char **argv, struct err *e)
{
	unsigned long slot = SLOTS_MAX, generation = 0, listen = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		enum err_code code = ERR_INPUT;

		if (strcmp(argv[i], "--slot") == 0)
			code = life_number(&slot, argv[i], argv[i + 1], SLOTS_MAX - 1, e);
		else if (strcmp(argv[i], "--generation") == 0)
			code = life_number(&generation, argv[i], argv[i + 1], UINT32_MAX, e);
		else if (strcmp(argv[i], "--listen") == 0)
			code = life_number(&listen, argv[i], argv[i + 1], LISTEN_MAX, e);
		else
			(void)err_set(e, ERR_INPUT, "unknown argument %s", argv[i]);
		if (code != ERR_OK)
			return code;
	}
	if (argc % 2 == 0 || slot == SLOTS_MAX || generation == 0)
		return err_set(e, ERR_INPUT,
			"started by shuntd only: --slot N --generation N --listen COUNT");
	l->w.slot = (unsigned)slot;
	l->w.generation = (uint32_t)generation;
	l->w.weights_fd = -1;
	if ((role_flags(l->role->role) & FD_WEIGHTS) != 0 && listen > 0) {
		l->w.weights_fd = WORKER_FD_WEIGHTS;
		listen = 0;
	}
	l->w.listen_count = (unsigned)listen;
	l->w.listen_fds = l->listen_fds;
	for (unsigned i = 0; i < l->w.listen_count; i++)
		l->listen_fds[i] = WORKER_FD_LISTEN + (int)i;
	return ERR_OK;
}

/* SIGTERM is read from a descriptor; what a terminal sends to the whole group is the supervisor's.
 * Comes before any thread, which inherits the mask. */
static MUST enum err_code
life_signals(struct life *l, struct err *e)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t mask;

	(void)sigaction(SIGHUP, &ignore, NULL);
	(void)sigaction(SIGINT, &ignore, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGXFSZ, &ignore, NULL); /* a limit on files is an error like any other */
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	if (sigprocmask(SIG_SETMASK, &mask, NULL) != 0)
		return err_set(e, ERR_SYS, "sigprocmask: %s", strerror(errno));
	l->signals.fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signals.fd < 0)
		return err_set(e, ERR_SYS, "signalfd: %s", strerror(errno));
	return ERR_OK;
}

static enum board_access
role_access(enum role role)
{
	return (role_flags(role) & ROLE_PROFILES) != 0 ? BOARD_SLOT_AND_PROFILES : BOARD_SLOT_ONLY;
}

static MUST enum err_code
life_board(struct life *l, struct err *e)
{
	struct slot_info info;

	if (board_attach(&l->w.board, WORKER_FD_BOARD_RO, WORKER_FD_BOARD_RW, l->w.slot,
		    role_access(l->role->role), e) != ERR_OK)
		return e->code;
	(void)close(WORKER_FD_BOARD_RO);
	(void)close(WORKER_FD_BOARD_RW);
	/* The death signal set first thing is lost where the supervisor died even before that. */
	if ((uint32_t)getppid() != board_head(l->w.board)->supervisor_pid)
		return err_set(e, ERR_SYS, "the supervisor is gone");
	panic_attach(board_own_row(l->w.board)->last_words, LAST_WORDS_MAX);
	panic_catch_signals();
	board_slot(l->w.board, l->w.slot, &info);
	if (info.role != (uint32_t)l->role->role || info.generation != l->w.generation)
		return err_set(e, ERR_SYS, "slot %u is role %u generation %u, not %u generation %u",
			l->w.slot, info.role, info.generation, (unsigned)l->role->role,
			l->w.generation);
	l->w.index = info.index;
	(void)snprintf(l->w.name, sizeof(l->w.name), "%.*s", NAME_MAX_LEN - 1, info.name);
	log_open(l->w.name, LOG_INFO, LOG_TEXT);
	heartbeat_init(&l->heartbeat, l->w.board);
	return ERR_OK;
}

/* Add the folders of scorer files, and those in which they really lie where names are links; those
 * that come with shunt lie in one of their own. texts and targets hold the paths. */
static size_t
life_scorer_folders(
	const struct config *c, const char **paths, struct buf *texts, struct buf *targets)
{
	struct config_folder folders[CONFIG_SCORER_FOLDERS_MAX];
	AUTO(buf_fini) struct buf shipped = BUF_INIT;
	size_t len = config_scorer_folders(folders, ARRAY_LEN(folders), c), n = 0, at = 0;
	size_t real = config_scorer_targets(targets, c), room = 0;

	for (size_t i = 0; i < len; i++)
		room += folders[i].len + 1;
	if (file_shipped(&shipped, "scorer"))
		room += shipped.len + 1;
	/* once, so that the paths stay where they are */
	buf_reserve(texts, room);
	for (size_t i = 0; i < len; i++) {
		paths[n++] = texts->data + at;
		buf_add(texts, folders[i].path, folders[i].len);
		buf_add_char(texts, '\0');
		at = texts->len;
	}
	if (shipped.len > 0) {
		paths[n++] = texts->data + at;
		buf_add_str(texts, buf_str(&shipped));
	}
	at = 0;
	for (size_t i = 0; i < real; i++) {
		paths[n++] = targets->data + at;
		at += strlen(targets->data + at) + 1;
	}
	return n;
}

/* The folder of a file of client keys, and the one in which it really lies where that name is a
 * link. */
static size_t
life_key_folders(const char *file, const char **paths, char texts[2][PATH_MAX])
{
	if (file == NULL)
		return 0;
	(void)snprintf(texts[0], PATH_MAX, "%s", file);
	paths[0] = dirname(texts[0]);
	if (realpath(file, texts[1]) == NULL)
		return 1;
	paths[1] = dirname(texts[1]);
	return 2;
}

/* Everything this worker may want to read later: the system's tables where it connects, and the key
 * and certificate files that the config gives to it and to nobody else. */
static MUST enum err_code
life_sandbox_early(struct life *l, struct err *e)
{
	static const char *const library_paths[] = {"/usr/lib", "/lib", "/lib64"};
	static const char *const system_paths[] = {"/etc", "/usr/share/ca-certificates",
		"/usr/local/share/ca-certificates", "/run/systemd/resolve", "/run/nscd",
		"/usr/share/zoneinfo"};
	const struct config_backend *own = config_backend(l->config, l->w.name);
	const struct sandbox_spec *spec = &l->role->sandbox;
	bool names = (spec->allow & SANDBOX_FILES) && (spec->allow & SANDBOX_CONNECT);
	AUTO(buf_fini) struct buf model = BUF_INIT, scorers = BUF_INIT, targets = BUF_INIT;
	char keys[2][PATH_MAX], admin[2][PATH_MAX];
	const char *paths[READABLE_MAX] = {NULL};
	bool keeps;
	size_t n = 0;

	/* name service modules; OpenBLAS */
	if (names || (spec->allow & SANDBOX_MODEL))
		for (size_t i = 0; i < ARRAY_LEN(library_paths); i++)
			paths[n++] = library_paths[i];
	/* for names and certificates of upstreams; in /etc may lie their keys, too */
	if (names)
		for (size_t i = 0; i < ARRAY_LEN(system_paths); i++)
			paths[n++] = system_paths[i];
	if ((spec->allow & SANDBOX_CONNECT) && own != NULL && own->key_file != NULL)
		paths[n++] = own->key_file;
	if ((spec->allow & SANDBOX_CONNECT) && own != NULL && own->ca_file != NULL)
		paths[n++] = own->ca_file;
	/* Client keys are read again at a reload, when the file may be another one of that name. */
	if (spec->allow & SANDBOX_ACCEPT) {
		n += life_key_folders(l->config->auth.keys_file, paths + n, keys);
		n += life_key_folders(l->config->auth.admin_keys_file, paths + n, admin);
	}
	if (spec->allow & SANDBOX_ACCEPT)
		n += life_scorer_folders(l->config, paths + n, &scorers, &targets);
	if (spec->allow & SANDBOX_MODEL)
		n += encoders_paths(&model, paths + n, READABLE_MAX - n - 1,
			config_encoder_of(l->config, l->w.name));
	CHECK(n < READABLE_MAX);
	/* a gateway opens its prompt log at the start */
	keeps = (spec->allow & SANDBOX_STATE) != 0 ||
		((spec->allow & SANDBOX_ACCEPT) != 0 && l->config->prompt_log_bytes > 0);
	return sandbox_enter_early(spec, board_head(l->w.board)->run_dir,
		keeps ? l->config->state_dir : NULL, paths, e);
}

/* Keep the whole request path on the first allowed core: a wake-up there is 10 times cheaper than
 * one on another core (PERF 3). Before any thread, which inherits it. */
static void
life_pin(void)
{
	cpu_set_t allowed, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_SET(cpu, &one);
		break;
	}
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		log_warn("pin_failed", "not pinned to a core: %s", strerror(errno));
}

static MUST enum err_code
life_loop(struct life *l, struct err *e)
{
	struct worker *w = &l->w;

	if (loop_new(&w->loop, e) != ERR_OK)
		return e->code;
	if (l->role->sandbox.allow & (SANDBOX_ACCEPT | SANDBOX_CONNECT))
		loop_set_spin(w->loop, (uint64_t)l->config->spin_us * NS_PER_US);
	l->drain_end = (struct loop_timer){.fn = life_on_drain_end, .arg = l};
	l->wake = (struct loop_fd){
		.fn = life_on_wake, .arg = l, .fd = WORKER_FD_WAKE, .events = EPOLLIN};
	l->signals = (struct loop_fd){
		.fn = life_on_signal, .arg = l, .fd = l->signals.fd, .events = EPOLLIN};
	if (loop_add(w->loop, &l->wake, e) != ERR_OK || loop_add(w->loop, &l->signals, e) != ERR_OK)
		return e->code;
	if (bus_new(&w->bus, w, l->role->handlers, l->role->handlers_len, e) != ERR_OK)
		return e->code;
	bus_on_heard(w->bus, life_on_heard, l);
	return ERR_OK;
}

static MUST enum err_code
life_start(struct life *l, int argc, char **argv, struct err *e)
{
	struct config *config;

	if (life_arguments(l, argc, argv, e) != ERR_OK || life_signals(l, e) != ERR_OK ||
		life_board(l, e) != ERR_OK || life_read_config(l, &config, e) != ERR_OK)
		return e->code;
	life_use_config(l, config);
	l->first = config;
	l->w.first = config;
	if (config->pin_cpus && (l->role->sandbox.allow & (SANDBOX_ACCEPT | SANDBOX_CONNECT)))
		life_pin();
	if (life_sandbox_early(l, e) != ERR_OK || life_loop(l, e) != ERR_OK)
		return e->code;
	l->role_started = true;
	if (l->role->start(&l->w, e) != ERR_OK)
		return e->code;
	if (sandbox_enter_late(&l->role->sandbox, e) != ERR_OK)
		return e->code;
	heartbeat_start(&l->heartbeat, &l->w, config->heartbeat_ms);
	if (write(WORKER_FD_READY, "\n", 1) != 1)
		return err_set(e, ERR_SYS, "readiness pipe: %s", strerror(errno));
	(void)close(WORKER_FD_READY);
	log_debug("worker_ready", "pid=%d generation=%u", (int)getpid(), l->w.generation);
	return ERR_OK;
}

static void
life_end(struct life *l)
{
	if (l->w.loop != NULL) {
		if (l->role_started && l->role->stop != NULL)
			l->role->stop(&l->w);
		bus_free(&l->w.bus);
		heartbeat_fini(&l->heartbeat);
		loop_remove(l->w.loop, &l->wake);
		loop_remove(l->w.loop, &l->signals);
		loop_free(&l->w.loop);
	}
	faults_free(&l->w);
	if (l->first != l->config)
		config_free(&l->first);
	config_free(&l->config);
	panic_attach(NULL, 0);
	board_close(&l->w.board);
}

int
worker_main(int argc, char **argv, const struct worker_role *role)
{
	struct life *l = calloc(1, sizeof(*l));
	int status = EXIT_SUCCESS;
	struct err e;

	CHECK(l != NULL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* What one thread allocates another frees here; an arena for each would only keep more. */
	(void)mallopt(M_ARENA_MAX, 1);
	l->role = role;
	l->w.role = role->role;
	if (life_start(l, argc, argv, &e) == ERR_OK) {
		loop_run(l->w.loop);
		log_debug("worker_ended", "pid=%d", (int)getpid());
	} else {
		life_last_words(l, &e);
		status = EXIT_FAILURE;
	}
	life_end(l);
	free(l);
	return status;
}
