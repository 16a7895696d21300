/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_demo.c - the shipped demo decides as its comments promise
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/routing/route.h"
#include "lib/routing/scorers.h"

static void
in_tree(struct buf *path, const char *folder, const char *name)
{
	const char *root = getenv("SHUNT_SOURCE_ROOT");

	buf_addf(path, "%s/%s/%s", root != NULL ? root : ".", folder, name);
}

/* As file_shipped, from this tree. */
static bool
shipped(struct buf *out, const char *name)
{
	buf_clear(out);
	in_tree(out, "share", name);
	return access(buf_str(out), R_OK) == 0;
}

static struct config *
demo(void)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config *c = NULL;
	struct err e = {.code = ERR_OK};

	in_tree(&path, "config", "demo.yaml");
	cr_assert_eq(config_load(&c, &text, buf_str(&path), NULL, &e), ERR_OK, "%s", e.text);
	return c;
}

/* Whether the profiler has measured how fast the demo's models are. */
static bool measured;

/* All that the demo declares is up; found is what a local server lists, NULL: none runs. */
static void
decide(struct route_decision *out, const struct config *c, const char *route, const char *text,
	const char *found, struct route_deployment *winner)
{
	AUTO(scorers_free) struct scorers *scorers = NULL;
	struct route_deployment rows[3];
	struct route_catalog catalog = {.config = c, .deployments = rows};
	struct route_request r = {.model = route,
		.turns = {text},
		.turns_len = {strlen(text)},
		.turns_count = 1,
		.user_turns = 1,
		.prompt_bytes = strlen(text),
		.dial = -1};
	struct route_rules *rules = NULL;
	struct err e = {.code = ERR_OK};

	for (size_t i = 0; i < c->models_len; i++) {
		const struct config_model *m = &c->models[i];
		const struct config_backend *b = config_backend(c, m->deployments[0].backend);

		rows[catalog.len++] = (struct route_deployment){.model = m->name,
			.backend = m->deployments[0].backend,
			.upstream = m->deployments[0].model,
			.declared = m,
			.endpoints = 1 << ROUTE_CHAT,
			.tools = m->tools,
			.vision = m->vision,
			.json = m->json,
			.context_tokens = m->context_tokens,
			.quality = m->quality,
			.input_usd = m->input_usd,
			.output_usd = m->output_usd,
			.weight = 1,
			.up = true,
			.down_why = "",
			.max_in_flight = 64,
			.ttft_ms = measured ? (float)b->sim.ttft_ms : 0,
			.tokens_per_s = measured ? (float)b->sim.tokens_per_s : 0,
			.standby = b->standby};
	}
	if (found != NULL)
		rows[catalog.len++] = (struct route_deployment){.model = found,
			.backend = "llamacpp-local",
			.upstream = found,
			.tools = TRI_UNKNOWN,
			.vision = TRI_UNKNOWN,
			.json = TRI_UNKNOWN,
			.quality = -1,
			.input_usd = -1,
			.output_usd = -1,
			.weight = 1,
			.up = true,
			.down_why = "",
			.max_in_flight = 64};
	scorers_new(&scorers, c, shipped);
	for (size_t i = 0; i < scorers->len; i++)
		if (scorers->rows[i].route != NULL)
			cr_assert_eq(scorers_load(&scorers->rows[i], file_read, &e), ERR_OK, "%s",
				e.text);
	catalog.scorers = scorers;
	route_rules_new(&rules, c);
	cr_assert_eq(route_decide(out, &r, &catalog, rules, &e), ERR_OK, "%s: %s", text, e.text);
	route_rules_free(&rules);
	*winner = rows[out->ranked[0].deployment];
}

static void
expect_rules(const char *const *texts, size_t len, const char *rule)
{
	AUTO(config_free) struct config *c = demo();
	struct route_deployment winner;
	struct route_decision d;

	for (size_t i = 0; i < len; i++) {
		decide(&d, c, "chat", texts[i], NULL, &winner);
		cr_expect_str_eq(d.rule, rule, "%s: `%s`", texts[i], d.rule);
	}
}

Test(config_demo, orders_are_actions)
{
	static const char *const texts[] = {"Add milk to my shopping list",
		"Turn on the lamp, please", "set a timer for ten minutes", "Remind me to call Anna",
		"Play some jazz"};

	expect_rules(texts, ARRAY_LEN(texts), "action");
}

Test(config_demo, questions_about_before_are_memory)
{
	static const char *const texts[] = {"What do you remember about me?",
		"Remind me what we're planning?", "What did we decide yesterday?",
		"what is my favourite colour"};

	expect_rules(texts, ARRAY_LEN(texts), "memory");
}

Test(config_demo, small_talk_is_chat)
{
	static const char *const texts[] = {
		"Hi there! How are you today?", "tell me a joke", "Thanks!"};

	expect_rules(texts, ARRAY_LEN(texts), "chat");
}

Test(config_demo, near_misses_fire_no_rule)
{
	static const char *const texts[] = {"How do I prevent rust on my bike?",
		"Tell me about the asset class", "who is the president",
		"Plan a meeting for advice", "What is the address of the embassy?",
		"What should I eat for breakfast?", "How do I turn on word wrap in vim?",
		"Is the turnover off by one?", "The history of this shire", "Explain playsome.js"};

	expect_rules(texts, ARRAY_LEN(texts), "");
}

Test(config_demo, rules_hold_in_the_route_chat_only)
{
	AUTO(config_free) struct config *c = demo();
	struct route_deployment winner;
	struct route_decision d;

	decide(&d, c, "auto", "Turn on the lamp", NULL, &winner);
	cr_assert_str_eq(d.rule, "");
}

Test(config_demo, cheap_and_best_differ)
{
	AUTO(config_free) struct config *c = demo();
	struct route_deployment winner;
	struct route_decision d;

	decide(&d, c, "cheap", "Hello", NULL, &winner);
	cr_assert_str_eq(winner.model, "small");
	decide(&d, c, "best", "Prove that there are infinitely many primes", NULL, &winner);
	cr_assert_str_eq(winner.model, "large");
}

static void
expect_model(const char *const *texts, size_t len, const char *model)
{
	AUTO(config_free) struct config *c = demo();
	struct route_deployment winner;
	struct route_decision d;

	for (size_t i = 0; i < 2 * len; i++) {
		measured = i % 2 == 1;
		decide(&d, c, "auto", texts[i / 2], NULL, &winner);
		cr_expect_str_eq(winner.model, model, "%s: %s", texts[i / 2], d.reason);
		cr_expect_str_eq(d.scorer, "linear");
		cr_expect(d.judged);
	}
}

Test(config_demo, the_shipped_scorer_sends_easy_prompts_to_the_small_model)
{
	static const char *const texts[] = {"hi", "What is the capital of France?",
		"Hello there, how are you today?", "Thanks, that's great!",
		"What time is it in Tokyo?", "Who wrote Hamlet?",
		"Translate 'good morning' into Spanish.", "What colour is the sky?",
		"Give me a synonym for happy.", "How many days are in a week?",
		"Tell me a joke about cats.", "What is 2+2?", "Recommend a movie for tonight"};

	expect_model(texts, ARRAY_LEN(texts), "small");
}

Test(config_demo, the_shipped_scorer_sends_hard_prompts_to_the_large_model)
{
	static const char *const texts[] = {"Prove that there are infinitely many primes.",
		"Prove that the square root of 2 is irrational and generalise to any non-square "
		"integer.",
		"Implement a lock-free multi-producer multi-consumer queue in C11 with hazard "
		"pointers, explain the memory ordering of every atomic operation and write tests "
		"for it.",
		"Let f be a continuous function on [0,1] with f(0)=f(1). Show that for each n "
		"there is x with f(x)=f(x+1/n). Give a full proof.",
		"Solve the differential equation y'' - 4y' + 4y = e^{2x} sin x with y(0)=1, "
		"y'(0)=0 and verify your solution.",
		"Refactor this Python service into an async architecture with retries, circuit "
		"breakers and back-pressure:\n```python\nimport requests\ndef f(urls):\n    out = "
		"[]\n    for u in urls:\n        out.append(requests.get(u).json())\n    return "
		"out\n```\nWrite the full code and unit tests, and discuss the trade-offs.",
		"Find all integers x, y such that x^2 - 7y^2 = 1 and prove that your list is "
		"complete."};

	expect_model(texts, ARRAY_LEN(texts), "large");
}

Test(config_demo, a_real_server_wins_in_every_route)
{
	AUTO(config_free) struct config *c = demo();
	struct route_deployment winner;
	struct route_decision d;

	for (size_t i = 0; i < c->routes_len; i++) {
		decide(&d, c, c->routes[i].name, "Add milk to my shopping list", "llama-3.2",
			&winner);
		cr_expect_str_eq(winner.backend, "llamacpp-local", "route %s took %s",
			c->routes[i].name, winner.model);
	}
}

Test(config_demo, a_route_may_name_what_only_a_backend_lists)
{
	static const char yaml[] = "discover_local: yes\n"
				   "routes: [{name: r, models: [llamacpp-local/llama-3.2]}]\n";
	AUTO(config_free) struct config *c = NULL;
	struct route_deployment winner;
	struct route_decision d;
	struct err e = {.code = ERR_OK};

	cr_assert_eq(config_parse(&c, "f", yaml, strlen(yaml), NULL, &e), ERR_OK, "%s", e.text);
	decide(&d, c, "r", "Hello", "llama-3.2", &winner);
	cr_assert_str_eq(winner.model, "llama-3.2");
}
