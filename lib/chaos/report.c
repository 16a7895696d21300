/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - a verdict for machines and for people
 */
#include <inttypes.h>

#include "lib/base/json.h"
#include "lib/chaos/chaos.h"

void
chaos_report_json(struct buf *out, const struct chaos_plan *p, const struct chaos_verdict *v)
{
	json_put_begin(out, '{');
	json_put_member_u64(out, "seed", p->seed);
	json_put_member_u64(out, "requests", v->requests);
	json_put_member_u64(out, "answered", v->answered);
	json_put_member_u64(out, "lost", v->lost);
	json_put_member_u64(out, "duplicated", v->duplicated);
	json_put_member_u64(out, "late", v->late);
	json_put_key(out, "invariants");
	json_put_begin(out, '[');
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++) {
		if (!v->rows[i].checked)
			continue;
		json_put_begin(out, '{');
		json_put_member_str(out, "name", chaos_invariant_at(i)->name);
		json_put_member_bool(out, "held", v->rows[i].held);
		json_put_member_str(out, "detail", v->rows[i].detail);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
	json_put_member_bool(out, "ok", v->ok);
	json_put_end(out, '}');
}

void
chaos_report_text(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v)
{
	buf_addf(out, "%s, seed %" PRIu64 "%s%s\n", s->name, p->seed,
		s->about[0] != '\0' ? ": " : "", s->about);
	buf_addf(out,
		"%" PRIu64 " requests, %" PRIu64 " answered, %" PRIu64 " lost, %" PRIu64
		" duplicated, %" PRIu64 " late\n",
		v->requests, v->answered, v->lost, v->duplicated, v->late);
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++)
		if (v->rows[i].checked)
			buf_addf(out, "  %-6s %-17s %s\n", v->rows[i].held ? "held" : "BROKEN",
				chaos_invariant_at(i)->name, v->rows[i].detail);
	buf_addf(out, "%s\n", v->ok ? "ok" : "NOT OK");
}
