/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_transport.c - calls and probes of kinds that are reached by HTTP
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

/* ---- calls ---- */

static bool
is_success(unsigned status)
{
	return status >= 200 && status < 300;
}

static void
transport_on_sent(void *arg)
{
	call_sent(arg);
}

/* The first byte of the answer's body: is it a stream, as was asked for? */
static void
transport_first_byte(struct call *c, const struct http_head *head)
{
	bool is_json = strncasecmp(head->content_type, "application/json", 16) == 0;

	c->first_ns = clock_ns();
	c->phase = CALL_READING;
	c->upstream_status = head->status;
	c->collect = !c->stream || !is_success(head->status) ||
		     (is_json && c->backend->kind->framing == FRAMING_SSE);
}

static enum http_verdict
transport_collect(struct call *c, const char *p, size_t len)
{
	bool is_error = !is_success(c->upstream_status);
	uint64_t limit = is_error ? ERROR_BODY_MAX : c->backend->limits.response_bytes;
	struct err e;

	if (is_error) {
		buf_add(&c->whole, p, MIN(len, (size_t)limit - c->whole.len));
		/* enough of it: one that never ends must not keep the next candidate waiting */
		return c->whole.len < limit ? HTTP_GO_ON : HTTP_STOP;
	}
	if (c->whole.len + len > limit) {
		(void)err_set(&e, ERR_UPSTREAM, "the answer is larger than %llu bytes",
			(unsigned long long)limit);
		e.retry_after_ms = 0;
		call_spoil(c, &e);
		return HTTP_STOP;
	}
	buf_add(&c->whole, p, len);
	return HTTP_GO_ON;
}

static enum http_verdict
transport_on_data(void *arg, const char *p, size_t len)
{
	struct call *c = arg;
	struct err e = {0};
	bool is_first = c->first_ns == 0;

	if (is_first)
		transport_first_byte(c, http_head(c->http));
	if (!c->collect && call_is_full(c)) {
		c->paused = true;
		board_count(c->backend->w->board, COUNTER_UP_PAUSED, 1);
		return HTTP_PAUSE;
	}
	c->last_ns = is_first ? c->first_ns : clock_ns();
	if (is_first)
		call_touched(c);
	if (c->collect)
		return transport_collect(c, p, len);
	if (answer_feed(&c->answer, p, len, &e) != ERR_OK) {
		call_spoil(c, &e);
		return HTTP_STOP;
	}
	if (c->answer.out.len > 0)
		c->token_ns = c->last_ns;
	call_touched(c);
	return HTTP_GO_ON;
}

/* An answer with an error's status: its body goes along, but not one that may quote the key. */
static void
transport_refused(struct call *c, const struct http_head *head)
{
	const struct refusal r = {
		.status = head->status,
		.body = buf_str(&c->whole),
		.len = c->whole.len,
		.hints = &head->hints,
		.now_wall_ms = clock_wall_s() * 1000,
	};
	struct err e = {0};

	if (error_map(&e, &r) != ERR_UPSTREAM_AUTH) {
		buf_clear(&c->answer.error_body);
		buf_add(&c->answer.error_body, buf_str(&c->whole), c->whole.len);
	}
	c->upstream_status = head->status;
	call_done(c, e.code, &e);
}

/* All bytes of a good answer came: is it one? */
static enum err_code
transport_complete(struct call *c, struct err *e)
{
	enum err_code code;

	if (!c->collect && c->stream)
		return answer_end(&c->answer, e);
	code = answer_whole(&c->answer, &c->whole, e);
	if (code == ERR_OK && c->stream)
		return err_set(e, ERR_MALFORMED, "a stream was asked for, a whole answer came");
	return code;
}

static void
transport_on_done(void *arg, enum err_code code, const struct err *why)
{
	struct call *c = arg;
	const struct http_head head = *http_head(c->http);
	struct err e = {0};

	c->http = NULL;
	if (c->failure.code != ERR_OK) {
		call_done(c, c->failure.code, &c->failure);
	} else if (c->stream && c->answer.done) {
		call_done(c, ERR_OK, NULL);
	} else if (head.status >= 300) {
		transport_refused(c, &head); /* also where its body was cut */
	} else if (code != ERR_OK) {
		call_done(c, code, why);
	} else {
		c->upstream_status = head.status;
		code = transport_complete(c, &e);
		call_done(c, code, &e);
	}
}

enum err_code
transport_prepare(struct http_request *out, struct buf *url, struct call *c, struct err *e)
{
	struct backend *b = c->backend;
	enum err_code code;

	code = b->kind->request(&c->request, &c->asked, e);
	if (code != ERR_OK)
		return code;
	if (c->request.dropped.len > 0)
		log_debug("parameters_dropped", "request=%llu names=%s",
			(unsigned long long)c->asker.request_id, buf_str(&c->request.dropped));
	c->answer.want_usage = c->request.want_usage;
	c->answer.base64 = c->request.base64;
	buf_add_str(url, b->api_base);
	buf_add_str(url, c->request.path);
	*out = (struct http_request){.url = url->data,
		.parts = c->request.parts,
		.parts_len = c->request.parts_len,
		.len = c->request.len};
	return ERR_OK;
}

enum err_code
transport_exchange(struct call *c, struct http *h, const struct http_request *r, struct err *e)
{
	const struct http_user user = {.arg = c,
		.on_sent = transport_on_sent,
		.on_data = transport_on_data,
		.on_done = transport_on_done};

	return http_start(h, &c->http, r, &user, e);
}

static enum err_code
transport_start(struct call *c, struct err *e)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	struct http_request request;
	enum err_code code = transport_prepare(&request, &url, c, e);

	return code != ERR_OK ? code : transport_exchange(c, c->backend->http, &request, e);
}

static void
transport_resume(struct call *c)
{
	if (c->http == NULL)
		return;
	http_resume(c->http);
	if (c->failure.code == ERR_OK)
		return;
	/* what curl had kept back was refused: it tells nobody, and would read on */
	http_stop(&c->http);
	call_done(c, c->failure.code, &c->failure);
}

static void
transport_stop(struct call *c)
{
	http_stop(&c->http);
}

/* ---- probes ---- */

static void probe_step(struct probe *p);

static void
probe_on_sent(void *arg)
{
	(void)arg;
}

static enum http_verdict
probe_on_data(void *arg, const char *p, size_t len)
{
	struct probe *probe = arg;

	if (probe->answer.len + len > probe->backend->limits.response_bytes)
		return HTTP_STOP;
	buf_add(&probe->answer, p, len);
	return HTTP_GO_ON;
}

/* The exchange's answer; an error ends the probe. */
static enum err_code
probe_take(struct probe *p, const struct http_head *head, struct err *e)
{
	const struct refusal r = {.status = head->status,
		.body = buf_str(&p->answer),
		.len = p->answer.len,
		.hints = &head->hints,
		.now_wall_ms = clock_wall_s() * 1000};
	struct json body = {0};
	enum err_code code;
	bool is_absent = head->status == 404 || head->status == 405 || head->status == 501;

	p->status = head->status;
	if (!is_success(head->status) && !p->optional && !is_absent)
		return error_map(e, &r);
	code = json_check(&body, buf_str(&p->answer), p->answer.len, e);
	if (code != ERR_OK) {
		if (!p->optional && is_success(head->status))
			return err_set(e, ERR_MALFORMED, "it answers, but not with JSON");
		body = (struct json){0};
	}
	return p->backend->kind->probe_answer(p, head->status, body, e);
}

static void
probe_on_done(void *arg, enum err_code code, const struct err *why)
{
	struct probe *p = arg;
	const struct http_head head = *http_head(p->http);
	struct err e = {0};

	p->http = NULL;
	if (code != ERR_OK) {
		probe_done(p, code, why);
		return;
	}
	code = probe_take(p, &head, &e);
	if (code != ERR_OK)
		probe_done(p, code, &e);
	else
		probe_step(p);
}

static void
probe_step(struct probe *p)
{
	struct backend *b = p->backend;
	const struct http_user user = {.arg = p,
		.on_sent = probe_on_sent,
		.on_data = probe_on_data,
		.on_done = probe_on_done};
	struct http_request request;
	struct err e = {0};

	buf_clear(&p->path);
	buf_clear(&p->body);
	buf_clear(&p->answer);
	buf_clear(&p->url);
	p->at_root = p->optional = false;
	if (!b->kind->probe_next(p)) {
		probe_done(p, ERR_OK, NULL);
		return;
	}
	buf_add_str(&p->url, p->at_root ? b->root_base : b->api_base);
	buf_add_str(&p->url, buf_str(&p->path));
	p->part = (struct slice){buf_str(&p->body), p->body.len};
	request = (struct http_request){.url = p->url.data,
		.parts = p->body.len > 0 ? &p->part : NULL,
		.parts_len = 1,
		.len = p->body.len};
	if (http_start(b->http, &p->http, &request, &user, &e) != ERR_OK)
		probe_done(p, e.code, &e);
}

static void
transport_probe_stop(struct probe *p)
{
	http_stop(&p->http);
}

const struct transport transport_http = {
	.start = transport_start,
	.resume = transport_resume,
	.stop = transport_stop,
	.probe = probe_step,
	.probe_stop = transport_probe_stop,
};
