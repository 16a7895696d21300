/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dialect_request.c - OpenAI requests as the upstreams want them
 *
 * By example, and with the body of every recorded OpenAI request: nothing of it may get lost, or it
 * is refused with a text.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

static enum err_code
translate(struct buf *out, struct buf *dropped, enum backend_kind_id kind,
	enum msg_endpoint endpoint, const char *body, struct err *e)
{
	AUTO(upstream_request_fini) struct upstream_request r = {0};
	const char *model = strstr(body, "\"model\":");
	const struct call_request in = {.endpoint = endpoint,
		.stream = true,
		.model = "up\"1",
		.body = body,
		.body_len = strlen(body),
		.model_at = model == NULL ? 0 : (size_t)(model + 8 - body),
		.model_len = model == NULL ? 0 : strcspn(model + 8, ",}")};
	enum err_code code = backend_kinds[kind]->request(&r, &in, e);
	size_t len = 0;

	for (size_t i = 0; code == ERR_OK && i < r.parts_len; i++) {
		buf_add(out, r.parts[i].p, r.parts[i].len);
		len += r.parts[i].len;
	}
	cr_assert(code != ERR_OK || len == r.len);
	if (dropped != NULL)
		buf_add(dropped, buf_str(&r.dropped), r.dropped.len);
	return code;
}

static void
expect_request(enum backend_kind_id kind, enum msg_endpoint endpoint, const char *body,
	const char *expected)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct json v;
	struct err e = {0};

	cr_assert_eq(translate(&out, NULL, kind, endpoint, body, &e), ERR_OK, "%s", e.text);
	cr_assert_str_eq(buf_str(&out), expected);
	cr_assert_eq(json_check(&v, out.data, out.len, &e), ERR_OK, "%s", e.text);
}

static void
expect_unsupported(
	enum backend_kind_id kind, enum msg_endpoint endpoint, const char *body, const char *what)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct err e = {0};

	cr_assert_eq(translate(&out, NULL, kind, endpoint, body, &e), ERR_UNSUPPORTED);
	cr_assert_not_null(strstr(e.text, what), "%s", e.text);
}

/* ---- openai ---- */

Test(dialect_request, openai_changes_the_model_and_no_other_byte)
{
	expect_request(BACKEND_OPENAI, MSG_ENDPOINT_CHAT,
		"{ \"temperature\" : 1.0e0, \"model\":\"auto\", \"x\":\"\\u00e9\\/\"}\n",
		"{ \"temperature\" : 1.0e0, \"model\":\"up\\\"1\", \"x\":\"\\u00e9\\/\"}\n");
}

Test(dialect_request, openai_without_a_model_is_untouched)
{
	expect_request(BACKEND_OPENAI, MSG_ENDPOINT_CHAT, "{\"x\": 1}", "{\"x\": 1}");
}

/* ---- ollama ---- */

Test(dialect_request, ollama_options_and_format)
{
	expect_request(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":[{\"role\":\"developer\",\"content\":"
		"\"be\\u0020brief\"}],"
		"\"temperature\":0.10,\"seed\":7,\"stop\":\"x\",\"max_tokens\":9,\"reasoning_"
		"effort\":\"low\","
		"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{"
		"\"type\":\"object\"}}}}",
		"{\"model\":\"up\\\"1\",\"messages\":[{\"role\":\"system\",\"content\":"
		"\"be\\u0020brief\"}],"
		"\"stream\":true,\"options\":{\"temperature\":0.10,\"seed\":7,\"num_predict\":9,"
		"\"stop\":[\"x\"]},\"format\":{\"type\":\"object\"},\"think\":\"low\"}");
}

Test(dialect_request, ollama_images_and_tools)
{
	expect_request(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":["
		"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"what?\"},"
		"{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,QUJD\"}}]},"
		"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"
		"\"function\","
		"\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}}]},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"ok\"}],"
		"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
		"{\"model\":\"up\\\"1\",\"messages\":["
		"{\"role\":\"user\",\"content\":\"what?\",\"images\":[\"QUJD\"]},"
		"{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\","
		"\"function\":{\"name\":\"f\",\"arguments\":{\"a\": 1}}}]},"
		"{\"role\":\"tool\",\"content\":\"ok\",\"tool_call_id\":\"c1\",\"tool_name\":\"f\"}"
		"],"
		"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
		"\"stream\":true,\"options\":{}}");
}

#define CALL(name)                                                                                 \
	"{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\","                  \
	"\"function\":{\"name\":\"" name "\",\"arguments\":{}}}]},"
#define RESULT "{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"c\""

/* Some servers count the ids of each answer from the same number on. */
Test(dialect_request, ollama_result_is_of_the_call_before_it)
{
	expect_request(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":[" CALL("f") RESULT "}," CALL("g") RESULT "}]}",
		"{\"model\":\"up\\\"1\",\"messages\":[" CALL("f") RESULT
		",\"tool_name\":\"f\"}," CALL("g") RESULT
		",\"tool_name\":\"g\"}],\"stream\":true,\"options\":{}}");
}

/* A client must not be able to keep the worker busy until it is killed as hung. */
Test(dialect_request, ollama_reads_thousands_of_results_at_once, .timeout = 20)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct err e = {0};

	buf_add_str(&body, "{\"model\":\"a\",\"messages\":[" CALL("f"));
	for (int i = 0; i < 60000; i++)
		buf_add_str(&body, RESULT "},");
	buf_add_str(&body, CALL("g") RESULT "}]}");
	cr_assert_eq(
		translate(&out, NULL, BACKEND_OLLAMA, MSG_ENDPOINT_CHAT, body.data, &e), ERR_OK);
}

Test(dialect_request, ollama_completion_and_embedding)
{
	expect_request(BACKEND_OLLAMA, MSG_ENDPOINT_COMPLETIONS,
		"{\"model\":\"a\",\"prompt\":[\"once\"],\"suffix\":\"end\"}",
		"{\"model\":\"up\\\"1\",\"prompt\":\"once\",\"suffix\":\"end\",\"stream\":true,"
		"\"options\":{}}");
	expect_request(BACKEND_OLLAMA, MSG_ENDPOINT_EMBEDDINGS,
		"{\"model\":\"a\",\"input\":[\"x\",\"y\"],\"dimensions\":4}",
		"{\"model\":\"up\\\"1\",\"input\":[\"x\",\"y\"],\"dimensions\":4}");
}

Test(dialect_request, ollama_says_what_it_cannot)
{
#define CHAT(rest) "{\"model\":\"a\",\"messages\":[]," rest "}"
	expect_unsupported(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT, CHAT("\"n\":2"), "n > 1");
	expect_unsupported(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT,
		CHAT("\"tools\":[],\"tool_choice\":\"required\""), "tool_choice");
	expect_unsupported(BACKEND_OLLAMA, MSG_ENDPOINT_EMBEDDINGS,
		"{\"model\":\"a\",\"input\":[[1,2]]}", "token numbers");
	expect_unsupported(BACKEND_OLLAMA, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_"
		"url\","
		"\"image_url\":{\"url\":\"https://x/y.png\"}}]}]}",
		"an image by URL");
}

/* ---- anthropic ---- */

Test(dialect_request, anthropic_systems_and_turns)
{
	expect_request(BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":[{\"role\":\"system\",\"content\":\"one\"},"
		"{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"},"
		"{\"role\":\"system\",\"content\":\"two\"},{\"role\":\"assistant\",\"content\":"
		"\"\"}],"
		"\"stop\":[\"x\"],\"user\":\"u1\",\"temperature\":0.5}",
		"{\"model\":\"up\\\"1\",\"stream\":true,\"max_tokens\":4096,"
		"\"system\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":"
		"\"two\"}],"
		"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
		"{\"type\":\"text\",\"text\":\"b\"}]}],"
		"\"temperature\":0.5,\"stop_sequences\":[\"x\"],\"metadata\":{\"user_id\":\"u1\"}"
		"}");
}

Test(dialect_request, anthropic_gets_no_empty_turn)
{
	expect_request(BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"messages\":[{\"role\":\"assistant\",\"content\":null},"
		"{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\" "
		"\\n\"},"
		"{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\",\"content\":\"c\"},"
		"{\"role\":\"user\",\"content\":[]}]}",
		"{\"model\":\"up\\\"1\",\"stream\":true,\"max_tokens\":4096,"
		"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
		"{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":["
		"{\"type\":\"text\",\"text\":\"c\"}]}]}");
}

Test(dialect_request, anthropic_tools_and_results)
{
	expect_request(BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
		"{\"model\":\"a\",\"max_completion_tokens\":5,\"messages\":["
		"{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"reasoning_signature\":"
		"\"s\","
		"\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}"
		","
		"{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"ok\"},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
		"\"http://x/y\"}}]}],"
		"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}],"
		"\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
		"\"parallel_tool_calls\":false}",
		"{\"model\":\"up\\\"1\",\"stream\":true,\"max_tokens\":5,\"messages\":["
		"{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\","
		"\"signature\":\"s\"},"
		"{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{}}]},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\","
		"\"content\":[{\"type\":\"text\",\"text\":\"ok\"}]},"
		"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"http://x/y\"}}]}],"
		"\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\",\"properties\":{}"
		"}}],"
		"\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":"
		"true}}");
}

Test(dialect_request, anthropic_tells_what_it_drops)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	AUTO(buf_fini) struct buf dropped = BUF_INIT;
	struct err e;

	cr_assert_eq(translate(&out, &dropped, BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
			     CHAT("\"seed\":1,\"temperature\":1.5,\"logit_bias\":{}"), &e),
		ERR_OK);
	cr_expect_str_eq(buf_str(&dropped), "logit_bias,temperature>1,seed");
	cr_expect_not_null(strstr(out.data, "\"temperature\":1}"));
}

Test(dialect_request, anthropic_says_what_it_cannot)
{
	expect_unsupported(
		BACKEND_ANTHROPIC, MSG_ENDPOINT_EMBEDDINGS, "{\"model\":\"a\"}", "but a chat");
	expect_unsupported(
		BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT, CHAT("\"logprobs\":true"), "logprobs");
	expect_unsupported(BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
		CHAT("\"response_format\":{\"type\":\"json_object\"}"), "json_object");
	expect_unsupported(BACKEND_ANTHROPIC, MSG_ENDPOINT_CHAT,
		CHAT("\"tools\":[{\"type\":\"web_search\"}]"), "no function");
}

/* ---- every recorded request ---- */

/* Every text of the request stands in the translation, as JSON wrote it. */
static void
expect_texts(const struct buf *out, struct json body, const char *file)
{
	struct json messages = json_get(body, "messages"), message, content, part, text;
	struct json_iter it = json_iter(messages), parts;

	while (json_next_item(&it, &message)) {
		content = json_get(message, "content");
		if (content.type == JSON_STRING)
			cr_expect(content.len <= 2 || memmem(out->data, out->len, content.p,
							      content.len) != NULL,
				"%s", file);
		parts = json_iter(content);
		while (content.type == JSON_ARRAY && json_next_item(&parts, &part)) {
			AUTO(buf_fini) struct buf decoded = BUF_INIT;
			AUTO(buf_fini) struct buf again = BUF_INIT;

			text = json_get(part, "text");
			if (text.type != JSON_STRING || text.len <= 2)
				continue;
			json_text(&decoded, text);
			json_put_string(&again, buf_str(&decoded), decoded.len);
			/* joined to its neighbours it has lost its quotes */
			cr_expect(memmem(out->data, out->len, text.p + 1, text.len - 2) != NULL ||
					  memmem(out->data, out->len, again.data + 1,
						  again.len - 2) != NULL,
				"%s: %.*s", file, (int)text.len, text.p);
		}
	}
}

static void
check_recorded(const char *file, struct json body, enum backend_kind_id kind, unsigned *done)
{
	AUTO(buf_fini) struct buf copy = BUF_INIT;
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct json v;
	struct err e = {0};
	enum err_code code;

	buf_add(&copy, body.p, body.len);
	code = translate(&out, NULL, kind, MSG_ENDPOINT_CHAT, copy.data, &e);
	if (code == ERR_UNSUPPORTED) {
		cr_expect_not_null(strstr(e.text, "can't be given to"), "%s: %s", file, e.text);
		return;
	}
	cr_assert_eq(code, ERR_OK, "%s: %s", file, e.text);
	cr_assert_eq(json_check(&v, out.data, out.len, &e), ERR_OK, "%s: %s", file, e.text);
	expect_texts(&out, body, file);
	(*done)++;
}

Test(dialect_request, every_recorded_request)
{
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	char path[600];
	char *line = NULL;
	size_t size = 0;
	unsigned done = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/../shared/data/wire/index.jsonl",
		root == NULL ? "." : root);
	f = fopen(path, "r");
	if (f == NULL)
		cr_skip_test("no recordings: ../shared/data/wire is not there");
	while (getline(&line, &size, f) > 0) {
		char file[300];
		struct json row, body;
		struct err e;

		cr_assert_eq(json_check(&row, line, strlen(line), &e), ERR_OK);
		(void)json_copy_text(file, sizeof(file), json_get(row, "path"));
		body = json_get(row, "request");
		if (strstr(file, "/chat/completions") == NULL || body.type != JSON_OBJECT ||
			json_get(body, "messages").type != JSON_ARRAY)
			continue;
		(void)json_copy_text(file, sizeof(file), json_get(row, "file"));
		check_recorded(file, body, BACKEND_OLLAMA, &done);
		check_recorded(file, body, BACKEND_ANTHROPIC, &done);
	}
	free(line);
	(void)fclose(f);
	cr_expect_gt(done, 100, "only %u requests were translated", done);
}
