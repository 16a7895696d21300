/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - the listening sockets: opened here, inherited by every gateway
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/config.h"
#include "lib/base/log.h"
#include "supervisor/listen.h"
#include "supervisor/listen_socket.h"

enum { LISTEN_FDS_START = 3 }; /* fixed by the service manager's protocol */

/* What belongs to a socket besides its descriptor. */
struct listen_row {
	char *text; /* as in the config; NULL: inherited and not matched yet */
	char *path; /* unix sockets that we made: removed at the end */
	uint32_t mode; /* likewise */
	ino_t inode; /* of the path: somebody else's socket there is left alone */
};

struct listen_set {
	size_t len;
	int fds[LISTEN_MAX];
	struct listen_row rows[LISTEN_MAX];
};

static struct listen_set *
listen_alloc(void)
{
	struct listen_set *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	for (size_t i = 0; i < LISTEN_MAX; i++)
		s->fds[i] = -1;
	return s;
}

static void
listen_row_close(struct listen_set *s, size_t i)
{
	struct listen_row *row = &s->rows[i];
	struct stat st;

	if (s->fds[i] >= 0) {
		if (row->path != NULL && lstat(row->path, &st) == 0 && st.st_ino == row->inode)
			(void)unlink(row->path);
		(void)close(s->fds[i]);
	}
	free(row->text);
	free(row->path);
	s->fds[i] = -1;
	*row = (struct listen_row){.text = NULL};
}

void
listen_close(struct listen_set **s_p)
{
	struct listen_set *s = *s_p;

	if (s == NULL)
		return;
	for (size_t i = 0; i < s->len; i++)
		listen_row_close(s, i);
	free(s);
	*s_p = NULL;
}

/* How many descriptors were passed to this very process. */
static size_t
listen_inherited_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	long count;

	if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != getpid())
		return 0;
	count = strtol(fds, NULL, 10);
	if (count < 0 || count > LISTEN_MAX) {
		log_warn("listen_inherit", "text=\"LISTEN_FDS=%s: at most %d are taken\"", fds,
			LISTEN_MAX);
		count = count < 0 ? 0 : LISTEN_MAX;
	}
	return (size_t)count;
}

struct listen_set *
listen_inherit(void)
{
	struct listen_set *s = listen_alloc();
	int flags, listens = 0;
	socklen_t size = sizeof(listens);

	for (size_t n = listen_inherited_count(), i = 0; i < n; i++) {
		int fd = LISTEN_FDS_START + (int)i;

		flags = fcntl(fd, F_GETFL);
		if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 ||
			!listens || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
			fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
			log_warn("listen_inherit", "fd=%d text=\"not a listening socket\"", fd);
			continue;
		}
		s->fds[s->len++] = fd;
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return s;
}

/* The index in old of a socket that serves l and is not taken yet, or -1. Port 0 is another port
 * each time, so there the text decides. */
static int
listen_find(
	const struct listen_set *old, const bool taken[LISTEN_MAX], const struct config_listen *l)
{
	for (size_t i = 0; old != NULL && i < old->len; i++) {
		if (taken[i])
			continue;
		if ((old->rows[i].text != NULL && strcmp(old->rows[i].text, l->text) == 0) ||
			listen_socket_is(old->fds[i], l))
			return (int)i;
	}
	return -1;
}

static enum err_code
listen_add_new(struct listen_set *s, const struct config_listen *l, struct err *e)
{
	struct listen_row *row = &s->rows[s->len];
	enum err_code code;
	struct stat st;

	code = listen_socket_open(&s->fds[s->len], l, e);
	if (code != ERR_OK)
		return err_wrap(e, "cannot listen");
	s->len++;
	row->text = strdup(l->text);
	CHECK(row->text != NULL);
	if (l->path != NULL && lstat(l->path, &st) == 0) {
		row->path = strdup(l->path);
		CHECK(row->path != NULL);
		row->mode = l->mode;
		row->inode = st.st_ino;
	}
	return ERR_OK;
}

/* Move socket i of old to the end of s, where it serves l from now on. */
static void
listen_take(struct listen_set *s, struct listen_set *old, size_t i, const struct config_listen *l)
{
	struct listen_row *row = &s->rows[s->len];

	CHECK(s->len < LISTEN_MAX && old->fds[i] >= 0);
	s->fds[s->len++] = old->fds[i];
	*row = old->rows[i];
	old->fds[i] = -1;
	old->rows[i] = (struct listen_row){.text = NULL};
	free(row->text);
	row->text = strdup(l->text);
	CHECK(row->text != NULL);
	if (row->path != NULL && row->mode != l->mode && chmod(row->path, l->mode) == 0)
		row->mode = l->mode;
}

static void
listen_warn_unused(const struct listen_set *old)
{
	char text[200];

	for (size_t i = 0; old != NULL && i < old->len; i++) {
		if (old->fds[i] < 0 || old->rows[i].text != NULL)
			continue;
		listen_socket_text(text, sizeof(text), old->fds[i]);
		log_warn("listen_unused",
			"address=%s text=\"passed by the service manager, not in the config: "
			"closed\"",
			text);
	}
}

/* It cannot be opened; where a socket that we hold is in the way, say so. */
static enum err_code
listen_in_the_way(const struct listen_set *old, const struct config_listen *l, struct err *e)
{
	char port[16], text[200];
	size_t len = (size_t)snprintf(port, sizeof(port), ":%u", l->port), text_len;

	for (size_t i = 0; old != NULL && l->path == NULL && i < old->len; i++) {
		if (old->rows[i].text != NULL)
			(void)snprintf(text, sizeof(text), "%s", old->rows[i].text);
		else
			listen_socket_text(text, sizeof(text), old->fds[i]);
		text_len = strlen(text);
		if (text_len <= len || strcmp(text + text_len - len, port) != 0)
			continue;
		if (old->rows[i].text != NULL)
			return err_wrap(e, "only a restart can change the address of %s", text);
		return err_wrap(e,
			"the service manager passes %s, which is not in `listen` (shunt.socket: "
			"ListenStream)",
			text);
	}
	return e->code;
}

enum err_code
listen_open(struct listen_set **out, struct listen_set **old, const struct config *c, struct err *e)
{
	AUTO(listen_close) struct listen_set *opened = listen_alloc();
	bool taken[LISTEN_MAX] = {false};
	int from[LISTEN_MAX];
	struct listen_set *s;
	size_t fresh = 0;

	if (c->listen_len > LISTEN_MAX)
		return err_set(e, ERR_CONFIG, "%zu listen addresses, at most %d", c->listen_len,
			LISTEN_MAX);
	/* First everything that can fail, then hand over. */
	for (size_t i = 0; i < c->listen_len; i++) {
		from[i] = listen_find(*old, taken, &c->listen[i]);
		if (from[i] >= 0)
			taken[from[i]] = true;
		else if (listen_add_new(opened, &c->listen[i], e) != ERR_OK)
			return listen_in_the_way(*old, &c->listen[i], e);
	}
	s = listen_alloc();
	for (size_t i = 0; i < c->listen_len; i++) {
		if (from[i] >= 0)
			listen_take(s, *old, (size_t)from[i], &c->listen[i]);
		else
			listen_take(s, opened, fresh++, &c->listen[i]);
	}
	listen_warn_unused(*old);
	listen_close(old);
	*out = s;
	return ERR_OK;
}

size_t
listen_count(const struct listen_set *s)
{
	return s == NULL ? 0 : s->len;
}

const int *
listen_fds(const struct listen_set *s)
{
	return s == NULL ? NULL : s->fds;
}

void
listen_log(const struct listen_set *s)
{
	char text[200];

	for (size_t i = 0; i < listen_count(s); i++) {
		listen_socket_text(text, sizeof(text), s->fds[i]);
		log_info("listening", "address=%s", text);
	}
}
