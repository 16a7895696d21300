/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_server.c - a server for one connection, on 127.0.0.1, that ends as badly as it is told
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

enum { HEAD_MAX = 64 * 1024, SENT_AT_ONCE = 64 * 1024 };

struct fault_server {
	struct loop *loop;
	enum fault_server_mode mode;
	struct fault_server_user user;
	struct loop_fd fd; /* the listening socket, then the connection */
	struct loop_timer timer; /* of the next drop */
	bool accepted, asked, done;
	unsigned port;
	struct buf in, out;
	size_t at; /* of out, what comes next */
	uint64_t drip_bytes, drip_ms; /* 0: as fast as it goes */
	uint64_t next_ns; /* drop */
	enum fault_end end;
};

static void
server_hang_up(struct fault_server *s)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	s->done = true;
	loop_timer_clear(s->loop, &s->timer);
	loop_remove(s->loop, &s->fd);
	if (s->fd.fd < 0)
		return;
	if (s->end == FAULT_END_RESET)
		(void)setsockopt(s->fd.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(s->fd.fd);
	s->fd.fd = -1;
}

/* How much may go out now; sets the timer where none may. */
static size_t
server_allowed(struct fault_server *s)
{
	size_t left = s->out.len - s->at;

	if (s->drip_ms == 0)
		return MIN(left, (size_t)SENT_AT_ONCE);
	if (clock_ns() < s->next_ns) {
		loop_timer_set(s->loop, &s->timer, s->next_ns);
		return 0;
	}
	return MIN(left, (size_t)s->drip_bytes);
}

static void
server_write(struct fault_server *s)
{
	size_t n;
	ssize_t sent;

	while (s->at < s->out.len && (n = server_allowed(s)) > 0) {
		sent = send(s->fd.fd, s->out.data + s->at, n, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
			loop_change(s->loop, &s->fd, EPOLLIN | EPOLLOUT);
			return;
		}
		if (sent < 0) { /* whoever asked has gone */
			server_hang_up(s);
			return;
		}
		s->at += (size_t)sent;
		s->next_ns = clock_ns() + clock_ms_to_ns(s->drip_ms);
	}
	loop_change(s->loop, &s->fd, EPOLLIN);
	if (s->at < s->out.len)
		return;
	buf_clear(&s->out);
	s->at = 0;
	if (s->end != FAULT_END_NONE)
		server_hang_up(s);
	else
		s->user.on_drained(s->user.arg);
}

static void
server_on_timer(void *arg)
{
	struct fault_server *s = arg;

	if (!s->done)
		server_write(s);
}

/* What is asked does not matter, only that all of its head came. */
static void
server_read(struct fault_server *s)
{
	char block[4096];
	ssize_t n;

	while ((n = recv(s->fd.fd, block, sizeof(block), 0)) > 0)
		if (!s->asked && s->in.len < HEAD_MAX)
			buf_add(&s->in, block, (size_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		server_hang_up(s);
		return;
	}
	if (s->asked || s->in.len == 0 ||
		(s->mode != FAULT_SERVER_TLS &&
			memmem(s->in.data, s->in.len, "\r\n\r\n", 4) == NULL))
		return;
	s->asked = true;
	s->user.on_asked(s->user.arg);
}

static void
server_accept(struct fault_server *s)
{
	int one = 1, fd = accept4(s->fd.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct err e;

	if (fd < 0)
		return;
	loop_remove(s->loop, &s->fd);
	(void)close(s->fd.fd);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->accepted = true;
	s->fd.fd = fd;
	s->fd.events = EPOLLIN;
	if (loop_add(s->loop, &s->fd, &e) != ERR_OK)
		server_hang_up(s);
}

static void
server_on_fd(void *arg, uint32_t events)
{
	struct fault_server *s = arg;

	if (!s->accepted) {
		server_accept(s);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		server_read(s);
	if ((events & EPOLLOUT) != 0 && !s->done)
		server_write(s);
}

static enum err_code
server_bind(struct fault_server *s, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);

	s->fd.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd.fd < 0 || bind(s->fd.fd, (const struct sockaddr *)&a, len) != 0 ||
		getsockname(s->fd.fd, (struct sockaddr *)&a, &len) != 0)
		return err_set(e, ERR_SYS, "the fault's server: %s", strerror(errno));
	s->port = ntohs(a.sin_port);
	if (s->mode == FAULT_SERVER_REFUSES)
		return ERR_OK; /* bound and deaf: nobody else can take the port */
	if (listen(s->fd.fd, 1) != 0)
		return err_set(e, ERR_SYS, "the fault's server: %s", strerror(errno));
	return loop_add(s->loop, &s->fd, e);
}

enum err_code
fault_server_open(struct fault_server **out, struct loop *loop, enum fault_server_mode mode,
	const struct fault_server_user *u, struct err *e)
{
	AUTO(fault_server_close) struct fault_server *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	s->loop = loop;
	s->mode = mode;
	s->user = *u;
	s->timer = (struct loop_timer){.fn = server_on_timer, .arg = s};
	s->fd = (struct loop_fd){.fn = server_on_fd, .arg = s, .fd = -1, .events = EPOLLIN};
	if (server_bind(s, e) != ERR_OK)
		return e->code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

void
fault_server_close(struct fault_server **s_p)
{
	struct fault_server *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	server_hang_up(s);
	buf_fini(&s->in);
	buf_fini(&s->out);
	free(s);
}

unsigned
fault_server_port(const struct fault_server *s)
{
	return s->port;
}

void
fault_server_drip(struct fault_server *s, uint64_t bytes, uint64_t ms)
{
	s->drip_bytes = MAX(bytes, UINT64_C(1));
	s->drip_ms = ms;
}

/* Not written at once: the caller may be inside the other end's callbacks. */
void
fault_server_send(struct fault_server *s, const void *data, size_t len)
{
	buf_add(&s->out, data, len);
	if (!s->done && s->timer.heap_index == 0)
		loop_timer_set(s->loop, &s->timer, 0);
}

void
fault_server_end(struct fault_server *s, enum fault_end end)
{
	s->end = end;
	if (!s->done && s->timer.heap_index == 0)
		loop_timer_set(s->loop, &s->timer, 0);
}

size_t
fault_server_pending(const struct fault_server *s)
{
	return s->out.len - s->at;
}
