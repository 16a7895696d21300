/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_cluster.c - the nearest of k-means' clusters, and how each model did in it
 */
#include "lib/routing/scorer_project.h"

struct cluster {
	struct scorer base;
	struct project project;
	size_t count;
	const float *centres; /* count of rank */
	const float *scores;  /* count of models */
};

struct cluster_scratch {
	float z[PROJECT_RANK_MAX];
	struct project_scratch project;
};

static enum err_code
cluster_open(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct cluster *c = (struct cluster *)s;
	const void *section;
	enum err_code rc;
	size_t len;

	rc = project_open(&c->project, f, e);
	if (rc != ERR_OK)
		return rc;
	if (!scorer_file_section(&section, &len, f, "scores") || len == 0 ||
		len % (s->models * sizeof(float)) != 0)
		return err_set(e, ERR_CONFIG, "%s: section 'scores' is missing or cut", f->what);
	c->count = len / (s->models * sizeof(float));
	rc = scorer_file_floats(&c->scores, f, "scores", c->count * s->models, e);
	if (rc != ERR_OK)
		return rc;
	return scorer_file_floats(&c->centres, f, "centres", c->count * c->project.rank, e);
}

static void
cluster_close(struct scorer *s)
{
	project_close(&((struct cluster *)s)->project);
}

static size_t
cluster_scratch_bytes(const struct scorer *s)
{
	(void)s;
	return sizeof(struct cluster_scratch);
}

static void
cluster_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct cluster *c = (const struct cluster *)s;
	struct cluster_scratch *t = scratch;
	size_t best = 0, i, k;
	float distance, least = 0, v;

	project_input(t->z, &c->project, in, &t->project);
	for (i = 0; i < c->count; i++) {
		for (distance = 0, k = 0; k < c->project.rank; k++) {
			v = t->z[k] - c->centres[i * c->project.rank + k];
			distance += v * v;
		}
		if (i > 0 && distance >= least)
			continue;
		least = distance;
		best = i;
	}
	for (i = 0; i < s->models; i++)
		out[i].quality = c->scores[best * s->models + i];
}

const struct scorer_ops scorer_cluster_ops = {
	.bytes = sizeof(struct cluster),
	.open = cluster_open,
	.close = cluster_close,
	.scratch_bytes = cluster_scratch_bytes,
	.guess = cluster_guess,
};
