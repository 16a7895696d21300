/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.c - data, scorers and models as the laboratory's commands name them
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/lab.h"
#include "lib/base/file.h"
#include "lib/base/near.h"

enum { NEAR_LISTED = 6 };

enum cli_exit
lab_fail(const struct cli *cli, const char *text)
{
	(void)fprintf(cli->err, "shunt %s: %s\n", cli->command, text);
	return CLI_BAD_NEWS;
}

enum cli_exit
lab_number(double *out, const struct cli *cli, char option, const char *name, double low,
	double high, double fallback)
{
	const char *text = cli->values[(unsigned char)option];
	char *end;

	*out = fallback;
	if (text == NULL)
		return CLI_OK;
	errno = 0;
	*out = strtod(text, &end);
	if (end != text && *end == '\0' && errno == 0 && *out >= low && *out <= high)
		return CLI_OK;
	(void)fprintf(cli->err, "shunt %s: --%s wants a number from %g to %g, not `%s`\n",
		cli->command, name, low, high, text);
	return CLI_USAGE;
}

static enum cli_exit
scorer_unknown(const struct cli *cli, const char *name)
{
	const char *names[SCORERS + REFERENCES], *near;
	size_t n = 0;

	for (enum scorer_id id = 0; id < SCORERS; id++)
		names[n++] = scorer_name(id);
	for (enum reference r = 0; r < REFERENCES; r++)
		names[n++] = reference_name(r);
	near = near_name(name, names, n);
	(void)fprintf(cli->err, "shunt %s: no scorer is called `%s`", cli->command, name);
	if (near != NULL)
		(void)fprintf(cli->err, "; did you mean `%s`?", near);
	(void)fputs("\nThere are:", cli->err);
	for (size_t i = 0; i < n; i++)
		(void)fprintf(cli->err, " %s", names[i]);
	(void)fputc('\n', cli->err);
	return CLI_USAGE;
}

void
lab_scorer_fini(struct lab_scorer *s)
{
	scorer_free(&s->open);
	buf_fini(&s->data);
}

/* Open what has a file, and what needs none. */
static enum cli_exit
scorer_load(struct lab_scorer *s, const struct cli *cli)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct err e;
	enum scorer_kind kind = scorer_kind(s->id);

	if (kind == SCORER_KIND_FIXED) {
		if (s->path != NULL)
			return lab_fail(cli, "this scorer is fixed and reads no file");
		if (scorer_open(&s->open, s->id, s->name, NULL, 0, &e) != ERR_OK)
			return lab_fail(cli, e.text);
		return CLI_OK;
	}
	if (s->path == NULL)
		return CLI_OK;
	buf_add_str(&path, s->path);
	if (strcmp(s->path, "default") == 0) {
		char name[64];

		(void)snprintf(name, sizeof(name), "scorer/default.%s", s->name);
		buf_clear(&path);
		if (!file_shipped(&path, name))
			return lab_fail(cli, "no file of this scorer comes with shunt");
	}
	if (file_read(&s->data, buf_str(&path), LAB_SCORER_MAX, &e) != ERR_OK ||
		scorer_open(&s->open, s->id, buf_str(&path), s->data.data, s->data.len, &e) !=
			ERR_OK)
		return lab_fail(cli, e.text);
	return CLI_OK;
}

enum cli_exit
lab_scorer_open(struct lab_scorer *out, const struct cli *cli, const char *spec)
{
	const char *colon;

	*out = (struct lab_scorer){.id = SCORERS, .reference = REFERENCES};
	if (spec == NULL) {
		(void)fprintf(cli->err, "shunt %s: --scorer NAME is missing\n", cli->command);
		return CLI_USAGE;
	}
	colon = strchr(spec, ':');
	(void)snprintf(out->name, sizeof(out->name), "%.*s",
		colon != NULL ? (int)MIN(colon - spec, (ptrdiff_t)31) : 31, spec);
	out->path = colon != NULL ? colon + 1 : NULL;
	out->reference = reference_find(out->name);
	if (out->reference < REFERENCES)
		return CLI_OK;
	out->id = scorer_find(out->name, strlen(out->name));
	if (out->id == SCORERS)
		return scorer_unknown(cli, out->name);
	return scorer_load(out, cli);
}

/* The same file twice would count its rows twice, or leak what is tested into what is trained. */
static bool
given_before(const struct cli_list *files, size_t i)
{
	struct stat a, b;

	if (stat(files->values[i], &a) != 0)
		return false;
	for (size_t j = 0; j < i; j++) {
		if (stat(files->values[j], &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return true;
	}
	return false;
}

enum cli_exit
lab_data(struct dataset *d, const struct cli *cli, const struct cli_list *files, enum lab_rows rows)
{
	AUTO(buf_fini) struct buf faults = BUF_INIT;
	enum cli_exit code = CLI_OK;

	if (files->len == 0) {
		(void)fprintf(cli->err, "shunt %s: --data FILE is missing\n", cli->command);
		return CLI_USAGE;
	}
	/* cppcheck-suppress autoVariables ; taken back below */
	d->faults = &faults;
	for (size_t i = 0; i < files->len; i++) {
		AUTO(buf_fini) struct buf text = BUF_INIT;
		struct err e;

		if (given_before(files, i)) {
			(void)fprintf(cli->err, "shunt %s: %s is given twice\n", cli->command,
				files->values[i]);
			code = CLI_USAGE;
			continue;
		}
		buf_clear(&faults);
		if (lab_read(&text, files->values[i], &e) != ERR_OK) {
			code = lab_fail(cli, e.text);
			continue;
		}
		/* the log of a gateway that was asked nothing, beside those of others */
		if (rows == LAB_PROMPTS && text.len == 0 && files->len > 1)
			continue;
		if ((rows == LAB_SCORED ? dataset_add : dataset_add_prompts)(
			    d, files->values[i], buf_str(&text), text.len, &e) == ERR_OK)
			continue;
		code = CLI_BAD_NEWS;
		(void)fprintf(cli->err, "%s%s", buf_str(&faults), faults.len > 0 ? "" : e.text);
		if (faults.len == 0)
			(void)fputc('\n', cli->err);
	}
	d->faults = NULL;
	if (code == CLI_OK && d->len == 0)
		return lab_fail(cli, "no rows");
	return code;
}

static const char *
without_vendor(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash != NULL ? slash + 1 : name;
}

/* Names like the wrong one, nearest first; all of them where there are few. */
static void
list_near(const struct cli *cli, const struct dataset *d, const char *wrong)
{
	bool *listed = calloc(d->models_len + 1, sizeof(*listed));

	CHECK(listed != NULL);
	for (size_t n = 0; n < MIN(d->models_len, (size_t)NEAR_LISTED); n++) {
		size_t best = d->models_len;
		unsigned best_distance = UINT_MAX;

		for (size_t m = 0; m < d->models_len; m++) {
			unsigned distance =
				near_distance(without_vendor(wrong), without_vendor(d->models[m]));

			if (!listed[m] && distance < best_distance) {
				best = m;
				best_distance = distance;
			}
		}
		listed[best] = true;
		(void)fprintf(cli->err, "%s%s", n > 0 ? ", " : "", d->models[best]);
	}
	free(listed);
}

enum cli_exit
lab_model(int *out, const struct cli *cli, const struct dataset *d, const char *name)
{
	size_t same = 0;

	*out = dataset_model(d, name);
	for (size_t m = 0; *out < 0 && m < d->models_len; m++)
		same += scorer_is_model(d->models[m], name);
	for (size_t m = 0; same == 1 && m < d->models_len; m++) {
		if (scorer_is_model(d->models[m], name))
			*out = (int)m;
	}
	if (*out >= 0)
		return CLI_OK;
	(void)fprintf(cli->err,
		"shunt %s: no model of the data is called `%s`; near: ", cli->command, name);
	list_near(cli, d, name);
	(void)fprintf(cli->err, " (%zu models in all)\n", d->models_len);
	return CLI_USAGE;
}

void
lab_choice_fini(struct lab_choice *c)
{
	free(c->rows);
	free(c->models);
}

enum cli_exit
lab_choose_rows(
	struct lab_choice *out, const struct cli *cli, const struct dataset *d, size_t first)
{
	const char *prefix = cli->values['O'] != NULL ? cli->values['O'] : "";

	*out = (struct lab_choice){.weak = -1, .strong = -1};
	out->rows = calloc(d->len + 1, sizeof(*out->rows));
	CHECK(out->rows != NULL);
	for (size_t i = first; i < d->len; i++) {
		if (strncmp(d->sources[d->rows[i].source], prefix, strlen(prefix)) == 0)
			out->rows[out->rows_len++] = (uint32_t)i;
	}
	if (out->rows_len == 0)
		return lab_fail(cli, "no row's dataset begins with what --only says");
	return CLI_OK;
}

/* Models that every chosen row has a score of. */
static void
choose_complete(struct lab_choice *c, const struct dataset *d)
{
	for (size_t m = 0; m < d->models_len; m++) {
		bool complete = c->rows_len > 0;

		for (size_t i = 0; complete && i < c->rows_len; i++)
			complete = !isnan(d->rows[c->rows[i]].score[m]);
		if (complete)
			c->models[c->models_len++] = (uint32_t)m;
	}
}

static void
drop_rows_without(struct lab_choice *c, const struct dataset *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->rows_len; i++) {
		const struct dataset_row *r = &d->rows[c->rows[i]];
		bool complete = true;

		for (size_t m = 0; m < c->models_len; m++)
			complete = complete && !isnan(r->score[c->models[m]]);
		if (complete)
			c->rows[kept++] = c->rows[i];
	}
	c->left_out = c->rows_len - kept;
	c->rows_len = kept;
}

/* Of two models, the one with the lower mean is weak. */
static void
order_pair(struct lab_choice *c, const struct dataset *d)
{
	double gap = 0;

	for (size_t i = 0; i < c->rows_len; i++) {
		const float *score = d->rows[c->rows[i]].score;

		gap += (double)score[c->models[1]] - (double)score[c->models[0]];
	}
	c->weak = gap >= 0 ? 0 : 1;
	c->strong = 1 - c->weak;
}

static enum cli_exit
choose_pair(struct lab_choice *c, const struct cli *cli, const struct dataset *d)
{
	int weak, strong;
	enum cli_exit code = lab_model(&weak, cli, d, cli->values['w']);

	if (code == CLI_OK)
		code = lab_model(&strong, cli, d, cli->values['S']);
	if (code != CLI_OK)
		return code;
	if (weak == strong) {
		(void)fprintf(cli->err, "shunt %s: --weak and --strong are the same model\n",
			cli->command);
		return CLI_USAGE;
	}
	c->models[0] = (uint32_t)weak;
	c->models[1] = (uint32_t)strong;
	c->models_len = 2;
	c->weak = 0;
	c->strong = 1;
	drop_rows_without(c, d);
	return CLI_OK;
}

static enum cli_exit
choose_among(struct lab_choice *c, const struct cli *cli, const struct dataset *d)
{
	int model;

	for (size_t i = 0; i < cli->among.len; i++) {
		enum cli_exit code = lab_model(&model, cli, d, cli->among.values[i]);
		size_t same = 0;

		if (code != CLI_OK)
			return code;
		while (same < c->models_len && c->models[same] != (uint32_t)model)
			same++;
		if (same == c->models_len)
			c->models[c->models_len++] = (uint32_t)model;
	}
	drop_rows_without(c, d);
	return CLI_OK;
}

static enum cli_exit
choose_models(struct lab_choice *c, const struct cli *cli, const struct dataset *d)
{
	const bool weak = cli->values['w'] != NULL, strong = cli->values['S'] != NULL;
	const bool many = cli->values['m'] != NULL || cli->among.len > 0;
	enum cli_exit code = CLI_OK;

	if (weak && strong && !many)
		return choose_pair(c, cli, d);
	if (weak || strong) {
		(void)fprintf(cli->err, "shunt %s: %s\n", cli->command,
			weak && strong ? "--many and --among go without --weak and --strong"
				       : "--weak and --strong are given together");
		return CLI_USAGE;
	}
	if (cli->among.len > 0)
		code = choose_among(c, cli, d);
	else
		choose_complete(c, d);
	if (code != CLI_OK)
		return code;
	if (c->models_len == 2 && cli->values['m'] == NULL)
		order_pair(c, d);
	return CLI_OK;
}

size_t
lab_choice_kin(uint32_t *out, const struct lab_choice *c, const struct dataset *d)
{
	size_t n = 0;

	for (size_t m = 0; m < d->models_len; m++) {
		for (size_t i = 0; i < c->models_len; i++) {
			if (!scorer_is_model(d->models[m], d->models[c->models[i]]))
				continue;
			out[n++] = (uint32_t)m;
			break;
		}
	}
	return n;
}

enum cli_exit
lab_choose_models(struct lab_choice *c, const struct cli *cli, const struct dataset *d)
{
	enum cli_exit code;

	c->models = calloc(d->models_len + 2, sizeof(*c->models));
	CHECK(c->models != NULL);
	code = choose_models(c, cli, d);
	if (code != CLI_OK)
		return code;
	if (c->models_len < 2 && cli->among.len > 0)
		return lab_fail(cli, "--among names one model: there is nothing to choose");
	if (c->models_len < 2)
		return lab_fail(cli, "fewer than two models have a score on every row: evaluate "
				     "the sets apart (--only), or name --weak and --strong");
	if (c->rows_len == 0)
		return lab_fail(cli, "no row has the scores of all these models");
	return CLI_OK;
}
