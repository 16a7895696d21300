/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - decide which deployments may answer a request, in which order, and say why
 *
 * Pure: no I/O, no clock, no globals. The gateway fills a catalog from config and board, a request
 * from the parsed body, and gets a decision with every term itemised. Phases as in the design:
 * explicit, hard filters, rules, score, session (which may keep what the score would change),
 * default. What a learned scorer or an encoder says of the prompt comes from the caller, who may
 * know it already, compute it or have to wait for it (judge.h).
 * Times are milliseconds, prices USD per million tokens, all scores and terms 0..1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"

enum { ROUTE_CANDIDATES_MAX = 64, ROUTE_REASON_MAX = 200 };

enum route_endpoint { ROUTE_CHAT, ROUTE_COMPLETIONS, ROUTE_EMBEDDINGS }; /* = schema Endpoint */

/* One deployment as it is now. Strings are the catalog owner's. */
struct route_deployment {
	const char *model;	/* the name clients use */
	const char *backend;
	const char *upstream;	/* the backend's name for it */
	const struct config_model *declared; /* NULL: found by the profiler only */
	unsigned endpoints;	/* bit mask of 1 << route_endpoint; 0: not known, assume chat */
	enum tri tools, vision, json;
	uint32_t context_tokens; /* 0: not known */
	double quality;		 /* negative: not known */
	double input_usd, output_usd; /* negative: not known */
	uint32_t weight;
	bool standby;
	bool up;       /* worker ready and not known to be down */
	bool loaded;   /* resident in memory, as far as known */
	const char *down_why; /* for the explanation where !up or cooling; may be "" */
	bool cooling; /* its breaker lets nothing through now */
	uint32_t cooling_ms; /* until it does; 0: not known */
	bool trial; /* its breaker wants one call, to see whether it is well again */
	bool outlier; /* fails much more than the others that serve its model */
	float ttft_ms, tokens_per_s, failure_rate; /* 0: not measured */
	uint32_t in_flight, max_in_flight;
};

struct scorers;

struct route_catalog {
	const struct config *config;
	const struct route_deployment *deployments;
	size_t len;
	const struct scorers *scorers; /* the scorer files that are open; NULL: none */
};

/* Where a conversation was answered last. Zero: nowhere yet. */
struct route_session {
	uint64_t model;	     /* hash of its name */
	uint64_t deployment; /* hash of backend and upstream name */
	uint32_t falls;	     /* turns in a row that wanted a weaker one */
	uint32_t turns;	     /* user turns that it had then */
};

struct route_judge;

/* What a request asks for: filled by the gateway from the body, or by `shunt route`. */
struct route_request {
	const char *model;	/* as asked: a route, a model, "backend/model", router-<scorer>-<t> */
	const char *route;	/* forced by the caller; NULL: none */
	enum route_endpoint endpoint;
	/* user turns, latest first; at most 4 are looked at. Views of decoded text. */
	const char *turns[4];
	size_t turns_len[4];
	size_t turns_count;
	size_t user_turns;	/* in the whole conversation */
	const char *others;	/* the other messages, latest first, for the text policy `all`; */
	size_t others_len;	/* 0: not asked for */
	size_t prompt_bytes;	/* of all message texts */
	uint32_t max_tokens;	/* 0: not said */
	bool tools, vision, json, stream;
	uint64_t seed;		/* for round robin, weighted and ties: a counter, not a clock */
	double dial;		/* per request; negative: the route's */
	bool threshold_said;	/* instead of the route's: */
	double threshold;
	uint64_t who;		/* of the user or session, for experiments; 0: not known, by seed */
	const struct route_session *session; /* NULL: the request belongs to none */
	const char *const *fallbacks; /* names to try after the candidates, instead of the route's */
	size_t fallbacks_len;
	const struct route_judge *judge; /* NULL: only scorers without a file can be asked */
};

enum route_phase { PHASE_EXPLICIT, PHASE_FILTER, PHASE_RULE, PHASE_SESSION, PHASE_SCORE, PHASE_DEFAULT };
const char *route_phase_name(enum route_phase p);

/* All terms of one candidate's score; score = sum of weight * term. */
#define ROUTE_TERM_LIST(X)                                                                         \
	X(QUALITY, quality, "fit of the model's quality to the prompt's difficulty")               \
	X(COST, cost, "cheapness")                                                                 \
	X(LATENCY, latency, "speed, from measured time to first token and tokens per second")      \
	X(RESIDENT, resident, "already loaded")                                                    \
	X(QUEUE, queue, "free capacity")                                                           \
	X(HEALTH, health, "share of recent calls that did not fail")

enum route_term {
#define X(symbol, name, help) TERM_##symbol,
	ROUTE_TERM_LIST(X)
#undef X
	ROUTE_TERMS
};
const char *route_term_name(enum route_term t);

struct route_candidate {
	size_t deployment; /* index into the catalog */
	double score;
	double quality; /* what the quality term was made of; negative: nothing known */
	double error;	/* of a learned quality; negative: the quality is the config's */
	double cost_usd; /* expected for this prompt; negative: not known */
	double term[ROUTE_TERMS];
	double weight[ROUTE_TERMS];
	const char *filtered; /* NULL: ranked; else the filter that removed it, static text */
};

struct route_decision {
	char route[64];	/* "" where a model was named */
	enum route_phase phase;
	char reason[ROUTE_REASON_MAX]; /* one line, ASCII, fits a header */
	char rule[64];	/* class of the rule that fired, or "" */
	char arm[64];	/* the route that decided instead, where an experiment does; or "" */
	char scorer[24]; /* that was asked; "" where none was */
	double difficulty; /* 0..1, how much the prompt wants a strong model; negative: not computed */
	double threshold;
	bool pending;	/* the scorer has not answered yet: nothing else is filled in, ask again */
	bool judged;	/* the scorer's answer was used */
	bool cached;	/* it was known already */
	bool waits;	/* all that is left is cooling or full: ranked for who can wait */
	bool cascades;	/* the first model's answer counts where its confidence reaches the threshold */
	bool abstained; /* its gain was within its error: the best single model was taken */
	struct route_session session; /* where the conversation is now; model 0: not a session's */
	uint32_t attempts, first_byte_ms, request_ms; /* of the route, 0: the defaults */
	uint32_t fallbacks; /* of those ranked: they come last, in their own order */
	uint32_t retries, hedge_ms, hold;
	enum mid_stream mid_stream;
	enum priority priority;
	uint32_t queue_notice_ms;
	struct route_candidate ranked[ROUTE_CANDIDATES_MAX]; /* best first */
	size_t ranked_len;
	struct route_candidate dropped[ROUTE_CANDIDATES_MAX]; /* filtered out, for the explanation */
	size_t dropped_len;
};

/* Was it left out for having no free place, and nothing else? */
bool route_is_full(const struct route_candidate *c);

/* Built once per config: compiled rules. */
struct route_rules;
void route_rules_new(struct route_rules **out, const struct config *c);
void route_rules_free(struct route_rules **r_p);

/*
 * Decide. ERR_MODEL (unknown name; the text lists near names), ERR_NO_CANDIDATE or ERR_UNAVAILABLE
 * (the text says which filter emptied the list); *out is filled as far as it came.
 */
MUST enum err_code route_decide(struct route_decision *out, const struct route_request *r,
	const struct route_catalog *c, const struct route_rules *rules, struct err *e);

/*
 * Where a conversation should be, from its own earlier turns: each is decided again as it would be
 * now, so that every gateway finds the same. Zero where that can't be told: no earlier turns among
 * those that are looked at, or an encoder would have to be asked. scratch is written over.
 */
void route_session_replay(struct route_session *out, struct route_decision *scratch,
	const struct route_request *r, const struct route_catalog *c,
	const struct route_rules *rules);

/* The route whose settings would count for r: after experiments, before rules. NULL: a model was
 * named, or nothing that exists. */
const struct config_route *route_settings(const struct route_request *r,
	const struct route_catalog *c);

/* What the same request would get with other settings. */
struct route_alternative {
	double value; /* of the dial or threshold */
	size_t deployment;
	double cost_usd; /* negative: not known */
	bool none; /* nothing could answer */
};
enum { ROUTE_DIALS = 5, ROUTE_THRESHOLDS = 9 };
struct route_alternatives {
	struct route_alternative dials[ROUTE_DIALS];
	struct route_alternative thresholds[ROUTE_THRESHOLDS];
};
/* Decide again with each dial and each threshold; scratch is written over. */
void route_compare_settings(struct route_alternatives *out, struct route_decision *scratch,
	const struct route_request *r, const struct route_catalog *c,
	const struct route_rules *rules);

/* The JSON of `shunt route` and POST /v1/route (DESIGN 7): route, model, backend, reason, phase,
 * score, terms, candidates, decision_us. other: NULL leaves the alternatives out. */
void route_explain(struct buf *out, const struct route_decision *d, const struct route_catalog *c,
	const struct route_alternatives *other, double decision_us);

/* Difficulty of the latest turn seen with the ones before it, 0..1 (heuristic scorer). */
double route_difficulty(const struct route_request *r);

/* A number for a name, the same in every process and version of shunt; never 0. */
uint64_t route_hash(const char *data, size_t len);

/* USD of one answer; 0 where the prices are not known. */
double route_cost_usd(const struct route_deployment *d, uint64_t prompt_tokens,
	uint64_t completion_tokens);
