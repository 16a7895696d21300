/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_conn.c - where plain HTTP goes to, and the connections there that are kept
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

enum { IDLE_MAX_MS = 110 * 1000 }; /* a connection idle for longer is not used again */

/* ---- URLs ---- */

static bool
target_set_address(struct plain_target *t, const char *host, unsigned port, bool v6)
{
	struct sockaddr_in *a4 = (struct sockaddr_in *)&t->address;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&t->address;

	if (v6) {
		t->len = sizeof(*a6);
		a6->sin6_family = AF_INET6;
		a6->sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, host, &a6->sin6_addr) == 1;
	}
	t->len = sizeof(*a4);
	a4->sin_family = AF_INET;
	a4->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &a4->sin_addr) == 1;
}

bool
plain_target_read(struct plain_target *t, const char *url)
{
	const char *at = url + 7, *end, *port_at;
	char host[sizeof(((struct plain_target *)0)->authority)];
	unsigned long port = 80;
	char *port_end;
	bool v6;

	*t = (struct plain_target){0};
	if (strncasecmp(url, "http://", 7) != 0)
		return false;
	end = at + strcspn(at, "/?#");
	if (*end != '/' || (size_t)(end - at) >= sizeof(t->authority))
		return false;
	t->path_at = (size_t)(end - url);
	v6 = *at == '[';
	port_at = at + strcspn(at, v6 ? "]" : ":/") + (v6 ? 1 : 0);
	if (port_at > end)
		return false;
	(void)snprintf(host, sizeof(host), "%.*s", (int)(port_at - at - (v6 ? 2 : 0)), at + v6);
	if (*port_at == ':') {
		port = strtoul(port_at + 1, &port_end, 10);
		if (port_end != end || port_at + 1 == end || port == 0 || port > 65535)
			return false;
	} else if (port_at != end) {
		return false;
	}
	if (port == 80)
		end = port_at;
	(void)snprintf(t->authority, sizeof(t->authority), "%.*s", (int)(end - at), at);
	return target_set_address(t, host, (unsigned)port, v6);
}

/* ---- connections ---- */

void
plain_conn_close(struct plain_conn **k_p)
{
	struct plain_conn *k = *k_p;

	*k_p = NULL;
	if (k == NULL)
		return;
	(void)http_sockets_close(k->pool->http->sockets, k->fd);
	free(k);
}

static void
conn_forget_idle(struct plain_conn *k)
{
	struct plain_conn **at = &k->pool->idle;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	k->pool->idle_len--;
}

/* Is it open, and silent? What it said since its last answer must not pass for the next one. */
static bool
conn_is_silent(const struct plain_conn *k)
{
	char c;

	return recv(k->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

struct plain_conn *
plain_conn_take(struct plain_pool *h, const struct plain_target *t)
{
	const uint64_t now_ns = loop_now(h->http->loop);
	struct plain_conn **at = &h->idle, *k;

	while ((k = *at) != NULL) {
		bool is_old = now_ns - k->idle_ns > clock_ms_to_ns(IDLE_MAX_MS);

		if (!is_old && memcmp(&k->address, &t->address, sizeof(k->address)) != 0) {
			at = &k->next;
			continue;
		}
		conn_forget_idle(k);
		if (!is_old && conn_is_silent(k))
			return k;
		plain_conn_close(&k);
	}
	return NULL;
}

void
plain_conn_keep(struct plain_conn *k)
{
	struct plain_pool *h = k->pool;

	k->call = NULL;
	k->used = true;
	if (h->idle_len >= HTTP_KEPT_MAX || !http_sockets_want(h->http->sockets, k->fd, EPOLLIN)) {
		plain_conn_close(&k);
		return;
	}
	k->idle_ns = loop_now(h->http->loop);
	k->next = h->idle;
	h->idle = k;
	h->idle_len++;
}

struct plain_conn *
plain_conn_open(struct plain_pool *h, const struct plain_target *t)
{
	struct http_sockets *s = h->http->sockets;
	const int on = 1;
	struct plain_conn *k;
	int saved, fd = http_sockets_open(s, t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return NULL;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&t->address, t->len) != 0 &&
		errno != EINPROGRESS) {
		saved = errno;
		(void)http_sockets_close(s, fd);
		errno = saved;
		return NULL;
	}
	k = calloc(1, sizeof(*k));
	CHECK(k != NULL);
	*k = (struct plain_conn){.pool = h, .fd = fd, .address = t->address};
	http_sockets_own(s, fd, k);
	return k;
}

void
plain_conn_drop(struct plain_conn *k)
{
	conn_forget_idle(k);
	plain_conn_close(&k);
}

void
plain_pool_fini(struct plain_pool *h)
{
	while (h->idle != NULL)
		plain_conn_drop(h->idle);
}
