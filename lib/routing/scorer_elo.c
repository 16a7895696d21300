/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_elo.c - Bradley-Terry strengths from the nearest training prompts, weighted by likeness
 *
 * Every neighbour is a match between each two models that have a score for it; a draw is half a win
 * for both. ELO_ROUNDS of minorisation-maximisation start from the mean scores. Quality is the
 * chance to beat a model of the field, so it ranks, but is no score of its own.
 */
#include <math.h>

#include "lib/routing/scorer_memory.h"

enum { ELO_ROUNDS = 12 };

static const double ELO_PRIOR = 1; /* matches against the field that a mean score stands for */

/* Share of a match of a against b, weighted; *played grows by the weights. */
static double
elo_wins(const struct memory *k, const struct memory_scratch *t, size_t near, size_t a, size_t b,
	double *played)
{
	double wins = 0, weight;
	const uint8_t *row;
	size_t i;

	for (i = 0; i < near; i++) {
		row = k->outcome + (size_t)t->near[i].row * k->base.models;
		if (row[a] == MEMORY_NO_SCORE || row[b] == MEMORY_NO_SCORE ||
			t->near[i].likeness <= 0)
			continue;
		weight = (double)t->near[i].likeness * (double)t->near[i].likeness;
		wins += row[a] > row[b] ? weight : row[a] == row[b] ? weight / 2 : 0;
		*played += weight;
	}
	return wins;
}

static void
elo_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct memory *k = (const struct memory *)s;
	struct memory_scratch *t = scratch;
	size_t near = memory_nearest(k, in, t), a, b, round;
	double played, wins, field;

	for (a = 0; a < s->models; a++)
		t->strength[a] = 0.5 + (double)s->mean[a];
	for (round = 0; round < ELO_ROUNDS; round++) {
		for (a = 0; a < s->models; a++) {
			wins = ELO_PRIOR * (0.5 + (double)s->mean[a]);
			field = ELO_PRIOR;
			for (b = 0; b < s->models; b++) {
				if (a == b)
					continue;
				/* the matches do not change between rounds, but there is no room to
				 * keep models * models of them */
				played = 0;
				wins += elo_wins(k, t, near, a, b, &played);
				field += played / (t->strength[a] + t->strength[b]);
			}
			t->against[a] = wins / field;
		}
		for (a = 0; a < s->models; a++)
			t->strength[a] = fmax(t->against[a], 1e-6);
	}
	for (a = 0; a < s->models; a++) {
		wins = 0;
		for (b = 0; b < s->models; b++)
			wins += t->strength[a] / (t->strength[a] + t->strength[b]);
		out[a].quality = (float)(wins / (double)s->models);
	}
}

const struct scorer_ops scorer_elo_ops = {
	.bytes = sizeof(struct memory),
	.open = memory_open,
	.close = memory_close,
	.scratch_bytes = memory_scratch_bytes,
	.guess = elo_guess,
};
