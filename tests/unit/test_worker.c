/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_worker.c - worker_main from start to end, with the test as its supervisor
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/common/worker.h"

enum { SLOT = 3, GENERATION = 2, WAIT_MS = 10000 };

/* The role under test leaves its traces in counters of its row. */
#define TRACE_STARTED COUNTER_PROBES
#define TRACE_BOARD COUNTER_PROBES_FAILED
#define TRACE_CONFIG COUNTER_SUSPECTS
#define TRACE_DRAIN COUNTER_UP_CALLS

struct rig {
	char run_dir[64];
	struct board *board;
	int wake_fd, ready_fd;
	pid_t pid;
};

static struct rig rig;

static void
set_state(enum slot_state state)
{
	struct slot_info info = {.role = ROLE_BACKEND,
		.state = state,
		.pid = 1,
		.generation = GENERATION,
		.name = "llama"};

	board_set_slot(rig.board, SLOT, &info);
}

static void
set_config(const char *extra)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct err e;

	buf_addf(&text, "%s\nbackends:\n  - name: llama\n    url: http://127.0.0.1:8080\n", extra);
	cr_assert_eq(board_set_config(rig.board, "test.yaml", buf_str(&text), text.len, &e), ERR_OK,
		"%s", e.text);
}

static void
rig_init(void)
{
	struct err e;

	(void)snprintf(rig.run_dir, sizeof(rig.run_dir), "/tmp/shunt-test-worker-XXXXXX");
	cr_assert_not_null(mkdtemp(rig.run_dir));
	cr_assert_eq(board_create(&rig.board, rig.run_dir, &e), ERR_OK, "%s", e.text);
	set_state(SLOT_STARTING);
	set_config("drain_ms: 30s");
	rig.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void
rig_fini(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/bus/%d.%d", rig.run_dir, SLOT, GENERATION);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/bus", rig.run_dir);
	(void)rmdir(path);
	(void)rmdir(rig.run_dir);
	(void)close(rig.wake_fd);
	board_close(&rig.board);
}

TestSuite(worker, .init = rig_init, .fini = rig_fini, .timeout = 60);

/* ---- the role ---- */

static MUST enum err_code
role_start(struct worker *w, struct err *e)
{
	(void)e;
	w->state = malloc(1);
	board_count(w->board, TRACE_STARTED, 1);
	return w->state != NULL ? ERR_OK : ERR_SYS;
}

static MUST enum err_code
role_start_fails(struct worker *w, struct err *e)
{
	(void)w;
	return err_set(e, ERR_CONNECT, "no key in /etc/shunt/key");
}

static void
role_stop(struct worker *w)
{
	free(w->state);
}

static void
role_on_board(struct worker *w)
{
	board_count(w->board, TRACE_BOARD, 1);
}

static void
role_on_config(struct worker *w, const struct config *old)
{
	if (old->drain_ms == 30000 && w->config->drain_ms == 7000)
		board_count(w->board, TRACE_CONFIG, 1);
}

static void
role_on_drain_ends(struct worker *w)
{
	board_count(w->board, TRACE_DRAIN, 1);
	worker_drained(w);
}

static void
role_on_drain_lasts(struct worker *w)
{
	board_count(w->board, TRACE_DRAIN, 1);
}

static struct worker_role
plain_role(void)
{
	return (struct worker_role){.role = ROLE_BACKEND,
		.sandbox = {.allow = SANDBOX_CONNECT | SANDBOX_FILES, .files_max = 256},
		.start = role_start,
		.on_board = role_on_board,
		.on_config = role_on_config,
		.stop = role_stop};
}

/* ---- the supervisor's part ---- */

/* Put the four inherited descriptors where a worker expects them. */
static void
place_fds(int ready)
{
	int from[] = {ready, rig.wake_fd, board_fd_ro(rig.board), board_fd_rw(rig.board)};

	/* First out of the way: a target may be another's source. */
	for (size_t i = 0; i < ARRAY_LEN(from); i++)
		from[i] = fcntl(from[i], F_DUPFD, 100);
	for (size_t i = 0; i < ARRAY_LEN(from); i++)
		CHECK(dup2(from[i], WORKER_FD_READY + (int)i) >= 0);
	CHECK(close_range(WORKER_FD_LISTEN, ~0U, 0) == 0);
}

static void
start(const struct worker_role *role, const char *generation)
{
	char slot[] = "3", life[16];
	char *argv[] = {(char[]){"shunt-test"}, (char[]){"--slot"}, slot, (char[]){"--generation"},
		life, (char[]){"--listen"}, (char[]){"0"}, NULL};
	int fds[2];

	(void)snprintf(life, sizeof(life), "%s", generation);
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	rig.pid = fork();
	cr_assert_geq(rig.pid, 0);
	if (rig.pid == 0) {
		place_fds(fds[1]);
		_exit(worker_main(7, argv, role));
	}
	(void)close(fds[1]);
	rig.ready_fd = fds[0];
}

/* What the readiness pipe says: '\n', or 0 where it closed without a word. */
static char
await_ready(void)
{
	struct pollfd p = {.fd = rig.ready_fd, .events = POLLIN};
	char byte = 0;

	cr_assert_eq(poll(&p, 1, WAIT_MS), 1, "neither ready nor dead");
	if (read(rig.ready_fd, &byte, 1) != 1)
		byte = 0;
	return byte;
}

static uint64_t
trace(enum counter c)
{
	return atomic_load(&board_worker(rig.board, SLOT)->counters[c]);
}

/* The worker's writes wake nobody: look again every millisecond until its deadline. */
#define AWAIT(cond)                                                                                \
	do {                                                                                       \
		uint64_t end_ns = clock_ns() + clock_ms_to_ns(WAIT_MS);                            \
		while (!(cond)) {                                                                  \
			cr_assert_lt(clock_ns(), end_ns, "in vain: " #cond);                       \
			(void)poll(NULL, 0, 1);                                                    \
		}                                                                                  \
	} while (0)

static void
wake(void)
{
	const uint64_t one = 1;

	cr_assert_eq(write(rig.wake_fd, &one, sizeof(one)), sizeof(one));
}

static void
expect_exit(int code)
{
	int status = 0;

	AWAIT(waitpid(rig.pid, &status, WNOHANG) == rig.pid);
	cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	cr_assert_eq(WEXITSTATUS(status), code, "exit status %d", WEXITSTATUS(status));
	(void)close(rig.ready_fd);
}

Test(worker, says_ready_beats_and_ends_on_sigterm)
{
	const struct worker_role role = plain_role();
	const struct worker_row *row = board_worker(rig.board, SLOT);
	uint64_t beat;

	board_slot_row(rig.board, SLOT)->counters[COUNTER_UP_IN_FLIGHT] = 17;
	board_slot_row(rig.board, SLOT)->counters[COUNTER_UP_OK] = 23;
	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	beat = atomic_load(&row->heartbeat_ns);
	AWAIT(atomic_load(&row->heartbeat_ns) > beat);
	AWAIT(atomic_load(&row->pss_kb) > 0);
	cr_assert_geq(atomic_load(&row->rss_kb), atomic_load(&row->pss_kb));
	cr_assert_eq(atomic_load(&row->config_seen), 1);
	cr_assert_eq(trace(TRACE_STARTED), 1);
	cr_assert_eq(trace(COUNTER_UP_IN_FLIGHT), 0, "gauges start over");
	cr_assert_eq(trace(COUNTER_UP_OK), 23, "counters go on");
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
	cr_assert_str_eq(row->last_words, "");
}

Test(worker, the_kernel_knows_it_is_sandboxed)
{
	const struct worker_role role = plain_role();
	char path[64], text[4096];
	size_t n;
	FILE *f;

	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)rig.pid);
	f = fopen(path, "re");
	cr_assert_not_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	(void)fclose(f);
	cr_assert_not_null(strstr(text, "NoNewPrivs:\t1\n"), "%s", text);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

/* A start that fails where a file of the system can be read. */
static MUST enum err_code
role_start_reads_etc(struct worker *w, struct err *e)
{
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return role_start(w, e);
	(void)close(fd);
	return err_set(e, ERR_SYS, "read /etc/passwd");
}

/* Keys of upstreams may lie in /etc: a process that clients talk to has no business there. */
Test(worker, the_system_files_are_for_those_who_connect)
{
	struct worker_role role = plain_role();

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1) {
		rig_fini(); /* a skipped test has no end */
		cr_skip("this kernel has no Landlock");
	}
	role.start = role_start_reads_etc;
	start(&role, "2");
	cr_assert_eq(await_ready(), 0, "a backend can't read what its libraries need");
	expect_exit(1);
	role.sandbox.allow = SANDBOX_ACCEPT | SANDBOX_FILES;
	start(&role, "2");
	cr_assert_eq(await_ready(), '\n', "%s", board_worker(rig.board, SLOT)->last_words);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

Test(worker, wake_brings_the_board_and_the_new_config)
{
	const struct worker_role role = plain_role();

	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	wake();
	AWAIT(trace(TRACE_BOARD) == 1);
	cr_assert_eq(trace(TRACE_CONFIG), 0);
	set_config("drain_ms: 7s");
	wake();
	AWAIT(trace(TRACE_BOARD) == 2);
	cr_assert_eq(trace(TRACE_CONFIG), 1);
	cr_assert_eq(atomic_load(&board_worker(rig.board, SLOT)->config_seen), 2);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

Test(worker, a_config_that_does_not_parse_leaves_the_old_one)
{
	const struct worker_role role = plain_role();

	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	set_config("no_such_key: 1");
	wake();
	AWAIT(trace(TRACE_BOARD) == 1);
	cr_assert_eq(trace(TRACE_CONFIG), 0);
	cr_assert_eq(atomic_load(&board_worker(rig.board, SLOT)->config_seen), 1);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

Test(worker, drains_before_it_ends)
{
	struct worker_role role = plain_role();

	role.on_drain = role_on_drain_ends;
	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
	cr_assert_eq(trace(TRACE_DRAIN), 1);
}

Test(worker, a_drain_has_a_deadline)
{
	struct worker_role role = plain_role();
	uint64_t began = clock_ns();

	set_config("drain_ms: 100ms");
	role.on_drain = role_on_drain_lasts;
	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
	cr_assert_eq(trace(TRACE_DRAIN), 1);
	cr_assert_geq(clock_ns() - began, 100 * NS_PER_MS);
}

Test(worker, a_second_sigterm_ends_at_once)
{
	struct worker_role role = plain_role();

	role.on_drain = role_on_drain_lasts;
	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	AWAIT(trace(TRACE_DRAIN) == 1);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

Test(worker, signals_of_a_terminal_are_not_for_it)
{
	const struct worker_role role = plain_role();

	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	cr_assert_eq(kill(rig.pid, SIGINT), 0);
	cr_assert_eq(kill(rig.pid, SIGHUP), 0);
	cr_assert_eq(kill(rig.pid, SIGPIPE), 0);
	wake();
	AWAIT(trace(TRACE_BOARD) == 1);
	cr_assert_eq(kill(rig.pid, SIGTERM), 0);
	expect_exit(0);
}

Test(worker, a_failed_start_leaves_last_words)
{
	struct worker_role role = plain_role();

	role.start = role_start_fails;
	start(&role, "2");
	cr_assert_eq(await_ready(), 0);
	expect_exit(1);
	cr_assert_str_eq(board_worker(rig.board, SLOT)->last_words, "no key in /etc/shunt/key");
}

Test(worker, another_generation_than_the_boards_is_refused)
{
	const struct worker_role role = plain_role();

	start(&role, "9");
	cr_assert_eq(await_ready(), 0);
	expect_exit(1);
	cr_assert_eq(trace(TRACE_STARTED), 0);
}

Test(worker, arguments_are_checked)
{
	static const char *const bad[] = {"", "-1", "x", "2x", "99999999999", "0"};
	const struct worker_role role = plain_role();

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		start(&role, bad[i]);
		cr_assert_eq(await_ready(), 0, "%s", bad[i]);
		expect_exit(1);
	}
}

Test(worker, a_fatal_signal_leaves_last_words)
{
	const struct worker_role role = plain_role();
	int status = 0;

	start(&role, "2");
	cr_assert_eq(await_ready(), '\n');
	cr_assert_eq(kill(rig.pid, SIGSEGV), 0);
	AWAIT(waitpid(rig.pid, &status, WNOHANG) == rig.pid);
	cr_assert(WIFSIGNALED(status), "exit status %d", WEXITSTATUS(status));
	cr_assert_eq(WTERMSIG(status), SIGSEGV);
	cr_assert_not_null(strstr(board_worker(rig.board, SLOT)->last_words, "SIGSEGV"));
	(void)close(rig.ready_fd);
}

/* Between this test and the worker stands a process that owns the board and dies. */
Test(worker, the_supervisors_death_ends_it)
{
	const struct worker_role role = plain_role();
	int alive[2];
	char byte = 0;
	pid_t supervisor;
	struct pollfd p;

	cr_assert_eq(pipe2(alive, O_CLOEXEC), 0);
	supervisor = fork();
	cr_assert_geq(supervisor, 0);
	if (supervisor == 0) {
		/* Descriptors 1 and 2 stay open in the worker: 1 is the test's sign of life. */
		struct err e;

		CHECK(dup2(alive[1], STDOUT_FILENO) >= 0);
		(void)close(alive[1]);
		board_close(&rig.board);
		CHECK(board_create(&rig.board, rig.run_dir, &e) == ERR_OK);
		set_state(SLOT_STARTING);
		set_config("drain_ms: 30s");
		start(&role, "2");
		if (await_ready() == '\n')
			CHECK(write(STDOUT_FILENO, "r", 1) == 1);
		(void)pause();
		_exit(0);
	}
	(void)close(alive[1]);
	p = (struct pollfd){.fd = alive[0], .events = POLLIN};
	cr_assert_eq(poll(&p, 1, WAIT_MS), 1);
	cr_assert_eq(read(alive[0], &byte, 1), 1);
	cr_assert_eq(kill(supervisor, SIGKILL), 0);
	cr_assert_eq(waitpid(supervisor, NULL, 0), supervisor);
	cr_assert_eq(poll(&p, 1, 2000), 1, "still alive after two seconds");
	cr_assert_eq(read(alive[0], &byte, 1), 0);
	(void)close(alive[0]);
}
