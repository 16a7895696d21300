/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - what a worker may do to the machine: rlimits, Landlock, seccomp
 *
 * The filter names what is allowed; anything else is EPERM, which libraries cope with, except what
 * no worker of ours would ever try: that ends the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "workers/common/sandbox.h"

/* AddressSanitizer maps terabytes, and its leak check forks and traces at the end. */
#if defined(__SANITIZE_ADDRESS__)
enum { SANDBOX_ASAN = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { SANDBOX_ASAN = 1 };
#else
enum { SANDBOX_ASAN = 0 };
#endif
#else
enum { SANDBOX_ASAN = 0 };
#endif

/* Newer than the packaged header; the kernel says which of them it knows. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

#define FS_READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define FS_READ (FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                   \
	(FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |                   \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |                        \
		LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define FS_RUN_DIR (FS_WRITE | LANDLOCK_ACCESS_FS_MAKE_SOCK)

/* ---- early ---- */

static MUST enum err_code
sandbox_rlimit(int resource, uint64_t value, const char *name, struct err *e)
{
	struct rlimit now, want = {value, value};

	if (getrlimit((__rlimit_resource_t)resource, &now) != 0)
		return err_set(e, ERR_SYS, "getrlimit %s: %s", name, strerror(errno));
	want.rlim_cur = want.rlim_max = MIN((rlim_t)value, now.rlim_max);
	if (setrlimit((__rlimit_resource_t)resource, &want) != 0)
		return err_set(e, ERR_SYS, "setrlimit %s: %s", name, strerror(errno));
	return ERR_OK;
}

static MUST enum err_code
sandbox_rlimits(const struct sandbox_spec *spec, struct err *e)
{
	if (sandbox_rlimit(RLIMIT_CORE, 0, "CORE", e) != ERR_OK)
		return e->code;
	if (spec->files_max > 0 &&
		sandbox_rlimit(RLIMIT_NOFILE, spec->files_max, "NOFILE", e) != ERR_OK)
		return e->code;
	if (spec->memory_max_bytes > 0 && !SANDBOX_ASAN)
		return sandbox_rlimit(RLIMIT_AS, spec->memory_max_bytes, "AS", e);
	return ERR_OK;
}

/* Allow access below a path; a path that does not exist needs no permission. */
static MUST enum err_code
landlock_allow(int ruleset, const char *path, uint64_t access, struct err *e)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access};
	enum err_code code = ERR_OK;
	struct stat st;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0 && (errno == ENOENT || errno == EACCES || errno == ENOTDIR))
		return ERR_OK;
	if (rule.parent_fd < 0)
		return err_set(e, ERR_SYS, "sandbox: open %s: %s", path, strerror(errno));
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_READ_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
		code = err_set(e, ERR_SYS, "sandbox: Landlock rule %s: %s", path, strerror(errno));
	(void)close(rule.parent_fd);
	return code;
}

static MUST enum err_code
landlock_fill(int ruleset, uint64_t handled, const char *run_dir, const char *read_write,
	const char *const *read_only, struct err *e)
{
	if (landlock_allow(ruleset, run_dir, FS_RUN_DIR & handled, e) != ERR_OK)
		return e->code;
	if (read_write != NULL &&
		landlock_allow(ruleset, read_write, FS_WRITE & handled, e) != ERR_OK)
		return e->code;
	for (; read_only != NULL && *read_only != NULL; read_only++)
		if (landlock_allow(ruleset, *read_only, FS_READ, e) != ERR_OK)
			return e->code;
	/* the leak check at the end looks through the process's own threads and maps */
	if (SANDBOX_ASAN && landlock_allow(ruleset, "/proc", FS_READ, e) != ERR_OK)
		return e->code;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		return err_set(e, ERR_SYS, "sandbox: Landlock: %s", strerror(errno));
	return ERR_OK;
}

/* Every access the running kernel can control is controlled. */
static uint64_t
landlock_handled(long abi)
{
	uint64_t handled = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* all of version 1 */

	if (abi >= 2)
		handled |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		handled |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		handled |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return handled;
}

static MUST enum err_code
sandbox_landlock(
	const char *run_dir, const char *read_write, const char *const *read_only, struct err *e)
{
	struct landlock_ruleset_attr attr = {0};
	enum err_code code;
	long abi, ruleset;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) {
		log_info("sandbox_no_landlock", "this kernel has none, files are not restricted");
		return ERR_OK;
	}
	attr.handled_access_fs = landlock_handled(abi);
	ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return err_set(e, ERR_SYS, "sandbox: Landlock ruleset: %s", strerror(errno));
	code = landlock_fill(
		(int)ruleset, attr.handled_access_fs, run_dir, read_write, read_only, e);
	(void)close((int)ruleset);
	return code;
}

MUST enum err_code
sandbox_enter_early(const struct sandbox_spec *spec, const char *run_dir, const char *read_write,
	const char *const *read_only, struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_set(e, ERR_SYS, "sandbox: no_new_privs: %s", strerror(errno));
	if (sandbox_rlimits(spec, e) != ERR_OK)
		return err_wrap(e, "sandbox");
	return sandbox_landlock(run_dir, read_write, read_only, e);
}

/* ---- late ---- */

/* clang-format off */
/* Allowed whatever the arguments; group 0 is everybody's, else any of its bits suffices. No mremap:
 * it grows a shared map over what lies behind it, other workers' rows of the board. realloc copies
 * where it is refused. */
static const struct {
	unsigned group;
	const char *names[32];
} sandbox_calls[] = {
	{0, {"read", "write", "readv", "writev", "pread64", "pwrite64", "close", "lseek", "dup",
		"fstat", "newfstatat", "pipe2", "eventfd2", "poll", "ppoll", "select", "pselect6",
		"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
		"timerfd_create", "timerfd_settime"}},
	{0, {"munmap", "madvise", "brk", "futex", "membarrier", "set_robust_list", "rseq",
		"sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
		"sched_setscheduler", /* ZeroMQ sets its threads to the policy they have */
		"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday",
		"time", "getrandom", "getrusage", "sysinfo", "uname"}},
	{0, {"getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "exit",
		"exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait",
		"sigaltstack", "restart_syscall"}},
	/* the bus: Unix sockets, and at the end the removal of the one it bound */
	{0, {"connect", "bind", "listen", "accept4", "getsockname", "getpeername", "setsockopt",
		"getsockopt", "sendto", "recvfrom", "unlink", "unlinkat"}},
	{SANDBOX_ACCEPT | SANDBOX_CONNECT, {"accept", "shutdown", "sendmmsg", "recvmmsg"}},
	{SANDBOX_ACCEPT | SANDBOX_CONNECT | SANDBOX_MODEL, {"sendmsg", "recvmsg"}},
	{SANDBOX_MODEL, {"memfd_create", "ftruncate"}},
	{SANDBOX_STATE,
		{"open", "openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "ftruncate",
			"fallocate", "fdatasync", "fsync", "flock"}},
	{SANDBOX_FILES | SANDBOX_MODEL | SANDBOX_STATE,
		{"stat", "lstat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
			"readlink", "readlinkat", "getdents64", "getcwd", "fadvise64"}},
};

enum { OPEN_WRITES = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND };
#define ALL_BITS UINT64_MAX

/* Allowed where (argument & mask) == value; several rows of a call: any of them. */
static const struct {
	unsigned group;
	const char *name;
	unsigned arg;
	uint64_t mask, value;
} sandbox_arg_calls[] = {
	{0, "clone", 0, CLONE_THREAD, CLONE_THREAD},
	{0, "socket", 0, ALL_BITS, AF_UNIX},
	{0, "socketpair", 0, ALL_BITS, AF_UNIX},
	{SANDBOX_CONNECT, "socket", 0, ALL_BITS, AF_INET},
	{SANDBOX_CONNECT, "socket", 0, ALL_BITS, AF_INET6},
	{SANDBOX_CONNECT, "socket", 0, ALL_BITS, AF_NETLINK},
	/* not F_SETOWN and F_SETSIG: the kernel would send any signal to anybody for it */
	{0, "fcntl", 1, ALL_BITS, F_DUPFD},
	{0, "fcntl", 1, ALL_BITS, F_DUPFD_CLOEXEC},
	{0, "fcntl", 1, ALL_BITS, F_GETFD},
	{0, "fcntl", 1, ALL_BITS, F_SETFD},
	{0, "fcntl", 1, ALL_BITS, F_GETFL},
	{0, "fcntl", 1, ALL_BITS, F_SETFL},
	{0, "mmap", 2, PROT_EXEC, 0},
	{0, "mprotect", 2, PROT_EXEC, 0},
	/* name service modules are loaded when first needed: code, but never writable */
	{SANDBOX_FILES, "mmap", 2, PROT_EXEC | PROT_WRITE, PROT_EXEC},
	{SANDBOX_FILES, "mprotect", 2, PROT_EXEC | PROT_WRITE, PROT_EXEC},
	{SANDBOX_FILES | SANDBOX_MODEL, "open", 1, OPEN_WRITES, O_RDONLY},
	{SANDBOX_FILES | SANDBOX_MODEL, "openat", 2, OPEN_WRITES, O_RDONLY},
	{SANDBOX_MODEL, "fcntl", 1, ALL_BITS, F_ADD_SEALS},
	{SANDBOX_MODEL, "fcntl", 1, ALL_BITS, F_GET_SEALS},
	{0, "ioctl", 1, ALL_BITS, FIONBIO},
	{0, "ioctl", 1, ALL_BITS, FIONREAD},
	{0, "ioctl", 1, ALL_BITS, TCGETS},
	{0, "prctl", 0, ALL_BITS, PR_SET_NAME},
	{0, "prlimit64", 2, ALL_BITS, 0},
};

/* No worker ever does these by itself: whoever does has taken it over. */
static const char *const sandbox_attacks[] = {"execve", "execveat", "ptrace", "process_vm_readv",
	"process_vm_writev", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "bpf",
	"perf_event_open", "userfaultfd", "init_module", "finit_module", "kexec_load", "reboot",
	"add_key", "keyctl", "open_by_handle_at"};

/* clang-format on */

static bool
sandbox_has(const struct sandbox_spec *spec, unsigned group)
{
	return group == 0 || (spec->allow & group) != 0;
}

/* One rule; a call that this processor family does not have needs none. */
static MUST enum err_code
seccomp_rule(scmp_filter_ctx ctx, uint32_t action, const char *name, const struct scmp_arg_cmp *arg,
	struct err *e)
{
	int number = seccomp_syscall_resolve_name(name), rc;

	CHECK(number != __NR_SCMP_ERROR);
	if (number < 0)
		return ERR_OK;
	rc = seccomp_rule_add_array(ctx, action, number, arg == NULL ? 0 : 1, arg);
	if (rc != 0)
		return err_set(e, ERR_SYS, "seccomp rule %s: %s", name, strerror(-rc));
	return ERR_OK;
}

static MUST enum err_code
seccomp_allow(scmp_filter_ctx ctx, const struct sandbox_spec *spec, struct err *e)
{
	const struct scmp_arg_cmp self = SCMP_A0_64(SCMP_CMP_EQ, (uint64_t)getpid());

	for (size_t i = 0; i < ARRAY_LEN(sandbox_calls); i++) {
		const char *const *name = sandbox_calls[i].names;

		for (; sandbox_has(spec, sandbox_calls[i].group) && *name != NULL; name++)
			if (seccomp_rule(ctx, SCMP_ACT_ALLOW, *name, NULL, e) != ERR_OK)
				return e->code;
	}
	for (size_t i = 0; i < ARRAY_LEN(sandbox_arg_calls); i++) {
		const struct scmp_arg_cmp arg = {sandbox_arg_calls[i].arg, SCMP_CMP_MASKED_EQ,
			sandbox_arg_calls[i].mask, sandbox_arg_calls[i].value};

		if (!sandbox_has(spec, sandbox_arg_calls[i].group))
			continue;
		if (seccomp_rule(ctx, SCMP_ACT_ALLOW, sandbox_arg_calls[i].name, &arg, e) != ERR_OK)
			return e->code;
	}
	/* abort() signals its own process; nobody may signal another. */
	return seccomp_rule(ctx, SCMP_ACT_ALLOW, "tgkill", &self, e);
}

static MUST enum err_code
seccomp_build(scmp_filter_ctx ctx, const struct sandbox_spec *spec, struct err *e)
{
	/* glibc starts a thread with plain clone, whose flags a filter can see, where clone3 is
	 * missing. */
	if (seccomp_rule(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL, e) != ERR_OK)
		return e->code;
	for (size_t i = 0; i < ARRAY_LEN(sandbox_attacks); i++)
		if (seccomp_rule(ctx, SCMP_ACT_KILL_PROCESS, sandbox_attacks[i], NULL, e) != ERR_OK)
			return e->code;
	return seccomp_allow(ctx, spec, e);
}

MUST enum err_code
sandbox_enter_late(const struct sandbox_spec *spec, struct err *e)
{
	scmp_filter_ctx ctx;
	enum err_code code;
	int rc;

	if (SANDBOX_ASAN) {
		log_warn("sandbox_no_seccomp",
			"built with AddressSanitizer, which the filter breaks");
		return ERR_OK;
	}
	ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (ctx == NULL)
		return err_set(e, ERR_SYS, "sandbox: seccomp_init failed");
	code = seccomp_build(ctx, spec, e);
	if (code == ERR_OK) {
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
		if (rc == 0)
			rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		if (rc == 0)
			rc = seccomp_load(ctx);
		if (rc != 0)
			code = err_set(e, ERR_SYS, "sandbox: seccomp: %s", strerror(-rc));
	}
	seccomp_release(ctx);
	return code;
}
