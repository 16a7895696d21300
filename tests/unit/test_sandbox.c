/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sandbox.c - what a sandboxed process can and cannot do, tried in forked children
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/common/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
enum { FILTERED = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { FILTERED = 0 };
#else
enum { FILTERED = 1 };
#endif
#else
enum { FILTERED = 1 };
#endif

static char run_dir[] = "/tmp/shunt-test-sandbox-XXXXXX";

static void
make_run_dir(void)
{
	cr_assert_not_null(mkdtemp(run_dir));
}

static void
remove_run_dir(void)
{
	(void)rmdir(run_dir);
}

TestSuite(sandbox, .init = make_run_dir, .fini = remove_run_dir, .timeout = 30);

static void
enter(unsigned allow)
{
	const struct sandbox_spec spec = {.allow = allow, .files_max = 64};
	const char *const read_only[] = {"/etc", "/usr/lib", "/lib", "/no/such/folder", NULL};
	struct err e;

	if (sandbox_enter_early(&spec, run_dir, NULL, read_only, &e) != ERR_OK ||
		sandbox_enter_late(&spec, &e) != ERR_OK) {
		(void)fprintf(stderr, "%s\n", e.text);
		_exit(99);
	}
}

/* Run fn in a sandboxed child; its wait status. */
static int
in_sandbox(unsigned allow, int (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		enter(allow);
		_exit(fn());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void
expect_exit(int status, int code)
{
	cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	cr_assert_eq(WEXITSTATUS(status), code, "exit status %d: %s", WEXITSTATUS(status),
		strerror(WEXITSTATUS(status)));
}

static void
expect_killed(int status)
{
	cr_assert(WIFSIGNALED(status), "exit status %d", WEXITSTATUS(status));
	cr_assert_eq(WTERMSIG(status), SIGSYS);
}

static void
need_filter(void)
{
	if (FILTERED)
		return;
	remove_run_dir(); /* a skipped test has no end */
	cr_skip("no seccomp filter under AddressSanitizer");
}

static int
try_exec(void)
{
	char *argv[] = {NULL};

	(void)execve("/bin/true", argv, argv);
	return errno;
}

Test(sandbox, execve_ends_the_process)
{
	need_filter();
	expect_killed(in_sandbox(0, try_exec));
	expect_killed(in_sandbox(SANDBOX_ACCEPT | SANDBOX_CONNECT | SANDBOX_FILES, try_exec));
}

static int
try_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : errno;
}

Test(sandbox, ptrace_ends_the_process)
{
	need_filter();
	expect_killed(in_sandbox(SANDBOX_CONNECT | SANDBOX_FILES, try_ptrace));
}

static int
try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

Test(sandbox, fork_is_refused)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_CONNECT | SANDBOX_FILES, try_fork), EPERM);
}

static int
try_kill_parent(void)
{
	return kill(getppid(), 0) == 0 ? 0 : errno;
}

Test(sandbox, signals_to_others_are_refused)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_CONNECT, try_kill_parent), EPERM);
}

static int
try_own_a_signal(void)
{
	/* the kernel would send it, and to anybody of our user, once data comes */
	return fcntl(STDIN_FILENO, F_SETOWN, getppid()) == 0 ? 0 : errno;
}

static int
try_choose_a_signal(void)
{
	return fcntl(STDIN_FILENO, F_SETSIG, SIGKILL) == 0 ? 0 : errno;
}

static int
try_usual_fcntl(void)
{
	int fds[2], flags, copy;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return errno;
	flags = fcntl(fds[0], F_GETFL);
	if (flags < 0 || fcntl(fds[0], F_SETFL, flags | O_NONBLOCK) != 0)
		return errno;
	copy = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	return copy >= 0 && fcntl(copy, F_GETFD) >= 0 && fcntl(copy, F_SETFD, FD_CLOEXEC) == 0
		       ? 0
		       : errno;
}

Test(sandbox, a_descriptor_sends_no_signals_to_others)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_CONNECT, try_own_a_signal), EPERM);
	expect_exit(in_sandbox(SANDBOX_CONNECT, try_choose_a_signal), EPERM);
	expect_exit(in_sandbox(0, try_usual_fcntl), 0);
}

static int
try_grow_shared_map(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	return mremap(p, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED ? 0 : errno;
}

/* Growing the map of its own row of the board would reach the rows of others. */
Test(sandbox, a_shared_map_does_not_grow)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_ACCEPT | SANDBOX_FILES, try_grow_shared_map), EPERM);
}

static int
try_large_realloc(void)
{
	char *p = malloc(1 << 20), *more;

	if (p == NULL)
		return ENOMEM;
	memset(p, 7, 1 << 20);
	more = realloc(p, 64 << 20);
	if (more == NULL)
		return ENOMEM;
	return more[0] == 7 && more[(1 << 20) - 1] == 7 ? 0 : 1;
}

Test(sandbox, large_buffers_still_grow)
{
	expect_exit(in_sandbox(SANDBOX_ACCEPT | SANDBOX_FILES, try_large_realloc), 0);
}

static int
try_inet_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : errno;
}

Test(sandbox, an_internet_socket_needs_its_flag)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_ACCEPT | SANDBOX_FILES, try_inet_socket), EPERM);
	expect_exit(in_sandbox(SANDBOX_CONNECT, try_inet_socket), 0);
}

static int
try_packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) >= 0 ? 0 : errno;
}

Test(sandbox, other_socket_families_are_refused)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_ACCEPT | SANDBOX_CONNECT, try_packet_socket), EPERM);
}

static int
try_unix_socket(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 || send(fds[0], "x", 1, 0) != 1)
		return errno;
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : errno;
}

Test(sandbox, unix_sockets_are_everybodys)
{
	expect_exit(in_sandbox(0, try_unix_socket), 0);
}

static int
try_read_etc(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0 ? 0 : errno;
}

Test(sandbox, opening_a_file_needs_its_flag)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_CONNECT, try_read_etc), EPERM);
	expect_exit(in_sandbox(SANDBOX_FILES, try_read_etc), 0);
}

static int
try_write_etc(void)
{
	return open("/etc/shunt-test", O_WRONLY | O_CREAT, 0600) >= 0 ? 0 : errno;
}

Test(sandbox, files_are_read_only)
{
	need_filter();
	expect_exit(in_sandbox(SANDBOX_FILES, try_write_etc), EPERM);
}

static int
try_read_elsewhere(void)
{
	return open("/usr/bin/env", O_RDONLY) >= 0 ? 0 : errno;
}

Test(sandbox, files_outside_the_list_are_refused)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1) {
		remove_run_dir();
		cr_skip("this kernel has no Landlock");
	}
	expect_exit(in_sandbox(SANDBOX_FILES, try_read_elsewhere), EACCES);
}

static int
try_writable_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0) != MAP_FAILED
		       ? 0
		       : errno;
}

Test(sandbox, memory_is_never_writable_and_executable)
{
	need_filter();
	expect_exit(in_sandbox(0, try_writable_code), EPERM);
	expect_exit(in_sandbox(SANDBOX_FILES, try_writable_code), EPERM);
}

static void *
thread_main(void *arg)
{
	*(int *)arg = 7;
	return NULL;
}

static int
try_thread(void)
{
	pthread_t thread;
	int value = 0;

	if (pthread_create(&thread, NULL, thread_main, &value) != 0)
		return errno;
	(void)pthread_join(thread, NULL);
	return value == 7 ? 0 : 1;
}

Test(sandbox, threads_of_its_own_are_allowed)
{
	expect_exit(in_sandbox(0, try_thread), 0);
}

static int
try_resolve(void)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int rc = getaddrinfo("localhost", "80", &hints, &found);

	if (rc != 0) {
		(void)fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(rc));
		return 1;
	}
	freeaddrinfo(found);
	return 0;
}

Test(sandbox, names_resolve_where_connecting_is_allowed)
{
	expect_exit(in_sandbox(SANDBOX_CONNECT | SANDBOX_FILES, try_resolve), 0);
}

static int
try_abort(void)
{
	abort();
}

Test(sandbox, abort_still_ends_with_its_signal)
{
	int status = in_sandbox(0, try_abort);

	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(WTERMSIG(status), SIGABRT);
}

static int
try_limits(void)
{
	struct rlimit files, core;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_CORE, &core) != 0)
		return errno;
	if (files.rlim_cur != 64 || files.rlim_max != 64)
		return 1;
	if (core.rlim_max != 0)
		return 2;
	files.rlim_cur = 32;
	return FILTERED && setrlimit(RLIMIT_NOFILE, &files) == 0 ? 3 : 0;
}

Test(sandbox, limits_are_set_and_stay)
{
	expect_exit(in_sandbox(0, try_limits), 0);
}

/* The filter must hold for threads that were there before it. */
static void *
early_thread_main(void *arg)
{
	int *fds = arg;
	char byte;

	if (read(fds[0], &byte, 1) != 1)
		_exit(98);
	_exit(socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : errno);
}

static int
thread_before_filter(void)
{
	const struct sandbox_spec spec = {.allow = 0};
	pthread_t thread;
	struct err e;
	int fds[2];

	if (pipe(fds) != 0 || pthread_create(&thread, NULL, early_thread_main, fds) != 0)
		return 97;
	if (sandbox_enter_late(&spec, &e) != ERR_OK || write(fds[1], "x", 1) != 1)
		return 96;
	(void)pthread_join(thread, NULL);
	return 95;
}

Test(sandbox, the_filter_holds_for_threads_started_before_it)
{
	int status = 0;
	pid_t pid;

	need_filter();
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		const struct sandbox_spec spec = {.allow = 0};
		struct err e;

		if (sandbox_enter_early(&spec, run_dir, NULL, NULL, &e) != ERR_OK)
			_exit(94);
		_exit(thread_before_filter());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	expect_exit(status, EPERM);
}
