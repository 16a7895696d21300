/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_reply.c - answers: status line and headers, JSON errors, event streams
 */
#include <http_parser.h>
#include <stdio.h>
#include <string.h>

#include "workers/gateway/gateway.h"

enum { HEADER_VALUE_MAX = 400 };

void
http_put_header(struct buf *out, const char *name, const char *value)
{
	buf_add_str(out, name);
	buf_add_str(out, ": ");
	for (size_t i = 0; i < HEADER_VALUE_MAX && value[i] != '\0'; i++)
		buf_add_char(out, value[i] >= ' ' && value[i] <= '~' ? value[i] : '?');
	buf_add_str(out, "\r\n");
}

void
http_put_retry_after(struct buf *out, uint32_t ms)
{
	char seconds[16];

	(void)snprintf(seconds, sizeof(seconds), "%llu", ((unsigned long long)ms + 999) / 1000);
	http_put_header(out, "Retry-After", seconds);
}

void
http_put_error(struct buf *out, const struct err *e, const char *param)
{
	json_put_begin(out, '{');
	json_put_key(out, "error");
	json_put_begin(out, '{');
	json_put_member_str(out, "message", e->text);
	json_put_member_str(out, "type", err_openai_type(e->code));
	json_put_key(out, "param");
	if (param != NULL)
		json_put_str(out, param);
	else
		json_put_null(out);
	json_put_member_str(out, "code", err_name(e->code));
	json_put_end(out, '}');
	json_put_end(out, '}');
}

static void
reply_count(struct http_conn *c, unsigned status)
{
	struct http_server *s = c->server;

	if (status >= 500)
		s->ops->count(s, COUNTER_HTTP_5XX, 1);
	else if (status >= 400)
		s->ops->count(s, COUNTER_HTTP_4XX, 1);
	else if (status >= 200 && status < 300)
		s->ops->count(s, COUNTER_HTTP_2XX, 1);
}

/* Status line and the headers of every answer, without the empty line. */
static void
reply_start(struct http_conn *c, unsigned status, const char *type, const struct buf *headers)
{
	struct buf *out = &c->out;

	CHECK(!c->committed && c->phase != CONN_CLOSED && status >= 200 && status <= 599);
	c->committed = true;
	/* what follows an unread body can't be told from it */
	if (c->unread)
		c->closing = true;
	reply_count(c, status);
	buf_add_str(out, "HTTP/1.1 ");
	buf_add_u64(out, status);
	buf_add_char(out, ' ');
	buf_add_str(out, http_status_str((enum http_status)status));
	buf_add_str(out, "\r\nDate: ");
	buf_add_str(out, http_server_date(c->server));
	if (type != NULL) {
		buf_add_str(out, "\r\nContent-Type: ");
		buf_add_str(out, type);
	}
	buf_add_str(out, "\r\n");
	if (c->closing)
		buf_add_str(out, "Connection: close\r\n");
	else if (c->head.http10)
		buf_add_str(out, "Connection: keep-alive\r\n");
	if (headers != NULL)
		buf_add(out, headers->data, headers->len);
}

static void
reply_length(struct http_conn *c, unsigned status, size_t len)
{
	if (status != 204) {
		buf_add_str(&c->out, "Content-Length: ");
		buf_add_u64(&c->out, len);
		buf_add_str(&c->out, "\r\n");
	}
	buf_add_str(&c->out, "\r\n");
}

static void
reply_done(struct http_conn *c)
{
	c->replied = true;
	http_conn_dirty(c);
}

void
http_reply(struct http_conn *c, unsigned status, const char *type, const struct buf *headers,
	const void *body, size_t len)
{
	reply_start(c, status, type, headers);
	reply_length(c, status, len);
	if (c->head.method != HTTP_HEAD)
		buf_add(&c->out, body, len);
	reply_done(c);
}

void
http_reply_bytes(struct http_conn *c, unsigned status, const char *type, const struct buf *headers,
	struct bytes *body)
{
	size_t len = body == NULL ? 0 : body->len;

	reply_start(c, status, type, headers);
	reply_length(c, status, len);
	if (c->head.method != HTTP_HEAD && len > 0) {
		c->out_body = bytes_ref(body);
		c->out_body_at = 0;
	}
	reply_done(c);
}

void
http_reply_error(
	struct http_conn *c, const struct err *e, const char *param, const struct buf *headers)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	AUTO(buf_fini) struct buf lines = BUF_INIT;

	if (headers != NULL)
		buf_add(&lines, headers->data, headers->len);
	if (e->code == ERR_AUTH)
		http_put_header(&lines, "WWW-Authenticate", "Bearer realm=\"shunt\"");
	if (e->retry_after_ms > 0)
		http_put_retry_after(&lines, e->retry_after_ms);
	http_put_error(&body, e, param);
	http_reply(c, err_http_status(e->code), "application/json", &lines, body.data, body.len);
}

void
http_continue(struct http_conn *c)
{
	buf_add_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
	http_conn_dirty(c);
}

void
http_stream_begin(struct http_conn *c, const struct buf *headers, const char *trailer)
{
	/* without chunks only the close tells where the stream ends */
	if (c->head.http10)
		c->closing = true;
	reply_start(c, 200, "text/event-stream", headers);
	buf_add_str(&c->out, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
	if (!c->head.http10) {
		buf_add_str(&c->out, "Transfer-Encoding: chunked\r\n");
		if (trailer != NULL)
			http_put_header(&c->out, "Trailer", trailer);
	}
	buf_add_str(&c->out, "\r\n");
	c->streaming = true;
	http_conn_dirty(c);
}

void
http_stream_add(struct http_conn *c, const void *data, size_t len)
{
	CHECK(c->streaming && !c->replied);
	/* an empty chunk would end the stream */
	if (len == 0)
		return;
	if (c->head.http10) {
		buf_add(&c->out, data, len);
	} else {
		char size[20];
		int n = snprintf(size, sizeof(size), "%zx\r\n", len);

		buf_add(&c->out, size, (size_t)n);
		buf_add(&c->out, data, len);
		buf_add(&c->out, "\r\n", 2);
	}
	http_conn_dirty(c);
}

void
http_stream_end(struct http_conn *c, const struct buf *trailers)
{
	CHECK(c->streaming && !c->replied);
	if (!c->head.http10) {
		buf_add_str(&c->out, "0\r\n");
		if (trailers != NULL)
			buf_add(&c->out, trailers->data, trailers->len);
		buf_add_str(&c->out, "\r\n");
	}
	c->streaming = false;
	reply_done(c);
}

void
http_stream_fail(struct http_conn *c, const struct err *e)
{
	AUTO(buf_fini) struct buf event = BUF_INIT;

	buf_add_str(&event, "data: ");
	http_put_error(&event, e, NULL);
	buf_add_str(&event, "\n\n");
	http_stream_add(c, event.data, event.len);
	http_stream_end(c, NULL);
}
