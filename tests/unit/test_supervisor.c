/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_supervisor.c - the real shuntd with workers that misbehave on demand
 *
 * Each test has a folder of its own with a config, the modes of the fake workers, and the daemon's
 * log, in which it waits for events. The daemon dies with the test (PDEATHSIG).
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"

enum { DEADLINE_S = 10 };

static char folder[100]; /* of this test */
static char build_folder[320]; /* where shuntd lies */
static pid_t daemon_pid = -1;
static struct buf seen = BUF_INIT; /* the log so far */
static int log_fd = -1;

static void PRINTF(2, 3) write_file(const char *name, const char *fmt, ...)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	va_list ap;
	FILE *f;

	buf_addf(&path, "%s/%s", folder, name);
	f = fopen(buf_str(&path), "w");
	cr_assert_not_null(f);
	va_start(ap, fmt);
	(void)vfprintf(f, fmt, ap);
	va_end(ap);
	(void)fclose(f);
}

static void
write_config(const char *listen, const char *more)
{
	write_file("shunt.yaml",
		"listen: [%s]\nrun_dir: %s/run\nstart_ms: 400\nheartbeat_ms: 400\ndrain_ms: 500\n"
		"restart: {delay_ms: 10, delay_max_ms: 160, healthy_ms: 300}\n"
		"journal: {enabled: no}\n%s",
		listen, folder, more);
}

#define ONE_BACKEND "gateways: 2\nbackends:\n  - {name: one, kind: sim}\n"
#define TWO_BACKENDS ONE_BACKEND "  - {name: two, kind: sim}\n"
#define ANY_PORT "\"127.0.0.1:0\""

static void
set_up(void)
{
	static const char *const roles[] = {
#define WORKER(symbol, name, calls, fds, stop_order) #name,
#include "workers/worker_list.h"
#undef WORKER
	};
	AUTO(buf_fini) struct buf target = BUF_INIT;
	char self[300];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	cr_assert_gt(n, 0);
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	buf_addf(&target, "%s/fake_worker", self);
	(void)snprintf(build_folder, sizeof(build_folder), "%s/../..", self);
	(void)snprintf(folder, sizeof(folder), "/tmp/shunt-test-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		AUTO(buf_fini) struct buf link = BUF_INIT;

		buf_addf(&link, "%s/shunt-%s", folder, roles[i]);
		cr_assert_eq(symlink(buf_str(&target), buf_str(&link)), 0);
	}
	(void)setenv("SHUNT_LIBEXEC", folder, 1);
	(void)setenv("SHUNT_FAKE", folder, 1);
	write_config(ANY_PORT, ONE_BACKEND);
}

/* Start shuntd; its log goes to a pipe. fds: what a service manager would pass from 3 on, or -1. */
static void
start_daemon(int passed_fd)
{
	AUTO(buf_fini) struct buf program = BUF_INIT, config = BUF_INIT;
	int pipes[2];

	buf_addf(&program, "%s/shuntd", build_folder);
	buf_addf(&config, "%s/shunt.yaml", folder);
	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	daemon_pid = fork();
	cr_assert_geq(daemon_pid, 0);
	if (daemon_pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(pipes[1], STDERR_FILENO);
		if (passed_fd >= 0) {
			char pid[16];

			(void)snprintf(pid, sizeof(pid), "%d", getpid());
			(void)setenv("LISTEN_PID", pid, 1);
			(void)setenv("LISTEN_FDS", "1", 1);
			if (passed_fd == 3)
				(void)fcntl(3, F_SETFD, 0);
			else
				(void)dup2(passed_fd, 3);
		}
		(void)execl(buf_str(&program), "shuntd", "-c", buf_str(&config), (char *)NULL);
		_exit(126);
	}
	(void)close(pipes[1]);
	log_fd = pipes[0];
}

/* Read the log until a line holds every one of up to three words; returns that line. */
static char *
wait_line(const char *a, const char *b, const char *c)
{
	static size_t read_upto;
	static char line[2000];
	uint64_t until = clock_ns() + DEADLINE_S * NS_PER_S;
	struct pollfd p = {.fd = log_fd, .events = POLLIN};
	char chunk[4096];

	for (;;) {
		const char *start = buf_str(&seen) + read_upto, *end;

		while ((end = strchr(start, '\n')) != NULL) {
			(void)snprintf(line, sizeof(line), "%.*s", (int)(end - start), start);
			start = end + 1;
			read_upto = (size_t)(start - buf_str(&seen));
			if (strstr(line, a) && strstr(line, b) && strstr(line, c))
				return line;
		}
		cr_assert_lt(clock_ns(), until, "no line with %s %s %s in:\n%s", a, b, c,
			buf_str(&seen));
		if (poll(&p, 1, 1000) > 0) {
			ssize_t n = read(log_fd, chunk, sizeof(chunk));

			cr_assert_gt(n, 0, "the daemon ended; no line with %s %s %s in:\n%s", a, b,
				c, buf_str(&seen));
			buf_add(&seen, chunk, (size_t)n);
		}
	}
}

static unsigned
count_lines(const char *a, const char *b)
{
	unsigned n = 0;
	const char *end;

	for (const char *p = buf_str(&seen); (end = strchr(p, '\n')) != NULL; p = end + 1) {
		char line[2000];

		(void)snprintf(line, sizeof(line), "%.*s", (int)(end - p), p);
		n += strstr(line, a) != NULL && strstr(line, b) != NULL;
	}
	return n;
}

static long
number_in(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	cr_assert_not_null(at, "no %s in %s", key, line);
	return strtol(at + strlen(key), NULL, 10);
}

/* All four workers of the first config, and the daemon as a whole. */
static void
wait_all_ready(void)
{
	for (int i = 0; i < 5; i++)
		(void)wait_line("ready ", "", "");
}

static int
end_status(void)
{
	char chunk[4096];
	ssize_t n;
	int status = 0;

	while ((n = read(log_fd, chunk, sizeof(chunk))) > 0)
		buf_add(&seen, chunk, (size_t)n);
	cr_assert_eq(waitpid(daemon_pid, &status, 0), daemon_pid);
	daemon_pid = -1;
	return status;
}

static void
stop_daemon(void)
{
	int status;

	cr_assert_eq(kill(daemon_pid, SIGTERM), 0);
	status = end_status();
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x log:\n%s",
		(unsigned)status, buf_str(&seen));
}

static void
tear_down(void)
{
	AUTO(buf_fini) struct buf command = BUF_INIT;
	DIR *dir;
	struct dirent *entry;

	if (daemon_pid > 0) {
		(void)kill(daemon_pid, SIGKILL);
		(void)waitpid(daemon_pid, NULL, 0);
	}
	buf_addf(&command, "%s/run/bus", folder);
	(void)rmdir(buf_str(&command));
	buf_clear(&command);
	for (int pass = 0; pass < 2; pass++) {
		buf_clear(&command);
		buf_addf(&command, "%s%s", folder, pass == 0 ? "/run" : "");
		dir = opendir(buf_str(&command));
		while (dir != NULL && (entry = readdir(dir)) != NULL)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		if (dir != NULL)
			(void)closedir(dir);
		(void)rmdir(buf_str(&command));
	}
	buf_fini(&seen);
	if (log_fd >= 0)
		(void)close(log_fd);
}

TestSuite(supervisor, .init = set_up, .fini = tear_down, .timeout = 60);

static bool
exists(const char *name)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

/* What the fake worker of that name and pid reported, once it contains `want`. */
static void
wait_report(const char *name, long pid, const char *want)
{
	uint64_t until = clock_ns() + DEADLINE_S * NS_PER_S;
	char path[300], text[1000] = "";

	(void)snprintf(path, sizeof(path), "%s/%s.%ld", folder, name, pid);
	while (clock_ns() < until) {
		FILE *f = fopen(path, "r");

		if (f != NULL) {
			if (fgets(text, sizeof(text), f) == NULL)
				text[0] = '\0';
			(void)fclose(f);
			if (strstr(text, want) != NULL)
				return;
		}
		(void)usleep(5000);
	}
	cr_assert(false, "%s: no `%s` in: %s", path, want, text);
}

Test(supervisor, starts_all_and_stops_them_in_order_leaving_nothing)
{
	start_daemon(-1);
	wait_all_ready();
	cr_assert(exists("run/shuntd.pid") && exists("run/bus") && exists("run/shunt.sock"));
	stop_daemon();
	cr_assert_not(exists("run"), "run_dir is left behind");
	cr_assert_eq(count_lines("worker_ended", ""), 4);
	{
		const char *log = buf_str(&seen);
		const char *gateway = strstr(log, "worker_ended role=gateway");
		const char *profiler = strstr(log, "worker_draining role=profiler");
		const char *backend = strstr(log, "worker_draining role=backend");
		const char *profiler_end = strstr(log, "worker_ended role=profiler");

		cr_assert(gateway && profiler && backend && profiler_end);
		cr_assert(gateway < profiler && profiler_end < backend);
	}
}

/* A gateway that served before the last backend was started refused requests for it with 503. */
Test(supervisor, backends_are_started_before_the_gateways_that_ask_them)
{
	const char *backend, *gateway;

	start_daemon(-1);
	wait_all_ready();
	stop_daemon();
	backend = strstr(buf_str(&seen), "worker_started role=backend");
	gateway = strstr(buf_str(&seen), "worker_started role=gateway");
	cr_assert(backend && gateway && backend < gateway);
	cr_assert_null(strstr(gateway, "worker_started role=backend"));
}

Test(supervisor, a_worker_has_exactly_its_declared_descriptors)
{
	long gateway, backend;

	start_daemon(-1);
	gateway = number_in(wait_line("worker_ready", "name=gateway-1", ""), "pid=");
	(void)wait_line(" ready ", "workers=", "");
	wait_report("gateway-1", gateway, "fds=0 1 2 3 4 5 6 7 8 args=1,1,2 sid=1");
	stop_daemon();
	backend = number_in(strstr(buf_str(&seen), "worker_started role=backend"), "pid=");
	wait_report("one", backend, "fds=0 1 2 3 4 5 6 args=3,1,0 sid=1");
}

Test(supervisor, a_killed_worker_is_back_and_the_others_keep_their_pids)
{
	char *line;
	long first, second;

	start_daemon(-1);
	first = number_in(wait_line("worker_ready", "name=one", ""), "pid=");
	cr_assert_eq(kill((pid_t)first, SIGKILL), 0);
	line = wait_line("worker_died", "name=one", "cause=signal:SIGKILL");
	cr_assert_eq(number_in(line, "pid="), first);
	line = wait_line("worker_ready", "name=one", "generation=2");
	second = number_in(line, "pid=");
	cr_assert_neq(first, second);
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", "role=gateway"), 2);
	cr_assert_eq(count_lines("worker_died", ""), 1);
}

Test(supervisor, a_failed_check_leaves_its_words_in_one_line)
{
	write_file("one", "check");
	start_daemon(-1);
	(void)wait_line("worker_died", "name=one", "check failed: strcmp(mode");
	cr_assert(strstr(buf_str(&seen), "cause=signal:SIGABRT"));
	stop_daemon();
}

Test(supervisor, a_hung_worker_is_killed_and_comes_back)
{
	write_file("one", "hang");
	start_daemon(-1);
	(void)wait_line("worker_ready", "name=one", "");
	write_file("one", "ready");
	(void)wait_line("worker_hung", "name=one", "");
	(void)wait_line("worker_died", "name=one", "signal:SIGKILL");
	(void)wait_line("worker_ready", "name=one", "generation=2");
	stop_daemon();
	cr_assert_eq(count_lines("worker_hung", ""), 1);
}

Test(supervisor, a_stopped_worker_is_killed_and_comes_back)
{
	long pid;

	start_daemon(-1);
	pid = number_in(wait_line("worker_ready", "name=gateway-0", ""), "pid=");
	cr_assert_eq(kill((pid_t)pid, SIGSTOP), 0);
	(void)wait_line("worker_hung", "name=gateway-0", "");
	(void)wait_line("worker_ready", "name=gateway-0", "generation=2");
	stop_daemon();
}

Test(supervisor, one_that_never_says_ready_is_killed_and_blocks_nobody)
{
	write_file("one", "never");
	start_daemon(-1);
	(void)wait_line(" ready ", "workers=3 of=4", "");
	(void)wait_line("worker_late", "name=one", "");
	write_file("one", "ready");
	(void)wait_line("worker_ready", "name=one", "");
	stop_daemon();
}

Test(supervisor, a_crash_loop_slows_down_up_to_the_cap_and_a_healthy_life_resets_it)
{
	long last = 0, delay = 0, pid;
	unsigned at_cap = 0;

	write_file("one", "crash");
	start_daemon(-1);
	while (at_cap < 3) {
		delay = number_in(wait_line("worker_restarting", "name=one", ""), "delay_ms=");
		cr_assert_leq(delay, 160);
		if (delay < 120)
			cr_assert_gt(delay, last);
		at_cap += delay >= 120;
		last = delay;
	}
	write_file("one", "ready");
	pid = number_in(wait_line("worker_ready", "name=one", ""), "pid=");
	(void)usleep(400 * 1000); /* the healthy period itself */
	cr_assert_eq(kill((pid_t)pid, SIGKILL), 0);
	delay = number_in(wait_line("worker_restarting", "name=one", ""), "delay_ms=");
	cr_assert_leq(delay, 10);
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", "role=gateway"), 2);
	cr_assert_eq(count_lines("worker_started", "role=profiler"), 1);
}

Test(supervisor, a_missing_program_is_named_at_the_start)
{
	char path[300];
	int status;

	(void)snprintf(path, sizeof(path), "%s/shunt-profiler", folder);
	cr_assert_eq(unlink(path), 0);
	start_daemon(-1);
	status = end_status();
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	cr_assert_not_null(strstr(buf_str(&seen), "no shunt-profiler there"));
	cr_assert_not(exists("run"));
}

Test(supervisor, reload_adds_one_and_keeps_the_others_running)
{
	long pid;

	start_daemon(-1);
	pid = number_in(wait_line("worker_ready", "name=gateway-0", ""), "pid=");
	(void)wait_line(" ready ", "workers=", "");
	write_config(ANY_PORT, TWO_BACKENDS);
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("worker_ready", "name=two", "");
	wait_report("gateway-0", pid, "config=2");
	write_config(ANY_PORT, ONE_BACKEND);
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("worker_ended", "name=two", "");
	wait_report("gateway-0", pid, "config=3");
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", ""), 5);
	cr_assert_eq(count_lines("worker_died", ""), 0);
}

Test(supervisor, reload_replaces_a_changed_worker_before_the_old_one_goes)
{
	start_daemon(-1);
	wait_all_ready();
	write_config(
		ANY_PORT, "gateways: 2\nbackends:\n  - {name: one, kind: sim, sim: {seed: 7}}\n");
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	cr_assert_eq(number_in(wait_line("worker_ready", "name=one", "slot=4"), "slot="), 4);
	cr_assert_eq(number_in(wait_line("worker_draining", "name=one", ""), "slot="), 3);
	(void)wait_line("worker_ended", "name=one", "slot=3");
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", "role=gateway"), 2);
}

/* 64 backends and their 64 successors do not fit into the 128 slots beside the others. */
Test(supervisor, more_replacements_than_free_slots_come_one_after_the_other)
{
	AUTO(buf_fini) struct buf more = BUF_INIT;

	for (unsigned seed = 1; seed <= 2; seed++) {
		buf_clear(&more);
		buf_add_str(&more, "gateways: 1\nbackends:\n");
		for (unsigned i = 0; i < 64; i++)
			buf_addf(&more, "  - {name: b%u, kind: sim, sim: {seed: %u}}\n", i, seed);
		write_file("shunt.yaml",
			"listen: [" ANY_PORT "]\nrun_dir: %s/run\nstart_ms: 20s\n"
			"journal: {enabled: no}\n%s", folder,
			buf_str(&more));
		if (seed == 1)
			start_daemon(-1);
		else
			cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
		for (unsigned i = 0; i < (seed == 1 ? 67 : 64); i++)
			(void)wait_line("ready ", "", "");
	}
	stop_daemon();
	cr_assert_gt(count_lines("worker_unplaced", "no slot is free"), 0);
	cr_assert_eq(count_lines("worker_ready", "role=backend"), 128);
	cr_assert_eq(count_lines("worker_ended", "role=backend"), 128);
	cr_assert_eq(count_lines("worker_started", "role=gateway"), 1);
}

Test(supervisor, an_old_worker_stays_while_its_successor_can_not_start)
{
	start_daemon(-1);
	wait_all_ready();
	write_file("one", "crash");
	write_config(
		ANY_PORT, "gateways: 2\nbackends:\n  - {name: one, kind: sim, sim: {seed: 7}}\n");
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("worker_restarting", "name=one", "failures=3");
	cr_assert_eq(count_lines("worker_draining", "name=one"), 0);
	write_file("one", "ready");
	(void)wait_line("worker_draining", "name=one", "slot=3");
	stop_daemon();
}

Test(supervisor, a_bad_config_is_refused_with_every_fault_and_nothing_changes)
{
	start_daemon(-1);
	wait_all_ready();
	write_config(ANY_PORT, "gateways: many\nnonsense: 1\n");
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("config_fault", "gateways", "");
	(void)wait_line("config_fault", "nonsense", "");
	(void)wait_line("reload_refused", "", "");
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", ""), 4);
}

/* A listening TCP socket of our own; its port goes to *port. */
static int
listener(unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

Test(supervisor, a_new_address_that_is_taken_refuses_the_reload)
{
	char listen_text[100];
	unsigned port;
	int fd = listener(&port);

	start_daemon(-1);
	wait_all_ready();
	(void)snprintf(listen_text, sizeof(listen_text), "\"127.0.0.1:0\", \"127.0.0.1:%u\"", port);
	write_config(listen_text, TWO_BACKENDS);
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("reload_refused", "Address already in use", "127.0.0.1");
	(void)close(fd);
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	(void)wait_line("reload_done", "", "");
	/* Both gateways are replaced, on the same sockets and the new one. */
	(void)wait_line("worker_ended", "role=gateway", "");
	(void)wait_line("worker_ended", "role=gateway", "");
	stop_daemon();
	cr_assert_eq(count_lines("worker_started", "role=gateway"), 4);
	cr_assert_eq(count_lines("worker_started", "name=one"), 1);
}

Test(supervisor, takes_a_socket_from_the_service_manager)
{
	char listen_text[100];
	unsigned port;
	int fd = listener(&port), client;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)snprintf(listen_text, sizeof(listen_text), "\"127.0.0.1:%u\"", port);
	write_config(listen_text, ONE_BACKEND);
	start_daemon(fd);
	(void)close(fd);
	(void)wait_line(" ready ", "workers=", "");
	in.sin_port = htons((uint16_t)port);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(client, (struct sockaddr *)&in, sizeof(in)), 0);
	(void)close(client);
	stop_daemon();
}

Test(supervisor, a_second_daemon_in_the_same_folder_is_refused_with_the_pid_of_the_first)
{
	char text[64];
	pid_t first;
	int first_log, status;

	start_daemon(-1);
	(void)wait_line(" ready ", "workers=", "");
	first = daemon_pid;
	first_log = log_fd;
	start_daemon(-1);
	status = end_status();
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	(void)snprintf(text, sizeof(text), "another shuntd (pid %d)", first);
	cr_assert_not_null(strstr(buf_str(&seen), text), "%s", buf_str(&seen));
	(void)close(log_fd);
	daemon_pid = first;
	log_fd = first_log;
	stop_daemon();
}

Test(supervisor, what_a_killed_daemon_left_is_no_obstacle_and_its_workers_are_gone)
{
	long pid;
	uint64_t until;

	start_daemon(-1);
	pid = number_in(wait_line("worker_ready", "name=gateway-0", ""), "pid=");
	(void)wait_line(" ready ", "workers=", "");
	cr_assert_eq(kill(daemon_pid, SIGKILL), 0);
	(void)end_status();
	until = clock_ns() + 2 * NS_PER_S;
	while (kill((pid_t)pid, 0) == 0 && clock_ns() < until)
		(void)usleep(5000);
	cr_assert_eq(kill((pid_t)pid, 0), -1, "a worker outlived the supervisor");
	cr_assert(exists("run/shunt.sock"), "the leftover that the next start must clear");
	write_file("run/bus/9.9", "left over");
	(void)close(log_fd);
	start_daemon(-1);
	(void)wait_line(" ready ", "workers=", "");
	cr_assert_not(exists("run/bus/9.9"));
	stop_daemon();
}

Test(supervisor, one_that_will_not_drain_is_killed_at_the_deadline)
{
	write_file("one", "stubborn");
	start_daemon(-1);
	(void)wait_line("worker_ready", "name=one", "");
	stop_daemon();
	cr_assert_eq(count_lines("worker_overdue", "name=one"), 1);
	cr_assert_eq(count_lines("worker_died", "cause=signal:SIGKILL"), 1);
	cr_assert_not(exists("run"));
}

Test(supervisor, a_second_signal_ends_everything_at_once)
{
	write_config(ANY_PORT, ONE_BACKEND);
	write_file("gateway-0", "stubborn");
	write_file("gateway-1", "stubborn");
	start_daemon(-1);
	(void)wait_line(" ready ", "workers=", "");
	cr_assert_eq(kill(daemon_pid, SIGINT), 0);
	(void)wait_line("stopping", "", "");
	stop_daemon();
	cr_assert_eq(count_lines("stopping_now", ""), 1);
	cr_assert_eq(count_lines("worker_overdue", ""), 0);
	cr_assert_not(exists("run"));
}

/* The service manager's side of the protocol. */
static void
wait_notify(int fd, const char *want)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[500];
	ssize_t n;

	for (;;) {
		cr_assert_eq(poll(&p, 1, DEADLINE_S * 1000), 1, "no %s", want);
		n = recv(fd, text, sizeof(text) - 1, 0);
		cr_assert_gt(n, 0);
		text[n] = '\0';
		if (strncmp(text, want, strlen(want)) == 0)
			return;
	}
}

static void
speaks_to_the_manager(const char *name, size_t len, const char *env)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, name, len);
	cr_assert_eq(bind(fd, (struct sockaddr *)&un,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
		0);
	(void)setenv("NOTIFY_SOCKET", env, 1);
	(void)setenv("WATCHDOG_USEC", "200000", 1);
	start_daemon(-1);
	wait_notify(fd, "READY=1");
	wait_notify(fd, "WATCHDOG=1");
	wait_notify(fd, "WATCHDOG=1");
	cr_assert_eq(kill(daemon_pid, SIGHUP), 0);
	wait_notify(fd, "RELOADING=1\nMONOTONIC_USEC=");
	wait_notify(fd, "READY=1");
	cr_assert_eq(kill(daemon_pid, SIGTERM), 0);
	wait_notify(fd, "STOPPING=1");
	cr_assert_eq(end_status(), 0);
	(void)close(fd);
}

Test(supervisor, tells_the_service_manager_over_a_path)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/notify", folder);
	speaks_to_the_manager(path, strlen(path), path);
}

Test(supervisor, tells_the_service_manager_over_an_abstract_name)
{
	char name[200], env[200];

	(void)snprintf(name, sizeof(name), "%c%s", '\0', folder);
	(void)snprintf(env, sizeof(env), "@%s", folder);
	memcpy(name + 1, folder, strlen(folder));
	speaks_to_the_manager(name, 1 + strlen(folder), env);
}

Test(supervisor, a_killed_worker_is_back_within_100_ms_in_the_median)
{
	uint64_t took[11];
	long pid;

	start_daemon(-1);
	pid = number_in(wait_line("worker_ready", "name=one", ""), "pid=");
	for (size_t i = 0; i < ARRAY_LEN(took); i++) {
		(void)usleep(310 * 1000); /* a healthy period, so that each is a first failure */
		took[i] = clock_ns();
		cr_assert_eq(kill((pid_t)pid, SIGKILL), 0);
		pid = number_in(wait_line("worker_ready", "name=one", ""), "pid=");
		took[i] = clock_ns() - took[i];
		for (size_t k = i; k > 0 && took[k] < took[k - 1]; k--) {
			uint64_t t = took[k];

			took[k] = took[k - 1];
			took[k - 1] = t;
		}
	}
	cr_assert_lt(took[5], 100 * NS_PER_MS, "median %llu us",
		(unsigned long long)(took[5] / NS_PER_US));
	cr_log_info("median %llu us", (unsigned long long)(took[5] / NS_PER_US));
	stop_daemon();
}
