/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval.h - what `shunt eval` is made of: prices, the drawing, the tables
 */
#pragma once

#include <stdio.h>

#include "cli/lab.h"
#include "lib/lab/evaluate.h"
#include "lib/lab/report.h"

/* lab_prices.c: the prices of the plan's candidates from the file of --prices */
enum cli_exit lab_prices(
	struct evaluate_price *out, const struct cli *cli, const struct predict_plan *plan);

/* plot.c: the PGR curve of a pair, else quality against cost. The name's end says the format. */
MUST enum err_code plot_check(const char *path, struct err *e); /* can it be drawn to there? */
MUST enum err_code plot_evaluation(const char *path, const struct evaluation *v,
	const struct report_labels *labels, struct err *e);

/* eval_print.c: for a person */
void eval_print(const struct evaluation *v, const struct report_labels *labels, FILE *to);
/* "+1.23 [0.40, 2.01]" in points of a hundred where scores are 0..1 */
void eval_print_gain(char *out, size_t size, const struct evaluate_choice *c, double scale);
