/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_explain.c - a decision as JSON
 *
 * `terms` are the parts of the score: they add up to it. A candidate also shows the value (0..1)
 * and the weight that each part is the product of.
 */
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
explain_candidates(struct buf *out, const struct route_decision *d, const struct route_catalog *c)
{
	size_t i;

	json_put_key(out, "candidates");
	json_put_begin(out, '[');
	for (i = 0; i < d->ranked_len; i++) {
		json_put_begin(out, '{');
		explain_names(out, &c->deployments[d->ranked[i].deployment]);
		json_put_member_double(out, "score", d->ranked[i].score);
		explain_terms(out, "terms", &d->ranked[i], EXPLAIN_PRODUCT);
		explain_terms(out, "values", &d->ranked[i], EXPLAIN_VALUE);
		explain_terms(out, "weights", &d->ranked[i], EXPLAIN_WEIGHT);
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

void
route_explain(struct buf *out, const struct route_decision *d, const struct route_catalog *c,
	double decision_us)
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
	explain_member_known(out, "difficulty", d->difficulty);
	explain_member_known(out, "threshold", d->threshold);
	if (best != NULL)
		explain_terms(out, "terms", best, EXPLAIN_PRODUCT);
	explain_candidates(out, d, c);
	explain_dropped(out, d, c);
	json_put_member_double(out, "decision_us", decision_us);
	json_put_end(out, '}');
}
