/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_net.h - projected features through one hidden layer to a logistic head per model; what the
 * scorers mlp, mf and irt have in common
 */
#pragma once

#include "lib/routing/scorer_project.h"

enum { NET_HIDDEN_MAX = 64 };

enum net_kind {
	NET_MLP, /* hidden units that are cut at 0 */
	NET_MF,	 /* linear hidden units: the prompt's factors, times the model's */
	NET_IRT	 /* one linear unit, the prompt's ease, times the model's positive discrimination */
};

struct net_weights {
	size_t inputs, hidden, models;
	float *in;   /* inputs of hidden */
	float *bend; /* hidden */
	float *out;  /* hidden of models */
	float *bias; /* models */
};

/* hidden and y are filled; x has w->inputs values. */
void net_forward(float *hidden, float *y, enum net_kind kind, const struct net_weights *w,
	const float *x);

struct net {
	struct scorer base;
	struct project project;
	struct net_weights w; /* views of the file */
};

struct net_scratch {
	float z[PROJECT_RANK_MAX];
	float hidden[NET_HIDDEN_MAX];
	float y[SCORER_MODELS_MAX];
	struct project_scratch project;
};

enum err_code net_open(struct scorer *s, const struct scorer_file *f, struct err *e);
void net_close(struct scorer *s);
size_t net_scratch_bytes(const struct scorer *s);
void net_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch, enum net_kind kind);
