/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval.c - `shunt eval`: what a scorer gains over the best single model, on data it has not seen
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

/* One scorer and what it is worth. */
struct eval_side {
	struct lab_scorer scorer;
	struct predict_plan plan;
	struct predictions p;
	struct evaluation v;
	struct report_labels labels;
};

/* One evaluation while it is put together. */
struct eval {
	struct dataset d;
	size_t train_len; /* the first rows of d are those of --train-data */
	struct lab_choice choice;
	struct predict_plan plan;
	struct evaluate_options options;
	struct evaluate_price *prices;
	unsigned folds;
	struct train_options train;
	uint32_t *train_models;
	struct encode encoded;
	struct eval_side own, against;
	struct evaluate_match match;
};

static void
eval_side_fini(struct eval_side *s)
{
	evaluate_fini(&s->v);
	predict_fini(&s->p);
	lab_scorer_fini(&s->scorer);
}

static void
eval_fini(struct eval *e)
{
	eval_side_fini(&e->own);
	eval_side_fini(&e->against);
	lab_choice_fini(&e->choice);
	encode_fini(&e->encoded);
	dataset_free(&e->d);
	free(e->prices);
	free(e->train_models);
}

static enum cli_exit
eval_numbers(struct eval *e, const struct cli *cli)
{
	double folds, seed, draws, threads;
	enum cli_exit code = lab_number(&folds, cli, 'k', "folds", 2, LAB_FOLDS_MAX, 5);

	if (code == CLI_OK)
		code = lab_number(&seed, cli, 'e', "seed", 0, 1e15, 0);
	if (code == CLI_OK)
		code = lab_number(&draws, cli, 'b', "resamples", 100, 1000000, BOOTSTRAP_DRAWS);
	if (code == CLI_OK)
		code = lab_number(&threads, cli, 'g', "threads", 1, 256, 1);
	if (code != CLI_OK)
		return code;
	e->folds = (unsigned)folds;
	e->options.draws = (unsigned)draws;
	e->plan.seed = (uint64_t)seed;
	e->train = (struct train_options){.seed = (uint64_t)seed, .threads = (unsigned)threads};
	return CLI_OK;
}

static enum cli_exit
eval_data(struct eval *e, const struct cli *cli)
{
	enum cli_exit code = CLI_OK;

	if (cli->train_data.len > 0)
		code = lab_data(&e->d, cli, &cli->train_data, LAB_SCORED);
	e->train_len = e->d.len;
	if (code == CLI_OK)
		code = lab_data(&e->d, cli, &cli->data, LAB_SCORED);
	if (code == CLI_OK)
		code = lab_choose_rows(&e->choice, cli, &e->d, e->train_len);
	if (code == CLI_OK)
		code = lab_choose_models(&e->choice, cli, &e->d);
	if (code != CLI_OK)
		return code;
	e->plan.d = &e->d;
	e->plan.rows = e->choice.rows;
	e->plan.len = e->choice.rows_len;
	e->plan.models = e->choice.models;
	e->plan.models_len = e->choice.models_len;
	e->plan.weak = e->choice.weak;
	e->plan.strong = e->choice.strong;
	e->plan.noise = PREDICT_NOISED;
	return CLI_OK;
}

static enum cli_exit
eval_encode(struct eval *e, const struct cli *cli)
{
	enum cli_exit code = lab_encode(&e->encoded, cli, &e->d,
		(struct encode_plan){.threads = e->train.threads,
			.noised = e->plan.rows,
			.noised_len = e->plan.len,
			.noise_seed = e->plan.seed});

	if (code == CLI_OK)
		code = lab_encode_fits(&e->own.scorer, cli, &e->encoded);
	if (code == CLI_OK)
		code = lab_encode_fits(&e->against.scorer, cli, &e->encoded);
	if (code != CLI_OK || e->encoded.embeddings == NULL)
		return code;
	e->plan.embeddings = e->train.embeddings = e->encoded.embeddings;
	e->plan.embedding_len = e->encoded.made.len;
	e->train.encoder = e->encoded.made;
	for (enum noise n = 0; n < NOISES; n++)
		e->plan.noised_embeddings[n] = e->encoded.noised[n];
	return CLI_OK;
}

/* Do all rows have the costs of all candidates? */
static bool
costs_complete(const struct eval *e)
{
	for (size_t i = 0; i < e->plan.len; i++) {
		const float *cost = e->d.rows[e->plan.rows[i]].cost;

		for (size_t m = 0; m < e->plan.models_len; m++) {
			if (cost == NULL || isnan(cost[e->plan.models[m]]))
				return false;
		}
	}
	return true;
}

static enum cli_exit
eval_cost(struct eval *e, const struct cli *cli)
{
	const char *name = cli->values['x'];

	if (name == NULL) {
		e->options.cost = costs_complete(e) ? COST_COSTS : COST_NONE;
		return CLI_OK;
	}
	while (e->options.cost <= COST_OUT_CHARS &&
		strcmp(cost_source_name(e->options.cost), name) != 0)
		e->options.cost++;
	if (e->options.cost > COST_OUT_CHARS) {
		(void)fprintf(cli->err,
			"shunt eval: --cost-source is costs, prices, out_chars or none, not `%s`\n",
			name);
		return CLI_USAGE;
	}
	if (e->options.cost != COST_PRICES)
		return CLI_OK;
	e->prices = calloc(e->plan.models_len, sizeof(*e->prices));
	CHECK(e->prices != NULL);
	e->options.prices = e->prices;
	return lab_prices(e->prices, cli, &e->plan);
}

static enum err_code
eval_train(struct eval *e, struct eval_side *s, struct err *err)
{
	uint32_t *rows;
	enum err_code code;

	if (e->train_len == 0) {
		const struct predict_validation v = {.d = &e->d,
			.rows = e->plan.rows,
			.len = e->plan.len,
			.folds = e->folds,
			.seed = e->plan.seed};

		s->labels.mode = "cross-validated";
		s->labels.folds = e->folds;
		code = predict_folds(&s->p, &s->plan, 1, &v, s->scorer.id, &e->train, err);
		if (code == ERR_OK && s->p.refused.code != ERR_OK)
			*err = s->p.refused;
		return code == ERR_OK ? s->p.refused.code : code;
	}
	s->labels.mode = "transfer";
	rows = calloc(e->train_len, sizeof(*rows));
	CHECK(rows != NULL);
	for (size_t i = 0; i < e->train_len; i++)
		rows[i] = (uint32_t)i;
	code = predict_transfer(&s->p, &s->plan, s->scorer.id, &e->train, rows, e->train_len, err);
	free(rows);
	return code;
}

static enum err_code
eval_predict(struct eval *e, struct eval_side *s, const struct cli *cli, struct err *err)
{
	struct lab_progress bar;
	enum err_code code;

	s->labels.mode = "fixed";
	if (s->scorer.reference < REFERENCES) {
		s->plan.noise = PREDICT_PLAIN;
		return predict_reference(&s->p, &s->plan, s->scorer.reference, err);
	}
	if (s->scorer.open != NULL) {
		if (s->scorer.id == SCORER_CASCADE) /* it does not look at the prompt */
			s->plan.noise = PREDICT_PLAIN;
		if (s->scorer.path != NULL)
			s->labels.mode = "file";
		return predict_scorer(&s->p, &s->plan, s->scorer.open, err);
	}
	/* Of models that nobody asks about, nothing has to be learned; other data may write the
	 * names of those that are asked about otherwise. */
	free(e->train_models);
	e->train_models = calloc(e->d.models_len + 1, sizeof(*e->train_models));
	CHECK(e->train_models != NULL);
	e->train.models = e->train_models;
	e->train.models_len = lab_choice_kin(e->train_models, &e->choice, &e->d);
	lab_progress_begin(&bar, cli);
	e->train.progress = lab_progress_step;
	e->train.progress_arg = &bar;
	code = eval_train(e, s, err);
	lab_progress_end(&bar);
	return code;
}

static enum cli_exit
eval_side_run(struct eval *e, struct eval_side *s, const struct cli *cli)
{
	struct err err;

	s->plan = e->plan;
	s->labels.scorer = s->scorer.name;
	s->labels.left_out = e->choice.left_out;
	s->labels.cost = e->options.cost;
	e->options.cascades = s->scorer.id == SCORER_CASCADE;
	if (eval_predict(e, s, cli, &err) != ERR_OK ||
		evaluate(&s->v, &s->plan, &s->p, &e->options, &err) != ERR_OK)
		return lab_fail(cli, err.text);
	return CLI_OK;
}

static enum cli_exit
eval_scorers(struct eval *e, const struct cli *cli)
{
	enum cli_exit code = lab_scorer_open(&e->own.scorer, cli, cli->values['s']);

	if (code == CLI_OK && cli->values['A'] != NULL)
		code = lab_scorer_open(&e->against.scorer, cli, cli->values['A']);
	if (code == CLI_OK && cli->train_data.len > 0 &&
		(e->own.scorer.open != NULL || e->own.scorer.reference < REFERENCES)) {
		(void)fputs("shunt eval: --train-data trains, but this scorer is trained already "
			    "or never\n",
			cli->err);
		code = CLI_USAGE;
	}
	return code;
}

static enum cli_exit
eval_run(struct eval *e, const struct cli *cli)
{
	enum cli_exit code = eval_numbers(e, cli);
	struct err err;

	if (code == CLI_OK && cli->values['p'] != NULL &&
		plot_check(cli->values['p'], &err) != ERR_OK)
		code = lab_fail(cli, err.text);
	if (code == CLI_OK)
		code = eval_scorers(e, cli);
	if (code == CLI_OK)
		code = eval_data(e, cli);
	if (code == CLI_OK)
		code = eval_encode(e, cli);
	if (code == CLI_OK)
		code = eval_cost(e, cli);
	if (code == CLI_OK)
		code = eval_side_run(e, &e->own, cli);
	if (code != CLI_OK || cli->values['A'] == NULL)
		return code;
	code = eval_side_run(e, &e->against, cli);
	if (code != CLI_OK)
		return code;
	e->match = (struct evaluate_match){
		.against = cli->values['A'], .mode = e->against.labels.mode};
	evaluate_match(&e->match, &e->own.v, &e->against.v, e->options.draws);
	e->own.labels.match = &e->match;
	return CLI_OK;
}

enum cli_exit
cli_eval(const struct cli *cli)
{
	AUTO(eval_fini) struct eval e = {.folds = 0};
	const struct report_labels *labels = &e.own.labels;
	struct err err;
	enum cli_exit code = eval_run(&e, cli);

	if (code != CLI_OK)
		return code;
	if (labels->match != NULL && !labels->match->better)
		code = CLI_BAD_NEWS;
	if (cli->values['p'] != NULL &&
		plot_evaluation(cli->values['p'], &e.own.v, labels, &err) != ERR_OK)
		code = lab_fail(cli, err.text);
	if (cli->output == CLI_JSON) {
		AUTO(buf_fini) struct buf out = BUF_INIT;

		report_json(&out, &e.own.v, labels);
		(void)fprintf(cli->out, "%s\n", buf_str(&out));
	} else {
		eval_print(&e.own.v, labels, cli->out);
	}
	return code;
}
