/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http.c - any bytes from a client's socket, in pieces of a size that the first byte says
 *
 * A request that is accepted must be answered, one that is not must be refused, and nothing may be
 * left open. The same bytes in other pieces must give the same answers.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workers/gateway/gateway.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct loop *loop;
	struct http_server server;
	struct config_limits limits;
	struct loop_fd client;
	const uint8_t *send;
	size_t len, sent, step;
	unsigned requests, answers;
	size_t body_bytes;
	int64_t open;
};

static void
on_head(struct http_conn *c)
{
	struct err e;

	if (!http_str_is(c->head.path, "/refused"))
		return;
	(void)err_set(&e, ERR_NOT_FOUND, "nothing here");
	http_reply_error(c, &e, NULL, NULL);
}

static void
on_request(struct http_conn *c)
{
	struct fuzz *f = c->server->arg;
	AUTO(buf_fini) struct buf headers = BUF_INIT;

	CHECK(c->head.path.len > 0 && c->head.path.p[c->head.path.len - 1] > ' ');
	f->requests++;
	f->body_bytes += c->body == NULL ? 0 : c->body->len;
	CHECK(f->body_bytes <= f->len);
	http_put_header(&headers, "x-path", "\r\n\1");
	if (http_str_is(c->head.path, "/stream")) {
		http_stream_begin(c, &headers, NULL);
		http_stream_add(c, "data: x\n\n", 9);
		http_stream_end(c, NULL);
		return;
	}
	http_reply_bytes(c, 200, "text/plain", &headers, c->body);
}

static void
on_conn(struct http_conn *c)
{
	(void)c;
}

static void
on_drained(struct http_server *s)
{
	(void)s;
}

static void
on_count(struct http_server *s, enum counter which, int64_t n)
{
	struct fuzz *f = s->arg;

	if (which == COUNTER_HTTP_OPEN)
		f->open += n;
	if (which == COUNTER_HTTP_2XX || which == COUNTER_HTTP_4XX)
		f->answers++;
}

static const struct http_ops ops = {on_head, on_request, on_conn, on_conn, on_drained, on_count};

static void
on_client(void *arg, uint32_t events)
{
	struct fuzz *f = arg;
	char waste[4096];
	ssize_t n;

	if ((events & EPOLLOUT) != 0) {
		n = send(f->client.fd, f->send + f->sent, MIN(f->step, f->len - f->sent),
			MSG_NOSIGNAL | MSG_DONTWAIT);
		f->sent += n > 0 ? (size_t)n : 0;
		if (f->sent == f->len || n < 0) {
			loop_change(f->loop, &f->client, EPOLLIN);
			(void)shutdown(f->client.fd, SHUT_WR);
		}
	}
	if ((events & (EPOLLIN | EPOLLHUP)) != 0 && read(f->client.fd, waste, sizeof(waste)) == 0) {
		loop_remove(f->loop, &f->client);
		(void)close(f->client.fd);
		f->client.fd = -1;
	}
}

static void
on_turn(void *arg)
{
	struct fuzz *f = arg;

	if (f->client.fd < 0 && f->server.open == 0)
		loop_stop(f->loop);
}

static void
fuzz_run(struct fuzz *f, const uint8_t *data, size_t len, size_t step)
{
	int fds[2];

	*f = (struct fuzz){.send = data,
		.len = len,
		.step = step,
		.limits = {.body_bytes = 4096,
			.header_bytes = 2048,
			.connections = 4,
			.header_ms = 60000,
			.body_ms = 60000,
			.idle_ms = 60000,
			.write_ms = 60000}};
	CHECK(loop_new(&f->loop, NULL) == ERR_OK);
	http_server_init(&f->server, f->loop, &f->limits, &ops, f);
	loop_on_turn(f->loop, on_turn, f);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	f->client = (struct loop_fd){.fn = on_client,
		.arg = f,
		.fd = fds[0],
		.events = EPOLLIN | (len > 0 ? EPOLLOUT : 0)};
	CHECK(loop_add(f->loop, &f->client, NULL) == ERR_OK);
	if (len == 0)
		(void)shutdown(fds[0], SHUT_WR);
	CHECK(http_conn_open(&f->server, fds[1], (struct http_peer){true, 0}) != NULL);
	loop_run(f->loop);
	CHECK(f->open == 0 && f->answers >= f->requests);
	http_server_fini(&f->server);
	loop_free(&f->loop);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz whole, cut;

	if (size == 0)
		return 0;
	fuzz_run(&whole, data + 1, size - 1, size);
	fuzz_run(&cut, data + 1, size - 1, 1 + data[0] % 64);
	CHECK(whole.requests == cut.requests && whole.body_bytes == cut.body_bytes);
	CHECK(whole.answers == cut.answers);
	return 0;
}
