/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_ensemble.c - several scorers of the same models, averaged
 *
 * Sections "part0", "part1", ... are whole scorer files; "weights" says how much each counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/scorer_parts.h"

enum { ENSEMBLE_PARTS_MAX = 8 };

struct ensemble {
	struct scorer base;
	size_t len;
	struct scorer *parts[ENSEMBLE_PARTS_MAX];
	const float *weights;
};

static enum err_code
ensemble_open_part(struct ensemble *s, const struct scorer_file *f, struct err *e)
{
	struct scorer_file inner;
	const void *data;
	enum scorer_id id;
	enum err_code rc;
	char tag[32];
	size_t len, m;

	(void)snprintf(tag, sizeof(tag), "part%zu", s->len);
	if (!scorer_file_section(&data, &len, f, tag))
		return err_set(e, ERR_CONFIG, "%s: section '%s' is missing", f->what, tag);
	rc = scorer_file_open(&inner, f->what, data, len, e);
	if (rc != ERR_OK)
		return rc;
	id = scorer_find(inner.scorer, strlen(inner.scorer));
	if (id == SCORERS || id == SCORER_ENSEMBLE || scorer_kind(id) != SCORER_KIND_TRAINED)
		return err_set(e, ERR_CONFIG,
			"%s: part %zu is of no scorer that may be in an ensemble", f->what, s->len);
	rc = scorer_open(&s->parts[s->len], id, f->what, data, len, e);
	if (rc != ERR_OK)
		return rc;
	s->len++;
	if (scorer_models(s->parts[s->len - 1]) != s->base.models)
		return err_set(
			e, ERR_CONFIG, "%s: part %zu knows other models", f->what, s->len - 1);
	if (s->parts[s->len - 1]->embedding.len > 0 &&
		s->parts[s->len - 1]->embedding.identity != s->base.embedding.identity)
		return err_set(
			e, ERR_CONFIG, "%s: part %zu needs another encoder", f->what, s->len - 1);
	for (m = 0; m < s->base.models; m++) {
		if (strcmp(scorer_model(s->parts[s->len - 1], m), s->base.names[m]) != 0)
			return err_set(e, ERR_CONFIG, "%s: part %zu knows other models", f->what,
				s->len - 1);
	}
	return ERR_OK;
}

static enum err_code
ensemble_open(struct scorer *base, const struct scorer_file *f, struct err *e)
{
	struct ensemble *s = (struct ensemble *)base;
	const void *section;
	enum err_code rc;
	size_t len, parts;

	if (!scorer_file_section(&section, &len, f, "weights") || len == 0 ||
		len % sizeof(float) != 0 || len > ENSEMBLE_PARTS_MAX * sizeof(float))
		return err_set(
			e, ERR_CONFIG, "%s: section 'weights' is missing or damaged", f->what);
	parts = len / sizeof(float);
	rc = scorer_file_floats(&s->weights, f, "weights", parts, e);
	while (rc == ERR_OK && s->len < parts)
		rc = ensemble_open_part(s, f, e);
	return rc;
}

static void
ensemble_close(struct scorer *base)
{
	struct ensemble *s = (struct ensemble *)base;
	size_t i;

	for (i = 0; i < ENSEMBLE_PARTS_MAX; i++)
		scorer_free(&s->parts[i]);
}

/* The parts work one after the other in the same room, behind the guesses of one. */
static size_t
ensemble_scratch_bytes(const struct scorer *base)
{
	const struct ensemble *s = (const struct ensemble *)base;
	size_t most = 0, i;

	for (i = 0; i < s->len; i++)
		most = MAX(most, scorer_scratch_bytes(s->parts[i]));
	return scorer_align(base->models * sizeof(struct scorer_guess)) + most;
}

static void
ensemble_guess(const struct scorer *base, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct ensemble *s = (const struct ensemble *)base;
	struct scorer_guess *one = scratch;
	char *rest = (char *)scratch + scorer_align(base->models * sizeof(*one));
	size_t i, m;

	for (m = 0; m < base->models; m++)
		out[m].quality = 0;
	for (i = 0; i < s->len; i++) {
		scorer_guess(s->parts[i], one, in, rest);
		for (m = 0; m < base->models; m++) {
			out[m].quality += s->weights[i] * one[m].quality;
			if (one[m].cost >= 0)
				out[m].cost = one[m].cost;
		}
	}
}

const struct scorer_ops scorer_ensemble_ops = {
	.bytes = sizeof(struct ensemble),
	.open = ensemble_open,
	.close = ensemble_close,
	.scratch_bytes = ensemble_scratch_bytes,
	.guess = ensemble_guess,
};
