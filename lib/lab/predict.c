/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.c - ask a scorer about every row
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/lab/predict.h"
#include "lib/lab/rng.h"

enum { SCRATCH_ALIGN = 64 };

/* One scorer at work on some rows of a plan. */
struct asking {
	const struct predict_plan *plan;
	const struct scorer *s;
	void *scratch;
	struct scorer_guess *all; /* of every model of the scorer */
	int *known; /* scorer's index of the plan's candidates; NULL: it knows no single models */
};

static void *
zeroed(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	CHECK(p != NULL);
	return p;
}

void
predict_fini(struct predictions *p)
{
	free(p->guess);
	free(p->want);
	for (size_t n = 0; n < NOISES; n++) {
		free(p->noised_want[n]);
		free(p->noised_guess[n]);
	}
	*p = (struct predictions){.guess = NULL};
}

static void
predict_init(struct predictions *p, const struct predict_plan *plan, bool knows_models)
{
	size_t cells = plan->len * plan->models_len;

	if (p->want != NULL || p->guess != NULL)
		return; /* a fold before this one did it */
	if (plan->weak >= 0)
		p->want = zeroed(plan->len, sizeof(*p->want));
	if (knows_models)
		p->guess = zeroed(cells, sizeof(*p->guess));
	for (size_t n = 0; plan->noise == PREDICT_NOISED && n < NOISES; n++) {
		if (plan->weak >= 0)
			p->noised_want[n] = zeroed(plan->len, sizeof(*p->want));
		if (knows_models)
			p->noised_guess[n] = zeroed(cells, sizeof(*p->guess));
	}
}

static void
asking_fini(struct asking *a)
{
	free(a->scratch);
	free(a->all);
	free(a->known);
}

static enum err_code
asking_init(struct asking *a, const struct predict_plan *plan, const struct scorer *s, struct err *e)
{
	size_t bytes = scorer_scratch_bytes(s), n = scorer_models(s);

	*a = (struct asking){.plan = plan, .s = s};
	bytes = (bytes + SCRATCH_ALIGN) / SCRATCH_ALIGN * SCRATCH_ALIGN;
	a->scratch = aligned_alloc(SCRATCH_ALIGN, bytes);
	CHECK(a->scratch != NULL);
	if (n == 0 && plan->weak < 0)
		return err_set(e, ERR_INPUT,
			"%s only tells a weak from a strong model: name both of them",
			scorer_name(scorer_id(s)));
	if (n == 0)
		return ERR_OK;
	a->all = zeroed(n, sizeof(*a->all));
	a->known = zeroed(plan->models_len, sizeof(*a->known));
	for (size_t m = 0; m < plan->models_len; m++) {
		const char *name = plan->d->models[plan->models[m]];

		a->known[m] = scorer_model_find(s, name);
		if (a->known[m] < 0)
			return err_set(e, ERR_INPUT,
				"the scorer was not trained with the model `%s`", name);
	}
	return ERR_OK;
}

static void
asking_ask(const struct asking *a, struct scorer_guess *guess, double *want, size_t row,
	const char *text, size_t len)
{
	const struct predict_plan *plan = a->plan;
	const struct dataset_row *r = &plan->d->rows[plan->rows[row]];
	struct scorer_input in = {.text = text, .len = len, .seed = r->hash ^ plan->seed};

	if (plan->embeddings != NULL) {
		in.embedding = plan->embeddings + plan->rows[row] * plan->embedding_len;
		in.embedding_len = plan->embedding_len;
	}
	if (guess != NULL && a->known != NULL) {
		scorer_guess(a->s, a->all, &in, a->scratch);
		for (size_t m = 0; m < plan->models_len; m++)
			guess[row * plan->models_len + m] = a->all[a->known[m]];
	}
	if (want != NULL)
		want[row] = scorer_want_strong(a->s, &in,
			a->known != NULL ? a->known[plan->weak] : 0,
			a->known != NULL ? a->known[plan->strong] : 1, a->scratch);
}

/* Ask about the named rows of the plan (which: places in plan->rows; NULL: all). */
static enum err_code
ask_rows(struct predictions *out, const struct predict_plan *plan, const struct scorer *s,
	const uint32_t *which, size_t which_len, struct err *e)
{
	AUTO(asking_fini) struct asking a;
	AUTO(buf_fini) struct buf noised = BUF_INIT;
	enum err_code code = asking_init(&a, plan, s, e);
	uint64_t start;

	if (code != ERR_OK)
		return code;
	predict_init(out, plan, a.known != NULL);
	start = clock_ns();
	for (size_t i = 0; i < which_len; i++) {
		size_t row = which != NULL ? which[i] : i;
		const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

		asking_ask(&a, out->guess, out->want, row, r->prompt, r->prompt_len);
	}
	out->score_s += (double)(clock_ns() - start) / (double)NS_PER_S;
	for (size_t i = 0; plan->noise == PREDICT_NOISED && i < which_len; i++) {
		size_t row = which != NULL ? which[i] : i;
		const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

		for (enum noise n = 0; n < NOISES; n++) {
			noise_apply(&noised, n, r->prompt, r->prompt_len, r->hash ^ plan->seed);
			asking_ask(&a, out->noised_guess[n], out->noised_want[n], row,
				buf_str(&noised), noised.len);
		}
	}
	return ERR_OK;
}

enum err_code
predict_scorer(struct predictions *out, const struct predict_plan *plan, const struct scorer *s,
	struct err *e)
{
	return ask_rows(out, plan, s, NULL, plan->len, e);
}

/* Train on rows, ask about which. */
static enum err_code
train_and_ask(struct predictions *out, const struct predict_plan *plan, enum scorer_id id,
	const struct train_options *o, const uint32_t *rows, size_t rows_len,
	const uint32_t *which, size_t which_len, struct err *e)
{
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	uint64_t start = clock_ns();
	enum err_code code = train_run(&file, NULL, plan->d, rows, rows_len, id, o, e);

	out->train_s += (double)(clock_ns() - start) / (double)NS_PER_S;
	out->trainings++;
	if (code != ERR_OK)
		return code;
	out->file_bytes = file.len;
	code = scorer_open(&s, id, "the trained scorer", file.data, file.len, e);
	return code != ERR_OK ? code : ask_rows(out, plan, s, which, which_len, e);
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

enum err_code
predict_transfer(struct predictions *out, const struct predict_plan *plan, enum scorer_id id,
	const struct train_options *o, const uint32_t *train_rows, size_t train_len, struct err *e)
{
	uint64_t *asked = zeroed(plan->len, sizeof(*asked));
	uint32_t *kept = zeroed(train_len, sizeof(*kept));
	size_t kept_len = 0;
	enum err_code code;

	for (size_t i = 0; i < plan->len; i++)
		asked[i] = plan->d->rows[plan->rows[i]].hash;
	qsort(asked, plan->len, sizeof(*asked), compare_hashes);
	for (size_t i = 0; i < train_len; i++) {
		if (bsearch(&plan->d->rows[train_rows[i]].hash, asked, plan->len, sizeof(*asked),
			    compare_hashes) == NULL)
			kept[kept_len++] = train_rows[i];
	}
	if (kept_len == 0)
		code = err_set(e, ERR_INPUT, "no training row has a prompt that is not asked about");
	else
		code = train_and_ask(
			out, plan, id, o, kept, kept_len, NULL, plan->len, e);
	free(asked);
	free(kept);
	return code;
}

/* Progress of one fold's training as part of the whole. */
struct fold_progress {
	const struct train_options *outer;
	unsigned fold, folds;
};

static bool
fold_progress(void *arg, const char *stage, double done)
{
	const struct fold_progress *f = arg;
	char text[80];

	(void)snprintf(text, sizeof(text), "fold %u of %u: %s", f->fold + 1, f->folds, stage);
	return f->outer->progress(
		f->outer->progress_arg, text, ((double)f->fold + done) / (double)f->folds);
}

enum err_code
predict_folds(struct predictions *out, const struct predict_plan *plan, enum scorer_id id,
	const struct train_options *o, unsigned folds, struct err *e)
{
	uint32_t *rows = zeroed(plan->len, sizeof(*rows));
	uint32_t *which = zeroed(plan->len, sizeof(*which));
	enum err_code code = ERR_OK;

	for (unsigned f = 0; f < folds && code == ERR_OK; f++) {
		struct fold_progress at = {.outer = o, .fold = f, .folds = folds};
		struct train_options options = *o;
		size_t rows_len = 0, which_len = 0;

		for (size_t i = 0; i < plan->len; i++) {
			const struct dataset_row *r = &plan->d->rows[plan->rows[i]];

			if (dataset_fold(r, folds, plan->seed) == f)
				which[which_len++] = (uint32_t)i;
			else
				rows[rows_len++] = plan->rows[i];
		}
		if (which_len == 0 || rows_len == 0) {
			code = err_set(e, ERR_INPUT,
				"%zu rows are too few for %u folds: fold %u has %s", plan->len,
				folds, f, which_len == 0 ? "none" : "all");
			break;
		}
		options.progress = o->progress != NULL ? fold_progress : NULL;
		options.progress_arg = &at;
		code = train_and_ask(
			out, plan, id, &options, rows, rows_len, which, which_len, e);
	}
	free(rows);
	free(which);
	return code;
}
