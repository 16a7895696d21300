/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos_daemon.c - a daemon of its own for a scenario: config, start, end
 *
 * Everything lies in one temporary folder, and nothing of it is left whatever happens: the daemon
 * ends with the runner (parent-death signal), its workers with it, and orphans become the runner's.
 * A daemon that is not the runner's is left as it was.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/chaos.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

enum {
	START_MS = 20000,
	LOOK_MS = 20,
	STOP_MS = 15000,
	TREE_FDS = 8,
	WORDS_MAX = 64 * 1024,
	PATH_BYTES = 4096
};

bool
chaos_daemon_wait(const struct chaos_daemon *d, int signal_fd, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
		{.fd = d->own ? d->pidfd : -1, .events = POLLIN}};

	return poll(fds, ARRAY_LEN(fds), timeout_ms) > 0;
}

void
chaos_daemon_key(struct buf *out, const char *user)
{
	buf_addf(out, "sk-chaos-%s", user);
}

/* ---- its config ---- */

static enum err_code
chaos_write(const struct buf *home, const char *name, const struct buf *text, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	size_t done = 0;
	int fd;

	buf_addf(&path, "%s/%s", buf_str(home), name);
	fd = open(buf_str(&path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
	while (done < text->len) {
		ssize_t n = write(fd, text->data + done, text->len - done);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (close(fd) != 0 || done < text->len)
		return err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
	return ERR_OK;
}

/* A port that is free now; 0: none. */
static unsigned
chaos_free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	if (fd < 0)
		return 0;
	ok = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	     getsockname(fd, (struct sockaddr *)&a, &len) == 0;
	(void)close(fd);
	return ok ? ntohs(a.sin_port) : 0;
}

static enum err_code
chaos_write_config(struct chaos_daemon *d, const struct chaos_scenario *s, struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf keys = BUF_INIT;
	const char *home = buf_str(&d->home);
	unsigned port = chaos_free_port();
	enum err_code code = ERR_OK;

	buf_addf(&d->url, "http://127.0.0.1:%u", port);
	buf_addf(&d->socket, "%s/run/" CONFIG_SOCKET_NAME, home);
	buf_add(&text, buf_str(&s->config), s->config.len);
	buf_addf(&text, "listen: [\"127.0.0.1:%u\"]\nrun_dir: %s/run\nstate_dir: %s/state\n", port,
		home, home);
	for (size_t l = 0; l < s->loads_len; l++)
		for (size_t i = 0; i < s->loads[l].users.len; i++) {
			const char *user = s->loads[l].users.rows[i];
			AUTO(buf_fini) struct buf line = BUF_INIT;

			buf_addf(&line, "%s:", user);
			chaos_daemon_key(&line, user);
			if (strstr(buf_str(&keys), buf_str(&line)) == NULL)
				buf_addf(&keys, "%s\n", buf_str(&line));
		}
	if (keys.len > 0) {
		buf_addf(&text, "auth: {keys_file: %s/keys}\n", home);
		code = chaos_write(&d->home, "keys", &keys, e);
	}
	return code == ERR_OK ? chaos_write(&d->home, "shunt.yaml", &text, e) : code;
}

/* ---- its processes ---- */

/* shuntd beside this program, beside it in an installation, or wherever the shell finds it. */
static void
chaos_exec(const char *config)
{
	static const char *const places[] = {"/shuntd", "/../sbin/shuntd"};
	char folder[PATH_BYTES], path[PATH_BYTES + 32];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	char *slash;

	folder[MAX(n, (ssize_t)0)] = '\0';
	slash = strrchr(folder, '/');
	if (slash != NULL)
		*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", folder, places[i]);
		(void)execl(path, "shuntd", "-c", config, (char *)NULL);
	}
	(void)execlp("shuntd", "shuntd", "-c", config, (char *)NULL);
	(void)dprintf(STDERR_FILENO, "shuntd: %s\n", strerror(errno));
	_exit(127);
}

static void
chaos_child(const struct chaos_daemon *d, pid_t parent)
{
	AUTO(buf_fini) struct buf config = BUF_INIT;
	AUTO(buf_fini) struct buf log = BUF_INIT;
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	sigset_t none;
	int fd;

	buf_addf(&config, "%s/shunt.yaml", buf_str(&d->home));
	buf_addf(&log, "%s/log", buf_str(&d->home));
	(void)sigaction(SIGINT, &usual, NULL);
	(void)sigaction(SIGTERM, &usual, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	fd = open(buf_str(&log), O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || getppid() != parent || dup2(fd, STDOUT_FILENO) < 0 ||
		dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	if (fd > STDERR_FILENO)
		(void)close(fd);
	fd = open("/dev/null", O_RDONLY);
	if (fd >= 0)
		(void)dup2(fd, STDIN_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
	chaos_exec(buf_str(&config));
}

/* Parent of a process; 0: gone, or dead already. */
static pid_t
chaos_parent(pid_t pid)
{
	char path[64], line[512];
	const char *end;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	(void)fclose(f);
	end = strrchr(line, ')');
	if (end == NULL || strlen(end) < 5 || end[2] == 'Z')
		return 0;
	return (pid_t)strtol(end + 4, NULL, 10); /* ") S PARENT ..." */
}

static void
chaos_add_use(struct chaos_use *u, pid_t pid)
{
	char path[64], line[256];
	DIR *folder;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = fopen(path, "re");
	if (f != NULL && fgets(line, sizeof(line), f) != NULL && strchr(line, ' ') != NULL)
		u->rss_kb += strtol(strchr(line, ' '), NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
	if (f != NULL)
		(void)fclose(f);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	if (folder == NULL)
		return;
	while (readdir(folder) != NULL)
		u->fds++;
	(void)closedir(folder);
}

/* Walk the children of parent: add up their use (NULL allowed), send a signal (0: none). */
static unsigned
chaos_walk(pid_t parent, struct chaos_use *use, int signal_number)
{
	DIR *proc = opendir("/proc");
	const struct dirent *row;
	unsigned n = 0;

	if (proc == NULL)
		return 0;
	while ((row = readdir(proc)) != NULL) {
		pid_t pid = (pid_t)strtol(row->d_name, NULL, 10);

		if (pid <= 0 || chaos_parent(pid) != parent)
			continue;
		n++;
		if (use != NULL)
			chaos_add_use(use, pid);
		if (signal_number == 0)
			continue;
		(void)kill(pid, signal_number);
		(void)waitpid(pid, NULL, 0);
	}
	(void)closedir(proc);
	return n;
}

struct chaos_use
chaos_daemon_use(const struct chaos_daemon *d)
{
	struct chaos_use use = {0, 0};

	if (d->pid > 0) {
		chaos_add_use(&use, d->pid);
		(void)chaos_walk(d->pid, &use, 0);
	}
	return use;
}

/* ---- start and end ---- */

static enum err_code
chaos_start_failed(const struct chaos_daemon *d, const char *what, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf log = BUF_INIT;
	const char *words;
	struct err ignored;

	buf_addf(&path, "%s/log", buf_str(&d->home));
	if (file_read(&log, buf_str(&path), WORDS_MAX, &ignored) != ERR_OK)
		buf_clear(&log);
	while (log.len > 0 && log.data[log.len - 1] == '\n')
		log.data[--log.len] = '\0';
	words = strrchr(buf_str(&log), '\n');
	return err_set(e, ERR_SYS, "%s: %s", what, words != NULL ? words + 1 : buf_str(&log));
}

static enum err_code
chaos_wait_up(const struct chaos_daemon *d, int signal_fd, struct err *e)
{
	uint64_t until_ns = clock_ns() + clock_ms_to_ns(START_MS);

	while (!chaos_look_is_up(d)) {
		struct pollfd interrupted = {.fd = signal_fd, .events = POLLIN};

		if (poll(&interrupted, 1, 0) > 0)
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (chaos_daemon_wait(d, -1, 0))
			return chaos_start_failed(d, "the daemon did not start", e);
		(void)chaos_daemon_wait(d, signal_fd, LOOK_MS);
		if (clock_ns() > until_ns)
			return chaos_start_failed(d, "the daemon was not ready in 20 s", e);
	}
	return ERR_OK;
}

MUST enum err_code
chaos_daemon_start(
	struct chaos_daemon *d, const struct chaos_scenario *s, int signal_fd, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	pid_t parent = getpid();
	enum err_code code;

	d->own = true;
	d->pidfd = -1;
	/* what the daemon leaves behind becomes our child, and is found */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	buf_addf(&d->home, "%s/shunt-chaos-XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
	if (mkdtemp(d->home.data) == NULL) {
		buf_clear(&d->home);
		return err_set(e, ERR_SYS, "mkdtemp: %s", strerror(errno));
	}
	code = chaos_write_config(d, s, e);
	if (code != ERR_OK)
		return code;
	d->pid = fork();
	if (d->pid == 0)
		chaos_child(d, parent);
	if (d->pid < 0) {
		d->pid = 0;
		return err_set(e, ERR_SYS, "fork: %s", strerror(errno));
	}
	d->pidfd = pidfd_open(d->pid, 0);
	if (d->pidfd < 0)
		return err_set(e, ERR_SYS, "pidfd_open: %s", strerror(errno));
	return chaos_wait_up(d, signal_fd, e);
}

static int
chaos_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path); /* what cannot be removed is left in a temporary folder */
	return 0;
}

void
chaos_daemon_stop(struct chaos_daemon *d)
{
	int status = -1;

	while (!d->own && d->faults_len > 0)
		chaos_ask_clear(d, d->faults[--d->faults_len]);
	if (d->pid > 0) {
		(void)kill(d->pid, SIGTERM);
		if (!chaos_daemon_wait(d, -1, STOP_MS))
			(void)kill(d->pid, SIGKILL);
		(void)waitpid(d->pid, &status, 0);
		d->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		d->processes_left = chaos_walk(getpid(), NULL, SIGKILL);
		d->pid = 0;
	}
	if (d->own && d->pidfd >= 0)
		(void)close(d->pidfd);
	d->pidfd = -1;
	if (d->home.len > 0)
		(void)nftw(buf_str(&d->home), chaos_remove, TREE_FDS, FTW_DEPTH | FTW_PHYS);
	buf_clear(&d->home);
}

void
chaos_daemon_fini(struct chaos_daemon *d)
{
	chaos_daemon_stop(d);
	buf_fini(&d->home);
	buf_fini(&d->url);
	buf_fini(&d->socket);
}
