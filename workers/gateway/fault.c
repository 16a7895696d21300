/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - faults on purpose, as a request sees them: its own, who it is for the others, what came
 *
 * The decision about the faults in force is the backend worker's, which sees all calls of its
 * upstream in one order. A fault of the x-shunt-fault header is decided here, per request.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/faults.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

struct request_fault {
	bool own; /* rule is the header's */
	struct fault_rule rule;
	struct fault_state state;
	char line[FAULT_LINE_MAX + 1];
	char user[NAME_MAX_LEN];
	char came[128]; /* for the answer's header: "status#3, hang#4" */
};

/* ---- the header ---- */

static enum err_code
fault_read_header(
	struct fault_rule *out, char line[FAULT_LINE_MAX + 1], struct http_str value, struct err *e)
{
	struct err why;

	if (value.len > FAULT_LINE_MAX)
		return err_set(
			e, ERR_INPUT, "x-shunt-fault: is longer than %d bytes", FAULT_LINE_MAX);
	memcpy(line, value.p, value.len);
	line[value.len] = '\0';
	if (fault_parse(out, line, &why) != ERR_OK)
		return err_set(e, ERR_INPUT, "x-shunt-fault: %s", why.text);
	if (fault_kind_row(out->kind)->level != FAULT_LEVEL_HTTP)
		return err_set(e, ERR_INPUT,
			"x-shunt-fault: kind: a request can bring faults of level http only, %s is "
			"of level %s",
			fault_kind_row(out->kind)->name,
			fault_level_name(fault_kind_row(out->kind)->level));
	return ERR_OK;
}

enum err_code
fault_check_head(const struct gateway *g, const struct http_conn *c, struct err *e)
{
	struct http_str value = c->head.header[HTTP_HEADER_FAULT];
	char line[FAULT_LINE_MAX + 1];
	struct fault_rule rule;

	if (value.p == NULL)
		return ERR_OK;
	if (auth_check(g->auth, AUTH_ADMIN, c->peer, &c->head, e) != ERR_OK)
		return err_wrap(e, "x-shunt-fault");
	return fault_read_header(&rule, line, value, e);
}

/* ---- a request ---- */

static struct request_fault *
fault_of(struct request *r)
{
	if (r->fault == NULL) {
		r->fault = calloc(1, sizeof(*r->fault));
		CHECK(r->fault != NULL);
	}
	return r->fault;
}

void
fault_begin(struct request *r, const struct http_conn *c)
{
	struct http_str value = c->head.header[HTTP_HEADER_FAULT];
	struct request_fault *f;
	struct err e;

	if (value.p == NULL && !faults_on(r->g->w, FAULT_LEVEL_HTTP))
		return;
	f = fault_of(r);
	auth_user(r->g->auth, c->peer, &c->head, f->user);
	if (value.p == NULL)
		return;
	/* fault_check_head let it pass */
	f->own = fault_read_header(&f->rule, f->line, value, &e) == ERR_OK;
	f->rule.since_ns = clock_ns();
}

void
fault_fill(struct request *r, const struct catalog_row *row, struct msg_chat_start *start)
{
	struct request_fault *f = r->fault;
	struct fault_subject s;

	if (f == NULL)
		return;
	start->route = msg_str_cut(r->route, MSG_CHAT_START_ROUTE_MAX);
	start->user = msg_str(f->user);
	s = (struct fault_subject){.backend = row->backend,
		.model = row->model,
		.upstream = row->upstream,
		.route = r->route,
		.user = f->user};
	if (f->own && fault_meets(&f->rule, &s) &&
		fault_window(&f->rule, clock_ns()) == FAULT_WINDOW_OPEN &&
		fault_draw(&f->rule, &f->state, 0))
		start->fault = msg_str(f->line);
}

void
fault_note(struct request *r, struct msg_str label)
{
	char text[MSG_CHAT_FAIL_FAULT_MAX + 1];
	struct request_fault *f;
	size_t len;

	if (label.len == 0)
		return;
	f = fault_of(r);
	(void)msg_str_copy(text, sizeof(text), label);
	len = strlen(f->came);
	/* each piece of a stream says it again */
	if (strstr(f->came, text) == NULL)
		(void)snprintf(
			f->came + len, sizeof(f->came) - len, "%s%s", len > 0 ? ", " : "", text);
}

const char *
fault_came(const struct request *r)
{
	return r->fault == NULL ? "" : r->fault->came;
}

void
fault_fini(struct request *r)
{
	free(r->fault);
	r->fault = NULL;
}

/* ---- for status and metrics ---- */

static void
fault_put_one(struct buf *out, const struct board *board, const struct fault_rule *r)
{
	static const char *const windows[] = {"waiting", "open", "over"};
	const struct fault_kind_row *kind = fault_kind_row(r->kind);
	struct fault_state sum = board_fault_sum(board, r->id);
	AUTO(buf_fini) struct buf line = BUF_INIT;

	fault_print(&line, r);
	json_put_begin(out, '{');
	json_put_member_u64(out, "id", r->id);
	json_put_member_str(out, "kind", kind->name);
	json_put_member_str(out, "level", fault_level_name(kind->level));
	json_put_member_str(out, "from", fault_origin_name(r->origin));
	json_put_member_str(out, "window", windows[fault_window(r, clock_ns())]);
	json_put_member_u64(out, "draws", sum.draws);
	json_put_member_u64(out, "hits", sum.hits);
	json_put_member_str(out, "spec", buf_str(&line));
	json_put_end(out, '}');
}

void
fault_put_list(struct buf *out, const struct board *board)
{
	struct fault_rules *rules = calloc(1, sizeof(*rules));

	CHECK(rules != NULL);
	json_put_begin(out, '[');
	if (board_faults(board, rules) != 0)
		for (unsigned i = 0; i < FAULTS_MAX; i++)
			if (rules->rule[i].id != 0)
				fault_put_one(out, board, &rules->rule[i]);
	json_put_end(out, ']');
	free(rules);
}

void
fault_put_metrics(struct buf *out, const struct board *board)
{
	if (board_faults_seq(board) == 0)
		return; /* not one row more as long as there were no faults */
	buf_add_str(out, "# HELP shunt_faults_injected_total Faults on purpose that were carried "
			 "out.\n# TYPE shunt_faults_injected_total counter\n");
	for (enum fault_kind kind = 0; kind < FAULT_KINDS; kind++) {
		const struct fault_kind_row *row = fault_kind_row(kind);
		uint64_t n = 0;

		for (unsigned slot = 0; slot <= SLOTS_MAX; slot++)
			n += board_fault_hits(board, slot, kind);
		if (n > 0)
			buf_addf(out,
				"shunt_faults_injected_total{kind=\"%s\",level=\"%s\"} %llu\n",
				row->name, fault_level_name(row->level), (unsigned long long)n);
	}
}
