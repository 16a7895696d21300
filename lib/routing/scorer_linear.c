/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_linear.c - one linear head per model on the projected features
 *
 * quality = mean + heads' column of the model; cost likewise, as the logarithm of USD.
 */
#include <math.h>
#include <string.h>

#include "lib/routing/scorer_project.h"

struct linear {
	struct scorer base;
	struct project project;
	size_t outputs;	    /* models, then as many costs where there are any */
	const float *heads; /* rank of outputs */
	const float *cost;  /* per model: mean logarithm; above 0: not known. NULL: none is */
};

struct linear_scratch {
	float z[PROJECT_RANK_MAX];
	float y[2 * SCORER_MODELS_MAX];
	struct project_scratch project;
};

static enum err_code
linear_open(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct linear *l = (struct linear *)s;
	const void *section;
	enum err_code rc;
	size_t len;

	rc = project_open(&l->project, f, e);
	if (rc != ERR_OK)
		return rc;
	l->outputs = s->models;
	if (scorer_file_section(&section, &len, f, "cost")) {
		rc = scorer_file_floats(&l->cost, f, "cost", s->models, e);
		if (rc != ERR_OK)
			return rc;
		l->outputs *= 2;
	}
	return scorer_file_floats(&l->heads, f, "heads", l->project.rank * l->outputs, e);
}

static void
linear_close(struct scorer *s)
{
	project_close(&((struct linear *)s)->project);
}

static size_t
linear_scratch_bytes(const struct scorer *s)
{
	(void)s;
	return sizeof(struct linear_scratch);
}

static void
linear_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct linear *l = (const struct linear *)s;
	struct linear_scratch *w = scratch;
	size_t r, m;

	project_input(w->z, &l->project, in, &w->project);
	memset(w->y, 0, l->outputs * sizeof(w->y[0]));
	for (r = 0; r < l->project.rank; r++) {
		for (m = 0; m < l->outputs; m++)
			w->y[m] += w->z[r] * l->heads[r * l->outputs + m];
	}
	for (m = 0; m < s->models; m++) {
		out[m].quality = s->mean[m] + w->y[m];
		if (l->cost != NULL && l->cost[m] <= 0)
			out[m].cost = expf(MIN(l->cost[m] + w->y[s->models + m], 0.0F));
	}
}

const struct scorer_ops scorer_linear_ops = {
	.bytes = sizeof(struct linear),
	.open = linear_open,
	.close = linear_close,
	.scratch_bytes = linear_scratch_bytes,
	.guess = linear_guess,
};
