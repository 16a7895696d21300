/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_file.c - read data files, packed or not; write results whole or not at all
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "cli/lab.h"

enum { READ_PIECE = 1 << 18 };

static void
gz_close(gzFile *f)
{
	if (*f != NULL)
		(void)gzclose_r(*f);
}

static enum err_code
read_all(struct buf *out, gzFile f, const char *path, struct err *e)
{
	for (;;) {
		int n, code;

		if (out->len > LAB_TEXT_MAX)
			return err_set(e, ERR_INPUT, "%s: more than 1 GiB of text", path);
		buf_reserve(out, READ_PIECE);
		errno = 0;
		n = gzread(f, out->data + out->len, READ_PIECE);
		if (n > 0) {
			out->len += (size_t)n;
			continue;
		}
		out->data[out->len] = '\0';
		(void)gzerror(f, &code);
		if (n == 0 && code == Z_OK)
			return ERR_OK;
		if (code == Z_ERRNO)
			return err_set(e, ERR_INPUT, "%s: %s", path, strerror(errno));
		return err_set(e, ERR_INPUT, "%s: %s", path,
			code == Z_BUF_ERROR ? "the gzip data ends early" : "damaged gzip data");
	}
}

enum err_code
lab_read(struct buf *out, const char *path, struct err *e)
{
	AUTO(gz_close) gzFile f = NULL;
	int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return err_set(e, ERR_INPUT, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		(void)close(fd);
		return err_set(e, ERR_INPUT, "%s: is a directory", path);
	}
	f = gzdopen(fd, "rb");
	CHECK(f != NULL);
	(void)gzbuffer(f, READ_PIECE);
	return read_all(out, f, path, e);
}

static bool
write_all(int fd, const struct buf *data)
{
	for (size_t done = 0; done < data->len;) {
		ssize_t n = write(fd, data->data + done, data->len - done);

		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* Where a file is written: beside its name, then renamed over it. A device or a pipe can't be
 * replaced and is written into. */
struct target {
	struct buf path; /* links followed: they stay */
	struct buf opened;
	bool beside;
};

static void
target_fini(struct target *t)
{
	buf_fini(&t->path);
	buf_fini(&t->opened);
}

/* What is there is no regular file, and may be written into. */
static bool
target_is_stream(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

/* The descriptor; -1 with errno. */
static int
target_open(struct target *t, const char *path)
{
	struct stat st;
	char *real;

	t->beside = !target_is_stream(path);
	if (!t->beside)
		return open(path, O_WRONLY | O_CLOEXEC);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	real = realpath(path, NULL);
	buf_add_str(&t->path, real != NULL ? real : path);
	free(real);
	buf_addf(&t->opened, "%s.new-%d", buf_str(&t->path), (int)getpid());
	return open(buf_str(&t->opened), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

enum err_code
lab_write_check(const char *path, struct err *e)
{
	AUTO(target_fini) struct target t = {.path = BUF_INIT};
	int fd;

	if (target_is_stream(path))
		return ERR_OK; /* to open a pipe waits for its reader */
	fd = target_open(&t, path);
	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	(void)close(fd);
	(void)unlink(buf_str(&t.opened));
	return ERR_OK;
}

enum err_code
lab_write(const char *path, const struct buf *data, struct err *e)
{
	AUTO(target_fini) struct target t = {.path = BUF_INIT};
	int fd = target_open(&t, path), failed = 0;

	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	if (!write_all(fd, data) || (t.beside && fsync(fd) != 0))
		failed = errno;
	if (close(fd) != 0 && failed == 0)
		failed = errno;
	if (failed == 0 && t.beside && rename(buf_str(&t.opened), buf_str(&t.path)) != 0)
		failed = errno;
	if (failed == 0)
		return ERR_OK;
	if (t.beside)
		(void)unlink(buf_str(&t.opened));
	return err_set(e, ERR_SYS, "%s: %s", path, strerror(failed));
}
