/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - what a learned scorer is asked for a decision, and what it says
 *
 * route_decide asks through struct route_judge, so that its caller may remember answers or send the
 * question to another process; without one it asks the scorer's file itself. What was asked must
 * not be kept beyond the call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/routing/route.h"
#include "lib/routing/scorer.h"

struct scorers_row;

enum {
	ROUTE_TEXT_MAX = 8192, /* bytes that a scorer sees of a prompt */
	ROUTE_TEXT_TURNS = 4,
	ROUTE_WHY_MAX = 120
};

enum route_question_form {
	QUESTION_GUESS, /* the quality of each model that the scorer knows */
	QUESTION_WANT	/* how much the prompt wants the strong of two models */
};

struct route_question {
	enum route_question_form form;
	enum scorer_id scorer;
	const struct scorers_row *row; /* of a trained scorer; NULL: the encoder itself judges */
	const char *encoder; /* who has to be asked, for its own word or for the row's embedding; NULL:
			      * the row needs none */
	int weak, strong; /* QUESTION_WANT, trained: indices into the scorer's models */
	const struct config_route *route; /* whose text policy and deadline count; NULL: none */
	const struct route_request *request;
};

struct route_judgement {
	double want; /* QUESTION_WANT: 0..1 */
	const struct scorer_guess *guess; /* of a trained scorer: one per model of it; valid until the
					   * next question */
	bool cached;
	char why[ROUTE_WHY_MAX]; /* JUDGE_FAILED: what is wrong, for the explanation */
};

enum route_answer { JUDGE_READY, JUDGE_LATER, JUDGE_FAILED };

struct route_judge {
	enum route_answer (*ask)(
		void *arg, struct route_judgement *out, const struct route_question *q);
	void *arg;
};

/*
 * The text that a scorer sees of a request, by the route's policy: the latest user turn first, then
 * earlier ones. What is too long loses the middle of its turns, the latest one last. Returns its
 * length. route NULL: the default policy.
 */
size_t route_text(char out[ROUTE_TEXT_MAX], const struct route_request *r,
	const struct config_route *route);

/* Let the question's scorer file answer, here and now: out->guess in any case. embedding: as many
 * numbers as the scorer wants; NULL: it wants none. */
void route_judge_file(struct route_judgement *out, const struct route_question *q, const char *text,
	size_t len, const float *embedding);
/* The same from what it guessed before. */
void route_judge_guessed(struct route_judgement *out, const struct route_question *q,
	const struct scorer_guess *guess);
