/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - seed, plan, decisions and verdicts of a run, without any time
 *
 * A load with one client is decided request by request in one order, so its lines also say who
 * answered after how many attempts. With more clients at once, which of them meets which state of
 * the daemon is a matter of microseconds: their lines say what was planned and how it ended.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/chaos/chaos.h"

static void
trace_put_request(struct buf *b, const struct chaos_scenario *s, const struct chaos_request *r)
{
	json_put_begin(b, '{');
	json_put_member_u64(b, "request", r->number);
	json_put_member_u64(b, "at_ms", r->at_ms);
	json_put_member_str(b, "model", s->loads[r->load].model);
	json_put_member_str(b, "prompt", r->prompt);
	json_put_member_bool(b, "stream", r->stream);
	json_put_member_u64(b, "leave_after", r->leave_after);
	json_put_member_str(b, "user", r->user);
	json_put_member_str(b, "fault", r->fault);
	json_put_member_str(b, "outcome", chaos_plan_outcome_name(r->outcome));
	json_put_member_bool(b, "right", r->right);
	if (s->loads_len == 1 && s->loads[0].clients == 1) {
		json_put_member_u64(b, "status", (uint64_t)r->status);
		json_put_member_str(b, "code", r->code);
		json_put_member_str(b, "backend", r->backend);
		json_put_member_u64(b, "attempts", r->attempts);
	}
	json_put_end(b, '}');
	buf_add_char(b, '\n');
}

static void
trace_put_steps(struct buf *b, const struct chaos_scenario *s)
{
	json_put_key(b, "faults");
	json_put_begin(b, '[');
	for (size_t i = 0; i < s->steps_len; i++) {
		json_put_begin(b, '{');
		json_put_member_u64(b, "at_ms", s->steps[i].at_ms);
		json_put_member_u64(b, "before", s->steps[i].before);
		json_put_member_str(b, "do", s->steps[i].what);
		json_put_end(b, '}');
	}
	json_put_end(b, ']');
}

void
trace_write(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v)
{
	char hash[20];

	(void)snprintf(hash, sizeof(hash), "%016" PRIx64, s->hash);
	json_put_begin(out, '{');
	json_put_member_u64(out, "shunt_trace", 1);
	json_put_member_str(out, "scenario", s->name);
	json_put_member_str(out, "hash", hash);
	json_put_member_u64(out, "seed", p->seed);
	trace_put_steps(out, s);
	json_put_key(out, "invariants");
	json_put_begin(out, '{');
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++)
		if (v->rows[i].checked)
			json_put_member_bool(out, chaos_invariant_at(i)->name, v->rows[i].held);
	json_put_end(out, '}');
	json_put_end(out, '}');
	buf_add_char(out, '\n');
	for (size_t i = 0; i < p->len; i++)
		trace_put_request(out, s, &p->requests[i]);
}

MUST enum err_code
trace_seed(
	uint64_t *out, const struct chaos_scenario *s, const char *text, size_t len, struct err *e)
{
	const char *end = memchr(text, '\n', len);
	char hash[20];
	struct json head;
	uint64_t version;

	if (end == NULL || json_check(&head, text, (size_t)(end - text), NULL) != ERR_OK ||
		!json_u64(&version, json_get(head, "shunt_trace")) || version != 1 ||
		!json_u64(out, json_get(head, "seed")))
		return err_set(e, ERR_INPUT, "is no trace of a chaos run");
	(void)snprintf(hash, sizeof(hash), "%016" PRIx64, s->hash);
	if (!json_equals(json_get(head, "hash"), hash))
		return err_set(e, ERR_INPUT,
			"is the trace of another scenario, or the scenario's file has changed "
			"since");
	return ERR_OK;
}

size_t
trace_differs(const struct buf *a, const struct buf *b)
{
	size_t line = 1;

	for (size_t i = 0; i < MAX(a->len, b->len); i++) {
		if (i >= a->len || i >= b->len || a->data[i] != b->data[i])
			return line;
		line += a->data[i] == '\n';
	}
	return 0;
}
