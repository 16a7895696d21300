/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen_socket.c - opening one listening socket, TCP or unix
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/config.h"
#include "supervisor/listen_socket.h"

union listen_addr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_storage storage;
};

static void
listen_socket_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static enum err_code
listen_unix_addr(union listen_addr *out, socklen_t *len, const char *path, struct err *e)
{
	if (strlen(path) >= sizeof(out->un.sun_path))
		return err_set(e, ERR_CONFIG, "unix:%s: the path is longer than %zu bytes", path,
			sizeof(out->un.sun_path) - 1);
	memset(out, 0, sizeof(*out));
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path, strlen(path));
	*len = sizeof(out->un);
	return ERR_OK;
}

/* Numeric addresses only, so nothing here ever waits for a name server. */
static enum err_code
listen_tcp_addr(
	union listen_addr *out, socklen_t *len, const struct config_listen *l, struct err *e)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char port[8];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", l->port);
	rc = getaddrinfo(l->host, port, &hints, &found);
	if (rc != 0)
		return err_set(e, ERR_CONFIG, "%s: no IP address: %s", l->text, gai_strerror(rc));
	CHECK(found->ai_addrlen <= sizeof(*out));
	memset(out, 0, sizeof(*out));
	memcpy(out, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return ERR_OK;
}

/* Make way for a new socket at path: a file that no process listens on is left over from a killed
 * daemon and goes; anything else stays and is an error. */
static enum err_code
listen_unix_clear(const char *path, const union listen_addr *addr, socklen_t len, struct err *e)
{
	AUTO(listen_socket_close) int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? ERR_OK
				       : err_set(e, ERR_SYS, "unix:%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_SYS, "unix:%s: a file that is no socket is in the way", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, ERR_SYS, "unix:%s: socket: %s", path, strerror(errno));
	if (connect(fd, &addr->any, len) == 0 || errno != ECONNREFUSED)
		return err_set(e, ERR_SYS, "unix:%s: another process listens there", path);
	if (unlink(path) < 0)
		return err_set(e, ERR_SYS, "unix:%s: left over from before, cannot remove it: %s",
			path, strerror(errno));
	return ERR_OK;
}

static enum err_code
listen_unix_bind(int fd, const struct config_listen *l, struct err *e)
{
	union listen_addr addr;
	enum err_code code;
	socklen_t len;
	mode_t mask;
	int rc, saved;

	if ((code = listen_unix_addr(&addr, &len, l->path, e)) != ERR_OK ||
		(code = listen_unix_clear(l->path, &addr, len, e)) != ERR_OK)
		return code;
	/* The socket never exists with more rights than asked for, not even for a moment. */
	mask = umask(0777 & ~l->mode);
	rc = bind(fd, &addr.any, len);
	saved = errno;
	(void)umask(mask);
	if (rc < 0)
		return err_set(e, ERR_SYS, "unix:%s: bind: %s", l->path, strerror(saved));
	return ERR_OK;
}

static enum err_code
listen_tcp_bind(int fd, const struct config_listen *l, const union listen_addr *addr, socklen_t len,
	struct err *e)
{
	const int yes = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0)
		return err_set(e, ERR_SYS, "%s: SO_REUSEADDR: %s", l->text, strerror(errno));
	/* [::] means IPv6 only, whatever the machine's default is: 0.0.0.0 is listed on its own. */
	if (addr->any.sa_family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) < 0)
		return err_set(e, ERR_SYS, "%s: IPV6_V6ONLY: %s", l->text, strerror(errno));
	if (bind(fd, &addr->any, len) < 0)
		return err_set(e, ERR_SYS, "%s: bind: %s", l->text, strerror(errno));
	return ERR_OK;
}

static enum err_code
listen_start(int fd, const struct config_listen *l, const union listen_addr *addr, socklen_t len,
	struct err *e)
{
	enum err_code code =
		l->path != NULL ? listen_unix_bind(fd, l, e) : listen_tcp_bind(fd, l, addr, len, e);

	if (code != ERR_OK)
		return code;
	if (listen(fd, SOMAXCONN) < 0)
		return err_set(e, ERR_SYS, "%s: listen: %s", l->text, strerror(errno));
	return ERR_OK;
}

enum err_code
listen_socket_open(int *out, const struct config_listen *l, struct err *e)
{
	union listen_addr addr = {.any.sa_family = AF_UNIX};
	enum err_code code;
	socklen_t len = 0;
	int fd;

	if (l->path == NULL && (code = listen_tcp_addr(&addr, &len, l, e)) != ERR_OK)
		return code;
	fd = socket(addr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: socket: %s", l->text, strerror(errno));
	code = listen_start(fd, l, &addr, len, e);
	if (code == ERR_OK)
		*out = fd;
	else
		(void)close(fd);
	return code;
}

static bool
listen_addr_same(const union listen_addr *a, const union listen_addr *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return a->in6.sin6_port == b->in6.sin6_port &&
	       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
	       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

bool
listen_socket_is(int fd, const struct config_listen *l)
{
	union listen_addr have = {.any.sa_family = AF_UNSPEC}, want;
	socklen_t len = sizeof(have), want_len;

	if (getsockname(fd, &have.any, &len) < 0)
		return false;
	if (l->path != NULL)
		return have.any.sa_family == AF_UNIX &&
		       strncmp(have.un.sun_path, l->path, sizeof(have.un.sun_path)) == 0;
	if (have.any.sa_family != AF_INET && have.any.sa_family != AF_INET6)
		return false;
	return listen_tcp_addr(&want, &want_len, l, NULL) == ERR_OK &&
	       listen_addr_same(&have, &want);
}

void
listen_socket_text(char *out, size_t size, int fd)
{
	union listen_addr a = {.any.sa_family = AF_UNSPEC};
	char host[INET6_ADDRSTRLEN] = "?";
	socklen_t len = sizeof(a);

	(void)getsockname(fd, &a.any, &len);
	if (a.any.sa_family == AF_UNIX) {
		(void)snprintf(out, size, "unix:%.*s", (int)sizeof(a.un.sun_path), a.un.sun_path);
	} else if (a.any.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
		(void)snprintf(out, size, "[%s]:%u", host, ntohs(a.in6.sin6_port));
	} else {
		(void)inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
		(void)snprintf(out, size, "%s:%u", host, ntohs(a.in.sin_port));
	}
}
