/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_http.c - the HTTP layer over a socket pair: framing, limits, deadlines, streams
 *
 * Server and client share one loop. Every input of the tables goes in whole and byte by byte and
 * must come to the same end.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"

struct text {
	const char *p;
	size_t len;
};
#define T(s) {s, sizeof(s) - 1}

struct rig {
	struct loop *loop;
	struct http_server server;
	struct config_limits limits;
	struct http_conn *held; /* the request for /hold */
	struct loop_fd client;
	struct loop_timer guard;
	struct text send;
	size_t sent, step;
	bool keep_open; /* the client does not end its stream after sending */
	bool reads;
	struct buf got;
	bool ended, timed_out;
	unsigned requests, gone;
	int64_t counts[COUNTERS];
	loop_timer_fn *then; /* run at the end of each turn */
};

static void
on_head(struct http_conn *c)
{
	struct err e;

	if (!http_str_is(c->head.path, "/refused"))
		return;
	(void)err_set(&e, ERR_AUTH, "no");
	http_reply_error(c, &e, NULL, NULL);
}

/* Say what arrived. */
static void
on_request(struct http_conn *c)
{
	struct rig *r = c->server->arg;
	AUTO(buf_fini) struct buf out = BUF_INIT;

	r->requests++;
	if (http_str_is(c->head.path, "/hold")) {
		r->held = c;
		return;
	}
	buf_addf(&out, "%u %.*s ?%.*s [", c->head.method, (int)c->head.path.len, c->head.path.p,
		(int)c->head.query.len, c->head.query.p == NULL ? "" : c->head.query.p);
	if (c->body != NULL)
		buf_add(&out, c->body->data, c->body->len);
	buf_add_str(&out, "]\n");
	http_reply(c, 200, "text/plain", NULL, out.data, out.len);
}

static void
on_gone(struct http_conn *c)
{
	struct rig *r = c->server->arg;

	r->gone++;
	if (r->held == c)
		r->held = NULL;
}

static void
on_nothing(struct http_conn *c)
{
	(void)c;
}

static void
on_drained(struct http_server *s)
{
	struct rig *r = s->arg;

	loop_stop(r->loop);
}

static void
on_count(struct http_server *s, enum counter which, int64_t n)
{
	((struct rig *)s->arg)->counts[which] += n;
}

static const struct http_ops ops = {on_head, on_request, on_gone, on_nothing, on_drained, on_count};

static void
client_end(struct rig *r)
{
	if (r->ended)
		return;
	r->ended = true;
	loop_remove(r->loop, &r->client);
	(void)close(r->client.fd);
}

static void
on_client(void *arg, uint32_t events)
{
	struct rig *r = arg;
	char data[4096];
	ssize_t n;

	if ((events & EPOLLOUT) != 0) {
		n = send(r->client.fd, r->send.p + r->sent, MIN(r->step, r->send.len - r->sent),
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			r->sent += (size_t)n;
		if (r->sent == r->send.len || n < 0) {
			loop_change(r->loop, &r->client, r->reads ? EPOLLIN : 0);
			if (!r->keep_open)
				(void)shutdown(r->client.fd, SHUT_WR);
		}
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || !r->reads)
		return;
	n = read(r->client.fd, data, sizeof(data));
	if (n > 0)
		buf_add(&r->got, data, (size_t)n);
	else if (n == 0 || (events & EPOLLERR) != 0)
		client_end(r);
}

static void
on_guard(void *arg)
{
	struct rig *r = arg;

	r->timed_out = true;
	loop_stop(r->loop);
}

static void
on_turn(void *arg)
{
	struct rig *r = arg;

	if (r->then != NULL)
		r->then(r);
	/* both ends have seen the end */
	if (r->ended && r->server.open == 0)
		loop_stop(r->loop);
}

static struct rig *
rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	cr_assert_not_null(r);
	r->limits = (struct config_limits){.body_bytes = 1000, .header_bytes = 2000,
		.connections = 10, .header_ms = 3000, .body_ms = 3000, .idle_ms = 3000,
		.write_ms = 3000, .request_ms = 3000};
	cr_assert_eq(loop_new(&r->loop, NULL), ERR_OK);
	http_server_init(&r->server, r->loop, &r->limits, &ops, r);
	loop_on_turn(r->loop, on_turn, r);
	r->reads = true;
	r->step = SIZE_MAX;
	return r;
}

static void
rig_start(struct rig *r, struct text send)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	r->send = send;
	r->client = (struct loop_fd){.fn = on_client, .arg = r, .fd = fds[0],
		.events = send.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN};
	cr_assert_eq(loop_add(r->loop, &r->client, NULL), ERR_OK);
	cr_assert_not_null(http_conn_open(&r->server, fds[1], (struct http_peer){true, 0}));
	r->guard = (struct loop_timer){.fn = on_guard, .arg = r};
	loop_timer_set(r->loop, &r->guard, clock_ns() + 10 * NS_PER_S);
}

/* Until the server has closed the connection. */
static const char *
rig_run(struct rig *r, struct text send)
{
	rig_start(r, send);
	loop_run(r->loop);
	cr_assert(!r->timed_out, "never closed after: %s", send.p);
	return buf_str(&r->got);
}

static void
rig_free(struct rig *r)
{
	client_end(r);
	http_server_fini(&r->server);
	loop_timer_clear(r->loop, &r->guard);
	loop_free(&r->loop);
	buf_fini(&r->got);
	free(r);
}

#define GET(line) "GET " line " HTTP/1.1\r\nHost: s\r\n\r\n"
#define POST(headers, body) "POST /x HTTP/1.1\r\nHost: s\r\n" headers "\r\n" body
#define CHUNKED(body) POST("Transfer-Encoding: chunked\r\n", body)

/* The start of each answer, in order. */
struct good {
	struct text send;
	const char *answers[4];
};

static const struct good goods[] = {
	{T(GET("/a")), {"1 /a ?"}},
	{T(GET("/a?b=c&d")), {"1 /a ?b=c&d"}},
	{T(GET("http://h.example/a?q")), {"1 /a ?q"}},
	{T(GET("/")), {"1 / ?"}},
	{T("\r\n\r\n" GET("/a")), {"1 /a ?"}},
	{T("OPTIONS * HTTP/1.1\r\nHost: s\r\n\r\n"), {"6 * ?"}},
	{T("GET /a HTTP/1.0\r\n\r\n"), {"1 /a ?"}},
	{T("GET /a HTTP/1.1\r\nhOST:s\r\nX:\r\nY:\t a \r\n\r\n"), {"1 /a ?"}},
	{T("GET /a HTTP/1.1\r\nHost: s\r\nX: \xc3\xa9\xff\r\n\r\n"), {"1 /a ?"}},
	{T("GET /a HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
		{"1 /a ?"}},
	{T(POST("Content-Length: 5\r\n", "hello")), {"[hello]"}},
	{T(POST("Content-Length: 0\r\n", "")), {"[]"}},
	{T(POST("", "")), {"[]"}},
	{T(POST("Content-Length: 005\r\n", "hello")), {"[hello]"}},
	{T(CHUNKED("5\r\nhello\r\n0\r\n\r\n")), {"[hello]"}},
	{T(CHUNKED("0\r\n\r\n")), {"[]"}},
	{T(CHUNKED("1;a=b\r\nh\r\n4;\tx\r\nello\r\n000\r\nT: x\r\nU: y\r\n\r\n")), {"[hello]"}},
	{T(POST("transfer-encoding: CHUNKED\r\n", "A\r\n0123456789\r\n0\r\n\r\n")),
		{"[0123456789]"}},
	{T(GET("/a") GET("/b") POST("Content-Length: 2\r\n", "hi") GET("/c")),
		{"1 /a", "1 /b", "[hi]", "1 /c"}},
	{T(CHUNKED("2\r\nhi\r\n0\r\n\r\n") "\r\n" GET("/b")), {"[hi]", "1 /b"}},
};

static void
check_good(size_t i, size_t step)
{
	struct rig *r = rig_new();
	const struct good *g = &goods[i];
	const char *at;

	r->step = step;
	at = rig_run(r, g->send);
	for (size_t a = 0; a < ARRAY_LEN(g->answers) && g->answers[a] != NULL; a++) {
		const char *ok = strstr(at, "HTTP/1.1 200 OK\r\n");
		const char *text = ok == NULL ? NULL : strstr(ok, g->answers[a]);

		cr_assert_not_null(text, "input %zu by %zu, answer %zu: %s", i, step, a, at);
		at = text;
	}
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	cr_assert_eq(r->counts[COUNTER_HTTP_BAD], 0);
	rig_free(r);
}

Test(http, well_formed_requests_are_read_whole)
{
	for (size_t i = 0; i < ARRAY_LEN(goods); i++)
		check_good(i, SIZE_MAX);
}

Test(http, well_formed_requests_are_read_byte_by_byte)
{
	for (size_t i = 0; i < ARRAY_LEN(goods); i++)
		check_good(i, 1);
}

/* None of these may reach a handler; each closes the connection. */
static const struct text malformed[] = {
	/* lines */
	T("hello\r\n\r\n"), T("GET / HTTP/1.1\nHost: s\n\n"), T("GET / HTTP/1.1\r\nHost: s\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\n\n"), T("GET / HTTP/1.1\rHost: s\r\r"),
	T("GET / HTTP/1.1\r\nHost: s\rX: y\r\n\r\n"), T("GET / HTTP/1.1\r\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\nX: a\0b\r\n\r\n"), T("G\0T / HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\nX: a\r\n b\r\n\r\n"),
	T("GET / HTTP/1.1\r\n Host: s\r\n\r\n"), T("GET / HTTP/1.1\r\nHost: s\r\nX: \x7f\r\n\r\n"),
	T("\x16\x03\x01\x00\xc8\x01\x00\x00"), T("GET / HTTP/1.1\r\nHost: s\r\nX: \x1b[m\r\n\r\n"),
	/* request line */
	T("GET /\r\n\r\n"), T("GET  / HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/2.0\r\nHost: s\r\n\r\n"), T("GET / HTTP/9.9\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/0.9\r\nHost: s\r\n\r\n"), T("GET / http/1.1\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/1.1 \r\nHost: s\r\n\r\n"), T("GET / HTTP/1.10\r\nHost: s\r\n\r\n"),
	T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), T("get / HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("BREW / HTTP/1.1\r\nHost: s\r\n\r\n"), T("GET x HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("GET /a b HTTP/1.1\r\nHost: s\r\n\r\n"), T("GET /\xc3\xa9 HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("GET /\x80 HTTP/1.1\r\nHost: s\r\n\r\n"), T("GET * HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("GET / HTTP/1.1\tx\r\nHost: s\r\n\r\n"), T("GET\t/ HTTP/1.1\r\nHost: s\r\n\r\n"),
	T("CONNECT a:443 HTTP/1.1\r\nHost: s\r\n\r\n"), T(" GET / HTTP/1.1\r\nHost: s\r\n\r\n"),
	/* header names, Host */
	T("GET / HTTP/1.1\r\n\r\n"), T("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost : s\r\n\r\n"), T("GET / HTTP/1.1\r\nHo st: s\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\n: x\r\n\r\n"), T("GET / HTTP/1.1\r\nHost: s\r\nX\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\nX(: y\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\nX\xc3: y\r\n\r\n"),
	T("GET / HTTP/1.1\r\nHost: s\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"),
	/* length */
	T(POST("Content-Length: 2\r\nContent-Length: 2\r\n", "hi")),
	T(POST("Content-Length: 2\r\nContent-Length: 3\r\n", "hi")),
	T(POST("Content-Length: 2, 2\r\n", "hi")), T(POST("Content-Length: -1\r\n", "")),
	T(POST("Content-Length: +2\r\n", "hi")), T(POST("Content-Length: 0x2\r\n", "hi")),
	T(POST("Content-Length: 2 2\r\n", "hi")), T(POST("Content-Length:\r\n", "")),
	T(POST("Content-Length: two\r\n", "")), T(POST("Content-Length: 2.0\r\n", "hi")),
	T(POST("Content-Length: 18446744073709551617\r\n", "h")),
	T(POST("Content-Length: 99999999999999999999999\r\n", "h")),
	/* transfer coding */
	T(POST("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: gzip\r\n", "")), T(POST("Transfer-Encoding: identity\r\n", "")),
	T(POST("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding:\r\n", "0\r\n\r\n")),
	T(POST("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n")),
	T("POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	/* chunks */
	T(CHUNKED("zz\r\n")), T(CHUNKED("\r\nhi\r\n0\r\n\r\n")), T(CHUNKED("-1\r\n")),
	T(CHUNKED("0x2\r\nhi\r\n0\r\n\r\n")), T(CHUNKED(" 2\r\nhi\r\n0\r\n\r\n")),
	T(CHUNKED("2 \r\nhi\r\n0\r\n\r\n")), T(CHUNKED("2\nhi\r\n0\r\n\r\n")),
	T(CHUNKED("2\r\nhi\n0\r\n\r\n")), T(CHUNKED("2\r\nhiX0\r\n\r\n")),
	T(CHUNKED("2;a\nhi\r\n0\r\n\r\n")), T(CHUNKED("2;a\0b\r\nhi\r\n0\r\n\r\n")),
	T(CHUNKED("2\rhi\r\n0\r\n\r\n")), T(CHUNKED("0\r\nT: a\n\r\n")), T(CHUNKED("0\r\n\rX")),
	T(CHUNKED("0\r\n folded\r\n\r\n")), T(CHUNKED("ffffffffffffffffff\r\n")),
	T(CHUNKED("1000000000000000\r\n")), T(CHUNKED(";\r\n")), T(CHUNKED("0\r\nT: \0\r\n\r\n")),
	/* ended too soon */
	T("GET / HT"), T("GET / HTTP/1.1\r\nHost: s\r\n"), T(POST("Content-Length: 5\r\n", "hell")),
	T(CHUNKED("5\r\nhell")), T(CHUNKED("5\r\nhello\r\n0\r\n")),
};

static void
check_malformed(size_t i, size_t step)
{
	struct rig *r = rig_new();
	const char *got;

	r->step = step;
	got = rig_run(r, malformed[i]);
	cr_assert_eq(strncmp(got, "HTTP/1.1 400 Bad Request\r\n", 26), 0, "input %zu by %zu: %s\n%s",
		i, step, malformed[i].p, got);
	cr_assert_not_null(strstr(got, "\r\nConnection: close\r\n"));
	cr_assert_not_null(strstr(got, "{\"error\":{\"message\":\""), "%s", got);
	cr_assert_not_null(strstr(got, "\"type\":\"invalid_request_error\",\"param\":null,"), "%s", got);
	cr_assert_eq(r->requests, 0, "input %zu reached the handler", i);
	cr_assert_eq(r->counts[COUNTER_HTTP_BAD], 1);
	cr_assert_eq(r->counts[COUNTER_HTTP_4XX], 1);
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	rig_free(r);
}

Test(http, malformed_requests_are_refused_whole)
{
	for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
		check_malformed(i, SIZE_MAX);
}

Test(http, malformed_requests_are_refused_byte_by_byte)
{
	for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
		check_malformed(i, 1);
}

Test(http, nothing_behind_a_malformed_request_is_answered)
{
	struct rig *r = rig_new();
	const char *got = rig_run(r, (struct text)T("GET / HTTP/1.1\r\n\r\n" GET("/a")));

	cr_assert_null(strstr(got + 1, "HTTP/1.1"), "%s", got);
	cr_assert_eq(r->requests, 0);
	rig_free(r);
}

static void
check_limit(const char *headers, size_t fill, const char *body, const char *status)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	buf_add_str(&text, "POST /x HTTP/1.1\r\nHost: s\r\n");
	buf_add_str(&text, headers);
	for (size_t i = 0; i < fill; i++)
		buf_add_char(&text, 'a');
	buf_add_str(&text, "\r\n\r\n");
	buf_add_str(&text, body);
	for (int whole = 0; whole < 2; whole++) {
		struct rig *r = rig_new();
		const char *got;

		r->step = whole ? SIZE_MAX : 1;
		got = rig_run(r, (struct text){text.data, text.len});
		cr_assert_eq(strncmp(got + 9, status, 3), 0, "%s: %.100s", headers, got);
		cr_assert_eq(r->requests, 0);
		rig_free(r);
	}
}

Test(http, a_head_over_its_limit_is_refused)
{
	check_limit("X: ", 3000, "", "431");
	check_limit("X: ", 1990, "", "431");
}

Test(http, a_body_over_its_limit_is_refused_by_its_head)
{
	check_limit("Content-Length: 1001\r\nX: ", 1, "", "413");
	check_limit("Content-Length: 999999999999\r\nX: ", 1, "hello", "413");
}

Test(http, a_chunked_body_over_its_limit_is_refused_by_its_chunk_size)
{
	check_limit("Transfer-Encoding: chunked\r\nX: ", 1, "3e9\r\n", "413");
	check_limit("Transfer-Encoding: chunked\r\nX: ", 1, "2\r\nhi\r\n3e7\r\n", "413");
}

Test(http, a_body_at_its_limit_is_taken)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct rig *r = rig_new();

	buf_add_str(&text, POST("Content-Length: 1000\r\n", ""));
	for (size_t i = 0; i < 1000; i++)
		buf_add_char(&text, 'a');
	r->step = 7;
	cr_assert_not_null(strstr(rig_run(r, (struct text){text.data, text.len}), "200 OK"));
	rig_free(r);
}

Test(http, a_request_refused_by_its_head_is_closed_with_its_body_unread)
{
	struct rig *r = rig_new();
	const char *got = rig_run(r, (struct text)T("POST /refused HTTP/1.1\r\nHost: s\r\n"
						    "Content-Length: 5\r\n\r\nhello" GET("/a")));

	cr_assert_eq(strncmp(got + 9, "401", 3), 0, "%s", got);
	cr_assert_not_null(strstr(got, "WWW-Authenticate: Bearer"));
	cr_assert_eq(r->requests, 0);
	rig_free(r);
}

Test(http, head_answers_have_no_body)
{
	struct rig *r = rig_new();
	const char *got = rig_run(r, (struct text)T("HEAD /a HTTP/1.1\r\nHost: s\r\n\r\n"));

	cr_assert_not_null(strstr(got, "Content-Length: 10\r\n"), "%s", got);
	cr_assert_eq(strcmp(strstr(got, "\r\n\r\n"), "\r\n\r\n"), 0);
	rig_free(r);
}

Test(http, connection_close_and_http_10_end_the_connection)
{
	static const struct text closing[] = {
		T("GET /a HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n" GET("/b")),
		T("GET /a HTTP/1.0\r\n\r\n" GET("/b"))};

	for (size_t i = 0; i < ARRAY_LEN(closing); i++) {
		struct rig *r = rig_new();

		r->keep_open = true;
		cr_assert_not_null(strstr(rig_run(r, closing[i]), "\r\nConnection: close\r\n"));
		cr_assert_eq(r->requests, 1);
		rig_free(r);
	}
}

Test(http, http_10_stays_open_where_asked)
{
	struct rig *r = rig_new();
	const char *got = rig_run(r,
		(struct text)T("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/b")));

	cr_assert_not_null(strstr(got, "\r\nConnection: keep-alive\r\n"), "%s", got);
	cr_assert_eq(r->requests, 2);
	rig_free(r);
}

static void
send_body_after_continue(void *arg)
{
	struct rig *r = arg;

	if (r->requests > 0 || strstr(buf_str(&r->got), "100 Continue\r\n\r\n") == NULL)
		return;
	cr_assert_eq(send(r->client.fd, "hello", 5, MSG_NOSIGNAL), 5);
	(void)shutdown(r->client.fd, SHUT_WR);
	r->then = NULL;
}

Test(http, expect_continue_is_answered_before_the_body)
{
	struct rig *r = rig_new();
	const char *got;

	r->keep_open = true;
	r->then = send_body_after_continue;
	got = rig_run(r, (struct text)T(POST("Content-Length: 5\r\nExpect: 100-continue\r\n", "")));
	cr_assert_not_null(strstr(got, "[hello]"), "%s", got);
	rig_free(r);
}

Test(http, no_continue_for_a_body_that_is_too_large)
{
	struct rig *r = rig_new();
	const char *got = rig_run(r,
		(struct text)T(POST("Content-Length: 5000\r\nExpect: 100-continue\r\n", "")));

	cr_assert_eq(strncmp(got, "HTTP/1.1 413", 12), 0, "%s", got);
	rig_free(r);
}

/* One byte each 20 ms, by the guard's timer. */
static void
on_drip(void *arg)
{
	struct rig *r = arg;

	(void)send(r->client.fd, "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	loop_timer_set(r->loop, &r->guard, clock_ns() + 20 * NS_PER_MS);
}

static uint64_t
run_dripping(struct rig *r, struct text send)
{
	uint64_t start_ns = clock_ns();

	r->keep_open = true;
	rig_start(r, send);
	r->guard.fn = on_drip;
	loop_timer_set(r->loop, &r->guard, clock_ns() + 20 * NS_PER_MS);
	loop_run(r->loop);
	return (clock_ns() - start_ns) / NS_PER_MS;
}

Test(http, dripping_does_not_extend_the_head_deadline)
{
	struct rig *r = rig_new();
	uint64_t ms;

	r->limits.header_ms = 200;
	ms = run_dripping(r, (struct text)T("GET / HTTP/1.1\r\nHost: s\r\nX: "));
	cr_assert(ms >= 200 && ms < 2000, "%llu", (unsigned long long)ms);
	cr_assert_eq(strncmp(buf_str(&r->got), "HTTP/1.1 408", 12), 0, "%s", buf_str(&r->got));
	cr_assert_eq(r->counts[COUNTER_HTTP_TIMEOUTS], 1);
	rig_free(r);
}

Test(http, dripping_does_not_extend_the_body_deadline)
{
	struct rig *r = rig_new();
	uint64_t ms;

	r->limits.body_ms = 300;
	ms = run_dripping(r, (struct text)T(POST("Content-Length: 900\r\n", "")));
	cr_assert(ms >= 300 && ms < 2000, "%llu", (unsigned long long)ms);
	cr_assert_eq(strncmp(buf_str(&r->got), "HTTP/1.1 408", 12), 0, "%s", buf_str(&r->got));
	rig_free(r);
}

Test(http, an_idle_connection_is_closed_without_a_word)
{
	struct rig *r = rig_new();

	r->limits.idle_ms = 100;
	r->keep_open = true;
	cr_assert_str_eq(rig_run(r, (struct text)T("\r\n")), "");
	rig_free(r);
}

static void
answer_held(void *arg)
{
	struct rig *r = arg;

	if (r->held == NULL)
		return;
	http_reply(r->held, 200, "text/plain", NULL, "late", 4);
	r->held = NULL;
}

Test(http, a_half_closed_client_still_gets_its_answer)
{
	struct rig *r = rig_new();
	const char *got;

	r->then = answer_held;
	got = rig_run(r, (struct text)T(GET("/hold") GET("/b")));
	cr_assert_not_null(strstr(got, "late"), "%s", got);
	cr_assert_eq(r->gone, 0);
	cr_assert_eq(r->requests, 2, "what was pipelined before the end was lost");
	rig_free(r);
}

static void
leave_when_held(void *arg)
{
	struct rig *r = arg;

	if (r->held != NULL && !r->ended) {
		r->ended = true;
		loop_remove(r->loop, &r->client);
		(void)close(r->client.fd);
	}
}

Test(http, a_client_that_leaves_is_gone)
{
	struct rig *r = rig_new();

	r->keep_open = true;
	r->then = leave_when_held;
	rig_start(r, (struct text)T(GET("/hold")));
	loop_run(r->loop);
	cr_assert(!r->timed_out);
	cr_assert_eq(r->gone, 1);
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	rig_free(r);
}

static void
flood_held(void *arg)
{
	struct rig *r = arg;
	static const char block[4096];

	if (r->held == NULL) {
		if (r->gone > 0)
			loop_stop(r->loop);
		return;
	}
	if (!r->held->committed)
		http_stream_begin(r->held, NULL, NULL);
	while (http_conn_pending(r->held) < 1 << 20)
		http_stream_add(r->held, block, sizeof(block));
}

Test(http, a_client_that_takes_nothing_is_gone_after_the_write_deadline)
{
	struct rig *r = rig_new();

	r->limits.write_ms = 200;
	r->keep_open = true;
	r->reads = false;
	r->then = flood_held;
	rig_start(r, (struct text)T(GET("/hold")));
	loop_run(r->loop);
	cr_assert(!r->timed_out);
	cr_assert_eq(r->gone, 1);
	cr_assert_eq(r->counts[COUNTER_HTTP_TIMEOUTS], 1);
	rig_free(r);
}

Test(http, nothing_more_is_read_while_a_request_is_answered)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct rig *r = rig_new();

	buf_add_str(&text, GET("/hold"));
	for (unsigned i = 0; i < 3000; i++)
		buf_add_str(&text, GET("/a"));
	r->then = answer_held;
	(void)rig_run(r, (struct text){text.data, text.len});
	cr_assert_eq(r->requests, 3001);
	rig_free(r);
}

static void
stream_held(void *arg)
{
	struct rig *r = arg;
	AUTO(buf_fini) struct buf trailers = BUF_INIT;

	if (r->held == NULL)
		return;
	http_put_header(&trailers, "x-cost", "1");
	http_stream_begin(r->held, NULL, "x-cost");
	http_stream_add(r->held, "data: a\n\n", 9);
	http_stream_add(r->held, "", 0);
	http_stream_add(r->held, "data: [DONE]\n\n", 14);
	http_stream_end(r->held, &trailers);
	r->held = NULL;
}

Test(http, a_stream_is_chunked_and_ends_with_its_trailers)
{
	struct rig *r = rig_new();
	const char *got;

	r->then = stream_held;
	got = rig_run(r, (struct text)T(GET("/hold") GET("/b")));
	cr_assert_not_null(strstr(got, "Content-Type: text/event-stream\r\n"), "%s", got);
	cr_assert_not_null(strstr(got, "Transfer-Encoding: chunked\r\nTrailer: x-cost\r\n\r\n"));
	cr_assert_not_null(strstr(got, "\r\n\r\n9\r\ndata: a\n\n\r\ne\r\ndata: [DONE]\n\n\r\n"
				       "0\r\nx-cost: 1\r\n\r\nHTTP/1.1 200 OK"), "%s", got);
	rig_free(r);
}

Test(http, a_stream_for_http_10_is_plain_and_ends_with_the_connection)
{
	struct rig *r = rig_new();
	const char *got;

	r->then = stream_held;
	r->keep_open = true;
	got = rig_run(r,
		(struct text)T("GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/b")));
	cr_assert_null(strstr(got, "chunked"), "%s", got);
	cr_assert_not_null(strstr(got, "\r\n\r\ndata: a\n\ndata: [DONE]\n\n"), "%s", got);
	cr_assert_eq(r->requests, 1);
	rig_free(r);
}

static void
break_held(void *arg)
{
	struct rig *r = arg;
	struct err e = {0};

	if (r->held == NULL)
		return;
	(void)err_set(&e, ERR_CUT, "the upstream \"b\" ended early");
	http_stream_begin(r->held, NULL, "x-cost");
	http_stream_add(r->held, "data: a\n\n", 9);
	http_stream_fail(r->held, &e);
	r->held = NULL;
}

Test(http, a_broken_stream_ends_with_an_error_event_and_the_connection)
{
	struct rig *r = rig_new();
	const char *got;

	r->then = break_held;
	r->keep_open = true;
	got = rig_run(r, (struct text)T(GET("/hold")));
	cr_assert_not_null(strstr(got, "data: {\"error\":{\"message\":\"the upstream \\\"b\\\" ended early\","
				       "\"type\":\"server_error\",\"param\":null,"
				       "\"code\":\"upstream_cut\"}}\n\n\r\n0\r\n\r\n"), "%s", got);
	cr_assert_null(strstr(got, "[DONE]"));
	rig_free(r);
}

Test(http, header_values_can_not_break_out_of_their_line)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	http_put_header(&out, "x-a", "b\r\nSet-Cookie: c\x01\x7f\xc3\xa9");
	cr_assert_str_eq(buf_str(&out), "x-a: b??Set-Cookie: c????\r\n");
}

Test(http, long_header_values_are_cut)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	char value[2000];

	memset(value, 'a', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	http_put_header(&out, "x-a", value);
	cr_assert(out.len < 500);
	cr_assert_str_eq(out.data + out.len - 3, "a\r\n");
}

static void
drain_held(void *arg)
{
	struct rig *r = arg;

	if (r->held == NULL)
		return;
	if (!r->server.draining)
		http_server_drain(&r->server);
	else
		answer_held(r);
}

Test(http, draining_finishes_what_runs_and_closes)
{
	struct rig *r = rig_new();

	r->keep_open = true;
	r->then = drain_held;
	rig_start(r, (struct text)T(GET("/hold") GET("/b")));
	loop_run(r->loop);
	r->then = NULL;
	if (!r->ended)
		loop_run(r->loop);
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	cr_assert_not_null(strstr(buf_str(&r->got), "Connection: close\r\n"));
	cr_assert_not_null(strstr(buf_str(&r->got), "late"));
	cr_assert_eq(r->requests, 1);
	rig_free(r);
}

/* The connection is open and nothing was sent yet; then the server drains, then the request comes.
 */
static void
drain_then_send(void *arg)
{
	struct rig *r = arg;

	r->then = NULL;
	http_server_drain(&r->server);
	if (r->send.len > 0)
		loop_change(r->loop, &r->client, EPOLLIN | EPOLLOUT);
}

Test(http, a_new_connection_of_a_draining_server_is_answered)
{
	struct rig *r = rig_new();

	r->keep_open = true;
	r->then = drain_then_send;
	rig_start(r, (struct text)T(GET("/a")));
	loop_change(r->loop, &r->client, EPOLLIN);
	loop_run(r->loop);
	if (!r->ended) /* the client has still to read */
		loop_run(r->loop);
	cr_assert_eq(r->requests, 1);
	cr_assert_not_null(strstr(buf_str(&r->got), "HTTP/1.1 200 OK\r\n"), "%s", buf_str(&r->got));
	cr_assert_not_null(strstr(buf_str(&r->got), "Connection: close\r\n"));
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	rig_free(r);
}

Test(http, a_new_connection_that_says_nothing_does_not_hold_up_the_drain)
{
	struct rig *r = rig_new();

	r->limits.idle_ms = 3600 * 1000;
	r->keep_open = true;
	r->then = drain_then_send;
	rig_start(r, (struct text){0});
	loop_run(r->loop);
	cr_assert(!r->timed_out);
	cr_assert_eq(r->requests, 0);
	cr_assert_eq(r->counts[COUNTER_HTTP_OPEN], 0);
	rig_free(r);
}
