/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock_upstream.c - a model server that costs next to nothing, the same for every proxy measured
 *
 * One thread, one epoll. POST to any path that ends in /chat/completions answers a 1 KB completion,
 * or with "stream":true as many tokens as the request's max_tokens says (default --tokens), the
 * first at once and the others at --rate per second from one timer wheel of 0.1 ms slots. Every
 * token's text carries the moment it was sent (t@ and CLOCK_MONOTONIC ns), so that the load
 * generator on the same machine sees each token's way through the proxy. GET /v1/models, /health
 * and /props answer too, for proxies that look before they send. Prints "port N" when it listens;
 * ends on SIGTERM or when its parent dies.
 */
#include <errno.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	WHEEL_SLOTS = 8192, /* of 0.1 ms: tokens at least every 0.8 s */
	SLOT_NS = 100000,
	BODY_MAX = 1 << 20,
	BACKLOG_MAX = 4 << 20, /* unsent bytes on one connection */
	PATH_MAX_BYTES = 256,
	EVENTS = 256,
};

struct conn {
	int fd;
	bool closing;
	struct http_parser parser;
	char path[PATH_MAX_BYTES];
	size_t path_len;
	char *body;
	size_t body_len, body_cap;
	char *out; /* what the socket did not take */
	size_t out_len, out_cap;
	/* the stream that runs */
	unsigned token, tokens; /* tokens 0: none */
	uint64_t started_ns;
	struct conn *prev, *next; /* in its wheel slot, or in the list of the dead */
	size_t slot;
	bool in_wheel;
};

static struct {
	int epoll_fd;
	unsigned tokens;
	uint64_t period_ns;
	struct conn *wheel[WHEEL_SLOTS];
	uint64_t tick; /* the next one to run */
	size_t streams;
	struct conn *dead; /* freed after the turn: an event may still name them */
	char answer[4096];
	size_t answer_len;
} mock;

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void *
grow(void *p, size_t *cap, size_t want)
{
	size_t next = *cap > 0 ? *cap : 2048;

	if (want <= *cap)
		return p;
	while (next < want)
		next *= 2;
	p = realloc(p, next);
	if (p == NULL)
		die("realloc");
	*cap = next;
	return p;
}

static void
wheel_remove(struct conn *c)
{
	if (!c->in_wheel)
		return;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		mock.wheel[c->slot] = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->in_wheel = false;
	mock.streams--;
}

static void
wheel_add(struct conn *c, uint64_t at_ns)
{
	uint64_t tick = at_ns / SLOT_NS;

	if (tick <= mock.tick) /* late: catch up, but never in the slot that runs now */
		tick = mock.tick + 1;
	c->slot = tick % WHEEL_SLOTS;
	c->prev = NULL;
	c->next = mock.wheel[c->slot];
	if (c->next != NULL)
		c->next->prev = c;
	mock.wheel[c->slot] = c;
	c->in_wheel = true;
	mock.streams++;
}

static void
conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	wheel_remove(c);
	(void)close(c->fd);
	c->fd = -1;
	c->next = mock.dead;
	mock.dead = c;
}

static void
conn_watch(struct conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(mock.epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		conn_close(c);
}

static void
conn_send(struct conn *c, const char *data, size_t len)
{
	ssize_t n = 0;

	if (c->fd < 0)
		return;
	if (c->out_len == 0) {
		n = send(c->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			conn_close(c);
			return;
		}
		if (n < 0)
			n = 0;
		if ((size_t)n == len)
			return;
		conn_watch(c, EPOLLIN | EPOLLOUT);
	}
	if (c->fd < 0 || c->out_len + len > BACKLOG_MAX) {
		conn_close(c);
		return;
	}
	c->out = grow(c->out, &c->out_cap, c->out_len + len);
	memcpy(c->out + c->out_len, data + n, len - (size_t)n);
	c->out_len += len - (size_t)n;
}

static void
conn_flush(struct conn *c)
{
	ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c);
		return;
	}
	memmove(c->out, c->out + n, c->out_len - (size_t)n);
	c->out_len -= (size_t)n;
	if (c->out_len == 0)
		conn_watch(c, EPOLLIN);
}

/* Append one event as one HTTP chunk. */
static size_t
put_event(char *to, size_t room, const char *delta, const char *finish)
{
	char data[512];
	int len = snprintf(data, sizeof(data),
		"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
		"\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{%"
		"s},"
		"\"finish_reason\":%s}]}\n\n",
		delta, finish);

	return (size_t)snprintf(to, room, "%x\r\n%s\r\n", (unsigned)len, data);
}

static size_t
put_token(char *to, size_t room)
{
	char delta[96];

	(void)snprintf(
		delta, sizeof(delta), "\"content\":\"t@%019llu \"", (unsigned long long)now_ns());
	return put_event(to, room, delta, "null");
}

static size_t
put_end(char *to, size_t room, unsigned tokens)
{
	char data[512];
	size_t n = put_event(to, room, "", "\"stop\"");
	int len = snprintf(data, sizeof(data),
		"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
		"\"created\":1700000000,\"model\":\"bench\",\"choices\":[],\"usage\":{"
		"\"prompt_tokens\":200,\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n"
		"data: [DONE]\n\n",
		tokens, tokens + 200);

	return n + (size_t)snprintf(to + n, room - n, "%x\r\n%s\r\n0\r\n\r\n", (unsigned)len, data);
}

/* The next token of c, and after the last one the end of the stream. */
static void
stream_step(struct conn *c)
{
	char out[2048];
	size_t n = put_token(out, sizeof(out));

	c->token++;
	if (c->token >= c->tokens) {
		n += put_end(out + n, sizeof(out) - n, c->tokens);
		c->tokens = 0;
	} else {
		wheel_add(c, c->started_ns + c->token * mock.period_ns);
	}
	conn_send(c, out, n);
}

static void
stream_start(struct conn *c, unsigned tokens)
{
	static const char head[] =
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
		"Transfer-Encoding: chunked\r\n\r\n";
	char out[2048];
	size_t n = sizeof(head) - 1;

	memcpy(out, head, n);
	n += put_event(out + n, sizeof(out) - n, "\"role\":\"assistant\",\"content\":\"\"", "null");
	conn_send(c, out, n);
	if (c->fd < 0)
		return;
	c->tokens = tokens;
	c->token = 0;
	c->started_ns = now_ns();
	stream_step(c);
}

static bool
path_ends(const struct conn *c, const char *end)
{
	size_t len = strlen(end);

	return c->path_len >= len && memcmp(c->path + c->path_len - len, end, len) == 0;
}

static void
answer_json(struct conn *c, const char *status, const char *json)
{
	char out[1024];
	int n = snprintf(out, sizeof(out),
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		status, strlen(json), json);

	conn_send(c, out, (size_t)n);
}

static void
answer_get(struct conn *c)
{
	if (path_ends(c, "/models"))
		answer_json(c, "200 OK",
			"{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\","
			"\"created\":1700000000,\"owned_by\":\"bench\"}]}");
	else if (path_ends(c, "/health"))
		answer_json(c, "200 OK", "{\"status\":\"ok\"}");
	else
		answer_json(c, "404 Not Found",
			"{\"error\":{\"message\":\"no such "
			"path\",\"type\":\"invalid_request_error\"}}");
}

static bool
body_streams(const char *body)
{
	const char *p = strstr(body, "\"stream\"");

	if (p == NULL)
		return false;
	p += strlen("\"stream\"");
	p += strspn(p, " \t\r\n:");
	return strncmp(p, "true", 4) == 0;
}

static unsigned
body_tokens(const char *body)
{
	const char *p = strstr(body, "\"max_tokens\"");
	unsigned long n;

	if (p == NULL)
		return mock.tokens;
	p += strlen("\"max_tokens\"");
	p += strspn(p, " \t\r\n:");
	n = strtoul(p, NULL, 10);
	return n > 0 && n < 10000000 ? (unsigned)n : mock.tokens;
}

static int
on_complete(http_parser *p)
{
	struct conn *c = p->data;

	if (p->method != HTTP_POST) {
		answer_get(c);
	} else if (!path_ends(c, "/chat/completions")) {
		answer_json(c, "404 Not Found", "{\"error\":{\"message\":\"no such path\"}}");
	} else {
		c->body = grow(c->body, &c->body_cap, c->body_len + 1);
		c->body[c->body_len] = '\0';
		if (body_streams(c->body))
			stream_start(c, body_tokens(c->body));
		else
			conn_send(c, mock.answer, mock.answer_len);
	}
	if (!http_should_keep_alive(p))
		c->closing = true;
	return 0;
}

static int
on_begin(http_parser *p)
{
	struct conn *c = p->data;

	c->path_len = c->body_len = 0;
	return c->tokens > 0; /* pipelining into a running stream: not served */
}

static int
on_url(http_parser *p, const char *at, size_t len)
{
	struct conn *c = p->data;

	if (c->path_len + len > sizeof(c->path))
		return 1;
	memcpy(c->path + c->path_len, at, len);
	c->path_len += len;
	return 0;
}

static int
on_body(http_parser *p, const char *at, size_t len)
{
	struct conn *c = p->data;

	if (c->body_len + len > BODY_MAX)
		return 1;
	c->body = grow(c->body, &c->body_cap, c->body_len + len + 1);
	memcpy(c->body + c->body_len, at, len);
	c->body_len += len;
	return 0;
}

static const http_parser_settings settings = {.on_message_begin = on_begin,
	.on_url = on_url,
	.on_body = on_body,
	.on_message_complete = on_complete};

static void
conn_read(struct conn *c)
{
	char in[65536];
	ssize_t n = recv(c->fd, in, sizeof(in), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	if (http_parser_execute(&c->parser, &settings, in, (size_t)n) != (size_t)n)
		conn_close(c);
}

static void
conn_event(struct conn *c, uint32_t events)
{
	if (c->fd >= 0 && (events & EPOLLOUT))
		conn_flush(c);
	if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		conn_read(c);
	if (c->fd >= 0 && c->closing && c->tokens == 0 && c->out_len == 0)
		conn_close(c);
}

static void
accept_all(int listen_fd)
{
	const int one = 1;
	int fd;

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

		if (c == NULL)
			die("calloc");
		c->fd = fd;
		http_parser_init(&c->parser, HTTP_REQUEST);
		c->parser.data = c;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (epoll_ctl(mock.epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
			conn_close(c);
	}
}

static void
wheel_run(void)
{
	uint64_t until = now_ns() / SLOT_NS;

	if (mock.streams == 0)
		mock.tick = until;
	for (; mock.tick <= until; mock.tick++) {
		struct conn *c;

		while ((c = mock.wheel[mock.tick % WHEEL_SLOTS]) != NULL) {
			wheel_remove(c);
			stream_step(c);
			if (c->fd >= 0 && c->closing && c->tokens == 0 && c->out_len == 0)
				conn_close(c);
		}
	}
}

static const struct timespec *
wheel_wait(struct timespec *out)
{
	uint64_t tick = mock.tick;
	uint64_t now = now_ns();
	uint64_t wait;

	if (mock.streams == 0)
		return NULL;
	while (mock.wheel[tick % WHEEL_SLOTS] == NULL)
		tick++;
	wait = tick * SLOT_NS > now ? tick * SLOT_NS - now : 0;
	out->tv_sec = (time_t)(wait / 1000000000ULL);
	out->tv_nsec = (long)(wait % 1000000000ULL);
	return out;
}

static void
answer_init(void)
{
	char body[2048];
	char text[640];
	int n;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "pong-1k ", 8);
	n = snprintf(body, sizeof(body),
		"{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,"
		"\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
		"\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
		"\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,"
		"\"completion_tokens\":160,\"total_tokens\":360},\"system_fingerprint\":null}",
		text);
	mock.answer_len = (size_t)snprintf(mock.answer, sizeof(mock.answer),
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		n, body);
}

static int
listen_on(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		die("listen");
	(void)printf("port %u\n", ntohs(a.sin_port));
	(void)fflush(stdout);
	return fd;
}

static void
dead_free(void)
{
	while (mock.dead != NULL) {
		struct conn *c = mock.dead;

		mock.dead = c->next;
		free(c->body);
		free(c->out);
		free(c);
	}
}

int
main(int argc, char **argv)
{
	unsigned port = 0;
	unsigned rate = 50;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int listen_fd;
	int opt;

	mock.tokens = 50;
	while ((opt = getopt(argc, argv, "p:t:r:")) != -1) {
		unsigned long n = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;

		if (opt == 'p' && n < 65536)
			port = (unsigned)n;
		else if (opt == 't' && n > 0)
			mock.tokens = (unsigned)n;
		else if (opt == 'r' && n >= 2)
			rate = (unsigned)n;
		else
			return fprintf(stderr,
				       "usage: mock_upstream [-p port] [-t tokens] [-r rate]\n"),
			       2;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)prctl(PR_SET_TIMERSLACK, 1000);
	mock.period_ns = 1000000000ULL / rate;
	answer_init();
	mock.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	listen_fd = listen_on(port);
	if (mock.epoll_fd < 0 || epoll_ctl(mock.epoll_fd, EPOLL_CTL_ADD, listen_fd, &ev) != 0)
		die("epoll");
	for (;;) {
		struct epoll_event events[EVENTS];
		struct timespec wait;
		int n = epoll_pwait2(mock.epoll_fd, events, EVENTS, wheel_wait(&wait), NULL);

		if (n < 0 && errno != EINTR)
			die("epoll_pwait2");
		wheel_run();
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				accept_all(listen_fd);
			else
				conn_event(events[i].data.ptr, events[i].events);
		}
		dead_free();
	}
}
