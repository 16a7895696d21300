/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train.c - `shunt train`: a scorer's file from routing data, and what it is worth cross-validated
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"
#include "cli/table.h"
#include "lib/base/json.h"

enum { SETS_MAX = 64, NOTE_MAX = 512, GAIN_MAX = 64 };

/* One set of the data, the rows whose dataset begins with its name, and what the folds gave. */
struct set {
	char name[DATASET_NAME_MAX + 1];
	struct lab_choice choice;
	struct evaluation v;
};

struct training {
	struct dataset d;
	struct lab_scorer scorer;
	struct lab_choice chosen; /* rows to train on */
	unsigned folds;
	struct train_options options;
	struct encode encoded;
	char note[NOTE_MAX];
	struct train_report report;
	struct buf file;
	struct set sets[SETS_MAX];
	struct predict_plan plans[SETS_MAX];
	struct predictions predictions[SETS_MAX];
	size_t sets_len;
};

static void
training_free(struct training **t_p)
{
	struct training *t = *t_p;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->sets_len; i++) {
		evaluate_fini(&t->sets[i].v);
		lab_choice_fini(&t->sets[i].choice);
		predict_fini(&t->predictions[i]);
	}
	lab_scorer_fini(&t->scorer);
	encode_fini(&t->encoded);
	dataset_free(&t->d);
	buf_fini(&t->file);
	lab_choice_fini(&t->chosen);
	free(t);
	*t_p = NULL;
}

static enum cli_exit
training_options(struct training *t, const struct cli *cli)
{
	double seed, folds, threads;
	enum cli_exit code = lab_number(&folds, cli, 'k', "folds", 2, LAB_FOLDS_MAX, 5);

	if (code == CLI_OK)
		code = lab_number(&seed, cli, 'e', "seed", 0, 1e15, 0);
	if (code == CLI_OK)
		code = lab_number(&threads, cli, 'g', "threads", 1, 256, 1);
	if (code != CLI_OK)
		return code;
	t->folds = (unsigned)folds;
	t->options = (struct train_options){
		.seed = (uint64_t)seed, .threads = (unsigned)threads, .note = t->note};
	if (cli->values['o'] == NULL) {
		(void)fputs("shunt train: --out FILE is missing\n", cli->err);
		return CLI_USAGE;
	}
	code = lab_scorer_open(&t->scorer, cli, cli->values['s']);
	if (code != CLI_OK)
		return code;
	if (t->scorer.path != NULL || t->scorer.id == SCORERS ||
		scorer_kind(t->scorer.id) == SCORER_KIND_FIXED) {
		(void)fprintf(cli->err, "shunt train: `%s` can't be trained%s\n", cli->values['s'],
			t->scorer.path != NULL ? ": --scorer takes a name, --out the file" : "");
		return CLI_USAGE;
	}
	return CLI_OK;
}

/* Which data made the file: names without folders, so that the same data give the same bytes. */
static void
training_note(struct training *t, const struct cli *cli)
{
	AUTO(buf_fini) struct buf note = BUF_INIT;

	for (size_t i = 0; i < cli->data.len; i++) {
		const char *slash = strrchr(cli->data.values[i], '/');

		buf_addf(&note, "%s%s", i > 0 ? " " : "",
			slash != NULL ? slash + 1 : cli->data.values[i]);
	}
	buf_addf(&note, "; %zu rows, seed %llu", t->chosen.rows_len,
		(unsigned long long)t->options.seed);
	(void)snprintf(t->note, sizeof(t->note), "%s", buf_str(&note));
}

static enum cli_exit
training_data(struct training *t, const struct cli *cli)
{
	enum cli_exit code = lab_data(&t->d, cli, &cli->data, LAB_SCORED);

	if (code != CLI_OK)
		return code;
	code = lab_choose_rows(&t->chosen, cli, &t->d, 0);
	if (code != CLI_OK)
		return code;
	if (t->chosen.rows_len > TRAIN_ROWS_MAX) { /* said before hours of embeddings */
		(void)fprintf(cli->err,
			"shunt train: %zu rows are too many to train on; %d at most\n",
			t->chosen.rows_len, TRAIN_ROWS_MAX);
		return CLI_BAD_NEWS;
	}
	training_note(t, cli);
	code = lab_encode(
		&t->encoded, cli, &t->d, (struct encode_plan){.threads = t->options.threads});
	t->options.embeddings = t->encoded.embeddings;
	t->options.encoder = t->encoded.made;
	return code;
}

/* Is the row of the set: does its dataset's name, up to the first slash, say so? */
static bool
set_has(const char *set, const struct training *t, uint32_t row)
{
	const char *source = t->d.sources[t->d.rows[row].source];
	size_t len = strlen(set);

	return strncmp(source, set, len) == 0 && (source[len] == '\0' || source[len] == '/');
}

/* The groups that dataset names begin with, up to their first slash, as far as there is room. */
static void
training_sets(struct training *t)
{
	for (size_t i = 0; i < t->chosen.rows_len; i++) {
		uint32_t row = t->chosen.rows[i];
		const char *source = t->d.sources[t->d.rows[row].source];
		size_t s = 0;

		while (s < t->sets_len && !set_has(t->sets[s].name, t, row))
			s++;
		if (s == t->sets_len && s < SETS_MAX)
			(void)snprintf(t->sets[t->sets_len++].name, sizeof(t->sets[0].name), "%.*s",
				(int)strcspn(source, "/"), source);
	}
}

/* Its rows among the chosen ones, and the models that have a score on each; false: fewer than two.
 */
static bool
set_choose(struct set *set, const struct training *t, const struct cli *cli)
{
	struct lab_choice *c = &set->choice;
	struct cli quiet = *cli;
	enum cli_exit code;

	*c = (struct lab_choice){.weak = -1, .strong = -1};
	c->rows = calloc(t->chosen.rows_len, sizeof(*c->rows));
	quiet.err = fopen("/dev/null", "we");
	CHECK(c->rows != NULL && quiet.err != NULL);
	for (size_t i = 0; i < t->chosen.rows_len; i++) {
		if (set_has(set->name, t, t->chosen.rows[i]))
			c->rows[c->rows_len++] = t->chosen.rows[i];
	}
	quiet.values['m'] = "";
	code = lab_choose_models(c, &quiet, &t->d);
	(void)fclose(quiet.err);
	return code == CLI_OK;
}

/* A plan for every set in which two models have a score on every row. The other sets are left out
 * of the report, not of the training; so is a set whose models have scores in one fold only. */
static void
training_plans(struct training *t, const struct cli *cli)
{
	size_t kept = 0;

	for (size_t s = 0; s < t->sets_len; s++) {
		struct set set = t->sets[s];

		if (!set_choose(&set, t, cli)) {
			lab_choice_fini(&set.choice);
			continue;
		}
		t->sets[kept] = set;
		t->plans[kept] = (struct predict_plan){.d = &t->d,
			.rows = set.choice.rows,
			.len = set.choice.rows_len,
			.models = set.choice.models,
			.models_len = set.choice.models_len,
			.weak = -1,
			.strong = -1,
			.seed = t->options.seed,
			.embeddings = t->encoded.embeddings,
			.embedding_len = t->encoded.made.len};
		kept++;
	}
	t->sets_len = kept;
}

static enum err_code
training_run(struct training *t, struct err *e)
{
	const struct predict_validation v = {.d = &t->d,
		.rows = t->chosen.rows,
		.len = t->chosen.rows_len,
		.folds = t->folds,
		.seed = t->options.seed};
	const struct evaluate_options o = {.cost = COST_NONE};
	enum err_code code = train_run(&t->file, &t->report, &t->d, t->chosen.rows,
		t->chosen.rows_len, t->scorer.id, &t->options, e);

	if (code == ERR_OK && t->sets_len > 0)
		code = predict_folds(
			t->predictions, t->plans, t->sets_len, &v, t->scorer.id, &t->options, e);
	for (size_t s = 0; code == ERR_OK && s < t->sets_len; s++) {
		if (t->predictions[s].refused.code == ERR_OK)
			code = evaluate(&t->sets[s].v, &t->plans[s], &t->predictions[s], &o, e);
	}
	return code;
}

static void
put_set(struct buf *out, const struct set *set)
{
	const struct evaluate_choice *c = &set->v.routed;

	json_put_begin(out, '{');
	json_put_member_str(out, "name", set->name);
	json_put_member_u64(out, "rows", set->v.rows);
	json_put_member_u64(out, "models", set->v.plan->models_len);
	json_put_member_double(out, "best_single", set->v.means[set->v.best]);
	json_put_member_double(out, "routed", c->quality);
	json_put_member_double(out, "gain", c->gain);
	json_put_key(out, "gain_ci95");
	json_put_begin(out, '[');
	json_put_double(out, c->gain_ci95.low);
	json_put_double(out, c->gain_ci95.high);
	json_put_end(out, ']');
	json_put_member_double(out, "ece", set->v.ece);
	json_put_end(out, '}');
}

static void
print_json(const struct training *t, const struct cli *cli)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_member_str(&out, "scorer", t->scorer.name);
	json_put_member_str(&out, "out", cli->values['o']);
	json_put_member_u64(&out, "bytes", t->file.len);
	json_put_member_str(&out, "note", t->note);
	json_put_member_u64(&out, "rows", t->report.rows);
	json_put_member_u64(&out, "models", t->report.models);
	json_put_member_u64(&out, "features", t->report.features);
	json_put_member_double(&out, "lambda", t->report.lambda);
	json_put_member_double(&out, "cv_error", t->report.cv_error);
	json_put_member_double(&out, "cv_error_mean", t->report.cv_error_mean);
	json_put_member_double(&out, "train_s", t->report.seconds);
	json_put_member_u64(&out, "folds", t->folds);
	json_put_key(&out, "sets");
	json_put_begin(&out, '[');
	for (size_t s = 0; s < t->sets_len; s++) {
		if (t->predictions[s].refused.code == ERR_OK)
			put_set(&out, &t->sets[s]);
	}
	json_put_end(&out, ']');
	json_put_end(&out, '}');
	(void)fprintf(cli->out, "%s\n", buf_str(&out));
}

static void
print_sets(const struct training *t, FILE *to)
{
	AUTO(table_free) struct table *table = NULL;
	static const char *const heads[] = {
		"ROWS", "MODELS", "BEST SINGLE", "ROUTED", "GAIN IN POINTS, 95 %"};
	char text[GAIN_MAX];

	table_new(&table);
	table_column(table, "SET", TABLE_LEFT);
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		table_column(table, heads[i], TABLE_RIGHT);
	for (size_t s = 0; s < t->sets_len; s++) {
		const struct evaluation *v = &t->sets[s].v;
		double scale = v->oracle > 1 ? 1 : 100;

		if (t->predictions[s].refused.code != ERR_OK)
			continue;
		table_cell(table, t->sets[s].name, TABLE_PLAIN);
		(void)snprintf(text, sizeof(text), "%zu", v->rows);
		table_cell(table, text, TABLE_PLAIN);
		(void)snprintf(text, sizeof(text), "%zu", v->plan->models_len);
		table_cell(table, text, TABLE_PLAIN);
		(void)snprintf(text, sizeof(text), "%.4f", v->means[v->best]);
		table_cell(table, text, TABLE_PLAIN);
		(void)snprintf(text, sizeof(text), "%.4f", v->routed.quality);
		table_cell(table, text, TABLE_PLAIN);
		eval_print_gain(text, sizeof(text), &v->routed, scale);
		table_cell(table, text,
			v->verdict == EVALUATE_BEATS   ? TABLE_GOOD
			: v->verdict == EVALUATE_LOSES ? TABLE_BAD
						       : TABLE_PLAIN);
	}
	table_print(
		table, "Cross-validated: the model guessed best against the best single one", to);
}

static void
print_report(const struct training *t, const struct cli *cli)
{
	const struct train_report *r = &t->report;

	(void)fprintf(cli->out,
		"%s: %zu rows, %zu models, %zu features, trained in %.1f s\n"
		"error of the guessed scores %.4f (guessing each model's mean: %.4f)",
		t->scorer.name, r->rows, r->models, r->features, r->seconds, r->cv_error,
		r->cv_error_mean);
	if (r->lambda > 0)
		(void)fprintf(cli->out, ", ridge %g", r->lambda);
	(void)fputs("\n\n", cli->out);
	print_sets(t, cli->out);
	(void)fprintf(cli->out, "\n%s: %.0f KiB\n", cli->values['o'], (double)t->file.len / 1024);
}

enum cli_exit
cli_train(const struct cli *cli)
{
	AUTO(training_free) struct training *t = calloc(1, sizeof(*t));
	struct lab_progress bar;
	struct err e;
	enum cli_exit code;
	enum err_code failed;

	CHECK(t != NULL);
	code = training_options(t, cli);
	if (code == CLI_OK && lab_write_check(cli->values['o'], &e) != ERR_OK)
		code = lab_fail(cli, e.text);
	if (code == CLI_OK)
		code = training_data(t, cli);
	if (code != CLI_OK)
		return code;
	training_sets(t);
	training_plans(t, cli);
	lab_progress_begin(&bar, cli);
	t->options.progress = lab_progress_step;
	t->options.progress_arg = &bar;
	failed = training_run(t, &e);
	lab_progress_end(&bar);
	if (failed == ERR_OK)
		failed = lab_write(cli->values['o'], &t->file, &e);
	if (failed != ERR_OK)
		return lab_fail(cli, e.text);
	if (cli->output == CLI_JSON)
		print_json(t, cli);
	else
		print_report(t, cli);
	return CLI_OK;
}
