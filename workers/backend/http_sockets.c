/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_sockets.c - which sockets of exchanges are watched, in an epoll of their own
 *
 * curl takes its interest in a kept connection back after each exchange and declares it again at
 * the next; two system calls that say nothing new. So a connection stays watched, and is dropped
 * when it speaks while nobody wants to hear it (its server closed it). That may only be done for
 * sockets whose opening and closing are seen here: a number that is used again must not seem
 * watched still. curl's other descriptors (of its resolver) are added and removed at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workers/backend/backend.h"

struct http_socket {
	bool ours; /* seen from its opening to its closing */
	uint32_t watched; /* events as the kernel has them; 0: not watched */
	uint32_t wanted;
	struct plain_conn *owner; /* NULL: curl's, or closed */
};

struct http_sockets {
	int epoll_fd;
	struct http_socket *rows; /* by descriptor */
	size_t len;
};

MUST enum err_code
http_sockets_new(struct http_sockets **out, struct err *e)
{
	struct http_sockets *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0) {
		free(s);
		return err_set(e, ERR_SYS, "epoll_create1: %s", strerror(errno));
	}
	*out = s;
	return ERR_OK;
}

void
http_sockets_free(struct http_sockets **s_p)
{
	struct http_sockets *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	(void)close(s->epoll_fd);
	free(s->rows);
	free(s);
}

int
http_sockets_fd(const struct http_sockets *s)
{
	return s->epoll_fd;
}

static struct http_socket *
http_sockets_row(struct http_sockets *s, int fd)
{
	size_t len = MAX(s->len * 2, (size_t)64);

	CHECK(fd >= 0);
	if ((size_t)fd >= s->len) {
		while (len <= (size_t)fd)
			len *= 2;
		s->rows = reallocarray(s->rows, len, sizeof(*s->rows));
		CHECK(s->rows != NULL);
		memset(s->rows + s->len, 0, (len - s->len) * sizeof(*s->rows));
		s->len = len;
	}
	return &s->rows[fd];
}

int
http_sockets_open(struct http_sockets *s, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	if (fd >= 0)
		*http_sockets_row(s, fd) = (struct http_socket){.ours = true};
	return fd;
}

int
http_sockets_close(struct http_sockets *s, int fd)
{
	*http_sockets_row(s, fd) = (struct http_socket){0};
	return close(fd);
}

void
http_sockets_own(struct http_sockets *s, int fd, struct plain_conn *owner)
{
	http_sockets_row(s, fd)->owner = owner;
}

struct plain_conn *
http_sockets_owner(struct http_sockets *s, int fd)
{
	return http_sockets_row(s, fd)->owner;
}

static bool
http_sockets_watch(struct http_sockets *s, int fd, uint32_t events)
{
	struct http_socket *row = http_sockets_row(s, fd);
	struct epoll_event ev = {.events = events, .data = {.fd = fd}};

	/* what is known of others' descriptors can be stale either way */
	if (epoll_ctl(s->epoll_fd, row->watched != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) ==
			0 ||
		(errno == ENOENT && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0) ||
		(errno == EEXIST && epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0)) {
		row->watched = events;
		return true;
	}
	return false;
}

static void
http_sockets_drop(struct http_sockets *s, int fd)
{
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	http_sockets_row(s, fd)->watched = 0;
}

bool
http_sockets_want(struct http_sockets *s, int fd, uint32_t events)
{
	struct http_socket *row = http_sockets_row(s, fd);

	row->wanted = events;
	if (row->ours && (events == 0 || events == row->watched))
		return true;
	if (events != 0)
		return http_sockets_watch(s, fd, events);
	http_sockets_drop(s, fd);
	return true;
}

size_t
http_sockets_ready(struct http_sockets *s, struct http_ready *out, size_t most)
{
	struct epoll_event events[HTTP_READY_MAX];
	int n = epoll_wait(s->epoll_fd, events, (int)MIN(most, (size_t)HTTP_READY_MAX), 0);
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;

		if (http_sockets_row(s, fd)->wanted == 0)
			http_sockets_drop(s, fd);
		else
			out[len++] = (struct http_ready){fd, events[i].events};
	}
	return len;
}
