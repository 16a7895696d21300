/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - what the files of lib/routing know of each other; private to this folder
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/routing/judge.h"
#include "lib/routing/route.h"
#include "lib/routing/scorer.h"
#include "lib/routing/scorers.h"

/* words.c: a text as case-folded words */

enum { WORD_MAX = 63 };

struct words {
	const char *p;
	const char *end;
};

struct word {
	char text[WORD_MAX + 1]; /* folded, NUL-terminated; longer words are cut */
	size_t len;
	bool apart; /* more than white space (or one apostrophe) stands before it */
};

struct words words_of(const char *text, size_t len);
bool words_next(struct words *w, struct word *out);

/* phrases.c: many phrases looked for in one pass */

struct phrases;
typedef void phrases_fn(void *arg, uint32_t value, uint32_t from, uint32_t to); /* word numbers */

struct phrases *phrases_new(void);
void phrases_free(struct phrases **p_p);
/* "add to", "remind*", "set* up": whole words, a star stands for any continuation of its word.
 * Punctuation between the words counts as white space. False where the text has no word. */
bool phrases_add(struct phrases *p, const char *text, uint32_t value);
/* Words in the longest phrase. */
uint32_t phrases_longest(const struct phrases *p);
/* Call fn for every occurrence, in order of its last word. */
void phrases_scan(const struct phrases *p, const char *text, size_t len, phrases_fn *fn, void *arg);

/* route_rules.c: the rule that decides, or NULL; route is "" where a model was named */
const struct config_rule *rules_match(
	const struct route_rules *rules, const struct route_request *r, const char *route);

/* names.c: what does the request ask for */

struct named {
	const struct config_route *route; /* NULL: a model or deployment was named */
	const struct config_route *arm;	/* that decides in its place: an experiment's, or route */
	const char *backend; /* NULL: any; else a view of backend_len bytes */
	size_t backend_len;
	const char
		*model; /* client's or, with a backend, also upstream's name; NULL: the route's */
	bool tier; /* router-<scorer>-<threshold>: weak or strong, nothing between */
	enum scorer_id scorer;
	double threshold; /* where tier */
};

/* Does a config mean d by name: the model's name, or "backend/model" as clients may write it. */
bool names_mean(const char *name, const struct route_deployment *d);
MUST enum err_code names_resolve(struct named *out, const struct route_request *r,
	const struct route_catalog *c, struct err *e);

/* Candidates while they are worked on. */
struct entry {
	struct route_candidate c;
	const struct route_deployment *d;
	size_t order; /* place in the config: the tie-break */
	bool unsure; /* an ability that the request needs is not known */
	bool favoured; /* of the model that a rule, or the default, sends to */
	double key; /* higher is better; the score, but for the balancing strategies */
	const struct scorer_guess *guess; /* of a learned scorer that knows the model; or NULL */
	float mean; /* where guess: what the model scored on average in the scorer's data */
};

/* filter.c */

enum filter {
	FILTER_NONE,
	FILTER_ENDPOINT,
	FILTER_TOOLS,
	FILTER_VISION,
	FILTER_JSON,
	FILTER_CONTEXT,
	FILTER_PRICE,
	FILTER_DOWN,
	FILTER_COOLING,
	FILTER_FULL,
	FILTERS
};

/* The first filter that d fails; *unsure tells whether it passed on something not known. */
enum filter filter_check(bool *unsure, const struct route_deployment *d,
	const struct route_request *r, const struct config_route *route);
const char *filter_name(enum filter f);
/* The error for a list that the filters emptied; what names the route or model. */
enum err_code filter_error(const struct route_decision *d, const struct route_catalog *c,
	const char *what, struct err *e);
/* Tokens of the prompt, estimated from its bytes. */
uint64_t filter_prompt_tokens(const struct route_request *r);

/* score.c */

/* What the term `quality` is made of. */
enum score_quality {
	SCORE_PRIOR,   /* the models' stated quality alone */
	SCORE_MEAN,    /* what they scored on average where a learned scorer knows, else as stated */
	SCORE_FIT,     /* stated quality against the prompt's difficulty */
	SCORE_LEARNED, /* what a scorer expects of each model's answer to this prompt */
	SCORE_TIER     /* weak or strong, by the threshold, and nothing between */
};

struct score_plan {
	enum strategy strategy;
	enum score_quality quality;
	double dial; /* negative: the strategy's own weights */
	double difficulty;
	double threshold;
};

/* Fill terms, weights, score and key of every entry. */
void score_entries(struct entry *entries, size_t len, const struct score_plan *plan,
	const struct route_request *r);
/* By how much two qualities must differ to differ by 1 in their term. */
double score_spread(const struct entry *entries, size_t len);
/* How strong a model is said to be: its stated quality, else its price; for comparisons only. */
bool score_stronger(const struct entry *a, const struct entry *b);

/* balance.c: keys of the strategies that share load instead of scoring; false for the others */
bool balance_entries(struct entry *entries, size_t len, enum strategy strategy, uint64_t seed);
uint64_t balance_random(uint64_t seed, uint64_t n);
double balance_uniform(uint64_t seed, uint64_t n); /* 0 <= u < 1 */
/* Entries are only compared within their class: 0 favoured, then the others, then outliers, standby
 * ones last. */
unsigned balance_class(const struct entry *e);

/* One decision while it is made. */

enum { ENTRIES_MAX = 256 }; /* = rows of the profile table: more are not known to anybody */

struct work {
	struct route_decision *out;
	const struct route_request *r;
	const struct route_catalog *c;
	const struct route_rules *rules;
	struct named named;
	const struct config_rule *rule;
	const struct config_route *favoured_route; /* the group a rule sends to */
	const char *favoured_model;
	struct score_plan plan;
	struct route_judgement judgement;
	const char *note;	/* what the session did to the choice; or NULL */
	char wanted[128];	/* the model that the score wanted, where the session kept another */
	struct entry entries[ENTRIES_MAX];
	size_t len;
};

/* route.c */

/* The route whose scorer, strategy and limits count; NULL: none. */
const struct config_route *work_route(const struct work *w);
/* Does a rule or the default send to d? */
bool work_favours(const struct work *w, const struct route_deployment *d);
/* Move an entry to the front, the others keep their order. */
void work_prefer(struct work *w, size_t i);

/* route_plan.c: which scorer decides, what it says. False: its answer is still to come. */
bool plan_make(struct work *w);
/* The one that is named, for its route or by the request; rest: behind its colon, NULL: nothing. */
enum scorer_id plan_scorer(const struct work *w, const char **rest);

/* route_rank.c: entries and their order, with abstention */
void rank_entries(struct work *w);

/* route_session.c: keep a conversation where it is, rise fast, fall slowly */
void session_apply(struct work *w);

/* route_reason.c: one line of printable ASCII */
void reason_make(struct work *w);
void reason_say(struct route_decision *d, const char *text);

/* route_fallback.c */
/* Add who is tried after those that are ranked. */
void fallback_append(struct work *w);
/* Nobody is left: rank the fallbacks alone; false: there are none either. */
bool fallback_instead(struct work *w);
/* Do all names exist? ERR_MODEL. */
MUST enum err_code fallback_check(const struct route_request *r, const struct route_catalog *c,
	struct err *e);
