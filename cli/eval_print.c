/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval_print.c - an evaluation for a person: lines to compare with, verdict, costs, flips
 */
#include <math.h>
#include <string.h>

#include "cli/eval.h"
#include "cli/table.h"

enum { SOURCES_SHOWN = 12, NUMBER_MAX = 48 };

static const char *
model_name(const struct evaluation *v, size_t candidate)
{
	return v->plan->d->models[v->plan->models[candidate]];
}

enum form { FORM_SCORE, FORM_SIGNED, FORM_COST, FORM_PERCENT, FORM_COUNT };

static void
cell(struct table *t, enum form form, double v)
{
	char text[NUMBER_MAX] = "";

	if (!isfinite(v))
		text[0] = '\0';
	else if (form == FORM_SIGNED)
		(void)snprintf(text, sizeof(text), "%+.2f", v);
	else if (form == FORM_COST)
		(void)snprintf(text, sizeof(text), "%.6g", v);
	else if (form == FORM_PERCENT)
		(void)snprintf(text, sizeof(text), "%.2f %%", v);
	else
		(void)snprintf(text, sizeof(text), "%.*f", form == FORM_SCORE ? 4 : 0, v);
	table_cell(t, text, TABLE_PLAIN);
}

/* Points of a hundred for scores of 0..1; as they are for a judge's. */
static double
points(const struct evaluation *v)
{
	for (size_t m = 0; m < v->plan->models_len; m++) {
		if (v->means[m] > 1)
			return 1;
	}
	return 100;
}

void
eval_print_gain(char *out, size_t size, const struct evaluate_choice *c, double scale)
{
	(void)snprintf(out, size, "%+.2f [%+.2f, %+.2f]", c->gain * scale, c->gain_ci95.low * scale,
		c->gain_ci95.high * scale);
}

static void
row_line(struct table *t, const struct evaluation *v, const char *what, double quality, double cost)
{
	table_cell(t, what, TABLE_PLAIN);
	cell(t, FORM_SCORE, quality);
	cell(t, FORM_SIGNED, (quality - v->means[v->best]) * points(v));
	table_cell(t, "", TABLE_PLAIN);
	if (v->costs != NULL)
		cell(t, FORM_COST, cost);
}

static void
row_choice(struct table *t, const struct evaluation *v, const char *what,
	const struct evaluate_choice *c)
{
	char text[NUMBER_MAX];

	table_cell(t, what, TABLE_PLAIN);
	cell(t, FORM_SCORE, c->quality);
	cell(t, FORM_SIGNED, c->gain * points(v));
	(void)snprintf(text, sizeof(text), "%+.2f .. %+.2f", c->gain_ci95.low * points(v),
		c->gain_ci95.high * points(v));
	table_cell(t, text, TABLE_PLAIN);
	if (v->costs != NULL)
		cell(t, FORM_COST, c->cost);
}

static void
print_lines(const struct evaluation *v, const struct report_labels *labels, FILE *to)
{
	AUTO(table_free) struct table *t = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;

	table_new(&t);
	table_column(t, "CHOICE", TABLE_LEFT);
	table_column(t, "QUALITY", TABLE_RIGHT);
	table_column(t, "GAIN", TABLE_RIGHT);
	table_column(t, "95 %", TABLE_RIGHT);
	if (v->costs != NULL)
		table_column(t, "COST", TABLE_RIGHT);
	row_line(t, v, "random model", v->random, v->cost.random);
	buf_addf(&text, "best single: %s", model_name(v, v->best));
	row_line(t, v, buf_str(&text), v->means[v->best], v->cost.best);
	buf_clear(&text);
	buf_addf(&text, "routed by %s", labels->scorer);
	row_choice(t, v, buf_str(&text), &v->routed);
	if (v->has_guess)
		row_choice(t, v, "  abstaining when unsure", &v->abstaining);
	row_line(t, v, "oracle", v->oracle, v->cost.oracle);
	table_print(t, "Quality (gain over the best single model, in points)", to);
}

static void
row_apgr(struct table *t, const char *what, const struct metrics_apgr *a)
{
	table_cell(t, what, TABLE_PLAIN);
	cell(t, FORM_SCORE, a->apgr);
	for (size_t p = 0; p < METRICS_CPTS; p++)
		cell(t, FORM_PERCENT, a->cpt[p] * 100);
}

static void
print_range(const char *what, const struct interval *i, FILE *to)
{
	if (isnan(i->low))
		(void)fprintf(to, "%s: not known, the gap is too small", what);
	else
		(void)fprintf(to, "%s: %.4f .. %.4f", what, i->low, i->high);
}

static void
print_pair(const struct evaluation *v, FILE *to)
{
	AUTO(table_free) struct table *t = NULL;
	const struct evaluate_pair *p = &v->pair;
	const struct metrics_apgr random = {.apgr = p->random_apgr, .cpt = {0.2, 0.5, 0.8}};

	(void)fprintf(to, "weak   %.4f  %s\nstrong %.4f  %s\n\n", p->means.weak,
		model_name(v, (size_t)v->plan->weak), p->means.strong,
		model_name(v, (size_t)v->plan->strong));
	table_new(&t);
	table_column(t, "CURVE", TABLE_LEFT);
	table_column(t, "APGR", TABLE_RIGHT);
	table_column(t, "CPT(20)", TABLE_RIGHT);
	table_column(t, "CPT(50)", TABLE_RIGHT);
	table_column(t, "CPT(80)", TABLE_RIGHT);
	row_apgr(t, "exact", &p->exact);
	row_apgr(t, "RouteLLM's grid of 10", &p->grid);
	row_apgr(t, "random", &random);
	table_print(t, "Performance gap recovered", to);
	if (isnan(p->exact.apgr)) {
		(void)fputs(
			"Weak and strong have the same mean: there is no gap to recover.\n", to);
	} else {
		print_range("APGR 95 %", &p->apgr_ci95, to);
		print_range("; random orders", &p->random_ci95, to);
		(void)fputc('\n', to);
	}
	if (p->all_equal)
		(void)fputs("The scorer wants the same for every prompt: the file's order "
			    "decides this curve.\n",
			to);
	(void)fputc('\n', to);
}

/* What a cost is against that of the best single model; of nothing there is no percentage. */
static void
print_change(double cost, double best, FILE *to)
{
	if (best > 0)
		(void)fprintf(to, ": %+.1f %%", (cost / best - 1) * 100);
	(void)fputc('\n', to);
}

static void
print_cost(const struct evaluation *v, const struct report_labels *labels, FILE *to)
{
	const struct evaluate_cost *c = &v->cost;

	(void)fprintf(to, "\nCost (%s, mean per call)\n", cost_source_name(labels->cost));
	if (isnan(c->aiq))
		(void)fputs("All models cost the same.\n", to);
	else
		(void)fprintf(to, "AIQ %.4f; mixing single models by a coin %.4f\n", c->aiq,
			c->aiq_single);
	if (isnan(c->equal_cost)) {
		(void)fputs("No setting is as good as the best single model.\n", to);
	} else {
		(void)fprintf(to, "As good as the best single model for %.6g instead of %.6g",
			c->equal_cost, c->best);
		print_change(c->equal_cost, c->best, to);
	}
	(void)fprintf(to, "Setting chosen on other folds: quality %.4f (%+.2f points) for %.6g",
		c->held_quality, (c->held_quality - v->means[v->best]) * points(v), c->held_cost);
	print_change(c->held_cost, c->best, to);
}

static void
print_sources(const struct evaluation *v, FILE *to)
{
	AUTO(table_free) struct table *t = NULL;

	if (v->sources_len < 2 || v->sources_len > SOURCES_SHOWN)
		return;
	table_new(&t);
	table_column(t, "SET", TABLE_LEFT);
	table_column(t, "ROWS", TABLE_RIGHT);
	table_column(t, "ROUTED", TABLE_RIGHT);
	table_column(t, "BEST", TABLE_RIGHT);
	table_column(t, "BEST HERE", TABLE_RIGHT);
	table_column(t, "ITS NAME", TABLE_LEFT);
	for (size_t i = 0; i < v->sources_len; i++) {
		const struct evaluate_source *s = &v->sources[i];

		table_cell(t, s->name, TABLE_PLAIN);
		cell(t, FORM_COUNT, (double)s->rows);
		cell(t, FORM_SCORE, s->routed);
		cell(t, FORM_SCORE, s->overall);
		cell(t, FORM_SCORE, s->best);
		table_cell(t, model_name(v, s->best_model), TABLE_PLAIN);
	}
	(void)fputc('\n', to);
	table_print(t, "By set", to);
}

static void
print_rest(const struct evaluation *v, FILE *to)
{
	if (!isnan(v->ece))
		(void)fprintf(to, "\nCalibration error of the guessed quality: %.4f\n", v->ece);
	if (v->has_noise) {
		(void)fprintf(
			to, "Decisions that flip under noise: %.1f %% (", v->flips_mean * 100);
		for (enum noise n = 0; n < NOISES; n++)
			(void)fprintf(to, "%s%s %.1f %%", n > 0 ? ", " : "", noise_name(n),
				v->flips[n] * 100);
		(void)fputs(")\n", to);
	}
	(void)fprintf(to, "%.0f prompts/s", v->prompts_per_s);
	if (v->trainings > 0)
		(void)fprintf(to, "; %u training%s in %.1f s; a file of %.0f KiB", v->trainings,
			v->trainings > 1 ? "s" : "", v->train_s, (double)v->file_bytes / 1024);
	(void)fputc('\n', to);
}

static void
print_match(const struct evaluate_match *m, double scale, FILE *to)
{
	(void)fprintf(to, "Against %s (%s): %+.2f [%+.2f, %+.2f] points: %s.\n", m->against,
		m->mode, m->gain * scale, m->gain_ci95.low * scale, m->gain_ci95.high * scale,
		m->better ? "better" : "not surely better");
}

void
eval_print(const struct evaluation *v, const struct report_labels *labels, FILE *to)
{
	char gain[NUMBER_MAX];

	(void)fprintf(to, "%s, %s", labels->scorer, labels->mode);
	if (labels->folds > 0)
		(void)fprintf(to, " over %u folds", labels->folds);
	(void)fprintf(to, ": %zu rows, %zu models", v->rows, v->plan->models_len);
	if (labels->left_out > 0)
		(void)fprintf(
			to, " (%zu rows without all their scores left out)", labels->left_out);
	(void)fputs("\n\n", to);
	if (v->has_pair)
		print_pair(v, to);
	print_lines(v, labels, to);
	if (v->costs != NULL)
		print_cost(v, labels, to);
	print_sources(v, to);
	print_rest(v, to);
	eval_print_gain(gain, sizeof(gain), &v->routed, points(v));
	(void)fprintf(to, "\n%s %s: %s points.\n", labels->scorer,
		evaluate_verdict_text(v->verdict), gain);
	if (labels->match != NULL)
		print_match(labels->match, points(v), to);
}
