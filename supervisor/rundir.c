/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.c - the runtime folder: ours alone, one daemon at a time, empty again at the end
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "supervisor/rundir.h"

#define RUNDIR_PID_FILE "shuntd.pid"

struct rundir {
	char *path;
	int fd; /* of the folder */
	int bus_fd; /* of bus/ in it */
	int lock_fd;
	bool made; /* by us: removed at the end */
};

/* Nobody else may be able to put things into it. */
static enum err_code
rundir_check_owner(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	if (st.st_uid != geteuid())
		return err_set(e, ERR_SYS, "%s belongs to uid %u, not to us (uid %u)", path,
			st.st_uid, geteuid());
	if ((st.st_mode & 022) != 0)
		return err_set(e, ERR_SYS,
			"%s: mode %03o lets others write there; name a folder of our own, or chmod "
			"700 it",
			path, st.st_mode & 0777U);
	return ERR_OK;
}

/* Make the folder name in at (AT_FDCWD or a folder) unless it is there, and open it. */
static enum err_code
rundir_open_folder(int *out, bool *made, int at, const char *name, const char *path, struct err *e)
{
	int fd;

	*made = mkdirat(at, name, 0700) == 0;
	if (!*made && errno != EEXIST)
		return err_set(e, ERR_SYS, "cannot make folder %s: %s", path, strerror(errno));
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_SYS, "cannot open folder %s: %s", path, strerror(errno));
	*out = fd;
	return rundir_check_owner(fd, path, e);
}

static enum err_code
rundir_refuse_second(const struct rundir *r, int fd, struct err *e)
{
	char text[24] = "";

	if (errno != EWOULDBLOCK)
		return err_set(e, ERR_SYS, "cannot lock %s/%s: %s", r->path, RUNDIR_PID_FILE,
			strerror(errno));
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return err_set(e, ERR_SYS, "another shuntd (pid %s) runs in %s", text, r->path);
}

/* Lock the pid file. A daemon that ends removes it, so look whether what we locked is still the
 * file of that name. */
static enum err_code
rundir_lock(struct rundir *r, struct err *e)
{
	struct stat locked, named;
	enum err_code code;
	int fd;

	for (;;) {
		fd = openat(
			r->fd, RUNDIR_PID_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return err_set(e, ERR_SYS, "cannot open %s/%s: %s", r->path,
				RUNDIR_PID_FILE, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			code = rundir_refuse_second(r, fd, e);
			(void)close(fd);
			return code;
		}
		if (fstat(fd, &locked) == 0 && fstatat(r->fd, RUNDIR_PID_FILE, &named, 0) == 0 &&
			locked.st_ino == named.st_ino && locked.st_dev == named.st_dev)
			break;
		(void)close(fd);
	}
	r->lock_fd = fd;
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", getpid()) < 0)
		return err_set(e, ERR_SYS, "cannot write %s/%s: %s", r->path, RUNDIR_PID_FILE,
			strerror(errno));
	return ERR_OK;
}

/* Remove the sockets of bus/: leftovers at start, our own at the end. */
static void
rundir_empty_bus(const struct rundir *r)
{
	struct dirent *entry;
	int fd = dup(r->bus_fd);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	rewinddir(dir);
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_type == DT_SOCK || entry->d_type == DT_REG)
			(void)unlinkat(r->bus_fd, entry->d_name, 0);
	(void)closedir(dir);
}

enum err_code
rundir_open(struct rundir **out, const char *path, struct err *e)
{
	AUTO(rundir_close) struct rundir *r = calloc(1, sizeof(*r));
	char bus_path[300];
	bool bus_made;
	enum err_code code;

	CHECK(r != NULL);
	r->fd = r->bus_fd = r->lock_fd = -1;
	r->path = strdup(path);
	CHECK(r->path != NULL);
	(void)snprintf(bus_path, sizeof(bus_path), "%s/bus", path);
	code = rundir_open_folder(&r->fd, &r->made, AT_FDCWD, path, path, e);
	if (code != ERR_OK)
		return err_wrap(e, "run_dir");
	if ((code = rundir_lock(r, e)) != ERR_OK)
		return code;
	code = rundir_open_folder(&r->bus_fd, &bus_made, r->fd, "bus", bus_path, e);
	if (code != ERR_OK)
		return err_wrap(e, "run_dir");
	if (fchmod(r->bus_fd, 0700) < 0)
		return err_set(e, ERR_SYS, "chmod %s: %s", bus_path, strerror(errno));
	rundir_empty_bus(r);
	*out = r;
	r = NULL;
	return ERR_OK;
}

MUST enum err_code
rundir_make_state(const char *path, struct err *e)
{
	AUTO(buf_fini) struct buf part = BUF_INIT;
	enum err_code code;
	bool made;
	int fd = -1;

	for (const char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		buf_clear(&part);
		buf_add(&part, path, (size_t)(p - path));
		if (mkdir(buf_str(&part), 0755) != 0 && errno != EEXIST)
			return err_set(e, ERR_SYS, "state_dir: cannot make folder %s: %s",
				buf_str(&part), strerror(errno));
	}
	code = rundir_open_folder(&fd, &made, AT_FDCWD, path, path, e);
	if (fd >= 0)
		(void)close(fd);
	return code == ERR_OK ? ERR_OK : err_wrap(e, "state_dir");
}

void
rundir_close(struct rundir **r_p)
{
	struct rundir *r = *r_p;

	if (r == NULL)
		return;
	/* Only the holder of the lock may clean up. */
	if (r->lock_fd >= 0) {
		if (r->bus_fd >= 0) {
			rundir_empty_bus(r);
			(void)unlinkat(r->fd, "bus", AT_REMOVEDIR);
		}
		(void)unlinkat(r->fd, "journal", AT_REMOVEDIR); /* not where records wait */
		(void)unlinkat(r->fd, RUNDIR_PID_FILE, 0);
		if (r->made)
			(void)rmdir(r->path);
		(void)close(r->lock_fd);
	}
	if (r->bus_fd >= 0)
		(void)close(r->bus_fd);
	if (r->fd >= 0)
		(void)close(r->fd);
	free(r->path);
	free(r);
	*r_p = NULL;
}

void
rundir_forget(struct rundir *r, unsigned slot, uint32_t generation)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%u.%u", slot, generation);
	(void)unlinkat(r->bus_fd, name, 0); /* a worker that nobody calls binds none */
}
