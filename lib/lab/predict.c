/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.c - ask a scorer about every row
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/lab/overlap.h"
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
	double shift; /* added to wants */
	int judged; /* the dataset's model whose confidence is the input; -1: none */
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

/* Does every row tell how sure the weak model was? */
static enum err_code
asking_confidence(struct asking *a, struct err *e)
{
	const struct predict_plan *plan = a->plan;
	double c;

	a->judged = (int)plan->models[plan->weak];
	for (size_t i = 0; i < plan->len; i++)
		if (dataset_confidence(&c, plan->d, &plan->d->rows[plan->rows[i]], a->judged, e) !=
			ERR_OK)
			return e->code;
	return ERR_OK;
}

static enum err_code
asking_init(
	struct asking *a, const struct predict_plan *plan, const struct scorer *s, struct err *e)
{
	size_t bytes = scorer_scratch_bytes(s), n = scorer_models(s);

	*a = (struct asking){.plan = plan, .s = s, .judged = -1};
	bytes = (bytes + SCRATCH_ALIGN) / SCRATCH_ALIGN * SCRATCH_ALIGN;
	a->scratch = aligned_alloc(SCRATCH_ALIGN, bytes);
	CHECK(a->scratch != NULL);
	if (n == 0 && plan->weak < 0)
		return err_set(e, ERR_INPUT,
			"%s only tells a weak from a strong model: name both of them",
			scorer_name(scorer_id(s)));
	if (scorer_id(s) == SCORER_CASCADE)
		return asking_confidence(a, e);
	if (n == 0)
		return ERR_OK;
	a->all = zeroed(n, sizeof(*a->all));
	a->known = zeroed(plan->models_len, sizeof(*a->known));
	for (size_t m = 0; m < plan->models_len; m++) {
		const char *name = plan->d->models[plan->models[m]];

		a->known[m] = scorer_model_find(s, name);
		if (a->known[m] < 0)
			return err_set(e, ERR_INPUT,
				"the scorer was not trained with the model `%s`; "
				"--among names those to choose from",
				name);
	}
	return ERR_OK;
}

/* Ask about a row of the plan; in: its text, and the embeddings of all such texts by row of the
 * dataset. */
static void
asking_ask(const struct asking *a, struct scorer_guess *guess, double *want, size_t row,
	struct scorer_input in)
{
	const struct predict_plan *plan = a->plan;
	const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

	in.seed = r->hash ^ plan->seed;
	if (in.embedding != NULL) {
		in.embedding += plan->rows[row] * plan->embedding_len;
		in.embedding_len = plan->embedding_len;
	}
	if (a->judged >= 0)
		in.confidence = (double)r->confidence[a->judged];
	if (guess != NULL && a->known != NULL) {
		scorer_guess(a->s, a->all, &in, a->scratch);
		for (size_t m = 0; m < plan->models_len; m++)
			guess[row * plan->models_len + m] = a->all[a->known[m]];
	}
	if (want == NULL)
		return;
	want[row] = a->known != NULL ? scorer_want_guessed(a->s, a->all, &in, a->known[plan->weak],
					       a->known[plan->strong]) +
					       a->shift
				     : scorer_want_strong(a->s, &in, 0, 1, a->scratch);
}

/* Time of the core that this thread used: others on the machine do not count. */
static double
core_seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / (double)NS_PER_S;
}

/*
 * The wants of several folds are compared with one another, but each fold's scorer has its own
 * origin: how much its training rows want the strong model on average. That is high just where its
 * own fold's is low, so wants as they are would sort the folds the wrong way round. This moves the
 * origin of all to 0.5, from what the scorer knows of its training rows alone.
 */
static double
fold_shift(const struct asking *a)
{
	double strong, weak;

	if (a->known == NULL || a->plan->weak < 0)
		return 0;
	strong = (double)scorer_mean(a->s, (size_t)a->known[a->plan->strong]);
	weak = (double)scorer_mean(a->s, (size_t)a->known[a->plan->weak]);
	return -(strong - weak) / 2;
}

enum origin { ORIGIN_OWN, ORIGIN_COMMON };

/* Ask about the named rows of the plan (which: places in plan->rows; NULL: all). */
static enum err_code
ask_rows(struct predictions *out, const struct predict_plan *plan, const struct scorer *s,
	enum origin origin, const uint32_t *which, size_t which_len, struct err *e)
{
	AUTO(asking_fini) struct asking a;
	AUTO(buf_fini) struct buf noised = BUF_INIT;
	enum err_code code = asking_init(&a, plan, s, e);
	double start;

	if (code != ERR_OK)
		return code;
	predict_init(out, plan, a.known != NULL);
	a.shift = origin == ORIGIN_COMMON ? fold_shift(&a) : 0;
	start = core_seconds();
	for (size_t i = 0; i < which_len; i++) {
		size_t row = which != NULL ? which[i] : i;
		const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

		asking_ask(&a, out->guess, out->want, row,
			(struct scorer_input){.text = r->prompt,
				.len = r->prompt_len,
				.embedding = plan->embeddings});
	}
	out->score_s += core_seconds() - start;
	for (size_t i = 0; plan->noise == PREDICT_NOISED && i < which_len; i++) {
		size_t row = which != NULL ? which[i] : i;
		const struct dataset_row *r = &plan->d->rows[plan->rows[row]];

		for (enum noise n = 0; n < NOISES; n++) {
			noise_row(&noised, n, r, plan->seed);
			asking_ask(&a, out->noised_guess[n], out->noised_want[n], row,
				(struct scorer_input){.text = buf_str(&noised),
					.len = noised.len,
					.embedding = plan->noised_embeddings[n]});
		}
	}
	return ERR_OK;
}

enum err_code
predict_scorer(struct predictions *out, const struct predict_plan *plan, const struct scorer *s,
	struct err *e)
{
	return ask_rows(out, plan, s, ORIGIN_OWN, NULL, plan->len, e);
}

/* A scorer made for the purpose. */
struct trained {
	struct buf file;
	struct scorer *s;
	double seconds;
};

static void
trained_fini(struct trained *t)
{
	scorer_free(&t->s);
	buf_fini(&t->file);
}

static enum err_code
trained_init(struct trained *t, const struct dataset *d, enum scorer_id id,
	const struct train_options *o, const uint32_t *rows, size_t rows_len, struct err *e)
{
	uint64_t start = clock_ns();
	enum err_code code = train_run(&t->file, NULL, d, rows, rows_len, id, o, e);

	t->seconds = (double)(clock_ns() - start) / (double)NS_PER_S;
	if (code != ERR_OK)
		return code;
	return scorer_open(&t->s, id, "the trained scorer", t->file.data, t->file.len, e);
}

static enum err_code
trained_ask(struct predictions *out, const struct trained *t, const struct predict_plan *plan,
	enum origin origin, const uint32_t *which, size_t which_len, struct err *e)
{
	out->train_s += t->seconds;
	out->trainings++;
	out->file_bytes = t->file.len;
	return ask_rows(out, plan, t->s, origin, which, which_len, e);
}

enum err_code
predict_transfer(struct predictions *out, const struct predict_plan *plan, enum scorer_id id,
	const struct train_options *o, const uint32_t *train_rows, size_t train_len, struct err *e)
{
	AUTO(trained_fini) struct trained t = {.s = NULL};
	uint32_t *kept = zeroed(train_len, sizeof(*kept));
	size_t kept_len =
		overlap_filter(kept, plan->d, train_rows, train_len, plan->rows, plan->len);
	enum err_code code;

	code = kept_len > 0 ? trained_init(&t, plan->d, id, o, kept, kept_len, e)
			    : err_set(e, ERR_INPUT,
				      "no training row has a prompt that is not asked about");
	if (code == ERR_OK)
		code = trained_ask(out, &t, plan, ORIGIN_OWN, NULL, plan->len, e);
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

/* The others than the rows of one fold that may be trained on for it. */
static size_t
fold_split(uint32_t *others, size_t *inside, const struct predict_validation *v, unsigned fold)
{
	uint32_t *asked = zeroed(v->len, sizeof(*asked));
	size_t n = 0;

	*inside = 0;
	for (size_t i = 0; i < v->len; i++) {
		if (dataset_fold(&v->d->rows[v->rows[i]], v->folds, v->seed) == fold)
			asked[(*inside)++] = v->rows[i];
		else
			others[n++] = v->rows[i];
	}
	n = overlap_filter(others, v->d, others, n, asked, *inside);
	free(asked);
	return n;
}

/* Ask the scorer of one fold about the plan's rows in it. */
static void
fold_ask(struct predictions *out, const struct predict_plan *plan, const struct trained *t,
	const struct predict_validation *v, unsigned fold)
{
	uint32_t *which = zeroed(plan->len, sizeof(*which));
	size_t len = 0;
	struct err e;

	for (size_t i = 0; i < plan->len; i++) {
		if (dataset_fold(&v->d->rows[plan->rows[i]], v->folds, v->seed) == fold)
			which[len++] = (uint32_t)i;
	}
	if (trained_ask(out, t, plan, ORIGIN_COMMON, which, len, &e) != ERR_OK)
		out->refused = e;
	free(which);
}

static enum err_code
fold_run(struct predictions *outs, const struct predict_plan *plans, size_t plans_len,
	const struct predict_validation *v, unsigned fold, enum scorer_id id,
	const struct train_options *o, struct err *e)
{
	AUTO(trained_fini) struct trained t = {.s = NULL};
	struct fold_progress at = {.outer = o, .fold = fold, .folds = v->folds};
	struct train_options options = *o;
	uint32_t *others = zeroed(v->len, sizeof(*others));
	size_t inside, others_len = fold_split(others, &inside, v, fold);
	enum err_code code;

	options.progress = o->progress != NULL ? fold_progress : NULL;
	options.progress_arg = &at;
	if (inside == 0 || others_len == 0)
		code = err_set(e, ERR_INPUT, "%zu rows are too few for %u folds: fold %u has %s",
			v->len, v->folds, fold + 1, inside == 0 ? "none" : "all");
	else
		code = trained_init(&t, v->d, id, &options, others, others_len, e);
	for (size_t p = 0; code == ERR_OK && p < plans_len; p++) {
		if (outs[p].refused.code == ERR_OK)
			fold_ask(&outs[p], &plans[p], &t, v, fold);
	}
	free(others);
	return code;
}

enum err_code
predict_folds(struct predictions *outs, const struct predict_plan *plans, size_t plans_len,
	const struct predict_validation *v, enum scorer_id id, const struct train_options *o,
	struct err *e)
{
	for (unsigned f = 0; f < v->folds; f++) {
		enum err_code code = fold_run(outs, plans, plans_len, v, f, id, o, e);

		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}
