/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - an evaluation as JSON: the shape that scripts and checks outside the project read
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/lab/evaluate.h"

/* What an evaluation does not know of itself. */
struct report_labels {
	const char *scorer;
	const char *mode; /* "fixed", "file", "cross-validated", "transfer" */
	unsigned folds;	  /* 0: none */
	size_t left_out;  /* rows that lack a candidate's score */
	enum cost_source cost;
	const struct evaluate_match *match; /* NULL: against no other scorer */
};

void report_json(struct buf *out, const struct evaluation *v, const struct report_labels *labels);
