/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_chat_body.c - what is found in request bodies, and which field a fault is blamed on
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "workers/gateway/gateway.h"

static enum err_code
read_body(struct chat_body *out, enum route_endpoint endpoint, const char *text, struct err *e)
{
	return chat_body_read(out, endpoint, CHAT_BODY_REQUEST, text, strlen(text), e);
}

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

Test(chat_body, the_model_is_found_where_it_stands)
{
	static const char *const texts[] = {
		"{\"model\":\"auto\"," MESSAGES "}",
		" \n{ \"x\":{\"model\":\"inner\"}," MESSAGES ", \"model\" : \"auto\" }",
		"{\"mod\\u0065l\":\"auto\"," MESSAGES "}",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO(chat_body_fini) struct chat_body b = {0};
		struct err e;

		cr_assert_eq(read_body(&b, ROUTE_CHAT, texts[i], &e), ERR_OK, "%s", e.text);
		cr_assert_str_eq(b.route.model, "auto");
		cr_assert_eq(b.model_len, 6);
		cr_assert_eq(memcmp(texts[i] + b.model_at, "\"auto\"", 6), 0, "text %zu", i);
	}
}

Test(chat_body, escapes_in_the_model_are_decoded_and_its_place_is_that_of_the_raw_text)
{
	static const char text[] = "{\"model\":\"a\\/b\"," MESSAGES "}";
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT, text, &e), ERR_OK);
	cr_assert_str_eq(b.route.model, "a/b");
	cr_assert_eq(memcmp(text + b.model_at, "\"a\\/b\"", b.model_len), 0);
}

Test(chat_body, a_body_without_model_has_nothing_to_splice)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT, "{" MESSAGES "}", &e), ERR_OK);
	cr_assert_null(b.route.model);
	cr_assert_eq(b.model_len, 0);
}

struct fault {
	enum route_endpoint endpoint;
	const char *text;
	const char *param; /* NULL: the body as a whole */
};

static const struct fault faults[] = {
	{ROUTE_CHAT, "", NULL},
	{ROUTE_CHAT, "{", NULL},
	{ROUTE_CHAT, "[]", NULL},
	{ROUTE_CHAT, "\"model\"", NULL},
	{ROUTE_CHAT, "{\"model\":\"a\"} x", NULL},
	{ROUTE_CHAT, "{\"model\":\"a\xff\"}", NULL},
	{ROUTE_CHAT, "{}", "messages"},
	{ROUTE_CHAT, "{\"model\":\"a\",\"model\":\"b\"," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"model\":\"a\",\"mod\\u0065l\":\"b\"," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"model\":1," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"model\":null," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"model\":\"\"," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"model\":\"a\\u0000b\"," MESSAGES "}", "model"},
	{ROUTE_CHAT, "{\"messages\":\"hi\"}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[1]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[{}]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[{\"role\":1}]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":1}]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[1]}]}", "messages"},
	{ROUTE_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}", "messages"},
	{ROUTE_CHAT, "{" MESSAGES "," MESSAGES "}", "messages"},
	{ROUTE_CHAT, "{\"stream\":\"yes\"," MESSAGES "}", "stream"},
	{ROUTE_CHAT, "{\"stream\":true,\"stream\":false," MESSAGES "}", "stream"},
	{ROUTE_CHAT, "{\"tools\":{}," MESSAGES "}", "tools"},
	{ROUTE_CHAT, "{\"functions\":1," MESSAGES "}", "functions"},
	{ROUTE_CHAT, "{\"response_format\":\"json\"," MESSAGES "}", "response_format"},
	{ROUTE_CHAT, "{\"response_format\":{}," MESSAGES "}", "response_format"},
	{ROUTE_CHAT, "{\"max_tokens\":\"5\"," MESSAGES "}", "max_tokens"},
	{ROUTE_CHAT, "{\"max_completion_tokens\":true," MESSAGES "}", "max_completion_tokens"},
	{ROUTE_COMPLETIONS, "{}", "prompt"},
	{ROUTE_COMPLETIONS, "{\"prompt\":1}", "prompt"},
	{ROUTE_EMBEDDINGS, "{\"model\":\"a\"}", "input"},
	{ROUTE_EMBEDDINGS, "{\"input\":{}}", "input"},
};

Test(chat_body, faults_name_their_field)
{
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		AUTO(chat_body_fini) struct chat_body b = {0};
		struct err e = {0};

		cr_assert_eq(read_body(&b, faults[i].endpoint, faults[i].text, &e), ERR_INPUT, "%s",
			faults[i].text);
		cr_assert(e.text[0] != '\0');
		if (faults[i].param == NULL)
			cr_assert_null(b.param, "%s: %s", faults[i].text, b.param);
		else
			cr_assert_str_eq(b.param == NULL ? "" : b.param, faults[i].param, "%s",
				faults[i].text);
	}
}

Test(chat_body, a_model_of_255_bytes_is_taken_and_one_of_256_is_not)
{
	for (size_t len = MODEL_MAX_LEN - 1; len <= MODEL_MAX_LEN; len++) {
		AUTO(chat_body_fini) struct chat_body b = {0};
		AUTO(buf_fini) struct buf text = BUF_INIT;
		struct err e;

		buf_add_str(&text, "{\"model\":\"");
		for (size_t i = 0; i < len; i++)
			buf_add_char(&text, 'm');
		buf_add_str(&text, "\"," MESSAGES "}");
		cr_assert_eq(read_body(&b, ROUTE_CHAT, text.data, &e),
			len < MODEL_MAX_LEN ? ERR_OK : ERR_INPUT);
	}
}

Test(chat_body, what_is_not_understood_is_not_looked_at)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT,
			     "{\"x\":1,\"x\":2,\"prompt\":3,\"input\":4,\"route\":5,\"seed\":1e400,"
			     "\"messages\":[{\"role\":\"wizard\",\"content\":null,\"x\":[]}]}",
			     &e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(b.route.user_turns, 0);
	cr_assert_eq(b.route.turns_count, 0);
}

Test(chat_body, needs_are_found)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT,
			     "{\"stream\":true,\"tools\":[{}],\"max_tokens\":7,"
			     "\"response_format\":{\"type\":\"json_schema\"},"
			     "\"messages\":[{\"role\":\"user\",\"content\":["
			     "{\"type\":\"text\",\"text\":\"what\"},"
			     "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}},"
			     "{\"type\":\"text\",\"text\":\"is this\"}]}]}",
			     &e),
		ERR_OK);
	cr_assert(b.route.stream && b.route.tools && b.route.json && b.route.vision);
	cr_assert_eq(b.route.max_tokens, 7);
	cr_assert_eq(b.route.prompt_bytes, 11);
	cr_assert_str_eq(b.route.turns[0], "what\nis this");
}

Test(chat_body, nothing_is_needed_that_is_not_asked)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT,
			     "{\"stream\":null,\"tools\":[],\"functions\":null,\"max_tokens\":null,"
			     "\"response_format\":{\"type\":\"text\"}," MESSAGES "}",
			     &e),
		ERR_OK);
	cr_assert(!b.route.stream && !b.route.tools && !b.route.json && !b.route.vision);
	cr_assert_eq(b.route.max_tokens, 0);
}

Test(chat_body, the_four_latest_user_turns_come_latest_first)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT,
			     "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
			     "{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"user\",\"content\":"
			     "\"2\"},"
			     "{\"role\":\"assistant\",\"content\":\"a\"},"
			     "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"user\",\"content\":"
			     "\"\"},"
			     "{\"role\":\"tool\",\"content\":\"t\"},"
			     "{\"role\":\"user\",\"content\":\"5\\u00e9\\n\"}]}",
			     &e),
		ERR_OK);
	cr_assert_eq(b.route.user_turns, 5);
	cr_assert_eq(b.route.turns_count, 4);
	cr_assert_str_eq(b.route.turns[0], "5\xc3\xa9\n");
	cr_assert_str_eq(b.route.turns[1], "");
	cr_assert_str_eq(b.route.turns[2], "3");
	cr_assert_str_eq(b.route.turns[3], "2");
	cr_assert_eq(b.route.turns_len[0], 4);
}

Test(chat_body, a_giant_turn_is_cut_in_its_middle_between_characters)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const char *turn;
	struct err e;

	buf_add_str(&text, "{\"messages\":[{\"role\":\"user\",\"content\":\"start");
	for (unsigned i = 0; i < 100000; i++)
		buf_add_str(&text, "\xe2\x82\xac");
	buf_add_str(&text, "end\"}]}");
	cr_assert_eq(read_body(&b, ROUTE_CHAT, text.data, &e), ERR_OK);
	turn = b.route.turns[0];
	cr_assert_lt(b.route.turns_len[0], 70000);
	cr_assert_eq(b.route.turns_len[0], strlen(turn));
	cr_assert_eq(strncmp(turn, "start\xe2\x82\xac", 8), 0);
	cr_assert_str_eq(turn + b.route.turns_len[0] - 6, "\xe2\x82\xac"
							  "end");
	for (size_t i = 5; i < b.route.turns_len[0] - 3; i += 3)
		cr_assert_eq(memcmp(turn + i, "\xe2\x82\xac", 3), 0, "a torn character at %zu", i);
	cr_assert_gt(b.route.prompt_bytes, 300000);
}

Test(chat_body, prompts_and_inputs_are_turns)
{
	AUTO(chat_body_fini) struct chat_body b = {0}, c = {0}, d = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_COMPLETIONS, "{\"prompt\":\"hello\"}", &e), ERR_OK);
	cr_assert_str_eq(b.route.turns[0], "hello");
	cr_assert_eq(read_body(&c, ROUTE_EMBEDDINGS, "{\"input\":[\"a\",\"b\"],\"stream\":1}", &e),
		ERR_OK, "%s", e.text);
	cr_assert_str_eq(c.route.turns[0], "b");
	cr_assert_eq(c.route.endpoint, ROUTE_EMBEDDINGS);
	cr_assert_eq(read_body(&d, ROUTE_EMBEDDINGS, "{\"input\":[[1,2],[3]]}", &e), ERR_OK);
	cr_assert_eq(d.route.turns_count, 0);
}

static void
read_question(struct chat_body *b, const char *text)
{
	struct err e = {0};

	cr_assert_eq(chat_body_read(b, ROUTE_CHAT, CHAT_BODY_QUESTION, text, strlen(text), &e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(b->route.endpoint, ROUTE_CHAT);
}

Test(chat_body, a_question_is_a_prompt_with_a_route_or_a_chat_body)
{
	AUTO(chat_body_fini) struct chat_body b = {0}, c = {0};

	read_question(&b, "{\"prompt\":\"hello\",\"route\":\"cheap\"}");
	cr_assert_str_eq(b.route.route, "cheap");
	cr_assert_str_eq(b.route.turns[0], "hello");
	read_question(&c, "{\"model\":\"auto\"," MESSAGES "}");
	cr_assert_null(c.route.route);
	cr_assert_str_eq(c.route.model, "auto");
}

/* No prefix of a body may be read beyond its end; ASan watches. */
Test(chat_body, every_prefix_is_an_error)
{
	static const char text[] = "{\"model\":\"a\\u00e9\",\"tools\":[{}]," MESSAGES "}";

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		AUTO(chat_body_fini) struct chat_body b = {0};
		char *copy = malloc(len + 1);
		struct err e;

		cr_assert_not_null(copy);
		memcpy(copy, text, len);
		cr_assert_eq(chat_body_read(&b, ROUTE_CHAT, CHAT_BODY_REQUEST, copy, len, &e),
			ERR_INPUT);
		free(copy);
	}
}

Test(chat_body, the_rest_of_a_conversation_comes_latest_first)
{
	static const char text[] =
		"{\"model\":\"auto\",\"user\":\"u\",\"metadata\":{\"session_id\":\"s1\"},"
		"\"messages\":[{\"role\":\"system\",\"content\":\"rules\"},"
		"{\"role\":\"user\",\"content\":\"one\"},"
		"{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"two\"}]},"
		"{\"role\":\"user\",\"content\":\"three\"}]}";
	AUTO(chat_body_fini) struct chat_body b = {0};
	AUTO(chat_body_fini) struct chat_body moved = {0};
	AUTO(buf_fini) struct buf others = BUF_INIT;
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT, text, &e), ERR_OK, "%s", e.text);
	chat_body_others(&b, &others, 100);
	cr_assert_str_eq(buf_str(&others), "two\n\nrules\n\n");
	chat_body_others(&b, &others, 3);
	cr_assert_eq(others.len, 3);
	cr_assert(json_equals(b.session, "s1") && json_equals(b.user, "u"));
	cr_assert(json_equals(b.first_turn, "one"));
	chat_body_move(&moved, &b);
	cr_assert_eq(moved.route.model, moved.model, "names move along");
	cr_assert_str_eq(moved.route.model, "auto");
	cr_assert_str_eq(moved.route.turns[0], "three");
	cr_assert_eq(b.text.data, NULL, "and nothing is left to free twice");
}

Test(chat_body, odd_users_and_metadata_are_nobodys)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e;

	cr_assert_eq(read_body(&b, ROUTE_CHAT,
			     "{\"user\":7,\"metadata\":[1],\"messages\":[{\"role\":\"user\","
			     "\"content\":\"x\"}]}",
			     &e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(b.user.type, JSON_NONE);
	cr_assert_eq(b.session.type, JSON_NONE);
}
