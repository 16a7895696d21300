/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_decide.c - decisions with learned scorers and encoders: terms, abstention, thresholds,
 * default tier, conversations, experiments, what the scorer sees
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/routing/judge.h"
#include "lib/routing/route.h"
#include "lib/routing/scorer_parts.h"
#include "lib/routing/scorers.h"

static const char yaml[] =
	"listen: [127.0.0.1:0]\n"
	"backends:\n"
	"  - {name: a, kind: openai, url: http://127.0.0.1:1}\n"
	"  - {name: b, kind: openai, url: http://127.0.0.1:2}\n"
	"encoders: [{name: en, folder: m}]\n"
	"models:\n"
	"  - {name: small, deployments: [{backend: a}], scorer_name: Small-7B}\n"
	"  - {name: large, deployments: [{backend: b}]}\n"
	"  - {name: other, deployments: [{backend: b}]}\n"
	"routes:\n"
	"  - {name: auto, models: [small, large], scorer: linear, cache_ms: 0}\n"
	"  - {name: best, models: [small, large], scorer: linear, strategy: quality_first}\n"
	"  - {name: hard, models: [small, large], scorer: linear, threshold: 0.6}\n"
	"  - {name: alien, models: [other, a/small2], scorer: linear}\n"
	"  - {name: mixed, models: [small, other], scorer: linear, strategy: quality_first}\n"
	"  - {name: enc, models: [small, large], scorer: \"encoder:en\", threshold: 0.7}\n"
	"  - {name: safe, models: [small, large], scorer: encoder, default_model: small}\n"
	"  - {name: plain, models: [small, large], session_falls: 2}\n"
	"  - {name: last, models: [small, large], text: last}\n"
	"  - {name: every, models: [small, large], text: all}\n"
	"  - {name: alone, models: [small, large], session_ms: 0}\n"
	"  - {name: ab, models: [small, large], strategy: cost_first, experiment: {route: best, "
	"share: 0.25}}\n"
	"  - {name: ruled, models: [small, large], scorer: linear}\n"
	"rules:\n"
	"  - {name: word, words: [xyzzy], model: small, routes: [ruled]}\n";

enum { SMALL, LARGE, OTHER, COUNT };

/* A scorer that reads its guesses from the text: "s=0.3 l=0.9 e=0.05". */
struct told {
	struct scorer base;
};

static float
told_number(const char *text, const char *key, float otherwise)
{
	const char *at = strstr(text, key);

	return at == NULL ? otherwise : strtof(at + strlen(key), NULL);
}

static unsigned told_asked;

static void
told_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	char text[ROUTE_TEXT_MAX + 1];

	(void)scratch;
	told_asked++;
	(void)snprintf(text, sizeof(text), "%.*s", (int)in->len, in->text);
	for (size_t i = 0; i < s->models; i++) {
		out[i].quality = told_number(text, i == 0 ? "s=" : "l=", 0.5F);
		out[i].error = told_number(text, "e=", 0);
	}
}

static const struct scorer_ops told_ops = {.bytes = sizeof(struct told), .guess = told_guess};

struct fixture {
	struct config *config;
	struct route_rules *rules;
	struct route_deployment d[COUNT];
	struct route_catalog catalog;
	struct route_request r;
	struct route_decision out;
	struct scorers scorers;
	struct scorers_row row;
	struct route_judge judge;
	struct route_session session;
	struct err e;
};

static const float told_error[2], told_mean[2] = {0.5F, 0.7F};

static struct route_deployment
deployment(
	const struct config *c, const char *model, const char *backend, double quality, double usd)
{
	return (struct route_deployment){.model = model,
		.backend = backend,
		.upstream = model,
		.declared = config_model(c, model),
		.endpoints = 1 << ROUTE_CHAT,
		.tools = TRI_YES,
		.vision = TRI_YES,
		.json = TRI_YES,
		.quality = quality,
		.input_usd = usd,
		.output_usd = usd,
		.weight = 1,
		.up = true,
		.down_why = "",
		.ttft_ms = 100,
		.tokens_per_s = 100,
		.max_in_flight = 8};
}

static struct fixture *
setup(void)
{
	static const char *names[2] = {"small-7b", "vendor/large"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct told *told = calloc(1, sizeof(*told));

	cr_assert(f != NULL && told != NULL);
	cr_assert_eq(config_parse(&f->config, "t.yaml", yaml, strlen(yaml), NULL, &f->e), ERR_OK,
		"%s", f->e.text);
	route_rules_new(&f->rules, f->config);
	f->d[SMALL] = deployment(f->config, "small", "a", 0.4, 0.1);
	f->d[LARGE] = deployment(f->config, "large", "b", 0.9, 10);
	f->d[OTHER] = deployment(f->config, "other", "b", 0.6, 1);
	told->base = (struct scorer){.ops = &told_ops,
		.id = SCORER_LINEAR,
		.models = 2,
		.names = names,
		.error = told_error,
		.mean = told_mean};
	f->row = (struct scorers_row){.id = SCORER_LINEAR,
		.shipped = true,
		.scorer = &told->base,
		.hash = 1,
		.guess = calloc(2, sizeof(struct scorer_guess)),
		.scratch = aligned_alloc(64, 4096)};
	f->scorers = (struct scorers){&f->row, 1};
	f->catalog = (struct route_catalog){f->config, f->d, COUNT, &f->scorers};
	f->r = (struct route_request){.model = "auto", .dial = -1};
	told_asked = 0;
	return f;
}

static void
teardown(struct fixture **f_p)
{
	struct fixture *f = *f_p;

	route_rules_free(&f->rules);
	config_free(&f->config);
	free(f->row.guess);
	free(f->row.scratch);
	free(f->row.scorer);
	free(f);
}
#define FIXTURE(f) AUTO(teardown) struct fixture *f = setup()

static const char *
decide(struct fixture *f, const char *route, const char *text)
{
	f->r.model = route;
	f->r.turns[0] = text;
	f->r.turns_len[0] = strlen(text);
	if (f->r.turns_count == 0)
		f->r.turns_count = f->r.user_turns = 1;
	f->r.prompt_bytes = strlen(text);
	cr_assert_eq(route_decide(&f->out, &f->r, &f->catalog, f->rules, &f->e), ERR_OK, "%s",
		f->e.text);
	return f->out.ranked_len == 0 ? "" : f->d[f->out.ranked[0].deployment].model;
}

/* ---- what a scorer expects of each model ---- */

Test(decide, a_gain_that_is_worth_its_price_goes_to_the_stronger_model)
{
	FIXTURE(f);

	cr_assert_str_eq(decide(f, "best", "s=0.30 l=0.90"), "large");
	cr_assert_float_eq(f->out.ranked[0].quality, 0.9, 1e-6);
	cr_assert_float_eq(f->out.ranked[1].quality, 0.3, 1e-6);
	cr_assert_str_eq(f->out.scorer, "linear");
	cr_assert(f->out.judged && !f->out.abstained);
	cr_assert_str_eq(decide(f, "best", "s=0.90 l=0.30"), "small", "against the stated quality");
	cr_assert_not_null(
		strstr(f->out.reason, "linear expects quality 0.90"), "%s", f->out.reason);
}

Test(decide, no_gain_stays_with_the_cheaper_model)
{
	FIXTURE(f);

	cr_assert_str_eq(decide(f, "auto", "s=0.80 l=0.82"), "small");
}

Test(decide, terms_add_up_to_the_score_with_learned_quality)
{
	FIXTURE(f);

	(void)decide(f, "auto", "s=0.2 l=0.9");
	for (size_t i = 0; i < f->out.ranked_len; i++) {
		const struct route_candidate *c = &f->out.ranked[i];
		double sum = 0;

		for (unsigned t = 0; t < ROUTE_TERMS; t++)
			sum += c->term[t] * c->weight[t];
		cr_assert_float_eq(sum, c->score, 1e-9);
	}
}

Test(decide, a_gain_within_the_error_leaves_the_best_single_model)
{
	FIXTURE(f);

	/* quality_first without looking at the prompt takes large */
	cr_assert_str_eq(decide(f, "best", "s=0.70 l=0.60 e=0.02"), "small");
	cr_assert_not(f->out.abstained);
	cr_assert_str_eq(decide(f, "best", "s=0.70 l=0.60 e=0.30"), "large");
	cr_assert(f->out.abstained);
	cr_assert_not_null(strstr(f->out.reason, "best single model"), "%s", f->out.reason);
	cr_assert_str_eq(decide(f, "best", "s=0.30 l=0.60 e=0.30"), "large");
	cr_assert_not(f->out.abstained, "the scorer agrees: nothing to abstain from");
}

Test(decide, within_the_error_the_cheaper_one_is_taken_where_cost_counts)
{
	FIXTURE(f);

	/* balanced: large is the best single model, small costs a hundredth */
	cr_assert_str_eq(decide(f, "auto", "s=0.80 l=0.82 e=0.17"), "small");
	cr_assert_not(f->out.abstained);
	cr_assert_str_eq(decide(f, "auto", "s=0.30 l=0.90 e=0.17"), "large");
	cr_assert_str_eq(decide(f, "best", "s=0.82 l=0.80 e=0.17"), "large");
	cr_assert(f->out.abstained, "quality first: the better one on average");
	f->r.dial = 1;
	cr_assert_str_eq(decide(f, "auto", "s=0.82 l=0.80 e=0.17"), "large");
	f->r.dial = 0.5;
	cr_assert_str_eq(decide(f, "auto", "s=0.82 l=0.80 e=0.17"), "small");
}

Test(decide, the_dearer_one_must_prove_its_gain)
{
	FIXTURE(f);

	f->r.dial = 0.37; /* on average small wins by its price, hardly */
	f->d[LARGE].input_usd = f->d[LARGE].output_usd = 0.2;
	cr_assert_str_eq(decide(f, "auto", "s=0.50 l=0.55"), "small");
	cr_assert_str_eq(decide(f, "auto", "s=0.50 l=0.80 e=0.40"), "small");
	cr_assert(f->out.abstained);
	cr_assert_str_eq(decide(f, "auto", "s=0.50 l=0.80 e=0.02"), "large");
}

Test(decide, the_best_single_model_is_the_one_of_the_scorers_data)
{
	FIXTURE(f);

	/* the config states the contrary of what was measured: 0.5 and 0.7 */
	f->d[SMALL].quality = 0.9;
	f->d[LARGE].quality = 0.4;
	cr_assert_str_eq(decide(f, "best", "s=0.70 l=0.60 e=0.30"), "large");
	cr_assert(f->out.abstained);
}

Test(decide, a_threshold_on_the_route_decides_as_routellm_does)
{
	FIXTURE(f);

	/* want = (l - s + 1) / 2, strong where it is >= the threshold */
	cr_assert_str_eq(decide(f, "hard", "s=0.5 l=0.71"), "large");
	cr_assert_str_eq(decide(f, "hard", "s=0.5 l=0.69"), "small");
	cr_assert_str_eq(decide(f, "router-linear-0.7", "s=0.5 l=0.8"), "small");
	cr_assert_str_eq(decide(f, "router-linear-0.6", "s=0.5 l=0.8"), "large");
	cr_assert_str_eq(decide(f, "router-linear-0", "s=1 l=0"), "large");
	f->scorers.len = 0;
	f->r.model = "router-linear-0.5";
	cr_assert_eq(route_decide(&f->out, &f->r, &f->catalog, f->rules, &f->e), ERR_MODEL);
	cr_assert_null(strstr(f->e.text, ", linear"), "%s", f->e.text);
}

Test(decide, a_model_the_scorer_does_not_know_keeps_its_stated_quality)
{
	FIXTURE(f);

	cr_assert_str_eq(decide(f, "mixed", "s=0.9 l=0.1"), "small");
	cr_assert_float_eq(f->out.ranked[1].quality, 0.6, 1e-6);
	cr_assert_lt(f->out.ranked[1].error, 0, "that is not the scorer's word");
	cr_assert_str_eq(decide(f, "mixed", "s=0.1 l=0.9"), "other");
}

Test(decide, unknown_models_are_fitted_to_what_is_hard_for_known_ones)
{
	FIXTURE(f);
	double easy;

	f->d[SMALL].model = "small2";
	f->d[SMALL].upstream = "small2";
	f->d[SMALL].declared = NULL;
	(void)decide(f, "alien", "s=0.9 l=0.9");
	easy = f->out.difficulty;
	cr_assert_float_eq(
		f->out.threshold, 1 - 0.6 * 0.85, 1e-6, "what its average prompt is for them");
	cr_assert(f->out.judged);
	cr_assert_lt(easy, f->out.threshold);
	(void)decide(f, "alien", "s=0.1 l=0.9");
	cr_assert_gt(f->out.difficulty, easy, "hard for one of them");
	(void)decide(f, "alien", "s=0.1 l=0.1");
	cr_assert_gt(f->out.difficulty, 0.85, "hard for all");
	/* words that the scorer has not learned anything about */
	(void)decide(f, "alien", "s=0.9 l=0.9 prove the theorem");
	cr_assert_gt(f->out.difficulty, f->out.threshold);
}

Test(decide, nobody_is_asked_where_the_answer_changes_nothing)
{
	FIXTURE(f);

	(void)decide(f, "large", "s=1");
	(void)decide(f, "ruled", "xyzzy s=0 l=1");
	cr_assert_eq(f->out.phase, PHASE_RULE);
	f->d[LARGE].up = false;
	(void)decide(f, "auto", "s=0.1 l=0.9");
	cr_assert_eq(told_asked, 0);
	f->d[LARGE].up = true;
	f->r.turns_count = 0;
	f->r.model = "auto";
	cr_assert_eq(route_decide(&f->out, &f->r, &f->catalog, f->rules, &f->e), ERR_OK);
	cr_assert_eq(told_asked, 0, "there is no text");
}

Test(decide, without_its_file_the_heuristic_judges)
{
	FIXTURE(f);

	f->scorers.len = 0;
	(void)decide(f, "auto", "s=0.1 l=0.9");
	cr_assert_str_eq(f->out.scorer, "heuristic");
	cr_assert_geq(f->out.difficulty, 0);
}

/* ---- encoders ---- */

struct answer {
	enum route_answer answer;
	double want;
	char encoder[64];
};

static enum route_answer
answer_ask(void *arg, struct route_judgement *out, const struct route_question *q)
{
	struct answer *a = arg;

	cr_assert_null(q->row);
	(void)snprintf(a->encoder, sizeof(a->encoder), "%s", q->encoder == NULL ? "-" : q->encoder);
	out->want = a->want;
	(void)snprintf(out->why, sizeof(out->why), "no classifier answered in time");
	return a->answer;
}

Test(decide, an_encoder_wants_the_strong_model_from_the_threshold_on)
{
	struct answer a = {JUDGE_READY, 0.7, ""};
	FIXTURE(f);

	f->judge = (struct route_judge){answer_ask, &a};
	f->r.judge = &f->judge;
	cr_assert_str_eq(decide(f, "enc", "hello"), "large");
	cr_assert_str_eq(a.encoder, "en");
	a.want = 0.699;
	cr_assert_str_eq(decide(f, "enc", "hello"), "small");
	cr_assert_str_eq(decide(f, "router-encoder-0.69", "hello"), "large");
	cr_assert_str_eq(decide(f, "router-encoder-0.71", "hello"), "small");
	cr_assert_float_eq(f->out.difficulty, 0.699, 1e-6);
}

Test(decide, a_pending_answer_decides_nothing)
{
	struct answer a = {JUDGE_LATER, 0, ""};
	FIXTURE(f);

	f->judge = (struct route_judge){answer_ask, &a};
	f->r.judge = &f->judge;
	cr_assert_str_eq(decide(f, "enc", "hello"), "");
	cr_assert(f->out.pending);
	cr_assert_str_eq(decide(f, "plain", "hello"), "small", "others do not wait");
	cr_assert_not(f->out.pending);
}

Test(decide, no_answer_means_the_default_tier)
{
	struct answer a = {JUDGE_FAILED, 0, ""};
	FIXTURE(f);

	f->judge = (struct route_judge){answer_ask, &a};
	f->r.judge = &f->judge;
	cr_assert_str_eq(decide(f, "safe", "hello"), "small", "default_model");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
	cr_assert_not_null(
		strstr(f->out.reason, "no classifier answered in time"), "%s", f->out.reason);
	cr_assert_eq(f->out.ranked_len, 2, "the others follow");
	(void)decide(f, "enc", "hello");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
	cr_assert_not_null(strstr(f->out.reason, "best single model"), "%s", f->out.reason);
	(void)decide(f, "router-encoder-0.5", "hello");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
}

/* ---- scorers that learned from embeddings ---- */

/* Answers with the scorer's own guess, once there is an embedding. */
static enum route_answer
embed_ask(void *arg, struct route_judgement *out, const struct route_question *q)
{
	static const float embedding[3] = {1, 2, 3};
	struct answer *a = arg;

	cr_assert(q->row != NULL && q->encoder != NULL);
	(void)snprintf(a->encoder, sizeof(a->encoder), "%s", q->encoder);
	(void)snprintf(out->why, sizeof(out->why), "no classifier answered in time");
	if (a->answer == JUDGE_READY)
		route_judge_file(out, q, q->request->turns[0], q->request->turns_len[0], embedding);
	return a->answer;
}

static void
needs_embeddings(struct fixture *f, struct answer *a)
{
	static char encoder_name[] = "en";

	f->row.scorer->embedding = (struct scorer_embedding){3, 4711, "some model"};
	f->row.encoder = encoder_name;
	f->judge = (struct route_judge){embed_ask, a};
	f->r.judge = &f->judge;
}

Test(decide, a_scorer_that_needs_an_embedding_waits_for_it)
{
	struct answer a = {JUDGE_LATER, 0, ""};
	FIXTURE(f);

	needs_embeddings(f, &a);
	cr_assert_str_eq(decide(f, "best", "s=0.30 l=0.90"), "");
	cr_assert(f->out.pending);
	cr_assert_str_eq(a.encoder, "en");
	a.answer = JUDGE_READY;
	cr_assert_str_eq(decide(f, "best", "s=0.30 l=0.90"), "large");
	cr_assert(f->out.judged && !f->out.pending);
	cr_assert_str_eq(decide(f, "hard", "s=0.5 l=0.6"), "small", "a threshold");
	cr_assert_str_eq(decide(f, "router-linear-0.5", "s=0.5 l=0.6"), "large");
}

Test(decide, without_its_embedding_no_scorer_guesses)
{
	struct answer a = {JUDGE_FAILED, 0, ""};
	FIXTURE(f);

	needs_embeddings(f, &a);
	(void)decide(f, "best", "s=0.30 l=0.90");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
	cr_assert_not_null(
		strstr(f->out.reason, "no classifier answered in time"), "%s", f->out.reason);
	f->r.judge = NULL;
	(void)decide(f, "best", "s=0.30 l=0.90");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
	cr_assert_not_null(strstr(f->out.reason, "nobody can be asked"), "%s", f->out.reason);
	cr_assert_eq(told_asked, 0);
}

/* Whatever comes with shunt is at hand. */
static bool
found_anywhere(struct buf *out, const char *name)
{
	buf_clear(out);
	buf_addf(out, "/share/%s", name);
	return true;
}

Test(decide, a_row_is_of_a_file_and_an_encoder)
{
	static const char text[] = "backends: [{name: a, kind: sim}]\n"
				   "encoders: [{name: one, folder: m}, {name: two, folder: n}]\n"
				   "routes:\n"
				   "  - {name: p, scorer: \"linear:/f\"}\n"
				   "  - {name: q, scorer: \"linear:/f\", encoder: two}\n"
				   "  - {name: r, scorer: \"linear:/f\", encoder: one}\n"
				   "  - {name: s, scorer: linear, encoder: two}\n";
	AUTO(config_free) struct config *c = NULL;
	AUTO(scorers_free) struct scorers *s = NULL;
	struct err e;
	size_t linear = 0, twos = 0;

	cr_assert_eq(
		config_parse(&c, "t.yaml", text, strlen(text), NULL, &e), ERR_OK, "%s", e.text);
	scorers_new(&s, c, found_anywhere);
	for (size_t i = 0; i < s->len; i++) {
		const struct scorers_row *row = &s->rows[i];

		linear += row->id == SCORER_LINEAR;
		twos += strcmp(row->encoder, "two") == 0;
		cr_expect_not_null(row->path, "row %zu", i);
	}
	cr_expect_eq(linear, 4, "/f and the shipped one, each with both");
	cr_expect_eq(twos, 2);
}

/* ---- conversations ---- */

static const char easy[] = "What is the capital of France?";
static const char hard[] =
	"Prove by induction that the algorithm is optimal, derive its complexity and "
	"implement a lock-free, thread-safe version; it must never deadlock.";

/* One turn of a conversation on the route `plain`. */
static const char *
turn(struct fixture *f, const char *route, const char *text)
{
	const char *model;

	f->r.session = &f->session;
	model = decide(f, route, text);
	if (f->out.session.model != 0)
		f->session = f->out.session;
	return model;
}

Test(decide, a_conversation_rises_at_once_and_falls_slowly)
{
	FIXTURE(f);

	cr_assert_str_eq(turn(f, "plain", easy), "small");
	cr_assert_str_eq(turn(f, "plain", hard), "large", "at once");
	cr_assert_not_null(strstr(f->out.reason, "rises"), "%s", f->out.reason);
	cr_assert_str_eq(turn(f, "plain", easy), "large", "1 of 2");
	cr_assert_eq(f->out.phase, PHASE_SESSION);
	cr_assert_not_null(
		strstr(f->out.reason, "stays on large, turn 1 of 2"), "%s", f->out.reason);
	cr_assert_str_eq(turn(f, "plain", easy), "small", "2 of 2");
	cr_assert_not_null(strstr(f->out.reason, "falls back"), "%s", f->out.reason);
}

Test(decide, a_hard_turn_between_starts_the_fall_anew)
{
	FIXTURE(f);

	(void)turn(f, "plain", hard);
	cr_assert_str_eq(turn(f, "plain", easy), "large");
	cr_assert_str_eq(turn(f, "plain", hard), "large");
	cr_assert_str_eq(turn(f, "plain", easy), "large", "counted from the start");
}

Test(decide, a_conversation_leaves_a_model_that_is_down)
{
	FIXTURE(f);

	(void)turn(f, "plain", hard);
	f->d[LARGE].up = false;
	cr_assert_str_eq(turn(f, "plain", easy), "small");
	cr_assert_eq(f->out.phase, PHASE_SCORE);
	f->d[LARGE].up = true;
	cr_assert_str_eq(turn(f, "plain", easy), "small", "and stays where it is");
}

Test(decide, a_conversation_stays_on_its_replica)
{
	FIXTURE(f);

	f->d[OTHER].model = "small";
	f->r.seed = 0;
	(void)turn(f, "plain", easy);
	for (size_t first = f->out.ranked[0].deployment; f->r.seed < 6; f->r.seed++) {
		(void)turn(f, "plain", easy);
		cr_assert_eq(f->out.ranked[0].deployment, first);
	}
}

/* The user turns so far, latest first. */
static void
tell(struct fixture *f, const char *const *turns, size_t len)
{
	f->r.turns_count = MIN(len, ARRAY_LEN(f->r.turns));
	f->r.user_turns = len;
	for (size_t i = 0; i < f->r.turns_count; i++) {
		f->r.turns[i] = turns[len - 1 - i];
		f->r.turns_len[i] = strlen(turns[len - 1 - i]);
	}
}

Test(decide, a_gateway_that_never_saw_a_conversation_finds_where_it_is)
{
	static const char *const turns[] = {easy, hard, easy, "thanks", easy};
	FIXTURE(f);
	struct route_decision *d = &f->out;
	struct route_session kept = {0}, found;

	f->r.model = "last";
	for (size_t n = 1; n <= ARRAY_LEN(turns); n++) {
		tell(f, turns, n);
		f->r.session = NULL;
		route_session_replay(&found, d, &f->r, &f->catalog, f->rules);
		cr_expect_eq(found.model, kept.model, "before turn %zu", n);
		cr_expect_eq(found.deployment, kept.deployment);
		cr_expect_eq(found.falls, kept.falls, "%u, not %u", found.falls, kept.falls);
		cr_expect_eq(found.turns, kept.turns);
		f->r.session = &kept;
		cr_assert_eq(route_decide(d, &f->r, &f->catalog, f->rules, &f->e), ERR_OK);
		kept = d->session;
	}
	cr_assert_eq(d->phase, PHASE_SCORE, "it has fallen back after three");
}

Test(decide, a_turn_that_is_asked_again_does_not_let_the_conversation_fall)
{
	static const char *const turns[] = {hard, easy, easy};
	FIXTURE(f);
	struct route_session kept = {0};

	f->r.model = "plain";
	f->r.session = &kept;
	for (size_t n = 1; n <= ARRAY_LEN(turns); n++) {
		tell(f, turns, n);
		for (unsigned again = 0; again < 4; again++) {
			cr_assert_eq(
				route_decide(&f->out, &f->r, &f->catalog, f->rules, &f->e), ERR_OK);
			kept = f->out.session;
			cr_expect_str_eq(f->d[f->out.ranked[0].deployment].model,
				n < 3 ? "large" : "small", "turn %zu, asked %u times", n, again);
		}
	}
}

Test(decide, where_an_encoder_decides_a_conversation_is_not_guessed)
{
	static const char *const turns[] = {easy, hard, easy};
	FIXTURE(f);
	struct route_session found = {.model = 1};

	f->r.model = "enc";
	tell(f, turns, ARRAY_LEN(turns));
	route_session_replay(&found, &f->out, &f->r, &f->catalog, f->rules);
	cr_assert_eq(found.model, 0);
}

Test(decide, sessions_bind_neither_named_models_nor_thresholds)
{
	FIXTURE(f);

	(void)turn(f, "plain", hard);
	cr_assert_str_eq(turn(f, "small", easy), "small");
	cr_assert_eq(f->out.session.model, 0);
	cr_assert_str_eq(turn(f, "router-heuristic-0.9", easy), "small");
}

/* ---- experiments ---- */

Test(decide, an_experiment_deals_the_same_user_the_same_side)
{
	int in = 0;
	FIXTURE(f);

	for (f->r.who = 1; f->r.who <= 4000; f->r.who++) {
		char arm[64];

		(void)decide(f, "ab", easy);
		(void)snprintf(arm, sizeof(arm), "%s", f->out.arm);
		cr_assert_str_eq(f->out.route, "ab");
		in += strcmp(arm, "best") == 0;
		f->r.seed += 17;
		(void)decide(f, "ab", hard);
		cr_assert_str_eq(f->out.arm, arm);
	}
	cr_assert(in > 880 && in < 1120, "%d of 4000 for a share of 0.25", in);
}

Test(decide, the_arm_says_what_counts)
{
	bool seen[2] = {false, false};
	FIXTURE(f);

	for (f->r.who = 1; f->r.who <= 64; f->r.who++) {
		const char *model = decide(f, "ab", "s=0.1 l=0.9");
		bool arm = f->out.arm[0] != '\0';

		cr_assert_str_eq(model, arm ? "large" : "small");
		cr_assert_eq(strstr(f->out.reason, "experiment: best") != NULL, arm);
		seen[arm] = true;
	}
	cr_assert(seen[0] && seen[1]);
}

/* ---- what a scorer sees ---- */

static size_t
text_of(struct fixture *f, char out[ROUTE_TEXT_MAX], const char *route)
{
	return route_text(out, &f->r, config_route(f->config, route));
}

Test(decide, follow_ups_are_judged_with_what_they_follow)
{
	char text[ROUTE_TEXT_MAX];
	size_t len;
	FIXTURE(f);

	f->r.turns[0] = "commit it";
	f->r.turns[1] = "now prove it";
	f->r.turns[2] = "write a kernel";
	for (int i = 0; i < 3; i++)
		f->r.turns_len[i] = strlen(f->r.turns[i]);
	f->r.turns_count = f->r.user_turns = 3;
	f->r.others = "said before";
	f->r.others_len = strlen(f->r.others);
	len = text_of(f, text, "plain");
	cr_assert_eq(len, strlen("commit it\n\nnow prove it\n\nwrite a kernel"));
	cr_assert_eq(memcmp(text, "commit it\n\nnow prove it\n\nwrite a kernel", len), 0);
	len = text_of(f, text, "last");
	cr_assert_eq(len, strlen("commit it"));
	len = text_of(f, text, "every");
	cr_assert_eq(memcmp(text + len - 11, "said before", 11), 0);
	cr_assert_str_eq(decide(f, "auto", "commit it"), "small");
	f->r.turns[1] = "s=0.0 l=1.0";
	f->r.turns_len[1] = strlen(f->r.turns[1]);
	cr_assert_str_eq(decide(f, "best", "commit it"), "large");
}

Test(decide, a_cut_keeps_beginning_and_end_of_the_latest_turn)
{
	static char big[3 * ROUTE_TEXT_MAX], old[ROUTE_TEXT_MAX];
	char text[ROUTE_TEXT_MAX];
	size_t len;
	FIXTURE(f);

	memset(big, 'x', sizeof(big));
	for (size_t i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa4", 2); /* characters of two bytes */
	memcpy(big, "FIRST ", 6);
	memcpy(big + sizeof(big) - 6, " FINAL", 6);
	memset(old, 'o', sizeof(old));
	f->r.turns[0] = big;
	f->r.turns_len[0] = sizeof(big);
	f->r.turns[1] = old;
	f->r.turns_len[1] = sizeof(old);
	f->r.turns_count = f->r.user_turns = 2;
	len = text_of(f, text, "plain");
	cr_assert_leq(len, (size_t)ROUTE_TEXT_MAX);
	cr_assert_geq(len, (size_t)ROUTE_TEXT_MAX - 8);
	cr_assert_eq(memcmp(text, "FIRST ", 6), 0);
	cr_assert_not_null(
		memmem(text, len, " FINAL\n\noooo", 12), "and the earlier turn has room");
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\xc3')
			cr_assert_eq(text[++i], '\xa4', "whole characters at %zu", i);
	f->r.turns_count = 1;
	len = text_of(f, text, "plain");
	cr_assert_eq(memcmp(text + len - 6, " FINAL", 6), 0);
}

/* ---- what other settings would give ---- */

Test(decide, other_dials_and_thresholds_are_told_with_their_cost)
{
	struct route_alternatives other;
	struct route_decision *scratch = calloc(1, sizeof(*scratch));
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct json v;
	FIXTURE(f);

	cr_assert_not_null(scratch);
	(void)decide(f, "auto", "s=0.2 l=0.9");
	route_compare_settings(&other, scratch, &f->r, &f->catalog, f->rules);
	cr_assert_eq(other.dials[0].deployment, SMALL);
	cr_assert_eq(other.dials[ROUTE_DIALS - 1].deployment, LARGE);
	cr_assert_gt(other.dials[ROUTE_DIALS - 1].cost_usd, other.dials[0].cost_usd);
	cr_assert_eq(other.thresholds[0].deployment, LARGE);
	cr_assert_eq(other.thresholds[ROUTE_THRESHOLDS - 1].deployment, SMALL, "0.85 < 0.9");
	route_explain(&out, &f->out, &f->catalog, &other, 1);
	cr_assert_eq(json_check(&v, out.data, out.len, &f->e), ERR_OK, "%s", f->e.text);
	cr_assert_eq(json_get(v, "dials").type, JSON_ARRAY);
	cr_assert_eq(json_get(v, "thresholds").type, JSON_ARRAY);
	free(scratch);
}
