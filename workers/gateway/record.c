/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - the record of every request and every attempt, put into this gateway's ring
 *
 * No prompt, no answer: who, what, which way, how long, how much. A request's record is put before
 * the last byte of its answer is written, so whoever saw an answer finds its record.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/log.h"
#include "shm/journal.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum {
	LOST_TELL_MS = 5000,
	RING_NAMES = 3 /* of a slot: its recorder may hold one just now, to remove it */
};

static const char *const endpoint_names[] = {"chat", "completions", "embeddings"};

/* The slot's ring; where that is held, one with another name: nobody waits for a recorder. */
static MUST enum err_code
record_open(struct gateway *g, const char *folder, struct err *e)
{
	const struct config_journal *c = &g->config->journal;
	AUTO(buf_fini) struct buf path = BUF_INIT;
	enum err_code code = ERR_BUSY;

	for (unsigned i = 0; i < RING_NAMES && code == ERR_BUSY; i++) {
		buf_clear(&path);
		buf_addf(&path, "%s/%u", folder, g->w->slot);
		if (i > 0)
			buf_addf(&path, "-%u", i);
		buf_add_str(&path, JOURNAL_RING_SUFFIX);
		code = journal_create(
			&g->journal, buf_str(&path), c->ring_bytes, c->spill_bytes, e);
	}
	return code;
}

MUST enum err_code
record_start(struct gateway *g, struct err *e)
{
	const struct config_journal *c = &g->config->journal;
	AUTO(buf_fini) struct buf folder = BUF_INIT;
	enum err_code code;

	if (!c->enabled)
		return ERR_OK;
	buf_addf(&folder, "%s/journal", board_head(g->board)->run_dir);
	if (mkdir(buf_str(&folder), 0700) != 0 && errno != EEXIST)
		return err_set(
			e, ERR_SYS, "journal: mkdir %s: %s", buf_str(&folder), strerror(errno));
	code = record_open(g, buf_str(&folder), e);
	if (code == ERR_OK || c->refuse_when_full)
		return code == ERR_OK ? ERR_OK : err_wrap(e, "journal");
	/* service goes before its record, and loudly */
	log_error("journal_absent", "text=\"%s\" action=\"this gateway serves without a journal\"",
		e->text);
	return ERR_OK;
}

void
record_stop(struct gateway *g)
{
	journal_close(&g->journal);
	buf_fini(&g->record);
}

MUST enum err_code
record_admits(const struct gateway *g, struct err *e)
{
	if (g->journal == NULL || !g->config->journal.refuse_when_full ||
		journal_has_room(g->journal))
		return ERR_OK;
	return err_set(e, ERR_UNAVAILABLE, "the journal is full and may not lose a record");
}

static void
record_wake(struct gateway *g)
{
	int slot = board_find_slot(g->board, ROLE_RECORDER, "recorder");
	struct slot_info info;
	struct msg m;

	if (slot < 0) /* it looks into all rings when it comes */
		return;
	board_slot(g->board, (unsigned)slot, &info);
	m = (struct msg){.type = MSG_JOURNAL_WAKE,
		.head = {.request_id = ++g->next_attempt * REQUESTS_MAX,
			.deadline_ns = clock_ns() + NS_PER_S},
		.journal_wake = {.waiting = journal_waiting(g->journal)}};
	/* unsent is counted; it looks once a second anyway */
	(void)!bus_send(g->w->bus, (unsigned)slot, info.generation, &m, NULL, NULL);
}

/* Put the record that was built in g->record. */
static void
record_commit(struct gateway *g)
{
	uint64_t now_ns;

	json_put_end(&g->record, '}');
	CHECK(g->record.len <= JOURNAL_RECORD_MAX);
	switch (journal_put(g->journal, g->record.data, g->record.len)) {
	case JOURNAL_PUT:
		break;
	case JOURNAL_SPILLED:
		gateway_count(g, COUNTER_JOURNAL_SPILLED, 1);
		break;
	case JOURNAL_LOST:
		gateway_count(g, COUNTER_JOURNAL_LOST, 1);
		now_ns = clock_ns();
		if (now_ns - g->lost_told_ns >= clock_ms_to_ns(LOST_TELL_MS))
			log_error("journal_lost",
				"records=%llu text=\"ring and spill file are full: records are "
				"lost\"",
				(unsigned long long)journal_lost(g->journal));
		g->lost_told_ns = now_ns;
		return;
	}
	gateway_count(g, COUNTER_JOURNAL_PUT, 1);
	if (journal_take_wake(g->journal))
		record_wake(g);
}

/* What every record begins with. */
static struct buf *
record_begin(struct gateway *g, const char *kind, uint64_t began_ns)
{
	struct timespec now;
	struct buf *b = &g->record;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	buf_clear(b);
	json_put_begin(b, '{');
	json_put_member_str(b, "kind", kind);
	json_put_member_u64(b, "at_ms",
		(uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS -
			(clock_ns() - began_ns) / NS_PER_MS);
	return b;
}

static void
record_put_peer(struct buf *b, const struct http_conn *c)
{
	char peer[24] = "tcp";

	if (c->peer.is_unix)
		(void)snprintf(peer, sizeof(peer), "uid:%u", (unsigned)c->peer.uid);
	json_put_member_str(b, "peer", peer);
}

static void
record_put_deployment(struct buf *b, const struct request *r)
{
	const struct catalog_row *row = &r->catalog->rows[r->row];

	json_put_member_str(b, "model", row->model);
	json_put_member_str(b, "backend", row->backend);
}

void
record_attempt(
	const struct request *r, enum err_code code, uint16_t http, const struct msg_chat_end *end)
{
	const uint64_t now_ns = clock_ns();
	struct buf *b;

	if (r->g->journal == NULL)
		return;
	b = record_begin(r->g, "attempt", r->attempt_ns);
	json_put_member_str(b, "request", r->id);
	json_put_member_u64(b, "n", r->attempt_n);
	record_put_deployment(b, r);
	json_put_member_str(b, "upstream", r->catalog->rows[r->row].upstream);
	json_put_member_str(b, "code", code == ERR_OK ? "ok" : err_name(code));
	if (http != 0)
		json_put_member_u64(b, "http", http);
	json_put_member_u64(b, "total_us", (now_ns - r->attempt_ns) / NS_PER_US);
	json_put_member_u64(b, "bytes", r->received);
	if (end != NULL) {
		json_put_member_u64(b, "ttft_us", end->ttft_us);
		json_put_member_u64(b, "prompt_tokens", end->prompt_tokens);
		json_put_member_u64(b, "completion_tokens", end->completion_tokens);
		json_put_member_bool(b, "usage_known", end->usage_known);
		json_put_member_double(b, "cost_usd", r->attempt_usd);
	}
	if (r->cascade.judged > 0)
		json_put_member_double(b, "confidence", r->cascade.confidence);
	record_commit(r->g);
}

void
record_request(const struct request *r, unsigned status)
{
	const uint64_t now_ns = clock_ns();
	struct buf *b;

	if (r->g->journal == NULL || r->question)
		return;
	b = record_begin(r->g, "request", r->started_ns);
	json_put_member_str(b, "id", r->id);
	if (r->client_id[0] != '\0')
		json_put_member_str(b, "client_id", r->client_id);
	json_put_member_str(b, "gateway", r->g->w->name);
	record_put_peer(b, r->conn);
	json_put_member_str(b, "endpoint", endpoint_names[r->endpoint]);
	json_put_member_bool(b, "stream", r->asked_stream);
	json_put_member_str(b, "route", r->route);
	if (r->catalog != NULL && r->candidates_len > 0)
		record_put_deployment(b, r);
	json_put_member_str(b, "reason", r->reason);
	json_put_member_u64(b, "attempts", r->attempts);
	json_put_member_u64(b, "status", status);
	json_put_member_str(b, "code", r->code == ERR_OK ? "ok" : err_name(r->code));
	json_put_member_u64(b, "prompt_tokens", r->prompt_tokens);
	json_put_member_u64(b, "completion_tokens", r->completion_tokens);
	json_put_member_double(b, "cost_usd", r->cost_usd);
	json_put_member_u64(b, "decide_us", r->decided_ns / NS_PER_US);
	if (r->queue_position > 0) {
		json_put_member_u64(b, "queue_us",
			(r->queue_ns + (r->place.waits ? now_ns - r->queued_ns : 0)) / NS_PER_US);
		json_put_member_u64(b, "queue_position", r->queue_position);
	}
	if (r->first_ns != 0)
		json_put_member_u64(b, "first_us", (r->first_ns - r->started_ns) / NS_PER_US);
	json_put_member_u64(b, "total_us", (now_ns - r->started_ns) / NS_PER_US);
	record_commit(r->g);
}

void
record_refused(struct gateway *g, const struct http_conn *c, enum route_endpoint endpoint,
	const struct err *e)
{
	struct buf *b;

	if (g->journal == NULL)
		return;
	b = record_begin(g, "refused", clock_ns());
	json_put_member_str(b, "gateway", g->w->name);
	record_put_peer(b, c);
	json_put_member_str(b, "endpoint", endpoint_names[endpoint]);
	json_put_member_u64(b, "status", err_http_status(e->code));
	json_put_member_str(b, "code", err_name(e->code));
	json_put_member_str(b, "text", e->text);
	record_commit(g);
}
