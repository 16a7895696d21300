/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first.c - start a program, ask it until it answers, say how long that took, end it
 *
 * Time runs from just before exec to the last byte of the first right answer (status 200 with the
 * mock upstream's text), through connection refusals and early 5xx answers alike.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RETRY_NS = 200000, END_MS = 8000, HEADERS_MAX = 4096 };

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void
nap(long ns)
{
	const struct timespec t = {.tv_nsec = ns};

	(void)nanosleep(&t, NULL);
}

/* One request on a fresh connection. True when the right answer came. */
static bool
ask(unsigned port, const char *headers)
{
	static const char body[] =
		"{\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval limit = {.tv_sec = 2};
	char request[HEADERS_MAX + 512];
	char answer[8192];
	size_t got = 0;
	int len = snprintf(request, sizeof(request),
		"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n"
		"Content-Type: application/json\r\nAuthorization: Bearer bench\r\n%s"
		"Content-Length: %zu\r\n\r\n%s",
		port, headers, sizeof(body) - 1, body);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
		connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		send(fd, request, (size_t)len, MSG_NOSIGNAL) == len) {
		ssize_t n;

		while (got < sizeof(answer) - 1 &&
			(n = recv(fd, answer + got, sizeof(answer) - 1 - got, 0)) > 0)
			got += (size_t)n;
	}
	if (fd >= 0)
		(void)close(fd);
	answer[got] = '\0';
	return strncmp(answer, "HTTP/1.1 200", 12) == 0 && strstr(answer, "pong-1k") != NULL;
}

static pid_t
start(char **argv)
{
	pid_t pid = fork();
	int null;

	if (pid != 0)
		return pid;
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		(void)dup2(null, 0);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
	}
	(void)execvp(argv[0], argv);
	_exit(127);
}

static void
finish(pid_t pid)
{
	uint64_t until = now_ns() + END_MS * 1000000ULL;

	(void)kill(pid, SIGTERM);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (now_ns() > until) {
			(void)kill(-pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
			return;
		}
		nap(1000000);
	}
	(void)kill(-pid, SIGKILL); /* its children that outlived it, none if it is well behaved */
}

int
main(int argc, char **argv)
{
	char headers[HEADERS_MAX] = "";
	unsigned port = 0;
	double limit_s = 60;
	unsigned asked = 0;
	uint64_t from, to = 0;
	pid_t pid;
	int opt;

	while ((opt = getopt(argc, argv, "+p:s:H:")) != -1) {
		size_t used = strlen(headers);

		if (opt == 'p')
			port = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 's')
			limit_s = strtod(optarg, NULL);
		else if (opt == 'H' && used + strlen(optarg) + 3 < sizeof(headers))
			(void)snprintf(headers + used, sizeof(headers) - used, "%s\r\n", optarg);
		else
			port = 0;
	}
	if (port == 0 || optind >= argc) {
		(void)fprintf(stderr,
			"usage: first -p port [-s limit_s] [-H header]... program args...\n");
		return 2;
	}
	(void)prctl(PR_SET_TIMERSLACK, 1000);
	from = now_ns();
	pid = start(argv + optind);
	while (pid > 0 && now_ns() - from < (uint64_t)(limit_s * 1e9)) {
		asked++;
		if (ask(port, headers)) {
			to = now_ns();
			break;
		}
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			(void)fprintf(stderr, "first: %s ended by itself\n", argv[optind]);
			return 1;
		}
		nap(RETRY_NS);
	}
	if (pid > 0)
		finish(pid);
	if (to == 0)
		return fprintf(stderr, "first: no answer in %.0f s\n", limit_s), 1;
	(void)printf("{\"ms\":%.3f,\"asked\":%u}\n", (double)(to - from) / 1e6, asked);
	return 0;
}
