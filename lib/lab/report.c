/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - an evaluation as JSON; figures that are not defined are null
 */
#include <math.h>

#include "lib/base/json.h"
#include "lib/lab/report.h"

static const char *const cpt_names[METRICS_CPTS] = {"cpt20", "cpt50", "cpt80"};

static const char *
model_name(const struct evaluation *v, size_t candidate)
{
	return v->plan->d->models[v->plan->models[candidate]];
}

static void
put_interval(struct buf *out, const char *name, const struct interval *i)
{
	json_put_key(out, name);
	json_put_begin(out, '[');
	json_put_double(out, i->low);
	json_put_double(out, i->high);
	json_put_end(out, ']');
}

static void
put_cpts(struct buf *out, const struct metrics_apgr *a)
{
	for (size_t p = 0; p < METRICS_CPTS; p++)
		json_put_member_double(out, cpt_names[p], a->cpt[p]);
}

/* One model's key names a pair's ends; a list of models has none of them. */
static void
put_pair(struct buf *out, const struct evaluation *v)
{
	const struct evaluate_pair *p = &v->pair;

	json_put_member_str(out, "weak_model", model_name(v, (size_t)v->plan->weak));
	json_put_member_str(out, "strong_model", model_name(v, (size_t)v->plan->strong));
	json_put_member_double(out, "weak", p->means.weak);
	json_put_member_double(out, "strong", p->means.strong);
	json_put_member_double(out, "oracle", p->means.oracle);
	json_put_member_double(out, "apgr", p->exact.apgr);
	put_interval(out, "apgr_ci95", &p->apgr_ci95);
	put_cpts(out, &p->exact);
	json_put_key(out, "grid");
	json_put_begin(out, '{');
	json_put_member_double(out, "apgr", p->grid.apgr);
	put_cpts(out, &p->grid);
	json_put_end(out, '}');
	json_put_member_double(out, "random_apgr", p->random_apgr);
	put_interval(out, "random_apgr_95", &p->random_ci95);
	json_put_member_double(out, "threshold50", p->threshold50);
	json_put_member_bool(out, "all_wants_equal", p->all_equal);
	json_put_key(out, "curve");
	json_put_begin(out, '[');
	for (size_t i = 0; i < EVALUATE_CURVE; i++) {
		json_put_begin(out, '[');
		json_put_double(out, p->curve_share[i]);
		json_put_double(out, p->curve_score[i]);
		json_put_end(out, ']');
	}
	json_put_end(out, ']');
}

/* The keys that scripts expect, where there is no pair. */
static void
put_no_pair(struct buf *out, const struct evaluation *v)
{
	static const char *const names[] = {"weak", "strong", "apgr", "apgr_ci95", "cpt20", "cpt50",
		"cpt80", "grid", "random_apgr"};

	json_put_member_double(out, "oracle", v->oracle);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		json_put_key(out, names[i]);
		json_put_null(out);
	}
}

static void
put_choice(struct buf *out, const char *name, const struct evaluate_choice *c)
{
	json_put_key(out, name);
	json_put_begin(out, '{');
	json_put_member_double(out, "quality", c->quality);
	json_put_member_double(out, "gain", c->gain);
	put_interval(out, "gain_ci95", &c->gain_ci95);
	json_put_member_double(out, "switched", c->switched);
	json_put_member_double(out, "cost", c->cost);
	json_put_end(out, '}');
}

static void
put_points(struct buf *out, const char *name, const struct frontier_point *points, size_t len)
{
	json_put_key(out, name);
	json_put_begin(out, '[');
	for (size_t i = 0; i < len; i++) {
		json_put_begin(out, '[');
		json_put_double(out, points[i].cost);
		json_put_double(out, points[i].quality);
		json_put_end(out, ']');
	}
	json_put_end(out, ']');
}

static void
put_equal(struct buf *out, const char *name, double cost, double quality, double best)
{
	json_put_key(out, name);
	json_put_begin(out, '{');
	json_put_member_double(out, "cost", cost);
	json_put_member_double(out, "quality", quality);
	json_put_member_double(out, "saving", best > 0 ? 1 - cost / best : NAN);
	json_put_end(out, '}');
}

static void
put_cost(struct buf *out, const struct evaluation *v, enum cost_source source)
{
	const struct evaluate_cost *c = &v->cost;

	json_put_key(out, "cost");
	json_put_begin(out, '{');
	json_put_member_str(out, "source", cost_source_name(source));
	json_put_member_double(out, "best_single", c->best);
	json_put_member_double(out, "routed", v->routed.cost);
	json_put_member_double(out, "random", c->random);
	json_put_member_double(out, "oracle", c->oracle);
	put_equal(out, "equal_quality", c->equal_cost, c->equal_quality, c->best);
	put_equal(out, "equal_quality_held_out", c->held_cost, c->held_quality, c->best);
	json_put_end(out, '}');
	json_put_member_double(out, "aiq", c->aiq);
	json_put_member_double(out, "aiq_single", c->aiq_single);
	put_points(out, "frontier", c->hull, c->hull_len);
}

static void
put_models(struct buf *out, const struct evaluation *v)
{
	json_put_key(out, "models");
	json_put_begin(out, '[');
	for (size_t m = 0; m < v->plan->models_len; m++) {
		json_put_begin(out, '{');
		json_put_member_str(out, "name", model_name(v, m));
		json_put_member_double(out, "mean", v->means[m]);
		json_put_member_double(out, "cost", v->costs != NULL ? v->costs[m] : NAN);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
put_sources(struct buf *out, const struct evaluation *v)
{
	json_put_key(out, "by_source");
	json_put_begin(out, '[');
	for (size_t i = 0; i < v->sources_len; i++) {
		const struct evaluate_source *s = &v->sources[i];

		json_put_begin(out, '{');
		json_put_member_str(out, "name", s->name);
		json_put_member_u64(out, "rows", s->rows);
		json_put_member_double(out, "routed", s->routed);
		json_put_member_double(out, "best_single_overall", s->overall);
		json_put_member_double(out, "best_single_here", s->best);
		json_put_member_str(out, "best_model_here", model_name(v, s->best_model));
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
put_flips(struct buf *out, const struct evaluation *v)
{
	json_put_key(out, "flips");
	if (!v->has_noise) {
		json_put_null(out);
		return;
	}
	json_put_begin(out, '{');
	for (enum noise n = 0; n < NOISES; n++)
		json_put_member_double(out, noise_name(n), v->flips[n]);
	json_put_member_double(out, "mean", v->flips_mean);
	json_put_end(out, '}');
}

static void
put_match(struct buf *out, const struct evaluate_match *m)
{
	json_put_key(out, "against");
	json_put_begin(out, '{');
	json_put_member_str(out, "scorer", m->against);
	json_put_member_str(out, "mode", m->mode);
	json_put_member_double(out, "quality", m->quality);
	json_put_member_double(out, "gain", m->gain);
	put_interval(out, "gain_ci95", &m->gain_ci95);
	json_put_member_bool(out, "better", m->better);
	json_put_end(out, '}');
}

void
report_json(struct buf *out, const struct evaluation *v, const struct report_labels *labels)
{
	json_put_begin(out, '{');
	json_put_member_str(out, "scorer", labels->scorer);
	json_put_member_str(out, "mode", labels->mode);
	json_put_member_u64(out, "folds", labels->folds);
	json_put_member_u64(out, "rows", v->rows);
	json_put_member_u64(out, "rows_left_out", labels->left_out);
	if (v->has_pair)
		put_pair(out, v);
	else
		put_no_pair(out, v);
	json_put_member_double(out, "best_single", v->means[v->best]);
	json_put_member_str(out, "best_single_model", model_name(v, v->best));
	json_put_member_double(out, "random", v->random);
	put_choice(out, "routed", &v->routed);
	put_choice(out, "abstaining", &v->abstaining);
	json_put_member_str(out, "verdict", evaluate_verdict_text(v->verdict));
	json_put_member_bool(out, "beats_best_single", v->verdict == EVALUATE_BEATS);
	if (v->costs != NULL)
		put_cost(out, v, labels->cost);
	json_put_member_double(out, "ece", v->ece);
	put_flips(out, v);
	json_put_member_double(out, "prompts_per_s", v->prompts_per_s);
	json_put_member_u64(out, "trainings", v->trainings);
	json_put_member_double(out, "train_s", v->train_s);
	json_put_member_u64(out, "file_bytes", v->file_bytes);
	put_models(out, v);
	put_sources(out, v);
	if (labels->match != NULL)
		put_match(out, labels->match);
	json_put_end(out, '}');
}
