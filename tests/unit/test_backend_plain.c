/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_backend_plain.c - plain HTTP/1.1 exchanges against a server of a few lines in a forked
 * process
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "workers/backend/backend.h"

enum { GUARD_MS = 20000, MIB = 1 << 20 };

/* ---- the server ---- */

static uint16_t port;
static pid_t server;

/* The next connection. */
static int
meet(int listener)
{
	int fd = accept(listener, NULL, NULL), on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* Read until text came. */
static void
hear(int fd, const char *text)
{
	AUTO(buf_fini) struct buf in = BUF_INIT;
	char c;

	while (strstr(buf_str(&in), text) == NULL && read(fd, &c, 1) == 1)
		buf_add(&in, &c, 1);
}

static void
say(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

static void
server_start(void (*play)(int listener))
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	port = ntohs(a.sin_port);
	server = fork();
	cr_assert_geq(server, 0);
	if (server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGPIPE, SIG_IGN);
		play(fd);
		_exit(0);
	}
	(void)close(fd);
}

/* ---- the client ---- */

static struct loop *loop;
static struct http *http;
static struct http_call *call;
static char body_of_mib[MIB];

static struct {
	struct buf body;
	unsigned sent, done, pauses;
	enum err_code code;
	struct http_head head;
	char text[400];
	enum http_verdict verdict; /* of the next piece */
	struct loop_timer resume;
} got;

static void
on_guard(void *arg)
{
	(void)arg;
	cr_assert_fail("nothing ended the exchange within %d ms", GUARD_MS);
}

static void
on_sent(void *arg)
{
	(void)arg;
	got.sent++;
}

static void
on_resume(void *arg)
{
	(void)arg;
	http_resume(call);
}

static enum http_verdict
on_data(void *arg, const char *p, size_t len)
{
	enum http_verdict verdict = got.verdict;

	(void)arg;
	if (verdict == HTTP_PAUSE) {
		got.pauses++;
		got.verdict = HTTP_GO_ON;
		loop_timer_set(loop, &got.resume, 0);
	}
	if (verdict == HTTP_GO_ON)
		buf_add(&got.body, p, len);
	return verdict;
}

static void
on_done(void *arg, enum err_code code, const struct err *e)
{
	(void)arg;
	got.done++;
	got.code = code;
	got.head = *http_head(call);
	call = NULL;
	(void)snprintf(got.text, sizeof(got.text), "%s", code == ERR_OK ? "" : e->text);
	loop_stop(loop);
}

static const struct http_user user = {.on_sent = on_sent, .on_data = on_data, .on_done = on_done};

static void
set_up(void)
{
	static struct loop_timer guard = {.fn = on_guard};
	const struct http_options o = {.tls_verify = true, .key = "k1", .auth = AUTH_BEARER};
	struct err e;

	got.resume = (struct loop_timer){.fn = on_resume};
	cr_assert_eq(loop_new(&loop, &e), ERR_OK);
	cr_assert_eq(http_new(&http, loop, &o, &e), ERR_OK);
	loop_timer_set(loop, &guard, clock_ns() + (uint64_t)GUARD_MS * NS_PER_MS);
}

static void
tear_down(void)
{
	http_free(&http);
	loop_free(&loop);
	buf_fini(&got.body);
	if (server > 0) {
		(void)kill(server, SIGKILL);
		(void)waitpid(server, NULL, 0);
	}
}

TestSuite(backend_plain, .init = set_up, .fini = tear_down);

/* One exchange to its end; body NULL: GET. */
static void
exchange(const char *body, size_t len)
{
	const struct slice part = {body, len};
	struct http_request r = {.parts = body == NULL ? NULL : &part, .parts_len = 1, .len = len};
	char url[64];
	struct err e;

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/x", port);
	r.url = url;
	got.done = 0;
	buf_clear(&got.body);
	cr_assert(http_plain_can(http->plain, url));
	cr_assert_eq(http_start(http, &call, &r, &user, &e), ERR_OK);
	loop_run(loop);
	cr_assert_eq(got.done, 1);
}

static void
ask(void)
{
	exchange("{}", 2);
}

static void
expect_answer(unsigned status, const char *body)
{
	cr_expect_eq(got.code, ERR_OK, "%s", got.text);
	cr_expect_eq(got.head.status, status);
	cr_expect_str_eq(buf_str(&got.body), body);
}

#define OK "HTTP/1.1 200 OK\r\n"

/* ---- which URLs ---- */

struct url_case {
	const char *url;
	bool can;
};

static const struct url_case urls[] = {
	{"http://127.0.0.1:8080/v1", true},
	{"HTTP://10.1.2.3/v1", true},
	{"http://10.1.2.3:80/", true},
	{"http://[::1]:11434/api/chat", true},
	{"http://[fe80::1]/", true},
	{"http://[fe80::1]:80/", true},
	{"https://127.0.0.1:8080/v1", false},
	{"http://localhost:8080/v1", false},
	{"http://gpu1/v1", false},
	{"http://127.0.0.1", false},
	{"http://127.0.0.1?x=/", false},
	{"http://127.0.0.1:/v1", false},
	{"http://127.0.0.1:0/v1", false},
	{"http://127.0.0.1:65536/v1", false},
	{"http://127.0.0.1:80x/v1", false},
	{"http://me:pw@127.0.0.1/v1", false},
	{"http://127.0.0.1.5/v1", false},
	{"http://127.1/v1", false},
	{"http://[::1/v1", false},
	{"http://[::1]x/v1", false},
	{"http://[127.0.0.1]/v1", false},
	{"http://[fe80::1%25eth0]/v1", false},
	{"http:///v1", false},
	{"http://", false},
	{"ftp://127.0.0.1/", false},
	{"", false},
};

Test(backend_plain, urls_of_numeric_addresses_only)
{
	for (size_t i = 0; i < ARRAY_LEN(urls); i++)
		cr_expect_eq(
			http_plain_can(http->plain, urls[i].url), urls[i].can, "%s", urls[i].url);
}

/* ---- what is sent ---- */

static void
play_echo(int listener)
{
	AUTO(buf_fini) struct buf in = BUF_INIT;
	AUTO(buf_fini) struct buf out = BUF_INIT;
	int fd = meet(listener);
	char c;

	while (strstr(buf_str(&in), "{}") == NULL && read(fd, &c, 1) == 1)
		buf_add(&in, &c, 1);
	buf_addf(&out, OK "Content-Length: %zu\r\n\r\n%s", in.len, buf_str(&in));
	say(fd, buf_str(&out));
	hear(fd, "never");
}

Test(backend_plain, request_says_what_it_must)
{
	char wanted[512];

	server_start(play_echo);
	ask();
	(void)snprintf(wanted, sizeof(wanted),
		"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: " HTTP_USER_AGENT
		"\r\nAccept: */*\r\nContent-Type: application/json\r\nAuthorization: Bearer k1\r\n"
		"Content-Length: 2\r\n\r\n{}",
		port);
	expect_answer(200, wanted);
	cr_expect_eq(got.sent, 1);
}

static void
play_get(int listener)
{
	int fd = meet(listener);

	hear(fd, "GET /v1/x HTTP/1.1\r\n");
	hear(fd, "\r\n\r\n");
	say(fd, OK "Content-Length: 3\r\n\r\nyes");
	hear(fd, "never");
}

Test(backend_plain, get_has_no_body)
{
	server_start(play_get);
	exchange(NULL, 0);
	expect_answer(200, "yes");
}

/* ---- forms of an answer ---- */

static const char *answers[] = {
	OK "Content-Length: 3\r\n\r\nyes",
	OK "Transfer-Encoding: chunked\r\n\r\n1\r\ny\r\n2;x=1\r\nes\r\n0\r\nX-After: 1\r\n\r\n",
	OK "Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n3\r\nyes\r\n0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK
	"Content-Length: 3\r\n\r\nyes",
	OK "X-Empty:\r\nX-Blank: \r\nContent-Length: 3\r\n\r\nyes",
	"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nyes",
	OK "\r\nyes",
	"HTTP/1.0 200 OK\r\n\r\nyes",
};

static const char *playing;

static void
play_answer_by_bytes(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	for (const char *p = playing; *p != '\0'; p++)
		(void)!write(fd, p, 1);
	(void)close(fd);
}

static void
play_answer(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	say(fd, playing);
	(void)close(fd);
}

Test(backend_plain, forms_of_an_answer_whole_and_byte_by_byte)
{
	for (size_t i = 0; i < 2 * ARRAY_LEN(answers); i++) {
		playing = answers[i / 2];
		server_start(i % 2 == 0 ? play_answer : play_answer_by_bytes);
		ask();
		expect_answer(200, "yes");
		cr_expect_eq(waitpid(server, NULL, 0), server);
		server = 0;
	}
}

Test(backend_plain, headers_that_matter_are_read)
{
	playing = "HTTP/1.1 429 No\r\nX-Empty:\r\nContent-Type: text/x\r\nRetry-After: 9\r\n"
		  "Content-Length: 0\r\n\r\n";
	server_start(play_answer_by_bytes);
	ask();
	expect_answer(429, "");
	cr_expect_str_eq(got.head.content_type, "text/x");
	cr_expect_str_eq(got.head.hints.retry_after, "9");
}

/* ---- answers that are none ---- */

struct bad_case {
	const char *bytes;
	enum err_code code;
	const char *text;
};

static const struct bad_case bad[] = {
	{"", ERR_RESET, "before the answer"},
	{"HTTP/1.1 2", ERR_RESET, "before the answer"},
	{"HTTP/1.1 200 OK\r\nContent-Le", ERR_CUT, "within"},
	{OK "Content-Length: 9\r\n\r\nyes", ERR_CUT, "within"},
	{OK "Transfer-Encoding: chunked\r\n\r\n3\r\nyes", ERR_CUT, "within"},
	{OK "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", ERR_CUT, "broken"},
	{OK "Content-Length: 3\r\nContent-Length: 4\r\n\r\nyes", ERR_CUT, "broken"},
	{"<html>hello</html>", ERR_MALFORMED, "does not speak HTTP"},
	{"HTTP/1.1 999999 OK\r\n\r\n", ERR_MALFORMED, "does not speak HTTP"},
	{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
		ERR_MALFORMED, "switches to another protocol"},
};

Test(backend_plain, answers_that_are_none)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		playing = bad[i].bytes;
		server_start(play_answer);
		ask();
		cr_expect_eq(got.code, bad[i].code, "%s: %s", bad[i].bytes, got.text);
		cr_expect_not_null(strstr(got.text, bad[i].text), "%s: %s", bad[i].bytes, got.text);
		cr_expect_eq(waitpid(server, NULL, 0), server);
		server = 0;
	}
}

static void
play_endless_head(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	say(fd, OK);
	while (write(fd, "X-More: 12345678\r\n", 18) == 18)
		;
}

Test(backend_plain, endless_head_ends)
{
	server_start(play_endless_head);
	ask();
	cr_expect_eq(got.code, ERR_CUT);
	cr_expect_not_null(strstr(got.text, "too many header bytes"), "%s", got.text);
}

/* ---- connections ---- */

static void
play_two_on_one(int listener)
{
	int fd = meet(listener);

	for (int i = 0; i < 2; i++) {
		hear(fd, "{}");
		say(fd, OK "Content-Length: 3\r\n\r\nyes");
	}
	hear(fd, "never");
}

Test(backend_plain, connection_is_used_again)
{
	server_start(play_two_on_one);
	ask();
	expect_answer(200, "yes");
	ask();
	expect_answer(200, "yes");
}

static const char *more;

static void
play_more_than_asked(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	say(fd, more);
	fd = meet(listener);
	hear(fd, "{}");
	say(fd, OK "Content-Length: 3\r\n\r\ntoo");
	hear(fd, "never");
}

Test(backend_plain, nobody_gets_what_came_behind_another_answer)
{
	static const char *behind[] = {
		OK "Content-Length: 3\r\n\r\nyes" OK "Content-Length: 9\r\n\r\nsomebody's",
		OK "Content-Length: 3\r\n\r\nyes or no",
		OK "Connection: close\r\nContent-Length: 3\r\n\r\nyes",
	};

	for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
		more = behind[i];
		server_start(play_more_than_asked);
		ask();
		expect_answer(200, "yes");
		ask();
		expect_answer(200, "too");
		cr_expect_eq(got.sent, 2);
		got.sent = 0;
		(void)kill(server, SIGKILL);
		cr_expect_eq(waitpid(server, NULL, 0), server);
		server = 0;
	}
}

static int told[2]; /* a pipe from the server */

static void
play_more_than_asked_later(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	say(fd, OK "Content-Length: 3\r\n\r\nyes");
	hear(told[0], "go");
	say(fd, OK "Content-Length: 9\r\n\r\nsomebody's");
	say(told[0], "said");
	fd = meet(listener);
	hear(fd, "{}");
	say(fd, OK "Content-Length: 3\r\n\r\ntoo");
	hear(fd, "never");
}

Test(backend_plain, nobody_gets_what_came_after_another_answer)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, told), 0);
	server_start(play_more_than_asked_later);
	(void)close(told[0]);
	ask();
	expect_answer(200, "yes");
	/* the kept connection has bytes before the loop looks at it again */
	say(told[1], "go");
	hear(told[1], "said");
	ask();
	expect_answer(200, "too");
	cr_expect_eq(got.sent, 2);
	(void)close(told[1]);
}

static void
play_second_request_meets_the_end(int listener)
{
	int fd = meet(listener);

	hear(fd, "{}");
	say(fd, OK "Content-Length: 3\r\n\r\nyes");
	hear(fd, "{}");
	(void)close(fd);
	fd = meet(listener);
	hear(fd, "{}");
	say(fd, OK "Content-Length: 5\r\n\r\nagain");
	hear(fd, "never");
}

Test(backend_plain, dead_kept_connection_costs_a_second_try)
{
	server_start(play_second_request_meets_the_end);
	ask();
	ask();
	expect_answer(200, "again");
	cr_expect_eq(got.sent, 3);
}

static void
play_refuse_a_large_body(int listener)
{
	int fd = meet(listener);

	hear(fd, "\r\n\r\n");
	say(fd, "HTTP/1.1 413 No\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large");
	(void)shutdown(fd, SHUT_WR);
	hear(fd, "never");
}

Test(backend_plain, answer_before_the_request_was_sent_counts)
{
	server_start(play_refuse_a_large_body);
	exchange(body_of_mib, MIB);
	expect_answer(413, "too large");
}

static void
play_take_a_large_body(int listener)
{
	int fd = meet(listener);
	size_t left = MIB;
	char part[4096];
	ssize_t n;

	hear(fd, "\r\n\r\n");
	while (left > 0 && (n = read(fd, part, sizeof(part))) > 0)
		left -= (size_t)n;
	say(fd, OK "Content-Length: 3\r\n\r\nyes");
	hear(fd, "never");
}

Test(backend_plain, large_body_goes_out_piece_by_piece)
{
	server_start(play_take_a_large_body);
	exchange(body_of_mib, MIB);
	expect_answer(200, "yes");
}

/* ---- the caller's wishes ---- */

Test(backend_plain, paused_answer_goes_on_where_it_was)
{
	playing = OK
		"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n";
	for (int i = 0; i < 2; i++) {
		server_start(i == 0 ? play_answer : play_answer_by_bytes);
		got.verdict = HTTP_PAUSE;
		got.pauses = 0;
		ask();
		expect_answer(200, "onetwothree");
		cr_expect_eq(got.pauses, 1);
		cr_expect_eq(waitpid(server, NULL, 0), server);
		server = 0;
	}
}

Test(backend_plain, answer_that_is_not_wanted_ends)
{
	playing = OK "Content-Length: 99\r\n\r\nyes";
	server_start(play_answer);
	got.verdict = HTTP_STOP;
	ask();
	cr_expect_eq(got.code, ERR_CUT);
	cr_expect_not_null(strstr(got.text, "not wanted"), "%s", got.text);
}

Test(backend_plain, nothing_listens_there)
{
	server_start(play_answer);
	(void)kill(server, SIGKILL);
	(void)waitpid(server, NULL, 0);
	server = 0;
	ask();
	cr_expect_eq(got.code, ERR_CONNECT);
	cr_expect_not_null(strstr(got.text, "connection refused"), "%s", got.text);
}
