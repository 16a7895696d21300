/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_backend_http.c - calls and probes against a scripted server on a real socket
 *
 * The server is a forked process that plays one script per connection. What the worker would send
 * on the bus is caught here: bus_send is the seam.
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
#include "workers/common/worker.h"

enum { ASKER_SLOT = 1, OWN_SLOT = 2, GUARD_MS = 20000, SCRIPTS_MAX = 4 };

/* ---- the server ---- */

enum after { CLOSE, RESET, HANG };

struct script {
	const char *bytes;
	enum after after;
	bool deaf; /* acts before it read the request */
};

static int server_fd = -1;
static uint16_t server_port;
static pid_t server_pid;

static void
server_open(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(server_fd, 0);
	cr_assert_eq(bind(server_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(server_fd, 8), 0);
	cr_assert_eq(getsockname(server_fd, (struct sockaddr *)&a, &len), 0);
	server_port = ntohs(a.sin_port);
}

/* Read one request; its body is as long as Content-Length says. */
static void
server_read_request(int fd)
{
	AUTO(buf_fini) struct buf in = BUF_INIT;
	char part[4096];
	const char *end, *length;
	size_t want = SIZE_MAX;
	ssize_t n;

	while (in.len < want && (n = read(fd, part, sizeof(part))) > 0) {
		buf_add(&in, part, (size_t)n);
		end = want == SIZE_MAX ? strstr(in.data, "\r\n\r\n") : NULL;
		if (end == NULL)
			continue;
		length = strcasestr(in.data, "content-length:");
		want = (size_t)(end + 4 - in.data);
		if (length != NULL && length < end)
			want += strtoul(length + 15, NULL, 10);
	}
}

static void
server_play(int fd, const struct script *s)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	char c;

	if (!s->deaf)
		server_read_request(fd);
	if (s->bytes != NULL)
		(void)!write(fd, s->bytes, strlen(s->bytes));
	if (s->after == RESET)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (s->after == HANG)
		while (read(fd, &c, 1) > 0)
			;
	(void)close(fd);
}

/* One connection per script, then no more. */
static void
server_start(const struct script *scripts, size_t n)
{
	server_open();
	server_pid = fork();
	cr_assert_geq(server_pid, 0);
	if (server_pid > 0) {
		(void)close(server_fd);
		return;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < n; i++)
		server_play(accept(server_fd, NULL, NULL), &scripts[i]);
	_exit(0);
}

/* ---- the worker ---- */

static struct worker w;
static struct config config;
static struct config_backend row;
static struct backend *b;
static struct board *whole_board;

/* What was heard on the bus. */
static struct {
	struct buf deltas, body, models;
	unsigned deltas_len, ends, fails;
	uint32_t last_seq;
	struct msg_chat_end end;
	struct msg_chat_fail fail;
	struct msg_probe_end probe;
	struct msg_probe_model model; /* the last one; its string is gone */
	char text[400], finish[64];
} heard;

enum err_code
bus_send(struct bus *bus, unsigned slot, uint32_t generation, struct msg *m, struct bytes *payload,
	struct err *e)
{
	(void)bus;
	(void)e;
	cr_assert_eq(slot, ASKER_SLOT);
	cr_assert_eq(generation, 1);
	switch (m->type) {
	case MSG_CHAT_DELTA:
		cr_assert_eq(m->chat_delta.seq, heard.deltas_len++);
		buf_add(&heard.deltas, payload->data, payload->len);
		return ERR_OK;
	case MSG_CHAT_END:
		heard.ends++;
		heard.end = m->chat_end;
		(void)msg_str_copy(heard.finish, sizeof(heard.finish), m->chat_end.finish_reason);
		break;
	case MSG_CHAT_FAIL:
		heard.fails++;
		heard.fail = m->chat_fail;
		(void)msg_str_copy(heard.text, sizeof(heard.text), m->chat_fail.text);
		break;
	case MSG_PROBE_MODEL:
		heard.model = m->probe_model;
		buf_add(&heard.models, m->probe_model.model.p, m->probe_model.model.len);
		buf_add_char(&heard.models, ' ');
		return ERR_OK;
	case MSG_PROBE_END:
		heard.probe = m->probe_end;
		(void)msg_str_copy(heard.text, sizeof(heard.text), m->probe_end.text);
		break;
	default:
		cr_assert_fail("unexpected message %d", (int)m->type);
	}
	if (payload != NULL)
		buf_add(&heard.body, payload->data, payload->len);
	loop_stop(w.loop);
	return ERR_OK;
}

void
worker_drained(struct worker *worker)
{
	(void)worker;
}

static void
guard(void *arg)
{
	(void)arg;
	cr_assert_fail("nothing ended the call within %d ms", GUARD_MS);
}

static void
on_batch(void *arg)
{
	call_flush_all(arg);
}

static void
worker_set_up(enum backend_kind_id kind)
{
	static struct loop_timer timer = {.fn = guard};
	struct http_options o = {.tls_verify = true};
	struct slot_info asker = {.role = ROLE_GATEWAY, .state = SLOT_READY, .generation = 1};
	struct err e;
	char url[64];

	cr_assert_eq(loop_new(&w.loop, &e), ERR_OK);
	cr_assert_eq(board_create(&whole_board, "/tmp", &e), ERR_OK, "%s", e.text);
	board_set_slot(whole_board, ASKER_SLOT, &asker);
	cr_assert_eq(board_attach(&w.board, board_fd_ro(whole_board), board_fd_rw(whole_board),
			     OWN_SLOT, BOARD_SLOT_ONLY, &e),
		ERR_OK, "%s", e.text);
	row = (struct config_backend){.name = w.name,
		.kind = kind,
		.connect_ms = 5000,
		.first_byte_ms = 5000,
		.stall_ms = 5000,
		.max_in_flight = 4};
	(void)snprintf(w.name, sizeof(w.name), "up");
	config.limits.response_bytes = 1 << 20;
	w.config = &config;
	b = calloc(1, sizeof(*b));
	b->w = &w;
	b->config = &row;
	b->kind = backend_kinds[kind];
	b->limits = (struct backend_limits){4, 5000, 5000, 5000, 1 << 20};
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", server_port);
	b->root_base = strdup(url);
	b->api_base = strdup(url);
	cr_assert_eq(http_new(&b->http, w.loop, &o, &e), ERR_OK);
	http_on_batch(b->http, on_batch, b);
	loop_timer_set(w.loop, &timer, clock_ns() + (uint64_t)GUARD_MS * NS_PER_MS);
}

static void
worker_tear_down(void)
{
	call_free_all(b);
	probe_free_all(b);
	cr_assert_eq(b->in_flight, 0);
	http_free(&b->http);
	free(b->api_base);
	free(b->root_base);
	free(b);
	board_close(&w.board);
	board_close(&whole_board);
	loop_free(&w.loop);
	buf_fini(&heard.deltas);
	buf_fini(&heard.body);
	buf_fini(&heard.models);
	if (server_pid > 0) {
		(void)kill(server_pid, SIGKILL);
		(void)waitpid(server_pid, NULL, 0);
	}
}

static struct msg
chat_start(bool stream, uint32_t credit)
{
	struct msg m = {.type = MSG_CHAT_START,
		.head = {.request_id = 7, .sender_slot = ASKER_SLOT, .sender_generation = 1}};

	m.chat_start = (struct msg_chat_start){.stream = stream,
		.model = msg_str("m"),
		.credit_bytes = credit,
		.model_at = 9,
		.model_len = 3};
	return m;
}

static void
start_call(bool stream, uint32_t credit)
{
	static const char body[] =
		"{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
	struct bytes *payload = bytes_copy(body, strlen(body));
	struct msg m = chat_start(stream, credit);

	call_start(b, &m, payload);
	bytes_unref(&payload);
}

static void
call_once(const struct script *s, bool stream)
{
	server_start(s, 1);
	worker_set_up(BACKEND_OPENAI);
	start_call(stream, 1 << 20);
	if (heard.ends + heard.fails == 0)
		loop_run(w.loop);
	cr_assert_eq(heard.ends + heard.fails, 1);
}

#define HEAD_SSE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define EVENT1 "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
#define EVENT2 "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE "data: [DONE]\n\n"
#define REFUSED "data: {\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n"

/* ---- what each failure becomes ---- */

static void
expect_fail(const struct script *s, bool stream, enum err_code code, const char *text)
{
	call_once(s, stream);
	cr_expect_eq(heard.fail.code, code, "%s: %s", err_name(err_code_checked(heard.fail.code)),
		heard.text);
	cr_expect_not_null(strstr(heard.text, text), "%s", heard.text);
	cr_expect_null(strstr(buf_str(&heard.body), "sk-secret"), "the key goes to the client");
	worker_tear_down();
}

Test(backend_http, refused_connection_is_said_so)
{
	server_open();
	(void)close(server_fd);
	worker_set_up(BACKEND_OPENAI);
	start_call(true, 1000);
	if (heard.fails == 0)
		loop_run(w.loop);
	cr_expect_eq(heard.fail.code, ERR_CONNECT);
	cr_expect_not_null(strstr(heard.text, "refused"), "%s", heard.text);
	worker_tear_down();
}

Test(backend_http, close_before_an_answer_is_a_reset)
{
	expect_fail(&(struct script){NULL, CLOSE, false}, true, ERR_RESET, "before the answer");
}

Test(backend_http, reset_before_headers_is_a_reset)
{
	expect_fail(&(struct script){NULL, RESET, false}, true, ERR_RESET, "before the answer");
}

Test(backend_http, reset_after_headers_is_a_cut)
{
	expect_fail(&(struct script){HEAD_SSE "\r\n" EVENT1, RESET, false}, true, ERR_CUT, "");
}

Test(backend_http, garbage_is_malformed)
{
	expect_fail(&(struct script){"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", CLOSE, false}, true,
		ERR_MALFORMED, "HTTP");
}

Test(backend_http, short_body_is_a_cut)
{
	expect_fail(&(struct script){HEAD_SSE "Content-Length: 4000\r\n\r\n" EVENT1, CLOSE, false},
		true, ERR_CUT, "cut");
}

Test(backend_http, stream_without_end_is_a_cut)
{
	expect_fail(&(struct script){HEAD_SSE "\r\n" EVENT1, CLOSE, false}, true, ERR_CUT,
		"before the answer did");
}

Test(backend_http, broken_chunking_is_a_cut)
{
	expect_fail(
		&(struct script){HEAD_SSE "Transfer-Encoding: chunked\r\n\r\nzz\r\n", CLOSE, false},
		true, ERR_CUT, "");
}

Test(backend_http, page_instead_of_stream_is_malformed)
{
	expect_fail(&(struct script){"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
				     "<html>hello</html>\n",
			    CLOSE, false},
		true, ERR_MALFORMED, "event stream");
}

Test(backend_http, broken_json_in_a_stream_is_malformed)
{
	expect_fail(&(struct script){HEAD_SSE "\r\ndata: {\"choices\":[}\n\n", HANG, false}, true,
		ERR_MALFORMED, "broken JSON");
}

Test(backend_http, whole_answer_for_a_stream_request_is_malformed)
{
	expect_fail(&(struct script){"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
				     "Content-Length: 14\r\n\r\n{\"choices\":[]}",
			    CLOSE, false},
		true, ERR_MALFORMED, "a whole answer came");
}

Test(backend_http, status_and_retry_after_come_through)
{
	expect_fail(
		&(struct script){
			"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n"
			"Content-Length: 36\r\n\r\n{\"error\":{\"message\":\"slow it down\"}}",
			CLOSE, false},
		true, ERR_RATE_LIMITED, "slow it down");
	cr_expect_eq(heard.fail.retry_after_ms, 7000);
	cr_expect_eq(heard.fail.http_status, 429);
}

Test(backend_http, empty_refusal_has_its_status_told)
{
	expect_fail(&(struct script){"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", CLOSE, false},
		false, ERR_OVERLOADED, "503");
}

Test(backend_http, refused_key_is_not_quoted)
{
	expect_fail(&(struct script){"HTTP/1.1 401 No\r\nContent-Length: 43\r\n\r\n"
				     "{\"error\":{\"message\":\"bad key sk-secret-1\"}}",
			    CLOSE, false},
		true, ERR_UPSTREAM_AUTH, "refused its API key");
}

Test(backend_http, refused_key_is_not_quoted_by_a_stream)
{
	expect_fail(&(struct script){HEAD_SSE "\r\ndata: {\"error\":{\"code\":\"invalid_api_key\","
					      "\"message\":\"bad key sk-secret-1\"}}\n\n",
			    CLOSE, false},
		true, ERR_UPSTREAM_AUTH, "refused its API key");
}

/* ---- deadlines ---- */

static void
expect_timeout(const struct script *s, const char *text)
{
	server_start(s, 1);
	worker_set_up(BACKEND_OPENAI);
	b->limits.first_byte_ms = b->limits.stall_ms = 100;
	start_call(true, 1 << 20);
	loop_run(w.loop);
	cr_expect_eq(heard.fail.code, ERR_TIMEOUT, "%s", heard.text);
	cr_expect_not_null(strstr(heard.text, text), "%s", heard.text);
	worker_tear_down();
}

Test(backend_http, silent_upstream_times_out_before_the_first_byte)
{
	expect_timeout(&(struct script){NULL, HANG, false}, "first byte");
}

Test(backend_http, stalled_stream_times_out_after_what_it_sent)
{
	expect_timeout(&(struct script){HEAD_SSE "\r\n" EVENT1, HANG, false}, "further byte");
	cr_expect_eq(heard.fail.seq, 1);
}

Test(backend_http, request_deadline_ends_the_call)
{
	struct bytes *payload = bytes_copy("{\"model\":\"x\"}", 13);
	struct msg m = chat_start(true, 100);

	server_start(&(struct script){NULL, HANG, false}, 1);
	worker_set_up(BACKEND_OPENAI);
	m.head.deadline_ns = clock_ns() + 100 * NS_PER_MS;
	call_start(b, &m, payload);
	bytes_unref(&payload);
	loop_run(w.loop);
	cr_expect_eq(heard.fail.code, ERR_DEADLINE);
	worker_tear_down();
}

/* ---- good answers ---- */

Test(backend_http, stream_goes_through_byte_for_byte)
{
	call_once(&(struct script){HEAD_SSE "\r\n: hello\n\n" EVENT1 EVENT2 DONE, CLOSE, false},
		true);
	cr_expect_eq(heard.ends, 1, "%s", heard.text);
	cr_expect_str_eq(buf_str(&heard.deltas), EVENT1 EVENT2);
	cr_expect_str_eq(heard.finish, "stop");
	cr_expect_eq(heard.end.seq, heard.deltas_len);
	worker_tear_down();
}

Test(backend_http, done_ends_the_call_while_the_connection_stays_open)
{
	call_once(&(struct script){HEAD_SSE "\r\n" EVENT1 EVENT2 DONE, HANG, false}, true);
	cr_expect_eq(heard.ends, 1, "%s", heard.text);
	worker_tear_down();
}

Test(backend_http, whole_answer_is_untouched)
{
	call_once(&(struct script){"HTTP/1.1 200 OK\r\nContent-Length: 52\r\n\r\n"
				   "{\"choices\":[{\"finish_reason\":\"length\"}],  \"x\" : 1.0}",
			  CLOSE, false},
		false);
	cr_expect_eq(heard.ends, 1, "%s", heard.text);
	cr_expect_str_eq(buf_str(&heard.body),
		"{\"choices\":[{\"finish_reason\":\"length\"}],  \"x\" : 1.0}");
	cr_expect_str_eq(heard.finish, "length");
	worker_tear_down();
}

Test(backend_http, too_large_an_answer_is_refused)
{
	server_start(
		&(struct script){"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"choices\":[]}",
			CLOSE, false},
		1);
	worker_set_up(BACKEND_OPENAI);
	b->limits.response_bytes = 10;
	start_call(false, 1);
	loop_run(w.loop);
	cr_expect_eq(heard.fail.code, ERR_UPSTREAM);
	cr_expect_not_null(strstr(heard.text, "larger than 10 bytes"), "%s", heard.text);
	worker_tear_down();
}

/* ---- credit ---- */

static void
give_credit(void *arg)
{
	struct loop_timer *t = arg;
	struct msg m = {
		.head = {.request_id = 7, .sender_slot = ASKER_SLOT, .sender_generation = 1}};
	struct call *c = call_find(b, &m);

	if (c == NULL)
		return;
	cr_assert_leq(heard.deltas.len, (size_t)c->credit_most * (heard.deltas_len + 1));
	call_credit(c, 80);
	loop_timer_set(w.loop, t, clock_ns() + NS_PER_MS);
}

Test(backend_http, never_more_bytes_than_credit_and_all_arrive)
{
	struct loop_timer timer = {.fn = give_credit, .arg = &timer};

	server_start(&(struct script){HEAD_SSE "\r\n" EVENT1 EVENT1 EVENT1 EVENT1 EVENT2 DONE,
			     CLOSE, false},
		1);
	worker_set_up(BACKEND_OPENAI);
	start_call(true, (uint32_t)strlen(EVENT1) + 1);
	loop_timer_set(w.loop, &timer, clock_ns() + 20 * NS_PER_MS);
	loop_run(w.loop);
	cr_expect_eq(heard.ends, 1, "%s", heard.text);
	cr_expect_str_eq(buf_str(&heard.deltas), EVENT1 EVENT1 EVENT1 EVENT1 EVENT2);
	cr_expect_geq(heard.deltas_len, 4);
	loop_timer_clear(w.loop, &timer);
	worker_tear_down();
}

/* The bad event comes in a chunk of its own, which curl holds back until there is credit. */
Test(backend_http, error_that_waited_for_credit_ends_the_call)
{
	struct loop_timer timer = {.fn = give_credit, .arg = &timer};
	char bytes[1024];

	(void)snprintf(bytes, sizeof(bytes),
		HEAD_SSE "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n%zx\r\n%s\r\n",
		strlen(EVENT1 EVENT1), EVENT1 EVENT1, strlen(REFUSED), REFUSED);
	server_start(&(struct script){bytes, HANG, false}, 1);
	worker_set_up(BACKEND_OPENAI);
	start_call(true, (uint32_t)strlen(EVENT1) + 1);
	loop_timer_set(w.loop, &timer, clock_ns() + 20 * NS_PER_MS);
	loop_run(w.loop);
	cr_expect_eq(heard.fails, 1);
	cr_expect_eq(heard.fail.code, ERR_RATE_LIMITED, "%s", heard.text);
	cr_expect_str_eq(buf_str(&heard.deltas), EVENT1 EVENT1);
	loop_timer_clear(w.loop, &timer);
	worker_tear_down();
}

Test(backend_http, calls_beyond_the_limit_are_refused_at_once)
{
	server_start(&(struct script){NULL, HANG, false}, 1);
	worker_set_up(BACKEND_OPENAI);
	b->limits.max_in_flight = 0;
	start_call(true, 10);
	cr_expect_eq(heard.fail.code, ERR_BUSY);
	worker_tear_down();
}

Test(backend_http, draining_worker_takes_no_new_call)
{
	server_start(&(struct script){NULL, HANG, false}, 1);
	worker_set_up(BACKEND_OPENAI);
	w.draining = true;
	start_call(true, 10);
	cr_expect_eq(heard.fail.code, ERR_WORKER_DIED);
	worker_tear_down();
}

/* ---- cancel ---- */

Test(backend_http, cancel_closes_the_connection)
{
	static const struct script scripts[] = {{NULL, HANG, false}};
	struct msg m = chat_start(true, 10);
	int status = -1;

	server_start(scripts, 1);
	worker_set_up(BACKEND_OPENAI);
	start_call(true, 10);
	call_cancel(call_find(b, &m), "client_closed");
	cr_expect_eq(b->in_flight, 0);
	cr_expect_eq(heard.ends + heard.fails, 0);
	http_free(&b->http);
	/* the server sees the end of the connection and ends: a hang here is the failure */
	cr_expect_eq(waitpid(server_pid, &status, 0), server_pid);
	server_pid = 0;
	worker_tear_down();
}

Test(backend_http, calls_of_a_dead_gateway_are_dropped)
{
	struct slot_info next = {.role = ROLE_GATEWAY, .state = SLOT_READY, .generation = 2};

	server_start(&(struct script){NULL, HANG, false}, 1);
	worker_set_up(BACKEND_OPENAI);
	start_call(true, 10);
	call_drop_orphans(b);
	cr_expect_eq(b->in_flight, 1);
	board_set_slot(whole_board, ASKER_SLOT, &next);
	call_drop_orphans(b);
	cr_expect_eq(b->in_flight, 0);
	worker_tear_down();
}

/* ---- probes ---- */

static void
probe_once(const struct script *scripts, size_t n, enum backend_kind_id kind)
{
	struct msg m = {.type = MSG_PROBE_START,
		.head = {.request_id = 3, .sender_slot = ASKER_SLOT, .sender_generation = 1}};

	m.probe_start.discover = true;
	server_start(scripts, n);
	worker_set_up(kind);
	probe_start(b, &m);
	loop_run(w.loop);
}

Test(backend_http, probe_lists_the_models)
{
	static const struct script s = {
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
		"{\"data\":[{\"id\":\"a\"},{\"id\":\"b\",\"max_model_len\":99}]}",
		CLOSE, false};

	probe_once(&s, 1, BACKEND_OPENAI);
	cr_expect(heard.probe.ok, "%s", heard.text);
	cr_expect(heard.probe.discovered);
	cr_expect_eq(heard.probe.models, 2);
	cr_expect_str_eq(buf_str(&heard.models), "a b ");
	cr_expect_eq(heard.model.context_tokens, 99);
	cr_expect_eq(heard.model.vision, TRI_UNKNOWN);
	worker_tear_down();
}

Test(backend_http, probe_says_that_the_key_is_refused)
{
	static const struct script s = {
		"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}", CLOSE, false};

	probe_once(&s, 1, BACKEND_OPENAI);
	cr_expect_not(heard.probe.ok);
	cr_expect_eq(heard.probe.code, ERR_UPSTREAM_AUTH);
	cr_expect_not_null(strstr(heard.text, "401"), "%s", heard.text);
	worker_tear_down();
}

#define JSON_CLOSE "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

Test(backend_http, probe_of_ollama_asks_each_model_what_it_can_do)
{
	static const struct script s[] = {
		{JSON_CLOSE "{\"version\":\"0.5.1\"}", CLOSE, false},
		{JSON_CLOSE "{\"models\":[{\"name\":\"llava:latest\"}]}", CLOSE, false},
		{"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", CLOSE, false},
		{JSON_CLOSE "{\"capabilities\":[\"completion\",\"vision\"],"
			    "\"model_info\":{\"llama.context_length\":8192}}",
			CLOSE, false},
	};

	probe_once(s, ARRAY_LEN(s), BACKEND_OLLAMA);
	cr_expect(heard.probe.ok, "%s", heard.text);
	cr_expect_str_eq(buf_str(&heard.models), "llava:latest ");
	cr_expect_eq(heard.model.context_tokens, 8192);
	cr_expect_eq(heard.model.vision, TRI_YES);
	cr_expect_eq(heard.model.tools, TRI_NO);
	worker_tear_down();
}
