/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - fork and exec one worker with exactly the descriptors of workers/common/worker.h
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/listen.h"
#include "supervisor/spawn.h"

/* The contract's numbers: 0 null, 1 and 2 log, then these. */
enum { SPAWN_FD_READY = 3, SPAWN_FD_WAKE, SPAWN_FD_RO, SPAWN_FD_RW, SPAWN_FD_MORE };
enum { SPAWN_FDS_MAX = SPAWN_FD_MORE + LISTEN_MAX, SPAWN_EXIT = 127 };

struct spawn_pipes {
	int ready[2];
	int wake;
};

static void
spawn_pipes_close(struct spawn_pipes *p)
{
	for (int i = 0; i < 2; i++)
		if (p->ready[i] >= 0)
			(void)close(p->ready[i]);
	if (p->wake >= 0)
		(void)close(p->wake);
}

static enum err_code
spawn_pipes_open(struct spawn_pipes *p, struct err *e)
{
	if (pipe2(p->ready, O_CLOEXEC) < 0)
		return err_set(e, ERR_SYS, "pipe: %s", strerror(errno));
	if (fcntl(p->ready[0], F_SETFL, O_NONBLOCK) < 0)
		return err_set(e, ERR_SYS, "pipe: %s", strerror(errno));
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake < 0)
		return err_set(e, ERR_SYS, "eventfd: %s", strerror(errno));
	return ERR_OK;
}

/* In the child: leave the reason where the obituary finds it. */
static _Noreturn void
spawn_fail(const struct spawn_order *o, const char *what)
{
	(void)snprintf(o->last_words, o->last_words_size, "%s shunt-%s: %s", what, o->role,
		strerror(errno));
	_exit(SPAWN_EXIT);
}

/* In the child: put the descriptors where the contract wants them and close all others. They are
 * first copied above the range, because sources and places overlap. */
static void
spawn_place_fds(const struct spawn_order *o, const struct spawn_pipes *p)
{
	int fds[SPAWN_FDS_MAX] = {o->null_fd, STDERR_FILENO, STDERR_FILENO, p->ready[1], p->wake,
		o->board_ro, o->board_rw};
	int n = SPAWN_FD_MORE + (int)o->more_len;

	for (size_t i = 0; i < o->more_len; i++)
		fds[SPAWN_FD_MORE + i] = o->more_fds[i];
	for (int i = 0; i < n; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SPAWN_FDS_MAX);
		if (fds[i] < 0)
			spawn_fail(o, "descriptors of");
	}
	for (int i = 0; i < n; i++)
		if (dup2(fds[i], i) < 0)
			spawn_fail(o, "descriptors of");
	/* All that is left is close-on-exec anyway; this holds should one ever not be. */
	(void)close_range((unsigned)n, ~0U, 0);
}

/* In the child: nothing of the supervisor's signal set-up may stay, and a supervisor that is gone
 * takes the worker along. */
static void
spawn_reset_process(const struct spawn_order *o, pid_t supervisor)
{
	const struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		spawn_fail(o, "death signal of");
	if (getppid() != supervisor) /* it died before the line above */
		_exit(SPAWN_EXIT);
	/* OpenBLAS would start threads before main, which no sandbox and no signal mask of the
	 * worker's reaches; the encoder brings its own. */
	(void)setenv("OPENBLAS_NUM_THREADS", "1", 1);
	(void)sigemptyset(&none);
	(void)sigaction(SIGPIPE, &by_default, NULL);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* Ctrl-C in a terminal goes to the supervisor only, which drains. */
	(void)setsid();
}

static _Noreturn void
spawn_child(const struct spawn_order *o, const struct spawn_pipes *p, pid_t supervisor)
{
	char path[400], name[80], slot[16], generation[16], listen_count[16];
	char arg_slot[] = "--slot", arg_generation[] = "--generation", arg_listen[] = "--listen";
	char *argv[] = {
		name, arg_slot, slot, arg_generation, generation, arg_listen, listen_count, NULL};

	spawn_reset_process(o, supervisor);
	(void)snprintf(path, sizeof(path), "%s/shunt-%s", o->folder, o->role);
	(void)snprintf(name, sizeof(name), "shunt-%s", o->role);
	(void)snprintf(slot, sizeof(slot), "%u", o->slot);
	(void)snprintf(generation, sizeof(generation), "%u", o->generation);
	(void)snprintf(listen_count, sizeof(listen_count), "%zu", o->more_len);
	spawn_place_fds(o, p);
	(void)execv(path, argv);
	spawn_fail(o, "exec");
}

enum err_code
spawn_worker(struct spawn_result *out, const struct spawn_order *o, struct err *e)
{
	AUTO(spawn_pipes_close) struct spawn_pipes p = {{-1, -1}, -1};
	pid_t supervisor = getpid(), pid;
	int pidfd;

	CHECK(o->more_len <= LISTEN_MAX);
	if (spawn_pipes_open(&p, e) != ERR_OK)
		return ERR_SYS;
	pid = fork();
	if (pid < 0)
		return err_set(e, ERR_SYS, "fork: %s", strerror(errno));
	if (pid == 0)
		spawn_child(o, &p, supervisor);
	/* Not reaped yet, so the number is still this child's. */
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		(void)err_set(e, ERR_SYS, "pidfd_open: %s", strerror(errno));
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return ERR_SYS;
	}
	*out = (struct spawn_result){pid, pidfd, p.ready[0], p.wake};
	p.ready[0] = p.wake = -1;
	return ERR_OK;
}

static bool
spawn_has(const char *folder, const char *probe)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/shunt-%s", folder, probe);
	return access(path, X_OK) == 0;
}

enum err_code
spawn_find_folder(char out[256], const char *probe, struct err *e)
{
	const char *said = getenv("SHUNT_LIBEXEC");
	char self[200], *slash;
	ssize_t n;

	if (said != NULL && said[0] != '\0') {
		if (strlen(said) >= 256 || !spawn_has(said, probe))
			return err_set(
				e, ERR_SYS, "SHUNT_LIBEXEC=%s: no shunt-%s there", said, probe);
		(void)snprintf(out, 256, "%s", said);
		return ERR_OK;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0 || (size_t)n >= sizeof(self) - 1)
		return err_set(e, ERR_SYS, "/proc/self/exe: %s",
			n < 0 ? strerror(errno) : "path too long");
	self[n] = '\0';
	slash = strrchr(self, '/');
	CHECK(slash != NULL);
	*slash = '\0';
	(void)snprintf(out, 256, "%s", self);
	if (spawn_has(out, probe))
		return ERR_OK;
	(void)snprintf(out, 256, "%s/../libexec/shunt", self);
	if (spawn_has(out, probe))
		return ERR_OK;
	return err_set(e, ERR_SYS,
		"no shunt-%s in %s nor in %s (SHUNT_LIBEXEC names another folder)", probe, self,
		out);
}
