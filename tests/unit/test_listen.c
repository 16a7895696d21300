/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_listen.c - opening, keeping and giving up listening sockets
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/config.h"
#include "supervisor/listen.h"
#include "supervisor/listen_socket.h"

static char folder[40], path[60], text[80];

static void
set_up(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/shunt-listen-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/s", folder);
	(void)snprintf(text, sizeof(text), "unix:%s", path);
}

static void
tear_down(void)
{
	(void)unlink(path);
	(void)rmdir(folder);
}

TestSuite(listen, .init = set_up, .fini = tear_down, .timeout = 20);

static struct config_listen
unix_row(uint32_t mode)
{
	return (struct config_listen){.text = text, .path = path, .mode = mode};
}

static struct config_listen
tcp_row(char *as_text, char *host)
{
	return (struct config_listen){.text = as_text, .host = host, .port = 0};
}

static struct listen_set *
opened(struct listen_set **old, struct config_listen *rows, size_t len)
{
	struct config c = {.listen = rows, .listen_len = len};
	struct listen_set *s = NULL;
	struct err e;

	cr_assert_eq(listen_open(&s, old, &c, &e), ERR_OK, "%s", e.text);
	cr_assert_null(*old);
	cr_assert_eq(listen_count(s), len);
	return s;
}

static void
refused(struct config_listen *rows, size_t len, const char *why)
{
	struct config c = {.listen = rows, .listen_len = len};
	struct listen_set *s = NULL, *old = NULL;
	struct err e;

	cr_assert_eq(listen_open(&s, &old, &c, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, why), "%s", e.text);
	cr_assert_null(s);
}

static mode_t
mode_of(void)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

Test(listen, a_unix_socket_has_the_mode_asked_for_and_goes_with_the_set)
{
	struct config_listen row = unix_row(0660);
	struct listen_set *none = NULL, *s;

	(void)umask(077);
	s = opened(&none, &row, 1);
	cr_assert_eq(mode_of(), 0660);
	cr_assert_eq(umask(077), 077, "the process's mask is as before");
	listen_close(&s);
	cr_assert_eq(access(path, F_OK), -1);
}

Test(listen, another_mode_is_set_on_the_socket_that_is_kept)
{
	struct config_listen row = unix_row(0600);
	struct listen_set *s = NULL;
	int fd;

	s = opened(&s, &row, 1);
	fd = listen_fds(s)[0];
	row = unix_row(0666);
	s = opened(&s, &row, 1);
	cr_assert_eq(listen_fds(s)[0], fd);
	cr_assert_eq(mode_of(), 0666);
	listen_close(&s);
}

/* Bind a socket at path as another process would. */
static int
bound(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, path, strlen(path));
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

Test(listen, a_socket_left_by_a_killed_daemon_is_replaced)
{
	struct config_listen row = unix_row(0600);
	struct listen_set *s = NULL;

	(void)close(bound());
	s = opened(&s, &row, 1);
	listen_close(&s);
}

Test(listen, a_socket_that_somebody_listens_on_is_left_alone)
{
	struct config_listen row = unix_row(0600);
	int fd = bound();

	cr_assert_eq(listen(fd, 1), 0);
	refused(&row, 1, "another process listens there");
	cr_assert_eq(access(path, F_OK), 0);
	(void)close(fd);
}

Test(listen, a_file_that_is_no_socket_is_left_alone)
{
	struct config_listen row = unix_row(0600);

	(void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	refused(&row, 1, "no socket is in the way");
	cr_assert_eq(access(path, F_OK), 0);
}

Test(listen, a_socket_of_somebody_else_at_our_path_is_not_removed)
{
	struct config_listen row = unix_row(0600);
	struct listen_set *s = NULL;
	int fd;

	s = opened(&s, &row, 1);
	cr_assert_eq(unlink(path), 0);
	fd = bound();
	listen_close(&s);
	cr_assert_eq(access(path, F_OK), 0);
	(void)close(fd);
}

Test(listen, two_free_ports_of_one_text_are_two_sockets_and_are_kept)
{
	char any[] = "127.0.0.1:0", host[] = "127.0.0.1";
	struct config_listen rows[] = {tcp_row(any, host), tcp_row(any, host)};
	struct listen_set *s = NULL;
	int fds[2];

	s = opened(&s, rows, 2);
	memcpy(fds, listen_fds(s), sizeof(fds));
	cr_assert_neq(fds[0], fds[1]);
	s = opened(&s, rows, 2);
	cr_assert_arr_eq(fds, listen_fds(s), sizeof(fds));
	s = opened(&s, rows, 1);
	cr_assert_eq(fcntl(fds[1], F_GETFD), -1, "the one not asked for is closed");
	listen_close(&s);
}

Test(listen, a_failure_leaves_the_old_set_whole)
{
	char any[] = "127.0.0.1:0", host[] = "127.0.0.1", bad[] = "nonsense", taken[] = "taken";
	struct config_listen rows[] = {tcp_row(any, host), tcp_row(taken, bad)};
	struct config c = {.listen = rows, .listen_len = 2};
	struct listen_set *s = NULL, *next = NULL;
	struct err e;

	s = opened(&s, rows, 1);
	cr_assert_eq(listen_open(&next, &s, &c, &e), ERR_CONFIG);
	cr_assert_not_null(strstr(e.text, "taken"), "%s", e.text);
	cr_assert_null(next);
	cr_assert_eq(listen_count(s), 1);
	cr_assert_neq(fcntl(listen_fds(s)[0], F_GETFD), -1);
	listen_close(&s);
}

Test(listen, ipv6_and_ipv4_of_every_address_live_side_by_side)
{
	char six[] = "[::1]:0", host[] = "::1", shown[100];
	struct config_listen row = tcp_row(six, host);
	struct listen_set *s = NULL;
	int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), only = 0;
	socklen_t len = sizeof(only);

	if (probe < 0)
		cr_skip_test("this machine has no IPv6");
	(void)close(probe);
	s = opened(&s, &row, 1);
	listen_socket_text(shown, sizeof(shown), listen_fds(s)[0]);
	cr_assert_eq(strncmp(shown, "[::1]:", 6), 0, "%s", shown);
	cr_assert_eq(getsockopt(listen_fds(s)[0], IPPROTO_IPV6, IPV6_V6ONLY, &only, &len), 0);
	cr_assert_eq(only, 1);
	listen_close(&s);
}
