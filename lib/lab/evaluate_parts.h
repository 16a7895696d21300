/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate_parts.h - what the files of the evaluation share; private to lib/lab/evaluate*.c
 */
#pragma once

#include "lib/lab/evaluate.h"

/* An evaluation under way. Matrices are row x candidate. */
struct evaluating {
	const struct predict_plan *plan;
	const struct predictions *p;
	const struct evaluate_options *o;
	struct evaluation *v;
	double *score;
	double *cost;	  /* NULL: none */
	uint16_t *chosen; /* by row */
	uint8_t *fold;	  /* by row */
	struct metrics_pair *pairs; /* by row; NULL: no pair */
	uint32_t *order;	    /* of pairs */
	size_t trusted; /* the candidate with the best mean guess */
};

void *evaluate_alloc(size_t n, size_t size);

/* evaluate_choose.c */
void evaluate_choose(struct evaluating *w);
void evaluate_abstain(struct evaluating *w);
void evaluate_flips(struct evaluating *w);

/* evaluate_cost.c */
MUST enum err_code evaluate_costs(struct evaluating *w, struct err *e);
/* Of sending a row to candidate m, there being costs. */
double evaluate_cost_of(const struct evaluating *w, size_t row, size_t m);
void evaluate_frontier(struct evaluating *w);
