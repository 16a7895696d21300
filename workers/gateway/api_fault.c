/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_fault.c - /admin/faults: list, add and clear faults on purpose
 *
 * The profiler keeps the table; a change is asked of it, and the client is answered when it stands
 * on the board, so that the next request meets it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

enum { CHANGE_MS = 5000 };

/* A change under way and who waits for it. */
struct fault_wait {
	struct gateway *g;
	struct http_conn *conn;
	struct fault_wait *next, **at;
	struct loop_timer timer;
	uint64_t id;
	uint64_t last_id; /* of the table when it was asked for */
	uint32_t generation; /* the profiler's life that was asked; 0: none yet */
	struct msg_fault_change change;
	char line[FAULT_LINE_MAX + 1]; /* what change.spec points to */
};

static void
change_end(struct fault_wait *w)
{
	loop_timer_clear(w->g->w->loop, &w->timer);
	*w->at = w->next;
	if (w->next != NULL)
		w->next->at = w->at;
	free(w);
}

static void
change_on_timer(void *arg)
{
	struct fault_wait *w = arg;
	struct http_conn *c = w->conn;
	struct err e;

	change_end(w);
	(void)err_set(&e, ERR_DEADLINE, "the profiler, which keeps the faults, does not answer");
	http_reply_error(c, &e, NULL, NULL);
}

void
fault_conn_gone(struct gateway *g, const struct http_conn *c)
{
	for (struct fault_wait *w = g->fault_waits, *next; w != NULL; w = next) {
		next = w->next;
		if (w->conn == c)
			change_end(w);
	}
}

void
fault_waits_free(struct gateway *g)
{
	while (g->fault_waits != NULL)
		change_end(g->fault_waits);
}

/* The rule that an admin's line became since w was asked for; 0: none. */
static uint64_t
change_came(const struct fault_wait *w)
{
	struct fault_rules rules;
	struct fault_rule wanted;
	AUTO(buf_fini) struct buf line = BUF_INIT;
	struct err e;

	if (w->change.op != MSG_FAULT_OP_ADD || fault_parse(&wanted, w->line, &e) != ERR_OK ||
		board_faults(w->g->board, &rules) == 0)
		return 0;
	fault_print(&line, &wanted);
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const struct fault_rule *r = &rules.rule[i];
		AUTO(buf_fini) struct buf text = BUF_INIT;

		if (r->id <= w->last_id || r->origin != FAULT_FROM_ADMIN)
			continue;
		fault_print(&text, r);
		if (strcmp(buf_str(&text), buf_str(&line)) == 0)
			return r->id;
	}
	return 0;
}

/* What came of a change, as JSON; id 0: faults were cleared. */
static void
change_reply(struct http_conn *c, uint64_t id, uint64_t cleared)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_member_u64(&out, id != 0 ? "id" : "cleared", id != 0 ? id : cleared);
	json_put_end(&out, '}');
	http_reply(c, 200, "application/json", NULL, out.data, out.len);
}

/* Ask the profiler that runs now, once. One that is coming back is asked when it is ready. */
static void
change_ask(struct fault_wait *w)
{
	struct gateway *g = w->g;
	int slot = board_find_slot(g->board, ROLE_PROFILER, "profiler");
	struct msg m = {.type = MSG_FAULT_CHANGE,
		.head = {.request_id = w->id, .deadline_ns = w->timer.at_ns},
		.fault_change = w->change};
	struct slot_info info = {0};

	if (slot >= 0)
		board_slot(g->board, (unsigned)slot, &info);
	if (slot < 0 || info.state != SLOT_READY || info.generation == w->generation)
		return;
	/* unsent: its death changes the board, and then its next life is asked */
	if (bus_send(g->w->bus, (unsigned)slot, info.generation, &m, NULL, NULL) == ERR_OK)
		w->generation = info.generation;
}

void
fault_board_changed(struct gateway *g)
{
	int slot = board_find_slot(g->board, ROLE_PROFILER, "profiler");
	struct slot_info info = {0};

	if (slot >= 0)
		board_slot(g->board, (unsigned)slot, &info);
	for (struct fault_wait *w = g->fault_waits, *next; w != NULL; w = next) {
		struct http_conn *c = w->conn;
		uint64_t id;

		next = w->next;
		if (info.state == SLOT_READY && info.generation == w->generation)
			continue;
		/* a fault may be the death of who was to answer that it is set */
		id = w->generation != 0 ? change_came(w) : 0;
		if (id == 0) {
			change_ask(w);
			continue;
		}
		change_end(w);
		change_reply(c, id, 0);
	}
}

/* Ask the profiler; answered by fault_on_changed, or by what stands on the board. */
static void
fault_change(struct gateway *g, struct http_conn *c, const struct msg_fault_change *change,
	const char *line)
{
	struct fault_wait *w = calloc(1, sizeof(*w));
	struct fault_rules rules;

	CHECK(w != NULL);
	w->g = g;
	w->conn = c;
	w->id = ++g->next_attempt * REQUESTS_MAX;
	w->last_id = board_faults(g->board, &rules) == 0 ? 0 : rules.last_id;
	w->change = *change;
	(void)snprintf(w->line, sizeof(w->line), "%s", line);
	w->change.spec = msg_str(w->line);
	w->next = g->fault_waits;
	if (w->next != NULL)
		w->next->at = &w->next;
	w->at = &g->fault_waits;
	g->fault_waits = w;
	w->timer = (struct loop_timer){.fn = change_on_timer, .arg = w};
	loop_timer_set(g->w->loop, &w->timer, clock_ns() + clock_ms_to_ns(CHANGE_MS));
	change_ask(w);
}

void
fault_on_changed(struct worker *worker, const struct msg *m, struct bytes *payload)
{
	const struct msg_fault_changed *done = &m->fault_changed;
	struct gateway *g = worker->state;
	struct fault_wait *w = g->fault_waits;
	char text[MSG_FAULT_CHANGED_TEXT_MAX + 1];
	struct http_conn *c;
	struct err e;

	(void)payload;
	while (w != NULL && w->id != m->head.request_id)
		w = w->next;
	if (w == NULL)
		return; /* its client left, or waited too long */
	c = w->conn;
	change_end(w);
	if (done->code != 0) {
		(void)err_set(&e, err_code_checked(done->code), "%s",
			msg_str_copy(text, sizeof(text), done->text));
		http_reply_error(c, &e, NULL, NULL);
		return;
	}
	change_reply(c, done->id, done->cleared);
}

void
api_faults(struct gateway *g, struct http_conn *c)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_key(&out, "faults");
	fault_put_list(&out, g->board);
	json_put_end(&out, '}');
	http_reply(c, 200, "application/json", NULL, out.data, out.len);
}

void
api_fault_add(struct gateway *g, struct http_conn *c)
{
	char line[FAULT_LINE_MAX + 1];
	struct fault_rule rule;
	struct json body;
	struct err e;

	if (c->body == NULL || json_check(&body, c->body->data, c->body->len, NULL) != ERR_OK ||
		!json_copy_text(line, sizeof(line), json_get(body, "spec"))) {
		(void)err_set(&e, ERR_INPUT,
			"the body must be {\"spec\": \"KIND [NAME=VALUE]...\"}, at most %d bytes",
			FAULT_LINE_MAX);
		http_reply_error(c, &e, "spec", NULL);
		return;
	}
	if (fault_parse(&rule, line, &e) != ERR_OK) {
		http_reply_error(c, &e, "spec", NULL);
		return;
	}
	fault_change(g, c, &(struct msg_fault_change){.op = MSG_FAULT_OP_ADD}, line);
}

/* /admin/faults: all; /admin/faults/ID: one. */
void
api_fault_clear(struct gateway *g, struct http_conn *c)
{
	static const char all[] = "/admin/faults";
	struct msg_fault_change change = {.op = MSG_FAULT_OP_CLEAR_ALL};
	struct http_str path = c->head.path;
	struct err e;

	for (size_t i = sizeof(all); i < path.len; i++) {
		change.op = MSG_FAULT_OP_CLEAR;
		if (path.p[i] < '0' || path.p[i] > '9' || change.id > UINT32_MAX) {
			(void)err_set(&e, ERR_INPUT, "a fault's id is a number");
			http_reply_error(c, &e, NULL, NULL);
			return;
		}
		change.id = change.id * 10 + (uint64_t)(path.p[i] - '0');
	}
	fault_change(g, c, &change, "");
}
