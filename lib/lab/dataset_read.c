/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_read.c - one file's JSON lines as rows of a dataset; every bad row gets its reason
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "lib/base/json.h"
#include "lib/lab/dataset_store.h"

/* Members of a row that mean something here; others are left alone. */
enum field {
	FIELD_PROMPT,
	FIELD_DATASET,
	FIELD_SCORES,
	FIELD_WIN,
	FIELD_COSTS,
	FIELD_TOKENS,
	FIELD_OUT_CHARS,
	FIELD_CONFIDENCE,
	FIELDS
};

static const struct field_row {
	const char *name;
	enum json_type type;
	const char *type_text;
} field_rows[FIELDS] = {
	[FIELD_PROMPT] = {"prompt", JSON_STRING, "a string"},
	[FIELD_DATASET] = {"dataset", JSON_STRING, "a string"},
	[FIELD_SCORES] = {"scores", JSON_OBJECT, "an object of model: number"},
	[FIELD_WIN] = {"win", JSON_OBJECT, "an object of model: number"},
	[FIELD_COSTS] = {"costs", JSON_OBJECT, "an object of model: number"},
	[FIELD_TOKENS] = {"tokens", JSON_OBJECT, "an object of model: [in, out]"},
	[FIELD_OUT_CHARS] = {"out_chars", JSON_OBJECT, "an object of model: number"},
	[FIELD_CONFIDENCE] = {"confidence", JSON_OBJECT, "an object of model: number"},
};

enum needs { NEEDS_SCORES, NEEDS_PROMPT };

/* One file while it is read. */
struct reader {
	struct dataset *d;
	const char *path, *file; /* file: the dataset's copy */
	enum needs needs;
	uint32_t line;
	size_t bad;
	struct buf text; /* a decoded string */
	struct err first; /* the first bad row's */
};

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* Note that the row at r->line is bad. */
static void
reader_fault(struct reader *r, uint32_t line, struct err *e)
{
	(void)err_wrap(e, "%s:%u", r->path, line);
	e->code = ERR_INPUT;
	if (r->bad++ == 0)
		r->first = *e;
	if (r->d->faults != NULL && r->bad <= DATASET_FAULTS_MAX)
		buf_addf(r->d->faults, "%s\n", e->text);
}

/* A model's or source's name, decoded into r->text. */
static enum err_code
read_name(struct reader *r, struct json name, const char *what, struct err *e)
{
	buf_clear(&r->text);
	json_text(&r->text, name);
	if (r->text.len == 0)
		return err_set(e, ERR_INPUT, "%s: the name is empty", what);
	if (r->text.len > DATASET_NAME_MAX)
		return err_set(
			e, ERR_INPUT, "%s: a name of more than %d bytes", what, DATASET_NAME_MAX);
	for (size_t i = 0; i < r->text.len; i++) {
		if ((unsigned char)r->text.data[i] < ' ' || r->text.data[i] == 0x7f)
			return err_set(e, ERR_INPUT, "%s: a control character in a name", what);
	}
	return ERR_OK;
}

static enum err_code
read_number(
	double *out, struct json v, const char *what, const char *model, double most, struct err *e)
{
	if (v.type != JSON_NUMBER)
		return err_set(e, ERR_INPUT, "%s of `%s` is no number: %.*s", what, model,
			(int)MIN(v.len, (size_t)24), v.p);
	if (!json_double(out, v) || !isfinite(*out))
		return err_set(e, ERR_INPUT, "%s of `%s` is not finite: %.*s", what, model,
			(int)MIN(v.len, (size_t)24), v.p);
	if (*out < 0 || *out > most)
		return err_set(e, ERR_INPUT, "%s of `%s` is %g, not between 0 and %g", what, model,
			*out, most);
	return ERR_OK;
}

static enum err_code
read_scores(struct reader *r, size_t row, struct json scores, const char *what, struct err *e)
{
	struct json_iter it = json_iter(scores);
	struct json key, value;
	size_t guess = 0;
	double v;

	while (json_next_member(&it, &key, &value)) {
		float *cells;
		int model;

		if (read_name(r, key, what, e) != ERR_OK ||
			read_number(&v, value, what, buf_str(&r->text), 10, e) != ERR_OK)
			return ERR_INPUT;
		model = store_model(r->d, buf_str(&r->text), guess);
		if (model < 0)
			return err_set(
				e, ERR_INPUT, "more models than fit (%d)", DATASET_MODELS_MAX);
		cells = store_cells(r->d, CELLS_RAW, row);
		if (!isnan(cells[model]))
			return err_set(e, ERR_INPUT, "%s has `%s` twice", what, buf_str(&r->text));
		cells[model] = (float)v;
		guess = (size_t)model + 1;
	}
	if (guess == 0)
		return err_set(e, ERR_INPUT, "%s is empty", what);
	return ERR_OK;
}

/* Costs, answer lengths: of the models that have a score; others are no model of this row. Where no
 * scores are asked for, a model may be known by how sure it was alone. */
static enum err_code
read_figures(struct reader *r, size_t row, struct json object, enum field field, enum cells kind,
	struct err *e)
{
	const char *what = field_rows[field].name;
	const double most = field == FIELD_CONFIDENCE ? 1 : 1e12;
	const bool adds = field == FIELD_CONFIDENCE && r->needs == NEEDS_PROMPT;
	struct json_iter it = json_iter(object);
	struct json key, value;
	size_t guess = 0;
	double v;

	while (json_next_member(&it, &key, &value)) {
		float *cells;
		int model;

		if (read_name(r, key, what, e) != ERR_OK ||
			read_number(&v, value, what, buf_str(&r->text), most, e) != ERR_OK)
			return ERR_INPUT;
		if (adds)
			model = store_model(r->d, buf_str(&r->text), guess);
		else
			model = guess < r->d->models_len &&
						strcmp(r->d->models[guess], buf_str(&r->text)) == 0
					? (int)guess
					: dataset_model(r->d, buf_str(&r->text));
		if (model < 0)
			continue;
		cells = store_cells(r->d, kind, row);
		if (!isnan(cells[model]))
			return err_set(e, ERR_INPUT, "%s has `%s` twice", what, buf_str(&r->text));
		cells[model] = (float)v;
		guess = (size_t)model + 1;
	}
	return ERR_OK;
}

static enum err_code
read_tokens(struct reader *r, size_t row, struct json object, struct err *e)
{
	struct json_iter it = json_iter(object);
	struct json key, value;

	while (json_next_member(&it, &key, &value)) {
		struct json_iter pair = json_iter(value);
		struct json in = {.type = JSON_NONE}, out = in, more;
		double tokens_in, tokens_out;
		int model;

		if (read_name(r, key, "tokens", e) != ERR_OK)
			return ERR_INPUT;
		if (value.type != JSON_ARRAY || !json_next_item(&pair, &in) ||
			!json_next_item(&pair, &out) || json_next_item(&pair, &more))
			return err_set(
				e, ERR_INPUT, "tokens of `%s` is not [in, out]", buf_str(&r->text));
		if (read_number(&tokens_in, in, "tokens", buf_str(&r->text), 1e12, e) != ERR_OK ||
			read_number(&tokens_out, out, "tokens", buf_str(&r->text), 1e12, e) !=
				ERR_OK)
			return ERR_INPUT;
		model = dataset_model(r->d, buf_str(&r->text));
		if (model < 0)
			continue;
		store_cells(r->d, CELLS_TOKENS_IN, row)[model] = (float)tokens_in;
		store_cells(r->d, CELLS_TOKENS_OUT, row)[model] = (float)tokens_out;
	}
	return ERR_OK;
}

static enum err_code
read_prompt(struct reader *r, struct dataset_row *row, struct json prompt, struct err *e)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	if (prompt.type == JSON_NONE)
		return err_set(e, ERR_INPUT, "no `prompt`");
	buf_clear(&r->text);
	json_text(&r->text, prompt);
	if (r->text.len == 0)
		return err_set(e, ERR_INPUT, "the prompt is empty");
	if (r->text.len > DATASET_PROMPT_MAX)
		return err_set(e, ERR_INPUT, "a prompt of more than %d bytes", DATASET_PROMPT_MAX);
	(void)SHA256((const unsigned char *)r->text.data, r->text.len, digest);
	row->hash = 0;
	for (int i = 0; i < 8; i++)
		row->hash = row->hash << 8 | digest[i];
	row->prompt = store_text(r->d, r->text.data, r->text.len);
	row->prompt_len = r->text.len;
	return ERR_OK;
}

static enum err_code
read_source(struct reader *r, struct dataset_row *row, struct json name, struct err *e)
{
	int source;

	if (name.type == JSON_NONE) {
		source = store_source(r->d, base_name(r->path));
	} else {
		if (read_name(r, name, "dataset", e) != ERR_OK)
			return ERR_INPUT;
		source = store_source(r->d, buf_str(&r->text));
	}
	if (source < 0)
		return err_set(e, ERR_INPUT, "more than %d datasets", DATASET_SOURCES_MAX);
	row->source = (uint32_t)source;
	return ERR_OK;
}

/* Find the known members of the object, once each and of the right type. */
static enum err_code
read_fields(struct json fields[FIELDS], struct json object, struct err *e)
{
	struct json_iter it = json_iter(object);
	struct json key, value;

	memset(fields, 0, FIELDS * sizeof(fields[0]));
	while (json_next_member(&it, &key, &value)) {
		for (size_t f = 0; f < FIELDS; f++) {
			if (!json_equals(key, field_rows[f].name))
				continue;
			if (fields[f].type != JSON_NONE)
				return err_set(e, ERR_INPUT, "`%s` stands there twice",
					field_rows[f].name);
			if (value.type != field_rows[f].type)
				return err_set(e, ERR_INPUT, "`%s` is not %s", field_rows[f].name,
					field_rows[f].type_text);
			fields[f] = value;
		}
	}
	return ERR_OK;
}

static enum err_code
read_cells(struct reader *r, size_t row, const struct json fields[FIELDS], struct err *e)
{
	enum field scores = fields[FIELD_SCORES].type != JSON_NONE ? FIELD_SCORES : FIELD_WIN;

	if (fields[scores].type == JSON_NONE) {
		if (r->needs == NEEDS_SCORES)
			return err_set(e, ERR_INPUT, "no `scores`");
		return read_figures(
			r, row, fields[FIELD_CONFIDENCE], FIELD_CONFIDENCE, CELLS_CONFIDENCE, e);
	}
	if (read_scores(r, row, fields[scores], field_rows[scores].name, e) != ERR_OK)
		return ERR_INPUT;
	if (read_figures(r, row, fields[FIELD_COSTS], FIELD_COSTS, CELLS_COST, e) != ERR_OK ||
		read_figures(r, row, fields[FIELD_OUT_CHARS], FIELD_OUT_CHARS, CELLS_CHARS, e) !=
			ERR_OK ||
		read_figures(r, row, fields[FIELD_CONFIDENCE], FIELD_CONFIDENCE, CELLS_CONFIDENCE,
			e) != ERR_OK)
		return ERR_INPUT;
	return read_tokens(r, row, fields[FIELD_TOKENS], e);
}

static enum err_code
read_row(struct reader *r, const char *text, size_t len, struct err *e)
{
	struct dataset_row *row;
	struct json object, fields[FIELDS];
	static const char at[] = "line 1 ";

	if (json_check(&object, text, len, e) != ERR_OK) {
		if (strncmp(e->text, at, sizeof(at) - 1) == 0)
			memmove(e->text, e->text + sizeof(at) - 1,
				strlen(e->text) - sizeof(at) + 2);
		return ERR_INPUT;
	}
	if (object.type != JSON_OBJECT)
		return err_set(e, ERR_INPUT, "not a JSON object");
	if (read_fields(fields, object, e) != ERR_OK || store_row(&row, r->d, e) != ERR_OK)
		return ERR_INPUT;
	row->line = r->line;
	row->file = r->file;
	if (read_prompt(r, row, fields[FIELD_PROMPT], e) == ERR_OK &&
		read_source(r, row, fields[FIELD_DATASET], e) == ERR_OK &&
		read_cells(r, r->d->len - 1, fields, e) == ERR_OK)
		return ERR_OK;
	store_drop_row(r->d);
	return ERR_INPUT;
}

static bool
is_blank(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	return p == end;
}

/* A byte order mark before the first row is no part of it. */
static const char *
skip_mark(const char *text, size_t len)
{
	return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
}

static size_t
group_len(const char *source)
{
	return strcspn(source, "/");
}

static bool
same_group(const char *a, const char *b)
{
	size_t len = group_len(a);

	return len == group_len(b) && memcmp(a, b, len) == 0;
}

/* Which sources belong to a group that uses 1..10 in the rows from first on. */
static void
mark_judged(bool *judged, struct dataset *d, size_t first)
{
	for (size_t i = first; i < d->len; i++) {
		const float *raw = store_cells(d, CELLS_RAW, i);

		for (size_t m = 0; m < d->models_len && !judged[d->rows[i].source]; m++)
			judged[d->rows[i].source] = raw[m] > 1;
	}
	for (size_t s = 0; s < d->sources_len; s++) {
		for (size_t t = 0; judged[s] && t < d->sources_len; t++)
			judged[t] = judged[t] || same_group(d->sources[s], d->sources[t]);
	}
}

static bool
scale_row(struct reader *r, size_t row, bool judged, struct err *e)
{
	const float *raw = store_cells(r->d, CELLS_RAW, row);
	float *score = store_cells(r->d, CELLS_SCORE, row);

	for (size_t m = 0; m < r->d->models_len; m++) {
		if (judged && raw[m] < 1) {
			(void)err_set(e, ERR_INPUT,
				"the score of `%s` is %g, but other scores of this set go up to 10",
				r->d->models[m], (double)raw[m]);
			return false;
		}
		score[m] = judged ? (raw[m] - 1) / 9 : raw[m];
	}
	return true;
}

/* Bring the file's scores to 0..1; drop rows that do not fit their set's scale. */
static void
scale_rows(struct reader *r, size_t first)
{
	struct dataset *d = r->d;
	size_t kept = first, len = d->len;
	bool *judged;

	if (len == first || d->arena->cells[CELLS_RAW] == NULL)
		return;
	judged = calloc(d->sources_len, sizeof(*judged));
	CHECK(judged != NULL);
	mark_judged(judged, d, first);
	for (size_t i = first; i < len; i++) {
		struct err e;

		if (!scale_row(r, i, judged[d->rows[i].source], &e)) {
			reader_fault(r, d->rows[i].line, &e);
			continue;
		}
		if (kept != i) {
			d->rows[kept] = d->rows[i];
			for (enum cells k = 0; k < CELLS; k++) {
				if (d->arena->cells[k] != NULL)
					memcpy(store_cells(d, k, kept), store_cells(d, k, i),
						d->arena->stride * sizeof(float));
			}
		}
		kept++;
	}
	free(judged);
	while (d->len > kept)
		store_drop_row(d);
}

static enum err_code
read_file(struct reader *r, const char *text, size_t len, struct err *e)
{
	const char *p = skip_mark(text, len), *end = text + len;
	size_t first = r->d->len;

	r->file = store_text(r->d, r->path, strlen(r->path));
	while (p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		struct err bad;

		if (stop == NULL)
			stop = end;
		r->line++;
		if (!is_blank(p, stop) && read_row(r, p, (size_t)(stop - p), &bad) != ERR_OK) {
			reader_fault(r, r->line, &bad);
			if (r->d->faults == NULL)
				break;
		}
		p = stop + 1;
	}
	scale_rows(r, first);
	if (r->d->len > 0)
		store_settle(r->d);
	buf_fini(&r->text);
	if (r->d->faults != NULL && r->bad > DATASET_FAULTS_MAX)
		buf_addf(r->d->faults, "%s: %zu more bad rows\n", r->path,
			r->bad - DATASET_FAULTS_MAX);
	if (r->bad > 0) {
		if (e != NULL)
			*e = r->first;
		return ERR_INPUT;
	}
	if (r->d->len == first)
		return err_set(e, ERR_INPUT, "%s: no rows", r->path);
	return ERR_OK;
}

enum err_code
dataset_add(struct dataset *d, const char *path, const char *text, size_t len, struct err *e)
{
	struct reader r = {.d = d, .path = path, .needs = NEEDS_SCORES};

	return read_file(&r, text, len, e);
}

enum err_code
dataset_add_prompts(
	struct dataset *d, const char *path, const char *text, size_t len, struct err *e)
{
	struct reader r = {.d = d, .path = path, .needs = NEEDS_PROMPT};

	return read_file(&r, text, len, e);
}
