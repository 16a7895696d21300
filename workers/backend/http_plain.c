/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_plain.c - exchanges by plain HTTP/1.1 with a numeric address
 *
 * One exchange at a time on a connection, which is kept for the next one where the answer allows
 * it. The packaged http_parser reads the answers. A kept connection that turns out to be dead
 * before a byte of the answer came costs one more try, on a new connection.
 */
#include <errno.h>
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

enum {
	CALLS_KEPT = 128,
	KEPT_BYTES = 4096, /* buffers of a kept one */
	IN_BYTES = 32 * 1024, /* read at once */
	IOV_MAX_SENT = 16
};

struct plain_call {
	struct http_call pub; /* first: a struct http_call * is also a struct plain_call * */
	struct http_plain *plain;
	struct plain_call *next; /* in kept */
	struct plain_conn *conn; /* NULL: none could be opened */
	struct plain_target target;
	struct buf head;
	struct http_request request;
	size_t sent; /* of head and body */
	unsigned tries;
	http_parser parser;
	struct buf name, value; /* of the header being read */
	bool in_value;
	struct buf held; /* of the body, while the caller takes nothing */
	bool heard; /* a byte of the answer came */
	bool paused, stopped; /* as on_data said */
	bool complete, reusable; /* the answer is whole; its connection may be used again */
	bool lingering;
	int os_error; /* why there is no connection */
	struct loop_timer later; /* goes on from the loop */
	struct loop_timer linger;
};

struct http_plain {
	struct http *http;
	struct plain_pool pool;
	struct plain_call *kept;
	size_t kept_len;
	struct buf url; /* last asked about */
	bool can;
	struct plain_target target;
	char in[IN_BYTES];
};

bool
http_plain_can(struct http_plain *h, const char *url)
{
	if (strcmp(buf_str(&h->url), url) == 0)
		return h->can;
	buf_clear(&h->url);
	buf_add_str(&h->url, url);
	h->can = plain_target_read(&h->target, url);
	return h->can;
}

/* ---- the end of an exchange ---- */

static void
plain_free(struct plain_call *c)
{
	buf_fini(&c->head);
	buf_fini(&c->name);
	buf_fini(&c->value);
	buf_fini(&c->held);
	free(c);
}

/* The caller knows that it is over, or does not want to. Its connection goes or is kept before. */
static void
plain_release(struct plain_call *c)
{
	struct http_plain *h = c->plain;

	plain_conn_close(&c->conn);
	loop_timer_clear(h->http->loop, &c->later);
	loop_timer_clear(h->http->loop, &c->linger);
	http_call_over(&c->pub);
	explicit_bzero(c->head.data, c->head.len); /* the key is in it */
	buf_fini(&c->held);
	if (h->kept_len < CALLS_KEPT && c->head.cap + c->value.cap <= KEPT_BYTES) {
		c->next = h->kept;
		h->kept = c;
		h->kept_len++;
		return;
	}
	plain_free(c);
}

static void
plain_end(struct plain_call *c, enum err_code code, const struct err *e)
{
	const struct http_user user = c->pub.user;

	if (!c->lingering)
		user.on_done(user.arg, code, e);
	plain_release(c);
}

/* The whole answer came and was taken. */
static void
plain_finish(struct plain_call *c)
{
	struct plain_conn *k = c->conn;
	struct err e = {0};

	if (c->reusable && !k->deaf && c->sent == c->head.len + c->request.len) {
		c->conn = NULL;
		plain_conn_keep(k);
	}
	plain_end(c, ERR_OK, &e);
}

static void
plain_fail(struct plain_call *c, enum err_code code, const char *what, const char *why)
{
	struct err e = {0};

	(void)err_set(&e, code, "%s%s", what, why);
	plain_end(c, code, &e);
}

static void
plain_refused(struct plain_call *c, int os_error)
{
	if (os_error == ECONNREFUSED)
		plain_fail(c, ERR_CONNECT, "connection refused: nothing listens there", "");
	else
		plain_fail(c, ERR_CONNECT, "can't connect: ", strerror(os_error));
}

static void plain_connect(struct plain_call *c);
static void plain_watch(struct plain_call *c);

/* The connection is over, by its end (os_error 0) or an error, and the answer is not whole. */
static void
plain_broken(struct plain_call *c, int os_error)
{
	if (!c->heard && c->conn->used && c->tries == 1 && !c->lingering) {
		plain_conn_close(&c->conn);
		plain_connect(c);
	} else if (c->pub.head.status >= 200 && os_error == 0) {
		plain_fail(c, ERR_CUT, "the answer was cut: the connection closed within it", "");
	} else if (c->pub.head.status >= 200) {
		plain_fail(
			c, ERR_CUT, "the connection broke within the answer: ", strerror(os_error));
	} else {
		plain_fail(c, ERR_RESET, "the connection broke before the answer: ",
			os_error == 0 ? "it was closed" : strerror(os_error));
	}
}

/* ---- the answer ---- */

static struct plain_call *
call_of(http_parser *p)
{
	return p->data;
}

static int
on_message_begin(http_parser *p)
{
	struct plain_call *c = call_of(p);

	if (c->complete) /* more than was asked for */
		return 1;
	c->pub.head = (struct http_head){0};
	return 0;
}

static void
plain_header_ends(struct plain_call *c)
{
	if (c->name.len > 0)
		http_head_line(&c->pub.head, buf_str(&c->name), c->name.len, buf_str(&c->value),
			c->value.len);
	buf_clear(&c->name);
	buf_clear(&c->value);
	c->in_value = false;
}

static int
on_header_field(http_parser *p, const char *at, size_t len)
{
	struct plain_call *c = call_of(p);

	if ((p->flags & F_TRAILING) != 0)
		return 0;
	if (c->in_value)
		plain_header_ends(c);
	c->pub.head.status = p->status_code;
	buf_add(&c->name, at, len);
	return 0;
}

static int
on_header_value(http_parser *p, const char *at, size_t len)
{
	struct plain_call *c = call_of(p);

	if ((p->flags & F_TRAILING) != 0)
		return 0;
	c->in_value = true;
	buf_add(&c->value, at, len);
	return 0;
}

static int
on_headers_complete(http_parser *p)
{
	struct plain_call *c = call_of(p);

	plain_header_ends(c);
	c->pub.head.status = p->status_code;
	return 0;
}

static void
plain_give(struct plain_call *c, const char *p, size_t len)
{
	enum http_verdict verdict = HTTP_GO_ON;

	if (c->lingering || len == 0)
		return;
	if (!c->paused) {
		http_count_piece(&c->pub);
		verdict = c->pub.user.on_data(c->pub.user.arg, p, len);
	}
	c->stopped = verdict == HTTP_STOP;
	if (c->paused || verdict == HTTP_PAUSE) {
		c->paused = true;
		buf_add(&c->held, p, len);
	}
}

static int
on_body(http_parser *p, const char *at, size_t len)
{
	struct plain_call *c = call_of(p);

	plain_give(c, at, len);
	return c->stopped;
}

static int
on_message_complete(http_parser *p)
{
	struct plain_call *c = call_of(p);

	if (p->status_code == 101)
		return 1; /* nobody asked for another protocol */
	if (p->status_code < 200)
		return 0; /* the answer follows */
	c->complete = true;
	c->reusable = http_should_keep_alive(p) != 0;
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_message_begin,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* What was read so far: is the exchange over? len 0: the connection ended. */
static void
plain_feed(struct plain_call *c, const char *p, size_t len)
{
	enum http_errno bad;

	c->heard |= len > 0;
	(void)http_parser_execute(&c->parser, &settings, p, len);
	bad = HTTP_PARSER_ERRNO(&c->parser);
	if (c->stopped) {
		plain_fail(c, ERR_CUT, "the rest of the answer was not wanted", "");
	} else if (c->complete) {
		c->reusable &= len > 0 && bad == HPE_OK;
		if (!c->paused)
			plain_finish(c);
		else
			plain_watch(c);
	} else if (len == 0) {
		plain_broken(c, 0);
	} else if (c->pub.head.status == 101) {
		plain_fail(c, ERR_MALFORMED, HTTP_SWITCHED, "");
	} else if (bad != HPE_OK && c->pub.head.status >= 200) {
		plain_fail(c, ERR_CUT, "the answer is broken: ", http_errno_description(bad));
	} else if (bad != HPE_OK) {
		plain_fail(c, ERR_MALFORMED,
			"the upstream does not speak HTTP: ", http_errno_description(bad));
	} else if (c->paused) {
		plain_watch(c);
	}
}

/* ---- sending and receiving ---- */

/* The pieces of head and body from c->sent on; returns how many. */
static size_t
plain_pieces(const struct plain_call *c, struct iovec *out, size_t most)
{
	size_t skip = c->sent, n = 0;

	for (size_t i = 0; i <= (c->request.parts == NULL ? 0 : c->request.parts_len); i++) {
		const struct slice s = i == 0 ? (struct slice){c->head.data, c->head.len}
					      : c->request.parts[i - 1];

		if (n == most)
			break;
		if (s.len <= skip) {
			skip -= s.len;
			continue;
		}
		out[n++] = (struct iovec){(void *)(uintptr_t)(s.p + skip), s.len - skip};
		skip = 0;
	}
	return n;
}

/* Send what the connection takes; a connection that takes nothing more may still have an answer. */
static void
plain_send(struct plain_call *c)
{
	struct iovec iov[IOV_MAX_SENT];
	struct msghdr m = {.msg_iov = iov};
	ssize_t n;

	while (!c->conn->deaf && (m.msg_iovlen = plain_pieces(c, iov, IOV_MAX_SENT)) > 0) {
		n = sendmsg(c->conn->fd, &m, MSG_NOSIGNAL);
		if (n >= 0)
			c->sent += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			c->conn->deaf = true;
	}
}

/* There is no connection; the caller hears of it from the loop. */
static void
plain_lost(struct plain_call *c, int os_error)
{
	plain_conn_close(&c->conn);
	c->os_error = os_error;
	loop_timer_set(c->plain->http->loop, &c->later, 0);
}

/* Watch for what comes next. */
static void
plain_watch(struct plain_call *c)
{
	uint32_t events = EPOLLIN;

	if (!c->conn->connected)
		events = EPOLLOUT;
	else if (c->paused)
		events = 0;
	else if (!c->conn->deaf && c->sent < c->head.len + c->request.len)
		events |= EPOLLOUT;
	if (!http_sockets_want(c->plain->http->sockets, c->conn->fd, events))
		plain_lost(c, errno);
}

/* Connected: the request goes out. */
static void
plain_begin(struct plain_call *c)
{
	c->conn->connected = true;
	if (!c->lingering)
		c->pub.user.on_sent(c->pub.user.arg);
	plain_send(c);
	plain_watch(c);
}

static void
plain_connect(struct plain_call *c)
{
	c->sent = 0;
	c->conn = c->tries++ == 0 ? plain_conn_take(&c->plain->pool, &c->target) : NULL;
	if (c->conn == NULL)
		c->conn = plain_conn_open(&c->plain->pool, &c->target);
	if (c->conn == NULL) {
		plain_lost(c, errno);
		return;
	}
	c->conn->call = c;
	http_parser_init(&c->parser, HTTP_RESPONSE);
	c->parser.allow_chunked_length = 1; /* a length beside chunks: chunks count, RFC 9112 6.3 */
	c->parser.data = c;
	if (c->conn->connected)
		plain_begin(c);
	else
		plain_watch(c);
}

static void
plain_receive(struct plain_call *c)
{
	struct http_plain *h = c->plain;
	ssize_t n = recv(c->conn->fd, h->in, sizeof(h->in), 0);

	if (n >= 0)
		plain_feed(c, h->in, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR)
		plain_broken(c, errno);
}

static void
plain_connected(struct plain_call *c)
{
	int os_error = 0;
	socklen_t len = sizeof(os_error);

	if (getsockopt(c->conn->fd, SOL_SOCKET, SO_ERROR, &os_error, &len) != 0)
		os_error = errno;
	if (os_error != 0)
		plain_refused(c, os_error);
	else
		plain_begin(c);
}

void
http_plain_ready(struct plain_conn *k, uint32_t events)
{
	struct plain_call *c = k->call;

	if (c == NULL) { /* it ended, or says what nobody asked for */
		plain_conn_drop(k);
		return;
	}
	if (!k->connected) {
		plain_connected(c);
		return;
	}
	if ((events & EPOLLOUT) != 0 && !k->deaf) {
		plain_send(c);
		plain_watch(c);
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && c->conn == k && !c->paused)
		plain_receive(c);
}

/* What could not be done where it was found out. */
static void
plain_on_later(void *arg)
{
	struct plain_call *c = arg;
	struct http *http = c->plain->http;
	AUTO(buf_fini) struct buf held = c->held;

	c->held = (struct buf)BUF_INIT;
	if (c->conn == NULL) {
		plain_refused(c, c->os_error);
	} else {
		c->paused = false;
		plain_give(c, buf_str(&held), held.len);
		if (c->stopped)
			plain_fail(c, ERR_CUT, "the rest of the answer was not wanted", "");
		else if (c->complete && !c->paused)
			plain_finish(c);
		else
			plain_watch(c);
	}
	http_batch_done(http);
}

static void
plain_on_linger(void *arg)
{
	plain_release(arg);
}

/* ---- the engine ---- */

static void
plain_resume(struct http_call *pub)
{
	struct plain_call *c = (struct plain_call *)pub;

	if (c->paused)
		loop_timer_set(c->plain->http->loop, &c->later, 0);
}

static void
plain_stop(struct http_call *pub)
{
	plain_release((struct plain_call *)pub);
}

static void
plain_linger(struct http_call *pub)
{
	struct plain_call *c = (struct plain_call *)pub;
	const bool sent = c->conn != NULL && c->sent == c->head.len + c->request.len;

	c->lingering = true;
	if (!sent || c->stopped) { /* the rest of the request goes with its caller */
		plain_release(c);
		return;
	}
	if (c->paused)
		plain_resume(pub);
	loop_timer_set(c->plain->http->loop, &c->linger,
		loop_now(c->plain->http->loop) + clock_ms_to_ns(HTTP_LINGER_MS));
}

static const struct http_engine engine_plain = {
	.resume = plain_resume, .stop = plain_stop, .linger = plain_linger};

static struct plain_call *
plain_take(struct http_plain *h)
{
	struct plain_call *c = h->kept;
	struct buf head, name, value;

	if (c == NULL) {
		c = calloc(1, sizeof(*c));
		CHECK(c != NULL);
	} else {
		h->kept = c->next;
		h->kept_len--;
	}
	head = c->head;
	name = c->name;
	value = c->value;
	*c = (struct plain_call){.plain = h,
		.head = head,
		.name = name,
		.value = value,
		.target = h->target,
		.later = {.fn = plain_on_later, .arg = c},
		.linger = {.fn = plain_on_linger, .arg = c}};
	buf_clear(&c->head);
	buf_clear(&c->name);
	buf_clear(&c->value);
	return c;
}

static void
plain_put_head(struct plain_call *c)
{
	const struct buf *fixed = http_headers_text(c->plain->http->headers);
	struct buf *b = &c->head;

	buf_reserve(b, strlen(c->request.url) + fixed->len + 256); /* never moved: the key */
	buf_add_str(b, c->request.parts == NULL ? "GET " : "POST ");
	buf_add_str(b, c->request.url + c->target.path_at);
	buf_add_str(b, " HTTP/1.1\r\nHost: ");
	buf_add_str(b, c->target.authority);
	buf_add_str(b, "\r\nUser-Agent: " HTTP_USER_AGENT "\r\nAccept: */*\r\n");
	buf_add(b, fixed->data, fixed->len);
	if (c->request.parts != NULL) {
		buf_add_str(b, "Content-Length: ");
		buf_add_u64(b, c->request.len);
		buf_add_str(b, "\r\n");
	}
	buf_add_str(b, "\r\n");
}

void
http_plain_start(struct http_plain *h, struct http_call **out, const struct http_request *r,
	const struct http_user *u)
{
	struct plain_call *c = plain_take(h);

	http_call_begin(&c->pub, &engine_plain, h->http, u);
	c->request = *r;
	if (r->parts == NULL)
		c->request.len = 0;
	*out = &c->pub;
	plain_put_head(c);
	plain_connect(c);
}

void
http_plain_new(struct http_plain **out, struct http *http)
{
	struct http_plain *h = calloc(1, sizeof(*h));

	CHECK(h != NULL);
	h->http = h->pool.http = http;
	*out = h;
}

void
http_plain_free(struct http_plain **h_p)
{
	struct http_plain *h = *h_p;
	struct plain_call *c;

	*h_p = NULL;
	if (h == NULL)
		return;
	plain_pool_fini(&h->pool);
	while ((c = h->kept) != NULL) {
		h->kept = c->next;
		plain_free(c);
	}
	buf_fini(&h->url);
	free(h);
}
