/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sim.c - what the simulated model plans to say
 */
#include <criterion/criterion.h>
#include <string.h>

#include "workers/backend/backend.h"

static const struct config_backend config = {.sim = {.seed = 1, .tokens = 8}};

static struct sim_plan
plan(const char *body)
{
	const struct call_request in = {.endpoint = strstr(body, "\"messages\"") != NULL
							    ? MSG_ENDPOINT_CHAT
							    : MSG_ENDPOINT_COMPLETIONS,
		.model = "m",
		.body = body,
		.body_len = strlen(body)};
	struct sim_plan p = {0};
	struct err e;

	cr_assert_eq(sim_plan(&p, &config, &in, &e), ERR_OK, "%s", e.text);
	return p;
}

#define USER(text) "\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]"
#define TOOLS                                                                                      \
	"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":" \
	"{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":"  \
	"\"integer\"}}}}}]"

Test(sim, text_follows_from_prompt_model_and_seed)
{
	AUTO(buf_fini) struct buf expected = BUF_INIT;
	struct sim_plan p = plan("{" USER("hello") "}");

	sim_text(&expected, sim_prompt_hash(1, "m", "hello", 5), 8);
	cr_expect_str_eq(buf_str(&p.text), buf_str(&expected));
	cr_expect_eq(p.tokens, 8);
	cr_expect_eq(p.prompt_tokens, 2);
	cr_expect_not(p.is_length);
	cr_expect_neq(sim_prompt_hash(2, "m", "hello", 5), sim_prompt_hash(1, "m", "hello", 5));
	cr_expect_neq(sim_prompt_hash(1, "n", "hello", 5), sim_prompt_hash(1, "m", "hello", 5));
	sim_plan_fini(&p);
}

/* The text that tests in other languages compute for themselves. */
Test(sim, the_documented_function_has_not_changed)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	cr_expect_eq(sim_prompt_hash(1, "m", "hello", 5), UINT64_C(0x6c65022ae6efa20f));
	sim_text(&text, sim_prompt_hash(1, "m", "hello", 5), 4);
	cr_expect_str_eq(buf_str(&text), "prism circuit horizon arc");
}

Test(sim, how_sure_it_is_follows_from_the_prompt_or_the_config)
{
	struct config_backend other = config;
	const char *body = "{" USER("hello") ",\"logprobs\":true}";
	const struct call_request in = {.endpoint = MSG_ENDPOINT_CHAT,
		.model = "m",
		.body = body,
		.body_len = strlen(body)};
	struct sim_plan p = {0};
	struct err e;

	other.sim.confidence = -1;
	cr_assert_eq(sim_plan(&p, &other, &in, &e), ERR_OK);
	cr_expect_float_eq(p.confidence, 0.3705030083656311, 1e-12);
	cr_expect(p.shows_probs);
	sim_plan_fini(&p);
	p = (struct sim_plan){0};
	other.sim.confidence = 0;
	cr_assert_eq(sim_plan(&p, &other, &in, &e), ERR_OK);
	cr_expect_not(p.shows_probs, "one that tells none tells none");
	sim_plan_fini(&p);
}

Test(sim, max_tokens_ends_the_text)
{
	struct sim_plan p = plan("{" USER("hello") ",\"max_tokens\":3}");

	cr_expect_eq(p.tokens, 3);
	cr_expect(p.is_length);
	sim_plan_fini(&p);
}

Test(sim, stop_cuts_the_text)
{
	struct sim_plan p = plan("{" USER("hello") ",\"stop\":[\" \"]}");

	cr_expect_eq(p.tokens, 1);
	cr_expect_not(p.is_length);
	sim_plan_fini(&p);
}

Test(sim, pieces_are_the_text)
{
	AUTO(buf_fini) struct buf joined = BUF_INIT;
	struct sim_plan p =
		plan("{" USER("h\xc3\xa9") ",\"response_format\":{\"type\":\"json_object\"}}");
	size_t n;

	for (size_t at = 0; at < p.text.len; at += n) {
		n = sim_piece(&p.text, at);
		cr_assert_neq(
			(unsigned char)p.text.data[at] & 0xc0, 0x80, "cut within a character");
		buf_add(&joined, p.text.data + at, n);
	}
	cr_expect_str_eq(buf_str(&joined), "{\"answer\":\"h\xc3\xa9\"}");
	sim_plan_fini(&p);
}

Test(sim, a_tool_is_called_when_the_user_names_it)
{
	struct sim_plan p = plan("{" USER("call get_weather") "," TOOLS "}");

	cr_expect(p.calls_tool);
	cr_expect_str_eq(buf_str(&p.tool_name), "get_weather");
	cr_expect_str_eq(buf_str(&p.tool_arguments), "{\"city\":\"call get_weather\",\"days\":1}");
	sim_plan_fini(&p);
}

Test(sim, no_tool_unasked_or_forbidden)
{
	struct sim_plan p = plan("{" USER("hello") "," TOOLS "}");

	cr_expect_not(p.calls_tool);
	sim_plan_fini(&p);
	p = plan("{" USER("call get_weather") "," TOOLS ",\"tool_choice\":\"none\"}");
	cr_expect_not(p.calls_tool);
	sim_plan_fini(&p);
}

Test(sim, after_a_tool_result_it_answers)
{
	struct sim_plan p =
		plan("{\"messages\":[{\"role\":\"user\",\"content\":\"call get_weather\"},"
		     "{\"role\":\"tool\",\"content\":\"sunny\"}]," TOOLS "}");

	cr_expect_not(p.calls_tool);
	cr_expect_eq(p.tokens, 8);
	sim_plan_fini(&p);
}

Test(sim, images_change_the_answer)
{
	struct sim_plan a = plan(
		"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
		"\"text\":\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:a\"}}]}]}");
	struct sim_plan b = plan("{" USER("x") "}");

	cr_expect_neq(a.hash, b.hash);
	cr_expect_gt(a.prompt_tokens, b.prompt_tokens);
	sim_plan_fini(&a);
	sim_plan_fini(&b);
}
