/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_embed.c - bodies of /v1/embeddings for an encoder of our own, and their answers
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

static struct err e;

static enum err_code
read_body(struct embed *m, const char *body)
{
	return embed_read(m, body, strlen(body), &e);
}

struct good {
	const char *body;
	uint32_t count, dimensions;
	bool base64;
	const char *bytes; /* of the first input */
	uint32_t len, ids;
};

static const struct good goods[] = {
	{"{\"input\":\"hi\"}", 1, 0, false, "hi", 2, 0},
	{"{\"input\":[\"hi\\u0000!\",\"b\"],\"encoding_format\":\"float\"}", 2, 0, false, "hi\0!",
		4, 0},
	{"{\"input\":[1,2],\"encoding_format\":\"base64\"}", 1, 0, true, "\1\0\0\0\2\0\0\0", 8, 1},
	{"{\"input\":[[1,2],[3]],\"dimensions\":5}", 2, 5, false, "\1\0\0\0\2\0\0\0", 8, 1},
	{"{\"input\":[\"a\",[3]],\"dimensions\":null}", 2, 0, false, "a", 1, 0},
};

/* Parameters reach another process: numbers do, addresses do not. */
ParameterizedTestParameters(embed, forms)
{
	static size_t rows[ARRAY_LEN(goods)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		rows[i] = i;
	return cr_make_param_array(size_t, rows, ARRAY_LEN(rows));
}

ParameterizedTest(const size_t *row, embed, forms)
{
	const struct good *g = &goods[*row];
	struct embed m = {0};
	uint32_t length;

	cr_assert_eq(read_body(&m, g->body), ERR_OK, "%s: %s", g->body, e.text);
	cr_assert_eq(m.count, g->count);
	cr_assert_eq(m.dimensions, g->dimensions);
	cr_assert_eq(m.base64, g->base64);
	memcpy(&length, m.inputs.data, sizeof(length));
	cr_assert_eq(length >> 31, g->ids);
	cr_assert_eq(length & 0x7fffffff, g->len);
	cr_assert_arr_eq(m.inputs.data + 4, g->bytes, g->len);
	cr_assert_eq(m.inputs.len % 4, 0);
	embed_fini(&m);
}

struct bad {
	const char *body, *says;
};

static const struct bad bads[] = {
	{"{\"input\":\"\"}", "input[0] is empty"},
	{"{\"input\":[]}", "\"input\" is empty"},
	{"{\"input\":[\"a\",\"\"]}", "input[1] is empty"},
	{"{\"input\":[[]]}", "input[0] is empty"},
	{"{\"input\":[\"a\",1]}", "input[1] is neither"},
	{"{\"input\":[1,\"a\"]}", "neither text nor"},
	{"{\"input\":[-1]}", "neither text nor"},
	{"{\"input\":[4294967296]}", "neither text nor"},
	{"{\"input\":[1.5]}", "neither text nor"},
	{"{\"input\":{}}", "must be text"},
	{"{\"inputs\":\"a\"}", "must be text"},
	{"{\"input\":\"a\",\"dimensions\":0}", "\"dimensions\""},
	{"{\"input\":\"a\",\"dimensions\":\"8\"}", "\"dimensions\""},
	{"{\"input\":\"a\",\"encoding_format\":\"hex\"}", "\"encoding_format\""},
	{"{\"input\":", "column"},
};

ParameterizedTestParameters(embed, faults)
{
	static size_t rows[ARRAY_LEN(bads)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		rows[i] = i;
	return cr_make_param_array(size_t, rows, ARRAY_LEN(rows));
}

ParameterizedTest(const size_t *row, embed, faults)
{
	const struct bad *b = &bads[*row];
	struct embed m = {0};

	cr_assert_eq(read_body(&m, b->body), ERR_INPUT, "%s", b->body);
	cr_assert_not_null(strstr(e.text, b->says), "%s: %s", b->body, e.text);
	embed_fini(&m);
}

Test(embed, there_are_limits_of_number_and_size)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct embed m = {0};

	buf_add_str(&body, "{\"input\":[\"x\"");
	for (int i = 0; i < EMBED_INPUTS_MAX; i++)
		buf_add_str(&body, ",\"x\"");
	buf_add_str(&body, "]}");
	cr_assert_eq(read_body(&m, buf_str(&body)), ERR_INPUT);
	cr_assert_not_null(strstr(e.text, "more than 2048"), "%s", e.text);
	embed_fini(&m);
	buf_clear(&body);
	buf_add_str(&body, "{\"input\":\"");
	for (int i = 0; i <= EMBED_INPUT_BYTES_MAX; i++)
		buf_add_char(&body, 'x');
	buf_add_str(&body, "\"}");
	cr_assert_eq(read_body(&m, buf_str(&body)), ERR_INPUT);
	cr_assert_not_null(strstr(e.text, "input[0] has 1048577 bytes"), "%s", e.text);
	embed_fini(&m);
}

Test(embed, pieces_hold_all_inputs_once_and_not_too_many)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct embed m = {0};
	uint32_t sum = 0, count;
	size_t at = 0;

	buf_add_str(&body, "{\"input\":[\"0\"");
	for (int i = 1; i < 200; i++)
		buf_addf(&body, ",\"%d\"", i);
	buf_add_str(&body, "]}");
	cr_assert_eq(read_body(&m, buf_str(&body)), ERR_OK, "%s", e.text);
	while (at < m.inputs.len) {
		at = embed_next(&m, at, &count);
		cr_assert(count >= 1 && count <= EMBED_PIECE_INPUTS);
		sum += count;
	}
	cr_assert_eq(sum, 200);
	cr_assert_eq(at, m.inputs.len);
	embed_fini(&m);
}

/* An answer for two inputs of 3 numbers each. */
static void
fill(struct embed *m, const char *body)
{
	static const float values[] = {3, 0, 4, 1, 2, 2};

	cr_assert_eq(read_body(m, body), ERR_OK, "%s", e.text);
	cr_assert_eq(m->count, 2);
	m->hidden = 3;
	m->tokens = 7;
	buf_add(&m->values, values, sizeof(values));
}

Test(embed, the_answer_has_openais_shape)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct embed m = {0};

	fill(&m, "{\"input\":[\"a\",\"b\"]}");
	cr_assert_eq(embed_write(&out, &m, "mini", &e), ERR_OK, "%s", e.text);
	cr_assert_str_eq(buf_str(&out),
		"{\"object\":\"list\",\"data\":["
		"{\"object\":\"embedding\",\"index\":0,\"embedding\":[3,0,4]},"
		"{\"object\":\"embedding\",\"index\":1,\"embedding\":[1,2,2]}],"
		"\"model\":\"mini\",\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}");
	embed_fini(&m);
}

Test(embed, fewer_dimensions_have_length_1_again_and_more_are_an_error)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct embed m = {0};
	const char *at;

	fill(&m, "{\"input\":[\"a\",\"b\"],\"dimensions\":2}");
	cr_assert_eq(embed_write(&out, &m, "mini", &e), ERR_OK, "%s", e.text);
	cr_assert_not_null(strstr(buf_str(&out), "\"embedding\":[1,0]"), "%s", buf_str(&out));
	at = strstr(buf_str(&out), "\"index\":1,\"embedding\":[");
	cr_assert_not_null(at);
	cr_assert_float_eq(
		strtod(at + strlen("\"index\":1,\"embedding\":["), NULL), 1 / sqrt(5), 1e-6);
	embed_fini(&m);
	fill(&m, "{\"input\":[\"a\",\"b\"],\"dimensions\":4}");
	cr_assert_eq(embed_write(&out, &m, "mini", &e), ERR_INPUT);
	cr_assert_not_null(strstr(e.text, "4, the model gives 3"), "%s", e.text);
	embed_fini(&m);
}

Test(embed, base64_is_of_little_endian_floats)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct embed m = {0};

	fill(&m, "{\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}");
	cr_assert_eq(embed_write(&out, &m, "mini", &e), ERR_OK, "%s", e.text);
	cr_assert_not_null(
		strstr(buf_str(&out), "\"embedding\":\"AABAQAAAAAAAAIBA\""), "%s", buf_str(&out));
	embed_fini(&m);
}
