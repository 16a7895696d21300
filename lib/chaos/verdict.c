/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.c - the invariants: what must be true of every request and of the daemon
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chaos/chaos.h"

/* What the checks share. */
struct court {
	const struct chaos_scenario *s;
	const struct chaos_seen *seen;
	struct chaos_plan *p;
	struct chaos_verdict *out;
};

static void held(struct court *c, unsigned i, bool is, const char *fmt, ...) PRINTF(4, 5);

static void
held(struct court *c, unsigned i, bool is, const char *fmt, ...)
{
	struct chaos_held *h = &c->out->rows[i];
	va_list args;

	h->checked = true;
	h->held = is;
	va_start(args, fmt);
	(void)vsnprintf(h->detail, sizeof(h->detail), fmt, args);
	va_end(args);
}

/* What the first request said that the predicate is true of, and of how many it is. */
typedef bool predicate(const struct court *c, const struct chaos_request *r);

static size_t
count(const struct court *c, predicate *is, const struct chaos_request **first)
{
	size_t n = 0;

	for (size_t i = 0; i < c->p->len; i++)
		if (is(c, &c->p->requests[i]) && n++ == 0 && first != NULL)
			*first = &c->p->requests[i];
	return n;
}

static void
held_for_none(struct court *c, unsigned i, predicate *is, const char *what)
{
	const struct chaos_request *r = NULL;
	size_t n = count(c, is, &r);

	if (n == 0)
		held(c, i, true, "of no request: %s", what);
	else
		held(c, i, false, "%s: %zu, first request %u (%s %ld %s %s %s)", what, n, r->number,
			chaos_plan_outcome_name(r->outcome), r->status, r->code,
			wording_name(r->wording), r->why);
}

/* ---- one request ---- */

static void
judge(const struct court *c, struct chaos_request *r)
{
	AUTO(buf_fini) struct buf expected = BUF_INIT;
	double limit_ms = c->s->limits[CHAOS_IN_TIME]; /* negative: none */

	r->wording = CHAOS_BEGINS;
	if (wording_expected(&expected, c->s->parsed, r->backend, r->model, r->prompt))
		r->wording = wording_compare(buf_str(&expected), buf_str(&r->text));
	else if (r->text.len > 0)
		r->wording = CHAOS_OTHER;
	r->right = r->outcome == CHAOS_ANSWER && r->wording == CHAOS_SAME && r->ends == 1;
	r->late = limit_ms >= 0 && (double)(r->ended_ms - r->began_ms) > limit_ms;
}

static bool
is_right(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->right;
}

static bool
is_unanswered(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return !r->right && r->outcome != CHAOS_LEFT;
}

static bool
is_left(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->outcome == CHAOS_LEFT;
}

static bool
is_lost(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->outcome == CHAOS_NOTHING || r->outcome == CHAOS_NOT_RUN ||
	       (r->outcome == CHAOS_ANSWER &&
		       (r->wording == CHAOS_BEGINS || r->wording == CHAOS_MISSES));
}

static bool
is_duplicated(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->ends > 1 || r->finishes > 1 || r->wording == CHAOS_DOUBLES;
}

static bool
is_late(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->late;
}

static bool
has_wrong_tokens(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	if (r->outcome == CHAOS_ANSWER)
		return r->wording != CHAOS_SAME && r->wording != CHAOS_MIXED;
	return r->wording != CHAOS_SAME && r->wording != CHAOS_BEGINS && r->wording != CHAOS_MIXED;
}

static bool
is_mixed(const struct court *c, const struct chaos_request *r)
{
	(void)c;
	return r->wording == CHAOS_MIXED;
}

/* Does its text begin like what somebody else was to get? */
static bool
is_anothers(const struct court *c, const struct chaos_request *r)
{
	if (r->wording != CHAOS_OTHER || r->text.len == 0)
		return false;
	for (size_t i = 0; i < c->p->len; i++) {
		const struct chaos_request *o = &c->p->requests[i];
		AUTO(buf_fini) struct buf theirs = BUF_INIT;

		if (o == r ||
			!wording_expected(&theirs, c->s->parsed, r->backend, r->model, o->prompt))
			continue;
		if (strncmp(buf_str(&theirs), buf_str(&r->text), MIN(theirs.len, (size_t)32)) == 0)
			return true;
	}
	return false;
}

static bool
is_after_recovery(const struct court *c, const struct chaos_request *r)
{
	return r->outcome != CHAOS_LEFT && r->fault[0] == '\0' &&
	       (double)r->began_ms >=
		       (double)c->seen->last_fault_ms + c->s->limits[CHAOS_RECOVERED];
}

static bool
is_still_broken(const struct court *c, const struct chaos_request *r)
{
	return is_after_recovery(c, r) && !r->right;
}

static bool
has_other_error(const struct court *c, const struct chaos_request *r)
{
	for (size_t i = 0; i < c->s->errors.len; i++)
		if (strcmp(c->s->errors.rows[i], r->code) == 0)
			return false;
	return r->outcome == CHAOS_ERROR;
}

/* ---- the invariants of requests ---- */

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *
same_id(const struct chaos_plan *p)
{
	const char **ids = calloc(p->len + 1, sizeof(*ids)), *twice = NULL;
	size_t n = 0;

	CHECK(ids != NULL);
	for (size_t i = 0; i < p->len; i++)
		if (p->requests[i].id[0] != '\0')
			ids[n++] = p->requests[i].id;
	qsort(ids, n, sizeof(*ids), compare_ids);
	for (size_t i = 1; i < n && twice == NULL; i++)
		if (strcmp(ids[i - 1], ids[i]) == 0)
			twice = ids[i];
	free(ids);
	return twice;
}

static void
judge_answers(struct court *c)
{
	struct chaos_verdict *v = c->out;
	uint64_t due = v->requests - count(c, is_left, NULL);
	double share = due == 0 ? 100 : 100.0 * (double)v->answered / (double)due;
	const char *twice = same_id(c->p);
	const struct chaos_request *first = NULL;

	if (count(c, is_unanswered, &first) == 0)
		held(c, CHAOS_ANSWERED, true, "%" PRIu64 " of %" PRIu64 " requests", v->answered,
			due);
	else
		held(c, CHAOS_ANSWERED, share >= c->s->limits[CHAOS_ANSWERED],
			"%" PRIu64 " of %" PRIu64 " requests; first not: %u (%s %ld %s)",
			v->answered, due, first->number, chaos_plan_outcome_name(first->outcome),
			first->status, first->code);
	first = NULL;
	(void)count(c, is_lost, &first);
	held(c, CHAOS_LOST, (double)v->lost <= c->s->limits[CHAOS_LOST], "%" PRIu64 " requests%s%s",
		v->lost, first != NULL ? ", first: " : "",
		first == NULL           ? ""
		: first->why[0] != '\0' ? first->why
					: wording_name(first->wording));
	held_for_none(c, CHAOS_EXACTLY_ONCE, is_duplicated, "an answer that comes or ends twice");
	if (twice != NULL)
		held(c, CHAOS_EXACTLY_ONCE, false, "two answers have the id %s", twice);
	held_for_none(c, CHAOS_TOKENS, has_wrong_tokens, "lost, doubled or foreign tokens");
	held_for_none(c, CHAOS_ORDER, is_mixed, "tokens in another order");
	held_for_none(c, CHAOS_PRIVATE, is_anothers, "another request's text");
	held_for_none(c, CHAOS_IN_TIME, is_late, "over too late");
}

static void
judge_lists(struct court *c)
{
	uint64_t theirs = 0;

	if (c->s->errors.len > 0)
		held_for_none(
			c, CHAOS_ERRORS, has_other_error, "another error than those expected");
	if (c->s->limits[CHAOS_RECOVERED] >= 0) {
		if (count(c, is_after_recovery, NULL) == 0)
			held(c, CHAOS_RECOVERED, false, "no request began that late");
		else
			held_for_none(c, CHAOS_RECOVERED, is_still_broken, "unanswered afterwards");
	}
	if (c->s->answered_by[0] != '\0') {
		for (size_t i = 0; i < c->p->len; i++)
			theirs += c->p->requests[i].right &&
				  strcmp(c->p->requests[i].backend, c->s->answered_by) == 0;
		held(c, CHAOS_ANSWERED_BY,
			(double)theirs >= c->s->answered_by_share * (double)c->out->answered,
			"%" PRIu64 " of %" PRIu64 " answers by %s", theirs, c->out->answered,
			c->s->answered_by);
	}
}

/* ---- those of the daemon ---- */

static void
judge_faults(struct court *c)
{
	AUTO(buf_fini) struct buf missing = BUF_INIT;

	for (unsigned k = 0; k < FAULT_KINDS; k++)
		if ((c->seen->kinds_set & ~c->seen->kinds_hit & UINT64_C(1) << k) != 0)
			buf_addf(&missing, " %s", fault_kind_row(k)->name);
	held(c, CHAOS_FAULTS, missing.len == 0,
		missing.len == 0 ? "all kinds came%s" : "never came:%s", buf_str(&missing));
}

static void
judge_own(struct court *c)
{
	const struct chaos_seen *seen = c->seen;

	held(c, CHAOS_FDS, (double)seen->fds_more <= c->s->limits[CHAOS_FDS],
		"%" PRId64 " more than before", seen->fds_more);
	held(c, CHAOS_MEMORY, (double)seen->memory_more_kb <= 1024 * c->s->limits[CHAOS_MEMORY],
		"%" PRId64 " KiB more than before", seen->memory_more_kb);
	held(c, CHAOS_JOURNAL,
		seen->journal_missing + seen->journal_twice + seen->journal_damaged == 0,
		"%" PRIu64 " records, %" PRIu64 " missing, %" PRIu64 " twice, %" PRIu64
		" damaged%s%s",
		seen->journal_records, seen->journal_missing, seen->journal_twice,
		seen->journal_damaged, seen->journal_why.len > 0 ? "; " : "",
		buf_str(&seen->journal_why));
	held(c, CHAOS_STOPPED, seen->exit_status == 0 && seen->processes_left == 0,
		"exit status %d, %u processes left", seen->exit_status, seen->processes_left);
	if (c->s->fallback.len > 0)
		held(c, CHAOS_FALLBACK, seen->orders_why.len == 0 && seen->orders_seen > 0,
			"%" PRIu64 " requests looked at%s%s", seen->orders_seen,
			seen->orders_why.len > 0 ? "; " : "", buf_str(&seen->orders_why));
}

void
verdict_make(struct chaos_verdict *out, struct chaos_plan *p, const struct chaos_scenario *s,
	const struct chaos_seen *seen)
{
	struct court c = {s, seen, p, out};

	*out = (struct chaos_verdict){.requests = p->len, .ok = true};
	for (size_t i = 0; i < p->len; i++)
		judge(&c, &p->requests[i]);
	out->answered = count(&c, is_right, NULL);
	out->lost = count(&c, is_lost, NULL);
	out->duplicated = count(&c, is_duplicated, NULL);
	out->late = count(&c, is_late, NULL);
	judge_answers(&c);
	judge_lists(&c);
	judge_faults(&c);
	held(&c, CHAOS_IDLE, seen->busy == 0, "%" PRIu64 " still in flight", seen->busy);
	if (seen->own)
		judge_own(&c);
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++) {
		if (i < CHAOS_ASKED && s->limits[i] < 0)
			out->rows[i].checked = false;
		out->ok = out->ok && (!out->rows[i].checked || out->rows[i].held);
	}
}
