/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - a body of /v1/embeddings to the inputs of an encoder, its numbers to the answer
 *
 * Pure: bytes in, bytes out. Inputs are kept as they go into Embed messages: a 32-bit length and
 * the bytes, filled up to 4; the length's top bit marks token ids.
 */
#include <math.h>
#include <string.h>

#include "workers/backend/backend.h"

enum { EMBED_HAS_IDS = 1U << 31 };

void
embed_fini(struct embed *m)
{
	buf_fini(&m->inputs);
	buf_fini(&m->values);
	buf_fini(&m->text);
	*m = (struct embed){.count = 0};
}

static void
embed_put(struct embed *m, const void *data, size_t len, uint32_t flag)
{
	static const char padding[4] = {0};
	uint32_t length = (uint32_t)len | flag;

	buf_add(&m->inputs, &length, sizeof(length));
	buf_add(&m->inputs, data, len);
	buf_add(&m->inputs, padding, (0 - len) & 3);
	m->count++;
}

/* Is there room for one more, of that many bytes? */
static enum err_code
embed_room(const struct embed *m, size_t len, struct err *e)
{
	if (m->count == EMBED_INPUTS_MAX)
		return err_set(
			e, ERR_INPUT, "\"input\" has more than %d inputs", (int)EMBED_INPUTS_MAX);
	if (len > EMBED_INPUT_BYTES_MAX)
		return err_set(e, ERR_INPUT, "input[%u] has %zu bytes, at most %d are taken",
			m->count, len, (int)EMBED_INPUT_BYTES_MAX);
	if (len == 0)
		return err_set(e, ERR_INPUT, "input[%u] is empty", m->count);
	return ERR_OK;
}

static enum err_code
embed_add_text(struct embed *m, struct json v, struct err *e)
{
	buf_clear(&m->text);
	json_text(&m->text, v);
	if (embed_room(m, m->text.len, e) != ERR_OK)
		return e->code;
	embed_put(m, m->text.data, m->text.len, 0);
	return ERR_OK;
}

static enum err_code
embed_add_ids(struct embed *m, struct json v, struct err *e)
{
	struct json_iter it = json_iter(v);
	struct json item;
	uint64_t id;
	uint32_t id32;

	buf_clear(&m->text);
	while (json_next_item(&it, &item)) {
		if (!json_u64(&id, item) || id > UINT32_MAX)
			return err_set(e, ERR_INPUT,
				"input[%u] is neither text nor a list of token ids", m->count);
		id32 = (uint32_t)id;
		buf_add(&m->text, &id32, sizeof(id32));
	}
	if (embed_room(m, m->text.len, e) != ERR_OK)
		return e->code;
	embed_put(m, m->text.data, m->text.len, EMBED_HAS_IDS);
	return ERR_OK;
}

static enum err_code
embed_add_list(struct embed *m, struct json list, struct err *e)
{
	struct json_iter it = json_iter(list);
	enum err_code code = ERR_OK;
	struct json item;

	while (code == ERR_OK && json_next_item(&it, &item)) {
		if (item.type == JSON_STRING)
			code = embed_add_text(m, item, e);
		else if (item.type == JSON_ARRAY)
			code = embed_add_ids(m, item, e);
		else
			code = err_set(e, ERR_INPUT,
				"input[%u] is neither text nor a list of token ids", m->count);
	}
	return code;
}

static enum err_code
embed_read_options(struct embed *m, struct json body, struct err *e)
{
	struct json format = json_get(body, "encoding_format");
	struct json dimensions = json_get(body, "dimensions");
	uint64_t n;

	if (request_says(format)) {
		m->base64 = json_equals(format, "base64");
		if (!m->base64 && !json_equals(format, "float"))
			return err_set(
				e, ERR_INPUT, "\"encoding_format\" is neither float nor base64");
	}
	if (request_says(dimensions)) {
		if (!json_u64(&n, dimensions) || n == 0 || n > UINT32_MAX)
			return err_set(e, ERR_INPUT, "\"dimensions\" is not a number from 1 up");
		m->dimensions = (uint32_t)n;
	}
	return ERR_OK;
}

enum err_code
embed_read(struct embed *m, const char *body, size_t len, struct err *e)
{
	struct json root, input, first;
	struct json_iter it;

	if (json_check(&root, body, len, e) != ERR_OK || embed_read_options(m, root, e) != ERR_OK)
		return e->code;
	input = json_get(root, "input");
	if (input.type == JSON_STRING)
		return embed_add_text(m, input, e);
	if (input.type != JSON_ARRAY)
		return err_set(e, ERR_INPUT,
			"\"input\" must be text, a list of texts, token ids, or a list of lists of "
			"token ids");
	it = json_iter(input);
	if (!json_next_item(&it, &first))
		return err_set(e, ERR_INPUT, "\"input\" is empty");
	if (first.type == JSON_NUMBER)
		return embed_add_ids(m, input, e);
	return embed_add_list(m, input, e);
}

size_t
embed_next(const struct embed *m, size_t at, uint32_t *count)
{
	size_t end = at;
	uint32_t length;

	*count = 0;
	while (end < m->inputs.len && *count < EMBED_PIECE_INPUTS) {
		memcpy(&length, m->inputs.data + end, sizeof(length));
		length = ((length & ~EMBED_HAS_IDS) + 3) & ~3U;
		if (*count > 0 && end + sizeof(length) + length - at > EMBED_PIECE_BYTES)
			break;
		end += sizeof(length) + length;
		++*count;
	}
	return end;
}

/* The first n of an embedding's numbers, at length 1 again. */
static void
embed_cut(float *values, uint32_t n)
{
	double sum = 0, scale;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)values[i] * (double)values[i];
	scale = sum > 0 ? 1 / sqrt(sum) : 0;
	for (uint32_t i = 0; i < n; i++)
		values[i] = (float)((double)values[i] * scale);
}

static void
embed_put_floats(struct buf *out, const float *values, uint32_t n)
{
	buf_add_char(out, '[');
	for (uint32_t i = 0; i < n; i++)
		/* nine digits tell any two 32-bit numbers apart */
		buf_addf(out, i == 0 ? "%.9g" : ",%.9g", (double)values[i]);
	buf_add_char(out, ']');
}

enum err_code
embed_write(struct buf *out, struct embed *m, const char *model, struct err *e)
{
	uint32_t n = m->dimensions != 0 ? m->dimensions : m->hidden;
	AUTO(buf_fini) struct buf numbers = BUF_INIT;
	float *values = (float *)(void *)m->values.data;

	CHECK(m->values.len == (size_t)m->count * m->hidden * sizeof(float));
	if (n > m->hidden)
		return err_set(
			e, ERR_INPUT, "\"dimensions\" is %u, the model gives %u", n, m->hidden);
	json_put_begin(out, '{');
	json_put_member_str(out, "object", "list");
	json_put_key(out, "data");
	json_put_begin(out, '[');
	for (uint32_t i = 0; i < m->count; i++, values += m->hidden) {
		if (n < m->hidden)
			embed_cut(values, n);
		json_put_begin(out, '{');
		json_put_member_str(out, "object", "embedding");
		json_put_member_u64(out, "index", i);
		json_put_key(out, "embedding");
		if (m->base64) {
			answer_put_base64_floats(out, values, n);
		} else {
			buf_clear(&numbers);
			embed_put_floats(&numbers, values, n);
			json_put_raw(out, (struct json){JSON_ARRAY, numbers.data, numbers.len});
		}
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
	json_put_member_str(out, "model", model);
	json_put_key(out, "usage");
	json_put_begin(out, '{');
	json_put_member_u64(out, "prompt_tokens", m->tokens);
	json_put_member_u64(out, "total_tokens", m->tokens);
	json_put_end(out, '}');
	json_put_end(out, '}');
	return ERR_OK;
}
