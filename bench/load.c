/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - load generator: closed or open loop, plain or streamed chat, one JSON line at the end
 *
 * Closed loop (no -r): every connection sends again as soon as it was answered. Open loop (-r):
 * request i is due at start + i / rate whatever happened before, and its latency counts from then,
 * so that a stalled proxy shows the queue that it made (no coordinated omission). Always ends: by
 * -n requests or -s seconds, and a grace time after that.
 * -j: request i is due within its slot, at start + (i + u) / rate, u even over [0, 1) and the same
 * in every run. Streams that start at whole multiples of the time between their tokens would all
 * have their tokens in the moment of each start.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

enum { EVENTS = 256, CONNECTIONS_MAX = 4096, REQUEST_MAX = 1 << 20, HEADERS_MAX = 4096 };

struct load {
	struct client_run run;
	struct client *clients;
	struct client **idle; /* a ring: every connection gets its turn */
	size_t idle_first, idle_len;
	unsigned connections;
	double rate; /* per second; 0: closed loop */
	bool jitter;
	double seconds; /* no request starts after that */
	double grace; /* for those under way */
	uint64_t requests; /* at most */
	unsigned spread_ms; /* closed loop: the first sends are spread over this time */
	char headers[HEADERS_MAX];
	unsigned body_bytes;
	/* while it runs */
	uint64_t start_ns, end_ns, sent;
	size_t spread_next;
};

static int
usage(void)
{
	(void)fprintf(stderr, "usage: load -p port [-c connections] [-r rate] [-s seconds] [-n "
			      "requests] [-g grace_s]\n"
			      "            [-j] [-t tokens (streams)] [-w spread_ms] [-H 'Name: "
			      "value']... [-b body_bytes]\n");
	return 2;
}

static bool
options(struct load *l, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "p:c:r:s:n:g:t:w:H:b:j")) != -1) {
		double n = optarg != NULL ? strtod(optarg, NULL) : 0;
		size_t used = strlen(l->headers);

		switch (opt) {
		case 'p':
			l->run.port = (unsigned)n;
			break;
		case 'c':
			l->connections = (unsigned)n;
			break;
		case 'r':
			l->rate = n;
			break;
		case 'j':
			l->jitter = true;
			break;
		case 's':
			l->seconds = n;
			break;
		case 'n':
			l->requests = (uint64_t)n;
			break;
		case 'g':
			l->grace = n;
			break;
		case 't':
			l->run.stream = true;
			l->run.tokens = (unsigned)n;
			break;
		case 'w':
			l->spread_ms = (unsigned)n;
			break;
		case 'b':
			l->body_bytes = (unsigned)n;
			break;
		case 'H':
			if (used + strlen(optarg) + 3 > sizeof(l->headers))
				return false;
			(void)snprintf(
				l->headers + used, sizeof(l->headers) - used, "%s\r\n", optarg);
			break;
		default:
			return false;
		}
	}
	return l->run.port > 0 && l->connections > 0 && l->connections <= CONNECTIONS_MAX &&
	       l->body_bytes >= 256 && l->body_bytes < REQUEST_MAX / 2 &&
	       (!l->run.stream || l->run.tokens > 0);
}

/* A chat request of body_bytes bytes: the shape that clients send, padded in the user's text. */
static bool
request_make(struct load *l)
{
	char *request = malloc(REQUEST_MAX);
	char *body = malloc(REQUEST_MAX);
	char stream[64] = "";
	int fixed, len;

	if (request == NULL || body == NULL)
		return false;
	if (l->run.stream)
		(void)snprintf(stream, sizeof(stream), ",\"stream\":true,\"max_tokens\":%u",
			l->run.tokens);
	fixed = snprintf(body, REQUEST_MAX,
		"{\"model\":\"bench\",\"messages\":[{\"role\":\"system\",\"content\":\"You answer "
		"in one "
		"sentence.\"},{\"role\":\"user\",\"content\":\"\"}],\"temperature\":0.5%s}",
		stream);
	len = snprintf(body, REQUEST_MAX,
		"{\"model\":\"bench\",\"messages\":[{\"role\":\"system\",\"content\":\"You answer "
		"in one "
		"sentence.\"},{\"role\":\"user\",\"content\":\"%*s\"}],\"temperature\":0.5%s}",
		(int)l->body_bytes > fixed ? (int)l->body_bytes - fixed : 1, "?", stream);
	for (char *p = strstr(body, "\"user\",\"content\":\"") + 18; *p == ' '; p++)
		*p = (p - body) % 6 == 0 ? ' ' : 'a' + (char)((p - body) % 23);
	l->run.request_len = (size_t)snprintf(request, REQUEST_MAX,
		"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
		"Content-Type: application/json\r\nAccept: */*\r\nAuthorization: Bearer bench\r\n%s"
		"Content-Length: %d\r\n\r\n%s",
		l->run.port, l->headers, len, body);
	free(body);
	l->run.request = request;
	return true;
}

static bool
may_send(const struct load *l, uint64_t now)
{
	return l->sent < l->requests && now < l->end_ns;
}

/* Even over [0, 1): splitmix64, Steele, Lea and Flood 2014. */
static double
draw(uint64_t i)
{
	uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ (z >> 31)) >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t
due_at(const struct load *l)
{
	double at = (double)l->sent + (l->jitter ? draw(l->sent) : 0);

	if (l->rate > 0)
		return l->start_ns + (uint64_t)(at * 1e9 / l->rate);
	return l->spread_next < l->connections ? l->clients[l->spread_next].free_at_ns : UINT64_MAX;
}

static void
idle_put(struct load *l, struct client *c)
{
	l->idle[(l->idle_first + l->idle_len++) % l->connections] = c;
}

static struct client *
idle_take(struct load *l)
{
	struct client *c = l->idle[l->idle_first];

	l->idle_first = (l->idle_first + 1) % l->connections;
	l->idle_len--;
	return c;
}

static void
send_due(struct load *l)
{
	uint64_t now = clock_now();

	if (l->rate <= 0) {
		while (l->spread_next < l->connections && may_send(l, now) && due_at(l) <= now) {
			client_send(&l->clients[l->spread_next++], now);
			l->sent++;
		}
		return;
	}
	while (l->idle_len > 0 && may_send(l, now) && due_at(l) <= now && due_at(l) < l->end_ns) {
		struct client *c = idle_take(l);

		client_send(c, due_at(l));
		l->sent++;
		if (!c->busy)
			idle_put(l, c);
	}
}

static void
on_event(struct load *l, struct client *c)
{
	client_event(c);
	if (!c->ended)
		return;
	c->ended = false;
	if (l->rate > 0) {
		idle_put(l, c);
	} else if (may_send(l, clock_now())) {
		client_send(c, clock_now());
		l->sent++;
	}
}

static bool
open_now(const struct load *l)
{
	for (unsigned i = 0; i < l->connections; i++)
		if (l->clients[i].busy)
			return true;
	return false;
}

static void
run_loop(struct load *l)
{
	const uint64_t last_ns = l->end_ns + (uint64_t)(l->grace * 1e9);
	struct epoll_event events[EVENTS];

	for (;;) {
		uint64_t now, until;
		struct timespec wait;
		bool more;
		int n;

		send_due(l);
		now = clock_now();
		more = may_send(l, now) && due_at(l) < l->end_ns;
		if (now >= last_ns || (!more && !open_now(l)))
			return;
		until = more && l->idle_len > 0 ? due_at(l) : last_ns;
		if (l->rate <= 0 && more && due_at(l) < until)
			until = due_at(l);
		if (until > last_ns)
			until = last_ns;
		wait.tv_sec = until > now ? (time_t)((until - now) / 1000000000ULL) : 0;
		wait.tv_nsec = until > now ? (long)((until - now) % 1000000000ULL) : 0;
		n = epoll_pwait2(l->run.epoll_fd, events, EVENTS, &wait, NULL);
		if (n < 0 && errno != EINTR)
			return;
		for (int i = 0; i < n; i++)
			on_event(l, events[i].data.ptr);
	}
}

static void
report(const struct load *l, uint64_t end_ns)
{
	const struct client_run *r = &l->run;
	double seconds = (double)(end_ns - l->start_ns) / 1e9;

	(void)printf("{\"seconds\":%.4f,\"sent\":%llu,\"answered\":%llu,\"failed\":%llu,"
		     "\"reconnects\":%llu,\"rps\":%.1f,\"tokens\":%llu,\"error\":\"",
		seconds, (unsigned long long)l->sent, (unsigned long long)r->answered,
		(unsigned long long)r->failed, (unsigned long long)r->reconnects,
		(double)r->answered / seconds, (unsigned long long)r->token_count);
	for (const char *p = r->error; *p != '\0'; p++)
		(void)putchar((unsigned char)*p < ' ' || *p == '"' || *p == '\\' ? ' ' : *p);
	(void)printf("\",");
	hist_print(&r->latency, stdout, "latency");
	(void)putchar(',');
	hist_print(&r->ttft, stdout, "ttft");
	(void)putchar(',');
	hist_print(&r->gap, stdout, "gap");
	(void)putchar(',');
	hist_print(&r->hop, stdout, "hop");
	(void)printf("}\n");
}

int
main(int argc, char **argv)
{
	static struct load l = {.connections = 64,
		.seconds = 5,
		.grace = 10,
		.requests = UINT64_MAX,
		.body_bytes = 1024};
	uint64_t end_ns;

	if (!options(&l, argc, argv))
		return usage();
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)prctl(PR_SET_TIMERSLACK, 1000);
	l.clients = calloc(l.connections, sizeof(*l.clients));
	l.idle = calloc(l.connections, sizeof(struct client *));
	l.run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l.clients == NULL || l.idle == NULL || l.run.epoll_fd < 0 || !request_make(&l))
		return perror("load"), 1;
	for (unsigned i = 0; i < l.connections; i++) {
		if (!client_connect(&l.clients[i], &l.run))
			return fprintf(stderr, "load: %s\n", l.run.error), 1;
		idle_put(&l, &l.clients[i]);
	}
	l.start_ns = clock_now();
	l.end_ns = l.start_ns + (uint64_t)(l.seconds * 1e9);
	for (unsigned i = 0; i < l.connections; i++)
		l.clients[i].free_at_ns =
			l.start_ns + (uint64_t)l.spread_ms * 1000000ULL * i / l.connections;
	run_loop(&l);
	end_ns = clock_now();
	for (unsigned i = 0; i < l.connections; i++)
		client_abandon(&l.clients[i]);
	report(&l, end_ns);
	return 0;
}
