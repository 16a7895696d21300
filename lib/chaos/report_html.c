/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_html.c - a verdict as a page: invariants, and an SVG of requests and faults over time
 *
 * The page loads nothing and runs nothing. Each request is a bar from its begin to its end, put
 * into the first lane that is free; each fault is a line across.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/chaos/chaos.h"

enum { LANES_MAX = 64, LANE_PX = 9, WIDTH_PX = 1000, TOP_PX = 60, TICKS = 10 };

static void
html_put_text(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
		switch (*text) {
		case '<':
			buf_add_str(out, "&lt;");
			break;
		case '>':
			buf_add_str(out, "&gt;");
			break;
		case '&':
			buf_add_str(out, "&amp;");
			break;
		case '"':
			buf_add_str(out, "&quot;");
			break;
		default:
			buf_add_char(out, (unsigned char)*text < 0x20 ? ' ' : *text);
		}
}

static const char *
html_class(const struct chaos_request *r)
{
	if (r->right)
		return r->attempts > 1 ? "again" : "good";
	if (r->outcome == CHAOS_ERROR || r->outcome == CHAOS_LEFT)
		return chaos_plan_outcome_name(r->outcome);
	return "lost";
}

static void
html_put_bar(struct buf *out, const struct chaos_request *r, unsigned lane, double px_per_ms)
{
	double width = (double)(r->ended_ms - r->began_ms) * px_per_ms;

	buf_addf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%u\" width=\"%.1f\" height=\"%d\"><title>",
		html_class(r), (double)r->began_ms * px_per_ms, TOP_PX + lane * LANE_PX,
		MAX(width, 1.5), LANE_PX - 2);
	buf_addf(out, "request %u: %" PRIu64 "-%" PRIu64 " ms, %s, status %ld ", r->number,
		r->began_ms, r->ended_ms, chaos_plan_outcome_name(r->outcome), r->status);
	html_put_text(out, r->code);
	buf_addf(out, ", %u attempts, ", r->attempts);
	html_put_text(out, r->backend);
	if (r->fault[0] != '\0') {
		buf_add_str(out, ", fault: ");
		html_put_text(out, r->fault);
	}
	buf_add_str(out, "</title></rect>\n");
}

static unsigned
html_put_bars(struct buf *out, const struct chaos_plan *p, double px_per_ms)
{
	uint64_t free_ms[LANES_MAX] = {0};
	unsigned most = 0;

	for (size_t i = 0; i < p->len; i++) {
		const struct chaos_request *r = &p->requests[i];
		unsigned lane = 0;

		if (r->outcome == CHAOS_NOT_RUN)
			continue;
		while (lane < LANES_MAX - 1 && free_ms[lane] > r->began_ms)
			lane++;
		free_ms[lane] = r->ended_ms + 1;
		most = MAX(most, lane);
		html_put_bar(out, r, lane, px_per_ms);
	}
	return most + 1;
}

static uint64_t
html_step_ms(const struct chaos_step *step, const struct chaos_plan *p)
{
	if (step->before == 0)
		return step->at_ms;
	return step->before <= p->len ? p->requests[step->before - 1].began_ms : 0;
}

static void
html_put_faults(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	unsigned lanes, double px_per_ms)
{
	for (size_t i = 0; i < s->steps_len; i++) {
		double x = (double)html_step_ms(&s->steps[i], p) * px_per_ms;

		buf_addf(out,
			"<line class=\"fault\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%u\" y2=\"%u\"/>"
			"<text x=\"%.1f\" y=\"%u\">",
			x, x, TOP_PX - 6, TOP_PX + lanes * LANE_PX, x + 3,
			12 + (unsigned)(i % 4) * 13);
		html_put_text(out, s->steps[i].what);
		buf_add_str(out, "</text>\n");
	}
}

static void
html_put_axis(struct buf *out, unsigned lanes, uint64_t end_ms, double px_per_ms)
{
	unsigned y = TOP_PX + lanes * LANE_PX;

	for (unsigned i = 0; i <= TICKS; i++) {
		uint64_t ms = end_ms * i / TICKS;
		double x = (double)ms * px_per_ms;

		buf_addf(out,
			"<line class=\"tick\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%u\" y2=\"%u\"/>"
			"<text x=\"%.1f\" y=\"%u\">%.2f s</text>\n",
			x, x, y, y + 5, x, y + 17, (double)ms / 1000);
	}
}

static void
html_put_timeline(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p)
{
	AUTO(buf_fini) struct buf bars = BUF_INIT;
	uint64_t end_ms = 1;
	double px_per_ms;
	unsigned lanes;

	for (size_t i = 0; i < p->len; i++)
		end_ms = MAX(end_ms, p->requests[i].ended_ms);
	px_per_ms = (double)WIDTH_PX / (double)end_ms;
	lanes = html_put_bars(&bars, p, px_per_ms);
	buf_addf(out, "<svg viewBox=\"-5 0 %d %u\" role=\"img\" aria-label=\"timeline\">\n",
		WIDTH_PX + 60, TOP_PX + lanes * LANE_PX + 25);
	buf_add(out, buf_str(&bars), bars.len);
	html_put_faults(out, s, p, lanes, px_per_ms);
	html_put_axis(out, lanes, end_ms, px_per_ms);
	buf_add_str(out, "</svg>\n");
}

static void
html_put_invariants(struct buf *out, const struct chaos_verdict *v)
{
	buf_add_str(out, "<table><tr><th>invariant<th><th>detail\n");
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++) {
		if (!v->rows[i].checked)
			continue;
		buf_addf(out, "<tr><td>%s<td class=\"%s\">%s<td>", chaos_invariant_at(i)->name,
			v->rows[i].held ? "held" : "broken", v->rows[i].held ? "held" : "BROKEN");
		html_put_text(out, v->rows[i].detail);
		buf_add_char(out, '\n');
	}
	buf_add_str(out, "</table>\n");
}

void
chaos_report_html(struct buf *out, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_verdict *v)
{
	buf_add_str(out,
		"<!doctype html><meta charset=\"utf-8\"><title>shunt chaos</title>\n<style>\n"
		"body{font:15px system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 "
		"1em}\n"
		"td,th{text-align:left;padding:.2em 1em .2em 0}.held{color:#177a3d}"
		".broken{color:#c01818;font-weight:bold}\nsvg{width:100%;font:11px "
		"system-ui,sans-serif}.good{fill:#4aa96c}.again{fill:#3d7fc1}.error{fill:#e0a030}"
		".left{fill:#999}.lost{fill:#c01818}\n.fault{stroke:#a3127f;stroke-dasharray:4 3}"
		".tick{stroke:#888}\n@media(prefers-color-scheme:dark){body{background:#16181c;"
		"color:#ddd}svg text{fill:#ddd}}\n</style>\n<h1>");
	html_put_text(out, s->name);
	buf_addf(out, ": <span class=\"%s\">%s</span></h1>\n<p>", v->ok ? "held" : "broken",
		v->ok ? "ok" : "NOT OK");
	html_put_text(out, s->about);
	buf_addf(out,
		"</p>\n<p>Seed %" PRIu64 ". %" PRIu64 " requests, %" PRIu64 " answered, %" PRIu64
		" lost, %" PRIu64 " duplicated, %" PRIu64 " late.</p>\n",
		p->seed, v->requests, v->answered, v->lost, v->duplicated, v->late);
	html_put_invariants(out, v);
	html_put_timeline(out, s, p);
	buf_add_str(out, "<p>One bar per request: <span style=\"color:#4aa96c\">answered</span>, "
			 "<span style=\"color:#3d7fc1\">answered after another attempt</span>, "
			 "<span style=\"color:#e0a030\">clear error</span>, "
			 "<span style=\"color:#999\">client left</span>, "
			 "<span style=\"color:#c01818\">lost or wrong</span>.</p>\n");
}
