/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tokenizer_golden.c - ids and types equal to the reference's, on every row that it made
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/encoder/model_gguf.h"
#include "lib/encoder/tokenizer.h"
#include "tests/unit/gguf_file.h"

static const char *const folders[] = {"all-MiniLM-L6-v2", "bert-base-multilingual-uncased",
	"bert-base-uncased", "paraphrase-multilingual-mpnet-base-v2", "roberta-base", "t5-small"};
enum { FOLDERS = 6, NO_LIMIT = 1 << 30 };

ParameterizedTestParameters(tokenizer_golden, equal_to_the_reference)
{
	static size_t indexes[FOLDERS] = {0, 1, 2, 3, 4, 5};

	return cr_make_param_array(size_t, indexes, FOLDERS);
}

/* False where there is no such file. */
static bool
read_file(struct buf *out, const char *folder, const char *name)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	char piece[65536];
	size_t n;
	FILE *f;

	buf_addf(&path, "%s/../shared/data/tokenizers/%s/%s", root != NULL ? root : ".", folder,
		name);
	f = fopen(buf_str(&path), "re");
	if (f == NULL)
		return false;
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(out, piece, n);
	(void)fclose(f);
	return true;
}

/* Whether the list of numbers in want is what the tokens are: their ids, or their types. */
static bool
same(const struct tokens *tokens, struct json want, bool types)
{
	struct json_iter it = json_iter(want);
	struct json number;
	uint64_t v;
	size_t i = 0;

	for (; json_next_item(&it, &number); i++)
		if (!json_u64(&v, number) || i >= tokens->len ||
			v != (types ? tokens->types[i] : tokens->ids[i]))
			return false;
	return i == tokens->len;
}

/* One row, with and without special tokens; how many encodings were compared. */
static size_t
row_check(const struct tokenizer *t, struct tokenizer_scratch *s, struct json row)
{
	static const char *const keys[] = {"ids", "ids_no_special"};
	AUTO(tokens_fini) struct tokens tokens = TOKENS_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf pair = BUF_INIT;
	struct tokenizer_options o = {.max_length = NO_LIMIT};
	uint64_t max_length;
	struct err e;
	size_t done = 0;

	json_text(&text, json_get(row, "text"));
	json_text(&pair, json_get(row, "pair"));
	if (json_u64(&max_length, json_get(row, "max_length")))
		o.max_length = (uint32_t)max_length;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct json types = json_get(row, "type_ids");

		if (json_get(row, keys[i]).type != JSON_ARRAY)
			continue;
		o.no_special = i == 1;
		cr_assert_eq(tokenizer_encode(&tokens, t, s,
				     (struct tokenizer_text){buf_str(&text), text.len},
				     json_get(row, "pair").type == JSON_STRING
					     ? &(struct tokenizer_text){buf_str(&pair), pair.len}
					     : NULL,
				     &o, &e),
			ERR_OK, "%s", e.text);
		cr_expect(same(&tokens, json_get(row, keys[i]), false), "%s of %.*s", keys[i],
			(int)MIN(row.len, 300), row.p);
		if (types.type == JSON_ARRAY && i == 0)
			cr_expect(same(&tokens, types, true), "types of %.*s",
				(int)MIN(row.len, 300), row.p);
		done++;
	}
	return done;
}

static void
golden_check(const struct buf *image, const struct buf *golden)
{
	AUTO(tokenizer_free) struct tokenizer *t = NULL;
	AUTO(tokenizer_scratch_free) struct tokenizer_scratch *s = tokenizer_scratch_new();
	const char *line, *end;
	struct json row;
	struct err e;
	size_t done = 0;

	cr_assert_eq(tokenizer_attach(&t, image->data, image->len, &e), ERR_OK, "%s", e.text);
	for (line = golden->data; line < golden->data + golden->len; line = end + 1) {
		end = memchr(line, '\n', (size_t)(golden->data + golden->len - line));
		cr_assert_not_null(end);
		cr_assert_eq(
			json_check(&row, line, (size_t)(end - line), &e), ERR_OK, "%s", e.text);
		done += row_check(t, s, row);
	}
	cr_assert_gt(done, 600, "only %zu encodings", done);
}

ParameterizedTest(size_t *index, tokenizer_golden, equal_to_the_reference)
{
	const char *folder = folders[*index];
	AUTO(buf_fini) struct buf json = BUF_INIT;
	AUTO(buf_fini) struct buf golden = BUF_INIT;
	AUTO(buf_fini) struct buf image = BUF_INIT;
	struct err e;

	if (!read_file(&json, folder, "tokenizer.json") ||
		!read_file(&golden, folder, "golden.dev.jsonl"))
		cr_skip_test("no tokenizers: ../shared/data/tokenizers is not there");
	cr_assert_eq(
		tokenizer_compile(&image, folder, json.data, json.len, &e), ERR_OK, "%s", e.text);
	golden_check(&image, &golden);
}

/* A WordPiece token as GGUF has it: U+2581 before what begins a word, nothing before the rest. */
static void
token_put(struct buf *out, struct json key, bool special)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	if (!special)
		buf_add_str(&text, "\xe2\x96\x81");
	json_text(&text, key);
	if (!special && text.len > 5 && memcmp(text.data + 3, "##", 2) == 0)
		buf_drop_front(&text, 5);
	gguf_put_text(out, text.data, text.len);
}

/* The vocabulary of a tokenizer.json, which is in the order of ids, as the keys of a GGUF file. */
static void
gguf_of_vocab(struct buf *file, struct json root)
{
	AUTO(gguf_file_fini) struct gguf_file f = {0};
	AUTO(buf_fini) struct buf tokens = BUF_INIT;
	AUTO(buf_fini) struct buf types = BUF_INIT;
	struct json key, value, added;
	struct json_iter it = json_iter(json_get(json_get(root, "model"), "vocab"));
	uint64_t id, count = 0;

	for (; json_next_member(&it, &key, &value); count++) {
		struct json_iter special = json_iter(json_get(root, "added_tokens"));
		bool is_special = false;

		cr_assert(json_u64(&id, value) && id == count);
		while (json_next_item(&special, &added))
			if (json_u64(&id, json_get(added, "id")) && id == count)
				is_special = true;
		token_put(&tokens, key, is_special);
		gguf_put_u32(&types, is_special ? 3 : 1);
	}
	gguf_file_string(&f, "tokenizer.ggml.model", "bert");
	gguf_file_array(&f, "tokenizer.ggml.tokens", GGUF_TEST_STRING, count);
	buf_add(&f.keys, tokens.data, tokens.len);
	gguf_file_array(&f, "tokenizer.ggml.token_type", GGUF_TEST_I32, count);
	buf_add(&f.keys, types.data, types.len);
	gguf_file_make(file, &f, 32);
}

/* The same ids where the vocabulary comes out of a GGUF file. */
ParameterizedTestParameters(tokenizer_golden, wordpiece_of_gguf_equal_to_the_reference)
{
	static size_t indexes[] = {0, 1, 2};

	return cr_make_param_array(size_t, indexes, ARRAY_LEN(indexes));
}

ParameterizedTest(size_t *index, tokenizer_golden, wordpiece_of_gguf_equal_to_the_reference)
{
	const char *folder = folders[*index];
	AUTO(buf_fini) struct buf json = BUF_INIT;
	AUTO(buf_fini) struct buf golden = BUF_INIT;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	AUTO(buf_fini) struct buf image = BUF_INIT;
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	struct json root;
	struct err e;

	if (!read_file(&json, folder, "tokenizer.json") ||
		!read_file(&golden, folder, "golden.dev.jsonl"))
		cr_skip_test("no tokenizers: ../shared/data/tokenizers is not there");
	cr_assert_eq(json_check(&root, json.data, json.len, &e), ERR_OK, "%s", e.text);
	gguf_of_vocab(&file, root);
	cr_assert_eq(gguf_parse(&g, folder, file.data, file.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(tokenizer_gguf_compile(&image, &g, &e), ERR_OK, "%s", e.text);
	golden_check(&image, &golden);
}
