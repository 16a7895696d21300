/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.c - a request's attempts at backends: start, answers, failures, the next candidate
 *
 * Each attempt has an id of its own, so what a given-up attempt still says finds nobody. Before the
 * first byte has gone to the client, a failure that cascades moves to the next candidate; after it,
 * the stream ends by an honest error event. A worker whose life on the board ended has failed at
 * that moment; nobody waits for it.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum {
	BEAT_STALE_MS = 1500, /* silent for longer: a stopped worker */
	PARK_MS = 2500, /* wait this long for a worker that is coming back */
	DEATHS_MAX = 2, /* a request that this many workers died under is not tried again */
	OVERSHOOT_MAX = 2 * BUS_EVENT_MAX + 64 * 1024, /* bytes beyond its credit: one event */
	SUSPECT_MS = 200 /* tell the profiler of one deployment no more often */
};

static const struct catalog_row *
attempt_row(const struct request *r)
{
	return &r->catalog->rows[r->row];
}

static bool
attempt_beats(const struct request *r, unsigned slot)
{
	uint64_t beat_ns = atomic_load_explicit(
		&board_worker(r->g->board, slot)->heartbeat_ns, memory_order_relaxed);

	return beat_ns + clock_ms_to_ns(BEAT_STALE_MS) > clock_ns();
}

/* The profiler looks sooner at what just failed. */
static void
attempt_suspect(struct request *r, enum err_code code)
{
	struct gateway *g = r->g;
	struct catalog_row *row = &r->catalog->rows[r->row];
	int slot = board_find_slot(g->board, ROLE_PROFILER, "profiler");
	uint64_t now_ns = clock_ns();
	struct slot_info info;
	struct msg m;

	if (slot < 0 || now_ns - row->suspect_ns < clock_ms_to_ns(SUSPECT_MS))
		return;
	row->suspect_ns = now_ns;
	board_slot(g->board, (unsigned)slot, &info);
	m = (struct msg){.type = MSG_SUSPECT,
		.head = {.request_id = ++g->next_attempt * REQUESTS_MAX,
			.deadline_ns = now_ns + NS_PER_S},
		.suspect = {.backend = msg_str(row->backend),
			.model = msg_str(row->upstream),
			.code = (uint16_t)code}};
	/* the counter of unsent messages tells where it fails; the next probe finds it anyway */
	if (bus_send(g->w->bus, (unsigned)slot, info.generation, &m, NULL, NULL) == ERR_OK)
		gateway_count(g, COUNTER_SUSPECTS, 1);
}

/* Keep the failure that tells the client most. */
static void
attempt_note(struct request *r, const struct err *e, uint16_t http, struct bytes *body)
{
	bool ours = e->code == ERR_WORKER_DIED || e->code == ERR_OVERLOADED || e->code == ERR_BUSY;
	uint32_t retry_after_ms = r->err.code == ERR_RATE_LIMITED ? r->err.retry_after_ms : 0;

	/* what an upstream said outweighs what happened to our own processes */
	if (ours && http == 0 && r->err.code != ERR_OK)
		return;
	/* a limit that is over soon is worth more than a failure to connect elsewhere */
	if (retry_after_ms > 0 && http == 0 && err_cascades(e->code))
		return;
	r->err = *e;
	r->err_http = http;
	bytes_unref(&r->err_body);
	r->err_body = bytes_ref(body);
}

void
attempt_cancel(struct request *r, const char *reason)
{
	struct msg m;
	struct err e;

	if (r->attempt_id == 0)
		return;
	m = (struct msg){.type = MSG_CHAT_CANCEL,
		.head = {.request_id = r->attempt_id, .deadline_ns = r->deadline_ns},
		.chat_cancel = {.reason = msg_str(reason)}};
	/* where it can't be sent, the worker is gone and the upstream request with it */
	if (bus_send(r->g->w->bus, (unsigned)r->slot, r->generation, &m, NULL, &e) != ERR_OK)
		log_debug("cancel_unsent", "id=%s text=\"%s\"", r->id, e.text);
	r->attempt_id = 0;
}

static void
attempt_account(struct request *r, const struct msg_chat_end *end)
{
	r->prompt_tokens += end->prompt_tokens;
	r->completion_tokens += end->completion_tokens;
	r->attempt_usd = route_cost_usd(
		&r->catalog->deployments[r->row], end->prompt_tokens, end->completion_tokens);
	r->cost_usd += r->attempt_usd;
	gateway_count(r->g, COUNTER_REQ_PROMPT_TOKENS, end->prompt_tokens);
	gateway_count(r->g, COUNTER_REQ_TOKENS, end->completion_tokens);
	gateway_count(r->g, COUNTER_REQ_COST_NUSD, (int64_t)(r->attempt_usd * 1e9));
}

/* What it cost is what its upstream bills: the prompt, and the tokens that came. */
void
attempt_close(struct request *r, enum err_code code, uint16_t http, enum attempt_bill bill)
{
	const struct msg_chat_end end = {
		.prompt_tokens = r->prompt_guess, .completion_tokens = r->delta_tokens};
	bool billed = bill == ATTEMPT_BILLED || r->received > 0;

	if (billed)
		attempt_account(r, &end);
	place_ended(r, code);
	record_attempt(r, code, http, billed ? &end : NULL);
}

void
attempt_broken(struct request *r, enum err_code code, const char *text)
{
	struct err e;

	attempt_cancel(r, "broken");
	(void)err_set(&e, code, "%s: %s", attempt_row(r)->backend, text);
	attempt_failed(r, &e, 0, NULL);
}

uint32_t
attempt_first_ms(const struct request *r)
{
	return r->route_first_byte_ms > 0 ? r->route_first_byte_ms : attempt_row(r)->first_byte_ms;
}

static MUST enum err_code
attempt_send(struct request *r, struct err *e)
{
	const struct catalog_row *row = attempt_row(r);
	bool declared = r->catalog->deployments[r->row].declared != NULL;
	uint32_t first_ms = attempt_first_ms(r);
	struct msg m = {.type = MSG_CHAT_START,
		.head = {.request_id = ++r->g->next_attempt * REQUESTS_MAX + r->index,
			.deadline_ns = r->deadline_ns},
		.chat_start = {.endpoint = (uint8_t)r->endpoint,
			.stream = r->stream,
			.model = msg_str(row->upstream),
			.model_len = r->model_len,
			.asked = msg_str(declared ? row->model : ""),
			.credit_bytes = REQUEST_WINDOW_BYTES,
			.first_byte_ms = first_ms,
			.idle_ms = row->stall_ms,
			.confidence = cascade_asks(r)}};
	struct bytes *body;
	enum err_code code;

	fault_fill(r, row, &m.chat_start);
	body = stream_body(r, &m.chat_start.model_at, &m.chat_start.partial);
	code = bus_send(r->g->w->bus, (unsigned)r->slot, r->generation, &m, body, e);
	bytes_unref(&body);
	if (code != ERR_OK)
		return code;
	r->attempt_n = ++r->attempts;
	r->attempt_id = m.head.request_id;
	r->attempt_ns = clock_ns();
	r->seq = r->delta_tokens = 0;
	r->received = r->credited = 0;
	cascade_heard(r, 0, 0);
	hop_begin(r);
	place_began(r);
	gateway_count(r->g, COUNTER_REQ_ATTEMPTS, 1);
	if (r->attempts > 1)
		gateway_count(r->g, COUNTER_REQ_CASCADES, 1);
	return ERR_OK;
}

enum attempt_worker {
	WORKER_NONE,
	WORKER_COOLS,
	WORKER_COMING,
	WORKER_STALE,
	WORKER_FULL,
	WORKER_GOOD
};

/* How the worker of this candidate does; fills in slot and generation. */
static enum attempt_worker
attempt_look(
	const struct request *r, uint16_t row, int *slot, uint32_t *generation, uint64_t *look_ns)
{
	const struct catalog_row *k = &r->catalog->rows[row];
	struct slot_info info;

	*slot = board_find_slot(r->g->board, ROLE_BACKEND, k->backend);
	if (*slot < 0)
		return k->slot >= 0 || k->coming ? WORKER_COMING : WORKER_NONE;
	board_slot(r->g->board, (unsigned)*slot, &info);
	*generation = info.generation;
	if (info.state != SLOT_READY)
		return WORKER_COMING;
	if (admit_cools(r, row, (unsigned)*slot, look_ns))
		return WORKER_COOLS;
	if (queue_servers_has(&r->full, (unsigned)*slot) ||
		!place_is_free(r->g, (unsigned)*slot, r->catalog->deployments[row].max_in_flight))
		return WORKER_FULL;
	return attempt_beats(r, (unsigned)*slot) ? WORKER_GOOD : WORKER_STALE;
}

struct attempt_pick {
	size_t index; /* of the candidate */
	int slot;
	uint32_t generation;
};

/* The first untried candidate with a good worker, else the first with the next best. */
static enum attempt_worker
attempt_pick(const struct request *r, struct attempt_pick *out, uint64_t *look_ns)
{
	enum attempt_worker best = WORKER_NONE;

	for (size_t i = 0; i < r->candidates_len && best != WORKER_GOOD; i++) {
		enum attempt_worker now;
		uint32_t generation = 0;
		uint64_t at_ns;
		int slot;

		if (r->candidate_state[i] != CANDIDATE_FRESH)
			continue;
		now = attempt_look(r, r->candidates[i], &slot, &generation, &at_ns);
		if (now == WORKER_COOLS)
			*look_ns = MIN(*look_ns, at_ns);
		if (now <= best)
			continue;
		best = now;
		*out = (struct attempt_pick){i, slot, generation};
	}
	return best;
}

static void
attempt_give_up(struct request *r)
{
	struct err e = r->err;

	if (e.code == ERR_OK || e.code == ERR_BUSY)
		(void)err_set(&e, ERR_UNAVAILABLE,
			"none of the candidates has a running worker just now");
	request_fail(r, &e);
}

/* All candidates are left alone, for longer than r may wait. */
static void
attempt_refuse(struct request *r, uint64_t look_ns)
{
	struct err e = r->err;
	uint64_t now_ns = clock_ns();

	if (e.code == ERR_OK || e.code == ERR_BUSY)
		(void)err_set(&e, ERR_UNAVAILABLE,
			"all candidates are left alone after failures (shunt status)");
	if (e.retry_after_ms == 0 && look_ns > now_ns)
		e.retry_after_ms = (uint32_t)((look_ns - now_ns) / NS_PER_MS + 1);
	request_fail(r, &e);
}

static void
attempt_on_look(void *arg)
{
	attempt_next(arg);
}

static void
attempt_look_at(struct request *r, uint64_t at_ns)
{
	r->park_timer.fn = attempt_on_look;
	r->park_timer.arg = r;
	loop_timer_set(r->g->w->loop, &r->park_timer, at_ns);
}

/* All candidates are cooling: look again when the first of them may be asked. */
static void
attempt_wait(struct request *r, uint64_t look_ns)
{
	uint64_t at_ns = admit_wait(r, look_ns);

	if (at_ns == 0) {
		attempt_refuse(r, look_ns);
		return;
	}
	if (!r->waited)
		gateway_count(r->g, COUNTER_REQ_WAITED, 1);
	r->waited = true;
	attempt_look_at(r, at_ns);
}

/* No worker can take it, but one is coming back: wait for the board to say so, or for one that
 * cools to be asked, whatever is first. */
static void
attempt_park(struct request *r, uint64_t look_ns)
{
	uint64_t now_ns = clock_ns();

	if (r->park_end_ns == 0)
		r->park_end_ns = now_ns + clock_ms_to_ns(PARK_MS);
	if (r->park_end_ns <= now_ns) { /* it did not come */
		if (look_ns != UINT64_MAX)
			attempt_wait(r, look_ns);
		else
			attempt_give_up(r);
		return;
	}
	r->parked = true;
	attempt_look_at(r, MIN(r->park_end_ns, look_ns));
}

static void
attempt_aim(struct request *r, const struct attempt_pick *p)
{
	r->row = r->candidates[p->index];
	r->slot = p->slot;
	r->generation = p->generation;
	r->candidate_state[p->index] = CANDIDATE_TRIED;
}

bool
attempt_start_good(struct request *r)
{
	uint64_t look_ns = UINT64_MAX;
	struct attempt_pick pick;

	if (r->attempts >= r->attempts_max || attempt_pick(r, &pick, &look_ns) != WORKER_GOOD ||
		!admit_hedge(r->g))
		return false;
	attempt_aim(r, &pick);
	return attempt_send(r, NULL) == ERR_OK;
}

static bool
attempt_try(struct request *r, const struct attempt_pick *pick)
{
	struct err e;

	r->retries = false;
	attempt_aim(r, pick);
	if (attempt_send(r, &e) == ERR_OK) {
		loop_timer_clear(r->g->w->loop, &r->park_timer);
		r->park_end_ns = 0;
		hedge_arm(r);
		return true;
	}
	log_debug("attempt_unsent", "id=%s backend=%s text=\"%s\"", r->id, attempt_row(r)->backend,
		e.text);
	attempt_note(r, &e, 0, NULL);
	return false;
}

enum attempt_start
attempt_start_at(struct request *r, size_t i, int slot, uint32_t generation)
{
	CHECK(r->attempt_id == 0);
	r->full = (struct queue_servers){0};
	if (r->retries && !admit_retry(r->g)) {
		attempt_give_up(r);
		return ATTEMPT_GIVEN_UP;
	}
	if (attempt_try(r, &(struct attempt_pick){i, slot, generation}))
		return ATTEMPT_STARTED;
	place_leave(r); /* what it had from there */
	attempt_next(r);
	return ATTEMPT_UNSENT;
}

/* All who could answer are full: wait for a place. */
static bool
attempt_queue(struct request *r)
{
	loop_timer_clear(r->g->w->loop, &r->park_timer);
	return place_wait(r);
}

void
attempt_next(struct request *r)
{
	uint64_t look_ns = UINT64_MAX;
	enum attempt_worker found;
	struct attempt_pick pick;

	CHECK(r->attempt_id == 0 && !r->place.waits);
	r->parked = false;
	while (r->attempts < r->attempts_max) {
		found = attempt_pick(r, &pick, &look_ns);
		if (found == WORKER_FULL && attempt_queue(r)) {
			r->park_end_ns = 0;
			return;
		}
		if (found == WORKER_COOLS) {
			attempt_wait(r, look_ns);
			return;
		}
		if (found == WORKER_COMING || found == WORKER_FULL) {
			attempt_park(r, look_ns);
			return;
		}
		if (found == WORKER_NONE)
			break;
		if (r->retries && !admit_retry(r->g)) {
			attempt_give_up(r); /* a pause pays for nothing */
			return;
		}
		if (attempt_try(r, &pick))
			return;
	}
	if (r->attempts < r->attempts_max && chain_retry(r))
		return;
	attempt_give_up(r);
}

void
attempt_may_again(struct request *r, uint16_t row)
{
	for (size_t i = 0; i < r->candidates_len; i++)
		if (r->candidates[i] == row)
			r->candidate_state[i] = CANDIDATE_FRESH;
}

/* Its worker died: the candidate itself may be as good as before. */
static void
attempt_forgive(struct request *r)
{
	if (++r->deaths < DEATHS_MAX)
		attempt_may_again(r, r->row);
}

/* What asked for a pause may be asked again after it; what was refused by our own worker was no
 * attempt at all. */
static void
attempt_cool(struct request *r, const struct err *e)
{
	r->retries = err_counts(e->code) || err_cools(e->code);
	if (e->code == ERR_BUSY) {
		r->attempts--;
		queue_servers_add(&r->full, (unsigned)r->slot);
		gateway_count(r->g, COUNTER_QUEUE_RETURNED, 1);
	}
	if (admit_again(r, e))
		attempt_may_again(r, r->row);
}

void
attempt_failed(struct request *r, const struct err *e, uint16_t http, struct bytes *body)
{
	enum stream_verdict verdict;

	attempt_close(r, e->code, http, ATTEMPT_AS_HEARD);
	r->attempt_id = 0;
	loop_timer_clear(r->g->w->loop, &r->hop_timer);
	log_debug("attempt_failed", "id=%s backend=%s code=%s http=%u text=\"%s\"", r->id,
		attempt_row(r)->backend, err_name(e->code), http, e->text);
	if (err_counts(e->code))
		attempt_suspect(r, e->code);
	verdict = stream_broke(r, e->code);
	if (verdict == STREAM_LOST) {
		request_fail(r, e);
		return;
	}
	attempt_note(r, e, http, body);
	chain_narrow(r, e);
	if (e->code == ERR_WORKER_DIED)
		attempt_forgive(r);
	attempt_cool(r, e);
	if (hedge_take_over(r))
		return;
	if (verdict == STREAM_WHOLE) {
		stream_end(r);
		request_finish(r, 200);
		return;
	}
	if (!cascade_stops_asking(r, e->code) && !err_cascades(e->code)) {
		struct err last = r->err;

		request_fail(r, &last);
		return;
	}
	attempt_next(r);
}

void
attempts_board_changed(struct gateway *g)
{
	struct slot_info info;
	struct err e;

	/* by index: what becomes of one may end others */
	for (uint32_t i = 0; i < g->requests_len; i++) {
		struct request *r = g->requests[i];

		if (!r->active || r->place.waits)
			continue; /* places_look */
		if (r->attempt_id == 0) {
			if (r->parked)
				attempt_next(r);
			continue;
		}
		hedge_board_changed(r);
		board_slot(g->board, (unsigned)r->slot, &info);
		if (info.generation == r->generation && info.state != SLOT_EMPTY &&
			info.state != SLOT_BACKOFF)
			continue;
		/* its answer may be on the way: it is over when its last words were heard */
		if (bus_hears(g->w->bus, (unsigned)r->slot, r->generation))
			continue;
		(void)err_set(&e, ERR_WORKER_DIED, "%s: its worker died", attempt_row(r)->backend);
		attempt_failed(r, &e, 0, NULL);
	}
}

void
request_taken(struct request *r)
{
	uint64_t taken = r->received - MIN((uint64_t)http_conn_pending(r->conn), r->received);
	struct msg m;

	if (r->attempt_id == 0 || taken < r->credited + REQUEST_WINDOW_BYTES / 2)
		return;
	m = (struct msg){.type = MSG_CHAT_CREDIT,
		.head = {.request_id = r->attempt_id, .deadline_ns = r->deadline_ns},
		.chat_credit = {.bytes = (uint32_t)(taken - r->credited)}};
	/* unsent: the credit stays owed and goes with the next */
	if (bus_send(r->g->w->bus, (unsigned)r->slot, r->generation, &m, NULL, NULL) == ERR_OK)
		r->credited = taken;
}

void
attempt_on_delta(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct request *r = request_find(w->state, m);
	size_t window;
	struct err e;

	if (r == NULL)
		return;
	if (payload == NULL) { /* no piece: it was asked whether it is at work */
		hop_is_at_work(hedge_is(r, m) ? &r->other.hop : &r->hop);
		return;
	}
	hedge_heard(r, m);
	if (m->chat_delta.seq < r->seq)
		return; /* it came twice */
	if (m->chat_delta.seq != r->seq || !r->stream) {
		attempt_broken(r, ERR_MALFORMED, "a piece of the stream is missing");
		return;
	}
	fault_note(r, m->chat_delta.fault);
	r->last_ns = loop_now(w->loop);
	r->seq++;
	hop_moved(r);
	if (payload->len == 0)
		return;
	r->received += payload->len;
	window = r->resume != NULL && r->resume->later ? 2 * REQUEST_WINDOW_BYTES
						       : REQUEST_WINDOW_BYTES;
	if (http_conn_pending(r->conn) + payload->len > window + OVERSHOOT_MAX) {
		attempt_broken(r, ERR_MALFORMED, "more was sent than there was credit for");
		return;
	}
	cascade_heard(r, m->chat_delta.judged, m->chat_delta.confidence);
	if (stream_add(r, payload, m->chat_delta.tokens, &e) == ERR_OK)
		return;
	if (e.code == ERR_UNSURE)
		cascade_put_aside(r, CASCADE_UNDER_WAY);
	else
		attempt_broken(r, e.code, e.text);
}

void
attempt_on_end(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct request *r = request_find(w->state, m);
	bool unsure;

	if (r == NULL)
		return;
	hedge_heard(r, m);
	if (m->chat_end.seq != r->seq) {
		attempt_broken(r, ERR_MALFORMED, "a piece of the stream is missing");
		return;
	}
	if (!r->stream && (payload == NULL || payload->len == 0)) {
		attempt_broken(r, ERR_MALFORMED, "the answer has no body");
		return;
	}
	fault_note(r, m->chat_end.fault);
	cascade_heard(r, m->chat_end.judged, m->chat_end.confidence);
	unsure = cascade_is_unsure(r);
	attempt_account(r, &m->chat_end);
	place_ended(r, ERR_OK);
	record_attempt(r, unsure ? ERR_UNSURE : ERR_OK, 200, &m->chat_end);
	r->attempt_id = 0;
	if (unsure) {
		cascade_put_aside(r, CASCADE_ENDED);
		return;
	}
	if (r->stream) {
		stream_end(r);
	} else {
		AUTO(buf_fini) struct buf headers = BUF_INIT;

		r->first_ns = clock_ns();
		request_put_headers(r, &headers);
		http_reply_bytes(r->conn, 200, "application/json", &headers, payload);
	}
	request_finish(r, 200);
}

void
attempt_on_fail(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct request *r = request_find(w->state, m);
	enum err_code code = err_code_checked(m->chat_fail.code);
	char text[ERR_TEXT_MAX];
	struct err e = {0};

	if (r == NULL)
		return;
	hedge_turn(r, m);
	fault_note(r, m->chat_fail.fault);
	(void)msg_str_copy(text, sizeof(text), m->chat_fail.text);
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	(void)err_set(&e, code == ERR_OK ? ERR_SYS : code, "%s: %s", attempt_row(r)->backend, text);
	e.retry_after_ms = m->chat_fail.retry_after_ms;
	attempt_failed(r, &e, m->chat_fail.http_status, payload);
}
