/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wire.c - every recorded answer of every provider through the translation
 *
 * Each recording is read a second time here by other means (split at newlines, whole file at once)
 * and must say the same: text, reasoning, tool calls, usage, finish reason. Streams are fed whole,
 * byte by byte, and in two parts cut at every byte boundary; the output must not differ by a byte.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

enum dialect { NOT_APPLICABLE, OPENAI, OLLAMA, ANTHROPIC, UNLISTED };

/* Which recordings go where; the first row whose text ends the path decides. */
static const struct {
	const char *path_end;
	enum dialect dialect;
	enum msg_endpoint endpoint;
} path_rows[] = {
	{"/chat/completions", OPENAI, MSG_ENDPOINT_CHAT},
	{"/v1/completions", OPENAI, MSG_ENDPOINT_COMPLETIONS},
	{"/embeddings", OPENAI, MSG_ENDPOINT_EMBEDDINGS},
	{"/v1/messages", ANTHROPIC, MSG_ENDPOINT_CHAT},
	{"/api/chat", OLLAMA, MSG_ENDPOINT_CHAT},
	{"/api/generate", OLLAMA, MSG_ENDPOINT_COMPLETIONS},
	{"/api/embed", OLLAMA, MSG_ENDPOINT_EMBEDDINGS},
	/* APIs that shunt does not speak to upstreams */
	{"/responses", NOT_APPLICABLE, 0},
	{"/rerank", NOT_APPLICABLE, 0},
	{"/count_tokens", NOT_APPLICABLE, 0},
	{"/completion", NOT_APPLICABLE, 0},
	{"/apply-template", NOT_APPLICABLE, 0},
	{"/tokenize", NOT_APPLICABLE, 0},
	{"/detokenize", NOT_APPLICABLE, 0},
	{"/metrics", NOT_APPLICABLE, 0},
	{"/slots", NOT_APPLICABLE, 0},
	{"/models/load", NOT_APPLICABLE, 0},
	{"/models/unload", NOT_APPLICABLE, 0},
	/* answers to probes: test_probe_wire.c */
	{"/models", NOT_APPLICABLE, 0},
	{"/health", NOT_APPLICABLE, 0},
	{"/props", NOT_APPLICABLE, 0},
	{"/api/tags", NOT_APPLICABLE, 0},
	{"/api/show", NOT_APPLICABLE, 0},
};

/* What the recorded refusals mean, by the end of the file's name; in streams too. */
static const struct {
	const char *name_end;
	enum err_code code;
	uint32_t retry_after_ms;
} refusal_rows[] = {
	{"completion-error-5ff008.json", ERR_BAD_REQUEST, 0},
	{"haiku-e154cd.json", ERR_CONTEXT_LENGTH, 0},
	{"unsupported-773ece.json", ERR_UNSUPPORTED, 0},
	{"invalid-api-key-9d3270.json", ERR_UPSTREAM_AUTH, 0},
	{"anthropic-73062b.json", ERR_UPSTREAM_MODEL, 0},
	{"reasoning-8f7e10.json", ERR_UPSTREAM_MODEL, 0},
	{"no-aafd46.json", ERR_RATE_LIMITED, 1000},
	{"error-ce2ae3.json", ERR_BAD_REQUEST, 0},
	{"with-text-6eff2b.json", ERR_BAD_REQUEST, 0},
	{"groq-72278b.json", ERR_UPSTREAM_MODEL, 0},
	{"error-e02140.json", ERR_UPSTREAM_MODEL, 0},
	{"gpt-oss-1-593fa9.json", ERR_CONTEXT_LENGTH, 0},
	{"gpt-oss-12-ee6f3b.json", ERR_UPSTREAM_AUTH, 0},
	{"model-name-e829d5.json", ERR_UPSTREAM_MODEL, 0},
	{"system-86ef73.json", ERR_UNSUPPORTED, 0},
	{"supported-99ee98.json", ERR_UNSUPPORTED, 0},
	{"vision-d7bc5d.json", ERR_BAD_REQUEST, 0},
	{"hides-f91820.json", ERR_BAD_REQUEST, 0},
	{"and-de6739.json", ERR_UPSTREAM_AUTH, 0},
	{"error-f5bca6.json", ERR_UPSTREAM_AUTH, 0},
	{"key-ee4bfc.json", ERR_UPSTREAM_AUTH, 0},
	{"tools-806049.json", ERR_UPSTREAM_MODEL, 0},
	{"chat-8de70a.json", ERR_UPSTREAM_MODEL, 0},
	{"error-67cd35.json", ERR_UPSTREAM_MODEL, 0},
	{"haiku-a5c01d.json", ERR_UPSTREAM_AUTH, 0},
	{"raised-eabbe9.json", ERR_RATE_LIMITED, 0},
	{"streaming-af8082.json", ERR_RATE_LIMITED, 10000},
	{"handl-8fb0ef.json", ERR_CONTEXT_LENGTH, 0},
	{"raises-b10b35.json", ERR_UPSTREAM_AUTH, 0},
	{"error-bcee54.json", ERR_UPSTREAM_MODEL, 0},
	{"400-err-context-size.json", ERR_CONTEXT_LENGTH, 0},
	{"400-err-context-size-stream.json", ERR_CONTEXT_LENGTH, 0},
	{"400-err-no-messages.json", ERR_BAD_REQUEST, 0},
	{"400-err-bad-role.json", ERR_BAD_REQUEST, 0},
	{"500-err-image-unsupported.json", ERR_UNSUPPORTED, 0},
	{"404-err-method.json", ERR_UPSTREAM, 0},
	{"501-err-embeddings-off.json", ERR_UNSUPPORTED, 0},
	{"401-err-auth-wrong.json", ERR_UPSTREAM_AUTH, 0},
	{"400-router-err-unknown-model.json", ERR_UPSTREAM_MODEL, 0},
	{"400-router-err-no-model.json", ERR_BAD_REQUEST, 0},
	/* under status 200 */
	{"with-n-cb8150.json", ERR_POLICY, 0},
	{"with-text-952e74.sse", ERR_BAD_REQUEST, 0},
	{"stream-error-baafd4.sse", ERR_CONTEXT_LENGTH, 0},
};

/* Between two cuts that are tried by one test: under a sanitizer not all of them. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { CUT_STEP = 94 };
#else
enum { CUT_STEP = 2 };
#endif

/* The moment at which the recorded resets are judged: 10 s before openrouter's. */
static const uint64_t now_wall_ms = UINT64_C(1754667650000);

static bool
ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static bool
file_read(struct buf *out, const char *path)
{
	FILE *f = fopen(path, "rb");
	char part[65536];
	size_t n;

	if (f == NULL)
		return false;
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(out, part, n);
	(void)fclose(f);
	return true;
}

/* ---- one recording ---- */

struct recording {
	struct buf file, path, body;
	enum dialect dialect;
	enum msg_endpoint endpoint;
	unsigned status;
	struct json row;
	bool is_stream;
};

static void
recording_fini(struct recording *r)
{
	buf_fini(&r->file);
	buf_fini(&r->path);
	buf_fini(&r->body);
}

static const struct backend_kind *
recording_kind(const struct recording *r)
{
	return backend_kinds[r->dialect == OPENAI   ? BACKEND_OPENAI
			     : r->dialect == OLLAMA ? BACKEND_OLLAMA
						    : BACKEND_ANTHROPIC];
}

static void
recording_read(struct recording *r, const char *folder, struct json row)
{
	char path[1024];
	uint64_t status = 0;

	memset(r, 0, sizeof(*r));
	r->row = row;
	json_text(&r->file, json_get(row, "file"));
	json_text(&r->path, json_get(row, "path"));
	r->dialect = UNLISTED;
	for (size_t i = 0; i < ARRAY_LEN(path_rows) && r->dialect == UNLISTED; i++)
		if (ends_with(buf_str(&r->path), path_rows[i].path_end)) {
			r->dialect = path_rows[i].dialect;
			r->endpoint = path_rows[i].endpoint;
		}
	cr_assert(json_u64(&status, json_get(row, "status")), "%s", buf_str(&r->file));
	r->status = (unsigned)status;
	r->is_stream =
		ends_with(buf_str(&r->file), ".sse") || ends_with(buf_str(&r->file), ".ndjson");
	/* rows name files from the top of wire/, also those of a provider's own index */
	(void)snprintf(path, sizeof(path), "%s/%s", folder, buf_str(&r->file));
	cr_assert(file_read(&r->body, path), "%s is missing", path);
}

typedef void recording_fn(struct recording *r);

/* Call fn for every row of the indexes. Returns how many; 0: no data here. */
static unsigned
for_each_recording(recording_fn *fn)
{
	static const char *const indexes[] = {"index.jsonl", "llamacpp-server/index.jsonl"};
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	char folder[512], path[600];
	unsigned n = 0;

	(void)snprintf(folder, sizeof(folder), "%s/../shared/data/wire", root == NULL ? "." : root);
	for (size_t i = 0; i < ARRAY_LEN(indexes); i++) {
		AUTO(buf_fini) struct buf index = BUF_INIT;
		char *line, *rest;

		(void)snprintf(path, sizeof(path), "%s/%s", folder, indexes[i]);
		if (!file_read(&index, path))
			continue;
		for (line = strtok_r(index.data, "\n", &rest); line != NULL;
			line = strtok_r(NULL, "\n", &rest)) {
			struct recording r;
			struct json row;
			struct err e;

			cr_assert_eq(
				json_check(&row, line, strlen(line), &e), ERR_OK, "%s", e.text);
			recording_read(&r, folder, row);
			fn(&r);
			recording_fini(&r);
			n++;
		}
	}
	if (n == 0)
		cr_skip_test("no recordings: ../shared/data/wire is not there");
	return n;
}

/* ---- what an answer says, however it was written ---- */

enum { CALLS_MAX = 16 };

struct said {
	struct buf text, reasoning;
	struct {
		struct buf id, name, arguments;
	} calls[CALLS_MAX];
	size_t calls_len;
	uint64_t prompt, completion, cached, thought;
	char finish[64];
};

static void
said_fini(struct said *s)
{
	buf_fini(&s->text);
	buf_fini(&s->reasoning);
	for (size_t i = 0; i < CALLS_MAX; i++) {
		buf_fini(&s->calls[i].id);
		buf_fini(&s->calls[i].name);
		buf_fini(&s->calls[i].arguments);
	}
}

static void
set_u64(uint64_t *out, struct json v)
{
	uint64_t n;

	if (json_u64(&n, v))
		*out = n;
}

static void
said_same(const struct said *a, const struct said *b, const char *file)
{
	cr_assert_str_eq(buf_str(&a->text), buf_str(&b->text), "%s", file);
	cr_assert_str_eq(buf_str(&a->reasoning), buf_str(&b->reasoning), "%s", file);
	cr_assert_eq(a->calls_len, b->calls_len, "%s: %zu calls, %zu expected", file, a->calls_len,
		b->calls_len);
	for (size_t i = 0; i < a->calls_len; i++) {
		if (b->calls[i].id.len > 0)
			cr_assert_str_eq(
				buf_str(&a->calls[i].id), buf_str(&b->calls[i].id), "%s", file);
		cr_assert_gt(a->calls[i].id.len, 0, "%s: a call without id", file);
		cr_assert_str_eq(
			buf_str(&a->calls[i].name), buf_str(&b->calls[i].name), "%s", file);
		cr_assert_str_eq(buf_str(&a->calls[i].arguments), buf_str(&b->calls[i].arguments),
			"%s", file);
	}
	cr_assert_eq(a->prompt, b->prompt, "%s: prompt tokens", file);
	cr_assert_eq(a->completion, b->completion, "%s: completion tokens", file);
	cr_assert_eq(a->cached, b->cached, "%s: cached tokens", file);
	cr_assert_eq(a->thought, b->thought, "%s: reasoning tokens", file);
	cr_assert_str_eq(a->finish, b->finish, "%s", file);
}

/* A message or delta in OpenAI's shape. */
static void
said_add_message(struct said *s, struct json m)
{
	struct json calls = json_get(m, "tool_calls"), call;
	struct json_iter it = json_iter(calls);
	uint64_t i = 0, position = 0;

	json_text(&s->text, json_get(m, "content"));
	json_text(&s->reasoning, json_get(m, "reasoning_content"));
	while (calls.type == JSON_ARRAY && json_next_item(&it, &call)) {
		if (!json_u64(&i, json_get(call, "index"))) /* some upstreams leave it out */
			i = position;
		position++;
		cr_assert_lt(i, CALLS_MAX);
		s->calls_len = MAX(s->calls_len, (size_t)i + 1);
		json_text(&s->calls[i].id, json_get(call, "id"));
		json_text(&s->calls[i].name, json_path(call, "function.name"));
		json_text(&s->calls[i].arguments, json_path(call, "function.arguments"));
	}
}

static void
said_add_openai(struct said *s, struct json v)
{
	struct json choices = json_get(v, "choices"), choice, usage = json_get(v, "usage");
	struct json_iter it = json_iter(choices);

	cr_assert_eq(choices.type, JSON_ARRAY);
	while (json_next_item(&it, &choice)) {
		said_add_message(s, json_get(choice, "delta"));
		said_add_message(s, json_get(choice, "message"));
		json_text(&s->text, json_get(choice, "text"));
		if (json_get(choice, "finish_reason").type == JSON_STRING)
			(void)json_copy_text(
				s->finish, sizeof(s->finish), json_get(choice, "finish_reason"));
	}
	set_u64(&s->prompt, json_get(usage, "prompt_tokens"));
	set_u64(&s->completion, json_get(usage, "completion_tokens"));
	set_u64(&s->cached, json_path(usage, "prompt_tokens_details.cached_tokens"));
	set_u64(&s->thought, json_path(usage, "completion_tokens_details.reasoning_tokens"));
}

/* Our own output: only "data: {...}" and an empty line after each. */
static void
said_by_output(struct said *s, const struct buf *out, const char *file)
{
	const char *p = buf_str(out), *end = p + out->len, *stop;
	struct json v;
	struct err e;

	while (p < end) {
		stop = memmem(p, (size_t)(end - p), "\n\n", 2);
		cr_assert_not_null(stop, "%s: half an event came out", file);
		cr_assert(strncmp(p, "data: ", 6) == 0, "%s: %.40s", file, p);
		cr_assert_eq(json_check(&v, p + 6, (size_t)(stop - p - 6), &e), ERR_OK, "%s: %s",
			file, e.text);
		said_add_openai(s, v);
		p = stop + 2;
	}
}

static void
said_add_ollama(struct said *s, struct json v)
{
	struct json m = json_get(v, "message"), calls = json_get(m, "tool_calls"), call, args;
	struct json_iter it = json_iter(calls);

	json_text(&s->text, json_get(m, "content"));
	json_text(&s->text, json_get(v, "response"));
	json_text(&s->reasoning, json_get(m, "thinking"));
	while (calls.type == JSON_ARRAY && json_next_item(&it, &call)) {
		cr_assert_lt(s->calls_len, CALLS_MAX);
		json_text(&s->calls[s->calls_len].id, json_get(call, "id"));
		json_text(&s->calls[s->calls_len].name, json_path(call, "function.name"));
		args = json_path(call, "function.arguments");
		buf_add(&s->calls[s->calls_len++].arguments, args.p, args.len);
	}
	if (!json_is_true(json_get(v, "done")))
		return;
	(void)json_copy_text(s->finish, sizeof(s->finish), json_get(v, "done_reason"));
	if (s->calls_len > 0)
		(void)snprintf(s->finish, sizeof(s->finish), "tool_calls");
	set_u64(&s->prompt, json_get(v, "prompt_eval_count"));
	set_u64(&s->completion, json_get(v, "eval_count"));
}

static void
said_anthropic_end(struct said *s, struct json reason, struct json usage)
{
	static const char *const names[][2] = {
		{"end_turn", "stop"}, {"tool_use", "tool_calls"}, {"max_tokens", "length"}};
	uint64_t input = 0, made = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (json_equals(reason, names[i][0]))
			(void)snprintf(s->finish, sizeof(s->finish), "%s", names[i][1]);
	set_u64(&s->completion, json_get(usage, "output_tokens"));
	set_u64(&s->thought, json_path(usage, "output_tokens_details.thinking_tokens"));
	if (!json_u64(&input, json_get(usage, "input_tokens")))
		return;
	s->cached = 0;
	set_u64(&s->cached, json_get(usage, "cache_read_input_tokens"));
	set_u64(&made, json_get(usage, "cache_creation_input_tokens"));
	s->prompt = input + s->cached + made;
}

/* A content block, whole or as it starts. */
static void
said_anthropic_block(struct said *s, struct json block, bool is_whole)
{
	struct json type = json_get(block, "type"), input = json_get(block, "input");

	if (json_equals(type, "text"))
		json_text(&s->text, json_get(block, "text"));
	if (json_equals(type, "thinking"))
		json_text(&s->reasoning, json_get(block, "thinking"));
	if (!json_equals(type, "tool_use"))
		return;
	cr_assert_lt(s->calls_len, CALLS_MAX);
	json_text(&s->calls[s->calls_len].id, json_get(block, "id"));
	json_text(&s->calls[s->calls_len].name, json_get(block, "name"));
	if (is_whole)
		buf_add(&s->calls[s->calls_len].arguments, input.p, input.len);
	s->calls_len++;
}

static void
said_anthropic_event(struct said *s, struct json v, uint64_t *tool_block)
{
	struct json type = json_get(v, "type"), delta = json_get(v, "delta");
	struct json block = json_get(v, "content_block");
	uint64_t index = 0;

	set_u64(&index, json_get(v, "index"));
	if (json_equals(type, "message_start"))
		said_anthropic_end(s, (struct json){0}, json_path(v, "message.usage"));
	if (json_equals(type, "message_delta"))
		said_anthropic_end(s, json_get(delta, "stop_reason"), json_get(v, "usage"));
	if (json_equals(type, "content_block_start")) {
		said_anthropic_block(s, block, false);
		if (json_equals(json_get(block, "type"), "tool_use"))
			*tool_block = index;
	}
	if (json_equals(type, "content_block_delta")) {
		json_text(&s->text, json_get(delta, "text"));
		json_text(&s->reasoning, json_get(delta, "thinking"));
		if (index == *tool_block)
			json_text(&s->calls[s->calls_len - 1].arguments,
				json_get(delta, "partial_json"));
	}
	if (json_equals(type, "content_block_stop") && index == *tool_block) {
		if (s->calls[s->calls_len - 1].arguments.len == 0)
			buf_add_str(&s->calls[s->calls_len - 1].arguments, "{}");
		*tool_block = UINT64_MAX;
	}
}

/* The recording itself, line by line; raw gets every data payload but [DONE], one a line. */
static void
said_by_recording(struct said *s, struct buf *raw, const struct recording *r)
{
	AUTO(buf_fini) struct buf copy = BUF_INIT;
	uint64_t tool_block = UINT64_MAX;
	char *line, *rest, *data;
	struct json v;
	struct err e;

	buf_add(&copy, r->body.data, r->body.len);
	for (line = strtok_r(copy.data, "\r\n", &rest); line != NULL;
		line = strtok_r(NULL, "\r\n", &rest)) {
		data = line;
		if (r->dialect != OLLAMA) {
			if (strncmp(line, "data:", 5) != 0)
				continue;
			data = line + 5 + (line[5] == ' ');
		}
		if (strcmp(data, "[DONE]") == 0 || *data == '\0')
			continue;
		cr_assert_eq(json_check(&v, data, strlen(data), &e), ERR_OK, "%s: %s",
			buf_str(&r->file), e.text);
		if (r->dialect == OPENAI) {
			struct json err = json_get(v, "error");

			if (err.type == JSON_OBJECT)
				return;
			buf_add_str(raw, data);
			buf_add_char(raw, '\n');
			said_add_openai(s, v);
		} else if (r->dialect == OLLAMA) {
			said_add_ollama(s, v);
		} else {
			said_anthropic_event(s, v, &tool_block);
		}
	}
}

/* ---- streams ---- */

static enum err_code
run_stream(
	struct answer *a, const struct recording *r, size_t cut, bool byte_by_byte, struct err *e)
{
	const char *p = r->body.data;
	size_t len = r->body.len, step = byte_by_byte ? 1 : len;
	enum err_code code = ERR_OK;

	answer_init(a, recording_kind(r), r->endpoint);
	a->want_usage = true;
	(void)snprintf(a->id, sizeof(a->id), "chatcmpl-1");
	if (cut > 0) {
		code = answer_feed(a, p, cut, e);
		p += cut;
		len -= cut;
	}
	for (; code == ERR_OK && len > 0; p += MIN(step, len), len -= MIN(step, len))
		code = answer_feed(a, p, MIN(step, len), e);
	return code == ERR_OK ? answer_end(a, e) : code;
}

static enum err_code
refusal_expected(const struct recording *r, uint32_t *retry_after_ms)
{
	for (size_t i = 0; i < ARRAY_LEN(refusal_rows); i++)
		if (ends_with(buf_str(&r->file), refusal_rows[i].name_end)) {
			*retry_after_ms = refusal_rows[i].retry_after_ms;
			return refusal_rows[i].code;
		}
	return ERR_OK;
}

/* Bytes of the upstream's events must come through an OpenAI upstream as they are. */
static void
same_bytes(const struct buf *out, const struct buf *raw, const char *file)
{
	AUTO(buf_fini) struct buf expected = BUF_INIT;
	const char *p = buf_str(raw), *stop;

	for (; (stop = strchr(p, '\n')) != NULL; p = stop + 1) {
		const char *end = stop;

		while (end > p && end[-1] == ' ')
			end--;
		buf_add_str(&expected, "data: ");
		buf_add(&expected, p, (size_t)(end - p));
		buf_add_str(&expected, "\n\n");
	}
	cr_assert_eq(out->len, expected.len, "%s: %zu bytes, %zu expected", file, out->len,
		expected.len);
	cr_assert(memcmp(buf_str(out), buf_str(&expected), out->len) == 0, "%s", file);
}

static bool
is_stream_recording(const struct recording *r)
{
	cr_assert_neq(r->dialect, UNLISTED, "%s: nobody said where %s belongs", buf_str(&r->file),
		buf_str(&r->path));
	return r->dialect != NOT_APPLICABLE && r->is_stream && r->status == 200;
}

static void
check_stream_says_the_same(struct recording *r)
{
	AUTO(said_fini) struct said expected = {0};
	AUTO(said_fini) struct said got = {0};
	AUTO(buf_fini) struct buf raw = BUF_INIT;
	const char *file = buf_str(&r->file);
	struct err e = {0};
	enum err_code code, want;
	struct answer a;
	uint32_t retry_after_ms;

	if (!is_stream_recording(r))
		return;
	want = refusal_expected(r, &retry_after_ms);
	code = run_stream(&a, r, 0, false, &e);
	cr_assert_eq(code, want, "%s: %s %s", file, err_name(code), e.text);
	said_by_recording(&expected, &raw, r);
	said_by_output(&got, &a.out, file);
	said_same(&got, &expected, file);
	if (r->dialect == OPENAI)
		same_bytes(&a.out, &raw, file);
	cr_assert_str_eq(a.finish_reason, expected.finish, "%s", file);
	if (expected.prompt + expected.completion > 0) {
		cr_assert(a.usage.known, "%s", file);
		cr_assert_eq(a.usage.prompt, expected.prompt, "%s", file);
		cr_assert_eq(a.usage.completion, expected.completion, "%s", file);
		cr_assert_eq(a.usage.reasoning, expected.thought, "%s", file);
	}
	cr_assert(want != ERR_OK || a.done, "%s", file);
	answer_fini(&a);
}

static void
check_cut(const struct recording *r, const struct answer *whole, enum err_code want, size_t cut,
	bool byte_by_byte)
{
	struct answer a;
	struct err e = {0};
	enum err_code code = run_stream(&a, r, cut, byte_by_byte, &e);

	/* plain comparisons: asserting costs more than the parsing */
	if (code != want || a.out.len != whole->out.len ||
		memcmp(buf_str(&a.out), buf_str(&whole->out), a.out.len) != 0 ||
		memcmp(&a.usage, &whole->usage, sizeof(a.usage)) != 0 ||
		strcmp(a.finish_reason, whole->finish_reason) != 0 || a.tokens != whole->tokens)
		cr_assert_fail("%s: cut at %zu: another answer (%s %s)", buf_str(&r->file), cut,
			err_name(code), e.text);
	answer_fini(&a);
}

static void
check_byte_by_byte(struct recording *r)
{
	struct answer whole;
	struct err e;
	enum err_code code;

	if (!is_stream_recording(r))
		return;
	code = run_stream(&whole, r, 0, false, &e);
	check_cut(r, &whole, code, 0, true);
	answer_fini(&whole);
}

static void
check_every_cut(struct recording *r, size_t first)
{
	struct answer whole;
	struct err e;
	enum err_code code;

	if (!is_stream_recording(r))
		return;
	code = run_stream(&whole, r, 0, false, &e);
	for (size_t cut = first; cut < r->body.len; cut += CUT_STEP)
		check_cut(r, &whole, code, cut, false);
	answer_fini(&whole);
}

static void
check_odd_cuts(struct recording *r)
{
	check_every_cut(r, 1);
}

static void
check_even_cuts(struct recording *r)
{
	check_every_cut(r, 2);
}

/* A stream that stops anywhere before its end must not pass for a whole one. */
static void
check_truncated(struct recording *r)
{
	static const char done[] = "[DONE]";
	struct err e;
	uint32_t ms;

	if (!is_stream_recording(r) || refusal_expected(r, &ms) != ERR_OK)
		return;
	for (size_t i = 1; i <= 16; i++) {
		struct recording part = *r;
		struct answer a;
		enum err_code code;

		part.body.len = r->body.len * i / 18;
		code = run_stream(&a, &part, 0, false, &e);
		if (code == ERR_OK) /* only where the finish reason was seen */
			cr_assert(a.done && (a.finish_reason[0] != '\0' ||
						    memmem(part.body.data, part.body.len, done,
							    6) != NULL),
				"%s cut at %zu", buf_str(&r->file), part.body.len);
		else
			cr_assert_eq(code, ERR_CUT, "%s cut at %zu: %s", buf_str(&r->file),
				part.body.len, err_name(code));
		answer_fini(&a);
	}
}

Test(wire, streams_say_what_the_upstream_said)
{
	cr_assert_gt(for_each_recording(check_stream_says_the_same), 300);
}

Test(wire, byte_by_byte_changes_nothing)
{
	(void)for_each_recording(check_byte_by_byte);
}

Test(wire, a_cut_at_any_odd_byte_changes_nothing, .timeout = 600)
{
	(void)for_each_recording(check_odd_cuts);
}

Test(wire, a_cut_at_any_even_byte_changes_nothing, .timeout = 600)
{
	(void)for_each_recording(check_even_cuts);
}

Test(wire, a_truncated_stream_is_cut_or_finished)
{
	(void)for_each_recording(check_truncated);
}

/* ---- whole answers ---- */

static void
said_by_whole(struct said *s, const struct recording *r)
{
	struct json v, content, block;
	struct json_iter it;
	struct err e;

	cr_assert_eq(json_check(&v, r->body.data, r->body.len, &e), ERR_OK);
	if (r->dialect == OLLAMA) {
		said_add_ollama(s, v);
		return;
	}
	content = json_get(v, "content");
	it = json_iter(content);
	while (json_next_item(&it, &block))
		said_anthropic_block(s, block, true);
	said_anthropic_end(s, json_get(v, "stop_reason"), json_get(v, "usage"));
}

static void
check_embeddings(const struct recording *r, const struct buf *out)
{
	struct json v, from, to;
	struct err e;

	cr_assert_eq(json_check(&v, out->data, out->len, &e), ERR_OK, "%s", e.text);
	to = json_get(v, "data");
	cr_assert_eq(to.type, JSON_ARRAY);
	cr_assert_eq(json_check(&v, r->body.data, r->body.len, &e), ERR_OK);
	from = json_get(v, "embeddings");
	/* every digit of every number */
	cr_assert_not_null(memmem(to.p, to.len, from.p + 1, from.len - 2));
}

static void
check_whole(struct recording *r)
{
	AUTO(said_fini) struct said expected = {0};
	AUTO(said_fini) struct said got = {0};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	const char *file = buf_str(&r->file);
	struct err e = {0};
	struct answer a;
	struct json v;
	enum err_code code, want;
	uint32_t retry_after_ms;

	if (r->dialect == NOT_APPLICABLE || r->is_stream || r->status != 200)
		return;
	answer_init(&a, recording_kind(r), r->endpoint);
	(void)snprintf(a.id, sizeof(a.id), "chatcmpl-1");
	buf_add(&out, r->body.data, r->body.len);
	want = refusal_expected(r, &retry_after_ms);
	code = answer_whole(&a, &out, &e);
	cr_assert_eq(code, want, "%s: %s", file, e.text);
	if (code != ERR_OK) {
		cr_assert_gt(a.error_body.len, 0, "%s", file);
	} else if (r->dialect == OPENAI) {
		cr_assert_eq(out.len, r->body.len, "%s", file);
		cr_assert(memcmp(out.data, r->body.data, out.len) == 0, "%s", file);
		cr_assert_eq(json_check(&v, out.data, out.len, &e), ERR_OK);
		if (json_path(v, "usage.prompt_tokens").type == JSON_NUMBER)
			set_u64(&expected.prompt, json_path(v, "usage.prompt_tokens"));
		cr_assert_eq(a.usage.prompt, expected.prompt, "%s", file);
	} else if (r->endpoint == MSG_ENDPOINT_EMBEDDINGS) {
		check_embeddings(r, &out);
	} else {
		said_by_whole(&expected, r);
		cr_assert_eq(json_check(&v, out.data, out.len, &e), ERR_OK, "%s: %s", file, e.text);
		said_add_openai(&got, v);
		said_same(&got, &expected, file);
		cr_assert_str_eq(a.finish_reason, expected.finish, "%s", file);
	}
	answer_fini(&a);
}

Test(wire, whole_answers_say_what_the_upstream_said)
{
	(void)for_each_recording(check_whole);
}

/* ---- refusals ---- */

static void
check_refusal(struct recording *r)
{
	struct retry_hints hints = {0};
	struct refusal refusal = {.status = r->status,
		.body = buf_str(&r->body),
		.len = r->body.len,
		.hints = &hints,
		.now_wall_ms = now_wall_ms};
	struct json headers = json_get(r->row, "response_headers"), key, value;
	struct json_iter it = json_iter(headers);
	const char *file = buf_str(&r->file);
	struct err e = {0};
	enum err_code want;
	uint32_t retry_after_ms = 0;

	if (r->dialect == NOT_APPLICABLE || r->status == 200)
		return;
	while (headers.type == JSON_OBJECT && json_next_member(&it, &key, &value))
		if (value.type == JSON_STRING)
			retry_hint_header(
				&hints, key.p + 1, key.len - 2, value.p + 1, value.len - 2);
	want = refusal_expected(r, &retry_after_ms);
	cr_assert_neq(want, ERR_OK, "%s: nobody said what it means: %.200s", file, refusal.body);
	cr_expect_eq(error_map(&e, &refusal), want, "%s: %s, %s expected: %s", file,
		err_name(e.code), err_name(want), e.text);
	cr_expect_eq(e.retry_after_ms, retry_after_ms, "%s: %u ms", file, e.retry_after_ms);
	cr_expect_null(strpbrk(e.text, "\r\n"), "%s", file);
	if (want == ERR_UPSTREAM_AUTH)
		cr_expect_null(strstr(e.text, "sk-"), "%s quotes a key", file);
}

Test(wire, refusals_mean_what_they_say)
{
	(void)for_each_recording(check_refusal);
}
