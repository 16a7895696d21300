/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - one keep-alive connection of the load generator, plain or streamed answers
 *
 * An answer counts only when it is whole: status 200, the mock's mark in the text, and for a stream
 * every token and [DONE]. So a proxy can't win by dropping work.
 */
#include "client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STAMP_DIGITS = 19, READ_BYTES = 65536 };

uint64_t
clock_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void
answer_ended(struct client *c)
{
	c->busy = false;
	c->ended = true;
}

static void
answer_failed(struct client *c, const char *why)
{
	struct client_run *run = c->run;

	if (run->error[0] == '\0')
		(void)snprintf(run->error, sizeof(run->error), "%s%s%.*s", why,
			c->head_len > 0 ? ": " : "", (int)c->head_len, c->head_of_error);
	run->failed++;
	answer_ended(c);
}

static void
take_token(struct client *c, const char *digits)
{
	struct client_run *run = c->run;
	char text[STAMP_DIGITS + 1];
	uint64_t sent;

	memcpy(text, digits, STAMP_DIGITS);
	text[STAMP_DIGITS] = '\0';
	sent = strtoull(text, NULL, 10);
	if (c->tokens == 0)
		hist_add(&run->ttft, c->arrived_ns - c->intended_ns);
	else
		hist_add(&run->gap, c->arrived_ns - c->last_token_ns);
	hist_add(&run->hop, c->arrived_ns > sent ? c->arrived_ns - sent : 0);
	c->last_token_ns = c->arrived_ns;
	c->tokens++;
	run->token_count++;
}

/* Look for marks in len bytes at p; return how many bytes at the end may begin an uncut mark. */
static size_t
scan_stream(struct client *c, const char *p, size_t len)
{
	const char *end = p + len;
	const char *at = p;
	const char *rest = len > 8 ? end - 8 : p; /* "[DONE]" is shorter */

	while ((at = memmem(at, (size_t)(end - at), "t@", 2)) != NULL) {
		if (end - at < 2 + STAMP_DIGITS)
			return (size_t)(end - at);
		take_token(c, at + 2);
		at += 2 + STAMP_DIGITS;
		if (at > rest)
			rest = at;
	}
	if (!c->done_mark && memmem(p, len, "[DONE]", 6) != NULL)
		c->done_mark = true;
	return (size_t)(end - rest);
}

static int
on_body(http_parser *p, const char *at, size_t len)
{
	struct client *c = p->data;
	char joined[READ_BYTES + CLIENT_TAIL];
	size_t keep;

	if (p->status_code != 200) {
		size_t room = sizeof(c->head_of_error) - c->head_len;

		memcpy(c->head_of_error + c->head_len, at, len < room ? len : room);
		c->head_len += len < room ? len : room;
		return 0;
	}
	memcpy(joined, c->tail, c->tail_len);
	memcpy(joined + c->tail_len, at, len);
	len += c->tail_len;
	if (c->run->stream) {
		keep = scan_stream(c, joined, len);
	} else {
		c->done_mark = c->done_mark || memmem(joined, len, "pong-1k", 7) != NULL;
		keep = len < 8 ? len : 8;
	}
	if (keep > CLIENT_TAIL)
		return 1;
	memcpy(c->tail, joined + len - keep, keep);
	c->tail_len = keep;
	return 0;
}

static int
on_complete(http_parser *p)
{
	struct client *c = p->data;
	struct client_run *run = c->run;
	char why[64];

	if (p->status_code != 200) {
		(void)snprintf(why, sizeof(why), "status %u", p->status_code);
		answer_failed(c, why);
	} else if (!c->done_mark) {
		answer_failed(c, "an answer that is not the upstream's");
	} else if (run->stream && c->tokens != run->tokens) {
		(void)snprintf(
			why, sizeof(why), "stream of %u tokens, not %u", c->tokens, run->tokens);
		answer_failed(c, why);
	} else {
		run->answered++;
		hist_add(&run->latency, c->arrived_ns - c->intended_ns);
		answer_ended(c);
	}
	if (!http_should_keep_alive(p)) {
		client_close(c);
		run->reconnects++;
	}
	return 0;
}

static const http_parser_settings settings = {
	.on_body = on_body, .on_message_complete = on_complete};

bool
client_connect(struct client *c, struct client_run *run)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)run->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	const int one = 1;

	c->run = run;
	c->busy = false;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
		epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
		if (run->error[0] == '\0')
			(void)snprintf(run->error, sizeof(run->error), "connect to port %u: %s",
				run->port, strerror(errno));
		client_close(c);
		return false;
	}
	return true;
}

void
client_send(struct client *c, uint64_t intended_ns)
{
	struct client_run *run = c->run;

	c->intended_ns = intended_ns;
	c->ended = false;
	c->tokens = 0;
	c->done_mark = false;
	c->tail_len = c->head_len = 0;
	if (c->fd < 0 && !client_connect(c, run)) {
		answer_failed(c, "reconnect");
		return;
	}
	http_parser_init(&c->parser, HTTP_RESPONSE);
	c->parser.data = c;
	c->busy = true;
	/* One request is out at a time, so the socket's buffer is empty and takes it whole. */
	if (send(c->fd, run->request, run->request_len, MSG_NOSIGNAL) !=
		(ssize_t)run->request_len) {
		client_close(c);
		answer_failed(c, "send");
	}
}

void
client_event(struct client *c)
{
	char in[READ_BYTES];
	ssize_t n;

	if (c->fd < 0)
		return;
	n = recv(c->fd, in, sizeof(in), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !c->busy) {
		client_close(c);
		c->run->reconnects++;
		if (c->busy)
			answer_failed(c, n < 0 ? "reset" : "closed before the answer's end");
		return;
	}
	c->arrived_ns = clock_now();
	if (http_parser_execute(&c->parser, &settings, in, (size_t)n) != (size_t)n) {
		client_close(c);
		if (c->busy)
			answer_failed(c, "not HTTP");
	}
}

void
client_abandon(struct client *c)
{
	if (c->busy)
		answer_failed(c, "no answer by the end of the run");
	client_close(c);
}

void
client_close(struct client *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
}
