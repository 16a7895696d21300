/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_answer.c - foreign bytes as what an upstream says on a plain HTTP connection
 *
 * First byte: bit 0 the caller pauses at the first piece; the rest where the bytes are cut in two.
 * The server is this process itself. Whatever comes: the exchange ends once, and no body is longer
 * than what was sent.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct loop *loop;
	struct http *http;
	struct http_call *call;
	struct loop_timer next, resume, guard;
	int listener, conn;
	char url[64];
	const uint8_t *data;
	size_t size, cut, at, body;
	bool pause, done;
} f = {.listener = -1};

static void
on_sent(void *arg)
{
	(void)arg;
}

static enum http_verdict
on_data(void *arg, const char *p, size_t len)
{
	(void)arg;
	(void)p;
	if (f.pause) {
		f.pause = false;
		loop_timer_set(f.loop, &f.resume, 0);
		return HTTP_PAUSE;
	}
	f.body += len;
	return HTTP_GO_ON;
}

static void
on_done(void *arg, enum err_code code, const struct err *e)
{
	(void)arg;
	(void)code;
	(void)e;
	if (f.done || f.body > f.size)
		abort();
	f.done = true;
	f.call = NULL;
	loop_stop(f.loop);
}

static void
on_resume(void *arg)
{
	(void)arg;
	if (!f.done)
		http_resume(f.call);
}

/* The server's next step: accept, say what stands before the cut, say the rest, close. */
static void
on_next(void *arg)
{
	size_t end = f.at < f.cut ? f.cut : f.size;

	(void)arg;
	if (f.conn < 0)
		f.conn = accept4(f.listener, NULL, NULL, SOCK_CLOEXEC);
	else if (f.at < f.size && send(f.conn, f.data + f.at, end - f.at, MSG_NOSIGNAL) >= 0)
		f.at = end;
	else if (shutdown(f.conn, SHUT_WR) != 0)
		return;
	loop_timer_set(f.loop, &f.next, 0);
}

static void
on_guard(void *arg)
{
	(void)arg;
	abort(); /* nothing ended the exchange */
}

static void
begin(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct http_options o = {.tls_verify = true};
	socklen_t len = sizeof(a);
	struct err e;

	f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(f.listener, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(f.listener, 8) != 0 ||
		getsockname(f.listener, (struct sockaddr *)&a, &len) != 0 ||
		loop_new(&f.loop, &e) != ERR_OK || http_new(&f.http, f.loop, &o, &e) != ERR_OK)
		abort();
	(void)snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
	f.next = (struct loop_timer){.fn = on_next};
	f.resume = (struct loop_timer){.fn = on_resume};
	f.guard = (struct loop_timer){.fn = on_guard};
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct http_user user = {.on_sent = on_sent, .on_data = on_data, .on_done = on_done};
	const struct linger hard = {.l_onoff = 1, .l_linger = 0}; /* no port waits */
	struct http_request r = {0};
	struct err e;

	if (size < 1 || size > 128 * 1024)
		return 0;
	if (f.listener < 0)
		begin();
	f.data = data + 1;
	f.size = size - 1;
	f.cut = f.size == 0 ? 0 : (data[0] >> 1) * f.size / 128;
	f.pause = (data[0] & 1) != 0;
	f.at = f.body = 0;
	f.done = false;
	f.conn = -1;
	r.url = f.url;
	if (http_start(f.http, &f.call, &r, &user, &e) != ERR_OK)
		abort();
	loop_timer_set(f.loop, &f.next, 0);
	loop_timer_set(f.loop, &f.guard, clock_ns() + 5 * NS_PER_S);
	loop_run(f.loop);
	loop_timer_clear(f.loop, &f.next);
	loop_timer_clear(f.loop, &f.resume);
	if (f.conn >= 0) {
		(void)setsockopt(f.conn, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		(void)close(f.conn);
	}
	return 0;
}
