/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_net.c - one hidden layer on projected features
 */
#include <math.h>
#include <string.h>

#include "lib/routing/scorer_net.h"

void
net_forward(float *hidden, float *y, enum net_kind kind, const struct net_weights *w,
	const float *x)
{
	size_t i, k;

	memcpy(hidden, w->bend, w->hidden * sizeof(float));
	for (i = 0; i < w->inputs; i++) {
		for (k = 0; k < w->hidden; k++)
			hidden[k] += x[i] * w->in[i * w->hidden + k];
	}
	for (k = 0; kind == NET_MLP && k < w->hidden; k++)
		hidden[k] = MAX(hidden[k], 0.0F);
	memcpy(y, w->bias, w->models * sizeof(float));
	for (k = 0; k < w->hidden; k++) {
		for (i = 0; i < w->models; i++)
			y[i] += hidden[k] * w->out[k * w->models + i];
	}
	for (i = 0; i < w->models; i++)
		y[i] = 1 / (1 + expf(-y[i]));
}

/* A section of floats as a writable field that nobody writes to: the trainer shares the struct. */
static enum err_code
net_floats(float **out, const struct scorer_file *f, const char *tag, size_t count, struct err *e)
{
	const float *v;
	enum err_code rc = scorer_file_floats(&v, f, tag, count, e);

	if (rc == ERR_OK)
		*out = (float *)(uintptr_t)v;
	return rc;
}

enum err_code
net_open(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct net *n = (struct net *)s;
	struct net_weights *w = &n->w;
	const void *section;
	enum err_code rc;
	size_t len;

	rc = project_open(&n->project, f, e);
	if (rc != ERR_OK)
		return rc;
	if (!scorer_file_section(&section, &len, f, "bend") || len == 0 ||
		len % sizeof(float) != 0 || len / sizeof(float) > NET_HIDDEN_MAX)
		return err_set(e, ERR_CONFIG, "%s: section 'bend' is missing or too long", f->what);
	w->inputs = n->project.rank;
	w->hidden = len / sizeof(float);
	w->models = s->models;
	rc = net_floats(&w->bend, f, "bend", w->hidden, e);
	if (rc == ERR_OK)
		rc = net_floats(&w->in, f, "in", w->inputs * w->hidden, e);
	if (rc == ERR_OK)
		rc = net_floats(&w->out, f, "out", w->hidden * w->models, e);
	if (rc == ERR_OK)
		rc = net_floats(&w->bias, f, "bias", w->models, e);
	return rc;
}

void
net_close(struct scorer *s)
{
	project_close(&((struct net *)s)->project);
}

size_t
net_scratch_bytes(const struct scorer *s)
{
	(void)s;
	return sizeof(struct net_scratch);
}

void
net_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch, enum net_kind kind)
{
	const struct net *n = (const struct net *)s;
	struct net_scratch *t = scratch;
	size_t m;

	project_input(t->z, &n->project, in, &t->project);
	net_forward(t->hidden, t->y, kind, &n->w, t->z);
	for (m = 0; m < s->models; m++)
		out[m].quality = t->y[m];
}
