/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_probs.c - how sure a model was, in every upstream's words, and that no client sees it
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "workers/backend/backend.h"

#define NEAR(a, b) (fabs((a) - (b)) < 1e-9)

/* ---- the measure ---- */

Test(probs, confidence_is_the_geometric_mean)
{
	struct probs p = {0};

	cr_expect_eq(probs_confidence(&p), 0);
	probs_add(&p, log(0.5));
	cr_expect(NEAR(probs_confidence(&p), 0.5));
	probs_add(&p, log(0.125));
	cr_expect(NEAR(probs_confidence(&p), 0.25));
	cr_expect_eq(p.tokens, 2);
}

Test(probs, confidence_stays_within_0_and_1_whatever_an_upstream_says)
{
	struct probs p = {0};

	probs_add(&p, 3);
	cr_expect(NEAR(probs_confidence(&p), 1));
	probs_add(&p, -9999); /* OpenAI: too improbable to tell */
	cr_expect(probs_confidence(&p) > 1e-5, "one token outweighs all others");
	cr_expect(probs_confidence(&p) < 1e-4);
}

static struct probs
read_probs(const char *text)
{
	struct probs p = {0};
	struct json v;

	cr_assert_eq(json_check(&v, text, strlen(text), NULL), ERR_OK);
	probs_read(&p, v);
	return p;
}

Test(probs, each_api_has_its_own_form)
{
	struct probs p = read_probs("{\"content\":[{\"token\":\"a\",\"logprob\":-1.5,"
				    "\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-9}]},"
				    "{\"token\":\"c\",\"logprob\":-0.5}],\"refusal\":null}");

	cr_expect(p.tokens == 2 && NEAR(p.log_sum, -2), "a chat's");
	p = read_probs("{\"tokens\":[\"a\",\"b\"],\"token_logprobs\":[null,-2.0],"
		       "\"top_logprobs\":null,\"text_offset\":[0,1]}");
	cr_expect(p.tokens == 1 && NEAR(p.log_sum, -2), "a completion's");
	p = read_probs("[{\"token\":\"a\",\"logprob\":-0.25},{\"token\":\"b\"}]");
	cr_expect(p.tokens == 1 && NEAR(p.log_sum, -0.25), "Ollama's");
	p = read_probs("{\"content\":null}");
	cr_expect_eq(p.tokens, 0);
	p = read_probs("{\"content\":\"x\",\"token_logprobs\":{\"a\":1}}");
	cr_expect_eq(p.tokens, 0, "of another type");
	p = read_probs("true");
	cr_expect_eq(p.tokens, 0);
}

/* ---- the request ---- */

static void
expect_asks(enum backend_kind_id kind, enum msg_endpoint endpoint, const char *body,
	const char *expected)
{
	AUTO(upstream_request_fini) struct upstream_request r = {0};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	const char *model = strstr(body, "\"auto\"");
	const struct call_request in = {.endpoint = endpoint,
		.model = "up",
		.body = body,
		.body_len = strlen(body),
		.model_at = model == NULL ? 0 : (size_t)(model - body),
		.model_len = model == NULL ? 0 : strlen("\"auto\""),
		.probs = true};
	struct json v;
	struct err e = {0};

	cr_assert_eq(backend_kinds[kind]->request(&r, &in, &e), ERR_OK, "%s", e.text);
	for (size_t i = 0; i < r.parts_len; i++)
		buf_add(&out, r.parts[i].p, r.parts[i].len);
	cr_expect_eq(out.len, r.len);
	cr_expect_str_eq(buf_str(&out), expected);
	cr_expect_eq(json_check(&v, out.data, out.len, &e), ERR_OK, "%s", e.text);
}

Test(probs, openai_is_asked_and_no_other_byte_changes)
{
	expect_asks(BACKEND_OPENAI, MSG_ENDPOINT_CHAT,
		" { \"t\" : 1.0e0, \"model\":\"auto\", \"x\":\"\\u00e9\\/\"}\n",
		" {\"logprobs\":true,\"top_logprobs\":1, \"t\" : 1.0e0, \"model\":\"up\", "
		"\"x\":\"\\u00e9\\/\"}\n");
	expect_asks(BACKEND_OPENAI, MSG_ENDPOINT_COMPLETIONS,
		"{\"prompt\":\"p\",\"model\":\"auto\"}",
		"{\"logprobs\":1,\"prompt\":\"p\",\"model\":\"up\"}");
	expect_asks(
		BACKEND_OPENAI, MSG_ENDPOINT_CHAT, "{}", "{\"logprobs\":true,\"top_logprobs\":1}");
}

Test(probs, openai_has_the_clients_own_no_replaced)
{
	expect_asks(BACKEND_OPENAI, MSG_ENDPOINT_CHAT, "{\"logprobs\": false,\"model\":\"auto\"}",
		"{\"logprobs\": true,\"top_logprobs\":1,\"model\":\"up\"}");
	expect_asks(BACKEND_OPENAI, MSG_ENDPOINT_CHAT,
		"{\"model\":\"auto\",\"top_logprobs\":null,\"logprobs\":null}",
		"{\"model\":\"up\",\"top_logprobs\":null,\"logprobs\":true}");
}

Test(probs, ollama_is_asked)
{
	expect_asks(BACKEND_OLLAMA, MSG_ENDPOINT_COMPLETIONS,
		"{\"model\":\"auto\",\"prompt\":\"p\",\"logprobs\":null,\"keep_alive\":1}",
		"{\"model\":\"up\",\"prompt\":\"p\",\"stream\":false,\"options\":{},"
		"\"keep_alive\":1,\"logprobs\":true}");
}

Test(probs, a_client_may_have_asked_itself)
{
	static const char *const yes[] = {"{\"logprobs\":true}", "{\"logprobs\":0}"};
	static const char *const no[] = {"{}", "{\"logprobs\":false}", "{\"logprobs\":null}"};
	struct json v;

	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		cr_expect(json_check(&v, yes[i], strlen(yes[i]), NULL) == ERR_OK && probs_asked(v));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		cr_expect(json_check(&v, no[i], strlen(no[i]), NULL) == ERR_OK && !probs_asked(v));
}

/* ---- the answer ---- */

enum client { CLIENT_DID_NOT_ASK, CLIENT_ASKED };

static double
feed(struct buf *out, enum backend_kind_id kind, enum msg_endpoint endpoint, enum client client,
	const char *stream)
{
	struct answer a;
	struct err e = {0};
	double confidence;

	answer_init(&a, backend_kinds[kind], endpoint);
	(void)snprintf(a.id, sizeof(a.id), "id");
	a.probs = (struct probs){.wanted = true, .hidden = client == CLIENT_DID_NOT_ASK};
	cr_assert_eq(answer_feed(&a, stream, strlen(stream), &e), ERR_OK, "%s", e.text);
	buf_clear(out);
	buf_add(out, a.out.data, a.out.len);
	confidence = probs_confidence(&a.probs);
	answer_fini(&a);
	return confidence;
}

#define CHUNK(probs)                                                                               \
	"data: {\"id\":\"x\", \"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},"           \
	"\"logprobs\":" probs ",\"finish_reason\":null}],\"timings\":{\"n\":1.50}}\n\n"
#define TOKEN "{\"content\":[{\"token\":\"hi\",\"logprob\":-0.5,\"bytes\":[1]}]}"

Test(probs, a_stream_is_as_if_nobody_had_asked)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	double c = feed(&out, BACKEND_OPENAI, MSG_ENDPOINT_CHAT, CLIENT_DID_NOT_ASK, CHUNK(TOKEN));

	cr_expect_str_eq(buf_str(&out), CHUNK("null"));
	cr_expect(NEAR(c, exp(-0.5)));
	c = feed(&out, BACKEND_OPENAI, MSG_ENDPOINT_CHAT, CLIENT_ASKED, CHUNK(TOKEN));
	cr_expect_str_eq(buf_str(&out), CHUNK(TOKEN));
	cr_expect(NEAR(c, exp(-0.5)));
	c = feed(&out, BACKEND_OPENAI, MSG_ENDPOINT_CHAT, CLIENT_DID_NOT_ASK, CHUNK("null"));
	cr_expect_str_eq(buf_str(&out), CHUNK("null"));
	cr_expect_eq(c, 0);
}

#define CHOICES(probs)                                                                             \
	"{\"choices\":[{\"message\":{\"content\":\"a\"},\"logprobs\":" probs "},"                  \
	"{\"logprobs\":" probs ",\"message\":{\"content\":\"b\"}}], \"n\": 1.0}"

Test(probs, a_whole_answer_is_as_if_nobody_had_asked)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct answer a;
	struct err e;

	answer_init(&a, backend_kinds[BACKEND_OPENAI], MSG_ENDPOINT_CHAT);
	a.probs = (struct probs){.wanted = true, .hidden = true};
	buf_add_str(&body, CHOICES(TOKEN));
	cr_assert_eq(answer_whole(&a, &body, &e), ERR_OK);
	cr_expect_str_eq(buf_str(&body), CHOICES("null"));
	cr_expect_eq(a.probs.tokens, 2, "all choices count");
	answer_fini(&a);
}

#define OLLAMA_LINE                                                                                \
	"{\"model\":\"m\",\"message\":{\"content\":\"hi\"},\"done\":false,"                        \
	"\"logprobs\":[{\"token\":\"hi\",\"logprob\":-0.5}]}\n"

Test(probs, ollama_tells_it_too)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	double c = feed(&out, BACKEND_OLLAMA, MSG_ENDPOINT_CHAT, CLIENT_DID_NOT_ASK, OLLAMA_LINE);

	cr_expect(NEAR(c, exp(-0.5)));
	cr_expect_null(strstr(buf_str(&out), "logprob"), "%s", buf_str(&out));
	c = feed(&out, BACKEND_OLLAMA, MSG_ENDPOINT_CHAT, CLIENT_ASKED, OLLAMA_LINE);
	cr_expect(NEAR(c, exp(-0.5)));
	cr_expect_not_null(strstr(buf_str(&out), "\"logprobs\":{\"content\":[{\"token\":\"hi\""));
}
