/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_call.c - a call that a fault meets: sent to a bad server instead of the upstream
 *
 * The call's own exchange goes to fault_server. Where the rule lets the real answer through, a
 * second exchange (the source) asks the upstream, or the simulated model speaks, and what it says
 * is relayed through fault_body.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/faults.h"
#include "workers/common/worker.h"

enum {
	RELAY_MAX = 256 * 1024, /* bytes on their way; then the source waits */
	GARBAGE_BYTES = 512,
	DRIP_BYTES = 16,
	DRIP_MS = 20,
	STATUS_DEFAULT = 503,
	RETRY_AFTER_MS = 1000
};

#define FAR_TOO_LONG UINT64_C(1000000000)

struct fault_call {
	struct call *c;
	struct fault_rule rule;
	uint64_t draw;
	struct fault_server *server;
	struct fault_body body;
	struct loop_timer timer; /* delay, or the simulated model's next token */
	struct buf url, source_url, piece;
	struct slice question; /* what the bad server is sent */
	/* the source */
	struct http_call *source;
	struct buf sim; /* a simulated model's whole body */
	size_t sim_at;
	uint64_t sim_pieces, sim_from_ns;
	bool began; /* the head is sent */
	bool paused;
};

/* ---- what the bad server says ---- */

static void
relay_put(struct fault_call *f, const void *data, size_t len)
{
	AUTO(buf_fini) struct buf chunk = BUF_INIT;

	if (len == 0)
		return;
	if (f->rule.kind == FAULT_WRONG_LENGTH) {
		fault_server_send(f->server, data, len);
		return;
	}
	buf_addf(&chunk, "%zx\r\n", len);
	buf_add(&chunk, data, len);
	buf_add_str(&chunk, "\r\n");
	fault_server_send(f->server, chunk.data, chunk.len);
}

static void
relay_head(struct fault_call *f, unsigned status, const char *type, const char *retry_after)
{
	AUTO(buf_fini) struct buf head = BUF_INIT;
	bool says_length = f->rule.kind == FAULT_WRONG_LENGTH;
	uint64_t length = (f->rule.said & FAULT_SAYS(BYTES)) != 0 ? f->rule.bytes : FAR_TOO_LONG;

	f->began = true;
	buf_addf(&head, "HTTP/1.1 %u Fault\r\nConnection: close\r\n", status);
	if (type[0] != '\0')
		buf_addf(&head, "Content-Type: %s\r\n", type);
	if (retry_after[0] != '\0')
		buf_addf(&head, "Retry-After: %s\r\n", retry_after);
	if (says_length)
		buf_addf(&head, "Content-Length: %llu\r\n\r\n", (unsigned long long)length);
	else
		buf_add_str(&head, "Transfer-Encoding: chunked\r\n\r\n");
	fault_server_send(f->server, head.data, head.len);
}

/* The body is complete, as far as the framing goes. */
static void
relay_end(struct fault_call *f)
{
	if (f->rule.kind != FAULT_WRONG_LENGTH)
		fault_server_send(f->server, "0\r\n\r\n", 5);
	fault_server_end(f->server, FAULT_END_CLOSE);
}

/* The fault came within the body: how it goes on from here. */
static void
relay_struck(struct fault_call *f)
{
	http_stop(&f->source);
	loop_timer_clear(f->c->backend->w->loop, &f->timer);
	switch ((enum fault_kind)f->rule.kind) {
	case FAULT_CUT:
		fault_server_end(f->server, FAULT_END_CLOSE);
		break;
	case FAULT_RESET_BODY:
		fault_server_end(f->server, FAULT_END_RESET);
		break;
	case FAULT_STALL:
		break;
	default:
		relay_end(f);
	}
}

/* False: the fault came, and the source is gone. */
static bool
relay_body(struct fault_call *f, const char *p, size_t len)
{
	buf_clear(&f->piece);
	fault_body_feed(&f->body, p, len, &f->piece);
	relay_put(f, f->piece.data, f->piece.len);
	return !f->body.struck || f->rule.kind == FAULT_DUPLICATE_EVENT;
}

static void
relay_source_end(struct fault_call *f)
{
	buf_clear(&f->piece);
	fault_body_end(&f->body, &f->piece);
	relay_put(f, f->piece.data, f->piece.len);
	relay_end(f);
}

/* ---- the source: the real upstream ---- */

static void
source_on_sent(void *arg)
{
	(void)arg;
}

static enum http_verdict
source_on_data(void *arg, const char *p, size_t len)
{
	struct fault_call *f = arg;
	const struct http_head *head = http_head(f->source);

	if (fault_server_pending(f->server) > RELAY_MAX) {
		f->paused = true;
		return HTTP_PAUSE;
	}
	if (!f->began)
		relay_head(f, head->status, head->content_type, head->hints.retry_after);
	if (relay_body(f, p, len))
		return HTTP_GO_ON;
	/* not from inside curl's callback */
	loop_timer_set(f->c->backend->w->loop, &f->timer, 0);
	return HTTP_STOP;
}

static void
source_on_done(void *arg, enum err_code code, const struct err *e)
{
	struct fault_call *f = arg;
	const struct http_head *head = http_head(f->source);

	if (code == ERR_OK && !f->began)
		relay_head(f, head->status, head->content_type, head->hints.retry_after);
	f->source = NULL;
	if (f->body.struck && f->rule.kind != FAULT_DUPLICATE_EVENT)
		return; /* the timer goes on from here */
	if (code == ERR_OK) {
		relay_source_end(f);
	} else if (f->began) {
		fault_server_end(f->server, FAULT_END_RESET);
	} else {
		http_stop(&f->c->http);
		call_done(f->c, code, e);
	}
}

/* ---- the source: the simulated model ---- */

/* Bytes of what comes next: an event of a stream, or all of it. */
static size_t
sim_next(const struct fault_call *f)
{
	const char *p = f->sim.data + f->sim_at, *end;
	size_t left = f->sim.len - f->sim_at;

	end = f->c->stream ? memmem(p, left, "\n\n", 2) : NULL;
	return end == NULL ? left : (size_t)(end + 2 - p);
}

static void
sim_speak(struct fault_call *f)
{
	const struct config_backend *config = f->c->backend->config;
	uint32_t speed = config->sim.tokens_per_s;
	struct loop *loop = f->c->backend->w->loop;
	uint64_t due_ns;

	if (!f->began)
		relay_head(f, 200, f->c->stream ? "text/event-stream" : "application/json", "");
	while (f->sim_at < f->sim.len) {
		due_ns = f->sim_from_ns;
		if (f->c->stream && speed > 0)
			due_ns += f->sim_pieces * NS_PER_S / speed;
		if (due_ns > clock_ns()) {
			loop_timer_set(loop, &f->timer, due_ns);
			return;
		}
		if (fault_server_pending(f->server) > RELAY_MAX) {
			f->paused = true;
			return;
		}
		if (!relay_body(f, f->sim.data + f->sim_at, sim_next(f))) {
			relay_struck(f);
			return;
		}
		f->sim_at += sim_next(f);
		f->sim_pieces++;
	}
	relay_source_end(f);
}

static enum err_code
sim_begin(struct fault_call *f, struct err *e)
{
	const struct config_backend *config = f->c->backend->config;
	uint32_t tokens = 0;

	if (sim_body(&f->sim, f->c, e) != ERR_OK)
		return e->code;
	if (!f->c->stream && config->sim.tokens_per_s > 0)
		tokens = config->sim.tokens;
	f->sim_from_ns = clock_ns() + clock_ms_to_ns(config->sim.ttft_ms);
	if (tokens > 0)
		f->sim_from_ns += tokens * NS_PER_S / config->sim.tokens_per_s;
	loop_timer_set(f->c->backend->w->loop, &f->timer, f->sim_from_ns);
	return ERR_OK;
}

/* ---- begin ---- */

static bool
fault_is_sim(const struct fault_call *f)
{
	return f->c->backend->http == NULL;
}

static void
source_begin(struct fault_call *f)
{
	const struct http_user user = {.arg = f,
		.on_sent = source_on_sent,
		.on_data = source_on_data,
		.on_done = source_on_done};
	struct http_request request;
	struct err e = {0};
	enum err_code code;

	if (fault_is_sim(f))
		code = sim_begin(f, &e);
	else if ((code = transport_prepare(&request, &f->source_url, f->c, &e)) == ERR_OK)
		code = http_start(f->c->backend->http, &f->source, &request, &user, &e);
	if (code == ERR_OK)
		return;
	http_stop(&f->c->http);
	call_done(f->c, code, &e);
}

static void
fault_on_timer(void *arg)
{
	struct fault_call *f = arg;
	struct backend *b = f->c->backend;

	if (f->body.struck && f->rule.kind != FAULT_DUPLICATE_EVENT)
		relay_struck(f);
	else if (f->sim.len > 0)
		sim_speak(f);
	else
		source_begin(f);
	call_flush_all(b); /* f may be gone after this */
}

/* An answer without any source. */
static void
fault_answer(struct fault_call *f, unsigned status)
{
	static const char usual[] =
		"{\"error\":{\"message\":\"a fault on purpose\",\"type\":\"server_error\","
		"\"param\":null,\"code\":\"fault\"}}";
	const struct fault_rule *r = &f->rule;
	uint64_t ms = r->retry_after_ms;
	char retry_after[32] = "";

	if (r->kind == FAULT_RATE_LIMIT && (r->said & FAULT_SAYS(RETRY_AFTER)) == 0)
		ms = RETRY_AFTER_MS;
	if (ms > 0)
		(void)snprintf(retry_after, sizeof(retry_after), "%llu",
			(unsigned long long)((ms + 999) / 1000));
	relay_head(f, status, "application/json", retry_after);
	if (r->body[0] != '\0')
		relay_put(f, r->body, strlen(r->body));
	else
		relay_put(f, usual, sizeof(usual) - 1);
	relay_end(f);
}

static void
fault_garbage(struct fault_call *f)
{
	char bytes[GARBAGE_BYTES];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)fault_random(f->rule.seed + f->draw, i);
	bytes[0] = '\0'; /* never "HTTP/" */
	fault_server_send(f->server, bytes, sizeof(bytes));
	fault_server_end(f->server, FAULT_END_CLOSE);
}

static void
fault_status(struct fault_call *f)
{
	fault_answer(f, f->rule.status != 0 ? (unsigned)f->rule.status : STATUS_DEFAULT);
}

static void
fault_rate_limit(struct fault_call *f)
{
	fault_answer(f, 429);
}

static void
fault_reset(struct fault_call *f)
{
	fault_server_end(f->server, FAULT_END_RESET);
}

static void
fault_tls(struct fault_call *f)
{
	static const unsigned char alert[] = {21, 3, 3, 0, 2, 2, 40}; /* fatal: handshake failure */

	fault_server_send(f->server, alert, sizeof(alert));
	fault_server_end(f->server, FAULT_END_CLOSE);
}

static void
fault_silence(struct fault_call *f)
{
	(void)f;
}

/* What the bad server does that needs no source. */
typedef void fault_deed(struct fault_call *f);
static fault_deed *const deeds[FAULT_KINDS] = {
	[FAULT_STATUS] = fault_status,
	[FAULT_RATE_LIMIT] = fault_rate_limit,
	[FAULT_RESET] = fault_reset,
	[FAULT_GARBAGE] = fault_garbage,
	[FAULT_TLS] = fault_tls,
	[FAULT_HANG] = fault_silence,
	[FAULT_REFUSE] = fault_silence, /* nobody gets so far as to ask it */
};

/* The bad server was asked: what does it do? */
static void
fault_on_asked(void *arg)
{
	struct fault_call *f = arg;
	struct backend *b = f->c->backend;

	if (deeds[f->rule.kind] != NULL) {
		deeds[f->rule.kind](f);
	} else if (f->rule.kind == FAULT_DELAY) {
		loop_timer_set(b->w->loop, &f->timer,
			clock_ns() + clock_ms_to_ns(fault_time_ms(&f->rule, f->draw)));
	} else {
		source_begin(f);
		call_flush_all(b); /* f may be gone after this */
	}
}

static void
fault_on_drained(void *arg)
{
	struct fault_call *f = arg;

	if (!f->paused)
		return;
	f->paused = false;
	if (f->source != NULL)
		http_resume(f->source);
	else if (f->sim.len > 0)
		loop_timer_set(f->c->backend->w->loop, &f->timer, 0);
}

static void
fault_on_batch(void *arg)
{
	call_flush_all(arg);
}

static enum err_code
fault_open_http(struct backend *b, struct err *e)
{
	const struct http_options o = {.tls_verify = true};

	if (b->fault_http != NULL)
		return ERR_OK;
	if (http_new(&b->fault_http, b->w->loop, &o, e) != ERR_OK)
		return e->code;
	http_on_batch(b->fault_http, fault_on_batch, b);
	return ERR_OK;
}

static enum err_code
fault_start(struct call *c, struct err *e)
{
	struct fault_call *f = c->fault;
	const struct fault_server_user user = {
		.arg = f, .on_asked = fault_on_asked, .on_drained = fault_on_drained};
	bool is_tls = f->rule.kind == FAULT_TLS;
	struct http_request request;

	if (fault_open_http(c->backend, e) != ERR_OK ||
		fault_server_open(&f->server, c->backend->w->loop,
			is_tls                         ? FAULT_SERVER_TLS
			: f->rule.kind == FAULT_REFUSE ? FAULT_SERVER_REFUSES
						       : FAULT_SERVER_HTTP,
			&user, e) != ERR_OK)
		return e->code;
	if (f->rule.kind == FAULT_DRIP)
		fault_server_drip(f->server,
			(f->rule.said & FAULT_SAYS(BYTES)) != 0 ? f->rule.bytes : DRIP_BYTES,
			(f->rule.said & FAULT_SAYS(TIME)) != 0 ? f->rule.time_ms : DRIP_MS);
	buf_addf(&f->url, "%s://127.0.0.1:%u/fault", is_tls ? "https" : "http",
		fault_server_port(f->server));
	f->question = (struct slice){"{}", 2};
	request = (struct http_request){
		.url = f->url.data, .parts = &f->question, .parts_len = 1, .len = 2};
	if (fault_is_sim(f)) {
		/* its answer comes as an OpenAI-compatible server's would */
		c->answer.kind = backend_kinds[BACKEND_OPENAI];
		c->answer.want_usage = true;
	}
	return transport_exchange(c, c->backend->fault_http, &request, e);
}

static void
fault_resume(struct call *c)
{
	transport_http.resume(c);
}

static void
fault_stop(struct call *c)
{
	struct fault_call *f = c->fault;

	http_stop(&c->http);
	c->fault = NULL;
	if (f == NULL)
		return;
	http_stop(&f->source);
	loop_timer_clear(c->backend->w->loop, &f->timer);
	fault_server_close(&f->server);
	fault_body_fini(&f->body);
	buf_fini(&f->url);
	buf_fini(&f->source_url);
	buf_fini(&f->piece);
	buf_fini(&f->sim);
	free(f);
}

const struct transport transport_fault = {
	.start = fault_start,
	.resume = fault_resume,
	.stop = fault_stop,
};

/* ---- does one meet this call? ---- */

/* An encoder's answer can't be relayed: only faults that come without any answer meet it. */
static bool
fault_fits(const struct backend *b, enum fault_kind kind)
{
	return b->http != NULL || b->kind->transport == &transport_sim || deeds[kind] != NULL;
}

static void
fault_begin(struct call *c, const struct fault_rule *r, uint64_t draw)
{
	const struct backend_kind *kind = c->backend->kind;
	struct fault_call *f;

	if (!fault_fits(c->backend, r->kind)) {
		log_warn("fault_unfit", "kind=%s backend=%s text=\"not for an encoder\"",
			fault_kind_row(r->kind)->name, c->backend->w->name);
		return;
	}
	f = calloc(1, sizeof(*f));
	CHECK(f != NULL);
	f->c = c;
	f->rule = *r;
	f->draw = draw;
	f->timer = (struct loop_timer){.fn = fault_on_timer, .arg = f};
	f->body = (struct fault_body){
		.rule = &f->rule, .framing = kind->framing, .stream = c->stream};
	c->fault = f;
	c->transport = &transport_fault;
	if (r->origin == FAULT_FROM_REQUEST)
		(void)snprintf(c->fault_label, sizeof(c->fault_label), "%s#request",
			fault_kind_row(r->kind)->name);
	else
		(void)snprintf(c->fault_label, sizeof(c->fault_label), "%s#%llu",
			fault_kind_row(r->kind)->name, (unsigned long long)r->id);
}

/* The one that the request itself brought; its gateway has decided already. */
static bool
fault_take_own(struct call *c, const struct msg_chat_start *s, const char *about)
{
	char line[MSG_CHAT_START_FAULT_MAX + 1];
	struct fault_rule rule;
	struct err e = {0};

	if (s->fault.len == 0)
		return false;
	if (fault_parse(&rule, msg_str_copy(line, sizeof(line), s->fault), &e) != ERR_OK ||
		fault_kind_row(rule.kind)->level != FAULT_LEVEL_HTTP) {
		log_error("fault_refused", "%s text=\"%s\"", about, e.text);
		return false;
	}
	rule.origin = FAULT_FROM_REQUEST;
	faults_tell(c->backend->w, &rule, 1, about);
	board_fault_count(c->backend->w->board, rule.kind);
	fault_begin(c, &rule, 1);
	return true;
}

void
fault_call_take(struct call *c, const struct msg_chat_start *s)
{
	struct worker *w = c->backend->w;
	char asked[MODEL_MAX_LEN], route[NAME_MAX_LEN], user[NAME_MAX_LEN], about[64];
	const struct fault_rule *r;
	struct fault_subject subject;
	uint64_t draw = 0;

	if (s->fault.len == 0 && !faults_on(w, FAULT_LEVEL_HTTP))
		return;
	(void)snprintf(about, sizeof(about), "request=%llu slot=%u",
		(unsigned long long)c->asker.request_id, c->asker.slot);
	if (fault_take_own(c, s, about))
		return;
	subject = (struct fault_subject){.backend = w->name,
		.upstream = c->model,
		.model =
			s->asked.len == 0 ? c->model : msg_str_copy(asked, sizeof(asked), s->asked),
		.route = msg_str_copy(route, sizeof(route), s->route),
		.user = msg_str_copy(user, sizeof(user), s->user)};
	r = faults_draw(w, FAULT_LEVEL_HTTP, &subject, about, &draw);
	if (r != NULL)
		fault_begin(c, r, draw);
}
