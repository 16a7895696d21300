/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_file.c - the upstream's API key, read from its file
 *
 * The key goes nowhere but into the request headers of this process; memory that held it is
 * overwritten before it is freed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workers/backend/backend.h"

enum { KEY_MAX = 8192 };

void
key_free(char **key_p)
{
	if (*key_p != NULL)
		explicit_bzero(*key_p, strlen(*key_p));
	free(*key_p);
	*key_p = NULL;
}

/* One line of printable ASCII: anything else would break the header it goes into. */
static enum err_code
key_check(char *key, const char *path, struct err *e)
{
	size_t len = strlen(key);

	while (len > 0 && (key[len - 1] == '\n' || key[len - 1] == '\r' || key[len - 1] == ' '))
		key[--len] = '\0';
	if (len == 0)
		return err_set(e, ERR_CONFIG, "key file %s is empty", path);
	for (size_t i = 0; i < len; i++)
		if (key[i] <= ' ' || key[i] > '~')
			return err_set(e, ERR_CONFIG,
				"key file %s must hold one line with the key and nothing else",
				path);
	return ERR_OK;
}

static enum err_code
key_read_fd(char *key, int fd, const char *path, struct err *e)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		return err_set(e, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CONFIG, "key file %s is no regular file", path);
	if (st.st_mode & S_IRWXO)
		return err_set(e, ERR_CONFIG,
			"key file %s is open to every user (mode %04o): chmod o= it", path,
			(unsigned)(st.st_mode & 07777));
	n = read(fd, key, KEY_MAX);
	if (n < 0)
		return err_set(e, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
	if (n == KEY_MAX)
		return err_set(e, ERR_CONFIG, "key file %s is larger than a key", path);
	key[n] = '\0';
	return key_check(key, path, e);
}

MUST enum err_code
key_read(char **out, const char *path, struct err *e)
{
	AUTO(key_free) char *key = calloc(1, KEY_MAX + 1);
	enum err_code code;
	int fd;

	CHECK(key != NULL);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
	code = key_read_fd(key, fd, path, e);
	(void)close(fd);
	if (code != ERR_OK) {
		explicit_bzero(key, KEY_MAX); /* what was read may lie behind a NUL */
		return code;
	}
	*out = strdup(key);
	CHECK(*out != NULL);
	return ERR_OK;
}
