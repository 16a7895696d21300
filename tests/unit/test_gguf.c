/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_gguf.c - what the reader of GGUF files accepts, refuses and tells; encoders in such files
 */
#include "lib/encoder/encoder_source.h"
#include "tests/unit/encoder_model.h"
#include "tests/unit/gguf_file.h"

static const char fixture[] = "tests/fixtures/encoder/bert-gguf-q8/model.gguf";

static void
read_fixture(struct buf *out)
{
	char path[512];
	struct err e;

	cr_assert_eq(file_read(out, source_path(path, sizeof(path), fixture), GOLDEN_MAX, &e),
		ERR_OK, "%s", e.text);
}

static void
expect_refused(const struct buf *file, const char *want)
{
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	struct err e = {0};

	cr_expect_eq(gguf_parse(&g, "FILE", file->data, file->len, &e), ERR_CONFIG, "%s", want);
	cr_expect(strncmp(e.text, "FILE: ", 6) == 0 && strstr(e.text, want) != NULL, "%s, not %s",
		e.text, want);
}

Test(gguf, every_type_of_value_is_read)
{
	static const struct {
		uint32_t type;
		size_t bytes;
		const char *value, *json;
	} rows[] = {
		{0, 1, "\xff", "255"},
		{1, 1, "\xff", "-1"},
		{2, 2, "\xff\xff", "65535"},
		{3, 2, "\xfe\xff", "-2"},
		{4, 4, "\xff\xff\xff\xff", "4294967295"},
		{5, 4, "\x00\x00\x00\x80", "-2147483648"},
		{6, 4, "\x00\x00\xc0\x3f", "1.5"},
		{7, 1, "\x01", "true"},
		{8, 10, "\x02\0\0\0\0\0\0\0\"\n", "\"\\\"\\n\""},
		{9, 20, "\x03\0\0\0\x04\0\0\0\0\0\0\0\x01\0\xff\xff\x02\0\0\x80",
			"[1,-1,2,-32768]"},
		{10, 8, "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"},
		{11, 8, "\x00\x00\x00\x00\x00\x00\x00\x80", "-9223372036854775808"},
		{12, 8, "\x00\x00\x00\x00\x00\x00\xf8\xbf", "-1.5"},
	};
	AUTO(gguf_file_fini) struct gguf_file f = {0};
	AUTO(buf_fini) struct buf file = BUF_INIT;
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	char key[] = "k.a";
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++, key[2]++) {
		gguf_file_key(&f, key, rows[i].type);
		buf_add(&f.keys, rows[i].value, rows[i].bytes);
	}
	gguf_file_make(&file, &f, 1);
	cr_assert_eq(gguf_parse(&g, "FILE", file.data, file.len, &e), ERR_OK, "%s", e.text);
	key[2] = 'a';
	for (size_t i = 0; i < ARRAY_LEN(rows); i++, key[2]++) {
		struct json v = json_get(g.keys, key);

		cr_expect(v.len == strlen(rows[i].json) && memcmp(v.p, rows[i].json, v.len) == 0,
			"type %u: %.*s, not %s", rows[i].type, (int)v.len, v.p, rows[i].json);
	}
	cr_expect_eq(tensor_set_count(g.tensors), 0);
}

Test(gguf, tensors_lie_where_they_are_said_to)
{
	static const uint64_t sizes[] = {3, 2}, block[] = {32};
	AUTO(gguf_file_fini) struct gguf_file f = {0};
	AUTO(buf_fini) struct buf file = BUF_INIT;
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	const struct tensor *t;
	float out[32];
	struct err e;

	gguf_file_u32(&f, "general.alignment", 16);
	gguf_file_tensor(&f, "second", 1, block, 8, 16);
	gguf_file_tensor(&f, "first", 2, sizes, 1, 0);
	buf_add(&f.data, "\x00\x3c\x00\xbc\x00\x40\x00\x00\x00\x00\x00\x38****", 16);
	buf_add(&f.data, "\x00\x38\x02\xff\x80\x7f", 6); /* 0.5; 2, -1, -128, 127 */
	for (int i = 4; i < 32; i++)
		buf_add_char(&f.data, '\0');
	gguf_file_make(&file, &f, 16);
	cr_assert_eq(gguf_parse(&g, "FILE", file.data, file.len, &e), ERR_OK, "%s", e.text);
	t = tensor_set_find(g.tensors, "first");
	cr_assert(t != NULL && t->dtype == TENSOR_F16 && t->rank == 2);
	cr_expect(t->shape[0] == 2 && t->shape[1] == 3, "the innermost size is the last");
	cr_assert_eq(tensor_floats(out, t, 0, 6, &e), ERR_OK);
	cr_expect(out[0] == 1 && out[1] == -1 && out[2] == 2 && out[5] == 0.5f);
	t = tensor_set_find(g.tensors, "second");
	cr_assert(t != NULL && t->dtype == TENSOR_Q8_0);
	cr_assert_eq(tensor_floats(out, t, 0, 32, &e), ERR_OK);
	cr_expect(
		out[0] == 1 && out[1] == -0.5f && out[2] == -64 && out[3] == 63.5f && out[31] == 0);
}

/* One tensor of floats that has all that the row says; the file's data are 32 bytes. */
Test(gguf, tensors_that_lie_are_refused)
{
	static const struct {
		const char *name;
		uint32_t rank;
		uint64_t sizes[5];
		uint32_t type;
		uint64_t offset;
		const char *want;
	} rows[] = {
		{"t", 1, {9}, 0, 0, "tensor t: 36 bytes at offset 0 are outside of the 32 bytes"},
		{"t", 1, {1}, 0, 64, "tensor t: 4 bytes at offset 64 are outside"},
		{"t", 1, {1}, 0, UINT64_MAX, "outside"},
		{"t", 1, {1}, 0, 4, "not aligned to 32"},
		{"t", 1, {1}, 0, 32, "outside"},
		{"t", 1, {0}, 0, 32, "bytes before it that belong to none"},
		{"t", 1, {0}, 0, 0, "32 bytes at the end belong to no tensor"},
		{"t", 5, {1, 1, 1, 1, 8}, 0, 0, "more than 4 dimensions"},
		{"t", 2, {1ull << 33, 1ull << 33}, 0, 0, "too large"},
		{"t", 1, {1ull << 62}, 0, 0, "too large"},
		{"t", 2, {8, 4}, 8, 0, "its rows are no whole blocks of its type"},
		{"t", 1, {8}, 12, 0,
			"tensor t: its type 12, Q4_K is not supported; supported: F32"},
		{"t", 1, {8}, 77, 0, "tensor t: its type 77 is not supported"},
		{"", 1, {8}, 0, 0, "a name that is empty"},
		{"0123456789012345678901234567890123456789012345678901234567890123456789", 1, {8},
			0, 0, "too long"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gguf_file_fini) struct gguf_file f = {0};
		AUTO(buf_fini) struct buf file = BUF_INIT;

		gguf_file_tensor(&f, rows[i].name, rows[i].rank, rows[i].sizes, rows[i].type,
			rows[i].offset);
		buf_add(&f.data, "0123456789abcdef0123456789abcdef", 32);
		gguf_file_make(&file, &f, 32);
		expect_refused(&file, rows[i].want);
	}
}

Test(gguf, what_stands_there_twice_is_refused)
{
	static const uint64_t sizes[] = {8};
	AUTO(gguf_file_fini) struct gguf_file keys = {0};
	AUTO(gguf_file_fini) struct gguf_file names = {0};
	AUTO(gguf_file_fini) struct gguf_file data = {0};
	AUTO(buf_fini) struct buf file = BUF_INIT;

	gguf_file_u32(&keys, "a.key", 1);
	gguf_file_u32(&keys, "a.kex", 1);
	gguf_file_u32(&keys, "a.key", 2);
	gguf_file_make(&file, &keys, 32);
	expect_refused(&file, "key a.key is there twice");
	gguf_file_tensor(&names, "t", 1, sizes, 0, 0);
	gguf_file_tensor(&names, "t", 1, sizes, 0, 32);
	buf_add(&names.data, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		64);
	gguf_file_make(&file, &names, 32);
	expect_refused(&file, "tensor t is there twice");
	gguf_file_tensor(&data, "t", 1, sizes, 0, 0);
	gguf_file_tensor(&data, "u", 1, sizes, 0, 0);
	buf_add(&data.data, "0123456789abcdef0123456789abcdef", 32);
	gguf_file_make(&file, &data, 32);
	expect_refused(&file, "overlaps another one");
}

Test(gguf, heads_and_values_that_lie_are_refused)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *want;
	} rows[] =
		{
			{"GGU", 3, "not a GGUF file"},
			{"GGML\3\0\0\0", 8, "not a GGUF file"},
			{"GGUF\3\0\0", 7, "byte 4: the file ends"},
			{"GGUF\1\0\0\0", 8, "GGUF version 1 is not supported; supported: 2 and 3"},
			{"GGUF\0\0\0\3", 8, "(big-endian)"},
			{"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 24,
				"byte 24: the file ends"},
			{"GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 24,
				"byte 24: the file ends"},
		},
	  values[] = {
		  {"\x0d\0\0\0", 4, "key k: byte 37: a value of no known type"},
		  {"\x09\0\0\0\x09\0\0\0\1\0\0\0\0\0\0\0", 16, "key k: byte 49: a value of no"},
		  {"\x09\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16, "the file ends"},
		  {"\x09\0\0\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16, "the file ends"},
		  {"\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, "the file ends"},
		  {"\x0c\0\0\0\0\0\0\0", 8, "the file ends"},
	  };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_fini) struct buf file = BUF_INIT;

		buf_add(&file, rows[i].bytes, rows[i].len);
		expect_refused(&file, rows[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		AUTO(buf_fini) struct buf file = BUF_INIT;

		buf_add(&file, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k", 33);
		buf_add(&file, values[i].bytes, values[i].len);
		expect_refused(&file, values[i].want);
	}
}

Test(gguf, a_file_that_is_cut_anywhere_is_refused)
{
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct err e;

	read_fixture(&file);
	for (size_t len = 0; len < file.len; len += len < 4096 ? 1 : 61) {
		AUTO(gguf_fini) struct gguf g = {.what = NULL};
		char *copy = malloc(len + 1); /* its end is where a sanitizer sees it */

		cr_assert(copy != NULL);
		memcpy(copy, file.data, len);
		cr_expect_eq(gguf_parse(&g, "FILE", copy, len, &e), ERR_CONFIG, "%zu bytes", len);
		free(copy);
	}
}

/* The fixture with a value of a key overwritten; skip: bytes of the value to leave alone. */
static enum err_code
open_changed(const char *key, size_t skip, const void *value, size_t len, struct err *e)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct encoder_source *s = NULL;
	struct model_folder *folder;
	struct model_memory_file files[1];
	enum err_code code;
	char *at;

	read_fixture(&file);
	at = memmem(file.data, file.len, key, strlen(key));
	cr_assert(at != NULL, "%s", key);
	memcpy(at + strlen(key) + skip, value, len);
	files[0] = (struct model_memory_file){"model.gguf", file.data, file.len};
	model_folder_memory(&folder, files, 1);
	code = encoder_open_folder(&s, &folder, &plan, e);
	encoder_close(&s);
	return code;
}

Test(gguf, an_encoder_that_cannot_be_used_is_told)
{
	enum { NUMBER = 4, STRING = 12 }; /* what stands between key and value */
	static const struct {
		const char *key;
		size_t skip;
		const char *value;
		size_t len;
		const char *want;
	} rows[] = {
		{"general.architecture", STRING, "bart", 4,
			"key general.architecture: `bart` is not supported; supported in GGUF "
			"files: bert"},
		{"bert.block_count", NUMBER, "\0\0\0\0", 4,
			"key bert.block_count: must be a number from 1 to 512"},
		{"bert.block_count", NUMBER, "\3\0\0\0", 4,
			"tensor blk.1.attn_q.weight is missing"},
		{"bert.embedding_length", NUMBER, "\x40\0\0\0", 4,
			"tensor token_embd.weight has 2 dimensions, 40 x 32; the model's sizes ask "
			"for 40 x 64"},
		{"bert.attention.head_count", NUMBER, "\5\0\0\0", 4, "is no multiple of 5 heads"},
		{"bert.attention.layer_norm_epsilon", NUMBER, "\0\0\xc0\x7f", 4,
			"layer_norm_epsilon: must lie between 0 and 1"},
		{"bert.attention.causal", NUMBER, "\1", 1, "bert.attention.causal: must be false"},
		{"bert.pooling_type", NUMBER, "\4", 1, "key bert.pooling_type: must be 0"},
		{"tokenizer.ggml.model", STRING, "gpt2", 4,
			"key tokenizer.ggml.model: `gpt2` is not supported; supported: bert"},
		{"tokenizer.ggml.tokens", 0, "\x08", 1, "key tokenizer.ggml.tokens"},
		{"[SE", 0, "O", 1,
			"key tokenizer.ggml.seperator_token_id: names no token, and there is no "
			"[SEP]"},
		{"position_embd", 0, ".weighs", 7, "tensor position_embd.weight is missing"},
		{"blk.0.attn_q.b", 0, "ios", 3, "tensor blk.0.attn_q.bias is missing"},
		{"blk.0.ffn_u", 0, "x", 1, "tensor blk.0.ffn_up.weight is missing"},
	};
	struct err e;

	cr_assert_eq(open_changed("GGUF", 0, "", 0, &e), ERR_OK, "%s", e.text);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		e.text[0] = '\0';
		cr_expect_eq(
			open_changed(rows[i].key, rows[i].skip, rows[i].value, rows[i].len, &e),
			ERR_CONFIG, "%s", rows[i].want);
		cr_expect(strstr(e.text, rows[i].want) != NULL, "%s, not %s", e.text, rows[i].want);
	}
}

Test(gguf, an_encoder_tells_what_it_is)
{
	AUTO(model_fini) struct model m = {0};
	char path[512];
	const struct encoder_info *info;

	cr_assert_eq(model_load(&m, source_path(path, sizeof(path), fixture), ENCODER_ISA_AUTO,
			     ENCODER_F32),
		ERR_OK, "%s", m.e.text);
	info = encoder_info(m.enc);
	cr_expect_str_eq(info->architecture, "BertModel");
	cr_expect(info->layers == 1 && info->hidden == 32 && info->heads == 4 && info->labels == 0);
	cr_expect(info->max_tokens == 34 && info->pool == ENCODER_POOL_MEAN && info->normalize);
	cr_expect(encoder_tokenizer(m.enc) != NULL);
}

/* A tokenizer alone, as in files that hold a vocabulary and nothing else. */
static void
expect_ids(const char *const *tokens, size_t count, const char *text, const char *want)
{
	AUTO(gguf_file_fini) struct gguf_file f = {0};
	AUTO(buf_fini) struct buf file = BUF_INIT;
	AUTO(buf_fini) struct buf image = BUF_INIT;
	AUTO(buf_fini) struct buf ids = BUF_INIT;
	AUTO(gguf_fini) struct gguf g = {.what = NULL};
	AUTO(tokenizer_free) struct tokenizer *t = NULL;
	AUTO(tokenizer_scratch_free) struct tokenizer_scratch *s = tokenizer_scratch_new();
	AUTO(tokens_fini) struct tokens found = TOKENS_INIT;
	struct err e;

	gguf_file_string(&f, "tokenizer.ggml.model", "bert");
	gguf_file_array(&f, "tokenizer.ggml.tokens", GGUF_TEST_STRING, count);
	for (size_t i = 0; i < count; i++)
		gguf_put_text(&f.keys, tokens[i], strlen(tokens[i]));
	gguf_file_array(&f, "tokenizer.ggml.token_type", GGUF_TEST_I32, count);
	for (size_t i = 0; i < count; i++)
		gguf_put_u32(&f.keys, tokens[i][0] == '[' ? 3 : 1);
	gguf_file_make(&file, &f, 32);
	cr_assert_eq(gguf_parse(&g, "FILE", file.data, file.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(tokenizer_gguf_compile(&image, &g, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(tokenizer_attach(&t, image.data, image.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(tokenizer_encode(&found, t, s, (struct tokenizer_text){text, strlen(text)},
			     NULL, &(struct tokenizer_options){.max_length = 0}, &e),
		ERR_OK, "%s", e.text);
	for (size_t i = 0; i < found.len; i++)
		buf_addf(&ids, "%s%u", i > 0 ? " " : "", found.ids[i]);
	cr_expect_str_eq(buf_str(&ids), want, "%s", text);
}

Test(gguf, words_begin_with_their_mark_and_go_on_without)
{
	static const char *const tokens[] = {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "\xe2\x96\x81un",
		"believ", "able", "\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81"};

	expect_ids(tokens, ARRAY_LEN(tokens), "Unbelievable able", "1 4 5 6 0 2");
	expect_ids(tokens, ARRAY_LEN(tokens), "un[MASK]UN \xc3\xbaN", "1 4 3 4 4 2");
	expect_ids(tokens, ARRAY_LEN(tokens), "un\xe2\x96\x81 \xe2\x96\x81", "1 4 7 8 2");
}

Test(gguf, a_vocabulary_with_capital_letters_is_cased)
{
	static const char *const tokens[] = {
		"[UNK]", "[CLS]", "[SEP]", "\xe2\x96\x81The", "\xe2\x96\x81the", "\xe2\x96\x81<S>"};

	expect_ids(tokens, ARRAY_LEN(tokens), "The the THE", "1 3 4 0 2");
	expect_ids(tokens + 0, 3, "The", "1 0 2");
}
