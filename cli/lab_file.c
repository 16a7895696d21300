/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_file.c - read data files, packed or not; write results whole or not at all
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
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
	return fsync(fd) == 0;
}

enum err_code
lab_write(const char *path, const struct buf *data, struct err *e)
{
	AUTO(buf_fini) struct buf next = BUF_INIT;
	int fd, failed = 0;

	buf_addf(&next, "%s.new-%d", path, (int)getpid());
	fd = open(buf_str(&next), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	if (!write_all(fd, data))
		failed = errno;
	if (close(fd) != 0 && failed == 0)
		failed = errno;
	if (failed == 0 && rename(buf_str(&next), path) != 0)
		failed = errno;
	if (failed == 0)
		return ERR_OK;
	(void)unlink(buf_str(&next));
	return err_set(e, ERR_SYS, "%s: %s", path, strerror(failed));
}
