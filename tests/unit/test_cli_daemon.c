/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_daemon.c - the command line against a stand-in daemon that says what the test wants
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"

/* Answers one request on a listening socket, and keeps what was asked. */
struct stand_in {
	int fd;
	pthread_t thread;
	const char *status, *body;
	struct buf asked;
	char folder[32], path[64], url[64];
};

static void
stand_in_read(struct stand_in *s, int fd)
{
	const char *head_end, *length;
	size_t want = 0;
	char piece[4096];
	ssize_t n;

	for (;;) {
		n = read(fd, piece, sizeof(piece));
		if (n <= 0)
			return;
		buf_add(&s->asked, piece, (size_t)n);
		head_end = strstr(buf_str(&s->asked), "\r\n\r\n");
		if (head_end == NULL)
			continue;
		length = strcasestr(buf_str(&s->asked), "content-length:");
		if (length != NULL)
			want = strtoul(length + 15, NULL, 10);
		if (s->asked.len >= (size_t)(head_end + 4 - s->asked.data) + want)
			return;
	}
}

static void *
stand_in_main(void *arg)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	struct stand_in *s = arg;
	int fd = accept(s->fd, NULL, NULL);

	if (fd < 0)
		return NULL;
	stand_in_read(s, fd);
	buf_addf(&answer, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		s->status, strlen(s->body), s->body);
	if (send(fd, answer.data, answer.len, MSG_NOSIGNAL) < 0)
		s->status = "not sent";
	(void)close(fd);
	return NULL;
}

static void
stand_in_start(struct stand_in *s, int family, const char *status, const char *body)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(in);

	*s = (struct stand_in){.status = status, .body = body};
	s->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(s->folder, sizeof(s->folder), "/tmp/shunt-test-XXXXXX");
	cr_assert_not_null(mkdtemp(s->folder));
	if (family == AF_UNIX) {
		(void)snprintf(s->path, sizeof(s->path), "%s/shunt.sock", s->folder);
		(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", s->path);
		cr_assert_eq(bind(s->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	} else {
		cr_assert_eq(bind(s->fd, (struct sockaddr *)&in, sizeof(in)), 0);
		cr_assert_eq(getsockname(s->fd, (struct sockaddr *)&in, &len), 0);
		(void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u/", ntohs(in.sin_port));
	}
	cr_assert_eq(listen(s->fd, 4), 0);
	cr_assert_eq(pthread_create(&s->thread, NULL, stand_in_main, s), 0);
}

static void
stand_in_stop(struct stand_in *s)
{
	(void)shutdown(s->fd, SHUT_RDWR); /* wakes an accept that nobody answered */
	cr_assert_eq(pthread_join(s->thread, NULL), 0);
	(void)close(s->fd);
	(void)unlink(s->path);
	(void)rmdir(s->folder);
	buf_fini(&s->asked);
}

struct run {
	char *out, *err;
	int code;
};

static struct run
run(const char *const *words)
{
	char *argv[16] = {strdup("shunt")};
	int argc = 1;
	size_t out_len, err_len;
	struct run r = {0};
	FILE *out = open_memstream(&r.out, &out_len), *err = open_memstream(&r.err, &err_len);

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = strdup(words[argc - 1]);
	r.code = cli_main(argc, argv, out, err);
	(void)fclose(out);
	(void)fclose(err);
	while (argc > 0)
		free(argv[--argc]);
	return r;
}

static void
run_fini(struct run *r)
{
	free(r->out);
	free(r->err);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void
clean_environment(void)
{
	(void)unsetenv("SHUNT_URL");
	(void)unsetenv("SHUNT_SOCKET");
	(void)unsetenv("SHUNT_KEY");
	(void)setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not be used */
}

TestSuite(cli_daemon, .init = clean_environment, .timeout = 30);

static const char status_body[] =
	"{\"version\":\"9.9\",\"uptime_s\":93784,\"workers\":[{\"role\":\"gateway\",\"name\":"
	"\"gateway-0\","
	"\"slot\":0,\"pid\":4242,\"generation\":1,\"state\":\"ready\",\"restarts\":7,"
	"\"heartbeat_age_ms\":120,\"rss_kb\":9000,\"pss_kb\":4096}],\"backends\":[{\"name\":"
	"\"gpu1\","
	"\"kind\":\"openai\",\"state\":\"ready\",\"breaker\":\"closed\",\"in_flight\":3,\"ok\":"
	"12345,"
	"\"failed\":2,\"ewma_ms\":812.25}],\"models\":[{\"name\":\"m\",\"health\":\"up\","
	"\"deployments\":["
	"{\"backend\":\"gpu1\",\"health\":\"up\"},{\"backend\":\"gpu2\",\"health\":\"down\"}],"
	"\"context_tokens\":32768,\"tools\":true,\"vision\":null}]}";

Test(cli_daemon, status_prints_what_the_daemon_says)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_INET, "200 OK", status_body);
	r = RUN("status", "--url", s.url);
	stand_in_stop(&s);
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(strstr(r.out, "shunt 9.9, up 1 d 2 h\n"), "%s", r.out);
	cr_expect_not_null(
		strstr(r.out, "gateway-0  gateway  ready  4242         7     120 ms  4.0 MB\n"),
		"%s", r.out);
	cr_expect_not_null(
		strstr(r.out,
			"gpu1  openai  ready  -       closed           3  12345       2  812.2 ms  -\n"),
		"%s", r.out);
	cr_expect_not_null(strstr(r.out, "gpu1, (gpu2)"), "%s", r.out);
	cr_expect_null(strchr(r.out, '\033'), "no colours into a file");
	run_fini(&r);
}

Test(cli_daemon, json_goes_through_byte_for_byte)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_INET, "200 OK", status_body);
	(void)setenv("SHUNT_URL", s.url, 1);
	r = RUN("status", "--json");
	cr_expect_not_null(strstr(buf_str(&s.asked), "GET /admin/status HTTP/1.1\r\n"), "%s",
		buf_str(&s.asked));
	stand_in_stop(&s);
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_eq(strncmp(r.out, status_body, strlen(status_body)), 0);
	cr_expect_str_eq(r.out + strlen(status_body), "\n");
	run_fini(&r);
}

Test(cli_daemon, the_socket_of_a_configs_run_dir_is_found)
{
	struct stand_in s;
	char config[64];
	FILE *f;
	struct run r;

	stand_in_start(&s, AF_UNIX, "200 OK",
		"{\"object\":\"list\",\"data\":[{\"id\":\"auto\",\"owned_by\":\"shunt\"}]}");
	(void)snprintf(config, sizeof(config), "%s/c.yaml", s.folder);
	f = fopen(config, "w");
	cr_assert_not_null(f);
	(void)fprintf(f,
		"run_dir: %s\nlisten: [\"127.0.0.1:0\"]\nbackends: [{name: b, kind: sim}]\n",
		s.folder);
	(void)fclose(f);
	r = RUN("models", "-c", config);
	(void)unlink(config);
	stand_in_stop(&s);
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_str_eq(r.out, "Models and routes\nNAME  OWNED BY\nauto  shunt\n");
	run_fini(&r);
}

Test(cli_daemon, an_empty_list_of_models_is_bad_news)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_UNIX, "200 OK", "{\"data\":[]}");
	(void)setenv("SHUNT_SOCKET", s.path, 1);
	r = RUN("models");
	stand_in_stop(&s);
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_str_eq(r.out, "Models and routes: none\n");
	run_fini(&r);
}

static const char decision_body[] =
	"{\"route\":\"auto\",\"model\":\"small\",\"backend\":\"sim\",\"reason\":\"score 0.71\","
	"\"phase\":\"score\",\"rule\":\"\",\"score\":0.71,\"difficulty\":0.2,\"threshold\":null,"
	"\"terms\":{\"quality\":0.41,\"cost\":0.3},\"candidates\":[{\"model\":\"small\","
	"\"backend\":\"sim\","
	"\"score\":0.71,\"cost_usd\":0.00012,\"terms\":{\"quality\":0.41,\"cost\":0.3}},"
	"{\"model\":\"mid\",\"backend\":\"sim\",\"score\":0.6,\"quality\":0.5,\"cost_usd\":null,"
	"\"terms\":{\"quality\":0.4,\"cost\":0.2},\"behind\":\"-0.110: cost -0.100\"}],"
	"\"dials\":[{\"dial\":0.25,\"model\":\"tiny\",\"backend\":\"sim\",\"cost_usd\":0.00001}],"
	"\"thresholds\":[{\"threshold\":0.9,\"model\":\"mid\",\"backend\":\"sim\","
	"\"cost_usd\":null}],"
	"\"dropped\":[{\"model\":"
	"\"big\","
	"\"backend\":\"far\",\"filter\":\"down\",\"why\":\"connection "
	"refused\"}],\"decision_us\":12.5}";

Test(cli_daemon, route_asks_with_prompt_and_route_and_itemises)
{
	struct stand_in s;
	struct run r;

	(void)setenv("SHUNT_KEY", "sk-test", 1);
	stand_in_start(&s, AF_INET, "200 OK", decision_body);
	r = RUN("route", "--route", "cheap", "--url", s.url, "say \"hi\"");
	cr_expect_not_null(strstr(buf_str(&s.asked), "POST /v1/route HTTP/1.1\r\n"));
	cr_expect_not_null(strstr(buf_str(&s.asked), "Authorization: Bearer sk-test\r\n"));
	cr_expect_not_null(
		strstr(buf_str(&s.asked),
			"{\"model\":\"cheap\",\"route\":\"cheap\",\"messages\":[{\"role\":\"user\","
			"\"content\":\"say \\\"hi\\\"\"}]}"),
		"%s", buf_str(&s.asked));
	stand_in_stop(&s);
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(strstr(r.out, "model       small\n"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "MODEL  BACKEND  SCORE  QUALITY   COST       USD\n"
					 "small  sim      0.710    0.410  0.300  0.000120\n"),
		"%s", r.out);
	cr_expect_not_null(
		strstr(r.out, "big    far      down    connection refused\n"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "difficulty  0.20\n"));
	cr_expect_null(strstr(r.out, "threshold"), "null is not printed");
	cr_expect_null(strstr(r.out, "Why not"), "not asked for");
	run_fini(&r);
}

Test(cli_daemon, route_explains_why_not_the_others_and_what_else_could_be)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_INET, "200 OK", decision_body);
	r = RUN("route", "--explain", "--url", s.url, "hi");
	stand_in_stop(&s);
	cr_assert_eq(r.code, CLI_OK, "%s", r.err);
	cr_expect_not_null(
		strstr(r.out, "mid    sim        0.500  -0.110: cost -0.100\n"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "With another dial\n"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "0.25  tiny   sim      0.000010\n"), "%s", r.out);
	cr_expect_not_null(strstr(r.out, "With another threshold\n"), "%s", r.out);
	run_fini(&r);
}

Test(cli_daemon, an_error_of_the_daemon_is_bad_news_in_its_words)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_INET, "404 Not Found",
		"{\"error\":{\"message\":\"no model `x`\\u001b[2J\"}}");
	r = RUN("route", "--url", s.url, "hello");
	stand_in_stop(&s);
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_str_eq(r.err, "shunt: no model `x`?[2J (HTTP 404)\n");
	cr_expect_str_eq(r.out, "");
	run_fini(&r);
}

Test(cli_daemon, a_server_that_is_no_shunt_is_told)
{
	struct stand_in s;
	struct run r;

	stand_in_start(&s, AF_INET, "200 OK", "<html>");
	r = RUN("status", "--url", s.url);
	stand_in_stop(&s);
	cr_expect_eq(r.code, CLI_BAD_NEWS);
	cr_expect_str_eq(
		r.err, "shunt: the answer is not one of a shunt daemon (HTTP 200, no JSON)\n");
	run_fini(&r);
}

Test(cli_daemon, nothing_there_says_what_was_tried_and_how_to_start)
{
	AUTO(run_fini) struct run url = RUN("status", "--url", "127.0.0.1:1");
	struct run socket;

	cr_expect_eq(url.code, CLI_UNREACHABLE);
	cr_expect_not_null(strstr(url.err, "  http://127.0.0.1:1: "), "%s", url.err);
	cr_expect_not_null(strstr(url.err, "shuntd -c FILE"));
	cr_expect_str_eq(url.out, "");
	(void)setenv("SHUNT_SOCKET", "/nonexistent/shunt.sock", 1);
	socket = RUN("models");
	cr_expect_eq(socket.code, CLI_UNREACHABLE);
	cr_expect_not_null(strstr(socket.err, "  unix:/nonexistent/shunt.sock: no such socket\n"),
		"%s", socket.err);
	run_fini(&socket);
}

/* curl would speak of "localhost port 80". */
Test(cli_daemon, a_socket_that_cannot_be_used_says_why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char folder[] = "/tmp/shunt-test-XXXXXX";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct run r;

	cr_assert_not_null(mkdtemp(folder));
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", folder);
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	(void)setenv("SHUNT_SOCKET", un.sun_path, 1);
	r = RUN("status");
	cr_expect_eq(r.code, CLI_UNREACHABLE);
	cr_expect_not_null(strstr(r.err, "/s: no daemon listens on it\n"), "%s", r.err);
	run_fini(&r);
	(void)chmod(un.sun_path, 0);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	r = RUN("status");
	cr_expect_not_null(strstr(r.err, "/s: permission denied"), "%s", r.err);
	run_fini(&r);
	cr_assert_eq(seteuid(getuid()), 0);
	(void)unlink(un.sun_path);
	(void)rmdir(folder);
	(void)close(fd);
}

Test(cli_daemon, a_broken_config_is_a_usage_error)
{
	AUTO(run_fini) struct run r = RUN("status", "-c", "/nonexistent.yaml");

	cr_expect_eq(r.code, CLI_USAGE);
	cr_expect_str_eq(r.err, "shunt: /nonexistent.yaml: No such file or directory\n");
}
