/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.c - `shunt calibrate`: the threshold for a share of strong calls or for a quality, and
 * what it really gives
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/lab.h"
#include "lib/base/json.h"
#include "lib/base/near.h"
#include "lib/lab/evaluate.h"

enum { CALIBRATE_FOLDS = 5, PROMPTS_NEAR = 6 };

/* What a threshold does to some rows. */
struct measured {
	size_t rows;
	double share; /* sent to the strong model */
	double quality; /* NaN: no scores */
	double cost, cost_strong; /* mean; NaN: none known */
};

struct calibration {
	struct dataset d;
	struct lab_scorer scorer;
	struct lab_choice choice;
	struct encode encoded;
	struct metrics_pair *pairs; /* scores are NaN where only prompts are there */
	uint32_t *order;
	size_t len;
	bool scored;
	int weak, strong; /* models of the data; -1 */
	double weak_mean, strong_mean;
	double threshold;
	struct measured here, held_out;
};

static void
calibration_fini(struct calibration *c)
{
	lab_choice_fini(&c->choice);
	lab_scorer_fini(&c->scorer);
	encode_fini(&c->encoded);
	dataset_free(&c->d);
	free(c->pairs);
	free(c->order);
}

/* Index of a model of the scorer; names like it where there is none. */
static enum cli_exit
scorer_index(int *out, const struct cli *cli, const struct scorer *s, const char *option,
	const char *name)
{
	const char *near[PROMPTS_NEAR];
	size_t n = 0;

	*out = 0;
	if (scorer_models(s) == 0)
		return CLI_OK;
	if (name == NULL) {
		(void)fprintf(cli->err, "shunt calibrate: --%s MODEL is missing\n", option);
		return CLI_USAGE;
	}
	*out = scorer_model_find(s, name);
	if (*out >= 0)
		return CLI_OK;
	(void)fprintf(cli->err, "shunt calibrate: the scorer knows no model `%s`; it knows:", name);
	for (size_t i = 0; i < scorer_models(s) && n < PROMPTS_NEAR; i++) {
		near[n] = scorer_model(s, i);
		(void)fprintf(cli->err, "%s %s", n > 0 ? "," : "", near[n]);
		n++;
	}
	(void)fprintf(cli->err, "%s\n", scorer_models(s) > n ? ", ..." : "");
	return CLI_USAGE;
}

/* The name given, else that of the data's own pair. */
static const char *
model_asked(const struct calibration *c, const char *given, int model)
{
	return given == NULL && model >= 0 ? c->d.models[model] : given;
}

static bool
calibration_cascades(const struct calibration *c)
{
	return c->scorer.id == SCORER_CASCADE;
}

/* The model whose confidence decides: the weak one, or the only one that a log tells of; -1: it
 * tells of none. */
static enum cli_exit
calibration_judged(int *out, const struct calibration *c, const struct cli *cli)
{
	*out = c->weak;
	if (!calibration_cascades(c) || c->weak >= 0 || c->d.models_len == 0)
		return CLI_OK;
	if (cli->values['w'] != NULL)
		return lab_model(out, cli, &c->d, cli->values['w']);
	if (c->d.models_len > 1) {
		(void)fputs("shunt calibrate: --weak MODEL is missing: the data tell of several\n",
			cli->err);
		return CLI_USAGE;
	}
	*out = 0;
	return CLI_OK;
}

static enum cli_exit
calibration_wants(struct calibration *c, const struct cli *cli)
{
	const struct scorer *s = c->scorer.open;
	size_t bytes = (scorer_scratch_bytes(s) + 64) / 64 * 64;
	int weak, strong, judged;
	struct err e;
	enum cli_exit code = calibration_judged(&judged, c, cli);
	void *scratch;

	if (code == CLI_OK)
		code = scorer_index(
			&weak, cli, s, "weak", model_asked(c, cli->values['w'], c->weak));
	if (code == CLI_OK)
		code = scorer_index(
			&strong, cli, s, "strong", model_asked(c, cli->values['S'], c->strong));
	if (code != CLI_OK)
		return code;
	if (scorer_models(s) == 0)
		strong = 1;
	scratch = aligned_alloc(64, bytes);
	CHECK(scratch != NULL);
	for (size_t i = 0; i < c->len; i++) {
		const struct dataset_row *r = &c->d.rows[c->choice.rows[i]];
		struct scorer_input in = {.text = r->prompt, .len = r->prompt_len, .seed = r->hash};

		if (c->encoded.embeddings != NULL) {
			in.embedding_len = c->encoded.made.len;
			in.embedding = c->encoded.embeddings + c->choice.rows[i] * in.embedding_len;
		}
		if (calibration_cascades(c) &&
			dataset_confidence(&in.confidence, &c->d, r, judged, &e) != ERR_OK) {
			free(scratch);
			return lab_fail(cli, e.text);
		}
		c->pairs[i].want = scorer_want_strong(s, &in, weak, strong, scratch);
	}
	free(scratch);
	metrics_order(c->order, c->pairs, c->len);
	return CLI_OK;
}

/* Rows with the scores of both models, or all rows where only a share is wanted. */
static enum cli_exit
calibration_rows(struct calibration *c, const struct cli *cli)
{
	enum cli_exit code = lab_choose_rows(&c->choice, cli, &c->d, 0);

	c->weak = c->strong = -1;
	c->scored = code == CLI_OK && c->d.models_len >= 2 && c->d.rows[0].raw != NULL;
	if (c->scored)
		code = lab_choose_models(&c->choice, cli, &c->d);
	if (code != CLI_OK)
		return code;
	if (c->scored && c->choice.weak < 0) {
		(void)fputs("shunt calibrate: --weak and --strong are missing\n", cli->err);
		return CLI_USAGE;
	}
	if (c->scored) {
		c->weak = (int)c->choice.models[c->choice.weak];
		c->strong = (int)c->choice.models[c->choice.strong];
	}
	c->len = c->choice.rows_len;
	c->pairs = calloc(c->len + 1, sizeof(*c->pairs));
	c->order = calloc(c->len + 1, sizeof(*c->order));
	CHECK(c->pairs != NULL && c->order != NULL);
	for (size_t i = 0; i < c->len; i++) {
		const float *raw = c->d.rows[c->choice.rows[i]].raw;

		c->pairs[i].weak = c->scored ? (double)raw[c->weak] : NAN;
		c->pairs[i].strong = c->scored ? (double)raw[c->strong] : NAN;
		c->weak_mean += c->pairs[i].weak / (double)c->len;
		c->strong_mean += c->pairs[i].strong / (double)c->len;
	}
	return CLI_OK;
}

/* --quality: a mean score, or a percentage of the strong model's. */
static enum cli_exit
wanted_quality(double *out, const struct calibration *c, const struct cli *cli)
{
	const char *text = cli->values['q'];
	char *end;
	double v = strtod(text, &end);

	if (end == text || (strcmp(end, "%") != 0 && *end != '\0') || !isfinite(v)) {
		(void)fprintf(cli->err,
			"shunt calibrate: --quality wants a score or N%%, not `%s`\n", text);
		return CLI_USAGE;
	}
	*out = *end == '%' ? v / 100 * c->strong_mean : v;
	if (!c->scored)
		return lab_fail(cli, "--quality needs rows with scores");
	return CLI_OK;
}

enum outside { OUTSIDE_NONE = CALIBRATE_FOLDS };

static unsigned
fold_of(const struct calibration *c, size_t row)
{
	return dataset_fold(&c->d.rows[c->choice.rows[row]], CALIBRATE_FOLDS, 0);
}

/* A threshold that no row reaches; NaN: none of 0..1, which is what a route takes. */
static double
threshold_above_all(const struct calibration *c)
{
	double t = nextafter(c->pairs[c->order[0]].want, INFINITY);

	return t <= 1 ? t : NAN;
}

/* The highest threshold at which the rows outside of a fold reach the quality; NaN: none does. */
static double
threshold_quality(const struct calibration *c, double quality, unsigned fold)
{
	double sum = 0;
	size_t n = 0;

	for (size_t i = 0; i < c->len; i++) {
		if (fold_of(c, i) != fold) {
			sum += c->pairs[i].weak - quality;
			n++;
		}
	}
	if (n > 0 && sum >= -1e-9 && !isnan(threshold_above_all(c)))
		return threshold_above_all(c);
	for (size_t k = 0; k < c->len; k++) {
		const struct metrics_pair *r = &c->pairs[c->order[k]];

		if (fold_of(c, c->order[k]) != fold)
			sum += r->strong - r->weak;
		/* Equal wants can't be told apart by a threshold. */
		if (sum >= -1e-9 && (k + 1 == c->len || c->pairs[c->order[k + 1]].want < r->want))
			return r->want;
	}
	return NAN;
}

/* The threshold whose share of the rows outside of a fold is nearest to the wanted one. */
static double
threshold_share(const struct calibration *c, double share, unsigned fold)
{
	double best = threshold_above_all(c), best_miss = isnan(best) ? INFINITY : share;
	size_t n = 0, sent = 0;

	for (size_t i = 0; i < c->len; i++)
		n += fold_of(c, i) != fold;
	for (size_t k = 0; k < c->len && n > 0; k++) {
		const struct metrics_pair *r = &c->pairs[c->order[k]];
		double miss;

		sent += fold_of(c, c->order[k]) != fold;
		if (k + 1 < c->len && c->pairs[c->order[k + 1]].want >= r->want)
			continue;
		miss = fabs((double)sent / (double)n - share);
		if (miss < best_miss) {
			best_miss = miss;
			best = r->want;
		}
	}
	return best;
}

static void
measure_row(struct measured *m, const struct calibration *c, size_t row, double threshold)
{
	const struct metrics_pair *r = &c->pairs[row];
	const float *cost = c->d.rows[c->choice.rows[row]].cost;
	const bool up = r->want >= threshold;
	const bool costed = c->scored && cost != NULL;
	const bool both = up && costed && calibration_cascades(c); /* the weak one was asked, too */

	m->rows++;
	m->share += up;
	m->quality += up ? r->strong : r->weak;
	m->cost += costed ? (double)cost[up ? c->strong : c->weak] : NAN;
	m->cost += both ? (double)cost[c->weak] : 0;
	m->cost_strong += costed ? (double)cost[c->strong] : NAN;
}

static void
measure_end(struct measured *m)
{
	m->share /= (double)m->rows;
	m->quality /= (double)m->rows;
	m->cost /= (double)m->rows;
	m->cost_strong /= (double)m->rows;
}

/* A route with a cascade is told the confidence that is enough: a want of t is a confidence of
 * 1 - t, which is not. Where none goes to the strong model, the least that was found is enough. */
static double
threshold_confidence(const struct calibration *c)
{
	double most = c->pairs[c->order[0]].want;

	return c->threshold > most ? 1 - most : MIN(nextafter(1 - c->threshold, INFINITY), 1);
}

static enum cli_exit
calibration_run(struct calibration *c, const struct cli *cli)
{
	const bool by_share = cli->values['n'] != NULL;
	double pct, want;
	enum cli_exit code = lab_number(&pct, cli, 'n', "strong-pct", 0, 100, 50);

	if (code == CLI_OK && by_share == (cli->values['q'] != NULL)) {
		(void)fputs(
			"shunt calibrate: one of --strong-pct and --quality is wanted\n", cli->err);
		return CLI_USAGE;
	}
	want = pct / 100;
	if (code == CLI_OK && !by_share)
		code = wanted_quality(&want, c, cli);
	if (code != CLI_OK)
		return code;
	for (unsigned f = 0; f <= OUTSIDE_NONE; f++) {
		double t = by_share ? threshold_share(c, want, f) : threshold_quality(c, want, f);

		if (f == OUTSIDE_NONE)
			c->threshold = t;
		for (size_t i = 0; i < c->len; i++) {
			if (f == OUTSIDE_NONE)
				measure_row(&c->here, c, i, t);
			else if (fold_of(c, i) == f)
				/* Out of reach: everything goes to the strong model. */
				measure_row(&c->held_out, c, i, isnan(t) ? -INFINITY : t);
		}
	}
	measure_end(&c->here);
	measure_end(&c->held_out);
	if (isnan(c->threshold))
		return lab_fail(cli, "no threshold reaches this quality: the strong model alone "
				     "is below it");
	if (calibration_cascades(c))
		c->threshold = threshold_confidence(c);
	return CLI_OK;
}

static double
saving(const struct measured *m)
{
	return isnan(m->cost) ? NAN : 1 - m->cost / m->cost_strong;
}

static void
put_measured(struct buf *out, const char *name, const struct measured *m)
{
	json_put_key(out, name);
	json_put_begin(out, '{');
	json_put_member_double(out, "share", m->share);
	json_put_member_double(out, "quality", m->quality);
	json_put_member_double(out, "cost", m->cost);
	json_put_member_double(out, "cost_strong", m->cost_strong);
	json_put_member_double(out, "saving", saving(m));
	json_put_end(out, '}');
}

static void
print_json(const struct calibration *c, FILE *to)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_member_double(&out, "threshold", c->threshold);
	json_put_member_str(&out, "scorer", c->scorer.name);
	json_put_member_u64(&out, "rows", c->len);
	json_put_member_double(&out, "share", c->here.share);
	json_put_member_double(&out, "quality", c->here.quality);
	json_put_member_double(&out, "saving", saving(&c->here));
	json_put_member_double(&out, "weak", c->scored ? c->weak_mean : NAN);
	json_put_member_double(&out, "strong", c->scored ? c->strong_mean : NAN);
	put_measured(&out, "measured", &c->here);
	put_measured(&out, "held_out", &c->held_out);
	json_put_end(&out, '}');
	(void)fprintf(to, "%s\n", buf_str(&out));
}

static void
print_measured(const char *what, const struct measured *m, FILE *to)
{
	(void)fprintf(
		to, "%-34s %5.1f %% of the calls go to the strong model", what, m->share * 100);
	if (!isnan(m->quality))
		(void)fprintf(to, ", quality %.4f", m->quality);
	if (!isnan(m->cost))
		(void)fprintf(to, ", %.1f %% %s than strong alone", fabs(saving(m)) * 100,
			saving(m) < 0 ? "dearer" : "cheaper");
	(void)fputc('\n', to);
}

static void
print_person(const struct calibration *c, FILE *to)
{
	AUTO(buf_fini) struct buf threshold = BUF_INIT;

	/* all its digits: many prompts may want just so much, and a rounded one leaves them out */
	json_put_double(&threshold, c->threshold);
	(void)fprintf(to, "threshold  %s\nmodel      router-%s-%s\n\n", buf_str(&threshold),
		c->scorer.name, buf_str(&threshold));
	print_measured("on these rows:", &c->here, to);
	print_measured("chosen on other rows, same method:", &c->held_out, to);
	if (c->scored)
		(void)fprintf(
			to, "weak alone %.4f, strong alone %.4f\n", c->weak_mean, c->strong_mean);
	if (fabs(c->here.share - c->held_out.share) > 0.05)
		(void)fputs("The share differs by more than 5 points: these are few rows, or many "
			    "prompts with the same want.\n",
			to);
}

enum cli_exit
cli_calibrate(const struct cli *cli)
{
	AUTO(calibration_fini) struct calibration c = {.scorer = {.id = SCORERS}};
	const char *named = cli->values['s'];
	char spec[64];
	enum cli_exit code;

	/* A name alone means the file that comes with shunt, as in a route. */
	if (named != NULL && strchr(named, ':') == NULL) {
		enum scorer_id id = scorer_find(named, strlen(named));

		if (id < SCORERS && scorer_kind(id) == SCORER_KIND_TRAINED) {
			(void)snprintf(spec, sizeof(spec), "%s:default", named);
			named = spec;
		}
	}
	code = lab_scorer_open(&c.scorer, cli, named);
	if (code == CLI_OK && c.scorer.open == NULL)
		code = lab_fail(cli, "this scorer stands in no route: it has no threshold");
	if (code == CLI_OK)
		code = lab_data(
			&c.d, cli, &cli->data, cli->values['q'] != NULL ? LAB_SCORED : LAB_PROMPTS);
	if (code == CLI_OK)
		code = calibration_rows(&c, cli);
	if (code == CLI_OK)
		code = lab_encode(&c.encoded, cli, &c.d, (struct encode_plan){.threads = 1});
	if (code == CLI_OK)
		code = lab_encode_fits(&c.scorer, cli, &c.encoded);
	if (code == CLI_OK)
		code = calibration_wants(&c, cli);
	if (code == CLI_OK)
		code = calibration_run(&c, cli);
	if (code != CLI_OK)
		return code;
	if (cli->output == CLI_JSON)
		print_json(&c, cli->out);
	else
		print_person(&c, cli->out);
	return CLI_OK;
}
