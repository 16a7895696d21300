/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer.h - predict, from a prompt alone, how good each model's answer would be
 *
 * A scorer is loaded once from the bytes of its file and never changes; any number of threads may
 * ask it. No I/O, no clock, no globals, no BLAS: deciding takes microseconds in the gateway.
 * Training is in lib/lab; both sides of one scorer share scorer_list.h and the file format.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum scorer_id {
#define SCORER(symbol, name, kind, help) SCORER_##symbol,
#include "config/scorer_list.h"
#undef SCORER
	SCORERS
};

enum scorer_kind { SCORER_KIND_FIXED, SCORER_KIND_TRAINED, SCORER_KIND_ENCODER, SCORER_KIND_TEST };

const char *scorer_name(enum scorer_id id);
const char *scorer_help(enum scorer_id id);
enum scorer_kind scorer_kind(enum scorer_id id);
/* SCORERS where no scorer has this name. */
enum scorer_id scorer_find(const char *name, size_t len);

/* What is scored: views, valid for the call. */
struct scorer_input {
	const char *text; /* the turn that decides, with earlier ones as the text policy says */
	size_t len;
	const float *embedding; /* from the encoder that the scorer was trained with; NULL: none */
	size_t embedding_len;
	uint64_t seed; /* for random */
	double confidence; /* for cascade: the weak model's in its own answer; 0: not known */
};

struct scorer;

/*
 * Load a scorer from the bytes of its file (NULL, 0 for those that need none). data must outlive
 * it and be aligned as malloc and mmap do. what names the file in messages. ERR_CONFIG: not a
 * scorer file, of another scorer, of a newer version, or damaged (every length and a checksum are
 * checked).
 */
MUST enum err_code scorer_open(struct scorer **out, enum scorer_id id, const char *what,
	const void *data, size_t len, struct err *e);
void scorer_free(struct scorer **s_p);
enum scorer_id scorer_id(const struct scorer *s);

/* The models it can tell apart, by the names its training data used; 0 for fixed scorers, which
 * only know weak and strong. */
size_t scorer_models(const struct scorer *s);
const char *scorer_model(const struct scorer *s, size_t i);
/* Index of a name (exact, or the same up to case and a vendor/ prefix); -1: not trained with it. */
int scorer_model_find(const struct scorer *s, const char *name);
/* Are these names of one model: the same up to case and a vendor/ prefix? */
bool scorer_is_model(const char *a, const char *b);

/* The embedding that it was trained with and has to be asked with. */
struct scorer_embedding {
	size_t len; /* numbers of it */
	uint64_t identity; /* of the model's files: encoder_info of the encoder that may be asked */
	const char *name; /* of the model, for people: "all-MiniLM-L6-v2/mean/f32" */
};
/* NULL: it needs none. */
const struct scorer_embedding *scorer_embedding(const struct scorer *s);

/* What a model scored on the rows the scorer was trained with; negative: not known. */
float scorer_mean(const struct scorer *s, size_t i);

/* Prediction for one model. */
struct scorer_guess {
	float quality; /* expected score of its answer, 0..1 */
	/* standard error of that expectation (not the spread of single outcomes around it), from
	 * cross-validation: a routing decision does not believe in gains within it; 0: not known */
	float error;
	float cost;    /* expected USD of the call; negative: not trained */
};

/*
 * Guess for all models (scorer_models of them). scratch: the caller's, scorer_scratch_bytes(s) big,
 * 64-byte aligned; contents do not matter.
 */
size_t scorer_scratch_bytes(const struct scorer *s);
void scorer_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch);

/*
 * How much this prompt wants the strong model, 0..1: what RouteLLM's threshold is compared with
 * (strong where it is >= the threshold). weak and strong are indices into the models and ignored
 * by fixed scorers. For trained ones a monotone function of the guessed gain, strong minus weak.
 */
double scorer_want_strong(const struct scorer *s, const struct scorer_input *in, int weak,
	int strong, void *scratch);
/* The same where all models were guessed already, by scorer_guess of the same input. */
double scorer_want_guessed(const struct scorer *s, const struct scorer_guess *guesses,
	const struct scorer_input *in, int weak, int strong);
