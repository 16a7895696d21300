/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sse_reader.c - line ends, comments, several data lines, names, limits; JSON lines likewise
 */
#include <criterion/criterion.h>
#include <string.h>

#include "workers/backend/backend.h"

static enum err_code
note(void *arg, const char *name, const char *data, size_t len, struct err *e)
{
	struct buf *out = arg;

	(void)e;
	buf_addf(out, "[%s|%.*s]", name, (int)len, data);
	return ERR_OK;
}

/* Feed text in pieces of n bytes; what the events were. */
static void
expect_events(const char *text, const char *expected)
{
	for (size_t n = 1; n <= strlen(text); n++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;
		AUTO(sse_fini) struct sse_reader r = {.max_bytes = 1000};
		struct err e;

		for (size_t at = 0; at < strlen(text); at += n)
			cr_assert_eq(
				sse_feed(&r, text + at, MIN(n, strlen(text) - at), note, &out, &e),
				ERR_OK);
		cr_assert_eq(sse_end(&r, note, &out, &e), ERR_OK);
		cr_assert_str_eq(buf_str(&out), expected, "pieces of %zu", n);
	}
}

Test(sse_reader, all_line_ends)
{
	expect_events("data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\r\n\n", "[|a][|b][|c][|d]");
}

Test(sse_reader, lines_of_one_event_are_joined)
{
	expect_events("data: a\ndata:\ndata:  b\n\n", "[|a\n\n b]");
}

Test(sse_reader, comments_ids_and_unknown_fields_are_dropped)
{
	expect_events(": hi\n\nid: 3\nretry: 10\nfoo: bar\n\ndata: x\n\n", "[|x]");
}

Test(sse_reader, names_belong_to_their_event)
{
	expect_events("event: error\ndata: x\n\ndata: y\n\nevent: lost\n\n", "[error|x][|y]");
}

Test(sse_reader, byte_order_mark_is_skipped)
{
	expect_events("\xef\xbb\xbf"
		      "data: x\n\n",
		"[|x]");
}

Test(sse_reader, the_last_event_needs_no_empty_line)
{
	expect_events("data: x\n\ndata: [DONE]", "[|x][|[DONE]]");
}

Test(sse_reader, an_event_beyond_the_limit_is_refused)
{
	struct sse_reader r = {.max_bytes = 10};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct err e;

	cr_expect_eq(sse_feed(&r, "data: 0123456789\n", 17, note, &out, &e), ERR_MALFORMED);
	sse_fini(&r);
	r = (struct sse_reader){.max_bytes = 10};
	cr_expect_eq(sse_feed(&r, "0123456789", 10, note, &out, &e), ERR_OK);
	cr_expect_eq(sse_feed(&r, "0", 1, note, &out, &e), ERR_MALFORMED);
	sse_fini(&r);
}

Test(ndjson_reader, lines_however_cut)
{
	static const char text[] = "{\"a\":1}\n\r\n{\"b\":2}\r\n  \n{\"c\":3}";

	for (size_t n = 1; n < sizeof(text); n++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;
		AUTO(ndjson_fini) struct ndjson_reader r = {.max_bytes = 100};
		struct err e;

		for (size_t at = 0; at < strlen(text); at += n)
			cr_assert_eq(ndjson_feed(&r, text + at, MIN(n, strlen(text) - at), note,
					     &out, &e),
				ERR_OK);
		cr_assert_eq(ndjson_end(&r, note, &out, &e), ERR_OK);
		cr_assert_str_eq(buf_str(&out), "[|{\"a\":1}][|{\"b\":2}][|{\"c\":3}]");
	}
}

Test(ndjson_reader, a_line_beyond_the_limit_is_refused)
{
	AUTO(ndjson_fini) struct ndjson_reader r = {.max_bytes = 4};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct err e;

	cr_expect_eq(ndjson_feed(&r, "12345", 5, note, &out, &e), ERR_MALFORMED);
}
