/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_route.c - names, filters, strategies with hand-computed winners, explanation
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/routing/route.h"

static const char yaml[] =
	"listen: [127.0.0.1:0]\n"
	"backends:\n"
	"  - {name: gpu1, kind: openai, url: http://127.0.0.1:1}\n"
	"  - {name: gpu2, kind: openai, url: http://127.0.0.1:2}\n"
	"  - {name: cloud, kind: openai, url: http://127.0.0.1:3}\n"
	"models:\n"
	"  - {name: small, quality: 0.3, deployments: [{backend: gpu1, model: llama-8b}]}\n"
	"  - {name: medium, deployments: [{backend: gpu2, model: qwen-32b}]}\n"
	"  - {name: large, deployments: [{backend: cloud, model: org/gpt-big}]}\n"
	"routes:\n"
	"  - {name: auto, models: [small, medium, large], attempts: 2, first_byte_ms: 900ms}\n"
	"  - {name: cheap, models: [small, medium, large], strategy: cost_first}\n"
	"  - {name: best, models: [small, medium, large], strategy: quality_first}\n"
	"  - {name: fast, models: [small, medium, large], strategy: speed}\n"
	"  - {name: turns, models: [small, medium, large], strategy: round_robin}\n"
	"  - {name: lots, models: [small, medium, large], strategy: weighted}\n"
	"  - {name: load, models: [small, medium, large], strategy: least_loaded}\n"
	"  - {name: capped, models: [small, medium, large], strategy: quality_first, max_usd: 2}\n"
	"  - {name: any, models: [\"*\"], default_model: medium}\n"
	"  - {name: doubt, models: [\"*\"], scorer: cascade, threshold: 0.7}\n"
	"rules:\n"
	"  - {name: code, words: [compile*], model: medium, routes: [auto]}\n"
	"  - {name: deep, words: [\"think hard\"], model: best, routes: [cheap]}\n";

enum { SMALL, MEDIUM, LARGE, COUNT };

struct fixture {
	struct config *config;
	struct route_rules *rules;
	struct route_deployment d[COUNT + 2];
	struct route_catalog catalog;
	struct route_request r;
	struct route_decision out;
	struct err e;
};

static struct route_deployment
deployment(const char *model, const char *backend, const char *upstream, double quality, double usd)
{
	return (struct route_deployment){.model = model,
		.backend = backend,
		.upstream = upstream,
		.endpoints = 1 << ROUTE_CHAT,
		.tools = TRI_YES,
		.vision = TRI_YES,
		.json = TRI_YES,
		.context_tokens = 8192,
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

/* Three models: dearer is better. All equally fast, idle and able. */
static struct fixture *
fleet(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	cr_assert_not_null(f);
	cr_assert_eq(config_parse(&f->config, "t.yaml", yaml, strlen(yaml), NULL, &f->e), ERR_OK,
		"%s", f->e.text);
	route_rules_new(&f->rules, f->config);
	f->d[SMALL] = deployment("small", "gpu1", "llama-8b", 0.3, 0.1);
	f->d[MEDIUM] = deployment("medium", "gpu2", "qwen-32b", 0.6, 1);
	f->d[LARGE] = deployment("large", "cloud", "org/gpt-big", 0.9, 10);
	f->catalog = (struct route_catalog){f->config, f->d, COUNT};
	f->r = (struct route_request){.model = "auto", .dial = -1};
	return f;
}

static void
fleet_free(struct fixture **f_p)
{
	struct fixture *f = *f_p;

	route_rules_free(&f->rules);
	config_free(&f->config);
	free(f);
}
#define FLEET(f) AUTO(fleet_free) struct fixture *f = fleet()

static void
ask(struct fixture *f, const char *text)
{
	f->r.turns[0] = text;
	f->r.turns_len[0] = strlen(text);
	f->r.turns_count = f->r.user_turns = 1;
	f->r.prompt_bytes = strlen(text);
}

static enum err_code
decide(struct fixture *f)
{
	return route_decide(&f->out, &f->r, &f->catalog, f->rules, &f->e);
}

static const char *
winner(struct fixture *f, const char *route)
{
	f->r.model = route;
	cr_assert_eq(decide(f), ERR_OK, "%s", f->e.text);
	return f->d[f->out.ranked[0].deployment].model;
}

static const char easy[] = "What is the capital of France?";
static const char hard[] =
	"Prove by induction that the algorithm is optimal, derive its complexity and "
	"implement a lock-free, thread-safe version; it must never deadlock.";

/* ---- names ---- */

Test(route, a_model_is_named_and_nothing_else_is_tried)
{
	FLEET(f);

	cr_assert_str_eq(winner(f, "medium"), "medium");
	cr_assert_eq(f->out.ranked_len, 1);
	cr_assert_eq(f->out.phase, PHASE_EXPLICIT);
	cr_assert_str_eq(f->out.route, "");
}

Test(route, a_deployment_is_named_by_either_of_its_model_names)
{
	FLEET(f);

	cr_assert_str_eq(winner(f, "gpu1/llama-8b"), "small");
	cr_assert_str_eq(winner(f, "gpu1/small"), "small");
	cr_assert_str_eq(winner(f, "cloud/org/gpt-big"), "large");
	cr_assert_eq(f->out.phase, PHASE_EXPLICIT);
	f->r.model = "gpu1/qwen-32b";
	cr_assert_eq(decide(f), ERR_MODEL);
}

Test(route, a_model_name_with_a_slash_is_a_model_first)
{
	FLEET(f);

	f->d[COUNT] = deployment("cloud/org/gpt-big", "gpu1", "x", 0.5, 1);
	f->catalog.len = COUNT + 1;
	cr_assert_str_eq(winner(f, "cloud/org/gpt-big"), "cloud/org/gpt-big");
}

Test(route, a_forced_route_beats_the_model)
{
	FLEET(f);

	ask(f, easy);
	f->r.model = "large";
	f->r.route = "cheap";
	cr_assert_eq(decide(f), ERR_OK);
	cr_assert_str_eq(f->out.route, "cheap");
	f->r.route = "chep";
	cr_assert_eq(decide(f), ERR_MODEL);
	cr_assert_not_null(strstr(f->e.text, "cheap"), "%s", f->e.text);
}

Test(route, an_unknown_name_lists_near_ones_and_what_exists)
{
	FLEET(f);

	f->r.model = "smal";
	cr_assert_eq(decide(f), ERR_MODEL);
	cr_assert_not_null(strstr(f->e.text, "did you mean small"), "%s", f->e.text);
	cr_assert_not_null(strstr(f->e.text, "there are: auto, cheap"), "%s", f->e.text);
	f->r.route = "small"; /* a model, not a route */
	cr_assert_eq(decide(f), ERR_MODEL);
	cr_assert_null(strstr(f->e.text, "did you mean small"), "%s", f->e.text);
	cr_assert_null(strstr(f->e.text, "large"), "%s", f->e.text);
	cr_assert_not_null(strstr(f->e.text, "there are: auto, cheap"), "%s", f->e.text);
	f->r.route = NULL;
	f->r.model = "evil\r\nx-header: 1";
	cr_assert_eq(decide(f), ERR_MODEL);
	cr_assert_null(strpbrk(f->e.text, "\r\n"));
	f->r.model = "";
	cr_assert_eq(decide(f), ERR_MODEL);
	f->r.model = NULL;
	cr_assert_eq(decide(f), ERR_MODEL);
}

Test(route, routellm_names_choose_weak_or_strong)
{
	FLEET(f);

	ask(f, easy);
	cr_assert_str_eq(winner(f, "router-weak-0.5"), "small");
	cr_assert_str_eq(winner(f, "router-strong-0.5"), "large");
	cr_assert_str_eq(winner(f, "router-strong-1"), "large");
	cr_assert_str_eq(winner(f, "router-weak-0"), "small");
	cr_assert_str_eq(winner(f, "router-heuristic-0.5"), "small");
	cr_assert_str_eq(winner(f, "router-heuristic-0"), "large");
	ask(f, hard);
	cr_assert_str_eq(winner(f, "router-heuristic-0.5"), "large");
	cr_assert_str_eq(
		winner(f, "router-heuristic-1.0"), f->out.difficulty >= 1 ? "large" : "small");
}

Test(route, the_random_scorer_follows_the_seed_and_its_threshold)
{
	FLEET(f);
	int strong = 0;

	ask(f, easy);
	for (f->r.seed = 0; f->r.seed < 2000; f->r.seed++)
		strong += strcmp(winner(f, "router-random-0.3"), "large") == 0;
	cr_assert(strong > 1300 && strong < 1500, "%d of 2000 strong, 1400 expected", strong);
	f->r.seed = 7;
	cr_assert_eq(winner(f, "router-random-0.3"), winner(f, "router-random-0.3"));
}

/* ---- the weak model first ---- */

static const char *
ranked(struct fixture *f, size_t i)
{
	return f->d[f->out.ranked[i].deployment].model;
}

Test(route, a_cascade_asks_the_weak_model_first_and_then_the_strongest)
{
	FLEET(f);

	cr_expect_str_eq(winner(f, "doubt"), "small", "whatever the prompt is: there is none");
	cr_expect_str_eq(ranked(f, 1), "large");
	cr_expect_str_eq(ranked(f, 2), "medium");
	cr_expect(f->out.cascades);
	cr_expect_float_eq(f->out.threshold, 0.7, 1e-9);
	cr_expect_lt(f->out.difficulty, 0);
	cr_expect_str_eq(f->out.scorer, "cascade");
	cr_expect_gt(f->out.hold, 0, "nothing may be seen before it is judged");
	cr_expect_str_eq(
		f->out.reason, "cascade: small first, large where its confidence is < 0.700");
	ask(f, hard);
	cr_expect_str_eq(winner(f, "doubt"), "small");
	cr_expect_str_eq(winner(f, "router-cascade-0.25"), "small");
	cr_expect(f->out.cascades);
	cr_expect_float_eq(f->out.threshold, 0.25, 1e-9);
	cr_expect_not((winner(f, "medium"), f->out.cascades), "a model was named");
	f->r.endpoint = ROUTE_EMBEDDINGS;
	for (size_t i = 0; i < COUNT; i++)
		f->d[i].endpoints = 1 << ROUTE_EMBEDDINGS;
	cr_expect_not((winner(f, "doubt"), f->out.cascades), "embeddings have no tokens");
}

Test(route, a_cascades_replicas_go_before_who_takes_over)
{
	FLEET(f);

	f->d[COUNT] = deployment("small", "gpu2", "llama-8b", 0.3, 0.1);
	f->catalog.len = COUNT + 1;
	cr_expect_str_eq(winner(f, "doubt"), "small");
	cr_expect_str_eq(ranked(f, 1), "small");
	cr_expect_str_eq(ranked(f, 2), "large");
	f->d[COUNT].standby = true;
	cr_expect_str_eq(winner(f, "doubt"), "small");
	cr_expect_str_eq(ranked(f, 1), "large");
	cr_expect_str_eq(ranked(f, 3), "small", "one that stands by is none of those");
}

Test(route, a_cascade_of_one_model_judges_nothing)
{
	FLEET(f);

	f->d[MEDIUM].up = f->d[LARGE].up = false;
	cr_expect_str_eq(winner(f, "doubt"), "small");
	cr_expect_not(f->out.cascades);
	f->d[LARGE].up = true;
	f->d[SMALL].standby = true;
	cr_expect_str_eq(winner(f, "doubt"), "large");
	cr_expect_not(f->out.cascades);
	cr_expect_not_null(strstr(f->out.reason, "no weaker model is as fit"), "%s", f->out.reason);
	cr_expect_null(strstr(f->out.reason, "difficulty"), "%s", f->out.reason);
}

Test(route, a_cascades_strong_model_may_be_full_when_the_weak_one_is_asked)
{
	FLEET(f);

	f->d[MEDIUM].up = false;
	f->d[LARGE].in_flight = f->d[LARGE].max_in_flight;
	cr_expect_str_eq(winner(f, "doubt"), "small");
	cr_expect(f->out.cascades);
	cr_expect_str_eq(ranked(f, 1), "large");
}

Test(route, bad_routellm_names_are_refused)
{
	static const char *const names[] = {"router-mf-0.5", "router-heuristic",
		"router-heuristic-", "router-heuristic-NaN", "router-heuristic--0.5",
		"router-heuristic-1.5", "router-heuristic-inf", "router-heuristic-0x1",
		"router-heuristic-0.5x", "router-heuristic- 0.5", "router-heuristic-0,5",
		"router--0.5", "router-", "router-weak-1e9"};
	FLEET(f);

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		f->r.model = names[i];
		cr_expect_eq(decide(f), ERR_MODEL, "%s", names[i]);
	}
}

/* ---- filters ---- */

static void
only_dropped(struct fixture *f, size_t which, const char *filter)
{
	cr_assert_eq(decide(f), ERR_OK, "%s", f->e.text);
	cr_assert_eq(f->out.dropped_len, 1, "%zu dropped for %s", f->out.dropped_len, filter);
	cr_assert_eq(f->out.dropped[0].deployment, which);
	cr_assert_str_eq(f->out.dropped[0].filtered, filter);
	cr_assert_eq(f->out.ranked_len, COUNT - 1);
}

Test(route, each_filter_drops_by_its_name)
{
	static const char *const names[] = {
		"endpoint", "tools", "vision", "json", "context", "down", "full"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		FLEET(f);
		struct route_deployment *d = &f->d[MEDIUM];

		f->r.tools = f->r.vision = f->r.json = true;
		switch (i) {
		case 0:
			d->endpoints = 1 << ROUTE_EMBEDDINGS;
			break;
		case 1:
			d->tools = TRI_NO;
			break;
		case 2:
			d->vision = TRI_NO;
			break;
		case 3:
			d->json = TRI_NO;
			break;
		case 4:
			d->context_tokens = 100;
			f->r.prompt_bytes = 500;
			break;
		case 5:
			d->up = false;
			break;
		default:
			d->in_flight = d->max_in_flight;
			break;
		}
		only_dropped(f, MEDIUM, names[i]);
	}
}

Test(route, the_price_cap_is_in_usd_per_million_output_tokens)
{
	FLEET(f);

	f->r.model = "capped";
	only_dropped(f, LARGE, "price");
	f->d[LARGE].output_usd = 2.0;
	cr_assert_eq(decide(f), ERR_OK);
	cr_assert_eq(f->out.dropped_len, 0, "the cap itself is allowed");
	f->d[LARGE].output_usd = -1;
	cr_assert_eq(decide(f), ERR_OK);
	cr_assert_eq(f->out.dropped_len, 0, "an unknown price passes");
}

Test(route, context_counts_the_prompt_and_the_answer)
{
	FLEET(f);

	f->d[MEDIUM].context_tokens = 1000;
	f->r.prompt_bytes = 2000;
	f->r.max_tokens = 499;
	cr_assert_eq(decide(f), ERR_OK);
	cr_assert_eq(f->out.dropped_len, 0);
	f->r.max_tokens = 500;
	only_dropped(f, MEDIUM, "context");
	f->r.max_tokens = UINT32_MAX;
	cr_assert_eq(decide(f), ERR_NO_CANDIDATE);
	f->d[MEDIUM].context_tokens = 0;
	cr_assert_eq(decide(f), ERR_OK);
	cr_assert_eq(f->out.ranked[0].deployment, MEDIUM, "not known passes");
}

Test(route, an_unknown_ability_passes_but_ranks_behind_a_known_one)
{
	FLEET(f);

	ask(f, easy);
	f->r.tools = true;
	f->d[SMALL].tools = TRI_UNKNOWN;
	cr_assert_str_neq(winner(f, "cheap"), "small");
	cr_assert_eq(f->out.ranked[COUNT - 1].deployment, SMALL);
	f->r.tools = false;
	cr_assert_str_eq(winner(f, "cheap"), "small", "only where it is needed");
}

Test(route, a_list_emptied_by_abilities_is_the_clients_fault)
{
	FLEET(f);

	f->r.tools = true;
	for (int i = 0; i < COUNT; i++)
		f->d[i].tools = TRI_NO;
	cr_assert_eq(decide(f), ERR_NO_CANDIDATE);
	cr_assert_not_null(strstr(f->e.text, "tools: 3"), "%s", f->e.text);
	cr_assert_eq(f->out.phase, PHASE_FILTER);
	cr_assert_eq(f->out.dropped_len, COUNT);
}

Test(route, what_is_full_is_waited_for)
{
	FLEET(f);

	f->r.tools = true;
	f->d[SMALL].tools = TRI_NO;
	f->d[MEDIUM].in_flight = f->d[LARGE].in_flight = 8;
	cr_assert_eq(decide(f), ERR_OK, "%s", f->e.text);
	cr_assert(f->out.waits);
	cr_assert_eq(f->out.ranked_len, 2);
	f->d[LARGE].in_flight = 7;
	cr_assert_eq(decide(f), ERR_OK, "%s", f->e.text);
	cr_assert(!f->out.waits, "whoever has a place comes first");
	cr_assert_eq(f->out.ranked_len, 1);
	cr_assert_eq(f->out.ranked[0].deployment, LARGE);
	cr_assert(!route_is_full(&f->out.dropped[0]), "tools");
	cr_assert(route_is_full(&f->out.dropped[1]));
}

Test(route, a_list_emptied_by_down_is_a_matter_of_time)
{
	FLEET(f);

	f->r.tools = true;
	f->d[SMALL].tools = TRI_NO;
	f->d[MEDIUM].up = false;
	f->d[MEDIUM].down_why = "connection refused";
	f->d[LARGE].tools = TRI_NO;
	cr_assert_eq(decide(f), ERR_UNAVAILABLE);
	cr_assert_not_null(strstr(f->e.text, "connection refused"), "%s", f->e.text);
	cr_assert_eq(route_decide(&f->out, &f->r, &f->catalog, f->rules, NULL), ERR_UNAVAILABLE);
	f->catalog.len = 0;
	cr_assert_eq(decide(f), ERR_UNAVAILABLE, "nothing is there yet");
}

Test(route, embeddings_go_where_they_are_served)
{
	FLEET(f);

	f->r.endpoint = ROUTE_EMBEDDINGS;
	f->d[MEDIUM].endpoints = 1 << ROUTE_EMBEDDINGS;
	f->d[LARGE].endpoints = 0;
	cr_assert_str_eq(winner(f, "auto"), "medium");
	cr_assert_eq(f->out.ranked_len, 2, "not known passes, behind");
}

/* ---- strategies: winners computed by hand ---- */

Test(route, cost_first_takes_the_cheapest)
{
	FLEET(f);

	ask(f, easy);
	cr_assert_str_eq(winner(f, "cheap"), "small");
	cr_assert_eq(f->out.ranked[2].deployment, LARGE);
	f->d[LARGE].input_usd = f->d[LARGE].output_usd = 0;
	cr_assert_str_eq(winner(f, "cheap"), "large", "free and best");
}

Test(route, quality_first_takes_the_best_even_for_easy_prompts)
{
	FLEET(f);

	ask(f, easy);
	cr_assert_str_eq(winner(f, "best"), "large");
	cr_assert_eq(f->out.ranked[1].deployment, MEDIUM);
	cr_assert_eq(f->out.ranked[2].deployment, SMALL);
}

Test(route, speed_takes_the_quickest)
{
	FLEET(f);

	ask(f, hard);
	f->d[MEDIUM].ttft_ms = 20;
	f->d[MEDIUM].tokens_per_s = 400; /* 520 ms against 2100 ms */
	cr_assert_str_eq(winner(f, "fast"), "medium");
	f->d[MEDIUM].ttft_ms = 5000;
	cr_assert_str_neq(winner(f, "fast"), "medium");
}

Test(route, balanced_flips_with_the_difficulty)
{
	FLEET(f);

	ask(f, easy);
	cr_assert_str_eq(winner(f, "auto"), "small");
	ask(f, hard);
	cr_assert_str_eq(winner(f, "auto"), "large");
	cr_assert_eq(f->out.ranked_len, 3, "weaker and stronger ones follow");
}

Test(route, balanced_flips_when_cost_or_quality_dominates)
{
	FLEET(f);

	ask(f, easy);
	f->d[SMALL].input_usd = f->d[SMALL].output_usd = 100;
	cr_assert_str_eq(winner(f, "auto"), "medium", "now the cheapest");
	ask(f, hard);
	f->d[LARGE].quality = 0.3;
	f->d[MEDIUM].quality = 0.9;
	cr_assert_str_eq(winner(f, "auto"), "medium", "cheapest and best");
}

Test(route, the_dial_flips_the_choice)
{
	FLEET(f);

	ask(f, easy);
	f->r.dial = 0;
	cr_assert_str_eq(winner(f, "auto"), "small");
	f->r.dial = 1;
	cr_assert_str_eq(winner(f, "auto"), "large");
	ask(f, hard);
	f->r.dial = 0;
	cr_assert_str_eq(winner(f, "auto"), "small", "at 0 price is all");
	cr_assert_str_eq(winner(f, "turns"), "small", "a dial asks for scores");
}

Test(route, round_robin_takes_turns_among_those_left)
{
	FLEET(f);
	static const char *const turns[] = {"small", "medium", "large"};

	for (f->r.seed = 0; f->r.seed < 9; f->r.seed++)
		cr_assert_str_eq(winner(f, "turns"), turns[f->r.seed % 3]);
	f->d[MEDIUM].up = false;
	for (f->r.seed = 0; f->r.seed < 6; f->r.seed++)
		cr_assert_str_eq(winner(f, "turns"), f->r.seed % 2 == 0 ? "small" : "large");
	f->d[MEDIUM].up = true;
	f->d[MEDIUM].standby = true;
	for (f->r.seed = 0; f->r.seed < 6; f->r.seed++)
		cr_assert_str_eq(winner(f, "turns"), f->r.seed % 2 == 0 ? "small" : "large",
			"standby takes no turn");
}

Test(route, weighted_shares_by_weight)
{
	FLEET(f);
	int won[COUNT] = {0};

	f->d[SMALL].weight = 6;
	f->d[MEDIUM].weight = 3;
	f->d[LARGE].weight = 1;
	for (f->r.seed = 0; f->r.seed < 10000; f->r.seed++) {
		(void)winner(f, "lots");
		won[f->out.ranked[0].deployment]++;
	}
	cr_assert(abs(won[SMALL] - 6000) < 200 && abs(won[MEDIUM] - 3000) < 200, "%d %d %d",
		won[SMALL], won[MEDIUM], won[LARGE]);
	f->d[SMALL].weight = 0;
	for (f->r.seed = 0; f->r.seed < 100; f->r.seed++)
		cr_assert_str_neq(winner(f, "lots"), "small");
}

Test(route, least_loaded_counts_load_by_capacity_and_failures)
{
	FLEET(f);

	f->d[SMALL].in_flight = 4; /* of 8 */
	f->d[MEDIUM].in_flight = 10; /* of 100 */
	f->d[MEDIUM].max_in_flight = 100;
	f->d[LARGE].in_flight = 2; /* of 8 */
	cr_assert_str_eq(winner(f, "load"), "medium");
	f->d[MEDIUM].in_flight = 0;
	f->d[MEDIUM].failure_rate = 0.9F; /* idle because it fails fast */
	cr_assert_str_eq(winner(f, "load"), "large");
}

Test(route, standby_ranks_behind_all_others)
{
	FLEET(f);

	ask(f, easy);
	f->d[SMALL].standby = true;
	cr_assert_str_eq(winner(f, "cheap"), "medium");
	cr_assert_eq(f->out.ranked[2].deployment, SMALL);
	f->d[MEDIUM].up = f->d[LARGE].up = false;
	cr_assert_str_eq(winner(f, "cheap"), "small");
}

Test(route, ties_go_by_the_config_and_replicas_take_turns)
{
	FLEET(f);

	for (int i = 0; i < COUNT; i++)
		f->d[i].quality = f->d[i].input_usd = f->d[i].output_usd = -1;
	ask(f, easy);
	for (f->r.seed = 0; f->r.seed < 5; f->r.seed++)
		cr_assert_str_eq(winner(f, "auto"), "small");
	f->d[COUNT] = f->d[SMALL];
	f->d[COUNT].backend = "gpu2";
	f->catalog.len = COUNT + 1;
	f->r.seed = 0;
	cr_assert_eq((winner(f, "auto"), f->out.ranked[0].deployment), SMALL);
	f->r.seed = 1;
	cr_assert_eq((winner(f, "auto"), f->out.ranked[0].deployment), COUNT);
}

Test(route, figures_that_make_no_sense_do_no_harm)
{
	FLEET(f);

	ask(f, hard);
	f->d[SMALL].ttft_ms = NAN;
	f->d[SMALL].failure_rate = NAN;
	f->d[MEDIUM].tokens_per_s = INFINITY;
	f->d[MEDIUM].failure_rate = 7;
	f->d[LARGE].quality = NAN;
	f->d[LARGE].output_usd = NAN;
	for (size_t i = 0; i < 4; i++) {
		static const char *const routes[] = {"auto", "cheap", "best", "fast"};

		(void)winner(f, routes[i]);
		for (size_t k = 0; k < f->out.ranked_len; k++)
			cr_assert(f->out.ranked[k].score >= 0 && f->out.ranked[k].score <= 1);
	}
}

/* ---- rules and default ---- */

Test(route, a_rule_puts_its_model_first_and_keeps_the_others)
{
	FLEET(f);

	ask(f, "why does it not compile");
	cr_assert_str_eq(winner(f, "auto"), "medium");
	cr_assert_eq(f->out.phase, PHASE_RULE);
	cr_assert_str_eq(f->out.rule, "code");
	cr_assert_eq(f->out.ranked_len, 3);
	f->d[MEDIUM].up = false;
	cr_assert_str_neq(winner(f, "auto"), "medium");
	cr_assert_not_null(strstr(f->out.reason, "can not answer"), "%s", f->out.reason);
	f->d[MEDIUM].up = true;
	cr_assert_str_eq(winner(f, "cheap"), "small", "the rule is for another route");
}

Test(route, a_rule_may_send_to_a_route_with_its_strategy)
{
	FLEET(f);

	ask(f, "think hard about lunch");
	cr_assert_str_eq(winner(f, "cheap"), "large");
	cr_assert_str_eq(f->out.route, "cheap");
	cr_assert_str_eq(f->out.rule, "deep");
}

Test(route, without_text_the_default_model_comes_first)
{
	FLEET(f);

	cr_assert_str_eq(winner(f, "any"), "medium");
	cr_assert_eq(f->out.phase, PHASE_DEFAULT);
	ask(f, easy);
	cr_assert_str_eq(winner(f, "any"), "small");
	cr_assert_eq(f->out.phase, PHASE_SCORE);
}

Test(route, a_star_means_found_models_too_and_limits_come_from_the_route)
{
	FLEET(f);

	f->d[COUNT] = deployment("found", "gpu2", "found", -1, -1);
	f->catalog.len = COUNT + 1;
	ask(f, easy);
	(void)winner(f, "any");
	cr_assert_eq(f->out.ranked_len, COUNT + 1);
	(void)winner(f, "auto");
	cr_assert_eq(f->out.ranked_len, COUNT);
	cr_assert_eq(f->out.attempts, 2);
	cr_assert_eq(f->out.first_byte_ms, 900);
}

/* ---- cost, explanation, time ---- */

Test(route, cost_is_in_usd_per_million_tokens)
{
	struct route_deployment d = deployment("m", "b", "u", -1, -1);

	cr_assert_eq(route_cost_usd(&d, 1000, 1000), 0);
	d.input_usd = 2.5;
	d.output_usd = 10;
	cr_assert_float_eq(route_cost_usd(&d, 1000000, 0), 2.5, 1e-12);
	cr_assert_float_eq(route_cost_usd(&d, 0, 1000000), 10, 1e-12);
	cr_assert_float_eq(route_cost_usd(&d, 100, 10), 0.00035, 1e-12);
}

static double
sum_of(struct json object)
{
	struct json_iter it = json_iter(object);
	struct json key, value;
	double sum = 0, v;
	int n = 0;

	while (json_next_member(&it, &key, &value)) {
		cr_assert(json_double(&v, value));
		sum += v;
		n++;
	}
	cr_assert_eq(n, ROUTE_TERMS);
	return sum;
}

Test(route, every_explanation_adds_up)
{
	static const char *const routes[] = {"auto", "cheap", "best", "fast", "turns", "lots",
		"load", "medium", "router-strong-0.2"};
	FLEET(f);

	ask(f, hard);
	f->d[SMALL].loaded = true;
	f->d[MEDIUM].in_flight = 3;
	for (size_t i = 0; i < 2 * ARRAY_LEN(routes); i++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;
		struct json v, item, items;
		struct json_iter it;
		size_t n = 0;
		double score;

		f->r.dial = i % 2 == 0 ? -1 : 0.37;
		(void)winner(f, routes[i / 2]);
		route_explain(&out, &f->out, &f->catalog, NULL, 12.5);
		cr_assert_eq(json_check(&v, out.data, out.len, &f->e), ERR_OK, "%s", f->e.text);
		cr_assert(json_double(&score, json_get(v, "score")));
		cr_assert_float_eq(sum_of(json_get(v, "terms")), score, 1e-9, "%s", routes[i / 2]);
		items = json_get(v, "candidates");
		it = json_iter(items);
		while (json_next_item(&it, &item)) {
			cr_assert(json_double(&score, json_get(item, "score")));
			cr_assert_float_eq(sum_of(json_get(item, "terms")), score, 1e-9);
			cr_assert_float_eq(sum_of(json_get(item, "weights")), 1, 1e-9);
			n++;
		}
		cr_assert_eq(n, f->out.ranked_len);
	}
}

Test(route, an_explanation_has_all_fields_and_the_dropped)
{
	static const char *const names[] = {"route", "model", "backend", "reason", "phase", "score",
		"terms", "candidates", "decision_us"};
	FLEET(f);
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct json v;

	ask(f, easy);
	f->d[SMALL].up = false;
	f->d[SMALL].down_why = "refused";
	(void)winner(f, "auto");
	route_explain(&out, &f->out, &f->catalog, NULL, 3);
	cr_assert_eq(json_check(&v, out.data, out.len, &f->e), ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_assert_neq(json_get(v, names[i]).type, JSON_NONE, "%s", names[i]);
	cr_assert_not_null(
		strstr(out.data, "\"filter\":\"down\",\"why\":\"refused\""), "%s", out.data);
	for (const char *p = f->out.reason; *p != '\0'; p++)
		cr_assert(*p >= ' ' && *p <= '~');
}

Test(route, deciding_over_twenty_deployments_is_quick)
{
	struct route_deployment many[20];
	AUTO(buf_fini) struct buf text = BUF_INIT;
	uint64_t from, best = UINT64_MAX;
	FLEET(f);

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = f->d[i % COUNT];
	f->catalog = (struct route_catalog){f->config, many, ARRAY_LEN(many)};
	while (text.len < 2048)
		buf_add_str(
			&text, "Explain, with an example, how the parser handles nested lists. ");
	ask(f, buf_str(&text));
	for (int i = 0; i < 200; i++) {
		from = clock_ns();
		cr_assert_eq(decide(f), ERR_OK);
		best = MIN(best, clock_ns() - from);
	}
	fprintf(stderr, "# decision: %llu ns\n", (unsigned long long)best);
	cr_assert_lt(best, 500 * NS_PER_US, "%llu ns; 50 us is the aim in a release build",
		(unsigned long long)best);
}
