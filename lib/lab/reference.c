/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - the fixed scorers chars, id and oracle, to check the metrics by
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/lab/predict.h"

static const struct {
	const char *name, *help;
} references[] = {
#define X(symbol, name, help) {#name, help},
	REFERENCE_LIST(X)
#undef X
};

enum reference
reference_find(const char *name)
{
	enum reference r = 0;

	while (r < REFERENCES && strcmp(references[r].name, name) != 0)
		r++;
	return r;
}

const char *
reference_name(enum reference r)
{
	CHECK(r < REFERENCES);
	return references[r].name;
}

const char *
reference_help(enum reference r)
{
	CHECK(r < REFERENCES);
	return references[r].help;
}

static double
code_points(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return (double)n;
}

static double
reference_want(enum reference ref, const struct predict_plan *plan, const struct dataset_row *r)
{
	switch (ref) {
	case REFERENCE_CHARS:
		return code_points(r->prompt, r->prompt_len);
	case REFERENCE_ID:
		return (double)(r->hash >> 32) / 0x1p32;
	default:
		return (double)r->raw[plan->models[plan->strong]] -
		       (double)r->raw[plan->models[plan->weak]];
	}
}

enum err_code
predict_reference(
	struct predictions *out, const struct predict_plan *plan, enum reference ref, struct err *e)
{
	uint64_t start = clock_ns();

	if (ref != REFERENCE_ORACLE && plan->weak < 0)
		return err_set(e, ERR_INPUT,
			"%s only tells a weak from a strong model: name both of them",
			references[ref].name);
	if (plan->weak >= 0)
		out->want = calloc(plan->len + 1, sizeof(*out->want));
	if (ref == REFERENCE_ORACLE)
		out->guess = calloc(plan->len * plan->models_len + 1, sizeof(*out->guess));
	CHECK((plan->weak < 0 || out->want != NULL) &&
		(ref != REFERENCE_ORACLE || out->guess != NULL));
	for (size_t i = 0; i < plan->len; i++) {
		const struct dataset_row *r = &plan->d->rows[plan->rows[i]];

		if (out->want != NULL)
			out->want[i] = reference_want(ref, plan, r);
		for (size_t m = 0; out->guess != NULL && m < plan->models_len; m++) {
			uint32_t model = plan->models[m];

			out->guess[i * plan->models_len + m] = (struct scorer_guess){
				.quality = r->score[model],
				.cost = r->cost != NULL ? r->cost[model] : -1,
			};
		}
	}
	out->score_s = (double)(clock_ns() - start) / (double)NS_PER_S;
	return ERR_OK;
}
