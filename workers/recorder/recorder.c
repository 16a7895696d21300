/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.c - the journal: from the gateways' rings to an append-only log
 *
 * Runs as:        shunt-recorder, once, while `journal.enabled`
 * Handles/Sends:  JournalWake / nothing
 * Writes:         STATE_DIR/journal, as its only writer; the tails of the rings
 * If it dies:     gateways go on putting records into their rings; its successor drains them
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/recorder/recorder.h"

enum {
	GATHER_MS = 20, /* after the first record: more will follow, one write takes them all */
	RETRY_MS = 500, /* the disk was full */
	COMPLAIN_MS = 10000, /* say so no more often */
	LOOK_MS = 1000 /* whatever wake-up was lost */
};

struct recorder {
	struct worker *w;
	struct rings rings;
	struct ledger *ledger;
	struct loop_timer drain, sync, look;
	bool dirty; /* written since the last sync */
	bool failing;
	uint64_t complained_ns, failed_since_ns;
};

static struct ledger_options
recorder_options(const struct config *c)
{
	return (struct ledger_options){c->journal.file_bytes, c->journal.files};
}

static void
recorder_drain_in(struct recorder *r, uint32_t ms)
{
	if (r->drain.heap_index == 0 || ms == 0)
		loop_timer_set(r->w->loop, &r->drain, clock_ns() + clock_ms_to_ns(ms));
}

static void
recorder_complain(struct recorder *r, const struct err *e)
{
	uint64_t now_ns = clock_ns();

	board_count(r->w->board, COUNTER_JOURNAL_FAILED, 1);
	if (!r->failing)
		r->failed_since_ns = now_ns;
	else if (now_ns - r->complained_ns < clock_ms_to_ns(COMPLAIN_MS))
		return;
	r->failing = true;
	r->complained_ns = now_ns;
	log_error("journal_unwritable",
		"waiting_bytes=%llu text=\"%s\" action=\"records wait in memory; tried again\"",
		(unsigned long long)rings_waiting(&r->rings), e->text);
}

static void
recorder_count(struct recorder *r, const struct rings_count *count)
{
	board_count(r->w->board, COUNTER_JOURNAL_WRITTEN, count->written);
	board_count(r->w->board, COUNTER_JOURNAL_DAMAGED, count->damaged);
	if (count->again > 0)
		log_info("journal_resumed", "stored_before=%llu", (unsigned long long)count->again);
	if (count->written == 0)
		return;
	if (r->failing)
		log_info("journal_writable", "after_ms=%llu",
			(unsigned long long)((clock_ns() - r->failed_since_ns) / NS_PER_MS));
	r->failing = false;
	if (!r->dirty && r->w->config->journal.sync_ms > 0)
		loop_timer_set(r->w->loop, &r->sync,
			clock_ns() + clock_ms_to_ns(r->w->config->journal.sync_ms));
	r->dirty = true;
}

/* One batch. */
static enum rings_drained
recorder_drain(struct recorder *r)
{
	struct rings_count count;
	enum rings_drained got;
	struct err e = {0};

	got = rings_drain(&r->rings, r->ledger, &count, &e);
	if (got == RINGS_FAILED)
		recorder_complain(r, &e);
	else
		recorder_count(r, &count);
	return got;
}

static void
recorder_on_drain_timer(void *arg)
{
	struct recorder *r = arg;

	switch (recorder_drain(r)) {
	case RINGS_FAILED:
		recorder_drain_in(r, RETRY_MS);
		break;
	case RINGS_MORE:
		recorder_drain_in(r, 0);
		break;
	case RINGS_EMPTY:
		if (!rings_sleep(&r->rings))
			recorder_drain_in(r, GATHER_MS);
		break;
	}
}

static void
recorder_on_sync(void *arg)
{
	struct recorder *r = arg;
	struct err e = {0};

	r->dirty = false;
	if (ledger_sync(r->ledger, &e) != ERR_OK)
		recorder_complain(r, &e);
}

static void
recorder_on_look(void *arg)
{
	struct recorder *r = arg;

	rings_look(&r->rings);
	if (rings_waiting(&r->rings) > 0)
		recorder_drain_in(r, GATHER_MS);
	else
		rings_tidy(&r->rings);
	loop_timer_set(r->w->loop, &r->look, clock_ns() + clock_ms_to_ns(LOOK_MS));
}

static void
on_journal_wake(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct recorder *r = w->state;

	(void)m;
	(void)payload;
	recorder_drain_in(r, GATHER_MS);
}

static const struct handler handlers[] = {
	{MSG_JOURNAL_WAKE, ROLE_BIT(ROLE_GATEWAY), on_journal_wake},
};

static MUST enum err_code
recorder_start(struct worker *w, struct err *e)
{
	const struct ledger_options options = recorder_options(w->config);
	struct recorder *r = calloc(1, sizeof(*r));
	AUTO(buf_fini) struct buf folder = BUF_INIT;

	CHECK(r != NULL);
	r->w = w;
	w->state = r;
	rings_init(&r->rings, board_head(w->board)->run_dir);
	buf_addf(&folder, "%s/journal", w->config->state_dir);
	if (ledger_open(&r->ledger, buf_str(&folder), &options, e) != ERR_OK)
		return err_wrap(e, "journal");
	if (ledger_torn(r->ledger) > 0)
		log_warn("journal_torn", "folder=%s cut_bytes=%llu", buf_str(&folder),
			(unsigned long long)ledger_torn(r->ledger));
	r->drain = (struct loop_timer){.fn = recorder_on_drain_timer, .arg = r};
	r->sync = (struct loop_timer){.fn = recorder_on_sync, .arg = r};
	r->look = (struct loop_timer){.fn = recorder_on_look, .arg = r};
	loop_timer_set(w->loop, &r->look, 0);
	recorder_drain_in(r, 0);
	return ERR_OK;
}

static void
recorder_on_board(struct worker *w)
{
	struct recorder *r = w->state;

	rings_look(&r->rings); /* of a gateway that came */
	if (rings_waiting(&r->rings) > 0)
		recorder_drain_in(r, GATHER_MS);
}

static void
recorder_on_config(struct worker *w, const struct config *old)
{
	struct recorder *r = w->state;
	const struct ledger_options options = recorder_options(w->config);

	(void)old;
	ledger_set_options(r->ledger, &options);
}

/* The gateways have gone: take all that they left. */
static void
recorder_on_drain(struct worker *w)
{
	struct recorder *r = w->state;
	enum rings_drained got;

	rings_look(&r->rings);
	do
		got = recorder_drain(r);
	while (got == RINGS_MORE);
	if (got == RINGS_FAILED)
		log_error("journal_left", "waiting_bytes=%llu text=\"in %s, for the next start\"",
			(unsigned long long)rings_waiting(&r->rings), r->rings.folder);
	rings_tidy(&r->rings);
	worker_drained(w);
}

static void
recorder_stop(struct worker *w)
{
	struct recorder *r = w->state;
	struct err e = {0};

	w->state = NULL;
	if (r == NULL)
		return;
	loop_timer_clear(w->loop, &r->drain);
	loop_timer_clear(w->loop, &r->sync);
	loop_timer_clear(w->loop, &r->look);
	if (r->ledger != NULL && r->dirty && ledger_sync(r->ledger, &e) != ERR_OK)
		log_error("journal_unsynced", "text=\"%s\"", e.text);
	ledger_close(&r->ledger);
	rings_fini(&r->rings);
	free(r);
}

static const struct worker_role role = {
	.role = ROLE_RECORDER,
	.handlers = handlers,
	.handlers_len = ARRAY_LEN(handlers),
	.sandbox = {.allow = SANDBOX_STATE, .files_max = 1024},
	.start = recorder_start,
	.on_board = recorder_on_board,
	.on_config = recorder_on_config,
	.on_drain = recorder_on_drain,
	.stop = recorder_stop,
};

int
main(int argc, char **argv)
{
	return worker_main(argc, argv, &role);
}
