/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_call.c - one HTTP exchange on the worker's loop, by whichever engine its URL needs
 *
 * A model server on this machine or beside it is plain HTTP/1.1 at a numeric address: http_plain.c
 * speaks that at a third of libcurl's cost. All else (TLS, HTTP/2, proxies, names) is libcurl's.
 * Both watch their sockets in one epoll, so that both keep the pace of a worker with many streams.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

void
http_batch_done(struct http *h)
{
	http_curl_collect(h->curl);
	if (h->batch_fn != NULL)
		h->batch_fn(h->batch_arg);
}

void
http_call_begin(struct http_call *c, const struct http_engine *engine, struct http *h,
	const struct http_user *u)
{
	*c = (struct http_call){.engine = engine, .http = h, .user = *u, .next = h->busy};
	if (h->busy != NULL)
		h->busy->prev = c;
	h->busy = c;
}

void
http_call_over(struct http_call *c)
{
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->http->busy = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->next = c->prev = NULL;
}

static void
http_on_sockets(void *arg, uint32_t loop_events)
{
	struct http *h = arg;
	struct http_ready ready[HTTP_READY_MAX];
	struct plain_conn *plain;
	uint64_t rest_ns;
	size_t n;

	(void)loop_events;
	rest_ns = pace_rest(&h->pace, loop_now(h->loop));
	if (rest_ns != 0) {
		loop_change(h->loop, &h->epoll, 0);
		loop_timer_set(h->loop, &h->rest, rest_ns);
		return;
	}
	n = http_sockets_ready(h->sockets, ready, ARRAY_LEN(ready));
	for (size_t i = 0; i < n; i++) { /* whose socket went meanwhile has no owner: ignored */
		plain = http_sockets_owner(h->sockets, ready[i].fd);
		if (plain != NULL)
			http_plain_ready(plain, ready[i].events);
		else
			http_curl_ready(h->curl, ready[i].fd, ready[i].events);
	}
	http_batch_done(h);
}

static void
http_on_rested(void *arg)
{
	struct http *h = arg;

	loop_change(h->loop, &h->epoll, EPOLLIN);
	http_on_sockets(h, EPOLLIN);
}

static enum err_code
http_open_epoll(struct http *h, struct err *e)
{
	if (http_sockets_new(&h->sockets, e) != ERR_OK)
		return e->code;
	h->epoll = (struct loop_fd){.fn = http_on_sockets,
		.arg = h,
		.fd = http_sockets_fd(h->sockets),
		.events = EPOLLIN};
	return loop_add(h->loop, &h->epoll, e);
}

MUST enum err_code
http_new(struct http **out, struct loop *loop, const struct http_options *o, struct err *e)
{
	struct http *h = calloc(1, sizeof(*h));

	CHECK(h != NULL);
	h->loop = loop;
	h->rest = (struct loop_timer){.fn = http_on_rested, .arg = h};
	http_plain_new(&h->plain, h);
	if (http_open_epoll(h, e) != ERR_OK || http_curl_new(&h->curl, h, e) != ERR_OK) {
		http_free(&h);
		return e->code;
	}
	http_set_options(h, o);
	*out = h;
	return ERR_OK;
}

void
http_set_options(struct http *h, const struct http_options *o)
{
	http_headers_unref(&h->headers);
	h->headers = http_headers_new(o);
	h->proxied = o->proxy != NULL;
	http_curl_set_options(h->curl, o);
}

void
http_on_batch(struct http *h, loop_timer_fn *fn, void *arg)
{
	h->batch_fn = fn;
	h->batch_arg = arg;
}

void
http_free(struct http **h_p)
{
	struct http *h = *h_p;

	*h_p = NULL;
	if (h == NULL)
		return;
	while (h->busy != NULL)
		h->busy->engine->stop(h->busy);
	http_plain_free(&h->plain);
	http_curl_free(&h->curl);
	loop_timer_clear(h->loop, &h->rest);
	loop_remove(h->loop, &h->epoll);
	http_sockets_free(&h->sockets);
	http_headers_unref(&h->headers);
	free(h);
}

MUST enum err_code
http_start(struct http *h, struct http_call **out, const struct http_request *r,
	const struct http_user *u, struct err *e)
{
	if (!h->proxied && http_plain_can(h->plain, r->url)) {
		http_plain_start(h->plain, out, r, u);
		return ERR_OK;
	}
	return http_curl_start(h->curl, out, r, u, e);
}

void
http_head_line(
	struct http_head *head, const char *name, size_t name_len, const char *value, size_t len)
{
	if (name_len == 12 && strncasecmp(name, "content-type", 12) == 0)
		(void)msg_str_copy(head->content_type, sizeof(head->content_type),
			(struct msg_str){.p = value, .len = len});
	else if (head->status >= 400)
		retry_hint_header(&head->hints, name, name_len, value, len);
}

void
http_count_piece(struct http_call *c)
{
	if (c->began)
		pace_count(&c->http->pace);
	c->began = true;
}

const struct http_head *
http_head(const struct http_call *c)
{
	return &c->head;
}

void
http_resume(struct http_call *c)
{
	c->engine->resume(c);
}

void
http_stop(struct http_call **c_p)
{
	struct http_call *c = *c_p;

	*c_p = NULL;
	if (c != NULL)
		c->engine->stop(c);
}

void
http_linger(struct http_call **c_p)
{
	struct http_call *c = *c_p;

	*c_p = NULL;
	if (c != NULL)
		c->engine->linger(c);
}
