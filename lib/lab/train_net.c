/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_net.c - fit one hidden layer and logistic heads by Adam (arXiv 1412.6980) on log loss
 *
 * Rows are visited one batch after the other in an order shuffled by the seed; weights decay, and
 * the rate falls linearly to 0, so that no held-out set is needed to stop.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/rng.h"
#include "lib/lab/train_parts.h"

enum { NET_EPOCHS = 20, NET_BATCH = 32 };

static const float NET_RATE = 0.003F, NET_DECAY = 0.02F, NET_MEAN_KEEP = 0.9F, NET_SQUARE_KEEP = 0.999F;

/* All weights as one array, so that the optimiser need not know them apart. */
struct net_fit {
	struct net_weights w; /* views into value */
	size_t len, decayed;  /* the first `decayed` weights shrink */
	float *value, *slope, *mean, *square;
	struct net_weights g; /* views into slope */
	float hidden[NET_HIDDEN_MAX], y[SCORER_MODELS_MAX], back[NET_HIDDEN_MAX];
	unsigned steps;
};

static void
net_views(struct net_weights *w, float *p, size_t inputs, size_t hidden, size_t models)
{
	*w = (struct net_weights){.inputs = inputs, .hidden = hidden, .models = models};
	w->in = p;
	w->out = w->in + inputs * hidden;
	w->bend = w->out + hidden * models;
	w->bias = w->bend + hidden;
}

static void
net_fit_init(struct net_fit *f, const struct train_job *j, size_t hidden, enum net_kind kind)
{
	size_t models = j->models_len, i;
	struct rng r = {j->o->seed};
	float mean;

	memset(f, 0, sizeof(*f));
	f->decayed = EMBED_RANK * hidden + hidden * models;
	f->len = f->decayed + hidden + models;
	f->value = matrix_new(4 * f->len, sizeof(float));
	f->slope = f->value + f->len;
	f->mean = f->slope + f->len;
	f->square = f->mean + f->len;
	net_views(&f->w, f->value, EMBED_RANK, hidden, models);
	net_views(&f->g, f->slope, EMBED_RANK, hidden, models);
	for (i = 0; i < EMBED_RANK * hidden; i++)
		f->w.in[i] = (float)(rng_unit(&r) - 0.5) * 0.3F;
	for (i = 0; i < hidden * models; i++)
		f->w.out[i] = kind == NET_IRT ? 1 : (float)(rng_unit(&r) - 0.5) * 0.3F;
	for (i = 0; i < models; i++) {
		mean = MAX(0.01F, MIN(0.99F, train_mean(j, i)));
		f->w.bias[i] = logf(mean / (1 - mean));
	}
}

/* Add the slopes of one row's log loss. */
static void
net_fit_row(struct net_fit *f, enum net_kind kind, const float *x, const float *score)
{
	size_t hidden = f->w.hidden, models = f->w.models, i, k;
	float d;

	net_forward(f->hidden, f->y, kind, &f->w, x);
	memset(f->back, 0, sizeof(f->back));
	for (i = 0; i < models; i++) {
		if (isnan(score[i]))
			continue;
		d = (f->y[i] - score[i]) / NET_BATCH;
		f->g.bias[i] += d;
		for (k = 0; k < hidden; k++) {
			f->g.out[k * models + i] += d * f->hidden[k];
			f->back[k] += d * f->w.out[k * models + i];
		}
	}
	for (k = 0; k < hidden; k++) {
		if (kind == NET_MLP && f->hidden[k] <= 0)
			f->back[k] = 0;
		f->g.bend[k] += f->back[k];
	}
	for (i = 0; i < f->w.inputs; i++) {
		for (k = 0; k < hidden; k++)
			f->g.in[i * hidden + k] += x[i] * f->back[k];
	}
}

static void
net_fit_step(struct net_fit *f, enum net_kind kind, float rate)
{
	float fix_mean, fix_square, g;
	size_t i;

	f->steps++;
	fix_mean = 1 - powf(NET_MEAN_KEEP, (float)f->steps);
	fix_square = 1 - powf(NET_SQUARE_KEEP, (float)f->steps);
	for (i = 0; i < f->len; i++) {
		g = f->slope[i];
		f->mean[i] = NET_MEAN_KEEP * f->mean[i] + (1 - NET_MEAN_KEEP) * g;
		f->square[i] = NET_SQUARE_KEEP * f->square[i] + (1 - NET_SQUARE_KEEP) * g * g;
		f->value[i] -= rate * f->mean[i] / fix_mean /
			       (sqrtf(f->square[i] / fix_square) + 1e-8F);
		if (i < f->decayed)
			f->value[i] -= rate * NET_DECAY * f->value[i];
		f->slope[i] = 0;
	}
	/* a better prompt never helps a model less than nothing */
	for (i = 0; kind == NET_IRT && i < f->w.hidden * f->w.models; i++)
		f->w.out[i] = MAX(f->w.out[i], 0.05F);
}

static void
net_shuffle(uint32_t *order, size_t n, struct rng *r)
{
	size_t i, k;
	uint32_t swap;

	for (i = n; i > 1; i--) {
		k = rng_below(r, i);
		swap = order[i - 1];
		order[i - 1] = order[k];
		order[k] = swap;
	}
}

static enum err_code
net_fit_run(struct net_fit *f, enum net_kind kind, const struct embed *em, struct train_job *j,
	struct err *e)
{
	uint32_t *order = matrix_new(j->n, sizeof(*order));
	struct rng r = {j->o->seed + 1};
	enum err_code rc = ERR_OK;
	size_t epoch, i;

	for (i = 0; i < j->n; i++)
		order[i] = (uint32_t)i;
	for (epoch = 0; epoch < NET_EPOCHS && rc == ERR_OK; epoch++) {
		net_shuffle(order, j->n, &r);
		for (i = 0; i < j->n; i++) {
			net_fit_row(f, kind, em->rows + (size_t)order[i] * EMBED_RANK,
				j->score + (size_t)order[i] * j->models_len);
			if ((i + 1) % NET_BATCH == 0 || i + 1 == j->n)
				net_fit_step(f, kind,
					NET_RATE * (float)(NET_EPOCHS - epoch) / NET_EPOCHS);
		}
		rc = train_progress(j, "descent", (double)(epoch + 1) / NET_EPOCHS, e);
	}
	free(order);
	return rc;
}

static void
net_write(struct buf *out, const struct train_job *j, const struct embed *em,
	const struct net_weights *w)
{
	float mean[SCORER_MODELS_MAX], error[SCORER_MODELS_MAX] = {0};
	struct train_file file;
	size_t m;

	for (m = 0; m < w->models; m++)
		mean[m] = train_mean(j, m);
	train_file_init(&file);
	features_write(&file, em->features, em->matrix, EMBED_RANK);
	train_file_add(&file, "in", w->in, w->inputs * w->hidden * sizeof(float));
	train_file_add(&file, "bend", w->bend, w->hidden * sizeof(float));
	train_file_add(&file, "out", w->out, w->hidden * w->models * sizeof(float));
	train_file_add(&file, "bias", w->bias, w->models * sizeof(float));
	train_file_write(&file, out, j, error, mean);
	train_file_fini(&file);
}

enum err_code
net_train(struct train_job *j, struct buf *out, enum net_kind kind, size_t hidden, struct err *e)
{
	struct net_fit *f = matrix_new(1, sizeof(*f));
	struct embed em;
	enum err_code rc;

	j->done_to = 0.5;
	rc = embed_new(&em, j, EMBED_WHITE, e);
	if (rc == ERR_OK) {
		j->done_from = 0.5;
		j->done_to = 1;
		net_fit_init(f, j, hidden, kind);
		rc = net_fit_run(f, kind, &em, j, e);
		if (rc == ERR_OK)
			net_write(out, j, &em, &f->w);
		free(f->value);
		embed_fini(&em);
	}
	free(f);
	return rc;
}
