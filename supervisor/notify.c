/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.c - tell the service manager how we are (the sd_notify protocol, without its library)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/notify.h"

enum { NOTIFY_WAIT_S = 1 }; /* a message such as READY=1 is worth that, a dead manager no more */

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un addr;
	socklen_t addr_len;
	uint64_t watchdog_ns; /* half of what the manager waits; 0: it does not */
	uint64_t watchdog_at_ns;
	char status[200];
};

static void
notify_send(struct notify *n, const char *text)
{
	if (n->fd < 0)
		return;
	if (sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->addr,
		    n->addr_len) >= 0)
		return;
	log_warn("notify_failed", "errno=%d text=\"%s\"", errno, strerror(errno));
	if (errno == EAGAIN) /* the manager did not read for NOTIFY_WAIT_S; maybe the next time */
		return;
	(void)close(n->fd);
	n->fd = -1;
}

/* A path, or '@' and an abstract name. */
static void
notify_open_socket(struct notify *n, const char *name)
{
	const struct timeval wait = {.tv_sec = NOTIFY_WAIT_S};
	size_t len = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof(n->addr.sun_path)) {
		log_warn("notify_failed", "text=\"NOTIFY_SOCKET %s is no socket name\"", name);
		return;
	}
	n->addr.sun_family = AF_UNIX;
	memcpy(n->addr.sun_path, name, len);
	if (name[0] == '@')
		n->addr.sun_path[0] = '\0';
	n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0 || setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		log_warn("notify_failed", "errno=%d text=\"%s\"", errno, strerror(errno));
}

/* A whole decimal number above 0, else 0. */
static uint64_t
notify_number(const char *text)
{
	char *end = NULL;
	unsigned long long v;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	v = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? v : 0;
}

struct notify *
notify_new(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	const char *pid = getenv("WATCHDOG_PID");
	struct notify *n = calloc(1, sizeof(*n));

	CHECK(n != NULL);
	n->fd = -1;
	if (name != NULL && name[0] != '\0')
		notify_open_socket(n, name);
	if (pid == NULL || notify_number(pid) == (uint64_t)getpid())
		n->watchdog_ns = notify_number(getenv("WATCHDOG_USEC")) / 2 * NS_PER_US;
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
	return n;
}

void
notify_free(struct notify **n_p)
{
	struct notify *n = *n_p;

	if (n == NULL)
		return;
	if (n->fd >= 0)
		(void)close(n->fd);
	free(n);
	*n_p = NULL;
}

void
notify_ready(struct notify *n)
{
	notify_send(n, "READY=1");
}

void
notify_reloading(struct notify *n)
{
	char text[80];

	(void)snprintf(
		text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ns() / NS_PER_US);
	notify_send(n, text);
}

void
notify_stopping(struct notify *n)
{
	notify_send(n, "STOPPING=1");
}

void
notify_extend(struct notify *n, uint64_t ms)
{
	char text[60];

	(void)snprintf(
		text, sizeof(text), "EXTEND_TIMEOUT_USEC=%" PRIu64, clock_ms_to_ns(ms) / NS_PER_US);
	notify_send(n, text);
}

void
notify_status(struct notify *n, const char *fmt, ...)
{
	char status[sizeof(n->status)], text[sizeof(n->status) + 16];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(status, sizeof(status), fmt, ap);
	va_end(ap);
	if (strcmp(status, n->status) == 0)
		return;
	memcpy(n->status, status, sizeof(status));
	(void)snprintf(text, sizeof(text), "STATUS=%s", status);
	notify_send(n, text);
}

uint64_t
notify_watchdog(struct notify *n, uint64_t now_ns)
{
	if (n->fd < 0 || n->watchdog_ns == 0)
		return 0;
	if (now_ns >= n->watchdog_at_ns) {
		notify_send(n, "WATCHDOG=1");
		n->watchdog_at_ns = now_ns + n->watchdog_ns;
	}
	return n->watchdog_at_ns;
}
