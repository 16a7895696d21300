/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_demo.c - the shipped demo decides as its comments promise
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/routing/route.h"

static struct config *
demo(void)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	struct config *c = NULL;
	struct err e = {.code = ERR_OK};

	buf_addf(&path, "%s/config/demo.yaml", root != NULL ? root : ".");
	cr_assert_eq(config_load(&c, &text, buf_str(&path), NULL, &e), ERR_OK, "%s", e.text);
	return c;
}

/* All that the demo declares is up; found is what a local server lists, NULL: none runs. */
static void
decide(struct route_decision *out, const struct config *c, const char *route, const char *text,
	const char *found, struct route_deployment *winner)
{
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
			.standby = config_backend(c, m->deployments[0].backend)->standby};
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
