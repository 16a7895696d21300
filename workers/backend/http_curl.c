/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_curl.c - exchanges by libcurl: TLS, HTTP/2, proxies, names to resolve
 *
 * curl's own timeouts are not used: call and probe know their deadlines. Handles are kept and
 * reused with their options set, so that a call sets little more than URL and body. curl's one
 * timer is a moment that the loop's timer follows lazily: later wishes do not touch it.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"

enum {
	IDLE_MAX = 128, /* handles kept for the next call */
	FLAT_MAX = 64 * 1024 /* bodies up to this go out in one piece with the head */
};

struct http_curl {
	struct http *http;
	CURLM *multi;
	struct loop_timer timer;
	uint64_t wanted_ns; /* when curl wants to be called; 0: not */
	uint64_t armed_ns; /* when the loop's timer fires; 0: not set */
	struct http_headers *headers;
	char *proxy, *ca_file;
	bool tls_verify;
	unsigned options_version;
	struct curl_call *idle;
	unsigned idle_len;
	int running;
};

struct curl_call {
	struct http_call pub; /* first: a struct http_call * is also a struct curl_call * */
	struct http_curl *curl;
	CURL *easy;
	struct curl_call *next; /* in idle */
	unsigned options_version;
	struct http_headers *headers;
	struct buf url, flat;
	bool is_post;
	struct http_request request;
	size_t part_at, part_offset; /* what the read callback gives next */
	unsigned tries; /* connections that this exchange was sent on */
	bool lingering;
	struct loop_timer linger;
	char error[CURL_ERROR_SIZE];
};

/* ---- callbacks of curl ---- */

static size_t
http_on_header(char *p, size_t size, size_t n, void *arg)
{
	struct curl_call *c = arg;
	size_t len = size * n, name_len;
	const char *value, *colon;

	while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == '\n' || p[len - 1] == ' '))
		len--;
	if (len > 9 && memcmp(p, "HTTP/", 5) == 0) {
		const char *space = memchr(p, ' ', len);

		c->pub.head = (struct http_head){0};
		c->pub.head.status = space == NULL ? 0 : (unsigned)strtoul(space, NULL, 10);
		return c->pub.head.status == 101 ? 0 : size * n;
	}
	colon = memchr(p, ':', len);
	if (colon == NULL)
		return size * n;
	name_len = (size_t)(colon - p);
	value = colon + 1;
	while (value < p + len && *value == ' ')
		value++;
	http_head_line(&c->pub.head, p, name_len, value, (size_t)(p + len - value));
	return size * n;
}

static size_t
http_on_write(char *p, size_t size, size_t n, void *arg)
{
	struct curl_call *c = arg;

	if (c->lingering)
		return size * n;
	http_count_piece(&c->pub);
	switch (c->pub.user.on_data(c->pub.user.arg, p, size * n)) {
	case HTTP_GO_ON:
		return size * n;
	case HTTP_PAUSE:
		return CURL_WRITEFUNC_PAUSE;
	case HTTP_STOP:
		break;
	}
	return CURL_WRITEFUNC_ERROR;
}

static size_t
http_on_read(char *out, size_t size, size_t n, void *arg)
{
	struct curl_call *c = arg;
	size_t room = size * n, done = 0, part;

	while (done < room && c->part_at < c->request.parts_len) {
		const struct slice *s = &c->request.parts[c->part_at];

		part = MIN(s->len - c->part_offset, room - done);
		if (part > 0)
			memcpy(out + done, s->p + c->part_offset, part);
		done += part;
		c->part_offset += part;
		if (c->part_offset == s->len) {
			c->part_at++;
			c->part_offset = 0;
		}
	}
	return done;
}

/* A kept connection turned out to be dead: curl sends the body again on a new one. */
static int
http_on_seek(void *arg, curl_off_t offset, int origin)
{
	struct curl_call *c = arg;

	if (offset != 0 || origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	c->part_at = c->part_offset = 0;
	return CURL_SEEKFUNC_OK;
}

static int
http_on_prereq(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct curl_call *c = arg;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	if (c->tries++ == 0) /* another kept one may be as dead, and curl gives up at the sixth */
		(void)curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 1L);
	if (!c->lingering)
		c->pub.user.on_sent(c->pub.user.arg);
	return CURL_PREREQFUNC_OK;
}

static int
http_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_curl *h = arg;
	uint32_t events = 0;

	(void)easy;
	(void)socket_arg;
	if (what != CURL_POLL_REMOVE && (what & CURL_POLL_IN) != 0)
		events |= EPOLLIN;
	if (what != CURL_POLL_REMOVE && (what & CURL_POLL_OUT) != 0)
		events |= EPOLLOUT;
	if (http_sockets_want(h->http->sockets, fd, events))
		return 0;
	log_warn("upstream_socket", "text=\"%s\"", strerror(errno));
	return -1;
}

static curl_socket_t
http_on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_curl *h = arg;

	(void)purpose;
	return http_sockets_open(
		h->http->sockets, address->family, address->socktype, address->protocol);
}

static int
http_on_close(void *arg, curl_socket_t fd)
{
	struct http_curl *h = arg;

	return http_sockets_close(h->http->sockets, fd);
}

static int
http_on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_curl *h = arg;

	(void)multi;
	if (timeout_ms < 0) {
		h->wanted_ns = 0;
		return 0;
	}
	h->wanted_ns = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	if (h->armed_ns == 0 || h->armed_ns > h->wanted_ns) {
		h->armed_ns = h->wanted_ns;
		loop_timer_set(h->http->loop, &h->timer, h->armed_ns);
	}
	return 0;
}

/* ---- the end of an exchange ---- */

static void
curl_call_free(struct curl_call *c)
{
	curl_easy_cleanup(c->easy);
	http_headers_unref(&c->headers);
	buf_fini(&c->url);
	buf_fini(&c->flat);
	free(c);
}

static void
curl_set_callbacks(struct curl_call *c)
{
	(void)curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
	(void)curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, http_on_header);
	(void)curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, http_on_write);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_READFUNCTION, http_on_read);
	(void)curl_easy_setopt(c->easy, CURLOPT_READDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_SEEKFUNCTION, http_on_seek);
	(void)curl_easy_setopt(c->easy, CURLOPT_SEEKDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_PREREQFUNCTION, http_on_prereq);
	(void)curl_easy_setopt(c->easy, CURLOPT_PREREQDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_OPENSOCKETFUNCTION, http_on_open);
	(void)curl_easy_setopt(c->easy, CURLOPT_OPENSOCKETDATA, c->curl);
	(void)curl_easy_setopt(c->easy, CURLOPT_CLOSESOCKETFUNCTION, http_on_close);
	(void)curl_easy_setopt(c->easy, CURLOPT_CLOSESOCKETDATA, c->curl);
}

/* curl counts for a handle's whole life how often it found a kept connection dead, and gives up at
 * the sixth: begin that anew. */
static void
curl_forget_tries(struct curl_call *c)
{
	curl_easy_reset(c->easy);
	curl_set_callbacks(c);
	c->options_version = 0;
	c->is_post = false;
	buf_clear(&c->url);
}

/* Out of the multi handle and, for reuse, into the pool. */
static void
curl_release(struct curl_call *c)
{
	struct http_curl *h = c->curl;

	loop_timer_clear(h->http->loop, &c->linger);
	(void)curl_multi_remove_handle(h->multi, c->easy);
	h->running--;
	http_call_over(&c->pub);
	if (h->idle_len >= IDLE_MAX) {
		curl_call_free(c);
		return;
	}
	if (c->tries > 1)
		curl_forget_tries(c);
	c->next = h->idle;
	h->idle = c;
	h->idle_len++;
}

void
http_curl_collect(struct http_curl *h)
{
	struct curl_call *c;
	struct err e = {0};
	enum err_code code;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
		char *private = NULL;
		CURLcode result = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
		c = (struct curl_call *)(void *)private;
		code = result == CURLE_OK
			       ? ERR_OK
			       : http_error(c->easy, h->proxy, result, &c->pub.head, c->error, &e);
		if (!c->lingering)
			c->pub.user.on_done(c->pub.user.arg, code, &e);
		curl_release(c);
	}
}

static int
http_select_mask(uint32_t events)
{
	int mask = 0;

	if (events & (EPOLLIN | EPOLLHUP))
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		mask |= CURL_CSELECT_ERR;
	return mask;
}

void
http_curl_ready(struct http_curl *h, int fd, uint32_t events)
{
	int running;

	(void)curl_multi_socket_action(h->multi, fd, http_select_mask(events), &running);
}

static void
curl_on_loop_timer(void *arg)
{
	struct http_curl *h = arg;
	int running;

	h->armed_ns = 0;
	if (h->wanted_ns > loop_now(h->http->loop)) { /* curl put it off meanwhile */
		h->armed_ns = h->wanted_ns;
		loop_timer_set(h->http->loop, &h->timer, h->armed_ns);
	} else {
		h->wanted_ns = 0;
		(void)curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	http_batch_done(h->http);
}

static void
curl_on_linger(void *arg)
{
	curl_release(arg);
}

/* ---- set up ---- */

MUST enum err_code
http_curl_new(struct http_curl **out, struct http *http, struct err *e)
{
	struct http_curl *h;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(e, ERR_SYS, "libcurl can't start");
	h = calloc(1, sizeof(*h));
	CHECK(h != NULL);
	h->http = http;
	h->timer = (struct loop_timer){.fn = curl_on_loop_timer, .arg = h};
	h->multi = curl_multi_init();
	CHECK(h->multi != NULL);
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, http_on_socket);
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	(void)curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, http_on_timer);
	(void)curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	(void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_KEPT_MAX);
	*out = h;
	return ERR_OK;
}

static char *
copy_or_null(const char *s)
{
	char *copy = s == NULL ? NULL : strdup(s);

	CHECK(s == NULL || copy != NULL);
	return copy;
}

void
http_curl_set_options(struct http_curl *h, const struct http_options *o)
{
	free(h->proxy);
	free(h->ca_file);
	h->proxy = copy_or_null(o->proxy);
	h->ca_file = copy_or_null(o->ca_file);
	h->tls_verify = o->tls_verify;
	h->options_version++;
}

void
http_curl_free(struct http_curl **h_p)
{
	struct http_curl *h = *h_p;
	struct curl_call *c;

	*h_p = NULL;
	if (h == NULL)
		return;
	while ((c = h->idle) != NULL) {
		h->idle = c->next;
		curl_call_free(c);
	}
	(void)curl_multi_cleanup(h->multi);
	loop_timer_clear(h->http->loop, &h->timer);
	free(h->proxy);
	free(h->ca_file);
	free(h);
	curl_global_cleanup();
}

static void
curl_apply_options(struct curl_call *c)
{
	const struct http_curl *h = c->curl;

	(void)curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(c->easy, CURLOPT_USERAGENT, HTTP_USER_AGENT);
	(void)curl_easy_setopt(c->easy, CURLOPT_PROXY, h->proxy == NULL ? "" : h->proxy);
	(void)curl_easy_setopt(c->easy, CURLOPT_NOPROXY, ""); /* nor the environment's exceptions */
	(void)curl_easy_setopt(c->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, h->tls_verify ? 1L : 0L);
	(void)curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, h->tls_verify ? 2L : 0L);
	if (h->ca_file != NULL)
		(void)curl_easy_setopt(c->easy, CURLOPT_CAINFO, h->ca_file);
	http_headers_unref(&c->headers);
	c->headers = http_headers_ref(h->http->headers);
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, http_headers_list(c->headers));
	c->options_version = h->options_version;
}

static struct curl_call *
curl_take(struct http_curl *h)
{
	struct curl_call *c = h->idle;

	if (c != NULL) {
		h->idle = c->next;
		h->idle_len--;
	} else {
		c = calloc(1, sizeof(*c));
		CHECK(c != NULL);
		c->curl = h;
		c->easy = curl_easy_init();
		CHECK(c->easy != NULL);
		c->linger = (struct loop_timer){.fn = curl_on_linger, .arg = c};
		curl_set_callbacks(c);
	}
	if (c->options_version != h->options_version)
		curl_apply_options(c);
	c->error[0] = '\0';
	c->tries = 0;
	(void)curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 0L);
	c->part_at = c->part_offset = 0;
	c->lingering = false;
	return c;
}

static void
curl_set_body(struct curl_call *c, const struct http_request *r)
{
	bool is_flat = r->len <= FLAT_MAX;

	if (r->parts == NULL) {
		(void)curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L);
		c->is_post = false;
		return;
	}
	if (!c->is_post)
		(void)curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
	c->is_post = true;
	buf_clear(&c->flat);
	buf_reserve(&c->flat, is_flat ? r->len : 0);
	for (size_t i = 0; is_flat && i < r->parts_len; i++)
		buf_add(&c->flat, r->parts[i].p, r->parts[i].len);
	(void)curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, is_flat ? c->flat.data : NULL);
	(void)curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
}

/* ---- the engine ---- */

static void
curl_resume(struct http_call *pub)
{
	struct curl_call *c = (struct curl_call *)pub;

	(void)curl_easy_pause(c->easy, CURLPAUSE_CONT);
}

static void
curl_stop(struct http_call *pub)
{
	curl_release((struct curl_call *)pub);
}

static void
curl_linger(struct http_call *pub)
{
	struct curl_call *c = (struct curl_call *)pub;

	c->lingering = true;
	c->request = (struct http_request){0}; /* its parts go with the caller */
	loop_timer_set(c->curl->http->loop, &c->linger,
		loop_now(c->curl->http->loop) + clock_ms_to_ns(HTTP_LINGER_MS));
}

static const struct http_engine engine_curl = {
	.resume = curl_resume, .stop = curl_stop, .linger = curl_linger};

MUST enum err_code
http_curl_start(struct http_curl *h, struct http_call **out, const struct http_request *r,
	const struct http_user *u, struct err *e)
{
	struct curl_call *c = curl_take(h);
	int running = 0;

	http_call_begin(&c->pub, &engine_curl, h->http, u);
	c->request = *r;
	if (strcmp(buf_str(&c->url), r->url) != 0) {
		buf_clear(&c->url);
		buf_add_str(&c->url, r->url);
		(void)curl_easy_setopt(c->easy, CURLOPT_URL, c->url.data);
		/* Wait for the first TLS connection to say whether all calls can share it. */
		(void)curl_easy_setopt(
			c->easy, CURLOPT_PIPEWAIT, strncasecmp(r->url, "https:", 6) == 0 ? 1L : 0L);
	}
	curl_set_body(c, r);
	if (curl_multi_add_handle(h->multi, c->easy) != CURLM_OK) {
		http_call_over(&c->pub);
		curl_call_free(c);
		return err_set(e, ERR_SYS, "libcurl refuses the request");
	}
	h->running++;
	*out = &c->pub;
	/* Send now instead of a turn of the loop later. */
	(void)curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	if (running < h->running) { /* one is over already: tell it from the loop */
		h->armed_ns = loop_now(h->http->loop);
		loop_timer_set(h->http->loop, &h->timer, h->armed_ns);
	}
	return ERR_OK;
}
