/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_worker.c - a worker that speaks the supervisor's contract and behaves as a test tells it
 *
 * $SHUNT_FAKE/<its name> says how, one word: ready (default), never (no readiness byte), hang
 * (ready, then no heartbeat), crash (exits 3 at once), check (fails a CHECK after it was ready),
 * stubborn (ready, ignores SIGTERM). When it takes the config from the board it writes the
 * generation it saw and its open descriptors to $SHUNT_FAKE/<name>.<pid>.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/panic.h"
#include "shm/board.h"

enum { FD_READY = 3, FD_WAKE, FD_RO, FD_RW };

static volatile sig_atomic_t told_to_end;

static void
on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static void
read_mode(char mode[32], const char *name)
{
	char path[300];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", getenv("SHUNT_FAKE"), name);
	(void)snprintf(mode, 32, "ready");
	f = fopen(path, "r");
	if (f == NULL)
		return;
	if (fscanf(f, "%31s", mode) != 1)
		(void)snprintf(mode, 32, "ready");
	(void)fclose(f);
}

/* The descriptors that were open at the start: "0 1 2 3 ..." */
static void
list_fds(char *out, size_t size)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	out[0] = '\0';
	for (int fd = 0; dir != NULL && fd < 256; fd++) {
		char path[40], target[64];

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (fd != dirfd(dir) && readlink(path, target, sizeof(target)) > 0)
			n += (size_t)snprintf(out + n, size - n, "%s%d", n == 0 ? "" : " ", fd);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static void
report(const struct board *b, const char *name, const char *fds, const char *args)
{
	char path[400], tmp[400];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s.%d", getenv("SHUNT_FAKE"), name, getpid());
	(void)snprintf(tmp, sizeof(tmp), "%s/.tmp.%d", getenv("SHUNT_FAKE"), getpid());
	f = fopen(tmp, "w");
	if (f == NULL)
		_exit(9);
	(void)fprintf(f, "config=%llu fds=%s args=%s sid=%d\n",
		(unsigned long long)board_config_generation(b), fds, args, getsid(0) == getpid());
	(void)fclose(f);
	(void)rename(tmp, path);
}

/* Beat until told to end; on every wake-up, report. */
static void
serve(struct board *b, const char *name, const char *fds, const char *args, const char *mode)
{
	struct pollfd wake = {.fd = FD_WAKE, .events = POLLIN};
	uint64_t ticks;

	while (!told_to_end || strcmp(mode, "stubborn") == 0) {
		atomic_store(&board_own_row(b)->heartbeat_ns, clock_ns());
		if (poll(&wake, 1, 20) > 0 && read(FD_WAKE, &ticks, sizeof(ticks)) > 0)
			report(b, name, fds, args);
	}
}

int
main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_term};
	AUTO(board_close) struct board *b = NULL;
	struct slot_info info;
	char fds[600], args[100], mode[32];
	struct err e;
	unsigned slot;

	list_fds(fds, sizeof(fds));
	if (argc != 7)
		return 8;
	(void)snprintf(args, sizeof(args), "%s,%s,%s", argv[2], argv[4], argv[6]);
	slot = (unsigned)strtoul(argv[2], NULL, 10);
	if (board_attach(&b, FD_RO, FD_RW, slot, BOARD_SLOT_ONLY, &e) != ERR_OK) {
		(void)fprintf(stderr, "fake: %s\n", e.text);
		return 7;
	}
	(void)sigaction(SIGTERM, &sa, NULL);
	panic_attach(board_own_row(b)->last_words, LAST_WORDS_MAX);
	panic_catch_signals();
	board_slot(b, slot, &info);
	read_mode(mode, info.name);
	if (strcmp(mode, "crash") == 0)
		return 3;
	while (strcmp(mode, "never") == 0)
		(void)pause();
	report(b, info.name, fds, args);
	if (write(FD_READY, "\n", 1) != 1)
		return 6;
	CHECK(strcmp(mode, "check") != 0);
	while (strcmp(mode, "hang") == 0)
		(void)pause();
	serve(b, info.name, fds, args, mode);
	return 0;
}
