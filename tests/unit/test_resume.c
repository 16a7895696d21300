/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resume.c - one stream out of several: what is seen, rewritten, asked of the next backend
 */
#include <criterion/criterion.h>
#include <string.h>

#include "workers/gateway/gateway.h"

#define CHUNK(id, delta)                                                                           \
	"data: {\"id\":\"" id "\",\"object\":\"chat.completion.chunk\",\"created\":1,"             \
	"\"model\":\"m-" id "\",\"choices\":[{\"index\":0,\"delta\":" delta                        \
	",\"finish_reason\":null}]}\n\n"
#define BODY                                                                                       \
	"{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],"                \
	"\"max_tokens\":10,\"fallbacks\":[\"b\"]"

#define LOGPROBS                                                                                   \
	"data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":"                 \
	"{\"content\":[{}]}}]}\n\n"

static void
feed(struct resume *s, struct buf *out, const char *text)
{
	struct err e;

	buf_clear(out);
	s->seen = 0;
	cr_assert_eq(resume_read(s, out, text, strlen(text), &e), ERR_OK, "%s", e.text);
}

static struct resume *
begun(enum mid_stream policy, const char *first)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct resume *s;

	resume_new(&s, policy, 0, ROUTE_CHAT);
	feed(s, &out, first);
	cr_assert_str_eq(buf_str(&out), first, "the first attempt's bytes were changed");
	s->tokens = 3;
	return s;
}

static enum resume_turn
turn(struct resume *s, const char *body)
{
	resume_turn(s, body, strlen(body));
	return s->turn;
}

Test(resume, a_text_goes_on_in_the_conversation)
{
	AUTO(resume_free)
	struct resume *s = begun(MID_STREAM_CONTINUE,
		CHUNK("a", "{\"role\":\"assistant\",\"content\":\"one two \"}"));
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct json root;
	uint32_t at = 0;

	cr_assert_eq(turn(s, BODY "}"), RESUME_CONTINUE);
	cr_assert_eq(json_check(&root, BODY "}", strlen(BODY "}"), NULL), ERR_OK);
	cr_assert_eq(resume_body(s, &body, root, &at), strlen("one two"));
	cr_assert_str_eq(buf_str(&body),
		"{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
		"{\"role\":\"assistant\",\"content\":\"one two\"}],\"max_tokens\":7}");
	cr_assert_eq(memcmp(body.data + at, "\"auto\"", 6), 0);
}

Test(resume, later_chunks_belong_to_the_first_ones_stream)
{
	AUTO(resume_free)
	struct resume *s = begun(
		MID_STREAM_CONTINUE, CHUNK("a", "{\"role\":\"assistant\",\"content\":\"one \"}"));
	AUTO(buf_fini) struct buf out = BUF_INIT, body = BUF_INIT;
	struct json root;
	uint32_t at = 0;

	(void)turn(s, BODY "}");
	cr_assert_eq(json_check(&root, BODY "}", strlen(BODY "}"), NULL), ERR_OK);
	(void)resume_body(s, &body, root, &at);
	feed(s, &out, CHUNK("b", "{\"role\":\"assistant\",\"content\":\" two\"}"));
	cr_assert_str_eq(buf_str(&out),
		"data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,"
		"\"model\":\"m-a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two\"},"
		"\"finish_reason\":null}]}\n\n",
		"the white space at the seam is there twice, or the chunk is another stream's");
	cr_assert_str_eq(buf_str(&s->text), "one two");
}

Test(resume, usage_is_that_of_all_attempts)
{
	AUTO(resume_free) struct resume *s = begun(MID_STREAM_RESTART, CHUNK("a", "{}"));
	AUTO(buf_fini) struct buf out = BUF_INIT;

	(void)turn(s, BODY "}");
	s->prompt_before = 5;
	s->completion_before = 7;
	feed(s, &out,
		"data: {\"id\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,"
		"\"completion_tokens\":2,\"total_tokens\":3,\"x\":{}}}\n\n");
	cr_assert_str_eq(buf_str(&out),
		"data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":6,"
		"\"completion_tokens\":9,\"total_tokens\":15,\"x\":{}}}\n\n");
}

Test(resume, what_is_more_than_plain_text_is_restarted)
{
	static const char *const firsts[] = {
		CHUNK("a", "{\"content\":\"x\",\"tool_calls\":[{\"index\":0}]}"),
		CHUNK("a", "{\"reasoning_content\":\"hm\"}"),
		"data: "
		"{\"id\":\"a\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n",
		LOGPROBS,
	};
	static const char *const bodies[] = {BODY ",\"n\":2}", BODY ",\"logprobs\":true}",
		BODY ",\"response_format\":{\"type\":\"json_object\"}}",
		"{\"messages\":[{\"role\":\"assistant\",\"content\":\"Sure\"}]}"};

	for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
		AUTO(resume_free) struct resume *s = begun(MID_STREAM_CONTINUE, firsts[i]);

		cr_assert_eq(turn(s, BODY "}"), RESUME_RESTART, "%s", firsts[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		AUTO(resume_free)
		struct resume *s = begun(MID_STREAM_CONTINUE, CHUNK("a", "{\"content\":\"x\"}"));

		cr_assert_eq(turn(s, bodies[i]), RESUME_RESTART, "%s", bodies[i]);
	}
}

Test(resume, half_an_event_and_no_json_are_refused)
{
	static const char *const bad[] = {"data: {}", "data: {oops\n\n", "data: 7\n\n"};
	AUTO(resume_free) struct resume *s = begun(MID_STREAM_RESTART, CHUNK("a", "{}"));
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(resume_read(s, &out, bad[i], strlen(bad[i]), &e), ERR_MALFORMED);
}
