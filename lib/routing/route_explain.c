/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_explain.c - a decision as JSON
 *
 * `terms` are the parts of the score: they add up to it. A candidate also shows the value (0..1)
 * and the weight that each part is the product of, and all but the first what holds them behind it.
 */
#include <math.h>
#include <stdio.h>

#include "lib/base/json.h"
#include "lib/routing/parts.h"

enum explain_part { EXPLAIN_PRODUCT, EXPLAIN_VALUE, EXPLAIN_WEIGHT };

static void
explain_terms(
	struct buf *out, const char *key, const struct route_candidate *c, enum explain_part part)
{
	double v;
	unsigned t;

	json_put_key(out, key);
	json_put_begin(out, '{');
	for (t = 0; t < ROUTE_TERMS; t++) {
		v = part == EXPLAIN_VALUE ? c->term[t] : c->weight[t];
		if (part == EXPLAIN_PRODUCT)
			v = c->term[t] * c->weight[t];
		json_put_member_double(out, route_term_name((enum route_term)t), v);
	}
	json_put_end(out, '}');
}

static void
explain_names(struct buf *out, const struct route_deployment *d)
{
	json_put_member_str(out, "model", d->model);
	json_put_member_str(out, "backend", d->backend);
	json_put_member_str(out, "upstream", d->upstream);
}

static void
explain_dropped(struct buf *out, const struct route_decision *d, const struct route_catalog *c)
{
	const struct route_deployment *row;
	size_t i;

	json_put_key(out, "dropped");
	json_put_begin(out, '[');
	for (i = 0; i < d->dropped_len; i++) {
		row = &c->deployments[d->dropped[i].deployment];
		json_put_begin(out, '{');
		explain_names(out, row);
		json_put_member_str(out, "filter", d->dropped[i].filtered);
		if (!row->up && row->down_why != NULL && row->down_why[0] != '\0')
			json_put_member_str(out, "why", row->down_why);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
explain_member_known(struct buf *out, const char *key, double v)
{
	json_put_key(out, key);
	if (v >= 0)
		json_put_double(out, v);
	else
		json_put_null(out);
}

/* Why not this one: the terms that hold it behind the first, the heaviest first. */
static void
explain_behind(struct buf *out, const struct route_decision *d, const struct route_candidate *c)
{
	const struct route_candidate *best = &d->ranked[0];
	AUTO(buf_fini) struct buf text = BUF_INIT;
	bool said[ROUTE_TERMS] = {false};
	double lead, most;
	unsigned t, at;

	buf_addf(&text, "%.3f", c->score - best->score);
	for (;;) {
		most = 0.0005;
		at = ROUTE_TERMS;
		for (t = 0; t < ROUTE_TERMS; t++) {
			lead = fabs(best->weight[t] * best->term[t] - c->weight[t] * c->term[t]);
			if (!said[t] && lead > most) {
				most = lead;
				at = t;
			}
		}
		if (at == ROUTE_TERMS)
			break;
		buf_addf(&text, "%s %s %+.3f", text.len < 8 ? ":" : ",",
			route_term_name((enum route_term)at),
			c->weight[at] * c->term[at] - best->weight[at] * best->term[at]);
		said[at] = true;
	}
	json_put_member_str(out, "behind", buf_str(&text));
}

static void
explain_candidates(struct buf *out, const struct route_decision *d, const struct route_catalog *c)
{
	const struct route_candidate *row;
	size_t i;

	json_put_key(out, "candidates");
	json_put_begin(out, '[');
	for (i = 0; i < d->ranked_len; i++) {
		row = &d->ranked[i];
		json_put_begin(out, '{');
		explain_names(out, &c->deployments[row->deployment]);
		json_put_member_double(out, "score", row->score);
		explain_member_known(out, "quality", row->quality);
		explain_member_known(out, "error", row->error);
		explain_member_known(out, "cost_usd", row->cost_usd);
		explain_terms(out, "terms", row, EXPLAIN_PRODUCT);
		explain_terms(out, "values", row, EXPLAIN_VALUE);
		explain_terms(out, "weights", row, EXPLAIN_WEIGHT);
		if (i > 0)
			explain_behind(out, d, row);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
explain_others(struct buf *out, const char *list, const char *key,
	const struct route_alternative *rows, size_t len, const struct route_catalog *c)
{
	size_t i;

	json_put_key(out, list);
	json_put_begin(out, '[');
	for (i = 0; i < len; i++) {
		json_put_begin(out, '{');
		json_put_member_double(out, key, rows[i].value);
		if (rows[i].none) {
			json_put_key(out, "model");
			json_put_null(out);
		} else {
			explain_names(out, &c->deployments[rows[i].deployment]);
		}
		explain_member_known(out, "cost_usd", rows[i].cost_usd);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

/* Who judged, and what became of it. */
static void
explain_scorer(struct buf *out, const struct route_decision *d)
{
	json_put_member_str(out, "scorer", d->scorer);
	json_put_member_bool(out, "judged", d->judged);
	json_put_member_bool(out, "cached", d->cached);
	json_put_member_bool(out, "abstained", d->abstained);
	json_put_member_str(out, "experiment", d->arm);
	explain_member_known(out, "difficulty", d->difficulty);
	explain_member_known(out, "threshold", d->threshold);
}

void
route_explain(struct buf *out, const struct route_decision *d, const struct route_catalog *c,
	const struct route_alternatives *other, double decision_us)
{
	const struct route_candidate *best = d->ranked_len > 0 ? &d->ranked[0] : NULL;

	json_put_begin(out, '{');
	json_put_member_str(out, "route", d->route);
	if (best != NULL) {
		explain_names(out, &c->deployments[best->deployment]);
	} else {
		json_put_key(out, "model");
		json_put_null(out);
		json_put_key(out, "backend");
		json_put_null(out);
	}
	json_put_member_str(out, "reason", d->reason);
	json_put_member_str(out, "phase", route_phase_name(d->phase));
	json_put_member_str(out, "rule", d->rule);
	json_put_member_double(out, "score", best != NULL ? best->score : 0);
	explain_member_known(out, "cost_usd", best != NULL ? best->cost_usd : -1);
	explain_scorer(out, d);
	if (best != NULL)
		explain_terms(out, "terms", best, EXPLAIN_PRODUCT);
	explain_candidates(out, d, c);
	explain_dropped(out, d, c);
	if (other != NULL) {
		explain_others(out, "dials", "dial", other->dials, ROUTE_DIALS, c);
		explain_others(
			out, "thresholds", "threshold", other->thresholds, ROUTE_THRESHOLDS, c);
	}
	json_put_member_double(out, "decision_us", decision_us);
	json_put_end(out, '}');
}
