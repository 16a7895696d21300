/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - one routed request, from its body to its only answer
 *
 * A request lives from the decision until its answer is complete or its client has left, whatever
 * comes first; then it is reused. What its attempts at backends do is in attempt.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { ATTEMPTS_DEFAULT = 3 };

/* It is over, whatever it does: `what` happened, or `reason` for short. */
static void
request_give_up(struct request *r, enum err_code code, const char *what, const char *reason)
{
	struct err e;

	cascade_ends(r);
	hedge_drop(r, reason);
	if (r->attempt_id != 0)
		attempt_close(r, code, 0, ATTEMPT_AS_HEARD);
	attempt_cancel(r, reason);
	if (r->err.code != ERR_OK)
		(void)err_set(&e, code, "%s; last: %.300s", what, r->err.text);
	else
		(void)err_set(&e, code, "%s", what);
	bytes_unref(&r->err_body);
	request_fail(r, &e);
}

static void
request_on_deadline(void *arg)
{
	request_give_up(arg, ERR_DEADLINE, "no answer within the request's deadline", "deadline");
}

void
requests_end(struct gateway *g)
{
	while (g->running != NULL)
		request_give_up(g->running, ERR_UNAVAILABLE,
			"this gateway ends, and its time to finish requests is over", "drain");
}

/* A free one; NULL: too many are in flight. */
static struct request *
request_take(struct gateway *g)
{
	struct request *r;

	if (g->free_len > 0) {
		r = g->requests[g->free_indexes[--g->free_len]];
	} else {
		if (g->requests_len == REQUESTS_MAX)
			return NULL;
		r = calloc(1, sizeof(*r));
		CHECK(r != NULL);
		r->index = g->requests_len;
		g->requests = reallocarray(g->requests, g->requests_len + 1, sizeof(*g->requests));
		g->free_indexes = reallocarray(
			g->free_indexes, g->requests_len + 1, sizeof(*g->free_indexes));
		CHECK(g->requests != NULL && g->free_indexes != NULL);
		g->requests[g->requests_len++] = r;
	}
	CHECK(!r->active);
	r->active = true;
	r->g = g;
	r->next = g->running;
	if (r->next != NULL)
		r->next->prev = r;
	g->running = r;
	gateway_count(g, COUNTER_REQ_IN_FLIGHT, 1);
	return r;
}

/* Everything back to zero but what the table knows it by. */
static void
request_release(struct request *r)
{
	struct gateway *g = r->g;
	uint32_t index = r->index;

	loop_timer_clear(g->w->loop, &r->hop_timer);
	loop_timer_clear(g->w->loop, &r->total_timer);
	loop_timer_clear(g->w->loop, &r->park_timer);
	loop_timer_clear(g->w->loop, &r->pause_timer);
	loop_timer_clear(g->w->loop, &r->hedge_timer);
	wait_free(&r->wait);
	place_leave(r);
	bytes_unref(&r->body);
	bytes_unref(&r->err_body);
	fault_fini(r);
	resume_free(&r->resume);
	catalog_unref(&r->catalog);
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		g->running = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	memset(r, 0, sizeof(*r));
	r->index = index;
	g->free_indexes[g->free_len++] = index;
	gateway_count(g, COUNTER_REQ_IN_FLIGHT, -1);
}

void
requests_free(struct gateway *g)
{
	while (g->running != NULL)
		request_release(g->running);
	for (uint32_t i = 0; i < g->requests_len; i++)
		free(g->requests[i]);
	free(g->requests);
	free(g->free_indexes);
	g->requests = NULL;
	g->free_indexes = NULL;
	g->requests_len = g->free_len = 0;
}

struct request *
request_find(struct gateway *g, const struct msg *m)
{
	uint64_t index = m->head.request_id & (REQUESTS_MAX - 1);
	struct request *r;

	if (index >= g->requests_len)
		return NULL;
	r = g->requests[index];
	/* Late words of an attempt that was given up carry its id, not the current one. */
	if (r->active && hedge_is(r, m))
		return r;
	if (!r->active || r->attempt_id == 0 || r->attempt_id != m->head.request_id ||
		r->slot != m->head.sender_slot || r->generation != m->head.sender_generation)
		return NULL;
	return r;
}

static void
request_put_cost(const struct request *r, struct buf *out)
{
	char text[64];
	size_t len = (size_t)snprintf(text, sizeof(text), "%.9f", r->cost_usd);

	while (len > 1 && text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	text[len] = '\0';
	http_put_header(out, "x-shunt-cost-usd", text);
}

void
request_put_headers(const struct request *r, struct buf *out)
{
	char attempts[16];

	(void)snprintf(attempts, sizeof(attempts), "%u", r->attempts);
	http_put_header(out, "x-shunt-request-id", r->id);
	if (r->catalog != NULL && r->candidates_len > 0) {
		http_put_header(out, "x-shunt-model", r->catalog->rows[r->row].model);
		http_put_header(out, "x-shunt-backend", r->catalog->rows[r->row].backend);
	}
	http_put_header(out, "x-shunt-route", r->route);
	http_put_header(out, "x-shunt-reason", r->reason);
	http_put_header(out, "x-shunt-attempts", attempts);
	place_put_headers(r, out);
	if (fault_came(r)[0] != '\0')
		http_put_header(out, "x-shunt-fault", fault_came(r));
	/* of a stream it is only known at its end: a trailer */
	if (!r->stream)
		request_put_cost(r, out);
}

void
request_put_trailers(const struct request *r, struct buf *out)
{
	char attempts[16];

	request_put_cost(r, out);
	if (r->resume == NULL)
		return;
	(void)snprintf(attempts, sizeof(attempts), "%u", r->attempts);
	http_put_header(out, "x-shunt-attempts", attempts);
}

static void
request_log(const struct request *r, unsigned status)
{
	uint64_t now_ns = clock_ns();
	bool tried = r->catalog != NULL && r->candidates_len > 0;

	log_debug("request_done",
		"id=%s client_id=%s status=%u route=%s arm=%s model=%s backend=%s attempts=%u "
		"decide_us=%llu "
		"first_us=%llu total_us=%llu tokens=%u reason=\"%s\"",
		r->id, r->client_id[0] == '\0' ? "-" : r->client_id, status,
		r->route[0] == '\0' ? "-" : r->route, r->arm[0] == '\0' ? "-" : r->arm,
		tried ? r->catalog->rows[r->row].model : "-",
		tried ? r->catalog->rows[r->row].backend : "-", r->attempts,
		(unsigned long long)(r->decided_ns / NS_PER_US),
		(unsigned long long)(r->first_ns == 0 ? 0
						      : (r->first_ns - r->started_ns) / NS_PER_US),
		(unsigned long long)((now_ns - r->started_ns) / NS_PER_US), r->completion_tokens,
		r->reason);
}

void
request_finish(struct request *r, unsigned status)
{
	request_log(r, status);
	record_request(r, status);
	r->conn->owner = NULL;
	request_release(r);
}

static bool
is_string_or_null(struct json v)
{
	return v.type == JSON_STRING || v.type == JSON_NULL;
}

/* Has this error every member that OpenAI's clients look at? */
static bool
request_error_is_whole(struct json error)
{
	return json_get(error, "message").type == JSON_STRING &&
	       json_get(error, "type").type == JSON_STRING &&
	       is_string_or_null(json_get(error, "param")) &&
	       is_string_or_null(json_get(error, "code"));
}

/* The upstream's error in OpenAI's shape: what it left out is filled in, what it added stays. */
static void
request_put_error(struct buf *out, struct json error, const struct err *e)
{
	static const char *const members[] = {"message", "type", "param", "code"};
	const char *const defaults[] = {e->text, err_openai_type(e->code), NULL, err_name(e->code)};
	struct json_iter it = json_iter(error);
	struct json key, value;

	json_put_begin(out, '{');
	json_put_key(out, "error");
	json_put_begin(out, '{');
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		value = json_get(error, members[i]);
		json_put_key(out, members[i]);
		if (value.type == JSON_STRING)
			json_put_raw(out, value);
		else if (defaults[i] != NULL)
			json_put_str(out, defaults[i]);
		else
			json_put_null(out);
	}
	while (json_next_member(&it, &key, &value)) {
		bool put = false;

		for (size_t i = 0; i < ARRAY_LEN(members); i++)
			put = put || json_equals(key, members[i]);
		if (put)
			continue;
		json_put_raw(out, key);
		buf_add_char(out, ':');
		json_put_raw(out, value);
	}
	json_put_end(out, '}');
	json_put_end(out, '}');
}

/* The upstream's own words are passed on where they are about what the client sent. */
static bool
request_reply_upstream(
	struct request *r, const struct err *e, struct buf *headers, unsigned *status)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct json root, error;

	*status = err_http_status(e->code);
	if (r->err_body == NULL || *status / 100 != 4 ||
		json_check(&root, r->err_body->data, r->err_body->len, NULL) != ERR_OK ||
		(error = json_get(root, "error")).type != JSON_OBJECT)
		return false;
	if (e->code == ERR_BAD_REQUEST && r->err_http / 100 == 4)
		*status = r->err_http;
	if (e->retry_after_ms > 0)
		http_put_retry_after(headers, e->retry_after_ms);
	if (request_error_is_whole(error)) {
		http_reply_bytes(r->conn, *status, "application/json", headers, r->err_body);
		return true;
	}
	request_put_error(&body, error, e);
	http_reply(r->conn, *status, "application/json", headers, body.data, body.len);
	return true;
}

void
request_fail(struct request *r, const struct err *e)
{
	AUTO(buf_fini) struct buf headers = BUF_INIT;
	unsigned status;

	if (cascade_gives(r))
		return;
	r->code = e->code;
	if (r->conn->committed) {
		gateway_count(r->g, COUNTER_REQ_STREAM_BROKEN, 1);
		log_warn("stream_broken", "id=%s code=%s text=\"%s\"", r->id, err_name(e->code),
			e->text);
		http_stream_fail(r->conn, e);
		request_finish(r, 200);
		return;
	}
	/* no stream will follow: its cost is known now */
	r->stream = false;
	request_put_headers(r, &headers);
	if (!request_reply_upstream(r, e, &headers, &status))
		http_reply_error(r->conn, e, e->code == ERR_MODEL ? "model" : NULL, &headers);
	request_finish(r, status);
}

void
request_cancel(struct request *r, const char *reason)
{
	gateway_count(r->g, COUNTER_REQ_CANCELLED, 1);
	if (r->place.waits)
		gateway_count(r->g, COUNTER_QUEUE_GONE, 1);
	r->code = ERR_CANCELLED;
	hedge_drop(r, reason);
	if (r->attempt_id != 0)
		attempt_close(r, ERR_CANCELLED, 0, ATTEMPT_AS_HEARD);
	attempt_cancel(r, reason);
	request_finish(r, err_http_status(ERR_CANCELLED));
}

/* What the decision says, copied: the scratch is used for the next request. */
static void
request_take_decision(struct request *r, const struct route_decision *d)
{
	const struct config_limits *limits = &r->g->config->limits;
	uint32_t request_ms = d->request_ms > 0 ? d->request_ms : limits->request_ms;

	(void)snprintf(r->route, sizeof(r->route), "%s", d->route);
	(void)snprintf(r->reason, sizeof(r->reason), "%s", d->reason);
	(void)snprintf(r->arm, sizeof(r->arm), "%s", d->arm);
	admit_earn(r->g);
	r->attempts_max = d->attempts > 0 ? d->attempts : ATTEMPTS_DEFAULT + d->fallbacks;
	r->retries_left = d->retries;
	r->hedge_ms = d->hedge_ms;
	r->priority = d->priority;
	r->queue_notice_ms = d->queue_notice_ms;
	r->route_first_byte_ms = d->first_byte_ms;
	if (r->stream && (d->mid_stream != MID_STREAM_ERROR || d->hold > 0))
		resume_new(&r->resume, d->mid_stream, d->hold, r->endpoint);
	r->deadline_ns = r->started_ns + clock_ms_to_ns(request_ms);
	for (size_t i = 0; i < d->ranked_len && i < ROUTE_CANDIDATES_MAX; i++)
		if (d->ranked[i].deployment < r->catalog->route.len)
			r->candidates[r->candidates_len++] = (uint16_t)d->ranked[i].deployment;
	/* behind those that have a place now: whoever gets one while the request waits will do */
	for (size_t i = 0; i < d->dropped_len && r->candidates_len < ROUTE_CANDIDATES_MAX; i++)
		if (route_is_full(&d->dropped[i]) &&
			d->dropped[i].deployment < r->catalog->route.len)
			r->candidates[r->candidates_len++] = (uint16_t)d->dropped[i].deployment;
	if (r->candidates_len > 0)
		r->row = r->candidates[0];
	cascade_begin(r, d);
}

static void
request_take_identity(struct request *r, const struct http_conn *c)
{
	const struct http_str *theirs = &c->head.header[HTTP_HEADER_REQUEST_ID];
	size_t n = MIN(theirs->len, sizeof(r->client_id) - 1);

	(void)snprintf(r->id, sizeof(r->id), "%llx-%x-%x-%llx",
		(unsigned long long)board_head(r->g->board)->started_wall_s, r->g->w->slot,
		r->g->w->generation, (unsigned long long)++r->g->next_number);
	for (size_t i = 0; i < n; i++)
		r->client_id[i] = theirs->p[i] > ' ' && theirs->p[i] <= '~' ? theirs->p[i] : '?';
}

/* The explanation is the answer. */
static void
request_explain(struct request *r, struct chat_body *body)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	decide_explain(&out, r->g, body, r->decided_ns);
	http_reply(r->conn, 200, "application/json", NULL, out.data, out.len);
	request_finish(r, 200);
}

/* g->decision is made: go where it says. */
static void
request_go(struct request *r, struct chat_body *body, const struct decide_who *who)
{
	struct gateway *g = r->g;
	struct bytes *bytes;
	char id[REQUEST_ID_MAX];
	bool again;

	if (r->question) {
		request_explain(r, body);
		return;
	}
	r->catalog = catalog_ref(g->catalog);
	request_take_decision(r, g->decision);
	if (!r->again) {
		decide_remember(g, who);
		/* of a cascade, when it is known how sure the weak model was */
		if (r->cascade.state == CASCADE_OFF)
			prompt_log_add(g, &body->route,
				&(struct prompt_log_note){.route = g->decision->route});
	}
	loop_timer_clear(g->w->loop, &r->total_timer);
	r->total_timer = (struct loop_timer){.fn = request_on_deadline, .arg = r};
	loop_timer_set(g->w->loop, &r->total_timer, r->deadline_ns);
	(void)snprintf(id, sizeof(id), "%s", r->id);
	again = r->again;
	/* it may be over with this; g->decision stays, and so must what `body` is read from */
	bytes = bytes_ref(r->body);
	attempt_next(r);
	if (!again)
		decide_shadow(g, id, body);
	bytes_unref(&bytes);
}

void
request_decide(struct request *r, struct chat_body *body, struct judge_call *call,
	const struct decide_who *who)
{
	struct gateway *g = r->g;
	struct err e = {0};

	if (decide_make(g, body, who, &r->decided_ns, &e) != ERR_OK) {
		(void)snprintf(r->route, sizeof(r->route), "%s", g->decision->route);
		(void)snprintf(r->reason, sizeof(r->reason), "%.*s", ROUTE_REASON_MAX - 1, e.text);
		request_fail(r, &e);
		return;
	}
	if (g->decision->pending)
		wait_start(r, body, call, who);
	else
		request_go(r, body, who);
}

void
request_again(struct request *r)
{
	AUTO(chat_body_fini) struct chat_body body = {0};
	AUTO(judge_call_fini) struct judge_call call = {.g = r->g};
	struct decide_who who;

	/* it was read before */
	if (chat_body_read(&body, r->endpoint, CHAT_BODY_REQUEST, r->body->data, r->body->len,
		    NULL) != ERR_OK)
		return;
	place_leave(r);
	resume_free(&r->resume);
	catalog_unref(&r->catalog);
	r->candidates_len = 0;
	memset(r->candidate_state, 0, sizeof(r->candidate_state));
	memset(r->candidate_code, 0, sizeof(r->candidate_code));
	r->again = true;
	who = decide_identify(&body, &r->conn->head);
	judge_call_init(&call, r->g, &body);
	request_decide(r, &body, &call, &who);
}

static void
request_start(struct request *r, struct chat_body *body)
{
	AUTO(judge_call_fini) struct judge_call call;
	struct decide_who who = decide_identify(body, &r->conn->head);

	r->started_ns = clock_ns();
	r->model_at = body->model_at;
	r->model_len = body->model_len;
	r->cut_at = body->cut_at;
	r->cut_len = body->cut_len;
	r->endpoint = body->route.endpoint;
	r->stream = r->asked_stream = body->route.stream && !r->question;
	r->prompt_guess = (uint32_t)MIN(body->route.prompt_bytes / 4 + 1, (size_t)UINT32_MAX);
	judge_call_init(&call, r->g, body);
	request_decide(r, body, &call, &who);
}

void
request_begin(struct gateway *g, struct http_conn *c, enum route_endpoint endpoint,
	enum request_form form)
{
	bool question = form == REQUEST_QUESTION;
	AUTO(chat_body_fini) struct chat_body body = {0};
	struct request *r;
	struct err e = {0};

	if (chat_body_read(&body, endpoint, question ? CHAT_BODY_QUESTION : CHAT_BODY_REQUEST,
		    c->body == NULL ? "" : c->body->data, c->body == NULL ? 0 : c->body->len,
		    &e) != ERR_OK) {
		if (!question)
			record_refused(g, c, endpoint, &e);
		http_reply_error(c, &e, body.param, NULL);
		return;
	}
	r = record_admits(g, &e) == ERR_OK ? request_take(g) : NULL;
	if (r == NULL) {
		if (e.code == ERR_OK)
			(void)err_set(&e, ERR_UNAVAILABLE, "too many requests in flight");
		e.retry_after_ms = 1000;
		record_refused(g, c, endpoint, &e);
		http_reply_error(c, &e, NULL, NULL);
		return;
	}
	r->conn = c;
	r->question = question;
	c->owner = r;
	r->body = c->body;
	c->body = NULL;
	request_take_identity(r, c);
	fault_begin(r, c);
	request_start(r, &body);
}
