/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - read a whole file, find one that shunt ships
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

static void
file_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

enum err_code
file_read(struct buf *out, const char *path, size_t max, struct err *e)
{
	AUTO(file_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CONFIG, "%s: is no regular file", path);
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(e, ERR_CONFIG, "%s: is larger than %zu bytes", path, max);
	buf_clear(out);
	/* one byte more than was told, to see the end, and a file that grows meanwhile */
	buf_reserve(out, (size_t)st.st_size + 1);
	for (;;) {
		if (out->len == out->cap)
			buf_reserve(out, 65536);
		n = read(fd, out->data + out->len, out->cap - out->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		out->len += (size_t)n;
		if (out->len > max)
			return err_set(e, ERR_CONFIG, "%s: is larger than %zu bytes", path, max);
	}
	buf_reserve(out, 1);
	out->data[out->len] = '\0';
	return ERR_OK;
}

bool
file_shipped(struct buf *out, const char *name)
{
	/* from a build folder, from libexec/shunt, from bin */
	static const char *const folders[] = {"share", "../../share/shunt", "../share/shunt"};
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;

	if (n <= 0)
		return false;
	program[n] = '\0';
	slash = strrchr(program, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		buf_clear(out);
		buf_addf(out, "%s/%s/%s", program, folders[i], name);
		if (access(buf_str(out), R_OK) == 0)
			return true;
	}
	buf_clear(out);
	return false;
}

bool
file_ends(const char *name, const char *end)
{
	size_t len = strlen(name), tail = strlen(end);

	return len > tail && strcmp(name + len - tail, end) == 0;
}
