/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - the life of one call: start, credit, deadlines, deltas, end or fail
 *
 * The transport fills answer.out with whole events (or `whole` with a body) and touches the call;
 * call_flush_all sends what the client's credit allows. When the upstream is done with, the call
 * settles: what is left goes out as credit comes, then ChatEnd or ChatFail closes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

static void call_on_timer(void *arg);

static struct loop *
call_loop(const struct call *c)
{
	return c->backend->w->loop;
}

static void
count(const struct call *c, enum counter which)
{
	board_count(c->backend->w->board, which, 1);
}

/* ---- the table of calls ---- */

static struct call **
call_bucket(struct backend *b, uint64_t request_id, unsigned slot, uint32_t generation)
{
	uint64_t h = request_id * UINT64_C(0x9e3779b97f4a7c15) + slot * 31U + generation;

	return &b->calls[(h ^ h >> 32) % CALL_BUCKETS];
}

static struct call *
call_lookup(struct backend *b, uint64_t request_id, unsigned slot, uint32_t generation)
{
	struct call *c = *call_bucket(b, request_id, slot, generation);

	while (c != NULL && (c->asker.request_id != request_id || c->asker.slot != slot ||
				    c->asker.generation != generation))
		c = c->next;
	return c;
}

struct call *
call_find(struct backend *b, const struct msg *m)
{
	return call_lookup(b, m->head.request_id, m->head.sender_slot, m->head.sender_generation);
}

static void
call_unlink(struct call *c)
{
	struct backend *b = c->backend;
	struct call **at = call_bucket(b, c->asker.request_id, c->asker.slot, c->asker.generation);

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (!c->dirty)
		return;
	for (at = &b->dirty; *at != c;)
		at = &(*at)->next_dirty;
	*at = c->next_dirty;
}

/* ---- figures ---- */

static void
grow(_Atomic uint64_t *v, uint64_t n)
{
	(void)atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

/* The row of figures for this model; NULL: all rows are taken by others. */
static struct deployment_stat *
call_stat(struct backend *b, const char *model)
{
	struct worker_row *row = board_own_row(b->w->board);
	struct deployment_stat *free_row = NULL;

	for (size_t i = 0; i < STATS_MAX; i++) {
		struct deployment_stat *s = &row->stats[i];

		if (atomic_load(&s->used) == 0) {
			free_row = s;
			break;
		}
		if (strncmp(s->model, model, sizeof(s->model)) == 0)
			return s;
	}
	if (free_row != NULL) {
		(void)msg_str_copy(free_row->model, sizeof(free_row->model), msg_str(model));
		atomic_store(&free_row->used, 1);
	}
	return free_row;
}

static void
call_count_end(struct call *c, enum err_code code, uint64_t now_ns)
{
	struct deployment_stat *s = c->stat;
	uint32_t tokens = c->answer.usage.known ? c->answer.usage.completion : c->tokens;

	count(c, code == ERR_OK ? COUNTER_UP_OK : COUNTER_UP_FAILED);
	guard_end(c, code);
	if (s == NULL)
		return;
	if (code != ERR_OK) {
		if (err_counts(code)) {
			grow(&s->failed, 1);
			grow(&s->failed_in_row, 1);
		}
		return;
	}
	grow(&s->ok, 1);
	atomic_store_explicit(&s->failed_in_row, 0, memory_order_relaxed);
	grow(&s->total_us_sum, (now_ns - c->started_ns) / NS_PER_US);
	if (!c->stream || c->first_ns == 0)
		return;
	grow(&s->ttft_us_sum, (c->first_ns - c->sent_ns) / NS_PER_US);
	grow(&s->ttft_count, 1);
	if (tokens > 1 && c->token_ns > c->first_ns) {
		grow(&s->tokens, tokens - 1);
		grow(&s->token_us_sum, (c->token_ns - c->first_ns) / NS_PER_US);
	}
}

/* ---- deadlines ---- */

/* When this call has waited long enough in its present phase; UINT64_MAX: no limit now. */
static uint64_t
call_due(const struct call *c)
{
	uint64_t due = UINT64_MAX;

	switch (c->phase) {
	case CALL_CONNECTING:
		due = c->started_ns + clock_ms_to_ns(c->backend->limits.connect_ms);
		break;
	case CALL_WAITING:
		due = c->sent_ns + clock_ms_to_ns(c->first_byte_ms);
		break;
	case CALL_READING:
		if (!c->paused)
			/* an error's body as a whole may take no longer than that */
			due = (c->upstream_status >= 300 ? c->first_ns : c->last_ns) +
			      clock_ms_to_ns(c->idle_ms);
		break;
	case CALL_SETTLING:
		break;
	}
	if (c->asker.deadline_ns != 0)
		due = MIN(due, c->asker.deadline_ns);
	return due;
}

/* Set the timer where it would fire too late; too early is mended when it fires. */
static void
call_arm(struct call *c)
{
	uint64_t due = call_due(c);

	if (due == UINT64_MAX || (c->armed_ns != 0 && c->armed_ns <= due))
		return;
	c->armed_ns = due;
	loop_timer_set(call_loop(c), &c->timer, due);
}

/* ---- messages ---- */

static void
call_free(struct call *c)
{
	struct backend *b = c->backend;

	guard_end(c, ERR_CANCELLED);
	c->transport->stop(c);
	call_unlink(c);
	loop_timer_clear(call_loop(c), &c->timer);
	if (c->stat != NULL)
		(void)atomic_fetch_sub_explicit(&c->stat->in_flight, 1, memory_order_relaxed);
	board_gauge(b->w->board, COUNTER_UP_IN_FLIGHT, -1);
	b->in_flight--;
	bytes_unref(&c->body);
	buf_fini(&c->whole);
	upstream_request_fini(&c->request);
	answer_fini(&c->answer);
	free(c);
	places_serve(b);
	asker_work_ended(b);
}

static void
send_fail(struct backend *b, const struct asker *to, const struct err *e, unsigned http_status,
	uint32_t seq, const char *fault, struct bytes *body)
{
	struct msg m = {.type = MSG_CHAT_FAIL};

	m.chat_fail = (struct msg_chat_fail){
		.code = (uint16_t)e->code,
		.http_status = (uint16_t)http_status,
		.retry_after_ms = e->retry_after_ms,
		.seq = seq,
		.text = msg_str(e->text),
		.fault = msg_str(fault),
	};
	(void)asker_reply(b, to, &m, body);
}

static uint32_t
us_between(uint64_t from_ns, uint64_t to_ns)
{
	uint64_t us = from_ns == 0 || to_ns <= from_ns ? 0 : (to_ns - from_ns) / NS_PER_US;

	return (uint32_t)MIN(us, (uint64_t)UINT32_MAX);
}

static void
send_end(struct call *c, uint64_t now_ns)
{
	const struct usage *u = &c->answer.usage;
	struct msg m = {.type = MSG_CHAT_END};
	struct bytes *body = NULL;

	m.chat_end = (struct msg_chat_end){
		.seq = c->seq,
		.prompt_tokens = u->prompt,
		.completion_tokens = u->known ? u->completion : c->tokens,
		.cached_tokens = u->cached,
		.reasoning_tokens = u->reasoning,
		.usage_known = u->known,
		.finish_reason = msg_str(c->answer.finish_reason),
		.ttft_us = us_between(c->sent_ns, c->first_ns),
		.total_us = us_between(c->started_ns, now_ns),
		.fault = msg_str(c->fault_label),
		.judged = c->answer.probs.tokens,
		.confidence = (float)probs_confidence(&c->answer.probs),
	};
	if (!c->stream)
		body = bytes_from_buf(&c->whole);
	(void)asker_reply(c->backend, &c->asker, &m, body);
	bytes_unref(&body);
}

/* All bytes are out: say how it ended. The call is gone after this. */
static void
call_close(struct call *c)
{
	uint64_t now_ns = clock_ns();
	struct bytes *body = NULL;

	call_count_end(c, c->result, now_ns);
	if (c->result == ERR_OK) {
		send_end(c, now_ns);
	} else {
		log_debug("call_failed", "request=%llu code=%s status=%u text=\"%s\"",
			(unsigned long long)c->asker.request_id, err_name(c->result),
			c->upstream_status, c->failure.text);
		if (c->answer.error_body.len > 0)
			body = bytes_from_buf(&c->answer.error_body);
		send_fail(c->backend, &c->asker, &c->failure, c->upstream_status, c->seq,
			c->fault_label, body);
		bytes_unref(&body);
	}
	call_free(c);
}

/* ---- deltas ---- */

/* Length of the longest run of whole events within limit bytes; 0: the first is longer. */
static size_t
whole_events(const struct buf *out, size_t limit)
{
	const char *p = out->data, *end = p + MIN(limit, out->len), *last = NULL, *at;

	while ((at = memmem(p, (size_t)(end - p), "\n\n", 2)) != NULL)
		p = last = at + 2;
	return last == NULL ? 0 : (size_t)(last - out->data);
}

/* How much may go out now. An event larger than the credit waits for more as long as half of it is
 * under way: that is when the gateway gives some back. With less under way none would come. */
static size_t
call_sendable(const struct call *c)
{
	const struct buf *out = &c->answer.out;
	const char *end;
	size_t n;

	if (out->len == 0 || c->credit <= 0)
		return 0;
	if ((int64_t)out->len <= c->credit)
		return out->len;
	n = whole_events(out, (size_t)c->credit);
	if (n > 0 || c->credit <= c->credit_most / 2)
		return n;
	end = memmem(out->data, out->len, "\n\n", 2);
	CHECK(end != NULL);
	return (size_t)(end + 2 - out->data);
}

static void
call_send_deltas(struct call *c)
{
	struct buf *out = &c->answer.out;
	struct msg m = {.type = MSG_CHAT_DELTA};
	struct bytes *payload;
	size_t n;

	while ((n = call_sendable(c)) > 0) {
		m.chat_delta = (struct msg_chat_delta){.seq = c->seq,
			.tokens = c->answer.tokens,
			.fault = msg_str(c->fault_label),
			.judged = c->answer.probs.tokens,
			.confidence = (float)probs_confidence(&c->answer.probs)};
		if (n == out->len) {
			payload = bytes_from_buf(out);
		} else {
			payload = bytes_copy(out->data, n);
			buf_drop_front(out, n);
		}
		c->answer.tokens = 0;
		c->tokens += m.chat_delta.tokens;
		c->credit -= (int64_t)n;
		c->seq++;
		guard_heard(c);
		(void)asker_reply(c->backend, &c->asker, &m, payload);
		bytes_unref(&payload);
	}
}

bool
call_is_full(const struct call *c)
{
	return c->answer.out.len > 0 && (int64_t)c->answer.out.len >= c->credit;
}

void
call_touched(struct call *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->backend->dirty;
	c->backend->dirty = c;
}

/* The upstream has nothing more to say that matters. */
static void
call_settle(struct call *c, enum err_code code)
{
	c->phase = CALL_SETTLING;
	c->result = code;
	call_arm(c);
	call_touched(c);
}

static void
call_flush(struct call *c)
{
	call_send_deltas(c);
	if (c->phase != CALL_SETTLING && c->stream && c->answer.done) {
		http_linger(&c->http);
		call_settle(c, ERR_OK);
	}
	if (c->phase == CALL_SETTLING) {
		if (c->answer.out.len == 0)
			call_close(c);
		return;
	}
	if (c->paused && !call_is_full(c)) {
		c->paused = false;
		c->last_ns = clock_ns();
		c->transport->resume(c);
	}
	call_arm(c); /* the first byte started a shorter deadline than the one before it */
}

void
call_flush_all(struct backend *b)
{
	struct call *c;

	while ((c = b->dirty) != NULL) {
		b->dirty = c->next_dirty;
		c->dirty = false;
		call_flush(c);
	}
}

/* ---- what the transport reports ---- */

void
call_sent(struct call *c)
{
	if (c->phase != CALL_CONNECTING)
		return; /* a kept connection was tried first, then a new one */
	c->phase = CALL_WAITING;
	c->sent_ns = clock_ns();
	call_arm(c);
}

void
call_spoil(struct call *c, const struct err *e)
{
	c->failure = *e;
}

void
call_done(struct call *c, enum err_code code, const struct err *e)
{
	if (code != ERR_OK && e != &c->failure)
		c->failure = *e;
	call_settle(c, code);
}

/* ---- the end from our side ---- */

static void
call_on_timer(void *arg)
{
	static const char *const waits[] = {
		[CALL_CONNECTING] = "no connection",
		[CALL_WAITING] = "no first byte of the answer",
		[CALL_READING] = "no further byte of the answer",
		[CALL_SETTLING] = "the client did not take the rest of the answer",
	};
	struct call *c = arg;
	uint64_t now_ns = loop_now(call_loop(c)), due = call_due(c), from;
	enum err_code code;
	struct err e = {0};

	c->armed_ns = 0;
	if (due > now_ns) {
		call_arm(c);
		return;
	}
	from = c->phase == CALL_CONNECTING ? c->started_ns
	       : c->phase == CALL_WAITING  ? c->sent_ns
					   : c->last_ns;
	code = c->asker.deadline_ns != 0 && now_ns >= c->asker.deadline_ns ? ERR_DEADLINE
	       : c->phase == CALL_CONNECTING                               ? ERR_CONNECT
									   : ERR_TIMEOUT;
	(void)err_set(&e, code, "%s within %llu ms", waits[c->phase],
		(unsigned long long)((now_ns - from) / NS_PER_MS));
	c->failure = e;
	c->result = code;
	c->transport->stop(c);
	buf_clear(&c->answer.out);
	call_close(c);
}

void
call_cancel(struct call *c, const char *why)
{
	log_debug("call_cancelled", "request=%llu why=%s", (unsigned long long)c->asker.request_id,
		why);
	count(c, COUNTER_UP_CANCELLED);
	call_free(c);
}

void
call_credit(struct call *c, uint32_t bytes)
{
	c->credit += bytes;
	c->credit_most = MAX(c->credit_most, c->credit);
	call_touched(c);
	call_flush_all(c->backend);
}

static void
call_each(struct backend *b, bool all, const char *why)
{
	struct call *c, *next;

	for (size_t i = 0; i < CALL_BUCKETS; i++)
		for (c = b->calls[i]; c != NULL; c = next) {
			next = c->next;
			if (all || !asker_lives(b, &c->asker))
				call_cancel(c, why);
		}
}

void
call_drop_orphans(struct backend *b)
{
	call_each(b, false, "asker_died");
}

void
call_free_all(struct backend *b)
{
	call_each(b, true, "worker_stops");
}

/* ---- start ---- */

/* How this upstream is made to go on with a begun answer. */
static enum prefill
call_prefill(const struct backend *b)
{
	enum prefill said = b->config->prefill;

	if (said == PREFILL_AUTO)
		said = b->learned;
	return said == PREFILL_AUTO ? PREFILL_INSTRUCT : said;
}

static struct asker
call_asker(const struct msg *m)
{
	return (struct asker){.request_id = m->head.request_id,
		.deadline_ns = m->head.deadline_ns,
		.slot = m->head.sender_slot,
		.generation = m->head.sender_generation};
}

/* The gateway wants to know how probable the tokens are, whether or not the client does. */
static void
call_ask_probs(struct call *c, const struct msg_chat_start *s)
{
	struct json body;

	if (!s->confidence || json_check(&body, c->asked.body, c->asked.body_len, NULL) != ERR_OK)
		return;
	c->asked.probs = !probs_asked(body);
	c->answer.probs = (struct probs){.wanted = true, .hidden = c->asked.probs};
}

static struct call *
call_new(struct backend *b, const struct msg *m, const char *model, struct bytes *payload)
{
	const struct msg_chat_start *s = &m->chat_start;
	struct call *c = calloc(1, sizeof(*c)), **bucket;

	CHECK(c != NULL);
	c->backend = b;
	c->transport = b->kind->transport;
	c->asker = call_asker(m);
	c->stream = s->stream && s->endpoint != MSG_ENDPOINT_EMBEDDINGS;
	(void)snprintf(c->model, sizeof(c->model), "%s", model);
	c->body = bytes_ref(payload);
	c->credit = c->credit_most = s->credit_bytes;
	c->first_byte_ms = s->first_byte_ms != 0 ? s->first_byte_ms : b->limits.first_byte_ms;
	c->idle_ms = s->idle_ms != 0 ? s->idle_ms : b->limits.stall_ms;
	c->started_ns = clock_ns();
	c->timer = (struct loop_timer){.fn = call_on_timer, .arg = c};
	c->asked = (struct call_request){
		.endpoint = s->endpoint,
		.stream = c->stream,
		.model = c->model,
		.body = payload->data,
		.body_len = payload->len,
		.model_at = s->model_at,
		.model_len = s->model_len,
		.partial = MIN(s->partial, payload->len),
		.prefill = call_prefill(b),
	};
	answer_init(&c->answer, b->kind, s->endpoint);
	call_ask_probs(c, s);
	c->answer.created_s = clock_wall_s();
	(void)snprintf(c->answer.id, sizeof(c->answer.id), "%s-%x-%x-%llx",
		s->endpoint == MSG_ENDPOINT_CHAT ? "chatcmpl" : "cmpl", c->asker.slot,
		c->asker.generation, (unsigned long long)c->asker.request_id);
	bucket = call_bucket(b, c->asker.request_id, c->asker.slot, c->asker.generation);
	c->next = *bucket;
	*bucket = c;
	b->in_flight++;
	board_gauge(b->w->board, COUNTER_UP_IN_FLIGHT, 1);
	c->stat = call_stat(b, c->model);
	if (c->stat != NULL)
		grow(&c->stat->in_flight, 1);
	guard_begin(c);
	return c;
}

/* Why this call can't even begin; ERR_OK: it can. */
static enum err_code
call_refuse(struct backend *b, const struct msg *m, const char *model, const struct bytes *payload,
	struct err *e)
{
	const struct msg_chat_start *s = &m->chat_start;

	if (b->w->draining || b->removed)
		/* this life is over for whoever comes now; the gateway finds the next one */
		return err_set(e, ERR_WORKER_DIED, "backend %s is being stopped", b->w->name);
	if (!places_take(b, m))
		return err_set(e, ERR_BUSY, "backend %s has its %u calls in flight already",
			b->w->name, b->limits.max_in_flight);
	if (payload == NULL || s->model_at > payload->len ||
		s->model_len > payload->len - s->model_at)
		return err_set(e, ERR_SYS, "the place of the model lies outside the body");
	if (call_lookup(b, m->head.request_id, m->head.sender_slot, m->head.sender_generation) !=
		NULL)
		return err_set(e, ERR_SYS, "request id used twice");
	if (!guard_admits(b, call_stat(b, model)))
		return err_set(e, ERR_BUSY, "the breaker of %s on %s is open", model, b->w->name);
	return ERR_OK;
}

void
call_tell(struct backend *b, const struct call *c, const struct msg *m)
{
	const struct asker who = call_asker(m);
	struct msg yes = {.type = MSG_CHAT_DELTA};
	struct err e;

	if (c != NULL) {
		yes.chat_delta.seq = c->seq;
		(void)asker_reply(b, &who, &yes, NULL);
		return;
	}
	(void)err_set(&e, ERR_TIMEOUT, "the request or its answer got lost between workers");
	send_fail(b, &who, &e, 0, 0, "", NULL);
}

void
call_start(struct backend *b, const struct msg *m, struct bytes *payload)
{
	const struct asker who = call_asker(m);
	char model[MODEL_MAX_LEN];
	struct err e = {0};
	struct call *c;

	names_upstream(b, model, &m->chat_start);
	if (call_refuse(b, m, model, payload, &e) != ERR_OK) {
		send_fail(b, &who, &e, 0, 0, "", NULL);
		places_serve(b); /* it may have been given one */
		return;
	}
	c = call_new(b, m, model, payload);
	count(c, COUNTER_UP_CALLS);
	call_arm(c);
	fault_call_take(c, &m->chat_start);
	if (c->transport->start(c, &e) != ERR_OK)
		call_done(c, e.code, &e);
	call_flush_all(b);
}
