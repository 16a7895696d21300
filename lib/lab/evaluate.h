/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.h - what predictions are worth: against the best single model, chance and the oracle
 *
 * Everything is measured on the plan's rows with their own scores and costs. Where a setting has to
 * be chosen (a threshold, how much to mind the cost), it is chosen on other folds than the rows it
 * is measured on, unless the member says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/lab/bootstrap.h"
#include "lib/lab/frontier.h"
#include "lib/lab/metrics.h"
#include "lib/lab/predict.h"

enum { EVALUATE_CURVE = 41, EVALUATE_SETTINGS = 61, EVALUATE_FOLDS = 5 };

enum cost_source { COST_NONE, COST_COSTS, COST_PRICES, COST_OUT_CHARS };
const char *cost_source_name(enum cost_source s);

/* USD per token; negative: not known. */
struct evaluate_price {
	double input, output;
};

struct evaluate_options {
	enum cost_source cost;
	const struct evaluate_price *prices; /* of the candidates, for COST_PRICES */
	unsigned draws;			     /* of the bootstrap; 0: BOOTSTRAP_DRAWS */
	bool cascades; /* who is sent to the strong model has paid the weak one, too */
};

enum evaluate_verdict { EVALUATE_BEATS, EVALUATE_EQUAL, EVALUATE_LOSES };
const char *evaluate_verdict_text(enum evaluate_verdict v);

/* One way to choose a model for every row. */
struct evaluate_choice {
	double quality, gain; /* mean score; minus that of the best single model */
	struct interval gain_ci95;
	double cost; /* mean; NaN: none known */
	double switched; /* share of rows sent elsewhere than to the model it trusts most */
};

struct evaluate_source {
	const char *name; /* the dataset's */
	size_t rows;
	double routed, best, overall; /* overall: of the best single model of all rows */
	size_t best_model;	      /* candidate */
};

/* Weak and strong alone. Scores are in the data's own scale where all rows share one. */
struct evaluate_pair {
	struct metrics_means means;
	struct metrics_apgr exact, grid;
	struct interval apgr_ci95;
	double random_apgr; /* mean over seeded random orders */
	struct interval random_ci95;
	double threshold50; /* half of the rows reach it */
	bool all_equal;	    /* every want is the same: the file's order decides */
	double curve_share[EVALUATE_CURVE], curve_score[EVALUATE_CURVE];
};

struct evaluate_cost {
	double best, oracle, random;
	double low, high; /* mean costs of the cheapest and dearest model: the range of AIQ */
	double aiq, aiq_single; /* of the router; of mixing single models by a coin */
	/* The cheapest setting that is as good as the best single model: chosen on these very rows,
	 * and chosen on the other folds. NaN: no setting is. */
	double equal_cost, equal_quality;
	double held_cost, held_quality;
	struct frontier_point hull[EVALUATE_SETTINGS + 1];
	size_t hull_len;
	struct frontier_point sweep[EVALUATE_SETTINGS];
};

struct evaluation {
	const struct predict_plan *plan;
	size_t rows;
	double *means; /* of every candidate */
	double *costs; /* of every candidate; NULL: no cost source */
	size_t best;   /* candidate with the best mean */
	double oracle, random;
	struct evaluate_choice routed;	   /* the model guessed best */
	struct evaluate_choice abstaining; /* the same, unless the gain is within its error */
	enum evaluate_verdict verdict;
	bool has_pair, has_guess, has_noise;
	struct evaluate_pair pair;
	struct evaluate_cost cost;
	double ece; /* NaN: no guesses */
	double flips[NOISES], flips_mean;
	double prompts_per_s, train_s;
	size_t file_bytes;
	unsigned trainings;
	struct evaluate_source *sources;
	size_t sources_len;
	double *earned; /* by row: score of the model that a daemon would choose */
};

/* A scorer against another one on the same rows, by what a daemon would choose. */
struct evaluate_match {
	const char *against; /* its name and mode */
	const char *mode;
	double quality, gain; /* the other's mean score; what this one has more */
	struct interval gain_ci95;
	bool better; /* the whole interval lies above 0 */
};

MUST enum err_code evaluate(struct evaluation *out, const struct predict_plan *plan,
	const struct predictions *p, const struct evaluate_options *o, struct err *e);
/* Both evaluations are of the same plan. */
void evaluate_match(struct evaluate_match *out, const struct evaluation *v,
	const struct evaluation *other, unsigned draws);
void evaluate_fini(struct evaluation *v);
