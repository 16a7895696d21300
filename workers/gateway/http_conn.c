/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_conn.c - the life of one client connection: read, hand over, write, time out, close
 *
 * One request at a time: while one is answered nothing is read, and what was read beyond it waits.
 * Output is written once per turn of the loop, so that all that happened in a turn leaves in one
 * system call. A closed connection is freed at the end of the turn, so callers may still look.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/gateway/gateway.h"

enum {
	READ_BYTES = 16 * 1024 - 1, /* a head and a usual body in one read */
	READ_BODY_BYTES = 256 * 1024, /* most of a large body in one read */
	KEEP_BYTES = 64 * 1024, /* a buffer larger than this is not kept for the next request */
	LINGER_MS = 2000,
	RATE_GRACE_MS = 5000, /* a body may start slowly */
	RATE_TICK_MS = 1000
};

#define EVENTS_READ (EPOLLIN | EPOLLRDHUP)

static void conn_advance(struct http_conn *c);

static void
conn_count(struct http_conn *c, enum counter which, int64_t n)
{
	c->server->ops->count(c->server, which, n);
}

static void
conn_timer(struct http_conn *c, uint64_t after_ms)
{
	loop_timer_set(
		c->server->loop, &c->timer, loop_now(c->server->loop) + clock_ms_to_ns(after_ms));
}

static void
conn_events(struct http_conn *c, uint32_t set, uint32_t clear)
{
	loop_change(c->server->loop, &c->fd, (c->fd.events | set) & ~clear);
}

static void
conn_trim(struct buf *b)
{
	buf_clear(b);
	if (b->cap > KEEP_BYTES)
		buf_fini(b);
}

/* Ready for the next request on the same connection. */
static void
conn_reset(struct http_conn *c)
{
	conn_trim(&c->head_text);
	conn_trim(&c->body_buf);
	bytes_unref(&c->body);
	bytes_unref(&c->out_body);
	c->head = (struct http_head){0};
	c->scan = (struct http_scan){0};
	c->chunk = (struct http_chunk){0};
	c->replied = c->committed = c->streaming = c->unread = false;
	c->endpoint = NULL;
	c->used = true;
	c->phase = CONN_IDLE;
}

void
http_conn_close(struct http_conn *c)
{
	struct http_server *s = c->server;

	if (c->phase == CONN_CLOSED)
		return;
	c->phase = CONN_CLOSED;
	loop_remove(s->loop, &c->fd);
	loop_timer_clear(s->loop, &c->timer);
	(void)close(c->fd.fd);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->next_dead = s->dead;
	s->dead = c;
	s->open--;
	conn_count(c, COUNTER_HTTP_OPEN, -1);
	if (s->draining && s->open == 0)
		s->ops->on_drained(s);
}

void
http_conn_free(struct http_conn *c)
{
	buf_fini(&c->in);
	buf_fini(&c->head_text);
	buf_fini(&c->body_buf);
	buf_fini(&c->out);
	bytes_unref(&c->body);
	bytes_unref(&c->out_body);
	free(c);
}

/* The client left, or might as well have. */
static void
conn_gone(struct http_conn *c)
{
	if (c->phase == CONN_BUSY && !c->replied)
		c->server->ops->on_gone(c);
	http_conn_close(c);
}

size_t
http_conn_pending(const struct http_conn *c)
{
	size_t n = c->out.len - c->out_at;

	return c->out_body == NULL ? n : n + c->out_body->len - c->out_body_at;
}

void
http_conn_dirty(struct http_conn *c)
{
	if (c->dirty || c->phase == CONN_CLOSED)
		return;
	c->dirty = true;
	c->next_dirty = c->server->dirty;
	c->server->dirty = c;
}

void
http_conn_refuse(struct http_conn *c, const struct err *e)
{
	c->phase = CONN_BUSY;
	c->unread = true;
	loop_timer_clear(c->server->loop, &c->timer);
	http_reply_error(c, e, NULL, NULL);
}

static void
conn_refuse_malformed(struct http_conn *c, const char *why)
{
	struct err e;

	conn_count(c, COUNTER_HTTP_BAD, 1);
	(void)err_set(&e, ERR_INPUT, "malformed HTTP request: %s", why);
	http_conn_refuse(c, &e);
}

static void
conn_refuse_body_size(struct http_conn *c)
{
	struct err e;

	(void)err_set(&e, ERR_TOO_LARGE, "request body is larger than limits.body_bytes (%llu)",
		(unsigned long long)c->server->limits->body_bytes);
	http_conn_refuse(c, &e);
}

static void
conn_dispatch(struct http_conn *c)
{
	c->phase = CONN_BUSY;
	c->unread = false;
	loop_timer_clear(c->server->loop, &c->timer);
	c->server->ops->on_request(c);
}

/* The head is whole: is it acceptable, and is there a body to wait for? */
static bool
conn_take_head(struct http_conn *c)
{
	struct err e;

	buf_clear(&c->head_text);
	buf_add(&c->head_text, c->in.data + c->in_at, c->scan.at);
	c->in_at += c->scan.at;
	conn_count(c, COUNTER_HTTP_REQUESTS, 1);
	if (http_head_parse(&c->head, c->head_text.data, c->head_text.len, &e) != ERR_OK) {
		conn_count(c, COUNTER_HTTP_BAD, 1);
		http_conn_refuse(c, &e);
		return false;
	}
	c->closing = !c->head.keep_alive || c->server->draining;
	c->unread = c->head.chunked || c->head.body_bytes > 0;
	c->server->ops->on_head(c);
	if (c->replied) {
		loop_timer_clear(c->server->loop, &c->timer);
		c->phase = CONN_BUSY;
		return false;
	}
	if (!c->unread) {
		conn_dispatch(c);
		return false;
	}
	if (c->head.body_bytes > c->server->limits->body_bytes) {
		conn_refuse_body_size(c);
		return false;
	}
	c->phase = CONN_BODY;
	c->body_start_ns = 0;
	if (c->head.expects_continue && c->in_at == c->in.len)
		http_continue(c);
	return true;
}

/* Look for a head in what was read. False: nothing more to do until bytes come. */
static bool
conn_step_head(struct http_conn *c)
{
	const struct config_limits *limits = c->server->limits;
	enum http_scan_result result;
	const char *why = "";
	struct err e;

	/* an empty line or two behind a body is old clients' habit */
	while (c->phase == CONN_IDLE && c->in.len - c->in_at >= 2 &&
		memcmp(c->in.data + c->in_at, "\r\n", 2) == 0)
		c->in_at += 2;
	if (c->in.len == c->in_at)
		return false;
	if (c->phase == CONN_IDLE && c->in.len - c->in_at == 1 && c->in.data[c->in_at] == '\r')
		return false;
	result = http_scan(&c->scan, c->in.data + c->in_at, c->in.len - c->in_at, &why);
	if (result == HTTP_SCAN_BAD) {
		conn_refuse_malformed(c, why);
		return false;
	}
	if (c->scan.at > limits->header_bytes) {
		(void)err_set(&e, ERR_HEADERS,
			"request head is larger than limits.header_bytes (%llu)",
			(unsigned long long)limits->header_bytes);
		http_conn_refuse(c, &e);
		return false;
	}
	if (result == HTTP_SCAN_DONE)
		return conn_take_head(c);
	/* from the first byte on, and never moved by later ones */
	if (c->phase == CONN_IDLE) {
		c->phase = CONN_HEAD;
		conn_timer(c, limits->header_ms);
	}
	return false;
}

static bool
conn_body_needs_more(struct http_conn *c)
{
	if (c->body_start_ns == 0) {
		c->body_start_ns = loop_now(c->server->loop);
		conn_timer(c, MIN((uint32_t)RATE_TICK_MS, c->server->limits->body_ms));
	}
	return false;
}

static bool
conn_step_chunks(struct http_conn *c)
{
	size_t used = 0;
	enum http_chunk_result result = http_chunk_feed(&c->chunk, c->in.data + c->in_at,
		c->in.len - c->in_at, &used, &c->body_buf, c->server->limits->body_bytes);

	c->in_at += used;
	if (result == HTTP_CHUNK_MORE)
		return conn_body_needs_more(c);
	if (result == HTTP_CHUNK_DONE) {
		if (c->body_buf.len > 0)
			c->body = bytes_from_buf(&c->body_buf);
		conn_dispatch(c);
	} else if (result == HTTP_CHUNK_TOO_LARGE) {
		conn_refuse_body_size(c);
	} else {
		conn_refuse_malformed(c, "bad chunk");
	}
	return false;
}

static bool
conn_step_body(struct http_conn *c)
{
	size_t have = c->in.len - c->in_at, want;

	if (c->head.chunked)
		return conn_step_chunks(c);
	want = (size_t)c->head.body_bytes - c->body_buf.len;
	if (c->body_buf.len == 0 && have >= want) {
		c->body = bytes_copy(c->in.data + c->in_at, want);
		c->in_at += want;
		conn_dispatch(c);
		return false;
	}
	if (have > 0)
		buf_add(&c->body_buf, c->in.data + c->in_at, MIN(have, want));
	c->in_at += MIN(have, want);
	if (c->body_buf.len < c->head.body_bytes)
		return conn_body_needs_more(c);
	c->body = bytes_from_buf(&c->body_buf);
	conn_dispatch(c);
	return false;
}

/* Go as far as the bytes at hand allow. */
static void
conn_advance(struct http_conn *c)
{
	bool more = true;

	while (more) {
		if (c->phase == CONN_IDLE || c->phase == CONN_HEAD)
			more = conn_step_head(c);
		else if (c->phase == CONN_BODY)
			more = conn_step_body(c);
		else
			more = false;
	}
	if (c->in_at == c->in.len) {
		c->in_at = 0;
		conn_trim(&c->in);
	}
}

static void
conn_finish(struct http_conn *c)
{
	if (c->closing || c->server->draining) {
		if (!c->unread && (c->fd.events & EPOLLIN) != 0 && c->in_at == c->in.len) {
			http_conn_close(c);
			return;
		}
		/* closing with unread bytes would reset the connection and the answer with it */
		(void)shutdown(c->fd.fd, SHUT_WR);
		c->phase = CONN_LINGER;
		conn_events(c, EVENTS_READ, EPOLLOUT);
		conn_timer(c, LINGER_MS);
		return;
	}
	conn_reset(c);
	conn_events(c, EVENTS_READ, EPOLLOUT);
	conn_advance(c);
	if (c->phase == CONN_IDLE)
		conn_timer(c, c->server->limits->idle_ms);
}

static void
conn_wrote(struct http_conn *c, size_t n)
{
	size_t part = MIN(n, c->out.len - c->out_at);

	c->out_at += part;
	if (c->out_body != NULL)
		c->out_body_at += n - part;
	if (c->out_at == c->out.len) {
		c->out_at = 0;
		conn_trim(&c->out);
	} else if (c->out_at > c->out.len / 2) {
		buf_drop_front(&c->out, c->out_at);
		c->out_at = 0;
	}
	if (c->out_body != NULL && c->out_body_at == c->out_body->len) {
		bytes_unref(&c->out_body);
		c->out_body_at = 0;
	}
}

/* One sendmsg of all there is. False: the connection is gone. */
static bool
conn_send(struct http_conn *c)
{
	struct iovec iov[2];
	struct msghdr m = {.msg_iov = iov};
	ssize_t n;

	if (c->out.len > c->out_at)
		iov[m.msg_iovlen++] =
			(struct iovec){c->out.data + c->out_at, c->out.len - c->out_at};
	if (c->out_body != NULL)
		iov[m.msg_iovlen++] =
			(struct iovec){(char *)(uintptr_t)c->out_body->data + c->out_body_at,
				c->out_body->len - c->out_body_at};
	n = sendmsg(c->fd.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_gone(c);
		return false;
	}
	if (n > 0) {
		conn_wrote(c, (size_t)n);
		if (c->phase == CONN_BUSY)
			loop_timer_clear(c->server->loop, &c->timer);
	}
	return true;
}

void
http_conn_flush(struct http_conn *c)
{
	if (c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
		return;
	if (http_conn_pending(c) > 0 && !conn_send(c))
		return;
	if (c->streaming)
		c->server->ops->on_taken(c);
	if (c->phase == CONN_CLOSED)
		return;
	if (http_conn_pending(c) > 0) {
		conn_events(c, EPOLLOUT, 0);
		if (c->phase == CONN_BUSY && c->timer.heap_index == 0)
			conn_timer(c, c->server->limits->write_ms);
	} else if (c->replied) {
		conn_finish(c);
	} else {
		conn_events(c, 0, EPOLLOUT);
	}
}

static void
conn_read(struct http_conn *c)
{
	bool whole = c->phase == CONN_BODY && !c->head.chunked && c->in_at == c->in.len;
	struct buf *b = whole ? &c->body_buf : &c->in;
	size_t want = READ_BYTES;
	ssize_t n;

	/* a large body goes straight to where it stays, growing with what really came */
	if (whole)
		want = MIN((size_t)c->head.body_bytes - b->len,
			MIN(MAX(b->len, (size_t)READ_BYTES), (size_t)READ_BODY_BYTES));
	if (!whole && c->in_at > 0) {
		buf_drop_front(&c->in, c->in_at);
		c->in_at = 0;
	}
	buf_reserve(b, want);
	n = read(c->fd.fd, b->data + b->len, want);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_gone(c);
		return;
	}
	if (n == 0) {
		if (c->phase == CONN_IDLE)
			http_conn_close(c);
		else
			conn_refuse_malformed(c, "the client closed before its end");
		return;
	}
	b->len += (size_t)n;
	b->data[b->len] = '\0';
	conn_advance(c);
}

static void
conn_linger(struct http_conn *c)
{
	char waste[16 * 1024];
	ssize_t n = read(c->fd.fd, waste, sizeof(waste));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		http_conn_close(c);
}

/*
 * The client will send nothing more. Has it left, or does it wait for its answer? The end of its
 * stream looks the same; but one that left answers bytes with a reset, and these are bytes that
 * every client skips.
 */
static void
conn_half_closed(struct http_conn *c)
{
	conn_events(c, 0, EVENTS_READ);
	if (c->streaming) {
		http_stream_add(c, ":\n\n", 3);
	} else if (!c->head.http10) {
		buf_add_str(&c->out, "HTTP/1.1 102 Processing\r\n\r\n");
		http_conn_dirty(c);
	} else {
		conn_gone(c);
	}
}

static void
conn_event(void *arg, uint32_t events)
{
	struct http_conn *c = arg;

	if (c->phase == CONN_LINGER) {
		conn_linger(c);
		return;
	}
	if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && c->phase != CONN_IDLE)) {
		conn_gone(c);
		return;
	}
	if ((events & EPOLLOUT) != 0)
		http_conn_flush(c);
	if (c->phase == CONN_CLOSED || c->phase == CONN_LINGER)
		return;
	if (c->phase != CONN_BUSY) {
		if ((events & (EVENTS_READ | EPOLLHUP)) != 0)
			conn_read(c);
	} else if ((events & EPOLLRDHUP) != 0 && !c->replied) {
		conn_half_closed(c);
	} else if ((events & EVENTS_READ) != 0) {
		/* the rest waits in the socket until this request is answered */
		conn_events(c, 0, c->replied ? EVENTS_READ : EPOLLIN);
	}
}

/* Is the body still coming fast enough? */
static void
conn_check_body(struct http_conn *c)
{
	const struct config_limits *limits = c->server->limits;
	uint64_t ms = (loop_now(c->server->loop) - c->body_start_ns) / NS_PER_MS;
	bool slow = ms > RATE_GRACE_MS &&
		    c->body_buf.len < (uint64_t)limits->body_min_bytes_per_s * (ms / 1000);
	struct err e;

	if (ms < limits->body_ms && !slow) {
		conn_timer(c, MIN((uint64_t)RATE_TICK_MS, limits->body_ms - ms));
		return;
	}
	conn_count(c, COUNTER_HTTP_TIMEOUTS, 1);
	(void)err_set(&e, ERR_CLIENT_SLOW, "the request body came too slowly");
	http_conn_refuse(c, &e);
}

static void
conn_timeout(void *arg)
{
	struct http_conn *c = arg;
	struct err e;

	switch (c->phase) {
	case CONN_HEAD:
		conn_count(c, COUNTER_HTTP_TIMEOUTS, 1);
		(void)err_set(&e, ERR_CLIENT_SLOW, "the request head came too slowly");
		http_conn_refuse(c, &e);
		return;
	case CONN_BODY:
		conn_check_body(c);
		return;
	case CONN_BUSY:
		/* the client has taken nothing for limits.write_ms */
		conn_count(c, COUNTER_HTTP_TIMEOUTS, 1);
		conn_gone(c);
		return;
	default:
		http_conn_close(c);
	}
}

struct http_conn *
http_conn_open(struct http_server *s, int fd, struct http_peer peer)
{
	struct http_conn *c = calloc(1, sizeof(*c));

	CHECK(c != NULL);
	c->server = s;
	c->peer = peer;
	c->fd = (struct loop_fd){.fn = conn_event, .arg = c, .fd = fd, .events = EVENTS_READ};
	c->timer = (struct loop_timer){.fn = conn_timeout, .arg = c};
	if (loop_add(s->loop, &c->fd, NULL) != ERR_OK) {
		(void)close(fd);
		free(c);
		return NULL;
	}
	c->next = s->conns;
	if (c->next != NULL)
		c->next->prev = c;
	s->conns = c;
	s->open++;
	conn_count(c, COUNTER_HTTP_CONNECTIONS, 1);
	conn_count(c, COUNTER_HTTP_OPEN, 1);
	conn_timer(c, s->limits->idle_ms);
	return c;
}
