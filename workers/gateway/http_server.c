/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.c - listening sockets, the connection limit, and the end of each turn
 *
 * Several gateways listen on the same inherited sockets; EPOLLEXCLUSIVE wakes one of them, and a
 * small batch per wake-up lets the others have their share.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/gateway/gateway.h"

enum {
	ACCEPT_BATCH = 8,
	ACCEPT_PAUSE_MS = 100,
	ACCEPT_SPARE = 64,
	FIRST_REQUEST_MS = 1000 /* that a client which connected before the drain gets to ask */
};

static void
server_turn(void *arg)
{
	struct http_server *s = arg;
	struct http_conn *c;

	while ((c = s->dirty) != NULL) {
		s->dirty = c->next_dirty;
		c->dirty = false;
		/* where the socket is full, EPOLLOUT goes on */
		if ((c->fd.events & EPOLLOUT) == 0)
			http_conn_flush(c);
	}
	while ((c = s->dead) != NULL) {
		s->dead = c->next_dead;
		http_conn_free(c);
	}
}

/* One too many: say so and hang up; beyond ACCEPT_SPARE of those just hang up. */
static void
server_refuse(struct http_server *s, int fd, struct http_peer peer)
{
	struct http_conn *c;
	struct err e;

	if (s->open >= s->limits->connections + ACCEPT_SPARE) {
		(void)close(fd);
		return;
	}
	c = http_conn_open(s, fd, peer);
	if (c == NULL)
		return;
	(void)err_set(&e, ERR_UNAVAILABLE, "too many connections (limits.connections is %u)",
		s->limits->connections);
	e.retry_after_ms = 1000;
	http_conn_refuse(c, &e);
}

/* Who has a whole IPv6 network is one user. */
static uint64_t
server_address(const struct sockaddr_storage *from)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)from;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)from;

	if (from->ss_family == AF_INET)
		return route_hash((const char *)&four->sin_addr, sizeof(four->sin_addr));
	if (from->ss_family == AF_INET6)
		return route_hash((const char *)&six->sin6_addr, sizeof(six->sin6_addr) / 2);
	return 0;
}

static void
server_take(struct http_listener *l, int fd, const struct sockaddr_storage *from)
{
	struct http_peer peer = {
		.is_unix = l->is_unix, .uid = (uid_t)-1, .address = server_address(from)};
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int on = 1;

	if (l->server->open >= l->server->limits->connections) {
		server_refuse(l->server, fd, peer);
		return;
	}
	if (!l->is_unix)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && len == sizeof(cred))
		peer.uid = cred.uid;
	(void)http_conn_open(l->server, fd, peer);
}

static void
server_listen_again(void *arg)
{
	struct http_server *s = arg;
	struct err e;

	for (size_t i = 0; i < s->listeners_len && !s->draining; i++) {
		if (s->listeners[i].fd.added ||
			loop_add(s->loop, &s->listeners[i].fd, &e) == ERR_OK)
			continue;
		log_warn("listen_failed", "pause_ms=%d error=\"%s\"", ACCEPT_PAUSE_MS, e.text);
		loop_timer_set(s->loop, &s->accept_timer,
			loop_now(s->loop) + clock_ms_to_ns(ACCEPT_PAUSE_MS));
	}
}

/* Out of descriptors or memory: let running requests give some back before trying again. */
static void
server_pause(struct http_server *s)
{
	log_warn("accept_failed", "pause_ms=%d error=\"%s\"", ACCEPT_PAUSE_MS, strerror(errno));
	for (size_t i = 0; i < s->listeners_len; i++)
		loop_remove(s->loop, &s->listeners[i].fd);
	loop_timer_set(
		s->loop, &s->accept_timer, loop_now(s->loop) + clock_ms_to_ns(ACCEPT_PAUSE_MS));
}

static void
server_accept(void *arg, uint32_t events)
{
	struct http_listener *l = arg;

	(void)events;
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
		socklen_t len = sizeof(from);
		int fd = accept4(l->fd.fd, (struct sockaddr *)(void *)&from, &len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			server_take(l, fd, &from);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			server_pause(l->server);
		else if (errno == ECONNABORTED || errno == EINTR)
			continue;
		return;
	}
}

void
http_server_init(struct http_server *s, struct loop *loop, const struct config_limits *limits,
	const struct http_ops *ops, void *arg)
{
	memset(s, 0, sizeof(*s));
	s->loop = loop;
	s->limits = limits;
	s->ops = ops;
	s->arg = arg;
	s->accept_timer = (struct loop_timer){.fn = server_listen_again, .arg = s};
	loop_on_turn(loop, server_turn, s);
}

MUST enum err_code
http_server_listen(struct http_server *s, const int *fds, size_t len, struct err *e)
{
	if (len > HTTP_LISTENERS_MAX)
		return err_set(e, ERR_CONFIG, "more than %d listening sockets", HTTP_LISTENERS_MAX);
	for (size_t i = 0; i < len; i++) {
		struct http_listener *l = &s->listeners[s->listeners_len];
		struct sockaddr_storage at = {0};
		socklen_t at_len = sizeof(at);

		if (getsockname(fds[i], (struct sockaddr *)&at, &at_len) != 0)
			return err_set(e, ERR_SYS, "listening socket %zu: %s", i, strerror(errno));
		l->server = s;
		l->is_unix = at.ss_family == AF_UNIX;
		l->fd = (struct loop_fd){.fn = server_accept,
			.arg = l,
			.fd = fds[i],
			.events = EPOLLIN | EPOLLEXCLUSIVE};
		if (loop_add(s->loop, &l->fd, e) != ERR_OK)
			return e->code;
		s->listeners_len++;
	}
	return ERR_OK;
}

void
http_server_drain(struct http_server *s)
{
	if (s->draining)
		return;
	s->draining = true;
	loop_timer_clear(s->loop, &s->accept_timer);
	for (size_t i = 0; i < s->listeners_len; i++)
		loop_remove(s->loop, &s->listeners[i].fd);
	if (s->open == 0) {
		s->ops->on_drained(s);
		return;
	}
	for (struct http_conn *c = s->conns; c != NULL; c = c->next) {
		c->closing = true;
		/* what has come already is answered, and so is the first request of a connection:
		 * only those of a used one may be sent again by its client */
		if (c->phase == CONN_IDLE)
			loop_timer_set(s->loop, &c->timer,
				loop_now(s->loop) +
					(c->used ? 0 : clock_ms_to_ns(FIRST_REQUEST_MS)));
	}
}

void
http_server_fini(struct http_server *s)
{
	if (s->loop == NULL)
		return;
	s->draining = false;
	loop_timer_clear(s->loop, &s->accept_timer);
	for (size_t i = 0; i < s->listeners_len; i++)
		loop_remove(s->loop, &s->listeners[i].fd);
	while (s->conns != NULL)
		http_conn_close(s->conns);
	s->dirty = NULL;
	server_turn(s);
}

const char *
http_server_date(struct http_server *s)
{
	uint64_t now_s = clock_wall_s();
	time_t t = (time_t)now_s;
	struct tm tm;

	if (now_s != s->date_s && gmtime_r(&t, &tm) != NULL) {
		s->date_s = now_s;
		(void)strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return s->date;
}
