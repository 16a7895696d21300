/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_ridge.c - kernel ridge regression with many outputs and chosen strengths
 *
 * Outputs that the same rows have form a group, solved together. Scores of a group are first turned
 * to their principal directions: what all models find hard varies much and is learned best with
 * little shrinking, what tells models apart is faint and wants more; each direction gets the
 * strength that cross-validation chose for it, and then the strongest one that gives up no more
 * than a small share of what was gained on guessing the mean: decisions feed on small differences.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

static const double ridge_grid[] = {0.5, 1, 2, 4, 8, 16, 32, 64};
/* Share of the gain in squared error that more shrinking may cost. */
static const double RIDGE_SLACK = 0.05;

/* A strength stands for the noise of the outputs and hardly depends on how many rows there are, so
 * that of a big group is chosen on this many, evenly spread, and in fewer folds. */
enum { RIDGE_ROWS_FULL = 2400, RIDGE_FOLDS_FEW = 2, RIDGE_PROBES = 8 };

/* One group while it is solved. */
struct group {
	size_t *row; /* n: indices into the plan's rows */
	size_t n;
	size_t *output; /* cols: indices into the plan's outputs */
	size_t cols;
	size_t scores; /* the first so many are turned */
	float *y; /* n of cols, turned, mean removed */
	float *turn; /* scores of scores: a principal direction per row */
	float *mean; /* cols */
	double *lambda; /* cols: of each direction */
	double *error; /* cols: mean squared error in cross-validation */
	double *spread; /* cols: variance, the error of guessing the mean */
	float *tried; /* per strength n of cols: what cross-validation guessed; NaN: nothing */
};

void
ridge_fini(struct ridge *r)
{
	free(r->alpha);
	free(r->mean);
	free(r->error);
	free(r->held);
	memset(r, 0, sizeof(*r));
}

static void
group_fini(struct group *g)
{
	free(g->row);
	free(g->output);
	free(g->y);
	free(g->turn);
	free(g->mean);
	free(g->lambda);
	free(g->error);
	free(g->spread);
	free(g->tried);
}

static bool
group_same(const struct ridge_plan *p, size_t n, size_t a, size_t b)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (isnan(p->y[i * p->outputs + a]) != isnan(p->y[i * p->outputs + b]))
			return false;
	}
	return true;
}

/* The outputs from `first` on that have the same rows and are not done yet. */
static void
group_init(struct group *g, const struct ridge_plan *p, size_t n, size_t first, uint8_t *done)
{
	size_t i, k;

	memset(g, 0, sizeof(*g));
	g->row = matrix_new(n, sizeof(*g->row));
	g->output = matrix_new(p->outputs, sizeof(*g->output));
	for (i = 0; i < n; i++) {
		if (!isnan(p->y[i * p->outputs + first]))
			g->row[g->n++] = i;
	}
	for (k = first; k < p->outputs; k++) {
		if (done[k] || !group_same(p, n, first, k))
			continue;
		done[k] = 1;
		g->output[g->cols++] = k;
		g->scores += k < p->scores;
	}
	g->y = matrix_new(g->n * g->cols, sizeof(float));
	g->turn = matrix_new(g->scores * g->scores, sizeof(float));
	g->mean = matrix_new(g->cols, sizeof(float));
	g->lambda = matrix_new(g->cols, sizeof(double));
	g->error = matrix_new(g->cols, sizeof(double));
	g->spread = matrix_new(g->cols, sizeof(double));
}

/* y = what the rows have, less the mean, along the principal directions. */
static void
group_turn(struct group *g, const struct ridge_plan *p)
{
	float *raw = matrix_new(g->n * g->cols, sizeof(float)), *values, v;
	size_t i, k, c;

	for (k = 0; k < g->cols; k++) {
		double sum = 0;

		for (i = 0; i < g->n; i++)
			sum += (double)p->y[g->row[i] * p->outputs + g->output[k]];
		g->mean[k] = (float)(sum / (double)g->n);
		for (i = 0; i < g->n; i++)
			raw[i * g->cols + k] =
				p->y[g->row[i] * p->outputs + g->output[k]] - g->mean[k];
	}
	for (i = 0; i < g->n; i++) {
		for (k = 0; k < g->scores; k++) {
			v = raw[i * g->cols + k];
			for (c = 0; c < g->scores; c++)
				g->turn[k * g->scores + c] += v * raw[i * g->cols + c];
		}
	}
	values = matrix_new(g->cols, sizeof(float));
	if (g->scores > 0)
		matrix_eigen(g->turn, values, g->scores);
	for (i = 0; i < g->n; i++) {
		for (k = 0; k < g->cols; k++) {
			if (k >= g->scores) {
				g->y[i * g->cols + k] = raw[i * g->cols + k];
				continue;
			}
			for (v = 0, c = 0; c < g->scores; c++)
				v += g->turn[k * g->scores + c] * raw[i * g->cols + c];
			g->y[i * g->cols + k] = v;
		}
	}
	for (k = 0; k < g->cols; k++) {
		for (i = 0; i < g->n; i++)
			g->spread[k] += (double)(g->y[i * g->cols + k] * g->y[i * g->cols + k]);
		g->spread[k] /= (double)g->n;
	}
	free(values);
	free(raw);
}

/* The rows of one fold apart from the others. */
struct split {
	size_t *in, *out; /* places in the group */
	size_t in_len, out_len;
	float *gram; /* in of in */
	float *factor; /* the same, worked on */
	float *cross; /* out of in */
	float *alpha; /* in of cols */
	float *guess; /* out of cols */
};

static void
split_init(struct split *s, const struct group *g, const struct ridge_plan *p,
	const struct train_job *j, unsigned fold)
{
	size_t i, k;
	const float *row;

	s->in = matrix_new(g->n, sizeof(*s->in));
	s->out = matrix_new(g->n, sizeof(*s->out));
	s->in_len = s->out_len = 0;
	for (i = 0; i < g->n; i++) {
		if (g->n > RIDGE_ROWS_FULL &&
			i * RIDGE_ROWS_FULL / g->n == (i + 1) * RIDGE_ROWS_FULL / g->n)
			continue;
		if (j->fold[g->row[i]] == fold)
			s->out[s->out_len++] = i;
		else
			s->in[s->in_len++] = i;
	}
	s->gram = matrix_new(s->in_len * s->in_len, sizeof(float));
	s->factor = matrix_new(s->in_len * s->in_len, sizeof(float));
	s->cross = matrix_new(s->out_len * s->in_len, sizeof(float));
	s->alpha = matrix_new(s->in_len * g->cols, sizeof(float));
	s->guess = matrix_new(s->out_len * g->cols, sizeof(float));
	for (i = 0; i < s->in_len; i++) {
		row = p->gram + g->row[s->in[i]] * j->n;
		for (k = 0; k < s->in_len; k++)
			s->gram[i * s->in_len + k] = row[g->row[s->in[k]]];
	}
	for (i = 0; i < s->out_len; i++) {
		row = p->gram + g->row[s->out[i]] * j->n;
		for (k = 0; k < s->in_len; k++)
			s->cross[i * s->in_len + k] = row[g->row[s->in[k]]];
	}
}

static void
split_fini(struct split *s)
{
	free(s->in);
	free(s->out);
	free(s->gram);
	free(s->factor);
	free(s->cross);
	free(s->alpha);
	free(s->guess);
}

static void
ridge_factor(float *factor, const float *gram, size_t n, double lambda)
{
	size_t i;

	memcpy(factor, gram, n * n * sizeof(float));
	for (i = 0; i < n; i++)
		factor[i * n + i] += (float)lambda;
	CHECK(matrix_factor(factor, n)); /* a Gram matrix and at least 0.01 on its diagonal */
}

/* Guesses of one fold at one strength (tried: n of cols), their squared errors added to sum. */
static void
split_try(struct split *s, const struct group *g, double lambda, float *tried, double *sum)
{
	size_t i, k;
	double v;

	ridge_factor(s->factor, s->gram, s->in_len, lambda);
	for (i = 0; i < s->in_len; i++)
		memcpy(s->alpha + i * g->cols, g->y + s->in[i] * g->cols, g->cols * sizeof(float));
	matrix_solve(s->factor, s->in_len, s->alpha, g->cols);
	matrix_multiply(s->guess, s->cross, s->alpha, s->out_len, g->cols, s->in_len);
	for (i = 0; i < s->out_len; i++) {
		memcpy(tried + s->out[i] * g->cols, s->guess + i * g->cols,
			g->cols * sizeof(float));
		for (k = 0; k < g->cols; k++) {
			v = (double)(g->y[s->out[i] * g->cols + k] - s->guess[i * g->cols + k]);
			sum[k] += v * v;
		}
	}
}

/* Strength of every direction out of the summed errors (strengths of cols). */
static void
group_choose(struct group *g, const double *grid, size_t grid_len, const double *sum, double rows)
{
	double least, limit;
	size_t k, l, best;

	for (k = 0; k < g->cols; k++) {
		for (best = 0, l = 1; l < grid_len; l++) {
			if (sum[l * g->cols + k] < sum[best * g->cols + k])
				best = l;
		}
		least = sum[best * g->cols + k] / rows;
		limit = least + RIDGE_SLACK * MAX(0.0, g->spread[k] - least);
		while (best + 1 < grid_len && sum[(best + 1) * g->cols + k] / rows <= limit)
			best++;
		g->lambda[k] = grid[best];
		g->error[k] = sum[best * g->cols + k] / rows;
	}
}

static enum err_code
group_validate(struct group *g, const struct ridge_plan *p, struct train_job *j, const double *grid,
	size_t grid_len, struct err *e)
{
	unsigned folds = g->n > RIDGE_ROWS_FULL ? MIN(j->folds, RIDGE_FOLDS_FEW) : j->folds, f;
	double *sum = matrix_new(grid_len * g->cols, sizeof(double)), rows = 0;
	enum err_code rc = ERR_OK;
	size_t cells = g->n * g->cols, l;
	struct split s;

	g->tried = matrix_new(grid_len * cells, sizeof(float));
	for (l = 0; l < grid_len * cells; l++)
		g->tried[l] = NAN;
	for (f = 0; f < folds && rc == ERR_OK; f++) {
		split_init(&s, g, p, j, f);
		for (l = 0; l < grid_len && rc == ERR_OK && s.in_len > 0; l++) {
			rc = train_progress(j, "cross-validation",
				((double)f + (double)l / (double)grid_len) / folds, e);
			if (rc == ERR_OK)
				split_try(&s, g, grid[l], g->tried + l * cells, sum + l * g->cols);
		}
		rows += (double)s.out_len;
		split_fini(&s);
	}
	if (rc == ERR_OK)
		group_choose(g, grid, grid_len, sum, MAX(rows, 1.0));
	free(sum);
	return rc;
}

/* Effective number of parameters at a strength: n - lambda * trace of the inverse, the trace from
 * a few random probes. */
static double
ridge_freedom(const float *factor, size_t n, double lambda, uint64_t seed)
{
	float *probe = matrix_new(n * RIDGE_PROBES, sizeof(float));
	float *solved = matrix_new(n * RIDGE_PROBES, sizeof(float));
	uint64_t x = seed;
	double trace = 0;
	size_t i;

	for (i = 0; i < n * RIDGE_PROBES; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		probe[i] = solved[i] = x >> 63 != 0 ? 1 : -1;
	}
	matrix_solve(factor, n, solved, RIDGE_PROBES);
	for (i = 0; i < n * RIDGE_PROBES; i++)
		trace += (double)(probe[i] * solved[i]);
	free(probe);
	free(solved);
	return MAX(0.0, (double)n - lambda * trace / RIDGE_PROBES);
}

/* What cross-validation guessed at the chosen strengths, turned back to the outputs. */
static void
group_held(struct ridge *out, const struct group *g, const double *grid, size_t grid_len)
{
	float *turned = matrix_new(g->cols, sizeof(float)), v;
	size_t i, k, c, l;

	for (i = 0; i < g->n; i++) {
		for (k = 0; k < g->cols; k++) {
			for (l = 0; l + 1 < grid_len && grid[l] != g->lambda[k]; l++)
				;
			turned[k] = g->tried[(l * g->n + i) * g->cols + k];
		}
		for (k = 0; k < g->cols; k++) {
			v = k < g->scores ? 0 : turned[k];
			for (c = 0; k < g->scores && c < g->scores; c++)
				v += g->turn[c * g->scores + k] * turned[c];
			out->held[g->row[i] * out->outputs + g->output[k]] = g->mean[k] + v;
		}
	}
	free(turned);
}

/* Solve with the chosen strengths; alpha and errors turned back to the outputs. */
static void
group_finish(struct ridge *out, const struct group *g, const struct ridge_plan *p,
	const struct train_job *j, const double *grid, size_t grid_len)
{
	size_t n = g->n, i, k, c, l;
	float *gram = matrix_new(n * n, sizeof(float)), *factor = matrix_new(n * n, sizeof(float));
	float *all = matrix_new(n * g->cols, sizeof(float)), *at, v;
	float *alpha = matrix_new(n * g->cols, sizeof(float));
	double *variance = matrix_new(g->cols, sizeof(double)), freedom, sum;

	for (i = 0; i < n; i++) {
		for (k = 0; k < n; k++)
			gram[i * n + k] = p->gram[g->row[i] * j->n + g->row[k]];
	}
	for (l = 0; l < grid_len; l++) {
		for (k = 0; k < g->cols && g->lambda[k] != grid[l]; k++)
			;
		if (k == g->cols)
			continue;
		ridge_factor(factor, gram, n, grid[l]);
		memcpy(all, g->y, n * g->cols * sizeof(float));
		matrix_solve(factor, n, all, g->cols);
		freedom = ridge_freedom(factor, n, grid[l], j->o->seed);
		for (k = 0; k < g->cols; k++) {
			if (g->lambda[k] != grid[l])
				continue;
			for (i = 0; i < n; i++)
				alpha[i * g->cols + k] = all[i * g->cols + k];
			variance[k] = g->error[k] * (freedom + 1) / (double)n;
		}
	}
	for (i = 0; i < n; i++) {
		at = out->alpha + g->row[i] * out->outputs;
		for (k = 0; k < g->cols; k++) {
			v = k < g->scores ? 0 : alpha[i * g->cols + k];
			for (c = 0; k < g->scores && c < g->scores; c++)
				v += g->turn[c * g->scores + k] * alpha[i * g->cols + c];
			at[g->output[k]] = v;
		}
	}
	for (k = 0; k < g->cols; k++) {
		sum = k < g->scores ? 0 : variance[k];
		for (c = 0; k < g->scores && c < g->scores; c++)
			sum += (double)(g->turn[c * g->scores + k] * g->turn[c * g->scores + k]) *
			       variance[c];
		out->mean[g->output[k]] = g->mean[k];
		out->error[g->output[k]] = (float)sqrt(sum);
	}
	free(gram);
	free(factor);
	free(all);
	free(alpha);
	free(variance);
}

static void
ridge_account(struct ridge *out, const struct group *g, double *cells)
{
	double logs = 0;
	size_t k;

	for (k = 0; k < g->scores; k++) {
		out->cv_error += g->error[k] * (double)g->n;
		out->cv_error_mean += g->spread[k] * (double)g->n;
		logs += log(g->lambda[k]);
		*cells += (double)g->n;
	}
	if (out->lambda <= 0 && g->scores > 0)
		out->lambda = exp(logs / (double)g->scores);
}

enum err_code
ridge_solve(struct ridge *out, const struct ridge_plan *plan, struct train_job *j, struct err *e)
{
	const double *grid = j->o->lambdas != NULL ? j->o->lambdas : ridge_grid;
	size_t grid_len = j->o->lambdas != NULL ? j->o->lambdas_len : ARRAY_LEN(ridge_grid), k;
	uint8_t *done = matrix_new(plan->outputs, 1);
	enum err_code rc = ERR_OK;
	double cells = 0;
	struct group g;

	if (plan->grid != NULL) {
		grid = plan->grid;
		grid_len = plan->grid_len;
	}
	*out = (struct ridge){.outputs = plan->outputs};
	out->alpha = matrix_new(j->n * plan->outputs, sizeof(float));
	out->mean = matrix_new(plan->outputs, sizeof(float));
	out->error = matrix_new(plan->outputs, sizeof(float));
	out->held = matrix_new(j->n * plan->outputs, sizeof(float));
	for (k = 0; k < j->n * plan->outputs; k++)
		out->held[k] = NAN;
	for (k = 0; k < plan->outputs && rc == ERR_OK; k++) {
		if (done[k])
			continue;
		group_init(&g, plan, j->n, k, done);
		group_turn(&g, plan);
		rc = group_validate(&g, plan, j, grid, grid_len, e);
		if (rc == ERR_OK) {
			group_finish(out, &g, plan, j, grid, grid_len);
			group_held(out, &g, grid, grid_len);
			ridge_account(out, &g, &cells);
		}
		group_fini(&g);
	}
	free(done);
	out->cv_error = sqrt(out->cv_error / MAX(cells, 1.0));
	out->cv_error_mean = sqrt(out->cv_error_mean / MAX(cells, 1.0));
	if (rc != ERR_OK)
		ridge_fini(out);
	return rc;
}
